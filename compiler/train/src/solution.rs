//! A layer that has been repaired: planes of trits with their scales, or a weight that stays float; and a bias.
//!
//! One plane has a scale for the layer, for each output channel, or for each [part](twnc_ir::parts) of an output channel. Two planes are a
//! residual: `α1·T1 + α2·T2`, 3.2 bits a weight, and the layer is the sum of two ternary products.

use crate::assign::{self, Channel};
use crate::moments::Moments;
use crate::parallel;
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use twnc_ir::{Binary, Graph, Layer, Op, PerChannel, Rewriter, Tensor, TypeError, ValueId, parts};
use twnc_passes::Scale;
use twnc_passes::ternarise::Rounding;

/// What a layer is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// One ternary plane.
    Scaled(Scale),
    /// The sum of two ternary planes, each with a scale for each output channel.
    Planes,
    /// The weight that it has.
    Float,
}

/// A layer, repaired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Solution {
    /// One or more, whose sum is the layer; none where it stays float.
    pub planes: Vec<Plane>,
    /// The weight by output channel, where it stays float.
    pub float: Option<Vec<Vec<f32>>>,
    /// One number for each channel, if there is something to add.
    pub bias: Option<Vec<f32>>,
}

/// Trits with their scales.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plane {
    /// T, by output channel.
    pub rows: Vec<Vec<i8>>,
    /// One scale; or one for each channel of part 0, then of part 1, and so on.
    pub scales: Vec<f32>,
    /// Into how many parts input channels are divided.
    pub parts: usize,
}

/// How a form is solved for a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Freedom {
    /// Whether all channels have one scale.
    pub shared: bool,
    pub planes: usize,
    pub parts: usize,
}

impl Form {
    /// What there is to choose in this form; `None` where the layer stays as it is.
    pub(crate) fn freedom(self, graph: &Graph, layer: &Layer) -> Option<Freedom> {
        let one = Freedom { shared: false, planes: 1, parts: 1 };
        Some(match self {
            Form::Scaled(Scale::Layer) => Freedom { shared: true, ..one },
            Form::Scaled(Scale::Channel) => one,
            Form::Scaled(Scale::Group(most)) => Freedom { parts: parts::count(graph, layer, most), ..one },
            Form::Planes => Freedom { planes: 2, ..one },
            Form::Float => return None,
        })
    }

    /// In a word or two.
    pub fn word(self) -> String {
        match self {
            Form::Scaled(Scale::Layer) => "layer".to_owned(),
            Form::Scaled(Scale::Channel) => "channel".to_owned(),
            Form::Scaled(Scale::Group(size)) => format!("group:{size}"),
            Form::Planes => "two planes".to_owned(),
            Form::Float => "float".to_owned(),
        }
    }
}

impl Plane {
    /// Of a rounded weight, whose rows are in the order of its parts.
    pub(crate) fn of(layer: &Layer, rounding: Rounding) -> Plane {
        let Rounding { rows, scales, parts, .. } = rounding;
        let row = |channel: usize| {
            (0..parts).flat_map(|part| rows[part * layer.channels + channel].clone()).collect()
        };
        Plane { rows: (0..layer.channels).map(row).collect(), scales, parts }
    }

    /// The number of the scale of an element of a channel.
    pub(crate) fn scale_of(&self, channel: usize, element: usize) -> usize {
        match self.scales.len() {
            1 => 0,
            _ => {
                let len = self.rows[channel].len() / self.parts.max(1);
                element / len.max(1) * self.rows.len() + channel
            }
        }
    }

    /// `αT` of an element.
    fn weight(&self, channel: usize, element: usize) -> f32 {
        self.scales[self.scale_of(channel, element)] * f32::from(self.rows[channel][element])
    }

    fn insert(&self, rewriter: &mut Rewriter<'_>, layer: &Layer) -> Result<ValueId, TypeError> {
        if self.parts > 1 {
            let rows = parts::rows(layer, &layer.of_rows(&self.rows), self.parts);
            return parts::insert(rewriter, layer, self.parts, &rows, self.scales.clone());
        }
        let trits = rewriter.constant(layer.ternary_of_rows(&self.rows), &layer.weight_name);
        layer.insert_scaled(rewriter, trits, self.scales.clone())
    }
}

