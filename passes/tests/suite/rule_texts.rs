//! The language of rules: what is refused, with its place and what to do; what is bounded; attributes that are written out, and custom operators.

use crate::saturation;
use crate::swish::Swish;
use std::sync::Arc;
use twnc_ir::{CountingCost, CustomRegistry, Graph, Pass, PassContext, RunOptions, text};
use twnc_passes::egraph::{Verdict, check};
use twnc_passes::{Options, OptionsError, Rule, Saturate, default_pipeline};

#[test]
fn texts_that_are_no_rules_are_refused_with_their_place() {
    let cases = [
        ("rule r exact: relu(?x) => ?x", "line 1, column 8: expected `(`, found `exact`"),
        ("rule r (nearly): relu(?x) => ?x", "line 1, column 9: expected `exact` or `reassociation`"),
        ("rule r (exact): ?x => relu(?x)", "line 1, column 17: the left side is an operator"),
        (
            "rule r (exact): relux(?x) => ?x",
            "line 1, column 17: there is no operator `relux`; near it: `relu`",
        ),
        ("rule r (exact): relu(?x, ?y) => ?x", "line 1, column 28: `relu` has not 2 operands"),
        (
            "rule r (exact): relu(?x) => neg(?y)",
            "line 1, column 33: ?y is not on the left side; near it: `?x`",
        ),
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
            "line 1, column 37: there are two rules `r`, the first in line 1; rename one",
        ),
        ("relu(?x)", "line 1, column 1: expected `rule`, found `relu`"),
        (
            "rule r (exact): relu(?x) => ?x if postive(?x)",
            "line 1, column 35: there is no condition `postive`; near it: `positive`",
        ),
        (
            "rule unit_scale (exact): relu(?x) => ?x",
            "line 1, column 6: there is a built-in rule `unit_scale` already; give yours another name",
        ),
        (
            "rule r (exact): relu(?) => ?x",
            "line 1, column 22: expected a variable, `?` and a name, found `?`",
        ),
        (
            "rule r (exact): relu(?value) => ?vale",
            "line 1, column 33: ?vale is not on the left side; near it: `?value`",
        ),
        (
            "rule r (exact): pad{?a}(pad{?b}(?x)) => pad{togethr(?a, ?b)}(?x)",
            "line 1, column 45: there is no function `togethr` of attributes; near it: `together`",
        ),
        // Attributes that are written out.
        ("rule r (exact): clip{min=0.0}(?x) => ?x", "line 1, column 21: `clip`: attribute `max` is missing"),
        (
            "rule r (exact): clip{min=0.0, max=[1]}(?x) => ?x",
            "line 1, column 21: `clip`: attribute `max` cannot be [1]",
        ),
        (
            "rule r (exact): clip{min=0.0, max=1.0, mid=2}(?x) => ?x",
            "line 1, column 21: `clip`: there is no attribute `mid` here",
        ),
        (
            "rule r (exact): clip{min=0.0, min=0.0, max=1.0}(?x) => ?x",
            "line 1, column 31: attribute `min` is given twice",
        ),
        (
            "rule r (exact): clip{\n  min=0.0,\n  max=%}(?x) => ?x",
            "line 3, column 7: a value is % and a number",
        ),
        (
            "rule r (exact): clip{min=0.0, max=1.0(?x) => ?x",
            "line 1, column 21: these attributes have no `}`",
        ),
        ("rule r (exact): clip{}(?x) => ?x", "line 1, column 21: `clip`: attribute `min` is missing"),
        (
            "rule r (exact): relu(?x) => relu{min=0.0}(?x)",
            "line 1, column 33: expected `(`, found `{min=0.0}`",
        ),
        // Custom operators.
        (
            "rule r (exact): custom{?a}(?x) => ?x",
            "line 1, column 23: expected the quoted name of a custom operator, found `{`",
        ),
        (
            "rule r (exact): custom \"com.example::opaqe\"(?x) => ?x",
            "line 1, column 24: the custom operator `com.example::opaqe` is not registered; near it: `com.example::opaque`: nothing here can evaluate it; a program that registers it compiles with the rule, and checks it",
        ),
        (
            "rule r (exact): custom \"com.example::opaque\"{n=x}(?x) => ?x",
            "line 1, column 45: `n` is no attribute value: x",
        ),
        (
            "rule r (exact): custom \"com.example::opaque(?x) => ?x",
            "line 1, column 24: a quoted name does not end on its line",
        ),
    ];
    for (source, expected) in cases {
        assert_eq!(
            Rule::parse_with(source, &registry()).err().map(|e| e.to_string()).as_deref(),
            Some(expected),
            "{source}"
        );
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let rule = |left: &str, right: &str| format!("rule r (exact): {left} => {right}");
    let nested = |times: usize| rule(&format!("{}?x{}", "relu(".repeat(times), ")".repeat(times)), "?x");
    let many = |count: usize| (0..count).map(|i| format!("?x{i}")).collect::<Vec<_>>().join(", ");
    let cases = [
        (nested(40), "a rule nests at most 32 deep; divide it"),
        (nested(100_000), "a rule nests at most 32 deep; divide it"),
        (rule("mul(?x, ?s)", &format!("mul(?x, {}?s)", "-".repeat(100_000))), "nests at most 32 deep"),
        (rule("mul(?x, ?s)", &format!("mul(?x, {}?s)", "(".repeat(100_000))), "nests at most 32 deep"),
        // A sum is as deep as it is long.
        (
            rule("mul(?x, ?s)", &format!("mul(?x, ?s{})", " + ?s".repeat(100_000))),
            "at most 1000 words and signs",
        ),
        (
            rule("mul(?x, ?s)", &format!("mul(?x, ?s{})", " * ?s".repeat(100_000))),
            "at most 1000 words and signs",
        ),
        (
            rule(&format!("concat{{?a}}({})", "?x, ".repeat(5000) + "?x"), "?x"),
            "at most 1000 words and signs",
        ),
        (
            format!("{} if {}", rule("relu(?x)", "?x"), "f32(?x), ".repeat(5000) + "f32(?x)"),
            "at most 1000 words",
        ),
        (rule(&format!("concat{{?a}}({})", many(100)), "?x0"), "a rule has at most 32 variables"),
        (
            (0..300).map(|i| format!("rule r{i} (exact): relu(?x) => ?x\n")).collect(),
            "line 257, column 6: more than 256 rules; divide the file, and compile with the part that matters",
        ),
        ("#".repeat(2 << 20), "2097152 bytes of rules; at most 1048576 are read"),
        (rule(&format!("clip{{min={}0, max=1.0}}(?x)", "(".repeat(100_000)), "?x"), "nested more than"),
    ];
    for (source, words) in cases {
        let error = Rule::parse(&source).err().unwrap_or_else(|| panic!("{words}")).to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// What is written out may be of any size; nothing is computed of it while a rule is checked.
#[test]
fn attributes_of_any_size_take_no_time() {
    for side in [
        "pad{begin=[0,0], end=[0,1000000000000], value=0.0}(?x)",
        "pad{begin=[0,0], end=[9223372036854775807,9223372036854775807], value=0.0}(?x)",
        "broadcast{shape=[4611686018427387904,4,4]}(?x)",
        "max_pool{kernel=[1000000000,1000000000], pads_begin=[1000000000,1000000000]}(?x)",
        "slice{axis=0, start=0, size=1000000000000}(?x)",
        "reduce_sum{axes=[18446744073709551615]}(?x)",
        "conv{pads_begin=[1000000000,1000000000], groups=0}(?x, ?w)",
        "matmul(pad{begin=[0,1000000000], end=[0,0], value=0.0}(?x), ?w)",
    ] {
        // What no axis can be is no attribute.
        let Ok(rules) = Rule::parse(&format!("rule r (exact): abs({side}) => {side}")) else { continue };
        assert_eq!(check(&rules[0], 20, 0), Verdict::Holds(0), "{side}");
        if !side.contains("?w") {
            let rules =
                Rule::parse(&format!("rule r (exact): relu(?x) => slice{{axis=0, start=0, size=1}}({side})"))
                    .unwrap();
            assert!(!matches!(check(&rules[0], 20, 0), Verdict::Holds(1..)), "{side}");
        }
    }
}

/// Rules that hold, and that make more and more of what they match.
#[test]
fn rules_without_end_reach_a_limit_and_leave_the_result_right() {
    let graph = saturation::perceptron(3, 4);
    for rule in [
        "rule again (exact): relu(?x) => relu(relu(?x))",
        "rule apart (reassociation): mul(?x, ?s) => mul(mul(?x, ?s * 2), 1 / 2) if coefficient(?s)",
        "rule longer (reassociation): add(?x, ?t) => add(add(add(?x, ?t), ?t), - ?t) if coefficient(?t)",
        "rule turned (exact): max(?x, ?y) => max(?y, ?x)",
        "rule there_and_back (reassociation): matmul(?x, ?w) => neg(matmul(neg(?x), ?w))",
    ] {
        let options = Options { rules: rule.to_owned(), ..Options::default() };
        let mut after = graph.clone();
        crate::oracle::run(&mut after, &["saturate"], &options);
        crate::oracle::assert_same(&graph, &after);
        let mut again = graph.clone();
        crate::oracle::run(&mut again, &["saturate"], &options);
        assert_eq!(text::print_full(&after), text::print_full(&again), "{rule}");
    }
}

#[test]
fn attributes_that_are_written_out_match_just_those() {
    let rules = "
        rule halves (exact, numbers): max_pool{kernel=[1,1], strides=[2,2]}(?x) => # every second element
            slice{axis=3, start=0, size=2, step=2}(slice{axis=2, start=0, size=2, step=2}(?x))
        rule bounded (exact): relu(clip{min=0.0, max=6.0}(?x)) => clip{min=0.0, max=6.0}(?x)
        rule turned (exact): transpose{perm=[0,2,3,1]}(transpose{perm=[0,3,1,2]}(?x)) => ?x";
    for rule in Rule::parse(rules).unwrap() {
        assert_eq!(check(&rule, 100, 0), Verdict::Holds(100), "{}", rule.equation());
    }
    let wrong = Rule::parse("rule w (exact): transpose{perm=[0,2,3,1]}(transpose{perm=[0,2,3,1]}(?x)) => ?x")
        .unwrap();
    assert!(matches!(check(&wrong[0], 100, 0), Verdict::Fails(_)));
    let source = |max: &str| {
        format!(
            "graph \"g\" (%0 \"x\": f32[N,2]) -> (%2 \"y\") {{
  %1 = clip(%0) {{min=0.0, max={max}}} : f32[N,2]
  %2 = relu(%1) : f32[N,2]
}}"
        )
    };
    let options = Options { rules: rules.to_owned(), ..Options::default() };
    // Without the built-in rule, which knows that what is clipped at 0 is not negative.
    for (max, left) in [("6.0", "clip"), ("5.0", "clip relu")] {
        let mut graph = text::parse(&source(max), &CustomRegistry::default()).unwrap();
        let rules = Rule::parse(&options.rules).unwrap();
        let mut cx = PassContext::new(&CountingCost);
        Saturate::default().with_rules(rules).run(&mut graph, &mut cx).unwrap();
        assert_eq!(words(&graph), left);
    }
}

