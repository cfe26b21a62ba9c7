//! Accumulate kernels against sums in f64, on random shapes.

mod cases;
mod fenced;
mod parts;
mod planes;
mod random;

use cases::{Case, check, magnitude, plain, run};
use fenced::{Edge, execute, jits};
use proptest::prelude::*;
use twnc_jit::{AccumulateKernel, AccumulateSpec, IntegerRange, Jit, JitError, Kernel, Measured};
use twnc_program::constant::Trits;
use twnc_program::interpret::View;
use twnc_program::scalar::Unary;
use twnc_program::step::Contraction;
use twnc_program::window::Window;

/// Terms that the reference adds up in a case, at most: more takes it longer than it takes the kernels.
const TERMS: usize = 6_000_000;

/// Windows of one and two axes, up to 7 wide, over images up to 70 and up to 300 channels.
fn windows() -> impl Strategy<Value = Case> {
    let spatial = (1..=2usize).prop_flat_map(|rank| {
        let list = move |range: std::ops::RangeInclusive<usize>| prop::collection::vec(range, rank);
        (list(1..=70), list(1..=7), list(1..=3), list(1..=3), list(0..=4), list(0..=4))
    });
    let channels = prop_oneof![
        4 => (1..=70usize, 1..=70usize, Just(1usize)),
        4 => (1..=300usize, 1..=300usize, Just(1usize)),
        3 => (0..=5usize, 1..=9usize, 1..=7usize),
        2 => (1..=40usize, 1..=40usize, 1..=7usize),
        3 => (Just(1usize), 1..=2usize, 1..=150usize),
    ];
    (0..=3usize, channels, spatial, epilogue()).prop_filter_map(
        "the window fits",
        |(n, (c, m, groups), (mut size, kernel, strides, dilations, pads_begin, pads_end), e)| {
            let window = Window { kernel, strides, dilations, pads_begin, pads_end };
            (0..size.len()).try_for_each(|axis| window.output_size(axis, size[axis], false).map(|_| ()))?;
            let taps: usize = window.kernel.iter().product();
            let most = TERMS / (n * c * m * groups * taps).max(1);
            let side = if size.len() == 1 { most } else { most.isqrt() };
            size.iter_mut().for_each(|size| *size = (*size).min(side.max(7)));
            (0..size.len()).try_for_each(|axis| window.output_size(axis, size[axis], false).map(|_| ()))?;
            let input = [&[n, c * groups], &size[..]].concat();
            let weight = [&[m * groups, c], &window.kernel[..]].concat();
            Some(Case { input, weight, contraction: Contraction::Window { window, groups }, ..e })
        },
    )
}

/// Floats of narrow images, whose rows may lie side by side.
fn narrow() -> impl Strategy<Value = Case> {
    let sizes = ([1..=2usize, 1..=20, 1..=20], [4..=40usize, 4..=40], epilogue());
    (sizes, [1..=5usize, 1..=2, 1..=2, 0..=3, 0..=3], 0..3000usize).prop_filter_map(
        "the window fits",
        |(([n, c, m], [h, w], e), [k, stride, dilation, before, behind], rank)| {
            let two = |n| vec![n; 2];
            let window = Window {
                kernel: two(k),
                strides: two(stride),
                dilations: two(dilation),
                pads_begin: two(before),
                pads_end: two(behind),
            };
            let fits = window.output_size(0, h, false).and(window.output_size(1, w, false)).is_some();
            let contraction = Contraction::Window { window, groups: 1 };
            let (input, weight) = (vec![n, c, h, w], vec![m, c, k, k]);
            fits.then_some(Case { input, weight, contraction, rank, integers: None, ..e })
        },
    )
}

/// Pointwise layers, whose tables are built from the input where its planes hold a row of a table.
fn pointwise() -> impl Strategy<Value = Case> {
    let sizes = [1..=3usize, 1..=2, 1..=24, 1..=24, 1..=30, 1..=30];
    (sizes, epilogue()).prop_map(|([n, groups, c, m, h, w], e)| {
        let contraction = square(1, 1, 0, groups);
        Case { input: vec![n, c * groups, h, w], weight: vec![m * groups, c, 1, 1], contraction, ..e }
    })
}

