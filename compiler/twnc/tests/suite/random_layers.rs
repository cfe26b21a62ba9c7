//! Random single layers of the sizes that networks have: the program, on every path, against the reference evaluator.
//!
//! 1 to 300 channels, images of 1 to 70 rows and columns, kernels 1 to 7 wide, strides, dilations, padding, groups, and
//! matrix products of few and many rows. Sums of whole numbers have the evaluator's bits; sums of floats are within
//! (n + 4) · u · Σ|w||x|, where n is the number of terms, of what the evaluator sums in f64.

use crate::random_graphs::{cases, run};
use proptest::prelude::*;
use std::collections::BTreeMap;
use twnc::Compiler;
use twnc_ir::{
    Binary, Conv, Dim, Geometry, Graph, GraphBuilder, Op, Tensor, TensorType, Unary, ValueId, evaluate,
};
use twnc_passes::{Activations, Mode, Options};
use twnc_random::Random;
use twnc_runtime::Backend;

/// Terms that the evaluator and the interpreter add up for a layer, at most: they are slow.
const TERMS: usize = 400_000;

/// A layer: what is computed, its weight, and the shape of its input.
struct Layer {
    op: Op,
    weight: Tensor,
    input: Vec<usize>,
    /// For the bound: terms of a sum.
    terms: usize,
    relu: bool,
    bias: Option<Tensor>,
}

impl Layer {
    fn new(seed: u64) -> Layer {
        let mut r = Random::new(seed);
        let (op, weight, input) = if r.within(0, 3) == 0 { product(&mut r) } else { convolution(&mut r) };
        let (relu, biased) = (r.within(0, 1) == 0, r.within(0, 1) == 0);
        let (terms, bias) = match &op {
            Op::MatMul => (weight[0], vec![weight[1]]),
            _ => (weight[1..].iter().product(), [&[weight[0]][..], &vec![1; weight.len() - 2]].concat()),
        };
        // One scale for the layer: what is found is found exactly.
        let trits = r.tensor(&weight);
        let alpha = 0.1 + r.within(0, 100) as f32 / 64.0;
        let trit = |&x: &f32| if x.abs() < 0.3 { 0.0 } else { alpha.copysign(x) };
        let weight = Tensor::from_f32(weight, trits.as_f32().unwrap().iter().map(trit).collect()).unwrap();
        Layer { op, weight, input, terms, relu, bias: biased.then(|| r.tensor(&bias)) }
    }

    /// The layer as a network of an image.
    fn graph(&self) -> Graph {
        let mut b = GraphBuilder::new("layer");
        let sizes = self.input[1..].iter().map(|&n| Dim::from(n));
        let shape = std::iter::once(Dim::symbol("N")).chain(sizes).collect();
        let mut x = b.input("image", TensorType::f32(shape));
        let weight = b.constant(self.weight.clone(), "layer.weight");
        x = b.node(self.op.clone(), &[x, weight], "layer").unwrap();
        x = self.finish(&mut b, x);
        b.output("y", x);
        b.finish()
    }

    fn finish(&self, b: &mut GraphBuilder, mut x: ValueId) -> ValueId {
        if let Some(bias) = &self.bias {
            let bias = b.constant(bias.clone(), "layer.bias");
            x = b.node(Op::Binary(Binary::Add), &[x, bias], "layer").unwrap();
        }
        if self.relu {
            x = b.node(Op::Unary(Unary::Relu), &[x], "layer").unwrap();
        }
        x
    }

    /// The sums of magnitudes.
    fn magnitudes(&self, image: &Tensor) -> Vec<f32> {
        let abs = |t: &Tensor| {
            let elements = t.as_f32().unwrap().iter().map(|x| x.abs()).collect();
            Tensor::from_f32(t.shape().to_vec(), elements).unwrap()
        };
        let plain = Layer {
            op: self.op.clone(),
            weight: abs(&self.weight),
            input: self.input.clone(),
            relu: false,
            bias: self.bias.as_ref().map(abs),
            ..*self
        };
        evaluated(&plain.graph(), &abs(image))
    }
}

