//! Random small networks: the compiled program, on every path, against the reference evaluator on the same ternary graph.

use proptest::prelude::*;
use std::collections::BTreeMap;
use twnc::Compiler;
use twnc_ir::{
    Binary, Conv, Data, Dim, Geometry, Graph, GraphBuilder, Op, Pool, ReduceKind, Slice, Tensor, TensorType,
    Unary, ValueId,
};
use twnc_passes::{Mode, Options, Scale};
use twnc_program::Program;
use twnc_program::interpret::Functions;
use twnc_runtime::{Backend, Module, Output, SessionOptions};

/// So many random cases, or what the environment says in `PROPTEST_CASES`.
pub fn cases(usual: u32) -> ProptestConfig {
    let given = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { given.cases } else { usual };
    ProptestConfig { cases, ..given }
}

/// SplitMix64: a network is a function of its seed.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `from..=to`.
    pub fn size(&mut self, from: usize, to: usize) -> usize {
        from + (self.next() % (to - from + 1) as u64) as usize
    }

    /// In -1..1.
    fn number(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let elements = (0..shape.iter().product()).map(|_| self.number()).collect();
        Tensor::from_f32(shape.to_vec(), elements).unwrap()
    }

    fn positive(&mut self, n: usize) -> Tensor {
        Tensor::from_f32(vec![n], (0..n).map(|_| self.number().abs() + 0.1).collect()).unwrap()
    }
}

/// A network of an image: convolutions of all kinds, normalisation, activations, pools, residual sums, a head.
pub fn network(seed: u64) -> Graph {
    let mut r = Random(seed);
    let mut b = GraphBuilder::new("random");
    let (channels, height, width) = (r.size(1, 5), r.size(3, 12), r.size(3, 12));
    let shape = vec![Dim::symbol("N"), channels.into(), height.into(), width.into()];
    let mut x = b.input("image", TensorType::f32(shape));
    for layer in 0..r.size(1, 5) {
        x = match r.size(0, 9) {
            0..=3 => convolution(&mut b, &mut r, x, layer),
            4 => norm(&mut b, &mut r, x),
            5 => activation(&mut b, &mut r, x),
            6 => pool(&mut b, &mut r, x),
            7 => {
                let y = activation(&mut b, &mut r, x);
                b.node(Op::Binary(Binary::Add), &[y, x], "residual").unwrap()
            }
            8 => {
                let y = activation(&mut b, &mut r, x);
                b.node(Op::Concat { axis: 1 }, &[x, y], "concat").unwrap()
            }
            _ => {
                let size = channels_of(&b, x);
                let take = r.size(1, size);
                let slice = Slice { axis: 1, start: (size - take).into(), size: take.into(), step: 1 };
                b.node(Op::Slice(slice), &[x], "slice").unwrap()
            }
        };
    }
    if r.size(0, 1) == 1 {
        let reduce = Op::Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keep_dims: false };
        let pooled = b.node(reduce, &[x], "pooled").unwrap();
        let (inputs, outputs) = (channels_of(&b, x), r.size(1, 20));
        let weight = r.tensor(&[inputs, outputs]);
        let weight = b.constant(weight, "fc.weight");
        let product = b.node(Op::MatMul, &[pooled, weight], "fc").unwrap();
        let bias = r.tensor(&[outputs]);
        let bias = b.constant(bias, "fc.bias");
        let sum = b.node(Op::Binary(Binary::Add), &[product, bias], "fc").unwrap();
        x = b.node(Op::Softmax { axes: vec![1] }, &[sum], "softmax").unwrap();
    }
    b.output("y", x);
    b.finish()
}

fn channels_of(b: &GraphBuilder, x: ValueId) -> usize {
    b.graph().ty(x).shape[1].as_size().unwrap()
}

fn convolution(b: &mut GraphBuilder, r: &mut Random, x: ValueId, layer: usize) -> ValueId {
    let channels = channels_of(b, x);
    let sizes: Vec<usize> = b.graph().ty(x).shape[2..].iter().map(|dim| dim.as_size().unwrap()).collect();
    let depthwise = r.size(0, 3) == 0;
    let (groups, outputs) = if depthwise { (channels, channels * r.size(1, 2)) } else { (1, r.size(1, 12)) };
    let kernel: Vec<usize> = sizes.iter().map(|&n| r.size(1, n.min(4))).collect();
    let geometry = Geometry {
        strides: vec![r.size(1, 2), r.size(1, 2)],
        dilations: kernel
            .iter()
            .zip(&sizes)
            .map(|(&k, &n)| if (k - 1) * 2 < n { r.size(1, 2) } else { 1 })
            .collect(),
        pads_begin: vec![r.size(0, 1), r.size(0, 2)],
        pads_end: vec![r.size(0, 2), r.size(0, 1)],
    };
    let weight = r.tensor(&[outputs, channels / groups, kernel[0], kernel[1]]);
    let name = format!("conv{layer}");
    let weight = b.constant(weight, &name);
    let y = b.node(Op::Conv(Conv { geometry, groups }), &[x, weight], &name).unwrap();
    if r.size(0, 1) == 0 {
        return y;
    }
    let bias = r.tensor(&[outputs, 1, 1]);
    let bias = b.constant(bias, &name);
    b.node(Op::Binary(Binary::Add), &[y, bias], &name).unwrap()
}

