//! The example at work: an ONNX model with custom operators, compiled with a custom pass, run with a registered function.

#![allow(clippy::unwrap_used)] // A value that cannot be built is a failure of the test.

#[path = "../../../compiler/onnx/tests/fixture/mod.rs"]
mod fixture;

use fixture::{bytes, float, floats, graph, model, node, value};
use onnx_protobuf::tensor_proto::DataType::FLOAT;
use onnx_protobuf::{ModelProto, NodeProto};
use std::collections::BTreeMap;
use std::sync::Arc;
use twnc::{CompileError, Compiled, Compiler};
use twnc_example::{RULES, UnboundRelu6, registry, reverse_channels};
use twnc_ir::{RemarkKind, Tensor, eval};
use twnc_onnx::ImportOptions;
use twnc_passes::egraph::{Verdict, check};
use twnc_passes::{Mode, Options, Rule};
use twnc_program::interpret::{CustomFunction, Functions, View, ViewMut};
use twnc_program::step::Attribute;
use twnc_runtime::{Backend, Module, Output, SessionOptions};

/// conv, relu6, soft shrink, reversed channels.
fn network() -> ModelProto {
    let custom = |op: &str, input: &str, output: &str, attributes| NodeProto {
        domain: "com.example".into(),
        ..node(op, op, &[input], &[output], attributes)
    };
    let weight: Vec<f32> = (0..24).map(|i| ((i * 7) % 5) as f32 - 2.0).collect();
    let nodes = vec![
        node("Conv", "conv", &["x", "w"], &["a"], vec![]),
        node("Clip", "relu6", &["a", "zero", "six"], &["b"], vec![]),
        custom("SoftShrink", "b", "c", vec![float("lambd", 0.25)]),
        custom("ReverseChannels", "c", "y", vec![]),
    ];
    let constants =
        vec![floats("w", &[3, 2, 2, 2], &weight), floats("zero", &[], &[0.0]), floats("six", &[], &[6.0])];
    model(17, graph(nodes, vec![value("x", FLOAT, "N,2,4,4")], constants, &["y"]))
}

fn compile() -> Compiled {
    let import = ImportOptions { custom: registry(), ..ImportOptions::default() };
    let compiler = Compiler::builder().import(import).pass_before("ternarise", UnboundRelu6).build().unwrap();
    compiler.compile_bytes(&bytes(&network())).unwrap()
}

struct Reverse;

