//! Networks that work side by side on the samples of a step.
//!
//! A step is divided into pieces, few samples each, so that what one operator leaves is still in the cache when the next reads it; each member of the
//! team, a student and its teacher on one thread, takes the next piece that is free. Pieces are gathered in groups, whose number depends on sizes
//! alone, and gradients are added up in their order: so they are the same with any number of members.

use super::{Student, Task};
use crate::gradient::bind::{self, Bound};
use crate::gradient::{Mode, Network, add};
use crate::loss::{Head, Loss, deviation};
use crate::samples::gather;
use crate::trained::Trained;
use crate::{RepairError, parallel};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use twnc_ir::{ElementType, Graph, Tensor, ValueId};

/// Samples of a step; where the network fixes how many it takes at a time, gradients of several runs are added up.
const BATCH: usize = 64;
/// Bytes that the values of a piece should take, about, or as many as the parameters take: their gradients are written and read once for each piece.
const PIECE: usize = 1 << 22;
/// Sums of gradients that are kept apart, at most.
const GROUPS: usize = 8;
/// How much features count beside an output, in the beginning.
const FEATURES: f32 = 0.3;
/// At which logits are compared.
const TEMPERATURE: f32 = 2.0;

/// See the module.
pub(super) struct Team {
    members: Vec<Mutex<Member>>,
    /// Of the outputs, then of the features.
    losses: Vec<Loss>,
    outputs: usize,
    /// Samples of a piece.
    batch: usize,
    /// Multiplications of a piece.
    products: f64,
    /// Numbers of each parameter.
    parameters: Vec<usize>,
}

/// Two networks side by side, on a thread of their own; with one member alone, on all.
struct Member {
    student: Network,
    teacher: Network,
    pool: Option<ThreadPool>,
}

impl Team {
    /// As many members as there is work and memory for, and at `most` so many.
    pub fn new(task: &Task<'_>, student: &Student, most: usize) -> Result<Team, RepairError> {
        let (mut own, mut asked) = (heads(&student.graph), heads(task.graph));
        let outputs = asked.len();
        for feature in student.features.iter().map(|&value| Head { value, is_logits: false }) {
            own.push(feature);
            asked.push(feature);
        }
        let ports = task.graph.inputs();
        let fixed = ports.first().and_then(|port| task.graph.ty(port.value).shape.first()?.as_size());
        let build = |batch: usize, memory: usize| -> Result<Member, RepairError> {
            let shape = |port: &twnc_ir::Port| {
                let mut shape = task.samples.shape(&port.name);
                shape.iter_mut().take(1).for_each(|first| *first = batch);
                shape
            };
            let shapes: Vec<Vec<usize>> = ports.iter().map(shape).collect();
            let sizes = bind::sizes(task.graph, &shapes).map_err(RepairError::Samples)?;
            let build = |graph: &Graph, parameters: &[ValueId], heads: &[Head]| {
                let Bound { graph, values } = bind::bind(graph, &sizes)?;
                let parameters: Vec<ValueId> = parameters.iter().map(|value| values[value]).collect();
                let outputs: Vec<ValueId> = heads.iter().map(|head| values[&head.value]).collect();
                Network::new(&graph, &parameters, &outputs, memory / 2)
            };
            let student =
                build(&student.graph, &student.parameters(), &own).map_err(RepairError::Gradient)?;
            let teacher = build(task.graph, &[], &asked).map_err(RepairError::Gradient)?;
            Ok(Member { student, teacher, pool: None })
        };
        let batch = match fixed {
            Some(batch) => batch.max(1),
            None => {
                let one = build(1, task.memory)?;
                let parameters: usize = one.student.parameters().map(|p| 4 * p.len()).sum();
                let piece = PIECE.max(parameters);
                let most =
                    (piece / one.student.varying_bytes().max(1)).clamp(1, BATCH.min(task.fitted).max(1));
                // So that pieces make up a step.
                1 << most.ilog2()
            }
        };
        let first = build(batch, task.memory)?;
        let needed = first.student.bytes() + first.teacher.bytes();
        let sums: usize = first.student.parameters().map(|p| 4 * p.len()).sum();
        let room = task.memory.saturating_sub(sums.saturating_mul(GROUPS)) / needed.max(1);
        let pieces = BATCH.div_ceil(batch);
        let count = most.min(room).min(pieces).max(1);
        let parameters = first.student.parameters().map(<[f32]>::len).collect();
        let products = 3.0 * first.student.products() + first.teacher.products();
        let mut members = vec![first];
        while members.len() < count {
            members.push(build(batch, task.memory)?);
        }
        if count > 1 {
            for member in &mut members {
                // Without a thread of its own it works on all of them, as one alone does.
                member.pool = ThreadPoolBuilder::new().num_threads(1).build().ok();
            }
        }
        let loss = |head: &Head| match head.is_logits {
            true => Loss::Divergence { temperature: TEMPERATURE },
            false => Loss::SquaredError { unit: 1.0 },
        };
        let losses = asked.iter().map(loss).collect();
        let members = members.into_iter().map(Mutex::new).collect();
        let mut team = Team { members, losses, outputs, batch, products, parameters };
        team.units(task)?;
        Ok(team)
    }

