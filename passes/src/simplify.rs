//! `simplify`: small clean-ups that bring products, scales and activations next to each other.
//!
//! **Exact**, bit for bit (behind a `pad`, for finite weights):
//!
//! * a `reshape`, `transpose`, `slice`, `pad`, `broadcast`, `cast` or one-operand `concat` that changes nothing vanishes;
//! * a `reshape` of a reshape, a `transpose` of a transpose and a `pad` of a pad with the same number are one;
//! * `relu` and `clip` one behind the other are one;
//! * a `pad` stands behind the `transpose` that reads it;
//! * a `pad` with zeros along spatial axes becomes padding of the `conv` that reads it, and one with copies of the edge, which every
//!   window reaches too, padding of the `max_pool`;
//! * a constant right operand of a `matmul` loses leading axes of size 1, so that it can be a layer's weight.
//!
//! Other padding does not move into pools: what they count and where they start depends on it.

use crate::walk;
use twnc_ir::{
    Conv, Dim, Geometry, Graph, Node, NodeId, Op, Pad, PadMode, Pass, PassContext, PassError, Pool, Rewriter,
    TypeError, Unary, ValueId,
};

/// The pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Simplify;

/// What stands in the place of a node.
enum Simpler {
    /// A value that exists.
    Value(ValueId),
    /// Another operator on other operands.
    Node(Op, Vec<ValueId>),
}

impl Pass for Simplify {
    fn name(&self) -> &str {
        "simplify"
    }

    fn run(&self, graph: &mut Graph, _cx: &mut PassContext<'_>) -> Result<twnc_ir::Changed, PassError> {
        let mut rewriter = Rewriter::new(graph);
        for id in walk::order(rewriter.graph())? {
            let name = rewriter.graph().node_name(id);
            simplify(&mut rewriter, id).map_err(PassError::at(&name))?;
        }
        rewriter.remove_dead("nothing reads it any more");
        Ok(rewriter.finish())
    }
}

/// Operands come before what reads them, so that each node meets operands that are simple already.
fn simplify(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), TypeError> {
    narrow_weight(rewriter, id)?;
    pad_behind_transpose(rewriter, id)?;
    let graph = rewriter.graph();
    let node = graph.node(id);
    let &[result] = node.results.as_slice() else { return Ok(()) };
    let name = node.name.clone();
    let (new, reason) = if let Some(value) = unchanged(graph, node) {
        (Simpler::Value(value), "it changes nothing")
    } else if let Some(merged) = merged(graph, node) {
        (merged, "it is one with its operand")
    } else if let Some(padded) = padded(graph, node) {
        (padded, "the convolution pads")
    } else if let Some(pooled) = pooled(graph, node) {
        (pooled, "the pool pads")
    } else {
        return Ok(());
    };
    let value = match new {
        Simpler::Value(value) => value,
        Simpler::Node(op, operands) => rewriter.insert(op, &operands, &name)?,
    };
    rewriter.replace(result, value, reason)
}

/// The operand that a node returns as it is.
fn unchanged(graph: &Graph, node: &Node) -> Option<ValueId> {
    let &[operand] = node.operands.as_slice() else { return None };
    let does_nothing = match &node.op {
        Op::Reshape { .. } | Op::Broadcast { .. } | Op::Cast { .. } | Op::Concat { .. } => true,
        Op::Slice(slice) => slice.step == 1 && slice.start == Dim::fixed(0),
        Op::Pad(pad) => pad.begin.iter().chain(&pad.end).all(|&n| n == 0),
        Op::Transpose { perm } => perm.iter().copied().eq(0..perm.len()),
        _ => false,
    };
    (does_nothing && graph.ty(operand) == graph.ty(*node.results.first()?)).then_some(operand)
}

/// A node and the one before it, as one.
fn merged(graph: &Graph, node: &Node) -> Option<Simpler> {
    let &[operand] = node.operands.as_slice() else { return None };
    let (_, before) = graph.definer(operand)?;
    let &[source] = before.operands.as_slice() else { return None };
    match (&before.op, &node.op) {
        (Op::Reshape { .. }, Op::Reshape { .. })
            if graph.ty(source) == graph.ty(*node.results.first()?) =>
        {
            Some(Simpler::Value(source))
        }
        (Op::Reshape { .. }, Op::Reshape { shape }) => {
            Some(Simpler::Node(Op::Reshape { shape: shape.clone() }, vec![source]))
        }
        (Op::Transpose { perm: first }, Op::Transpose { perm: second }) => {
            let perm: Vec<usize> =
                second.iter().map(|&axis| first.get(axis).copied()).collect::<Option<_>>()?;
            match perm.iter().copied().eq(0..perm.len()) {
                true => Some(Simpler::Value(source)),
                false => Some(Simpler::Node(Op::Transpose { perm }, vec![source])),
            }
        }
        (Op::Pad(inner), Op::Pad(outer)) => {
            let constant = matches!(inner.mode, PadMode::Constant(_)) && inner.mode == outer.mode;
            let (begin, end) = (sums(&inner.begin, &outer.begin)?, sums(&inner.end, &outer.end)?);
            constant.then_some(Simpler::Node(Op::Pad(Pad { begin, end, mode: inner.mode }), vec![source]))
        }
        (Op::Unary(first), Op::Unary(second)) => {
            let ((low, high), (min, max)) = (bounds(*first)?, bounds(*second)?);
            let (low, high) = (low.clamp(min, max), high.clamp(min, max));
            match *first == clip(low, high) {
                true => Some(Simpler::Value(operand)),
                false => Some(Simpler::Node(Op::Unary(clip(low, high)), vec![source])),
            }
        }
        _ => None,
    }
}

