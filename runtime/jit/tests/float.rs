//! Convolutions and products of matrices that stay float against sums in f64, on random shapes and between inaccessible
//! pages.

mod fenced;
mod random;

use fenced::{Edge, execute, jits};
use proptest::prelude::*;
use twnc_jit::{ConvSpec, Epilogue, JitError, MatMulSpec, Source};
use twnc_program::interpret::View;
use twnc_program::window::Window;

/// Seeded numbers in -1..=1.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % 2001) as f32 / 1000.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A sum, that of its terms' magnitudes, and how many there are.
type Sum = (f64, f64, usize);

fn sum(terms: impl Iterator<Item = (f32, f32)>) -> Sum {
    terms.fold((0.0, 0.0, 0), |(sum, magnitude, count), (a, b)| {
        let term = f64::from(a) * f64::from(b);
        (sum + term, magnitude + term.abs(), count + 1)
    })
}

/// Within the bound that holds for any order of the additions, after a bias and a residual.
fn assert_sums(got: &[f32], sums: &[Sum], bias: impl Fn(usize) -> f32, residual: &[f32]) {
    assert_eq!(got.len(), sums.len());
    let unit = f64::from(f32::EPSILON) / 2.0;
    for (i, (&got, &(sum, magnitude, terms))) in got.iter().zip(sums).enumerate() {
        let want = sum + f64::from(bias(i)) + f64::from(residual[i]);
        let bound = (terms + 3) as f64 * unit * (magnitude + 2.0);
        assert!((f64::from(got) - want).abs() <= bound, "output {i}: {got} for {want}");
    }
}

#[derive(Clone, Debug)]
struct Conv {
    input: Vec<usize>,
    weight: Vec<usize>,
    window: Window,
    groups: usize,
    /// Whether the weight is an input too.
    given: bool,
    seed: u64,
}

fn convolutions() -> impl Strategy<Value = Conv> {
    let spatial = (1..=2usize).prop_flat_map(|rank| {
        let list = move |range: std::ops::RangeInclusive<usize>| prop::collection::vec(range, rank);
        (list(1..=70), list(1..=7), list(1..=3), list(1..=3), list(0..=3), list(0..=3))
    });
    let channels = prop_oneof![
        (1..=20usize, 1..=20usize, Just(1usize)),
        (1..=300usize, 1..=300usize, Just(1usize)),
        (1..=4usize, 1..=6usize, 1..=60usize),
        (Just(1usize), Just(1usize), 2..=70usize),
    ];
    (0..=2usize, channels, spatial, any::<bool>(), any::<u64>()).prop_filter_map(
        "the window fits",
        |(n, (c, m, groups), (mut size, kernel, strides, dilations, pads_begin, pads_end), given, seed)| {
            // What the reference can do in some milliseconds.
            let most = (3_000_000 / (c * m * groups * kernel.iter().product::<usize>())).max(1);
            let side = if size.len() == 1 { most } else { most.isqrt() };
            let reach = kernel.iter().zip(&dilations).map(|(k, d)| (k - 1) * d + 1);
            size.iter_mut().zip(reach).for_each(|(size, reach)| *size = (*size).min(side.max(reach)));
            let window = Window { kernel, strides, dilations, pads_begin, pads_end };
            (0..size.len()).try_for_each(|axis| window.output_size(axis, size[axis], false).map(|_| ()))?;
            let weight = [&[m * groups, c], &window.kernel[..]].concat();
            Some(Conv { input: [&[n, c * groups], &size[..]].concat(), weight, window, groups, given, seed })
        },
    )
}

