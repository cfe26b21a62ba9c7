//! `ternarise`: rounds the float weights of convolutions and linear layers to ternary.
//!
//! **Approximate**, as `fix_point` is, and `repair`, which stands in its place where there are samples. The weight W of a layer becomes a ternary constant T and a `mul` by α
//! behind the product, by the rule of [`threshold`](mod@crate::threshold) that the options choose, with one α per layer, per
//! output channel or per group of an output channel's weights. It stands before scales are folded: with one α per layer, folding a batch norm into W first gives
//! another T. A weight that several layers share gives each the same T and α.
//!
//! Every layer leaves a remark: what was rounded, with the share of zeros and the relative squared error `‖W - αT‖²/‖W‖²`;
//! what was kept float, and why. It is a warning where one α fits the channels of a layer badly (as after batch norm was folded
//! into it by an exporter), and where a [`keep`](Options::keep) pattern matches no layer. A weight with a NaN or an infinity
//! is refused.

use crate::options::{Keep, Mode, Options, OptionsError, Scale, Threshold};
use crate::threshold::{self, Rounded};
use crate::walk;
use std::collections::HashMap;
use twnc_ir::{Changed, Graph, Layer, NodeId, Pass, PassContext, PassError, Rewriter, Topic, ValueId, parts};

/// One scale per layer fits badly if its error is so many times that of one per channel. For Gaussian weights of one spread and
/// 3x3 depthwise kernels, the smallest rows that are common, it is just below.
const BAD_FIT: f64 = 1.5;

/// The pass.
#[derive(Clone, Debug)]
pub struct Ternarise {
    mode: Mode,
    keep: Keep,
    threshold: Threshold,
    scale: Scale,
}

/// A weight that was rounded.
#[derive(Clone, Debug)]
pub struct Rounding {
    /// T, by output channel; in parts as [`parts::rows`] has them.
    pub rows: Vec<Vec<i8>>,
    /// One scale, or one for each row.
    pub scales: Vec<f32>,
    /// Into how many parts input channels are divided.
    pub parts: usize,
    /// `‖W - αT‖²/‖W‖²`
    pub error: f64,
    /// What it would be with one scale for each channel, where there is one for all.
    pub error_by_channel: Option<f64>,
}

impl Ternarise {
    /// The pass for some options.
    pub fn new(options: &Options) -> Result<Ternarise, OptionsError> {
        let keep = Keep::new(&options.keep)?;
        if let Scale::Group(0) = options.scale {
            return Err(OptionsError::Group(0));
        }
        Ok(Ternarise { mode: options.ternarise, keep, threshold: options.threshold, scale: options.scale })
    }

    /// Why a layer stays float, if it does, by the pattern that it matches. `already` is the share of the network's weights that are ternary.
    fn reason_to_keep(&self, pattern: Option<&&str>, already: f64) -> Option<String> {
        if let Some(pattern) = pattern {
            return Some(format!("`{pattern}` is to be kept"));
        }
        match self.mode {
            Mode::Detected => Some("its weight is not ternary already".to_owned()),
            Mode::Auto if already >= 0.5 => Some(format!(
                "{:.0}% of the network's weights are ternary already",
                (100.0 * already).floor()
            )),
            Mode::Auto | Mode::All | Mode::None => None,
        }
    }

    /// The layers of a graph that are to become ternary, in order, by the options' mode and patterns; remarks on the others.
    pub fn select(&self, graph: &Graph, cx: &mut PassContext<'_>) -> Result<Vec<Layer>, PassError> {
        if self.mode == Mode::None {
            return Ok(vec![]);
        }
        let order = walk::order(graph)?;
        let layers = layers(graph, &order, cx);
        let already = share_of_ternary_weights(graph, &layers);
        let (kept, unused) = self.keep.choose(graph, &layers);
        for pattern in unused {
            cx.warn(
                Topic::Rounding,
                pattern,
                "matches no convolution or linear layer that could be kept float",
            );
        }
        let mut selected = vec![];
        for layer in layers {
            if layer.float(graph).is_none() {
                continue;
            }
            match self.reason_to_keep(kept.get(&layer.node), already) {
                Some(reason) => cx.missed(Topic::Rounding, &layer.name, format!("kept float: {reason}")),
                None => selected.push(layer),
            }
        }
        Ok(selected)
    }

