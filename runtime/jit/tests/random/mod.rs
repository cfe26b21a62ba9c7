//! How many random cases a test runs.

use proptest::test_runner::Config;

/// So many, or what the environment says in `PROPTEST_CASES`.
pub fn cases(usual: u32) -> Config {
    let given = Config::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { given.cases } else { usual };
    // Shapes that do not fit are drawn again, whatever their number is.
    Config { cases, max_local_rejects: u32::MAX, max_global_rejects: u32::MAX, ..given }
}
