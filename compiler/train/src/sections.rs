//! Sections of a network: some layers that lie together are trained together, before the layers behind them are fitted.
//!
//! A section ends where everything that follows reads one value alone: behind a residual block, or anywhere in a chain. Fitted one by one,
//! the layers of a block each do their best; trained together, they make good what they lose in each other, for the float network says what should come out of
//! the block. What it reads is what the ternary sections before it give. Its samples are values that are there already, so a step costs
//! no more than the section itself (as in Y. Li et al., *BRECQ*, arXiv 2102.05426).

use crate::RepairError;
use crate::activations::Activations;
use crate::finetune::heads;
use crate::fit::Work;
use crate::loss::Loss;
use crate::pupil::{self, BATCH, Course, Lessons, Prepared, Pupil};
use crate::repair::{Fitted, Setting};
use crate::solution::Solution;
use std::collections::{BTreeSet, HashMap, HashSet};
use twnc_ir::{ElementType, Graph, Layer, NodeId, Tensor, Use, ValueId};

/// Layers of a section, at least: those of a block.
const LAYERS: usize = 3;
/// How often the samples that decide are looked at.
const LOOKS: usize = 5;
/// Samples by which it is found in which unit errors are.
const SAMPLES: usize = 32;
/// Numbers that come out of a step, about: many places of few samples say as much as few places of many.
const NUMBERS: usize = 1 << 20;
/// But so many samples, at least.
const LEAST: usize = 8;
/// Multiplications of all sections whose steps nobody has said, about.
const PRODUCTS: f64 = 7.5e11;

/// See the module.
#[derive(Debug, PartialEq)]
pub(crate) struct Section {
    /// What it reads beside the graph's inputs; the first reads nothing else.
    pub input: Option<ValueId>,
    /// One value, or what is compared of the network's outputs.
    pub outputs: Vec<ValueId>,
    /// Its layers.
    pub layers: HashSet<NodeId>,
    /// All nodes of the graph that lie in it.
    pub nodes: Vec<NodeId>,
    /// What these read that lies outside.
    pub reads: Vec<ValueId>,
}

/// The sections of a graph whose nodes are `order`, of these layers.
pub(crate) fn sections(graph: &Graph, order: &[NodeId], layers: &[Layer]) -> Vec<Section> {
    let layers: HashSet<NodeId> = layers.iter().map(|layer| layer.node).collect();
    let places: HashMap<NodeId, usize> = order.iter().enumerate().map(|(i, &id)| (id, i)).collect();
    let last_use = |value: ValueId| {
        let place = |site: &Use| match site {
            Use::Operand(node, _) => places.get(node).copied().unwrap_or(0),
            Use::Output(_) => usize::MAX,
        };
        graph.value(value).uses.iter().map(place).max().unwrap_or(0)
    };
    let samples = graph.inputs().first().and_then(|port| graph.ty(port.value).shape.first());
    let can_end = |value: ValueId| {
        let ty = graph.ty(value);
        ty.element == ElementType::F32 && ty.shape.first() == samples
    };
    let mut found: Vec<Section> = vec![];
    // Values that depend on layers, and those of them that are still to be read, with the last reader.
    let (mut moving, mut open): (HashSet<ValueId>, Vec<(ValueId, usize)>) = (HashSet::new(), vec![]);
    let (mut start, mut inside, mut end) = (0, 0, None);
    for (i, id) in order.iter().enumerate() {
        if layers.contains(id) {
            if let Some((value, behind)) = end.take() {
                let input = found.last().and_then(|section| section.outputs.first().copied());
                found.push(section(graph, &order[start..behind], &layers, input, vec![value]));
                (start, inside) = (behind, 0);
            }
            inside += 1;
        }
        let node = graph.node(*id);
        if layers.contains(id) || node.operands.iter().any(|value| moving.contains(value)) {
            moving.extend(&node.results);
            open.extend(node.results.iter().map(|&value| (value, last_use(value))));
        }
        open.retain(|(_, last)| *last > i);
        if let &[(value, _)] = open.as_slice()
            && inside >= LAYERS
            && can_end(value)
        {
            end = Some((value, i + 1));
        }
    }
    // What is left at the end is a section, or belongs to the one before.
    let outputs: Vec<ValueId> = heads(graph).iter().map(|head| head.value).collect();
    if inside == 0 || outputs.is_empty() || !outputs.iter().all(|value| can_end(*value)) {
        return found;
    }
    if inside < LAYERS
        && let Some(last) = found.pop()
    {
        start = places[&last.nodes[0]];
    }
    let input = found.last().and_then(|section| section.outputs.first().copied());
    found.push(section(graph, &order[start..], &layers, input, outputs));
    found
}