    /// Rounds the weight of a layer, by the options' threshold and scale. Refuses one that is not finite.
    pub fn round(&self, graph: &Graph, layer: &Layer, weight: &[f32]) -> Result<Rounding, PassError> {
        if let Some(i) = weight.iter().position(|w| !w.is_finite()) {
            let message = format!(
                "element {i} of its weight is {}; mend the network, or keep this layer float",
                weight[i]
            );
            return Err(PassError::Refused { node: layer.name.clone(), message });
        }
        let rule = match self.threshold {
            Threshold::Twn => threshold::twn,
            Threshold::Exact => threshold::exact,
        };
        let by_row = |parts: usize| {
            let rows = parts::rows(layer, weight, parts);
            let rounded: Vec<Rounded> = rows.iter().map(|row| rule(row)).collect();
            (relative_error(&rows, &rounded), rounded)
        };
        Ok(match self.scale {
            Scale::Channel | Scale::Group(_) => {
                let parts =
                    if let Scale::Group(most) = self.scale { parts::count(graph, layer, most) } else { 1 };
                let (error, rounded) = by_row(parts);
                let scales = rounded.iter().map(|r| r.alpha).collect();
                let rows = rounded.into_iter().map(|r| r.trits).collect();
                Rounding { rows, scales, parts, error, error_by_channel: None }
            }
            Scale::Layer => {
                let rounded = [rule(weight)];
                let error = relative_error(&[weight.to_vec()], &rounded);
                let [Rounded { alpha, trits, .. }] = rounded;
                let error_by_channel = Some(by_row(1).0);
                Rounding { rows: layer.rows(&trits), scales: vec![alpha], parts: 1, error, error_by_channel }
            }
        })
    }
}

impl Rounding {
    /// The share of T that is zero.
    pub fn zeros(&self) -> f64 {
        let zeros = self.rows.iter().flatten().filter(|t| **t == 0).count();
        zeros as f64 / self.rows.iter().map(Vec::len).sum::<usize>().max(1) as f64
    }
}

impl Pass for Ternarise {
    fn name(&self) -> &str {
        "ternarise"
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Changed, PassError> {
        let mut rewriter = Rewriter::new(graph);
        let layers = self.select(rewriter.graph(), cx)?;
        // The ternary constant, where there is one of the weight's shape, goes with them.
        let mut roundings: HashMap<ValueId, (Option<ValueId>, Rounding)> = HashMap::new();
        for layer in &layers {
            let (trits, rounding) = match roundings.remove(&layer.weight) {
                Some(known) => known,
                None => {
                    let Some(weight) = layer.float(rewriter.graph()) else { continue };
                    (None, self.round(rewriter.graph(), layer, weight)?)
                }
            };
            let at = PassError::at(&layer.name);
            let Rounding { rows, scales, parts, .. } = &rounding;
            let (scaled, trits) = if *parts > 1 {
                (parts::insert(&mut rewriter, layer, *parts, rows, scales.clone()).map_err(&at)?, None)
            } else {
                let new = |rewriter: &mut Rewriter<'_>| {
                    rewriter.constant(layer.ternary_of_rows(rows), &layer.weight_name)
                };
                let trits = trits.unwrap_or_else(|| new(&mut rewriter));
                (layer.insert_scaled(&mut rewriter, trits, scales.clone()).map_err(&at)?, Some(trits))
            };
            rewriter.replace(layer.result, scaled, "its weight is made ternary").map_err(&at)?;
            let (zeros, error) = (100.0 * rounding.zeros(), rounding.error);
            let divided = match rounding.parts {
                1 => String::new(),
                parts => format!(", {parts} scales for each channel, of {} weights", layer.fan_in / parts),
            };
            let remark =
                format!("made ternary: {zeros:.1}% zeros, relative squared error {error:.3}{divided}");
            cx.applied(Topic::Rounding, &layer.name, remark);
            if let Some(apart) = rounding.error_by_channel.filter(|apart| error > BAD_FIT * apart) {
                let warning =
                    format!("one scale fits its channels badly: with one for each, the error is {apart:.3}");
                cx.warn(Topic::Rounding, &layer.name, warning);
            }
            roundings.insert(layer.weight, (trits, rounding));
        }
        rewriter.remove_dead("a ternary weight stands in its place");
        Ok(rewriter.finish())
    }
}

/// `‖W - αT‖²/‖W‖²` over all groups.
fn relative_error(groups: &[Vec<f32>], rounded: &[Rounded]) -> f64 {
    let squares: f64 = groups.iter().flatten().map(|&w| f64::from(w).powi(2)).sum();
    let errors: f64 = groups.iter().zip(rounded).map(|(w, r)| threshold::squared_error(w, r)).sum();
    if squares > 0.0 { errors / squares } else { 0.0 }
}

/// The layers of a graph, in order; remarks on products that are none.
fn layers(graph: &Graph, order: &[NodeId], cx: &mut PassContext<'_>) -> Vec<Layer> {
    let mut layers = vec![];
    for &id in order {
        match Layer::at(graph, id) {
            Some(Ok(layer)) => layers.push(layer),
            Some(Err(reason)) => {
                cx.missed(Topic::Rounding, &graph.node_name(id), format!("kept float: {reason}"))
            }
            None => {}
        }
    }
    layers
}

/// The share of weights that are ternary. A layer of two planes counts with both.
fn share_of_ternary_weights(graph: &Graph, layers: &[Layer]) -> f64 {
    let ternary: usize = layers.iter().filter_map(|layer| layer.ternary(graph)).map(<[i8]>::len).sum();
    let float: usize = layers.iter().filter_map(|layer| layer.float(graph)).map(<[f32]>::len).sum();
    if ternary == 0 { 0.0 } else { ternary as f64 / (ternary as f64 + float as f64) }
}
