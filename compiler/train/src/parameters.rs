//! What of a network is trained: the constants that its training would have found.

use crate::random::Random;
use std::collections::{HashMap, HashSet};
use twnc_ir::{
    Binary, ElementType, Graph, Layer, NodeId, Op, PerChannel, Rewriter, Tensor, TypeError, ValueId,
};

/// What a trained constant is for.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// The weight of this layer.
    Weight(Box<Layer>),
    /// Multiplies: 1 in a network that begins anew.
    Factor,
    /// Is added: 0 in a network that begins anew.
    Bias,
    /// Whatever else; it begins as it is.
    Other,
}

/// A trained constant.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    pub value: ValueId,
    pub role: Role,
}

/// The statistics that batch norms keep: means, and variances.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub means: Vec<ValueId>,
    pub variances: Vec<ValueId>,
}

/// Gives each batch norm constants of its own, for each is trained alone.
pub(crate) fn separate(graph: &mut Graph) -> Result<(), TypeError> {
    let norms: Vec<NodeId> =
        graph.node_ids().filter(|id| matches!(graph.node(*id).op, Op::BatchNorm { .. })).collect();
    let mut rewriter = Rewriter::new(graph);
    for id in norms {
        for operand in 1..5 {
            let value = rewriter.graph().node(id).operands[operand];
            let Some(tensor) = rewriter.graph().constant(value).cloned() else { continue };
            if rewriter.graph().value(value).uses.len() > 1 {
                let own = rewriter.constant(tensor, "");
                rewriter.set_operand(id, operand, own, "it is trained alone")?;
            }
        }
    }
    drop(rewriter.finish());
    Ok(())
}

/// The constants to train: weights of layers, factors and biases of batch norms, and what is added, multiplied or a slope behind a layer, one
/// number for each channel. Other constants (in front of all layers, whole tensors, single numbers that are no layer's bias) belong to
/// what the network means, and stay.
pub(crate) fn find(graph: &Graph, order: &[NodeId]) -> (Vec<Parameter>, Kept) {
    let (mut found, mut kept): (Vec<Parameter>, Kept) = (vec![], Kept::default());
    let mut seen = HashSet::new();
    let mut behind: HashSet<ValueId> = HashSet::new();
    let mut results = HashSet::new();
    for &id in order {
        let node = graph.node(id);
        let is_float = |value: &ValueId| {
            graph.constant(*value).is_some_and(|tensor| tensor.element() == ElementType::F32)
        };
        let mut add = |value: ValueId, role: Role| {
            if is_float(&value) && seen.insert(value) {
                found.push(Parameter { value, role });
            }
        };
        match &node.op {
            Op::Conv(_) | Op::MatMul => {
                if let Some(Ok(layer)) = Layer::at(graph, id) {
                    results.insert(layer.result);
                    behind.insert(layer.result);
                    add(layer.weight, Role::Weight(Box::new(layer)));
                }
            }
            Op::BatchNorm { .. } => {
                if let &[_, scale, bias, mean, variance] = node.operands.as_slice() {
                    add(scale, Role::Factor);
                    add(bias, Role::Bias);
                    if is_float(&mean) && is_float(&variance) {
                        kept.means.push(mean);
                        kept.variances.push(variance);
                    }
                }
            }
            Op::Binary(function) => {
                let &[a, b] = node.operands.as_slice() else { continue };
                for (x, constant) in [(a, b), (b, a)] {
                    let Some(per_channel) = PerChannel::of(graph, constant, graph.ty(x)) else { continue };
                    if !behind.contains(&x) || per_channel.axis.is_none() && !results.contains(&x) {
                        continue;
                    }
                    match function {
                        Binary::Add => add(constant, Role::Bias),
                        Binary::Sub if constant == b => add(constant, Role::Bias),
                        Binary::Mul if per_channel.axis.is_some() => add(constant, Role::Factor),
                        Binary::PRelu if constant == b => add(constant, Role::Other),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        if node.operands.iter().any(|operand| behind.contains(operand)) {
            behind.extend(&node.results);
        }
    }
    (found, kept)
}

impl Parameter {
    /// What it begins with in a network that begins anew: weights are normal, with variance 2/fan-in (He et al. 2015).
    pub fn fresh(&self, number: usize, old: &[f32], seed: u64) -> Vec<f32> {
        match &self.role {
            Role::Weight(layer) => {
                let deviation = (2.0 / layer.fan_in as f64).sqrt();
                let mut random = Random::of(seed, &[2, number as u64]);
                let mut normal = || {
                    // Box and Muller.
                    let (a, b) = (1.0 - random.unit(), random.unit());
                    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
                };
                old.iter().map(|_| (deviation * normal()) as f32).collect()
            }
            Role::Factor => vec![1.0; old.len()],
            Role::Bias => vec![0.0; old.len()],
            Role::Other => old.to_vec(),
        }
    }
}

/// The graph with other constants.
pub(crate) fn replaced(graph: &Graph, constants: &HashMap<ValueId, Vec<f32>>) -> Result<Graph, TypeError> {
    let mut out = graph.clone();
    let mut rewriter = Rewriter::new(&mut out);
    for value in graph.value_ids() {
        let (Some(elements), Some((_, node))) = (constants.get(&value), graph.definer(value)) else {
            continue;
        };
        let Some(tensor) = graph.constant(value) else { continue };
        if let Ok(tensor) = Tensor::from_f32(tensor.shape().to_vec(), elements.clone()) {
            let new = rewriter.constant(tensor, &node.name);
            rewriter.replace(value, new, "it was trained")?;
        }
    }
    rewriter.remove_dead("it was trained");
    drop(rewriter.finish());
    Ok(out)
}
