//! Scales behind products: what is left of a chain, and what is left alone.

use crate::oracle::{assert_same, outputs, run};
use twnc_ir::{
    Binary, Conv, Data, Dim, Geometry, Graph, GraphBuilder, Op, Pad, PadMode, ReduceKind, Tensor, TensorType,
    Unary, ValueId,
};
use twnc_passes::{Mode, Options};

/// What a chain begins with; all have two channels.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Head {
    /// The graph's input.
    Input,
    /// A float `conv`.
    Float,
    /// A ternary `conv`.
    Ternary,
    /// A ternary `matmul`, channels on its last axis.
    Linear,
    /// A ternary `conv` in two parts with scales of their own.
    Parts,
    /// A ternary `matmul` in two parts with scales of their own.
    LinearParts,
}

/// A link of a chain.
#[derive(Clone, Debug)]
enum Link {
    /// By one number.
    One(Binary, f32),
    /// By one number a channel.
    Each(Binary, [f32; 2]),
    /// A constant and the value, in this order.
    Left(Binary, f32),
    /// γ, β, μ, σ².
    Norm([[f32; 2]; 4]),
    Unary(Unary),
    /// The value so far is an output as well.
    Output,
}

use Binary::{Add, Div, Mul, Sub};
use Link::{Each, Left, Norm, One, Output};

const NORM: Link = Norm([[0.5, -1.5], [0.1, 0.2], [1.0, -1.0], [0.3, 2.0]]);

fn chain(head: Head, links: &[Link]) -> Graph {
    let mut build = GraphBuilder::new("net");
    let sizes: &[i64] = match head {
        Head::Linear => &[3],
        Head::LinearParts => &[4],
        _ => &[2, 4, 4],
    };
    let shape = std::iter::once(Dim::symbol("N")).chain(sizes.iter().map(|&n| Dim::fixed(n))).collect();
    let x = build.input("x", TensorType::f32(shape));
    let conv = Op::Conv(Conv { geometry: Geometry::unit(2), groups: 1 });
    let mut value = match head {
        Head::Input => x,
        Head::Float => {
            let weight = (0..8).map(|i| i as f32 * 0.3 - 1.0).collect();
            let w = build.constant(Tensor::from_f32(vec![2, 2, 1, 2], weight).unwrap(), "w");
            build.node(conv, &[x, w], "conv").unwrap()
        }
        Head::Ternary => {
            let trits = Data::Ternary([1, -1, 0, 1, 1, 1, -1, 0].into());
            let w = build.constant(Tensor::new(vec![2, 2, 1, 2], trits).unwrap(), "w");
            build.node(conv, &[x, w], "conv").unwrap()
        }
        Head::Linear => {
            let trits = Data::Ternary([1, -1, 0, 1, 1, 1].into());
            let w = build.constant(Tensor::new(vec![3, 2], trits).unwrap(), "w");
            build.node(Op::MatMul, &[x, w], "linear").unwrap()
        }
        Head::Parts | Head::LinearParts => in_parts(&mut build, x, head == Head::Parts),
    };
    let mut between = vec![];
    for (i, link) in links.iter().enumerate() {
        match add(&mut build, head, value, link, &format!("link{i}")) {
            Some(next) => value = next,
            None => between.push(value),
        }
    }
    build.output("y", value);
    between.into_iter().enumerate().for_each(|(i, v)| build.output(&format!("between{i}"), v));
    build.finish()
}

/// A layer in two parts, of two channels.
fn in_parts(build: &mut GraphBuilder, x: ValueId, windows: bool) -> ValueId {
    let mut constant = |shape: Vec<usize>, data| build.constant(Tensor::new(shape, data).unwrap(), "");
    let trits = Data::Ternary([1, -1, 0, 1, 1, 1, -1, 0].into());
    let scales = Data::F32([0.5, 2.0, -0.25, 0.0].into());
    let shape = |sizes: &[i64]| -> Op {
        let sizes = sizes.iter().map(|&n| Dim::fixed(n));
        Op::Reshape { shape: std::iter::once(Dim::symbol("N")).chain(sizes).collect() }
    };
    let sum = |axes| Op::Reduce { kind: ReduceKind::Sum, axes, keep_dims: false };
    if windows {
        let (w, a) = (constant(vec![4, 1, 1, 2], trits), constant(vec![4, 1, 1], scales));
        let conv = Op::Conv(Conv { geometry: Geometry::unit(2), groups: 2 });
        let product = build.node(conv, &[x, w], "conv").unwrap();
        let scaled = build.node(Op::Binary(Mul), &[product, a], "").unwrap();
        let divided = build.node(shape(&[2, 2, 4, 3]), &[scaled], "").unwrap();
        build.node(sum(vec![1]), &[divided], "sum").unwrap()
    } else {
        let (w, a) = (constant(vec![2, 2, 2], trits), constant(vec![2, 1, 2], scales));
        let rows = build.node(shape(&[2, 1, 2]), &[x], "").unwrap();
        let product = build.node(Op::MatMul, &[rows, w], "linear").unwrap();
        let scaled = build.node(Op::Binary(Mul), &[product, a], "").unwrap();
        build.node(sum(vec![1, 2]), &[scaled], "sum").unwrap()
    }
}

