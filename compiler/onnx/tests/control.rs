//! Branches, loops and functions of the file, which become part of the graph.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fixture;

use fixture::{bytes, floats, graph, import, index, int, model, node, raw, summary, value};
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_proto::DataType::{BOOL, FLOAT};
use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
};
use std::collections::BTreeMap;
use twnc_ir::Tensor;
use twnc_ir::eval::evaluate;
use twnc_onnx::{ImportOptions, import_bytes};

fn body(name: &str, g: GraphProto) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        g: Some(g).into(),
        type_: AttributeType::GRAPH.into(),
        ..Default::default()
    }
}

fn truth(name: &str, value: bool) -> TensorProto {
    raw(name, BOOL as i32, &[], &[u8::from(value)])
}

fn op(name: &str, input: &[&str], output: &str) -> NodeProto {
    node(name, "", input, &[output], vec![])
}

/// The output of a model of one input `x` of two elements.
fn run(model: &ModelProto, x: [f32; 2]) -> Vec<f32> {
    let import = import(model).unwrap();
    let x = Tensor::from_f32(vec![2], x.to_vec()).unwrap();
    let inputs = BTreeMap::from([("x".to_owned(), x)]);
    evaluate(&import.graph, &inputs).unwrap()["y"].as_f32().unwrap().to_vec()
}

fn x() -> Vec<onnx_protobuf::ValueInfoProto> {
    vec![value("x", FLOAT, "2")]
}

#[test]
fn the_branch_that_is_taken_is_the_graph() {
    // What the other branch reads need not be translatable, and both name their values alike.
    let branches = || {
        let then = graph(vec![op("Relu", &["x"], "t")], vec![], vec![], &["t"]);
        let otherwise = graph(vec![op("Neg", &["x"], "t")], vec![], vec![], &["t"]);
        vec![body("then_branch", then), body("else_branch", otherwise)]
    };
    for (condition, expected) in [(true, "relu : f32[2]"), (false, "neg : f32[2]")] {
        let nodes = vec![node("If", "n", &["c"], &["y"], branches())];
        let model = model(13, graph(nodes, x(), vec![truth("c", condition)], &["y"]));
        assert_eq!(summary(&import(&model).unwrap().graph), expected);
    }
    // A condition on the rank, as exporters write it.
    let nodes = vec![
        op("Shape", &["x"], "s"),
        op("Size", &["s"], "rank"),
        op("Equal", &["rank", "one"], "c"),
        node("If", "n", &["c"], &["y"], branches()),
    ];
    let model = model(13, graph(nodes, x(), vec![index("one", 1)], &["y"]));
    assert_eq!(summary(&import(&model).unwrap().graph), "relu : f32[2]");
}

/// What a branch calls `t` is not what is called so around it; the file's `t` once became the branch's.
#[test]
fn names_inside_of_a_branch_are_its_own() {
    let then = graph(vec![op("Relu", &["x"], "t"), op("Tanh", &["t"], "u")], vec![], vec![], &["u"]);
    let otherwise = graph(vec![op("Neg", &["x"], "u")], vec![], vec![], &["u"]);
    let nodes = vec![
        op("Neg", &["x"], "t"),
        node("If", "n", &["c"], &["y"], vec![body("then_branch", then), body("else_branch", otherwise)]),
        op("Exp", &["t"], "z"),
    ];
    let model = model(13, graph(nodes, x(), vec![truth("c", true)], &["y", "z"]));
    let text = twnc_ir::text::print(&import(&model).unwrap().graph);
    assert!(text.contains("%3 = neg(%0)") && text.contains("exp(%3)"), "{text}");
}

