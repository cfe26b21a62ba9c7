//! `accumulate`, `conv` and `matmul`.

use crate::single::{buffer, check, constant, count_up, dense, f32s, ternary, window};
use proptest::prelude::*;
use twnc_program::interpret::{self, Functions, Tensor, TensorData};
use twnc_program::scalar::Unary;
use twnc_program::step::{Accumulate, Contraction, Conv, Epilogue, MatMul, Plane, Quantize, Term};
use twnc_program::{
    Buffer, BufferId, Constant, ConstantId, Dim, ElementType, Operand, Port, Program, Step, StepKind, Window,
};

/// A term of one plane.
fn term(weight: u32, contraction: Contraction, scale: Option<u32>) -> Term {
    let plane = Plane { input: BufferId(0), weight: ConstantId(weight), contraction };
    Term { planes: vec![plane], parts: 1, scale: scale.map(ConstantId), input_scale: None }
}

fn windowed(window: Window, groups: usize) -> Contraction {
    Contraction::Window { window, groups }
}

fn accumulate(terms: Vec<Term>, epilogue: Epilogue, output: u32) -> StepKind {
    StepKind::Accumulate(Accumulate { terms, epilogue, output: BufferId(output) })
}

fn conv(window: Window, groups: usize) -> StepKind {
    StepKind::Conv(Conv {
        input: BufferId(0),
        weight: constant(0),
        window,
        groups,
        epilogue: Epilogue::default(),
        output: BufferId(1),
    })
}

fn matmul(left: Operand, right: Operand, epilogue: Epilogue, output: u32) -> StepKind {
    StepKind::MatMul(MatMul { left, right, epilogue, output: BufferId(output) })
}

#[test]
fn ternary_windows() {
    // Windows of   1 2 3      by  + .
    //              4 5 6          - +
    //              7 8 9
    let image = count_up(&[1, 1, 3, 3]);
    let weight = ternary(&[1, 1, 2, 2], &[1, 0, -1, 1]);
    let plain = window(&[2, 2]);
    let table: [(Window, &[usize], &[f32]); 6] = [
        (plain.clone(), &[2, 2], &[2., 3., 5., 6.]),
        (Window { strides: vec![2, 1], ..plain.clone() }, &[1, 2], &[2., 3.]),
        (Window { dilations: vec![2, 2], ..plain.clone() }, &[1, 1], &[1. - 7. + 9.]),
        (Window { pads_begin: vec![1, 1], ..plain.clone() }, &[3, 3], &[1., 1., 1., 4., 2., 3., 7., 5., 6.]),
        (Window { pads_end: vec![0, 1], ..plain.clone() }, &[2, 3], &[2., 3., -3., 5., 6., -3.]),
        (
            Window { pads_begin: vec![0, 3], pads_end: vec![0, 3], strides: vec![1, 4], ..plain },
            &[2, 2],
            // Columns -3 and -2 are padding only, columns 1 and 2 are elements.
            &[0., 3., 0., 6.],
        ),
    ];
    for (window, shape, sums) in table {
        let shape = [&[1, 1], shape].concat();
        let step = accumulate(vec![term(0, windowed(window, 1), None)], Epilogue::default(), 1);
        check(std::slice::from_ref(&image), std::slice::from_ref(&weight), step, &f32s(&shape, sums));
    }
}

#[test]
fn ternary_channels_and_groups() {
    // Two samples of two channels of one element: (1, 2) and (3, 4).
    let input = count_up(&[2, 2, 1]);
    let full = ternary(&[3, 2, 1], &[1, 1, 1, -1, 0, -1]);
    let step = accumulate(vec![term(0, windowed(window(&[1]), 1), None)], Epilogue::default(), 1);
    check(std::slice::from_ref(&input), &[full], step, &f32s(&[2, 3, 1], &[3., -1., -2., 7., -1., -4.]));
    // Two groups of one input and two output channels.
    let grouped = ternary(&[4, 1, 1], &[1, -1, 0, 1]);
    let step = accumulate(vec![term(0, windowed(window(&[1]), 2), None)], Epilogue::default(), 1);
    check(&[input], &[grouped], step, &f32s(&[2, 4, 1], &[1., -1., 0., 2., 3., -3., 0., 4.]));
}

