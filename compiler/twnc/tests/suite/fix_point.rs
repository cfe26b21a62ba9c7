//! Whole numbers in the place of float activations: LeNet-5 by the reference evaluator, and the options of the command.

use crate::networks::shared;
use crate::random_graphs::run;
use ndarray::{ArrayD, Axis};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::process::Command;
use twnc::{CalibrationError, Calibrator, Compiler};
use twnc_ir::{CountingCost, Data, ElementType, Graph, Op, PassContext, RunOptions, Tensor, evaluate};
use twnc_onnx::ImportOptions;
use twnc_passes::Activations;
use twnc_program::{BufferId, StepKind, step};
use twnc_runtime::Backend;

/// LeNet-5 as the passes leave it.
fn lenet5(activations: Activations, bits: usize) -> Graph {
    let compiler = Compiler::builder().activations(activations).activation_bits(bits).build().unwrap();
    let mut graph = compiler.import_file(shared("models/lenet5_twn.onnx")).unwrap().graph;
    let options = RunOptions { verify: true, ..RunOptions::default() };
    let mut cx = PassContext::new(&CountingCost);
    compiler.pipeline().run(&mut graph, &mut cx, &options, &mut |_, _| {}).unwrap();
    graph
}

/// The elements of `mnist-500.npz`, 500 images of 28x28.
fn images() -> Vec<f32> {
    let file = std::fs::File::open(shared("data/mnist-500.npz")).unwrap();
    let mut archive = zip::ZipArchive::new(file).unwrap();
    npyz::NpyFile::new(archive.by_name("image.npy").unwrap()).unwrap().into_vec().unwrap()
}

fn logits(graph: &Graph, images: &[f32]) -> Vec<f32> {
    let image = Tensor::from_f32(vec![images.len() / 784, 1, 28, 28], images.to_vec()).unwrap();
    let outputs = evaluate(graph, &BTreeMap::from([("image".to_owned(), image)])).unwrap();
    outputs["logits"].as_f32().unwrap().to_vec()
}

fn classes(logits: &[f32]) -> Vec<usize> {
    let best = |row: &[f32]| (0..10).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
    logits.chunks(10).map(best).collect()
}

#[test]
fn lenet5_keeps_its_classes() {
    let images = images();
    let float = classes(&logits(&lenet5(Activations::F32, 8), &images));
    // Bits, and how many of 500 images may have another class than with floats; when this was written it was 1 and 0.
    for (bits, most) in [(4, 2), (8, 1)] {
        let whole = classes(&logits(&lenet5(Activations::Int, bits), &images));
        let other = whole.iter().zip(&float).filter(|(a, b)| a != b).count();
        assert!(other <= most, "{bits} bits: {other} other classes");
    }
}

#[test]
fn ternary_layers_of_lenet5_sum_whole_numbers() {
    let graph = lenet5(Activations::Int, 8);
    let nodes = || graph.order().unwrap().into_iter().map(|id| graph.node(id));
    let products = nodes().filter(|node| matches!(node.op, Op::Conv(_) | Op::MatMul));
    let elements: Vec<_> = products.map(|node| graph.ty(node.results[0]).element).collect();
    // The last layer was not ternary.
    assert_eq!(elements, [ElementType::I32, ElementType::I32, ElementType::I32, ElementType::F32]);
    let signed: Vec<_> = nodes()
        .filter_map(|node| if let Op::Quantize(q) = &node.op { Some((q.bits, q.signed)) } else { None })
        .collect();
    // An image may hold anything; what relu and pools leave is not negative.
    assert_eq!(signed, [(8, true), (8, false), (8, false)]);
}

#[test]
fn an_image_does_not_depend_on_its_batch() {
    let (graph, images) = (lenet5(Activations::Int, 8), images());
    let together = logits(&graph, &images[..3 * 784]);
    for (i, image) in images[..3 * 784].chunks(784).enumerate() {
        assert_eq!(logits(&graph, image), together[10 * i..10 * i + 10], "image {i}");
    }
}