/// PyTorch writes the statistics of a batch norm, other exporters the indices of a pool, which nothing reads.
#[test]
fn results_that_nothing_reads_need_not_be_known() {
    let nodes = |last: &str| {
        vec![
            node("MaxPool", "pool", &["x"], &["p", "indices"], vec![fixture::ints("kernel_shape", &[1, 1])]),
            op("Identity", &[last], "y"),
        ]
    };
    let of = |last| model(13, graph(nodes(last), vec![value("x", FLOAT, "1,1,2,2")], vec![], &["y"]));
    assert!(import(&of("p")).is_ok());
    let error = import(&of("indices")).unwrap_err().to_string();
    assert!(error.contains("its second result, the indices, is not supported"), "{error}");
}

fn loop_of(passes: i64, condition: bool) -> ModelProto {
    // a ← a + x + pass, collecting a; it goes on while the pass is not 2.
    let nodes = vec![
        node("Cast", "", &["i"], &["number"], vec![int("to", 1)]),
        op("Add", &["a", "x"], "sum"),
        op("Add", &["sum", "number"], "next"),
        op("Equal", &["i", "two"], "last"),
        op("Not", &["last"], "on"),
        op("Identity", &["next"], "seen"),
    ];
    let inputs = ["i", "c", "a"].map(|name| value(name, FLOAT, ""));
    let inner = graph(nodes, inputs.into(), vec![index("two", 2)], &["on", "next", "seen"]);
    let constants =
        vec![index("passes", passes), truth("start", condition), floats("zero", &[2], &[0.0, 0.0])];
    let looped = node("Loop", "n", &["passes", "start", "zero"], &["y", "all"], vec![body("body", inner)]);
    model(13, graph(vec![looped], x(), constants, &["y", "all"]))
}

#[test]
fn the_passes_of_a_loop_stand_one_after_the_other() {
    assert_eq!(run(&loop_of(2, true), [1.0, -1.0]), [3.0, -1.0]);
    // The condition ends it after the third.
    assert_eq!(run(&loop_of(1000, true), [1.0, -1.0]), [6.0, 0.0]);
    let import = import(&loop_of(2, true)).unwrap();
    assert!(summary(&import.graph).ends_with("concat : f32[2] f32[2,2]"), "{}", summary(&import.graph));
}

#[test]
fn control_that_depends_on_data_is_refused() {
    let branch = || graph(vec![op("Relu", &["x"], "t")], vec![], vec![], &["t"]);
    let of = |nodes: Vec<NodeProto>| {
        let inputs = [x(), vec![value("c", BOOL, "")]].concat();
        model(13, graph(nodes, inputs, vec![], &["y"]))
    };
    let both = vec![body("then_branch", branch()), body("else_branch", branch())];
    let mut nested = branch();
    for _ in 0..20 {
        let attributes = vec![body("then_branch", nested.clone()), body("else_branch", branch())];
        nested = graph(vec![node("If", "", &["c"], &["t"], attributes)], vec![], vec![], &["t"]);
    }
    let deep = vec![body("then_branch", nested), body("else_branch", branch())];
    let cases: Vec<(ModelProto, &str)> = vec![
        (of(vec![node("If", "n", &["c"], &["y"], both)]), "its condition (`c`) depends on data"),
        (of(vec![node("If", "n", &["c"], &["y"], vec![])]), "its condition (`c`) depends on data"),
        (
            model(
                13,
                graph(vec![node("If", "n", &["c"], &["y"], vec![])], x(), vec![truth("c", true)], &["y"]),
            ),
            "attribute `then_branch` is missing, or no graph",
        ),
        (
            model(
                13,
                graph(vec![node("If", "n", &["c"], &["y"], deep)], x(), vec![truth("c", true)], &["y"]),
            ),
            "is inside of 16 others",
        ),
        (loop_of(2, false), "never runs, and what it collects has no type"),
        (endless(), "which makes too many nodes"),
        // 10^12 passes, of which none alone is too many.
        (loops_in_loops(), "which makes too many nodes"),
    ];
    for (model, expected) in cases {
        let error = import(&model).expect_err(expected).to_string();
        assert!(error.contains("node `n` (") && error.contains(expected), "{error}\nis not\n{expected}");
    }
}

