//! Operators of other domains than ONNX's: what they compute, by the reference evaluator, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fixture;

use fixture::{bytes, float, floats, graph, int, ints, model, node, raw, text, value};
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::{AttributeProto, TensorProto};
use std::collections::BTreeMap;
use twnc_ir::{Tensor, eval};
use twnc_onnx::{ImportOptions, import_bytes};

const UINT8: i32 = 2;

/// What a node `n` of `x` and these constants gives for an `x` of one row.
fn run(
    operator: &str,
    x: &[f32],
    constants: Vec<TensorProto>,
    attributes: Vec<AttributeProto>,
) -> Result<Vec<f32>, String> {
    let (domain, op) = operator.rsplit_once("::").unwrap_or(("", operator));
    let names: Vec<&str> = ["x"].into_iter().chain(constants.iter().map(|c| c.name.as_str())).collect();
    let mut node = node(op, "n", &names, &["y"], attributes);
    node.domain = domain.into();
    let input = value("x", DataType::FLOAT, &format!("1,{}", x.len()));
    let file = model(18, graph(vec![node], vec![input], constants.clone(), &["y"]));
    let import = import_bytes(&bytes(&file), &ImportOptions::default()).map_err(|error| error.to_string())?;
    let x = Tensor::from_f32(vec![1, x.len()], x.to_vec()).unwrap();
    let outputs = eval::evaluate(&import.graph, &BTreeMap::from([("x".to_owned(), x)])).unwrap();
    Ok(outputs["y"].as_f32().unwrap().to_vec())
}

fn number(name: &str, number: f32) -> TensorProto {
    floats(name, &[], &[number])
}

fn list(name: &str, floats: &[f32]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        floats: floats.into(),
        type_: AttributeType::FLOATS.into(),
        ..Default::default()
    }
}

fn quant(bits: f32, signed: i64, narrow: i64, mode: &str, x: &[f32]) -> Result<Vec<f32>, String> {
    let constants = vec![number("s", 0.5), number("z", 0.0), number("b", bits)];
    let attributes = vec![int("signed", signed), int("narrow", narrow), text("rounding_mode", mode)];
    run("qonnx.custom_op.general::Quant", x, constants, attributes)
}

#[test]
fn codes_and_roundings() {
    let x = [-9.0, -0.6, -0.25, 0.25, 0.6, 0.75, 9.0];
    // In steps: -18, -1.2, -0.5, 0.5, 1.2, 1.5, 18.
    let cases: Vec<(f32, i64, i64, &str, [f32; 7])> = vec![
        (4.0, 1, 0, "ROUND", [-4.0, -0.5, 0.0, 0.0, 0.5, 1.0, 3.5]),
        (4.0, 1, 1, "half_even", [-3.5, -0.5, 0.0, 0.0, 0.5, 1.0, 3.5]),
        (4.0, 0, 0, "CEIL", [0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 7.5]),
        (4.0, 0, 1, "FLOOR", [0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 7.0]),
        (4.0, 1, 1, "UP", [-3.5, -1.0, -0.5, 0.5, 1.0, 1.0, 3.5]),
        (4.0, 1, 1, "DOWN", [-3.5, -0.5, 0.0, 0.0, 0.5, 0.5, 3.5]),
        (4.0, 1, 1, "HALF_UP", [-3.5, -0.5, -0.5, 0.5, 0.5, 1.0, 3.5]),
        (4.0, 1, 1, "HALF_DOWN", [-3.5, -0.5, 0.0, 0.0, 0.5, 0.5, 3.5]),
        // 1.5 bits: codes from 1 - sqrt(2)/2·.. are clipped before they are rounded.
        (1.5, 1, 0, "ROUND", [-0.5, -0.5, 0.0, 0.0, 0.0, 0.0, 0.0]),
        // One signed bit is a sign.
        (1.0, 1, 1, "ROUND", [-0.5, -0.5, -0.5, 0.5, 0.5, 0.5, 0.5]),
        (1.0, 0, 0, "ROUND", [0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.5]),
    ];
    for (bits, signed, narrow, mode, expected) in cases {
        assert_eq!(
            quant(bits, signed, narrow, mode, &x),
            Ok(expected.to_vec()),
            "{bits} {signed} {narrow} {mode}"
        );
    }
}

