//! `decompose_custom`: writes custom operators in operators of the closed set, where they know how.
//!
//! **Exact**, as far as the operator's own decomposition is. An operator that does not decompose stays a call of a function that
//! the application registers, with a remark. Decompositions may use custom operators in their turn.

use crate::walk;
use std::collections::HashSet;
use twnc_ir::{Changed, Graph, NodeId, Op, Pass, PassContext, PassError, Rewriter, Topic};

/// How deep decompositions may nest; an operator that decomposes into itself never ends.
const DEEPEST: usize = 16;

/// The pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct DecomposeCustom;

impl Pass for DecomposeCustom {
    fn name(&self) -> &str {
        "decompose_custom"
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Changed, PassError> {
        let mut rewriter = Rewriter::new(graph);
        let mut seen = HashSet::new();
        for depth in 0.. {
            let mut fresh = walk::order(rewriter.graph())?;
            fresh.retain(|&id| matches!(rewriter.graph().node(id).op, Op::Custom(_)) && seen.insert(id));
            let Some(&first) = fresh.first() else { break };
            if depth == DEEPEST {
                let message = format!("its decompositions nest more than {DEEPEST} deep; do they end?");
                return Err(PassError::Refused { node: rewriter.graph().node_name(first), message });
            }
            for id in fresh {
                decompose(&mut rewriter, id, cx)?;
            }
        }
        rewriter.remove_dead("it is decomposed");
        Ok(rewriter.finish())
    }
}

fn decompose(rewriter: &mut Rewriter<'_>, id: NodeId, cx: &mut PassContext<'_>) -> Result<(), PassError> {
    let (name, node) = (rewriter.graph().node_name(id), rewriter.graph().node(id).clone());
    let Op::Custom(call) = &node.op else { return Ok(()) };
    let operator = call.operator.name();
    let Some(values) = call.operator.decompose(&call.attributes, &node.operands, rewriter) else {
        cx.missed(
            Topic::Decomposition,
            &name,
            format!("stays a call: `{operator}` does not decompose, the application must register it"),
        );
        return Ok(());
    };
    if values.len() != node.results.len() {
        let (found, expected) = (values.len(), node.results.len());
        let message = format!("`{operator}` decomposes into {found} values; it has {expected} results");
        return Err(PassError::Refused { node: name, message });
    }
    for (&old, new) in node.results.iter().zip(values) {
        rewriter.replace(old, new, &format!("`{operator}` decomposes")).map_err(PassError::at(&name))?;
    }
    Ok(())
}