#[test]
fn parts_of_a_product_have_factors_of_their_own_and_are_added() {
    // Two parts of one channel each, two outputs: part 0 has +x0 and -x0, part 1 +x1 and 0.
    let divided = Term { parts: 2, ..term(0, windowed(window(&[1]), 2), Some(1)) };
    let epilogue = Epilogue { bias: Some(ConstantId(2)), ..Epilogue::default() };
    let constants =
        [ternary(&[4, 1, 1], &[1, -1, 1, 0]), dense(&[4], &[2., 3., 5., 7.]), dense(&[2], &[0.5, 0.25])];
    let expected = f32s(&[1, 2, 2], &[17.5, 24.5, -2.75, -5.75]);
    let step = accumulate(vec![divided], epilogue.clone(), 1);
    check(&[count_up(&[1, 2, 2])], &constants, step, &expected);
    // The same of two rows (1, 2) and (3, 4).
    let divided = Term { parts: 2, ..term(0, Contraction::MatMul, Some(1)) };
    let constants = [ternary(&[2, 1, 2], &[1, -1, 1, 0]), constants[1].clone(), constants[2].clone()];
    let expected = f32s(&[2, 2], &[12.5, -2.75, 26.5, -8.75]);
    check(&[count_up(&[2, 2, 1, 1])], &constants, accumulate(vec![divided], epilogue, 1), &expected);
}

#[test]
fn ternary_windows_of_three_axes() {
    // The sum of the eight corners of a cube of 1..27, that is of all its corners' indices plus 8.
    let mut trits = [0; 27];
    [0, 2, 6, 8, 18, 20, 24, 26].iter().for_each(|&corner| trits[corner] = 1);
    let step = accumulate(vec![term(0, windowed(window(&[3, 3, 3]), 1), None)], Epilogue::default(), 1);
    let weight = ternary(&[1, 1, 3, 3, 3], &trits);
    check(&[count_up(&[1, 1, 3, 3, 3])], &[weight], step, &f32s(&[1, 1, 1, 1, 1], &[112.]));
}

#[test]
fn epilogues_in_their_order() {
    // [1 2 3] and [4 5 6] by the columns (+ . -) and (. - +): sums -2, 1 and -2, 1.
    let constants = [
        ternary(&[3, 2], &[1, 0, 0, -1, -1, 1]),
        dense(&[1], &[0.5]),
        dense(&[2], &[0.5, -3.]),
        dense(&[2], &[10., 20.]),
    ];
    let inputs = [count_up(&[2, 3]), f32s(&[2, 2], &[-20., 0., 1., 2.])];
    let bias = Some(ConstantId(3));
    let residual = Some(BufferId(1));
    let activation = Some(Unary::Relu);
    let table: [(Option<u32>, Epilogue, [f32; 4]); 6] = [
        (None, Epilogue::default(), [-2., 1., -2., 1.]),
        (Some(1), Epilogue::default(), [-1., 0.5, -1., 0.5]),
        (Some(2), Epilogue::default(), [-1., -3., -1., -3.]),
        (Some(2), Epilogue { bias, ..Epilogue::default() }, [9., 17., 9., 17.]),
        (Some(2), Epilogue { bias, residual, activation: None }, [-11., 17., 10., 19.]),
        (Some(2), Epilogue { bias, residual, activation }, [0., 17., 10., 19.]),
    ];
    for (scale, epilogue, expected) in table {
        let step = accumulate(vec![term(0, Contraction::MatMul, scale)], epilogue, 2);
        check(&inputs, &constants, step, &f32s(&[2, 2], &expected));
    }
}

#[test]
fn operations_round_one_after_the_other() {
    // 16777217 is no f32: the sum rounds to 16777216 before it is halved. Halved exactly it would carry the bias over.
    let constants = [ternary(&[2, 1], &[1, 1]), dense(&[1], &[0.5]), dense(&[1], &[0.25])];
    let epilogue = Epilogue { bias: Some(ConstantId(2)), ..Epilogue::default() };
    let step = accumulate(vec![term(0, Contraction::MatMul, Some(1))], epilogue, 1);
    check(&[f32s(&[1, 2], &[16777216., 1.])], &constants, step, &f32s(&[1, 1], &[8388608.]));
}