#[test]
fn other_quantisers() {
    let bipolar = run("onnx.brevitas::BipolarQuant", &[-0.1, -0.0, 3.0], vec![number("s", 2.0)], vec![]);
    assert_eq!(bipolar, Ok(vec![-2.0, 2.0, 2.0]));
    let bits = floats("b", &[2], &[2.0, 3.0]);
    let wide = run(
        "finn.custom_op.general::IntQuant",
        &[9.0, 9.0],
        vec![number("s", 1.0), number("z", 1.0), bits],
        vec![],
    );
    assert_eq!(wide, Ok(vec![0.0, 2.0]));
    // 13 of 6 bits in 4 bits: 13/4 is 3, which stands for 3 steps of the input's scale.
    let five = vec![number("s", 1.0), number("z", 0.0), number("in", 6.0), number("out", 4.0)];
    assert_eq!(run("qonnx.custom_op.general::Trunc", &[13.0], five, vec![]), Ok(vec![3.0]));
    let six =
        vec![number("s", 1.0), number("z", 0.0), number("in", 6.0), number("os", 4.0), number("out", 4.0)];
    assert_eq!(run("qonnx.custom_op.general::Trunc", &[13.0, 99.0], six, vec![]), Ok(vec![12.0, 28.0]));
}

#[test]
fn around_a_network() {
    let scaler = vec![list("offset", &[1.0, 2.0]), list("scale", &[0.5])];
    assert_eq!(run("ai.onnx.ml::Scaler", &[3.0, 3.0], vec![], scaler), Ok(vec![1.0, 0.5]));
    for (norm, expected) in [("L1", [-3.0 / 7.0, 4.0 / 7.0]), ("L2", [-0.6, 0.8]), ("MAX", [-0.75, 1.0])] {
        let norm = || vec![text("norm", norm)];
        assert_eq!(run("ai.onnx.ml::Normalizer", &[-3.0, 4.0], vec![], norm()), Ok(expected.to_vec()));
        assert_eq!(run("ai.onnx.ml::Normalizer", &[0.0, 0.0], vec![], norm()), Ok(vec![0.0; 2]));
    }
    let indices = raw("i", 7, &[2], &[2u64.to_le_bytes(), 0u64.to_le_bytes()].concat());
    assert_eq!(
        run("ai.onnx.ml::ArrayFeatureExtractor", &[5.0, 6.0, 7.0], vec![indices], vec![]),
        Ok(vec![7.0, 5.0])
    );
}

/// Whether numbers are these, up to rounding.
fn assert_near(what: &str, found: Result<Vec<f32>, String>, expected: &[f32]) {
    let found = found.unwrap();
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6;
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(near), "{what}: {found:?}");
}

