//! The passes that prepare: custom operators, constants, transposes.

use crate::oracle::{assert_same, run};
use crate::swish::Swish;
use std::sync::Arc;
use twnc_ir::{
    Attributes, Binary, CountingCost, CustomCall, Data, Dim, Graph, GraphBuilder, Op, Pass, PassContext,
    ReduceKind, Tensor, TensorType, Unary, ValueId,
};
use twnc_passes::{DecomposeCustom, Options};

fn swish(operator: Swish) -> Graph {
    let mut build = GraphBuilder::new("net");
    let x = build.input("x", TensorType::f32(vec![Dim::symbol("N"), Dim::from(3)]));
    let op = Op::Custom(CustomCall { operator: Arc::new(operator), attributes: Attributes::new() });
    let y = build.node(op, &[x], "act").unwrap();
    build.output("y", y);
    build.finish()
}

/// The operators that are left, in order.
fn operators(graph: &Graph) -> Vec<&'static str> {
    graph.order().unwrap().into_iter().map(|id| graph.node(id).op.mnemonic()).collect()
}

#[test]
fn custom_operators_decompose_where_they_can() {
    let remark = "decompose_custom: act: stays a call: `com.example::opaque` does not decompose, \
                  the application must register it\n";
    for (operator, left, remarks) in [
        (Swish::Closed, vec!["sigmoid", "mul"], ""),
        (Swish::Nested, vec!["sigmoid", "mul"], ""),
        (Swish::Opaque, vec!["custom"], remark),
    ] {
        let graph = swish(operator);
        let mut after = graph.clone();
        let outcome = run(&mut after, &["decompose_custom"], &Options::default());
        assert_eq!((operators(&after), outcome.lines().as_str()), (left, remarks));
        assert_same(&graph, &after);
    }
    for (operator, message) in [
        (Swish::Endless, "its decompositions nest more than 16 deep; do they end?"),
        (Swish::TooMany, "`com.example::swish` decomposes into 2 values; it has 1 results"),
    ] {
        let mut graph = swish(operator);
        let error = DecomposeCustom.run(&mut graph, &mut PassContext::new(&CountingCost)).unwrap_err();
        assert!(error.to_string().ends_with(message), "{error}");
    }
}

#[test]
fn constants_are_folded_where_that_is_small_and_defined() {
    let f32s = |n: usize| Tensor::from_f32(vec![n], vec![1.5; n]).unwrap();
    let i64s = |v: [i64; 2]| Tensor::new(vec![2], Data::I64(v.to_vec().into())).unwrap();
    let broadcast = |n: usize| Op::Broadcast { shape: vec![Dim::from(n), Dim::from(8)] };
    let square = Tensor::from_f32(vec![600, 600], vec![0.5; 360_000]).unwrap();
    let cases = [
        (Op::Unary(Unary::Relu), vec![f32s(8)], None),
        (Op::Binary(Binary::Div), vec![i64s([7, 8]), i64s([2, 3])], None),
        (Op::Binary(Binary::Div), vec![i64s([7, 8]), i64s([2, 0])], Some("an integer is divided by zero")),
        (Op::Dims(vec![Dim::from(3)]), vec![], None),
        (broadcast(128), vec![f32s(8)], None),
        (broadcast(129), vec![f32s(8)], Some("8 constant elements would become 1032")),
        (Op::MatMul, vec![square.clone(), square], Some("it takes too long to compute while compiling")),
    ];
    for (op, operands, reason) in cases {
        let mut build = GraphBuilder::new("net");
        let operands: Vec<_> = operands.into_iter().map(|t| build.constant(t, "")).collect();
        let y = build.node(op, &operands, "node").unwrap();
        build.output("y", y);
        let mut graph = build.finish();
        let outcome = run(&mut graph, &["fold_constants"], &Options::default());
        let expected = reason.map_or(String::new(), |r| format!("fold_constants: node: not folded: {r}\n"));
        assert_eq!(outcome.lines(), expected);
        assert_eq!(operators(&graph) == ["const"], reason.is_none(), "{expected}");
    }
}