#[test]
fn terms_are_scaled_and_added() {
    // 2·(x₀ + x₁) - 0.5·(x₁ - x₀), then the bias.
    let constants = [
        ternary(&[1, 2, 1], &[1, 1]),
        ternary(&[1, 2, 1], &[-1, 1]),
        dense(&[1], &[2.]),
        dense(&[1], &[-0.5]),
        dense(&[1], &[100.]),
    ];
    let terms =
        vec![term(0, windowed(window(&[1]), 1), Some(2)), term(1, windowed(window(&[1]), 1), Some(3))];
    let epilogue = Epilogue { bias: Some(ConstantId(4)), ..Epilogue::default() };
    let input = f32s(&[1, 2, 2], &[1., 2., 5., 8.]);
    check(&[input], &constants, accumulate(terms, epilogue, 1), &f32s(&[1, 1, 2], &[110., 117.]));
}

#[test]
fn a_bias_is_added_to_the_first_term() {
    // 2^24 + 1 rounds to 2^24; added to -2^24 first, the bias is not lost. The second term comes behind it.
    let large = 16_777_216.0;
    let constants =
        [ternary(&[1, 1, 1], &[1]), ternary(&[1, 1, 1], &[-1]), dense(&[1], &[large]), dense(&[1], &[1.])];
    let terms = |first: u32, second: u32| {
        let of = |weight| term(weight, windowed(window(&[1]), 1), Some(2));
        let epilogue = Epilogue { bias: Some(ConstantId(3)), ..Epilogue::default() };
        accumulate(vec![of(first), of(second)], epilogue, 1)
    };
    let one = f32s(&[1, 1, 1], &[1.]);
    check(std::slice::from_ref(&one), &constants, terms(0, 1), &f32s(&[1, 1, 1], &[0.]));
    check(&[one], &constants, terms(1, 0), &f32s(&[1, 1, 1], &[1.]));
}

#[test]
fn a_zero_trit_ignores_its_input_but_a_float_zero_does_not() {
    let input = f32s(&[1, 2], &[f32::NAN, 3.]);
    let step = accumulate(vec![term(0, Contraction::MatMul, None)], Epilogue::default(), 1);
    check(std::slice::from_ref(&input), &[ternary(&[2, 1], &[0, -1])], step, &f32s(&[1, 1], &[-3.]));
    let step = matmul(buffer(0), constant(0), Epilogue::default(), 1);
    check(&[input], &[dense(&[2, 1], &[0., -1.])], step, &f32s(&[1, 1], &[f32::NAN]));
}

#[test]
fn float_convolutions() {
    let table: [(Tensor, Constant, Window, usize, Tensor); 3] = [
        (
            count_up(&[1, 1, 4]),
            dense(&[2, 1, 2], &[1., 10., 0.5, 0.]),
            window(&[2]),
            1,
            f32s(&[1, 2, 3], &[21., 32., 43., 0.5, 1., 1.5]),
        ),
        // Depthwise: each channel by its own tap.
        (
            count_up(&[1, 2, 1, 2]),
            dense(&[2, 1, 1, 1], &[2., -1.]),
            window(&[1, 1]),
            2,
            f32s(&[1, 2, 1, 2], &[2., 4., -3., -4.]),
        ),
        (
            count_up(&[1, 1, 2, 2]),
            dense(&[1, 1, 3, 3], &[1., 2., 3., 4., 5., 6., 7., 8., 9.]),
            Window { pads_begin: vec![1, 1], pads_end: vec![1, 1], ..window(&[3, 3]) },
            1,
            f32s(&[1, 1, 2, 2], &[77., 67., 47., 37.]),
        ),
    ];
    for (input, weight, window, groups, expected) in table {
        check(&[input], &[weight], conv(window, groups), &expected);
    }
}

