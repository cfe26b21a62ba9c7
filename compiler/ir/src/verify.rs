//! The verifier.

use crate::graph::Graph;

/// Everything that is wrong with a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Violations(pub Vec<String>);

/// Checks a graph.
pub fn verify(graph: &Graph) -> Result<(), Violations> {
    graph.order().map(drop).map_err(|cycle| Violations(vec![cycle.to_string()]))
}
