//! `fold_scales`: makes each chain of scales, biases and batch norms one `mul` and one `add`.
//!
//! **Exact** up to float reassociation (and up to the sign of zero, where an `add` of 0 vanishes). A *chain* is a run of
//! `mul`, `add`, `sub`, `div`, `neg` by constants per tensor or per channel, and of `batch_norm`, each the only reader of the
//! one before, all along one axis. Its product `y = s·x + t` is formed in f64 and rounded once. What is left is
//!
//! * behind a ternary product, `mul` by s and `add` of t: the form that the lowering fuses;
//! * behind a ternary product in parts ([`parts`](mod@twnc_ir::parts)), the scales of all parts times s, and `add` of t;
//! * behind a float product, the weight times s, and `add` of t;
//! * behind anything else, `mul` and `add`; where s is -1, `neg` or `sub` from t, which multiply nothing.
//!
//! A `mul` by 1 and an `add` of 0 vanish. Left alone, with a remark: a batch norm whose parameters are not constant and finite,
//! a chain whose s or t leaves the range of f32, and a float weight that several layers share, which takes no scale. Scales do
//! not move through activations or pools here.

use crate::affine::{Affine, Link, link};
use crate::walk;
use std::collections::HashSet;
use twnc_ir::parts::Parts;
use twnc_ir::{
    Binary, Changed, Graph, Layer, NodeId, Op, Pass, PassContext, PassError, PerChannel, Rewriter, Tensor,
    Topic, TypeError, Unary, ValueId, parts,
};

/// The pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct FoldScales;

/// Links, each the only reader of the one before.
struct Chain {
    links: Vec<Link>,
    affine: Affine,
}

impl Chain {
    /// The operand of a link that is this constant already, which others may read too.
    fn constant(&self, graph: &Graph, tensor: &Tensor) -> Option<ValueId> {
        let mut operands = self.links.iter().flat_map(|link| &graph.node(link.node).operands);
        operands.find(|&&operand| graph.constant(operand).is_some_and(|other| other == tensor)).copied()
    }
}