#[test]
fn a_convolution_with_a_computed_weight() {
    let step = StepKind::Conv(Conv {
        input: BufferId(0),
        weight: buffer(1),
        window: window(&[2]),
        groups: 1,
        epilogue: Epilogue { activation: Some(Unary::Neg), ..Epilogue::default() },
        output: BufferId(2),
    });
    let inputs = [count_up(&[1, 1, 3]), f32s(&[1, 1, 2], &[1., -2.])];
    check(&inputs, &[], step, &f32s(&[1, 1, 2], &[3., 4.]));
}

#[test]
fn float_matrix_products() {
    let table: [(Tensor, Tensor, Tensor); 4] = [
        (count_up(&[2, 2]), count_up(&[2, 2]), f32s(&[2, 2], &[7., 10., 15., 22.])),
        // A stack of matrices by one, and one by a stack.
        (count_up(&[2, 1, 2]), count_up(&[2, 1]), f32s(&[2, 1, 1], &[5., 11.])),
        (count_up(&[1, 2]), count_up(&[2, 2, 1]), f32s(&[2, 1, 1], &[5., 11.])),
        // Both stacks broadcast.
        (count_up(&[2, 1, 1, 1]), count_up(&[1, 3, 1, 1]), f32s(&[2, 3, 1, 1], &[1., 2., 3., 2., 4., 6.])),
    ];
    for (left, right, expected) in table {
        check(&[left, right], &[], matmul(buffer(0), buffer(1), Epilogue::default(), 2), &expected);
    }
    let epilogue = Epilogue { bias: Some(ConstantId(0)), ..Epilogue::default() };
    let (inputs, bias) = ([count_up(&[2, 1]), count_up(&[1, 2])], dense(&[2], &[100., 200.]));
    let step = matmul(buffer(0), buffer(1), epilogue, 2);
    check(&inputs, &[bias], step, &f32s(&[2, 2], &[101., 202., 102., 204.]));
}

#[test]
fn products_of_nothing() {
    // Nothing to sum gives 0; no sample, no channel gives nothing.
    let none = Epilogue::default;
    check(
        &[f32s(&[2, 0], &[])],
        &[ternary(&[0, 2], &[])],
        accumulate(vec![term(0, Contraction::MatMul, None)], none(), 1),
        &f32s(&[2, 2], &[0.; 4]),
    );
    let wide = accumulate(vec![term(0, windowed(window(&[3, 3]), 1), None)], none(), 1);
    let weight = ternary(&[1, 1, 3, 3], &[1; 9]);
    check(&[f32s(&[0, 1, 3, 3], &[])], &[weight], wide.clone(), &f32s(&[0, 1, 1, 1], &[]));
    check(
        &[f32s(&[1, 0, 3, 3], &[])],
        &[ternary(&[2, 0, 3, 3], &[])],
        wide.clone(),
        &f32s(&[1, 2, 1, 1], &[0.; 2]),
    );
    check(&[count_up(&[1, 1, 3, 3])], &[ternary(&[0, 1, 3, 3], &[])], wide, &f32s(&[1, 0, 1, 1], &[]));
    check(
        &[f32s(&[0, 2, 3], &[]), count_up(&[3, 1])],
        &[],
        matmul(buffer(0), buffer(1), none(), 2),
        &f32s(&[0, 2, 1], &[]),
    );
}

proptest! {
    /// Any geometry, against the definition: a sum over taps, each tested on its own.
    #[test]
    fn windows_are_as_defined(
        size in 1usize..80,
        kernel in 1usize..5,
        stride in 1usize..4,
        dilation in 1usize..4,
        begin in 0usize..5,
        end in 0usize..5,
        trits in proptest::collection::vec(-1i8..=1, 5),
    ) {
        let window = Window {
            kernel: vec![kernel],
            strides: vec![stride],
            dilations: vec![dilation],
            pads_begin: vec![begin],
            pads_end: vec![end],
        };
        let padded = size + begin + end;
        prop_assume!(padded > (kernel - 1) * dilation);
        let count = (padded - (kernel - 1) * dilation - 1) / stride + 1;
        let expected: Vec<f32> = (0..count).map(|i| (0..kernel).map(|tap| {
            let place = (i * stride + tap * dilation) as i64 - begin as i64;
            let element = if (0..size as i64).contains(&place) { (place + 1) as f32 } else { 0. };
            f32::from(trits[tap]) * element
        }).sum::<f32>() + 0.).collect();
        let step = accumulate(vec![term(0, windowed(window, 1), None)], Epilogue::default(), 1);
        let weight = ternary(&[1, 1, kernel], &trits[..kernel]);
        check(&[count_up(&[1, 1, size])], &[weight], step, &f32s(&[1, 1, count], &expected));
    }
}

