//! The command as people use it: what it writes, its exit codes, and a table of everything that can be wrong.

use crate::fixture::{bytes, external, floats, graph, int, ints, model, node, ones, value};
use crate::networks::shared;
use onnx_protobuf::tensor_proto::DataType::FLOAT;
use onnx_protobuf::{ModelProto, NodeProto, TensorProto};
use std::path::Path;
use std::process::{Command, Output};
use twnc_program::{Buffer, BufferId, Dim, ElementType, Port, Program};

/// Runs the command in a folder.
fn twnc(folder: &Path, arguments: &str) -> Output {
    let words = arguments.split_whitespace();
    Command::new(env!("CARGO_BIN_EXE_twnc")).args(words).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    // The renderer wraps long lines; a test looks for words, not for lines.
    String::from_utf8_lossy(bytes).replace(['│', '×'], " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A folder with LeNet-5, compiled and not, and a batch of its inputs.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(shared("models/lenet5_twn.onnx"), folder.path().join("lenet5.onnx")).unwrap();
    std::fs::copy(shared("data/mnist-500.npz"), folder.path().join("mnist.npz")).unwrap();
    std::fs::copy(shared("data/mnist-500-labels.npy"), folder.path().join("labels.npy")).unwrap();
    let output = twnc(folder.path(), "lenet5.onnx -o lenet5.bin");
    assert!(output.status.success(), "{}", text(&output.stderr));
    folder
}

fn relu(inputs: &[&str], output: &str) -> NodeProto {
    node("Relu", &format!("make_{output}"), inputs, &[output], vec![])
}

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

#[test]
fn results_are_what_the_documentation_says() {
    let folder = folder();
    let json = |arguments: &str| -> serde_json::Value {
        let output = twnc(folder.path(), arguments);
        assert!(output.status.success(), "{arguments}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{arguments}: {e}"))
    };
    let has = |value: &serde_json::Value, keys: &[&str]| {
        keys.iter().for_each(|key| assert!(value.get(key).is_some(), "{key} is missing in {value}"));
    };
    let compare = json("compare lenet5.onnx lenet5.bin --data mnist.npz --labels labels.npy --json");
    has(
        &compare,
        &["samples", "agreement", "top1", "top1_float", "top5", "max_abs", "cosine", "sqnr_db", "layers"],
    );
    assert_eq!((compare["samples"].as_u64(), compare["agreement"].as_f64()), (Some(500), Some(1.0)));
    assert!(compare["top1"].as_f64() >= Some(0.99));
    assert!(compare["max_abs"].as_f64() < Some(1e-3));
    let bench = json("bench lenet5.bin --runs 3 --json");
    let keys =
        ["min_ms", "median_ms", "p99_ms", "runs", "threads", "isa", "load_ms", "peak_rss_bytes", "steps"];
    has(&bench, &keys);
    has(&bench["steps"][0], &["name", "kind", "median_ms", "kernel", "estimate_ms"]);
    assert!(bench["autotune"].is_null(), "{bench}");
    let bench = json("bench lenet5.bin --runs 3 --autotune --store tuning.txt --json");
    has(&bench["autotune"], &["first_ms", "best_ms", "steps"]);
    let keys = ["name", "candidates", "estimate_ms", "first_ms", "best_ms", "gain", "rank", "kernel"];
    let tuned = bench["autotune"]["steps"].as_array().unwrap();
    tuned.iter().for_each(|step| has(step, &keys));
    // What was measured afterwards is what was chosen, and a run takes it from the file.
    let kernels = |bench: &serde_json::Value| -> Vec<serde_json::Value> {
        let steps = bench["steps"].as_array().unwrap().iter();
        // Where all is interpreted there is nothing to choose.
        let generated = steps.filter(|s| s["kind"] == "accumulate" && s["kernel"] != "interpreter");
        generated.map(|step| step["kernel"].clone()).collect()
    };
    assert_eq!(kernels(&bench), tuned.iter().map(|step| step["kernel"].clone()).collect::<Vec<_>>());
    assert_eq!(kernels(&json("bench lenet5.bin --runs 1 --tuning tuning.txt --json")), kernels(&bench));
    assert!(
        std::fs::read_to_string(folder.path().join("tuning.txt")).unwrap().starts_with("twnc tuning 1\n")
    );
    assert!(twnc(folder.path(), "run lenet5.bin -i mnist.npz --tuning tuning.txt").status.success());
    let shown = text(&twnc(folder.path(), "bench lenet5.bin --runs 3 --autotune").stdout);
    for words in ["autotune: ", " ms before, ", " ms after (", "step estimate first ms best ms gain kernel"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let help = text(&twnc(folder.path(), "bench --help").stdout);
    ["--autotune", "--store <FILE>", "--tuning <FILE>"]
        .iter()
        .for_each(|flag| assert!(help.contains(flag), "{help}"));
    let inspect = json("inspect lenet5.bin --json");
    has(&inspect, &["bytes", "layers", "totals"]);
    has(&inspect["totals"], &["additions", "multiplications", "multiplications_float_network"]);
    for layer in inspect["layers"].as_array().unwrap() {
        let ternary = layer["ternary"].as_bool().unwrap();
        assert_eq!(layer["multiplications_kernel"].as_u64() == Some(0), ternary, "{layer}");
        if let Some(code) = layer["code"].as_object() {
            // A layer that stays float multiplies, and is counted so.
            assert_eq!(code["multiplying"].as_u64() == Some(0), ternary, "{layer}");
            assert_eq!(code["calls"].as_u64(), Some(0), "{layer}");
        }
    }
    let inspect = json("inspect lenet5.onnx --json");
    let kept = inspect["layers"].as_array().unwrap().iter().find(|l| l["ternary"] == false).unwrap();
    assert!(kept["why_not"].is_string(), "{kept}");
    json("lenet5.onnx -o again.bin --report report.json --json");
    let report = std::fs::read(folder.path().join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    has(&report, &["network", "notes", "remarks", "passes"]);
    for remark in report["remarks"].as_array().unwrap() {
        has(remark, &["pass", "layer", "kind", "topic", "message"]);
        let topic = if remark["pass"] == "ternarise" { "rounding" } else { "detection" };
        assert_eq!(remark["topic"], topic, "{remark}");
    }
    let passes = json("passes --json");
    assert!(passes.as_array().unwrap().iter().any(|p| p["name"] == "ternarise"), "{passes}");
    let operators = json("ops --json");
    assert!(operators.as_array().unwrap().iter().any(|o| o["name"] == "Conv"), "{operators}");
}

#[test]
fn a_run_writes_its_outputs_by_name() {
    let folder = folder();
    let output = twnc(folder.path(), "run lenet5.bin -i mnist.npz -o out.npz");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let archive = std::fs::read(folder.path().join("out.npz")).unwrap();
    assert!(archive.windows(10).any(|w| w == b"logits.npy"));
    let shown = twnc(folder.path(), "run lenet5.bin -i mnist.npz");
    assert!(text(&shown.stdout).starts_with("logits: f32 [500, 10] largest at 7"), "{}", text(&shown.stdout));
}

#[test]
fn a_network_that_is_rounded_is_warned_of() {
    let folder = folder();
    std::fs::copy(shared("models/lenet5_float.onnx"), folder.path().join("float.onnx")).unwrap();
    let output = twnc(folder.path(), "float.onnx -o float.bin");
    assert!(output.status.success());
    let warning = text(&output.stderr);
    for words in [
        "WARNING: 4 layers",
        "was not trained for it",
        "synthetic inputs",
        "no real data",
        "--keep",
        "--scale channel",
    ] {
        assert!(warning.contains(words), "{words}: {warning}");
    }
    let quiet = twnc(folder.path(), "float.onnx --ternarise none -o float.bin");
    assert_eq!(text(&quiet.stderr), "");
}

#[test]
fn text_goes_out_and_in() {
    let folder = folder();
    let printed = twnc(folder.path(), "opt lenet5.onnx --full");
    std::fs::write(folder.path().join("lenet5.twir"), &printed.stdout).unwrap();
    let again = twnc(folder.path(), "opt lenet5.twir --full");
    assert_eq!(text(&printed.stdout), text(&again.stdout));
    let passes =
        twnc(folder.path(), "opt lenet5.twir --passes fold_constants,detect_ternary,ternarise,fold_scales");
    let result = text(&passes.stdout);
    assert!(result.contains("const ternary[32,1,5,5]") && !result.contains("batch_norm"), "{result}");
    let drawn = twnc(folder.path(), "lenet5.onnx --emit dot");
    assert!(text(&drawn.stdout).starts_with("digraph {"), "{}", text(&drawn.stdout));
    let onnx = twnc(folder.path(), "lenet5.onnx --emit onnx -o again.onnx");
    assert!(onnx.status.success(), "{}", text(&onnx.stderr));
    let again = twnc(folder.path(), "compare lenet5.onnx lenet5.bin --data mnist.npz --min-agreement 1");
    assert!(again.status.success());
    let program = |file: &str| {
        let output = twnc(folder.path(), &format!("{file}.onnx -o {file}.bin"));
        assert!(output.status.success(), "{}", text(&output.stderr));
        Program::read_file(&folder.path().join(format!("{file}.bin"))).unwrap()
    };
    // What was written as ONNX is recognised as ternary again.
    let ternary = |p: &Program| p.steps.iter().filter(|s| s.kind_name() == "accumulate").count();
    assert_eq!(ternary(&program("again")), ternary(&program("lenet5")));
}

/// A network whose image sizes are open, as `open.onnx` and `open.bin`.
fn put_open_sizes(folder: &Path) {
    let network =
        model(17, graph(vec![relu(&["x"], "y")], vec![value("x", FLOAT, "N,3,H,W")], vec![], &["y"]));
    std::fs::write(folder.join("open.onnx"), bytes(&network)).unwrap();
    let output = twnc(folder, "open.onnx -o open.bin");
    assert!(output.status.success(), "{}", text(&output.stderr));
    // Nothing became ternary, and nothing smaller.
    let said = text(&output.stdout);
    assert!(said.contains("open.onnx has") && said.ends_with("; 0 ternary layers"), "{said}");
}

#[test]
fn open_sizes_that_are_taken_as_1_are_told_of() {
    let folder = folder();
    put_open_sizes(folder.path());
    for (arguments, note) in [
        ("bench open.bin --runs 1", "note: H, W taken as 1; --dim H=N --dim W=N gives another size"),
        ("inspect open.bin", "note: H, W taken as 1; --dim H=N --dim W=N gives another size"),
        ("inspect open.onnx --dim H=4", "note: W taken as 1; --dim W=N gives another size"),
        ("bench open.bin --runs 1 --dim H=4 --dim W=4", ""),
        // A batch of 1 is what one expects.
        ("bench lenet5.bin --runs 1", ""),
    ] {
        let output = twnc(folder.path(), arguments);
        assert!(output.status.success(), "{arguments}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), note, "{arguments}");
        assert!(!arguments.starts_with("bench") || text(&output.stdout).contains("(1 run, 1 thread, "));
    }
}

#[test]
fn columns_add_up_to_the_totals() {
    let folder = folder();
    for file in ["lenet5.bin", "lenet5.onnx --activations int"] {
        let output = twnc(folder.path(), &format!("inspect {file} --json"));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut parts = report["layers"].as_array().unwrap().clone();
        parts.push(report["others"].clone());
        let sum = |key: &str| parts.iter().map(|part| part[key].as_u64().unwrap()).sum::<u64>();
        assert_eq!(Some(sum("additions")), report["totals"]["additions"].as_u64(), "{report}");
        let multiplications = sum("multiplications_kernel") + sum("multiplications_epilogue");
        assert_eq!(Some(multiplications), report["totals"]["multiplications"].as_u64(), "{report}");
    }
}

#[test]
fn half_precision_arrays_are_widened() {
    let folder = folder();
    let numbers = |name: &str, kind: &str, elements: Vec<u8>| {
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': (1, 1, 28, 28), }}");
        let file = [b"\x93NUMPY\x01\x00\x76\x00", format!("{header:<117}\n").as_bytes(), &elements].concat();
        std::fs::write(folder.path().join(name), file).unwrap();
        let output = twnc(folder.path(), &format!("run lenet5.bin -i image={name}"));
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    // 0.5 and -1.5 in both; exact in f16.
    let half = numbers("half.npy", "<f2", [0x00, 0x38, 0x00, 0xbe].repeat(14 * 28));
    let single = [0.5f32, -1.5].map(f32::to_le_bytes).concat().repeat(14 * 28);
    assert_eq!(half, numbers("single.npy", "<f4", single));
}

#[cfg(unix)]
#[test]
fn an_output_goes_where_a_link_points_to() {
    use std::os::unix::fs::symlink;
    let folder = folder();
    let there = folder.path().join("there");
    std::fs::create_dir(&there).unwrap();
    let links = ["bin", "json", "npz"];
    for kind in links {
        symlink(format!("there/out.{kind}"), folder.path().join(format!("link.{kind}"))).unwrap();
    }
    // The first time there is no file that a link points to.
    for _ in 0..2 {
        for arguments in
            ["lenet5.onnx -o link.bin --report link.json", "run lenet5.bin -i mnist.npz -o link.npz"]
        {
            let output = twnc(folder.path(), arguments);
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
        for kind in links {
            assert!(folder.path().join(format!("link.{kind}")).is_symlink(), "{kind}");
            let target = there.join(format!("out.{kind}"));
            assert!(target.is_file() && !target.is_symlink(), "{kind}");
        }
    }
    assert_eq!(
        std::fs::read(there.join("out.bin")).unwrap(),
        std::fs::read(folder.path().join("lenet5.bin")).unwrap()
    );
    symlink("lenet5.onnx", folder.path().join("source")).unwrap();
    let output = twnc(folder.path(), "lenet5.onnx -o source");
    assert!(text(&output.stderr).contains("lenet5.onnx would be overwritten"), "{}", text(&output.stderr));
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
    put("bad.twir", b"graph \"g\" (%0 \"x\": f32[2]) -> (%1 \"y\") {\n  %1 = frob(%0) : f32[2]\n}\n");
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
    let same = vec![crate::fixture::text("auto_pad", "SAME_UPPER"), ints("strides", &[2, 2])];
    let on = |x: &str, nodes: Vec<NodeProto>, constants: Vec<TensorProto>| {
        model(17, graph(nodes, vec![value("x", FLOAT, x)], constants, &["y"]))
    };
    let product = node("MatMul", "m", &["x", "w"], &["y"], vec![]);
    let padding = vec![
        node("Shape", "s", &["x"], &["sizes"], vec![]),
        node("Pad", "p", &["x", "sizes"], &["y"], vec![]),
    ];
    let more = [
        (
            "same",
            on(
                "N,3,H,W",
                vec![node("Conv", "c1", &["x", "w"], &["y"], same)],
                vec![ones("w", &[4, 3, 3, 3])],
            ),
        ),
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
        ("lenet5.onnx -o x.bin --report x.bin", 2, "the report and the model would be the same file"),
        ("run lenet5.bin -i image=one.npy -o lenet5.bin", 2, "lenet5.bin would be overwritten by the output"),
        #[cfg(unix)]
        ("lenet5.onnx --emit twir -o /dev/null", 2, "/dev/null is no regular file"),
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
        ("lenet5.onnx -o absent/x.bin", 3, "absent/x.bin: cannot be written"),
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
        ("run lenet5.bin -i image=huge.npy", 3, "larger than the"),
        ("run lenet5.bin -i image=labels.npy", 3, "input `image` holds i64, but the model declares f32"),
        ("run lenet5.bin -i folder", 3, "there is no array for input `image`; there is nothing"),
        ("run lenet5.bin --image text.png", 3, "text.png"),
        ("run lenet5.bin --image absent.png", 3, "absent.png: cannot be read"),
        ("run lenet5.bin -i mnist.npz --max-memory 1000", 4, "the limit is 1000"),
        ("run lenet5.bin -i mnist.npz -o absent/out.npz", 3, "absent/out.npz: cannot be written"),
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