/// Depthwise layers of images that do not fit a band of rows or a tile's columns, and rows of one axis that are long.
fn large_depthwise() -> impl Strategy<Value = Case> {
    let size = prop_oneof![(60..=160usize, 20..=300usize), (Just(1usize), 200..=1500usize)];
    let window = [1..=2usize, 1..=3, 1..=5, 1..=3, 1..=2, 0..=3];
    (size, window, epilogue()).prop_filter_map("fits", |((h, w), [outputs, groups, k, s, d, pad], e)| {
        let list = |n: usize, one: usize| vec![if h == 1 { one } else { n }, n];
        let (kernel, strides, dilations) = (list(k, 1), list(s, 1), list(d, 1));
        let window = Window { kernel, strides, dilations, pads_begin: list(pad, 0), pads_end: vec![0; 2] };
        let weight = [&[outputs * groups, 1], &window.kernel[..]].concat();
        let fits = window.output_size(0, h, false).and(window.output_size(1, w, false)).is_some();
        let contraction = Contraction::Window { window, groups };
        fits.then_some(Case { input: vec![1, groups, h, w], weight, contraction, ..e })
    })
}

/// Depthwise layers of images so small that lanes are channels.
fn small_depthwise() -> impl Strategy<Value = Case> {
    let window = [1..=5usize, 1..=5, 1..=3, 1..=2, 0..=3, 0..=3];
    ([1..=3usize, 2..=70, 1..=11, 1..=11], window, epilogue()).prop_filter_map(
        "fits",
        |([n, groups, h, w], [ky, kx, stride, dilation, before, behind], e)| {
            let two = |n| vec![n; 2];
            let window = Window {
                kernel: vec![ky, kx],
                strides: two(stride),
                dilations: two(dilation),
                pads_begin: two(before),
                pads_end: two(behind),
            };
            let fits = window.output_size(0, h, false).and(window.output_size(1, w, false)).is_some();
            let (input, weight) = (vec![n, groups, h, w], vec![groups, 1, ky, kx]);
            let contraction = Contraction::Window { window, groups };
            fits.then_some(Case { input, weight, contraction, rank: 0, integers: None, ..e })
        },
    )
}

fn products() -> impl Strategy<Value = Case> {
    let sizes =
        prop_oneof![(0..=40usize, 0..=200usize, 1..=70usize), (0..=70usize, 0..=300usize, 1..=300usize)];
    (prop::collection::vec(0..=6usize, 0..=2), sizes, epilogue()).prop_map(|(leading, (rows, k, m), e)| {
        let input = [&leading[..], &[rows, k]].concat();
        Case { input, weight: vec![k, m], contraction: Contraction::MatMul, ..e }
    })
}

/// Products of so few rows that lanes are outputs.
fn products_of_few_rows() -> impl Strategy<Value = Case> {
    let sizes =
        prop_oneof![(0..=9usize, 0..=200usize, 1..=300usize), (1..=3usize, 200..=3000usize, 1..=40usize)];
    (sizes, epilogue()).prop_map(|((rows, k, m), e)| {
        let (weight, contraction) = (vec![k, m], Contraction::MatMul);
        Case { input: vec![rows, k], weight, contraction, rank: e.rank % 3, ..e }
    })
}

fn epilogue() -> impl Strategy<Value = Case> {
    let activation = prop_oneof![
        Just(None),
        Just(Some(Unary::Relu)),
        Just(Some(Unary::Clip { min: 0.0, max: 6.0 })),
        Just(Some(Unary::HardSwish)),
    ];
    let rank = prop_oneof![Just(0), 0..10_000usize];
    let range = (2..=12u32, any::<bool>()).prop_map(|(bits, signed)| {
        let largest = ((1 << (bits - u32::from(signed))) - 1) as i16;
        IntegerRange { largest, signed }
    });
    let kind = (prop::option::of(range), any::<bool>());
    (0..3usize, any::<bool>(), any::<bool>(), activation, 1..=3usize, rank, kind, any::<u64>()).prop_map(
        |(scale, bias, residual, activation, threads, rank, (integers, input_scale), seed)| Case {
            input: vec![],
            weight: vec![],
            contraction: Contraction::MatMul,
            scale,
            bias,
            residual,
            activation,
            threads,
            rank,
            integers,
            input_scale,
            seed,
        },
    )
}