    /// Samples of a step.
    pub fn step(&self) -> usize {
        self.batch * BATCH.div_ceil(self.batch)
    }

    /// Multiplications of a step.
    pub fn products(&self) -> f64 {
        self.products * (self.step() / self.batch) as f64
    }

    /// In which units squared errors are: of outputs, how far the float network's are from their mean; of features, the mean of their squares, so that all of them
    /// together count as much as one output, times `FEATURES`.
    fn units(&mut self, task: &Task<'_>) -> Result<(), RepairError> {
        let count = task.fitted.min(4 * BATCH);
        let outputs = self.answers(task, &(0..count).collect::<Vec<_>>())?;
        let count = task.fitted.min(BATCH);
        let samples: Vec<usize> = (0..count).collect();
        let parts: Vec<&[usize]> = samples.chunks(self.batch).collect();
        let squares = self.each(
            parts.len(),
            |_| {},
            |member, part| {
                let inputs = task.samples.chosen(task.graph, &filled(&samples, parts[part], self.batch));
                member.teacher.forward(&inputs, Mode::Inference).map_err(RepairError::Gradient)?;
                let square =
                    |i: usize| member.teacher.output(i).iter().map(|&x| f64::from(x * x)).sum::<f64>();
                Ok((self.outputs..self.losses.len()).map(square).collect::<Vec<f64>>())
            },
        )?;
        let features = self.losses.len() - self.outputs;
        for (i, loss) in self.losses.iter_mut().enumerate() {
            if let Loss::SquaredError { unit } = loss {
                *unit = match outputs.get(i) {
                    Some(rows) => deviation(rows, task.fitted.min(4 * BATCH)),
                    None => {
                        let mean = squares.iter().map(|part| part[i - self.outputs]).sum::<f64>()
                            / (parts.len() * self.batch) as f64;
                        mean.max(f64::from(f32::MIN_POSITIVE)) as f32 * features as f32 / FEATURES
                    }
                };
            }
        }
        Ok(())
    }

    /// `work` of each piece, by whichever member is free; the results in order.
    fn each<T: Send>(
        &self,
        pieces: usize,
        begin: impl Fn(&mut Member) + Sync,
        work: impl Fn(&mut Member, usize) -> Result<T, RepairError> + Sync,
    ) -> Result<Vec<T>, RepairError> {
        let next = AtomicUsize::new(0);
        let of_member = |_: usize, member: &Mutex<Member>| -> Result<Vec<(usize, T)>, RepairError> {
            let mut found = vec![];
            let member = &mut *member.lock().unwrap_or_else(PoisonError::into_inner);
            let pool = member.pool.take();
            let mut all = || -> Result<(), RepairError> {
                begin(member);
                loop {
                    let piece = next.fetch_add(1, Ordering::Relaxed);
                    if piece >= pieces {
                        return Ok(());
                    }
                    found.push((piece, work(member, piece)?));
                }
            };
            let result = match &pool {
                Some(pool) => pool.install(&mut all),
                None => all(),
            };
            member.pool = pool;
            result.map(|()| found)
        };
        let found = parallel::map(self.members.iter().collect(), of_member);
        let mut all = vec![];
        for of_member in found {
            all.extend(of_member?);
        }
        all.sort_by_key(|(piece, _)| *piece);
        Ok(all.into_iter().map(|(_, found)| found).collect())
    }

