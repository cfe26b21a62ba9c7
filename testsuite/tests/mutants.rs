//! The list of bugs to seed does not rot: each text stands in its file once, what takes its place differs, and the tests that should find it
//! exist. Whether they find it takes a build for each, which `scripts/mutants.py` makes.

use cargo_metadata::{Metadata, MetadataCommand, TargetKind};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Table};

#[test]
fn every_bug_can_be_seeded() {
    let list = fs::read_to_string(root().join("testsuite/scripts/mutants.toml")).expect("the list");
    let list: DocumentMut = list.parse().expect("the list is TOML");
    let mutants = list["mutant"].as_array_of_tables().expect("a table for each bug");
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo describes the workspace");
    let mut names = BTreeSet::new();
    let mut wrong = vec![];
    for mutant in mutants {
        let name = text(mutant, "name");
        let mut fault = |what: String| wrong.push(format!("  {name}: {what}"));
        let (file, search) = (text(mutant, "file"), text(mutant, "search"));
        match fs::read_to_string(root().join(&file)) {
            Ok(source) if source.matches(&search).count() == 1 => {}
            Ok(source) => {
                fault(format!("its text occurs {} times in {file}", source.matches(&search).count()))
            }
            Err(error) => fault(format!("{file}: {error}")),
        }
        if search == text(mutant, "replace") {
            fault("it changes nothing".into());
        }
        if let Err(what) = check_tests(&metadata, &text(mutant, "test")) {
            fault(what);
        }
        if !names.insert(name.clone()) {
            fault("another has the same name".into());
        }
    }
    assert!(wrong.is_empty(), "bugs of scripts/mutants.toml that cannot be seeded:\n{}", wrong.join("\n"));
    assert!(names.len() >= 40, "only {} bugs", names.len());
}

/// Whether arguments of `cargo test` name a crate of ours and tests that it has.
fn check_tests(metadata: &Metadata, arguments: &str) -> Result<(), String> {
    let mut words = arguments.split(' ');
    let package = match (words.next(), words.next()) {
        (Some("-p"), Some(name)) => metadata.packages.iter().find(|package| package.name == name),
        _ => None,
    };
    let package = package.ok_or_else(|| format!("`{arguments}` does not begin with `-p` and a crate"))?;
    while let Some(word) = words.next() {
        let is_test = |kind: &TargetKind| *kind == TargetKind::Test;
        let tests = package.targets.iter().filter(|target| target.kind.iter().any(is_test));
        if word == "--test" {
            let name = words.next().unwrap_or_default();
            if !tests.into_iter().any(|target| target.name == name) {
                return Err(format!("`{}` has no test `{name}`", package.name));
            }
        }
    }
    Ok(())
}

fn text(mutant: &Table, key: &str) -> String {
    let value = mutant.get(key).and_then(|value| value.as_str());
    value.unwrap_or_else(|| panic!("a bug without `{key}`: {mutant:?}")).to_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is in a folder of the workspace")
        .to_owned()
}
