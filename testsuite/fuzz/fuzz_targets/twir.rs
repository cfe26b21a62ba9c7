//! libFuzzer on the reader of graphs as text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use testsuite::fuzz::Target;

fuzz_target!(|bytes: &[u8]| {
    Target::Twir.run(bytes);
});
