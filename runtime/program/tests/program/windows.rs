//! Pools, reductions and softmax.

use crate::single::{check, count_up, dense, f32s, window};
use proptest::prelude::*;
use twnc_program::interpret::Tensor;
use twnc_program::scalar::Unary;
use twnc_program::step::{Epilogue, Pool, PoolKind, Reduce, ReduceKind, Softmax};
use twnc_program::{BufferId, ConstantId, StepKind, Window};

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;
const MEAN: PoolKind = PoolKind::Average { count_padding: false };
const PADDED_MEAN: PoolKind = PoolKind::Average { count_padding: true };

fn pool(kind: PoolKind, window: Window, ceil: bool) -> StepKind {
    StepKind::Pool(Pool {
        kind,
        input: BufferId(0),
        window,
        ceil,
        scale: None,
        epilogue: Epilogue::default(),
        output: BufferId(1),
    })
}

fn reduce(kind: ReduceKind, axes: &[usize]) -> StepKind {
    StepKind::Reduce(Reduce { kind, input: BufferId(0), axes: axes.to_vec(), output: BufferId(1) })
}

fn softmax(axes: &[usize]) -> StepKind {
    StepKind::Softmax(Softmax { input: BufferId(0), axes: axes.to_vec(), output: BufferId(1) })
}

#[test]
fn pools() {
    // 1 2 3
    // 4 5 6
    // 7 8 9
    let square = window(&[2, 2]);
    let halves = Window { strides: vec![2, 2], ..square.clone() };
    let rim = Window { pads_begin: vec![1, 1], pads_end: vec![1, 1], ..halves.clone() };
    let spread = Window { dilations: vec![2, 2], ..square.clone() };
    let table: [(PoolKind, &Window, bool, &[usize], &[f32]); 10] = [
        (PoolKind::Max, &square, false, &[2, 2], &[5., 6., 8., 9.]),
        (PoolKind::Max, &halves, false, &[1, 1], &[5.]),
        (PoolKind::Max, &halves, true, &[2, 2], &[5., 6., 8., 9.]),
        (PoolKind::Max, &rim, false, &[2, 2], &[1., 3., 7., 9.]),
        (PoolKind::Max, &spread, false, &[1, 1], &[9.]),
        (MEAN, &square, false, &[2, 2], &[3., 4., 6., 7.]),
        (MEAN, &rim, false, &[2, 2], &[1., 2.5, 5.5, 7.]),
        (PADDED_MEAN, &rim, false, &[2, 2], &[0.25, 1.25, 2.75, 7.]),
        // What a last window reaches beyond the input does not count, nor does it in the padded mean.
        (MEAN, &halves, true, &[2, 2], &[3., 4.5, 7.5, 9.]),
        (PADDED_MEAN, &halves, true, &[2, 2], &[3., 4.5, 7.5, 9.]),
    ];
    for (kind, window, ceil, shape, expected) in table {
        let shape = [&[1, 1], shape].concat();
        check(&[count_up(&[1, 1, 3, 3])], &[], pool(kind, window.clone(), ceil), &f32s(&shape, expected));
    }
}

#[test]
fn pools_of_one_and_three_axes_and_of_channels() {
    check(
        &[count_up(&[2, 2, 2])],
        &[],
        pool(PoolKind::Max, window(&[2]), false),
        &f32s(&[2, 2, 1], &[2., 4., 6., 8.]),
    );
    check(
        &[count_up(&[1, 2, 2, 1, 2])],
        &[],
        pool(MEAN, window(&[2, 1, 2]), false),
        &f32s(&[1, 2, 1, 1, 1], &[2.5, 6.5]),
    );
    check(&[f32s(&[0, 3, 4], &[])], &[], pool(MEAN, window(&[2]), false), &f32s(&[0, 3, 3], &[]));
}

