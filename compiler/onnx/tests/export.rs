//! Graphs written as ONNX, read back by `onnx-protobuf` and by the importer.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fixture;

use fixture::summary;
use onnx_protobuf::{Message, ModelProto, type_proto};
use std::sync::Arc;
use twnc_ir::{
    Attribute, Attributes, Binary, Conv, CustomCall, CustomOperator, CustomRegistry, Data, Dim, ElementType,
    Geometry, Graph, GraphBuilder, Op, Pad, PadMode, Pool, ReduceKind, Slice, Tensor, TensorType, Unary,
};
use twnc_onnx::{ImportOptions, OnnxError, export, import_bytes};

fn d(text: &str) -> Vec<Dim> {
    text.split(',').map(|word| word.parse().map_or_else(|_| Dim::symbol(word), Dim::fixed)).collect()
}

/// One operator on f32 inputs of these shapes.
fn graph(op: Op, inputs: &[&str]) -> Graph {
    let mut build = GraphBuilder::new("g");
    let inputs: Vec<_> = inputs
        .iter()
        .enumerate()
        .map(|(i, shape)| build.input(&format!("x{i}"), TensorType::f32(d(shape))))
        .collect();
    let y = build.node(op, &inputs, "layer").unwrap();
    build.output("y", y);
    build.finish()
}

fn written(graph: &Graph) -> ModelProto {
    ModelProto::parse_from_bytes(&export(graph).unwrap()).unwrap()
}

fn operators(model: &ModelProto) -> String {
    let words: Vec<&str> = model.graph.node.iter().map(|node| node.op_type.as_str()).collect();
    words.join(" ")
}

#[test]
fn every_operator() {
    let unit = || Geometry::unit(2);
    let wide = || Geometry {
        strides: vec![2, 1],
        dilations: vec![1, 2],
        pads_begin: vec![0, 1],
        pads_end: vec![1, 0],
    };
    let pool = |geometry, ceil| Pool { kernel: vec![2, 2], geometry, ceil };
    let slice =
        |start: i64, size: Dim, step| Op::Slice(Slice { axis: 1, start: Dim::fixed(start), size, step });
    let pad = |mode| Op::Pad(Pad { begin: vec![0, 1], end: vec![0, 2], mode });
    let reduce = |kind, axes: &[usize], keep_dims| Op::Reduce { kind, axes: axes.to_vec(), keep_dims };
    let image: &[&str] = &["N,4,8,8"];
    let cases: Vec<(Op, &[&str], &str)> = vec![
        (Op::Conv(Conv { geometry: wide(), groups: 2 }), &["N,4,8,8", "6,2,3,3"], "Conv"),
        (Op::MatMul, &["N,2,3", "3,4"], "MatMul"),
        (Op::Unary(Unary::Relu), image, "Relu"),
        (Op::Unary(Unary::LeakyRelu { slope: 0.5 }), image, "LeakyRelu"),
        (Op::Unary(Unary::Clip { min: 0.0, max: f32::INFINITY }), image, "Clip"),
        (Op::Unary(Unary::HardSigmoid { alpha: 0.1, beta: 0.2 }), image, "HardSigmoid"),
        (Op::Unary(Unary::HardSwish), image, "HardSwish"),
        (Op::Unary(Unary::Neg), image, "Neg"),
        (Op::Unary(Unary::Abs), image, "Abs"),
        (Op::Unary(Unary::Sqrt), image, "Sqrt"),
        (Op::Unary(Unary::Reciprocal), image, "Reciprocal"),
        (Op::Unary(Unary::Sigmoid), image, "Sigmoid"),
        (Op::Unary(Unary::Tanh), image, "Tanh"),
        (Op::Unary(Unary::Exp), image, "Exp"),
        (Op::Unary(Unary::Log), image, "Log"),
        (Op::Unary(Unary::Erf), image, "Erf"),
        (Op::Binary(Binary::Add), &["N,3", "3"], "Add"),
        (Op::Binary(Binary::Sub), &["N,3", "3"], "Sub"),
        (Op::Binary(Binary::Mul), &["N,3", "3"], "Mul"),
        (Op::Binary(Binary::Div), &["N,3", "3"], "Div"),
        (Op::Binary(Binary::Min), &["N,3", "3"], "Min"),
        (Op::Binary(Binary::Max), &["N,3", "3"], "Max"),
        (Op::Binary(Binary::Pow), &["N,3", "3"], "Pow"),
        (Op::Binary(Binary::PRelu), &["N,3", "3"], "PRelu"),
        (Op::BatchNorm { epsilon: 0.25 }, &["N,3", "3", "3", "3", "3"], "BatchNormalization"),
        (Op::MaxPool(pool(wide(), true)), image, "MaxPool"),
        (Op::AveragePool { pool: pool(unit(), false), count_padding: true }, image, "AveragePool"),
        (reduce(ReduceKind::Sum, &[1, 3], true), image, "ReduceSum"),
        (reduce(ReduceKind::Mean, &[1, 3], false), image, "ReduceMean"),
        (reduce(ReduceKind::Max, &[0], true), image, "ReduceMax"),
        (reduce(ReduceKind::Min, &[3], false), image, "ReduceMin"),
        (Op::Softmax { axes: vec![1] }, image, "Softmax"),
        (Op::Reshape { shape: d("N,256") }, image, "Reshape"),
        (Op::Transpose { perm: vec![0, 2, 3, 1] }, image, "Transpose"),
        (Op::Concat { axis: 1 }, &["N,3", "N,4"], "Concat"),
        (slice(1, Dim::fixed(2), 2), image, "Slice"),
        (slice(3, Dim::fixed(4), -1), image, "Slice"),
        (pad(PadMode::Constant(1.5)), &["N,3"], "Pad"),
        (pad(PadMode::Reflect), &["N,3"], "Pad"),
        (pad(PadMode::Edge), &["N,3"], "Pad"),
        (Op::Broadcast { shape: d("2,N,3") }, &["N,1"], "Expand"),
        (Op::Cast { to: ElementType::I64 }, image, "Cast"),
    ];
    for (op, inputs, expected) in cases {
        let graph = graph(op.clone(), inputs);
        assert_eq!(operators(&written(&graph)), expected, "{op:?}");
        let again = import_bytes(&export(&graph).unwrap(), &ImportOptions::default()).unwrap().graph;
        let found = again.definer(again.outputs()[0].value).map(|(_, node)| node.op.clone());
        assert_eq!(found, Some(op));
        assert_eq!(summary(&again), summary(&graph));
    }
}