fn evaluated(graph: &Graph, image: &Tensor) -> Vec<f32> {
    let outputs = evaluate(graph, &BTreeMap::from([("image".to_owned(), image.clone())])).unwrap();
    outputs["y"].as_f32().unwrap().to_vec()
}

/// An operator, the shapes of its weight and of its input.
type Shapes = (Op, Vec<usize>, Vec<usize>);

fn product(r: &mut Random) -> Shapes {
    let (inner, outputs, most) = (r.within(1, 300), r.within(1, 300), [1, 3, 70][r.within(0, 2)]);
    let rows = r.within(1, most).min((TERMS / (inner * outputs)).max(1));
    (Op::MatMul, vec![inner, outputs], vec![rows, inner])
}

fn convolution(r: &mut Random) -> Shapes {
    let (channels, outputs, groups) = match r.within(0, 3) {
        0 => (1, r.within(1, 2), r.within(1, 150)),
        1 => (r.within(1, 9), r.within(1, 9), r.within(2, 7)),
        2 => (r.within(1, 40), r.within(1, 70), 1),
        _ => (r.within(1, 300), r.within(1, 300), 1),
    };
    let kernel = [r.within(1, 7), r.within(1, 7)];
    let geometry = Geometry {
        strides: vec![r.within(1, 3), r.within(1, 3)],
        dilations: vec![r.within(1, 3), r.within(1, 3)],
        pads_begin: vec![r.within(0, 3), r.within(0, 3)],
        pads_end: vec![r.within(0, 3), r.within(0, 3)],
    };
    let weights = outputs * groups * channels * kernel[0] * kernel[1];
    let side = (TERMS / weights).isqrt();
    let sizes = (0..2).map(|axis| {
        // The window has to fit.
        let reach = (kernel[axis] - 1) * geometry.dilations[axis] + 1;
        let padding = geometry.pads_begin[axis] + geometry.pads_end[axis];
        r.within(1, 70).min(side).max(reach.saturating_sub(padding)).max(1)
    });
    let input = [1, channels * groups].into_iter().chain(sizes).collect();
    let weight = vec![outputs * groups, channels, kernel[0], kernel[1]];
    (Op::Conv(Conv { geometry, groups }), weight, input)
}

fn check(seed: u64, samples: usize, activations: Activations, bits: usize) {
    let layer = Layer::new(seed);
    let options = Options { ternarise: Mode::All, ..Options::default() };
    let compiler = Compiler::builder().passes(options).activations(activations).activation_bits(bits);
    let compiled = compiler.build().unwrap().compile(layer.graph(), &mut |_, _| {}).unwrap();
    let mut shape = layer.input.clone();
    if layer.op != Op::MatMul {
        shape[0] = samples;
    }
    let image = Random::new(seed ^ 1).tensor(&shape);
    let expected = evaluated(&compiled.graph, &image);
    let whole = compiled.graph.order().unwrap().into_iter();
    let whole = whole.filter(|&id| matches!(compiled.graph.node(id).op, Op::Quantize(_))).count() > 0;
    let magnitudes = layer.magnitudes(&image);
    for backend in Backend::available() {
        for threads in [1, 3] {
            let found = run(&compiled.program, &image, backend, threads);
            assert_eq!(expected.len(), found.len());
            for (i, ((&e, &f), magnitude)) in expected.iter().zip(&found).zip(&magnitudes).enumerate() {
                let bound = (layer.terms + 4) as f32 * f32::EPSILON / 2.0 * magnitude;
                let right = if whole { e.to_bits() == f.to_bits() } else { (e - f).abs() <= bound };
                assert!(
                    right || e == f,
                    "seed {seed}, {backend:?}, {threads} threads, {:?} {shape:?} {:?}: {i} is {f}, not {e}",
                    layer.op,
                    layer.weight.shape()
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn layers_of_floats_are_within_their_bound(seed: u64, samples in 1usize..3) {
        check(seed, samples, Activations::F32, 8);
    }

    #[test]
    fn layers_of_whole_numbers_have_the_evaluator_s_bits(seed: u64, samples in 1usize..3, bits in 4usize..=12) {
        check(seed, samples, Activations::Int, bits);
    }
}
