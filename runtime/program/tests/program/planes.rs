//! Accumulations of several planes: what a program of them gives, and those that are refused.

use crate::single::{dense, ternary, window};
use twnc_program::interpret::{self, Functions, Tensor};
use twnc_program::step::{Accumulate, Contraction, Epilogue, Plane, Quantize, Term};
use twnc_program::{Buffer, BufferId, ConstantId, Dim, ElementType, Port, Program, Step, StepKind};

/// `0.5·s·(q·T + q·U) + x·T + 10`, where `q` are integers of 12 bits of `x`, `[2, K]`, and `s` its scales.
fn sum(inner: usize) -> Program {
    let quantize = Quantize {
        input: BufferId(0),
        bits: 12,
        signed: false,
        scale: Some(1.0),
        outputs: [BufferId(1), BufferId(2)],
    };
    let plane = |input, weight| Plane {
        input: BufferId(input),
        weight: ConstantId(weight),
        contraction: Contraction::MatMul,
    };
    let whole = Term {
        planes: vec![plane(1, 0), plane(1, 1)],
        parts: 1,
        scale: Some(ConstantId(2)),
        input_scale: Some(BufferId(2)),
    };
    let float = Term { planes: vec![plane(0, 0)], parts: 1, scale: None, input_scale: None };
    let epilogue = Epilogue { bias: Some(ConstantId(3)), ..Epilogue::default() };
    let accumulate = Accumulate { terms: vec![whole, float], epilogue, output: BufferId(3) };
    let buffer = |element, columns: usize| Buffer { element, shape: vec![Dim::Fixed(2), Dim::from(columns)] };
    let step = |name: &str, kind| Step { name: name.into(), kind };
    let signs: Vec<i8> = (0..inner).map(|i| [1, -1][i % 2]).collect();
    Program {
        name: "planes".into(),
        symbols: vec![],
        buffers: vec![
            buffer(ElementType::F32, inner),
            buffer(ElementType::I16, inner),
            buffer(ElementType::F32, 1),
            buffer(ElementType::F32, 1),
        ],
        constants: vec![
            ternary(&[inner, 1], &vec![1; inner]),
            ternary(&[inner, 1], &signs),
            dense(&[1], &[0.5]),
            dense(&[1], &[10.]),
        ],
        steps: vec![step("q", StepKind::Quantize(quantize)), step("sum", StepKind::Accumulate(accumulate))],
        inputs: vec![Port { name: "x".into(), buffer: BufferId(0) }],
        outputs: vec![Port { name: "y".into(), buffer: BufferId(3) }],
    }
}

#[test]
fn planes_of_a_term_are_one_sum() {
    let program = sum(2);
    program.validate().expect("valid");
    assert_eq!(Program::from_bytes(&program.to_bytes()).expect("what was written is read"), program);
    let x = Tensor::f32(&[2, 2], vec![3., 1., 4., 8.]).expect("four numbers");
    let outputs = interpret::run(&program, &[x], &Functions::default()).expect("the program runs");
    // (4 + 2) / 2 + 10 + 4, and (12 - 4) / 2 + 10 + 12.
    assert_eq!(outputs[0], Tensor::f32(&[2, 1], vec![17., 26.]).expect("two numbers"));
}

type Edit = fn(&mut Accumulate);

#[test]
fn planes_that_do_not_fit_together_are_refused() {
    let table: &[(Edit, &str)] = &[
        (|s| s.terms[0].planes.clear(), "a term of it has no plane"),
        (|s| s.terms[0].planes[1].input = BufferId(0), "an operand is f32, not i16"),
        (|s| s.terms[1].planes[0].weight = ConstantId(3), "an operand is f32, not ternary"),
        (|s| s.terms[1].planes[0].weight = ConstantId(9), "there is no constant c9"),
        (|s| s.terms[0].planes[1].input = BufferId(9), "there is no buffer b9"),
        (|s| s.terms[0].planes[1].input = BufferId(3), "buffer b3 is read before it is written"),
        (|s| s.terms[1].scale = Some(ConstantId(0)), "an operand is ternary, not f32"),
        (|s| s.terms[1].input_scale = Some(BufferId(1)), "an operand is i16, not f32"),
        (
            |s| {
                let window = window(&[1]);
                s.terms[1].planes[0].contraction = Contraction::Window { window, groups: 1 };
            },
            "some of its planes are windows and some are matrix products",
        ),
    ];
    for (edit, message) in table {
        let mut program = sum(2);
        let StepKind::Accumulate(mut step) = program.steps[1].kind.clone() else { panic!("a sum") };
        edit(&mut step);
        program.steps[1].kind = StepKind::Accumulate(step);
        let error = program.validate().expect_err(message).to_string();
        assert!(error.contains(message), "{error}, not {message}");
    }
}

#[test]
fn sums_of_all_planes_must_fit_32_bits() {
    // Each plane fits by itself: 4095 · 300,000 is below 2^31, twice that is not.
    let program = sum(300_000);
    let error = program.validate().expect_err("a sum that may overflow").to_string();
    assert!(error.contains("sums of its integers may not fit 32 bits"), "{error}");
    assert_eq!(sum(262_000).validate(), Ok(()));
}

#[test]
fn shapes_of_all_planes_must_agree() {
    let mut program = sum(2);
    program.constants[1] = ternary(&[3, 1], &[1; 3]);
    let error = program.resolve(&[vec![2, 2]]).expect_err("three weights for two numbers").to_string();
    assert!(error.contains("[2, 2] and [3, 1] do not multiply"), "{error}");
    let mut program = sum(2);
    program.constants[1] = ternary(&[2, 2], &[1; 4]);
    let error = program.resolve(&[vec![2, 2]]).expect_err("two columns beside one").to_string();
    assert!(error.contains("output of shape [2, 1], not [2, 2]"), "{error}");
}
