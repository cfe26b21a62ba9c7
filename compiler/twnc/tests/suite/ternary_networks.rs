//! Whole networks, every layer made ternary: the program, on each path, against the reference evaluator on the same graph.
//!
//! The bound is the numerical contract's: rtol 1e-3 and atol 1e-4 of an output's range (largest minus smallest value). Inputs are
//! seeded and normal. Fetched networks are looked for in `$TWNC_ZOO/models`, or else in `testsuite/zoo/models`; one that is absent
//! is skipped and says so. How much of the bound each network uses:
//!
//!     cargo test -p twnc --test suite ternary_networks -- --nocapture

use crate::networks::shared;
use crate::operations::assert_steps;
use onnx_protobuf::Message;
use std::collections::BTreeMap;
use testsuite::agree;
use testsuite::generate::{Network, Weights};
use twnc::{Compiled, Compiler, synthetic};
use twnc_ir::{RunOptions, Tensor, eval};
use twnc_onnx::ImportOptions;
use twnc_passes::{Mode, Options};
use twnc_program::{StepKind, interpret::Functions};
use twnc_runtime::{Backend, Module, Output, SessionOptions};

/// The outputs on one path.
fn run(module: &Module, inputs: &[(String, Output)], backend: Backend) -> Vec<(String, Output)> {
    let session = module.session(SessionOptions::default().backend(backend)).unwrap();
    let inputs: Vec<_> = inputs.iter().map(|(name, array)| (name.as_str(), array.view())).collect();
    session.run(&inputs).unwrap()
}

fn elements(output: &Output) -> Vec<f32> {
    match output {
        Output::F32(array) => array.iter().copied().collect(),
        other => panic!("{other:?} is not f32"),
    }
}

/// The largest share of the bound that an element uses.
pub fn share(name: &str, expected: &[f32], found: &[f32]) -> f64 {
    assert_eq!(expected.len(), found.len(), "{name}");
    assert!(
        expected.iter().any(|x| *x != expected[0]),
        "{name}: all elements are the same: that compares nothing"
    );
    agree::share(expected, found)
}

/// Runs a program on both paths and compares all its outputs with those of its graph, and these with those of the graph without the e-graph.
fn check(network: &str, shape: &str, outputs: &[&str], compile: &dyn Fn(&Compiler) -> Compiled) {
    let compiled = compile(&compiler(shape, outputs, &[]));
    let without = compile(&compiler(shape, outputs, &["saturate"]));
    let searched = compiled.remarks.iter().any(|remark| remark.pass == "saturate");

    assert!(compiled.ternary_layers() > 0, "{network} has no ternary layer");
    let mut steps = compiled.program.steps.iter();
    assert!(!steps.any(|step| matches!(step.kind, StepKind::Conv(_))), "{network} has a float convolution");
    assert_steps(network, &compiled);
    let module = Module::new(compiled.program, Functions::default()).unwrap();
    let inputs = synthetic::inputs(&module, &synthetic::shapes(&module, 1, &[]), 1);
    let tensors: BTreeMap<String, Tensor> = inputs
        .iter()
        .map(|(name, array)| {
            (name.clone(), Tensor::from_f32(array.shape().to_vec(), elements(array)).unwrap())
        })
        .collect();
    let expected = eval::evaluate(&compiled.graph, &tensors).unwrap();
    for (name, before) in eval::evaluate(&without.graph, &tensors).unwrap() {
        let what = format!("{network} with the e-graph (which changes something: {searched}) `{name}`");
        let share = share(&what, before.as_f32().unwrap(), expected[&name].as_f32().unwrap());
        println!("{what}: {share:.5} of the bound");
        assert!(share <= 1.0, "{what}: {share} times the bound");
    }
    for backend in Backend::available() {
        for (name, found) in run(&module, &inputs, backend) {
            let what = format!("{network} {} `{name}`", backend.name());
            assert_eq!(expected[&name].shape(), found.shape(), "{what}");
            let share = share(&what, expected[&name].as_f32().unwrap(), &elements(&found));
            println!("{what}: {share:.5} of the bound");
            assert!(share <= 1.0, "{what}: {share} times the bound");
        }
    }
}

/// All of a network ternary, for inputs of `shape`, without these passes.
fn compiler(shape: &str, outputs: &[&str], skip: &[&str]) -> Compiler {
    let input_shapes = vec![shape.parse().unwrap()];
    let outputs = outputs.iter().map(|&output| output.to_owned()).collect();
    let import = ImportOptions { input_shapes, outputs, ..ImportOptions::default() };
    let passes = Options { ternarise: Mode::All, ..Options::default() };
    let run =
        RunOptions { skip: skip.iter().map(|&pass| pass.to_owned()).collect(), ..RunOptions::default() };
    Compiler::builder().import(import).passes(passes).run(run).build().unwrap()
}

/// A network of the zoo with these values of its file as outputs, or with its own: what a softmax that saturates would hide is
/// compared before it.
fn fetched(name: &str, shape: &str, outputs: &[&str]) {
    let zoo = std::env::var_os("TWNC_ZOO").map_or_else(|| shared("zoo"), Into::into);
    let file = zoo.join("models").join(name).with_extension("onnx");
    if file.exists() {
        check(name, shape, outputs, &|compiler| compiler.compile_file(&file).unwrap());
    } else {
        eprintln!("SKIPPED: {name}: it is not in the zoo");
    }
}

/// A network of the generator.
fn generated(name: &str, shape: &str) {
    let network: Network = name.parse().unwrap();
    let bytes = network.model(Weights::Float, 1).write_to_bytes().unwrap();
    check(name, shape, &[], &|compiler| compiler.compile_bytes(&bytes).unwrap());
}

#[test]
fn tiny() {
    fetched("tiny_ad", "2x640", &[]);
    fetched("tiny_kws", "2x49x10x1", &["Add__33:0", "Identity"]);
    fetched("tiny_resnet8", "2x32x32x3", &["Add__29:0", "Identity"]);
    fetched("tiny_vww", "2x96x96x3", &["Add__87:0", "Identity"]);
}

#[test]
fn mnist_conv() {
    fetched("mnist_conv", "1x1x28x28", &[]);
    fetched("mnist_tfc_2w2a_qonnx", "2x1x28x28", &[]);
}

#[test]
fn mtcnn_onet() {
    fetched("mtcnn_onet", "2x48x48x3", &["dense_5", "dense_6", "biased_tensor_name2", "softmax_2"]);
}

#[test]
fn resnet50_thin() {
    fetched("resnet50_thin", "1x224x224x3", &["/Add_126_output_0", "4195"]);
}

#[test]
fn centerface() {
    fetched("centerface", "1x3x64x64", &[]);
}

#[test]
fn ppocr() {
    fetched("ppocr_cls", "1x3x48x192", &[]);
    fetched("ppocr_det", "1x3x64x96", &[]);
}

#[test]
fn resnet18() {
    generated("resnet18", "2x3x64x64");
}

#[test]
fn branches_of_one_input() {
    generated("inception", "1x192x14x14");
    generated("fire", "1x96x13x13");
}

#[test]
fn vgg7() {
    generated("vgg7", "1x3x32x32");
}