    /// The gradients by all parameters of the mean loss over the samples of a step.
    pub fn learn(
        &self,
        trained: &[Trained],
        inputs: &[Tensor],
        share: f32,
    ) -> Result<Vec<Vec<f32>>, RepairError> {
        let trained: Vec<[Vec<f32>; 2]> = trained.iter().map(Trained::now).collect();
        let pieces = self.step() / self.batch;
        let groups = GROUPS.min(pieces);
        let sums = self.each(
            groups,
            |member| write(member, &trained),
            |member, group| {
                let mut sums: Vec<Vec<f32>> = self.parameters.iter().map(|&size| vec![0.0; size]).collect();
                for piece in group * pieces / groups..(group + 1) * pieces / groups {
                    let samples: Vec<usize> = (piece * self.batch..(piece + 1) * self.batch).collect();
                    let inputs: Vec<Tensor> = inputs.iter().map(|tensor| gather(tensor, &samples)).collect();
                    let factor = |i: usize| if i < self.outputs { 1.0 } else { share } / self.batch as f32;
                    member.learn(&self.losses, &inputs, factor)?;
                    sums.iter_mut().enumerate().for_each(|(i, sum)| add(sum, member.student.gradient(i)));
                }
                Ok(sums)
            },
        )?;
        let mut sums = sums.into_iter();
        let mut total = sums.next().unwrap_or_default();
        sums.for_each(|sum| total.iter_mut().zip(sum).for_each(|(total, part)| add(total, &part)));
        Ok(total)
    }

    /// The float network's outputs for some samples.
    pub fn answers(&self, task: &Task<'_>, samples: &[usize]) -> Result<Vec<Vec<f32>>, RepairError> {
        let parts: Vec<&[usize]> = samples.chunks(self.batch).collect();
        let found = self.each(
            parts.len(),
            |_| {},
            |member, part| {
                let inputs = task.samples.chosen(task.graph, &filled(samples, parts[part], self.batch));
                member.teacher.forward(&inputs, Mode::Inference).map_err(RepairError::Gradient)?;
                let rows = |i: usize| {
                    let rows = member.teacher.output(i);
                    rows[..rows.len() / self.batch * parts[part].len()].to_vec()
                };
                Ok((0..self.outputs).map(rows).collect::<Vec<_>>())
            },
        )?;
        let mut outputs = vec![vec![]; self.outputs];
        for part in found {
            outputs.iter_mut().zip(part).for_each(|(output, rows)| output.extend(rows));
        }
        Ok(outputs)
    }

    /// The loss on samples to which the float network's answers are known.
    pub fn judge(
        &self,
        task: &Task<'_>,
        trained: &[Trained],
        samples: &[usize],
        answers: &[Vec<f32>],
    ) -> Result<f64, RepairError> {
        let trained: Vec<[Vec<f32>; 2]> = trained.iter().map(Trained::now).collect();
        let parts: Vec<&[usize]> = samples.chunks(self.batch).collect();
        let losses = self.each(
            parts.len(),
            |member| write(member, &trained),
            |member, part| {
                let (first, count) = (part * self.batch, parts[part].len());
                let inputs = task.samples.chosen(task.graph, &filled(samples, parts[part], self.batch));
                member.student.forward(&inputs, Mode::Inference).map_err(RepairError::Gradient)?;
                let mut loss = 0.0;
                for (i, answers) in answers.iter().enumerate() {
                    let rows = member.student.output(i);
                    let size = rows.len() / self.batch;
                    let (rows, answers) =
                        (&rows[..size * count], &answers[size * first..size * (first + count)]);
                    loss += self.losses[i].error(rows, answers, member.width(i)) / samples.len() as f64;
                }
                Ok(loss)
            },
        )?;
        Ok(losses.into_iter().sum())
    }
}

impl Member {
    /// Runs both, and takes the gradients of the losses, each sample's times `factor`.
    fn learn(
        &mut self,
        losses: &[Loss],
        inputs: &[Tensor],
        factor: impl Fn(usize) -> f32,
    ) -> Result<(), RepairError> {
        self.teacher.forward(inputs, Mode::Inference).map_err(RepairError::Gradient)?;
        self.student.forward(inputs, Mode::Inference).map_err(RepairError::Gradient)?;
        let seed = |(i, loss): (usize, &Loss)| {
            let (rows, answers) = (self.student.output(i), self.teacher.output(i));
            let mut seed = vec![0.0; rows.len()];
            if factor(i) > 0.0 {
                loss.of(rows, answers, self.width(i), factor(i), &mut seed);
            }
            seed
        };
        let seeds: Vec<Vec<f32>> = losses.iter().enumerate().map(seed).collect();
        self.student.backward(&seeds);
        Ok(())
    }

    /// The length of an output's rows.
    fn width(&self, output: usize) -> usize {
        self.student.output_shape(output).last().copied().unwrap_or(1).max(1)
    }
}