/// Every value twice as large as the one before, up to 2^40 elements.
fn doubled(x: Tensor) -> Graph {
    let mut build = GraphBuilder::new("doubled");
    let mut x = build.constant(x, "x");
    for _ in 0..40 {
        x = build.node(Op::Concat { axis: 0 }, &[x, x], "twice").unwrap();
    }
    build.output("y", x);
    build.finish()
}

#[test]
fn what_is_folded_stays_small_however_often_it_is_doubled() {
    let mut graph = doubled(Tensor::from_f32(vec![4], vec![1.5; 4]).unwrap());
    let outcome = run(&mut graph, &["fold_constants"], &Options::default());
    assert!(outcome.lines().contains("all that is folded would be much more than the constants"));
    let held = graph.node_ids().filter_map(|id| graph.node(id).op.as_constant()).map(Tensor::len);
    assert!(held.sum::<usize>() < 1 << 21);
}

#[test]
fn open_sizes_are_not_constant() {
    let mut build = GraphBuilder::new("net");
    build.input("x", TensorType::f32(vec![Dim::symbol("N")]));
    let dims = build.node(Op::Dims(vec![Dim::symbol("N")]), &[], "dims").unwrap();
    let one = build.constant(Tensor::scalar(1.0), "");
    let ones = build.node(Op::Broadcast { shape: vec![Dim::symbol("N")] }, &[one], "ones").unwrap();
    build.output("dims", dims);
    build.output("ones", ones);
    let graph = build.finish();
    let mut after = graph.clone();
    let outcome = run(&mut after, &["fold_constants"], &Options::default());
    assert_eq!((outcome.edits, outcome.lines().as_str()), (0, ""));
}

/// `x` of shape `[N,2,3,4]` with channels last, then `f`.
fn channels_last(f: impl Fn(&mut GraphBuilder, ValueId) -> ValueId) -> Graph {
    let mut build = GraphBuilder::new("net");
    let shape = vec![Dim::symbol("N"), Dim::from(2), Dim::from(3), Dim::from(4)];
    let x = build.input("x", TensorType::f32(shape));
    let last = build.node(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x], "last").unwrap();
    let y = f(&mut build, last);
    build.output("y", y);
    build.finish()
}

#[test]
fn transposes_sink_where_they_meet() {
    let first = || Op::Transpose { perm: vec![0, 3, 1, 2] };
    let scale = |build: &mut GraphBuilder, x| {
        let c = build.constant(Tensor::from_f32(vec![2], vec![2.0, -3.0]).unwrap(), "");
        build.node(Op::Binary(Binary::Mul), &[x, c], "scale").unwrap()
    };
    let mean =
        |axes: &[usize], keep_dims| Op::Reduce { kind: ReduceKind::Mean, axes: axes.to_vec(), keep_dims };
    let cases = [
        (
            "scale, residual",
            channels_last(|build, x| {
                let y = scale(build, x);
                let sum = build.node(Op::Binary(Binary::Add), &[x, y], "sum").unwrap();
                build.node(first(), &[sum], "first").unwrap()
            }),
            vec!["const", "mul", "add"],
        ),
        (
            "concat of two",
            channels_last(|build, x| {
                let y = scale(build, x);
                let both = build.node(Op::Concat { axis: 3 }, &[x, y], "both").unwrap();
                build.node(first(), &[both], "first").unwrap()
            }),
            vec!["const", "mul", "concat"],
        ),
        (
            "global pool",
            channels_last(|build, x| build.node(mean(&[1, 2], false), &[x], "mean").unwrap()),
            vec!["reduce_mean"],
        ),
        (
            "pool that leaves axes in another order",
            channels_last(|build, x| build.node(mean(&[1], false), &[x], "mean").unwrap()),
            vec!["transpose", "reduce_mean"],
        ),
        ("nothing to meet", channels_last(scale), vec!["transpose", "const", "mul"]),
        (
            "softmax stays where it is",
            channels_last(|build, x| {
                let y = build.node(Op::Softmax { axes: vec![3] }, &[x], "softmax").unwrap();
                build.node(first(), &[y], "first").unwrap()
            }),
            vec!["transpose", "softmax", "transpose"],
        ),
    ];
    for (name, graph, expected) in cases {
        let mut after = graph.clone();
        run(&mut after, &["sink_transposes"], &Options::default());
        assert_eq!(operators(&after), expected, "{name}");
        assert_same(&graph, &after);
    }
}