fn convolve(conv: &Conv, input: &[f32], weights: &[f32]) -> Vec<Sum> {
    let window = &conv.window;
    let pair = |v: &[usize], absent: usize| if v.len() == 1 { [absent, v[0]] } else { [v[0], v[1]] };
    let (size, kernel) = (pair(&conv.input[2..], 1), pair(&window.kernel, 1));
    let (strides, dilations, begin) =
        (pair(&window.strides, 1), pair(&window.dilations, 1), pair(&window.pads_begin, 0));
    let out = (0..window.rank()).map(|axis| window.output_size(axis, conv.input[axis + 2], false));
    let out = pair(&out.collect::<Option<Vec<usize>>>().expect("the window fits"), 1);
    let (channels, outputs) = (conv.weight[1], conv.weight[0]);
    let mut sums = vec![];
    for (sample, output) in (0..conv.input[0]).flat_map(|n| (0..outputs).map(move |m| (n, m))) {
        let group = output / (outputs / conv.groups);
        for (y, x) in (0..out[0]).flat_map(|y| (0..out[1]).map(move |x| (y, x))) {
            let taps = (0..channels)
                .flat_map(|c| (0..kernel[0]).flat_map(move |ky| (0..kernel[1]).map(move |kx| (c, ky, kx))));
            sums.push(sum(taps.filter_map(|(c, ky, kx)| {
                let iy =
                    (y * strides[0] + ky * dilations[0]).checked_sub(begin[0]).filter(|&i| i < size[0])?;
                let ix =
                    (x * strides[1] + kx * dilations[1]).checked_sub(begin[1]).filter(|&i| i < size[1])?;
                let plane = sample * conv.input[1] + group * channels + c;
                let weight = ((output * channels + c) * kernel[0] + ky) * kernel[1] + kx;
                Some((input[(plane * size[0] + iy) * size[1] + ix], weights[weight]))
            })));
        }
    }
    sums
}

/// Shapes of the operands: outer axes of which either may be 1, then rows, inner and columns.
fn products() -> impl Strategy<Value = (Vec<usize>, Vec<usize>, bool, u64)> {
    let outer = prop::collection::vec((1..=3usize, 0..3usize), 0..=2);
    let sizes = prop_oneof![
        (0..=20usize, 0..=70usize, 0..=70usize),
        (1..=3usize, 1..=300usize, 1..=300usize),
        (60..=140usize, 1..=40usize, 1..=40usize),
    ];
    (outer, sizes, any::<bool>(), any::<u64>()).prop_map(|(outer, (rows, inner, columns), given, seed)| {
        let side = |one: usize| outer.iter().map(move |&(n, which)| if which == one { 1 } else { n });
        let (left, right) = (side(1).chain([rows, inner]), side(2).chain([inner, columns]));
        (left.collect(), right.collect(), given, seed)
    })
}

proptest! {
    #![proptest_config(random::cases(200))]

    #[test]
    fn convolutions_are_their_sums(conv in convolutions()) {
        let input = numbers(conv.seed, conv.input.iter().product());
        let weights = numbers(!conv.seed, conv.weight.iter().product());
        let bias = numbers(conv.seed ^ 1, conv.weight[0]);
        let sums = convolve(&conv, &input, &weights);
        let residual = numbers(conv.seed ^ 2, sums.len());
        let positions = (sums.len() / (conv.input[0] * bias.len()).max(1)).max(1);
        for jit in jits() {
            let weight = if conv.given { Source::Input(1) } else { Source::Constant(weights.clone().into()) };
            let epilogue = Epilogue { bias: Some(bias.clone()), residual: true, ..Epilogue::default() };
            let kernel = jit.conv(&ConvSpec {
                input: &conv.input,
                weight_shape: &conv.weight,
                weight,
                window: &conv.window,
                groups: conv.groups,
                epilogue,
            });
            let kernel = kernel.unwrap_or_else(|error| panic!("{conv:?}: {error}"));
            let given = [View::F32(&input), View::F32(&weights)];
            let inputs = &given[..if conv.given { 2 } else { 1 }];
            for (threads, edge) in [(3, Edge::Start), (1, Edge::End)] {
                let outputs = execute(&conv, &kernel, inputs, Some(&residual), threads, edge);
                assert_sums(outputs[0].f32(), &sums, |i| bias[i / positions % bias.len()], &residual);
            }
        }
    }

    #[test]
    fn products_are_their_sums((left, right, given, seed) in products()) {
        let (a, b) = (numbers(seed, left.iter().product()), numbers(!seed, right.iter().product()));
        let (rank, columns) = (left.len(), right[right.len() - 1]);
        let (rows, inner) = (left[rank - 2], left[rank - 1]);
        let outer: Vec<usize> = left.iter().zip(&right).take(rank - 2).map(|(&l, &r)| l.max(r)).collect();
        let mut sums = vec![];
        for matrix in 0..outer.iter().product() {
            // Where the operands of this product start, in matrices.
            let start = |shape: &[usize]| {
                let strides = (0..rank - 2).map(|axis| outer[axis + 1..].iter().product::<usize>());
                let axes = strides.zip(&outer).zip(shape);
                axes.fold(0, |at, ((stride, &n), &own)| at * own + if own == 1 { 0 } else { matrix / stride % n })
            };
            let (l, r) = (&a[start(&left) * rows * inner..], &b[start(&right) * inner * columns..]);
            for (i, j) in (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))) {
                sums.push(sum((0..inner).map(|k| (l[i * inner + k], r[k * columns + j]))));
            }
        }
        let bias = numbers(seed ^ 1, columns);
        let residual = numbers(seed ^ 2, sums.len());
        for jit in jits() {
            let right_source = if given { Source::Input(1) } else { Source::Constant(b.clone().into()) };
            let epilogue = Epilogue { bias: Some(bias.clone()), residual: true, ..Epilogue::default() };
            let kernel = jit.matmul(&MatMulSpec {
                left_shape: &left,
                left: Source::Input(0),
                right_shape: &right,
                right: right_source,
                epilogue,
            });
            let kernel = kernel.unwrap_or_else(|error| panic!("{left:?} by {right:?}: {error}"));
            let views = [View::F32(&a), View::F32(&b)];
            for (threads, edge) in [(3, Edge::Start), (1, Edge::End)] {
                let inputs = &views[..if given { 2 } else { 1 }];
                let outputs = execute(&(&left, &right), &kernel, inputs, Some(&residual), threads, edge);
                assert_sums(outputs[0].f32(), &sums, |i| bias[i % columns], &residual);
            }
        }
    }
}

