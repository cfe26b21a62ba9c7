//! Networks written as ONNX in each format for ternary weights, and read again: the same layers are ternary, and they compute the same.

use crate::networks::shared;
use crate::ternary_networks::share;
use onnx_protobuf::Message;
use std::collections::BTreeMap;
use testsuite::generate::{Network, Weights};
use twnc::{Compiled, Compiler};
use twnc_ir::{Dim, Op, Tensor, eval};
use twnc_onnx::{TernaryFormat, export_as};
use twnc_passes::{Activations, Mode, Options};

const FORMATS: [TernaryFormat; 4] =
    [TernaryFormat::Float, TernaryFormat::QdqInt2, TernaryFormat::MatMulNBits, TernaryFormat::Qonnx];

fn compiler(ternarise: Mode, activations: Activations) -> Compiler {
    let passes = Options { ternarise, activations, ..Options::default() };
    Compiler::builder().passes(passes).build().unwrap()
}

/// The ternary constants that products read, by name, and how many elements each has.
fn ternary(compiled: &Compiled) -> BTreeMap<String, usize> {
    let graph = &compiled.graph;
    let products = graph.node_ids().map(|id| graph.node(id));
    let weights = products.filter(|n| matches!(n.op, Op::Conv(_) | Op::MatMul)).map(|node| node.operands[1]);
    let named = weights.filter_map(|value| Some((&graph.definer(value)?.1.name, graph.constant(value)?)));
    named
        .filter(|(_, tensor)| tensor.as_ternary().is_some())
        .map(|(name, t)| (name.clone(), t.len()))
        .collect()
}

/// Every output of a graph for seeded inputs, an open size as 2.
fn outputs(compiled: &Compiled) -> BTreeMap<String, Tensor> {
    let graph = &compiled.graph;
    let input = |port: &twnc_ir::Port| {
        let shape: Vec<usize> =
            graph.ty(port.value).shape.iter().map(|d: &Dim| d.as_fixed().unwrap_or(2) as usize).collect();
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        let elements = (0..shape.iter().product()).map(|_| next()).collect();
        (port.name.clone(), Tensor::from_f32(shape, elements).unwrap())
    };
    eval::evaluate(graph, &graph.inputs().iter().map(input).collect()).unwrap()
}

fn there_and_back(what: &str, compiled: &Compiled) {
    let (layers, expected) = (ternary(compiled), outputs(compiled));
    assert!(!layers.is_empty(), "{what}: a ternary layer");
    let sizes = FORMATS.map(|format| {
        let what = format!("{what} as {format:?}");
        let bytes = export_as(&compiled.graph, format).unwrap();
        let again = compiler(Mode::Detected, Activations::F32).compile_bytes(&bytes).unwrap();
        assert_eq!(ternary(&again), layers, "{what}");
        for (name, found) in outputs(&again) {
            let share = share(&what, expected[&name].as_f32().unwrap(), found.as_f32().unwrap());
            assert!(share <= 1.0, "{what} `{name}`: {share} of the bound");
        }
        bytes.len()
    });
    let [float, int2, nbits, qonnx] = sizes;
    let smaller = layers.values().sum::<usize>() * 4 * 15 / 16;
    // INT2 takes 2 bits for 32; beside it are a scale and names.
    assert!(int2 + smaller < float + 4096, "{what}: {int2} bytes of {float}");
    assert!(nbits <= float && qonnx >= float, "{what}: {sizes:?}");
}

#[test]
fn trained_layers() {
    let compiled =
        compiler(Mode::Auto, Activations::F32).compile_file(shared("models/lenet5_twn.onnx")).unwrap();
    there_and_back("LeNet-5", &compiled);
}

#[test]
fn rounded_layers() {
    for name in ["fc-100-40", "conv3x3-16-16-8", "depthwise3x3-32-8"] {
        let network: Network = name.parse().unwrap();
        let bytes = network.model(Weights::Float, 1).write_to_bytes().unwrap();
        there_and_back(name, &compiler(Mode::All, Activations::F32).compile_bytes(&bytes).unwrap());
    }
}

#[test]
fn fixed_point() {
    let compiled =
        compiler(Mode::Auto, Activations::Int).compile_file(shared("models/lenet5_twn.onnx")).unwrap();
    there_and_back("LeNet-5 of integers", &compiled);
}

#[test]
fn what_is_no_weight_of_a_linear_layer_stays_float() {
    let text = "graph \"g\" (%0 \"x\": f32[2,32]) -> (%3 \"y\", %1 \"codes\") {
  %1 = const ternary[32,1] \"w\" [1,-1,0,1,1,-1,0,1,1,-1,0,1,1,-1,0,1,1,-1,0,1,1,-1,0,1,1,-1,0,1,1,-1,0,1]
  %3 = matmul(%0, %1) : f32[2,1]
}";
    let graph = twnc_ir::text::parse(text, &twnc_ir::CustomRegistry::default()).unwrap();
    for (format, operators) in [
        (TernaryFormat::Float, "MatMul Identity"),
        (TernaryFormat::QdqInt2, "DequantizeLinear MatMul Identity"),
        (TernaryFormat::MatMulNBits, "MatMul Identity"),
        (TernaryFormat::Qonnx, "Quant MatMul Identity"),
    ] {
        let model = onnx_protobuf::ModelProto::parse_from_bytes(&export_as(&graph, format).unwrap()).unwrap();
        let words: Vec<&str> = model.graph.node.iter().map(|node| node.op_type.as_str()).collect();
        assert_eq!(words.join(" "), operators, "{format:?}");
    }
}
