//! `detect_ternary`: takes over weights that are ternary already.
//!
//! **Exact** to the tolerance: a float weight that is α·{-1,0,1} with one α per layer, per output channel or per equal group of an output channel's weights, within 1e-6
//! relative, becomes a ternary constant and a `mul` by α behind the product; one that is {-Wn,0,+Wp} (trained ternary
//! quantisation) becomes the sum of two such pairs, one with the positive and one with the negative weights. It stands before
//! anything folds into weights. A zero weight contributes nothing, also where its input is NaN or infinite.
//!
//! A fixed filter (a channel swap, a blur, an edge detector) and a channel with few weights are of this form by chance. So a
//! layer must hold both signs, at least [`FEWEST_WEIGHTS`] weights, and on average [`FEWEST_PER_SCALE`] non-zero weights for
//! each scale that is read off; one that fails stays as it is, with a remark. Layers that [`Options::keep`] names and, with
//! [`Mode::None`], all layers stay as they are, without one.

use crate::options::{Keep, Mode, Options, OptionsError};
use crate::walk;
use twnc_ir::{
    Binary, Changed, Graph, Layer, Op, Pass, PassContext, PassError, Rewriter, Topic, TypeError, ValueId,
    parts,
};

/// Fewer weights than this do not tell a ternary layer from a fixed filter.
pub const FEWEST_WEIGHTS: usize = 32;
/// A layer's scales must each stand for so many non-zero weights, on average.
pub const FEWEST_PER_SCALE: usize = 4;
/// Two magnitudes this close, relatively, are one.
const TOLERANCE: f64 = 1e-6;

/// The pass.
#[derive(Clone, Debug)]
pub struct DetectTernary {
    mode: Mode,
    keep: Keep,
}

/// A ternary weight with its scales: one, or one for each channel.
struct Plane {
    rows: Vec<Vec<i8>>,
    scales: Vec<f32>,
}

impl DetectTernary {
    /// The pass for some options.
    pub fn new(options: &Options) -> Result<DetectTernary, OptionsError> {
        Ok(DetectTernary { mode: options.ternarise, keep: Keep::new(&options.keep)? })
    }
}

