//! The verifier: whether a graph is one. It reports every violation at once, each with the name of its value.
//!
//! The invariants:
//!
//! 1. Every operand, result, input and output is a living value, and every value that a node defines names a living node.
//! 2. A value's definition is where it is: the input of that number, or that result of that node; and each is defined once.
//! 3. A value's use list holds exactly the operands and outputs that read it.
//! 4. There is no cycle.
//! 5. The type of a result is consistent with what its operator infers from its operands; a constant's is that of its tensor.
//! 6. No size of a type is certainly negative.
//! 7. Only a `const` defines a ternary value, and only the weight of a `conv` or `matmul` (operand 1) reads one.
//! 8. Inputs have names that are not empty and all different; so have outputs.
//!
//! It never panics, whatever the graph.

use crate::graph::{Definition, Graph, NodeId, Use, ValueId};
use crate::infer;
use crate::op::Op;
use crate::types::ElementType;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::DiGraph;
use std::collections::{HashMap, HashSet};

/// Everything that is wrong with a graph, one sentence each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Violations(pub Vec<String>);

/// Checks every invariant.
pub fn verify(graph: &Graph) -> Result<(), Violations> {
    let mut check = Check { graph, found: vec![] };
    check.liveness();
    if check.found.is_empty() {
        // The others read through ids, which are known to be alive now.
        check.definitions();
        check.uses();
        check.cycles();
        check.types();
    }
    check.names();
    if check.found.is_empty() { Ok(()) } else { Err(Violations(check.found)) }
}

struct Check<'g> {
    graph: &'g Graph,
    found: Vec<String>,
}

