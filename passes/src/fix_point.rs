//! `fix_point`: lets ternary layers sum whole numbers.
//!
//! **Approximate**, as `ternarise` is. A ternary `conv` or `matmul` of x becomes one of `quantize(x)`, whose sums are exact:
//!
//! ```text
//! q, s = quantize(x)      whole numbers, with one scale for each sample
//! p = conv(q, T)          i32, exact
//! c = cast(p)             f32
//! y = mul(c, f)           f = mul(s, α), where a mul by α alone read the product; else f = s
//! ```
//!
//! What follows (bias, residual, activation) stays. All layers that read x share its `quantize`. It is unsigned where x holds no negative
//! number (`non_negative`), and then one bit finer. It stands last: scales and signs must be where they stay.
//!
//! Left float, with a remark: a layer whose weight is not ternary, one whose sums could be beyond 32 bits, and a convolution in groups that uses
//! each number of its input so rarely, as depthwise ones do, that rounding it would cost more than its sums gain. The error of a number is at
//! most half a step of its sample's scale; of a sum it is measured, not bounded (`twnc compare`).

use crate::non_negative;
use crate::options::{Options, OptionsError};
use crate::walk;
use std::ops::RangeInclusive;
use twnc_ir::layer::most_summands;
use twnc_ir::{
    Binary, Changed, ElementType, Graph, Layer, NodeId, Op, Pass, PassContext, PassError, PerChannel,
    Quantize, Rewriter, Topic, TypeError, Use, ValueId, parts,
};

/// The numbers of bits that activations may have.
pub const BITS: RangeInclusive<usize> = 4..=12;

/// From how many uses of a number on it is rounded for a convolution in groups. Finding the scale and rounding are two passes over the input,
/// which cost about what 30 uses gain (measured; depthwise windows of 5x5 still lose).
const FEWEST_USES: usize = 32;

/// The pass.
#[derive(Clone, Copy, Debug)]
pub struct FixPoint {
    bits: usize,
}

impl FixPoint {
    /// The pass for some options.
    pub fn new(options: &Options) -> Result<FixPoint, OptionsError> {
        match BITS.contains(&options.activation_bits) {
            true => Ok(FixPoint { bits: options.activation_bits }),
            false => Err(OptionsError::ActivationBits(options.activation_bits)),
        }
    }
}