/// A loop without a number of passes whose condition stays true.
fn endless() -> ModelProto {
    let inputs = ["i", "c", "a"].map(|name| value(name, FLOAT, ""));
    let nodes = vec![op("Identity", &["c"], "on"), op("Relu", &["a"], "next")];
    let inner = graph(nodes, inputs.into(), vec![], &["on", "next"]);
    let looped = node("Loop", "n", &["", "start", "x"], &["y"], vec![body("body", inner)]);
    model(13, graph(vec![looped], x(), vec![truth("start", true)], &["y"]))
}

fn loops_in_loops() -> ModelProto {
    let mut last = op("Relu", &["a"], "next");
    for level in 0..4 {
        let inputs = ["i", "c", "a"].map(|name| value(name, FLOAT, ""));
        let inner = graph(vec![op("Identity", &["c"], "on"), last], inputs.into(), vec![], &["on", "next"]);
        let (from, to) = if level == 3 { ("x", "y") } else { ("a", "next") };
        last = node("Loop", "n", &["passes", "start", from], &[to], vec![body("body", inner)]);
    }
    model(13, graph(vec![last], x(), vec![index("passes", 1000), truth("start", true)], &["y"]))
}

fn function(name: &str, nodes: Vec<NodeProto>, input: &[&str], output: &[&str]) -> FunctionProto {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    FunctionProto {
        name: name.into(),
        domain: "f".into(),
        input: list(input),
        output: list(output),
        node: nodes,
        opset_import: vec![OperatorSetIdProto { version: 13, ..Default::default() }],
        ..Default::default()
    }
}

fn call(
    name: &str,
    label: &str,
    input: &[&str],
    output: &[&str],
    attributes: Vec<AttributeProto>,
) -> NodeProto {
    NodeProto { domain: "f".into(), ..node(name, label, input, output, attributes) }
}

fn referring(name: &str, to: &str) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        ref_attr_name: to.into(),
        type_: AttributeType::FLOAT.into(),
        ..Default::default()
    }
}

#[test]
fn functions_of_the_file_are_inlined() {
    // Leaky(x) = LeakyRelu(Neg(x)); Twice(x) = Leaky(Leaky(x)), with inner values named alike.
    let leaky = function(
        "Leaky",
        vec![
            op("Neg", &["a"], "t"),
            node("LeakyRelu", "", &["t"], &["b"], vec![referring("alpha", "slope")]),
        ],
        &["a"],
        &["b"],
    );
    let twice = function(
        "Twice",
        vec![
            call("Leaky", "", &["a"], &["t"], vec![fixture::float("slope", 0.5)]),
            call("Leaky", "", &["t"], &["b"], vec![]),
        ],
        &["a", "unused"],
        &["b"],
    );
    let nodes = vec![call("Twice", "n", &["x"], &["y"], vec![])];
    let model = ModelProto { functions: vec![leaky, twice], ..model(13, graph(nodes, x(), vec![], &["y"])) };
    assert_eq!(summary(&import(&model).unwrap().graph), "neg leaky_relu neg leaky_relu : f32[2]");
    // -(-1 → 1) → -0.01; -(2 → -2 → -1) → 1.
    assert_eq!(run(&model, [-1.0, 2.0]), [-0.01, 1.0]);
}

/// Two functions of one name are told apart by `overload`; the first that was read once stood for both.
#[test]
fn a_node_uses_the_overload_that_it_names() {
    let of = |overload: &str, inner: &str| FunctionProto {
        overload: overload.into(),
        ..function("F", vec![op(inner, &["a"], "b")], &["a"], &["b"])
    };
    let used = |overload: &str, from: &str, to: &str| NodeProto {
        overload: overload.into(),
        ..call("F", to, &[from], &[to], vec![])
    };
    let nodes = vec![used("second", "x", "t"), used("", "t", "y")];
    let functions = vec![of("", "Neg"), of("second", "Relu"), of("third", "Exp")];
    let model = ModelProto { functions, ..model(13, graph(nodes, x(), vec![], &["y"])) };
    assert_eq!(summary(&import(&model).unwrap().graph), "relu neg : f32[2]");
}

