//! The order in which passes walk a graph.

use twnc_ir::{Graph, NodeId, PassError};

/// Every node after those that it depends on.
pub(crate) fn order(graph: &Graph) -> Result<Vec<NodeId>, PassError> {
    graph
        .order()
        .map_err(|cycle| PassError::Refused { node: graph.name().to_owned(), message: cycle.to_string() })
}