impl Pass for DetectTernary {
    fn name(&self) -> &str {
        "detect_ternary"
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Changed, PassError> {
        let mut rewriter = Rewriter::new(graph);
        let order = if self.mode == Mode::None { vec![] } else { walk::order(rewriter.graph())? };
        let layers: Vec<Layer> =
            order.into_iter().filter_map(|id| Layer::at(rewriter.graph(), id)?.ok()).collect();
        let (kept, _) = self.keep.choose(rewriter.graph(), &layers);
        for layer in layers {
            let weight = match layer.float(rewriter.graph()) {
                Some(weight) if !kept.contains_key(&layer.node) => layer.rows(weight),
                _ => continue,
            };
            let whole = planes(&weight).map(|(planes, form)| (planes, 1, form.to_owned()));
            let found = whole.or_else(|| in_parts(rewriter.graph(), &layer, &weight));
            let Some((planes, parts, form)) = found else { continue };
            if let Err(reason) = evidence(&planes) {
                cx.missed(Topic::Detection, &layer.name, format!("not taken as ternary: {reason}"));
                continue;
            }
            let (count, selected) = (weight.iter().map(Vec::len).sum::<usize>(), selected(&planes).count());
            let share = 100.0 * (count - selected) as f64 / count as f64;
            take_over(&mut rewriter, &layer, planes, parts).map_err(PassError::at(&layer.name))?;
            cx.applied(
                Topic::Detection,
                &layer.name,
                format!("is ternary already: {form}, {share:.1}% zeros"),
            );
        }
        rewriter.remove_dead("a ternary weight stands in its place");
        Ok(rewriter.finish())
    }
}

/// Reads a weight as one ternary plane or two, in the form that needs the fewest scales.
fn planes(rows: &[Vec<f32>]) -> Option<(Vec<Plane>, &'static str)> {
    let whole = [rows.concat()];
    let side = |sign: f32, rows: &[Vec<f32>]| -> Vec<Vec<f32>> {
        let keep = |w: &f32| if *w * sign > 0.0 { *w } else { 0.0 };
        rows.iter().map(|row| row.iter().map(keep).collect()).collect()
    };
    let one = |groups: &[Vec<f32>]| Some(vec![plane(rows, groups)?]);
    let two = |groups: &[Vec<f32>]| {
        let (positive, negative) = (side(1.0, groups), side(-1.0, groups));
        Some(vec![plane(&side(1.0, rows), &positive)?, plane(&side(-1.0, rows), &negative)?])
    };
    if rows.iter().flatten().any(|w| !w.is_finite()) {
        return None;
    }
    let named = |form| move |planes| (planes, form);
    one(&whole)
        .map(named("one scale"))
        .or_else(|| one(rows).map(named("a scale per channel")))
        .or_else(|| two(&whole).map(named("two scales, one for each sign")))
        .or_else(|| two(rows).map(named("two scales per channel, one for each sign")))
}

/// Reads a weight, by output channel, as one ternary plane with a scale for each part of each channel, of as few parts as there can be.
fn in_parts(graph: &Graph, layer: &Layer, rows: &[Vec<f32>]) -> Option<(Vec<Plane>, usize, String)> {
    let weight = layer.float(graph).filter(|weight| weight.iter().all(|w| w.is_finite()))?;
    let mut most = layer.fan_in - 1;
    while most >= FEWEST_PER_SCALE {
        let parts = parts::count(graph, layer, most);
        let size = layer.fan_in / parts;
        if parts == 1 || size > most {
            return None;
        }
        if rows.iter().all(|row| row.chunks(size).all(|part| common_magnitude(part).is_some())) {
            let rows = parts::rows(layer, weight, parts);
            let plane = plane(&rows, &rows)?;
            return Some((vec![plane], parts, format!("a scale for each {size} weights of a channel")));
        }
        most = size - 1;
    }
    None
}

/// The weight `rows` as a plane whose scales are those of `groups`: the rows themselves, or all of them as one.
fn plane(rows: &[Vec<f32>], groups: &[Vec<f32>]) -> Option<Plane> {
    let scales: Vec<f32> = groups.iter().map(|group| common_magnitude(group)).collect::<Option<_>>()?;
    let trits = |(i, row): (usize, &Vec<f32>)| {
        let scale = f64::from(scales[i.min(scales.len() - 1)]);
        row.iter().map(|&w| (f64::from(w) / scale).round() as i8).collect()
    };
    Some(Plane { rows: rows.iter().enumerate().map(trits).collect(), scales })
}

/// The magnitude that all non-zero weights share: their mean; 1 where all are zero.
fn common_magnitude(weights: &[f32]) -> Option<f32> {
    let largest = weights.iter().map(|w| f64::from(w.abs())).fold(0.0, f64::max);
    let selected = || weights.iter().map(|w| f64::from(w.abs())).filter(|&w| w > TOLERANCE * largest);
    if selected().any(|w| largest - w > TOLERANCE * largest) {
        return None;
    }
    let count = selected().count();
    Some(if count == 0 { 1.0 } else { (selected().sum::<f64>() / count as f64) as f32 })
}

/// The trits that are not zero. Each weight is in one plane alone.
fn selected(planes: &[Plane]) -> impl Iterator<Item = i8> + '_ {
    planes.iter().flat_map(|plane| plane.rows.iter().flatten().copied()).filter(|&t| t != 0)
}

/// Whether there are enough weights to believe that a layer is ternary by design.
fn evidence(planes: &[Plane]) -> Result<(), String> {
    let count: usize = planes.iter().take(1).flat_map(|plane| &plane.rows).map(Vec::len).sum();
    let nonzero = selected(planes).count();
    let scales: usize = planes.iter().map(|plane| plane.scales.len()).sum();
    if count < FEWEST_WEIGHTS {
        Err(format!("{count} weights do not tell a ternary layer from a fixed filter"))
    } else if nonzero < FEWEST_PER_SCALE * scales {
        Err(format!("{nonzero} non-zero weights are too few to read {scales} scales off them"))
    } else if !(selected(planes).any(|t| t > 0) && selected(planes).any(|t| t < 0)) {
        Err("all its weights have one sign, as a fixed filter's".to_owned())
    } else {
        Ok(())
    }
}

/// Puts the sum of the scaled planes in the place of a layer.
fn take_over(
    rewriter: &mut Rewriter<'_>,
    layer: &Layer,
    planes: Vec<Plane>,
    parts: usize,
) -> Result<(), TypeError> {
    let reason = "its weight is ternary already";
    if parts > 1 {
        let Some(Plane { rows, scales }) = planes.into_iter().next() else { return Ok(()) };
        let sum = parts::insert(rewriter, layer, parts, &rows, scales)?;
        return rewriter.replace(layer.result, sum, reason);
    }
    let mut total: Option<ValueId> = None;
    for plane in planes {
        let trits = rewriter.constant(layer.ternary_of_rows(&plane.rows), &layer.weight_name);
        let scaled = layer.insert_scaled(rewriter, trits, plane.scales)?;
        total = Some(match total {
            None => scaled,
            Some(sum) => rewriter.insert(Op::Binary(Binary::Add), &[sum, scaled], &layer.name)?,
        });
    }
    match total {
        Some(total) => rewriter.replace(layer.result, total, reason),
        None => Ok(()),
    }
}
