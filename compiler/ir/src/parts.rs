//! Layers in parts: their input channels are divided, and each output channel has a scale for each part.
//!
//! They are no operators of their own either, but a product that keeps the parts apart, a `mul` by all scales, and a sum:
//!
//! ```text
//! %c = conv(%x, %T) {groups=G}           : f32[N,G·M,H,W]     T: ternary[G·M,C/G,kernel...], parts outermost
//! %s = mul(%c, %a)                       a: f32[G·M,1,1]
//! %r = reshape(%s)                       : f32[N,G,M,H,W]
//! %y = reduce_sum(%r) {axes=[1]}         : f32[N,M,H,W]
//!
//! %r = reshape(%x)                       : f32[..,R,G,1,K/G]  of f32[..,R,K]
//! %p = matmul(%r, %T)                    : f32[..,R,G,1,M]    T: ternary[G,K/G,M]
//! %s = mul(%p, %a)                       a: f32[G,1,M]
//! %y = reduce_sum(%s) {axes=[-3,-2]}     : f32[..,R,M]
//! ```
//!
//! This module inserts that form and knows it again ([`added`]); the lowering makes one step of it.

use crate::dim::Dim;
use crate::graph::{Graph, NodeId, ValueId};
use crate::infer::TypeError;
use crate::layer::Layer;
use crate::op::{Binary, Conv, Op, ReduceKind};
use crate::rewrite::Rewriter;
use crate::tensor::{Data, Tensor};
use crate::types::{ElementType, TensorType};

/// Into how many parts a layer's input channels are divided so that a part has `most` weights of an output at most, but at least
/// those of one input channel. All parts are alike. 1 where a layer cannot be divided: a convolution in groups.
pub fn count(graph: &Graph, layer: &Layer, most: usize) -> usize {
    let channels = match &graph.node(layer.node).op {
        Op::Conv(conv) if conv.groups == 1 => graph.ty(layer.weight).shape.get(1).and_then(Dim::as_size),
        Op::MatMul => Some(layer.fan_in),
        _ => None,
    };
    let Some(channels) = channels.filter(|&channels| channels > 0) else { return 1 };
    let taps = layer.fan_in / channels;
    let fits = |&size: &usize| channels.is_multiple_of(size) && size.saturating_mul(taps) <= most;
    channels / (1..=channels.min(most)).rev().find(fits).unwrap_or(1)
}

/// The weights of each part of each output channel: those of part 0 of all channels first.
pub fn rows<T: Copy>(layer: &Layer, weight: &[T], parts: usize) -> Vec<Vec<T>> {
    let (rows, len) = (layer.rows(weight), layer.fan_in / parts.max(1));
    (0..parts).flat_map(|part| rows.iter().map(move |row| row[part * len..][..len].to_vec())).collect()
}

/// Inserts a layer's product in parts, each part of each output channel with a scale of its own; `rows` and `scales` are in the order of
/// [`rows`]. It is dead until something uses it. An error for a layer that [`count`] does not divide into so many.
pub fn insert(
    rewriter: &mut Rewriter<'_>,
    layer: &Layer,
    parts: usize,
    rows: &[Vec<i8>],
    scales: Vec<f32>,
) -> Result<ValueId, TypeError> {
    let node = rewriter.graph().node(layer.node).clone();
    let misfit = || TypeError::Attribute { op: "parts", message: format!("no layer of {parts} equal parts") };
    let len = layer.fan_in.checked_div(parts).filter(|len| len * parts == layer.fan_in).ok_or_else(misfit)?;
    let shape = rewriter.graph().constant(layer.weight).map(|w| w.shape().to_vec()).unwrap_or_default();
    let (op, input, weight, scale, trits) = match (node.op, shape.as_slice()) {
        (Op::Conv(conv), &[outputs, channels, ref kernel @ ..]) if channels.is_multiple_of(parts) => {
            let weight = [&[parts * outputs, channels / parts], kernel].concat();
            let scale = [vec![parts * outputs], vec![1; kernel.len()]].concat();
            (Op::Conv(Conv { groups: parts, ..conv }), node.operands[0], weight, scale, rows.concat())
        }
        (Op::MatMul, &[_, outputs]) => {
            let mut shape = rewriter.graph().ty(node.operands[0]).shape.clone();
            shape.pop();
            shape.extend([parts, 1, len].map(Dim::from));
            let input = rewriter.insert(Op::Reshape { shape }, &[node.operands[0]], &node.name)?;
            // The weights of all outputs for one input lie together.
            let of_input =
                |rows: &[Vec<i8>], k: usize| rows.iter().filter_map(|row| row.get(k).copied()).collect();
            let parts_of = rows.chunks(outputs.max(1));
            let trits: Vec<Vec<i8>> =
                parts_of.flat_map(|rows| (0..len).map(move |k| of_input(rows, k))).collect();
            (Op::MatMul, input, vec![parts, len, outputs], vec![parts, 1, outputs], trits.concat())
        }
        _ => return Err(misfit()),
    };
    let weight = Tensor::new(weight, Data::Ternary(trits.into())).map_err(|_| misfit())?;
    let scale = Tensor::from_f32(scale, scales).map_err(|_| misfit())?;
    let windows = matches!(op, Op::Conv(_));
    let (name, weight_name) = (&node.name, &layer.weight_name);
    let scale_name = if weight_name.is_empty() { String::new() } else { format!("{weight_name}.scale") };
    let weight = rewriter.constant(weight, weight_name);
    let product = rewriter.insert(op, &[input, weight], name)?;
    let scale = rewriter.constant(scale, &scale_name);
    let mut scaled = rewriter.insert(Op::Binary(Binary::Mul), &[product, scale], name)?;
    let mut shape = rewriter.graph().ty(scaled).shape.clone();
    let rank = shape.len();
    let axes = if windows {
        shape.splice(1..2, [parts, layer.channels].map(Dim::from));
        scaled = rewriter.insert(Op::Reshape { shape }, &[scaled], name)?;
        vec![1]
    } else {
        vec![rank - 3, rank - 2]
    };
    rewriter.insert(Op::Reduce { kind: ReduceKind::Sum, axes, keep_dims: false }, &[scaled], name)
}

