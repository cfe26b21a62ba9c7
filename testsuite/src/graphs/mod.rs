//! Random graphs, and what must hold of each.
//!
//! [`check`] holds three oracles against one another: what the compiled program computes is what the evaluator does, what passes leave is what was
//! there, and a program from a file computes the bytes that the program itself does. [`check_seed`] draws the graph, and [`Run`] checks many.

mod oracles;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use twnc_passes::Scale;
use twnc_random::{Vocabulary, graph};

pub use oracles::check;

/// Graphs of so many seeds, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// How many.
    pub executions: u64,
    /// The first seed.
    pub seed: u64,
}

/// What a run saw.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Graphs that were checked.
    pub graphs: u64,
    /// Nodes of all graphs.
    pub nodes: usize,
    /// The longest check, and its seed.
    pub slowest: (Duration, u64),
    /// The most memory that a check took, in bytes, and its seed; as far as the caller measures.
    pub largest: (usize, u64),
    /// A seed of whose graph something does not hold, and what.
    pub failure: Option<(u64, String)>,
}

impl Run {
    /// Checks; ends at the first failure. `memory` is called before a check, when it begins to count, and behind it, when it says how many bytes
    /// it was at the most; `progress` behind it, with what the run saw so far.
    pub fn execute(&self, memory: &mut dyn FnMut() -> usize, progress: &mut dyn FnMut(&Outcome)) -> Outcome {
        let mut outcome = Outcome::default();
        for seed in (self.seed..).take(usize::try_from(self.executions).unwrap_or(usize::MAX)) {
            memory();
            let start = Instant::now();
            let result = catch_unwind(AssertUnwindSafe(|| check_seed(seed)));
            let (time, bytes) = (start.elapsed(), memory());
            if time > outcome.slowest.0 {
                outcome.slowest = (time, seed);
            }
            if bytes > outcome.largest.0 {
                outcome.largest = (bytes, seed);
            }
            match result {
                Ok(Ok(nodes)) => outcome.nodes += nodes,
                Ok(Err(difference)) => outcome.failure = Some((seed, difference)),
                Err(panic) => {
                    outcome.failure = Some((seed, format!("panicked: {}", crate::fuzz::message(&*panic))));
                }
            }
            outcome.graphs += 1;
            progress(&outcome);
            if outcome.failure.is_some() {
                break;
            }
        }
        outcome
    }
}

/// Draws the graph of a seed, each fourth of what networks are made of, and checks it with a scale for each layer, channel or group of weights. How
/// many nodes it has.
///
/// # Errors
/// What does not hold.
pub fn check_seed(seed: u64) -> Result<usize, String> {
    let vocabulary = if seed.is_multiple_of(4) { Vocabulary::Networks } else { Vocabulary::All };
    let scale = match seed % 3 {
        0 => Scale::Layer,
        1 => Scale::Channel,
        _ => Scale::Group(1 + (seed % 40) as usize),
    };
    let sample = graph(seed, vocabulary);
    check(&sample.graph, &sample.inputs, scale)?;
    Ok(sample.graph.node_ids().count())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A case that cannot be read is a failure of the test.

    use super::{Run, check};
    use std::collections::{BTreeMap, BTreeSet};
    use twnc_ir::{CustomRegistry, Data, ElementType, Tensor, text};
    use twnc_passes::Scale;
    use twnc_random::{Random, Vocabulary, graph};

    /// Few graphs: more are in the tests of `twnc`, and `testsuite fuzz graphs` makes as many as one likes.
    #[test]
    fn what_must_hold_of_graphs_holds() {
        let outcome = Run { executions: 30, seed: 1 }.execute(&mut || 0, &mut |_| {});
        assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    }

    /// The generator is worth something only as long as it makes every operator.
    #[test]
    fn every_operator_is_among_them() {
        let mut words = BTreeSet::new();
        let mut nodes = 0;
        for seed in 0..1_000 {
            let graph = graph(seed, Vocabulary::All).graph;
            words.extend(graph.node_ids().map(|id| graph.node(id).op.mnemonic()));
            nodes += graph.node_ids().count();
        }
        assert_eq!(words.len(), 56, "{words:?}");
        assert!(nodes > 10_000, "only {nodes} nodes");
    }

    /// Of what something did not hold once.
    #[test]
    fn bugs_that_were_found() {
        // Functions of integers of 8 and 16 bits had no program; a product of rows of one integer asked for planes of an image; a float 1x1
        // convolution of an image of one element took the samples of a batch for positions.
        let cases = [
            r#"graph "narrow" (%0 "a": i8[N,3], %1 "b": u8[N,3], %2 "c": i16[N,3]) -> (%3 "neg", %4 "abs", %5 "relu") {
  %3 = neg(%0) : i8[N,3]
  %4 = abs(%1) : u8[N,3]
  %5 = relu(%2) : i16[N,3]
}"#,
            r#"graph "rows" (%0 "x": f32[N,1]) -> (%6 "y") {
  %1 = const ternary[1,4] "w" [1, 0, -1, 1]
  %2, %3 = quantize(%0) {bits=8, signed=true} : i16[N,1], f32[N,1]
  %4 = matmul(%2, %1) : i32[N,4]
  %5 = cast(%4) {to=f32} : f32[N,4]
  %6 = mul(%5, %3) : f32[N,4]
}"#,
            r#"graph "point" (%0 "x": f32[N,3,1,1]) -> (%2 "y") {
  %1 = const f32[2,3,1,1] "w" [0.5, -1.25, 0.75, 0.3, 2.0, -0.1]
  %2 = conv(%0, %1) : f32[N,2,1,1]
}"#,
        ];
        let mut random = Random::new(1);
        for case in cases {
            let graph = text::parse(case, &CustomRegistry::default()).unwrap();
            let inputs = graph.inputs().iter().map(|port| {
                let ty = graph.ty(port.value);
                let shape: Vec<usize> = ty.shape.iter().map(|size| size.as_size().unwrap_or(2)).collect();
                let mut below = |n: usize| random.below(n) as i64 - (n / 2) as i64;
                let count = shape.iter().product();
                let data = match ty.element {
                    ElementType::I8 => Data::I8((0..count).map(|_| below(256) as i8).collect()),
                    ElementType::U8 => Data::U8((0..count).map(|_| below(256) as u8).collect()),
                    ElementType::I16 => Data::I16((0..count).map(|_| below(1 << 16) as i16).collect()),
                    _ => Data::F32((0..count).map(|_| below(17) as f32 / 8.0).collect()),
                };
                (port.name.clone(), Tensor::new(shape, data).unwrap())
            });
            let inputs: BTreeMap<_, _> = inputs.collect();
            for scale in [Scale::Layer, Scale::Group(2)] {
                assert_eq!(check(&graph, &inputs, scale), Ok(()), "{case}");
            }
        }
    }
}