proptest! {
    #![proptest_config(random::cases(400))]

    #[test]
    fn windows_of_narrow_images_are_their_sums(case in narrow()) {
        check(&case);
    }

    #[test]
    fn windows_are_their_sums(case in windows()) {
        check(&case);
    }

    #[test]
    fn pointwise_windows_are_their_sums(case in pointwise()) {
        check(&case);
    }

    #[test]
    fn large_depthwise_windows_are_their_sums(case in large_depthwise()) {
        check(&case);
    }

    #[test]
    fn small_depthwise_windows_are_their_sums(case in small_depthwise()) {
        check(&case);
    }

    #[test]
    fn products_are_their_sums(case in products()) {
        check(&case);
    }

    #[test]
    fn products_of_few_rows_are_their_sums(case in products_of_few_rows()) {
        check(&case);
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let weight = Trits::pack(&[1; 12]).expect("trits");
    let cases: [(&[usize], &[usize]); 4] =
        [(&[2, 3], &[4, 3]), (&[], &[4, 3]), (&[2, 4], &[4, 3, 1]), (&[2, 4], &[12])];
    for (input, weight_shape) in cases {
        let spec = plain(input, weight_shape, &weight, &Contraction::MatMul, None);
        let misfit = |jit: &Jit| matches!(jit.accumulate(&spec), Err(JitError::Shape(_)));
        assert!(jits().iter().all(misfit), "{input:?} {weight_shape:?}");
    }
}

/// A layer of ones, to look at its kernels: one for each kind of code.
fn layer(input: &[usize], weight_shape: &[usize], contraction: &Contraction) -> Vec<AccumulateKernel> {
    layer_of(None, input, weight_shape, contraction)
}

/// The same with integers in a range.
fn layer_of(
    integers: Option<IntegerRange>,
    input: &[usize],
    weight_shape: &[usize],
    contraction: &Contraction,
) -> Vec<AccumulateKernel> {
    let weight = Trits::pack(&vec![1; weight_shape.iter().product()]).expect("trits");
    let spec = plain(input, weight_shape, &weight, contraction, integers);
    kernels(&spec)
}

fn kernels(spec: &AccumulateSpec<'_>) -> Vec<AccumulateKernel> {
    jits().iter().map(|jit| jit.accumulate(spec).expect("an ordinary layer")).collect()
}

fn square(kernel: usize, stride: usize, pad: usize, groups: usize) -> Contraction {
    let window = Window {
        kernel: vec![kernel; 2],
        strides: vec![stride; 2],
        dilations: vec![1; 2],
        pads_begin: vec![pad; 2],
        pads_end: vec![pad; 2],
    };
    Contraction::Window { window, groups }
}

#[test]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn no_family_multiplies_or_calls() {
    // Where there are such vectors, which is all but the last.
    let mut registers = layer(&[1, 100], &[100, 70], &Contraction::MatMul);
    let scalars = registers.split_off(registers.len() - 1);
    let range = IntegerRange { largest: 127, signed: true };
    let mut integers = layer_of(Some(range), &[1, 100], &[100, 70], &Contraction::MatMul);
    integers.truncate(registers.len());
    let mut channels = layer(&[1, 64, 6, 6], &[64, 1, 3, 3], &square(3, 1, 1, 64));
    channels.truncate(registers.len());
    let kernels = [
        ("tables: groups of", layer(&[1, 64, 56, 56], &[64, 64, 3, 3], &square(3, 1, 1, 1))),
        ("tables: groups of", layer(&[1, 3, 64, 64], &[64, 3, 7, 7], &square(7, 2, 3, 1))),
        ("tables", layer(&[40, 100], &[100, 70], &Contraction::MatMul)),
        ("tables in registers", registers),
        ("tables in registers", integers),
        ("scalar tables", scalars),
        ("lanes of channels", channels),
        ("direct", layer(&[1, 64, 28, 28], &[64, 1, 3, 3], &square(3, 1, 1, 64))),
    ];
    let all = kernels.into_iter().flat_map(|(family, kernels)| kernels.into_iter().map(move |k| (family, k)));
    for (family, kernel) in all {
        assert!(kernel.describe().starts_with(family), "{family}: {}", kernel.describe());
        assert!(!kernel.functions().is_empty());
        for function in kernel.functions() {
            let audit = function.audit().expect("code that can be read");
            assert_eq!((audit.multiplications, audit.calls, audit.invalid), (0, 0, 0), "{}", function.name());
            assert!(audit.additions > 0, "{}:\n{}", function.name(), function.disassemble());
        }
    }
}

