//! A pass and two custom operators, as somebody outside of the project would write them: against `twnc-ir` alone.
//!
//! * [`UnboundRelu6`]: a pass that turns relu6 into relu.
//! * [`SoftShrink`]: an operator that is written out in the closed set, so that passes and kernels see only what they know.
//! * [`ReverseChannels`]: an operator that stays a call, of a function that the application registers with the runtime.
//! * [`RULES`]: rules for the e-graph in which that operator takes part, as a text.

#![forbid(unsafe_code)]

use std::sync::Arc;
use twnc_ir::{
    Attribute, Attributes, Binary, Changed, CustomOperator, CustomRegistry, Graph, Op, Pass, PassContext,
    PassError, Rewriter, Tensor, TensorType, Topic, Unary, ValueId,
};

/// Turns `clip(x, 0, 6)` into `relu(x)`. *Approximate*: results above 6 change, which few networks depend on, and scales can move through a relu.
#[derive(Clone, Copy, Debug)]
pub struct UnboundRelu6;

impl Pass for UnboundRelu6 {
    fn name(&self) -> &str {
        "unbound_relu6"
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Changed, PassError> {
        let nodes: Vec<_> = graph.node_ids().collect();
        let mut rewriter = Rewriter::new(graph);
        for id in nodes {
            let node = rewriter.graph().node(id);
            if node.op != Op::Unary(Unary::Clip { min: 0.0, max: 6.0 }) {
                continue;
            }
            let (name, input, result) = (node.name.clone(), node.operands[0], node.results[0]);
            let relu =
                rewriter.insert(Op::Unary(Unary::Relu), &[input], &name).map_err(PassError::at(&name))?;
            rewriter.replace(result, relu, "relu6 without its bound").map_err(PassError::at(&name))?;
            cx.applied(Topic::Other, &name, "became a relu");
        }
        Ok(rewriter.finish())
    }
}

/// `x - lambd` above `lambd`, `x + lambd` below `-lambd`, 0 between. One attribute, `lambd`, 0.5 if absent.
#[derive(Clone, Copy, Debug)]
pub struct SoftShrink;

impl SoftShrink {
    fn lambd(attributes: &Attributes) -> Result<f32, String> {
        match attributes.get("lambd") {
            None => Ok(0.5),
            Some(Attribute::Float(lambd)) if *lambd >= 0.0 => Ok(*lambd),
            Some(other) => Err(format!("`lambd` is {other:?}; it must be a number of 0 or more")),
        }
    }
}

impl CustomOperator for SoftShrink {
    fn name(&self) -> &str {
        "com.example::SoftShrink"
    }

    fn infer(&self, attributes: &Attributes, operands: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        SoftShrink::lambd(attributes)?;
        match operands {
            [x] => Ok(vec![(*x).clone()]),
            _ => Err("it takes one operand".into()),
        }
    }

    fn evaluate(&self, attributes: &Attributes, operands: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let lambd = SoftShrink::lambd(attributes)?;
        let [x] = operands else { return Err("it takes one operand".into()) };
        let shrink = |x: &f32| (x - lambd).max(0.0) - (-x - lambd).max(0.0);
        let elements = x.as_f32().ok_or("it takes f32")?.iter().map(shrink).collect();
        Ok(vec![Tensor::from_f32(x.shape().to_vec(), elements).map_err(|e| e.to_string())?])
    }

    /// `relu(x - lambd) - relu(-x - lambd)`
    fn decompose(
        &self,
        attributes: &Attributes,
        operands: &[ValueId],
        rw: &mut Rewriter<'_>,
    ) -> Option<Vec<ValueId>> {
        let lambd = rw.constant(Tensor::scalar(SoftShrink::lambd(attributes).ok()?), "lambd");
        let x = *operands.first()?;
        let negative = rw.insert(Op::Unary(Unary::Neg), &[x], "soft_shrink").ok()?;
        let side = |x: ValueId, rw: &mut Rewriter<'_>| {
            let shifted = rw.insert(Op::Binary(Binary::Sub), &[x, lambd], "soft_shrink").ok()?;
            rw.insert(Op::Unary(Unary::Relu), &[shifted], "soft_shrink").ok()
        };
        let (above, below) = (side(x, rw)?, side(negative, rw)?);
        Some(vec![rw.insert(Op::Binary(Binary::Sub), &[above, below], "soft_shrink").ok()?])
    }
}

/// The channels (axis 1) in the opposite order.
#[derive(Clone, Copy, Debug)]
pub struct ReverseChannels;

/// Reverses the channels of row-major elements of this shape.
pub fn reverse_channels(x: &[f32], shape: &[usize], y: &mut [f32]) {
    let &[_, channels, ref inner @ ..] = shape else { return y.copy_from_slice(x) };
    let plane: usize = inner.iter().product();
    for (from, to) in x.chunks(channels * plane).zip(y.chunks_mut(channels * plane)) {
        let planes = from.chunks(plane).rev().zip(to.chunks_mut(plane));
        planes.for_each(|(from, to)| to.copy_from_slice(from));
    }
}

impl CustomOperator for ReverseChannels {
    fn name(&self) -> &str {
        "com.example::ReverseChannels"
    }

    fn infer(&self, _: &Attributes, operands: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        match operands {
            [x] if x.rank() >= 2 => Ok(vec![(*x).clone()]),
            _ => Err("it takes one operand of rank 2 or more".into()),
        }
    }

    fn evaluate(&self, _: &Attributes, operands: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x] = operands else { return Err("it takes one operand".into()) };
        let mut y = vec![0.0; x.len()];
        reverse_channels(x.as_f32().ok_or("it takes f32")?, x.shape(), &mut y);
        Ok(vec![Tensor::from_f32(x.shape().to_vec(), y).map_err(|e| e.to_string())?])
    }
}

/// Rules for the e-graph about [`ReverseChannels`]; whoever compiles with them registers the operator.
pub const RULES: &str = include_str!("../channels.rules");

/// Both operators, as an importer wants them.
pub fn registry() -> CustomRegistry {
    let mut registry = CustomRegistry::default();
    registry.register(Arc::new(SoftShrink));
    registry.register(Arc::new(ReverseChannels));
    registry
}
