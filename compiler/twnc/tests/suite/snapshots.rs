//! The graph behind every pass, for LeNet-5 and for small graphs written by hand. Each snapshot is a claim about what a pass does.

use crate::networks::shared;
use std::fmt::Write as _;
use twnc_ir::{CountingCost, CustomRegistry, PassContext, PrintAfter, RunOptions, text};

/// The graph before and behind every pass that changes it, and the remarks.
fn story(graph: &mut twnc_ir::Graph) -> String {
    let pipeline = twnc_passes::default_pipeline(&twnc_passes::Options::default()).unwrap();
    let mut cx = PassContext::new(&CountingCost);
    let options = RunOptions { print_after: PrintAfter::All, verify: true, ..RunOptions::default() };
    let mut last = text::print(graph);
    let mut story = format!("// as it came\n{last}");
    let mut print = |pass: &str, text: &str| {
        if text != last {
            let _ = write!(story, "\n// after {pass}\n{text}");
            text.clone_into(&mut last);
        }
    };
    pipeline.run(graph, &mut cx, &options, &mut print).unwrap();
    for remark in cx.remarks() {
        let _ = write!(story, "\n// {}: `{}`: {}", remark.pass, remark.node, remark.message);
    }
    story
}

#[test]
fn lenet5() {
    let import =
        twnc_onnx::import_file(shared("models/lenet5_twn.onnx"), &twnc_onnx::ImportOptions::default());
    insta::assert_snapshot!(story(&mut import.unwrap().graph));
}

#[test]
fn small_graphs() {
    for entry in shared("cases").read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let source = std::fs::read_to_string(&path).unwrap();
        let mut graph = text::parse(&source, &CustomRegistry::default()).unwrap();
        insta::assert_snapshot!(name, story(&mut graph));
    }
}

/// The text of a network parses to the same network, whatever its size; fetched networks are read where there are any.
#[test]
fn networks_round_trip_as_text() {
    let zoo = std::env::var_os("TWNC_ZOO").map_or_else(|| shared("zoo"), Into::into);
    let fetched = zoo.join("models").read_dir().into_iter().flatten().filter_map(Result::ok);
    let mut files: Vec<_> = fetched.map(|entry| entry.path()).collect();
    if files.is_empty() {
        eprintln!("SKIPPED: fetched networks; testsuite/scripts/zoo.sh brings them");
    }
    files.extend(["lenet5_twn.onnx", "lenet5_float.onnx"].map(|file| shared("models").join(file)));
    for file in files {
        let graph = twnc_onnx::import_file(&file, &twnc_onnx::ImportOptions::default()).unwrap().graph;
        let printed = text::print(&graph);
        let find = |name: &str, ty: &twnc_ir::TensorType, digest: u64| {
            let constants =
                graph.node_ids().filter_map(|id| graph.node(id).op.as_constant().map(|t| (id, t)));
            let mut fitting = constants.filter(|(id, t)| graph.node(*id).name == name && t.ty() == *ty);
            fitting.find(|(_, t)| t.digest() == digest).map(|(_, t)| t.clone())
        };
        let again = text::parse_with(&printed, &CustomRegistry::default(), &find);
        let again = again.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert_eq!(text::print(&again), printed, "{}", file.display());
        twnc_ir::verify::verify(&again).unwrap();
    }
}