#[test]
fn few_rows_of_the_largest_integers_do_not_overflow() {
    let (depth, outputs) = (1000, 35);
    for (bits, signed) in (2..=13).flat_map(|bits| [(bits, true), (bits, false)]) {
        let largest = ((1 << (bits - u32::from(signed))) - 1) as i16;
        let range = IntegerRange { largest, signed };
        for (sign, kernel) in [1, if signed { -1 } else { 1 }].into_iter().flat_map(|sign| {
            let kernels = layer_of(Some(range), &[1, depth], &[depth, outputs], &Contraction::MatMul);
            kernels.into_iter().map(move |kernel| (sign, kernel))
        }) {
            let output = run(&kernel, &[View::I16(&vec![sign * largest; depth])], None);
            let expected = f32::from(sign) * f32::from(largest) * depth as f32;
            assert!(output.iter().all(|&x| x == expected), "{bits} bits, {signed}: {}", kernel.describe());
        }
    }
}

/// Sums of bytes of four tables stay within a byte, whatever is selected: every integer of 8 bits, in every place of a group.
#[test]
fn few_rows_of_every_integer_of_8_bits_are_their_sums() {
    let (depth, outputs) = (36, 33);
    let signs: Vec<i8> = (0..depth * outputs).map(|i| 1 - (i % outputs % 2 * 2) as i8).collect();
    let weight = Trits::pack(&signs).expect("trits");
    for (largest, signed) in [(127, true), (255, false)] {
        let range = Some(IntegerRange { largest, signed });
        let (input, shape) = ([1, depth], [depth, outputs]);
        let spec = plain(&input, &shape, &weight, &Contraction::MatMul, range);
        for kernel in kernels(&spec) {
            let values = if signed { -largest..=largest } else { 0..=largest };
            for (value, members) in values.flat_map(|value| (1..=4).map(move |members| (value, members))) {
                let input: Vec<i16> = (0..depth).map(|k| if k % 4 < members { value } else { 0 }).collect();
                let sum = input.iter().map(|&x| f32::from(x)).sum::<f32>();
                let output = run(&kernel, &[View::I16(&input)], None);
                let right = output.iter().enumerate().all(|(o, &x)| x == if o % 2 == 0 { sum } else { -sum });
                assert!(right, "{value} in {members} of 4: {}", kernel.describe());
            }
        }
    }
}

#[test]
fn integers_whose_sums_may_overflow_are_refused() {
    // 65,538 of the largest integers are 2^31 - 2; one more is beyond.
    let range = IntegerRange { largest: i16::MAX, signed: true };
    for (depth, fits) in [(65_538, true), (65_539, false)] {
        let (input, weight_shape) = ([1, depth], [depth, 1]);
        let weight = Trits::pack(&vec![1; depth]).expect("trits");
        let spec = plain(&input, &weight_shape, &weight, &Contraction::MatMul, Some(range));
        for jit in jits() {
            let refused = matches!(
                jit.accumulate(&spec),
                Err(JitError::Unsupported("sums of integers that may overflow"))
            );
            assert_eq!(refused, !fits, "{depth}");
        }
    }
}