fn add(build: &mut GraphBuilder, head: Head, value: ValueId, link: &Link, name: &str) -> Option<ValueId> {
    let linear = [Head::Linear, Head::LinearParts].contains(&head);
    let per_channel = if linear { vec![2] } else { vec![2, 1, 1] };
    let mut constant = |shape: &[usize], values: &[f32]| {
        build.constant(Tensor::from_f32(shape.to_vec(), values.to_vec()).unwrap(), "")
    };
    let (op, operands) = match link {
        One(f, c) => (Op::Binary(*f), vec![value, constant(&[1, 1], &[*c])]),
        Each(f, c) => (Op::Binary(*f), vec![value, constant(&per_channel, c)]),
        Left(f, c) => (Op::Binary(*f), vec![constant(&[], &[*c]), value]),
        Norm(parameters) => {
            let parameters = parameters.iter().map(|p| constant(&[2], p));
            (Op::BatchNorm { epsilon: 1e-5 }, std::iter::once(value).chain(parameters).collect())
        }
        Link::Unary(f) => (Op::Unary(*f), vec![value]),
        Output => return None,
    };
    Some(build.node(op, &operands, name).unwrap())
}

/// The operators but for constants, in order.
fn operators(graph: &Graph) -> Vec<&'static str> {
    let words = graph.order().unwrap().into_iter().map(|id| graph.node(id).op.mnemonic());
    words.filter(|&word| word != "const").collect()
}

/// The constants of all `mul` nodes.
fn scales(graph: &Graph) -> Vec<Vec<f32>> {
    let muls = graph.order().unwrap().into_iter().map(|id| graph.node(id));
    let muls = muls.filter(|node| node.op == Op::Binary(Mul));
    let values = muls.filter_map(|node| graph.constant(node.operands[1])?.as_f32());
    values.map(<[f32]>::to_vec).collect()
}

#[test]
fn chains_become_one_scale_and_one_bias() {
    let relu = || Link::Unary(Unary::Relu);
    let neg = || Link::Unary(Unary::Neg);
    use Head::{Float, Input, Linear, LinearParts, Parts, Ternary};
    let cases: Vec<(Head, Vec<Link>, &str)> = vec![
        (Ternary, vec![One(Mul, 0.3), NORM], "conv mul add"),
        (Ternary, vec![One(Mul, 0.3), Each(Add, [1.0, 2.0]), NORM, relu()], "conv mul add relu"),
        (Linear, vec![One(Mul, 0.3), Each(Add, [1.0, 2.0]), NORM], "matmul mul add"),
        (Float, vec![Each(Add, [1.0, 2.0]), NORM, relu()], "conv add relu"),
        (Float, vec![Each(Mul, [3.0, -2.0])], "conv"),
        (Input, vec![NORM], "mul add"),
        (Input, vec![One(Mul, 3.0), Each(Mul, [2.0, 4.0]), One(Add, 1.0), Left(Add, 2.0)], "mul add"),
        (Ternary, vec![One(Add, 1.0), One(Mul, 2.0)], "conv mul add"),
        (Ternary, vec![Each(Sub, [1.0, 2.0])], "conv add"),
        (Ternary, vec![One(Div, 3.0), Left(Sub, 1.0)], "conv mul add"),
        (Ternary, vec![neg()], "conv mul"),
        (Ternary, vec![One(Mul, 2.0), One(Mul, 0.5)], "conv"),
        (Ternary, vec![One(Mul, 1.0), One(Add, 0.0), relu()], "conv relu"),
        (Input, vec![neg(), neg()], ""),
        (Parts, vec![NORM, relu()], "conv mul reshape reduce_sum add relu"),
        (Parts, vec![One(Mul, 2.0), Each(Mul, [3.0, -2.0])], "conv mul reshape reduce_sum"),
        (LinearParts, vec![One(Mul, 0.3), Each(Add, [1.0, 2.0]), NORM], "reshape matmul mul reduce_sum add"),
        (LinearParts, vec![Output, One(Mul, 3.0)], "reshape matmul mul reduce_sum mul"),
        // Left as they are.
        (Input, vec![neg()], "neg"),
        (Input, vec![Left(Div, 1.0), One(Mul, 2.0)], "div mul"),
        (Ternary, vec![One(Mul, 2.0), Output, One(Mul, 3.0)], "conv mul mul"),
        (Ternary, vec![Output, NORM], "conv mul add"),
        (Float, vec![Output, One(Mul, 3.0)], "conv mul"),
        (Ternary, vec![One(Mul, 2.0), relu(), One(Mul, 3.0)], "conv mul relu mul"),
    ];
    for (head, links, expected) in cases {
        let graph = chain(head, &links);
        let mut after = graph.clone();
        run(&mut after, &["fold_scales"], &Options::default());
        assert_eq!(operators(&after).join(" "), expected, "{head:?} {links:?}");
        assert_same(&graph, &after);
    }
}

