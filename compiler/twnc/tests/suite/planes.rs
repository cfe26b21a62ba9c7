//! Random sums of ternary products: the program, on every path, against the reference evaluator, and the steps that they are.
//!
//! Products of one input and of several, in windows of one size and of several, strided as shortcuts are, of images and of rows; with scales that agree or do
//! not, a bias on any side, in any order of addition, with and without an activation.

use crate::operations::assert_steps;
use crate::random_graphs::{cases, run};
use proptest::prelude::*;
use std::collections::BTreeMap;
use twnc::{Compiled, Compiler};
use twnc_ir::{
    Binary, Conv, Dim, Geometry, Graph, GraphBuilder, Op, RunOptions, Tensor, TensorType, Unary, ValueId,
    evaluate,
};
use twnc_passes::{Activations, Mode, Options};
use twnc_program::StepKind;
use twnc_random::Random;
use twnc_runtime::Backend;

/// What all products of a sum have in common.
struct Sum {
    matmul: bool,
    channels: usize,
    outputs: usize,
    stride: usize,
}

impl Sum {
    /// A weight that is a scale times trits.
    fn weight(&self, b: &mut GraphBuilder, r: &mut Random, shape: Vec<usize>, name: &str) -> ValueId {
        let alpha = [0.5, 0.1 + r.within(0, 100) as f32 / 64.0][r.within(0, 1)];
        let trit = |&x: &f32| if x.abs() < 0.3 { 0.0 } else { alpha.copysign(x) };
        let elements = r.tensor(&shape).as_f32().unwrap().iter().map(trit).collect();
        b.constant(Tensor::from_f32(shape, elements).unwrap(), name)
    }

    fn product(
        &self,
        b: &mut GraphBuilder,
        r: &mut Random,
        x: ValueId,
        stride: usize,
        outputs: usize,
    ) -> ValueId {
        let name = format!("product{}", b.graph().node_ids().count());
        if self.matmul {
            let weight = self.weight(b, r, vec![self.channels, outputs], &name);
            return b.node(Op::MatMul, &[x, weight], &name).unwrap();
        }
        let (kernel, dilation) = (1 + 2 * r.within(0, 1), r.within(1, 2));
        let pad = kernel / 2 * dilation;
        let geometry = Geometry {
            strides: vec![stride; 2],
            dilations: vec![dilation; 2],
            pads_begin: vec![pad; 2],
            pads_end: vec![pad; 2],
        };
        let weight = self.weight(b, r, vec![outputs, self.channels, kernel, kernel], &name);
        b.node(Op::Conv(Conv { geometry, groups: 1 }), &[x, weight], &name).unwrap()
    }
}

fn graph(seed: u64) -> (Graph, Vec<usize>) {
    let mut r = Random::new(seed);
    let sum = Sum {
        matmul: r.within(0, 2) == 0,
        channels: r.within(1, 12),
        outputs: r.within(1, 20),
        stride: r.within(1, 2),
    };
    let shape = if sum.matmul {
        vec![r.within(1, 3) * r.within(1, 9), sum.channels]
    } else {
        vec![r.within(1, 2), sum.channels, r.within(2, 9), r.within(2, 12)]
    };
    let mut b = GraphBuilder::new("planes");
    let open = std::iter::once(Dim::symbol("N")).chain(shape[1..].iter().map(|&n| Dim::from(n)));
    let image = b.input("image", TensorType::f32(open.collect()));
    let hidden = sum.product(&mut b, &mut r, image, 1, sum.channels);
    let hidden = b.node(Op::Unary(Unary::Relu), &[hidden], "hidden").unwrap();
    let mut sides: Vec<ValueId> = vec![];
    for _ in 0..r.within(2, 4) {
        let x = [image, hidden][r.within(0, 1)];
        let mut side = sum.product(&mut b, &mut r, x, sum.stride, sum.outputs);
        if r.within(0, 2) == 0 {
            let ones = if sum.matmul { 0 } else { 2 };
            let bias = r.tensor(&[&[sum.outputs][..], &vec![1; ones]].concat());
            let bias = b.constant(bias, "bias");
            side = b.node(Op::Binary(Binary::Add), &[side, bias], "biased").unwrap();
        }
        if r.within(0, 5) == 0 {
            // A function that kernels compute to the bit.
            side = b.node(Op::Unary(Unary::HardSwish), &[side], "bent").unwrap();
        }
        sides.push(side);
    }
    while sides.len() > 1 {
        let [x, y] = [0; 2].map(|_| sides.remove(r.within(0, sides.len() - 1)));
        sides.push(b.node(Op::Binary(Binary::Add), &[x, y], "sum").unwrap());
    }
    let mut y = sides[0];
    if r.within(0, 1) == 0 {
        y = b.node(Op::Unary(Unary::Relu), &[y], "activation").unwrap();
    }
    b.output("y", y);
    (b.finish(), shape)
}

fn compiled(graph: Graph, activations: Activations, skipped: &[&str]) -> Compiled {
    let options = Options { ternarise: Mode::All, ..Options::default() };
    let skip = skipped.iter().map(|&pass| pass.to_owned()).collect();
    let run = RunOptions { skip, ..RunOptions::default() };
    let compiler = Compiler::builder().passes(options).activations(activations).run(run);
    compiler.build().unwrap().compile(graph, &mut |_, _| {}).unwrap()
}