/// Whether a product with this weight keeps parts of a matrix product apart.
pub fn is_matrix(op: &Op, weight: &TensorType) -> bool {
    matches!(op, Op::MatMul) && weight.element == ElementType::Ternary && weight.rank() == 3
}

/// Whether a constant of this type is a scale for each part and output of such a product.
pub fn is_scale(op: &Op, weight: &TensorType, scale: &TensorType) -> bool {
    let [parts, _, outputs] = weight.shape.as_slice() else { return false };
    is_matrix(op, weight)
        && scale.element == ElementType::F32
        && scale.shape.as_slice() == [parts.clone(), Dim::from(1), outputs.clone()]
}

/// How many parts a `reduce_sum` adds up that reads a product's result, of windows behind a `reshape` to the type `divided`; `None` if it is
/// no sum of parts.
pub fn added(
    op: &Op,
    weight: &TensorType,
    result: &TensorType,
    divided: Option<&TensorType>,
    sum: &Op,
) -> Option<usize> {
    let Op::Reduce { kind: ReduceKind::Sum, axes, keep_dims: false } = sum else { return None };
    let parts = match (op, divided) {
        (Op::Conv(conv), Some(divided)) => {
            let outputs = weight.shape.first()?.as_size()?.checked_div(conv.groups)?;
            let mut expected = result.shape.clone();
            expected.splice(1..2, [conv.groups, outputs].map(Dim::from));
            (divided.shape == expected && *axes == [1]).then_some(conv.groups)
        }
        (Op::MatMul, None) if is_matrix(op, weight) => {
            let first = result.rank().checked_sub(3).filter(|&first| first > 0)?;
            let ones = result.shape[first + 1].as_size() == Some(1) && result.shape[first] == weight.shape[0];
            (ones && *axes == [first, first + 1]).then(|| weight.shape[0].as_size())?
        }
        _ => None,
    };
    parts.filter(|&parts| parts > 1)
}

/// A layer in parts.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The `mul` by the scales, and which operand they are.
    pub mul: (NodeId, usize),
    /// The scales: one number for all, or one for each output channel of each part, part by part.
    pub scales: Vec<f32>,
    /// The number of parts.
    pub count: usize,
    /// The axis of the sum along which the output channels lie.
    pub channel_axis: usize,
}

/// The scaled layer in parts whose sum a node is, if nothing else reads what comes before the sum.
pub fn at(graph: &Graph, sum: NodeId) -> Option<Parts> {
    let before = |value: ValueId| {
        let (id, node) = graph.definer(value)?;
        graph.only_user(value).map(|_| (id, node))
    };
    let (mut scaled, mut divided) = (*graph.node(sum).operands.first()?, None);
    if let Some((_, node)) = before(scaled).filter(|(_, node)| matches!(node.op, Op::Reshape { .. })) {
        divided = Some(graph.ty(scaled));
        scaled = node.operands[0];
    }
    let (mul, node) = before(scaled).filter(|(_, node)| node.op == Op::Binary(Binary::Mul))?;
    let operand = node.operands.iter().position(|&operand| graph.constant(operand).is_some())?;
    let scales = graph.constant(node.operands[operand])?.as_f32()?.to_vec();
    let (_, product) = before(node.operands[1 - operand.min(1)])?;
    let (&[_, weight], &[result]) = (product.operands.as_slice(), product.results.as_slice()) else {
        return None;
    };
    let weight = graph.constant(weight).filter(|weight| weight.as_ternary().is_some())?.ty();
    let count = added(&product.op, &weight, graph.ty(result), divided, &graph.node(sum).op)?;
    let (channels, channel_axis) = match &product.op {
        Op::Conv(_) => (weight.shape[0].as_size()? / count, 1),
        _ => (weight.shape[2].as_size()?, graph.ty(graph.node(sum).results[0]).rank() - 1),
    };
    let fit = scales.len() == 1 || scales.len() == count * channels;
    fit.then_some(Parts { mul: (mul, operand), scales, count, channel_axis })
}
