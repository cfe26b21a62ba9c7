//! Accumulate kernels against sums in f64, on random shapes.

use proptest::prelude::*;
use twnc_jit::{
    AccumulateKernel, AccumulateSpec, IntegerRange, Isa, Jit, JitError, Kernel, Line, PlaneSpec, Work,
};
use twnc_program::constant::Trits;
use twnc_program::interpret::{View, ViewMut};
use twnc_program::scalar::Unary;
use twnc_program::step::Contraction;
use twnc_program::window::Window;

/// A small generator, so that a failing case is reproduced by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (self.next() % 2001) as f32 / 1000.0 - 1.0).collect()
    }

    fn trits(&mut self, n: usize) -> Vec<i8> {
        (0..n).map(|_| (self.next() % 3) as i8 - 1).collect()
    }
}

#[derive(Clone, Debug)]
struct Case {
    input: Vec<usize>,
    weight: Vec<usize>,
    contraction: Contraction,
    scale: usize,
    bias: bool,
    residual: bool,
    activation: Option<Unary>,
    threads: usize,
    rank: usize,
    integers: Option<IntegerRange>,
    input_scale: bool,
    seed: u64,
}

/// Generators of every kind of code that this machine runs.
fn jits() -> &'static [Jit] {
    static JITS: std::sync::OnceLock<Vec<Jit>> = std::sync::OnceLock::new();
    let new = |isa| Jit::new(isa).expect("this machine runs generated code");
    JITS.get_or_init(|| Isa::available().map(new).collect())
}

fn windows() -> impl Strategy<Value = Case> {
    let spatial = (1..=2usize).prop_flat_map(|rank| {
        let list = move |range: std::ops::RangeInclusive<usize>| prop::collection::vec(range, rank);
        (list(1..=40), list(1..=7), list(1..=3), list(1..=2), list(0..=3), list(0..=3))
    });
    let channels = prop_oneof![
        (1..=70usize, 1..=70usize, Just(1usize)),
        (0..=5usize, 1..=9usize, 1..=7usize),
        (Just(1usize), 1..=2usize, 1..=40usize),
    ];
    (0..=3usize, channels, spatial, epilogue()).prop_filter_map(
        "the window fits",
        |(n, (c, m, groups), (size, kernel, strides, dilations, pads_begin, pads_end), e)| {
            let window = Window { kernel, strides, dilations, pads_begin, pads_end };
            (0..size.len()).try_for_each(|axis| window.output_size(axis, size[axis], false).map(|_| ()))?;
            // Large images of many channels only cost time.
            let size = if c * m > 900 { size.iter().map(|&s| s.min(14)).collect() } else { size };
            (0..size.len()).try_for_each(|axis| window.output_size(axis, size[axis], false).map(|_| ()))?;
            let input = [&[n, c * groups], &size[..]].concat();
            let weight = [&[m * groups, c], &window.kernel[..]].concat();
            Some(Case { input, weight, contraction: Contraction::Window { window, groups }, ..e })
        },
    )
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

fn products() -> impl Strategy<Value = Case> {
    (prop::collection::vec(0..=6usize, 0..=2), 0..=40usize, 0..=200usize, 1..=70usize, epilogue()).prop_map(
        |(leading, rows, k, m, e)| {
            let input = [&leading[..], &[rows, k]].concat();
            Case { input, weight: vec![k, m], contraction: Contraction::MatMul, ..e }
        },
    )
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

/// Per output: the sum, the sum of magnitudes, the number of terms.
fn reference(case: &Case, input: &[f32], weights: &[i8]) -> (Vec<(f64, f64)>, usize) {
    let mut sums = Vec::new();
    match &case.contraction {
        Contraction::MatMul => {
            let &[k, m] = &case.weight[..] else { panic!("a matrix") };
            let rows: usize = case.input[..case.input.len() - 1].iter().product();
            for row in (0..rows).map(|row| &input[row * k..][..k]) {
                for output in 0..m {
                    let terms = row
                        .iter()
                        .enumerate()
                        .map(|(i, &x)| f64::from(weights[i * m + output]) * f64::from(x));
                    sums.push(terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs())));
                }
            }
            (sums, k)
        }
        Contraction::Window { window, groups } => {
            let rank = window.rank();
            let pair = |v: &[usize], absent: usize| if rank == 1 { [absent, v[0]] } else { [v[0], v[1]] };
            let (size, kernel) = (pair(&case.input[2..], 1), pair(&window.kernel, 1));
            let (strides, dilations) = (pair(&window.strides, 1), pair(&window.dilations, 1));
            let (begin, end) = (pair(&window.pads_begin, 0), pair(&window.pads_end, 0));
            let out: Vec<usize> = (0..2)
                .map(|a| (size[a] + begin[a] + end[a] - (kernel[a] - 1) * dilations[a] - 1) / strides[a] + 1)
                .collect();
            let (c, m) = (case.weight[1], case.weight[0] / groups);
            for sample in 0..case.input[0] {
                for output in 0..m * groups {
                    for (y, x) in (0..out[0]).flat_map(|y| (0..out[1]).map(move |x| (y, x))) {
                        let (mut sum, mut magnitude) = (0.0, 0.0);
                        for (i, &w) in weights[output * c * kernel[0] * kernel[1]..]
                            [..c * kernel[0] * kernel[1]]
                            .iter()
                            .enumerate()
                        {
                            let (channel, ky, kx) =
                                (i / (kernel[0] * kernel[1]), i / kernel[1] % kernel[0], i % kernel[1]);
                            let iy = (y * strides[0] + ky * dilations[0]).wrapping_sub(begin[0]);
                            let ix = (x * strides[1] + kx * dilations[1]).wrapping_sub(begin[1]);
                            if iy < size[0] && ix < size[1] {
                                let plane = sample * case.input[1] + output / m * c + channel;
                                let term =
                                    f64::from(w) * f64::from(input[(plane * size[0] + iy) * size[1] + ix]);
                                sum += term;
                                magnitude += term.abs();
                            }
                        }
                        sums.push((sum, magnitude));
                    }
                }
            }
            (sums, c * kernel[0] * kernel[1])
        }
    }
}

