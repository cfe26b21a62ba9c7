//! `QuantizeLinear` and `DequantizeLinear` of constants: codes of every width; scales per tensor, axis and block.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fixture;

use fixture::{floats, import, int, raw, single, summary};
use onnx_protobuf::{AttributeProto, TensorProto};
use twnc_ir::{Data, Tensor};

const UINT8: i32 = 2;
const INT8: i32 = 3;
const INT32: i32 = 6;
const UINT4: i32 = 21;
const INT4: i32 = 22;
const UINT2: i32 = 25;
const INT2: i32 = 26;

fn scale(elements: &[f32]) -> TensorProto {
    floats(
        "scale",
        if elements.len() == 1 { &[] } else { std::slice::from_ref(&LEN[elements.len()]) },
        elements,
    )
}

/// Lengths that live as long as the tests.
const LEN: [i64; 4] = [0, 1, 2, 3];

/// Operator set, constants, attributes, and what the node becomes.
type Case<T> = (i64, Vec<TensorProto>, Vec<AttributeProto>, T);

/// The constant that a node of constants becomes.
fn folded(
    opset: i64,
    op: &str,
    constants: Vec<TensorProto>,
    attributes: Vec<AttributeProto>,
) -> Result<Tensor, String> {
    let graph =
        import(&single(opset, op, &[], constants, attributes)).map_err(|error| error.to_string())?.graph;
    graph.constant(graph.outputs()[0].value).cloned().ok_or_else(|| summary(&graph))
}

#[test]
fn dequantised() {
    let x = |ty: i32, dims: &[i64], bytes: &[u8]| raw("x", ty, dims, bytes);
    let zero = |ty: i32, dims: &[i64], bytes: &[u8]| raw("zero", ty, dims, bytes);
    let axis = |n| vec![int("axis", n)];
    let cases: Vec<Case<Vec<f32>>> = vec![
        (10, vec![x(INT8, &[3], &[255, 0, 1]), scale(&[0.5])], vec![], vec![-0.5, 0.0, 0.5]),
        (
            10,
            vec![x(UINT8, &[3], &[0, 128, 255]), scale(&[0.5]), zero(UINT8, &[], &[128])],
            vec![],
            vec![-64.0, 0.0, 63.5],
        ),
        (13, vec![x(INT32, &[1], &[0, 1, 0, 0]), scale(&[0.25])], vec![], vec![64.0]),
        (13, vec![x(INT8, &[2, 2], &[1, 1, 255, 1]), scale(&[0.5, 2.0])], axis(0), vec![0.5, 0.5, -2.0, 2.0]),
        (13, vec![x(INT8, &[2, 2], &[1, 1, 255, 1]), scale(&[0.5, 2.0])], vec![], vec![0.5, 2.0, -0.5, 2.0]),
        (
            13,
            vec![x(INT8, &[2, 2], &[1, 1, 1, 1]), scale(&[1.0, 2.0]), zero(INT8, &[2], &[0, 3])],
            axis(-2),
            vec![1.0, 1.0, -4.0, -4.0],
        ),
        (21, vec![x(INT4, &[3], &[0xf1, 0x08]), scale(&[0.5])], vec![], vec![0.5, -0.5, -4.0]),
        (
            21,
            vec![x(UINT4, &[3], &[0xf1, 0x08]), scale(&[0.5]), zero(UINT4, &[], &[8])],
            vec![],
            vec![-3.5, 3.5, 0.0],
        ),
        (25, vec![x(INT2, &[4], &[0b11_00_01_10]), scale(&[0.5])], vec![], vec![-1.0, 0.5, 0.0, -0.5]),
        (
            25,
            vec![x(UINT2, &[4], &[0b11_00_01_10]), scale(&[0.5]), zero(UINT2, &[], &[1])],
            vec![],
            vec![0.5, 0.0, -0.5, 1.0],
        ),
        (
            21,
            vec![x(INT8, &[2, 3], &[1, 1, 1, 1, 1, 1]), floats("scale", &[2, 2], &[1.0, 2.0, 3.0, 4.0])],
            vec![int("axis", 1), int("block_size", 2)],
            vec![1.0, 1.0, 2.0, 3.0, 3.0, 4.0],
        ),
        (
            21,
            vec![x(INT8, &[3, 2], &[1, 1, 1, 1, 1, 1]), floats("scale", &[2, 2], &[1.0, 2.0, 3.0, 4.0])],
            vec![int("axis", 0), int("block_size", 2)],
            vec![1.0, 2.0, 1.0, 2.0, 3.0, 4.0],
        ),
    ];
    for (i, (opset, constants, attributes, expected)) in cases.into_iter().enumerate() {
        let shape = constants[0].dims.iter().map(|&n| n as usize).collect();
        let found = folded(opset, "DequantizeLinear", constants, attributes);
        assert_eq!(found, Ok(Tensor::from_f32(shape, expected).unwrap()), "case {i}");
    }
}

