//! The rules of the e-graph: each is evaluated on both sides, and wrong ones are caught.

use std::fmt::Write as _;
use twnc_ir::text;
use twnc_passes::egraph::{Verdict, check, example};
use twnc_passes::{Options, OptionsError, Rule, default_pipeline};

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
const WRONG: &str = "
rule relu_of_any_scale (reassociation): relu(mul(?x, ?s)) => mul(relu(?x), ?s) if nonzero(?s)
rule leaky_relu_of_any_scale (reassociation): leaky_relu{?a}(mul(?x, ?s)) => mul(leaky_relu{?a}(?x), ?s) if nonzero(?s)
rule clip_keeps_bounds (reassociation): clip{?a}(mul(?x, ?s)) => mul(clip{?a}(?x), ?s) if positive(?s)
rule clip_of_negative_scale (reassociation): clip{?a}(mul(?x, ?s)) => mul(clip{?a}(?x), ?s) if uniform(?s)
rule max_pool_of_any_scale (reassociation): max_pool{?a}(mul(?x, ?s)) => mul(max_pool{?a}(?x), behind(?s, ?x)) if nonzero(?s)
rule transpose_keeps_axis (reassociation): transpose{?a}(mul(?x, ?s)) => mul(transpose{?a}(?x), ?s) if coefficient(?s)
rule reshape_keeps_axis (reassociation): reshape{?a}(mul(?x, ?s)) => mul(reshape{?a}(?x), ?s) if coefficient(?s)
rule sum_keeps_axis (reassociation): reduce_sum{?a}(mul(?x, ?s)) => mul(reduce_sum{?a}(?x), ?s) if coefficient(?s)
rule sum_of_unlike_scales (reassociation): add(mul(?x, ?s), mul(?y, ?t)) => mul(add(?x, ?y), ?s) if coefficient(?s), coefficient(?t), same_type(?x, ?y)
rule matmul_of_any_axis (reassociation): matmul(mul(?x, ?s), ?w) => mul(matmul(?x, ?w), ?s) if nonzero(?s)
rule conv_of_any_axis (reassociation): conv{?a}(mul(?x, ?s), ?w) => mul(conv{?a}(?x, ?w), ?s) if nonzero(?s)
rule bias_not_divided (reassociation): add(mul(?x, ?s), ?t) => mul(add(?x, ?t), ?s) if nonzero(?s), coefficient(?t)
rule bias_not_multiplied (reassociation): mul(add(?x, ?t), ?s) => add(mul(?x, ?s), ?t) if coefficient(?s), coefficient(?t)
rule scales_added (reassociation): mul(mul(?x, ?s), ?t) => mul(?x, ?s + ?t) if coefficient(?s), coefficient(?t)
rule mean_is_sum (reassociation): reduce_mean{?a}(?x) => reduce_sum{summed(?a)}(?x)
rule pad_keeps_number (reassociation): pad{?a}(mul(?x, ?s)) => mul(pad{?a}(?x), behind(?s, ?x)) if nonzero(?s)
rule output_scale_on_inputs (reassociation): mul(conv{?a}(?x, ?w), ?s) => conv{?a}(?x, mul(?w, conv_inputs(?s, ?w))) if nonzero(?s), float(?w)
rule relu_of_bias (reassociation): relu(add(?x, ?t)) => add(relu(?x), ?t) if coefficient(?t)
rule relu_vanishes (exact): relu(?x) => ?x
rule abs_keeps_sign (reassociation): abs(mul(?x, ?s)) => mul(abs(?x), ?s) if nonzero(?s)
rule exact_scale_of_scale (exact): mul(mul(?x, ?s), ?t) => mul(?x, ?s * ?t) if coefficient(?s), coefficient(?t)
rule difference_turned (reassociation): sub(?x, ?y) => sub(?y, ?x) if variable(?x), variable(?y), same_type(?x, ?y)
rule composed_backwards (exact): transpose{?b}(transpose{?a}(?x)) => transpose{composed(?b, ?a)}(?x)
rule min_of_any_scale (reassociation): min(mul(?x, ?s), mul(?y, ?s)) => mul(min(?x, ?y), ?s) if nonzero(?s), same_type(?x, ?y)
";

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
fn texts_that_are_no_rules_are_refused_with_their_place() {
    let cases = [
        ("rule r exact: relu(?x) => ?x", "line 1, column 8: expected `(`, found `exact`"),
        ("rule r (nearly): relu(?x) => ?x", "line 1, column 9: expected `exact` or `reassociation`"),
        ("rule r (exact): ?x => relu(?x)", "line 1, column 17: the left side is an operator"),
        ("rule r (exact): relux(?x) => ?x", "line 1, column 17: there is no operator `relux`"),
        ("rule r (exact): relu(?x, ?y) => ?x", "line 1, column 28: `relu` has not 2 operands"),
        ("rule r (exact): relu(?x) => neg(?y)", "line 1, column 17: ?y is not on the left side"),
        ("rule r (exact): relu(?x) => ?x if sure(?x)", "line 1, column 35: there is no condition `sure`"),
        ("rule r (exact): relu(?x) => ?x if same_type(?x)", "line 1, column 35: `same_type` is said of 2"),
        ("# a\nrule r (exact): clip(?x) => ?x", "line 2, column 21: expected `{`, found `(`"),
        (
            "rule r (exact): relu(?x) => mul(?x, half(?x))",
            "line 1, column 37: there is no operator, and no function `half` of 1 coefficients",
        ),
        ("rule r (exact): relu(?x) = ?x", "line 1, column 26: `=` is part of no rule"),
        (
            "rule r (exact): relu(?x) => ?x rule r (exact): abs(?x) => ?x",
            "line 1, column 32: there are two rules `r`",
        ),
        ("relu(?x)", "line 1, column 1: expected `rule`, found `relu`"),
    ];
    for (source, expected) in cases {
        assert_eq!(Rule::parse(source).err().map(|e| e.to_string()).as_deref(), Some(expected), "{source}");
    }
    let deep = format!("rule r (exact): {}?x{} => ?x", "relu(".repeat(40), ")".repeat(40));
    assert!(Rule::parse(&deep).err().unwrap().to_string().contains("less nesting"));
}

