//! Maps: every function of one and of two numbers, broadcasting, integers.

use crate::single::{buffer, check, constant, count_up, dense, f32s, i32s, i64s, run};
use twnc_program::interpret::{RunError, Tensor};
use twnc_program::scalar::{Binary, Unary};
use twnc_program::step::{Map, MapInstruction};
use twnc_program::{BufferId, ElementType, StepKind};

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

/// The map of an expression over all of `inputs` buffers.
fn map(inputs: u32, code: &[MapInstruction]) -> StepKind {
    let inputs_ = (0..inputs).map(buffer).collect();
    StepKind::Map(Map { inputs: inputs_, code: code.to_vec(), output: BufferId(inputs) })
}

fn unary(f: Unary) -> StepKind {
    map(1, &[MapInstruction::Unary(f, 0)])
}

fn binary(f: Binary) -> StepKind {
    map(2, &[MapInstruction::Binary(f, 0, 1)])
}

#[test]
fn exact_functions_of_one_number() {
    let numbers = [-2., -0., 0., 1.5, 4., NAN, INF, -INF];
    let table: [(Unary, [f32; 8]); 8] = [
        (Unary::Relu, [0., -0., 0., 1.5, 4., NAN, INF, 0.]),
        (Unary::LeakyRelu { slope: 0.5 }, [-1., -0., 0., 1.5, 4., NAN, INF, -INF]),
        (Unary::Clip { min: -1., max: 2. }, [-1., -0., 0., 1.5, 2., NAN, 2., -1.]),
        (Unary::HardSigmoid { alpha: 0.25, beta: 0.5 }, [0., 0.5, 0.5, 0.875, 1., NAN, 1., 0.]),
        (Unary::Neg, [2., 0., -0., -1.5, -4., NAN, -INF, INF]),
        (Unary::Abs, [2., 0., 0., 1.5, 4., NAN, INF, INF]),
        (Unary::Sqrt, [NAN, -0., 0., 1.2247449, 2., NAN, INF, NAN]),
        (Unary::Reciprocal, [-0.5, -INF, INF, 0.6666667, 0.25, NAN, 0., -0.]),
    ];
    for (f, expected) in table {
        check(&[f32s(&[8], &numbers)], &[], unary(f), &f32s(&[8], &expected));
    }
    check(
        &[f32s(&[5], &[-4., -3., 0., 3., 6.])],
        &[],
        unary(Unary::HardSwish),
        &f32s(&[5], &[-0., -0., 0., 3., 6.]),
    );
}

#[test]
fn functions_within_4_ulp() {
    // Digits of the true values, from tables.
    let table: [(Unary, f32, f64); 14] = [
        (Unary::Sigmoid, 0., 0.5),
        (Unary::Sigmoid, 1., 0.731_058_578_630_004_9),
        (Unary::Sigmoid, -INF, 0.),
        (Unary::Tanh, 0.5, 0.462_117_157_260_009_8),
        (Unary::Tanh, -INF, -1.),
        (Unary::Exp, 1., std::f64::consts::E),
        (Unary::Exp, -INF, 0.),
        (Unary::Log, 2., std::f64::consts::LN_2),
        (Unary::Log, 0., f64::NEG_INFINITY),
        (Unary::Erf, 0.5, 0.520_499_877_813_046_5),
        (Unary::Erf, -1., -0.842_700_792_949_714_9),
        (Unary::Erf, 2.5, 0.999_593_047_982_555),
        (Unary::Erf, 3., 0.999_977_909_503_001_4),
        (Unary::Erf, -INF, -1.),
    ];
    for (f, x, expected) in table {
        let (found, expected) = (f.apply(x), expected as f32);
        let near = found == expected || (found.to_bits().abs_diff(expected.to_bits())) <= 4;
        assert!(near, "{f:?}({x}) is {found}, not {expected}");
    }
    for f in [Unary::Sigmoid, Unary::Tanh, Unary::Exp, Unary::Log, Unary::Erf] {
        assert!(f.apply(NAN).is_nan(), "{f:?} of NaN");
    }
}

#[test]
fn functions_of_two_numbers() {
    let a = [1., -1., 0., -0., NAN, INF, 3.];
    let b = [2., 0.5, -0., 0., 1., -INF, NAN];
    let table: [(Binary, [f32; 7]); 8] = [
        (Binary::Add, [3., -0.5, 0., 0., NAN, NAN, NAN]),
        (Binary::Sub, [-1., -1.5, 0., -0., NAN, INF, NAN]),
        (Binary::Mul, [2., -0.5, -0., -0., NAN, -INF, NAN]),
        (Binary::Div, [0.5, -2., NAN, NAN, NAN, NAN, NAN]),
        (Binary::Min, [1., -1., -0., -0., NAN, -INF, NAN]),
        (Binary::Max, [2., 0.5, 0., 0., NAN, INF, NAN]),
        (Binary::Pow, [1., NAN, 1., 1., NAN, 0., NAN]),
        (Binary::PRelu, [1., -0.5, 0., -0., NAN, INF, 3.]),
    ];
    for (f, expected) in table {
        check(&[f32s(&[7], &a), f32s(&[7], &b)], &[], binary(f), &f32s(&[7], &expected));
    }
}

