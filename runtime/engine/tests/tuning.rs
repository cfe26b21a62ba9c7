//! Tunings: a session takes the kernels of its tuning where they are those that were measured, computes the same by them, and finds such tunings.

use twnc_jit::{AccumulateSpec, IntegerRange, Jit, Kernel, PlaneSpec};
use twnc_program::interpret::Functions;
use twnc_program::step::{Accumulate, Contraction, Epilogue, Plane, Quantize, Term};
use twnc_program::{
    Buffer, BufferId, Constant, ConstantData, ConstantId, Dim, ElementType, Port, Program, Step, StepKind,
    Trits, Window,
};
use twnc_runtime::{Backend, Isa, Module, Output, Session, SessionOptions, Tuning};

const SHAPE: [usize; 4] = [2, 32, 12, 12];
const WEIGHT: [usize; 4] = [32, 32, 3, 3];
const F32: &str = "f32 2x32x12x12 by 32x32x3x3 strides 1x1 dilations 1x1 pads 1x1 1x1 groups 1";
const INTEGERS: &str =
    "+-127 2x32x12x12 by 32x32x3x3 strides 1x1 dilations 1x1 pads 1x1 1x1 groups 1 laid out";

fn trits(salt: usize) -> Trits {
    let trits: Vec<i8> = (0..9216).map(|i| ((i * 5 + i * i * salt) % 3) as i8 - 1).collect();
    Trits::pack(&trits).expect("trits")
}

fn contraction() -> Contraction {
    let two = |n| vec![n; 2];
    let (kernel, strides, dilations) = (two(3), two(1), two(1));
    Contraction::Window {
        window: Window { kernel, strides, dilations, pads_begin: two(1), pads_end: two(1) },
        groups: 1,
    }
}

/// Two convolutions that differ in their weights alone, one behind the other, of f32 or of integers of 8 bits.
fn module(integers: bool) -> Module {
    let (mut buffers, mut steps) = (vec![], vec![]);
    let mut buffer = |element, shape: &[usize]| {
        let shape = shape.iter().map(|&n| Dim::Fixed(n as i64)).collect();
        buffers.push(Buffer { element, shape });
        BufferId(buffers.len() as u32 - 1)
    };
    let x = buffer(ElementType::F32, &SHAPE);
    let mut last = x;
    for weight in [ConstantId(0), ConstantId(1)] {
        let (mut input, mut input_scale) = (last, None);
        if integers {
            input = buffer(ElementType::I16, &SHAPE);
            let scale = buffer(ElementType::F32, &[2, 1, 1, 1]);
            let quantize =
                Quantize { input: last, bits: 8, signed: true, scale: None, outputs: [input, scale] };
            steps.push(StepKind::Quantize(quantize));
            input_scale = Some(scale);
        }
        let plane = Plane { input, weight, contraction: contraction() };
        let term = Term { planes: vec![plane], parts: 1, scale: None, input_scale };
        last = buffer(ElementType::F32, &SHAPE);
        steps.push(StepKind::Accumulate(Accumulate {
            terms: vec![term],
            epilogue: Epilogue::default(),
            output: last,
        }));
    }
    let constants = [1, 2].map(|salt| Constant {
        name: String::new(),
        shape: WEIGHT.to_vec(),
        data: ConstantData::Ternary(trits(salt)),
    });
    let program = Program {
        buffers,
        constants: constants.into(),
        steps: steps.into_iter().map(|kind| Step { name: "layer".into(), kind }).collect(),
        inputs: vec![Port { name: "x".into(), buffer: x }],
        outputs: vec![Port { name: "y".into(), buffer: last }],
        ..Program::default()
    };
    Module::new(program, Functions::default()).expect("the program is valid")
}

fn image() -> ndarray::Array4<f32> {
    let [n, c, h, w] = SHAPE;
    ndarray::Array4::from_shape_fn((n, c, h, w), |(n, c, y, x)| {
        ((n * 131 + c * 37 + y * 11 + x * 7) % 23) as f32 / 7.0 - 1.5
    })
}