impl Pass for FoldScales {
    fn name(&self) -> &str {
        "fold_scales"
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Changed, PassError> {
        let mut rewriter = Rewriter::new(graph);
        let order = walk::order(rewriter.graph())?;
        for chain in chains(rewriter.graph(), &order, cx) {
            let Some(last) = chain.links.last() else { continue };
            let name = rewriter.graph().node_name(last.node);
            fold(&mut rewriter, &chain, &name, cx).map_err(PassError::at(&name))?;
        }
        rewriter.remove_dead("it is folded into one scale and one bias");
        Ok(rewriter.finish())
    }
}

/// The chains of a graph, in order; remarks on batch norms that are part of none.
fn chains(graph: &Graph, order: &[NodeId], cx: &mut PassContext<'_>) -> Vec<Chain> {
    let mut taken = HashSet::new();
    let mut chains = vec![];
    for &id in order {
        if taken.contains(&id) {
            continue;
        }
        let Some(first) = link(graph, id) else {
            if matches!(graph.node(id).op, Op::BatchNorm { .. }) {
                cx.missed(
                    Topic::Folding,
                    &graph.node_name(id),
                    "not folded: its parameters are not constant and finite",
                );
            }
            continue;
        };
        let head = graph.node(id).operands[first.operand];
        let axis = product(graph, head, first.affine.axis).map(|layer| layer.channel_axis);
        let mut chain = Chain { affine: first.affine.clone(), links: vec![first] };
        let mut end = graph.node(id).results[0];
        while let Some((user, operand)) = graph.only_user(end)
            && let Some(next) = link(graph, user).filter(|next| next.operand == operand)
            && let Some(affine) = chain.affine.then(&next.affine)
            && (axis.is_none() || affine.axis.is_none() || affine.axis == axis)
        {
            end = graph.node(user).results[0];
            taken.insert(user);
            chain.affine = affine;
            chain.links.push(next);
        }
        chains.push(chain);
    }
    chains
}

/// The layer that defines a value, if constants along `axis` are constants per output channel.
fn product(graph: &Graph, value: ValueId, axis: Option<usize>) -> Option<Layer> {
    let (id, _) = graph.definer(value)?;
    let layer = Layer::at(graph, id)?.ok()?;
    axis.is_none_or(|axis| axis == layer.channel_axis).then_some(layer)
}

/// Puts the chain's one scale and one bias in its place, where that is better.
fn fold(
    rewriter: &mut Rewriter<'_>,
    chain: &Chain,
    name: &str,
    cx: &mut PassContext<'_>,
) -> Result<(), TypeError> {
    let (Some(first), Some(last)) = (chain.links.first(), chain.links.last()) else { return Ok(()) };
    let graph = rewriter.graph();
    let (head, end) = (graph.node(first.node).operands[first.operand], graph.node(last.node).results[0]);
    let layer = product(graph, head, chain.affine.axis);
    let Some((scale, shift)) = chain.affine.rounded() else {
        cx.missed(Topic::Folding, name, "its scales are kept apart: as one they leave the range of f32");
        return Ok(());
    };
    let absorbing = layer.as_ref().filter(|layer| {
        layer.float(graph).is_some() && graph.only_user(head).is_some() && !is_all(&scale, 1.0)
    });
    let scaled = absorbing.and_then(|layer| match scaled_weight(graph, layer, &scale) {
        Ok(weight) => Some((layer, weight)),
        Err(reason) => {
            cx.missed(Topic::Folding, &layer.name, format!("its weight takes no scale: {reason}"));
            None
        }
    });
    let of_parts = scales_of_parts(graph, head, chain.affine.axis, &scale);
    let kinds: Vec<Binary> = [
        (scaled.is_none() && of_parts.is_none() && !is_all(&scale, 1.0)).then_some(Binary::Mul),
        (!is_all(&shift, 0.0)).then_some(Binary::Add),
    ]
    .into_iter()
    .flatten()
    .collect();
    let ops: Vec<&Op> = chain.links.iter().map(|link| &graph.node(link.node).op).collect();
    // The step of a product multiplies anyway.
    let negative = layer.is_none() && of_parts.is_none() && is_all(&scale, -1.0);
    let canonical = match (negative, is_all(&shift, 0.0)) {
        (false, _) => ops.iter().copied().eq(kinds.iter().map(|f| Op::Binary(*f)).collect::<Vec<_>>().iter()),
        (true, true) => matches!(ops.as_slice(), [Op::Unary(Unary::Neg)]),
        (true, false) => matches!(ops.as_slice(), [Op::Binary(Binary::Sub)]) && first.operand == 1,
    };
    if canonical {
        return Ok(());
    }
    let rank = graph.ty(head).rank();
    if let Some((parts, scales)) = of_parts {
        let (mul, operand) = parts.mul;
        let old = graph.node(mul).operands[operand];
        let name = graph.definer(old).map_or(String::new(), |(_, node)| node.name.clone());
        let scales = rewriter.constant(scales, &name);
        rewriter.set_operand(mul, operand, scales, "it takes the scales behind it")?;
    }
    let graph = rewriter.graph();
    let names = [first.node, last.node].map(|id| graph.node(id).name.clone());
    let mut value = match scaled {
        Some((layer, weight)) => {
            let weight = rewriter.constant(layer.float_tensor(weight), &layer.weight_name);
            layer.insert(rewriter, weight)?
        }
        None => head,
    };
    if negative && is_all(&shift, 0.0) {
        value = rewriter.insert(Op::Unary(Unary::Neg), &[value], &names[0])?;
        return rewriter.replace(end, value, "scales and biases are one");
    }
    let kinds = if negative { vec![Binary::Sub] } else { kinds };
    for f in kinds {
        let (values, name, what) = match f {
            Binary::Mul => (&scale, &names[0], "scale"),
            _ => (&shift, &names[1], "bias"),
        };
        let axis = chain.affine.axis.filter(|_| values.len() != 1);
        let constant_name = if name.is_empty() { String::new() } else { format!("{name}.{what}") };
        let tensor = PerChannel::tensor(axis, values.clone(), rank);
        let constant = match chain.constant(rewriter.graph(), &tensor) {
            Some(constant) => constant,
            None => rewriter.constant(tensor, &constant_name),
        };
        let operands = if f == Binary::Sub { [constant, value] } else { [value, constant] };
        value = rewriter.insert(Op::Binary(f), &operands, name)?;
    }
    rewriter.replace(end, value, "scales and biases are one")
}

/// The layer in parts that a value is, which nothing else reads, and its scales times one along the channels; `None` if there is no such layer, or
/// the scales leave the range of f32.
fn scales_of_parts(
    graph: &Graph,
    value: ValueId,
    axis: Option<usize>,
    scale: &[f32],
) -> Option<(Parts, Tensor)> {
    let (id, _) = graph.definer(value)?;
    let parts = parts::at(graph, id).filter(|_| graph.only_user(value).is_some())?;
    let (mul, operand) = parts.mul;
    if axis.is_some_and(|axis| axis != parts.channel_axis) || is_all(scale, 1.0) {
        return None;
    }
    let shape = graph.constant(graph.node(mul).operands[operand])?.shape();
    let all = parts.scales.len().max(parts.count * scale.len());
    let at = |of: &[f32], i: usize| f64::from(of[i % of.len().max(1)]);
    let scales: Vec<f32> = (0..all).map(|i| (at(&parts.scales, i) * at(scale, i)) as f32).collect();
    let fit = scales.iter().all(|s| s.is_normal() || *s == 0.0);
    let shape = if all == parts.scales.len() { shape.to_vec() } else { return None };
    Tensor::from_f32(shape, scales).ok().filter(|_| fit).map(|tensor| (parts, tensor))
}

/// The float weight of a layer times a scale; the reason, if it takes none.
fn scaled_weight(graph: &Graph, layer: &Layer, scale: &[f32]) -> Result<Vec<f32>, &'static str> {
    if graph.only_user(layer.weight).is_none() {
        return Err("several layers share it");
    }
    let at = |i: usize| f64::from(scale[if scale.len() == 1 { 0 } else { layer.channel_of(i) }]);
    let weight = layer.float(graph).unwrap_or_default();
    let scaled: Vec<f32> = weight.iter().enumerate().map(|(i, &w)| (f64::from(w) * at(i)) as f32).collect();
    let overflow = weight.iter().zip(&scaled).any(|(w, s)| w.is_finite() && !s.is_finite());
    if overflow { Err("it would leave the range of f32") } else { Ok(scaled) }
}

fn is_all(values: &[f32], x: f32) -> bool {
    values.iter().all(|&v| v == x)
}
