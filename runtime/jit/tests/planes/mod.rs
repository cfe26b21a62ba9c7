//! Accumulate kernels of several planes against sums in f64, on random shapes: planes of one input and of several, parts of one sum and
//! terms with factors of their own, of f32 and of integers.

use crate::cases::{Random, output, reference};
use crate::fenced::{Edge, jits};
use crate::{random, square};
use proptest::prelude::*;
use twnc_jit::{AccumulateKernel, AccumulateSpec, IntegerRange, Isa, Jit, JitError, Kernel, PlaneSpec};
use twnc_program::constant::Trits;
use twnc_program::interpret::View;
use twnc_program::scalar::Unary;
use twnc_program::step::Contraction;
use twnc_program::window::Window;

/// A plane: its source, and the rest of its shapes.
#[derive(Clone, Debug)]
struct Plane {
    source: usize,
    input: Vec<usize>,
    weight: Vec<usize>,
    contraction: Contraction,
    integers: Option<IntegerRange>,
    scale: usize,
    input_scale: bool,
}

/// A step; the first `parts` planes and the one behind them are one term.
#[derive(Clone, Debug)]
struct Case {
    planes: Vec<Plane>,
    parts: usize,
    bias: bool,
    residual: bool,
    activation: Option<Unary>,
    threads: usize,
    rank: usize,
    seed: u64,
}

/// Numbers below bounds, from a seed.
struct Draw(Random);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0.next() as usize % bound
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 1
    }
}

fn case(seed: u64) -> Case {
    let mut draw = Draw(Random(seed));
    let matmul = draw.below(3) == 0;
    let samples = 1 + draw.below(3);
    let channels = [1, 7, 16, 33, 64][draw.below(5)];
    let output = [1 + draw.below(20), 1 + draw.below(40)];
    let rows = [1, 2, 9, 40][draw.below(4)];
    let integers = |draw: &mut Draw| {
        let (bits, signed) = (2 + draw.below(9), draw.flip());
        draw.flip().then_some(IntegerRange { largest: (1 << (bits - usize::from(signed))) - 1, signed })
    };
    let (mut planes, mut sources): (Vec<Plane>, usize) = (vec![], 0);
    for _ in 0..2 + draw.below(3) {
        let (scale, input_scale) = (draw.below(3), draw.flip());
        if let Some(last) = planes.last().cloned()
            && draw.flip()
        {
            planes.push(Plane { scale, input_scale, ..last });
            continue;
        }
        let integers = integers(&mut draw);
        let inputs = 1 + draw.below(40);
        let plane = |input, weight, contraction| Plane {
            source: sources,
            input,
            weight,
            contraction,
            integers,
            scale,
            input_scale,
        };
        planes.push(if matmul {
            plane(vec![samples, rows, inputs], vec![inputs, channels], Contraction::MatMul)
        } else {
            let groups = if draw.below(4) == 0 { channels } else { 1 };
            let mut axis = |size: usize| {
                let [kernel, stride, dilation] = [5, 3, 2].map(|most| 1 + draw.below(most));
                let reach = (size - 1) * stride + (kernel - 1) * dilation + 1;
                let begin = draw.below(kernel).min(reach - 1);
                let end = draw.below(kernel).min(reach - 1 - begin);
                (reach - begin - end + draw.below(stride), kernel, stride, dilation, begin, end)
            };
            let [y, x] = output.map(&mut axis);
            let window = Window {
                kernel: vec![y.1, x.1],
                strides: vec![y.2, x.2],
                dilations: vec![y.3, x.3],
                pads_begin: vec![y.4, x.4],
                pads_end: vec![y.5, x.5],
            };
            let inputs = if groups > 1 { 1 } else { inputs };
            plane(
                vec![samples, inputs * groups, y.0, x.0],
                vec![channels, inputs, y.1, x.1],
                Contraction::Window { window, groups },
            )
        });
        sources += 1;
    }
    let alike =
        |planes: &[Plane]| planes.iter().all(|p| p.integers.is_some() == planes[0].integers.is_some());
    let most = (1..=planes.len()).rev().find(|&n| alike(&planes[..n])).unwrap_or(1);
    let parts = draw.below(most);
    Case {
        planes,
        parts,
        bias: draw.flip(),
        residual: draw.flip(),
        activation: draw.flip().then_some(Unary::Relu),
        threads: 1 + draw.below(3),
        rank: if draw.flip() { 0 } else { draw.below(3000) },
        seed,
    }
}

/// What a plane is made of.
struct Values {
    floats: Vec<f32>,
    integers: Vec<i16>,
    trits: Vec<i8>,
    weight: Trits,
    scale: Option<Vec<f32>>,
    sample_scale: Option<Vec<f32>>,
}