fn run(session: &Session) -> Vec<f32> {
    match &session.run(&[("x", image().view())]).expect("a run")[0].1 {
        Output::F32(array) => array.iter().copied().collect(),
        other => panic!("{other:?}"),
    }
}

/// The kernels of the accumulations.
fn kernels(session: &Session) -> Vec<String> {
    let plan = session.plan(&[SHAPE.to_vec()]).expect("a plan");
    let kernels = plan.into_iter().map(|report| report.kernel);
    kernels.filter(|kernel| kernel.starts_with("tables")).collect()
}

/// How the kernel of a rank describes itself.
fn kernel(jit: &Jit, integers: bool, rank: usize) -> String {
    let (weight, contraction) = (trits(1), contraction());
    let plane = PlaneSpec {
        integers: integers.then_some(IntegerRange { largest: 127, signed: true }),
        input_scale: integers,
        laid_out: integers,
        ..PlaneSpec::new(&SHAPE, &WEIGHT, &weight, &contraction)
    };
    let spec = AccumulateSpec { rank, ..AccumulateSpec::new(vec![plane]) };
    jit.accumulate(&spec).expect("a kernel").describe()
}

/// Whether outputs are those of the interpreter: within what the order of sums of f32 makes of them, or exactly.
fn check(found: &[f32], expected: &[f32], integers: bool) {
    let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let bound = if integers { 0.0 } else { largest * 1e-5 };
    assert!(largest > 1.0);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= bound, "{found} is not {expected}");
    }
}

#[test]
fn a_session_takes_the_kernels_of_its_tuning() {
    for (isa, integers) in Isa::available().flat_map(|isa| [(isa, false), (isa, true)]) {
        let (jit, module) = (Jit::new(isa).expect("a generator"), module(integers));
        let expected =
            run(&module.session(SessionOptions::default().backend(Backend::Interpreter)).expect("a session"));
        let layer = if integers { INTEGERS } else { F32 };
        let first = kernel(&jit, integers, 0);
        let others = (1..200).map(|rank| (rank, kernel(&jit, integers, rank)));
        let mut others: Vec<_> = others.filter(|(_, kernel)| *kernel != first).collect();
        others.dedup_by(|a, b| a.1 == b.1);
        assert!(others.len() > 4, "{others:?}");
        for (rank, other) in others.iter().step_by(others.len() / 4) {
            let taken = |isa: &str, threads: usize, layer: &str, kernel: &str| {
                let text = format!("twnc tuning 1\n{isa} | threads {threads}, {layer} | {rank} | {kernel}\n");
                let tuning: Tuning = text.parse().expect("a tuning");
                let session = module.session(SessionOptions::default().backend(jit.isa()).tuning(tuning));
                let session = session.expect("a session");
                check(&run(&session), &expected, integers);
                kernels(&session)
            };
            // Layers that differ in their weights alone are one.
            assert_eq!(taken(isa.name(), 1, layer, other), [&**other; 2]);
            // What is for something else, or is not what was measured, has no effect.
            for (isa, threads, layer, kernel) in [
                ("riscv", 1, layer, &**other),
                (isa.name(), 2, layer, other),
                (isa.name(), 1, if integers { F32 } else { INTEGERS }, other),
                (isa.name(), 1, "f32", other),
                (isa.name(), 1, layer, "tables of another version"),
                (isa.name(), 1, layer, &other[1..]),
            ] {
                assert_eq!(
                    taken(isa, threads, layer, kernel),
                    [&*first; 2],
                    "{isa} {threads} {layer} {kernel}"
                );
            }
        }
    }
}

