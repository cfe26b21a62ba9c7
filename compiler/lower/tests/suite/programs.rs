//! Graphs and their programs, side by side. Each snapshot is a claim about what is fused and what is not.

use crate::listing::listing;
use crate::opaque::parse;
use std::fmt::Write as _;
use std::path::Path;
use twnc_ir::{CountingCost, Graph, PassContext, RunOptions};
use twnc_passes::{Mode, Options};
use twnc_program::{Program, StepKind};

#[test]
fn each_graph_has_its_program() {
    for (name, source) in cases("tests/cases") {
        let program = lowered(&parse(&source));
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
    let cases = [(chain, vec![(1, 48), (1, 48), (1, 4)]), (sum, vec![(14, 13), (7, 6)])];
    for (source, expected) in cases {
        let program = lowered(&parse(&format!("{source}\n}}")));
        let sizes = program.steps.iter().map(|step| match &step.kind {
            StepKind::Map(map) => (map.inputs.len(), map.code.len()),
            other => panic!("{other:?} is no map"),
        });
        assert_eq!(sizes.collect::<Vec<_>>(), expected);
    }
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
