//! Small graphs in the e-graph, as text: what becomes of them, and what they keep.

use crate::oracle::assert_same;
use twnc_ir::{
    Binary, CostModel, CountingCost, CustomRegistry, Data, Dim, Flow, Graph, GraphBuilder, Op, Pass,
    PassContext, Tensor, TensorType, Unary, text, verify,
};
use twnc_passes::{Limits, Saturate};

fn parse(source: &str) -> Graph {
    text::parse(source, &CustomRegistry::default()).unwrap()
}

/// The graph after the pass, which computes the same.
fn saturate(graph: &Graph) -> Graph {
    let mut after = graph.clone();
    Saturate::default().run(&mut after, &mut PassContext::new(&CountingCost)).unwrap();
    verify::verify(&after).unwrap();
    assert_same(graph, &after);
    after
}

/// The words of the operators that are no constants, in order.
fn words(graph: &Graph) -> Vec<&'static str> {
    let nodes = graph.order().unwrap().into_iter().map(|id| graph.node(id).op.mnemonic());
    nodes.filter(|&word| word != "const").collect()
}

/// A ternary weight of 4 to 4 channels, 1x1.
const WEIGHT: &str = "const ternary[4,4,1,1] \"w\" [1, 0, -1, 1, 1, 1, 0, -1, -1, 0, 1, 1, 0, 1, 1, -1]";

/// Pools of which every window counts as many elements are sums, whose division joins the scale. Others stay.
#[test]
fn averages_over_even_windows_alone_are_sums() {
    let pooled = |attributes: &str, size: usize| {
        parse(&format!(
            "graph \"g\" (%0 \"x\": f32[N,4,7,7]) -> (%4 \"y\") {{
  %1 = {WEIGHT}
  %2 = conv(%0, %1) \"conv\" : f32[N,4,7,7]
  %5 = const f32[] \"alpha\" [0.3]
  %3 = mul(%2, %5) \"conv\" : f32[N,4,7,7]
  %4 = average_pool(%3) {{kernel=[2,2]{attributes}}} \"pool\" : f32[N,4,{size},{size}]
}}"
        ))
    };
    let padded = "strides=[2,2], pads_begin=[1,1], pads_end=[1,1]";
    let cases = [
        (", strides=[2,2]".to_owned(), 3, true),
        (format!(", {padded}, count_padding=true"), 4, true),
        // Elements of the padding are not counted, and the last windows are cut off.
        (format!(", {padded}"), 4, false),
        (", strides=[2,2], ceil=true".to_owned(), 4, false),
    ];
    for (attributes, size, is_sum) in cases {
        let after = saturate(&pooled(&attributes, size));
        let expected: &[&str] =
            if is_sum { &["conv", "conv", "mul"] } else { &["conv", "average_pool", "mul"] };
        assert_eq!(words(&after), expected, "{attributes}");
    }
}

/// A scale that is 0 is a constant channel: its row is zeros, and no scale is less than 0 or 0.
#[test]
fn channels_without_a_scale_are_constants() {
    let graph = parse(&format!(
        "graph \"g\" (%0 \"x\": f32[N,4,3,3]) -> (%6 \"y\") {{
  %1 = {WEIGHT}
  %2 = conv(%0, %1) \"conv\" : f32[N,4,3,3]
  %3 = const f32[4,1,1] \"s\" [0.5, 0, -0.25, 1.5]
  %4 = mul(%2, %3) \"conv\" : f32[N,4,3,3]
  %5 = relu(%4) \"relu\" : f32[N,4,3,3]
  %7 = max_pool(%5) {{kernel=[3,3]}} \"pool\" : f32[N,4,1,1]
  %6 = reshape(%7) {{shape=[N,4]}} \"flat\" : f32[N,4]
}}"
    ));
    let after = saturate(&graph);
    let nodes = || after.node_ids().map(|id| after.node(id));
    let constant = |value| after.constant(value).unwrap();
    let scale = nodes().find(|node| node.op == Op::Binary(Binary::Mul)).unwrap();
    assert_eq!(constant(scale.operands[1]).as_f32().unwrap(), [0.5, 1.0, 0.25, 1.5]);
    // It has moved behind the pool, since it is positive.
    assert_eq!(words(&after), ["conv", "relu", "max_pool", "mul", "reshape"]);
    let product = nodes().find(|node| matches!(node.op, Op::Conv(_))).unwrap();
    let trits = constant(product.operands[1]).as_ternary().unwrap();
    assert_eq!(trits, [1, 0, -1, 1, 0, 0, 0, 0, 1, 0, -1, -1, 0, 1, 1, -1]);
}