/// The bounds between which an activation leaves numbers as they are, if that is all it does.
fn bounds(f: Unary) -> Option<(f32, f32)> {
    match f {
        Unary::Relu => Some((0.0, f32::INFINITY)),
        Unary::Clip { min, max } if min <= max => Some((min, max)),
        _ => None,
    }
}

fn clip(min: f32, max: f32) -> Unary {
    // Below a bound of -0 a clip gives -0 and `relu` +0.
    let relu = min == 0.0 && min.is_sign_positive() && max == f32::INFINITY;
    if relu { Unary::Relu } else { Unary::Clip { min, max } }
}

/// The spatial padding of a `pad` that a value is, if that is all it is and of such a mode, and what it pads.
fn spatial(
    graph: &Graph,
    value: ValueId,
    such: impl Fn(PadMode) -> bool,
) -> Option<([&[usize]; 2], ValueId)> {
    let (_, before) = graph.definer(value)?;
    let (Op::Pad(pad), &[source]) = (&before.op, before.operands.as_slice()) else { return None };
    let (outer, begin) = pad.begin.split_at_checked(2)?;
    let (outer_end, end) = pad.end.split_at_checked(2)?;
    let spatial = outer.iter().chain(outer_end).all(|&n| n == 0);
    (spatial && such(pad.mode)).then_some(([begin, end], source))
}

/// A geometry that pads by so much more.
fn with_padding(geometry: &Geometry, [begin, end]: [&[usize]; 2]) -> Option<Geometry> {
    let (pads_begin, pads_end) = (sums(&geometry.pads_begin, begin)?, sums(&geometry.pads_end, end)?);
    Some(Geometry { pads_begin, pads_end, ..geometry.clone() })
}

/// A convolution that pads in the place of the `pad` that it reads.
fn padded(graph: &Graph, node: &Node) -> Option<Simpler> {
    let (Op::Conv(conv), &[input, weight]) = (&node.op, node.operands.as_slice()) else { return None };
    let (pads, source) = spatial(graph, input, |mode| mode == PadMode::Constant(0.0))?;
    let geometry = with_padding(&conv.geometry, pads)?;
    Some(Simpler::Node(Op::Conv(Conv { geometry, groups: conv.groups }), vec![source, weight]))
}

/// A `max_pool` that passes over what the `pad` before it copied: every window with copies of an edge has the edge too.
fn pooled(graph: &Graph, node: &Node) -> Option<Simpler> {
    let (Op::MaxPool(pool), &[input]) = (&node.op, node.operands.as_slice()) else { return None };
    let (pads, source) = spatial(graph, input, |mode| mode == PadMode::Edge)?;
    let geometry = &pool.geometry;
    let plain = !pool.ceil && geometry.dilations.iter().all(|&d| d == 1);
    let own = geometry.pads_begin.iter().chain(&geometry.pads_end).all(|&n| n == 0);
    let reached = pads.iter().all(|pads| pads.iter().zip(&pool.kernel).all(|(&pad, &kernel)| pad < kernel));
    let geometry = with_padding(geometry, pads).filter(|_| plain && own && reached)?;
    Some(Simpler::Node(Op::MaxPool(Pool { geometry, ..pool.clone() }), vec![source]))
}

fn sums(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    a.iter().zip(b).map(|(a, b)| a.checked_add(*b)).collect()
}

/// Puts the `pad` that a `transpose` reads behind it, where a convolution or another transpose may find it.
fn pad_behind_transpose(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), TypeError> {
    let graph = rewriter.graph();
    let node = graph.node(id);
    let (Op::Transpose { perm }, &[operand], &[result]) =
        (&node.op, node.operands.as_slice(), node.results.as_slice())
    else {
        return Ok(());
    };
    let Some((_, Node { op: Op::Pad(pad), operands, name, .. })) = graph.definer(operand) else {
        return Ok(());
    };
    let &[source] = operands.as_slice() else { return Ok(()) };
    if graph.only_user(operand).is_none() {
        return Ok(());
    }
    let moved = |list: &[usize]| perm.iter().map(|&axis| list.get(axis).copied()).collect::<Option<Vec<_>>>();
    let (Some(begin), Some(end)) = (moved(&pad.begin), moved(&pad.end)) else { return Ok(()) };
    let (op, mode) = (node.op.clone(), pad.mode);
    let (name, pad_name) = (node.name.clone(), name.clone());
    let transposed = rewriter.insert(op, &[source], &name)?;
    let padded = rewriter.insert(Op::Pad(Pad { begin, end, mode }), &[transposed], &pad_name)?;
    rewriter.replace(result, padded, "it comes behind the transpose")
}

/// Takes leading axes of size 1 off the constant right operand of a `matmul` whose left operand has them.
fn narrow_weight(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), TypeError> {
    let graph = rewriter.graph();
    let node = graph.node(id);
    let (Op::MatMul, &[a, b]) = (&node.op, node.operands.as_slice()) else { return Ok(()) };
    let Some(tensor) = graph.constant(b) else { return Ok(()) };
    let [leading @ .., k, m] = tensor.shape() else { return Ok(()) };
    if leading.is_empty() || leading.iter().any(|&n| n != 1) || graph.ty(a).rank() < tensor.shape().len() {
        return Ok(());
    }
    let Ok(matrix) = tensor.reshaped(vec![*k, *m]) else { return Ok(()) };
    let name = graph.definer(b).map_or(String::new(), |(_, node)| node.name.clone());
    let weight = rewriter.constant(matrix, &name);
    let product = rewriter.insert(Op::MatMul, &[a, weight], &rewriter.graph().node(id).name.clone())?;
    let result = rewriter.graph().node(id).results[0];
    rewriter.replace(result, product, "its weight is a matrix")
}