#[test]
fn open_sizes_are_computed_from_the_inputs() {
    let slice = |start, size| Op::Slice(Slice { axis: 1, start, size, step: 1 });
    let half = || Dim::symbol("H").floor_div(&Dim::fixed(2)).unwrap();
    let cases: Vec<(Op, &[&str], &str)> = vec![
        (Op::Reshape { shape: d("N,H,1") }, &["N,H"], "Shape Shape Concat Reshape"),
        (Op::Broadcast { shape: d("N,H") }, &["1,H", "N"], "Shape Concat Expand"),
        (slice(half(), Dim::fixed(1)), &["N,H"], "Shape Div Shape Div Add Slice"),
        (
            slice(Dim::fixed(1), Dim::symbol("H").checked_sub(&Dim::fixed(1)).unwrap()),
            &["N,H"],
            "Shape Slice",
        ),
        (Op::Softmax { axes: vec![0, 1] }, &["N,H"], "ReduceMax Sub Exp ReduceSum Div"),
    ];
    for (op, inputs, expected) in cases {
        let mut build = GraphBuilder::new("g");
        let inputs: Vec<_> = inputs
            .iter()
            .enumerate()
            .map(|(i, shape)| build.input(&format!("x{i}"), TensorType::f32(d(shape))))
            .collect();
        let y = build.node(op.clone(), &inputs[..1], "layer").unwrap();
        build.output("y", y);
        let graph = build.finish();
        assert_eq!(operators(&written(&graph)), expected, "{op:?}");
        let again = import_bytes(&export(&graph).unwrap(), &ImportOptions::default()).unwrap().graph;
        let (found, expected) = (again.ty(again.outputs()[0].value), graph.ty(graph.outputs()[0].value));
        assert!(found.is_consistent_with(expected), "{op:?}: {found} for {expected}");
    }
    let lost = graph(Op::Reshape { shape: d("K,N,1") }, &["N,H"]);
    let Err(OnnxError::Export { node, reason }) = export(&lost) else { panic!("was written") };
    assert_eq!(
        (node.as_str(), reason.contains("size `K`, which is no axis of an input; fix it")),
        ("layer", true),
        "{reason}"
    );
}

#[test]
fn names_and_constants() {
    let mut build = GraphBuilder::new("net");
    let x = build.input("x", TensorType::f32(d("N,2")));
    let ternary = Tensor::new(vec![2, 2], Data::Ternary([-1, 0, 1, 1].into())).unwrap();
    let w = build.constant(ternary, "fc.weight");
    let alpha = build.constant(Tensor::scalar(0.5), "fc.weight");
    let y = build.node(Op::MatMul, &[x, w], "fc").unwrap();
    let y = build.node(Op::Binary(Binary::Mul), &[y, alpha], "fc").unwrap();
    build.output("y", y);
    build.output("again", y);
    build.output("input", x);
    build.output("scale", alpha);
    let model = written(&build.finish());
    let graph = &model.graph;

    let constants: Vec<_> =
        graph.initializer.iter().map(|t| (t.name.as_str(), t.data_type, t.dims.as_slice())).collect();
    assert_eq!(constants, [("fc.weight", 1, &[2, 2][..]), ("fc.weight_1", 1, &[][..])]);
    let elements: Vec<f32> = graph.initializer[0]
        .raw_data
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    assert_eq!(elements, [-1.0, 0.0, 1.0, 1.0]);
    let nodes: Vec<_> = graph.node.iter().map(|n| (n.op_type.as_str(), n.output[0].as_str())).collect();
    let copies = [("Identity", "again"), ("Identity", "input"), ("Identity", "scale")];
    assert_eq!(nodes, [&[("MatMul", "fc"), ("Mul", "y")][..], &copies].concat());
    let Some(type_proto::Value::TensorType(ty)) = &graph.input[0].type_.value else { panic!("no tensor") };
    assert_eq!(ty.shape.dim[0].dim_param(), "N");
    assert_eq!((model.ir_version, model.opset_import[0].version, graph.name.as_str()), (8, 17, "net"));
}

