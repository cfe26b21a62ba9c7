//! `flip_signs`: makes the scales behind ternary products positive.
//!
//! **Exact** for finite inputs. Where a scale is negative, the channel's row of T changes sign and the scale with it. Where it is
//! 0, the channel is a constant: its row of T becomes zeros and the scale 1 (so an infinite input no longer makes it NaN). Then
//! every scale is positive, and may later move through relu and pools. Scales that have all become 1 vanish.
//!
//! Left alone, with a remark: a product whose result something else reads as well, if its scale is not positive.

use crate::walk;
use twnc_ir::{
    Binary, Changed, Graph, Layer, NodeId, Op, Pass, PassContext, PassError, PerChannel, Rewriter, Topic,
    TypeError, ValueId,
};

/// The pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlipSigns;

impl Pass for FlipSigns {
    fn name(&self) -> &str {
        "flip_signs"
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Changed, PassError> {
        let mut rewriter = Rewriter::new(graph);
        for id in walk::order(rewriter.graph())? {
            let Some((layer, scale)) = scaled_product(rewriter.graph(), id) else { continue };
            if !scale.values.iter().any(|&s| s <= 0.0) {
                continue;
            }
            let result = rewriter.graph().node(id).results[0];
            if rewriter.graph().only_user(layer.result).is_none() {
                cx.missed(
                    Topic::Folding,
                    &layer.name,
                    "keeps the signs of its scale: its result is also read without it",
                );
                continue;
            }
            flip(&mut rewriter, &layer, &scale, result).map_err(PassError::at(&layer.name))?;
        }
        rewriter.remove_dead("a row of its weight changed sign");
        Ok(rewriter.finish())
    }
}

/// A `mul` of a ternary product by a constant along its channels.
fn scaled_product(graph: &Graph, id: NodeId) -> Option<(Layer, PerChannel)> {
    let node = graph.node(id);
    let (Op::Binary(Binary::Mul), &[a, b]) = (&node.op, node.operands.as_slice()) else { return None };
    let (product, scale) = if graph.constant(a).is_some() { (b, a) } else { (a, b) };
    let layer = Layer::at(graph, graph.definer(product)?.0)?.ok()?;
    let scale = PerChannel::of(graph, scale, graph.ty(product))?;
    let along_channels = scale.axis.is_none_or(|axis| axis == layer.channel_axis);
    (along_channels && layer.ternary(graph).is_some()).then_some((layer, scale))
}

fn flip(
    rewriter: &mut Rewriter<'_>,
    layer: &Layer,
    scale: &PerChannel,
    result: ValueId,
) -> Result<(), TypeError> {
    let Some(trits) = layer.ternary(rewriter.graph()) else { return Ok(()) };
    let sign = |i: usize| match scale.values[if scale.axis.is_none() { 0 } else { layer.channel_of(i) }] {
        s if s < 0.0 => -1,
        s if s > 0.0 => 1,
        _ => 0,
    };
    let flipped: Vec<i8> = trits.iter().enumerate().map(|(i, t)| t * sign(i)).collect();
    let positive: Vec<f32> = scale.values.iter().map(|&s| if s == 0.0 { 1.0 } else { s.abs() }).collect();
    let weight = rewriter.constant(layer.ternary_tensor(flipped), &layer.weight_name);
    let scaled = if positive.iter().all(|&s| s == 1.0) {
        layer.insert(rewriter, weight)?
    } else {
        layer.insert_scaled(rewriter, weight, positive)?
    };
    rewriter.replace(result, scaled, "its scales are positive")
}
