//! What a float weight is in the forward and backward of a step: ternary, binary, ternary with two scales, or itself.
//!
//! The gradient by what it is becomes the gradient by the float weight, straight through.

use twnc_ir::Layer;

/// How weights are rounded in every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Ternary Weight Networks: `α·T`, threshold 0.7·mean|W|.
    Twn,
    /// Binary weights: `mean|W|·sign(W)`.
    Bwn,
    /// Trained ternary quantisation: `{-Wn, 0, +Wp}`, threshold 0.05·max|W|, both scales trained.
    Ttq,
    /// Not at all.
    Float,
}

/// Parts of mean and largest magnitude at which weights become 0.
const THRESHOLD: f64 = 0.7;
const THRESHOLD_TTQ: f32 = 0.05;
/// The smallest scale that training may come to.
const LEAST: f32 = 1e-8;

/// A layer's weight in training.
#[derive(Clone, Debug)]
pub(crate) struct Rounded {
    pub method: Method,
    /// Which scale each weight has: a layer's only one, or its channel's.
    group: Vec<u32>,
    /// How many scales there are.
    groups: usize,
}

impl Rounded {
    pub fn new(method: Method, layer: &Layer, shared: bool) -> Rounded {
        let elements = layer.channels * layer.fan_in;
        let group = |i| if shared { 0 } else { layer.channel_of(i) as u32 };
        Rounded {
            method,
            group: (0..elements).map(group).collect(),
            groups: if shared { 1 } else { layer.channels },
        }
    }

    /// Whether a layer has one scale.
    pub fn is_shared(&self) -> bool {
        self.groups == 1
    }

    /// Scales that are trained themselves: those of negative weights, then those of positive ones, from those that fit the weights.
    pub fn initial_scales(&self, weights: &[f32]) -> Vec<f32> {
        if self.method != Method::Ttq {
            return vec![];
        }
        let thresholds = self.largest(weights).into_iter().map(|m| THRESHOLD_TTQ * m).collect::<Vec<_>>();
        let mut sums = vec![[0.0f64; 2]; 2 * self.groups];
        for (&w, &g) in weights.iter().zip(&self.group) {
            if w.abs() > thresholds[g as usize] {
                let sum = &mut sums[g as usize + if w > 0.0 { self.groups } else { 0 }];
                *sum = [sum[0] + f64::from(w.abs()), sum[1] + 1.0];
            }
        }
        sums.into_iter().map(|[sum, n]| if n > 0.0 { (sum / n) as f32 } else { LEAST }).collect()
    }

    /// Writes what the weights are in a step.
    pub fn weight(&self, weights: &[f32], scales: &[f32], into: &mut [f32]) {
        match self.method {
            Method::Float => into.copy_from_slice(weights),
            Method::Bwn => {
                let means = self.means(weights);
                for ((out, &w), &g) in into.iter_mut().zip(weights).zip(&self.group) {
                    let mean = means[g as usize] as f32;
                    *out = if w >= 0.0 { mean } else { -mean };
                }
            }
            Method::Twn => {
                let thresholds: Vec<f32> =
                    self.means(weights).iter().map(|m| (THRESHOLD * m) as f32).collect();
                let mut sums = vec![[0.0f64; 2]; self.groups];
                for (&w, &g) in weights.iter().zip(&self.group) {
                    if w.abs() > thresholds[g as usize] {
                        let sum = &mut sums[g as usize];
                        *sum = [sum[0] + f64::from(w.abs()), sum[1] + 1.0];
                    }
                }
                let scales: Vec<f32> =
                    sums.iter().map(|&[sum, n]| if n > 0.0 { (sum / n) as f32 } else { 0.0 }).collect();
                for ((out, &w), &g) in into.iter_mut().zip(weights).zip(&self.group) {
                    let (scale, threshold) = (scales[g as usize], thresholds[g as usize]);
                    *out = if w.abs() > threshold { scale.copysign(w) } else { 0.0 };
                }
            }
            Method::Ttq => {
                let largest = self.largest(weights);
                for ((out, &w), &g) in into.iter_mut().zip(weights).zip(&self.group) {
                    let (g, threshold) = (g as usize, THRESHOLD_TTQ * largest[g as usize]);
                    *out = match () {
                        () if w > threshold => scales[self.groups + g],
                        () if w < -threshold => -scales[g],
                        () => 0.0,
                    };
                }
            }
        }
    }

    /// The gradient by the weights, from that by what they are, in its place; and that by the scales.
    pub fn gradient(&self, weights: &[f32], scales: &[f32], gradient: &mut [f32]) -> Vec<f32> {
        if self.method != Method::Ttq {
            return vec![];
        }
        let largest = self.largest(weights);
        let mut by_scales = vec![0.0; scales.len()];
        for ((d, &w), &g) in gradient.iter_mut().zip(weights).zip(&self.group) {
            let (g, threshold) = (g as usize, THRESHOLD_TTQ * largest[g as usize]);
            if w > threshold {
                by_scales[self.groups + g] += *d;
                *d *= scales[self.groups + g];
            } else if w < -threshold {
                by_scales[g] -= *d;
                *d *= scales[g];
            }
        }
        by_scales
    }

    /// Keeps trained scales positive.
    pub fn bound(scales: &mut [f32]) {
        scales.iter_mut().for_each(|scale| *scale = scale.max(LEAST));
    }

    fn means(&self, weights: &[f32]) -> Vec<f64> {
        let (mut sums, mut counts) = (vec![0.0f64; self.groups], vec![0usize; self.groups]);
        for (w, &g) in weights.iter().zip(&self.group) {
            sums[g as usize] += f64::from(w.abs());
            counts[g as usize] += 1;
        }
        sums.iter().zip(counts).map(|(sum, n)| sum / n.max(1) as f64).collect()
    }

    fn largest(&self, weights: &[f32]) -> Vec<f32> {
        let mut largest = vec![0.0f32; self.groups];
        for (w, &g) in weights.iter().zip(&self.group) {
            largest[g as usize] = largest[g as usize].max(w.abs());
        }
        largest
    }
}