/// A graph read from its text form.
fn read(source: &str) -> Graph {
    twnc_ir::text::parse(source, &CustomRegistry::default()).unwrap()
}

#[test]
fn fixed_point_is_written_out() {
    let quantize = |attributes: &str, shape: &str, scales: &str| {
        read(&format!(
            "graph \"g\" (%0 \"x\": f32[{shape}]) -> (%1 \"q\", %2 \"s\") {{
  %1, %2 = quantize(%0) {{{attributes}}} : i16[{shape}], f32[{scales}]
}}"
        ))
    };
    let finite = "IsInf IsNaN Or Where";
    let scale = "Div Div Min Equal Where";
    let whole = "Mul Where IsNaN Where Round Clip Cast";
    let cases = [
        (
            quantize("bits=8, signed=true", "N,3,8", "N,1,1"),
            format!("{finite} Abs ReduceMax {scale} {whole}"),
        ),
        (quantize("bits=8", "N,3", "N,1"), format!("{finite} Greater Where ReduceMax {scale} {whole}")),
        (quantize("bits=8, signed=true", "N", "N"), format!("{finite} Abs {scale} {whole}")),
        (quantize("bits=8, scale=0.5", "N,3", "N,1"), format!("IsInf Shape Concat Expand {whole}")),
        (quantize("bits=8, scale=0.5", "N", "N"), format!("IsInf Shape Expand {whole}")),
    ];
    for (graph, expected) in cases {
        assert_eq!(operators(&written(&graph)), expected);
    }
}

#[test]
fn products_of_integers_are_exact_or_refused() {
    let product = |bits: usize, inputs: usize| {
        let ones = vec!["1"; inputs].join(",");
        read(&format!(
            "graph \"g\" (%0 \"x\": f32[N,{inputs}]) -> (%4 \"y\") {{
  %1 = const ternary[{inputs},1] \"w\" [{ones}]
  %2, %3 = quantize(%0) {{bits={bits}, scale=0.5}} : i16[N,{inputs}], f32[N,1]
  %4 = matmul(%2, %1) \"layer\" : i32[N,1]
}}"
        ))
    };
    let last = |graph: &Graph| operators(&written(graph)).split_once("Clip ").unwrap().1.to_owned();
    assert_eq!(last(&product(8, 3)), "Cast Cast MatMul Cast");
    assert_eq!(last(&product(12, 4097)), "Cast Cast MatMul Cast");
    let Err(OnnxError::Export { node, reason }) = export(&product(12, 4098)) else { panic!("was written") };
    assert_eq!(node, "layer");
    assert!(reason.starts_with("its sums can reach 16781310, and"), "{reason}");
    assert!(reason.ends_with("fewer --activation-bits, or with --activations f32"), "{reason}");
}

/// Doubles.
struct Twice;

impl CustomOperator for Twice {
    fn name(&self) -> &str {
        "com.example::Twice"
    }

    fn infer(&self, _: &Attributes, operands: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        operands.first().map(|ty| vec![(*ty).clone()]).ok_or_else(|| "takes one operand".into())
    }

    fn evaluate(&self, _: &Attributes, operands: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let doubled = operands[0].as_f32().ok_or("takes f32")?.iter().map(|x| 2.0 * x).collect();
        Tensor::from_f32(operands[0].shape().to_vec(), doubled).map(|t| vec![t]).map_err(|e| e.to_string())
    }
}

#[test]
fn custom_operators_go_there_and_back() {
    let attributes = Attributes::from([
        ("a".into(), Attribute::Int(1)),
        ("b".into(), Attribute::Float(0.5)),
        ("c".into(), Attribute::String("s".into())),
        ("d".into(), Attribute::Ints(vec![1, 2])),
        ("e".into(), Attribute::Floats(vec![0.5])),
    ]);
    let op = Op::Custom(CustomCall { operator: Arc::new(Twice), attributes });
    let bytes = export(&graph(op.clone(), &["N,2"])).unwrap();
    let mut options = ImportOptions::default();
    options.custom.register(Arc::new(Twice));
    let again = import_bytes(&bytes, &options).unwrap().graph;
    assert_eq!(again.definer(again.outputs()[0].value).map(|(_, node)| node.op.clone()), Some(op));
    let error = import_bytes(&bytes, &ImportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("(com.example::Twice): is not supported"), "{error}");
}
