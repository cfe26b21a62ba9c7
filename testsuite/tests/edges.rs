//! The edges between our crates are the architecture (docs), and a dependency that slips in breaks it silently: this
//! asserts which of our crates may depend on which, and where the heavy libraries may be used.
//!
//! Only what ships counts: a crate's tests may use what they like.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Whom each crate may depend on, of ours. A crate that is missing here has no place in the architecture yet.
const ALLOWED: [(&str, &[&str]); 13] = [
    // As somebody outside would write it: a pass needs the IR alone.
    ("twnc-example", &["twnc-ir"]),
    // So that the tests of every crate may draw graphs.
    ("twnc-random", &["twnc-ir"]),
    ("twnc-ir", &[]),
    ("twnc-program", &[]),
    ("twnc-onnx", &["twnc-ir"]),
    ("twnc-passes", &["twnc-ir"]),
    ("twnc-lower", &["twnc-ir", "twnc-program"]),
    ("twnc-jit", &["twnc-program"]),
    ("twnc-runtime", &["twnc-program", "twnc-jit"]),
    ("twnc-capi", &["twnc-runtime"]),
    ("twnc-train", &["twnc-ir", "twnc-passes"]),
    (
        "twnc",
        &[
            "twnc-ir",
            "twnc-onnx",
            "twnc-passes",
            "twnc-lower",
            "twnc-program",
            "twnc-jit",
            "twnc-runtime",
            "twnc-train",
        ],
    ),
    ("twnc-python", &["twnc", "twnc-runtime"]),
];

/// The crate that judges the others may use all of them.
const UNRESTRICTED: &str = "testsuite";

/// What an application links, and what must not follow it there.
const RUNTIME: [&str; 4] = ["twnc-program", "twnc-jit", "twnc-runtime", "twnc-capi"];
const COMPILER: [&str; 6] = ["twnc-ir", "twnc-onnx", "twnc-passes", "twnc-lower", "twnc-train", "twnc"];

/// Libraries (all whose name starts so) that would cost every user of a crate build time or audit, and the crates that need them.
const HEAVY: [(&str, &[&str], &str); 14] = [
    ("cranelift", &["twnc-jit"], "code generation is the business of one crate"),
    ("iced-x86", &["twnc-jit"], "so is machine code"),
    ("yaxpeax", &["twnc-jit"], "of every kind of processor"),
    ("image", &["twnc", "testsuite"], "libraries take arrays"),
    (
        "prost",
        &["twnc-onnx", "twnc-program"],
        "the rest of the compiler knows graphs and programs, not protobuf",
    ),
    ("egg", &["twnc-passes"], "an e-graph is the business of one pass"),
    ("faer", &["twnc-train"], "only training multiplies matrices in bulk"),
    ("rayon", &["twnc-train"], "the runtime has threads of its own"),
    ("petgraph", &["twnc-ir"], "other crates ask the graph, which has one way to be walked"),
    ("clap", &["twnc", "testsuite"], "libraries have no command line"),
    ("miette", &["twnc", "testsuite"], "libraries give typed errors; the command renders them"),
    ("pyo3", &["twnc-python"], "only the package knows Python"),
    ("numpy", &["twnc-python"], "so it does its arrays"),
    ("indicatif", &["twnc", "testsuite"], "libraries do not draw on the terminal"),
];

#[test]
fn crates_depend_on_what_the_architecture_allows() {
    let allowed = BTreeMap::from(ALLOWED);
    for (package, dependencies) in workspace() {
        if package == UNRESTRICTED {
            continue;
        }
        let Some(allowed) = allowed.get(&*package) else {
            panic!("`{package}` is in the workspace but not in the table of allowed edges");
        };
        for dependency in dependencies.iter().filter(|name| name.starts_with("twnc") || *name == UNRESTRICTED)
        {
            assert!(allowed.contains(&&**dependency), "`{package}` must not depend on `{dependency}`");
        }
    }
}

#[test]
fn the_runtime_never_reaches_the_compiler() {
    let workspace = workspace();
    for package in RUNTIME {
        let reached = reachable(&workspace, package);
        for compiler in COMPILER {
            assert!(!reached.contains(compiler), "`{package}` is the runtime and reaches `{compiler}`");
        }
    }
}

#[test]
fn heavy_dependencies_stay_where_they_belong() {
    let workspace = workspace();
    for (library, owners, reason) in HEAVY {
        for (package, dependencies) in &workspace {
            let uses = dependencies.iter().any(|name| name.starts_with(library));
            assert!(!uses || owners.contains(&&**package), "`{package}` must not use {library}: {reason}");
        }
    }
}

/// The workspace's crates with their direct normal and build dependencies, by name.
fn workspace() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo describes the workspace it runs in");
    let ships = |kind| matches!(kind, DependencyKind::Normal | DependencyKind::Build);
    let packages = metadata.packages.into_iter().map(|package| {
        let dependencies = package.dependencies.into_iter().filter(|dependency| ships(dependency.kind));
        (package.name.to_string(), dependencies.map(|dependency| dependency.name).collect())
    });
    packages.collect()
}

/// All of our crates that `package` brings along.
fn reachable<'a>(workspace: &'a BTreeMap<String, BTreeSet<String>>, package: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![package];
    while let Some(package) = open.pop() {
        if reached.insert(package) {
            open.extend(workspace.get(package).into_iter().flatten().map(String::as_str));
        }
    }
    reached
}
