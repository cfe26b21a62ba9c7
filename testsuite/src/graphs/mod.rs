//! Random networks of every operator of a graph, and what must hold of each.
//!
//! [`random`] makes a valid graph, a function of its seed: shapes are solved forward, sizes of inputs may be open, and values have several readers.
//! [`check`] holds three oracles against one another: what the compiled program computes is what the evaluator does, what passes leave is what was
//! there, and a program from a file computes the bytes that the program itself does. [`Run`] checks many.

mod generator;
mod operators;
mod oracles;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

pub use generator::{Sample, random};
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
    /// it was at the most.
    pub fn execute(&self, memory: &mut dyn FnMut() -> usize) -> Outcome {
        let mut outcome = Outcome::default();
        for seed in (self.seed..).take(usize::try_from(self.executions).unwrap_or(usize::MAX)) {
            memory();
            let start = Instant::now();
            let result = catch_unwind(AssertUnwindSafe(|| {
                let sample = random(seed);
                (sample.graph.node_ids().count(), check(&sample))
            }));
            let (time, bytes) = (start.elapsed(), memory());
            if time > outcome.slowest.0 {
                outcome.slowest = (time, seed);
            }
            if bytes > outcome.largest.0 {
                outcome.largest = (bytes, seed);
            }
            match result {
                Ok((nodes, Ok(()))) => outcome.nodes += nodes,
                Ok((_, Err(difference))) => outcome.failure = Some((seed, difference)),
                Err(panic) => {
                    outcome.failure = Some((seed, format!("panicked: {}", crate::fuzz::message(&*panic))));
                }
            }
            if outcome.failure.is_some() {
                break;
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::{Run, check, random};
    use std::collections::BTreeSet;

    /// Few graphs; `testsuite fuzz graphs` makes as many as one likes.
    #[test]
    fn what_must_hold_of_graphs_holds() {
        let outcome = Run { executions: 150, seed: 1 }.execute(&mut || 0);
        assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    }

    /// The generator is worth something only as long as it makes every operator.
    #[test]
    fn every_operator_is_among_them() {
        let mut words = BTreeSet::new();
        let mut nodes = 0;
        for seed in 0..1_000 {
            let graph = random(seed).graph;
            words.extend(graph.node_ids().map(|id| graph.node(id).op.mnemonic()));
            nodes += graph.node_ids().count();
        }
        assert_eq!(words.len(), 56, "{words:?}");
        assert!(nodes > 10_000, "only {nodes} nodes");
    }

    /// Seeds of which something did not hold once: functions of integers of 8 and 16 bits had no program; a product of rows of one integer asked
    /// for planes of an image.
    #[test]
    fn bugs_that_were_found() {
        for seed in [1361, 2075, 367] {
            assert_eq!(check(&random(seed)), Ok(()), "seed {seed}");
        }
    }
}
