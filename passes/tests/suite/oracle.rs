//! Runs passes by name and compares graphs by evaluating both on the same random inputs.

use std::collections::BTreeMap;
use twnc_ir::eval::evaluate_observed;
use twnc_ir::{CountingCost, Data, Graph, PassContext, Remark, RunOptions, Tensor, evaluate, text};
use twnc_passes::{Options, default_pipeline};
use twnc_random::Random;

/// Tensors by the names of inputs or outputs.
pub type Tensors = BTreeMap<String, Tensor>;

/// Normal, mean 0 and variance 1 (Box and Muller): the tails of `Random::normal`, which is a sum, are too short for the theory of thresholds.
pub fn normal(random: &mut Random) -> f32 {
    let (u, v) = (f64::from(random.uniform(1e-7, 1.0)), f64::from(random.uniform(0.0, 1.0)));
    ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
}

/// What a run of passes did.
pub struct Outcome {
    pub remarks: Vec<Remark>,
    pub edits: usize,
}

impl Outcome {
    /// The remarks, one a line: `pass: layer: message`.
    pub fn lines(&self) -> String {
        let line = |r: &Remark| format!("{}: {}: {}\n", r.pass, r.node, r.message);
        self.remarks.iter().map(line).collect()
    }
}

/// Runs passes of the default pipeline: those named, or all. The graph is verified after each.
pub fn run(graph: &mut Graph, passes: &[&str], options: &Options) -> Outcome {
    let mut pipeline = default_pipeline(options).unwrap();
    if !passes.is_empty() {
        pipeline = pipeline.select(&passes.iter().map(|&p| p.to_owned()).collect::<Vec<_>>()).unwrap();
    }
    let mut cx = PassContext::new(&CountingCost);
    let verify = RunOptions { verify: true, ..RunOptions::default() };
    let timings = pipeline.run(graph, &mut cx, &verify, &mut |_, _| {}).unwrap();
    Outcome { remarks: cx.into_remarks(), edits: timings.iter().map(|t| t.edits).sum() }
}

/// The outputs on random inputs; every open dimension is 2.
pub fn outputs(graph: &Graph, seed: u64) -> Tensors {
    evaluate(graph, &inputs(graph, seed)).unwrap()
}

pub fn inputs(graph: &Graph, seed: u64) -> Tensors {
    let mut random = Random::new(seed);
    let inputs = graph.inputs().iter().map(|port| {
        let shape = graph.ty(port.value).shape.iter().map(|dim| dim.eval(&|_| Some(2)).unwrap() as usize);
        let shape: Vec<usize> = shape.collect();
        let values = random.floats(shape.iter().product(), -2.0, 2.0);
        (port.name.clone(), Tensor::from_f32(shape, values).unwrap())
    });
    inputs.collect()
}

/// Asserts that two graphs compute the same bits (every NaN counts as the same), also where inputs are ±0, infinite or NaN.
pub fn assert_identical(before: &Graph, after: &Graph, inputs: &Tensors) {
    const SPECIAL: [f32; 5] = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let mut random = Random::new(1);
    let inputs = inputs.iter().map(|(name, tensor)| {
        let special = |&x: &f32| SPECIAL.get(random.below(64)).copied().unwrap_or(x);
        let tensor = match tensor.as_f32() {
            Some(x) => Tensor::from_f32(tensor.shape().to_vec(), x.iter().map(special).collect()).unwrap(),
            None => tensor.clone(),
        };
        (name.clone(), tensor)
    });
    let inputs = inputs.collect();
    let bits = |graph: &Graph| -> Vec<Tensor> {
        let bits = |x: &f32| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() };
        let of = |tensor: Tensor| match tensor.as_f32() {
            Some(x) => {
                let bits = x.iter().map(|x| bits(x) as i32).collect();
                Tensor::new(tensor.shape().to_vec(), Data::I32(bits)).unwrap()
            }
            None => tensor,
        };
        evaluate(graph, &inputs).unwrap().into_values().map(of).collect()
    };
    assert!(bits(before) == bits(after), "{}\nbecame\n{}", text::print_full(before), text::print_full(after));
}

/// Asserts that two graphs compute the same on random inputs; every open dimension is 2.
pub fn assert_same(before: &Graph, after: &Graph) {
    for seed in 0..2 {
        assert_close(before, after, &inputs(before, seed));
    }
}

/// Asserts that two graphs compute the same, to `1e-5` of each output's range and four roundings of the largest value on the way there: a sum that
/// nearly cancels is as exact as what it is a sum of. What is no float is equal.
pub fn assert_close(before: &Graph, after: &Graph, inputs: &Tensors) {
    let mut largest = 0f32;
    let expected = evaluate_observed(before, inputs, &mut |_, value| {
        let finite = value.as_f32().unwrap_or(&[]).iter().filter(|x| x.is_finite());
        largest = finite.fold(largest, |largest, x| largest.max(x.abs()));
    });
    for ((name, a), (other, b)) in expected.unwrap().iter().zip(&evaluate(after, inputs).unwrap()) {
        assert_eq!((name, a.shape()), (other, b.shape()));
        let (Some(a), Some(b)) = (a.as_f32(), b.as_f32()) else {
            assert_eq!(a, b, "`{name}`");
            continue;
        };
        let range = a.iter().fold(1e-6f32, |range, x| range.max(x.abs()));
        for (i, (x, y)) in a.iter().zip(b).enumerate() {
            let close = x == y
                || (x.is_nan() && y.is_nan())
                || (x - y).abs() <= 1e-5 * range + 4.0 * f32::EPSILON * largest;
            assert!(close, "element {i} of `{name}` was {x} and is {y}");
        }
    }
}
