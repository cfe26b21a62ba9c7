//! The promise of the format's versions: files of a version that was released stay readable, or are refused by its number; and a version never changes.
//!
//! `tests/released/V` has files of version V, with inputs and outputs beside each as text, and `messages.txt`, the messages of that version.
//! The runtime's tests read the files, of every version, and run them, on every path. What is there is never written over: with `TWNC_RELEASE=1`, the test of the files adds those that are missing.

mod networks;
mod scaled;
mod schema;

use networks::{Network, networks};
use scaled::functions;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use twnc_program::Program;
use twnc_program::format::VERSION;
use twnc_program::interpret::{self, Tensor, TensorData};

const CHANGED: &str = "the format has changed: raise VERSION, say in docs/model-bin.md what is new, and write files of the new version with \
                       `TWNC_RELEASE=1 cargo test -p twnc-program released`; what is in tests/released/ stays as it is";

/// What a file of this version has now; written first, where it is missing and that is asked for.
fn kept(name: &str, now: &[u8]) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/released/{VERSION}"));
    let path = folder.join(name);
    if std::env::var_os("TWNC_RELEASE").is_some() && !path.exists() {
        fs::create_dir_all(folder).expect("the folder can be made");
        fs::write(&path, now).expect("the file can be written");
    }
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}: {CHANGED}", path.display()))
}

#[test]
fn this_version_s_files_are_what_is_written() {
    for Network { program, inputs, exact } in networks() {
        let outputs = interpret::run(&program, &inputs, &functions());
        let outputs = outputs.unwrap_or_else(|e| panic!("{}: {e}", program.name));
        let (bytes, text) = (program.to_bytes(), numbers(&program, &inputs, &outputs, exact));
        let name = &program.name;
        assert!(kept(&format!("{name}.bin"), &bytes) == bytes, "{name}.bin: {CHANGED}");
        // What a system's library computes of `exp` and the like is its own, within some ulp.
        let kept = kept(&format!("{name}.txt"), text.as_bytes());
        assert!(!exact || kept == text.as_bytes(), "{name}.txt: {CHANGED}");
    }
}

#[test]
fn the_messages_of_a_version_stay() {
    let now = schema::messages(include_str!("../../../src/format/message.rs"));
    assert!(kept("messages.txt", now.as_bytes()) == now.as_bytes(), "src/format/message.rs: {CHANGED}");
    let specified = schema::specification();
    let tags = now.matches(", tag = ").count();
    assert_eq!(specified.len(), tags, "docs/model-bin.md has other fields than src/format/message.rs");
}

#[test]
fn every_field_and_code_is_in_a_file() {
    let fields = schema::specification();
    let mut found: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for Network { program, .. } in networks() {
        schema::walk(&fields, &program.to_bytes(), &mut found);
    }
    let missing: Vec<_> =
        fields.values().map(|field| &field.path).filter(|path| !found.contains_key(*path)).collect();
    assert!(missing.is_empty(), "in no network of `networks.rs`: {missing:?}");
    // 0 is the default, which is written only where nothing is something else.
    for (field, last) in schema::CODES {
        let codes: BTreeSet<u64> = found[field].iter().copied().filter(|&code| code > 0).collect();
        assert_eq!(codes, (1..=last).collect(), "the codes of {field}");
    }
}

/// A line for each input and output: which it is, what must be equal of it, its element type and shape, its name; then its numbers.
fn numbers(program: &Program, inputs: &[Tensor], outputs: &[Tensor], exact: bool) -> String {
    let mut text = String::new();
    let inputs = program.inputs.iter().zip(inputs).map(|(port, tensor)| ("in", port, tensor));
    let how = if exact { "exact" } else { "near" };
    let outputs = program.outputs.iter().zip(outputs).map(|(port, tensor)| (how, port, tensor));
    for (what, port, tensor) in inputs.chain(outputs) {
        let shape: Vec<_> = tensor.shape.iter().map(usize::to_string).collect();
        let element = tensor.data.view().element();
        let numbers = match &tensor.data {
            TensorData::F32(v) => words(v),
            TensorData::I8(v) => words(v),
            TensorData::U8(v) | TensorData::Bool(v) => words(v),
            TensorData::I16(v) => words(v),
            TensorData::I32(v) => words(v),
            TensorData::I64(v) => words(v),
        };
        let _ = writeln!(text, "{what} {element} {} {}:{numbers}", shape.join("x"), port.name);
    }
    text
}

fn words<T: std::fmt::Debug>(numbers: &[T]) -> String {
    numbers.iter().map(|number| format!(" {number:?}")).collect()
}
