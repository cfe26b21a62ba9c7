//! Readers and what must not break them.
//!
//! A [`Target`] is a reader with what must hold behind it: whatever the bytes, there is a result or an error, never a panic, and what was read
//! survives being written and read again. [`Run`] gives it mutations of seeds, the same for the same seed, on any toolchain. The targets in
//! `testsuite/fuzz` give the same bodies to libFuzzer, which looks for inputs that reach further, from `testsuite/fuzz/seeds`.

mod arrays;
mod mutate;
mod targets;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use twnc_random::Random;

pub use targets::Target;

/// So many executions of a target.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The reader.
    pub target: Target,
    /// How many.
    pub executions: u64,
    /// Another seed gives other mutations.
    pub seed: u64,
}

/// What a run saw.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Inputs that the reader took.
    pub accepted: u64,
    /// The longest execution, and its input.
    pub slowest: (Duration, Vec<u8>),
    /// The most memory that an execution took, in bytes, and its input; as far as the caller measures.
    pub largest: (usize, Vec<u8>),
    /// An input that made the target panic, and what it said.
    pub failure: Option<(Vec<u8>, String)>,
}

impl Run {
    /// Executes; ends at the first failure. `memory` is called before an execution, when it begins to count, and behind it, when it says how
    /// many bytes it was at the most.
    pub fn execute(&self, memory: &mut dyn FnMut() -> usize) -> Outcome {
        let seeds = self.target.seeds();
        let mut random = Random::new(self.seed);
        let mut outcome = Outcome::default();
        for number in 0..self.executions {
            // Seeds themselves come first.
            let input = match seeds.get(number as usize) {
                Some(seed) => seed.clone(),
                None => mutate::mutate(&seeds, &mut random),
            };
            memory();
            let start = Instant::now();
            let result = catch_unwind(AssertUnwindSafe(|| self.target.run(&input)));
            let (time, bytes) = (start.elapsed(), memory());
            outcome.accepted += u64::from(matches!(result, Ok(true)));
            if time > outcome.slowest.0 {
                outcome.slowest = (time, input.clone());
            }
            if bytes > outcome.largest.0 {
                outcome.largest = (bytes, input.clone());
            }
            if let Err(panic) = result {
                outcome.failure = Some((input, message(&*panic)));
                break;
            }
        }
        outcome
    }
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A seed that cannot be read is a failure of the test.

    use super::{Run, Target};
    use std::path::Path;

    /// Few executions of each; `testsuite fuzz` makes as many as one likes.
    #[test]
    fn no_reader_breaks() {
        for target in Target::ALL {
            let run = Run { target, executions: 3_000, seed: 1 };
            let outcome = run.execute(&mut || 0);
            assert!(outcome.failure.is_none(), "{target}: {:?}", outcome.failure);
            assert!(outcome.accepted >= target.seeds().len() as u64, "{target} does not take its seeds");
        }
    }

    /// libFuzzer has every reader, and begins with what it takes.
    #[test]
    fn every_reader_has_a_target_and_seeds() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
        for target in Target::ALL {
            let source = std::fs::read_to_string(root.join(format!("fuzz_targets/{target}.rs"))).unwrap();
            assert!(source.contains(&format!("Target::{target:?}.run")), "{target}");
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
            let seeds = root.join("seeds").join(target.name()).read_dir().unwrap();
            let accepted = seeds.filter(|seed| {
                let path = seed.as_ref().unwrap().path();
                assert!(target.run(&std::fs::read(&path).unwrap()), "{} is not accepted", path.display());
                true
            });
            assert!(accepted.count() > 0, "{target} has no seeds");
        }
    }

    #[test]
    fn a_seed_gives_the_same_inputs() {
        let run = |seed| Run { target: Target::Rules, executions: 200, seed }.execute(&mut || 0).accepted;
        assert_eq!(run(7), run(7));
    }
}