/// The last layer sums floats, in an order of its own; up to there every path has the evaluator's bits.
#[test]
fn every_path_has_the_bits_of_the_evaluator() {
    let import = ImportOptions { outputs: vec!["/11/Relu_output_0".to_owned()], ..ImportOptions::default() };
    let image = Tensor::from_f32(vec![5, 1, 28, 28], images()[..5 * 784].to_vec()).unwrap();
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for width in [4, 8, 12] {
        let compiler = Compiler::builder().import(import.clone()).activations(Activations::Int);
        let compiler = compiler.activation_bits(width).build().unwrap();
        let compiled = compiler.compile_file(shared("models/lenet5_twn.onnx")).unwrap();
        let outputs =
            evaluate(&compiled.graph, &BTreeMap::from([("image".to_owned(), image.clone())])).unwrap();
        let expected = bits(outputs["/11/Relu_output_0"].as_f32().unwrap());
        for backend in Backend::available() {
            for threads in [1, 3] {
                let found = bits(&run(&compiled.program, &image, backend, threads));
                assert!(found == expected, "{width} bits, {backend:?}, {threads} threads");
            }
        }
    }
}

/// Scales that samples give: of each value the largest that a sample alone has, constant in the graph and in the program.
#[test]
fn calibrated_scales_are_the_largest_of_the_samples() {
    let compiler = Compiler::builder().activations(Activations::Int).build().unwrap();
    let compiled = compiler.compile_file(shared("models/lenet5_twn.onnx")).unwrap();
    let images = ArrayD::from_shape_vec(vec![20, 1, 28, 28], images()[..20 * 784].to_vec()).unwrap();
    let mut calibrator = Calibrator::new(&compiled).unwrap();
    for part in images.axis_chunks_iter(Axis(0), 6) {
        calibrator.add(&[("image", part)]).unwrap();
    }
    let quantised = |graph: &Graph| {
        let nodes = graph.order().unwrap().into_iter().map(|id| graph.node(id).clone());
        nodes.filter(|node| matches!(node.op, Op::Quantize(_))).collect::<Vec<_>>()
    };
    let image = compiled.graph.inputs()[0].value;
    assert_eq!(quantised(&compiled.graph)[0].operands, [image]);
    let mut largest = 0f32;
    for sample in images.axis_iter(Axis(0)) {
        // The first value is the image itself: 127 steps of its scale.
        largest = largest.max(sample.iter().fold(0f32, |a, x| a.max(x.abs())) / 127.0);
    }
    let compiled = calibrator.apply(compiled).unwrap();
    let scales: Vec<f32> = quantised(&compiled.graph)
        .iter()
        .filter_map(|node| if let Op::Quantize(q) = &node.op { q.scale } else { None })
        .collect();
    assert_eq!(scales.len(), 3);
    assert_eq!(scales[0].to_bits(), largest.to_bits());
    let constant = compiled.program.steps.iter().filter_map(|step| match &step.kind {
        StepKind::Quantize(quantize) => Some(quantize.scale),
        _ => None,
    });
    assert!(constant.eq(scales.into_iter().map(Some)));
    // An image's result does not depend on the scales of others now; and every path has the same bits.
    let image = Tensor::from_f32(vec![5, 1, 28, 28], images.iter().copied().take(5 * 784).collect()).unwrap();
    let expected = logits(&compiled.graph, image.as_f32().unwrap());
    for backend in Backend::available() {
        let found = run(&compiled.program, &image, backend, 1);
        let apart = expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-4, "{backend:?}: {apart}");
    }
    let float = Compiler::builder().build().unwrap().compile_file(shared("models/lenet5_twn.onnx")).unwrap();
    assert!(matches!(Calibrator::new(&float), Err(CalibrationError::Nothing)));
}

