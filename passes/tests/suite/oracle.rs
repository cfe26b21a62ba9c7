//! Runs passes by name and compares graphs by evaluating both on the same random inputs.

use std::collections::BTreeMap;
use twnc_ir::eval::evaluate_observed;
use twnc_ir::{CountingCost, Graph, PassContext, Remark, RunOptions, Tensor};
use twnc_passes::{Options, default_pipeline};

/// Numbers that look random and are the same in every run (SplitMix64).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `low..high`.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.bits() >> 40) as f32 / (1u64 << 24) as f32)
    }

    /// Normal, mean 0 and variance 1 (Box and Muller).
    pub fn normal(&mut self) -> f32 {
        let (u, v) = (f64::from(self.uniform(1e-7, 1.0)), f64::from(self.uniform(0.0, 1.0)));
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    }

    pub fn vector(&mut self, len: usize, low: f32, high: f32) -> Vec<f32> {
        (0..len).map(|_| self.uniform(low, high)).collect()
    }
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
pub fn outputs(graph: &Graph, seed: u64) -> BTreeMap<String, Tensor> {
    let mut numbers = Numbers::new(seed);
    outputs_on(graph, || numbers.uniform(-2.0, 2.0)).0
}

/// The outputs, and the largest finite magnitude of all values.
fn outputs_on(graph: &Graph, mut element: impl FnMut() -> f32) -> (BTreeMap<String, Tensor>, f32) {
    let inputs = graph.inputs().iter().map(|port| {
        let shape = graph.ty(port.value).shape.iter().map(|dim| dim.eval(&|_| Some(2)).unwrap() as usize);
        let shape: Vec<usize> = shape.collect();
        let values = (0..shape.iter().product()).map(|_| element()).collect();
        (port.name.clone(), Tensor::from_f32(shape, values).unwrap())
    });
    let inputs = inputs.collect();
    let mut largest = 0f32;
    let outputs = evaluate_observed(graph, &inputs, &mut |_, value| {
        let finite = value.as_f32().unwrap_or(&[]).iter().filter(|x| x.is_finite());
        largest = finite.fold(largest, |largest, x| largest.max(x.abs()));
    });
    (outputs.unwrap(), largest)
}

/// Asserts that two graphs compute the same bits (every NaN counts as the same), also where inputs are ±0, infinite or NaN.
pub fn assert_identical(before: &Graph, after: &Graph) {
    const SPECIAL: [f32; 5] = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let bits = |graph: &Graph| -> Vec<Vec<u32>> {
        let mut numbers = Numbers::new(1);
        let (outputs, _) = outputs_on(graph, || match numbers.bits() as usize % 64 {
            i if i < SPECIAL.len() => SPECIAL[i],
            _ => numbers.uniform(-2.0, 2.0),
        });
        let bits = |x: &f32| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() };
        outputs.values().map(|y| y.as_f32().unwrap().iter().map(bits).collect()).collect()
    };
    assert_eq!(bits(before), bits(after));
}

/// Asserts that two graphs compute the same, to `1e-5` of each output's range and four roundings of the largest value on the way there: a sum that
/// nearly cancels is as exact as what it is a sum of.
pub fn assert_same(before: &Graph, after: &Graph) {
    for seed in 0..2 {
        let mut numbers = Numbers::new(seed);
        let (expected, largest) = outputs_on(before, || numbers.uniform(-2.0, 2.0));
        for ((name, a), (other, b)) in expected.iter().zip(&outputs(after, seed)) {
            assert_eq!((name, a.shape()), (other, b.shape()));
            let (a, b) = (a.as_f32().unwrap(), b.as_f32().unwrap());
            let range = a.iter().fold(1e-6f32, |range, x| range.max(x.abs()));
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                let close = x == y
                    || (x.is_nan() && y.is_nan())
                    || (x - y).abs() <= 1e-5 * range + 4.0 * f32::EPSILON * largest;
                assert!(close, "element {i} of `{name}` was {x} and is {y}");
            }
        }
    }
}
