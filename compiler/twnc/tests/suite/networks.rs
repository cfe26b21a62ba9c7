//! LeNet-5, which is in the repository, from file to classes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use twnc::{Compiled, Compiler};
use twnc_ir::{
    Changed, Cost, CostModel, CountingCost, Graph, Op, OperandInfo, Pass, PassContext, PassError, Remark,
    RemarkKind, TensorType, Topic,
};
use twnc_program::interpret::Functions;
use twnc_random::{Vocabulary, graph};
use twnc_runtime::{Error, Input, Module, Output, OutputMut, Session, SessionOptions};

/// A file of the test suite.
pub fn shared(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testsuite").join(file)
}

fn lenet5() -> Module {
    let compiled =
        Compiler::builder().build().unwrap().compile_file(shared("models/lenet5_twn.onnx")).unwrap();
    Module::new(compiled.program, Functions::default()).unwrap()
}

fn image(samples: usize, seed: u64) -> ndarray::Array4<f32> {
    let mut state = seed;
    ndarray::Array4::from_shape_simple_fn((samples, 1, 28, 28), || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f32 / (1u64 << 24) as f32
    })
}

fn logits(session: &Session, x: &ndarray::Array4<f32>) -> Vec<u32> {
    match &session.run(&[("image", x.view())]).unwrap()[0].1 {
        Output::F32(y) => y.iter().map(|y| y.to_bits()).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn lenet5_is_taken_over_exactly() {
    let compiled =
        Compiler::builder().build().unwrap().compile_file(shared("models/lenet5_twn.onnx")).unwrap();
    assert_eq!((compiled.ternary_layers(), compiled.rounded_layers()), (3, 0));
    let bytes = compiled.program.to_bytes().len() as u64;
    let onnx = std::fs::metadata(shared("models/lenet5_twn.onnx")).unwrap().len();
    assert!(bytes * 12 <= onnx, "{bytes} bytes of {onnx}");
    // One scale and one bias a layer; between the layers pools, which scale what is left, and a reshape.
    let kinds: Vec<_> = compiled.program.steps.iter().map(|step| step.kind_name()).collect();
    assert_eq!(kinds, ["accumulate", "pool", "accumulate", "pool", "reshape", "accumulate", "matmul"]);
}

#[test]
fn a_sample_does_not_depend_on_its_batch() {
    let session = lenet5().session(SessionOptions::default()).unwrap();
    let batch = image(9, 1);
    let together = logits(&session, &batch);
    for (i, sample) in batch.outer_iter().enumerate() {
        let alone = logits(&session, &sample.insert_axis(ndarray::Axis(0)).to_owned());
        // The batch may sum fully connected layers in another order: close, not equal.
        for (a, b) in alone.iter().zip(&together[i * 10..]) {
            let (a, b) = (f32::from_bits(*a), f32::from_bits(*b));
            assert!((a - b).abs() < 1e-3, "sample {i}: {a} alone, {b} in its batch");
        }
    }
}

#[test]
fn many_threads_share_a_session() {
    let session = Arc::new(lenet5().session(SessionOptions::default().threads(2)).unwrap());
    let expected: Vec<_> = (0..4).map(|seed| logits(&session, &image(1 + seed, seed as u64))).collect();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    for (seed, expected) in expected.iter().enumerate() {
                        assert_eq!(&logits(&session, &image(1 + seed, seed as u64)), expected);
                    }
                }
            });
        }
    });
}

#[test]
fn run_into_gives_what_run_gives() {
    let session = lenet5().session(SessionOptions::default()).unwrap();
    let x = image(2, 3);
    let expected = logits(&session, &x);
    let mut y = ndarray::Array2::<f32>::zeros((2, 10));
    session.run_into(&[("image", x.view())], &mut [OutputMut::from(y.view_mut())]).unwrap();
    assert_eq!(y.iter().map(|y| y.to_bits()).collect::<Vec<_>>(), expected);
}

