//! What operators compute where a file leaves an attribute out or to an operator set, and at the edge of a rule; found by seeding bugs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fixture;

use fixture::{float, floats, graph, import, int, ints, model, node, single, text, value};
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_proto::DataType::FLOAT;
use onnx_protobuf::{AttributeProto, FunctionProto, ModelProto, NodeProto, OperatorSetIdProto};
use std::collections::BTreeMap;
use twnc_ir::{Tensor, eval};

/// The first output for one input.
fn run(model: &ModelProto, shape: &[usize], elements: &[f32]) -> Vec<f32> {
    let graph = import(model).unwrap().graph;
    let x = Tensor::from_f32(shape.to_vec(), elements.to_vec()).unwrap();
    let inputs = BTreeMap::from([(graph.inputs()[0].name.clone(), x)]);
    let outputs = eval::evaluate(&graph, &inputs).unwrap();
    outputs["y"].as_f32().unwrap().to_vec()
}

#[test]
fn softmax_takes_all_axes_from_the_first_on_before_operator_set_13() {
    for (opset, expected) in [(11, 0.25), (12, 0.25), (13, 0.5)] {
        let model = single(opset, "Softmax", &["1,2,2"], vec![], vec![]);
        assert_eq!(run(&model, &[1, 2, 2], &[1.0; 4]), [expected; 4], "operator set {opset}");
    }
}

#[test]
fn an_average_leaves_padding_out() {
    let window = || vec![ints("kernel_shape", &[2]), ints("pads", &[1, 1])];
    let model = single(13, "AveragePool", &["1,1,2"], vec![], window());
    assert_eq!(run(&model, &[1, 1, 2], &[2.0, 4.0]), [2.0, 3.0, 4.0]);
    let with_padding = [window(), vec![int("count_include_pad", 1)]].concat();
    let model = single(13, "AveragePool", &["1,1,2"], vec![], with_padding);
    assert_eq!(run(&model, &[1, 1, 2], &[2.0, 4.0]), [1.0, 3.0, 2.0]);
}

#[test]
fn a_window_of_ceil_mode_starts_before_the_padding() {
    // Size, window, stride and padding at the end; sums of magnitudes.
    let cases: [(usize, i64, i64, i64, &[f32]); 5] = [
        (5, 2, 2, 0, &[3.0, 7.0, 5.0]),
        (5, 1, 3, 0, &[1.0, 4.0]),
        // The next window would start where the padding does.
        (4, 2, 4, 1, &[3.0]),
        (4, 2, 2, 2, &[3.0, 7.0]),
        (4, 2, 1, 4, &[3.0, 5.0, 7.0, 4.0]),
    ];
    for (size, kernel, stride, pad, expected) in cases {
        let attributes = vec![
            ints("kernel_shape", &[kernel]),
            ints("strides", &[stride]),
            ints("pads", &[0, pad]),
            int("ceil_mode", 1),
            int("p", 1),
        ];
        let shape = format!("1,1,{size}");
        let model = single(18, "LpPool", &[&shape], vec![], attributes);
        let elements: Vec<f32> = (1..=size).map(|x| x as f32).collect();
        assert_eq!(run(&model, &[1, 1, size], &elements), expected, "{size} {kernel} {stride} {pad}");
    }
}

#[test]
fn resizing_takes_centres_for_centres() {
    let constants = vec![floats("roi", &[0], &[]), floats("scales", &[4], &[1.0, 1.0, 1.0, 2.0])];
    let model = single(13, "Resize", &["1,1,1,2"], constants, vec![text("mode", "linear")]);
    assert_eq!(run(&model, &[1, 1, 1, 2], &[1.0, 2.0]), [1.0, 1.25, 1.75, 2.0]);
}

#[test]
fn what_is_given_goes_before_a_function_s_default() {
    let referring = AttributeProto {
        name: "alpha".into(),
        ref_attr_name: "slope".into(),
        type_: AttributeType::FLOAT.into(),
        ..Default::default()
    };
    let leaky = FunctionProto {
        name: "Leaky".into(),
        domain: "f".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        attribute_proto: vec![float("slope", 0.25)],
        node: vec![node("LeakyRelu", "", &["a"], &["b"], vec![referring])],
        opset_import: vec![OperatorSetIdProto { version: 13, ..Default::default() }],
        ..Default::default()
    };
    for (given, expected) in [(vec![], -1.0), (vec![float("slope", 0.5)], -2.0)] {
        let call = NodeProto { domain: "f".into(), ..node("Leaky", "n", &["x"], &["y"], given) };
        let graph = graph(vec![call], vec![value("x", FLOAT, "1")], vec![], &["y"]);
        let model = ModelProto { functions: vec![leaky.clone()], ..model(13, graph) };
        assert_eq!(run(&model, &[1], &[-4.0]), [expected]);
    }
}
