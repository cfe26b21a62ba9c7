//! libFuzzer on the reader of .npy arrays.

#![no_main]

use libfuzzer_sys::fuzz_target;
use testsuite::fuzz::Target;

fuzz_target!(|bytes: &[u8]| {
    Target::Npy.run(bytes);
});
