//! Products in parts against the same products of inputs that are apart, since only the place of what they read differs: sums of
//! integers to the bit, those of floats up to their order.

use crate::cases::{Random, output};
use crate::fenced::{Edge, jits};
use crate::{random, square};
use proptest::prelude::*;
use twnc_jit::{AccumulateSpec, IntegerRange, Jit, JitError, Kernel, PlaneSpec};
use twnc_program::constant::Trits;
use twnc_program::interpret::View;
use twnc_program::scalar::Unary;
use twnc_program::step::Contraction;

/// A layer of `parts` groups of input channels, whose sums have a factor each and are added.
#[derive(Clone, Debug)]
struct Case {
    samples: usize,
    parts: usize,
    /// Of a part.
    channels: usize,
    outputs: usize,
    /// Of the image and of the window; of products of matrices 1.
    size: usize,
    kernel: usize,
    stride: usize,
    matrix: bool,
    integers: Option<IntegerRange>,
    bias: bool,
    /// Only with a bias.
    activation: Option<Unary>,
    threads: usize,
    rank: usize,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    // Products of rows, few and many, and windows.
    let shape = prop_oneof![
        (0..=40usize, Just(1), Just(1), Just(1), any::<bool>()),
        (0..=2usize, 1..=20usize, prop::sample::select(vec![1, 3]), 1..=2usize, Just(false)),
    ];
    let integers =
        prop::option::of((4..=8u32, any::<bool>()).prop_map(|(bits, signed)| IntegerRange {
            largest: (1 << (bits - u32::from(signed))) - 1,
            signed,
        }));
    let rest = (any::<bool>(), prop::option::of(Just(Unary::Relu)), 1..=3usize);
    (shape, 2..=5usize, 1..=24usize, 1..=40usize, integers, rest, prop_oneof![Just(0), 0..500usize], any::<u64>())
        .prop_map(|((samples, size, kernel, stride, matrix), parts, channels, outputs, integers, rest, rank, seed)| {
            let (bias, activation, threads) = rest;
            #[rustfmt::skip]
            let case = Case {
                samples, parts, channels, outputs, size, kernel, stride, matrix, integers, bias, activation, threads, rank, seed,
            };
            case
        })
}

/// The elements of a part of the channels of `[samples, parts · rest]`.
fn part<T: Copy>(elements: &[T], case: &Case, part: usize) -> Vec<T> {
    let len = elements.len() / (case.samples * case.parts).max(1);
    let samples = elements.chunks((len * case.parts).max(1));
    samples.flat_map(|sample| sample[part * len..][..len].iter().copied()).collect()
}

