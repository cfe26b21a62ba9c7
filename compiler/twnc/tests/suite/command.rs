//! The command as people use it: what it writes and where that goes; `refusals` has what can be wrong.

use crate::fixture::{bytes, graph, ints, model, node, value};
use crate::networks::shared;
use onnx_protobuf::NodeProto;
use onnx_protobuf::tensor_proto::DataType::FLOAT;
use std::path::Path;
use std::process::{Command, Output};
use testsuite::generate::{Network, Weights};
use twnc_program::Program;

/// Runs the command in a folder.
pub fn twnc(folder: &Path, arguments: &str) -> Output {
    let words = arguments.split_whitespace();
    Command::new(env!("CARGO_BIN_EXE_twnc")).args(words).current_dir(folder).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    // The renderer wraps long lines; a test looks for words, not for lines.
    String::from_utf8_lossy(bytes).replace(['│', '×'], " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A folder with LeNet-5, compiled and not, and a batch of its inputs.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(shared("models/lenet5_twn.onnx"), folder.path().join("lenet5.onnx")).unwrap();
    std::fs::copy(shared("data/mnist-500.npz"), folder.path().join("mnist.npz")).unwrap();
    std::fs::copy(shared("data/mnist-500-labels.npy"), folder.path().join("labels.npy")).unwrap();
    let output = twnc(folder.path(), "lenet5.onnx -o lenet5.bin");
    assert!(output.status.success(), "{}", text(&output.stderr));
    folder
}

pub fn relu(inputs: &[&str], output: &str) -> NodeProto {
    node("Relu", &format!("make_{output}"), inputs, &[output], vec![])
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
    has(&report, &["network", "cost", "notes", "remarks", "passes"]);
    has(&report["cost"], &["multiplications", "additions", "tables", "bytes", "steps"]);
    for remark in report["remarks"].as_array().unwrap() {
        has(remark, &["pass", "layer", "kind", "topic", "message"]);
        let topic = match remark["pass"].as_str() {
            Some("ternarise") => "rounding",
            Some("saturate") => "folding",
            _ => "detection",
        };
        assert_eq!(remark["topic"], topic, "{remark}");
    }
    let passes = json("passes --json");
    assert!(passes.as_array().unwrap().iter().any(|p| p["name"] == "ternarise"), "{passes}");
    let rules = json("rules --json");
    assert!(rules.as_array().unwrap().iter().any(|r| r["name"] == "scale_through_relu"), "{rules}");
    let rule = "rule positive (reassociation): abs(relu(?x)) => relu(?x)";
    std::fs::write(folder.path().join("own.rules"), rule).unwrap();
    let checked = json("rules --check own.rules --cases 50 --json");
    assert_eq!(checked[0]["cases"], 50, "{checked}");
    json("lenet5.onnx -o again.bin --rules own.rules --json");
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

#[test]
fn wrong_rules_are_all_named() {
    let folder = folder();
    let rules = include_str!("../../../../passes/tests/wrong.rules");
    std::fs::write(folder.path().join("wrong.rules"), rules).unwrap();
    let output = twnc(folder.path(), "rules --check wrong.rules --json");
    assert_eq!(output.status.code(), Some(3));
    let verdicts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&str> =
        rules.lines().filter_map(|line| line.strip_prefix("rule ")?.split(' ').next()).collect();
    assert!(names.len() >= 24, "{names:?}");
    for (name, verdict) in names.iter().zip(verdicts.as_array().unwrap()) {
        assert_eq!((verdict["name"].as_str(), verdict["holds"].as_bool()), (Some(*name), Some(false)));
    }
}

#[test]
fn what_led_to_a_value_is_told() {
    let folder = folder();
    let passes = "fold_constants,detect_ternary,fold_scales,saturate";
    let output = twnc(
        folder.path(),
        &format!("opt lenet5.onnx --passes {passes} --explain logits --explain image --explain %0"),
    );
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stderr);
    for words in [
        "saturate: `logits`: it was ",
        "saturate: `logits`: scale_through_max_pool: ",
        "saturate: `logits`: it is ",
        "saturate: `image`: no rule led to it",
        "saturate: `%0`: no rule led to it",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
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
fn open_sizes_that_nobody_gave_are_told_of() {
    let folder = folder();
    put_open_sizes(folder.path());
    // A window that does not fit into an image of one place.
    let window = node("MaxPool", "pool", &["x"], &["y"], vec![ints("kernel_shape", &[5, 1])]);
    let network = model(17, graph(vec![window], vec![value("x", FLOAT, "N,3,H,W")], vec![], &["y"]));
    std::fs::write(folder.path().join("window.onnx"), bytes(&network)).unwrap();
    for (arguments, note) in [
        ("bench open.bin --runs 1", "note: H, W taken as 1; --dim H=N --dim W=N gives another size"),
        ("inspect open.bin", "note: H, W taken as 1; --dim H=N --dim W=N gives another size"),
        ("inspect open.onnx --dim H=4", "note: W taken as 1; --dim W=N gives another size"),
        ("inspect window.onnx", "note: H, W taken as 16; --dim H=N --dim W=N gives another size"),
        ("inspect window.onnx --dim H=7", "note: W taken as 1; --dim W=N gives another size"),
        ("bench open.bin --runs 1 --dim H=4 --dim W=4", ""),
        // A batch of 1 is what one expects.
        ("bench lenet5.bin --runs 1", ""),
    ] {
        let output = twnc(folder.path(), arguments);
        assert!(output.status.success(), "{arguments}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), note, "{arguments}");
        assert!(!arguments.starts_with("bench") || text(&output.stdout).contains("(1 run, 1 thread, "));
    }
    // Where what is given does not fit, no size of the others does.
    assert!(twnc(folder.path(), "window.onnx -o window.bin").status.success());
    let output = twnc(folder.path(), "bench window.bin --runs 1 --dim H=2");
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr);
    assert!(said.contains("W is open, and the model takes none of") && said.contains("--dim W=N"), "{said}");
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

/// The first layer of ResNet-18 runs in one kernel with the pool behind it, and once had no code.
#[test]
fn a_layer_that_runs_with_its_pool_has_code() {
    let folder = folder();
    let network: Network = "resnet18".parse().unwrap();
    let model = network.model(Weights::Float, 1);
    std::fs::write(folder.path().join("resnet18.onnx"), bytes(&model)).unwrap();
    let output = twnc(folder.path(), "inspect resnet18.onnx --ternarise all --activations int --json");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let layers = report["layers"].as_array().unwrap();
    // The interpreter has none for any.
    let without: Vec<_> = layers.iter().filter(|layer| layer["code"].is_null()).collect();
    assert!(without.is_empty() || without.len() == layers.len(), "{without:?}");
}