/// Runs a kernel in `parts`, with guard values around output and scratch.
fn guarded(
    kernel: &AccumulateKernel,
    inputs: &[View<'_>],
    residual: Option<&[f32]>,
    parts: usize,
) -> Vec<f32> {
    const GUARD: usize = 64;
    let interface = kernel.interface();
    let len = interface.outputs[0].len;
    let mut output = vec![7.25f32; len + 2 * GUARD];
    let mut scratch = vec![Line::default(); interface.scratch + 2 * GUARD];
    let guard: &mut [f32] = bytemuck::cast_slice_mut(&mut scratch);
    guard.fill(f32::NAN);
    let middle = GUARD..GUARD + len;
    for phase in 0..kernel.phases() {
        let mut outputs = [ViewMut::F32(&mut output[middle.clone()])];
        let work = Work::new(kernel, phase, inputs, residual, &mut outputs, parts).expect("lengths fit");
        while work.run_next(&mut scratch[GUARD..GUARD + interface.scratch]).expect("scratch fits") {}
    }
    let untouched = |x: &f32| x.to_bits() == 7.25f32.to_bits();
    assert!(output[..GUARD].iter().chain(&output[middle.end..]).all(untouched), "wrote around the output");
    let guard: &[f32] = bytemuck::cast_slice(&scratch);
    let outside = guard[..GUARD * 16].iter().chain(&guard[(GUARD + interface.scratch) * 16..]);
    assert!(outside.into_iter().all(|x| x.to_bits() == f32::NAN.to_bits()), "wrote around the scratch");
    output[middle].to_vec()
}

fn check(case: &Case) {
    jits().iter().for_each(|jit| check_on(jit, case));
}

fn check_on(jit: &Jit, case: &Case) {
    let mut random = Random(case.seed);
    let mut input = random.floats(case.input.iter().product());
    let mut integers = vec![];
    if let Some(range) = case.integers {
        // Many are the largest, so that sums come close to what may overflow.
        let (largest, signed) = (i32::from(range.largest), range.signed);
        let low = if signed { -largest } else { 0 };
        let mut integer = || match random.next() % 4 {
            0 => low as i16,
            1 | 2 => largest as i16,
            _ => (low + (random.next() % (largest - low + 1) as u64) as i32) as i16,
        };
        integers = (0..input.len()).map(|_| integer()).collect();
        input = integers.iter().map(|&q| f32::from(q)).collect();
    }
    let input_scale = random.floats(case.input.first().copied().unwrap_or(1));
    let weights = random.trits(case.weight.iter().product());
    let weight = Trits::pack(&weights).expect("trits");
    let channels = match case.contraction {
        Contraction::MatMul => case.weight[1],
        Contraction::Window { .. } => case.weight[0],
    };
    let scale = match case.scale {
        0 => None,
        1 => Some(random.floats(1)),
        _ => Some(random.floats(channels)),
    };
    let bias = case.bias.then(|| random.floats(channels));
    let spec = AccumulateSpec {
        planes: vec![PlaneSpec {
            input: &case.input,
            weight_shape: &case.weight,
            weight: &weight,
            contraction: &case.contraction,
            scale: scale.as_deref(),
            integers: case.integers,
            input_scale: case.input_scale,
        }],
        bias: bias.as_deref(),
        residual: case.residual,
        activation: case.activation,
        threads: case.threads,
        rank: case.rank,
    };
    let kernel = match jit.accumulate(&spec) {
        // Long sums of wide integers, where there is no table either.
        Err(JitError::Unsupported("sums of integers that may overflow")) => return,
        kernel => kernel.unwrap_or_else(|e| panic!("{e}")),
    };
    let (sums, terms) = reference(case, &input, &weights);
    assert_eq!(sums.len(), kernel.interface().outputs[0].len);
    let residual = case.residual.then(|| random.floats(sums.len()));
    let mut inputs = vec![if case.integers.is_none() { View::F32(&input) } else { View::I16(&integers) }];
    if case.input_scale {
        inputs.push(View::F32(&input_scale));
    }
    let output = guarded(&kernel, &inputs, residual.as_deref(), case.threads);
    let again = guarded(&kernel, &inputs, residual.as_deref(), 1);
    assert!(output.iter().zip(&again).all(|(a, b)| a.to_bits() == b.to_bits()), "parts change the bits");
    let samples = case.input.first().copied().unwrap_or(1).max(1);
    let positions = match case.contraction {
        Contraction::MatMul => 1,
        Contraction::Window { .. } => sums.len() / (case.input[0] * channels).max(1),
    };
    let unit = f64::from(f32::EPSILON) / 2.0;
    for (i, (&(sum, magnitude), &got)) in sums.iter().zip(&output).enumerate() {
        let channel = i / positions % channels;
        let sample_scale = case.input_scale.then(|| input_scale[i / (sums.len() / samples)]);
        let channel_scale = scale.as_ref().map(|s| s[if s.len() == 1 { 0 } else { channel }]);
        let factor = match (channel_scale, sample_scale) {
            (Some(a), Some(b)) => Some(a * b),
            (a, b) => a.or(b),
        };
        if case.integers.is_some() {
            // Exact to the last bit.
            let x = factor.map_or(sum as f32, |factor| sum as f32 * factor);
            let x = bias.as_ref().map_or(x, |b| x + b[channel]);
            let x = residual.as_ref().map_or(x, |r| x + r[i]);
            let x = case.activation.map_or(x, |a| a.apply(x));
            assert!(
                got.to_bits() == x.to_bits() || got == x,
                "output {i}: {got} for {x} in {}",
                kernel.describe()
            );
            continue;
        }
        let s = factor.map_or(1.0, f64::from);
        let extra = bias.as_ref().map_or(0.0, |b| f64::from(b[channel]))
            + residual.as_ref().map_or(0.0, |r| f64::from(r[i]));
        let value = sum * s + extra;
        let expected = case.activation.map_or(value, |a| match a {
            Unary::Relu => value.max(0.0),
            Unary::Clip { min, max } => value.clamp(f64::from(min), f64::from(max)),
            _ => value * (value / 6.0 + 0.5).clamp(0.0, 1.0),
        });
        // The sum's own bound, and a few roundings of the epilogue; activations here grow errors less than twofold.
        let bound = (terms + 2) as f64 * unit * magnitude * s.abs() + 4.0 * unit * (value.abs() + 2.0);
        assert!(
            (f64::from(got) - expected).abs() <= 2.0 * bound,
            "output {i}: {got} for {expected} in {}",
            kernel.describe()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn windows_are_their_sums(case in windows()) {
        check(&case);
    }

    #[test]
    fn large_depthwise_windows_are_their_sums(case in large_depthwise()) {
        check(&case);
    }

    #[test]
    fn products_are_their_sums(case in products()) {
        check(&case);
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let weight = Trits::pack(&[1; 12]).expect("trits");
    let cases: [(&[usize], &[usize]); 4] =
        [(&[2, 3], &[4, 3]), (&[], &[4, 3]), (&[2, 4], &[4, 3, 1]), (&[2, 4], &[12])];
    for (input, weight_shape) in cases {
        let plane = PlaneSpec {
            input,
            weight_shape,
            weight: &weight,
            contraction: &Contraction::MatMul,
            scale: None,
            integers: None,
            input_scale: false,
        };
        let spec = AccumulateSpec {
            planes: vec![plane],
            bias: None,
            residual: false,
            activation: None,
            threads: 1,
            rank: 0,
        };
        let misfit = |jit: &Jit| matches!(jit.accumulate(&spec), Err(JitError::Shape(_)));
        assert!(jits().iter().all(misfit), "{input:?} {weight_shape:?}");
    }
}

/// A layer of ones, to look at its kernels: one for each kind of code.
fn layer(input: &[usize], weight_shape: &[usize], contraction: &Contraction) -> Vec<AccumulateKernel> {
    let weight = Trits::pack(&vec![1; weight_shape.iter().product()]).expect("trits");
    let plane = PlaneSpec {
        input,
        weight_shape,
        weight: &weight,
        contraction,
        scale: None,
        integers: None,
        input_scale: false,
    };
    let spec = AccumulateSpec {
        planes: vec![plane],
        bias: None,
        residual: false,
        activation: None,
        threads: 1,
        rank: 0,
    };
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
#[cfg(target_arch = "x86_64")]
fn no_family_multiplies_or_calls() {
    let kernels = [
        ("tables: groups of", layer(&[1, 64, 56, 56], &[64, 64, 3, 3], &square(3, 1, 1, 1))),
        ("tables: groups of", layer(&[1, 3, 64, 64], &[64, 3, 7, 7], &square(7, 2, 3, 1))),
        ("tables", layer(&[40, 100], &[100, 70], &Contraction::MatMul)),
        ("scalar tables", layer(&[1, 100], &[100, 70], &Contraction::MatMul)),
        ("direct", layer(&[1, 64, 28, 28], &[64, 1, 3, 3], &square(3, 1, 1, 64))),
    ];
    let all = kernels.into_iter().flat_map(|(family, kernels)| kernels.into_iter().map(move |k| (family, k)));
    for (family, kernel) in all {
        assert!(kernel.describe().starts_with(family), "{family}: {}", kernel.describe());
        assert!(!kernel.functions().is_empty());
        for function in kernel.functions() {
            let audit = function.audit().expect("x86-64");
            assert_eq!((audit.multiplications, audit.calls, audit.invalid), (0, 0, 0), "{}", function.name());
            assert!(audit.additions > 0, "{}:\n{}", function.name(), function.disassemble());
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
        let plane = PlaneSpec {
            input: &input_shape,
            weight_shape: &weight_shape,
            weight: &weight,
            contraction: &contraction,
            scale: None,
            integers: None,
            input_scale: false,
        };
        let spec = AccumulateSpec {
            planes: vec![plane],
            bias: None,
            residual: false,
            activation: None,
            threads: 1,
            rank: 0,
        };
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0];
        let input: Vec<f32> = special.into_iter().cycle().take(input_shape.iter().product()).collect();
        for kernel in kernels(&spec) {
            let output = guarded(&kernel, &[View::F32(&input)], None, 1);
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
        assert_eq!(guarded(&kernel, &[View::F32(&[5.0])], None, 1), [0.0]);
    }
}

#[test]
fn infinity_reaches_the_outputs_that_select_it() {
    // One infinite input of eight; outputs add it, subtract it, or leave it out.
    for rows in [1, 9] {
        let weights: Vec<i8> = (0..8).flat_map(|k| [1, -1, i8::from(k != 3)]).collect();
        let weight = Trits::pack(&weights).expect("trits");
        let (input_shape, contraction) = ([rows, 8], Contraction::MatMul);
        let plane = PlaneSpec {
            input: &input_shape,
            weight_shape: &[8, 3],
            weight: &weight,
            contraction: &contraction,
            scale: None,
            integers: None,
            input_scale: false,
        };
        let spec = AccumulateSpec {
            planes: vec![plane],
            bias: None,
            residual: false,
            activation: None,
            threads: 1,
            rank: 0,
        };
        let mut input = vec![1.0; rows * 8];
        input[3] = f32::INFINITY;
        for kernel in kernels(&spec) {
            let output = guarded(&kernel, &[View::F32(&input)], None, 1);
            assert_eq!(output[..3], [f32::INFINITY, f32::NEG_INFINITY, 7.0], "{}", kernel.describe());
        }
    }
}

#[test]
fn planes_are_scaled_and_added() {
    let weights = [vec![1i8; 20], vec![-1; 20]].map(|w| Trits::pack(&w).expect("trits"));
    for rows in [1usize, 9] {
        let input_shape = [rows, 4];
        let plane = |weight, scale| PlaneSpec {
            input: &input_shape,
            weight_shape: &[4, 5],
            weight,
            contraction: &Contraction::MatMul,
            scale: Some(scale),
            integers: None,
            input_scale: false,
        };
        let spec = AccumulateSpec {
            planes: vec![plane(&weights[0], &[0.5]), plane(&weights[1], &[0.25])],
            bias: Some(&[1.0, 2.0, 3.0, 4.0, 5.0]),
            residual: true,
            activation: None,
            threads: 1,
            rank: 0,
        };
        let (a, b) = (vec![1.0; rows * 4], vec![2.0; rows * 4]);
        for kernel in kernels(&spec) {
            let residual = vec![10.0; rows * 5];
            let output = guarded(&kernel, &[View::F32(&a), View::F32(&b)], Some(&residual), 1);
            // 0.5 * 4 - 0.25 * 8 = 0; the residual comes once.
            assert!(output.chunks(5).all(|row| row == [11.0, 12.0, 13.0, 14.0, 15.0]), "{output:?}");
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
        let plane = PlaneSpec {
            input: &input,
            weight_shape: &weight_shape,
            weight: &none,
            contraction: &contraction,
            scale: None,
            integers: None,
            input_scale: false,
        };
        let spec = AccumulateSpec {
            planes: vec![plane],
            bias: None,
            residual: false,
            activation: None,
            threads: 1,
            rank: 0,
        };
        for jit in jits() {
            match jit.accumulate(&spec) {
                Ok(kernel) => assert!(guarded(&kernel, &[View::F32(&[])], None, 1).is_empty()),
                Err(JitError::Unsupported(_)) => {}
                Err(error) => panic!("{input:?}: {error}"),
            }
        }
    }
}
