//! Random graphs: the exact passes leave what they compute alone, and leave networks in the form that they promise.

use crate::oracle::{assert_close, assert_identical, run};
use proptest::prelude::*;
use twnc_ir::{Binary, ElementType, Graph, Op};
use twnc_passes::{Activations, Mode, Options, default_pipeline};
use twnc_random::{Sample, Vocabulary, graph};

/// Behind each ternary product: at most one scale, then at most one bias; scales are positive.
fn assert_canonical(graph: &Graph) {
    for id in graph.node_ids() {
        let node = graph.node(id);
        assert!(!matches!(node.op, Op::BatchNorm { .. }), "{} is a batch norm", node.name);
        let product = matches!(node.op, Op::Conv(_) | Op::MatMul);
        if !product || graph.constant(node.operands[1]).unwrap().as_ternary().is_none() {
            continue;
        }
        let mut end = node.results[0];
        let mut kinds = vec![];
        while let Some((user, operand)) = graph.only_user(end)
            && let Op::Binary(f) = graph.node(user).op
            && let Some(constant) = graph.constant(graph.node(user).operands[1 - operand])
            && matches!(f, Binary::Mul | Binary::Add | Binary::Sub | Binary::Div)
        {
            if f == Binary::Mul {
                assert!(constant.as_f32().unwrap().iter().all(|&s| s > 0.0), "{} scales", node.name);
            }
            kinds.push(f);
            end = graph.node(user).results[0];
        }
        let forms: [&[Binary]; 4] = [&[], &[Binary::Mul], &[Binary::Add], &[Binary::Mul, Binary::Add]];
        assert!(forms.contains(&kinds.as_slice()), "behind {}: {kinds:?}", node.name);
    }
}

/// What these change is never a number.
const BIT_FOR_BIT: [&str; 4] = ["dead_code", "decompose_custom", "fold_constants", "simplify"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exact_passes_are_exact(seed: u64, networks: bool) {
        let vocabulary = if networks { Vocabulary::Networks } else { Vocabulary::All };
        let Sample { graph, inputs } = graph(seed, vocabulary);
        let options = Options { ternarise: Mode::Detected, ..Options::default() };
        let pipeline = default_pipeline(&options).unwrap();
        for pass in pipeline.entries().iter().map(|entry| entry.pass.name()) {
            let mut after = graph.clone();
            run(&mut after, &[pass], &options);
            assert_close(&graph, &after, &inputs);
            if BIT_FOR_BIT.contains(&pass) {
                assert_identical(&graph, &after, &inputs);
            }
        }
        let mut after = graph.clone();
        run(&mut after, &[], &options);
        assert_close(&graph, &after, &inputs);
    }

    #[test]
    fn the_pipeline_ends_in_its_form_and_stays_there(seed: u64) {
        let mut graph = graph(seed, Vocabulary::Networks).graph;
        run(&mut graph, &[], &Options::default());
        assert_canonical(&graph);
        let was = twnc_ir::text::print(&graph);
        let again = run(&mut graph, &["detect_ternary", "fold_scales", "flip_signs"], &Options::default());
        prop_assert_eq!(again.edits, 0, "{}\n{}", was, twnc_ir::text::print(&graph));
        run(&mut graph, &["simplify"], &Options::default());
        let again = run(&mut graph, &["simplify"], &Options::default());
        prop_assert_eq!(again.edits, 0);
    }

    #[test]
    fn ternary_layers_sum_whole_numbers_and_stay_so(seed: u64) {
        let Sample { mut graph, inputs } = graph(seed, Vocabulary::Networks);
        let options = Options { activations: Activations::Int, ..Options::default() };
        run(&mut graph, &[], &options);
        for id in graph.node_ids() {
            let node = graph.node(id);
            let weight = node.operands.get(1).and_then(|&w| graph.constant(w)?.as_ternary());
            let element = node.operands.first().map(|&x| graph.ty(x).element);
            // Those in groups are depthwise, of few weights.
            let grouped = matches!(&node.op, Op::Conv(conv) if conv.groups > 1);
            let expected = if grouped { ElementType::F32 } else { ElementType::I16 };
            prop_assert!(weight.is_none() || element == Some(expected), "{}", node.name);
        }
        // A second search may find a sum that costs less, and round elsewhere; no other pass finds anything that rounds.
        let pipeline = default_pipeline(&options).unwrap();
        let exact: Vec<&str> = pipeline.entries().iter().map(|e| e.pass.name()).filter(|&name| name != "saturate").collect();
        let mut again = graph.clone();
        run(&mut again, &exact, &Options { ternarise: Mode::Detected, ..options.clone() });
        assert_identical(&graph, &again, &inputs);
        prop_assert_eq!(run(&mut graph, &["fix_point"], &options).edits, 0);
    }
}