#[test]
fn wrong_inputs_are_named() {
    let session = lenet5().session(SessionOptions::default()).unwrap();
    let x = image(1, 1);
    let wrong = ndarray::Array2::<f32>::zeros((2, 2));
    let integers = ndarray::Array4::<i64>::zeros((1, 1, 28, 28));
    let cases: [(&[(&str, Input<'_>)], &str); 5] = [
        (&[("picture", x.view().into())], "the model has no input `picture`; it has `image`"),
        (&[], "input `image` is missing"),
        (&[("image", x.view().into()), ("image", x.view().into())], "input `image` is given twice"),
        (
            &[("image", wrong.view().into())],
            "input `image` has the shape [2, 2], but the model takes [N, 1, 28, 28]",
        ),
        (&[("image", integers.view().into())], "`image` holds i64, but the model declares f32"),
    ];
    for (inputs, message) in cases {
        assert_eq!(session.run(inputs).unwrap_err().to_string(), message);
    }
    let mut narrow = ndarray::Array2::<f32>::zeros((1, 9));
    let error =
        session.run_into(&[("image", x.view())], &mut [OutputMut::from(narrow.view_mut())]).unwrap_err();
    assert!(matches!(error, Error::OutputShape { .. }), "{error}");
    let limited = lenet5().session(SessionOptions::default().max_memory(1000)).unwrap();
    assert!(matches!(limited.run(&[("image", x.view())]).unwrap_err(), Error::Memory { .. }));
}

#[test]
fn new_shapes_make_new_plans() {
    let session = lenet5().session(SessionOptions::default()).unwrap();
    // More shapes than plans are kept, twice.
    let first: Vec<_> = (1..=12).map(|n| logits(&session, &image(n, 7))).collect();
    let second: Vec<_> = (1..=12).map(|n| logits(&session, &image(n, 7))).collect();
    assert_eq!(first, second);
}

#[test]
fn two_compilations_give_the_same_bytes() {
    let compile = |seed| {
        let compiler = Compiler::builder().build().unwrap();
        compiler.compile(graph(seed, Vocabulary::All).graph, &mut |_, _| {}).unwrap().program.to_bytes()
    };
    for seed in 0..20 {
        assert_eq!(compile(seed), compile(seed), "seed {seed}");
    }
}

#[test]
fn compilers_are_shared_by_threads() {
    fn shared_by_threads<T: Send + Sync>() {}
    shared_by_threads::<Compiler>();
    shared_by_threads::<Compiled>();
    shared_by_threads::<twnc_ir::Pipeline>();
    shared_by_threads::<Box<dyn CostModel>>();
}

/// Says by which model it chooses.
struct AskForCost;

impl Pass for AskForCost {
    fn name(&self) -> &str {
        "ask_for_cost"
    }

    fn run(&self, _: &mut Graph, cx: &mut PassContext<'_>) -> Result<Changed, PassError> {
        let bytes = Cost { bytes: 1000, ..Cost::default() };
        cx.applied(Topic::Other, "", cx.cost().weight(&bytes).to_string());
        Ok(Changed::default())
    }
}

/// Only the size of the network counts.
struct Bytes;

impl CostModel for Bytes {
    fn cost(&self, op: &Op, operands: &[OperandInfo<'_>], results: &[&TensorType]) -> Cost {
        CountingCost.cost(op, operands, results)
    }

    fn weight(&self, cost: &Cost) -> f64 {
        cost.bytes as f64
    }
}

#[test]
fn passes_choose_by_the_model_that_the_compiler_has() {
    let builder = || Compiler::builder().pass_after("dead_code", AskForCost);
    for (builder, weight) in [(builder(), "1250"), (builder().cost(Bytes), "1000")] {
        let compiled =
            builder.build().unwrap().compile(graph(0, Vocabulary::Networks).graph, &mut |_, _| {}).unwrap();
        let told = compiled.remarks.iter().find(|remark| remark.pass == "ask_for_cost").unwrap();
        assert_eq!(told.message, weight);
    }
}

#[test]
fn remarks_of_other_topics_do_not_say_why_a_layer_is_not_ternary() {
    let compiled =
        Compiler::builder().build().unwrap().compile_file(shared("models/lenet5_twn.onnx")).unwrap();
    let remark = |topic, kind, message: &str| Remark {
        pass: "any".to_owned(),
        node: "layer".to_owned(),
        kind,
        topic,
        message: message.to_owned(),
    };
    let remarks = vec![
        remark(Topic::Detection, RemarkKind::Missed, "not taken as ternary: it is small"),
        remark(Topic::Rounding, RemarkKind::Missed, "kept float: it is to be"),
        remark(Topic::Rounding, RemarkKind::Warning, "one scale fits badly"),
        remark(Topic::Folding, RemarkKind::Missed, "its weight takes no scale"),
        remark(Topic::FixedPoint, RemarkKind::Missed, "sums floats"),
    ];
    let compiled = Compiled { remarks, ..compiled };
    let reasons = "not taken as ternary: it is small; kept float: it is to be";
    assert_eq!(compiled.why_not_ternary("layer").as_deref(), Some(reasons));
    assert_eq!((compiled.why_not_ternary("another"), compiled.rounded_layers()), (None, 0));
}
