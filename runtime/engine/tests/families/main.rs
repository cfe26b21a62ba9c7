//! Every family of generated code against the interpreter, on random shapes: integers and what is exact bit for bit, sums of floats within
//! the bound that holds for any order of their additions.
//!
//! A family is a kind of layer. Of each a line is printed: the kind of code, the family, its shapes, the numbers compared, the largest error (1 is the
//! bound), a checksum of what the interpreter gave, on which machines agree, and the kernels that were taken, with how often. `TWNC_SHAPES` is how
//! many shapes are drawn (an emulated processor of another kind is a use for many: docs/portability.md), `TWNC_ISA` the kind of code, without
//! which it is every one that the machine has.

#![forbid(unsafe_code)]

mod draw;
mod layers;

use draw::{Agreement, Case, Random};
use std::collections::BTreeMap;
use twnc_program::interpret::Functions;
use twnc_runtime::{Backend, Isa, Module, Output, SessionOptions};

/// Shapes of each family, unless `TWNC_SHAPES` says another number.
const SHAPES: u64 = 3;

/// Of so many shapes of a family some take the kernels that the family is there for.
const MANY: u64 = 20;

/// Words of a kernel's description, the more telling first, and what kind of kernel it is then.
const KERNELS: [(&str, &str); 19] = [
    ("pooled in bands", "pooled in bands"),
    ("tables in registers", "tables in registers"),
    ("scalar tables", "scalar tables"),
    ("masked rows", "tables of masked rows"),
    ("; rows,", "tables of rows"),
    (" bands, ", "tables of bands"),
    ("; flat,", "flat tables"),
    ("direct", "shifted rows"),
    ("lanes of channels", "lanes of channels"),
    ("im2col", "im2col"),
    ("float: pointwise", "im2col"),
    ("products of", "products"),
    ("map", "map"),
    ("softmax", "softmax"),
    ("transpose", "transpose"),
    ("in registers", "windows in registers"),
    ("then windows", "rows, then windows"),
    (", in ", "quantize, laid out"),
    ("quantize", "quantize"),
];

/// The kinds of code, with all of which a program gives what it should.
fn kinds() -> Vec<Isa> {
    match std::env::var("TWNC_ISA") {
        Err(_) => Isa::available().collect(),
        Ok(word) => Isa::available().filter(|isa| isa.name() == word).collect(),
    }
}

/// What was found about the shapes of a family.
#[derive(Default)]
struct Found {
    numbers: usize,
    /// The largest error, of what is allowed.
    worst: f64,
    checksum: u64,
    /// How many kernels of each kind.
    kernels: BTreeMap<&'static str, usize>,
}

