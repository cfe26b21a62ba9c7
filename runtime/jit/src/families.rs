//! What portable code is, family by family, on every kind of processor whose code this crate can read: code that calls nothing, sums without a
//! multiplication; and, as snapshots, what Cranelift is given for a small kernel of each, which is the same on all of them.
//!
//! docs/portability.md says how these tests are run by an emulator.

use crate::accumulate::code::{self, Accumulate, AccumulateScalars, Build, BuildScalars, Into, Tile, Widen};
use crate::accumulate::shifted::{Shifted, Spread};
use crate::accumulate::{AccumulateSpec, IntegerRange, PlaneSpec};
use crate::compile::Function;
use crate::epilogue::Epilogue;
use crate::error::JitError;
use crate::finish::Finishing;
use crate::float::{ConvSpec, MatMulSpec, Source, product};
use crate::kernel::Kernel;
use crate::machine::Element;
use crate::map::MapSpec;
use crate::measure::Measured;
use crate::pool::PoolSpec;
use crate::{Isa, Jit};
use std::sync::Arc;
use twnc_program::BufferId;
use twnc_program::constant::Trits;
use twnc_program::scalar::{Binary, Unary};
use twnc_program::step::{Contraction, MapInstruction, PoolKind, Quantize};
use twnc_program::window::Window;

/// Integers of 8 bits.
const RANGE: IntegerRange = IntegerRange { largest: 127, signed: true };

/// A generator of portable code that has made no function yet.
fn jit() -> Jit {
    Jit::new(Isa::Portable).unwrap()
}

fn window(kernel: usize, stride: usize, pad: usize) -> Window {
    let two = |n| vec![n; 2];
    Window {
        kernel: two(kernel),
        strides: two(stride),
        dilations: two(1),
        pads_begin: two(pad),
        pads_end: two(pad),
    }
}

fn convolution(kernel: usize, stride: usize, groups: usize) -> Contraction {
    Contraction::Window { window: window(kernel, stride, kernel / 2), groups }
}

/// A layer whose sums are scaled, get a bias and are measured, by the plan of a rank. `planes` planes of one input share its tables.
fn sums(
    jit: &Jit,
    input: &[usize],
    weight_shape: &[usize],
    contraction: &Contraction,
    integers: Option<IntegerRange>,
    [planes, rank]: [usize; 2],
) -> Box<dyn Kernel> {
    let trits: Vec<i8> = (0..weight_shape.iter().product()).map(|i: usize| (i * 7 % 3) as i8 - 1).collect();
    let weight = Trits::pack(&trits).unwrap();
    let outputs = if *contraction == Contraction::MatMul { weight_shape[1] } else { weight_shape[0] };
    let bias = vec![0.5; outputs];
    let plane = PlaneSpec {
        scale: Some(&[0.25]),
        integers,
        input_scale: integers.is_some(),
        ..PlaneSpec::new(input, weight_shape, &weight, contraction)
    };
    let spec = AccumulateSpec {
        bias: Some(&bias),
        residual: rank % 2 == 1,
        activation: [None, Some(Unary::Relu), Some(Unary::HardSwish), Some(Unary::Tanh)][rank % 4],
        measured: [None, Some(Measured::Numbers), Some(Measured::Magnitudes)][rank % 3],
        rank,
        ..AccumulateSpec::new(vec![plane; planes])
    };
    Box::new(jit.accumulate(&spec).unwrap())
}

/// Shapes of the input and of the weight.
type Layer = (&'static [usize], &'static [usize], Contraction);

/// Small layers, one for each kind of ternary sums.
fn layers() -> [Layer; 6] {
    [
        (&[1, 6, 9, 9], &[12, 6, 3, 3], convolution(3, 1, 1)),
        (&[1, 8, 5, 8], &[16, 8, 1, 1], convolution(1, 1, 1)),
        (&[1, 1, 19, 19], &[8, 1, 5, 5], convolution(5, 2, 1)),
        (&[1, 3, 6, 6], &[3, 1, 3, 3], convolution(3, 1, 3)),
        (&[1, 12], &[12, 9], Contraction::MatMul),
        (&[20, 12], &[12, 9], Contraction::MatMul),
    ]
}

/// A pool with a scale, or without.
fn pool(jit: &Jit, kind: PoolKind, kernel: usize, scaled: bool) -> Box<dyn Kernel> {
    let window = window(kernel, 2, 0);
    let side = window.output_size(0, 13, false).unwrap();
    let epilogue = Epilogue { scale: scaled.then(|| vec![0.5]), ..Epilogue::default() };
    let spec =
        PoolSpec { kind, input: &[1, 2, 13, 13], output: &[1, 2, side, side], window: &window, epilogue };
    Box::new(jit.pool(&spec).unwrap())
}