impl Solution {
    /// A plane alone.
    pub(crate) fn plane(plane: Plane) -> Solution {
        Solution { planes: vec![plane], float: None, bias: None }
    }

    /// Of a weight that stays float, by output channel, with the biases that are best for it.
    pub(crate) fn float(rows: Vec<Vec<f32>>, sums: &[Moments]) -> Solution {
        let solution = Solution { planes: vec![], float: Some(rows), bias: None };
        Solution { bias: Some(solution.biases(sums)), ..solution }
    }

    /// Of channels, with the biases that are best for them.
    pub(crate) fn of(channels: Vec<Channel>, sums: &[Moments], freedom: Freedom) -> Solution {
        let plane = |plane: usize| {
            let scale = |part: usize, channel: &Channel| channel.scales[plane * freedom.parts + part] as f32;
            let mut scales: Vec<f32> = (0..freedom.parts)
                .flat_map(|part| channels.iter().map(move |channel| scale(part, channel)))
                .collect();
            if freedom.shared {
                scales.truncate(1);
            }
            let rows = channels.iter().map(|channel| channel.planes[plane].clone()).collect();
            Plane { rows, scales, parts: freedom.parts }
        };
        let planes: Vec<Plane> = (0..freedom.planes).map(plane).collect();
        let solution = Solution { planes, float: None, bias: None };
        Solution { bias: Some(solution.biases(sums)), ..solution }
    }

    /// The biases that are best for the weight.
    fn biases(&self, sums: &[Moments]) -> Vec<f32> {
        let (fan_in, outputs) = (self.fan_in(), (self.count() / sums.len().max(1)).max(1));
        let bias = |channel: usize| {
            let weight = (0..fan_in).map(|k| f64::from(self.element(channel, k)));
            assign::bias(&sums[channel / outputs], channel % outputs, weight) as f32
        };
        (0..self.count()).map(bias).collect()
    }

    /// How it was solved.
    pub(crate) fn freedom(&self) -> Option<Freedom> {
        let plane = self.planes.first()?;
        Some(Freedom { shared: plane.scales.len() == 1, planes: self.planes.len(), parts: plane.parts })
    }

    /// Whether it is one of a layer, with this freedom.
    pub(crate) fn fits(&self, layer: &Layer, freedom: Option<Freedom>) -> bool {
        let finite = |numbers: &[f32]| numbers.iter().all(|x| x.is_finite());
        fn are_rows<T>(rows: &[Vec<T>], layer: &Layer) -> bool {
            rows.len() == layer.channels && rows.iter().all(|row| row.len() == layer.fan_in)
        }
        let plane = |plane: &Plane, freedom: Freedom| {
            let scales = if freedom.shared { 1 } else { layer.channels * freedom.parts };
            are_rows(&plane.rows, layer)
                && plane.rows.iter().flatten().all(|t| (-1..=1).contains(t))
                && (plane.scales.len(), plane.parts) == (scales, freedom.parts)
                && finite(&plane.scales)
        };
        let weight = match (freedom, &self.float) {
            (Some(freedom), None) => {
                self.planes.len() == freedom.planes && self.planes.iter().all(|p| plane(p, freedom))
            }
            (None, Some(float)) => {
                self.planes.is_empty() && are_rows(float, layer) && float.iter().all(|row| finite(row))
            }
            _ => false,
        };
        weight && self.bias.as_ref().is_none_or(|bias| bias.len() == layer.channels && finite(bias))
    }

    /// Output channels.
    fn count(&self) -> usize {
        let planes = self.planes.first().map(|plane| plane.rows.len());
        planes.or(self.float.as_ref().map(Vec::len)).unwrap_or(0)
    }

    fn fan_in(&self) -> usize {
        let trits = self.planes.first().and_then(|plane| plane.rows.first()).map(Vec::len);
        let float = || self.float.as_ref().and_then(|rows| rows.first()).map(Vec::len);
        trits.or_else(float).unwrap_or(0)
    }