fn section(
    graph: &Graph,
    nodes: &[NodeId],
    layers: &HashSet<NodeId>,
    input: Option<ValueId>,
    outputs: Vec<ValueId>,
) -> Section {
    let layers = nodes.iter().copied().filter(|id| layers.contains(id)).collect();
    let own: HashSet<ValueId> = nodes.iter().flat_map(|id| graph.node(*id).results.iter().copied()).collect();
    let read = nodes.iter().flat_map(|id| graph.node(*id).operands.iter().copied());
    let reads: BTreeSet<ValueId> =
        read.filter(|value| !own.contains(value) && graph.constant(*value).is_none()).collect();
    Section { input, outputs, layers, nodes: nodes.to_vec(), reads: reads.into_iter().collect() }
}

/// What both networks have computed at the ends of a section.
struct Seen<'a> {
    setting: &'a Setting<'a>,
    section: &'a Section,
    work: &'a Work<'a>,
    /// Of each sample, its batch and its place in it.
    places: Vec<(usize, usize)>,
}

impl Seen<'_> {
    fn rows(
        &self,
        network: &Activations<'_>,
        value: ValueId,
        samples: &[usize],
    ) -> Result<Tensor, RepairError> {
        let (mut rows, mut shape) = (vec![], vec![]);
        for &sample in samples {
            let (batch, place) = self.places[sample];
            let tensor = network.of(value, batch)?;
            let count = tensor.shape().first().copied().unwrap_or(1).max(1);
            let missing = || RepairError::Missing(value.to_string());
            let elements = tensor.as_f32().ok_or_else(missing)?;
            let size = elements.len() / count;
            rows.extend_from_slice(elements.get(place * size..(place + 1) * size).ok_or_else(missing)?);
            shape = tensor.shape().to_vec();
        }
        if let Some(first) = shape.first_mut() {
            *first = samples.len();
        }
        Tensor::from_f32(shape, rows).map_err(|e| RepairError::Execute(e.to_string()))
    }
}

impl Lessons for Seen<'_> {
    fn questions(&mut self, samples: &[usize], _: Option<u64>) -> Result<Vec<Tensor>, RepairError> {
        let mut inputs = self.setting.samples.chosen(self.setting.graph, samples);
        if let Some(value) = self.section.input {
            inputs.push(self.rows(&self.work.ternary, value, samples)?);
        }
        Ok(inputs)
    }

    fn answers(
        &mut self,
        samples: &[usize],
        _: &[Tensor],
        _: Option<u64>,
    ) -> Result<Vec<Vec<f32>>, RepairError> {
        let outputs = self.section.outputs.iter();
        let row = |&value: &ValueId| {
            Ok(self.rows(&self.work.float, value, samples)?.as_f32().unwrap_or_default().to_vec())
        };
        outputs.map(row).collect()
    }
}

