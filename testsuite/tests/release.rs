//! What a release hands out, held with every commit: packages that can be published, dependencies that may be passed on and that the minimum Rust builds, and
//! the licences of everything that is linked. `docs/releasing.md` says how a release is made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

/// The crates that are published. The others are tests, or parts of something else: a C library, a wheel.
const PUBLISHED: [&str; 9] = [
    "twnc",
    "twnc-ir",
    "twnc-jit",
    "twnc-lower",
    "twnc-onnx",
    "twnc-passes",
    "twnc-program",
    "twnc-runtime",
    "twnc-train",
];

/// The largest package, in bytes. The largest is of 140 kB.
const LARGEST: u64 = 512 << 10;

#[test]
fn packages_can_be_published() {
    let target = env::temp_dir().join(format!("twnc-packages-{}", std::process::id()));
    let output = Command::new(env!("CARGO"))
        .args(["package", "--no-verify", "--offline", "--allow-dirty", "--verbose", "--target-dir"])
        .arg(&target)
        .args(PUBLISHED.iter().flat_map(|name| ["--package", name]))
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo package: {told}");
    // What is told of a package begins with its name.
    let files: BTreeMap<&str, BTreeSet<&str>> = told
        .split(" Packaging ")
        .skip(1)
        .filter_map(|part| {
            let archived = part.lines().filter_map(|line| line.trim().strip_prefix("Archiving "));
            Some((part.split(' ').next()?, archived.collect()))
        })
        .collect();
    for package in MetadataCommand::new().no_deps().exec().expect("cargo describes the workspace").packages {
        let name = &**package.name;
        let published = package.publish.as_ref().is_none_or(|registries| !registries.is_empty());
        assert_eq!(published, PUBLISHED.contains(&name), "`{name}` is published, or not");
        if !published {
            continue;
        }
        assert!(package.description.is_some() && package.rust_version.is_some(), "`{name}` is not described");
        let fits = |word: &String| word.len() <= 20;
        assert!((1..=5).contains(&package.keywords.len()) && package.keywords.iter().all(fits), "`{name}`");
        assert!(!package.categories.is_empty(), "`{name}` has no category");
        for file in ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "src/lib.rs"] {
            assert!(files[name].contains(file), "the package of `{name}` has no {file}: {:?}", files[name]);
        }
        let archive = target.join(format!("package/{name}-{}.crate", package.version));
        let size = fs::metadata(&archive).unwrap_or_else(|e| panic!("{}: {e}", archive.display())).len();
        assert!(size <= LARGEST, "the package of `{name}` has {size} bytes");
    }
    fs::remove_dir_all(&target).expect("it was made here");
}

/// Licences under which what ships may be passed on with ours; a crate that offers alternatives is taken under the first of these.
const LICENCES: [&str; 10] = [
    "MIT",
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Zlib",
    // Of the independent ONNX reader that tests use.
    "MPL-2.0",
];

/// The licences that a crate is taken under, all of them; none if one is not acceptable.
fn licences(package: &Package) -> Option<Vec<&'static str>> {
    let expression = package.license.as_ref()?.replace('/', " OR ");
    let chosen = expression.split(" AND ").map(|needed| {
        let offered: Vec<&str> =
            needed.split(" OR ").map(|term| term.trim_matches(['(', ')', ' '])).collect();
        LICENCES.into_iter().find(|licence| offered.contains(licence))
    });
    chosen.collect()
}

/// The part of a dependency audit that needs no network: where crates come from, under which licence, and what compiles them.
#[test]
fn dependencies_are_published_freely_licensed_and_built_by_the_minimum_rust() {
    let metadata = metadata();
    let ours = metadata.workspace_packages()[0].rust_version.clone().expect("the workspace has a minimum");
    let mut count = 0;
    for package in foreign(&metadata) {
        let (name, source) =
            (&package.name, package.source.as_ref().map(ToString::to_string).unwrap_or_default());
        assert!(source.starts_with("registry+"), "`{name}` does not come from a registry: {source}");
        assert!(licences(package).is_some(), "`{name}` has the licence {:?}", package.license);
        let fits = package.rust_version.as_ref().is_none_or(|needed| *needed <= ours);
        assert!(fits, "`{name}` needs Rust {:?}; the minimum is {ours}", package.rust_version);
        count += 1;
    }
    assert!(count > 50, "cargo listed {count} dependencies");
}

#[test]
fn the_licences_of_what_is_linked_are_listed() {
    let path = root().join("THIRD-PARTY.txt");
    let now = third_party(&metadata());
    if env::var_os("TWNC_RELEASE").is_some() {
        fs::write(&path, &now).expect("the list can be written");
    }
    let listed = fs::read_to_string(&path).unwrap_or_default();
    let differs = listed.lines().zip(now.lines()).find(|(listed, now)| listed != now);
    assert!(
        listed == now,
        "THIRD-PARTY.txt is not up to date ({differs:?}); write it with `TWNC_RELEASE=1 cargo test -p testsuite --test release`"
    );
}