#[test]
fn constants_of_another_size_are_errors() {
    let none = || Source::Constant(vec![].into());
    for jit in jits() {
        let spec = MatMulSpec {
            left_shape: &[2, 3],
            left: Source::Input(0),
            right_shape: &[3, 4],
            right: none(),
            epilogue: Epilogue::default(),
        };
        assert!(matches!(jit.matmul(&spec), Err(JitError::Shape(_))));
    }
}

/// Generated code multiplies padding.
#[test]
fn weights_that_are_not_finite_are_not_multiplied_with_padding() {
    let window = |pad: usize| Window {
        kernel: vec![3; 2],
        strides: vec![1; 2],
        dilations: vec![1; 2],
        pads_begin: vec![0; 2],
        pads_end: vec![0, pad],
    };
    for (weight, pad, fits) in
        [(1.0, 1, true), (f32::INFINITY, 0, true), (f32::INFINITY, 1, false), (f32::NAN, 1, false)]
    {
        let mut weights = vec![1.0; 9];
        weights[4] = weight;
        let spec = ConvSpec {
            input: &[1, 1, 5, 5],
            weight: Source::Constant(weights.into()),
            weight_shape: &[1, 1, 3, 3],
            window: &window(pad),
            groups: 1,
            epilogue: Epilogue::default(),
        };
        for jit in jits() {
            match jit.conv(&spec) {
                Ok(_) => assert!(fits, "{weight} {pad}"),
                Err(error) => {
                    assert!(!fits && matches!(error, JitError::Unsupported(_)), "{weight} {pad}: {error}");
                }
            }
        }
    }
}

/// The panels of a matrix that large are not copied ahead.
#[test]
fn a_large_constant_matrix_is_read_in_place() {
    let [rows, inner, columns] = [2, 32_600, 130];
    let (a, b) = (numbers(1, rows * inner), numbers(2, inner * columns));
    let place = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j)));
    let sums: Vec<_> =
        place.map(|(i, j)| sum((0..inner).map(|k| (a[i * inner + k], b[k * columns + j])))).collect();
    let none = vec![0.0; sums.len()];
    for jit in jits() {
        let kernel = jit.matmul(&MatMulSpec {
            left_shape: &[rows, inner],
            left: Source::Input(0),
            right_shape: &[inner, columns],
            right: Source::Constant(b.clone().into()),
            epilogue: Epilogue::default(),
        });
        let kernel = kernel.expect("matrices that multiply");
        let outputs = execute(&"a large matrix", &kernel, &[View::F32(&a)], None, 1, Edge::End);
        assert_sums(outputs[0].f32(), &sums, |_| 0.0, &none);
    }
}
