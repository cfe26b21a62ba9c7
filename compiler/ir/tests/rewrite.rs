//! The rewriter: what a change makes of a graph, what it records, and what it refuses.

#![allow(clippy::unwrap_used)] // A value that cannot be built is a failure of the test.

use twnc_ir::{
    Binary, Changed, CustomRegistry, Edit, ElementType, Graph, NodeId, Op, Quantize, Rewriter, Tensor,
    TypeError, Unary, Use, ValueId, text, verify,
};

const GRAPH: &str = r#"graph "g" (%0 "x": f32[N,2]) -> (%2 "y", %1 "z") {
  %1 = relu(%0) "first" : f32[N,2]
  %2 = add(%1, %1) : f32[N,2]
  %3 = exp(%1) "dead" : f32[N,2]
  %4 = neg(%3) "deader" : f32[N,2]
}
"#;

const X: ValueId = ValueId(0);
const FIRST: ValueId = ValueId(1);
const SUM: ValueId = ValueId(2);
const DEAD: ValueId = ValueId(3);
const DEADER: ValueId = ValueId(4);

fn graph() -> Graph {
    text::parse(GRAPH, &CustomRegistry::default()).unwrap()
}

/// The nodes and outputs of a graph, without types and names.
fn brief(graph: &Graph) -> String {
    let list = |values: &[ValueId]| values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let node = |id: &NodeId| {
        let node = graph.node(*id);
        format!("{}={}({})", list(&node.results), node.op.mnemonic(), list(&node.operands))
    };
    let nodes: Vec<_> = graph.order().unwrap().iter().map(node).collect();
    let outputs: Vec<_> = graph.outputs().iter().map(|port| port.value).collect();
    format!("{} -> {}", nodes.join(" "), list(&outputs))
}

fn relu(rewriter: &mut Rewriter<'_>, x: ValueId) -> Result<ValueId, TypeError> {
    rewriter.insert(Op::Unary(Unary::Relu), &[x], "new")
}

