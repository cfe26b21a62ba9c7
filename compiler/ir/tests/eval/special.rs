//! NaN, infinities, signed zeros, empty tensors and what wraps: every line of `docs/ir.md` on special values, by example.

use crate::{INF, NAN, conv, expect, expect_data, f32s, geometry, i64s, trits};
use twnc_ir::eval::{EvalError, apply};
use twnc_ir::{
    Binary, Combine, Data, ElementType, Op, Pad, PadMode, Pool, Quantize, ReduceKind, Tensor, Unary,
};

/// The page whose section on special values is tested.
const PAGE: &str = include_str!("../../../../docs/ir.md");

#[test]
fn documented_special_values() {
    let cases: &[(&str, fn())] = &[
        ("`relu`, `leaky_relu` and `prelu` keep NaN and -0.", || {
            let kept = [NAN, -0.0];
            unary(Unary::Relu, &kept, &kept);
            unary(Unary::LeakyRelu { slope: 0.5 }, &kept, &kept);
            binary(Binary::PRelu, &kept, &[0.5, 0.5], &kept);
        }),
        ("`clip` keeps NaN, and -0 where a bound is 0; a bound that is NaN bounds nothing.", || {
            unary(Unary::Clip { min: 0.0, max: 1.0 }, &[NAN, -0.0, -1.0], &[NAN, -0.0, 0.0]);
            unary(Unary::Clip { min: -1.0, max: 0.0 }, &[NAN, -0.0, 1.0], &[NAN, -0.0, 0.0]);
            unary(Unary::Clip { min: NAN, max: 1.0 }, &[-INF, 2.0], &[-INF, 1.0]);
            unary(Unary::Clip { min: 0.0, max: NAN }, &[-1.0, INF], &[0.0, INF]);
        }),
        ("`clip` with `min` above `max` is `max`, but for NaN.", || {
            unary(
                Unary::Clip { min: 3.0, max: 1.0 },
                &[-INF, 0.0, 2.0, INF, NAN],
                &[1.0, 1.0, 1.0, 1.0, NAN],
            );
        }),
        ("`hard_sigmoid` keeps NaN; where `alpha` is positive, it is 0 at -Inf and 1 at Inf.", || {
            unary(Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }, &[NAN, -INF, INF], &[NAN, 0.0, 1.0]);
        }),
        ("`hard_swish` is -0 from -3 downwards, but NaN at -Inf; it is Inf at Inf.", || {
            unary(Unary::HardSwish, &[-3.0, -1e30, -INF, INF, NAN], &[-0.0, -0.0, NAN, INF, NAN]);
        }),
        ("`neg` of 0 is -0, `abs` of -0 is 0.", || {
            unary(Unary::Neg, &[0.0, -0.0], &[-0.0, 0.0]);
            unary(Unary::Abs, &[-0.0], &[0.0]);
        }),
        ("`sqrt` of -0 is -0, of a negative number NaN.", || {
            unary(Unary::Sqrt, &[-0.0, -1e-45, -INF, INF], &[-0.0, NAN, NAN, INF]);
        }),
        ("`reciprocal` and `div` by 0 give an infinity with the sign of both operands; 0/0 is NaN.", || {
            unary(Unary::Reciprocal, &[0.0, -0.0], &[INF, -INF]);
            binary(Binary::Div, &[1.0, -1.0, 1.0, 0.0], &[0.0, 0.0, -0.0, -0.0], &[INF, -INF, -INF, NAN]);
        }),
        (
            "`sigmoid` is 0 at -Inf and 1 at Inf, `tanh` and `erf` are -1 and 1 and keep -0; all keep \
             NaN.",
            || {
                unary(Unary::Sigmoid, &[-INF, INF, NAN], &[0.0, 1.0, NAN]);
                unary(Unary::Tanh, &[-INF, INF, -0.0, NAN], &[-1.0, 1.0, -0.0, NAN]);
                unary(Unary::Erf, &[-INF, INF, -0.0, NAN], &[-1.0, 1.0, -0.0, NAN]);
            },
        ),
        ("`exp` is 0 at -Inf, and Inf beyond f32; `log` is -Inf at 0 and -0, and NaN below.", || {
            unary(Unary::Exp, &[-INF, -1e3, 89.0, NAN], &[0.0, 0.0, INF, NAN]);
            unary(Unary::Log, &[0.0, -0.0, -1e-45, INF, NAN], &[-INF, -INF, NAN, INF, NAN]);
        }),
        ("`Inf - Inf` and `0·Inf` are NaN.", || {
            binary(Binary::Sub, &[INF], &[INF], &[NAN]);
            binary(Binary::Add, &[INF], &[-INF], &[NAN]);
            binary(Binary::Mul, &[0.0, -INF], &[INF, 0.0], &[NAN, NAN]);
        }),
        ("`min` and `max` are NaN if an operand is; -0 is smaller than 0.", || {
            let (a, b) = ([NAN, 1.0, 0.0, -0.0], [1.0, NAN, -0.0, 0.0]);
            binary(Binary::Min, &a, &b, &[NAN, NAN, -0.0, -0.0]);
            binary(Binary::Max, &a, &b, &[NAN, NAN, 0.0, 0.0]);
        }),
        (
            "`pow` is 1 where the exponent is 0 or the base 1, even beside NaN; a negative base needs \
             a whole exponent, or gives NaN.",
            || {
                binary(Binary::Pow, &[NAN, 0.0, 1.0, 1.0], &[0.0, 0.0, NAN, INF], &[1.0; 4]);
                binary(
                    Binary::Pow,
                    &[-8.0, -8.0, -2.0, 0.0],
                    &[3.0, 0.5, -1.0, -1.0],
                    &[-512.0, NAN, -0.5, INF],
                );
            },
        ),
        (
            "`batch_norm` where `variance + epsilon` is 0 divides by 0; where it is negative, the \
             result is NaN.",
            || {
                let parameters = [[1.0; 3], [0.0; 3], [2.0; 3], [0.0, 0.0, -1.0]].map(|p| f32s(&[3], &p));
                let operands = [&[f32s(&[1, 3], &[3.0, 2.0, 3.0])], parameters.as_slice()].concat();
                expect(Op::BatchNorm { epsilon: 0.0 }, &operands, &[1, 3], &[INF, NAN, NAN]);
            },
        ),
        (
            "Integers wrap: the smallest divided by -1, negated, or made positive is itself. Dividing \
             an integer by 0 is an error.",
            || {
                let least = || i64s(&[1], &[i64::MIN]);
                let itself = || Data::I64([i64::MIN].into());
                expect_data(Op::Binary(Binary::Div), &[least(), i64s(&[1], &[-1])], itself());
                expect_data(Op::Unary(Unary::Neg), &[least()], itself());
                expect_data(Op::Unary(Unary::Abs), &[least()], itself());
                expect_data(Op::Binary(Binary::Add), &[i64s(&[1], &[i64::MAX]), i64s(&[1], &[1])], itself());
                let by_zero = apply(&Op::Binary(Binary::Div), &[least(), i64s(&[1], &[0])]);
                assert_eq!(by_zero, Err(EvalError::DivisionByZero));
            },
        ),
        (
            "A sum of nothing is 0, and so is a sum of nothing but -0, in `conv`, `matmul` and \
             `reduce_sum`.",
            || {
                let line = |x: &[f32]| f32s(&[1, x.len()], x);
                expect(Op::MatMul, &[f32s(&[1, 0], &[]), f32s(&[0, 2], &[])], &[1, 2], &[0.0; 2]);
                expect(Op::MatMul, &[line(&[-0.0]), line(&[1.0])], &[1, 1], &[0.0]);
                expect(unit_conv(), &[f32s(&[1, 0, 2], &[]), f32s(&[1, 0, 1], &[])], &[1, 1, 2], &[0.0; 2]);
                expect(
                    unit_conv(),
                    &[f32s(&[1, 1, 1], &[-0.0]), trits(&[1, 1, 1], &[1])],
                    &[1, 1, 1],
                    &[0.0],
                );
                reduce(ReduceKind::Sum, &[], 0.0);
                reduce(ReduceKind::Sum, &[-0.0, -0.0], 0.0);
            },
        ),
        (
            "A float weight of 0 takes part in a sum (`0·NaN` is NaN). A ternary weight of 0 does \
             not, nor does padding.",
            || {
                let x = || f32s(&[1, 1, 2], &[NAN, 2.0]);
                expect(unit_conv(), &[x(), f32s(&[1, 1, 1], &[0.0])], &[1, 1, 2], &[NAN, 0.0]);
                expect(unit_conv(), &[x(), trits(&[1, 1, 1], &[0])], &[1, 1, 2], &[0.0, 0.0]);
                let padded = conv(&[1], &[1], &[1], &[0], 1);
                let weight = f32s(&[1, 1, 2], &[NAN, 1.0]);
                expect(padded, &[f32s(&[1, 1, 1], &[2.0]), weight], &[1, 1, 1], &[2.0]);
            },
        ),
        (
            "`max_pool` never takes a NaN: a window of NaN alone is -Inf, and so is one of padding \
             alone. Of 0 and -0 the first stays.",
            || {
                let max = |x: &[f32], pool: Pool, y: &[f32]| {
                    expect(Op::MaxPool(pool), &[f32s(&[1, 1, x.len()], x)], &[1, 1, y.len()], y);
                };
                max(&[NAN, NAN, 1.0, NAN, -INF], window(2, 1, 0), &[-INF, 1.0, 1.0, -INF]);
                max(&[5.0], window(1, 1, 1), &[-INF, 5.0]);
                max(&[0.0, -0.0, 0.0], window(2, 1, 0), &[0.0, -0.0]);
            },
        ),
        (
            "`average_pool` of a window of padding alone is NaN, with `count_padding` 0; a NaN in a \
             window makes it NaN.",
            || {
                let average = |count_padding, y: &[f32]| {
                    let op = Op::AveragePool { pool: window(1, 1, 1), count_padding };
                    expect(op, &[f32s(&[1, 1, 2], &[5.0, NAN])], &[1, 1, 3], y);
                };
                average(false, &[NAN, 5.0, NAN]);
                average(true, &[0.0, 5.0, NAN]);
            },
        ),
        (
            "`reduce_max` is -Inf of nothing, `reduce_min` Inf, `reduce_mean` NaN; all reductions are \
             NaN if an element is; -0 is smaller than 0.",
            || {
                for (kind, of_nothing) in
                    [(ReduceKind::Max, -INF), (ReduceKind::Min, INF), (ReduceKind::Mean, NAN)]
                {
                    reduce(kind, &[], of_nothing);
                }
                ReduceKind::ALL.iter().for_each(|(kind, _)| reduce(*kind, &[1.0, NAN, -INF], NAN));
                reduce(ReduceKind::Max, &[-0.0, 0.0, -0.0], 0.0);
                reduce(ReduceKind::Min, &[0.0, -0.0, 0.0], -0.0);
            },
        ),
        (
            "`softmax` of -Inf is 0 beside a number; NaN or Inf makes all NaN, and so does -Inf \
             alone; of nothing, nothing.",
            || {
                softmax(&[-INF, 0.0, 0.0], &[0.0, 0.5, 0.5]);
                softmax(&[1.0, NAN], &[NAN; 2]);
                softmax(&[1.0, INF], &[NAN; 2]);
                softmax(&[-INF, -INF], &[NAN; 2]);
                softmax(&[], &[]);
                softmax(&[f32::MAX, f32::MIN, f32::MAX], &[0.5, 0.0, 0.5]);
            },
        ),
        (
            "`cast` of NaN is 0 (as bool, true), of what is beyond the type its nearest number; an \
             integer between two f32 goes to the even one.",
            || {
                let x = || f32s(&[4], &[NAN, -INF, 1e30, -0.9]);
                let cast = |to| Op::Cast { to };
                expect_data(cast(ElementType::U8), &[x()], Data::U8([0, 0, 255, 0].into()));
                expect_data(cast(ElementType::I32), &[x()], Data::I32([0, i32::MIN, i32::MAX, 0].into()));
                expect_data(cast(ElementType::Bool), &[x()], Data::Bool([true; 4].into()));
                let ties = i64s(&[3], &[16_777_217, 16_777_219, -16_777_217]);
                expect(cast(ElementType::F32), &[ties], &[3], &[16_777_216.0, 16_777_220.0, -16_777_216.0]);
            },
        ),
        ("The value of a `pad` is cast to the element type.", || {
            let around =
                |value| Op::Pad(Pad { begin: vec![1], end: vec![0], mode: PadMode::Constant(value) });
            for (value, padding) in [(2.9, 2), (NAN, 0), (-INF, i64::MIN)] {
                expect_data(around(value), &[i64s(&[1], &[7])], Data::I64([padding, 7].into()));
            }
            expect(around(NAN), &[f32s(&[1], &[7.0])], &[2], &[NAN, 7.0]);
        }),
        (
            "`sin` and `cos` of infinities are NaN, `atan` of them is half of pi with their sign; `sin` and `atan` keep -0.",
            || {
                unary(Unary::Sin, &[INF, -INF, -0.0], &[NAN, NAN, -0.0]);
                unary(Unary::Cos, &[INF, -INF, -0.0], &[NAN, NAN, 1.0]);
                let quarter = std::f32::consts::FRAC_PI_2;
                unary(Unary::Atan, &[INF, -INF, -0.0], &[quarter, -quarter, -0.0]);
            },
        ),
        (
            "`floor` keeps -0, NaN and infinities, and so does `round`, which gives -0 for what is between -0.5 and 0.",
            || {
                unary(Unary::Floor, &[-0.0, NAN, INF, -INF, -0.5], &[-0.0, NAN, INF, -INF, -1.0]);
                unary(Unary::Round, &[-0.0, NAN, INF, -INF, -0.4], &[-0.0, NAN, INF, -INF, -0.0]);
                unary(Unary::Round, &[0.5, 1.5, -2.5, 8_388_609.0], &[0.0, 2.0, -2.0, 8_388_609.0]);
            },
        ),
        (
            "`less` and `equal` are 0 beside NaN; 0 and -0 are equal. `keep` by NaN keeps, by -0 it does not.",
            || {
                binary(Binary::Less, &[NAN, 1.0, -0.0, -INF], &[1.0, NAN, 0.0, INF], &[0.0, 0.0, 0.0, 1.0]);
                binary(Binary::Equal, &[NAN, 0.0, INF], &[NAN, -0.0, INF], &[0.0, 1.0, 1.0]);
                binary(Binary::Keep, &[2.0, NAN, NAN, -0.0], &[NAN, -0.0, 1.0, 1.0], &[2.0, 0.0, NAN, -0.0]);
            },
        ),
        (
            "Of equal elements `top_k` takes the one with the lower index first; NaN counts as larger than Inf.",
            || {
                let x = f32s(&[4], &[0.0, INF, NAN, -0.0]);
                let of = |largest| {
                    apply(&Op::TopK { axis: 0, k: 4.into(), largest }, std::slice::from_ref(&x)).unwrap()
                };
                assert_eq!(of(true)[1].as_i64(), Some(&[2, 1, 0, 3][..]));
                assert_eq!(of(false)[1].as_i64(), Some(&[0, 3, 1, 2][..]));
            },
        ),
        ("A `scatter` to one row more than once combines or replaces in order.", || {
            let operands = [f32s(&[2], &[1.0, 2.0]), i64s(&[3], &[1, -1, 1]), f32s(&[3], &[3.0, 4.0, 5.0])];
            expect(Op::Scatter { combine: None }, &operands, &[2], &[1.0, 5.0]);
            expect(Op::Scatter { combine: Some(Combine::Add) }, &operands, &[2], &[1.0, 14.0]);
        }),
        ("An index of a `gather` or `scatter` outside its axis is an error.", || {
            for index in [2, -3] {
                let found = apply(&Op::Gather { axis: 0 }, &[f32s(&[2], &[0.0; 2]), i64s(&[], &[index])]);
                assert_eq!(found, Err(EvalError::Index { index, size: 2 }));
            }
        }),
        ("A sum of i16 that is beyond i32 wraps.", || {
            let n = 1 << 17;
            let x = Tensor::new(vec![1, n], Data::I16(vec![1 << 14; n].into())).unwrap();
            expect_data(Op::MatMul, &[x, trits(&[n, 1], &vec![1; n])], Data::I32([i32::MIN].into()));
        }),
        (
            "`quantize` of NaN is 0, of Inf and -Inf the largest and the smallest q; without `signed`, of -Inf and \
             negative numbers 0.",
            || {
                let x = [NAN, INF, -INF, -1.5, 2.0];
                quantize(true, None, &x, &[0, 7, -7, -5, 7], 2.0 / 7.0);
                quantize(true, Some(2.0), &x, &[0, 7, -7, -1, 1], 2.0);
                quantize(false, None, &x, &[0, 15, 0, 0, 15], 2.0 / 15.0);
            },
        ),
        (
            "A scale that `quantize` finds passes over NaN and infinities; where only those and 0 are left, it is 0, and \
             so is q but for infinities.",
            || {
                quantize(true, None, &[INF, 0.0, NAN, -INF], &[7, 0, 0, -7], 0.0);
                quantize(true, None, &[-0.0], &[0], 0.0);
                quantize(false, None, &[-1.0, INF], &[0, 15], 0.0);
                quantize(false, None, &[-0.0], &[0], 0.0);
            },
        ),
        (
            "`quantize` with a scale of 2^-128 or less multiplies by the largest f32, as the reciprocal is beyond it.",
            || {
                let scale = 2f32.powi(-128);
                quantize(true, Some(scale), &[scale, -3.0 * scale, 1e-45], &[1, -3, 0], scale);
                quantize(true, Some(1e-45), &[1e-45, 1e-38, 1.0], &[0, 3, 7], 1e-45);
            },
        ),
    ];
    for (_, case) in cases {
        case();
    }
    let section = PAGE.split("## Special values").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let documented: Vec<_> = section.lines().filter_map(|line| line.strip_prefix("* ")).collect();
    assert_eq!(documented, cases.iter().map(|(line, _)| *line).collect::<Vec<_>>());
}

