//! libFuzzer on the reader of tunings.

#![no_main]

use libfuzzer_sys::fuzz_target;
use testsuite::fuzz::Target;

fuzz_target!(|bytes: &[u8]| {
    Target::Tuning.run(bytes);
});
