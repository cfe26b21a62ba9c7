//! A training made of a network and data: what is trained, what is rounded, what computes gradients; and whether the data fit.

use super::{TrainError, TrainOptions, Trainer};
use crate::checkpoint;
use crate::data::{self, Data};
use crate::gradient::bind::{self, Bound};
use crate::gradient::{Mode, Network};
use crate::loss::{Head, Loss, deviation};
use crate::method::{Method, Rounded};
use crate::optimiser::Optimiser;
use crate::parameters::{self, Role};
use std::collections::HashSet;
use twnc_ir::{ElementType, Graph, Layer, Pass, PassContext, ValueId};
use twnc_passes::{FoldConstants, Options, Simplify, Ternarise};

/// So many samples say what the unit of a squared error is.
const UNIT: usize = 256;

impl Trainer {
    /// Of a network, on data that says how large its batches are. `choice` selects the layers that are rounded and what shares a scale.
    pub fn new(
        graph: &Graph,
        data: &Data,
        choice: &Options,
        options: TrainOptions,
    ) -> Result<Trainer, TrainError> {
        let mut graph = graph.clone();
        let cost = twnc_ir::CountingCost;
        let mut cx = PassContext::new(&cost);
        // As before layers are rounded: a weight behind a transpose is a weight.
        for pass in [&FoldConstants as &dyn Pass, &Simplify] {
            pass.run(&mut graph, &mut cx).map_err(|e| TrainError::Network(e.to_string()))?;
        }
        parameters::separate(&mut graph)?;
        let (samples, fixed) = data.samples.check(&graph).map_err(|e| TrainError::Samples(e.to_string()))?;
        let order = graph.order().map_err(|cycle| TrainError::Network(cycle.to_string()))?;
        let outputs: Vec<_> =
            graph.outputs().iter().filter(|port| graph.ty(port.value).element == ElementType::F32).collect();
        let [output] = outputs.as_slice() else {
            let count = outputs.len();
            let message = format!(
                "the network has {count} outputs of floats; one is trained. Choose it with --output NAME"
            );
            return Err(TrainError::Network(message));
        };
        let head = Head::of(&graph, output.value);
        let (mut parameters, kept) = parameters::find(&graph, &order);
        let chosen: HashSet<ValueId> = match options.method {
            Method::Float => HashSet::new(),
            _ => {
                let layers = Ternarise::new(choice)?.select(&graph, &mut cx);
                let layers = layers.map_err(|e| TrainError::Network(e.to_string()))?;
                layers.into_iter().map(|layer: Layer| layer.weight).collect()
            }
        };
        let batch = fixed.unwrap_or(options.batch).max(1);
        if batch > samples {
            let message =
                format!("{samples} samples do not fill a batch of {batch}; give more, or a smaller --batch");
            return Err(TrainError::Samples(message));
        }
        let shapes: Vec<Vec<usize>> = graph
            .inputs()
            .iter()
            .map(|port| {
                let mut shape = data.samples.shape(&port.name);
                shape.iter_mut().take(1).for_each(|first| *first = batch);
                shape
            })
            .collect();
        let sizes = bind::sizes(&graph, &shapes).map_err(TrainError::Samples)?;
        let Bound { graph: fixed_graph, values: bound } = bind::bind(&graph, &sizes)?;
        // What the output does not depend on is not trained.
        let used = reached(&graph, head.value);
        parameters.retain(|parameter| used.contains(&parameter.value));
        if parameters.is_empty() {
            return Err(TrainError::Network(
                "no weight of the network can be trained: none is constant and of floats".to_owned(),
            ));
        }
        let values: Vec<ValueId> = parameters.iter().map(|parameter| bound[&parameter.value]).collect();
        let memory = if data.labels.is_some() { options.memory } else { options.memory / 2 };
        let mut network = Network::new(&fixed_graph, &values, &[bound[&head.value]], memory)?;
        let teacher = match &data.labels {
            Some(_) if options.augment.cutmix => {
                let why = "an image mixed of two has no label; leave out cutmix, or the labels";
                return Err(TrainError::Samples(why.to_owned()));
            }
            Some(labels) => {
                data::check(labels, samples, network.output_shape(0), batch)?;
                None
            }
            None => {
                let mut teacher = Network::new(&fixed_graph, &[], &[bound[&head.value]], memory)?;
                let loss = match head.is_logits {
                    true => Loss::Divergence { temperature: options.temperature },
                    false => Loss::SquaredError { unit: unit(&mut teacher, &graph, data, samples, batch)? },
                };
                Some((teacher, loss))
            }
        };
        let mut latents: Vec<Vec<f32>> =
            (0..parameters.len()).map(|i| network.parameter(i).to_vec()).collect();
        if options.fresh {
            for (i, (parameter, latent)) in parameters.iter().zip(&mut latents).enumerate() {
                *latent = parameter.fresh(i, latent, options.seed);
            }
            for (values, start) in [(&kept.means, 0.0), (&kept.variances, 1.0)] {
                values.iter().filter_map(|value| bound.get(value)).for_each(|&value| {
                    network.value_mut(value).into_iter().for_each(|elements| elements.fill(start));
                });
            }
        }
        if let Some(i) = latents.iter().position(|latent| latent.iter().any(|x| !x.is_finite())) {
            let name = match &parameters[i].role {
                Role::Weight(layer) => layer.name.clone(),
                _ => parameters[i].value.to_string(),
            };
            return Err(TrainError::Network(format!(
                "`{name}` has weights that are not finite; mend the network, or begin with --fresh"
            )));
        }
        let shared = choice.scale.is_shared_by_layer()?;
        let rounded: Vec<Option<Rounded>> = parameters
            .iter()
            .map(|parameter| match &parameter.role {
                Role::Weight(layer) if chosen.contains(&parameter.value) => {
                    Some(Rounded::new(options.method, layer, shared))
                }
                _ => None,
            })
            .collect();
        let scales: Vec<Vec<f32>> = rounded
            .iter()
            .zip(&latents)
            .map(|(rounded, latent)| rounded.as_ref().map_or(vec![], |r| r.initial_scales(latent)))
            .collect();
        let sizes: Vec<usize> = latents.iter().chain(&scales).map(Vec::len).collect();
        Ok(Trainer {
            optimiser: Optimiser::new(options.rule, sizes),
            origin: checkpoint::origin(&graph, &data.samples, data.labels.as_deref()),
            graph,
            options,
            network,
            teacher,
            batch,
            parameters,
            latents,
            rounded,
            scales,
            kept,
            bound,
            samples,
            epoch: 0,
            step: 0,
            sum: 0.0,
            history: vec![],
        })
    }
}

/// How far the float network's outputs are from their mean, on the first samples.
fn unit(
    teacher: &mut Network,
    graph: &Graph,
    data: &Data,
    samples: usize,
    batch: usize,
) -> Result<f32, TrainError> {
    let (mut rows, mut count) = (vec![], 0);
    while count + batch <= samples.min(UNIT.max(batch)) {
        let chosen: Vec<usize> = (count..count + batch).collect();
        teacher.forward(&data.samples.chosen(graph, &chosen), Mode::Inference)?;
        rows.extend_from_slice(teacher.output(0));
        count += batch;
    }
    Ok(deviation(&rows, count))
}

/// The values that a value depends on.
fn reached(graph: &Graph, value: ValueId) -> HashSet<ValueId> {
    let (mut seen, mut open) = (HashSet::new(), vec![value]);
    while let Some(value) = open.pop() {
        if seen.insert(value)
            && let Some((_, node)) = graph.definer(value)
        {
            open.extend(&node.operands);
        }
    }
    seen
}
