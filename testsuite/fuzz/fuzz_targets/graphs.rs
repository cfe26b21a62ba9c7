//! libFuzzer on random graphs, by their seeds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use testsuite::graphs;

fuzz_target!(|seed: u64| {
    if let Err(difference) = graphs::check_seed(seed) {
        panic!("the graph of seed {seed}: {difference}");
    }
});
