//! `--calibrate` on a float network: by the command and by the library, with generated code.

use ndarray::ArrayD;
use std::process::{Command, Stdio};
use std::time::Duration;
use twnc::{Compiler, RepairOptions};
use twnc_ir::{Conv, Dim, Geometry, GraphBuilder, Op, RemarkKind, Tensor, TensorType, Topic, Unary};
use twnc_passes::{Options, Scale};
use twnc_runtime::Output;

/// 60 smooth images of one channel.
fn images() -> ArrayD<f32> {
    ArrayD::from_shape_fn(vec![60, 1, 28, 28], |i| {
        let (n, y, x) = (i[0] as f32, i[2] as f32 / 28.0, i[3] as f32 / 28.0);
        0.5 + 0.5 * ((1.0 + n * 0.37) * x * 5.0 + n).sin() * ((0.5 + n * 0.21) * y * 4.0 - n).cos()
    })
}

/// Two convolutions of images that halve them, and two linear layers.
fn float_network(folder: &std::path::Path) -> std::path::PathBuf {
    // Numbers that look drawn, between -1 and 1 (SplitMix64).
    let number = |i: usize, seed: u64| {
        let z = (i as u64 + (seed << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let tensor = |shape: &[usize], seed: u64| {
        let elements = (0..shape.iter().product()).map(|i| number(i, seed)).collect();
        Tensor::from_f32(shape.to_vec(), elements).unwrap()
    };
    let mut build = GraphBuilder::new("float");
    let shape = [Dim::symbol("N"), Dim::from(1), Dim::from(28), Dim::from(28)];
    let mut x = build.input("image", TensorType::f32(shape.to_vec()));
    for (seed, shape) in [(1, [8, 1, 5, 5]), (2, [16, 8, 5, 5])] {
        let [strides, pads_begin, pads_end] = [(); 3].map(|()| vec![2, 2]);
        let geometry = Geometry { strides, dilations: vec![1, 1], pads_begin, pads_end };
        let name = format!("conv{seed}");
        let w = build.constant(tensor(&shape, seed), &format!("{name}.weight"));
        x = build.node(Op::Conv(Conv { geometry, groups: 1 }), &[x, w], &name).unwrap();
        x = build.node(Op::Unary(Unary::Relu), &[x], "").unwrap();
    }
    x = build.node(Op::Reshape { shape: vec![Dim::symbol("N"), Dim::from(784)] }, &[x], "").unwrap();
    for (seed, shape) in [(3, [784, 32]), (4, [32, 10])] {
        let name = format!("fc{seed}");
        let w = build.constant(tensor(&shape, seed), &format!("{name}.weight"));
        x = build.node(Op::MatMul, &[x, w], &name).unwrap();
    }
    build.output("logits", x);
    let path = folder.join("float.onnx");
    std::fs::write(&path, twnc_onnx::export(&build.finish()).unwrap()).unwrap();
    path
}

#[test]
fn a_float_network_is_repaired_by_generated_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = float_network(folder.path());
    let compile = |shared: bool| {
        let scale = if shared { Scale::Layer } else { Scale::Channel };
        let samples = twnc::samples([("image".to_owned(), Output::F32(images()))]).unwrap();
        let compiler = Compiler::builder()
            .passes(Options { scale, ..Options::default() })
            .repair(samples, RepairOptions::default())
            .build()
            .unwrap();
        compiler.compile_file(&path).unwrap()
    };
    let compiled = compile(false);
    let summary = compiled.repair.as_ref().unwrap();
    assert_eq!((summary.layers, summary.fitted, summary.held_out), (4, 48, 12));
    let output = &summary.outputs[0];
    assert!(output.sqnr > output.sqnr_rounded + 6.0, "{output:?}");
    assert_eq!(compiled.rounded_layers(), 4);
    let said =
        |topic| compiled.remarks.iter().filter(move |r| r.topic == topic && r.kind == RemarkKind::Applied);
    assert!(
        said(Topic::Rounding).all(|r| r.pass == "repair" && r.message.contains("made ternary and repaired"))
    );
    assert_eq!(said(Topic::Accuracy).count(), 1);
    assert!(compile(true).repair.unwrap().outputs[0].sqnr > 0.0);
    // On any number of processors the same: here, twice.
    assert_eq!(compile(false).program.to_bytes(), compiled.program.to_bytes());
}

#[test]
fn what_is_repaired_can_be_written_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    float_network(folder.path());
    let file = |name: &str| folder.path().join(name);
    put(&file("x"), "image", &images());
    put(&file("other"), "picture", &images());
    let mut holed = images();
    holed[[7, 0, 3, 3]] = f32::NAN;
    put(&file("nan"), "image", &holed);
    put(&file("wide"), "image", &ArrayD::zeros(vec![4, 1, 28, 30]));
    let cases = [
        ("train float.onnx --data x --batch 8 --scale group:64 -o g.onnx", 2, "not for groups of weights"),
        ("float.onnx --calibrate x --fine-tune 3 -o a.bin", 0, "4 layers made ternary and repaired"),
        ("float.onnx --calibrate x --fine-tune 3 -o a.bin --report a.json --json", 0, "\"held_out\":12"),
        (
            "float.onnx --calibrate x --fine-tune 3 -o a.onnx --emit onnx",
            0,
            "held out (the last fifth), fitted on 48",
        ),
        ("a.onnx -o b.bin", 0, "4 ternary layers"),
        ("compare a.onnx a.bin --data x --min-agreement 1", 0, "same class 100.00%"),
        ("compare a.onnx b.bin --data x --min-agreement 1", 0, "same class 100.00%"),
        (
            "float.onnx --calibrate x --fine-tune none -o i.bin --activations int",
            0,
            "4 layers made ternary and repaired",
        ),
        ("float.onnx --calibrate x -o x.bin --ternarise none", 3, "nothing to repair"),
        ("float.onnx --calibrate other -o x.bin", 3, "the network has no input `picture`"),
        ("float.onnx --calibrate nan -o x.bin", 3, "sample 7 of input `image`"),
        ("float.onnx --calibrate wide -o x.bin", 3, "f32[4,1,28,30]"),
        ("float.onnx --calibrate none.npz -o x.bin", 3, "none.npz"),
        ("float.onnx --calibrate x -o x.bin --max-memory 100000", 4, "the limit is 100000"),
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
        assert!(!file("x.bin").exists(), "`twnc {arguments}` wrote a file");
    }
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file("a.json")).unwrap()).unwrap();
    assert_eq!(report["repair"]["layers"], 4);
    assert!(report["repair"]["outputs"][0]["sqnr_db"].as_f64().is_some());
}

