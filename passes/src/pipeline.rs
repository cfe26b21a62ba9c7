//! The default pipeline: what runs on every network, in which order, and why.

use crate::options::{Activations, Options, OptionsError};
use crate::{
    DeadCode, DecomposeCustom, DetectTernary, DropLogitsScale, FixPoint, FlipSigns, FoldConstants,
    FoldScales, Saturate, Simplify, SinkTransposes, SubPixel, Ternarise,
};
use twnc_ir::{CustomRegistry, Pipeline};

/// The pipeline for some options.
///
/// ```
/// let pipeline = twnc_passes::default_pipeline(&twnc_passes::Options::default())?;
/// assert_eq!(pipeline.entries()[0].pass.name(), "dead_code");
/// # Ok::<(), twnc_passes::OptionsError>(())
/// ```
pub fn default_pipeline(options: &Options) -> Result<Pipeline, OptionsError> {
    pipeline_with(options, &CustomRegistry::default())
}

/// The pipeline for some options whose rules may use these custom operators.
pub fn pipeline_with(options: &Options, registry: &CustomRegistry) -> Result<Pipeline, OptionsError> {
    let mut list = Pipeline::new();
    list.push(DeadCode, "First, so that no later pass holds back for a reader that no output needs.")?;
    list.push(DecomposeCustom, "Early, so that every other pass sees an extension's mathematics.")?;
    list.push(FoldConstants, "Weights behind a transpose, a reshape or a dequantisation become constants.")?;
    list.push(SinkTransposes, "Layers with channels last then have their batch norm right behind them.")?;
    list.push(Simplify, "Products stand next to their scales once nothing that does nothing is between.")?;
    list.push(DetectTernary::new(options)?, "Before any number is folded into a weight that is ternary.")?;
    list.push(Ternarise::new(options)?, "Before batch norm is folded, which would change what is rounded.")?;
    list.push(FoldScales, "Scales and batch norms behind a product become one scale and one bias.")?;
    list.push(FlipSigns, "Signs of scales are known once batch norm is folded; positive ones can move on.")?;
    list.push(
        SubPixel,
        "Weights, scales and biases are what they will be, and move with the phases; before sums of whole numbers, which may be of fewer.",
    )?;
    if options.activations == Activations::Int {
        list.push(
            FixPoint::new(options)?,
            "With --activations int, before costs are weighed: a sum of whole numbers needs a scale of its own.",
        )?;
    }
    list.push(
        Saturate::new(options, registry)?,
        "Behind all others: scales move on and sums become one where that costs less, once all is in the form that lowering joins.",
    )?;
    if options.logits_scale_free {
        list.push(
            DropLogitsScale,
            "With --logits-scale-free: what has moved to the outputs is left out where their order does not need it.",
        )?;
    }
    Ok(list)
}