fn unary(f: Unary, x: &[f32], y: &[f32]) {
    expect(Op::Unary(f), &[f32s(&[x.len()], x)], &[y.len()], y);
}

fn binary(f: Binary, a: &[f32], b: &[f32], y: &[f32]) {
    expect(Op::Binary(f), &[f32s(&[a.len()], a), f32s(&[b.len()], b)], &[y.len()], y);
}

fn reduce(kind: ReduceKind, x: &[f32], y: f32) {
    expect(Op::Reduce { kind, axes: vec![0], keep_dims: false }, &[f32s(&[x.len()], x)], &[], &[y]);
}

fn softmax(x: &[f32], y: &[f32]) {
    expect(Op::Softmax { axes: vec![0] }, &[f32s(&[x.len()], x)], &[y.len()], y);
}

/// To 4 bits.
fn quantize(signed: bool, scale: Option<f32>, x: &[f32], q: &[i16], s: f32) {
    let op = Op::Quantize(Quantize { bits: 4, signed, scale });
    let results = apply(&op, &[f32s(&[1, x.len()], x)]).unwrap();
    let whole = Tensor::new(vec![1, x.len()], Data::I16(q.into())).unwrap();
    assert_eq!(results, [whole, f32s(&[1, 1], &[s])], "{op:?} of {x:?}");
}

fn unit_conv() -> Op {
    conv(&[1], &[1], &[0], &[0], 1)
}

fn window(kernel: usize, stride: usize, begin: usize) -> Pool {
    Pool { kernel: vec![kernel], geometry: geometry(&[stride], &[1], &[begin], &[0]), ceil: false }
}