fn check(jit: &Jit, case: &Case) {
    let mut random = Random(case.seed);
    let Case { samples, parts, channels, outputs, size, kernel, stride, integers, .. } = *case;
    let (shapes, divided, apart) = match case.matrix {
        true => (
            [
                (vec![samples, parts, 1, channels], vec![parts, channels, outputs]),
                (vec![samples, channels], vec![channels, outputs]),
            ],
            Contraction::MatMul,
            Contraction::MatMul,
        ),
        false => (
            [parts, 1].map(|parts| {
                let weight = vec![parts * outputs, channels, kernel, kernel];
                (vec![samples, parts * channels, size, size], weight)
            }),
            square(kernel, stride, kernel / 2, parts),
            square(kernel, stride, kernel / 2, 1),
        ),
    };
    let (count, taps) = (shapes[0].0.iter().product(), kernel * kernel);
    let floats = random.floats(count);
    let numbers = integers.map_or(vec![], |range| random.integers(count, range));
    let trits = random.trits(parts * outputs * channels * taps);
    let (scale, sample_scale) = (random.floats(parts * outputs), random.floats(samples));
    let bias = random.floats(outputs);
    let weight = Trits::pack(&trits).expect("trits");
    let weights: Vec<Trits> =
        trits.chunks(outputs * channels * taps).map(|t| Trits::pack(t).expect("trits")).collect();
    let plane = |p: usize, whole: bool| PlaneSpec {
        source: if whole { 0 } else { p },
        part: if whole { [p, parts] } else { [0, 1] },
        scale: Some(&scale[p * outputs..][..outputs]),
        integers,
        input_scale: integers.is_some(),
        ..PlaneSpec::new(
            &shapes[usize::from(!whole)].0,
            &shapes[usize::from(!whole)].1,
            if whole { &weight } else { &weights[p] },
            if whole { &divided } else { &apart },
        )
    };
    let kernel = |whole: bool, bias: Option<&[f32]>, activation| {
        let planes = (0..parts).map(|p| plane(p, whole)).collect();
        let (threads, rank) = (case.threads, case.rank);
        jit.accumulate(&AccumulateSpec { bias, activation, threads, rank, ..AccumulateSpec::new(planes) })
    };
    let (whole, separate) = match (kernel(true, None, None), kernel(false, None, None)) {
        (Err(JitError::Unsupported(_)), Err(JitError::Unsupported(_))) => return,
        (whole, separate) => (whole.expect("a kernel"), separate.expect("a kernel")),
    };
    let floats_apart: Vec<Vec<f32>> = (0..parts).map(|p| part(&floats, case, p)).collect();
    let numbers_apart: Vec<Vec<i16>> = (0..parts).map(|p| part(&numbers, case, p)).collect();
    let scales =
        |sources: usize| (0..if integers.is_some() { sources } else { 0 }).map(|_| View::F32(&sample_scale));
    let view = |p: Option<usize>| match (integers, p) {
        (None, None) => View::F32(&floats),
        (None, Some(p)) => View::F32(&floats_apart[p]),
        (Some(_), None) => View::I16(&numbers),
        (Some(_), Some(p)) => View::I16(&numbers_apart[p]),
    };
    let of_whole: Vec<View<'_>> = [view(None)].into_iter().chain(scales(1)).collect();
    let of_separate: Vec<View<'_>> = (0..parts).map(|p| view(Some(p))).chain(scales(parts)).collect();
    // Sums of floats may be in another order, where other weights make other kernels of the parts.
    let terms = (parts * channels * taps) as f32;
    let bound = if integers.is_some() { 0.0 } else { f32::EPSILON * terms * (terms + 4.0) };
    let expected = output(case, &separate, &of_separate, None, 1, Edge::End);
    let found = output(case, &whole, &of_whole, None, case.threads, Edge::Start);
    assert_eq!(found.len(), expected.len());
    for (i, (x, y)) in found.iter().zip(&expected).enumerate() {
        assert!((x - y).abs() <= bound, "output {i}: {x} for {y} in {}", whole.describe());
    }
    if !case.bias {
        return;
    }
    // Bias and activation stand behind the last part.
    let finished = kernel(true, Some(&bias), case.activation).expect("a kernel");
    let (positions, plain) = (found.len() / (samples * outputs).max(1), found);
    let found = output(case, &finished, &of_whole, None, 1, Edge::End);
    let finish = |(i, value): (usize, f32)| {
        let value = value + bias[i / positions % outputs];
        case.activation.map_or(value, |activation| activation.apply(value))
    };
    let same = |(x, y): (f32, f32)| assert_eq!(x.to_bits(), y.to_bits(), "{}", finished.describe());
    found.into_iter().zip(plain.into_iter().enumerate().map(finish)).for_each(same);
}

proptest! {
    #![proptest_config(random::cases(200))]

    #[test]
    fn parts_are_products_of_inputs_that_are_apart(case in cases()) {
        jits().iter().for_each(|jit| check(jit, &case));
    }
}

#[test]
fn parts_that_do_not_fit_are_errors() {
    let weight = Trits::pack(&[1; 12]).expect("trits");
    let (two, one) = (square(1, 1, 0, 2), square(1, 1, 0, 1));
    let product = Contraction::MatMul;
    let plane = |part, contraction, input, weight_shape| PlaneSpec {
        part,
        ..PlaneSpec::new(input, weight_shape, &weight, contraction)
    };
    let (image, window): (&[usize], &[usize]) = (&[1, 4, 2, 2], &[6, 2, 1, 1]);
    let cases = [
        ("part 2 of 2", plane([2, 2], &two, image, window)),
        ("part 0 of 0", plane([0, 0], &two, image, window)),
        ("3 parts of a product in 2 groups", plane([0, 3], &two, image, window)),
        ("2 parts of a product in 1 groups", plane([0, 2], &one, &[1, 2, 2, 2], window)),
        ("weight [4, 3] does not fit input [1, 4]", plane([0, 2], &product, &[1, 4], &[4, 3])),
        ("does not fit", plane([0, 2], &product, &[1, 3, 1, 2], &[3, 2, 2])),
    ];
    for (reason, plane) in cases {
        let planes = vec![plane];
        let spec = AccumulateSpec::new(planes);
        for jit in jits() {
            let error = jit.accumulate(&spec).err().expect(reason).to_string();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }
}
