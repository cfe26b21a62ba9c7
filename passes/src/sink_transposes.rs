//! `sink_transposes`: moves transposes towards the outputs, where pairs of them meet and vanish.
//!
//! **Exact**; a reduction may sum in another order. Networks that were trained with channels last wrap each convolution in a transpose and its inverse, with
//! batch norm, activation and residual add between the convolutions in the other layout, out of a fused layer's reach.
//! `f(transpose(x))` is `transpose(f(x))` for element-wise functions, where both operands are transposed alike or one is constant,
//! and for `concat`, `pad` and `reduce_*` along the axes that correspond.
//!
//! A transpose that several nodes read is one for each of them behind this. So the pass works on a copy, lets
//! [`Simplify`] cancel what meets, and keeps the copy only if fewer transposes are left.

use crate::Simplify;
use crate::walk;
use twnc_ir::{
    Changed, Graph, Node, NodeId, Op, Pad, Pass, PassContext, PassError, Rewriter, Tensor, TypeError,
    ValueId, eval,
};

/// The pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct SinkTransposes;

impl Pass for SinkTransposes {
    fn name(&self) -> &str {
        "sink_transposes"
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Changed, PassError> {
        let mut trial = graph.clone();
        let mut rewriter = Rewriter::new(&mut trial);
        for id in walk::order(rewriter.graph())? {
            let name = rewriter.graph().node_name(id);
            sink(&mut rewriter, id).map_err(PassError::at(&name))?;
        }
        rewriter.remove_dead("its transpose comes later");
        let mut changed = rewriter.finish();
        if !changed.any() {
            return Ok(changed);
        }
        changed.edits.extend(Simplify.run(&mut trial, cx)?.edits);
        if transposes(&trial) >= transposes(graph) {
            return Ok(Changed::default());
        }
        *graph = trial;
        Ok(changed)
    }
}

/// Puts a node before the transposes that it reads.
fn sink(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), TypeError> {
    let graph = rewriter.graph();
    let (node, &[result]) = (graph.node(id), graph.node(id).results.as_slice()) else { return Ok(()) };
    if let Some(value) = undone(graph, node) {
        return rewriter.replace(result, value, "it undoes another");
    }
    let Some(perm) = node.operands.iter().find_map(|&v| transposed(graph, v)).map(|(_, perm)| perm.to_vec())
    else {
        return Ok(());
    };
    let Some((op, perm_behind)) = moved(node, &perm) else { return Ok(()) };
    let Some(sources) = node.operands.iter().map(|&v| source(graph, v, &perm)).collect::<Option<Vec<_>>>()
    else {
        return Ok(());
    };
    let name = node.name.clone();
    let operands: Vec<ValueId> = sources
        .into_iter()
        .map(|source| match source {
            Source::Value(value) => value,
            Source::Constant(tensor, name) => rewriter.constant(tensor, &name),
        })
        .collect();
    let mut value = rewriter.insert(op, &operands, &name)?;
    if let Some(perm) = perm_behind {
        value = rewriter.insert(Op::Transpose { perm }, &[value], &name)?;
    }
    rewriter.replace(result, value, "it comes before the transpose")
}

/// What a transpose makes of another's result, if that is the other's operand again.
fn undone(graph: &Graph, node: &Node) -> Option<ValueId> {
    let (Op::Transpose { perm: second }, &[operand]) = (&node.op, node.operands.as_slice()) else {
        return None;
    };
    let (source, first) = transposed(graph, operand)?;
    let together = second.iter().map(|&axis| first.get(axis).copied());
    together.eq((0..second.len()).map(Some)).then_some(source)
}

/// The operand and the permutation of the transpose that defines a value.
fn transposed(graph: &Graph, value: ValueId) -> Option<(ValueId, &[usize])> {
    match graph.definer(value)? {
        (_, Node { op: Op::Transpose { perm }, operands, .. }) => Some((*operands.first()?, perm)),
        _ => None,
    }
}

/// The operator that does before a transpose what a node does behind it, and the permutation that its result then needs.
fn moved(node: &Node, perm: &[usize]) -> Option<(Op, Option<Vec<usize>>)> {
    let before = |axis: usize| perm.get(axis).copied();
    let op = match &node.op {
        Op::Unary(_) | Op::Binary(_) => node.op.clone(),
        Op::Concat { axis } => Op::Concat { axis: before(*axis)? },
        Op::Pad(pad) => {
            let at = |list: &[usize]| -> Option<Vec<usize>> {
                (0..perm.len()).map(|i| list.get(perm.iter().position(|&p| p == i)?).copied()).collect()
            };
            Op::Pad(Pad { begin: at(&pad.begin)?, end: at(&pad.end)?, mode: pad.mode })
        }
        Op::Reduce { kind, axes, keep_dims } => {
            let left: Vec<usize> =
                perm.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, &p)| p).collect();
            let mut axes: Vec<usize> = axes.iter().map(|&axis| before(axis)).collect::<Option<_>>()?;
            axes.sort_unstable();
            let op = Op::Reduce { kind: *kind, axes, keep_dims: *keep_dims };
            if !keep_dims {
                return left.is_sorted().then_some((op, None));
            }
            op
        }
        _ => return None,
    };
    Some((op, Some(perm.to_vec())))
}

/// What an operand was before the transpose.
enum Source {
    Value(ValueId),
    /// A constant, with its name.
    Constant(Tensor, String),
}

/// The operand before a transpose by `perm`: what was transposed so, or a constant transposed back.
fn source(graph: &Graph, value: ValueId, perm: &[usize]) -> Option<Source> {
    if let Some((source, other)) = transposed(graph, value) {
        return (other == perm).then_some(Source::Value(source));
    }
    let tensor = graph.constant(value)?;
    let missing = perm.len().checked_sub(tensor.shape().len())?;
    let wide = tensor.reshaped([vec![1; missing], tensor.shape().to_vec()].concat()).ok()?;
    let inverse: Vec<usize> =
        (0..perm.len()).map(|i| perm.iter().position(|&p| p == i)).collect::<Option<_>>()?;
    let back = eval::apply(&Op::Transpose { perm: inverse }, &[wide]).ok()?.pop()?;
    let name = graph.definer(value).map_or(String::new(), |(_, node)| node.name.clone());
    Some(Source::Constant(back, name))
}

fn transposes(graph: &Graph) -> usize {
    graph.node_ids().filter(|&id| matches!(graph.node(id).op, Op::Transpose { .. })).count()
}