fn norm(b: &mut GraphBuilder, r: &mut Random, x: ValueId) -> ValueId {
    let n = channels_of(b, x);
    // Negative factors too: rows flip their signs.
    let parameters =
        [r.tensor(&[n]), r.tensor(&[n]), r.tensor(&[n]), r.positive(n)].map(|t| b.constant(t, "norm"));
    let operands = [&[x][..], &parameters].concat();
    b.node(Op::BatchNorm { epsilon: 1e-3 }, &operands, "norm").unwrap()
}

fn activation(b: &mut GraphBuilder, r: &mut Random, x: ValueId) -> ValueId {
    let functions = [
        Unary::Relu,
        Unary::LeakyRelu { slope: 0.1 },
        Unary::Clip { min: -0.5, max: 0.5 },
        Unary::HardSwish,
        Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Unary::Sigmoid,
        Unary::Tanh,
        Unary::Abs,
    ];
    b.node(Op::Unary(functions[r.size(0, 7)]), &[x], "activation").unwrap()
}

fn pool(b: &mut GraphBuilder, r: &mut Random, x: ValueId) -> ValueId {
    let sizes: Vec<usize> = b.graph().ty(x).shape[2..].iter().map(|dim| dim.as_size().unwrap()).collect();
    let kernel: Vec<usize> = sizes.iter().map(|&n| r.size(1, n.min(3))).collect();
    let pads: Vec<usize> = kernel.iter().map(|&k| r.size(0, (k - 1).min(1))).collect();
    let geometry = Geometry {
        strides: vec![r.size(1, 2), r.size(1, 3)],
        dilations: vec![1, 1],
        pads_begin: pads.clone(),
        pads_end: pads,
    };
    let pool = Pool { kernel, geometry, ceil: r.size(0, 1) == 1 };
    let op = match r.size(0, 2) {
        0 => Op::AveragePool { pool, count_padding: false },
        1 => Op::AveragePool { pool, count_padding: true },
        _ => Op::MaxPool(pool),
    };
    b.node(op, &[x], "pool").unwrap()
}

/// What a program gives on a path with so many threads.
pub fn run(program: &Program, image: &Tensor, backend: impl Into<Backend>, threads: usize) -> Vec<f32> {
    let module = Module::new(program.clone(), Functions::default()).unwrap();
    let session = module.session(SessionOptions::default().backend(backend).threads(threads)).unwrap();
    let array = ndarray::ArrayD::from_shape_vec(image.shape(), image.as_f32().unwrap().to_vec()).unwrap();
    let outputs = session.run(&[("image", array.view())]).unwrap();
    match &outputs[0].1 {
        Output::F32(array) => array.iter().copied().collect(),
        other => panic!("{other:?}"),
    }
}

fn check(seed: u64, mode: Mode, scale: Scale, samples: usize) {
    let graph = network(seed);
    let options = Options { ternarise: mode, scale, ..Options::default() };
    let compiler = Compiler::builder().passes(options).build().unwrap();
    let compiled = compiler.compile(graph, &mut |_, _| {}).unwrap();
    let input = compiled.graph.inputs()[0].value;
    let shape: Vec<usize> =
        compiled.graph.ty(input).shape.iter().map(|d| d.as_size().unwrap_or(samples)).collect();
    let image = Random(seed ^ 1).tensor(&shape);
    let inputs = BTreeMap::from([("image".to_owned(), image.clone())]);
    let expected = twnc_ir::eval::evaluate(&compiled.graph, &inputs).unwrap();
    let Data::F32(expected) = expected["y"].data() else { panic!("an output is f32") };
    let range = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
    let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    for backend in Backend::available() {
        let found = run(&compiled.program, &image, backend, 1);
        assert_eq!(expected.len(), found.len());
        for (i, (e, f)) in expected.iter().zip(&found).enumerate() {
            let allowed = 1e-4 * range + 1e-3 * e.abs();
            assert!((e - f).abs() <= allowed, "seed {seed} {backend:?}: element {i} is {f}, not {e}");
        }
        if backend != Backend::Interpreter {
            let threaded = bits(run(&compiled.program, &image, backend, 3));
            assert_eq!(bits(found), threaded, "seed {seed} {backend:?}: three threads give other bytes");
        }
    }
    let again = Program::from_bytes(&compiled.program.to_bytes()).unwrap();
    assert_eq!(again, compiled.program, "seed {seed}: the file holds another program");
}

fn scales() -> impl Strategy<Value = Scale> {
    prop_oneof![Just(Scale::Layer), Just(Scale::Channel), (1usize..40).prop_map(Scale::Group)]
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn ternary_programs_compute_what_their_graph_does(seed: u64, scale in scales(), samples in 1usize..4) {
        check(seed, Mode::All, scale, samples);
    }

    #[test]
    fn float_programs_compute_what_their_graph_does(seed: u64, samples in 1usize..3) {
        check(seed, Mode::None, Scale::Layer, samples);
    }
}

/// Networks that were once computed wrong.
#[test]
fn bugs_that_were_found() {
    // A float 1x1 convolution of a 1x1 image took the samples of a batch for positions.
    check(1_503_183_730_812_222_188, Mode::None, Scale::Layer, 2);
}
