//! Graphs and their programs, side by side. Each snapshot is a claim about what is fused and what is not.

use crate::listing::listing;
use crate::opaque::parse;
use std::fmt::Write as _;
use std::path::Path;
use twnc_ir::{CountingCost, Flow, Graph, Op, PassContext, RunOptions};
use twnc_passes::{Mode, Options};
use twnc_program::step::MoveKind;
use twnc_program::{Program, StepKind};

#[test]
fn each_graph_has_its_program() {
    for (name, source) in cases("tests/cases") {
        let graph = parse(&source);
        let program = lowered(&graph);
        let steps = Flow::of(&graph).unwrap().cost(&CountingCost).steps as usize;
        assert_eq!(steps + copies(&graph, &program), program.steps.len(), "{name}");
        assert_eq!(Program::from_bytes(&program.to_bytes()).unwrap(), program, "{name}");
        insta::assert_snapshot!(name, format!("{source}\n{}", listing(&program)));
    }
}

/// What is left for the lowering once the default passes have run, all layers ternary.
#[test]
fn each_graph_has_its_program_behind_the_passes() {
    let options = Options { ternarise: Mode::All, ..Options::default() };
    let pipeline = twnc_passes::default_pipeline(&options).unwrap();
    for (name, source) in cases("../../testsuite/cases") {
        let mut graph = parse(&source);
        let mut cx = PassContext::new(&CountingCost);
        pipeline.run(&mut graph, &mut cx, &RunOptions::default(), &mut |_, _| {}).unwrap();
        let program = listing(&lowered(&graph));
        insta::assert_snapshot!(format!("passes_{name}"), format!("{source}\n{program}"));
    }
}

#[test]
fn a_map_ends_where_it_grows_too_large() {
    // (inputs, instructions) of each map: of a chain of 100 functions, and of a sum of 20 inputs.
    let mut chain = r#"graph "g" (%0 "x": f32[N]) -> (%100 "y") {"#.to_owned();
    for i in 1..=100 {
        write!(chain, "\n  %{i} = exp(%{}) : f32[N]", i - 1).unwrap();
    }
    let inputs: Vec<_> = (0..20).map(|i| format!(r#"%{i} "x{i}": f32[N]"#)).collect();
    let mut sum = format!(r#"graph "g" ({}) -> (%38 "y") {{"#, inputs.join(", "));
    for i in 1..20 {
        let before = if i == 1 { 0 } else { i + 18 };
        write!(sum, "\n  %{} = add(%{before}, %{i}) : f32[N]", i + 19).unwrap();
    }
    let cases = [(chain, vec![(1, 63), (1, 37)]), (sum, vec![(16, 15), (5, 4)])];
    for (source, expected) in cases {
        let program = lowered(&parse(&format!("{source}\n}}")));
        let sizes = program.steps.iter().map(|step| match &step.kind {
            StepKind::Map(map) => (map.inputs.len(), map.code.len()),
            other => panic!("{other:?} is no map"),
        });
        assert_eq!(sizes.collect::<Vec<_>>(), expected);
    }
}

/// The steps of a program that copy constants to buffers or give them another shape: no node is one.
fn copies(graph: &Graph, program: &Program) -> usize {
    let reshapes = program
        .steps
        .iter()
        .filter(|step| matches!(&step.kind, StepKind::Move(step) if step.kind == MoveKind::Reshape));
    let order = graph.order().unwrap();
    let nodes = order.iter().filter(|&&id| matches!(graph.node(id).op, Op::Reshape { .. }));
    reshapes.count() - nodes.count()
}

/// The graphs of a folder, by the names of their files.
fn cases(folder: &str) -> Vec<(String, String)> {
    let entries = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).read_dir().unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    paths.map(|path| (name(&path), std::fs::read_to_string(&path).unwrap())).collect()
}

fn lowered(graph: &Graph) -> Program {
    twnc_ir::verify::verify(graph).unwrap();
    let program = twnc_lower::lower(graph).unwrap();
    program.validate().unwrap();
    program
}