/// Softmax is over axis 1 and all behind it before operator set 13, and over the last axis since.
#[test]
fn nodes_of_a_function_are_of_its_operator_set() {
    let of = |version: i64, name: &str, nodes: Vec<NodeProto>| FunctionProto {
        opset_import: vec![OperatorSetIdProto { version, ..Default::default() }],
        ..function(name, nodes, &["a"], &["b"])
    };
    // A function of set 13 around one of set 12, in a file of set 17.
    let inner = of(12, "Inner", vec![op("Softmax", &["a"], "b")]);
    let outer = of(13, "Outer", vec![call("Inner", "", &["a"], &["t"], vec![]), op("Softmax", &["t"], "b")]);
    let input = vec![value("x", FLOAT, "1,2,2")];
    let nodes = vec![call("Outer", "n", &["x"], &["t"], vec![]), op("Softmax", &["t"], "y")];
    let model =
        ModelProto { functions: vec![inner, outer], ..model(17, graph(nodes, input, vec![], &["y"])) };
    let text = twnc_ir::text::print(&import(&model).unwrap().graph);
    for line in [
        r#"%1 = softmax(%0) {axes=[1,2]} "n/1/t/2/b""#,
        r#"%2 = softmax(%1) {axes=[2]} "n/1/b""#,
        r#"%3 = softmax(%2) {axes=[2]} "y""#,
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn functions_that_are_refused() {
    let recursive = function("F", vec![call("F", "", &["a"], &["b"], vec![])], &["a"], &["b"]);
    let unknown = FunctionProto {
        opset_import: vec![OperatorSetIdProto { version: 99, ..Default::default() }],
        ..function("F", vec![op("Relu", &["a"], "b")], &["a"], &["b"])
    };
    // Each uses the next twice: 2^40 nodes.
    let doubling = (0..40).map(|i| {
        let next = format!("F{}", i + 1);
        let nodes = vec![call(&next, "", &["a"], &["t"], vec![]), call(&next, "", &["t"], &["b"], vec![])];
        function(&format!("F{i}"), nodes, &["a"], &["b"])
    });
    let wide = (0..20).map(|i| {
        let next = format!("F{}", i + 1);
        let nodes = vec![call(&next, "", &["a"], &["t"], vec![]), call(&next, "", &["t"], &["b"], vec![])];
        function(&format!("F{i}"), nodes, &["a"], &["b"])
    });
    let wide = wide.chain([function("F20", vec![op("Relu", &["a"], "b")], &["a"], &["b"])]).collect();
    let relu = |operands: &[&str]| function("F", vec![op("Relu", &["a"], "b")], operands, &["b"]);
    let cases: Vec<(Vec<FunctionProto>, &str, &str)> = vec![
        (vec![recursive], "F", "too deeply, or in a circle"),
        (vec![unknown], "F", "the operator set is 99"),
        (doubling.collect(), "F0", "too deeply, or in a circle"),
        (wide, "F0", "make too many nodes"),
        (vec![relu(&["a"]), relu(&["a"])], "F", "two functions of the file are `f::F`"),
        (vec![relu(&["a", "a"])], "F", "function `f::F` has two operands `a`"),
    ];
    for (functions, name, expected) in cases {
        let nodes = vec![call(name, "n", &["x"], &["y"], vec![])];
        let model = ModelProto { functions, ..model(13, graph(nodes, x(), vec![], &["y"])) };
        let error = import_bytes(&bytes(&model), &ImportOptions::default()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}\nis not\n{expected}");
    }
}
