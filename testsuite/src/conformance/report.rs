//! What was found, as a page and as a list of the tests that pass.

use super::case::{Case, Outcome, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// One test with its verdict.
pub(super) struct Entry {
    pub(super) suite: String,
    pub(super) path: String,
    pub(super) operator: String,
    pub(super) excluded: Option<&'static str>,
    pub(super) verdict: Verdict,
}

impl Entry {
    pub(super) fn new(case: &Case, excluded: Option<&'static str>, verdict: Verdict) -> Entry {
        let (suite, path, operator) = (case.suite.clone(), case.path(), case.operator.clone());
        Entry { suite, path, operator, excluded, verdict }
    }

    /// What became of it, in words.
    pub(super) fn said(&self) -> String {
        shown(&self.verdict)
    }

    /// Whether both ways through the compiler give the expected values.
    pub(super) fn passes(&self) -> bool {
        self.verdict.evaluated == Outcome::Passed && self.verdict.compiled == Outcome::Passed
    }
}

/// The tests that pass, one a line.
pub(super) fn list(entries: &[Entry]) -> String {
    let passing = entries.iter().filter(|entry| entry.passes()).map(|entry| entry.path.as_str());
    passing.fold(String::new(), |list, path| list + path + "\n")
}

#[derive(Default)]
struct Counts {
    passed: usize,
    in_scope: usize,
    total: usize,
}

fn counts<'e>(entries: impl Iterator<Item = &'e Entry>) -> Counts {
    entries.fold(Counts::default(), |counts, entry| Counts {
        passed: counts.passed + usize::from(entry.excluded.is_none() && entry.passes()),
        in_scope: counts.in_scope + usize::from(entry.excluded.is_none()),
        total: counts.total + 1,
    })
}

/// A line for each suite.
pub(super) fn summary(entries: &[Entry]) -> String {
    let suites: BTreeSet<&str> = entries.iter().map(|entry| entry.suite.as_str()).collect();
    let lines = suites.into_iter().map(|suite| {
        let Counts { passed, in_scope, total } = counts(entries.iter().filter(|entry| entry.suite == suite));
        format!("{suite}: {passed} of {in_scope} in scope pass, of {total}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The page.
pub(super) fn page(entries: &[Entry]) -> String {
    let mut page = INTRODUCTION.to_owned();
    row(&mut page, &["suite", "passed", "in scope", "total"]);
    row(&mut page, &["---", "---:", "---:", "---:"]);
    let suites: BTreeSet<&str> = entries.iter().map(|entry| entry.suite.as_str()).collect();
    for suite in suites {
        let counts = counts(entries.iter().filter(|entry| entry.suite == suite));
        counted(&mut page, suite, &counts);
    }
    let constant = entries.iter().filter(|entry| entry.passes() && entry.verdict.constants > 0).count();
    let _ = writeln!(
        page,
        "\nOf all tests that pass, {constant} do with inputs made constant, which the operator needs constant: axes, shapes, zero points.\n"
    );
    failures(&mut page, entries);
    page.push_str("## By operator\n\nOf the `node` suite. A test of what a function is made of counts for the function.\n\n");
    row(&mut page, &["operator", "passed", "in scope", "total"]);
    row(&mut page, &["---", "---:", "---:", "---:"]);
    let mut operators: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.suite == "node") {
        operators.entry(&entry.operator).or_default().push(entry);
    }
    for (operator, entries) in operators {
        counted(&mut page, operator, &counts(entries.into_iter()));
    }
    excluded(&mut page, entries);
    page
}

const INTRODUCTION: &str = "\
# Conformance

ONNX's backend suite (onnx 1.22.0), by the importer and the reference evaluator, and by the whole compiler without ternary weights and the
fastest generated code of the machine. A test passes if both give every output with its shape and element type, within ONNX's tolerance: 1e-3
relative (1/64 of BFLOAT16) and 1e-7 absolute. FLOAT16, BFLOAT16 and DOUBLE are computed, and compared, as f32: a
DOUBLE beyond the range of f32, which a few tests of `pytorch-operator` have, is an infinity.

In scope are the operators of convolutional networks, multilayer perceptrons and encoder transformers, on the element types that programs have.

Written by `cargo run --release -p testsuite -- conformance DIR --write`; without `--write` the command fails where a test of
`testsuite/conformance.txt` no longer passes.

";

fn failures(page: &mut String, entries: &[Entry]) {
    let failing: Vec<&Entry> =
        entries.iter().filter(|entry| entry.excluded.is_none() && !entry.passes()).collect();
    let _ = writeln!(page, "## In scope and not passing: {}\n", failing.len());
    for entry in &failing {
        let _ = writeln!(page, "* `{}`: {}", entry.path, shown(&entry.verdict));
    }
    if !failing.is_empty() {
        page.push('\n');
    }
}

fn shown(verdict: &Verdict) -> String {
    let say = |outcome: &Outcome| match outcome {
        Outcome::Passed => "passes".to_owned(),
        Outcome::Refused(reason) => format!("refused: {}", line(reason)),
        Outcome::Wrong(reason) => format!("wrong: {}", line(reason)),
    };
    match (&verdict.evaluated, &verdict.compiled) {
        (a, b) if a == b => say(a),
        (a, b) => format!("evaluated, {}; compiled, {}", say(a), say(b)),
    }
}

fn line(text: &str) -> String {
    text.trim_start_matches("model: ").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn excluded(page: &mut String, entries: &[Entry]) {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for entry in entries {
        if let Some(reason) = entry.excluded {
            reasons.entry(reason).or_default().push(&entry.path);
        }
    }
    page.push_str("\n## Out of scope\n");
    for (reason, paths) in reasons {
        let mut start = reason.chars();
        let title = start.next().map(|first| first.to_uppercase().chain(start).collect::<String>());
        let _ = writeln!(page, "\n### {}\n", title.unwrap_or_default());
        for path in paths {
            let _ = writeln!(page, "* `{path}`");
        }
    }
}

fn counted(page: &mut String, name: &str, counts: &Counts) {
    let [passed, in_scope, total] = [counts.passed, counts.in_scope, counts.total].map(|n| n.to_string());
    row(page, &[name, &passed, &in_scope, &total]);
}

fn row(page: &mut String, cells: &[&str]) {
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}
