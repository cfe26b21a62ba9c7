//! The rules of the e-graph: each is evaluated on both sides, and wrong ones are caught.

use std::fmt::Write as _;
use twnc_ir::text;
use twnc_passes::Rule;
use twnc_passes::egraph::{Verdict, check, example};

/// Random evaluations of each rule.
const CASES: usize = 1000;

#[test]
fn both_sides_of_every_rule_agree() {
    let mut wrong = vec![];
    for (i, rule) in Rule::built_in().iter().enumerate() {
        match check(rule, CASES, i as u64) {
            Verdict::Holds(cases) if cases >= CASES => {}
            Verdict::Holds(cases) => wrong.push(format!("`{}` met {cases} cases only", rule.name())),
            Verdict::Fails(case) => wrong.push(format!("`{}` fails: {case}", rule.name())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Rules that look right: each lacks a condition, or has a side that is not quite the other.
pub const WRONG: &str = include_str!("../wrong.rules");

#[test]
fn wrong_rules_are_caught() {
    let rules = Rule::parse(WRONG).unwrap();
    let holding: Vec<&str> = rules
        .iter()
        .filter(|rule| matches!(check(rule, CASES, 1), Verdict::Holds(_)))
        .map(Rule::name)
        .collect();
    assert!(holding.is_empty(), "nobody noticed {holding:?}");
    assert!(rules.len() >= 10);
}

#[test]
fn every_rule_has_an_example() {
    let mut examples = String::new();
    for rule in Rule::built_in() {
        let (before, after) = example(&rule, 5).unwrap_or_else(|| panic!("`{}` has no example", rule.name()));
        let (before, after) = (text::print_full(&before), text::print_full(&after));
        let _ = writeln!(
            examples,
            "// {} ({})\n// {}\n{before}{after}",
            rule.name(),
            rule.exactness(),
            rule.equation()
        );
    }
    insta::assert_snapshot!(examples);
}

#[test]
fn the_documentation_has_every_rule() {
    let page = include_str!("../../../docs/egraph-rules.md");
    for rule in Rule::built_in() {
        let line = format!("| `{}` | {} | `{}` |", rule.name(), rule.exactness(), rule.equation());
        assert!(page.contains(&line), "docs/egraph-rules.md lacks the line\n{line}");
    }
}
