//! ONNX's own backend tests, through the importer and the reference evaluator.
//!
//! `TWNC_ZOO` names the folder that holds `conformance/`; without it nothing is tested, visibly. A test passes if every output
//! is within ONNX's tolerance. One that the importer refuses is counted by its reason, and never fails this test; a wrong
//! result does. With `TWNC_CONFORMANCE=list` every refusal is printed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use prost::Message;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use twnc_ir::eval::evaluate;
use twnc_ir::{Data, Tensor};
use twnc_onnx::external::ExternalData;
use twnc_onnx::proto::{ModelProto, TensorProto};
use twnc_onnx::tensor::decode;
use twnc_onnx::{ImportOptions, export, import_bytes};

const RELATIVE: f64 = 1e-3;
const ABSOLUTE: f64 = 1e-7;

/// Tests that ask for what is computed in f32 here to be rounded to 16 bits, which no tolerance covers.
const ROUNDED_TO_16_BITS: [&str; 3] = [
    "test_cast_FLOAT_to_BFLOAT16",
    "test_castlike_FLOAT_to_BFLOAT16",
    "test_castlike_FLOAT_to_BFLOAT16_expanded",
];

enum Outcome {
    Passed,
    Refused(String),
    Wrong(String),
}

#[test]
fn backend_suite() {
    let Some(zoo) = std::env::var_os("TWNC_ZOO") else {
        eprintln!("skipped: TWNC_ZOO does not name a folder with conformance/");
        return;
    };
    let list = std::env::var("TWNC_CONFORMANCE").is_ok_and(|value| value == "list");
    let mut wrong = vec![];
    for (suite, least) in [("node", 720), ("simple", 5), ("pytorch-converted", 3), ("pytorch-operator", 2)] {
        let (mut passed, mut total, mut refused) = (0, 0, BTreeMap::<String, usize>::new());
        for case in folders(&Path::new(&zoo).join("conformance").join(suite)) {
            let name = case.file_name().unwrap().to_string_lossy().into_owned();
            total += 1;
            match run(&case) {
                Outcome::Passed => passed += 1,
                Outcome::Refused(reason) => {
                    if list {
                        eprintln!("{suite}/{name}: {}", reason.replace('\n', " "));
                    }
                    *refused.entry(kind(&reason)).or_default() += 1;
                }
                Outcome::Wrong(_) if ROUNDED_TO_16_BITS.contains(&name.as_str()) => {}
                Outcome::Wrong(reason) => wrong.push(format!("{suite}/{name}: {reason}")),
            }
        }
        eprintln!("{suite}: {passed} of {total} passed");
        let mut reasons: Vec<_> = refused.into_iter().collect();
        reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(*count), reason.clone()));
        reasons.iter().for_each(|(reason, count)| eprintln!("{count:6}  {reason}"));
        assert!(passed >= least, "{suite}: {passed} passed, there were {least}");
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Parameters that the suite feeds as inputs (axes, shapes, zero points) and networks hold as constants become constants where the
/// importer asks for it: first all inputs but the first, then all.
fn run(case: &Path) -> Outcome {
    let bytes = fs::read(case.join("model.onnx")).unwrap();
    let mut refusal = String::new();
    for kept in [usize::MAX, 1, 0] {
        match attempt(case, &bytes, kept) {
            Outcome::Refused(reason) if refusal.is_empty() => refusal = reason,
            Outcome::Refused(_) => {}
            done => return done,
        }
    }
    Outcome::Refused(refusal)
}