#[test]
fn weights_of_zero_give_zero_whatever_the_input() {
    let shapes = [
        (vec![1, 8, 9, 9], vec![16, 8, 3, 3], square(3, 1, 1, 1)),
        (vec![1, 8, 9, 9], vec![8, 1, 3, 3], square(3, 1, 1, 8)),
        (vec![1, 8], vec![8, 9], Contraction::MatMul),
        (vec![9, 8], vec![8, 9], Contraction::MatMul),
    ];
    for (input_shape, weight_shape, contraction) in shapes {
        let weight = Trits::pack(&vec![0; weight_shape.iter().product()]).expect("trits");
        let spec = plain(&input_shape, &weight_shape, &weight, &contraction, None);
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0];
        let input: Vec<f32> = special.into_iter().cycle().take(input_shape.iter().product()).collect();
        for kernel in kernels(&spec) {
            let output = run(&kernel, &[View::F32(&input)], None);
            assert!(output.iter().all(|&x| x == 0.0), "{}", kernel.describe());
        }
    }
}

#[test]
fn a_window_in_the_padding_sees_zeros() {
    let window = Window {
        kernel: vec![1],
        strides: vec![3],
        dilations: vec![1],
        pads_begin: vec![1],
        pads_end: vec![0],
    };
    for kernel in layer(&[1, 1, 1], &[1, 1, 1], &Contraction::Window { window, groups: 1 }) {
        assert_eq!(run(&kernel, &[View::F32(&[5.0])], None), [0.0]);
    }
}

#[test]
fn infinity_reaches_the_outputs_that_select_it() {
    // One infinite input of eight; outputs add it, subtract it, or leave it out.
    for rows in [1, 9] {
        let weights: Vec<i8> = (0..8).flat_map(|k| [1, -1, i8::from(k != 3)]).collect();
        let weight = Trits::pack(&weights).expect("trits");
        let (input_shape, contraction) = ([rows, 8], Contraction::MatMul);
        let spec = plain(&input_shape, &[8, 3], &weight, &contraction, None);
        let mut input = vec![1.0; rows * 8];
        input[3] = f32::INFINITY;
        for kernel in kernels(&spec) {
            let output = run(&kernel, &[View::F32(&input)], None);
            assert_eq!(output[..3], [f32::INFINITY, f32::NEG_INFINITY, 7.0], "{}", kernel.describe());
        }
    }
}

#[test]
fn layers_without_an_element_need_no_memory() {
    let none = Trits::pack(&[]).expect("trits");
    let far = |kernel: usize, pad: usize| Window {
        kernel: vec![kernel; 2],
        strides: vec![1; 2],
        dilations: vec![1; 2],
        pads_begin: vec![pad; 2],
        pads_end: vec![pad; 2],
    };
    let cases: [(Vec<usize>, Vec<usize>, Contraction); 3] = [
        (
            vec![1, 1, 1, 1],
            vec![0, 1, 46_340, 46_340],
            Contraction::Window { window: far(46_340, 46_339), groups: 1 },
        ),
        (vec![0, 0, 1 << 40, 1], vec![1, 0, 1, 1], Contraction::Window { window: far(1, 0), groups: 1 }),
        (vec![1 << 40, 0, 5], vec![5, 0], Contraction::MatMul),
    ];
    for (input, weight_shape, contraction) in cases {
        let spec = plain(&input, &weight_shape, &none, &contraction, None);
        for jit in jits() {
            match jit.accumulate(&spec) {
                Ok(kernel) => assert!(run(&kernel, &[View::F32(&[])], None).is_empty()),
                Err(JitError::Unsupported(_)) => {}
                Err(error) => panic!("{input:?}: {error}"),
            }
        }
    }
}