impl Found {
    /// Runs a case by the interpreter and by generated code, and compares.
    fn compare(&mut self, case: &Case, isa: Isa) {
        let module = Module::new(case.program.clone(), Functions::default()).expect("a valid program");
        let inputs = case.named();
        let run = |module: &Module, options: SessionOptions, inputs: &[_]| {
            module.session(options).expect("a session").run(inputs).expect("a run")
        };
        let interpreter = SessionOptions::default().backend(Backend::Interpreter);
        let expected = run(&module, interpreter.clone(), &inputs);
        let options = SessionOptions::default().backend(isa).threads(case.threads);
        let session = module.session(options).expect("a session");
        let shapes: Vec<Vec<usize>> = case.inputs.iter().map(|x| x.shape().to_vec()).collect();
        for report in session.plan(&shapes).expect("a plan") {
            self.count(&report.kernel);
        }
        let found = session.run(&inputs).expect("a run");
        let bounds = match case.agreement {
            Agreement::Sums { terms } => {
                let magnitudes = case.magnitudes();
                let module =
                    Module::new(magnitudes.program.clone(), Functions::default()).expect("it is valid");
                let sums = run(&module, interpreter, &magnitudes.named());
                let unit = f64::from(f32::EPSILON) / 2.0;
                // A rounding for each term, and a few of the epilogue, of numbers that are not larger than this.
                floats(&sums[0].1).into_iter().map(|sum| (terms + 8) as f64 * unit * f64::from(sum)).collect()
            }
            Agreement::Units(units) => {
                let unit = |x: f32| f64::from(x.abs().max(f32::MIN_POSITIVE)) * f64::from(f32::EPSILON);
                floats(&expected[0].1).into_iter().map(|x| f64::from(units) * unit(x)).collect()
            }
            Agreement::Bits | Agreement::Numbers => vec![],
        };
        for ((_, want), (_, got)) in expected.iter().zip(&found) {
            let (want, got) = (floats(want), floats(got));
            assert_eq!(want.len(), got.len());
            self.numbers += want.len();
            for (i, (&want, &got)) in want.iter().zip(&got).enumerate() {
                let same = match case.agreement {
                    Agreement::Bits => want.to_bits() == got.to_bits(),
                    _ => want == got,
                };
                let error = if same || (want.is_nan() && got.is_nan()) {
                    0.0
                } else {
                    let bound = bounds.get(i).copied().unwrap_or(0.0);
                    (f64::from(got) - f64::from(want)).abs() / bound
                };
                assert!(error <= 1.0, "number {i}: {got:e} for {want:e} by {isa:?} in {case:?}");
                self.worst = self.worst.max(error);
                if case.agreement.is_the_same_everywhere() {
                    let bits = if want.is_nan() { 1 } else { u64::from(want.to_bits()) };
                    self.checksum = (self.checksum ^ bits).wrapping_mul(0x0000_0100_0000_01B3);
                }
            }
        }
    }

    /// Counts the kernels that a step takes.
    fn count(&mut self, words: &str) {
        // Several planes have one each.
        for part in words.split(" + ").filter(|part| *part != "with the next step") {
            let kernel = KERNELS.iter().find(|(telling, _)| part.contains(telling));
            let kernel = kernel.unwrap_or_else(|| panic!("no kernel: {words}"));
            *self.kernels.entry(kernel.1).or_default() += 1;
        }
    }
}

/// The numbers of an output, whatever they are.
fn floats(output: &Output) -> Vec<f32> {
    match output {
        Output::F32(array) => array.iter().copied().collect(),
        Output::I16(array) => array.iter().map(|&x| f32::from(x)).collect(),
        other => panic!("{other:?}"),
    }
}

/// Checks a family of ternary sums, of floats and of integers.
fn check_sums(family: &str, takes: &[&str], draw: fn(&mut Random, bool) -> Case) {
    check(&format!("{family} of floats"), takes, |random| draw(random, false));
    check(&format!("{family} of integers"), takes, |random| draw(random, true));
}

/// Checks a family by every kind of code. Portable code takes some of these kernels.
fn check(family: &str, takes: &[&str], draw: impl Fn(&mut Random) -> Case) {
    let shapes = std::env::var("TWNC_SHAPES").map_or(SHAPES, |n| n.parse().expect("a number of shapes"));
    for isa in kinds() {
        let mut found = Found::default();
        for shape in 0..shapes {
            found.compare(&draw(&mut Random::new(shape)), isa);
        }
        let Found { numbers, worst, checksum, kernels } = found;
        // Plans depend on the machine's caches: of few shapes none may take the kernel.
        let certain = isa == Isa::Portable && shapes >= MANY;
        let taken = !certain || kernels.keys().any(|kernel| takes.contains(kernel));
        assert!(taken, "{family}: {kernels:?}, not {takes:?}");
        let kernels: Vec<String> =
            kernels.iter().map(|(kernel, count)| format!("{kernel} {count}")).collect();
        println!(
            "{:8} {:32} {shapes:5} {numbers:10} {worst:7.3}  {checksum:016x}  {}",
            isa.name(),
            family.replace('_', " "),
            kernels.join(", ")
        );
    }
}