impl Section {
    /// Trains the layers, all of which are fitted, with a share of the work on all sections; whether they became better. Without a derivative, they stay
    /// as they are.
    pub fn tune(
        &self,
        setting: &Setting<'_>,
        work: &mut Work<'_>,
        fitted: &mut [Fitted],
        share: f64,
        progress: &dyn Fn(usize, usize),
    ) -> Result<bool, RepairError> {
        let graph = setting.graph;
        work.float.compute(&self.outputs)?;
        if let Some(value) = self.input {
            work.ternary.compute(&[value])?;
        }
        let own: Vec<usize> =
            (0..fitted.len()).filter(|&i| self.layers.contains(&fitted[i].layer.node)).collect();
        let layers: Vec<(&Layer, &Solution)> =
            own.iter().map(|&i| (&fitted[i].layer, &fitted[i].solution)).collect();
        let mut inputs: Vec<ValueId> = graph.inputs().iter().map(|port| port.value).collect();
        inputs.extend(self.input);
        let (fit, held_out) = (setting.batches.fitted_samples, setting.batches.held_out_samples);
        let count = |value: &ValueId| {
            work.float
                .of(*value, 0)
                .map_or(1, |tensor| tensor.len() / tensor.shape().first().copied().unwrap_or(1).max(1))
        };
        let numbers: usize = self.outputs.iter().map(count).sum();
        let step = (NUMBERS / numbers.max(1)).clamp(LEAST, BATCH).min(fit);
        let built = Prepared::new(graph, &layers).map_err(RepairError::Gradient).and_then(|prepared| {
            let network =
                |sizes: &_| prepared.network(sizes, &inputs, &self.outputs, setting.options.memory / 2);
            pupil::largest(graph, setting.samples, step, network)
        });
        let (network, batch) = match built {
            Ok(built) => built,
            // What cannot be trained stays as it was fitted.
            Err(RepairError::Gradient(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let all = setting.batches.inputs.iter().enumerate();
        let places = all.flat_map(|(i, batch)| {
            let count = batch.first().and_then(|tensor| tensor.shape().first().copied()).unwrap_or(0);
            (0..count).map(move |place| (i, place))
        });
        let mut lessons = Seen { setting, section: self, work: &*work, places: places.collect() };
        let some: Vec<usize> = (0..fit.min(SAMPLES)).collect();
        let units = lessons.answers(&some, &[], None)?;
        let losses =
            units.iter().map(|rows| Loss::SquaredError { unit: pupil::unit(rows, some.len()) }).collect();
        let judged: Vec<usize> =
            if held_out > 0 { (fit..fit + held_out).collect() } else { (0..fit).collect() };
        let mut pupil = Pupil::new(graph, &layers, network, losses, [step, batch]);
        let steps = setting.options.fine_tune.steps(PRODUCTS * share / (3.0 * pupil.products()));
        let course = Course { steps, looks: LOOKS, fitted: fit, judged: &judged, seed: setting.options.seed };
        let name = layers.first().map(|(layer, _)| layer.name.clone()).unwrap_or_default();
        let (_, best) = pupil.train(&mut lessons, &course, &name, progress)?;
        let Some(best) = best else { return Ok(false) };
        work.ternary.forget(&self.nodes);
        for (&i, solution) in own.iter().zip(best) {
            work.ternary.substitute(&fitted[i].layer, solution.clone());
            fitted[i].solution = solution;
        }
        Ok(true)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use twnc_ir::{Binary, Dim, GraphBuilder, Op, TensorType, Unary};

    /// Linear layers with residual sums around pairs of them, of which each is followed by a relu.
    fn blocks(pairs: usize, rest: usize) -> Graph {
        let mut build = GraphBuilder::new("blocks");
        let ty = TensorType::f32(vec![Dim::symbol("N"), 4.into()]);
        let mut x = build.input("x", ty);
        let mut layer = |build: &mut GraphBuilder, x: ValueId, name: &str| {
            let w = build.constant(Tensor::from_f32(vec![4, 4], vec![0.5; 16]).unwrap(), "");
            build.node(Op::MatMul, &[x, w], name).unwrap()
        };
        x = layer(&mut build, x, "stem");
        for i in 0..pairs {
            let y = layer(&mut build, x, &format!("{i}.a"));
            let y = build.node(Op::Unary(Unary::Relu), &[y], "").unwrap();
            let y = layer(&mut build, y, &format!("{i}.b"));
            let y = build.node(Op::Binary(Binary::Add), &[y, x], "").unwrap();
            x = build.node(Op::Unary(Unary::Relu), &[y], &format!("{i}.relu")).unwrap();
        }
        for i in 0..rest {
            x = layer(&mut build, x, &format!("rest.{i}"));
        }
        build.output("y", x);
        build.finish()
    }

    /// The layers of each section, and where it begins and ends.
    fn found(graph: &Graph) -> Vec<(Vec<String>, String, String)> {
        let order = graph.order().unwrap();
        let layers: Vec<Layer> = order.iter().filter_map(|id| Layer::at(graph, *id)?.ok()).collect();
        let name =
            |value: ValueId| graph.definer(value).map_or("input".to_owned(), |(id, _)| graph.node_name(id));
        let describe = |section: &Section| {
            let own = layers.iter().filter(|layer| section.layers.contains(&layer.node));
            (
                own.map(|layer| layer.name.clone()).collect(),
                section.input.map_or("start".to_owned(), name),
                section.outputs.iter().map(|v| name(*v)).collect::<Vec<_>>().join(" "),
            )
        };
        sections(graph, &order, &layers).iter().map(describe).collect()
    }

    /// They end behind a residual sum and its relu, never between; what is too little for one belongs to the last.
    #[test]
    fn sections_end_behind_blocks() {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<String>>();
        let section =
            |layers: &[&str], input: &str, output: &str| (words(layers), input.to_owned(), output.to_owned());
        let first = section(&["stem", "0.a", "0.b"], "start", "0.relu");
        assert_eq!(
            found(&blocks(3, 1)),
            [first.clone(), section(&["1.a", "1.b", "2.a", "2.b", "rest.0"], "0.relu", "rest.0"),]
        );
        assert_eq!(
            found(&blocks(2, 2)),
            [first, section(&["1.a", "1.b", "rest.0", "rest.1"], "0.relu", "rest.1")]
        );
        assert_eq!(found(&blocks(2, 0)), [section(&["stem", "0.a", "0.b", "1.a", "1.b"], "start", "1.relu")]);
        assert_eq!(found(&blocks(0, 0)).len(), 1);
    }
}