fn map(jit: &Jit, code: &[MapInstruction]) -> Box<dyn Kernel> {
    let inputs = vec![(&[2, 9][..], Source::Input(0)), (&[9][..], Source::Input(1))];
    Box::new(jit.map(&MapSpec { output: &[2, 9], inputs, code }).unwrap())
}

fn softmax(jit: &Jit) -> Box<dyn Kernel> {
    Box::new(jit.softmax(&[2, 9], &[1]).unwrap())
}

fn matrices(jit: &Jit) -> Box<dyn Kernel> {
    let (left, right) = (Source::Input(0), Source::Input(1));
    let (left_shape, right_shape) = (&[7, 5][..], &[5, 9][..]);
    let epilogue = Epilogue::default();
    Box::new(jit.matmul(&MatMulSpec { left_shape, left, right_shape, right, epilogue }).unwrap())
}

fn quantize(jit: &Jit) -> Box<dyn Kernel> {
    let [input, integers, scales] = [0, 1, 2].map(BufferId);
    let step = Quantize { input, bits: 8, signed: true, scale: None, outputs: [integers, scales] };
    Box::new(jit.quantize(&step, &[2, 30], None, false).unwrap())
}

/// What Cranelift was given for the functions that `make` makes.
fn written<T>(make: impl FnOnce(&Jit) -> T) -> String {
    let jit = jit();
    make(&jit);
    let written = jit.compiler.written.lock().unwrap();
    written.iter().map(|(name, text)| format!("; {name}\n{text}\n")).collect()
}

/// The functions of sums are the smallest of their kind, whatever plans would take: those depend on the machine's caches.
#[test]
fn what_cranelift_is_given() {
    for (name, element, lanes) in [("f32", Element::F32, 4), ("i16", Element::I16, 8)] {
        let function = |family: &str, code: &dyn Fn(&Jit) -> Result<Arc<Function>, JitError>| {
            insta::assert_snapshot!(format!("{family}_{name}"), written(|jit| code(jit).unwrap()));
        };
        let tile = Tile { element, lanes, rows: 1, vectors: 2, pitch: 2 * lanes };
        let into = match element {
            Element::F32 => Into::Sums,
            Element::I16 => Into::Totals { fresh: false },
        };
        let build = Build {
            element,
            lanes,
            group: 2,
            entry: tile.pitch,
            pitch: tile.pitch,
            source: code::Source::Whole,
        };
        function("build", &|jit| jit.compiler.function(&build));
        let accumulate = Accumulate { tile, lookups: 2, fresh: false, into };
        function("accumulate", &|jit| jit.compiler.function(&accumulate));
        function("build_scalars", &|jit| jit.compiler.function(&BuildScalars { element, group: 2 }));
        function("accumulate_scalars", &|jit| jit.compiler.function(&AccumulateScalars { element }));
        let finish = Some(Finishing { factor: true, bias: true, activation: Some(Unary::Relu) });
        let (pitches, steps) = ([16, 11], [11, 11]);
        let weighted = false;
        let shifted = Shifted { element, lanes, rows: 1, columns: 11, pitches, steps, weighted, finish };
        function("shifted", &|jit| jit.compiler.function(&shifted));
        if element == Element::F32 {
            let weighted = Shifted { weighted: true, ..shifted };
            function("weighted", &|jit| jit.compiler.function(&weighted));
        }
        let spread = Spread { element, vector: 16, count: 11, stride: 2 };
        function("spread", &|jit| jit.compiler.function(&spread));
    }
    insta::assert_snapshot!("widen", written(|jit| jit.compiler.function(&Widen { lanes: 8 }).unwrap()));
    let tile = product::Tile { lanes: 4, rows: 2, vectors: 2 };
    insta::assert_snapshot!("product", written(|jit| jit.compiler.function(&tile).unwrap()));
    let binary = MapInstruction::Binary(Binary::Add, 0, 1);
    insta::assert_snapshot!("map", written(|jit| map(jit, &[binary, MapInstruction::Unary(Unary::Relu, 2)])));
    insta::assert_snapshot!("maxima_in_registers", written(|jit| pool(jit, PoolKind::Max, 2, false)));
    let mean = PoolKind::Average { count_padding: false };
    insta::assert_snapshot!("scaled_means_of_rows", written(|jit| pool(jit, mean, 3, true)));
    insta::assert_snapshot!("quantize", written(quantize));
    insta::assert_snapshot!("softmax", written(softmax));
}

