//! Convolutions of values with zeros between their elements compute the same bits without them.

use crate::oracle::{assert_identical, inputs, run};
use proptest::prelude::*;
use twnc_ir::{
    Binary, Conv, Data, Dim, Geometry, Graph, GraphBuilder, Op, Pad, PadMode, Tensor, TensorType, Unary,
};
use twnc_passes::Options;
use twnc_random::Random;

/// A spatial axis: size, stride between elements, taps, padding before and behind.
type Axis = (usize, usize, usize, usize, usize);

#[derive(Debug)]
struct Case {
    axes: Vec<Axis>,
    groups: usize,
    channels: usize,
    filters: usize,
    ternary: bool,
    /// Whether the first axis is open.
    open: bool,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let axis = (1..=4usize, 1..=3usize, 1..=5usize, 0..=4usize, 0..=4usize);
    let axes = prop::collection::vec(axis, 1..=3);
    (axes, 1..=2usize, 1..=2usize, 1..=2usize, any::<bool>(), any::<bool>(), any::<u64>()).prop_map(
        |(axes, groups, channels, filters, ternary, open, seed)| Case {
            axes,
            groups,
            channels,
            filters,
            ternary,
            open,
            seed,
        },
    )
}

/// `relu(conv(spread x) · scale + bias)`; none where no window fits.
fn graph(case: &Case) -> Option<Graph> {
    let mut random = Random::new(case.seed);
    let (channels, filters) = (case.groups * case.channels, case.groups * case.filters);
    let mut shape = vec![Dim::from(2), Dim::from(channels)];
    shape.extend(case.axes.iter().map(|axis| Dim::from(axis.0)));
    if case.open {
        shape[2] = Dim::symbol("H");
    }
    let (mut split, mut joined, mut end) = (shape[..2].to_vec(), shape[..2].to_vec(), vec![0, 0]);
    for (size, &(_, stride, ..)) in shape[2..].iter().zip(&case.axes) {
        split.push(size.clone());
        end.push(0);
        if stride > 1 {
            split.push(Dim::from(1));
            end.push(stride - 1);
        }
        joined.push(size.checked_mul(&Dim::from(stride))?);
    }
    let mut build = GraphBuilder::new("transposed");
    let x = build.input("x", TensorType::f32(shape));
    let split = build.node(Op::Reshape { shape: split }, &[x], "up").ok()?;
    let pad = Pad { begin: vec![0; end.len()], end, mode: PadMode::Constant(0.0) };
    let padded = build.node(Op::Pad(pad), &[split], "up").ok()?;
    let spread = build.node(Op::Reshape { shape: joined }, &[padded], "up").ok()?;
    let shape: Vec<usize> =
        [filters, case.channels].into_iter().chain(case.axes.iter().map(|axis| axis.2)).collect();
    let count = shape.iter().product();
    let data = match case.ternary {
        true => Data::Ternary((0..count).map(|_| random.below(3) as i8 - 1).collect()),
        false => Data::F32(random.floats(count, -1.0, 1.0).into()),
    };
    let weight = build.constant(Tensor::new(shape, data).ok()?, "w");
    let geometry = Geometry {
        pads_begin: case.axes.iter().map(|axis| axis.3).collect(),
        pads_end: case.axes.iter().map(|axis| axis.4).collect(),
        ..Geometry::unit(case.axes.len())
    };
    let conv = Op::Conv(Conv { geometry, groups: case.groups });
    let mut y = build.node(conv, &[spread, weight], "up").ok()?;
    let along: Vec<usize> = std::iter::once(filters).chain(case.axes.iter().map(|_| 1)).collect();
    for op in [Binary::Mul, Binary::Add] {
        let values = random.floats(filters, 0.5, 2.0);
        let constant = build.constant(Tensor::from_f32(along.clone(), values).ok()?, "along channels");
        y = build.node(Op::Binary(op), &[constant, y], "behind").ok()?;
    }
    y = build.node(Op::Unary(Unary::Relu), &[y], "relu").ok()?;
    build.output("y", y);
    Some(build.finish())
}

/// A stride so large that counting its phases would not end is left alone; vast paddings do not overflow.
#[test]
fn vast_strides_and_paddings_come_to_an_end() {
    for axis in [(1, 1 << 50, 3, 1, 1), (1, 2, 3, 1 << 60, 1 << 60)] {
        let case = Case {
            axes: vec![axis],
            groups: 1,
            channels: 1,
            filters: 1,
            ternary: true,
            open: false,
            seed: 1,
        };
        let mut graph = graph(&case).unwrap();
        let outcome = run(&mut graph, &["sub_pixel"], &Options::default());
        assert!(axis.1 == 2 || outcome.edits == 0, "{axis:?}");
    }
}

fn pads(graph: &Graph) -> usize {
    graph.node_ids().filter(|&id| matches!(graph.node(id).op, Op::Pad(_))).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn without_zeros_the_bits_are_the_same(case in cases()) {
        let Some(before) = graph(&case) else { return Ok(()) };
        let mut after = before.clone();
        run(&mut after, &["sub_pixel"], &Options::default());
        // An open size is 2: with few taps and little padding every window fits.
        let fits = case.axes.iter().enumerate().all(|(i, &(size, stride, taps, begin, end))| {
            let size = if i == 0 && case.open { 2 } else { size };
            size * stride + begin + end >= taps
        });
        if fits {
            assert_identical(&before, &after, &inputs(&before, case.seed));
        }
        // Windows that begin where an element's do meet one element each.
        let whole = |&(_, stride, taps, begin, _): &Axis| stride == taps && (begin + 1).is_multiple_of(stride);
        if case.axes.iter().all(whole) && case.axes.iter().any(|axis| axis.1 > 1) {
            prop_assert_eq!(pads(&after), 0);
        }
    }
}
