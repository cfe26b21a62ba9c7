//! The order in which layers are repaired.

use std::collections::HashMap;
use twnc_ir::{Graph, Layer, NodeId, ValueId};

/// Layers of a graph with what they depend on.
pub(crate) struct Schedule<'g> {
    graph: &'g Graph,
    layers: Vec<Layer>,
    /// Of each node that depends on layers: a bit for each of these.
    upstream: HashMap<NodeId, Vec<u64>>,
    done: Vec<u64>,
}

impl<'g> Schedule<'g> {
    /// Of a graph whose nodes are `order`.
    pub fn new(graph: &'g Graph, order: &[NodeId], layers: Vec<Layer>) -> Schedule<'g> {
        let words = layers.len().div_ceil(64);
        let numbers: HashMap<NodeId, usize> = layers.iter().enumerate().map(|(i, l)| (l.node, i)).collect();
        let mut upstream: HashMap<NodeId, Vec<u64>> = HashMap::new();
        for &id in order {
            let mut bits = vec![0; words];
            for (definer, _) in graph.node(id).operands.iter().filter_map(|&value| graph.definer(value)) {
                if let Some(known) = upstream.get(&definer) {
                    bits.iter_mut().zip(known).for_each(|(bits, known)| *bits |= known);
                }
            }
            if let Some(number) = numbers.get(&id) {
                bits[number / 64] |= 1 << (number % 64);
            }
            if bits.iter().any(|&word| word != 0) {
                upstream.insert(id, bits);
            }
        }
        Schedule { graph, layers, upstream, done: vec![0; words] }
    }

    /// The layer to repair next: of those whose operand depends on no layer that is still to come, the one with the fewest weights. So
    /// where two branches meet, the larger one comes last and can make good what the smaller one did not reach.
    pub fn next(&mut self) -> Option<Layer> {
        let ready = |(i, layer): &(usize, &Layer)| {
            let is_done = self.done[i / 64] >> (i % 64) & 1 == 1;
            !is_done && self.settled(self.graph.node(layer.node).operands[0])
        };
        let found = self.layers.iter().enumerate().filter(ready);
        let (i, layer) = found.min_by_key(|(i, layer)| (layer.channels * layer.fan_in, *i))?;
        self.done[i / 64] |= 1 << (i % 64);
        Some(layer.clone())
    }

    /// Whether a value depends on no layer that is still to come.
    pub fn settled(&self, value: ValueId) -> bool {
        let upstream = self.graph.definer(value).and_then(|(id, _)| self.upstream.get(&id));
        upstream.is_none_or(|bits| bits.iter().zip(&self.done).all(|(bits, done)| bits & !done == 0))
    }
}