/// Products of each accumulate step.
fn planes(compiled: &Compiled) -> Vec<usize> {
    let steps = compiled.program.steps.iter().filter_map(|step| match &step.kind {
        StepKind::Accumulate(s) => Some(s.terms.iter().map(|term| term.planes.len()).sum()),
        _ => None,
    });
    steps.collect()
}

fn check(seed: u64, activations: Activations, skipped: &[&str]) {
    let (graph, shape) = graph(seed);
    let compiled = compiled(graph, activations, skipped);
    assert_steps(&format!("seed {seed}"), &compiled);
    let image = Random::new(seed ^ 1).tensor(&shape);
    let outputs = evaluate(&compiled.graph, &BTreeMap::from([("image".to_owned(), image.clone())])).unwrap();
    let expected = outputs["y"].as_f32().unwrap();
    let whole = activations == Activations::Int;
    let largest = expected.iter().fold(1f32, |largest, x| largest.max(x.abs()));
    for backend in Backend::available() {
        for threads in [1, 3] {
            let found = run(&compiled.program, &image, backend, threads);
            assert_eq!(expected.len(), found.len());
            for (i, (&e, &f)) in expected.iter().zip(&found).enumerate() {
                let right = if whole { e.to_bits() == f.to_bits() } else { (e - f).abs() <= 2e-5 * largest };
                assert!(
                    right || e == f,
                    "seed {seed}, {backend:?}, {threads} threads, {shape:?}: {i} is {f}, not {e}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(120))]

    #[test]
    fn sums_of_floats_are_those_of_the_evaluator(seed: u64, plain: bool) {
        check(seed, Activations::F32, if plain { &["saturate"] } else { &[] });
    }

    #[test]
    fn sums_of_whole_numbers_have_its_bits(seed: u64, plain: bool) {
        check(seed, Activations::Int, if plain { &["saturate"] } else { &[] });
    }
}

/// Random sums do become steps of several planes, or the tests above are of nothing.
#[test]
fn most_sums_are_steps_of_several_planes() {
    for activations in [Activations::F32, Activations::Int] {
        let several = (0..40).filter(|&seed| {
            let compiled = compiled(graph(seed).0, activations, &[]);
            planes(&compiled).into_iter().any(|planes| planes > 1)
        });
        assert!(several.count() >= 20, "{activations:?}");
    }
}

/// A residual on the grid of the product beside it is what the sum begins with: neither is multiplied, and their one scale ends at the output.
#[test]
fn a_residual_on_the_grid_of_a_product_is_added_without_a_scale() {
    let mut b = GraphBuilder::new("residual");
    let size = [Dim::symbol("N"), Dim::from(4), Dim::from(6), Dim::from(6)];
    let image = b.input("image", TensorType::f32(size.to_vec()));
    let padded = Geometry { pads_begin: vec![1; 2], pads_end: vec![1; 2], ..Geometry::unit(2) };
    let mut r = Random::new(3);
    let mut conv = |b: &mut GraphBuilder, x: ValueId, alpha: f32, name: &str| {
        let shape = vec![4, 4, 3, 3];
        let trit = |&x: &f32| if x.abs() < 0.3 { 0.0 } else { alpha.copysign(x) };
        let elements = r.tensor(&shape).as_f32().unwrap().iter().map(trit).collect();
        let weight = b.constant(Tensor::from_f32(shape, elements).unwrap(), name);
        b.node(Op::Conv(Conv { geometry: padded.clone(), groups: 1 }), &[x, weight], name).unwrap()
    };
    let stem = conv(&mut b, image, 0.3, "stem");
    let stem = b.node(Op::Unary(Unary::Relu), &[stem], "stem").unwrap();
    let branch = conv(&mut b, stem, 1.0, "branch");
    let sum = b.node(Op::Binary(Binary::Add), &[branch, stem], "sum").unwrap();
    let sum = b.node(Op::Unary(Unary::Relu), &[sum], "sum").unwrap();
    let last = conv(&mut b, sum, 0.5, "last");
    b.output("y", last);
    let compiled = compiled(b.finish(), Activations::F32, &[]);
    let steps: Vec<(usize, bool)> = compiled
        .program
        .steps
        .iter()
        .filter_map(|step| match &step.kind {
            StepKind::Accumulate(s) => {
                let scales = s.terms.iter().filter(|term| term.scale.is_some()).count();
                Some((scales, s.epilogue.residual.is_some()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(steps, [(0, false), (0, true), (1, false)]);
    assert_eq!(compiled.program.steps.len(), 3);
    let image = Random::new(4).tensor(&[2, 4, 6, 6]);
    let outputs = evaluate(&compiled.graph, &BTreeMap::from([("image".to_owned(), image.clone())])).unwrap();
    let expected = outputs["y"].as_f32().unwrap();
    let largest = expected.iter().fold(1f32, |largest, x| largest.max(x.abs()));
    for backend in Backend::available() {
        let found = run(&compiled.program, &image, backend, 1);
        assert!(expected.iter().zip(&found).all(|(e, f)| (e - f).abs() <= 2e-5 * largest), "{backend:?}");
    }
}
