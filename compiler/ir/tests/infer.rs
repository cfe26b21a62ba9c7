//! Shape inference: operator and operand types, the result's type or the error.

#![allow(clippy::unwrap_used)] // A value that cannot be built is a failure of the test.

use std::sync::Arc;
use twnc_ir::{
    Attributes, Binary, Combine, Conv, CustomCall, CustomOperator, CustomRegistry, Dim, ElementType,
    Geometry, Op, Pad, PadMode, Pool, Quantize, ReduceKind, Slice, Tensor, TensorType, Unary, infer, text,
};

/// An operator, the types of its operands, and what is inferred: types, or an error.
type Case<'a> = (Op, &'a str, &'a str);

fn check(cases: &[Case<'_>]) {
    for (op, operands, expected) in cases {
        let types = types(operands);
        let found = match infer(op, &types.iter().collect::<Vec<_>>()) {
            Ok(types) => types.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, *expected, "{op:?} on {operands}");
    }
}

/// Types as the text form writes them, with blanks between.
fn types(list: &str) -> Vec<TensorType> {
    let inputs = list.split_whitespace().enumerate().map(|(i, ty)| format!("%{i} \"{i}\": {ty}"));
    let source = format!("graph \"g\" ({}) -> () {{}}", inputs.collect::<Vec<_>>().join(", "));
    let graph = text::parse(&source, &CustomRegistry::default()).unwrap();
    graph.inputs().iter().map(|port| graph.ty(port.value).clone()).collect()
}

/// Sizes as the text form writes them, with commas between.
fn sizes(list: &str) -> Vec<Dim> {
    types(&format!("f32[{list}]")).remove(0).shape
}

fn size(text: &str) -> Dim {
    sizes(text).remove(0)
}

#[test]
fn constants_and_sizes() {
    let tensor = || Tensor::from_f32(vec![2, 0], vec![]).unwrap();
    check(&[
        (Op::Constant(tensor()), "", "f32[2,0]"),
        (Op::Constant(tensor()), "f32[1]", "const takes no operands, not 1"),
        (Op::Dims(sizes("N,2*H-1")), "", "i64[2]"),
        (Op::Dims(vec![]), "", "i64[0]"),
        (Op::Dims(vec![]), "f32[1] f32[1]", "dims takes no operands, not 2"),
    ]);
}

#[test]
fn convolutions() {
    let conv = |stride: usize, dilation: usize, begin: usize, end: usize, groups: usize| {
        let geometry = Geometry {
            strides: vec![stride],
            dilations: vec![dilation],
            pads_begin: vec![begin],
            pads_end: vec![end],
        };
        Op::Conv(Conv { geometry, groups })
    };
    let plain = |rank: usize| Op::Conv(Conv { geometry: Geometry::unit(rank), groups: 1 });
    check(&[
        (plain(1), "f32[N,3,8] f32[4,3,3]", "f32[N,4,6]"),
        (plain(2), "f32[N,3,H,W] ternary[4,3,3,1]", "f32[N,4,H-2,W]"),
        (plain(3), "f32[1,1,2,2,2] f32[1,1,2,2,2]", "f32[1,1,1,1,1]"),
        (plain(1), "f32[0,0,5] f32[0,0,5]", "f32[0,0,1]"),
        (plain(1), "f32[N,C,8] f32[M,3,3]", "f32[N,M,6]"),
        (conv(2, 1, 1, 1, 1), "f32[N,3,H] f32[4,3,3]", "f32[N,4,(H+1)/(2)]"),
        (conv(2, 3, 1, 2, 1), "f32[1,1,9] f32[1,1,3]", "f32[1,1,3]"),
        (conv(1, 1, 0, 0, 3), "f32[1,6,5] f32[9,2,1]", "f32[1,9,5]"),
        (conv(1, 1, 0, 0, 2), "f32[1,C,5] f32[2*M,3,1]", "f32[1,2*M,5]"),
        (
            plain(1),
            "f32[1,1,0] f32[1,1,1]",
            "conv: a window of 1 does not fit into 0 elements along spatial axis 0",
        ),
        (plain(1), "f32[1,1,5] f32[1,1,0]", "conv: the kernel's extent along spatial axis 0 is 0"),
        (plain(2), "f32[1,1,5,N] f32[1,1,1,-K]", "conv: the kernel's extent along spatial axis 1 is -K"),
        (
            plain(1),
            "f32[1,1,2] f32[1,1,3]",
            "conv: a window of 3 does not fit into 2 elements along spatial axis 0",
        ),
        (
            plain(1),
            "f32[1,1,H] f32[1,1,H+1]",
            "conv: a window of H+1 does not fit into H elements along spatial axis 0",
        ),
        (plain(1), "f32[1,3,8] f32[4,2,3]", "conv: input channels: f32[1,3,8] against f32[4,2,3]"),
        (conv(1, 1, 0, 0, 2), "f32[1,6,8] f32[3,3,1]", "conv: output channels and groups: 3 against 2"),
        (conv(1, 1, 0, 0, 0), "f32[1,6,8] f32[3,3,1]", "conv: groups is 0"),
        (conv(0, 1, 0, 0, 1), "f32[1,1,8] f32[1,1,1]", "conv: a stride or dilation is 0: [0] and [1]"),
        (conv(1, 0, 0, 0, 1), "f32[1,1,8] f32[1,1,1]", "conv: a stride or dilation is 0: [1] and [0]"),
        (plain(2), "f32[1,1,8] f32[1,1,1]", "conv: strides, dilations and pads need 1 entries each"),
        (
            plain(1),
            "f32[1,1,8] f32[1,1]",
            "conv needs a weight of the same rank as the input as operand 1, not f32[1,1]",
        ),
        (
            plain(0),
            "f32[1,1] f32[1,1]",
            "conv needs [N,C] and one to three spatial axes as operand 0, not f32[1,1]",
        ),
        (plain(1), "i64[1,1,8] f32[1,1,1]", "conv does not take i64[1,1,8] as operand 0"),
        (plain(1), "f32[1,1,8] i8[1,1,1]", "conv does not take i8[1,1,1] as operand 1"),
        (plain(1), "f32[1,1,8]", "conv takes 2 operands, not 1"),
        (plain(1), "i16[N,3,8] ternary[4,3,3]", "i32[N,4,6]"),
        (
            plain(1),
            "i16[1,1,8] f32[1,1,1]",
            "conv: integers need a ternary weight: i16[1,1,8] against f32[1,1,1]",
        ),
        (
            conv(1, 1, usize::MAX, 1, 1),
            "f32[1,1,8] f32[1,1,1]",
            "conv: a size of the result is too large to be written down",
        ),
        (
            conv(1, usize::MAX, 0, 0, 1),
            "f32[1,1,8] f32[1,1,3]",
            "conv: a size of the result is too large to be written down",
        ),
    ]);
}

#[test]
fn pools() {
    let pool = |kernel: usize, stride: usize, begin: usize, end: usize, ceil: bool| {
        let geometry = Geometry {
            strides: vec![stride],
            dilations: vec![1],
            pads_begin: vec![begin],
            pads_end: vec![end],
        };
        Pool { kernel: vec![kernel], geometry, ceil }
    };
    let max = |kernel, stride, begin, end, ceil| Op::MaxPool(pool(kernel, stride, begin, end, ceil));
    let square = Pool { kernel: vec![3, 3], geometry: Geometry::unit(2), ceil: false };
    check(&[
        (max(2, 2, 0, 0, false), "f32[N,C,7]", "f32[N,C,3]"),
        (max(2, 2, 0, 0, true), "f32[N,C,7]", "f32[N,C,4]"),
        (max(2, 3, 0, 0, true), "f32[1,1,3]", "f32[1,1,1]"),
        (max(1, 3, 0, 2, true), "f32[1,1,3]", "f32[1,1,1]"),
        (max(2, 2, 0, 0, false), "f32[N,C,2*H]", "f32[N,C,H]"),
        (max(3, 2, 1, 1, false), "f32[N,C,H]", "f32[N,C,(H+1)/(2)]"),
        (max(2, 2, 0, 0, true), "f32[N,C,H]", "f32[N,C,(H+1)/(2)]"),
        (Op::AveragePool { pool: square.clone(), count_padding: true }, "f32[N,C,H,3]", "f32[N,C,H-2,1]"),
        (
            max(0, 1, 0, 0, false),
            "f32[1,1,5]",
            "max_pool: kernel [0] does not fit the spatial axes of f32[1,1,5]",
        ),
        (
            max(6, 1, 0, 0, false),
            "f32[1,1,5]",
            "max_pool: a window of 6 does not fit into 5 elements along spatial axis 0",
        ),
        (
            Op::MaxPool(square.clone()),
            "f32[1,1,5]",
            "max_pool: strides, dilations and pads need 1 entries each",
        ),
        (
            Op::MaxPool(Pool { geometry: Geometry::unit(1), ..square }),
            "f32[1,1,5]",
            "max_pool: kernel [3, 3] does not fit the spatial axes of f32[1,1,5]",
        ),
        (max(1, 0, 0, 0, false), "f32[1,1,5]", "max_pool: a stride or dilation is 0: [0] and [1]"),
        (
            max(1, 1, 0, 0, false),
            "f32[1,5]",
            "max_pool needs [N,C] and one to three spatial axes as operand 0, not f32[1,5]",
        ),
        (max(1, 1, 0, 0, false), "u8[1,1,5]", "max_pool does not take u8[1,1,5] as operand 0"),
        (
            Op::AveragePool { pool: pool(1, 1, 0, 0, false), count_padding: false },
            "f32[1,1,5] f32[1]",
            "average_pool takes 1 operand, not 2",
        ),
    ]);
}

#[test]
fn matrix_products() {
    let open =
        "matmul needs rank 2 or more (a ternary weight: rank 2, or 3 for parts of a row) as operand 1, not ";
    check(&[
        (Op::MatMul, "f32[2,3] f32[3,4]", "f32[2,4]"),
        (Op::MatMul, "f32[N,3] ternary[3,4]", "f32[N,4]"),
        (Op::MatMul, "f32[B,1,R,K] f32[5,K,M]", "f32[B,5,R,M]"),
        (Op::MatMul, "f32[2,K] f32[3,4]", "f32[2,4]"),
        (Op::MatMul, "f32[0,0] f32[0,2]", "f32[0,2]"),
        (Op::MatMul, "f32[2,3] f32[4,3]", "matmul: inner sizes: f32[2,3] against f32[4,3]"),
        (Op::MatMul, "f32[2,1,3] f32[3,3,1]", "matmul: shapes do not broadcast: [2] against [3]"),
        (Op::MatMul, "f32[3] f32[3,4]", "matmul needs rank 2 or more as operand 0, not f32[3]"),
        (Op::MatMul, "f32[2,3] f32[3]", &format!("{open}f32[3]")),
        (Op::MatMul, "f32[2,3] ternary[1,3,4]", &format!("{open}ternary[1,3,4]")),
        (Op::MatMul, "f32[N,2,1,3] ternary[2,3,4]", "f32[N,2,1,4]"),
        (Op::MatMul, "f32[2,1,3] ternary[2,3,4]", &format!("{open}ternary[2,3,4]")),
        (Op::MatMul, "f32[N,2,5,3] ternary[2,3,4]", &format!("{open}ternary[2,3,4]")),
        (Op::MatMul, "f32[N,3,1,3] ternary[2,3,4]", &format!("{open}ternary[2,3,4]")),
        (Op::MatMul, "ternary[2,3] f32[3,4]", "matmul does not take ternary[2,3] as operand 0"),
        (Op::MatMul, "f32[2,3] i32[3,4]", "matmul does not take i32[3,4] as operand 1"),
        (Op::MatMul, "f32[2,3]", "matmul takes 2 operands, not 1"),
        (Op::MatMul, "i16[N,3] ternary[3,4]", "i32[N,4]"),
        (
            Op::MatMul,
            "i16[2,3] f32[3,4]",
            "matmul: integers need a ternary weight: i16[2,3] against f32[3,4]",
        ),
        (Op::MatMul, "i16[2,3] i16[3,4]", "matmul does not take i16[3,4] as operand 1"),
        (Op::MatMul, "i32[2,3] ternary[3,4]", "matmul does not take i32[2,3] as operand 0"),
    ]);
}

#[test]
fn quantisations() {
    let quantize = |bits, scale| Op::Quantize(Quantize { bits, signed: true, scale });
    let no_scale = |scale: &str| format!("quantize: scale is {scale}, not a positive, finite number");
    check(&[
        (quantize(2, None), "f32[N]", "i16[N] f32[N]"),
        (quantize(12, Some(1e-45)), "f32[2*N,C,8,W]", "i16[2*N,C,8,W] f32[2*N,1,1,1]"),
        (quantize(8, None), "f32[0,3]", "i16[0,3] f32[0,1]"),
        (quantize(8, None), "f32[]", "quantize needs rank 1 or more as operand 0, not f32[]"),
        (quantize(8, None), "i16[2]", "quantize does not take i16[2] as operand 0"),
        (quantize(8, None), "f32[2] f32[2]", "quantize takes 1 operand, not 2"),
        (quantize(1, None), "f32[2]", "quantize: bits is 1, not in 2 to 12"),
        (quantize(13, None), "f32[2]", "quantize: bits is 13, not in 2 to 12"),
        (quantize(8, Some(f32::NAN)), "f32[2]", &no_scale("NaN")),
        (quantize(8, Some(f32::INFINITY)), "f32[2]", &no_scale("inf")),
        (quantize(8, Some(0.0)), "f32[2]", &no_scale("0.0")),
        (quantize(8, Some(-1.0)), "f32[2]", &no_scale("-1.0")),
    ]);
}

#[test]
fn functions_of_one_number() {
    let floats = [
        Unary::LeakyRelu { slope: 0.1 },
        Unary::Clip { min: 0.0, max: 1.0 },
        Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Unary::HardSwish,
        Unary::Sqrt,
        Unary::Reciprocal,
        Unary::Sigmoid,
        Unary::Tanh,
        Unary::Exp,
        Unary::Log,
        Unary::Erf,
    ];
    for f in floats {
        let refused = format!("{} does not take i32[2] as operand 0", f.mnemonic());
        check(&[(Op::Unary(f), "f32[N,0]", "f32[N,0]"), (Op::Unary(f), "i32[2]", &refused)]);
    }
    for f in [Unary::Relu, Unary::Neg, Unary::Abs] {
        for ty in ["f32[N]", "i8[N]", "u8[N]", "i16[N]", "i32[N]", "i64[N]"] {
            check(&[(Op::Unary(f), ty, ty)]);
        }
    }
    check(&[
        (Op::Unary(Unary::Relu), "bool[2]", "relu does not take bool[2] as operand 0"),
        (Op::Unary(Unary::Neg), "ternary[2]", "neg does not take ternary[2] as operand 0"),
        (Op::Unary(Unary::Abs), "", "abs takes 1 operand, not 0"),
    ]);
}

#[test]
fn functions_of_two_numbers() {
    for f in Binary::ALL {
        let op = Op::Binary(f);
        let word = f.mnemonic();
        check(&[
            (op.clone(), "f32[N,1,3] f32[5,1]", "f32[N,5,3]"),
            (op.clone(), "f32[] f32[2,N]", "f32[2,N]"),
            (op.clone(), "f32[N] f32[7]", "f32[7]"),
            (op.clone(), "f32[N] f32[M]", "f32[N]"),
            (op.clone(), "f32[1] f32[0]", "f32[0]"),
            (op.clone(), "f32[2] f32[3]", &format!("{word}: shapes do not broadcast: [2] against [3]")),
            (op.clone(), "f32[2] i64[2]", &format!("{word}: element types: f32[2] against i64[2]")),
            (op.clone(), "i8[2] i8[2]", &format!("{word} does not take i8[2] as operand 0")),
            (op.clone(), "f32[2]", &format!("{word} takes 2 operands, not 1")),
        ]);
        let integers = match f {
            Binary::Pow | Binary::PRelu => format!("{word} does not take i64[N] as operand 0"),
            _ => "i64[N,N]".to_owned(),
        };
        check(&[(op, "i64[N] i64[N,1]", &integers)]);
    }
    check(&[
        (Op::Binary(Binary::Add), "i32[2] i32[]", "i32[2]"),
        (Op::Binary(Binary::Add), "i32[2] i64[2]", "add: element types: i32[2] against i64[2]"),
    ]);
}

#[test]
fn normalisations() {
    let op = || Op::BatchNorm { epsilon: 1e-5 };
    check(&[
        (op(), "f32[N,3,H,W] f32[3] f32[3] f32[3] f32[3]", "f32[N,3,H,W]"),
        (op(), "f32[N,C] f32[3] f32[C] f32[D] f32[3]", "f32[N,C]"),
        (
            op(),
            "f32[3] f32[3] f32[3] f32[3] f32[3]",
            "batch_norm needs rank 2 or more as operand 0, not f32[3]",
        ),
        (op(), "f32[1,3] f32[3] f32[3] f32[4] f32[3]", "batch_norm: channels: f32[1,3] against f32[4]"),
        (op(), "f32[1,3] f32[3] f32[3,1] f32[3] f32[3]", "batch_norm: channels: f32[1,3] against f32[3,1]"),
        (op(), "f32[1,3] f32[3] f32[3] f32[3] i32[3]", "batch_norm does not take i32[3] as operand 4"),
        (op(), "f32[1,3] f32[3]", "batch_norm takes 5 operands, not 2"),
    ]);
}

#[test]
fn reductions() {
    let reduce =
        |axes: &[usize], keep_dims| Op::Reduce { kind: ReduceKind::Sum, axes: axes.to_vec(), keep_dims };
    let softmax = |axes: &[usize]| Op::Softmax { axes: axes.to_vec() };
    check(&[
        (reduce(&[1], false), "f32[N,3,H]", "f32[N,H]"),
        (reduce(&[1], true), "f32[N,3,H]", "f32[N,1,H]"),
        (reduce(&[0, 1, 2], false), "f32[N,3,0]", "f32[]"),
        (reduce(&[0], false), "i64[3]", "reduce_sum does not take i64[3] as operand 0"),
        (reduce(&[], false), "f32[3]", "reduce_sum: axes [] do not fit rank 1"),
        (reduce(&[1], false), "f32[3]", "reduce_sum: axes [1] do not fit rank 1"),
        (reduce(&[1, 0], false), "f32[3,3]", "reduce_sum: axes [1, 0] do not fit rank 2"),
        (reduce(&[0, 0], false), "f32[3,3]", "reduce_sum: axes [0, 0] do not fit rank 2"),
        (reduce(&[0], false), "", "reduce_sum takes 1 operand, not 0"),
        (softmax(&[0, 1]), "f32[N,0]", "f32[N,0]"),
        (softmax(&[2]), "f32[N,3]", "softmax: axes [2] do not fit rank 2"),
        (softmax(&[0]), "bool[2]", "softmax does not take bool[2] as operand 0"),
    ]);
}

#[test]
fn shapes() {
    let reshape = |shape: &str| Op::Reshape { shape: sizes(shape) };
    let broadcast = |shape: &str| Op::Broadcast { shape: sizes(shape) };
    let transpose = |perm: &[usize]| Op::Transpose { perm: perm.to_vec() };
    check(&[
        (reshape("N,12"), "f32[N,3,4]", "f32[N,12]"),
        (reshape(""), "i8[1,1]", "i8[]"),
        (reshape("0,5"), "f32[0]", "f32[0,5]"),
        (reshape("M"), "f32[2,N]", "f32[M]"),
        (reshape("5"), "f32[2,3]", "reshape: number of elements: 6 against 5"),
        (reshape("-2,-3"), "f32[2,3]", "reshape: a size is -2"),
        (reshape("-N,M"), "f32[2,3]", "reshape: a size is -N"),
        (
            reshape("4294967296,4294967296"),
            "f32[2]",
            "reshape: a size of the result is too large to be written down",
        ),
        (reshape("2"), "ternary[2]", "reshape does not take ternary[2] as operand 0"),
        (reshape("2"), "", "reshape takes 1 operand, not 0"),
        (transpose(&[2, 0, 1]), "bool[N,3,H]", "bool[H,N,3]"),
        (transpose(&[]), "f32[]", "f32[]"),
        (transpose(&[0]), "f32[2,3]", "transpose: [0] does not permute the 2 axes"),
        (transpose(&[0, 0]), "f32[2,3]", "transpose: [0, 0] does not permute the 2 axes"),
        (transpose(&[0, 2]), "f32[2,3]", "transpose: [0, 2] does not permute the 2 axes"),
        (transpose(&[1, 0]), "ternary[2,2]", "transpose does not take ternary[2,2] as operand 0"),
        (broadcast("2,N,3"), "u8[1,3]", "u8[2,N,3]"),
        (broadcast("7"), "f32[N]", "f32[7]"),
        (broadcast("3"), "f32[2]", "broadcast: shapes do not broadcast: [2] against [3]"),
        (broadcast("1"), "f32[2]", "broadcast: shapes: f32[2] against f32[1]"),
        (broadcast("2"), "f32[1,2]", "broadcast: shapes: f32[1,2] against f32[2]"),
        (broadcast("-1"), "f32[1]", "broadcast: a size is -1"),
        (broadcast("2"), "ternary[1]", "broadcast does not take ternary[1] as operand 0"),
    ]);
}

#[test]
fn parts_and_surroundings() {
    let concat = |axis| Op::Concat { axis };
    let gather = |axis| Op::Gather { axis };
    let slice = |start: &str, count: &str, step| {
        Op::Slice(Slice { axis: 1, start: size(start), size: size(count), step })
    };
    let pad = |begin: &[usize], end: &[usize], mode| {
        Op::Pad(Pad { begin: begin.to_vec(), end: end.to_vec(), mode })
    };
    check(&[
        (concat(1), "f32[N,2] f32[N,H] f32[N,0]", "f32[N,H+2]"),
        (concat(0), "i64[2]", "i64[2]"),
        (concat(0), "f32[1,N] f32[1,7]", "f32[2,7]"),
        (concat(0), "", "concat takes 1 or more operands, not 0"),
        (concat(1), "f32[2]", "concat: axes [1] do not fit rank 1"),
        (concat(0), "f32[2,3] f32[2,4]", "concat: operands: f32[2,3] against f32[2,4]"),
        (concat(0), "f32[2] i32[2]", "concat: operands: f32[2] against i32[2]"),
        (concat(0), "f32[2] f32[2,1]", "concat: operands: f32[2] against f32[2,1]"),
        (concat(0), "ternary[2] ternary[2]", "concat does not take ternary[2] as operand 0"),
        (
            concat(0),
            "f32[9223372036854775807] f32[1]",
            "concat: a size of the result is too large to be written down",
        ),
        (slice("1", "2", 1), "f32[N,3]", "f32[N,2]"),
        (slice("2", "3", -1), "f32[N,3]", "f32[N,3]"),
        (slice("3", "0", 1), "f32[N,3]", "f32[N,0]"),
        (slice("0", "H-1", 1), "f32[N,H]", "f32[N,H-1]"),
        (slice("H-1", "H", -1), "f32[N,H]", "f32[N,H]"),
        (slice("5", "2", 1), "f32[N,H]", "f32[N,2]"),
        (slice("H", "H/2", 1), "f32[N,H]", "f32[N,(H)/(2)]"),
        (slice("2", "2", 1), "f32[N,3]", "slice: 2 elements from 2 by 1 leave an axis of 3"),
        (slice("0", "2", -1), "f32[N,3]", "slice: 2 elements from 0 by -1 leave an axis of 3"),
        (slice("-1", "1", 1), "f32[N,H]", "slice: 1 elements from -1 by 1 leave an axis of H"),
        (slice("0", "H+1", 1), "f32[N,H]", "slice: H+1 elements from 0 by 1 leave an axis of H"),
        (slice("0", "2", -1), "f32[N,H]", "slice: 2 elements from 0 by -1 leave an axis of H"),
        (
            slice("1", "2", i64::MAX),
            "f32[N,3]",
            "slice: 2 elements from 1 by 9223372036854775807 leave an axis of 3",
        ),
        (slice("0", "-1", 1), "f32[N,3]", "slice: a size is -1"),
        (slice("0", "1", 0), "f32[N,3]", "slice: step is 0"),
        (slice("0", "1", 1), "f32[3]", "slice: axes [1] do not fit rank 1"),
        (slice("0", "1", 1), "ternary[1,3]", "slice does not take ternary[1,3] as operand 0"),
        (pad(&[1, 0], &[0, 2], PadMode::Constant(0.0)), "i8[N,3]", "i8[N+1,5]"),
        (pad(&[2], &[1], PadMode::Reflect), "f32[3]", "f32[6]"),
        (pad(&[9], &[0], PadMode::Reflect), "f32[N]", "f32[N+9]"),
        (pad(&[9], &[0], PadMode::Edge), "f32[1]", "f32[10]"),
        (pad(&[0], &[0], PadMode::Reflect), "f32[0]", "f32[0]"),
        (pad(&[3], &[0], PadMode::Reflect), "f32[3]", "pad: an axis of 3 has nothing to pad 3 elements with"),
        (pad(&[0], &[1], PadMode::Edge), "f32[0]", "pad: an axis of 0 has nothing to pad 1 elements with"),
        (pad(&[0], &[0], PadMode::Edge), "f32[1,1]", "pad: begin and end need 2 entries each"),
        (
            pad(&[usize::MAX], &[1], PadMode::Edge),
            "f32[1]",
            "pad: a size of the result is too large to be written down",
        ),
        (pad(&[0], &[0], PadMode::Edge), "ternary[1]", "pad does not take ternary[1] as operand 0"),
        (gather(1), "bool[N,9,H] i64[2,M]", "bool[N,2,M,H]"),
        (gather(0), "f32[9] i32[]", "f32[]"),
        (gather(0), "f32[9] f32[1]", "gather does not take f32[1] as operand 1"),
        (gather(0), "f32[] i64[1]", "gather: axes [0] do not fit rank 0"),
        (gather(0), "ternary[9] i64[1]", "gather does not take ternary[9] as operand 0"),
        (gather(0), "f32[9]", "gather takes 2 operands, not 1"),
    ]);
}

#[test]
fn what_order_decides() {
    let iota = |count: &str| Op::Iota { size: size(count) };
    let scatter = |combine| Op::Scatter { combine };
    let cumulative = |combine, axis| Op::Cumulative { combine, axis };
    let top_k = |axis, k: &str| Op::TopK { axis, k: size(k), largest: true };
    check(&[
        (iota("N"), "", "i64[N]"),
        (iota("0"), "", "i64[0]"),
        (iota("-1"), "", "iota: a size is -1"),
        (iota("3"), "f32[3]", "iota takes no operands, not 1"),
        (scatter(None), "bool[N,3] i64[K] bool[K,3]", "bool[N,3]"),
        (scatter(Some(Combine::Max)), "i32[9] i32[2] i32[2]", "i32[9]"),
        (scatter(Some(Combine::Add)), "u8[9] i64[2] u8[2]", "scatter does not take u8[9] as operand 0"),
        (scatter(None), "ternary[9] i64[2] ternary[2]", "scatter does not take ternary[9] as operand 0"),
        (scatter(None), "f32[9] f32[2] f32[2]", "scatter does not take f32[2] as operand 1"),
        (scatter(None), "f32[9,2] i64[2] f32[2]", "scatter: updates: f32[2,2] against f32[2]"),
        (scatter(None), "f32[9] i64[2] i64[2]", "scatter: updates: f32[2] against i64[2]"),
        (scatter(None), "f32[9] i64[2,1] f32[2]", "scatter needs rank 1 as operand 1, not i64[2,1]"),
        (scatter(None), "f32[] i64[2] f32[2]", "scatter needs rank 1 or more as operand 0, not f32[]"),
        (cumulative(Combine::Add, 1), "f32[N,L]", "f32[N,L]"),
        (cumulative(Combine::Mul, 0), "i64[0]", "i64[0]"),
        (cumulative(Combine::Min, 0), "f32[2]", "cumulative: combine is min; it is add or mul"),
        (cumulative(Combine::Add, 1), "f32[2]", "cumulative: axes [1] do not fit rank 1"),
        (cumulative(Combine::Add, 0), "i8[2]", "cumulative does not take i8[2] as operand 0"),
        (top_k(1, "2"), "i32[N,L]", "i32[N,2] i64[N,2]"),
        (top_k(0, "K"), "f32[5]", "f32[K] i64[K]"),
        (top_k(0, "6"), "f32[5]", "top_k: k is 6; the axis has 5 elements"),
        (top_k(0, "-1"), "f32[5]", "top_k: k is -1; the axis has 5 elements"),
        (top_k(0, "1"), "bool[5]", "top_k does not take bool[5] as operand 0"),
        (top_k(0, "1"), "f32[]", "top_k: axes [0] do not fit rank 0"),
    ]);
}

#[test]
fn casts() {
    for (to, word) in ElementType::ALL {
        let expected = match to {
            ElementType::Ternary => {
                "cast: nothing is cast to ternary; a pass makes such constants".to_owned()
            }
            _ => format!("{word}[N,2]"),
        };
        for from in ["f32[N,2]", "bool[N,2]", "i64[N,2]"] {
            check(&[(Op::Cast { to }, from, &expected)]);
        }
    }
    let to = ElementType::F32;
    check(&[
        (Op::Cast { to }, "ternary[2]", "cast does not take ternary[2] as operand 0"),
        (Op::Cast { to }, "", "cast takes 1 operand, not 0"),
    ]);
}

/// An operator whose results are given.
struct Gives(Result<Vec<TensorType>, String>);

impl CustomOperator for Gives {
    fn name(&self) -> &str {
        "test::gives"
    }

    fn infer(&self, _: &Attributes, _: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        self.0.clone()
    }

    fn evaluate(&self, _: &Attributes, _: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Err("it has no value".into())
    }
}

#[test]
fn custom_operators() {
    let gives = |results: Result<&str, &str>| {
        let operator = Gives(results.map(types).map_err(str::to_owned));
        Op::Custom(CustomCall { operator: Arc::new(operator), attributes: Attributes::new() })
    };
    check(&[
        (gives(Ok("f32[N] i64[2]")), "f32[1] bool[2]", "f32[N] i64[2]"),
        (gives(Ok("")), "", "custom operator `test::gives`: its shape rule gives no result"),
        (gives(Err("it is Monday")), "", "custom operator `test::gives`: it is Monday"),
        (gives(Ok("f32[2,-1]")), "", "custom: a size is -1"),
    ]);
}
