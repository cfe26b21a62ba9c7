//! The text form.

use crate::graph::Graph;

/// Prints a graph.
pub fn print(graph: &Graph) -> String {
    format!("{graph:?}")
}
