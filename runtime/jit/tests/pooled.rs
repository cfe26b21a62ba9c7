//! Accumulations with a pool behind them in one kernel, against the two kernels one after the other.

mod fenced;
mod random;

use fenced::{Edge, execute, jits};
use proptest::prelude::*;
use twnc_jit::{AccumulateSpec, Epilogue, IntegerRange, Kernel, Measured, PlaneSpec, PoolSpec};
use twnc_program::constant::Trits;
use twnc_program::interpret::View;
use twnc_program::scalar::Unary;
use twnc_program::step::{Contraction, PoolKind};
use twnc_program::window::Window;

/// Bytes of outputs between the two, from which they are one kernel.
const LARGE: usize = 1 << 20;

fn window(kernel: usize, stride: usize, pads: [usize; 2]) -> Window {
    Window {
        kernel: vec![kernel; 2],
        strides: vec![stride; 2],
        dilations: vec![1; 2],
        pads_begin: vec![pads[0]; 2],
        pads_end: vec![pads[1]; 2],
    }
}

/// Numbers from a seed, between -1 and 1.
fn floats(seed: usize, count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 31) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// What is measured of the samples that some numbers are.
fn largest(numbers: &[f32], samples: usize, measured: Option<Measured>) -> Vec<f32> {
    let magnitude = |x: f32| if measured == Some(Measured::Magnitudes) { x.abs() } else { x };
    let of = |sample: &[f32]| sample.iter().copied().map(magnitude).fold(0.0, f32::max);
    numbers.chunks(numbers.len() / samples).map(of).collect()
}

/// The first layers of a ResNet are one kernel with every kind of code, by some plan.
#[test]
fn a_large_image_is_pooled_in_bands() {
    let weight = Trits::pack(&vec![1; 64 * 3 * 49]).expect("trits");
    let contraction = Contraction::Window { window: window(7, 2, [3, 3]), groups: 1 };
    let plane = PlaneSpec::new(&[1, 3, 224, 224], &[64, 3, 7, 7], &weight, &contraction);
    let pool = PoolSpec {
        kind: PoolKind::Max,
        input: &[1, 64, 112, 112],
        output: &[1, 64, 56, 56],
        window: &window(3, 2, [1, 1]),
        epilogue: Epilogue::default(),
    };
    for jit in jits() {
        let one = (0..8).find_map(|rank| {
            let planes = vec![plane.clone()];
            let spec = AccumulateSpec { rank, pooled: true, ..AccumulateSpec::new(planes) };
            jit.pooled(jit.accumulate(&spec).expect("a kernel"), &pool).expect("kernels that fit")
        });
        assert!(one.is_some_and(|one| one.units(0) > 2), "{:?}", jit.isa());
    }
}

proptest! {
    #![proptest_config(random::cases(60))]

    #[test]
    fn one_kernel_does_what_two_do(
        [samples, inputs, kernel, stride] in [1..=2usize, 1..=6, 1..=5, 1..=2],
        [height, width] in [8..=120usize, 8..=120],
        [pool, step, begin, end] in [1..=5usize, 1..=4, 0..=9, 0..=9],
        dilation in prop_oneof![2 => Just(1usize), 1 => 2..=12usize],
        kind in prop_oneof![Just(PoolKind::Max), any::<bool>().prop_map(|count_padding| PoolKind::Average { count_padding })],
        finished: bool,
        integers: bool,
        measured in prop_oneof![Just(None), Just(Some(Measured::Numbers)), Just(Some(Measured::Magnitudes))],
        threads in 1..=3usize,
        rank in prop_oneof![2 => Just(0usize), 1 => 0..200usize],
        seed in 0..1000usize,
    ) {
        let first = window(kernel, stride, [kernel / 2; 2]);
        let sizes = [height, width].map(|size| first.output_size(0, size, false).unwrap_or(1));
        let reach = dilation * (pool - 1);
        let second = Window { dilations: vec![dilation; 2], ..window(pool, step, [begin.min(reach), end.min(reach)]) };
        prop_assume!(sizes.iter().all(|&size| second.output_size(0, size, false).is_some()));
        let outputs = (LARGE / 4).div_ceil(sizes[0] * sizes[1]);
        let input = [samples, inputs, height, width];
        let weight_shape = [outputs, inputs, kernel, kernel];
        let trits: Vec<i8> = (0..outputs * inputs * kernel * kernel).map(|i| ((i * 5 + i * i * seed) % 3) as i8 - 1).collect();
        let weight = Trits::pack(&trits).expect("trits");
        let contraction = Contraction::Window { window: first, groups: 1 };
        let (scale, bias) = (floats(seed + 1, outputs), floats(seed + 2, outputs));
        let range = IntegerRange { largest: 127, signed: true };
        let plane = PlaneSpec { scale: Some(&scale), integers: integers.then_some(range), input_scale: integers, ..PlaneSpec::new(&input, &weight_shape, &weight, &contraction) };
        let activation = Some(Unary::Relu);
        let spec = AccumulateSpec { bias: Some(&bias), activation, threads, rank, pooled: true, ..AccumulateSpec::new(vec![plane]) };
        let sums = [samples, outputs, sizes[0], sizes[1]];
        let pooled = [0, 1].map(|axis| second.output_size(axis, sizes[axis], false).expect("fits"));
        let output = [samples, outputs, pooled[0], pooled[1]];
        let epilogue = match finished {
            false => Epilogue { measured, ..Epilogue::default() },
            true => Epilogue { scale: Some(scale.clone()), bias: Some(bias.clone()), activation, measured, ..Epilogue::default() },
        };
        let pool = PoolSpec { kind, input: &sums, output: &output, window: &second, epilogue };
        let x = floats(seed, input.iter().product());
        let q: Vec<i16> = x.iter().map(|x| (x * 127.0) as i16).collect();
        let factors = floats(seed + 3, samples);
        let views: &[View<'_>] =
            if integers { &[View::I16(&q), View::F32(&factors)] } else { &[View::F32(&x)] };
        for jit in jits() {
            let (before, behind) = (jit.accumulate(&spec).expect("a kernel"), jit.pool(&pool).expect("a kernel"));
            let case = format!("{spec:?} {pool:?}").chars().take(400).collect::<String>();
            let between = execute(&case, &before, views, None, threads, Edge::End);
            let expected = execute(&case, &behind, &[View::F32(between[0].f32())], None, threads, Edge::End);
            // What reaches too far, or has bands side by side, stays two.
            let Some(one) = jit.pooled(before, &pool).expect("kernels that fit") else { continue };
            prop_assert!(one.describe().contains("pooled in bands"));
            for (threads, edge) in [(threads, Edge::Start), (1, Edge::End)] {
                let found = execute(&case, &one, views, None, threads, edge);
                let differs = found[0].f32().iter().zip(expected[0].f32()).position(|(a, b)| a.to_bits() != b.to_bits());
                prop_assert_eq!(differs, None, "{}", one.describe());
                for measures in found.iter().skip(1).chain(expected.iter().skip(1)) {
                    prop_assert_eq!(measures.f32(), largest(expected[0].f32(), samples, measured), "{}", one.describe());
                }
                prop_assert_eq!(found.len(), 1 + usize::from(measured.is_some()));
            }
        }
    }
}
