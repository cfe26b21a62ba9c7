//! `drop_logits_scale`: leaves out the one scale and the one bias of logits, of which only the order is wanted.
//!
//! **Approximate**, and only where asked for (`Options::logits_scale_free`): values of outputs change, their order does not. Before a float output, perhaps
//! behind a softmax and reshapes, these go:
//!
//! ```text
//! s·x      x         s is one positive number
//! x + t    x         t is one number
//! s·x + b  x + b/s   b is a constant of any shape
//! ```
//!
//! Behind a softmax the order of its groups is kept, and that of plain logits everywhere. Left alone, with a warning: an output whose scale is not positive, or
//! not one number, since its order would change; one that something else reads as well.

use crate::walk;
use twnc_ir::{
    Binary, Changed, ElementType, Graph, Op, Pass, PassContext, PassError, PerChannel, Rewriter, Tensor,
    Topic, TypeError, ValueId,
};

/// The pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct DropLogitsScale;

/// What stands at the end of logits.
enum End {
    /// A scale or bias that may go: what takes its place, and a word for it.
    Drops { with: ValueId, dropped: String },
    /// `s·x + b`.
    Biased { x: ValueId, s: f32, bias: ValueId },
    /// Something else; why it stays, if a user should know.
    Stays(Option<String>),
}

impl Pass for DropLogitsScale {
    fn name(&self) -> &str {
        "drop_logits_scale"
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Changed, PassError> {
        walk::order(graph)?;
        let mut rewriter = Rewriter::new(graph);
        let outputs: Vec<(String, ValueId)> =
            rewriter.graph().outputs().iter().map(|port| (port.name.clone(), port.value)).collect();
        for (name, value) in outputs {
            if rewriter.graph().ty(value).element == ElementType::F32 {
                output(&mut rewriter, &name, value, cx).map_err(PassError::at(&name))?;
            }
        }
        rewriter.remove_dead("the order of logits does not depend on it");
        Ok(rewriter.finish())
    }
}

/// Drops what may go before one output.
fn output(
    rewriter: &mut Rewriter<'_>,
    name: &str,
    output: ValueId,
    cx: &mut PassContext<'_>,
) -> Result<(), TypeError> {
    let reason = "the order of logits does not depend on it";
    let (mut dropped, mut stays): (Vec<String>, Option<String>) = (vec![], None);
    let Some(mut logits) = logits(rewriter.graph(), output) else {
        cx.warn(Topic::Folding, name, "keeps its scale, which something else reads as well");
        return Ok(());
    };
    loop {
        match end(rewriter.graph(), logits) {
            End::Drops { with, dropped: what } => {
                rewriter.replace(logits, with, reason)?;
                dropped.push(what);
                logits = with;
            }
            End::Biased { x, s, bias } => {
                let graph = rewriter.graph();
                let Some(tensor) = graph.constant(bias) else { break };
                let layer = graph.definer(logits).map_or(String::new(), |(_, node)| node.name.clone());
                let bias_name = graph.definer(bias).map_or(String::new(), |(_, node)| node.name.clone());
                let values: Vec<f32> = tensor.as_f32().unwrap_or_default().iter().map(|b| b / s).collect();
                let Ok(over) = Tensor::from_f32(tensor.shape().to_vec(), values) else { break };
                let over = rewriter.constant(over, &bias_name);
                let sum = rewriter.insert(Op::Binary(Binary::Add), &[x, over], &layer)?;
                rewriter.replace(logits, sum, reason)?;
                dropped.push(format!("the scale {s}"));
                break;
            }
            End::Stays(why) => {
                stays = why;
                break;
            }
        }
    }
    match (dropped.is_empty(), stays) {
        (false, _) => {
            let dropped = dropped.join(", then ");
            cx.applied(
                Topic::Folding,
                name,
                format!("is without {dropped}: its order is what it was, its values are not"),
            );
        }
        (true, Some(why)) => cx.warn(Topic::Folding, name, why),
        (true, None) => cx.missed(Topic::Folding, name, "has neither one scale nor one bias to leave out"),
    }
    Ok(())
}

/// The value whose order decides an output's: before a softmax and reshapes, which nothing else reads. `None` if something does.
fn logits(graph: &Graph, output: ValueId) -> Option<ValueId> {
    let alone = |value: ValueId| graph.value(value).uses.len() == 1;
    let mut value = output;
    while alone(value) {
        match graph.definer(value).map(|(_, node)| (&node.op, node.operands.as_slice())) {
            Some((Op::Softmax { .. } | Op::Reshape { .. }, &[x])) => value = x,
            _ => return Some(value),
        }
    }
    None
}

/// What stands at the end of a value of which only the order matters.
fn end(graph: &Graph, logits: ValueId) -> End {
    let Some((x, f, constant)) = with_constant(graph, logits) else { return End::Stays(None) };
    let numbers = graph.constant(constant).and_then(Tensor::as_f32).unwrap_or_default();
    let one = PerChannel::of(graph, constant, graph.ty(logits)).and_then(|c| match c.values.as_slice() {
        [one] => Some(*one),
        _ => None,
    });
    if graph.ty(x) != graph.ty(logits) {
        return End::Stays(None);
    }
    match (f, one) {
        (Binary::Add, Some(t)) if t.is_finite() => End::Drops { with: x, dropped: format!("the bias {t}") },
        (Binary::Mul, Some(s)) if s > 0.0 && s.is_finite() => {
            End::Drops { with: x, dropped: format!("the scale {s}") }
        }
        (Binary::Mul, Some(s)) => {
            End::Stays(Some(format!("keeps its scale {s}, which is not positive: its order would change")))
        }
        (Binary::Mul, None) => {
            let count = numbers.len();
            End::Stays(Some(format!("keeps its scale of {count} numbers: without it its order would change")))
        }
        (Binary::Add, None) => match with_constant(graph, x) {
            Some((inner, Binary::Mul, scale)) => {
                match PerChannel::of(graph, scale, graph.ty(x)).as_ref().map(|c| c.values.as_slice()) {
                    Some(&[s])
                        if s > 0.0
                            && numbers.iter().all(|b| (b / s).is_finite())
                            && graph.ty(inner) == graph.ty(x) =>
                    {
                        End::Biased { x: inner, s, bias: constant }
                    }
                    Some(&[s]) => End::Stays(Some(format!(
                        "keeps its scale {s} before a bias: without it its order would change, or the bias leave the range of f32"
                    ))),
                    _ => End::Stays(Some(
                        "keeps its scale, which is not one number: its order would change".to_owned(),
                    )),
                }
            }
            _ => End::Stays(None),
        },
        _ => End::Stays(None),
    }
}

/// The `add` or `mul` of a value and a constant that a value is: the value, which, and the constant.
fn with_constant(graph: &Graph, value: ValueId) -> Option<(ValueId, Binary, ValueId)> {
    let (_, node) = graph.definer(value)?;
    let (Op::Binary(f @ (Binary::Add | Binary::Mul)), &[a, b]) = (&node.op, node.operands.as_slice()) else {
        return None;
    };
    match (graph.constant(a), graph.constant(b)) {
        (None, Some(_)) => Some((a, *f, b)),
        (Some(_), None) => Some((b, *f, a)),
        _ => None,
    }
}
