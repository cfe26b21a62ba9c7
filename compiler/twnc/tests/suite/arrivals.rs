//! The seven ways in which a network arrives ternary, each with variations and with twins that must not be taken for it.
//!
//! `testsuite/arrivals` holds the networks and what another engine computes, as `testsuite/scripts/arrivals.py` writes them. What a name
//! starts with is what is expected: a network `not_..` keeps its float weight, and says why; every other one has a ternary layer. The
//! snapshot is the account that a user is given.

use crate::networks::shared;
use crate::ternary_networks::share;
use std::collections::BTreeMap;
use std::fmt::Write;
use twnc::{Compiled, Compiler};
use twnc_ir::{Op, Tensor, eval};
use twnc_passes::{Mode, Options};
use twnc_program::interpret::Functions;
use twnc_runtime::{Backend, Module, Output, SessionOptions};

/// An input and the output of another engine.
struct Reference {
    shape: Vec<usize>,
    x: Vec<f32>,
    y: Vec<f32>,
}

fn references() -> BTreeMap<String, Reference> {
    let text = std::fs::read_to_string(shared("arrivals/expected.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let floats = |value: &serde_json::Value| {
        value.as_array().unwrap().iter().map(|n| n.as_f64().unwrap() as f32).collect::<Vec<f32>>()
    };
    let reference = |(name, value): (&String, &serde_json::Value)| {
        let shape = floats(&value["shape"]).iter().map(|&n| n as usize).collect();
        (name.clone(), Reference { shape, x: floats(&value["x"]), y: floats(&value["y"]) })
    };
    json.as_object().unwrap().iter().map(reference).collect()
}

fn compiled(name: &str) -> Compiled {
    let passes = Options { ternarise: Mode::Detected, ..Options::default() };
    let compiler = Compiler::builder().passes(passes).build().unwrap();
    compiler.compile_file(shared("arrivals").join(name).with_extension("onnx")).unwrap()
}

/// The names of the ternary constants that products read.
fn ternary(compiled: &Compiled) -> usize {
    let graph = &compiled.graph;
    let nodes = graph.order().unwrap();
    let products =
        nodes.iter().map(|&id| graph.node(id)).filter(|n| matches!(n.op, Op::Conv(_) | Op::MatMul));
    products
        .filter(|node| graph.constant(node.operands[1]).is_some_and(|weight| weight.as_ternary().is_some()))
        .count()
}

#[test]
fn seven_ways() {
    let mut account = String::new();
    let references = references();
    let files = std::fs::read_dir(shared("arrivals")).unwrap();
    let models = files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "onnx"));
    assert_eq!(models.count(), references.len(), "models and references come from one script");
    for (name, reference) in references {
        let compiled = compiled(&name);
        let expected = !name.starts_with("not_");
        assert_eq!(ternary(&compiled) > 0, expected, "{name}: a ternary layer");
        assert_eq!(compiled.ternary_layers() > 0, expected, "{name}: a ternary step");

        let arrival = compiled.arrivals.first().unwrap_or_else(|| panic!("{name}: no account"));
        let verdict = match compiled.recognised(&arrival.layer) {
            Some(how) => how.to_owned(),
            None => format!("NOT: {}", compiled.why_not_ternary(&arrival.layer).unwrap_or_default()),
        };
        writeln!(account, "{name}: {}\n    {verdict}", arrival.form).unwrap();

        let x = Tensor::from_f32(reference.shape.clone(), reference.x.clone()).unwrap();
        let evaluated = eval::evaluate(&compiled.graph, &BTreeMap::from([("x".to_owned(), x)])).unwrap();
        let share_of_evaluator = share(&name, &reference.y, evaluated["y"].as_f32().unwrap());
        assert!(share_of_evaluator <= 1.0, "{name}: the evaluator is {share_of_evaluator} bounds off");
        let module = Module::new(compiled.program, Functions::default()).unwrap();
        let x = ndarray::ArrayD::from_shape_vec(reference.shape, reference.x).unwrap();
        for backend in Backend::available() {
            let session = module.session(SessionOptions::default().backend(backend)).unwrap();
            let Output::F32(y) = &session.run(&[("x", x.view())]).unwrap()[0].1 else {
                panic!("{name}: no floats")
            };
            let share = share(&name, &reference.y, &y.iter().copied().collect::<Vec<f32>>());
            assert!(share <= 1.0, "{name} {}: {share} bounds off", backend.name());
        }
    }
    insta::assert_snapshot!(account);
}

/// A trained network with ternary weights and activations of 2 bits, if it is in the zoo (docs/zoo.md).
#[test]
fn qonnx_network() {
    let zoo = std::env::var_os("TWNC_ZOO").map_or_else(|| shared("zoo"), Into::into);
    let file = zoo.join("models/mnist_tfc_2w2a_qonnx.onnx");
    if !file.exists() {
        eprintln!("SKIPPED: mnist_tfc_2w2a_qonnx: it is not in the zoo");
        return;
    }
    let passes = Options { ternarise: Mode::Detected, ..Options::default() };
    let compiled = Compiler::builder().passes(passes).build().unwrap().compile_file(&file).unwrap();
    assert_eq!((compiled.ternary_layers(), compiled.rounded_layers()), (4, 0));
    let layers: Vec<&str> = compiled.arrivals.iter().map(|arrival| arrival.layer.as_str()).collect();
    assert_eq!(layers, ["MatMul_20", "MatMul_32", "MatMul_44", "MatMul_56"]);
    for layer in layers {
        let arrival = compiled.arrival(layer).unwrap();
        assert_eq!(arrival.form, "FLOAT, Quant of 2 bits, signed and narrow");
        assert!(compiled.recognised(layer).is_some_and(|how| how.contains("one scale")), "{layer}");
        assert_eq!((compiled.why_not_ternary(layer), &arrival.obstacle), (None, &None), "{layer}");
    }
}