    /// What a weight is.
    fn element(&self, channel: usize, element: usize) -> f32 {
        match &self.float {
            Some(rows) => rows[channel][element],
            None => self.planes.iter().map(|plane| plane.weight(channel, element)).sum(),
        }
    }

    /// The weight and the bias of a channel.
    pub(crate) fn row(&self, channel: usize) -> (Vec<f64>, f64) {
        let weight = (0..self.fan_in()).map(|k| f64::from(self.element(channel, k))).collect();
        (weight, self.bias.as_ref().map_or(0.0, |bias| f64::from(bias[channel])))
    }

    /// Some channels.
    pub(crate) fn channels(&self, range: Range<usize>) -> Vec<Channel> {
        let of = |channel: usize| Channel {
            planes: self.planes.iter().map(|plane| plane.rows[channel].clone()).collect(),
            scales: self
                .planes
                .iter()
                .flat_map(|plane| {
                    let len = plane.rows[channel].len() / plane.parts.max(1);
                    (0..plane.parts)
                        .map(move |part| f64::from(plane.scales[plane.scale_of(channel, part * len)]))
                })
                .collect(),
        };
        range.map(of).collect()
    }

    /// What the layer computes of rows of X of each group.
    pub(crate) fn results(&self, x: &[Array2<f32>]) -> Array2<f32> {
        let all = self.count();
        let (count, outputs) = (x.first().map_or(0, Array2::nrows), all / x.len().max(1));
        let group = |i: usize, x: &Array2<f32>| {
            let weight =
                Array2::from_shape_fn((x.ncols(), outputs), |(k, j)| self.element(i * outputs + j, k));
            x.dot(&weight)
        };
        let products = parallel::map(x.iter().collect(), group);
        Array2::from_shape_fn((count, all), |(row, channel)| {
            products[channel / outputs][[row, channel % outputs]]
                + self.bias.as_ref().map_or(0.0, |bias| bias[channel])
        })
    }

    /// The weight, as the layer's lies.
    pub(crate) fn weight(&self, layer: &Layer) -> Vec<f32> {
        let row = |channel: usize| (0..layer.fan_in).map(|k| self.element(channel, k)).collect();
        layer.of_rows(&(0..layer.channels).map(row).collect::<Vec<Vec<f32>>>())
    }

    /// The share of trits that are zero.
    pub(crate) fn zeros(&self) -> f64 {
        let trits = || self.planes.iter().flat_map(|plane| plane.rows.iter().flatten());
        trits().filter(|t| **t == 0).count() as f64 / trits().count().max(1) as f64
    }

    /// Puts itself in the place of a layer.
    pub(crate) fn replace(&self, rewriter: &mut Rewriter<'_>, layer: &Layer) -> Result<(), TypeError> {
        let mut sum: Option<ValueId> = None;
        if self.float.is_some() {
            let weight = rewriter.constant(layer.float_tensor(self.weight(layer)), &layer.weight_name);
            sum = Some(layer.insert(rewriter, weight)?);
        }
        for plane in &self.planes {
            let value = plane.insert(rewriter, layer)?;
            sum = Some(match sum {
                Some(sum) => rewriter.insert(Op::Binary(Binary::Add), &[sum, value], &layer.name)?,
                None => value,
            });
        }
        let Some(mut value) = sum else { return Ok(()) };
        if let Some(bias) = &self.bias {
            let bias = rewriter
                .constant(bias_tensor(layer, bias, rewriter.graph().ty(value).rank()), &bias_name(layer));
            value = rewriter.insert(Op::Binary(Binary::Add), &[value, bias], &layer.name)?;
        }
        let why = if self.float.is_some() { "it is repaired" } else { "it is made ternary, and repaired" };
        rewriter.replace(layer.result, value, why)
    }
}

/// A bias as it is added to a layer's result of so many axes.
pub(crate) fn bias_tensor(layer: &Layer, bias: &[f32], rank: usize) -> Tensor {
    let axis = (bias.len() != 1).then_some(layer.channel_axis);
    PerChannel::tensor(axis, bias.to_vec(), rank)
}

fn bias_name(layer: &Layer) -> String {
    if layer.weight_name.is_empty() { String::new() } else { format!("{}.bias", layer.weight_name) }
}