impl Pass for FixPoint {
    fn name(&self) -> &str {
        "fix_point"
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Changed, PassError> {
        let mut rewriter = Rewriter::new(graph);
        let order = walk::order(rewriter.graph())?;
        // This does not depend on any product, and so stays true when products are replaced.
        let non_negative = non_negative::values(rewriter.graph(), &order);
        for id in order {
            let graph = rewriter.graph();
            let Some(&input) = graph.node(id).operands.first() else { continue };
            if graph.ty(input).element != ElementType::F32 {
                continue;
            }
            let layer = match Layer::at(graph, id) {
                Some(Ok(layer)) => layer,
                Some(Err(reason)) => {
                    cx.missed(Topic::FixedPoint, &graph.node_name(id), format!("sums floats: {reason}"));
                    continue;
                }
                None => continue,
            };
            let signed = !non_negative.contains(&input);
            let quantize = Quantize { bits: self.bits, signed, scale: None };
            if let Err(reason) = fits(graph, &layer, &quantize) {
                cx.missed(Topic::FixedPoint, &layer.name, format!("sums floats: {reason}"));
                continue;
            }
            rewrite(&mut rewriter, &layer, quantize).map_err(PassError::at(&layer.name))?;
            let sign = if signed { "signed" } else { "unsigned" };
            cx.applied(Topic::FixedPoint, &layer.name, format!("sums {sign} numbers of {} bits", self.bits));
        }
        rewriter.remove_dead("a sum of whole numbers stands in its place");
        Ok(rewriter.finish())
    }
}

/// By how many weights a convolution in groups multiplies each number of its input, away from the borders; `None` for any other layer.
fn uses(graph: &Graph, layer: &Layer) -> Option<usize> {
    let Op::Conv(conv) = &graph.node(layer.node).op else { return None };
    let &channels = graph.constant(layer.weight)?.shape().get(1).filter(|_| conv.groups > 1)?;
    let moved: usize = conv.geometry.strides.iter().product();
    Some(layer.channels * layer.fan_in / (channels * conv.groups).max(1) / moved.max(1))
}

/// Whether a layer can sum whole numbers; if not, why.
fn fits(graph: &Graph, layer: &Layer, quantize: &Quantize) -> Result<(), String> {
    let weight = graph.constant(layer.weight).filter(|weight| weight.as_ternary().is_some());
    let Some(weight) = weight else { return Err("its weight is not ternary".to_owned()) };
    if uses(graph, layer).is_some_and(|uses| uses < FEWEST_USES) {
        return Err("few of its weights read each number, and rounding it would cost more".to_owned());
    }
    let summands = most_summands(&graph.node(layer.node).op, weight);
    let largest = summands as u64 * u64::from(quantize.range().1.unsigned_abs());
    if largest > i32::MAX as u64 {
        return Err(format!("its sums could reach {largest}, beyond 32 bits"));
    }
    Ok(())
}

fn rewrite(rewriter: &mut Rewriter<'_>, layer: &Layer, quantize: Quantize) -> Result<(), TypeError> {
    let node = rewriter.graph().node(layer.node).clone();
    let (input, name) = (node.operands[0], node.name.as_str());
    let (numbers, scale) = quantized(rewriter, input, quantize, name)?;
    let sum = rewriter.insert(node.op, &[numbers, layer.weight], name)?;
    let sum = rewriter.insert(Op::Cast { to: ElementType::F32 }, &[sum], name)?;
    let mul = Op::Binary(Binary::Mul);
    let (replaced, factor) = match scaled(rewriter.graph(), layer) {
        Some((scaled, alpha)) => (scaled, rewriter.insert(mul.clone(), &[scale, alpha], name)?),
        None => (layer.result, scale),
    };
    let result = rewriter.insert(mul, &[sum, factor], name)?;
    rewriter.replace(replaced, result, "it sums whole numbers")
}

/// The results of a `quantize` of a value: of the one that reads it already, if there is one.
fn quantized(
    rewriter: &mut Rewriter<'_>,
    value: ValueId,
    quantize: Quantize,
    name: &str,
) -> Result<(ValueId, ValueId), TypeError> {
    let graph = rewriter.graph();
    let op = Op::Quantize(quantize);
    let readers = graph.value(value).uses.iter().filter_map(|site| match site {
        Use::Operand(node, _) => Some(graph.node(*node)),
        Use::Output(_) => None,
    });
    let existing = readers.filter(|node| node.op == op).find_map(|node| match node.results.as_slice() {
        &[numbers, scale] => Some((numbers, scale)),
        _ => None,
    });
    if let Some(existing) = existing {
        return Ok(existing);
    }
    let results = rewriter.insert_all(op, &[value], name)?;
    Ok((results[0], results[1]))
}

/// The result of the `mul` that alone reads a layer's product, and the constant by which it multiplies: one number, or one for each channel, of a matrix
/// product in parts for each part.
fn scaled(graph: &Graph, layer: &Layer) -> Option<(ValueId, ValueId)> {
    let (id, operand): (NodeId, usize) = graph.only_user(layer.result)?;
    let node = graph.node(id);
    let (Op::Binary(Binary::Mul), [a, b]) = (&node.op, node.operands.as_slice()) else { return None };
    let alpha = if operand == 0 { *b } else { *a };
    let scale = PerChannel::of(graph, alpha, graph.ty(layer.result));
    let along_channels = scale.is_some_and(|scale| scale.axis.is_none_or(|axis| axis == layer.channel_axis));
    let of_parts = graph.constant(alpha).is_some()
        && parts::is_scale(&graph.node(layer.node).op, graph.ty(layer.weight), graph.ty(alpha));
    (along_channels || of_parts).then(|| (node.results[0], alpha))
}