impl Check<'_> {
    fn liveness(&mut self) {
        let graph = self.graph;
        let dead = |value: &&ValueId| graph.get_value(**value).is_none();
        for id in graph.node_ids() {
            let node = graph.node(id);
            for value in node.operands.iter().chain(&node.results).filter(dead) {
                self.found.push(format!("{id} ({}) has {value}, which is no living value", node.name));
            }
        }
        for port in graph.inputs().iter().chain(graph.outputs()).filter(|port| dead(&&port.value)) {
            self.found
                .push(format!("input or output `{}` is {}, which is no living value", port.name, port.value));
        }
        for value in graph.value_ids() {
            if let Definition::Result(id, i) = graph.value(value).definition
                && graph.get_node(id).is_none()
            {
                self.found
                    .push(format!("{value} says that it is result {i} of {id}, which is no living node"));
            }
        }
    }

    fn definitions(&mut self) {
        let graph = self.graph;
        let mut places: HashMap<ValueId, Vec<Definition>> = HashMap::new();
        for (i, port) in graph.inputs().iter().enumerate() {
            places.entry(port.value).or_default().push(Definition::Input(i));
        }
        for id in graph.node_ids() {
            for (i, &result) in graph.node(id).results.iter().enumerate() {
                places.entry(result).or_default().push(Definition::Result(id, i));
            }
        }
        for value in graph.value_ids() {
            let found = places.remove(&value).unwrap_or_default();
            if found != [graph.value(value).definition] {
                let says = graph.value(value).definition;
                self.say(value, &format!("says that it is {says:?}, but it is defined at {found:?}"));
            }
        }
    }

    fn uses(&mut self) {
        let graph = self.graph;
        let mut sites: HashMap<ValueId, Vec<Use>> = HashMap::new();
        for id in graph.node_ids() {
            for (i, &operand) in graph.node(id).operands.iter().enumerate() {
                sites.entry(operand).or_default().push(Use::Operand(id, i));
            }
        }
        for (i, port) in graph.outputs().iter().enumerate() {
            sites.entry(port.value).or_default().push(Use::Output(i));
        }
        for value in graph.value_ids() {
            let found = sites.remove(&value).unwrap_or_default();
            let listed = &graph.value(value).uses;
            let distinct: HashSet<&Use> = listed.iter().collect();
            if found.len() != listed.len() || found.iter().any(|site| !distinct.contains(site)) {
                self.say(value, &format!("lists the uses {listed:?}, but is used at {found:?}"));
            }
        }
    }

    fn cycles(&mut self) {
        let graph = self.graph;
        let mut edges = DiGraph::<NodeId, ()>::new();
        let places: HashMap<NodeId, _> = graph.node_ids().map(|id| (id, edges.add_node(id))).collect();
        for id in graph.node_ids() {
            for definer in graph.node(id).operands.iter().filter_map(|&v| graph.definer(v)) {
                edges.add_edge(places[&definer.0], places[&id], ());
            }
        }
        // Kosaraju's algorithm does not recurse, however deep the graph.
        for component in kosaraju_scc(&edges) {
            let &[first, ..] = component.as_slice() else { continue };
            if component.len() > 1 || edges.contains_edge(first, first) {
                let mut nodes: Vec<NodeId> = component.iter().map(|&place| edges[place]).collect();
                nodes.sort_unstable();
                let names = nodes.iter().map(|&id| format!("{id} ({})", graph.node(id).name));
                self.found.push(format!("a cycle through {}", names.collect::<Vec<_>>().join(", ")));
            }
        }
    }

    fn types(&mut self) {
        let graph = self.graph;
        for id in graph.node_ids() {
            let node = graph.node(id);
            let Some(&first) = node.results.first() else {
                self.found.push(format!("{id} ({}) has no result", node.name));
                continue;
            };
            let operands: Vec<_> = node.operands.iter().map(|&v| graph.ty(v)).collect();
            match infer(&node.op, &operands) {
                Err(error) => self.say(first, &error.to_string()),
                Ok(types) if types.len() != node.results.len() => {
                    self.say(
                        first,
                        &format!(
                            "is one of {} results; its operator has {}",
                            node.results.len(),
                            types.len()
                        ),
                    );
                }
                Ok(types) => {
                    for (&result, ty) in node.results.iter().zip(&types) {
                        let declared = graph.ty(result);
                        let same = match node.op {
                            Op::Constant(_) => declared == ty,
                            _ => declared.is_consistent_with(ty),
                        };
                        if !same {
                            self.say(
                                result,
                                &format!("has the type {declared}, but its operator gives {ty}"),
                            );
                        }
                    }
                }
            }
            for (i, &operand) in node.operands.iter().enumerate() {
                let weight = i == 1 && matches!(node.op, Op::Conv(_) | Op::MatMul);
                if graph.ty(operand).element == ElementType::Ternary && !weight {
                    self.say(operand, &format!("is ternary, but operand {i} of {}", node.op.mnemonic()));
                }
            }
        }
        for value in graph.value_ids() {
            for (axis, dim) in graph.ty(value).shape.iter().enumerate().filter(|(_, dim)| dim.is_negative()) {
                self.say(value, &format!("has the size {dim} along axis {axis}"));
            }
            let constant = graph.constant(value).is_some();
            let output = graph.value(value).uses.iter().any(|site| matches!(site, Use::Output(_)));
            if graph.ty(value).element == ElementType::Ternary && (!constant || output) {
                self.say(value, "is ternary, but no constant, or an output");
            }
        }
    }

    fn names(&mut self) {
        for (kind, ports) in [("input", self.graph.inputs()), ("output", self.graph.outputs())] {
            let mut seen = HashSet::new();
            for port in ports {
                if port.name.is_empty() {
                    self.found.push(format!("the {kind} {} has no name", port.value));
                } else if !seen.insert(&port.name) {
                    self.found.push(format!("two {kind}s are called `{}`", port.name));
                }
            }
        }
    }

    fn say(&mut self, value: ValueId, message: &str) {
        let input = self.graph.inputs().iter().find(|port| port.value == value).map(|port| &port.name);
        let name = input.or_else(|| self.graph.definer(value).map(|(_, node)| &node.name));
        let name = name.map_or("", String::as_str);
        self.found.push(format!("{value} ({name}) {message}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CustomRegistry, text};

    const GRAPH: &str = r#"graph "g" (%0 "x": f32[N,2]) -> (%3 "y") {
  %1 = const ternary[2,2] "w" [1, 0, -1, 1]
  %2 = matmul(%0, %1) "product" : f32[N,2]
  %3 = relu(%2) "activation" : f32[N,2]
}
"#;

    fn graph() -> Graph {
        text::parse(GRAPH, &CustomRegistry::default()).unwrap()
    }

    #[test]
    fn each_invariant_is_checked() {
        verify(&graph()).unwrap();
        type Damage = fn(&mut Graph);
        let cases: [(&str, Damage); 14] = [
            ("n1 (product) has %1, which is no living value", |g| {
                g.values.remove(&ValueId(1));
            }),
            ("%3 says that it is result 0 of n2, which is no living node", |g| g.nodes[2] = None),
            ("%3 says that it is result 0 of n99, which is no living node", |g| {
                g.values.get_mut(&ValueId(3)).unwrap().definition = Definition::Result(NodeId(99), 0);
            }),
            ("%2 () says that it is Input(0), but it is defined at [Result(n1, 0)]", |g| {
                g.values.get_mut(&ValueId(2)).unwrap().definition = Definition::Input(0);
            }),
            ("%2 (product) lists the uses [], but is used at [Operand(n2, 0)]", |g| {
                g.values.get_mut(&ValueId(2)).unwrap().uses.clear();
            }),
            ("a cycle through n1 (product), n2 (activation)", |g| {
                g.redirect(ValueId(0), &[Use::Operand(NodeId(1), 0)], ValueId(3))
            }),
            ("%3 (activation) has the type f32[7], but its operator gives f32[N,2]", |g| {
                g.values.get_mut(&ValueId(3)).unwrap().ty.shape = vec![crate::Dim::from(7)];
            }),
            ("%0 (x) has the size -3 along axis 1", |g| {
                g.values.get_mut(&ValueId(0)).unwrap().ty.shape[1] = crate::Dim::fixed(-3);
            }),
            ("%3 (activation) has the size -N along axis 0", |g| {
                let negative = crate::Dim::fixed(0).checked_sub(&crate::Dim::symbol("N")).unwrap();
                g.values.get_mut(&ValueId(3)).unwrap().ty.shape[0] = negative;
            }),
            ("%2 (product) conv: the kernel's extent along spatial axis 0 is 0", |g| {
                let node = g.nodes[1].as_mut().unwrap();
                node.op = Op::Conv(crate::Conv { geometry: crate::Geometry::unit(1), groups: 1 });
                for (value, n) in [(0, 5), (1, 0)] {
                    g.values.get_mut(&ValueId(value)).unwrap().ty.shape =
                        [1, 1, n].map(crate::Dim::from).into();
                }
            }),
            ("%0 (x) lists the uses [], but is used at [Operand(n1, 0)]", |g| {
                g.values.get_mut(&ValueId(0)).unwrap().uses.clear();
            }),
            ("%1 (w) is ternary, but operand 0 of relu", |g| {
                g.redirect(ValueId(2), &[Use::Operand(NodeId(2), 0)], ValueId(1))
            }),
            ("two outputs are called `y`", |g| g.push_output("y", ValueId(2))),
            ("the output %2 has no name", |g| g.push_output("", ValueId(2))),
        ];
        for (message, damage) in cases {
            let mut graph = graph();
            damage(&mut graph);
            let Violations(found) = verify(&graph).expect_err(message);
            assert!(found.iter().any(|m| m == message), "{message}: {found:#?}");
        }
    }
    #[test]
    fn long_chains_do_not_exhaust_the_stack() {
        let mut build = crate::GraphBuilder::new("chain");
        let x = build.input("x", crate::TensorType::f32(vec![]));
        let relu =
            |build: &mut crate::GraphBuilder, x| build.node(Op::Unary(crate::Unary::Relu), &[x], "").unwrap();
        let y = (0..50_000).fold(x, |x, _| relu(&mut build, x));
        build.output("y", y);
        let graph = build.finish();
        let check = move || verify(&graph).unwrap();
        std::thread::Builder::new().stack_size(256 << 10).spawn(check).unwrap().join().unwrap();
    }
}
