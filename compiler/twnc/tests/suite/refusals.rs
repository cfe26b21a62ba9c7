//! Everything that can be wrong with what the command is given: its exit code and words of its message, case by case.

use crate::command::{folder, relu, text, twnc};
use crate::fixture::{bytes, external, floats, graph, int, ints, model, node, ones, value};
use crate::networks::shared;
use onnx_protobuf::tensor_proto::DataType::FLOAT;
use onnx_protobuf::{ModelProto, NodeProto, TensorProto};
use std::process::Command;
use twnc_program::{Buffer, BufferId, Dim, ElementType, Port, Program};

fn of(nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> ModelProto {
    model(17, graph(nodes, vec![value("x", FLOAT, "N,4,8,8")], constants, &["y"]))
}

fn conv(name: &str, weight: TensorProto, attributes: Vec<onnx_protobuf::AttributeProto>) -> ModelProto {
    let weight_name = weight.name.clone();
    of(vec![node("Conv", name, &["x", &weight_name], &["y"], attributes)], vec![weight])
}

/// A valid program whose input is larger than any memory.
fn vast() -> Program {
    let port = |name: &str| Port { name: name.into(), buffer: BufferId(0) };
    Program {
        buffers: vec![Buffer { element: ElementType::U8, shape: vec![Dim::Fixed(1 << 59)] }],
        inputs: vec![port("x")],
        outputs: vec![port("y")],
        ..Program::default()
    }
}

/// A valid program whose input is an image of 3.6 TB.
fn poster() -> Program {
    let shape = [1, 3, 1_000_000, 300_000].map(Dim::Fixed).to_vec();
    Program { buffers: vec![Buffer { element: ElementType::F32, shape }], ..vast() }
}

/// Everything that can be wrong: a command, its exit code, and words that its message has.
#[test]
fn whatever_is_wrong_is_said() {
    let folder = folder();
    let put = |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).unwrap();
    let onnx = std::fs::read(folder.path().join("lenet5.onnx")).unwrap();
    let bin = std::fs::read(folder.path().join("lenet5.bin")).unwrap();
    put("cut.onnx", &onnx[..onnx.len() / 2]);
    put("empty.onnx", b"");
    put("text.onnx", b"This is no model.");
    put("cut.bin", &bin[..bin.len() - 1]);
    put(
        "flipped.bin",
        &bin.iter().enumerate().map(|(i, &b)| if i == bin.len() / 2 { !b } else { b }).collect::<Vec<_>>(),
    );
    let mut newer = bin.clone();
    newer[8] = 9;
    put("newer.bin", &newer);
    put("text.bin", b"This is no model.");
    put("bad.txt", b"twnc tuning 1\navx2 4\n");
    put("vast.bin", &vast().to_bytes());
    put("text.npz", b"This is no archive.");
    put("text.npy", b"This is no array.");
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4), }";
    put("x.npy", &[b"\x93NUMPY\x01\x00\x76\x00", format!("{header:<117}\n").as_bytes(), &[0; 16]].concat());
    put("text.png", b"This is no image.");
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000, 4000000000), }";
    put("huge.npy", &[b"\x93NUMPY\x01\x00\x76\x00", format!("{header:<117}\n").as_bytes()].concat());
    // A header of 4 GB, and one that is nothing but brackets.
    put("header.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{");
    put("brackets.npy", &[b"\x93NUMPY\x01\x00\x10\x27", [b'('; 10_000].as_slice()].concat());
    // Nested dictionaries, which once took a parser twice as long for each.
    let header = format!("{{'descr': '<f4', 'fortran_order': {}", "{".repeat(80));
    put("braces.npy", &[b"\x93NUMPY\x01\x00\x76\x00", format!("{header:<117}\n").as_bytes()].concat());
    put("poster.bin", &poster().to_bytes());
    put("bad.twir", b"graph \"g\" (%0 \"x\": f32[2]) -> (%1 \"y\") {\n  %1 = frob(%0) : f32[2]\n}\n");
    put("bad.rules", b"# A comment.\nrule r (exact): relux(?x) => ?x\n");
    put("wrong.rules", b"\n  rule w (exact): relu(neg(?x)) => neg(relu(?x))\n");
    put("custom.rules", b"rule c (exact): custom \"com.example::Twice\"(?x) => add(?x, ?x)\n");
    put("never.rules", b"rule n (exact): pad{begin=[9], end=[1000000000000], value=0.0}(?x) => ?x\n");
    put("binary.rules", &[0xff, 0xfe, 0, 1]);
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    let cases_of_models: Vec<(&str, ModelProto)> = vec![
        ("cycle", of(vec![relu(&["b"], "a"), relu(&["a"], "b"), relu(&["b"], "y")], vec![])),
        (
            "unknown",
            of(
                vec![node("Frob", "f1", &["x"], &["a"], vec![]), node("Grob", "g1", &["a"], &["y"], vec![])],
                vec![],
            ),
        ),
        ("undefined", of(vec![relu(&["nothing"], "y")], vec![])),
        ("twice", of(vec![relu(&["x"], "y"), relu(&["x"], "y")], vec![])),
        ("channels", conv("c1", ones("w", &[2, 3, 3, 3]), vec![])),
        ("stride", conv("c1", ones("w", &[2, 4, 3, 3]), vec![ints("strides", &[0, 1])])),
        ("kernel", conv("c1", ones("w", &[2, 4, 30, 30]), vec![])),
        ("groups", conv("c1", ones("w", &[2, 4, 3, 3]), vec![int("group", 0)])),
        ("bytes", conv("c1", TensorProto { raw_data: vec![0; 7], ..ones("w", &[2, 4, 3, 3]) }, vec![])),
        ("shape", conv("c1", TensorProto { dims: vec![i64::MAX, i64::MAX], ..ones("w", &[1]) }, vec![])),
        ("negative", conv("c1", TensorProto { dims: vec![-2, 4, 3, 3], ..ones("w", &[2, 4, 3, 3]) }, vec![])),
        ("escape", conv("c1", external("w", &[2, 4, 3, 3], &[("location", "../secret")]), vec![])),
        ("absolute", conv("c1", external("w", &[2, 4, 3, 3], &[("location", "/etc/passwd")]), vec![])),
        ("no_data", conv("c1", external("w", &[2, 4, 3, 3], &[("location", "absent.data")]), vec![])),
        ("nan", conv("c1", floats("w", &[1, 4, 1, 1], &[f32::NAN, 1.0, 2.0, 3.0]), vec![])),
        ("old", model(5, graph(vec![relu(&["x"], "y")], vec![value("x", FLOAT, "N,4")], vec![], &["y"]))),
        (
            "open",
            of(vec![node("MaxPool", "p", &["x"], &["y"], vec![ints("kernel_shape", &[40, 40])])], vec![]),
        ),
    ];
    let mut shapeless = value("x", FLOAT, "N");
    shapeless.type_.as_mut().unwrap().mut_tensor_type().shape = Default::default();
    let mut same = vec![crate::fixture::text("auto_pad", "SAME_UPPER")];
    same.extend([ints("strides", &[2, 2]), ints("kernel_shape", &[3, 3])]);
    let on = |x: &str, nodes: Vec<NodeProto>, constants: Vec<TensorProto>| {
        model(17, graph(nodes, vec![value("x", FLOAT, x)], constants, &["y"]))
    };
    let product = node("MatMul", "m", &["x", "w"], &["y"], vec![]);
    let padding = vec![
        node("Shape", "s", &["x"], &["sizes"], vec![]),
        node("Pad", "p", &["x", "sizes"], &["y"], vec![crate::fixture::text("mode", "wrap")]),
    ];
    let more = [
        ("same", on("N,3,H,W", vec![node("AveragePool", "c1", &["x"], &["y"], same)], vec![])),
        ("pads", on("N,4", padding, vec![])),
        ("relu", on("N,4", vec![relu(&["x"], "y")], vec![])),
        ("shapeless", model(17, graph(vec![relu(&["x"], "y")], vec![shapeless], vec![], &["y"]))),
        // No element, and an axis longer than memory.
        ("vast_weight", on("N,0", vec![product], vec![floats("w", &[0, 1 << 60], &[])])),
    ];
    for (name, model) in cases_of_models.into_iter().chain(more) {
        put(&format!("{name}.onnx"), &bytes(&model));
    }
    std::fs::copy(shared("models/lenet5_float.onnx"), folder.path().join("float.onnx")).unwrap();
    assert!(twnc(folder.path(), "float.onnx -o rounded.bin").status.success());
    assert!(twnc(folder.path(), "relu.onnx -o relu.bin").status.success());
    let cases: &[(&str, i32, &str)] = &[
        ("", 2, "no model is given"),
        ("lenet5.onnx", 2, "no file to write is given"),
        ("lenet5.onnx -o x.bin --frob", 2, "unexpected argument '--frob'"),
        ("lenet5.onnx -o lenet5.onnx", 2, "lenet5.onnx would be overwritten by the output"),
        ("lenet5.onnx -o x.bin --report lenet5.onnx", 2, "lenet5.onnx would be overwritten by the output"),
        ("lenet5.onnx -o x.bin --report x.bin", 2, "x.bin would be written twice"),
        ("run lenet5.bin -i image=one.npy -o lenet5.bin", 2, "lenet5.bin would be overwritten by the output"),
        #[cfg(unix)]
        ("lenet5.onnx --emit twir -o /dev/null", 2, "/dev/null is no regular file"),
        ("lenet5.onnx -o x.bin --scale group:0", 2, "`0` is no number of weights; write group:64"),
        ("lenet5.onnx -o x.bin --scale group", 2, "a scale is that of a layer, a channel or group:N"),
        ("bench lenet5.bin --threads 0", 2, "from 1 to 1024 threads may compute"),
        ("bench lenet5.bin --threads 1000000000", 2, "from 1 to 1024 threads may compute"),
        ("bench lenet5.bin --runs 0", 2, "at least 1 run is timed"),
        ("bench lenet5.bin --dim H=2", 2, "no input of the model has an open dimension `H`"),
        ("bench lenet5.bin --dim N=2 --dim M=2", 2, "the open dimensions are N"),
        ("inspect lenet5.bin --dim H=2", 2, "no input of the model has an open dimension `H`"),
        ("bench vast.bin --dim N=2", 2, "all sizes of the model are fixed"),
        ("lenet5.onnx -o x.bin --ternarise some", 2, "invalid value 'some'"),
        ("lenet5.onnx -o x.bin --dim batch=0", 2, "`0` is not a size"),
        ("lenet5.onnx -o x.bin --dim frob=1", 2, "option --dim frob=1: no input has"),
        ("lenet5.onnx -o x.bin --input-shape 1xx2", 2, "neither a size nor a name"),
        ("lenet5.onnx -o x.bin --input-shape frob:1x2", 2, "option --input-shape frob: write [NAME:]"),
        ("lenet5.onnx -o x.bin --input-shape 1x3x28x28", 3, "channels"),
        ("lenet5.onnx -o x.bin --output frob", 3, "output `frob`"),
        ("lenet5.onnx -o x.bin --skip-pass frob", 2, "there is no pass `frob`; there are dead_code"),
        ("lenet5.onnx -o x.bin --stop-after frob", 2, "there is no pass `frob`"),
        ("lenet5.onnx -o x.bin --print-after frob", 2, "there is no pass `frob`"),
        ("lenet5.onnx -o x.bin --keep [", 2, "`[` is no pattern"),
        ("lenet5.onnx -o absent/x.bin", 3, "absent/x.bin: cannot be written: its folder does not exist"),
        ("lenet5.onnx -o folder", 3, "folder: cannot be written"),
        ("absent.onnx -o x.bin", 3, "absent.onnx: cannot be read"),
        ("folder -o x.bin", 3, "folder: cannot be read"),
        ("cut.onnx -o x.bin", 3, "cut.onnx: is not an ONNX model, or is damaged"),
        ("empty.onnx -o x.bin", 3, "empty.onnx"),
        ("text.onnx -o x.bin", 3, "text.onnx: is not an ONNX model"),
        ("cycle.onnx -o x.bin", 3, "make_a"),
        ("unknown.onnx -o x.bin", 3, "2 nodes cannot be imported: node `f1` (Frob)"),
        (
            "unknown.onnx -o x.bin",
            3,
            "node `g1` (Grob): is not supported; register a custom operator, or cut it off with --output",
        ),
        ("same.onnx -o x.bin", 3, "and one is H; fix it with --input-shape"),
        ("pads.onnx -o x.bin", 3, "depends on an open dimension; fix it with --input-shape or --dim"),
        ("shapeless.onnx -o x.bin", 3, "input `x`: has no shape; give one: --input-shape x:1x3x224x224"),
        ("vast_weight.onnx -o x.bin", 3, "vast_weight.onnx"),
        ("vast_weight.onnx -o x.bin --ternarise all", 3, "vast_weight.onnx"),
        ("undefined.onnx -o x.bin", 3, "nothing"),
        ("twice.onnx -o x.bin", 3, "`y`"),
        ("channels.onnx -o x.bin", 3, "c1"),
        ("stride.onnx -o x.bin", 3, "c1"),
        ("kernel.onnx -o x.bin", 3, "a window of 30 does not fit into 8 elements"),
        ("groups.onnx -o x.bin", 3, "c1"),
        ("bytes.onnx -o x.bin", 3, "tensor `w`: 7 bytes of data where type and shape ask for 288"),
        ("shape.onnx -o x.bin", 3, "tensor `w`"),
        ("negative.onnx -o x.bin", 3, "tensor `w`: the shape [-2, 4, 3, 3] is no shape"),
        ("escape.onnx -o x.bin", 3, "external data `../secret`"),
        ("absolute.onnx -o x.bin", 3, "external data `/etc/passwd`"),
        ("no_data.onnx -o x.bin", 3, "external data `absent.data`"),
        ("nan.onnx -o x.bin --ternarise all", 3, "c1"),
        ("old.onnx -o x.bin", 3, "version_converter"),
        ("open.onnx -o x.bin", 3, "a window of 40 does not fit into 8 elements"),
        ("run absent.bin -i mnist.npz", 3, "absent.bin"),
        ("run cut.bin -i mnist.npz", 3, "cut.bin: damaged: it has not the length that its header says"),
        ("run flipped.bin -i mnist.npz", 3, "flipped.bin: damaged"),
        ("run newer.bin -i mnist.npz", 3, "format version 9, but this release reads version 1"),
        ("run text.bin -i mnist.npz", 3, "text.bin: not a model.bin"),
        ("run lenet5.onnx -i mnist.npz", 3, "lenet5.onnx: not a model.bin"),
        ("run folder -i mnist.npz", 3, "folder"),
        ("run lenet5.bin", 2, "no input is given"),
        ("run relu.bin -i x=x.npy -i x=x.npy", 2, "input `x` is given twice"),
        ("run lenet5.bin -i mnist.npz -i mnist.npz", 2, "input `image` is given twice"),
        ("run lenet5.bin --image text.png --std 0", 2, "pixels are divided by a number that is not 0"),
        ("run lenet5.bin --image text.png --std 1,nan,1", 2, "pixels are divided by a number that is not 0"),
        ("run lenet5.bin --image text.png --mean inf", 2, "a mean is a number"),
        ("run lenet5.bin --image text.png --mean -0.5", 3, "text.png"),
        ("run lenet5.bin -i mnist.npz --mean 0.5", 2, "cannot be used with '--mean <MEAN>'"),
        ("run lenet5.bin --mean 0.5", 2, "--image <FILE>"),
        ("run lenet5.bin -i mnist.npz --std 0.5", 2, "cannot be used with '--std <STD>'"),
        ("run lenet5.bin --std 0.5", 2, "--image <FILE>"),
        ("run lenet5.bin -i frob=labels.npy", 3, "the model has no input `frob`"),
        ("run lenet5.bin -i absent.npz", 3, "absent.npz: cannot be read"),
        ("run lenet5.bin -i text.npz", 3, "text.npz: not a readable .npz file"),
        ("run lenet5.bin -i image=text.npy", 3, "text.npy"),
        ("run lenet5.bin -i image=header.npy", 3, "its header has 4294967295 bytes; at most 10000 are read"),
        ("run lenet5.bin -i image=brackets.npy", 3, "brackets.npy"),
        ("run lenet5.bin -i image=braces.npy", 3, "its header is not a dictionary of `descr`"),
        ("run poster.bin --image text.png", 4, "input `x`: an image of 300000x1000000 is larger than"),
        ("lenet5.onnx -o x.bin --max-memory 1000", 4, "bytes for inputs of these shapes; the limit is 1000"),
        ("lenet5.onnx -o x.bin --max-memory many", 2, "invalid value 'many'"),
        ("lenet5.onnx -o x.bin --max-memory -1", 2, "'-1'"),
        ("run lenet5.bin -i mnist.npz --max-memory 1e9", 2, "invalid value '1e9'"),
        ("bench lenet5.bin --max-memory 1000", 4, "the limit is 1000"),
        ("compare lenet5.onnx lenet5.bin --data mnist.npz --max-memory 1000", 4, "the limit is 1000"),
        ("frob", 2, "no file to write is given"),
        ("run", 2, "<MODEL>"),
        ("run lenet5.bin lenet5.bin -i mnist.npz", 2, "unexpected argument 'lenet5.bin'"),
        ("bench", 2, "<MODEL>"),
        ("compare lenet5.onnx", 2, "<COMPILED>"),
        ("inspect absent.bin", 3, "absent.bin"),
        ("lenet5.onnx -o x.bin --activation-bits 3 --activations int", 2, "bits"),
        ("lenet5.onnx -o x.bin --activation-bits 13 --activations int", 2, "bits"),
        ("lenet5.onnx -o x.bin --calibrate absent.npz", 3, "absent.npz: cannot be read"),
        ("lenet5.onnx -o x.bin --calibrate text.npz", 3, "text.npz: not a readable .npz file"),
        ("lenet5.onnx -o x.bin --scale group:0", 2, "group:0"),
        ("lenet5.onnx -o x.bin --threshold frob", 2, "invalid value 'frob'"),
        ("lenet5.onnx -o x.bin --emit frob", 2, "invalid value 'frob'"),
        ("lenet5.onnx -o x.bin --dim N", 2, "--dim"),
        ("run lenet5.bin -i image=huge.npy", 3, "larger than the"),
        ("run lenet5.bin -i image=labels.npy", 3, "input `image` holds i64, but the model declares f32"),
        ("run lenet5.bin -i folder", 3, "there is no array for input `image`; there is nothing"),
        ("run lenet5.bin --image text.png", 3, "text.png"),
        ("run lenet5.bin --image absent.png", 3, "absent.png: cannot be read"),
        ("run lenet5.bin -i mnist.npz --max-memory 1000", 4, "the limit is 1000"),
        (
            "run lenet5.bin -i mnist.npz -o absent/out.npz",
            3,
            "absent/out.npz: cannot be written: its folder does not exist",
        ),
        (
            "bench vast.bin",
            4,
            "the model needs 576460752303423488 bytes for inputs of these shapes; the limit is",
        ),
        ("bench text.bin", 3, "text.bin: not a model.bin"),
        ("bench lenet5.bin --store x.txt", 2, "--autotune"),
        (
            "bench lenet5.bin --autotune --store lenet5.bin",
            2,
            "lenet5.bin would be overwritten by the output",
        ),
        ("bench lenet5.bin --tuning absent.txt", 3, "absent.txt: cannot be read"),
        ("bench lenet5.bin --tuning text.bin", 3, "text.bin: line 1: not a tuning"),
        ("run lenet5.bin -i mnist.npz --tuning bad.txt", 3, "bad.txt: line 2: not four fields"),
        ("run lenet5.bin -i mnist.npz --tuning bad.txt -o bad.txt", 2, "bad.txt would be overwritten"),
        ("inspect text.bin", 3, "text.bin: not a model.bin"),
        ("compare lenet5.onnx lenet5.bin --data absent.npz", 3, "absent.npz"),
        ("compare lenet5.onnx lenet5.bin --data mnist.npz --labels text.npy", 3, "text.npy"),
        ("compare lenet5.onnx lenet5.bin --data mnist.npz --labels mnist.npz", 3, "not a readable .npy file"),
        ("compare float.onnx rounded.bin --data mnist.npz --min-agreement 1", 1, "is below 1"),
        (
            "compare lenet5.onnx lenet5.bin --data mnist.npz --min-agreement 1.1",
            2,
            "a share is a number from 0 to 1",
        ),
        (
            "compare lenet5.onnx lenet5.bin --data mnist.npz --min-agreement nan",
            2,
            "a share is a number from 0 to 1",
        ),
        ("opt bad.twir", 3, "bad.twir: 2:3: there is no operator `frob`"),
        ("opt absent.twir", 3, "absent.twir: cannot be read"),
        ("opt lenet5.onnx --passes frob", 2, "there is no pass `frob`"),
        ("opt lenet5.onnx --passes saturate --explain frob", 2, "no layer, input, output or value `frob`"),
        ("opt lenet5.onnx --passes saturate --explain Logit", 2, "near it: `logits`"),
        ("opt lenet5.onnx --passes saturate --explain %9999", 2, "`twnc opt FILE` prints all values"),
        (
            "rules --check bad.rules",
            3,
            "bad.rules: line 2, column 17: there is no operator `relux`; near it: `relu`",
        ),
        ("rules --check bad.rules", 3, "docs/egraph-rules.md has the grammar"),
        ("rules --check wrong.rules", 3, "wrong.rules: line 2, column 8: `w` does not hold: element"),
        (
            "rules --check custom.rules",
            3,
            "line 1, column 24: the custom operator `com.example::Twice` is not registered",
        ),
        ("rules --check never.rules", 3, "line 1, column 6: `n` fits none of the random graphs"),
        ("rules --check binary.rules", 3, "binary.rules: cannot be read"),
        ("rules --check absent.rules", 3, "absent.rules: cannot be read"),
        ("rules --check wrong.rules --cases 0", 2, "a rule is evaluated in 1 to 1000000 cases"),
        ("lenet5.onnx -o x.bin --rules bad.rules", 3, "bad.rules: the rules: line 2, column 17"),
        (
            "lenet5.onnx -o x.bin --rules wrong.rules",
            3,
            "wrong.rules: the rules: line 2, column 8: rule `w` does not hold",
        ),
        (
            "lenet5.onnx -o x.bin --rules custom.rules",
            3,
            "a program that registers it compiles with the rule",
        ),
        ("inspect lenet5.onnx --rules bad.rules", 3, "bad.rules: the rules: line 2"),
        ("opt lenet5.onnx --rules bad.rules", 3, "bad.rules: the rules: line 2"),
        ("opt lenet5.onnx --explain logits", 2, "which --passes does not name"),
        ("opt lenet5.onnx --passes fold_scales --explain logits", 2, "--passes fold_scales,saturate"),
    ];
    let mut wrong = vec![];
    for (arguments, code, words) in cases {
        let output = twnc(folder.path(), arguments);
        let message = text(&output.stderr);
        let silent = !message.contains("panicked") && !folder.path().join("x.bin").exists();
        if output.status.code() != Some(*code) || !message.contains(words) || !silent {
            wrong.push(format!(
                "`twnc {arguments}` exits with {:?}: {message}\n  not {code}: {words}",
                output.status
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The same for machines.
    let output = twnc(folder.path(), "unknown.onnx -o x.bin --json");
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((error["error"]["code"].as_i64(), error["error"]["node"].as_str()), (Some(3), Some("f1")));
    // An environment that asks for what there is not.
    let output = Command::new(env!("CARGO_BIN_EXE_twnc"))
        .args(["bench", "lenet5.bin"])
        .env("TWNC_ISA", "frob")
        .current_dir(folder.path())
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("TWNC_ISA: `frob` is not available"));
}