/// A command, its exit code, and words that it says.
#[test]
fn options() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(shared("models/lenet5_twn.onnx"), folder.path().join("lenet5.onnx")).unwrap();
    std::fs::copy(shared("data/mnist-500.npz"), folder.path().join("mnist.npz")).unwrap();
    let passes = "--passes fold_constants,detect_ternary,fold_scales,fix_point";
    let cases = [
        (format!("opt lenet5.onnx {passes} --activations int"), 0, "{bits=8, signed=true}"),
        (format!("opt lenet5.onnx {passes} --activations int"), 0, "sums unsigned numbers of 8 bits"),
        (
            format!("opt lenet5.onnx {passes} --activations int --activation-bits 4"),
            0,
            "{bits=4, signed=true}",
        ),
        (format!("opt lenet5.onnx {passes} --activations int --activation-bits 12"), 0, "{bits=12}"),
        ("lenet5.onnx -o whole.bin --activations int".into(), 0, "3 ternary layers"),
        ("lenet5.onnx -o whole.onnx --activations int --emit onnx".into(), 0, ""),
        (format!("opt lenet5.onnx {passes}"), 2, "there is no pass `fix_point`; there are dead_code"),
        ("lenet5.onnx -o x.bin --activations int8".into(), 2, "invalid value 'int8'"),
        (
            "lenet5.onnx -o x.bin --activations int --activation-bits 3".into(),
            2,
            "an activation has 4 to 12 bits",
        ),
        (
            "inspect lenet5.onnx --activations int --activation-bits 13".into(),
            2,
            "an activation has 4 to 12 bits",
        ),
        ("opt lenet5.onnx --activations int --activation-bits -8".into(), 2, "'-8'"),
        (
            "opt lenet5.onnx --activations int --activation-bits eight".into(),
            2,
            "an activation has 4 to 12 bits",
        ),
        ("lenet5.onnx -o c.bin --activations int --calibrate mnist.npz".into(), 0, "3 ternary layers"),
        (
            "lenet5.onnx --emit twir --activations int --calibrate mnist.npz".into(),
            0,
            "{bits=8, signed=true, scale=0.0078",
        ),
        ("lenet5.onnx -o x.bin --activations int --calibrate labels.npz".into(), 3, "labels.npz"),
        (
            "lenet5.onnx -o x.bin --activations f32 --calibrate mnist.npz".into(),
            3,
            "no layer of the network sums whole numbers",
        ),
        // Ternary already, and sums floats: there is nothing to fit.
        (
            "lenet5.onnx -o x.bin --calibrate mnist.npz".into(),
            3,
            "no layer of the network sums whole numbers",
        ),
        ("lenet5.onnx -o x.bin --max-memory 5".into(), 4, "the limit is 5 (--max-memory)"),
        ("lenet5.onnx -o x.bin --activation-bits 6".into(), 2, "--activations <ACTIVATIONS>"),
        ("passes".into(), 0, "fix_point"),
    ];
    for (arguments, code, words) in cases {
        let output = Command::new(env!("CARGO_BIN_EXE_twnc"))
            .args(arguments.split_whitespace())
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        let said = said.replace(['│', '×'], " ").split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(code), "`twnc {arguments}`: {said}");
        assert!(said.contains(words), "`twnc {arguments}` does not say `{words}`: {said}");
        assert!(!folder.path().join("x.bin").exists(), "`twnc {arguments}` wrote a file");
    }
}

#[test]
fn the_builder_refuses_bits_that_there_are_not() {
    for (bits, right) in [(3, false), (4, true), (12, true), (13, false)] {
        let built = Compiler::builder().activations(Activations::Int).activation_bits(bits).build();
        assert_eq!(built.is_ok(), right, "{bits} bits");
    }
}

proptest! {
    /// The graph and the program say the same of quantisation, of any numbers.
    #[test]
    fn graph_and_program_round_alike(
        bits in prop::collection::vec(any::<u32>(), 0..20),
        exponents in prop::collection::vec(prop::num::f32::ANY, 0..20),
        width in 2usize..=12,
        signed: bool,
        scale in prop::option::of(1e-40f32..1e3),
    ) {
        let x: Vec<f32> = bits.into_iter().map(f32::from_bits).chain(exponents).collect();
        let image = Tensor::from_f32(vec![1, x.len()], x.clone()).unwrap();
        let quantize = twnc_ir::Quantize { bits: width, signed, scale };
        let results = twnc_ir::eval::apply(&Op::Quantize(quantize), &[image]).unwrap();
        let outputs = [BufferId(1), BufferId(2)];
        let step = step::Quantize { input: BufferId(0), bits: width as u32, signed, scale, outputs };
        let found = step.scale_of(x.iter().map(|&x| step.magnitude(x)).fold(0.0, f32::max));
        let inverse = step::Quantize::inverse(found);
        let numbers: Vec<i16> = x.iter().map(|&x| step.round(x, inverse)).collect();
        prop_assert_eq!(results[1].as_f32().unwrap()[0].to_bits(), found.to_bits());
        prop_assert_eq!(results[0].data(), &Data::I16(numbers.into()), "{:?} by {}", x, found);
    }
}
