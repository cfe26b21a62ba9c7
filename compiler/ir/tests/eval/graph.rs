//! Whole graphs: symbols, inputs that do not fit, errors that name their layer.

use crate::{f32s, i64s};
use std::collections::BTreeMap;
use twnc_ir::eval::{evaluate, evaluate_observed};
use twnc_ir::{Binary, Dim, Graph, GraphBuilder, Op, Tensor, TensorType, Unary};

/// `y = relu(x + x)` flattened, with an open batch; `w` shares the batch and is not used.
fn open_graph() -> Graph {
    let batch = Dim::symbol("N");
    let mut build = GraphBuilder::new("open");
    let x = build.input("x", TensorType::f32(vec![batch.clone(), 2.into()]));
    build.input("w", TensorType::f32(vec![batch.clone()]));
    let sum = build.node(Op::Binary(Binary::Add), &[x, x], "sum").unwrap();
    let relu = build.node(Op::Unary(Unary::Relu), &[sum], "relu").unwrap();
    build.node(Op::Unary(Unary::Exp), &[sum], "dead").unwrap();
    let flat = Op::Reshape { shape: vec![batch.checked_mul(&2.into()).unwrap()] };
    let flat = build.node(flat, &[relu], "").unwrap();
    let size = build.node(Op::Dims(vec![batch]), &[], "").unwrap();
    build.output("y", flat);
    build.output("n", size);
    build.finish()
}

#[test]
fn a_graph_binds_its_symbols() {
    let x = f32s(&[2, 2], &[1.0, -1.0, 0.5, 3.0]);
    let inputs = BTreeMap::from([("x".to_owned(), x), ("w".to_owned(), f32s(&[2], &[0.0; 2]))]);
    let mut seen = vec![];
    let results = evaluate_observed(&open_graph(), &inputs, &mut |id, _| seen.push(id.to_string())).unwrap();
    assert_eq!(results["y"], f32s(&[4], &[2.0, 0.0, 1.0, 6.0]));
    assert_eq!(results["n"], i64s(&[1], &[2]));
    assert_eq!(seen, ["%0", "%1", "%2", "%3", "%5", "%6"]);
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let (x, w) = (f32s(&[2, 2], &[0.0; 4]), f32s(&[3], &[0.0; 3]));
    let cases: &[(&[(&str, &Tensor)], &str)] = &[
        (&[("x", &x)], "no tensor was given for input `w`"),
        (&[("x", &x), ("v", &w)], "the graph has no input `v`; it has x, w"),
        (&[("x", &x), ("w", &w)], "axis 0 of input `w` is 3, but `N` is 2"),
        (&[("x", &w), ("w", &w)], "input `x` is declared f32[N,2], the tensor is f32[3]"),
        (
            &[("x", &f32s(&[0, 2], &[])), ("w", &w)],
            "axis 0 of input `x` is empty; `N` stands for a size of at least 1",
        ),
        (&[("x", &f32s(&[3, 1], &[0.0; 3])), ("w", &w)], "axis 1 of input `x` is 1, but `2` is 2"),
    ];
    for (inputs, message) in cases {
        let inputs = inputs.iter().map(|&(name, tensor)| (name.to_owned(), tensor.clone())).collect();
        assert_eq!(evaluate(&open_graph(), &inputs).unwrap_err().to_string(), *message);
    }
}

#[test]
fn a_failure_names_its_layer() {
    let mut build = GraphBuilder::new("failing");
    let x = build.input("x", TensorType::f32(vec![Dim::symbol("A")]));
    let y = build.input("y", TensorType::f32(vec![Dim::symbol("B")]));
    let sum = build.node(Op::Binary(Binary::Add), &[x, y], "sum").unwrap();
    build.output("sum", sum);
    let graph = build.finish();
    let with = |a: usize, b: usize| {
        let inputs = [("x", a), ("y", b)].map(|(name, n)| (name.to_owned(), f32s(&[n], &vec![1.0; n])));
        evaluate(&graph, &BTreeMap::from(inputs)).unwrap_err().to_string()
    };
    assert_eq!(with(2, 3), "at `sum`: add: shapes do not broadcast: [2] against [3]");
    assert_eq!(with(1, 3), "at `sum`: the result is f32[3], declared f32[A]");
}
