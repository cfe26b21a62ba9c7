//! Accumulations described as cases, their sums in f64, and the comparison with what kernels make of them.

use crate::fenced::{Edge, execute, jits};
use std::sync::Arc;
use twnc_jit::{
    AccumulateKernel, AccumulateSpec, IntegerRange, Jit, JitError, Kernel, Layout, Measured, PlaneSpec,
};
use twnc_program::BufferId;
use twnc_program::constant::Trits;
use twnc_program::interpret::View;
use twnc_program::scalar::Unary;
use twnc_program::step::{Contraction, Quantize};

/// A small generator, so that a failing case is reproduced by its seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (self.next() % 2001) as f32 / 1000.0 - 1.0).collect()
    }

    /// Many are the largest, so that sums come close to what may overflow.
    pub fn integers(&mut self, n: usize, range: IntegerRange) -> Vec<i16> {
        let (largest, signed) = (i32::from(range.largest), range.signed);
        let low = if signed { -largest } else { 0 };
        let mut integer = || match self.next() % 4 {
            0 => low as i16,
            1 | 2 => largest as i16,
            _ => (low + (self.next() % (largest - low + 1) as u64) as i32) as i16,
        };
        (0..n).map(|_| integer()).collect()
    }

    pub fn trits(&mut self, n: usize) -> Vec<i8> {
        (0..n).map(|_| (self.next() % 3) as i8 - 1).collect()
    }
}

/// A step with random constants and inputs.
#[derive(Clone, Debug)]
pub struct Case {
    pub input: Vec<usize>,
    pub weight: Vec<usize>,
    pub contraction: Contraction,
    pub scale: usize,
    pub bias: bool,
    pub residual: bool,
    pub activation: Option<Unary>,
    pub threads: usize,
    pub rank: usize,
    pub integers: Option<IntegerRange>,
    pub input_scale: bool,
    pub seed: u64,
}

/// Per output: the sum, the sum of magnitudes, the number of terms.
pub fn reference(
    input_shape: &[usize],
    weight_shape: &[usize],
    contraction: &Contraction,
    input: &[f32],
    weights: &[i8],
) -> (Vec<(f64, f64)>, usize) {
    let mut sums = Vec::new();
    match contraction {
        Contraction::MatMul => {
            let &[k, m] = weight_shape else { panic!("a matrix") };
            let rows: usize = input_shape[..input_shape.len() - 1].iter().product();
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
            let (size, kernel) = (pair(&input_shape[2..], 1), pair(&window.kernel, 1));
            let (strides, dilations) = (pair(&window.strides, 1), pair(&window.dilations, 1));
            let (begin, end) = (pair(&window.pads_begin, 0), pair(&window.pads_end, 0));
            let out: Vec<usize> = (0..2)
                .map(|a| (size[a] + begin[a] + end[a] - (kernel[a] - 1) * dilations[a] - 1) / strides[a] + 1)
                .collect();
            let (c, m) = (weight_shape[1], weight_shape[0] / groups);
            let taps = kernel[0] * kernel[1];
            for (sample, output) in (0..input_shape[0]).flat_map(|n| (0..m * groups).map(move |o| (n, o))) {
                let mut plane = vec![(0.0, 0.0); out[0] * out[1]];
                let selected = weights[output * c * taps..][..c * taps].iter().enumerate();
                for (i, &w) in selected.filter(|(_, w)| **w != 0) {
                    let (channel, ky, kx) = (i / taps, i / kernel[1] % kernel[0], i % kernel[1]);
                    let from = sample * input_shape[1] + output / m * c + channel;
                    for (y, sums) in plane.chunks_mut(out[1].max(1)).enumerate() {
                        let iy = (y * strides[0] + ky * dilations[0]).wrapping_sub(begin[0]);
                        if iy >= size[0] {
                            continue;
                        }
                        let row = &input[(from * size[0] + iy) * size[1]..][..size[1]];
                        for (x, (sum, magnitude)) in sums.iter_mut().enumerate() {
                            let ix = (x * strides[1] + kx * dilations[1]).wrapping_sub(begin[1]);
                            let term = f64::from(w) * row.get(ix).map_or(0.0, |&x| f64::from(x));
                            *sum += term;
                            *magnitude += term.abs();
                        }
                    }
                }
                sums.extend(plane);
            }
            (sums, c * kernel[0] * kernel[1])
        }
    }
}

/// A layer of one plane and nothing else.
pub fn plain<'a>(
    input: &'a [usize],
    weight_shape: &'a [usize],
    weight: &'a Trits,
    contraction: &'a Contraction,
    integers: Option<IntegerRange>,
) -> AccumulateSpec<'a> {
    let planes = vec![PlaneSpec { integers, ..PlaneSpec::new(input, weight_shape, weight, contraction) }];
    AccumulateSpec::new(planes)
}