/// What is infinite or NaN is no measure of the other numbers, whatever kernel has written it.
#[test]
fn what_is_not_finite_is_not_measured() {
    let special = [f32::INFINITY, f32::NAN, -7.5, 3.25, f32::NEG_INFINITY, -f32::NAN, 0.0, 1e-40];
    // One vector and a part of the next, so that the largest is in either for some sample.
    let width = 21;
    for (groups, largest) in [(1, width - 1), (1, 2), (3, 0), (3, width - 1)] {
        let (input, weight_shape) = ([2, 3, 4, width], [3, 3 / groups, 1, 1]);
        let mut x: Vec<f32> = (0..2 * 3 * 4 * width).map(|i| special[i * 5 % 7]).collect();
        // A sample of nothing that counts.
        x[3 * 4 * width..].fill(f32::NAN);
        x[2 * 4 * width + largest] = 100.0;
        let weight = Trits::pack(&vec![1; weight_shape.iter().product()]).expect("trits");
        let contraction = square(1, 1, 0, groups);
        for (jit, what) in
            jits().iter().flat_map(|jit| [(jit, Measured::Numbers), (jit, Measured::Magnitudes)])
        {
            for rank in [0, 1, 5] {
                let spec = plain(&input, &weight_shape, &weight, &contraction, None);
                let spec = AccumulateSpec { measured: Some(what), rank, ..spec };
                let kernel = jit.accumulate(&spec).expect("an ordinary layer");
                let outputs = execute(&"special numbers", &kernel, &[View::F32(&x)], None, 2, Edge::End);
                let of = |sample: &[f32]| sample.iter().map(|&x| magnitude(x, what)).fold(0.0, f32::max);
                let expected: Vec<f32> = outputs[0].f32().chunks(3 * 4 * width).map(of).collect();
                assert_eq!(outputs[1].f32(), expected, "{}", kernel.describe());
                assert_eq!(expected[1], 0.0);
                assert!(groups == 1 || expected[0] == 100.0);
            }
        }
    }
}

/// Groups of so many weights would take more memory to compare than the layer itself; the kernel without tables takes such layers.
#[test]
fn outputs_of_very_many_weights_have_no_tables() {
    // Those of 170 still have their displacements counted, of which there are very many.
    for (side, tables) in [(5, Some(true)), (170, None), (200, Some(false))] {
        let (input, weight_shape) = ([1, 8, side + 1, side + 1], [2, 8, side, side]);
        let count = 8 * side * side;
        let trits: Vec<i8> = (0..2 * count).map(|i| [1, -1, 1, 0, 0, 0, 0, 0, -1, 1, 1][i % 11]).collect();
        let weight = Trits::pack(&trits).expect("trits");
        let contraction = square(side, 1, 0, 1);
        let x: Vec<f32> = (0..input.iter().product()).map(|i| (i % 13) as f32 - 6.0).collect();
        // Sums of small integers are exact. The first output sees the first row and column.
        let expected: f32 = (0..count)
            .map(|i| {
                let (channel, y, column) = (i / (side * side), i / side % side, i % side);
                f32::from(trits[i]) * x[(channel * (side + 1) + y) * (side + 1) + column]
            })
            .sum();
        for jit in jits() {
            let spec = plain(&input, &weight_shape, &weight, &contraction, None);
            let kernel = jit.accumulate(&spec).expect("a kernel");
            let has_tables = kernel.describe().contains("table");
            assert_eq!(has_tables, tables.unwrap_or(has_tables), "{}", kernel.describe());
            assert_eq!(run(&kernel, &[View::F32(&x)], None)[0], expected, "{}", kernel.describe());
        }
    }
}

/// Where rows do not fill vectors, tables are built of two rows side by side, as they are in the input.
#[test]
#[cfg(all(target_arch = "x86_64", unix))]
fn rows_side_by_side_are_not_packed() {
    for jit in jits().iter().filter(|jit| jit.isa() != twnc_jit::Isa::Portable) {
        let weight = Trits::pack(&[1; 128 * 128 * 9]).expect("trits");
        let contraction = square(3, 1, 1, 1);
        let (input, shape) = ([1, 128, 28, 28], [128, 128, 3, 3]);
        let kernel = jit.accumulate(&plain(&input, &shape, &weight, &contraction, None)).expect("a kernel");
        assert!(kernel.describe().contains("masked bands"), "{}", kernel.describe());
    }
}
