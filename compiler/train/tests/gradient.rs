//! Gradients, against differences of what the reference evaluator computes; results, against the results themselves.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use proptest::prelude::*;
use std::collections::BTreeMap;
use twnc_ir::{
    Binary, Conv, Data, Dim, ElementType, Geometry, Graph, GraphBuilder, Op, Pad, PadMode, Pool, ReduceKind,
    Slice, Tensor, TensorType, Unary, ValueId, evaluate,
};
use twnc_train::gradient::{GradientError, Mode, Network};

/// Seeded numbers.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Within -1.5 and 1.5, but not near 0, where some functions have no derivative.
    fn away(&mut self) -> f32 {
        let x = 0.1 + 1.4 * self.unit();
        if self.unit() < 0.5 { -x as f32 } else { x as f32 }
    }

    fn tensor(&mut self, shape: &[usize], positive: bool) -> Tensor {
        let elements =
            (0..shape.iter().product()).map(|_| if positive { self.away().abs() } else { self.away() });
        Tensor::from_f32(shape.to_vec(), elements.collect()).unwrap()
    }
}

/// An operator over constants, each of which is a parameter, behind others which are none.
fn graph(op: &Op, tensors: &[Tensor], others: &[Tensor]) -> (Graph, Vec<ValueId>, ValueId) {
    let mut build = GraphBuilder::new("test");
    let parameters: Vec<ValueId> = tensors.iter().map(|tensor| build.constant(tensor.clone(), "")).collect();
    let others = others.iter().map(|tensor| build.constant(tensor.clone(), ""));
    let operands: Vec<ValueId> = parameters.iter().copied().chain(others.collect::<Vec<_>>()).collect();
    let y = build.node(op.clone(), &operands, "node").unwrap();
    build.output("y", y);
    (build.finish(), parameters, y)
}

fn reference(op: &Op, tensors: &[Tensor], others: &[Tensor]) -> Vec<f32> {
    let outputs = evaluate(&graph(op, tensors, others).0, &BTreeMap::new()).unwrap();
    outputs["y"].as_f32().unwrap().to_vec()
}

/// `Σ seed·y` has, along a direction, the derivative that the gradients say.
fn check(op: &Op, tensors: &[Tensor], others: &[Tensor], seed: u64) {
    let mut random = Random(seed);
    let (graph, parameters, y) = graph(op, tensors, others);
    let mut network = Network::new(&graph, &parameters, &[y], 1 << 30).unwrap();
    network.forward(&[], Mode::Inference).unwrap();
    let expected = reference(op, tensors, others);
    for (a, b) in network.output(0).iter().zip(&expected) {
        assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0) || a == b, "{op:?}: {a} for {b}");
    }
    assert_eq!(network.output(0).len(), expected.len());
    let weights: Vec<f32> = expected.iter().map(|_| random.away()).collect();
    // What a run before has left counts for nothing.
    network.backward(&[vec![f32::NAN; expected.len()]]);
    network.backward(std::slice::from_ref(&weights));
    for (number, tensor) in tensors.iter().enumerate() {
        let direction: Vec<f32> = (0..tensor.len()).map(|_| random.away()).collect();
        let along = |h: f64| {
            let moved = tensor
                .as_f32()
                .unwrap()
                .iter()
                .zip(&direction)
                .map(|(x, d)| (f64::from(*x) + h * f64::from(*d)) as f32);
            let mut tensors = tensors.to_vec();
            tensors[number] = Tensor::from_f32(tensor.shape().to_vec(), moved.collect()).unwrap();
            let y = reference(op, &tensors, others);
            y.iter().zip(&weights).map(|(y, w)| f64::from(*y) * f64::from(*w)).sum::<f64>()
        };
        let h = 2e-3;
        let measured = (along(h) - along(-h)) / (2.0 * h);
        let gradient = network.gradient(number).iter().zip(&direction);
        let claimed: f64 = gradient.map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
        let size: f64 = network.gradient(number).iter().map(|g| f64::from(g.abs())).sum();
        assert!(
            (measured - claimed).abs() <= 1e-2 * measured.abs().max(0.02 * size).max(0.5),
            "{op:?}, operand {number}: measured {measured}, claimed {claimed}"
        );
    }
}