#[test]
fn changes() {
    type Change = fn(&mut Rewriter<'_>) -> Result<(), TypeError>;
    /// Layer and reason.
    type Records<'a> = &'a [(&'a str, &'a str)];
    // The change, the graph that it leaves, and what is recorded.
    let cases: [(&str, Change, &str, Records<'_>); 14] = [
        ("nothing", |_| Ok(()), "%1=relu(%0) %2=add(%1,%1) %3=exp(%1) %4=neg(%3) -> %2,%1", &[]),
        (
            "what is inserted is dead, and no change yet",
            |r| {
                r.constant(Tensor::scalar(1.0), "one");
                relu(r, X).map(drop)
            },
            "%1=relu(%0) %2=add(%1,%1) %3=exp(%1) %4=neg(%3) %5=const() %6=relu(%0) -> %2,%1",
            &[],
        ),
        (
            "a node of two results",
            |r| {
                let quantize = Op::Quantize(Quantize { bits: 8, signed: true, scale: None });
                let results = r.insert_all(quantize, &[X], "")?;
                assert_eq!(results, [ValueId(5), ValueId(6)]);
                Ok(())
            },
            "%1=relu(%0) %2=add(%1,%1) %3=exp(%1) %4=neg(%3) %5,%6=quantize(%0) -> %2,%1",
            &[],
        ),
        (
            "every use, outputs too",
            |r| r.replace(FIRST, X, "it is positive"),
            "%2=add(%0,%0) %1=relu(%0) %3=exp(%0) %4=neg(%3) -> %2,%0",
            &[("first", "it is positive")],
        ),
        (
            "a layer without a name is recorded by its number",
            |r| r.replace(SUM, FIRST, "half"),
            "%1=relu(%0) %2=add(%1,%1) %3=exp(%1) %4=neg(%3) -> %1,%1",
            &[("%2", "half")],
        ),
        (
            "an input by its number too",
            |r| {
                let new = relu(r, X)?;
                let keep = r.graph().definer(new).unwrap().0;
                r.replace_except(X, new, &[keep], "twice")
            },
            "%5=relu(%0) %1=relu(%5) %2=add(%1,%1) %3=exp(%1) %4=neg(%3) -> %2,%1",
            &[("%0", "twice")],
        ),
        (
            "something behind a value",
            |r| {
                let new = relu(r, FIRST)?;
                let keep = r.graph().definer(new).unwrap().0;
                r.replace_except(FIRST, new, &[keep, NodeId(2)], "again")
            },
            "%1=relu(%0) %5=relu(%1) %2=add(%5,%5) %3=exp(%1) %4=neg(%3) -> %2,%5",
            &[("first", "again")],
        ),
        (
            "a value by itself is no change",
            |r| r.replace(FIRST, FIRST, "for nothing"),
            "%1=relu(%0) %2=add(%1,%1) %3=exp(%1) %4=neg(%3) -> %2,%1",
            &[],
        ),
        (
            "nor is a value without uses",
            |r| r.replace(DEADER, X, "for nothing"),
            "%1=relu(%0) %2=add(%1,%1) %3=exp(%1) %4=neg(%3) -> %2,%1",
            &[],
        ),
        (
            "one operand of two",
            |r| r.set_operand(NodeId(1), 1, X, "the other side"),
            "%1=relu(%0) %2=add(%1,%0) %3=exp(%1) %4=neg(%3) -> %2,%1",
            &[("%2", "the other side")],
        ),
        (
            "an operand by itself is no change",
            |r| r.set_operand(NodeId(1), 1, FIRST, "for nothing"),
            "%1=relu(%0) %2=add(%1,%1) %3=exp(%1) %4=neg(%3) -> %2,%1",
            &[],
        ),
        (
            "what is dead, and what is dead without it",
            |r| {
                assert_eq!(r.remove_dead("unused"), 2);
                assert_eq!(r.remove_dead("unused"), 0);
                Ok(())
            },
            "%1=relu(%0) %2=add(%1,%1) -> %2,%1",
            &[("deader", "unused"), ("dead", "unused")],
        ),
        (
            "numbers are not used again",
            |r| {
                r.remove_dead("unused");
                let new = relu(r, SUM)?;
                let keep = r.graph().definer(new).unwrap().0;
                r.replace_except(SUM, new, &[keep], "after")
            },
            "%1=relu(%0) %2=add(%1,%1) %5=relu(%2) -> %5,%1",
            &[("deader", "unused"), ("dead", "unused"), ("%2", "after")],
        ),
        (
            "the dead may be used again",
            |r| {
                r.replace(SUM, DEADER, "alive")?;
                r.remove_dead("unused");
                Ok(())
            },
            "%1=relu(%0) %3=exp(%1) %4=neg(%3) -> %4,%1",
            &[("%2", "alive"), ("%2", "unused")],
        ),
    ];
    for (case, change, expected, records) in cases {
        let mut graph = graph();
        let mut rewriter = Rewriter::new(&mut graph);
        change(&mut rewriter).unwrap();
        let changed = rewriter.finish();
        // Use lists are among the verifier's invariants.
        verify::verify(&graph).unwrap_or_else(|violations| panic!("{case}: {violations}"));
        assert_eq!(brief(&graph), expected, "{case}");
        let edit = |&(node, reason): &(&str, &str)| Edit { node: node.into(), reason: reason.into() };
        assert_eq!(changed, Changed { edits: records.iter().map(edit).collect() }, "{case}");
        assert_eq!(changed.any(), !records.is_empty(), "{case}");
    }
}

#[test]
fn use_lists_follow() {
    let mut graph = graph();
    let mut rewriter = Rewriter::new(&mut graph);
    rewriter.set_operand(NodeId(1), 0, X, "one side").unwrap();
    let uses = |value| {
        let mut uses: Vec<_> = rewriter.graph().value(value).uses.iter().map(|u| format!("{u:?}")).collect();
        uses.sort();
        uses.join(" ")
    };
    assert_eq!(uses(X), "Operand(n0, 0) Operand(n1, 0)");
    assert_eq!(uses(FIRST), "Operand(n1, 1) Operand(n2, 0) Output(1)");
    assert_eq!(uses(SUM), "Output(0)");
    assert_eq!(rewriter.graph().only_user(DEAD), Some((NodeId(3), 0)));
    assert_eq!(rewriter.graph().only_user(SUM), None);
    assert_eq!(rewriter.graph().value(DEADER).uses, Vec::<Use>::new());
}

#[test]
fn a_node_of_which_only_the_second_result_is_read_is_kept() {
    let source = r#"graph "g" (%0 "x": f32[N,2]) -> (%2 "scale") {
  %1, %2 = quantize(%0) {bits=8} : i16[N,2], f32[N,1]
}
"#;
    let mut graph = text::parse(source, &CustomRegistry::default()).unwrap();
    assert_eq!(Rewriter::new(&mut graph).remove_dead("unused"), 0);
    assert_eq!(text::print(&graph), source);
}

#[test]
fn what_does_not_type_is_refused() {
    type Change = fn(&mut Rewriter<'_>) -> Result<(), TypeError>;
    let cases: [(Change, &str); 5] = [
        (
            |r| {
                let scalar = r.constant(Tensor::scalar(1.0), "one");
                r.replace(FIRST, scalar, "")
            },
            "a value of type f32[] cannot replace one of type f32[N,2]",
        ),
        (
            |r| {
                let wide = r.constant(Tensor::from_f32(vec![1, 3], vec![0.0; 3]).unwrap(), "wide");
                r.replace(SUM, wide, "")
            },
            "a value of type f32[1,3] cannot replace one of type f32[N,2]",
        ),
        (
            |r| {
                let whole = r.insert(Op::Cast { to: ElementType::I64 }, &[X], "whole")?;
                r.set_operand(NodeId(1), 0, whole, "")
            },
            "a value of type i64[N,2] cannot replace one of type f32[N,2]",
        ),
        (
            |r| r.insert(Op::Transpose { perm: vec![0] }, &[X], "").map(drop),
            "transpose: [0] does not permute the 2 axes",
        ),
        (|r| r.insert(Op::Binary(Binary::Add), &[X], "half").map(drop), "add takes 2 operands, not 1"),
    ];
    for (change, message) in cases {
        let mut changed = graph();
        let mut rewriter = Rewriter::new(&mut changed);
        let error = change(&mut rewriter).expect_err(message);
        assert_eq!(error.to_string(), message);
        assert_eq!(rewriter.finish(), Changed::default(), "{message}");
        // What was inserted before the refusal is dead and no more.
        Rewriter::new(&mut changed).remove_dead("");
        let mut expected = graph();
        Rewriter::new(&mut expected).remove_dead("");
        assert_eq!(text::print(&changed), text::print(&expected), "{message}");
    }
    // A size that is open may be the number that replaces it.
    let mut graph = graph();
    let mut rewriter = Rewriter::new(&mut graph);
    let fixed = rewriter.constant(Tensor::from_f32(vec![5, 2], vec![0.0; 10]).unwrap(), "fixed");
    rewriter.replace(SUM, fixed, "known").unwrap();
    verify::verify(&graph).unwrap();
}