#[test]
fn a_session_finds_a_tuning() {
    let unrelated = "twnc tuning 1\nriscv | a layer | 3 | a kernel\n";
    for (isa, threads, integers) in
        Isa::available().flat_map(|isa| [(isa, 1, false), (isa, 1, true), (isa, 2, false)])
    {
        let module = module(integers);
        // A choice that would be left behind if it were not replaced: no kernel is this one.
        let layer = if integers { INTEGERS } else { F32 };
        let stale = format!("{unrelated}{} | threads {threads}, {layer} | 7 | gone\n", isa.name());
        let options = SessionOptions::default().backend(isa).threads(threads);
        let session =
            module.session(options.clone().tuning(stale.parse().expect("a tuning"))).expect("a session");
        let tuned = session.tune(&[("x", image().view())]).expect("a tuning");
        let accumulations = if integers { vec![1, 3] } else { vec![0, 1] };
        assert_eq!(tuned.steps.iter().map(|step| step.step).collect::<Vec<_>>(), accumulations);
        let changed = tuned.steps.iter().filter(|step| step.rank > 0).count();
        assert!(changed == 0 || changed == 2, "{tuned:?}");
        assert_eq!(tuned.tuning.len(), 1 + changed / 2, "{}", tuned.tuning);
        assert!(tuned.tuning.to_string().contains("riscv") && !tuned.tuning.to_string().contains("gone"));
        for step in &tuned.steps {
            assert!(step.candidates > 2 && step.estimate_cycles > Some(0.0), "{step:?}");
            assert!(!step.first.is_zero() && !step.best.is_zero(), "{step:?}");
        }
        assert!(!tuned.first.is_zero() && !tuned.best.is_zero());
        // By way of a file, another session takes what was found, and the first one goes on.
        let again: Tuning = tuned.tuning.to_string().parse().expect("what was written");
        let other = module.session(options.tuning(again)).expect("a session");
        let found: Vec<_> = tuned.steps.iter().map(|step| step.kernel.clone()).collect();
        assert_eq!(kernels(&other), found);
        let expected =
            run(&module.session(SessionOptions::default().backend(Backend::Interpreter)).expect("a session"));
        check(&run(&other), &expected, integers);
        check(&run(&session), &expected, integers);
    }
    let options =
        SessionOptions::default().backend(Backend::Interpreter).tuning(unrelated.parse().expect("a tuning"));
    let tuned =
        module(false).session(options).expect("a session").tune(&[("x", image().view())]).expect("nothing");
    assert!(tuned.steps.is_empty());
    assert_eq!(tuned.tuning.to_string(), unrelated);
}

#[test]
fn a_file_that_is_no_tuning_is_named() {
    let folder = std::env::temp_dir().join(format!("twnc-tuning-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let message = |name: &str, bytes: Option<&[u8]>| {
        let path = folder.join(name);
        bytes.iter().for_each(|bytes| std::fs::write(&path, bytes).expect("written"));
        let read = Tuning::read(&path).map(|tuning| tuning.len());
        read.map_err(|error| error.to_string().replace(&format!("{}: ", path.display()), ""))
    };
    let line = |line: usize| "a | b | 1 | c\n".replace('b', &format!("layer {line}")).into_bytes();
    let many: Vec<u8> = b"twnc tuning 1\n".iter().copied().chain((0..300_000).flat_map(line)).collect();
    type Row<'a> = (Option<&'a [u8]>, Result<usize, &'a str>);
    let table: [Row<'_>; 5] = [
        (Some(b"twnc tuning 1\na | b | 1 | c\n"), Ok(1)),
        (Some(b"twnc tuning 1\na | b | 1 | \xff\n"), Err("line 2: not text")),
        (Some(b"twnc tuning 1\n\n"), Err("line 2: not four fields with ` | ` between them")),
        (Some(&many), Err("larger than the 4194304 bytes that a tuning may have")),
        (None, Err("cannot be read: No such file or directory (os error 2)")),
    ];
    for (i, (bytes, expected)) in table.into_iter().enumerate() {
        // Another system words the last one in another way.
        let found = message(&format!("{i}.txt"), bytes);
        match (&found, expected, bytes) {
            (Err(found), _, None) => assert!(found.starts_with("cannot be read: "), "{found}"),
            _ => assert_eq!(found.as_ref().map(|n| *n).map_err(|e| e.as_str()), expected),
        }
    }
    std::fs::remove_dir_all(&folder).expect("removed");
}
