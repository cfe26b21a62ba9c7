//! A layer in training: what of it is trained, in which units, and what it is made of now.
//!
//! Of a ternary plane, latents u of which T is `clamp(round(u), -1, 1)`, and the logarithms of its scales; of a weight that stays float, the
//! weight; and the bias. The bias is that of inputs less their means: else each trit that changes would move the mean of what comes out, by as much as inputs
//! are above 0, and the bias would have to follow. Everything is in units in which one rate of Adam fits all: of α, of its logarithm, of the biases' root mean
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
    /// What comes out where inputs are their means, in units of `spread`; empty where there is no bias.
    bias: Vec<f32>,
    spread: f32,
    /// The mean of what each weight multiplies, and which channel it is of, as the layer's weight lies.
    means: Vec<f32>,
    channel_of: Vec<u32>,
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
    /// From what a layer of the graph has become, and the mean of what each weight multiplies, of each group.
    pub fn new(graph: &Graph, layer: &Layer, solution: &Solution, means: &[Vec<f32>]) -> Trained {
        let mut rest = layer.float(graph).unwrap_or_default().to_vec();
        let planes: Vec<TrainedPlane> =
            solution.planes.iter().map(|plane| TrainedPlane::new(layer, plane, &mut rest)).collect();
        let of_group = (layer.channels / means.len().max(1)).max(1);
        let rows = (0..layer.channels).map(|channel| means[channel / of_group].clone());
        let means = layer.of_rows(&rows.collect::<Vec<_>>());
        let channel_of = (0..means.len()).map(|i| layer.channel_of(i) as u32).collect();
        let bias = solution.bias.clone().unwrap_or_default();
        let float = solution.float.as_ref().map(|rows| {
            let unit =
                |row: &Vec<f32>| vec![(SHARE * root_mean_square(row)).max(f32::MIN_POSITIVE); row.len()];
            [layer.of_rows(rows), layer.of_rows(&rows.iter().map(unit).collect::<Vec<_>>())]
        });
        let scale = solution.planes.iter().flat_map(|plane| &plane.scales).copied().fold(0.0, f32::max);
        let mut trained =
            Trained { layer: layer.clone(), planes, float, bias, spread: 1.0, means, channel_of };
        if trained.has_bias() {
            let offsets = trained.offsets(&trained.weight());
            trained.bias.iter_mut().zip(offsets).for_each(|(b, offset)| *b += offset);
            let spread = root_mean_square(&trained.bias);
            trained.spread = if spread > 0.0 { spread } else { scale.max(1e-6) };
            trained.bias.iter_mut().for_each(|b| *b /= trained.spread);
        }
        trained
    }

    /// What a weight makes of the means of inputs, by output channel.
    fn offsets(&self, weight: &[f32]) -> Vec<f32> {
        let mut offsets = vec![0.0f64; self.layer.channels];
        for ((&w, &mean), &channel) in weight.iter().zip(&self.means).zip(&self.channel_of) {
            offsets[channel as usize] += f64::from(w * mean);
        }
        offsets.into_iter().map(|offset| offset as f32).collect()
    }

    /// The sizes of what is trained, in the order in which [`step`](Trained::step) goes through it.
    pub fn sizes(&self) -> impl Iterator<Item = usize> {
        let planes = self.planes.iter().flat_map(|plane| [plane.latents.len(), plane.logarithms.len()]);
        planes.chain(self.float.iter().map(|[weight, _]| weight.len())).chain([self.bias.len()])
    }

    /// All that is trained, in the same order.
    pub fn state(&self) -> impl Iterator<Item = &[f32]> {
        let planes = self.planes.iter().flat_map(|plane| [&plane.latents, &plane.logarithms]);
        let float = self.float.iter().map(|[weight, _]| weight);
        planes.chain(float).chain([&self.bias]).map(Vec::as_slice)
    }

    /// The same, to be taken up again.
    pub fn state_mut(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        let planes = self.planes.iter_mut().flat_map(|plane| [&mut plane.latents, &mut plane.logarithms]);
        let float = self.float.iter_mut().map(|[weight, _]| weight);
        planes.chain(float).chain([&mut self.bias])
    }

    /// Moves along the gradients by the weight and the bias; `group` counts what is trained.
    pub fn step(
        &mut self,
        [by_weight, by_bias]: [&[f32]; 2],
        optimiser: &mut Optimiser,
        group: &mut usize,
        rate: f32,
    ) {
        let mut by_weight = by_weight.to_vec();
        if self.has_bias() {
            for ((d, &mean), &channel) in by_weight.iter_mut().zip(&self.means).zip(&self.channel_of) {
                *d -= by_bias[channel as usize] * mean;
            }
        }
        let mut update = |values: &mut [f32], gradients: &[f32]| {
            optimiser.update(*group, values, gradients, rate, 0.0);
            *group += 1;
        };
        for plane in &mut self.planes {
            let [latents, logarithms] = plane.gradients(&by_weight);
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

    /// The weight and the bias; this one empty where there is none.
    pub fn now(&self) -> [Vec<f32>; 2] {
        let weight = self.weight();
        let bias = match self.has_bias() {
            true => self
                .bias
                .iter()
                .zip(self.offsets(&weight))
                .map(|(b, offset)| b * self.spread - offset)
                .collect(),
            false => vec![],
        };
        [weight, bias]
    }

    /// The weight: the sum of the planes' `αT`, or what stays float.
    fn weight(&self) -> Vec<f32> {
        let mut sum = match &self.float {
            Some([weight, _]) => weight.clone(),
            None => vec![0.0; self.means.len()],
        };
        for plane in &self.planes {
            let scales = plane.scales();
            for ((w, &u), &scale) in sum.iter_mut().zip(&plane.latents).zip(&plane.scale_of) {
                *w += scales[scale as usize] * trit(u);
            }
        }
        sum
    }

    /// Whether there is a bias.
    pub fn has_bias(&self) -> bool {
        !self.bias.is_empty()
    }

    /// What the layer is now.
    pub fn solution(&self) -> Solution {
        let plane = |plane: &TrainedPlane| {
            let trits: Vec<i8> = plane.latents.iter().map(|&u| trit(u) as i8).collect();
            Plane { rows: self.layer.rows(&trits), scales: plane.scales(), parts: plane.parts }
        };
        let [_, bias] = self.now();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimiser::Rule;
    use twnc_ir::{GraphBuilder, Op, Tensor, TensorType};

    /// What only moves the result at the mean of the inputs is learnt by the bias alone; and what nothing was learnt of is as it was.
    #[test]
    fn trits_and_scales_are_learnt_apart_from_the_mean() {
        let mut build = GraphBuilder::new("layer");
        let x = build.input("x", TensorType::f32([5, 3].map(twnc_ir::Dim::from).to_vec()));
        let w = build
            .constant(Tensor::from_f32(vec![3, 2], vec![0.5, -0.25, 0.125, 1.0, -0.75, 0.0]).unwrap(), "");
        let y = build.node(Op::MatMul, &[x, w], "linear").unwrap();
        build.output("y", y);
        let graph = build.finish();
        let (node, _) = graph.definer(y).unwrap();
        let layer = Layer::at(&graph, node).unwrap().unwrap();
        let rows = vec![vec![1, 0, -1], vec![0, 1, 0]];
        let planes = vec![Plane { rows, scales: vec![0.625, 1.0], parts: 1 }];
        let solution = Solution { planes, float: None, bias: Some(vec![0.5, -0.25]) };
        let means = [1.0, 2.0, 3.0];
        let mut trained = Trained::new(&graph, &layer, &solution, &[means.to_vec()]);
        let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        let before = trained.solution();
        assert_eq!(before.planes[0].rows, solution.planes[0].rows);
        assert!(near(before.bias.as_ref().unwrap(), solution.bias.as_ref().unwrap()), "{before:?}");

        let by_bias = [0.5, -2.0];
        let by_weight = layer.of_rows(&by_bias.map(|d| means.map(|mean| mean * d).to_vec()));
        let mut optimiser = Optimiser::new(Rule::Adam, trained.sizes());
        optimiser.begin();
        trained.step([&by_weight, &by_bias], &mut optimiser, &mut 0, 0.25);
        let after = trained.solution();
        assert_eq!(after.planes, before.planes);
        let moved: Vec<f32> = after
            .bias
            .unwrap()
            .iter()
            .zip(before.bias.unwrap())
            .map(|(after, before)| after - before)
            .collect();
        assert!(moved[0] < -0.1 && moved[1] > 0.1, "{moved:?}");
    }
}
