//! A layer in training: what of it is trained, in which units, and what it is made of now.
//!
//! Of a ternary plane, latents u of which T is `clamp(round(u), -1, 1)`, and the logarithms of its scales; of a weight that stays float, the
//! weight; and the bias. Everything is in units in which one rate of Adam fits all: of α, of its logarithm, of the biases' root mean
//! square, of a tenth of a row's.

use crate::optimiser::Optimiser;
use crate::solution::{Plane, Solution};
use twnc_ir::{Graph, Layer};

/// Where u begins: so much T, and so much W/α.
const START: [f32; 2] = [0.8, 0.1];
/// Beyond, u would only take longer to come back.
const LIMIT: f32 = 1.1;
/// The unit of a float weight, as a share of the root mean square of its row.
const SHARE: f32 = 0.1;

/// See the module.
pub(crate) struct Trained {
    layer: Layer,
    planes: Vec<TrainedPlane>,
    /// Where it stays float, the weight and its units, as the layer's lies.
    float: Option<[Vec<f32>; 2]>,
    /// In units of `spread`.
    bias: Vec<f32>,
    spread: f32,
}

/// A plane in training.
struct TrainedPlane {
    latents: Vec<f32>,
    logarithms: Vec<f32>,
    /// The number of the scale of each latent.
    scale_of: Vec<u32>,
    parts: usize,
}

impl TrainedPlane {
    /// `rest` is what the planes before leave of the float weight; what this one has of it is taken away.
    fn new(layer: &Layer, plane: &Plane, rest: &mut [f32]) -> TrainedPlane {
        let number =
            |channel: usize| (0..layer.fan_in).map(move |k| plane.scale_of(channel, k) as u32).collect();
        let scale_of = layer.of_rows(&(0..layer.channels).map(number).collect::<Vec<Vec<u32>>>());
        let trits = layer.of_rows(&plane.rows);
        let latent = |((&trit, &scale), rest): ((&i8, &u32), &mut f32)| {
            let (t, alpha) = (f32::from(trit), plane.scales[scale as usize]);
            let ratio = if alpha > 0.0 { *rest / alpha } else { 0.0 };
            *rest -= alpha * t;
            // T stays what it is.
            let u = START[0] * t + START[1] * ratio;
            if t == 0.0 { u.clamp(-0.45, 0.45) } else { t * (t * u).clamp(0.55, LIMIT) }
        };
        let latents = trits.iter().zip(&scale_of).zip(rest).map(latent).collect();
        // A scale of 0 has no logarithm; so small a one comes to the same.
        let logarithms = plane.scales.iter().map(|&scale| scale.max(f32::MIN_POSITIVE).ln()).collect();
        TrainedPlane { latents, logarithms, scale_of, parts: plane.parts }
    }

    fn scales(&self) -> Vec<f32> {
        self.logarithms.iter().map(|l| l.exp()).collect()
    }

    /// Gradients by latents and logarithms, of those by `αT`.
    fn gradients(&self, by_weight: &[f32]) -> [Vec<f32>; 2] {
        let scales = self.scales();
        let (mut latents, mut logarithms) = (vec![0.0; self.latents.len()], vec![0.0; scales.len()]);
        for (i, (&g, &u)) in by_weight.iter().zip(&self.latents).enumerate() {
            let scale = self.scale_of[i] as usize;
            latents[i] = scales[scale] * g;
            logarithms[scale] += scales[scale] * trit(u) * g;
        }
        [latents, logarithms]
    }
}

impl Trained {
    /// From what a layer of the graph has become.
    pub fn new(graph: &Graph, layer: &Layer, solution: &Solution) -> Trained {
        let mut rest = layer.float(graph).unwrap_or_default().to_vec();
        let planes: Vec<TrainedPlane> =
            solution.planes.iter().map(|plane| TrainedPlane::new(layer, plane, &mut rest)).collect();
        let bias = solution.bias.clone().unwrap_or_default();
        let float = solution.float.as_ref().map(|rows| {
            let unit =
                |row: &Vec<f32>| vec![(SHARE * root_mean_square(row)).max(f32::MIN_POSITIVE); row.len()];
            [layer.of_rows(rows), layer.of_rows(&rows.iter().map(unit).collect::<Vec<_>>())]
        });
        let scale = solution.planes.iter().flat_map(|plane| &plane.scales).copied().fold(0.0, f32::max);
        let spread = Some(root_mean_square(&bias)).filter(|s| *s > 0.0).unwrap_or(scale.max(1e-6));
        let bias = bias.into_iter().map(|b| b / spread).collect();
        Trained { layer: layer.clone(), planes, float, bias, spread }
    }