impl CustomFunction for Reverse {
    fn run(
        &self,
        _: &[(String, Attribute)],
        inputs: &[(View<'_>, &[usize])],
        outputs: &mut [(ViewMut<'_>, &[usize])],
    ) -> Result<(), String> {
        match (inputs, outputs) {
            ([(View::F32(x), shape)], [(ViewMut::F32(y), _)]) => {
                reverse_channels(x, shape, y);
                Ok(())
            }
            _ => Err("it takes one f32 tensor and gives one".into()),
        }
    }
}

#[test]
fn a_network_with_custom_operators_runs() {
    let compiled = compile();
    let relu6 = compiled.remarks.iter().find(|remark| remark.pass == "unbound_relu6").unwrap();
    assert_eq!((relu6.node.as_str(), relu6.kind), ("relu6", RemarkKind::Applied));
    let kinds: Vec<_> = compiled.program.steps.iter().map(|step| step.kind_name()).collect();
    assert_eq!(
        kinds,
        ["accumulate", "map", "custom"],
        "the shrinking is written out, the reversal is a call"
    );

    let x: Vec<f32> = (0..64).map(|i| (i as f32 * 0.37).sin() * 4.0).collect();
    let inputs = BTreeMap::from([("x".to_owned(), Tensor::from_f32(vec![2, 2, 4, 4], x.clone()).unwrap())]);
    let expected = eval::evaluate(&compiled.graph, &inputs).unwrap();
    let expected = expected["y"].as_f32().unwrap();

    let mut functions = Functions::default();
    functions.register("com.example::ReverseChannels", Arc::new(Reverse));
    let file = std::env::temp_dir().join(format!("twnc-example-{}.bin", std::process::id()));
    compiled.program.write_file(&file).unwrap();
    let module = Module::open_with(&file, functions).unwrap();
    std::fs::remove_file(&file).unwrap();
    let x = ndarray::Array4::from_shape_vec((2, 2, 4, 4), x).unwrap();
    for backend in Backend::available() {
        let session = module.session(SessionOptions::default().backend(backend)).unwrap();
        let outputs = session.run(&[("x", x.view())]).unwrap();
        let Output::F32(y) = &outputs[0].1 else { panic!("an output is f32") };
        assert_eq!(y.shape(), [2, 3, 3, 3]);
        for (y, e) in y.iter().zip(expected) {
            assert!((y - e).abs() < 1e-4, "{backend:?}: {y}, not {e}");
        }
    }
}

#[test]
fn rules_may_use_a_custom_operator() {
    for rule in Rule::parse_with(RULES, &registry()).unwrap() {
        assert_eq!(check(&rule, 200, 0), Verdict::Holds(200), "{}", rule.name());
    }
    let custom = |input: &str, output: &str| NodeProto {
        domain: "com.example".into(),
        ..node("ReverseChannels", output, &[input], &[output], vec![])
    };
    // Reversed, scaled by the layer behind and rectified, reversed twice more.
    let nodes = vec![
        node("Conv", "conv", &["x", "w"], &["a"], vec![]),
        custom("a", "b"),
        node("Relu", "relu", &["b"], &["c"], vec![]),
        custom("c", "d"),
        custom("d", "y"),
    ];
    let weight: Vec<f32> = (0..24).map(|i| ((i * 7) % 3) as f32 - 1.0).collect();
    let constants = vec![floats("w", &[3, 2, 2, 2], &weight)];
    let network = model(17, graph(nodes, vec![value("x", FLOAT, "N,2,4,4")], constants, &["y"]));
    let compile = |rules: &str| {
        let import = ImportOptions { custom: registry(), ..ImportOptions::default() };
        let passes = Options { rules: rules.to_owned(), ternarise: Mode::All, ..Options::default() };
        let compiler = Compiler::builder().import(import).passes(passes).build()?;
        compiler.compile_bytes(&bytes(&network))
    };
    let kinds = |compiled: &Compiled| -> Vec<&str> {
        compiled.program.steps.iter().map(|step| step.kind_name()).collect()
    };
    let (without, with) = (compile("").unwrap(), compile(RULES).unwrap());
    assert_eq!(kinds(&without), ["accumulate", "custom", "map", "custom", "custom"]);
    assert_eq!(kinds(&with), ["accumulate", "custom"], "two reversals are none, and the relu is the layer's");
    let x: Vec<f32> = (0..64).map(|i| (i as f32 * 0.37).sin() * 4.0).collect();
    let inputs = BTreeMap::from([("x".to_owned(), Tensor::from_f32(vec![2, 2, 4, 4], x).unwrap())]);
    let [expected, found] =
        [&without, &with].map(|c| eval::evaluate(&c.graph, &inputs).unwrap()["y"].as_f32().unwrap().to_vec());
    assert_eq!(expected, found);

    let wrong = RULES.replace("if coefficient(?s), uniform(?s), bare(?x)", "if coefficient(?s), bare(?x)");
    let error = compile(&wrong).err().unwrap().to_string();
    assert!(error.contains("rule `scale_through_reversal` does not hold"), "{error}");
    let error = Compiler::builder().passes(Options { rules: RULES.to_owned(), ..Options::default() }).build();
    let error = error.err().unwrap().to_string();
    assert!(
        error.contains("the custom operator `com.example::ReverseChannels` is not registered"),
        "{error}"
    );
}

#[test]
fn what_is_not_registered_is_named() {
    let module = Module::new(compile().program, Functions::default()).unwrap();
    let session = module.session(SessionOptions::default()).unwrap();
    let x = ndarray::Array4::<f32>::zeros((1, 2, 4, 4));
    let error = session.run(&[("x", x.view())]).unwrap_err().to_string();
    assert!(error.contains("`com.example::ReverseChannels`, which is not registered"), "{error}");

    let error = Compiler::builder().build().unwrap().compile_bytes(&bytes(&network())).unwrap_err();
    assert!(matches!(error, CompileError::Onnx(_)));
    let error = error.to_string();
    assert!(error.contains("com.example") && error.contains("SoftShrink"), "{error}");

    let error = Compiler::builder().pass_after("frob", UnboundRelu6).build().err().unwrap().to_string();
    assert!(error.starts_with("there is no pass `frob`; there are"), "{error}");
}
