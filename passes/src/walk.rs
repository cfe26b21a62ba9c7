//! The order in which passes walk a graph, and the names by which they speak of its layers.

use twnc_ir::{Graph, NodeId, PassError};

/// Every node after those that it depends on.
pub(crate) fn order(graph: &Graph) -> Result<Vec<NodeId>, PassError> {
    graph
        .order()
        .map_err(|cycle| PassError::Refused { node: graph.name().to_owned(), message: cycle.to_string() })
}

/// The name of a layer; the number of its first result where it has none.
pub(crate) fn name(graph: &Graph, id: NodeId) -> String {
    let node = graph.node(id);
    match (node.name.as_str(), node.results.first()) {
        ("", Some(result)) => result.to_string(),
        (name, _) => name.to_owned(),
    }
}