#[test]
fn pools_are_scaled_and_finished() {
    // Of two channels the largest are 2 and 4, the residual is 1 and 2.
    let scaled = |constants: &[twnc_program::Constant], bias: Option<u32>, expected: &[f32]| {
        let kind = StepKind::Pool(Pool {
            kind: PoolKind::Max,
            input: BufferId(0),
            window: window(&[2]),
            ceil: false,
            scale: Some(ConstantId(0)),
            epilogue: Epilogue {
                bias: bias.map(ConstantId),
                residual: Some(BufferId(1)),
                activation: Some(Unary::Relu),
            },
            output: BufferId(2),
        });
        let inputs = [count_up(&[1, 2, 2]), count_up(&[1, 2, 1])];
        check(&inputs, constants, kind, &f32s(&[1, 2, 1], expected));
    };
    scaled(&[dense(&[1], &[2.0])], None, &[5.0, 10.0]);
    scaled(&[dense(&[2], &[0.5, -1.0])], None, &[2.0, 0.0]);
    scaled(&[dense(&[2], &[0.5, -1.0]), dense(&[2], &[-3.0, 3.0])], Some(1), &[0.0, 1.0]);
}

#[test]
fn a_ceil_window_does_not_start_in_the_padding_behind() {
    // Seven places of padding and elements, windows of 2 at 0, 3 and, rounding up, 6: that one starts past the elements.
    let wide = Window { strides: vec![3], pads_begin: vec![1], pads_end: vec![2], ..window(&[2]) };
    check(&[count_up(&[1, 1, 4])], &[], pool(PoolKind::Max, wide, true), &f32s(&[1, 1, 2], &[1., 4.]));
}

#[test]
fn pools_of_special_numbers() {
    let input = f32s(&[1, 1, 4], &[NAN, -INF, -0., 0.]);
    let pairs = Window { strides: vec![2], ..window(&[2]) };
    check(
        std::slice::from_ref(&input),
        &[],
        pool(PoolKind::Max, pairs.clone(), false),
        &f32s(&[1, 1, 2], &[-INF, -0.]),
    );
    check(&[input], &[], pool(MEAN, pairs, false), &f32s(&[1, 1, 2], &[NAN, 0.]));
    // A window on padding alone holds no element.
    let outside = Window { pads_begin: vec![2], strides: vec![2], ..window(&[2]) };
    let input = count_up(&[1, 1, 2]);
    check(
        std::slice::from_ref(&input),
        &[],
        pool(PoolKind::Max, outside.clone(), false),
        &f32s(&[1, 1, 2], &[-INF, 2.]),
    );
    check(
        std::slice::from_ref(&input),
        &[],
        pool(MEAN, outside.clone(), false),
        &f32s(&[1, 1, 2], &[NAN, 1.5]),
    );
    check(&[input], &[], pool(PADDED_MEAN, outside, false), &f32s(&[1, 1, 2], &[0., 1.5]));
}

#[test]
fn reductions() {
    use ReduceKind::{Max, Mean, Min, Sum};
    // [[1 2 3] [4 5 6]] [[7 8 9] [10 11 12]]
    let table: [(ReduceKind, &[usize], &[usize], &[f32]); 9] = [
        (Sum, &[2], &[2, 2], &[6., 15., 24., 33.]),
        (Sum, &[2], &[2, 2, 1], &[6., 15., 24., 33.]),
        (Sum, &[0], &[2, 3], &[8., 10., 12., 14., 16., 18.]),
        (Sum, &[0, 2], &[2], &[30., 48.]),
        (Sum, &[0, 1, 2], &[], &[78.]),
        (Sum, &[], &[2, 2, 3], &[1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12.]),
        (Mean, &[1], &[2, 3], &[2.5, 3.5, 4.5, 8.5, 9.5, 10.5]),
        (Max, &[1, 2], &[2], &[6., 12.]),
        (Min, &[0, 1], &[1, 1, 3], &[1., 2., 3.]),
    ];
    for (kind, axes, shape, expected) in table {
        check(&[count_up(&[2, 2, 3])], &[], reduce(kind, axes), &f32s(shape, expected));
    }
    let special = f32s(&[2, 2], &[-0., 0., NAN, 1.]);
    let table = [(Sum, [0., NAN]), (Mean, [0., NAN]), (Max, [0., NAN]), (Min, [-0., NAN])];
    for (kind, expected) in table {
        check(std::slice::from_ref(&special), &[], reduce(kind, &[1]), &f32s(&[2], &expected));
    }
    let table = [(Sum, 0.), (Mean, NAN), (Max, -INF), (Min, INF)];
    for (kind, expected) in table {
        check(&[f32s(&[1, 0], &[])], &[], reduce(kind, &[1]), &f32s(&[1], &[expected]));
    }
}

