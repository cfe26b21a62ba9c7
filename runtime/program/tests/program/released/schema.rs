//! The messages of the format: those of the sources as a text to compare, those of the specification as a table by which files are walked.

use std::collections::{BTreeMap, BTreeSet};

/// The messages of `message.rs`, without comments and derivations: what must not change within a version.
pub fn messages(source: &str) -> String {
    let code = source.lines().map(str::trim).skip_while(|line| !line.starts_with("pub(super)"));
    let lines =
        code.filter(|line| !line.is_empty() && !line.starts_with("//") && !line.starts_with("#[derive"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// A field that the specification lists.
#[derive(Clone)]
pub struct Field {
    /// `Message.field`.
    pub path: String,
    kind: String,
    repeated: bool,
}

/// The fields of the specification by their message and number.
pub type Fields = BTreeMap<(String, u64), Field>;

/// Fields that hold a code, and the largest code that there is.
pub const CODES: [(&str, u64); 8] = [
    ("Buffer.element", 6),
    ("Constant.element", 7),
    ("Function.code", 18),
    ("Pool.kind", 2),
    ("Reduce.kind", 3),
    ("Pad.mode", 2),
    ("Scatter.combine", 3),
    ("Cumulative.combine", 1),
];

/// The fields in the block of `proto` in the specification.
pub fn specification() -> Fields {
    let page = include_str!("../../../../../docs/model-bin.md");
    let block = page.split("```proto\n").nth(1).and_then(|rest| rest.split("```").next());
    let (mut fields, mut message) = (Fields::new(), "");
    for line in block.expect("the page has a block of proto").lines() {
        let words: Vec<&str> = line.split("//").next().unwrap_or("").split_whitespace().collect();
        match words[..] {
            ["message", name, ..] => message = name,
            [ref labels @ .., kind, name, "=", number] => {
                let number = number.trim_end_matches(';').parse().expect("a field has a number");
                let path = format!("{message}.{name}");
                let field = Field { path, kind: kind.to_owned(), repeated: labels == ["repeated"] };
                assert!(
                    fields.insert((message.to_owned(), number), field).is_none(),
                    "{message} has {number} twice"
                );
            }
            _ => {}
        }
    }
    fields
}

/// Adds the fields of a file's metadata, with their numbers where they have any. What the specification does not list is a failure.
pub fn walk(fields: &Fields, file: &[u8], found: &mut BTreeMap<String, BTreeSet<u64>>) {
    let number = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().expect("eight bytes")) as usize;
    message(fields, "Program", &file[number(40)..][..number(48)], found);
}

fn message(fields: &Fields, name: &str, mut bytes: &[u8], found: &mut BTreeMap<String, BTreeSet<u64>>) {
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = fields.get(&(name.to_owned(), key >> 3));
        let field = field.unwrap_or_else(|| panic!("{name} has a field {} that is not specified", key >> 3));
        let numbers = found.entry(field.path.clone()).or_default();
        let scalar = ["uint32", "uint64", "sint64", "bool", "fixed32"].contains(&&*field.kind);
        match key & 7 {
            0 if scalar && field.kind != "fixed32" && !field.repeated => {
                _ = numbers.insert(varint(&mut bytes));
            }
            5 if field.kind == "fixed32" && !field.repeated => bytes = &bytes[4..],
            2 if field.repeated || !scalar => {
                let length = varint(&mut bytes) as usize;
                let (inner, rest) = bytes.split_at(length);
                bytes = rest;
                if !scalar && field.kind != "string" {
                    message(fields, &field.kind, inner, found);
                }
            }
            wire => panic!("{} is not written as {} is (wire type {wire})", field.path, field.kind),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let length = length(bytes);
    let (digits, rest) = bytes.split_at(length);
    *bytes = rest;
    digits.iter().rev().fold(0, |number, digit| number << 7 | u64::from(digit & 127))
}

/// The bytes of the number at the start.
fn length(bytes: &[u8]) -> usize {
    1 + bytes.iter().take_while(|byte| **byte >= 128).count()
}
