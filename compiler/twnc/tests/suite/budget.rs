//! `--max-size`, `--max-drop`, groups with samples and the report, by the command, on a small network that is written here.

use crate::command::{text, twnc};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Mutex};
use twnc::command::{Event, Host};
use twnc_ir::{Conv, Dim, Geometry, GraphBuilder, Op, Tensor, TensorType, Unary};

/// Numbers that look drawn, between -1 and 1.
pub fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 7919 + seed * 104_729) as f32 * 0.618_034 + (i * i % 977) as f32).sin())
        .collect()
}

/// Two convolutions and a linear layer for images of 8x8, as ONNX; the first layer has this name.
pub fn network(folder: &Path, name: &str) {
    let mut build = GraphBuilder::new("small");
    let mut x =
        build.input("image", TensorType::f32([Dim::symbol("N"), 1.into(), 8.into(), 8.into()].to_vec()));
    let ones = || vec![1, 1];
    for (i, (inputs, name)) in [(1, name), (8, "conv/second")].into_iter().enumerate() {
        let geometry =
            Geometry { strides: vec![2, 2], dilations: ones(), pads_begin: ones(), pads_end: ones() };
        let weight = Tensor::from_f32(vec![8, inputs, 3, 3], numbers(72 * inputs, i + 1)).unwrap();
        let weight = build.constant(weight, &format!("w{i}"));
        x = build.node(Op::Conv(Conv { geometry, groups: 1 }), &[x, weight], name).unwrap();
        x = build.node(Op::Unary(Unary::Relu), &[x], "").unwrap();
    }
    x = build.node(Op::Reshape { shape: vec![Dim::symbol("N"), 32.into()] }, &[x], "").unwrap();
    let weight = build.constant(Tensor::from_f32(vec![32, 4], numbers(128, 3)).unwrap(), "w2");
    x = build.node(Op::MatMul, &[x, weight], "last").unwrap();
    build.output("logits", x);
    std::fs::write(folder.join("small.onnx"), twnc_onnx::export(&build.finish()).unwrap()).unwrap();
}

/// An array as `.npy`, alone in a folder.
pub fn put(folder: &Path, name: &str, shape: &[usize], descr: &str, bytes: &[u8]) {
    let shape: Vec<String> = shape.iter().map(|n| format!("{n},")).collect();
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}\n", shape.concat());
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(bytes);
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(format!("{name}.npy")), file).unwrap();
}

pub fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn folder(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    network(folder.path(), name);
    put(&folder.path().join("x"), "image", &[100, 1, 8, 8], "<f4", &floats(&numbers(6400, 7)));
    let labels: Vec<u8> = (0..100i64).flat_map(|i| (i % 4).to_le_bytes()).collect();
    put(folder.path(), "labels", &[100], "<i8", &labels);
    put(folder.path(), "few", &[4], "<i8", &labels[..32]);
    folder
}

