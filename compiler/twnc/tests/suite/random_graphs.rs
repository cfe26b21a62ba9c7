//! Random graphs through the compiler as a whole, and what the other random tests need: how many cases, and what a program gives on a path.

use proptest::prelude::*;
use testsuite::graphs::check_seed;
use twnc_ir::Tensor;
use twnc_program::Program;
use twnc_program::interpret::Functions;
use twnc_runtime::{Backend, Module, Output, SessionOptions};

/// So many random cases, or what the environment says in `PROPTEST_CASES`.
pub fn cases(usual: u32) -> ProptestConfig {
    let given = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { given.cases } else { usual };
    ProptestConfig { cases, ..given }
}

/// What a program gives on a path with so many threads.
pub fn run(program: &Program, image: &Tensor, backend: impl Into<Backend>, threads: usize) -> Vec<f32> {
    let module = Module::new(program.clone(), Functions::default()).unwrap();
    let session = module.session(SessionOptions::default().backend(backend).threads(threads)).unwrap();
    let array = ndarray::ArrayD::from_shape_vec(image.shape(), image.as_f32().unwrap().to_vec()).unwrap();
    let outputs = session.run(&[("image", array.view())]).unwrap();
    match &outputs[0].1 {
        Output::F32(array) => array.iter().copied().collect(),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(cases(250))]

    /// Every reader gets its value, and every value is the evaluator's: compiled, on every path and from a file, with passes and without.
    #[test]
    fn programs_compute_what_their_graphs_do(seed: u64) {
        prop_assert_eq!(check_seed(seed).err(), None, "seed {}", seed);
    }
}
