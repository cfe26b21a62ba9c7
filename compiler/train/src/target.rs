//! What a layer is fitted to: not its float result alone, but what comes of it behind the scales, sums and clips that follow.
//!
//! Behind the result y stands, in general, `z = clip(s·y + t + r)`: scales and shifts (batch norm), a sum with another branch r, and a relu
//! or clip; each may be missing. In the ternary network r is already known, and not what it was. So y aims at `(z_float - t - r)/s`:
//! the sum becomes right though its other side is not. And where the float network clips, it does not matter by how much: there, y
//! aims at where it is if that is clipped too, else at the bound (as in Zhang, Zou, He, Sun, *Accelerating Very Deep Convolutional
//! Networks*, arXiv 1505.06798, whose squared error behind a relu this lowers step by step).

use ndarray::{Array2, ArrayView2};
use twnc_ir::{Binary, Graph, Layer, Op, Unary, ValueId};
use twnc_passes::affine::{Affine, link};

/// What stands behind a layer.
#[derive(Debug)]
pub(crate) struct Target {
    /// s and t; one number, or one for each channel.
    affine: Affine,
    /// r, if it is known.
    pub other: Option<ValueId>,
    /// What the sum is clipped to.
    bounds: Option<[f32; 2]>,
}

/// Rows of a layer's float result, and of r in the float and in the ternary network.
pub(crate) struct Seen<'a> {
    pub float: ArrayView2<'a, f32>,
    pub other: Option<[ArrayView2<'a, f32>; 2]>,
}

impl Target {
    /// Follows a layer's result as long as it goes to one place; `known` says of a value that it is computed in the ternary network and
    /// is not what it was.
    pub fn of(graph: &Graph, layer: &Layer, known: impl Fn(ValueId) -> bool) -> Target {
        let identity = Affine { axis: None, scale: vec![1.0], shift: vec![0.0] };
        let mut target = Target { affine: identity, other: None, bounds: None };
        let mut end = layer.result;
        while let Some((user, operand)) = graph.only_user(end) {
            let node = graph.node(user);
            let along = |affine: &Affine| affine.axis.is_none_or(|axis| axis == layer.channel_axis);
            if target.other.is_none()
                && let Some(link) = link(graph, user).filter(|l| l.operand == operand && along(&l.affine))
                && let Some(affine) = target.affine.then(&link.affine)
            {
                target.affine = affine;
            } else if target.other.is_none()
                && let (Op::Binary(Binary::Add), &[a, b]) = (&node.op, node.operands.as_slice())
                && let other = if operand == 0 { b } else { a }
                && graph.ty(other) == graph.ty(end)
                && known(other)
            {
                target.other = Some(other);
            } else {
                target.bounds = match node.op {
                    Op::Unary(Unary::Relu) => Some([0.0, f32::INFINITY]),
                    Op::Unary(Unary::Clip { min, max }) if min < max => Some([min, max]),
                    _ => None,
                };
                break;
            }
            end = node.results[0];
        }
        target
    }

    /// Whether each channel is scaled or shifted by its own number.
    pub fn has_channels(&self) -> bool {
        self.affine.axis.is_some()
    }

    /// Whether what the layer aims at depends on where it is.
    pub fn clips(&self) -> bool {
        self.bounds.is_some()
    }

    /// What the layer's result aims at; `now` is what it is, if that is known.
    pub fn aim(&self, seen: &Seen<'_>, now: Option<ArrayView2<'_, f32>>) -> Array2<f32> {
        let largest = self.affine.scale.iter().fold(0f64, |a, b| a.max(b.abs()));
        Array2::from_shape_fn(seen.float.raw_dim(), |(i, channel)| {
            let (s, t) = self.at(channel);
            let y = seen.float[[i, channel]];
            // A channel that hardly reaches what is behind cannot mend it.
            if s.abs() <= 1e-3 * largest {
                return y;
            }
            let [r_float, r] = self.others(seen, i, channel);
            let float = s * f64::from(y) + t + r_float;
            let aim = match (self.bounds, &now) {
                (Some([min, max]), Some(now)) => {
                    let (min, max, now) =
                        (f64::from(min), f64::from(max), s * f64::from(now[[i, channel]]) + t + r);
                    if float <= min {
                        now.min(min)
                    } else if float >= max {
                        now.max(max)
                    } else {
                        float
                    }
                }
                _ => float,
            };
            ((aim - t - r) / s) as f32
        })
    }

    /// The sums of squares of what is behind the layer if its result is `now`: of its difference to the float network's, and of the float network's.
    pub fn error(&self, seen: &Seen<'_>, now: ArrayView2<'_, f32>) -> [f64; 2] {
        let (mut error, mut signal) = (0.0, 0.0);
        for ((i, channel), &y) in now.indexed_iter() {
            let (s, t) = self.at(channel);
            let [r_float, r] = self.others(seen, i, channel);
            let z = |y: f32, r: f64| self.clip(s * f64::from(y) + t + r);
            let float = z(seen.float[[i, channel]], r_float);
            error += (z(y, r) - float).powi(2);
            signal += float.powi(2);
        }
        [error, signal]
    }

    fn clip(&self, z: f64) -> f64 {
        self.bounds.map_or(z, |[min, max]| z.max(f64::from(min)).min(f64::from(max)))
    }

    fn at(&self, channel: usize) -> (f64, f64) {
        let of = |values: &[f64]| values[if values.len() == 1 { 0 } else { channel }];
        (of(&self.affine.scale), of(&self.affine.shift))
    }

    fn others(&self, seen: &Seen<'_>, i: usize, channel: usize) -> [f64; 2] {
        seen.other.as_ref().map_or([0.0; 2], |other| other.each_ref().map(|r| f64::from(r[[i, channel]])))
    }
}