#[test]
fn limits_are_kept_or_refused() {
    let folder = folder("first");
    let size = |file: &str| std::fs::metadata(folder.path().join(file)).map(|m| m.len()).unwrap_or(0);
    assert!(twnc(folder.path(), "small.onnx --ternarise none -o float.bin").status.success());
    let float = size("float.bin");
    let half = float * 6 / 10;
    let cases = [
        (
            "small.onnx --calibrate x --fine-tune none --max-size 60% --frontier f.svg -o a.bin".to_owned(),
            0,
            "with all layers in one ternary form",
        ),
        (
            format!("small.onnx --calibrate x --fine-tune 5 --max-size {half} -o b.bin"),
            0,
            "made ternary and repaired",
        ),
        (
            "small.onnx --calibrate x --fine-tune none --max-drop 0% --labels labels.npy -o c.bin".to_owned(),
            0,
            "right",
        ),
        (
            "small.onnx --calibrate x --fine-tune none --max-size +20% -o d.bin --activations int".to_owned(),
            0,
            "forms of layers",
        ),
        (
            "small.onnx --calibrate x --fine-tune 5 --scale group:9 -o g.bin".to_owned(),
            0,
            "3 layers made ternary and repaired",
        ),
        (
            "small.onnx --calibrate x --max-size 800 -o x.bin".to_owned(),
            4,
            "with the smallest form of each layer the file has",
        ),
        ("small.onnx --calibrate x --max-size many -o x.bin".to_owned(), 2, "`many` is no size"),
        ("small.onnx --calibrate x --max-drop 101 -o x.bin".to_owned(), 2, "percentage points from 0 to 100"),
        (
            "small.onnx --calibrate x --max-drop 1 --labels few.npy -o x.bin".to_owned(),
            3,
            "4 labels for 100 samples",
        ),
        (
            "small.onnx --calibrate x --labels labels.npy -o x.bin".to_owned(),
            2,
            "add --max-size or --max-drop",
        ),
        ("small.onnx --calibrate x --frontier f.svg -o x.bin".to_owned(), 2, "add --max-size or --max-drop"),
        ("small.onnx --max-size 50% -o x.bin".to_owned(), 2, "--calibrate"),
    ];
    for (arguments, code, words) in cases {
        let output = twnc(folder.path(), &arguments);
        let said = text(&[output.stdout, output.stderr].concat());
        assert_eq!(output.status.code(), Some(code), "`twnc {arguments}`: {said}");
        assert!(said.contains(words), "`twnc {arguments}` does not say `{words}`: {said}");
        assert!(!folder.path().join("x.bin").exists(), "`twnc {arguments}` wrote a file");
    }
    assert!(size("a.bin") <= half && size("b.bin") <= half, "{} {} {float}", size("a.bin"), size("b.bin"));
    assert!(std::fs::read_to_string(folder.path().join("f.svg")).unwrap().contains("<polyline"));
    // Each compiled form runs, and as what it was compiled from says.
    for (model, agreement) in
        [("a.bin", 0.5), ("b.bin", 0.5), ("c.bin", 0.5), ("d.bin", 0.25), ("g.bin", 0.5)]
    {
        let arguments = format!("compare small.onnx {model} --data x --min-agreement {agreement}");
        let output = twnc(folder.path(), &arguments);
        assert!(output.status.success(), "{model}: {}", text(&output.stderr));
    }
}

/// The last that is heard of any work is that all of it is done. Fitting ended at 2 of 3, and calibrating 100 samples at 104.
#[test]
fn progress_ends_where_the_work_does() {
    let folder = folder("first");
    let path = |name: &str| folder.path().join(name).into_os_string();
    let heard: Arc<Mutex<BTreeMap<&'static str, (u64, u64)>>> = Arc::default();
    let last = Arc::clone(&heard);
    let host = Host::in_memory(move |event| {
        if let Event::Progress { what, done, total } = event {
            last.lock().unwrap().insert(what, (done, total));
        }
        true
    });
    let mut arguments = vec!["twnc".into(), path("small.onnx"), "--calibrate".into(), path("x")];
    arguments.extend("--max-size 90% --fine-tune 3 --activations int -o".split(' ').map(OsString::from));
    arguments.push(path("a.bin"));
    twnc::command::execute(arguments, &host).unwrap();
    let heard = heard.lock().unwrap();
    let work: Vec<&str> = heard.keys().copied().collect();
    assert_eq!(work, ["calibrating", "fine-tuning", "fitting layers", "weighing layers"]);
    assert!(heard.values().all(|(done, total)| done == total && *total > 0), "{heard:?}");
}