#[test]
fn nodes_that_onnx_runtime_fused() {
    let one = |op: &str, x: &[f32], constants: Vec<TensorProto>, attributes: Vec<AttributeProto>| {
        run(&format!("com.microsoft::{op}"), x, constants, attributes)
    };
    let x = [1.0, -2.0];
    // erf(1/sqrt(2)) is 0.6826895.
    assert_near("Gelu", one("Gelu", &[1.0], vec![], vec![]), &[0.841_344_7]);
    let bias = || vec![floats("b", &[1], &[-1.0])];
    assert_near("BiasGelu", one("BiasGelu", &[2.0], bias(), vec![]), &[0.841_344_7]);
    assert_near("FastGelu", one("FastGelu", &[2.0], bias(), vec![]), &[0.841_192]);
    assert_near(
        "QuickGelu",
        one("QuickGelu", &x, vec![], vec![float("alpha", 1.0)]),
        &[0.731_058_6, -0.238_405_84],
    );
    let w = || floats("w", &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let leaky = || vec![text("activation", "LeakyRelu"), float("activation_alpha", 0.5), int("transB", 1)];
    assert_near(
        "FusedGemm",
        one("FusedGemm", &x, vec![w(), floats("c", &[2], &[1.0, 9.0])], leaky()),
        &[-1.0, 4.0],
    );
    let turned = vec![int("transB", 1), float("alpha", 0.5)];
    assert_near("FusedMatMul", one("FusedMatMul", &x, vec![w()], turned), &[-1.5, -2.5]);
    let batch = one("FusedMatMul", &x, vec![w()], vec![int("transBatchB", 1)]);
    assert!(batch.unwrap_err().contains("`transBatchB` is 1, which is not supported"));
    let norm = vec![
        floats("s", &[1, 2], &[1.0, 2.0]),
        floats("g", &[2], &[2.0, 4.0]),
        floats("b", &[2], &[0.5, 0.0]),
    ];
    assert_near("SkipLayerNormalization", one("SkipLayerNormalization", &x, norm, vec![]), &[2.5, -4.0]);
    let odd = one("FusedGemm", &x, vec![w()], vec![text("activation", "Softsign")]);
    assert!(odd.unwrap_err().contains("`activation` is `Softsign`, which is not supported"));
}

/// What a node of ONNX Runtime's quantiser gives for codes of 1 and -2, put back into FLOAT: `more` follows the codes, their scale and zero point.
fn quantised(op: &str, names: &[&str], more: Vec<TensorProto>, attributes: Vec<AttributeProto>) -> Vec<f32> {
    let mut constants = vec![
        number("s", 0.5),
        raw("z", UINT8, &[], &[128]),
        number("ys", 0.25),
        raw("yz", UINT8, &[], &[10]),
    ];
    constants.extend(more);
    let mut middle = node(op, "n", names, &["r"], attributes);
    middle.domain = "com.microsoft".into();
    let nodes = vec![
        node("QuantizeLinear", "codes", &["x", "s", "z"], &["q"], vec![]),
        middle,
        node("DequantizeLinear", "back", &["r", "ys", "yz"], &["y"], vec![]),
    ];
    let file = model(18, graph(nodes, vec![value("x", DataType::FLOAT, "1,2")], constants, &["y"]));
    let import = import_bytes(&bytes(&file), &ImportOptions::default()).unwrap();
    let x = Tensor::from_f32(vec![1, 2], vec![1.0, -2.0]).unwrap();
    let outputs = eval::evaluate(&import.graph, &BTreeMap::from([("x".to_owned(), x)])).unwrap();
    outputs["y"].as_f32().unwrap().to_vec()
}

#[test]
fn integers_of_onnx_runtime_s_quantiser() {
    let unary = ["q", "s", "z", "ys", "yz"];
    assert_eq!(quantised("QLinearLeakyRelu", &unary, vec![], vec![float("alpha", 0.5)]), [1.0, -1.0]);
    assert_eq!(quantised("QLinearSigmoid", &unary, vec![], vec![]), [0.75, 0.0]);
    assert_eq!(
        quantised("QLinearSoftmax", &unary, vec![], vec![int("axis", 1), int("opset", 13)]),
        [1.0, 0.0]
    );
    let binary = ["q", "s", "z", "b", "bs", "bz", "ys", "yz"];
    let other = || vec![raw("b", UINT8, &[1, 2], &[1, 2]), number("bs", 0.25), raw("bz", UINT8, &[], &[0])];
    assert_eq!(quantised("QLinearAdd", &binary, other(), vec![]), [1.25, -1.5]);
    assert_eq!(quantised("QLinearMul", &binary, other(), vec![]), [0.25, -1.0]);
    let parts = ["ys", "yz", "q", "s", "z", "b", "bs", "bz"];
    assert_eq!(quantised("QLinearConcat", &parts, other(), vec![int("axis", -1)]), [1.0, -2.0, 0.25, 0.5]);
    // Codes of 8 signed bits, a scale for each column, and a bias in steps of the product of both scales.
    let matrix = vec![
        raw("b", DataType::INT8 as i32, &[2, 2], &[1, 255, 0, 1]),
        floats("bs", &[2], &[0.5, 1.0]),
        raw("bz", DataType::INT8 as i32, &[2], &[0, 0]),
        raw("c", DataType::INT32 as i32, &[2], &[4, 0, 0, 0, 2, 0, 0, 0]),
    ];
    let operands = ["q", "s", "z", "b", "bs", "bz", "c", "ys", "yz"];
    assert_eq!(quantised("QGemm", &operands, matrix, vec![]), [1.5, -2.0]);
}

#[test]
fn bits_of_constants() {
    let of = |op: &str, attributes: Vec<AttributeProto>| {
        let constants =
            vec![raw("a", UINT8, &[2, 2], &[0xf0, 0x3c, 0x81, 7]), raw("b", UINT8, &[2], &[2, 5])];
        let bits = node(op, "bits", &["a", "b"], &["c"], attributes);
        let cast = node("Cast", "cast", &["c"], &["y"], vec![int("to", 1)]);
        let file = model(18, graph(vec![bits, cast], vec![], constants, &["y"]));
        let import = import_bytes(&bytes(&file), &ImportOptions::default()).unwrap();
        let outputs = eval::evaluate(&import.graph, &BTreeMap::new()).unwrap();
        outputs["y"].as_f32().unwrap().to_vec()
    };
    assert_eq!(of("BitShift", vec![text("direction", "RIGHT")]), [60.0, 1.0, 32.0, 0.0]);
    assert_eq!(of("BitShift", vec![text("direction", "LEFT")]), [192.0, 128.0, 4.0, 224.0]);
    assert_eq!(of("BitwiseAnd", vec![]), [0.0, 4.0, 0.0, 5.0]);
    assert_eq!(of("BitwiseOr", vec![]), [242.0, 61.0, 131.0, 7.0]);
    assert_eq!(of("BitwiseXor", vec![]), [242.0, 57.0, 131.0, 2.0]);
}

#[test]
fn refused() {
    let parameters = |bits: f32| vec![number("s", 1.0), number("z", 0.0), number("b", bits)];
    let quant = "qonnx.custom_op.general::Quant";
    let nbits = |k: i64, n: i64, bits: i64, block: i64| {
        vec![int("K", k), int("N", n), int("bits", bits), int("block_size", block)]
    };
    let packed = |bytes: &[u8], scales: &[f32]| {
        vec![raw("b", UINT8, &[bytes.len() as i64], bytes), floats("s", &[scales.len() as i64], scales)]
    };
    let product = "com.microsoft::MatMulNBits";
    let cases: Vec<(&str, Vec<TensorProto>, Vec<AttributeProto>, &str)> = vec![
        (quant, parameters(0.5), vec![], "it must be numbers from 1 to 32"),
        (quant, parameters(f32::NAN), vec![], "it must be numbers from 1 to 32"),
        (
            quant,
            parameters(4.0),
            vec![text("rounding_mode", "NEAREST")],
            "`rounding_mode` is `NEAREST`; ROUND,",
        ),
        (quant, parameters(4.0), vec![int("narrow", 2)], "attribute `narrow` is 2; it must be 0 or 1"),
        (quant, parameters(4.0)[..2].to_vec(), vec![], "has 3 operands; 4 to 4 are accepted"),
        (
            "onnx.brevitas::FloatQuant",
            parameters(4.0),
            vec![],
            "is not supported; register a custom operator",
        ),
        ("com.example::Quant", parameters(4.0), vec![], "is not supported; register a custom operator"),
        (
            product,
            packed(&[0; 4], &[1.0]),
            nbits(16, 1, 3, 16),
            "has codes of 3 bits; 2, 4 and 8 are accepted",
        ),
        (
            product,
            packed(&[0; 4], &[1.0]),
            nbits(16, 1, 2, 24),
            "`block_size` is 24; it must be a power of 2",
        ),
        (
            product,
            packed(&[0; 4], &[1.0]),
            nbits(16, 1, 2, 8),
            "`block_size` is 8; it must be a power of 2, 16 or",
        ),
        (
            product,
            packed(&[0; 3], &[1.0]),
            nbits(16, 1, 2, 16),
            "the codes (operand 1) are u8[3], not 4 bytes",
        ),
        (
            product,
            packed(&[0; 4], &[1.0; 2]),
            nbits(16, 1, 2, 16),
            "has 2 scales; 1 outputs of 1 blocks have 1",
        ),
        (product, packed(&[0; 4], &[1.0]), nbits(i64::MAX, i64::MAX, 2, 16), "a size is too large"),
        (
            product,
            packed(&[0; 4], &[1.0]),
            nbits(1 << 40, 1, 2, 16),
            "the codes (operand 1) are u8[4], not 274877906944",
        ),
        (product, packed(&[0; 4], &[1.0]), nbits(0, 1, 2, 16), "attribute `K` is not a size of 1 or more"),
        (product, packed(&[0; 4], &[1.0]), vec![], "attribute `K` is not a size of 1 or more"),
        ("BitwiseAnd", vec![raw("a", UINT8, &[], &[1])], vec![], "supported for constants only"),
        ("ai.onnx.ml::Normalizer", vec![], vec![text("norm", "L3")], "`norm` is `L3`; MAX, L1 and L2"),
        (
            "ai.onnx.ml::ZipMap",
            vec![],
            vec![ints("classlabels_int64s", &[0, 1])],
            "export with `zipmap` False, or make `x` an",
        ),
    ];
    for (operator, constants, attributes, expected) in cases {
        let error = run(operator, &[1.0; 16], constants, attributes).unwrap_err();
        assert!(error.contains(expected), "{operator}: {error}\nis not\n{expected}");
    }
}
