//! Scales of groups, two planes, and the choice between forms: by the reference evaluator.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use twnc_ir::{
    CountingCost, Dim, Graph, GraphBuilder, Op, Pass, PassContext, PassError, RemarkKind, Tensor, TensorType,
    Unary,
};
use twnc_passes::{Options, Scale};
use twnc_train::{FineTune, Form, Limits, Reference, Repair, RepairOptions, Samples, SizeLimit, Summary};

/// Numbers that look drawn, between -1 and 1 (SplitMix64).
fn tensor(shape: &[usize], seed: u64) -> Tensor {
    let number = |i: usize| {
        let z = (i as u64 + (seed << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    Tensor::from_f32(shape.to_vec(), (0..shape.iter().product()).map(number).collect()).unwrap()
}

/// Three linear layers of 64 inputs with relus between.
fn network(weights: &[Tensor]) -> Graph {
    let mut build = GraphBuilder::new("linear");
    let mut x = build.input("x", TensorType::f32(vec![Dim::symbol("N"), Dim::from(64)]));
    for (i, weight) in weights.iter().enumerate() {
        let w = build.constant(weight.clone(), &format!("w{i}"));
        x = build.node(Op::MatMul, &[x, w], &format!("layer{i}")).unwrap();
        if i + 1 < weights.len() {
            x = build.node(Op::Unary(Unary::Relu), &[x], "").unwrap();
        }
    }
    build.output("y", x);
    build.finish()
}

fn drawn() -> Graph {
    network(&[tensor(&[64, 64], 1), tensor(&[64, 64], 2), tensor(&[64, 10], 3)])
}

fn run(
    graph: &Graph,
    scale: Scale,
    budget: Option<Limits>,
    fine_tune: FineTune,
) -> Result<(Graph, Summary, Vec<String>), PassError> {
    let passes = Options { scale, ..Options::default() };
    let samples = Samples::new([("x".to_owned(), tensor(&[300, 64], 9))]);
    let options = RepairOptions { fine_tune, ..RepairOptions::default() };
    let mut pass = Repair::new(&passes, Arc::new(samples), Arc::new(Reference), options).unwrap();
    if let Some(limits) = budget {
        pass = pass.budget(limits, Arc::new(|graph: Graph| Ok(bytes(&graph))));
    }
    let summary = pass.summary();
    let (mut graph, mut cx) = (graph.clone(), PassContext::new(&CountingCost));
    pass.run(&mut graph, &mut cx)?;
    twnc_ir::verify::verify(&graph).unwrap();
    let summary = summary.lock().unwrap().take().unwrap();
    let remarks = cx.into_remarks();
    let warned = remarks.into_iter().filter(|r| r.kind != RemarkKind::Applied);
    Ok((graph, summary, warned.map(|r| format!("{}: {}", r.node, r.message)).collect()))
}

/// Bytes of all constants: 1.6 bits for a trit.
fn bytes(graph: &Graph) -> usize {
    let constants = graph.node_ids().filter_map(|id| graph.node(id).op.as_constant());
    let of = |constant: &Tensor| match constant.as_ternary() {
        Some(trits) => trits.len().div_ceil(5),
        None => 4 * constant.len(),
    };
    constants.map(of).sum()
}

fn budget(size: Option<SizeLimit>, drop: Option<f64>, labels: Option<Vec<usize>>) -> Option<Limits> {
    Some(Limits { size, drop, labels })
}

#[test]
fn groups_and_their_fine_tuning_are_nearer_than_channels() {
    let sqnr = |scale, tune| run(&drawn(), scale, None, tune).unwrap().1.outputs[0].sqnr;
    let channel = sqnr(Scale::Channel, FineTune::None);
    let narrow = sqnr(Scale::Group(8), FineTune::None);
    assert!(channel + 0.1 < narrow, "{channel} {narrow}");
    let tuned = sqnr(Scale::Group(8), FineTune::Steps(40));
    assert!(tuned > narrow, "{tuned} {narrow}");
}

/// A weight that is of groups, or a sum of two planes, comes back.
#[test]
fn what_is_of_the_form_comes_back() {
    let trit = |tensor: &Tensor, i: usize| (tensor.as_f32().unwrap()[i] * 1.5).round().clamp(-1.0, 1.0);
    let (a, b) = (tensor(&[64, 10], 4), tensor(&[64, 10], 5));
    // Element i is of input i / 10 and channel i % 10.
    let groups = (0..640).map(|i| trit(&a, i) * (0.1 + 0.2 * (i / 160) as f32 + 0.03 * (i % 10) as f32));
    let groups = network(&[Tensor::from_f32(vec![64, 10], groups.collect()).unwrap()]);
    let (found, summary, _) = run(&groups, Scale::Group(16), None, FineTune::None).unwrap();
    assert!(summary.outputs[0].sqnr > 40.0, "{:?}", summary.outputs);
    assert!(bytes(&found) < 128 + 4 * 40 + 4 * 11);
    let planes = (0..640).map(|i| trit(&a, i) * 0.4 + trit(&b, i) * 0.13);
    let planes = network(&[Tensor::from_f32(vec![64, 10], planes.collect()).unwrap()]);
    // More than one plane has, less than float.
    let limit = budget(Some(SizeLimit::Bytes(600)), None, None);
    let (found, summary, _) = run(&planes, Scale::Channel, limit, FineTune::None).unwrap();
    assert_eq!(summary.accuracies[0].form, Form::Planes);
    assert!(summary.outputs[0].sqnr > 30.0, "{:?}", summary.outputs);
    assert!(bytes(&found) <= 600);
}

#[test]
fn a_larger_budget_is_nearer_and_no_file_is_larger_than_it_may_be() {
    let graph = drawn();
    let float = bytes(&graph);
    let mut last = f64::NEG_INFINITY;
    for share in [0.12, 0.2, 0.5, 1.0] {
        let limit = budget(Some(SizeLimit::OfFloat(share)), None, None);
        let (found, summary, _) = run(&graph, Scale::Channel, limit, FineTune::None).unwrap();
        let frontier = summary.frontier.unwrap();
        let chosen = frontier.chosen();
        assert!(chosen.is_exact && bytes(&found) == chosen.bytes, "{chosen:?}");
        assert!(bytes(&found) as f64 <= float as f64 * share, "{share}");
        let sqnr = summary.outputs.first().map_or(f64::INFINITY, |output| output.sqnr);
        assert!(sqnr > last, "{share}: {sqnr} {last}");
        last = sqnr;
        // From point to point errors fall, and sizes do not.
        for pair in frontier.points.windows(2) {
            assert!(pair[1].error <= pair[0].error && pair[1].bytes >= pair[0].bytes, "{pair:?}");
        }
        assert_eq!(frontier.points.last().unwrap().forms, [(Form::Float, 3)]);
    }
    let beyond = budget(Some(SizeLimit::Beyond(0.0)), None, None);
    let frontier = run(&graph, Scale::Channel, beyond, FineTune::None).unwrap().1.frontier.unwrap();
    assert!(frontier.chosen().bytes <= frontier.ternary_bytes);
}

#[test]
fn the_smallest_network_that_holds_the_accuracy_is_chosen() {
    let graph = drawn();
    let mut sizes = vec![];
    for drop in [0.5, 0.1, 0.0] {
        let (_, summary, _) =
            run(&graph, Scale::Channel, budget(None, Some(drop), None), FineTune::None).unwrap();
        let frontier = summary.frontier.unwrap();
        let chosen = frontier.chosen();
        assert!(chosen.measured.unwrap().drop().unwrap() <= drop, "{chosen:?}");
        // Nothing smaller that was measured holds it.
        let smaller = &frontier.points[..frontier.chosen];
        assert!(smaller.iter().filter_map(|p| p.measured?.drop()).all(|d| d > drop), "{frontier:?}");
        sizes.push(chosen.bytes);
    }
    assert!(sizes.is_sorted() && sizes[0] < sizes[2], "{sizes:?}");
    // By labels: of classes that neither network has, nothing can be lost.
    let labels = budget(None, Some(0.0), Some(vec![99; 300]));
    let frontier = run(&graph, Scale::Channel, labels, FineTune::None).unwrap().1.frontier.unwrap();
    assert_eq!((frontier.chosen, frontier.chosen().measured.unwrap().right), (0, Some([0.0; 2])));
    // Where both limits cannot be held, that of size is.
    let both = budget(Some(SizeLimit::OfFloat(0.12)), Some(0.0), None);
    let (found, _, warned) = run(&graph, Scale::Channel, both, FineTune::None).unwrap();
    assert!(bytes(&found) as f64 <= 0.12 * bytes(&graph) as f64);
    assert!(warned.iter().any(|w| w.contains("accuracy falls by more than 0.00%")), "{warned:?}");
}

#[test]
fn limits_that_mean_nothing_are_refused() {
    let graph = drawn();
    let one_number = network(&[tensor(&[64, 1], 3)]);
    let cases = [
        (
            &graph,
            budget(Some(SizeLimit::Bytes(100)), None, None),
            "with the smallest form of each layer the file has",
        ),
        (&graph, budget(None, Some(0.1), Some(vec![1; 299])), "299 labels for 300 samples"),
        (&one_number, budget(None, Some(0.1), None), "no output has classes"),
    ];
    for (graph, budget, words) in cases {
        let said = run(graph, Scale::Channel, budget, FineTune::None).unwrap_err().to_string();
        assert!(said.contains(words), "`{said}` does not say `{words}`");
    }
}