/// The page holds the numbers of the model, and no name in it is markup.
#[test]
fn the_report_is_of_the_model() {
    let name = "</script><img src=x onerror=alert(1)>";
    let folder = folder(name);
    let arguments = "small.onnx --calibrate x --fine-tune none --max-size 60% --report r.html -o a.bin";
    let output = twnc(folder.path(), arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = std::fs::read_to_string(folder.path().join("r.html")).unwrap();
    assert!(!page.contains("<img"));
    let begin = page.find("type=\"application/json\">").unwrap() + "type=\"application/json\">".len();
    let length = page[begin..].find("</script>").unwrap();
    let report: Value = serde_json::from_str(&page[begin..begin + length]).unwrap();
    let bytes = std::fs::metadata(folder.path().join("a.bin")).unwrap().len();
    assert_eq!(report["bytes"].as_u64(), Some(bytes));
    let frontier = &report["repair"]["frontier"];
    let chosen = frontier["chosen"].as_u64().unwrap() as usize;
    assert_eq!(frontier["points"][chosen]["bytes"].as_u64(), Some(bytes));
    // Every layer is a step, and what a step reads was written before it.
    let steps = report["steps"].as_array().unwrap();
    for layer in report["layers"].as_array().unwrap() {
        assert_eq!(steps[layer["step"].as_u64().unwrap() as usize]["name"], layer["name"]);
    }
    for (number, step) in steps.iter().enumerate() {
        assert!(step["reads"].as_array().unwrap().iter().all(|read| read.as_u64() < Some(number as u64)));
    }
    // What `inspect` says of the file is what the page has.
    let output = twnc(folder.path(), "inspect a.bin --json");
    let inspected: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["totals"], inspected["totals"]);
    let (shown, layers) = (report["layers"].as_array().unwrap(), inspected["layers"].as_array().unwrap());
    assert_eq!((shown.len(), layers.len()), (3, 3));
    assert!(shown.iter().any(|layer| layer["name"] == name), "{shown:?}");
    for (shown, layer) in shown.iter().zip(layers) {
        for key in ["name", "op", "shape", "ternary", "sparsity", "additions", "multiplications_epilogue"] {
            assert_eq!(shown[key], layer[key], "{key}");
        }
        let counts = shown["weight_histogram"]["counts"].as_array().unwrap();
        let counts: Vec<u64> = counts.iter().map(|count| count.as_u64().unwrap()).collect();
        assert_eq!(Some(counts.iter().sum::<u64>()), shown["weights"].as_u64());
        if layer["ternary"] == true {
            let zeros = counts[1] as f64 / counts.iter().sum::<u64>() as f64;
            assert!((zeros - layer["sparsity"].as_f64().unwrap()).abs() < 1e-9);
        }
        assert!(shown["time_ms"].as_f64().is_some_and(|time| time >= 0.0));
    }
    let output =
        twnc(folder.path(), "compare small.onnx a.bin --data x --labels labels.npy --report c.json --json");
    let compared: Value = serde_json::from_slice(&output.stdout).unwrap();
    let written = std::fs::read_to_string(folder.path().join("c.json")).unwrap();
    let written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!((&written["compare"], written["bytes"].as_u64()), (&compared, Some(bytes)));
}

/// Nodes of a file may have one name; each has a scale of its own all the same.
#[test]
fn nodes_of_one_name_are_calibrated_each() {
    let folder = folder("conv/sec_nd");
    // The name of the node alone: a file's values have names of their own.
    let path = folder.path().join("small.onnx");
    let mut bytes = std::fs::read(&path).unwrap();
    let field = b"\x1a\x0bconv/sec_nd";
    let at = bytes.windows(field.len()).position(|part| part == field).unwrap();
    bytes[at..at + field.len()].copy_from_slice(b"\x1a\x0bconv/second");
    std::fs::write(path, bytes).unwrap();
    let line = "small.onnx --activations int --calibrate x --fine-tune none --emit twir";
    let output = twnc(folder.path(), line);
    let graph = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let quantised: Vec<&str> = graph.split(" = quantize(").skip(1).collect();
    assert_eq!(quantised.len(), 3, "{graph}");
    let named = |part: &&str| part.split(" : ").next().is_some_and(|node| node.ends_with("\"conv/second\""));
    assert_eq!(quantised.iter().filter(|part| named(part)).count(), 2, "{graph}");
    let is_constant = |part: &&str| part.split('}').next().is_some_and(|options| options.contains("scale="));
    assert!(quantised.iter().all(is_constant), "{graph}");
}