fn check(jit: &Jit, case: &Case) {
    let mut random = Random(case.seed ^ 0x5eed);
    let channels = match case.planes[0].contraction {
        Contraction::MatMul => case.planes[0].weight[1],
        Contraction::Window { .. } => case.planes[0].weight[0],
    };
    let mut values: Vec<Values> = vec![];
    for (i, plane) in case.planes.iter().enumerate() {
        let count = plane.input.iter().product();
        let earlier = case.planes[..i].iter().position(|other| other.source == plane.source);
        let (floats, integers) = match (earlier, plane.integers) {
            (Some(earlier), _) => (values[earlier].floats.clone(), values[earlier].integers.clone()),
            (None, Some(range)) => {
                let integers = random.integers(count, range);
                (integers.iter().map(|&q| f32::from(q)).collect(), integers)
            }
            (None, None) => (random.floats(count), vec![]),
        };
        let trits = random.trits(plane.weight.iter().product());
        let weight = Trits::pack(&trits).expect("trits");
        let whole = i >= case.parts;
        let scale = [None, Some(1), Some(channels)][plane.scale].filter(|_| whole).map(|n| random.floats(n));
        let sample_scale = (plane.input_scale && whole).then(|| random.floats(plane.input[0]));
        values.push(Values { floats, integers, trits, weight, scale, sample_scale });
    }
    let bias = case.bias.then(|| random.floats(channels));
    let planes = case.planes.iter().zip(&values).enumerate().map(|(i, (plane, values))| PlaneSpec {
        source: plane.source,
        partial: i < case.parts,
        scale: values.scale.as_deref(),
        integers: plane.integers,
        input_scale: values.sample_scale.is_some(),
        ..PlaneSpec::new(&plane.input, &plane.weight, &values.weight, &plane.contraction)
    });
    let spec = AccumulateSpec {
        planes: planes.collect(),
        bias: bias.as_deref(),
        residual: case.residual,
        activation: case.activation,
        measured: None,
        threads: case.threads,
        pooled: false,
        rank: case.rank,
    };
    let kernel = match jit.accumulate(&spec) {
        Err(JitError::Unsupported("sums of integers that may overflow")) => return,
        kernel => kernel.unwrap_or_else(|e| panic!("{e}")),
    };
    let length = kernel.interface().outputs[0].len;
    let residual = case.residual.then(|| random.floats(length));
    let mut inputs: Vec<View<'_>> = vec![];
    for (i, (plane, values)) in case.planes.iter().zip(&values).enumerate() {
        if case.planes[..i].iter().all(|other| other.source != plane.source) {
            let integers = plane.integers.is_some();
            inputs.push(if integers { View::I16(&values.integers) } else { View::F32(&values.floats) });
        }
    }
    inputs.extend(values.iter().filter_map(|values| values.sample_scale.as_deref()).map(View::F32));
    let run = |threads, edge| output(case, &kernel, &inputs, residual.as_deref(), threads, edge);
    let (found, again) = (run(case.threads, Edge::Start), run(1, Edge::End));
    assert!(found.iter().zip(&again).all(|(a, b)| a.to_bits() == b.to_bits()), "threads change the bits");

    // In the order and with the roundings of the step; beside it what bounds the sums of floats.
    let samples = case.planes[0].input[0];
    let positions = match case.planes[0].contraction {
        Contraction::MatMul => 1,
        Contraction::Window { .. } => length / (samples * channels).max(1),
    };
    let unit = f64::from(f32::EPSILON) / 2.0;
    let (mut expected, mut bounds) = (vec![0f32; length], vec![0f64; length]);
    let mut sums = vec![(0.0, 0.0); length];
    let mut all = 0;
    for (p, (plane, values)) in case.planes.iter().zip(&values).enumerate() {
        let (of_plane, terms) =
            reference(&plane.input, &plane.weight, &plane.contraction, &values.floats, &values.trits);
        assert_eq!(of_plane.len(), length);
        all += terms + 1;
        sums.iter_mut().zip(of_plane).for_each(|(sum, more)| *sum = (sum.0 + more.0, sum.1 + more.1));
        if p < case.parts {
            continue;
        }
        for (i, (sum, magnitude)) in sums.drain(..).enumerate() {
            let channel = i / positions % channels;
            let scale = values.scale.as_ref().map(|s| s[if s.len() == 1 { 0 } else { channel }]);
            let sample_scale = values.sample_scale.as_ref().map(|s| s[i / (length / samples)]);
            let factor = match (scale, sample_scale) {
                (Some(a), Some(b)) => Some(a * b),
                (a, b) => a.or(b),
            };
            let value = factor.map_or(sum as f32, |factor| sum as f32 * factor);
            bounds[i] += (all + 2) as f64 * unit * magnitude * factor.map_or(1.0, |f| f64::from(f.abs()));
            expected[i] = match &bias {
                _ if p > case.parts => expected[i] + value,
                Some(bias) => value + bias[channel],
                None => value,
            };
            bounds[i] += 4.0 * unit * (f64::from(expected[i].abs()) + 2.0);
        }
        sums.resize(length, (0.0, 0.0));
    }
    let exact = case.planes.iter().all(|plane| plane.integers.is_some());
    for (i, (&got, mut value)) in found.iter().zip(expected).enumerate() {
        value = residual.as_ref().map_or(value, |r| value + r[i]);
        value = case.activation.map_or(value, |a| a.apply(value));
        let near = f64::from((got - value).abs()) <= 2.0 * bounds[i] + 4.0 * unit * f64::from(value.abs());
        let fits = if exact { got.to_bits() == value.to_bits() || got == value } else { near };
        assert!(fits, "output {i}: {got} for {value} in {}", kernel.describe());
    }
}