/// One run in which the first `kept` inputs are inputs.
fn attempt(case: &Path, bytes: &[u8], kept: usize) -> Outcome {
    let mut data_sets = folders(case);
    data_sets.retain(|folder| folder.file_name().unwrap().to_string_lossy().starts_with("test_data_set"));
    for data in data_sets {
        let (Ok(inputs), Ok(expected)) = (tensors(&data, "input"), tensors(&data, "output")) else {
            return Outcome::Refused("the data are not tensors".into());
        };
        let mut model = match ModelProto::decode(bytes) {
            Ok(model) => model,
            Err(error) => return Outcome::Refused(error.to_string()),
        };
        let mut feed = BTreeMap::new();
        let graph = model.graph.as_mut().unwrap();
        let names: Vec<String> = graph.input.iter().map(|input| input.name.clone()).collect();
        for (i, (name, proto)) in names.into_iter().zip(inputs).enumerate() {
            let proto = TensorProto { name: name.clone(), ..proto };
            if i >= kept {
                graph.initializer.push(proto);
            } else if let Ok(tensor) = decode(&proto, &ExternalData::refused()) {
                feed.insert(name, tensor);
            }
        }
        let import = match import_bytes(&model.encode_to_vec(), &ImportOptions::default()) {
            Ok(import) => import,
            Err(error) => return Outcome::Refused(error.to_string()),
        };
        let results = match evaluate(&import.graph, &feed) {
            Ok(results) => results,
            Err(error) => return Outcome::Wrong(format!("evaluator: {error}")),
        };
        for (port, expected) in import.graph.outputs().iter().zip(expected) {
            let expected = match decode(&expected, &ExternalData::refused()) {
                Ok(expected) => expected,
                Err(problem) => return Outcome::Refused(problem.to_string()),
            };
            if let Err(difference) = close(&results[&port.name], &expected) {
                return Outcome::Wrong(format!("`{}`: {difference}", port.name));
            }
        }
        // What was imported can be written, and says the same when it is read again.
        if let Ok(bytes) = export(&import.graph) {
            let again = import_bytes(&bytes, &ImportOptions::default()).map_err(|error| error.to_string());
            let again =
                again.and_then(|again| evaluate(&again.graph, &feed).map_err(|error| error.to_string()));
            match again {
                Ok(again) => {
                    for (name, tensor) in &results {
                        if let Err(difference) = close(&again[name], tensor) {
                            return Outcome::Wrong(format!("`{name}` after export: {difference}"));
                        }
                    }
                }
                Err(error) => return Outcome::Wrong(format!("after export: {error}")),
            }
        }
    }
    Outcome::Passed
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// `input_0.pb`, `input_1.pb`, ...
fn tensors(folder: &Path, kind: &str) -> Result<Vec<TensorProto>, prost::DecodeError> {
    let paths = (0..).map(|i| folder.join(format!("{kind}_{i}.pb"))).take_while(|path| path.exists());
    paths.map(|path| TensorProto::decode(fs::read(path).unwrap().as_slice())).collect()
}

fn close(found: &Tensor, expected: &Tensor) -> Result<(), String> {
    if found.ty() != expected.ty() {
        return Err(format!("is {}, expected {}", found.ty(), expected.ty()));
    }
    let pairs = numbers(found).into_iter().zip(numbers(expected));
    let differs = |(a, b): &(f64, f64)| {
        !(a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= ABSOLUTE + RELATIVE * b.abs())
    };
    match pairs.enumerate().find(|(_, pair)| differs(pair)) {
        Some((i, (a, b))) => Err(format!("element {i} is {a}, expected {b}")),
        None => Ok(()),
    }
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    match tensor.data() {
        Data::F32(v) => v.iter().map(|&x| x.into()).collect(),
        Data::I8(v) | Data::Ternary(v) => v.iter().map(|&x| x.into()).collect(),
        Data::U8(v) => v.iter().map(|&x| x.into()).collect(),
        Data::I16(v) => v.iter().map(|&x| x.into()).collect(),
        Data::I32(v) => v.iter().map(|&x| x.into()).collect(),
        Data::I64(v) => v.iter().map(|&x| x as f64).collect(),
        Data::Bool(v) => v.iter().map(|&x| f64::from(u8::from(x))).collect(),
    }
}

/// A refusal without the names in it.
fn kind(reason: &str) -> String {
    let first = reason.lines().find(|line| line.contains(" (")).unwrap_or(reason);
    let mut inside = false;
    let plain: String = first
        .chars()
        .filter(|&c| {
            inside ^= c == '`';
            !inside && c != '`'
        })
        .collect();
    plain.trim().trim_start_matches("model: ").to_owned()
}