/// All functions of a kernel stand by themselves, and those of sums only add and subtract, as far as this crate can read code.
fn check(jit: &Jit, kernel: &dyn Kernel, sums: bool) {
    assert!(!kernel.functions().is_empty());
    for function in jit.compiler.in_use() {
        let Some(audit) = function.audit() else { continue };
        assert!(audit.instructions > 2, "{}", function.name());
        assert_eq!((audit.calls, audit.invalid), (0, 0), "{}", function.name());
    }
    for function in kernel.functions().iter().filter(|_| sums) {
        let Some(audit) = function.audit() else { continue };
        assert_eq!(audit.multiplications, 0, "{}", function.name());
        // Single integers are added by the instruction that addresses are.
        let single = function.name().contains("Scalars") && function.name().contains("I16");
        assert!(audit.additions > 0 || single, "{}", function.name());
    }
}

#[test]
fn sums_neither_multiply_nor_call() {
    for (input, weight, contraction) in layers() {
        for (integers, planes) in [(None, 1), (Some(RANGE), 1), (None, 2), (Some(RANGE), 2)] {
            for rank in [0, 1, 2, 3, 40] {
                let jit = jit();
                check(&jit, &*sums(&jit, input, weight, &contraction, integers, [planes, rank]), true);
            }
        }
    }
}

#[test]
fn other_kernels_stand_by_themselves() {
    use {Binary as B, Unary as U};
    let unary = [
        U::Relu,
        U::LeakyRelu { slope: 0.1 },
        U::Clip { min: -1.0, max: 2.5 },
        U::HardSigmoid { alpha: 0.2, beta: 0.5 },
        U::HardSwish,
        U::Neg,
        U::Abs,
        U::Sqrt,
        U::Reciprocal,
        U::Floor,
        U::Round,
        U::Exp,
        U::Log,
        U::Tanh,
        U::Sigmoid,
        U::Erf,
    ];
    let binary = [B::Add, B::Sub, B::Mul, B::Div, B::Min, B::Max, B::PRelu, B::Less, B::Equal, B::Keep];
    let unary = unary.map(|function| MapInstruction::Unary(function, 0));
    let binary = binary.map(|function| MapInstruction::Binary(function, 0, 1));
    for isa in Isa::available() {
        for code in unary.into_iter().chain(binary) {
            let jit = Jit::new(isa).unwrap();
            check(&jit, &*map(&jit, &[code]), false);
        }
        let jit = Jit::new(isa).unwrap();
        check(&jit, &*softmax(&jit), false);
    }
    let means = [false, true].map(|count_padding| PoolKind::Average { count_padding });
    for kind in [PoolKind::Max].into_iter().chain(means) {
        for (kernel, scaled) in (1..=9).flat_map(|kernel| [(kernel, false), (kernel, true)]) {
            let jit = jit();
            check(&jit, &*pool(&jit, kind, kernel, scaled), false);
        }
    }
    let jit = jit();
    check(&jit, &*matrices(&jit), false);
    check(&jit, &*quantize(&jit), false);
    let spec = ConvSpec {
        input: &[1, 2, 9, 9],
        weight_shape: &[3, 2, 3, 3],
        weight: Source::Input(1),
        window: &window(3, 1, 1),
        groups: 1,
        epilogue: Epilogue { residual: true, activation: Some(Unary::Sigmoid), ..Epilogue::default() },
    };
    check(&jit, &jit.conv(&spec).unwrap(), false);
}

/// Loads and stores have displacements of their own, and branches a reach: the largest tiles and pitches that plans take.
#[test]
fn large_layers_have_code() {
    let layers: [(&[usize], &[usize], Contraction); 4] = [
        (&[1, 64, 224, 224], &[64, 64, 3, 3], convolution(3, 1, 1)),
        (&[1, 3, 1024, 1024], &[8, 3, 7, 7], convolution(7, 2, 1)),
        (&[1, 8, 300, 3000], &[8, 1, 5, 5], convolution(5, 1, 8)),
        (&[1, 2048, 7, 7], &[512, 2048, 1, 1], convolution(1, 1, 1)),
    ];
    for (input, weight, contraction) in layers {
        for integers in [None, Some(RANGE)] {
            let jit = jit();
            check(&jit, &*sums(&jit, input, weight, &contraction, integers, [1, 0]), false);
        }
    }
}