    /// The sizes of what is trained, in the order in which [`step`](Trained::step) goes through it.
    pub fn sizes(&self) -> impl Iterator<Item = usize> {
        let planes = self.planes.iter().flat_map(|plane| [plane.latents.len(), plane.logarithms.len()]);
        planes.chain(self.float.iter().map(|[weight, _]| weight.len())).chain([self.bias.len()])
    }

    /// Moves along the gradients by the weight and the bias; `group` counts what is trained.
    pub fn step(
        &mut self,
        [by_weight, by_bias]: &[Vec<f32>; 2],
        optimiser: &mut Optimiser,
        group: &mut usize,
        rate: f32,
    ) {
        let mut update = |values: &mut [f32], gradients: &[f32]| {
            optimiser.update(*group, values, gradients, rate, 0.0);
            *group += 1;
        };
        for plane in &mut self.planes {
            let [latents, logarithms] = plane.gradients(by_weight);
            update(&mut plane.latents, &latents);
            update(&mut plane.logarithms, &logarithms);
            plane.latents.iter_mut().for_each(|u| *u = u.clamp(-LIMIT, LIMIT));
        }
        if let Some([weight, units]) = &mut self.float {
            let mut scaled: Vec<f32> = weight.iter().zip(&*units).map(|(w, unit)| w / unit).collect();
            let gradients: Vec<f32> = by_weight.iter().zip(&*units).map(|(g, unit)| g * unit).collect();
            update(&mut scaled, &gradients);
            weight.iter_mut().zip(scaled).zip(&*units).for_each(|((w, scaled), unit)| *w = scaled * unit);
        }
        let bias: Vec<f32> = by_bias.iter().map(|g| g * self.spread).collect();
        update(&mut self.bias, &bias);
    }

    /// Writes the weight: the sum of the planes' `αT`, or what stays float.
    pub fn weight(&self, into: &mut [f32]) {
        into.fill(0.0);
        if let Some([weight, _]) = &self.float {
            into.copy_from_slice(weight);
        }
        for plane in &self.planes {
            let scales = plane.scales();
            for ((w, &u), &scale) in into.iter_mut().zip(&plane.latents).zip(&plane.scale_of) {
                *w += scales[scale as usize] * trit(u);
            }
        }
    }

    /// Whether there is a bias.
    pub fn has_bias(&self) -> bool {
        !self.bias.is_empty()
    }

    /// Writes the bias.
    pub fn bias(&self, into: &mut [f32]) {
        into.iter_mut().zip(&self.bias).for_each(|(b, &own)| *b = own * self.spread);
    }

    /// What the layer is now.
    pub fn solution(&self) -> Solution {
        let plane = |plane: &TrainedPlane| {
            let trits: Vec<i8> = plane.latents.iter().map(|&u| trit(u) as i8).collect();
            Plane { rows: self.layer.rows(&trits), scales: plane.scales(), parts: plane.parts }
        };
        let bias: Vec<f32> = self.bias.iter().map(|b| b * self.spread).collect();
        Solution {
            planes: self.planes.iter().map(plane).collect(),
            float: self.float.as_ref().map(|[weight, _]| self.layer.rows(weight)),
            bias: (!bias.is_empty()).then_some(bias),
        }
    }
}

fn root_mean_square(numbers: &[f32]) -> f32 {
    let square = numbers.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    (square / numbers.len().max(1) as f64).sqrt() as f32
}

fn trit(u: f32) -> f32 {
    u.round_ties_even().clamp(-1.0, 1.0)
}