fn geometry(strides: [usize; 2], dilations: [usize; 2], begin: [usize; 2], end: [usize; 2]) -> Geometry {
    Geometry {
        strides: strides.into(),
        dilations: dilations.into(),
        pads_begin: begin.into(),
        pads_end: end.into(),
    }
}

/// A stride far beyond the image: planes are not cut into as many phases.
#[test]
fn depthwise_convolutions_whose_strides_are_beyond_the_image() {
    let mut random = Random(4);
    for (stride, dilation, pad) in [(1_000_000, 1, 0), (7, 1, 0), (1, 500_000, 250_000)] {
        let geometry = geometry([stride; 2], [dilation; 2], [pad; 2], [pad; 2]);
        let op = Op::Conv(Conv { geometry, groups: 3 });
        let kernel = if pad > 0 { 2 } else { 3 };
        check(
            &op,
            &[random.tensor(&[2, 3, 4, 5], false), random.tensor(&[3, 1, kernel, kernel], false)],
            &[],
            5,
        );
    }
}

#[test]
fn depthwise_convolutions_over_one_and_three_axes() {
    let mut random = Random(3);
    for (axes, multiplier) in [(1, 1), (1, 2), (3, 1), (3, 2)] {
        let of = |sizes: [usize; 3]| sizes[..axes].to_vec();
        let geometry = Geometry {
            strides: of([2, 1, 3]),
            dilations: of([1, 2, 1]),
            pads_begin: of([1, 2, 0]),
            pads_end: of([0, 1, 2]),
        };
        let shape = |first: [usize; 2], sizes: [usize; 3]| [first.to_vec(), of(sizes)].concat();
        let x = random.tensor(&shape([2, 3], [6, 5, 7]), false);
        let w = random.tensor(&shape([3 * multiplier, 1], [3, 2, 3]), false);
        check(&Op::Conv(Conv { geometry, groups: 3 }), &[x, w], &[], 5);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn convolutions(
        seed: u64, n in 1usize..4, groups in 1usize..4, inputs in 1usize..4, outputs in 1usize..4,
        size in prop::array::uniform2(4usize..9), kernel in prop::array::uniform2(1usize..4),
        strides in prop::array::uniform2(1usize..4), dilations in prop::array::uniform2(1usize..3),
        begin in prop::array::uniform2(0usize..2), end in prop::array::uniform2(0usize..2),
    ) {
        let fits = (0..2).all(|i| (kernel[i] - 1) * dilations[i] < size[i] + begin[i] + end[i]);
        prop_assume!(fits);
        let op = Op::Conv(Conv { geometry: geometry(strides, dilations, begin, end), groups });
        let mut random = Random(seed);
        let x = random.tensor(&[n, groups * inputs, size[0], size[1]], false);
        let w = random.tensor(&[groups * outputs, inputs, kernel[0], kernel[1]], false);
        check(&op, &[x, w], &[], seed);
    }

    /// Images of so many windows that they are unfolded some rows at a time.
    #[test]
    fn convolutions_of_large_images(
        seed: u64, groups in 1usize..3, inputs in 2usize..4, outputs in 1usize..4,
        size in prop::array::uniform2(28usize..40), stride in 1usize..3, dilation in 1usize..3, pad in 0usize..3, deep: bool,
    ) {
        let of = |a: usize, b: usize, c: usize| if deep { vec![a, b, c] } else { vec![b, c] };
        let geometry = Geometry {
            strides: of(1, 1, stride),
            dilations: of(1, dilation, 1),
            pads_begin: of(1, pad, 0),
            pads_end: of(0, 1, pad),
        };
        let mut random = Random(seed);
        let x = random.tensor(&[vec![1, groups * inputs], of(3, size[0], size[1])].concat(), false);
        let w = random.tensor(&[vec![groups * outputs, inputs], of(2, 3, 2)].concat(), false);
        check(&Op::Conv(Conv { geometry, groups }), &[x, w], &[], seed);
    }

    #[test]
    fn products(seed: u64, batch in 1usize..4, heads in 1usize..3, rows in 1usize..6, inner in 1usize..6, columns in 1usize..6, kind in 0usize..4) {
        let (a, b) = match kind {
            0 => (vec![rows, inner], vec![inner, columns]),
            1 => (vec![batch, rows, inner], vec![inner, columns]),
            2 => (vec![batch, heads, rows, inner], vec![batch, heads, inner, columns]),
            _ => (vec![batch, heads, rows, inner], vec![heads, inner, columns]),
        };
        let mut random = Random(seed);
        let (a, b) = (random.tensor(&a, false), random.tensor(&b, false));
        check(&Op::MatMul, &[a, b], &[], seed);
    }

    #[test]
    fn functions_of_two(seed: u64, a in 0usize..6, b in 0usize..6, which in 0usize..11, n in 1usize..3, c in 1usize..4, h in prop::sample::select(vec![1usize, 2, 4, 40])) {
        let shapes = [vec![n, c, h], vec![], vec![c, 1], vec![h], vec![n, 1, h], vec![n, c, 1]];
        let function = Binary::ALL[which];
        let positive = function == Binary::Pow;
        let mut random = Random(seed);
        // On two grids, so that no difference changes which of two is the larger.
        let grid = |tensor: Tensor, shift: f32| {
            let elements = tensor.as_f32().unwrap().iter().map(|x| (x * 16.0).round() / 16.0 + shift);
            Tensor::from_f32(tensor.shape().to_vec(), elements.collect()).unwrap()
        };
        let tensors = [
            grid(random.tensor(&shapes[a], positive), 0.0),
            grid(random.tensor(&shapes[b], positive), 1.0 / 32.0),
        ];
        check(&Op::Binary(function), &tensors, &[], seed);
    }

    #[test]
    fn pools(
        seed: u64, size in prop::array::uniform2(3usize..8), kernel in prop::array::uniform2(1usize..4),
        strides in prop::array::uniform2(1usize..4), begin in prop::array::uniform2(0usize..2), ceil: bool, kind in 0usize..3,
    ) {
        prop_assume!((0..2).all(|i| begin[i] < kernel[i]));
        let pool = Pool { kernel: kernel.into(), geometry: geometry(strides, [1, 1], begin, [0, 0]), ceil };
        let op = match kind { 0 => Op::MaxPool(pool), 1 => Op::AveragePool { pool, count_padding: false }, _ => Op::AveragePool { pool, count_padding: true } };
        // Far from one another, so that no difference changes which is the largest.
        let mut random = Random(seed);
        let count = 2 * 3 * size[0] * size[1];
        let mut numbers: Vec<f32> = (0..count).map(|i| i as f32 * 0.1).collect();
        (1..count).rev().for_each(|i| numbers.swap(i, (random.unit() * (i + 1) as f64) as usize));
        check(&op, &[Tensor::from_f32(vec![2, 3, size[0], size[1]], numbers).unwrap()], &[], seed);
    }
}

#[test]
fn functions_of_one() {
    let clip = Unary::Clip { min: -0.7, max: 0.7 };
    let hard = Unary::HardSigmoid { alpha: 0.3, beta: 0.4 };
    let leaky = Unary::LeakyRelu { slope: 0.2 };
    let any = [
        Unary::Relu,
        leaky,
        clip,
        hard,
        Unary::HardSwish,
        Unary::Neg,
        Unary::Abs,
        Unary::Reciprocal,
        Unary::Sigmoid,
        Unary::Tanh,
        Unary::Exp,
        Unary::Erf,
        Unary::Sin,
        Unary::Cos,
        Unary::Atan,
    ];
    let mut random = Random(1);
    // Away from where a clip bends.
    let numbers: Vec<f32> = (0..60).map(|_| random.away()).filter(|x| (x.abs() - 0.7).abs() > 0.05).collect();
    let x = Tensor::from_f32(vec![numbers.len()], numbers.clone()).unwrap();
    let positive = Tensor::from_f32(vec![numbers.len()], numbers.iter().map(|x| x.abs()).collect()).unwrap();
    for (i, function) in any.into_iter().enumerate() {
        check(&Op::Unary(function), std::slice::from_ref(&x), &[], i as u64);
    }
    for (i, function) in [Unary::Sqrt, Unary::Log].into_iter().enumerate() {
        check(&Op::Unary(function), std::slice::from_ref(&positive), &[], i as u64);
    }
}

#[test]
fn reductions_softmax_and_norms() {
    let mut random = Random(2);
    let x = random.tensor(&[3, 4, 2, 5], false);
    for kind in [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::Min] {
        for (axes, keep_dims) in [(vec![2, 3], false), (vec![1], true), (vec![0, 2], false), (vec![3], false)]
        {
            check(&Op::Reduce { kind, axes, keep_dims }, std::slice::from_ref(&x), &[], 3);
        }
    }
    for axes in [vec![3], vec![1], vec![2, 3]] {
        check(&Op::Softmax { axes }, std::slice::from_ref(&x), &[], 4);
    }
    let others = [random.tensor(&[4], false), random.tensor(&[4], true)];
    let own = [x, random.tensor(&[4], false), random.tensor(&[4], false)];
    check(&Op::BatchNorm { epsilon: 1e-3 }, &own, &others, 5);
}

#[test]
fn movements() {
    let mut random = Random(6);
    let x = random.tensor(&[3, 1, 4, 5], false);
    let slice =
        |step| Slice { axis: 2, start: if step < 0 { 3.into() } else { 0.into() }, size: 2.into(), step };
    let pad = |mode| Op::Pad(Pad { begin: vec![0, 0, 1, 2], end: vec![0, 0, 2, 1], mode });
    let operators = [
        Op::Reshape { shape: vec![3.into(), 20.into()] },
        Op::Transpose { perm: vec![2, 0, 3, 1] },
        Op::Slice(slice(2)),
        Op::Slice(slice(-1)),
        pad(PadMode::Constant(0.5)),
        pad(PadMode::Reflect),
        pad(PadMode::Edge),
        Op::Broadcast { shape: vec![3.into(), 2.into(), 4.into(), 5.into()] },
        Op::Concat { axis: 2 },
    ];
    for op in operators {
        check(&op, std::slice::from_ref(&x), &[], 7);
    }
    check(&Op::Concat { axis: 1 }, &[x.clone(), random.tensor(&[3, 2, 4, 5], false), x.clone()], &[], 8);
    let indices = Tensor::new(vec![2, 2], Data::I64([0, 2, -1, 2].into())).unwrap();
    check(&Op::Gather { axis: 2 }, &[x], &[indices], 9);
}

#[test]
fn a_value_that_is_read_twice_gets_both_gradients() {
    let mut build = GraphBuilder::new("test");
    let x = build.constant(Tensor::from_f32(vec![2], vec![3.0, -2.0]).unwrap(), "");
    let square = build.node(Op::Binary(Binary::Mul), &[x, x], "").unwrap();
    let y = build.node(Op::Binary(Binary::Add), &[square, x], "").unwrap();
    build.output("y", y);
    let mut network = Network::new(&build.finish(), &[x], &[y], 1 << 20).unwrap();
    network.forward(&[], Mode::Inference).unwrap();
    network.backward(&[vec![1.0, 1.0]]);
    assert_eq!(network.gradient(0), [7.0, -3.0]);
}

/// Numbers that would be subnormal a product later are none.
#[test]
fn what_is_saturated_has_no_derivative() {
    for (op, x) in
        [(Op::Unary(Unary::Sigmoid), [-60.0, -20.0]), (Op::Softmax { axes: vec![0] }, [-60.0, 0.0])]
    {
        let tensor = Tensor::from_f32(vec![2], x.to_vec()).unwrap();
        let (graph, parameters, y) = graph(&op, &[tensor], &[]);
        let mut network = Network::new(&graph, &parameters, &[y], 1 << 20).unwrap();
        network.forward(&[], Mode::Inference).unwrap();
        network.backward(&[vec![1.0, -1.0]]);
        let gradient = network.gradient(0);
        assert!(gradient[0] == 0.0, "{op:?}: {gradient:?}");
    }
}

/// What no output's derivative reaches has the derivative 0, whatever a run before has left there.
#[test]
fn what_nothing_depends_on_has_no_derivative() {
    let mut build = GraphBuilder::new("test");
    let x = build.constant(Tensor::from_f32(vec![2], vec![3.0, -2.0]).unwrap(), "");
    let w = build.constant(Tensor::from_f32(vec![2], vec![1.0, 1.0]).unwrap(), "");
    let is_less = build.node(Op::Binary(Binary::Less), &[x, w], "").unwrap();
    let y = build.node(Op::Binary(Binary::Mul), &[is_less, w], "").unwrap();
    build.output("y", y);
    let mut network = Network::new(&build.finish(), &[x, w], &[y], 1 << 20).unwrap();
    network.forward(&[], Mode::Inference).unwrap();
    network.backward(&[vec![f32::NAN; 2]]);
    network.backward(&[vec![1.0, 2.0]]);
    assert_eq!([network.gradient(0), network.gradient(1)], [[0.0, 0.0], [0.0, 2.0]]);
}

/// What the reference evaluator runs reads constants beside inputs, each time others: indices into a table.
#[test]
fn rows_of_a_table_are_looked_up() {
    let mut build = GraphBuilder::new("test");
    let table = Tensor::from_f32(vec![4, 2], (0..8).map(|i| i as f32).collect()).unwrap();
    let table = build.constant(table, "");
    let ids = build.input("ids", TensorType { element: ElementType::I64, shape: vec![Dim::from(3)] });
    let rows = build.node(Op::Gather { axis: 0 }, &[table, ids], "").unwrap();
    let factor = build.constant(Tensor::from_f32(vec![2], vec![2.0, 3.0]).unwrap(), "");
    let y = build.node(Op::Binary(Binary::Mul), &[rows, factor], "").unwrap();
    build.output("y", y);
    let mut network = Network::new(&build.finish(), &[factor], &[y], 1 << 20).unwrap();
    for (ids, want, gradient) in [
        ([0, 3, 1], [0.0, 3.0, 12.0, 21.0, 4.0, 9.0], [8.0, 11.0]),
        ([2, 2, 0], [8.0, 15.0, 8.0, 15.0, 0.0, 3.0], [8.0, 11.0]),
    ] {
        let ids = Tensor::new(vec![3], Data::I64(ids.into())).unwrap();
        network.forward(&[ids], Mode::Inference).unwrap();
        assert_eq!(network.output(0), want);
        network.backward(&[vec![1.0; 6]]);
        assert_eq!(network.gradient(0), gradient);
    }
}

#[test]
fn sums_over_no_elements_are_zero() {
    for kind in [ReduceKind::Sum, ReduceKind::Mean] {
        let mut build = GraphBuilder::new("test");
        let x = build.input("x", TensorType::f32([2, 0].map(Dim::from).to_vec()));
        let scale = build.constant(Tensor::from_f32(vec![1], vec![3.0]).unwrap(), "");
        let scaled = build.node(Op::Binary(Binary::Mul), &[x, scale], "").unwrap();
        let y = build.node(Op::Reduce { kind, axes: vec![1], keep_dims: false }, &[scaled], "").unwrap();
        build.output("y", y);
        let mut network = Network::new(&build.finish(), &[scale], &[y], 1 << 20).unwrap();
        network.forward(&[Tensor::from_f32(vec![2, 0], vec![]).unwrap()], Mode::Inference).unwrap();
        let is_mean = kind == ReduceKind::Mean;
        assert!(network.output(0).iter().all(|y| if is_mean { y.is_nan() } else { *y == 0.0 }), "{kind:?}");
        network.backward(&[vec![1.0, 1.0]]);
        assert_eq!(network.gradient(0), [0.0]);
    }
}

#[test]
fn operators_without_a_derivative_are_refused_by_name_all_at_once() {
    let mut build = GraphBuilder::new("test");
    let x = build.constant(Tensor::from_f32(vec![2], vec![3.0, -2.0]).unwrap(), "");
    let a = build.node(Op::Unary(Unary::Round), &[x], "rounding").unwrap();
    let sums = Op::Cumulative { combine: twnc_ir::Combine::Add, axis: 0 };
    let b = build.node(sums, &[a], "sums").unwrap();
    build.output("y", b);
    let graph = build.finish();
    let Err(GradientError::NoDerivative(found)) = Network::new(&graph, &[x], &[b], 1 << 20) else {
        panic!("it was differentiated")
    };
    assert_eq!(found, ["`rounding` (round: its derivative is 0)", "`sums` (cumulative: it has none)"]);
    // Where nothing is learnt, they may stand.
    let mut network = Network::new(&graph, &[], &[b], 1 << 20).unwrap();
    network.forward(&[], Mode::Inference).unwrap();
    assert_eq!(network.output(0), [3.0, 1.0]);
}

#[test]
fn a_batch_norm_in_training_is_that_of_the_batch() {
    let mut random = Random(10);
    let (n, c, inner) = (4, 3, 5);
    let x = random.tensor(&[n, c, inner], false);
    let own = [x.clone(), random.tensor(&[c], false), random.tensor(&[c], false)];
    let statistics = [random.tensor(&[c], false), random.tensor(&[c], true)];
    let op = Op::BatchNorm { epsilon: 1e-3 };
    let (graph, parameters, y) = graph(&op, &own, &statistics);
    let mean = graph.definer(y).unwrap().1.operands[3];
    let mut network = Network::new(&graph, &parameters, &[y], 1 << 20).unwrap();
    network.forward(&[], Mode::Training).unwrap();
    // What it says of the batch's own statistics is what it computes with them.
    let elements = x.as_f32().unwrap();
    let of = |channel: usize| {
        (0..n * inner).map(move |i| f64::from(elements[(i / inner * c + channel) * inner + i % inner]))
    };
    let count = (n * inner) as f64;
    let means: Vec<f64> = (0..c).map(|k| of(k).sum::<f64>() / count).collect();
    let variances: Vec<f64> =
        (0..c).map(|k| of(k).map(|x| (x - means[k]).powi(2)).sum::<f64>() / count).collect();
    let tensor = |v: &[f64]| Tensor::from_f32(vec![c], v.iter().map(|&x| x as f32).collect()).unwrap();
    let expected = reference(&op, &own, &[tensor(&means), tensor(&variances)]);
    for (a, b) in network.output(0).iter().zip(&expected) {
        assert!((a - b).abs() < 1e-5, "{a} for {b}");
    }
    for (k, kept) in network.value(mean).unwrap().iter().enumerate() {
        let before = statistics[0].as_f32().unwrap()[k];
        assert!((kept - (0.9 * before + 0.1 * means[k] as f32)).abs() < 1e-6);
    }
    // The gradients are those of the statistics too, which a change of an element changes.
    let weights: Vec<f32> = expected.iter().map(|_| random.away()).collect();
    network.backward(std::slice::from_ref(&weights));
    for number in 0..own.len() {
        let direction: Vec<f32> = network.parameter(number).iter().map(|_| random.away()).collect();
        let before = network.parameter(number).to_vec();
        let mut along = |h: f32| {
            let moved = before.iter().zip(&direction).map(|(x, d)| x + h * d);
            network.parameter_mut(number).iter_mut().zip(moved).for_each(|(x, moved)| *x = moved);
            network.forward(&[], Mode::Training).unwrap();
            let outputs = network.output(0).iter().zip(&weights);
            outputs.map(|(y, w)| f64::from(*y) * f64::from(*w)).sum::<f64>()
        };
        let h = 4e-3;
        let measured = (along(h) - along(-h)) / (2.0 * f64::from(h));
        along(0.0);
        let gradient = network.gradient(number).iter().zip(&direction);
        let claimed: f64 = gradient.map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
        assert!(
            (measured - claimed).abs() <= 1e-2 * measured.abs().max(0.5),
            "operand {number}: measured {measured}, claimed {claimed}"
        );
    }
    // The result does not change when the input is moved: so neither does any sum of it.
    for channel in 0..c {
        let moved: f32 =
            (0..n * inner).map(|i| network.gradient(0)[(i / inner * c + channel) * inner + i % inner]).sum();
        assert!(moved.abs() < 1e-4, "{moved}");
    }
}
