//! Random graphs whose values are read many times: by several nodes, twice by one, by outputs. What fuses nodes must not lose a reader, and what is a part of
//! another's memory must be there as long as somebody reads it.

use crate::random_graphs::{Random, cases};
use proptest::prelude::*;
use std::collections::BTreeMap;
use twnc::Compiler;
use twnc_ir::{
    Binary, Conv, Dim, Geometry, Graph, GraphBuilder, Op, ReduceKind, Slice, Tensor, TensorType, Unary,
    ValueId, eval,
};
use twnc_passes::{Mode, Options};
use twnc_program::interpret::Functions;
use twnc_runtime::{Backend, Module, Output, SessionOptions};

const CHANNELS: usize = 4;
const SIZE: usize = 5;

/// A graph of values of one shape, whose image size is open in half of them, each computed from one or two of those before it; by `moves`, most are parts of
/// others put together.
fn dag(seed: u64, moves: bool) -> Graph {
    let mut r = Random(seed);
    let mut b = GraphBuilder::new("dag");
    let sizes = [[SIZE.into(), SIZE.into()], [Dim::symbol("H"), Dim::symbol("W")]];
    let [height, width] = sizes[r.size(0, 1)].clone();
    let shape = vec![Dim::symbol("N"), CHANNELS.into(), height, width];
    let mut values = vec![b.input("a", TensorType::f32(shape.clone())), b.input("b", TensorType::f32(shape))];
    for i in 0..r.size(3, 12) {
        // Of the last four: with older ones most of the graph would be dead.
        let recent = &values[values.len().saturating_sub(4)..];
        let [x, y] = [0; 2].map(|_| recent[r.size(0, recent.len() - 1)]);
        let name = format!("node{i}");
        let value = if moves && r.size(0, 2) > 0 {
            halves(&mut b, &mut r, x, y, &name)
        } else {
            node(&mut b, &mut r, x, y, &name)
        };
        values.push(value);
    }
    b.output("last", values[values.len() - 1]);
    for i in 0..r.size(0, 2) {
        b.output(&format!("out{i}"), values[r.size(0, values.len() - 1)]);
    }
    b.finish()
}

fn node(b: &mut GraphBuilder, r: &mut Random, x: ValueId, y: ValueId, name: &str) -> ValueId {
    let tanh = |b: &mut GraphBuilder, x| b.node(Op::Unary(Unary::Tanh), &[x], name).unwrap();
    match r.size(0, 11) {
        0..=2 => convolution(b, r, x, name),
        3 | 4 => {
            // A scale or a bias, or one that is neither: for each row.
            let f = [Binary::Mul, Binary::Add][r.size(0, 1)];
            let shapes: [&[usize]; 4] = [&[], &[CHANNELS, 1, 1], &[1, CHANNELS, 1, 1], &[SIZE, 1]];
            let shape = shapes[r.size(0, 3)];
            let constant = r.tensor(shape);
            let constant = b.constant(constant, name);
            b.node(Op::Binary(f), &[x, constant], name).unwrap()
        }
        5 | 6 => {
            let f = [Binary::Add, Binary::Sub, Binary::Max][r.size(0, 2)];
            b.node(Op::Binary(f), &[x, y], name).unwrap()
        }
        7 => {
            let f = [Unary::Relu, Unary::LeakyRelu { slope: 0.1 }, Unary::Neg, Unary::HardSwish];
            b.node(Op::Unary(f[r.size(0, 3)]), &[x], name).unwrap()
        }
        8 => {
            // Squeeze and excite: one factor for each image and channel.
            let mean = Op::Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keep_dims: true };
            let mean = b.node(mean, &[x], name).unwrap();
            let gate = b.node(Op::Unary(Unary::Sigmoid), &[mean], name).unwrap();
            b.node(Op::Binary(Binary::Mul), &[y, gate], name).unwrap()
        }
        9 => {
            let product = b.node(Op::MatMul, &[x, y], name).unwrap();
            tanh(b, product)
        }
        10 => {
            let weight = r.tensor(&[SIZE, SIZE]);
            let weight = b.constant(weight, name);
            b.node(Op::MatMul, &[x, weight], name).unwrap()
        }
        _ => halves(b, r, x, y, name),
    }
}

