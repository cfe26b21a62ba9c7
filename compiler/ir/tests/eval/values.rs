//! Each operator on ordinary values, and on special ones where they share a case.

use crate::{INF, NAN, conv, dims, expect, expect_data, f32s, geometry, i64s, trits};
use twnc_ir::eval::{EvalError, apply};
use twnc_ir::{Binary, Data, Dim, ElementType, Op, Pad, PadMode, Pool, ReduceKind, Slice, Tensor, Unary};

#[test]
fn functions_of_one_number() {
    let sixth = 1.0f32 / 6.0;
    let cases: &[(Unary, &[(f32, f32)])] = &[
        (Unary::Relu, &[(-1.0, 0.0), (-0.0, -0.0), (2.0, 2.0), (NAN, NAN), (-INF, 0.0), (INF, INF)]),
        (Unary::LeakyRelu { slope: 0.5 }, &[(-3.0, -1.5), (-0.0, -0.0), (3.0, 3.0), (NAN, NAN)]),
        (Unary::Clip { min: -1.0, max: 2.0 }, &[(-5.0, -1.0), (5.0, 2.0), (0.5, 0.5), (NAN, NAN)]),
        (Unary::Clip { min: 3.0, max: 1.0 }, &[(0.0, 1.0), (2.0, 1.0), (9.0, 1.0)]),
        (
            Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
            &[(0.0, 0.5), (9.0, 1.0), (-9.0, 0.0), (1.0, 0.2 + 0.5), (NAN, NAN)],
        ),
        (
            Unary::HardSwish,
            &[(3.0, 3.0), (-3.0, 0.0 * -3.0), (1.0, sixth + 0.5), (-4.0, -0.0), (NAN, NAN), (-INF, NAN)],
        ),
        (Unary::Neg, &[(0.0, -0.0), (-2.0, 2.0), (INF, -INF)]),
        (Unary::Abs, &[(-0.0, 0.0), (-2.0, 2.0), (-INF, INF)]),
        (Unary::Sqrt, &[(4.0, 2.0), (-0.0, -0.0), (-1.0, NAN), (INF, INF)]),
        (Unary::Reciprocal, &[(4.0, 0.25), (0.0, INF), (-0.0, -INF), (-INF, -0.0)]),
        (Unary::Sigmoid, &[(0.0, 0.5), (INF, 1.0), (-INF, 0.0), (NAN, NAN), (1.0, 0.731_058_6)]),
        (Unary::Tanh, &[(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (0.5, 0.462_117_16)]),
        (Unary::Exp, &[(0.0, 1.0), (1.0, std::f32::consts::E), (-INF, 0.0), (INF, INF), (89.0, INF)]),
        (Unary::Log, &[(1.0, 0.0), (0.0, -INF), (-1.0, NAN), (INF, INF), (2.0, std::f32::consts::LN_2)]),
        (
            Unary::Erf,
            &[
                (0.0, 0.0),
                (-0.0, -0.0),
                (0.5, 0.520_499_9),
                (-1.0, -0.842_700_8),
                (2.0, 0.995_322_3),
                (3.0, 0.999_977_9),
                (INF, 1.0),
                (-INF, -1.0),
                (-7.0, -1.0),
                (NAN, NAN),
                (1e-40, 1.128_37e-40),
            ],
        ),
    ];
    for (f, pairs) in cases {
        let (x, y): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
        expect(Op::Unary(*f), &[f32s(&[x.len()], &x)], &[y.len()], &y);
    }
}

#[test]
fn functions_of_one_integer() {
    let bytes = |v: &[i8]| Tensor::new(vec![v.len()], Data::I8(v.into())).unwrap();
    expect_data(Op::Unary(Unary::Neg), &[bytes(&[1, -128, 0])], Data::I8([-1, -128, 0].into()));
    expect_data(Op::Unary(Unary::Abs), &[bytes(&[-3, -128, 4])], Data::I8([3, -128, 4].into()));
    expect_data(Op::Unary(Unary::Relu), &[i64s(&[2], &[-3, 7])], Data::I64([0, 7].into()));
    let unsigned = Tensor::new(vec![2], Data::U8([1, 200].into())).unwrap();
    expect_data(Op::Unary(Unary::Neg), std::slice::from_ref(&unsigned), Data::U8([255, 56].into()));
    expect_data(Op::Unary(Unary::Abs), &[unsigned], Data::U8([1, 200].into()));
    assert!(apply(&Op::Unary(Unary::Exp), &[bytes(&[1])]).is_err());
}

#[test]
fn functions_of_two_numbers() {
    type Row = (Binary, &'static [(f32, f32, f32)]);
    let cases: &[Row] = &[
        (Binary::Add, &[(1.0, 2.0, 3.0), (-0.0, -0.0, -0.0), (INF, -INF, NAN)]),
        (Binary::Sub, &[(1.0, 2.0, -1.0), (0.0, 0.0, 0.0)]),
        (Binary::Mul, &[(3.0, -0.0, -0.0), (INF, 0.0, NAN)]),
        (Binary::Div, &[(1.0, 0.0, INF), (0.0, 0.0, NAN), (1.0, 3.0, 1.0 / 3.0)]),
        (
            Binary::Min,
            &[(0.0, -0.0, -0.0), (-0.0, 0.0, -0.0), (NAN, 1.0, NAN), (1.0, NAN, NAN), (1.0, 2.0, 1.0)],
        ),
        (
            Binary::Max,
            &[(0.0, -0.0, 0.0), (-0.0, 0.0, 0.0), (NAN, 1.0, NAN), (1.0, NAN, NAN), (1.0, 2.0, 2.0)],
        ),
        (Binary::Pow, &[(2.0, 10.0, 1024.0), (NAN, 0.0, 1.0), (-8.0, 3.0, -512.0), (-8.0, 0.5, NAN)]),
        (Binary::PRelu, &[(-2.0, 0.25, -0.5), (2.0, 0.25, 2.0), (-0.0, 3.0, -0.0), (NAN, 1.0, NAN)]),
    ];
    for (f, rows) in cases {
        let column = |of: fn(&(f32, f32, f32)) -> f32| rows.iter().map(of).collect::<Vec<_>>();
        let (a, b, y) = (column(|r| r.0), column(|r| r.1), column(|r| r.2));
        let n = rows.len();
        expect(Op::Binary(*f), &[f32s(&[n], &a), f32s(&[n], &b)], &[n], &y);
    }
    let (column, row) = (f32s(&[2, 1], &[10.0, 20.0]), f32s(&[3], &[1.0, 2.0, 3.0]));
    expect(Op::Binary(Binary::Add), &[column, row], &[2, 3], &[11.0, 12.0, 13.0, 21.0, 22.0, 23.0]);
    expect(Op::Binary(Binary::Sub), &[Tensor::scalar(1.0), f32s(&[1, 0], &[])], &[1, 0], &[]);
}

#[test]
fn functions_of_two_integers() {
    let cases: &[(Binary, i64, i64, i64)] = &[
        (Binary::Add, i64::MAX, 1, i64::MIN),
        (Binary::Sub, i64::MIN, 1, i64::MAX),
        (Binary::Mul, i64::MAX, 2, -2),
        (Binary::Div, -7, 2, -3),
        (Binary::Div, i64::MIN, -1, i64::MIN),
        (Binary::Min, -7, 2, -7),
        (Binary::Max, -7, 2, 2),
    ];
    for &(f, a, b, y) in cases {
        expect_data(Op::Binary(f), &[i64s(&[1], &[a]), i64s(&[1], &[b])], Data::I64([y].into()));
    }
    let narrow = |n: i32| Tensor::new(vec![1], Data::I32([n].into())).unwrap();
    let narrow_cases = [
        (Binary::Mul, i32::MAX, i32::MAX, 1),
        (Binary::Div, i32::MIN, -1, i32::MIN),
        (Binary::Add, i32::MAX, 1, i32::MIN),
    ];
    for (f, a, b, y) in narrow_cases {
        expect_data(Op::Binary(f), &[narrow(a), narrow(b)], Data::I32([y].into()));
    }
    let by_zero = apply(&Op::Binary(Binary::Div), &[i64s(&[1], &[1]), i64s(&[1], &[0])]);
    assert_eq!(by_zero, Err(EvalError::DivisionByZero));
}

#[test]
fn batch_norm_is_rounded_once() {
    let x = f32s(&[1, 2, 2], &[1.0, 2.0, 3.0, NAN]);
    let parameters = [[2.0, 1.0], [0.5, -1.0], [1.0, 1.0], [3.75, 0.0]].map(|list| f32s(&[2], &list));
    let operands = [&[x], parameters.as_slice()].concat();
    expect(Op::BatchNorm { epsilon: 0.25 }, &operands, &[1, 2, 2], &[0.5, 1.5, 3.0, NAN]);
    let scale = (0.1f64 * f64::from(0.3f32) / (f64::from(0.7f32)).sqrt()) as f32;
    let one = |x: f32| f32s(&[1], &[x]);
    let x = f32s(&[1, 1], &[0.3]);
    let found = apply(&Op::BatchNorm { epsilon: 0.0 }, &[x, one(0.1), one(0.0), one(0.0), one(0.7)]).unwrap();
    assert!((found[0].as_f32().unwrap()[0] - scale).abs() <= scale * f32::EPSILON);
}

#[test]
fn convolutions() {
    let line = f32s(&[1, 1, 5], &[1.0, 2.0, 3.0, 4.0, 5.0]);
    let w = f32s(&[1, 1, 2], &[1.0, 10.0]);
    let x = std::slice::from_ref(&line);
    let with = |w: &Tensor| [x, std::slice::from_ref(w)].concat();
    expect(conv(&[1], &[1], &[0], &[0], 1), &with(&w), &[1, 1, 4], &[21.0, 32.0, 43.0, 54.0]);
    expect(conv(&[2], &[1], &[1], &[0], 1), &with(&w), &[1, 1, 3], &[10.0, 32.0, 54.0]);
    expect(conv(&[1], &[3], &[0], &[2], 1), &with(&w), &[1, 1, 4], &[41.0, 52.0, 3.0, 4.0]);
    expect(conv(&[1], &[1], &[3], &[0], 1), &with(&w), &[1, 1, 7], &[0.0, 0.0, 10.0, 21.0, 32.0, 43.0, 54.0]);
    let signs = trits(&[2, 1, 2], &[1, -1, 0, 1]);
    let (down, next) = ([-1.0; 4], [2.0, 3.0, 4.0, 5.0]);
    expect(conv(&[1], &[1], &[0], &[0], 1), &with(&signs), &[1, 2, 4], &[down, next].concat());

    let image = f32s(&[1, 2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let unit = [1usize, 1];
    let none = [0usize, 0];
    let both = f32s(&[1, 2, 2, 2], &[1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    expect(conv(&unit, &unit, &none, &none, 1), &[image.clone(), both], &[1, 1, 1, 1], &[18.0]);
    let depthwise = trits(&[2, 1, 1, 2], &[1, 1, 1, -1]);
    expect(
        conv(&unit, &unit, &none, &none, 2),
        &[image.clone(), depthwise],
        &[1, 2, 2, 1],
        &[3.0, 7.0, -1.0, -1.0],
    );
    let ones = f32s(&[1, 2, 3, 3], &[1.0; 18]);
    expect(conv(&[2, 2], &unit, &unit, &unit, 1), &[image.clone(), ones], &[1, 1, 1, 1], &[36.0]);

    let cube = f32s(&[1, 1, 2, 2, 2], image.as_f32().unwrap());
    let diagonal = trits(&[1, 1, 2, 2, 2], &[1, 0, 0, 0, 0, 0, 0, -1]);
    expect(conv(&[1; 3], &[1; 3], &[0; 3], &[0; 3], 1), &[cube, diagonal], &[1, 1, 1, 1, 1], &[-7.0]);
}

#[test]
fn products_are_summed_in_f64_and_keep_specials() {
    let x = f32s(&[1, 3], &[1e8, 1.0, -1e8]);
    expect(Op::MatMul, &[x.clone(), f32s(&[3, 1], &[1.0; 3])], &[1, 1], &[1.0]);
    expect(Op::MatMul, &[x, trits(&[3, 2], &[1, 0, 1, -1, 1, 0])], &[1, 2], &[1.0, -1.0]);
    let special = f32s(&[1, 2], &[NAN, 2.0]);
    expect(Op::MatMul, &[special.clone(), f32s(&[2, 1], &[0.0, 1.0])], &[1, 1], &[NAN]);
    expect(Op::MatMul, &[special, trits(&[2, 1], &[0, 1])], &[1, 1], &[2.0]);
    expect(Op::MatMul, &[f32s(&[1, 1], &[-0.0]), f32s(&[1, 1], &[1.0])], &[1, 1], &[0.0]);
    expect(Op::MatMul, &[f32s(&[1, 0], &[]), f32s(&[0, 2], &[])], &[1, 2], &[0.0, 0.0]);
    let (a, b) = (f32s(&[2, 1, 1, 2], &[1.0, 2.0, 3.0, 4.0]), f32s(&[2, 2, 1], &[1.0, 0.0, 0.0, 1.0]));
    expect(Op::MatMul, &[a, b], &[2, 2, 1, 1], &[1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn pools() {
    let x = f32s(&[1, 1, 5], &[-1.0, NAN, -3.0, 4.0, 5.0]);
    let pool = |kernel: usize, stride, begin, end, ceil| Pool {
        kernel: vec![kernel],
        geometry: geometry(&[stride], &[1], &[begin], &[end]),
        ceil,
    };
    let max = |p: Pool, y: &[f32]| expect(Op::MaxPool(p), std::slice::from_ref(&x), &[1, 1, y.len()], y);
    max(pool(2, 1, 0, 0, false), &[-1.0, -3.0, 4.0, 5.0]);
    max(pool(2, 2, 0, 0, false), &[-1.0, 4.0]);
    max(pool(2, 2, 0, 0, true), &[-1.0, 4.0, 5.0]);
    max(pool(1, 1, 0, 0, false), &[-1.0, -INF, -3.0, 4.0, 5.0]);
    max(pool(2, 3, 2, 0, false), &[-INF, -3.0]);

    let x = f32s(&[1, 1, 5], &[1.0, 2.0, 3.0, 4.0, 6.0]);
    let average = |p: Pool, count_padding, y: &[f32]| {
        let op = Op::AveragePool { pool: p, count_padding };
        expect(op, std::slice::from_ref(&x), &[1, 1, y.len()], y);
    };
    average(pool(2, 2, 0, 0, false), false, &[1.5, 3.5]);
    average(pool(2, 2, 1, 0, false), false, &[1.0, 2.5, 5.0]);
    average(pool(2, 2, 1, 0, false), true, &[0.5, 2.5, 5.0]);
    average(pool(2, 2, 0, 0, true), false, &[1.5, 3.5, 6.0]);
    average(pool(2, 2, 0, 0, true), true, &[1.5, 3.5, 6.0]);
    average(pool(2, 2, 0, 1, true), true, &[1.5, 3.5, 3.0]);
    average(pool(1, 3, 2, 0, false), false, &[NAN, 2.0, 6.0]);

    let square =
        Pool { kernel: vec![2, 2], geometry: geometry(&[1, 1], &[2, 1], &[0, 0], &[0, 0]), ceil: false };
    let image = f32s(&[1, 1, 3, 2], &[1.0, 2.0, 9.0, 9.0, 5.0, 6.0]);
    expect(Op::MaxPool(square.clone()), std::slice::from_ref(&image), &[1, 1, 1, 1], &[6.0]);
    expect(Op::AveragePool { pool: square, count_padding: false }, &[image], &[1, 1, 1, 1], &[3.5]);
}

#[test]
fn reductions_and_softmax() {
    let x = f32s(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, NAN]);
    let reduce = |kind, axes: &[usize], keep_dims| Op::Reduce { kind, axes: axes.to_vec(), keep_dims };
    let of = std::slice::from_ref(&x);
    expect(reduce(ReduceKind::Sum, &[0], false), of, &[3], &[5.0, 7.0, NAN]);
    expect(reduce(ReduceKind::Mean, &[1], true), of, &[2, 1], &[2.0, NAN]);
    expect(reduce(ReduceKind::Max, &[1], false), of, &[2], &[3.0, NAN]);
    expect(reduce(ReduceKind::Min, &[0, 1], true), of, &[1, 1], &[NAN]);
    let zeros = f32s(&[2], &[0.0, -0.0]);
    expect(reduce(ReduceKind::Max, &[0], false), std::slice::from_ref(&zeros), &[], &[0.0]);
    expect(reduce(ReduceKind::Min, &[0], false), &[zeros], &[], &[-0.0]);
    let large = f32s(&[3], &[1e8, 1.0, -1e8]);
    expect(reduce(ReduceKind::Sum, &[0], false), &[large], &[], &[1.0]);
    for (kind, of_nothing) in ReduceKind::ALL.map(|(kind, _)| kind).into_iter().zip([0.0, NAN, -INF, INF]) {
        expect(reduce(kind, &[1], false), &[f32s(&[2, 0], &[])], &[2], &[of_nothing; 2]);
    }

    let softmax = |axes: &[usize], x: &[f32], y: &[f32]| {
        expect(Op::Softmax { axes: axes.to_vec() }, &[f32s(&[2, 2], x)], &[2, 2], y);
    };
    softmax(&[1], &[1.0, 1.0, 1000.0, -1000.0], &[0.5, 0.5, 1.0, 0.0]);
    softmax(&[0, 1], &[2.0; 4], &[0.25; 4]);
    softmax(&[0], &[NAN, 0.0, 0.0, -INF], &[NAN, 1.0, NAN, 0.0]);
    softmax(&[1], &[INF, 0.0, -INF, -INF], &[NAN; 4]);
}

#[test]
fn moves() {
    let x = f32s(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let of = std::slice::from_ref(&x);
    let slice = |axis, start, size, step| {
        Op::Slice(Slice { axis, start: Dim::fixed(start), size: Dim::fixed(size), step })
    };
    let pad = |begin: [usize; 2], end: [usize; 2], mode| {
        Op::Pad(Pad { begin: begin.to_vec(), end: end.to_vec(), mode })
    };
    expect(Op::Reshape { shape: dims(&[3, 2]) }, of, &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    expect(Op::Transpose { perm: vec![1, 0] }, of, &[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    expect(slice(1, 2, 2, -2), of, &[2, 2], &[3.0, 1.0, 6.0, 4.0]);
    expect(slice(0, 1, 1, 1), of, &[1, 3], &[4.0, 5.0, 6.0]);
    expect(slice(0, 0, 0, 1), of, &[0, 3], &[]);
    let other = f32s(&[2, 1], &[7.0, 8.0]);
    expect(Op::Concat { axis: 1 }, &[x.clone(), other], &[2, 4], &[1.0, 2.0, 3.0, 7.0, 4.0, 5.0, 6.0, 8.0]);
    expect(Op::Concat { axis: 0 }, &[f32s(&[0, 3], &[]), x.clone()], &[2, 3], x.as_f32().unwrap());
    expect(
        pad([0, 1], [1, 0], PadMode::Constant(9.0)),
        of,
        &[3, 4],
        &[9.0, 1.0, 2.0, 3.0, 9.0, 4.0, 5.0, 6.0, 9.0, 9.0, 9.0, 9.0],
    );
    expect(
        pad([0, 2], [0, 2], PadMode::Reflect),
        of,
        &[2, 7],
        &[3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 6.0, 5.0, 4.0, 5.0, 6.0, 5.0, 4.0],
    );
    expect(
        pad([1, 0], [0, 1], PadMode::Edge),
        of,
        &[3, 4],
        &[1.0, 2.0, 3.0, 3.0, 1.0, 2.0, 3.0, 3.0, 4.0, 5.0, 6.0, 6.0],
    );
    let row = f32s(&[2, 1], &[1.0, 2.0]);
    expect(
        Op::Broadcast { shape: dims(&[2, 2, 2]) },
        &[row],
        &[2, 2, 2],
        &[1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0],
    );
    let indices = i64s(&[1, 2], &[-1, 0]);
    expect(Op::Gather { axis: 1 }, &[x.clone(), indices], &[2, 1, 2], &[3.0, 1.0, 6.0, 4.0]);
    for index in [3, -4, i64::MIN] {
        let found = apply(&Op::Gather { axis: 1 }, &[x.clone(), i64s(&[], &[index])]);
        assert_eq!(found, Err(EvalError::Index { index, size: 3 }));
    }
    let words = i64s(&[2], &[5, 6]);
    expect_data(Op::Concat { axis: 0 }, &[words.clone(), words.clone()], Data::I64([5, 6, 5, 6].into()));
    let around = Op::Pad(Pad { begin: vec![1], end: vec![0], mode: PadMode::Constant(2.9) });
    expect_data(around, &[words], Data::I64([2, 5, 6].into()));
    expect_data(Op::Dims(dims(&[4, -1])), &[], Data::I64([4, -1].into()));
}

#[test]
fn casts() {
    let x = f32s(&[5], &[-1.9, 300.7, NAN, -INF, -0.0]);
    let wide = i64s(&[4], &[-1, 300, 0, 16_777_217]);
    let cases = [
        (&x, Data::I8([-1, 127, 0, -128, 0].into())),
        (&x, Data::U8([0, 255, 0, 0, 0].into())),
        (&x, Data::I16([-1, 300, 0, i16::MIN, 0].into())),
        (&x, Data::I64([-1, 300, 0, i64::MIN, 0].into())),
        (&x, Data::Bool([true, true, true, true, false].into())),
        (&wide, Data::I8([-1, 44, 0, 1].into())),
        (&wide, Data::U8([255, 44, 0, 1].into())),
        (&wide, Data::I32([-1, 300, 0, 16_777_217].into())),
        (&wide, Data::F32([-1.0, 300.0, 0.0, 16_777_216.0].into())),
        (&wide, Data::Bool([true, true, false, true].into())),
    ];
    for (from, to) in cases {
        expect_data(Op::Cast { to: to.element() }, std::slice::from_ref(from), to);
    }
    let flags = Tensor::new(vec![2], Data::Bool([true, false].into())).unwrap();
    expect(Op::Cast { to: ElementType::F32 }, &[flags], &[2], &[1.0, 0.0]);
}

#[test]
fn results_are_bounded() {
    let huge = Op::Broadcast { shape: dims(&[1 << 20, 1 << 20]) };
    assert!(matches!(apply(&huge, &[Tensor::scalar(1.0)]), Err(EvalError::TooLarge(_))));
    let open = Op::Reshape { shape: vec![Dim::symbol("N")] };
    assert!(matches!(apply(&open, &[Tensor::scalar(1.0)]), Err(EvalError::Undetermined(_))));
    let empty = f32s(&[0, 1 << 40, 1 << 40], &[]);
    assert!(matches!(apply(&Op::Unary(Unary::Neg), &[empty]), Err(EvalError::TooLarge(_))));
}