#[test]
fn expressions_read_any_earlier_value() {
    // relu(a·b - a) · (a·b)
    let code = [
        MapInstruction::Binary(Binary::Mul, 0, 1),
        MapInstruction::Binary(Binary::Sub, 2, 0),
        MapInstruction::Unary(Unary::Relu, 3),
        MapInstruction::Binary(Binary::Mul, 4, 2),
    ];
    let inputs = [f32s(&[3], &[1., 2., 3.]), f32s(&[3], &[4., 5., -6.])];
    check(&inputs, &[], map(2, &code), &f32s(&[3], &[12., 80., -0.]));
}

#[test]
fn inputs_broadcast() {
    let rows = count_up(&[2, 3]);
    let table: [(Tensor, Tensor, Tensor); 5] = [
        (rows.clone(), f32s(&[3], &[10., 20., 30.]), f32s(&[2, 3], &[11., 22., 33., 14., 25., 36.])),
        (rows.clone(), f32s(&[2, 1], &[10., 20.]), f32s(&[2, 3], &[11., 12., 13., 24., 25., 26.])),
        (rows, f32s(&[], &[100.]), f32s(&[2, 3], &[101., 102., 103., 104., 105., 106.])),
        (f32s(&[], &[1.]), f32s(&[], &[2.]), f32s(&[], &[3.])),
        (f32s(&[0, 3], &[]), f32s(&[3], &[1., 2., 3.]), f32s(&[0, 3], &[])),
    ];
    for (a, b, expected) in table {
        check(&[a, b], &[], binary(Binary::Add), &expected);
    }
    // A constant operand, over more elements than are computed at a time.
    let step = StepKind::Map(Map {
        inputs: vec![buffer(0), constant(0)],
        code: vec![MapInstruction::Binary(Binary::Mul, 0, 1)],
        output: BufferId(1),
    });
    let expected: Vec<f32> = (1..=200).map(|n| (2 * n) as f32).collect();
    check(&[count_up(&[200])], &[dense(&[1], &[2.])], step, &f32s(&[200], &expected));
}

#[test]
fn integers_wrap() {
    let (a, b) = ([7, -7, i64::MAX, i64::MIN], [2, 2, 1, -1]);
    let table: [(Binary, [i64; 4]); 6] = [
        (Binary::Add, [9, -5, i64::MIN, i64::MAX]),
        (Binary::Sub, [5, -9, i64::MAX - 1, i64::MIN + 1]),
        (Binary::Mul, [14, -14, i64::MAX, i64::MIN]),
        (Binary::Div, [3, -3, i64::MAX, i64::MIN]),
        (Binary::Min, [2, -7, 1, i64::MIN]),
        (Binary::Max, [7, 2, i64::MAX, -1]),
    ];
    for (f, expected) in table {
        check(&[i64s(&[4], &a), i64s(&[4], &b)], &[], binary(f), &i64s(&[4], &expected));
    }
    let (a, b) = ([7, i32::MAX, i32::MIN], [-2, 1, -1]);
    let table: [(Binary, [i32; 3]); 4] = [
        (Binary::Add, [5, i32::MIN, i32::MAX]),
        (Binary::Mul, [-14, i32::MAX, i32::MIN]),
        (Binary::Div, [-3, i32::MAX, i32::MIN]),
        (Binary::Max, [7, i32::MAX, -1]),
    ];
    for (f, expected) in table {
        check(&[i32s(&[3], &a), i32s(&[3], &b)], &[], binary(f), &i32s(&[3], &expected));
    }
    let table: [(Unary, [i32; 3], [i64; 3]); 3] = [
        (Unary::Neg, [-5, 5, i32::MIN], [-5, 5, i64::MIN]),
        (Unary::Abs, [5, 5, i32::MIN], [5, 5, i64::MIN]),
        (Unary::Relu, [5, 0, 0], [5, 0, 0]),
    ];
    for (f, narrow, wide) in table {
        check(&[i32s(&[3], &[5, -5, i32::MIN])], &[], unary(f), &i32s(&[3], &narrow));
        check(&[i64s(&[3], &[5, -5, i64::MIN])], &[], unary(f), &i64s(&[3], &wide));
    }
}

#[test]
fn integer_division_by_zero() {
    let inputs = [i32s(&[2], &[1, 2]), i32s(&[2], &[1, 0])];
    let found = run(&inputs, &[], binary(Binary::Div), ElementType::I32, &[2]);
    assert_eq!(found, Err(RunError::DivisionByZero { step: "layer".into() }));
}