/// Outputs keep their order and names, layers their names, and what is read several times is computed once.
#[test]
fn outputs_names_and_sharing_stay() {
    let graph = parse(&format!(
        "graph \"g\" (%0 \"x\": f32[N,4,6,6]) -> (%8 \"second\", %5 \"first\", %9 \"third\") {{
  %1 = {WEIGHT}
  %2 = conv(%0, %1) \"trunk\" : f32[N,4,6,6]
  %3 = const f32[] \"alpha\" [0.3]
  %4 = mul(%2, %3) \"trunk\" : f32[N,4,6,6]
  %5 = relu(%4) \"head\" : f32[N,4,6,6]
  %6 = max_pool(%5) {{kernel=[2,2], strides=[2,2]}} \"pool\" : f32[N,4,3,3]
  %7 = conv(%6, %1) \"branch\" : f32[N,4,3,3]
  %8 = mul(%7, %3) \"branch\" : f32[N,4,3,3]
  %9 = neg(%8) \"turned\" : f32[N,4,3,3]
}}"
    ));
    let after = saturate(&graph);
    let ports = |graph: &Graph| graph.outputs().iter().map(|port| port.name.clone()).collect::<Vec<_>>();
    assert_eq!(ports(&graph), ports(&after));
    let products: Vec<&str> = after
        .order()
        .unwrap()
        .into_iter()
        .filter(|&id| matches!(after.node(id).op, Op::Conv(_)))
        .map(|id| after.node(id).name.as_str())
        .collect();
    assert_eq!(products, ["trunk", "branch"], "{}", text::print(&after));
    // Both read the same weight, which is one constant still.
    let constants = after.node_ids().filter(|&id| after.node(id).op.mnemonic() == "const").count();
    assert!(constants <= 4, "{}", text::print(&after));
}

/// Where regions are small, a product of scales leaves its range a little sooner, and one is left.
#[test]
fn a_large_graph_is_searched_in_smaller_regions() {
    let graph = crate::saturation::perceptron(40, 4);
    let limits = Limits { large: 50, ..Limits::default() };
    let (mut after, mut cx) = (graph.clone(), PassContext::new(&CountingCost));
    Saturate::default().with_limits(limits).run(&mut after, &mut cx).unwrap();
    verify::verify(&after).unwrap();
    assert_same(&graph, &after);
    let told =
        |remark: &&twnc_ir::Remark| remark.message.contains("nodes are many: it is searched 32 at a time");
    assert_eq!(cx.remarks().iter().filter(told).count(), 1);
    let left = words(&after).iter().filter(|&&word| word == "mul").count();
    assert!(left <= 2, "{left} of 40 scales are left");
}

/// Layers with a scale each behind a value that is added to their result: it is read again some regions later.
fn skipping(layers: usize) -> Graph {
    let mut build = GraphBuilder::new("skipping");
    let mut x = build.input("x", TensorType::f32(vec![Dim::symbol("N"), Dim::from(3)]));
    let mut skipped = x;
    for i in 0..layers {
        let trits = Data::Ternary([1, 0, -1, 1, 1, 0, 0, -1, 1].into());
        let weight = build.constant(Tensor::new(vec![3, 3], trits).unwrap(), "w");
        let alpha = build.constant(Tensor::scalar(0.3 + (i % 5) as f32 / 10.0), "alpha");
        x = build.node(Op::MatMul, &[x, weight], "layer").unwrap();
        x = build.node(Op::Binary(Binary::Mul), &[x, alpha], "layer").unwrap();
        x = build.node(Op::Unary(Unary::Relu), &[x], "layer").unwrap();
        if i == 0 {
            skipped = x;
        }
    }
    let sum = build.node(Op::Binary(Binary::Add), &[x, skipped], "sum").unwrap();
    build.output("y", sum);
    build.finish()
}

/// The scale of a value that is read again far behind its region waits for what reads it.
#[test]
fn a_scale_waits_for_what_reads_it() {
    let graph = skipping(40);
    let of_limits = |limits: Limits| {
        let mut after = graph.clone();
        let mut cx = PassContext::new(&CountingCost);
        Saturate::default().with_limits(limits).run(&mut after, &mut cx).unwrap();
        assert_same(&graph, &after);
        CountingCost.weight(&Flow::of(&after).unwrap().cost(&CountingCost))
    };
    let whole = of_limits(Limits { region: 1000, nodes: 1_000_000, ..Limits::default() });
    let parts = of_limits(Limits::default());
    assert!(parts <= whole * (1.0 + 1e-9), "{parts} in parts, {whole} as a whole");
}