#[test]
fn a_repair_that_is_interrupted_goes_on_to_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    float_network(folder.path());
    let file = |name: &str| folder.path().join(name);
    put(&file("x"), "image", &images());
    let command = |arguments: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twnc"));
        command.args(arguments.split_whitespace()).current_dir(folder.path());
        command
    };
    let repair = "float.onnx --calibrate x --fine-tune 20 -o";
    assert!(command(&format!("{repair} whole.bin")).output().unwrap().status.success());
    let resumed = format!("{repair} parts.bin --checkpoint run.ckpt --resume");
    let mut interrupted = 0;
    for wait in (100..).step_by(100) {
        let child = command(&resumed).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => break,
            Some(130) => {
                assert!(said.contains("interrupted while ") && said.contains("run.ckpt has it"), "{said}");
                assert!(file("run.ckpt").exists() && !file("parts.bin").exists());
                interrupted += 1;
            }
            // Before it listens.
            None => {}
            Some(code) => panic!("{code}: {said}"),
        }
    }
    assert!(interrupted > 0);
    assert!(std::fs::read(file("parts.bin")).unwrap() == std::fs::read(file("whole.bin")).unwrap());
    // Without --resume, what is there is not overwritten; of another repair, and damaged, it is refused.
    std::fs::write(file("bad.ckpt"), b"This is no checkpoint.").unwrap();
    let cases = [
        ("-o x.bin --checkpoint run.ckpt", 2, "run.ckpt is there already"),
        ("-o x.bin --checkpoint run.ckpt --resume --seed 1", 3, "run.ckpt: the checkpoint is of other work"),
        ("-o x.bin --checkpoint bad.ckpt --resume", 3, "bad.ckpt: it is no checkpoint"),
        ("-o x.bin --checkpoint x.bin", 2, "x.bin would be written twice"),
        ("-o x.bin --resume", 2, "--checkpoint"),
    ];
    for (options, code, words) in cases {
        let line = format!("float.onnx --calibrate x --fine-tune 20 {options}");
        let output = command(&line).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).replace(['│', '×'], " ");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(code), "`twnc {line}`: {said}");
        assert!(said.contains(words), "`twnc {line}` does not say `{words}`: {said}");
        assert!(!file("x.bin").exists());
    }
}

/// A folder with one array, as `.npy`.
fn put(folder: &std::path::Path, name: &str, array: &ArrayD<f32>) {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {:?}, }}\n", array.shape());
    let header = header.replace('[', "(").replace(']', ")");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(array.iter().flat_map(|x| x.to_le_bytes()));
    std::fs::create_dir(folder).unwrap();
    std::fs::write(folder.join(format!("{name}.npy")), bytes).unwrap();
}
