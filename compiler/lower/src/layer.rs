//! Layers: a `conv` or `matmul` with the scale, bias, residual and activation that follow it.
//!
//! What follows is taken along in the order in which an epilogue computes: scale (only behind a ternary weight), bias, residual,
//! activation. Each must be the only use of what comes before it, so that nothing is computed twice or lost.

use std::collections::HashMap;
use twnc_ir::layer::channel_axis;
use twnc_ir::{Binary, ElementType, Graph, NodeId, Op, PerChannel, Unary, ValueId};

/// A product and its epilogue.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// The `conv` or `matmul`.
    pub(crate) product: NodeId,
    /// A constant: one number, or one for each output channel.
    pub(crate) scale: Option<ValueId>,
    /// The scales of quantised inputs, one for each sample.
    pub(crate) input_scale: Option<ValueId>,
    /// A constant: one number, or one for each output channel.
    pub(crate) bias: Option<ValueId>,
    /// A value of the result's type.
    pub(crate) residual: Option<ValueId>,
    /// The activation.
    pub(crate) activation: Option<Unary>,
    /// What it computes.
    pub(crate) result: ValueId,
    /// All nodes that it covers, the product first.
    nodes: Vec<NodeId>,
}

/// All layers of a graph.
pub(crate) struct Layers {
    layers: Vec<Layer>,
    /// Every node of a layer, to the layer.
    owner: HashMap<NodeId, usize>,
}

impl Layers {
    /// The layer whose last node this is.
    pub(crate) fn ending_at(&self, node: NodeId) -> Option<&Layer> {
        let layer = &self.layers[*self.owner.get(&node)?];
        (layer.nodes.last() == Some(&node)).then_some(layer)
    }

    /// Whether the node is part of a layer.
    pub(crate) fn holds(&self, node: NodeId) -> bool {
        self.owner.contains_key(&node)
    }
}

/// Finds the layers, in the graph's order; a node belongs to the first layer that takes it.
pub(crate) fn find(graph: &Graph, order: &[NodeId]) -> Layers {
    let mut found = Layers { layers: vec![], owner: HashMap::new() };
    for &id in order {
        if matches!(graph.node(id).op, Op::Conv(_) | Op::MatMul) {
            let layer = follow(graph, id, &found);
            let number = found.layers.len();
            found.owner.extend(layer.nodes.iter().map(|&node| (node, number)));
            found.layers.push(layer);
        }
    }
    found
}

/// How many output channels a product has; `None` where that is open.
pub(crate) fn channels(graph: &Graph, product: NodeId) -> Option<usize> {
    let node = graph.node(product);
    let shape = &graph.ty(node.results[0]).shape;
    shape.get(channel_axis(&node.op, shape.len())?)?.as_size()
}

fn follow(graph: &Graph, product: NodeId, taken: &Layers) -> Layer {
    let node = graph.node(product);
    let ternary = graph.ty(node.operands[1]).element == ElementType::Ternary;
    let mut layer = Layer {
        product,
        scale: None,
        input_scale: None,
        bias: None,
        residual: None,
        activation: None,
        result: node.results[0],
        nodes: vec![product],
    };
    if graph.ty(layer.result).element != ElementType::F32 {
        follow_integers(graph, &mut layer);
    }
    while layer.activation.is_none()
        && let Some((user, operand)) = graph.only_user(layer.result)
        && !taken.holds(user)
    {
        let next = graph.node(user);
        let other = next.operands.get(1 - operand.min(1)).copied();
        let per_channel = other.filter(|&v| is_per_channel(graph, v, layer.result, product));
        let plain = layer.bias.is_none() && layer.residual.is_none();
        match (&next.op, other, per_channel) {
            (Op::Binary(Binary::Mul), _, Some(scale))
                if ternary && plain && layer.scale.is_none() && layer.input_scale.is_none() =>
            {
                layer.scale = Some(scale);
            }
            (Op::Binary(Binary::Add), _, Some(bias)) if plain => layer.bias = Some(bias),
            (Op::Binary(Binary::Add), Some(residual), None)
                if layer.residual.is_none()
                    && graph.ty(residual) == graph.ty(layer.result)
                    && graph.constant(residual).is_none() =>
            {
                layer.residual = Some(residual);
            }
            (Op::Unary(f), ..) => layer.activation = Some(*f),
            _ => break,
        }
        layer.result = next.results[0];
        layer.nodes.push(user);
    }
    layer
}

/// A sum of integers is converted to f32, and multiplied by the scales of its input or by their product with a scale of its
/// own, which is one factor, rounded once.
fn follow_integers(graph: &Graph, layer: &mut Layer) {
    let only_user = |value| graph.only_user(value).map(|(user, operand)| (user, operand, graph.node(user)));
    let Some((cast, _, node)) = only_user(layer.result) else { return };
    if node.op != (Op::Cast { to: ElementType::F32 }) {
        return;
    }
    layer.result = node.results[0];
    layer.nodes.push(cast);
    let Some((mul, operand, node)) = only_user(layer.result) else { return };
    let Some(&factor) = node.operands.get(1 - operand.min(1)) else { return };
    if node.op != Op::Binary(Binary::Mul) || graph.ty(node.results[0]) != graph.ty(layer.result) {
        return;
    }
    let scales = |value: ValueId| {
        let definer = graph.definer(value).map(|(_, node)| node);
        definer.is_some_and(|node| matches!(node.op, Op::Quantize(_)) && node.results.get(1) == Some(&value))
    };
    if scales(factor) {
        layer.input_scale = Some(factor);
    } else {
        let Some((id, product)) = graph.definer(factor) else { return };
        let &[a, b] = &product.operands[..] else { return };
        let (input_scale, scale) = if scales(a) { (a, b) } else { (b, a) };
        let fits = product.op == Op::Binary(Binary::Mul)
            && scales(input_scale)
            && is_per_channel(graph, scale, layer.result, layer.product);
        if !fits {
            return;
        }
        (layer.input_scale, layer.scale) = (Some(input_scale), Some(scale));
        if graph.only_user(factor).is_some() {
            layer.nodes.push(id);
        }
    }
    layer.result = node.results[0];
    layer.nodes.push(mul);
}

/// Whether a value is an f32 constant that broadcasts over `result` along its channel axis alone, and leaves its shape alone.
/// Where the number of channels is open or 0 there is none: an epilogue holds one number for each channel.
fn is_per_channel(graph: &Graph, value: ValueId, result: ValueId, product: NodeId) -> bool {
    let ty = graph.ty(result);
    let channel_axis = channel_axis(&graph.node(product).op, ty.rank());
    channels(graph, product).is_some_and(|channels| channels > 0)
        && PerChannel::of(graph, value, ty)
            .is_some_and(|constant| constant.axis.is_none() || constant.axis == channel_axis)
}