#[test]
fn quantised() {
    let x = |elements: &[f32]| floats("x", std::slice::from_ref(&LEN[elements.len()]), elements);
    let zero = |ty: i32, byte: u8| raw("zero", ty, &[], &[byte]);
    let cases: Vec<Case<Data>> = vec![
        // Ties go to even, results saturate.
        (13, vec![x(&[0.25, 0.75, 900.0]), scale(&[0.5])], vec![], Data::U8([0, 2, 255].into())),
        (
            13,
            vec![x(&[-0.5, 0.5, -900.0]), scale(&[0.5]), zero(INT8, 0)],
            vec![],
            Data::I8([-1, 1, -128].into()),
        ),
        (13, vec![x(&[1.0, 1.0]), scale(&[0.5, 0.25])], vec![int("axis", 0)], Data::U8([2, 4].into())),
        (21, vec![x(&[-9.0, 9.0]), scale(&[1.0]), zero(INT4, 0)], vec![], Data::I8([-8, 7].into())),
        (25, vec![x(&[-9.0, 9.0]), scale(&[1.0]), zero(INT2, 0)], vec![], Data::I8([-2, 1].into())),
        (25, vec![x(&[-9.0, 9.0]), scale(&[1.0])], vec![int("output_dtype", 25)], Data::U8([0, 3].into())),
    ];
    for (i, (opset, constants, attributes, expected)) in cases.into_iter().enumerate() {
        let found =
            folded(opset, "QuantizeLinear", constants, attributes).map(|tensor| tensor.data().clone());
        assert_eq!(found, Ok(expected), "case {i}");
    }
}

#[test]
fn refused() {
    let x = || raw("x", INT8, &[2, 2], &[1; 4]);
    let cases = vec![
        (vec![x(), scale(&[1.0, 2.0, 3.0])], vec![], "do not fit an operand of shape [2, 2]"),
        (vec![x(), scale(&[1.0, 2.0])], vec![int("axis", 2)], "axis 2 does not exist"),
        (vec![x(), scale(&[1.0, 2.0]), raw("z", INT8, &[1], &[0])], vec![], "zero points of shape [1]"),
        (vec![x(), scale(&[1.0, 2.0])], vec![int("block_size", -1)], "`block_size` is -1"),
        (vec![x(), scale(&[1.0, 2.0])], vec![int("block_size", 2)], "do not fit an operand"),
        (vec![x(), raw("s", INT8, &[], &[1])], vec![], "the scale is i8[], not f32"),
        (vec![x()], vec![], "has 1 operands; 2 to 3 are accepted"),
    ];
    for (constants, attributes, expected) in cases {
        let error = folded(21, "DequantizeLinear", constants, attributes).unwrap_err();
        assert!(error.contains(expected), "{error}\nis not\n{expected}");
    }
}

#[test]
fn of_data() {
    let zero = || raw("zero", INT8, &[], &[3]);
    let model = single(13, "DequantizeLinear", &["N,4"], vec![scale(&[0.5])], vec![]);
    assert_eq!(summary(&import(&model).unwrap().graph), "mul : f32[N,4]");
    let model = single(13, "DequantizeLinear", &["N,4"], vec![scale(&[0.5]), zero()], vec![]);
    assert_eq!(summary(&import(&model).unwrap().graph), "cast sub mul : f32[N,4]");
}

#[test]
fn blocks_of_data() {
    let blocks = |op: &str, shape: &str| {
        let attributes = vec![int("axis", 1), int("block_size", 2)];
        let model = single(21, op, &[shape], vec![floats("scale", &[1, 2], &[0.5, 2.0])], attributes);
        import(&model).map(|import| summary(&import.graph)).map_err(|error| error.to_string())
    };
    assert_eq!(blocks("DequantizeLinear", "N,4").unwrap(), "reshape reshape mul reshape : f32[N,4]");
    assert_eq!(
        blocks("QuantizeLinear", "N,4").unwrap(),
        "reshape reshape div round clip cast reshape : u8[N,4]"
    );
    for shape in ["N,5", "N,M"] {
        let error = blocks("DequantizeLinear", shape).unwrap_err();
        assert!(error.contains("which is no multiple of the block_size 2"), "{error}");
    }
}