/// What is compared of a graph: its f32 outputs.
fn heads(graph: &Graph) -> Vec<Head> {
    let is_float = |value: ValueId| graph.ty(value).element == ElementType::F32;
    graph
        .outputs()
        .iter()
        .filter(|port| is_float(port.value))
        .map(|port| Head::of(graph, port.value))
        .collect()
}

/// Gives the student what is trained: the weights, then the biases that there are.
fn write(member: &mut Member, trained: &[[Vec<f32>; 2]]) {
    let weights = trained.iter().map(|[weight, _]| weight);
    let biases = trained.iter().map(|[_, bias]| bias).filter(|bias| !bias.is_empty());
    for (i, numbers) in weights.chain(biases).enumerate() {
        member.student.parameter_mut(i).copy_from_slice(numbers);
    }
}

/// Some of the samples as a whole batch, filled up with those from the beginning.
fn filled(samples: &[usize], part: &[usize], batch: usize) -> Vec<usize> {
    part.iter().chain(samples.iter().cycle()).take(batch).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finetune::FineTune;
    use crate::journal::Journal;
    use crate::samples::Samples;
    use crate::solution::{Plane, Solution};
    use twnc_ir::{Dim, GraphBuilder, Layer, Op, TensorType, Unary};

    /// Gradients have the same bits with one member, two and three.
    #[test]
    fn any_number_of_members_learns_the_same() {
        let number = |i: usize| ((i * 7919 % 1009) as f32 / 504.0 - 1.0).sin();
        let tensor = |shape: &[usize]| {
            Tensor::from_f32(shape.to_vec(), (0..shape.iter().product()).map(number).collect()).unwrap()
        };
        let mut build = GraphBuilder::new("small");
        let mut value = build.input("x", TensorType::f32(vec![Dim::symbol("N"), 200.into(), 24.into()]));
        let mut results = vec![];
        for size in [[24, 40], [40, 40], [40, 10]] {
            let weight = build.constant(tensor(&size), "");
            value = build.node(Op::MatMul, &[value, weight], "").unwrap();
            results.push(value);
            value = build.node(Op::Unary(Unary::Relu), &[value], "").unwrap();
        }
        build.output("y", value);
        let graph = build.finish();
        let solved: Vec<(Layer, Solution)> = results
            .iter()
            .map(|&result| {
                let layer = Layer::at(&graph, graph.definer(result).unwrap().0).unwrap().unwrap();
                let trits = layer.float(&graph).unwrap().iter().map(|w| w.round() as i8).collect::<Vec<_>>();
                let plane = Plane { rows: layer.rows(&trits), scales: vec![0.75], parts: 1 };
                let bias = Some(vec![0.125; layer.channels]);
                (layer, Solution { bias, ..Solution::plane(plane) })
            })
            .collect();
        let means: Vec<Vec<Vec<f32>>> =
            solved.iter().map(|(layer, _)| vec![vec![0.5; layer.fan_in]]).collect();
        let samples = Samples::new([("x".to_owned(), tensor(&[100, 200, 24]))]);
        let journal = Journal::new(None, None, String::new(), None).unwrap();
        let task = Task {
            graph: &graph,
            means: means.iter().map(Vec::as_slice).collect(),
            samples: &samples,
            fitted: 80,
            held_out: 20,
            memory: 1 << 30,
            seed: 0,
            steps: FineTune::Auto,
            augment: None,
            journal: &journal,
        };
        let trained: Vec<Trained> = solved
            .iter()
            .zip(&task.means)
            .map(|((layer, solution), means)| Trained::new(&graph, layer, solution, means))
            .collect();
        let student = task.student(&solved).unwrap();
        assert_eq!(student.features.len(), 2);
        let found = [1, 2, 3].map(|most| {
            let team = Team::new(&task, &student, most).unwrap();
            assert_eq!(team.members.len(), most);
            let chosen: Vec<usize> = (0..team.step()).collect();
            let inputs = samples.chosen(&graph, &chosen);
            let judged: Vec<usize> = (80..100).collect();
            let answers = team.answers(&task, &judged).unwrap();
            let loss = team.judge(&task, &trained, &judged, &answers).unwrap();
            (team.learn(&trained, &inputs, 0.5).unwrap(), loss)
        });
        assert!(found[0].0.iter().flatten().any(|d| *d != 0.0) && found[0].1 > 0.0);
        assert!(found.iter().all(|other| *other == found[0]));
    }
}