#[test]
fn a_chain_is_multiplied_in_f64_and_rounded_once() {
    let factors = [0.1f32, 0.7, 1.3, 2.9, 0.3];
    let mut graph = chain(Head::Ternary, &factors.map(|c| One(Mul, c)));
    run(&mut graph, &["fold_scales"], &Options::default());
    let product: f64 = factors.iter().map(|&c| f64::from(c)).product();
    assert_eq!(scales(&graph), [[product as f32]]);
}

#[test]
fn what_does_not_fold_says_so() {
    let huge = [One(Mul, 1e30), One(Mul, 1e30)];
    let tiny = [One(Mul, 1e-30), One(Mul, 1e-30)];
    let no_variance = [Norm([[1.0; 2], [0.0; 2], [0.0; 2], [-1.0; 2]])];
    let apart = "fold_scales: link1: its scales are kept apart: as one they leave the range of f32\n";
    let infinite = [One(Mul, f32::INFINITY), One(Mul, 0.0)];
    let undefined = [Each(Mul, [f32::NAN, 1.0]), One(Mul, 2.0)];
    let by_zero = [One(Div, 0.0), One(Mul, 2.0)];
    let cases = [
        (&infinite[..], "conv mul mul", ""),
        (&undefined[..], "conv mul mul", ""),
        (&by_zero[..], "conv div mul", ""),
        (&huge[..], "conv mul mul", apart),
        (&tiny[..], "conv mul mul", apart),
        (
            &no_variance[..],
            "conv batch_norm",
            "fold_scales: link0: not folded: its parameters are not constant and finite\n",
        ),
    ];
    for (links, operators_left, remark) in cases {
        let mut graph = chain(Head::Ternary, links);
        let outcome = run(&mut graph, &["fold_scales"], &Options::default());
        assert_eq!(
            (operators(&graph).join(" ").as_str(), outcome.lines().as_str()),
            (operators_left, remark)
        );
        assert_eq!(outcome.edits, 0);
    }
    let mut graph = chain(Head::Float, &[One(Mul, 3.2e38), One(Mul, 1.0)]);
    let outcome = run(&mut graph, &["fold_scales"], &Options::default());
    assert_eq!(operators(&graph), ["conv", "mul"]);
    assert_eq!(
        outcome.lines(),
        "fold_scales: conv: its weight takes no scale: it would leave the range of f32\n"
    );
}