proptest! {
    #![proptest_config(random::cases(300))]

    #[test]
    fn planes_are_their_sums(seed in any::<u64>()) {
        let case = case(seed);
        jits().iter().for_each(|jit| check(jit, &case));
    }
}

/// Kernels of two planes of ones that read these sources, one for each kind of code.
fn pair(
    sources: [usize; 2],
    shapes: [(&[usize], &[usize], &Contraction); 2],
    partial: bool,
) -> Vec<(Isa, AccumulateKernel)> {
    let weights = shapes.map(|(_, weight, _)| Trits::pack(&vec![1; weight.iter().product()]).expect("trits"));
    let planes = [0, 1].map(|i| PlaneSpec {
        source: sources[i],
        partial: partial && i == 0,
        scale: (!partial || i == 1).then_some(&[0.5][..]),
        ..PlaneSpec::new(shapes[i].0, shapes[i].1, &weights[i], shapes[i].2)
    });
    let planes = planes.to_vec();
    let spec = AccumulateSpec::new(planes);
    let kernel = |jit: &Jit| (jit.isa(), jit.accumulate(&spec).expect("an ordinary layer"));
    jits().iter().map(kernel).collect()
}

#[test]
fn planes_of_one_input_share_tables_and_none_multiplies() {
    let (three, one) = (square(3, 1, 1, 1), square(1, 2, 0, 1));
    let (half, whole): (&[usize], &[usize]) = (&[1, 32, 28, 28], &[1, 16, 56, 56]);
    let (wide, narrow): (&[usize], &[usize]) = (&[32, 32, 3, 3], &[32, 16, 1, 1]);
    let (row, matrix): (&[usize], &[usize]) = (&[1, 300], &[300, 70]);
    let product = Contraction::MatMul;
    for partial in [false, true] {
        for (_, kernel) in pair([0, 0], [(half, wide, &three); 2], partial) {
            assert_eq!((kernel.phases(), kernel.interface().inputs.len()), (1, 1), "{}", kernel.describe());
            assert!(kernel.describe().starts_with("tables: 2 planes"), "{}", kernel.describe());
        }
        // What reads another input, or other windows, has tables of its own.
        let apart = [
            pair([0, 1], [(half, wide, &three); 2], partial),
            pair([0, 1], [(half, wide, &three), (whole, narrow, &one)], partial),
        ];
        apart
            .iter()
            .flatten()
            .for_each(|(_, kernel)| assert_eq!(kernel.phases(), 2, "{}", kernel.describe()));
        let rows = pair([0, 0], [(row, matrix, &product); 2], partial);
        let all = pair([0, 0], [(half, wide, &three); 2], partial);
        let all = all.into_iter().chain(rows).chain(apart.into_iter().flatten());
        for function in all.flat_map(|(_, kernel)| kernel.functions()) {
            let Some(audit) = function.audit() else { continue };
            assert_eq!((audit.multiplications, audit.calls, audit.invalid), (0, 0, 0), "{}", function.name());
        }
    }
}

#[test]
fn planes_that_do_not_fit_together_are_errors() {
    let weight = Trits::pack(&[1; 12]).expect("trits");
    let product = Contraction::MatMul;
    let plane = |source, input: &'static [usize], partial| PlaneSpec {
        source,
        partial,
        ..PlaneSpec::new(input, &[4, 3], &weight, &product)
    };
    let integers = Some(IntegerRange { largest: 127, signed: true });
    let cases = [
        ("planes with different output shapes", vec![plane(0, &[2, 4], false), plane(1, &[3, 4], false)]),
        (
            "inputs that are not numbered, or of two shapes",
            vec![plane(0, &[2, 4], false), plane(2, &[2, 4], false)],
        ),
        ("an input that no plane reads", vec![plane(1, &[2, 4], false), plane(1, &[2, 4], false)]),
        ("a part of a sum without the rest", vec![plane(0, &[2, 4], true)]),
        (
            "a part of a sum without the rest",
            vec![plane(0, &[2, 4], true), PlaneSpec { integers, ..plane(1, &[2, 4], false) }],
        ),
        (
            "a part of a sum without the rest",
            vec![PlaneSpec { scale: Some(&[0.5]), ..plane(0, &[2, 4], true) }, plane(0, &[2, 4], false)],
        ),
        (
            "a sum over several planes behind another",
            vec![plane(0, &[2, 4], false), plane(0, &[2, 4], true), plane(0, &[2, 4], false)],
        ),
    ];
    for (reason, planes) in cases {
        let spec = AccumulateSpec::new(planes);
        for jit in jits() {
            let error = jit.accumulate(&spec).err().expect(reason).to_string();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }
}