#[test]
fn rules_of_a_user_run_beside_the_others_and_are_checked_first() {
    let options = |rules: &str| Options { rules: rules.to_owned(), ..Options::default() };
    let refusal = |rules: &str| default_pipeline(&options(rules)).err().unwrap();
    let wrong = refusal("rule w (exact): relu(neg(?x)) => neg(relu(?x))");
    assert!(matches!(&wrong, OptionsError::WrongRule { name, .. } if name == "w"), "{wrong}");
    // `relu` leaves -0.
    let inexact = refusal("rule positive (exact): abs(relu(?x)) => relu(?x)");
    assert!(matches!(&inexact, OptionsError::WrongRule { name, .. } if name == "positive"), "{inexact}");
    let taken = refusal("rule unit_scale (exact): relu(relu(?x)) => relu(?x)");
    assert!(matches!(&taken, OptionsError::RuleName(name) if name == "unit_scale"), "{taken}");
    assert!(matches!(refusal("rule"), OptionsError::Rules(_)));
    let source = "graph \"g\" (%0 \"x\": f32[N,2]) -> (%2 \"y\") {
  %1 = relu(%0) : f32[N,2]
  %2 = abs(%1) : f32[N,2]
}";
    let left = |rules: &str| {
        let mut graph = text::parse(source, &twnc_ir::CustomRegistry::default()).unwrap();
        crate::oracle::run(&mut graph, &["saturate"], &options(rules));
        let nodes = graph.order().unwrap().into_iter().map(|id| graph.node(id).op.mnemonic());
        nodes.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(left(""), "relu abs");
    assert_eq!(left("rule positive (reassociation): abs(relu(?x)) => relu(?x)"), "relu");
}

#[test]
fn the_documentation_has_every_rule() {
    let page = include_str!("../../../docs/egraph-rules.md");
    for rule in Rule::built_in() {
        let line = format!("| `{}` | {} | `{}` |", rule.name(), rule.exactness(), rule.equation());
        assert!(page.contains(&line), "docs/egraph-rules.md lacks the line\n{line}");
    }
}
