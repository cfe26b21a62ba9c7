//! Pipelines: which passes run, in which order, what is printed, and what stops them.

#![allow(clippy::unwrap_used)] // A value that cannot be built is a failure of the test.

use twnc_ir::{
    Changed, CountingCost, CustomRegistry, Graph, Op, Pass, PassContext, PassError, Pipeline, PipelineError,
    PrintAfter, RemarkKind, Rewriter, RunOptions, Topic, Unary, text,
};

const GRAPH: &str = r#"graph "g" (%0 "x": f32[N]) -> (%1 "y") {
  %1 = neg(%0) "start" : f32[N]
}
"#;

fn graph() -> Graph {
    text::parse(GRAPH, &CustomRegistry::default()).unwrap()
}

/// Puts a `relu` of its own name behind the output, so that the graph tells which passes ran.
struct Append(&'static str);

impl Pass for Append {
    fn name(&self) -> &str {
        self.0
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Changed, PassError> {
        let output = graph.outputs()[0].value;
        let mut rewriter = Rewriter::new(graph);
        let error = PassError::at(self.0);
        let relu = rewriter.insert(Op::Unary(Unary::Relu), &[output], self.0).map_err(&error)?;
        let keep = rewriter.graph().definer(relu).unwrap().0;
        rewriter.replace_except(output, relu, &[keep], "one more").map_err(&error)?;
        cx.applied(Topic::Other, self.0, "appended");
        Ok(rewriter.finish())
    }
}

/// Lets a node read its own result.
struct Bite;

impl Pass for Bite {
    fn name(&self) -> &str {
        "bite"
    }

    fn run(&self, graph: &mut Graph, _: &mut PassContext<'_>) -> Result<Changed, PassError> {
        let (input, output) = (graph.inputs()[0].value, graph.outputs()[0].value);
        let mut rewriter = Rewriter::new(graph);
        rewriter.replace(input, output, "hungry").map_err(PassError::at("tail"))?;
        Ok(rewriter.finish())
    }
}

/// Gives up.
struct Refuse;

impl Pass for Refuse {
    fn name(&self) -> &str {
        "refuse"
    }

    fn run(&self, _: &mut Graph, _: &mut PassContext<'_>) -> Result<Changed, PassError> {
        Err(PassError::Refused { node: "start".into(), message: "it is too late".into() })
    }
}

/// `a`, `b` and `c`, each of which appends.
fn abc() -> Pipeline {
    let mut pipeline = Pipeline::new();
    for name in ["a", "b", "c"] {
        pipeline.push(Append(name), "a test").unwrap();
    }
    pipeline
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}

fn order(pipeline: &Pipeline) -> String {
    pipeline.entries().iter().map(|entry| entry.pass.name()).collect::<Vec<_>>().join(" ")
}

/// The names of the layers in a text, without the first.
fn layers(printed: &str) -> String {
    let graph = text::parse(printed, &CustomRegistry::default()).unwrap();
    let layers = graph.order().unwrap().into_iter().map(|id| graph.node(id).name.clone()).skip(1);
    layers.collect::<Vec<_>>().join(" ")
}

#[test]
fn options_choose_what_runs_and_what_prints() {
    let only = |list: &[&str]| PrintAfter::Passes(names(list));
    let all = || PrintAfter::All;
    let plain = RunOptions::default;
    /// For each print, the pass and the layers that it shows.
    type Prints<'a> = &'a [(&'a str, &'a str)];
    // Options, the passes that run, and what prints.
    let cases: [(RunOptions, &str, Prints<'_>); 10] = [
        (plain(), "a b c", &[]),
        (RunOptions { print_after: only(&["b"]), ..plain() }, "a b c", &[("b", "a b")]),
        (RunOptions { print_after: only(&["c", "a"]), ..plain() }, "a b c", &[("a", "a"), ("c", "a b c")]),
        (RunOptions { print_after: all(), ..plain() }, "a b c", &[("a", "a"), ("b", "a b"), ("c", "a b c")]),
        (RunOptions { stop_after: Some("b".into()), ..plain() }, "a b", &[]),
        (
            RunOptions { skip: names(&["b"]), print_after: all(), ..plain() },
            "a c",
            &[("a", "a"), ("c", "a c")],
        ),
        (RunOptions { skip: names(&["a", "b", "c"]), ..plain() }, "", &[]),
        (RunOptions { skip: names(&["b"]), stop_after: Some("b".into()), ..plain() }, "a", &[]),
        (RunOptions { skip: names(&["b"]), print_after: only(&["b"]), ..plain() }, "a c", &[]),
        (
            RunOptions { stop_after: Some("a".into()), print_after: only(&["b"]), verify: true, ..plain() },
            "a",
            &[],
        ),
    ];
    for (options, runs, prints) in cases {
        let (mut graph, mut cx) = (graph(), PassContext::new(&CountingCost));
        let mut printed = vec![];
        let mut print = |pass: &str, text: &str| printed.push((pass.to_owned(), layers(text)));
        let timings = abc().run(&mut graph, &mut cx, &options, &mut print).unwrap();
        let ran: Vec<_> = timings.iter().map(|timing| timing.pass.as_str()).collect();
        assert_eq!(ran.join(" "), runs, "{options:?}");
        assert_eq!(layers(&text::print(&graph)), runs, "{options:?}");
        assert!(timings.iter().all(|timing| timing.edits == 1), "{timings:?}");
        let remarks: Vec<_> = cx.remarks().iter().map(|remark| remark.pass.as_str()).collect();
        assert_eq!(remarks.join(" "), runs, "{options:?}");
        assert!(cx.remarks().iter().all(|r| r.kind == RemarkKind::Applied && r.message == "appended"));
        let prints: Vec<_> = prints.iter().map(|(pass, text)| (pass.to_string(), text.to_string())).collect();
        assert_eq!(printed, prints, "{options:?}");
    }
}

#[test]
fn unknown_names_are_refused_before_anything_runs() {
    let plain = RunOptions::default;
    let cases = [
        RunOptions { stop_after: Some("d".into()), ..plain() },
        RunOptions { skip: names(&["a", "d"]), ..plain() },
        RunOptions { print_after: PrintAfter::Passes(names(&["d"])), ..plain() },
    ];
    for options in cases {
        let (mut changed, mut cx) = (graph(), PassContext::new(&CountingCost));
        let error = abc().run(&mut changed, &mut cx, &options, &mut |_, _| {}).unwrap_err();
        assert_eq!(error.to_string(), "there is no pass `d`; there are a, b, c", "{options:?}");
        assert_eq!(changed, graph(), "{options:?}");
    }
}

#[test]
fn order_is_by_name() {
    type Change = fn(Pipeline) -> Result<Pipeline, PipelineError>;
    let cases: [(Change, &str); 11] = [
        (Ok, "a b c"),
        (|mut p| p.push(Append("d"), "").map(|()| p), "a b c d"),
        (|mut p| p.before("a", Box::new(Append("d")), "").map(|()| p), "d a b c"),
        (|mut p| p.before("c", Box::new(Append("d")), "").map(|()| p), "a b d c"),
        (|mut p| p.after("a", Box::new(Append("d")), "").map(|()| p), "a d b c"),
        (|mut p| p.after("c", Box::new(Append("d")), "").map(|()| p), "a b c d"),
        (|p| p.select(&names(&["c", "a"])), "c a"),
        (|p| p.select(&[]), ""),
        (|mut p| p.push(Append("b"), "").map(|()| p), "the pipeline has a pass `b` already"),
        (
            |mut p| p.after("e", Box::new(Append("d")), "").map(|()| p),
            "there is no pass `e`; there are a, b, c",
        ),
        (|p| p.select(&names(&["a", "a"])), "the pipeline has a pass `a` already"),
    ];
    for (change, expected) in cases {
        let found = change(abc()).map_or_else(|error| error.to_string(), |pipeline| order(&pipeline));
        assert_eq!(found, expected);
    }
    let unknown = abc().select(&names(&["b", "e"])).err().unwrap().to_string();
    assert_eq!(unknown, "there is no pass `e`; there are a, b, c");
    assert_eq!(abc().entries()[0].why, "a test");
}

#[test]
fn what_fails_names_its_pass() {
    let with = |pass: Box<dyn Pass>| {
        let mut pipeline = abc();
        pipeline.after("a", pass, "to fail").unwrap();
        pipeline
    };
    let ternary = r#"graph "g" (%0 "x": ternary[2]) -> (%0 "y") {
}
"#;
    let cases = [
        (with(Box::new(Refuse)), GRAPH, "pass `refuse`: at `start`: it is too late", "a"),
        (
            with(Box::new(Bite)),
            GRAPH,
            "the graph is not valid after `bite`:\na cycle through n0 (start), n1 (a)",
            "a bite",
        ),
        (
            abc(),
            ternary,
            "the graph is not valid after `(input)`:\n%0 (x) is ternary, but no constant, or an output",
            "",
        ),
    ];
    for (pipeline, source, message, printed) in cases {
        let mut graph = text::parse(source, &CustomRegistry::default()).unwrap();
        let mut cx = PassContext::new(&CountingCost);
        let options = RunOptions { verify: true, print_after: PrintAfter::All, ..RunOptions::default() };
        let mut seen = vec![];
        let mut print = |pass: &str, _: &str| seen.push(pass.to_owned());
        let error = pipeline.run(&mut graph, &mut cx, &options, &mut print).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(seen.join(" "), printed, "{message}");
    }
}
