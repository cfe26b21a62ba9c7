//! What the passes make of whole networks: each snapshot is the claim that this is all of it.

use onnx_protobuf::Message;
use testsuite::generate::{Network, Weights};
use twnc_ir::{CountingCost, PassContext, RunOptions, text};

/// The graph of a generated network behind the passes, and what it should cost.
fn compiled(name: &str) -> String {
    let network: Network = name.parse().expect("a network that there is");
    let bytes = network.model(Weights::Ternary, 1).write_to_bytes().expect("a model");
    let import = twnc_onnx::import_bytes(&bytes, &twnc_onnx::ImportOptions::default());
    let mut graph = import.expect("the network is imported").graph;
    let pipeline = twnc_passes::default_pipeline(&twnc_passes::Options::default()).expect("a pipeline");
    let mut cx = PassContext::new(&CountingCost);
    pipeline.run(&mut graph, &mut cx, &RunOptions::default(), &mut |_, _| ()).expect("the passes run");
    text::print(&graph)
}

/// A residual block has the scale and the bias of its shortcut with those of its main path, and one step.
#[test]
fn resnet18() {
    insta::assert_snapshot!(compiled("resnet18"));
}

/// Scales wait for the pools and the last layer.
#[test]
fn vgg7() {
    insta::assert_snapshot!(compiled("vgg7"));
}

/// Products of one input with equal windows are one product, and its parts are slices.
#[test]
fn inception() {
    insta::assert_snapshot!(compiled("inception"));
}

/// Products of unequal windows stay two.
#[test]
fn fire() {
    insta::assert_snapshot!(compiled("fire"));
}