/// Half of the channels of each of two values, in either order, as they are or behind a function.
fn halves(b: &mut GraphBuilder, r: &mut Random, x: ValueId, y: ValueId, name: &str) -> ValueId {
    let parts = [x, y].map(|value| {
        let start = [0, CHANNELS / 2][r.size(0, 1)].into();
        let half = Op::Slice(Slice { axis: 1, start, size: (CHANNELS / 2).into(), step: 1 });
        let half = b.node(half, &[value], name).unwrap();
        match r.size(0, 2) {
            0 => half,
            _ => b.node(Op::Unary(Unary::Tanh), &[half], name).unwrap(),
        }
    });
    b.node(Op::Concat { axis: 1 }, &parts, name).unwrap()
}

/// A 3x3 convolution that keeps the size, full or depthwise, of weights of any value, or of one or two magnitudes.
fn convolution(b: &mut GraphBuilder, r: &mut Random, x: ValueId, name: &str) -> ValueId {
    let groups = [1, CHANNELS][r.size(0, 1)];
    let geometry = Geometry { pads_begin: vec![1, 1], pads_end: vec![1, 1], ..Geometry::unit(2) };
    let shape = [CHANNELS, CHANNELS / groups, 3, 3];
    let weight = r.tensor(&shape);
    let level = |magnitudes: [f32; 2]| {
        let levels = |&w: &f32| match w {
            w if w > 0.3 => magnitudes[0],
            w if w < -0.3 => -magnitudes[1],
            _ => 0.0,
        };
        let elements = weight.as_f32().unwrap().iter().map(levels).collect();
        Tensor::from_f32(shape.to_vec(), elements).unwrap()
    };
    let weight = match r.size(0, 2) {
        0 => weight,
        1 => level([0.5, 0.5]),
        _ => level([0.25, 0.75]),
    };
    let weight = b.constant(weight, name);
    b.node(Op::Conv(Conv { geometry, groups }), &[x, weight], name).unwrap()
}

fn check(seed: u64, mode: Mode, moves: bool) {
    let options = Options { ternarise: mode, ..Options::default() };
    let compiler = Compiler::builder().passes(options).build().unwrap();
    let compiled = compiler.compile(dag(seed, moves), &mut |_, _| {}).unwrap();
    let mut random = Random(seed ^ 1);
    // Parts of one sample lie side by side, those of several do not.
    let shape = [random.size(1, 2), CHANNELS, SIZE, SIZE];
    let inputs = BTreeMap::from(["a", "b"].map(|name| (name.to_owned(), random.tensor(&shape))));
    let arrays = inputs.iter().map(|(name, tensor)| {
        let elements = tensor.as_f32().unwrap().to_vec();
        (name.as_str(), ndarray::ArrayD::from_shape_vec(shape.to_vec(), elements).unwrap())
    });
    let arrays: Vec<_> = arrays.collect();
    let views: Vec<_> = arrays.iter().map(|(name, array)| (*name, array.view())).collect();
    let expected = eval::evaluate(&compiled.graph, &inputs).unwrap();
    let module = Module::new(compiled.program, Functions::default()).unwrap();
    for backend in Backend::available() {
        let session = module.session(SessionOptions::default().backend(backend)).unwrap();
        for (name, found) in session.run(&views).unwrap() {
            let Output::F32(found) = found else { panic!("{name} is not f32") };
            let expected = expected[&name].as_f32().unwrap();
            let range = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
            for (i, (e, f)) in expected.iter().zip(&found).enumerate() {
                let allowed = 1e-4 * range + 1e-3 * e.abs();
                assert!(
                    (e - f).abs() <= allowed,
                    "seed {seed} {backend:?} `{name}`: element {i} is {f}, not {e}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn every_reader_gets_its_value(seed: u64) {
        for mode in [Mode::All, Mode::Detected, Mode::None] {
            check(seed, mode, false);
        }
    }

    #[test]
    fn parts_of_a_value_are_where_they_belong(seed: u64) {
        check(seed, Mode::None, true);
    }
}