/// A number as it is measured: what is not finite does not count.
pub fn magnitude(x: f32, measured: Measured) -> f32 {
    let x = if measured == Measured::Magnitudes { x.abs() } else { x };
    if x.is_finite() { x } else { 0.0 }
}

/// What a kernel gives on so many threads, with all that it takes at an edge.
pub fn output(
    case: &dyn std::fmt::Debug,
    kernel: &AccumulateKernel,
    inputs: &[View<'_>],
    residual: Option<&[f32]>,
    threads: usize,
    edge: Edge,
) -> Vec<f32> {
    execute(case, kernel, inputs, residual, threads, edge)[0].f32().to_vec()
}

/// What a kernel gives on one thread, at the end of pages.
pub fn run(kernel: &AccumulateKernel, inputs: &[View<'_>], residual: Option<&[f32]>) -> Vec<f32> {
    output(&"a given case", kernel, inputs, residual, 1, Edge::End)
}

/// Integers, given as f32, as the kernel of a quantize step lays them out.
fn laid_out(jit: &Jit, case: &Case, input: &[f32], range: IntegerRange, layout: &Arc<Layout>) -> Vec<i16> {
    let IntegerRange { largest, signed } = range;
    let bits = (largest as u32 + 1).ilog2() + u32::from(signed);
    let [buffer, integers, scales] = [0, 1, 2].map(BufferId);
    let step = Quantize { input: buffer, bits, signed, scale: Some(1.0), outputs: [integers, scales] };
    let kernel = jit.quantize(&step, &case.input, Some(layout), false).expect("the layout is of the input");
    let edge = if case.seed.is_multiple_of(4) { Edge::Start } else { Edge::End };
    execute(case, &kernel, &[View::F32(input)], None, case.threads, edge)[0].i16().to_vec()
}

/// Every kind of code gives the case's sums, on one thread and on several.
pub fn check(case: &Case) {
    jits().iter().for_each(|jit| check_on(jit, case));
}

fn check_on(jit: &Jit, case: &Case) {
    let mut random = Random(case.seed);
    let mut input = random.floats(case.input.iter().product());
    let mut integers = vec![];
    if let Some(range) = case.integers {
        integers = random.integers(input.len(), range);
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
            scale: scale.as_deref(),
            integers: case.integers,
            input_scale: case.input_scale,
            laid_out: case.integers.is_some() && case.seed.is_multiple_of(2),
            ..PlaneSpec::new(&case.input, &case.weight, &weight, &case.contraction)
        }],
        bias: bias.as_deref(),
        residual: case.residual,
        activation: case.activation,
        measured: [None, Some(Measured::Numbers), Some(Measured::Magnitudes)][(case.seed % 3) as usize],
        threads: case.threads,
        // Divided by outputs, which changes no result.
        pooled: case.seed % 5 < 2,
        rank: case.rank,
    };
    let kernel = match jit.accumulate(&spec) {
        // Long sums of wide integers, where there is no table either.
        Err(JitError::Unsupported("sums of integers that may overflow")) => return,
        kernel => kernel.unwrap_or_else(|e| panic!("{e}")),
    };
    let (sums, terms) = reference(&case.input, &case.weight, &case.contraction, &input, &weights);
    assert_eq!(sums.len(), kernel.interface().outputs[0].len);
    let residual = case.residual.then(|| random.floats(sums.len()));
    if let ([(_, layout)], Some(range)) = (&kernel.interface().layouts[..], case.integers) {
        integers = laid_out(jit, case, &input, range, layout);
    }
    let mut inputs = vec![if case.integers.is_none() { View::F32(&input) } else { View::I16(&integers) }];
    if case.input_scale {
        inputs.push(View::F32(&input_scale));
    }
    let run = |threads, edge| execute(case, &kernel, &inputs, residual.as_deref(), threads, edge);
    let (outputs, again) = (run(case.threads, Edge::Start), run(1, Edge::End));
    for (one, other) in outputs.iter().zip(&again) {
        let same = one.f32().iter().zip(other.f32()).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "threads change the bits");
    }
    let output = outputs[0].f32();
    let samples = case.input.first().copied().unwrap_or(1).max(1);
    if let ([_, measured], Some(what)) = (&outputs[..], spec.measured) {
        let of = |sample: &[f32]| sample.iter().copied().map(|x| magnitude(x, what)).fold(0.0, f32::max);
        let expected: Vec<f32> = match output.is_empty() {
            true => vec![0.0; measured.f32().len()],
            false => output.chunks(output.len() / samples).map(of).collect(),
        };
        assert_eq!(measured.f32(), expected, "{what:?} in {}", kernel.describe());
    }
    let positions = match case.contraction {
        Contraction::MatMul => 1,
        Contraction::Window { .. } => sums.len() / (case.input[0] * channels).max(1),
    };
    let unit = f64::from(f32::EPSILON) / 2.0;
    for (i, (&(sum, magnitude), &got)) in sums.iter().zip(output).enumerate() {
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