#[test]
fn sums_round_once() {
    // In f32, one after the other, the ones would be lost.
    let input = f32s(&[4], &[16777216., 1., 1., -16777216.]);
    check(&[input], &[], reduce(ReduceKind::Sum, &[0]), &f32s(&[], &[2.]));
}

#[test]
fn softmaxes() {
    let third = 1. / 3.;
    let e = std::f64::consts::E;
    let (small, large) = ((1. / (1. + e)) as f32, (e / (1. + e)) as f32);
    let table: [(Tensor, &[usize], Vec<f32>); 6] = [
        (f32s(&[3], &[5., 5., 5.]), &[0], vec![third; 3]),
        // Large numbers do not overflow.
        (f32s(&[1, 2], &[1000., 1000.]), &[1], vec![0.5; 2]),
        (f32s(&[2, 2], &[0., 7., 1., 7.]), &[0], vec![small, 0.5, large, 0.5]),
        (f32s(&[2, 1, 2], &[1., 1., 1., 1.]), &[0, 2], vec![0.25; 4]),
        (f32s(&[2], &[-INF, 3.]), &[0], vec![0., 1.]),
        (f32s(&[2], &[NAN, 3.]), &[0], vec![NAN, NAN]),
    ];
    for (input, axes, expected) in table {
        let shape = input.shape.clone();
        check(&[input], &[], softmax(axes), &f32s(&shape, &expected));
    }
    check(&[f32s(&[2, 0], &[])], &[], softmax(&[1]), &f32s(&[2, 0], &[]));
}

proptest! {
    /// Any geometry, against the definition: every tap tested on its own.
    #[test]
    fn pools_are_as_defined(
        size in 1usize..12,
        kernel in 1usize..5,
        stride in 1usize..4,
        dilation in 1usize..3,
        begin in 0usize..4,
        end in 0usize..4,
        ceil: bool,
    ) {
        let padded = size + begin + end;
        let reach = (kernel - 1) * dilation + 1;
        prop_assume!(padded >= reach);
        // ONNX: round up, but drop a window that would start behind the elements.
        let mut count = (padded - reach) / stride + 1;
        if ceil && (padded - reach) % stride != 0 && count * stride < size + begin {
            count += 1;
        }
        let taps = |i: usize| (0..kernel).map(move |tap| i * stride + tap * dilation);
        let elements = |i: usize| -> Vec<f32> {
            taps(i).filter(|place| (begin..begin + size).contains(place)).map(|place| (place - begin + 1) as f32).collect()
        };
        let window = Window {
            kernel: vec![kernel],
            strides: vec![stride],
            dilations: vec![dilation],
            pads_begin: vec![begin],
            pads_end: vec![end],
        };
        for kind in [PoolKind::Max, MEAN, PADDED_MEAN] {
            let expected: Vec<f32> = (0..count).map(|i| {
                let sum: f32 = elements(i).iter().sum();
                match kind {
                    PoolKind::Max => elements(i).into_iter().fold(-INF, f32::max),
                    PoolKind::Average { count_padding: false } => (f64::from(sum) / elements(i).len() as f64) as f32,
                    PoolKind::Average { count_padding: true } => {
                        (f64::from(sum) / taps(i).filter(|&place| place < padded).count() as f64) as f32
                    }
                }
            }).map(|x| x + 0.).collect();
            check(&[count_up(&[1, 1, size])], &[], pool(kind, window.clone(), ceil), &f32s(&[1, 1, count], &expected));
        }
    }
}