#[test]
fn custom_operators_take_part() {
    let twice = "rule twice (reassociation): custom \"com.example::opaque\"(custom \"com.example::opaque\"(?x)) => custom \"com.example::opaque\"(?x)";
    let wrong = &Rule::parse_with(twice, &registry()).unwrap()[0];
    assert!(matches!(check(wrong, 100, 0), Verdict::Fails(_)), "x·sigmoid(x) is no projection");
    let rules = "
        rule reshaped (exact): custom \"com.example::opaque\"{?c}(reshape{?a}(?x)) => reshape{?a}(custom \"com.example::opaque\"{?c}(?x))
        rule known (reassociation): custom \"com.example::opaque\"(?x) => mul(?x, sigmoid(?x))
        rule with_attributes (exact): neg(custom \"com.example::opaque\"{n=3, names=\"a b\"}(?x)) => mul(custom \"com.example::opaque\"{n=3, names=\"a b\"}(?x), -1)";
    let parsed = Rule::parse_with(rules, &registry()).unwrap();
    for rule in &parsed {
        assert_eq!(check(rule, 100, 0), Verdict::Holds(100), "{}", rule.equation());
    }
    let equation = "neg(custom \"com.example::opaque\"{n=3, names=\"a b\"}(?x)) => mul(custom \"com.example::opaque\"{n=3, names=\"a b\"}(?x), - 1)";
    assert_eq!(parsed[2].equation(), equation);
    let source = |attributes: &str| {
        format!(
            "graph \"g\" (%0 \"x\": f32[N,2]) -> (%2 \"y\") {{
  %1 = reshape(%0) {{shape=[2*N]}} : f32[2*N]
  %2 = custom \"com.example::opaque\"(%1){attributes} : f32[2*N]
}}"
        )
    };
    // An operator costs nothing that is known but what it stores, and so it stays where it is; what it is known to be costs more.
    let options = Options { rules: rules.to_owned(), ..Options::default() };
    let pipeline = twnc_passes::pipeline_with(&options, &registry()).unwrap();
    let mut graph = text::parse(&source(""), &registry()).unwrap();
    let mut cx = PassContext::new(&CountingCost);
    let run = RunOptions { verify: true, ..RunOptions::default() };
    pipeline
        .select(&["saturate".to_owned()])
        .unwrap()
        .run(&mut graph, &mut cx, &run, &mut |_, _| {})
        .unwrap();
    assert_eq!(words(&graph), "reshape custom");
    let missing = default_pipeline(&options).err().unwrap().to_string();
    assert!(missing.contains("`com.example::opaque` is not registered"), "{missing}");
}

fn registry() -> CustomRegistry {
    let mut registry = CustomRegistry::default();
    registry.register(Arc::new(Swish::Opaque));
    registry
}

fn words(graph: &Graph) -> String {
    let nodes = graph.order().unwrap().into_iter().map(|id| graph.node(id).op.mnemonic());
    nodes.collect::<Vec<_>>().join(" ")
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
    assert!(inexact.to_string().starts_with("the rules: line 1, column 6: rule `positive` does not hold: "));
    assert!(matches!(refusal("rule"), OptionsError::Rules(_)));
    let source = "graph \"g\" (%0 \"x\": f32[N,2]) -> (%2 \"y\") {
  %1 = relu(%0) : f32[N,2]
  %2 = abs(%1) : f32[N,2]
}";
    let left = |rules: &str| {
        let mut graph = text::parse(source, &CustomRegistry::default()).unwrap();
        crate::oracle::run(&mut graph, &["saturate"], &options(rules));
        words(&graph)
    };
    assert_eq!(left(""), "relu abs");
    assert_eq!(left("rule positive (reassociation): abs(relu(?x)) => relu(?x)"), "relu");
}