#[test]
fn a_shared_float_weight_takes_no_scale() {
    let mut build = GraphBuilder::new("net");
    let x = build.input("x", TensorType::f32(vec![Dim::symbol("N"), Dim::from(2)]));
    let w = build.constant(Tensor::from_f32(vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap(), "w");
    let c = build.constant(Tensor::scalar(0.5), "c");
    let first = build.node(Op::MatMul, &[x, w], "first").unwrap();
    let scaled = build.node(Op::Binary(Mul), &[first, c], "scale").unwrap();
    let second = build.node(Op::MatMul, &[scaled, w], "second").unwrap();
    build.output("y", second);
    let mut graph = build.finish();
    let outcome = run(&mut graph, &["fold_scales"], &Options::default());
    assert_eq!(outcome.lines(), "fold_scales: first: its weight takes no scale: several layers share it\n");
    assert_eq!(operators(&graph), ["matmul", "mul", "matmul"]);
}

#[test]
fn scales_become_positive() {
    const INFINITY: f32 = f32::INFINITY;
    type Case = (Head, Vec<Link>, &'static str, Vec<Vec<f32>>);
    let cases: [Case; 7] = [
        (Head::Ternary, vec![Each(Mul, [-2.0, 3.0])], "conv mul", vec![vec![2.0, 3.0]]),
        (Head::Ternary, vec![Each(Mul, [-INFINITY, 3.0])], "conv mul", vec![vec![INFINITY, 3.0]]),
        (Head::Linear, vec![Each(Mul, [2.0, -3.0])], "matmul mul", vec![vec![2.0, 3.0]]),
        (Head::Linear, vec![One(Mul, -3.0)], "matmul mul", vec![vec![3.0]]),
        (Head::Ternary, vec![Each(Mul, [0.0, -3.0])], "conv mul", vec![vec![1.0, 3.0]]),
        (Head::Ternary, vec![Each(Mul, [-1.0, 0.0])], "conv", vec![]),
        (Head::Ternary, vec![Each(Mul, [-0.0, 1.0])], "conv", vec![]),
    ];
    for (head, links, expected, positive) in cases {
        let graph = chain(head, &links);
        let mut after = graph.clone();
        run(&mut after, &["flip_signs"], &Options::default());
        assert_eq!((operators(&after).join(" ").as_str(), scales(&after)), (expected, positive), "{links:?}");
        assert_same(&graph, &after);
    }
    let mut read_twice = chain(Head::Ternary, &[Output, One(Mul, -2.0)]);
    let outcome = run(&mut read_twice, &["flip_signs"], &Options::default());
    let remark = "flip_signs: conv: keeps the signs of its scale: its result is also read without it\n";
    assert_eq!((outcome.edits, outcome.lines().as_str()), (0, remark));
}

#[test]
fn padding_moves_into_convolutions_alone() {
    let pad = |begin: [usize; 4], value: f32| {
        let mut build = GraphBuilder::new("net");
        let x = build.input("x", TensorType::f32([1, 2, 4, 4].map(Dim::from).to_vec()));
        let op = Op::Pad(Pad { begin: begin.to_vec(), end: vec![0; 4], mode: PadMode::Constant(value) });
        let padded = build.node(op, &[x], "pad").unwrap();
        let channels = 2 + begin[1];
        let weight = Tensor::from_f32(vec![1, channels, 2, 2], vec![0.5; 4 * channels]).unwrap();
        let w = build.constant(weight, "w");
        let geometry = Geometry { pads_begin: vec![0, 1], pads_end: vec![1, 0], ..Geometry::unit(2) };
        let y = build.node(Op::Conv(Conv { geometry, groups: 1 }), &[padded, w], "conv").unwrap();
        build.output("y", y);
        build.finish()
    };
    for (graph, expected) in [
        (pad([0, 0, 2, 1], 0.0), "conv"),
        (pad([0, 0, 2, 1], 1.0), "pad conv"),
        (pad([0, 1, 2, 1], 0.0), "pad conv"),
    ] {
        let mut after = graph.clone();
        run(&mut after, &["simplify"], &Options::default());
        assert_eq!(operators(&after).join(" "), expected);
        assert_eq!(outputs(&graph, 1), outputs(&after, 1));
    }
}

#[test]
fn activations_in_a_row_are_one() {
    let clip = |min, max| Unary::Clip { min, max };
    let infinity = f32::INFINITY;
    let cases = [
        (vec![Unary::Relu, Unary::Relu], vec![Unary::Relu]),
        (vec![Unary::Relu, clip(-1.0, 6.0)], vec![clip(0.0, 6.0)]),
        (vec![clip(-1.0, infinity), Unary::Relu], vec![Unary::Relu]),
        (vec![clip(0.0, 4.0), clip(1.0, 9.0), clip(-2.0, 3.0)], vec![clip(1.0, 3.0)]),
        (vec![clip(0.0, 1.0), clip(2.0, 3.0)], vec![clip(2.0, 2.0)]),
        (vec![clip(2.0, 1.0), Unary::Relu], vec![clip(2.0, 1.0), Unary::Relu]),
        (vec![Unary::Relu, Unary::Tanh], vec![Unary::Relu, Unary::Tanh]),
    ];
    for (before, expected) in cases {
        let graph = chain(Head::Input, &before.iter().map(|&f| Link::Unary(f)).collect::<Vec<_>>());
        let mut after = graph.clone();
        run(&mut after, &["simplify"], &Options { ternarise: Mode::None, ..Options::default() });
        let ops: Vec<_> = after.order().unwrap().into_iter().map(|id| after.node(id).op.clone()).collect();
        assert_eq!(ops, expected.into_iter().map(Op::Unary).collect::<Vec<_>>());
        assert_eq!(outputs(&graph, 1), outputs(&after, 1));
    }
}