#[test]
fn quantised_sums_are_exact_and_get_one_factor() {
    // Two samples; bits 3, signed: integers from -3 to 3.
    let quantize = Quantize {
        input: BufferId(0),
        bits: 3,
        signed: true,
        scale: None,
        outputs: [BufferId(1), BufferId(2)],
    };
    let plane = Plane { input: BufferId(1), weight: ConstantId(0), contraction: Contraction::MatMul };
    let term =
        Term { planes: vec![plane], parts: 1, scale: Some(ConstantId(1)), input_scale: Some(BufferId(2)) };
    let epilogue = Epilogue { bias: Some(ConstantId(2)), ..Epilogue::default() };
    let accumulate = Accumulate { terms: vec![term], epilogue, output: BufferId(3) };
    let buffer =
        |element, shape: &[i64]| Buffer { element, shape: shape.iter().map(|&n| Dim::Fixed(n)).collect() };
    let step = |name: &str, kind| Step { name: name.into(), kind };
    let program = Program {
        name: "rounded".into(),
        symbols: vec![],
        buffers: vec![
            buffer(ElementType::F32, &[2, 4]),
            buffer(ElementType::I16, &[2, 4]),
            buffer(ElementType::F32, &[2, 1]),
            buffer(ElementType::F32, &[2, 1]),
        ],
        constants: vec![ternary(&[4, 1], &[1, -1, 0, 1]), dense(&[1], &[0.5]), dense(&[1], &[10.])],
        steps: vec![step("q", StepKind::Quantize(quantize)), step("fc", StepKind::Accumulate(accumulate))],
        inputs: vec![Port { name: "x".into(), buffer: BufferId(0) }],
        outputs: vec![
            Port { name: "y".into(), buffer: BufferId(3) },
            Port { name: "q".into(), buffer: BufferId(1) },
            Port { name: "s".into(), buffer: BufferId(2) },
        ],
    };
    // The scale of the first sample is 2: 6 becomes 3, -1 becomes a tie and goes to 0, 5 a tie and goes to 2.
    // In the second the infinity is no measure; what is finite is 0.
    let x = f32s(&[2, 4], &[6., -1., 5., 3., f32::INFINITY, f32::NAN, 0., -0.]);
    let outputs = interpret::run(&program, &[x], &Functions::default()).expect("the program runs");
    assert_eq!(outputs[2], f32s(&[2, 1], &[2., 0.]));
    assert_eq!(outputs[1].data, TensorData::I16(vec![3, 0, 2, 2, 3, 0, 0, 0]));
    // (3 - 0 + 2) · (0.5 · 2) + 10, and 3 · (0.5 · 0) + 10.
    assert_eq!(outputs[0], f32s(&[2, 1], &[15., 10.]));
    let bytes = program.to_bytes();
    assert_eq!(Program::from_bytes(&bytes).expect("what was written is read"), program);
    // Integers whose range is not known are refused.
    let mut unknown = program;
    unknown.steps[1].kind = match unknown.steps[1].kind.clone() {
        StepKind::Accumulate(mut accumulate) => {
            accumulate.terms[0].planes[0].input = BufferId(0);
            unknown.buffers[0].element = ElementType::I16;
            StepKind::Accumulate(accumulate)
        }
        kind => kind,
    };
    unknown.steps.remove(0);
    unknown.buffers.truncate(4);
    assert!(unknown.validate().is_err());
}