const HEAD: &str = "\
The command twnc, the libraries and the Python package are linked with the crates below, on some platform or other. Each is
listed with its version and the licence that it is taken under; then come the texts as the crates have them, each with the crates whose it is.
";

/// The crates that what ships is linked with, and the texts of their licences.
fn third_party(metadata: &Metadata) -> String {
    let linked = linked(metadata);
    let (mut text, mut missing) = (format!("{HEAD}\n"), String::new());
    let mut texts: BTreeMap<String, (String, BTreeSet<&str>)> = BTreeMap::new();
    for package in foreign(metadata).filter(|package| linked.contains(&package.id)) {
        let licences = licences(package).unwrap_or_default();
        let (name, version, licence) = (&**package.name, &package.version, licences.join(" AND "));
        let _ = writeln!(text, "{name} {version}: {licence}");
        let files = licence_files(package, &licences);
        if files.is_empty() {
            let names = package.authors.iter().filter_map(|author| author.split(" <").next());
            let _ = writeln!(
                missing,
                "{}",
                [name, &licence].into_iter().chain(names).collect::<Vec<_>>().join(", ")
            );
        }
        for file in files {
            let lines: Vec<_> = file.lines().map(str::trim_end).collect();
            // The same text is broken into lines differently here and there.
            let words = file.split_whitespace().collect::<Vec<_>>().join(" ");
            let entry = texts
                .entry(words)
                .or_insert_with(|| (lines.join("\n").trim_matches('\n').into(), BTreeSet::new()));
            entry.1.insert(name);
        }
    }
    let mut texts: Vec<_> = texts.into_values().collect();
    texts.sort_by(|(_, a), (_, b)| a.cmp(b));
    for (licence, crates) in texts {
        let crates = crates.into_iter().collect::<Vec<_>>().join(", ");
        let _ = write!(text, "\n{}\n{crates}\n\n{licence}\n", "=".repeat(80));
    }
    let _ = write!(text, "\n{}\nCrates without a text: licence, authors\n\n{missing}", "=".repeat(80));
    text
}

/// The texts that a crate has for these licences; all that it has, if their names do not tell.
fn licence_files(package: &Package, licences: &[&str]) -> Vec<String> {
    let folder = package.manifest_path.parent().expect("a manifest is in a folder");
    let names =
        fs::read_dir(folder).expect("cargo has unpacked the crate").map(|entry| entry.expect("listed"));
    let mut names: Vec<_> =
        names.filter(|entry| entry.path().is_file()).map(|entry| entry.file_name()).collect();
    names.sort();
    let texts: Vec<String> = names.into_iter().filter_map(|name| name.into_string().ok()).collect();
    let is_licence = |name: &&String| {
        let name = name.to_lowercase();
        ["licen", "copying", "notice", "unlicense"].iter().any(|word| name.starts_with(word))
    };
    let is_notice = |name: &str| name.to_lowercase().starts_with("notice");
    let family = |licence: &str| licence.split('-').next().unwrap_or_default().to_lowercase();
    let families: Vec<String> = licences.iter().map(|licence| family(licence)).collect();
    let all: Vec<&String> = texts.iter().filter(is_licence).collect();
    let fitting: Vec<&String> = all
        .iter()
        .filter(|name| families.iter().any(|family| name.to_lowercase().contains(family)))
        .copied()
        .collect();
    // Of alternatives only what was chosen; notices go with any.
    let chosen = match fitting.is_empty() {
        true => all,
        false => all.into_iter().filter(|name| fitting.contains(name) || is_notice(name)).collect(),
    };
    chosen.into_iter().filter_map(|name| fs::read_to_string(folder.join(name)).ok()).collect()
}

/// All that what ships depends on, but for building it.
fn linked(metadata: &Metadata) -> BTreeSet<PackageId> {
    let ships = |name: &str| PUBLISHED.contains(&name) || ["twnc-capi", "twnc-python"].contains(&name);
    let members = metadata.workspace_packages();
    let mut open: Vec<PackageId> =
        members.iter().filter(|package| ships(&package.name)).map(|package| package.id.clone()).collect();
    let nodes = &metadata.resolve.as_ref().expect("cargo resolves").nodes;
    let nodes: BTreeMap<_, _> = nodes.iter().map(|node| (&node.id, &node.deps)).collect();
    let mut linked = BTreeSet::new();
    while let Some(id) = open.pop() {
        let normal = nodes[&id]
            .iter()
            .filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal));
        let new: Vec<_> = normal.map(|dependency| dependency.pkg.clone()).collect();
        if linked.insert(id) {
            open.extend(new);
        }
    }
    linked
}

fn metadata() -> Metadata {
    MetadataCommand::new().exec().expect("cargo describes the workspace and what it depends on")
}

/// What is not ours, by name and version.
fn foreign(metadata: &Metadata) -> impl Iterator<Item = &Package> {
    let foreign =
        metadata.packages.iter().filter(|package| !metadata.workspace_members.contains(&package.id));
    let mut foreign: Vec<_> = foreign.collect();
    foreign.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    foreign.into_iter()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is in a folder of the workspace")
        .to_owned()
}
