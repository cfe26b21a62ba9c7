//! Which form each layer has, where the size of the file or the loss of accuracy has a limit.
//!
//! **Sensitivity.** In the float network, one layer alone takes one of the forms (a scale for the layer, each channel or each group of weights, two
//! planes, float), fitted to the samples; the relative squared error of the outputs on samples held out, in front of a softmax, is what
//! that form costs. **Frontier.** Errors of layers are taken to add up. Of each layer, the forms on the lower convex hull of bytes and errors are looked
//! at; from the smallest of all layers on, the step that lowers the error most for each byte comes next. **Choice.** For a size, the last point whose
//! compiled file is no larger; for a loss of accuracy, the first point that holds it, found by halving: each point that is looked at is
//! fitted as a whole, layer behind layer, and measured on the samples held out.

mod frontier;

pub use frontier::{Bytes, Frontier, Limits, Measured, Point, SizeLimit};

use crate::RepairError;
use crate::activations::Activations;
use crate::loss::Head;
use crate::repair::{Fitted, Setting, Stage, replaced};
use crate::solution::{Form, Freedom, Solution};
use crate::target::Target;
use std::collections::BTreeMap;
use twnc_ir::{Layer, PassContext, PassError, Topic, ValueId};
use twnc_passes::{Scale, Ternarise};

/// Groups of weights that are tried.
const GROUPS: [usize; 2] = [128, 32];
/// Samples held out on which a form is measured, in whole batches.
const SAMPLES: usize = 64;

/// What is weighed.
pub(crate) struct Task<'a> {
    pub setting: Setting<'a>,
    pub rounding: &'a Ternarise,
    /// What layers have without a budget.
    pub form: Form,
    pub limits: &'a Limits,
    pub bytes: &'a Bytes,
}

/// A form that a layer may have.
#[derive(Clone)]
struct Candidate {
    form: Form,
    bytes: usize,
    error: f64,
    /// `None` for float.
    solution: Option<Solution>,
}

/// A point with what it is made of: which candidate of each layer.
struct Course {
    layers: Vec<Layer>,
    candidates: Vec<Vec<Candidate>>,
    choices: Vec<Vec<usize>>,
    points: Vec<Point>,
}

impl Task<'_> {
    /// Chooses, fits and measures.
    pub fn choose(
        &self,
        layers: Vec<Layer>,
        cx: &mut PassContext<'_>,
    ) -> Result<(Vec<Fitted>, Frontier), PassError> {
        let refuse =
            |message: String| PassError::Refused { node: self.setting.graph.name().to_owned(), message };
        self.check().map_err(&refuse)?;
        let (candidates, usual) = self.candidates(&layers)?;
        let mut course = Course::new(layers, candidates);
        let all: Vec<(&Layer, &Solution)> = course.layers.iter().zip(&usual).collect();
        let ternary_bytes = self.bytes(&all)?;
        let first = self.exact(&mut course, 0)?;
        course.estimate(first);
        let last = course.points.len() - 1;
        let limit = match self.limits.size {
            None => None,
            Some(SizeLimit::Bytes(bytes)) => Some(bytes),
            Some(SizeLimit::OfFloat(share)) => Some((self.bytes(&[])? as f64 * share) as usize),
            Some(SizeLimit::Beyond(share)) => Some((ternary_bytes as f64 * (1.0 + share)) as usize),
        };
        let largest = match limit {
            None if self.limits.drop.is_some() => last,
            None => 0,
            Some(limit) => self.largest(&mut course, limit)?,
        };
        let (found, chosen) = match self.limits.drop {
            None => {
                if largest > 0 {
                    self.measured(&mut course, 0)?;
                }
                (self.measured(&mut course, largest)?, largest)
            }
            Some(drop) => {
                let holds = |course: &Course, i: usize| {
                    let measured = course.points[i].measured;
                    i == last && largest == last || measured.and_then(|m| m.drop()).is_some_and(|d| d <= drop)
                };
                let mut best = (self.measured(&mut course, largest)?, largest);
                if !holds(&course, largest) {
                    let message = format!(
                        "with the largest file that is allowed, accuracy falls by more than {:.2}%",
                        100.0 * drop
                    );
                    cx.warn(Topic::Accuracy, self.setting.graph.name(), message);
                } else {
                    let mut least = 0;
                    while least < best.1 {
                        let middle = least + (best.1 - least) / 2;
                        let fitted = self.measured(&mut course, middle)?;
                        if holds(&course, middle) {
                            best = (fitted, middle);
                        } else {
                            least = middle + 1;
                        }
                    }
                }
                best
            }
        };
        if found.is_empty() {
            let message = "no layer is made ternary: the accuracy that is asked for needs all of them float";
            cx.warn(Topic::Accuracy, self.setting.graph.name(), message);
        }
        for layer in &course.layers {
            if found.iter().all(|fitted| fitted.layer.node != layer.node || fitted.form == Form::Float) {
                cx.missed(Topic::Rounding, &layer.name, "kept float: the budget pays for it");
            }
        }
        let solved: Vec<(&Layer, &Solution)> = found.iter().map(|f| (&f.layer, &f.solution)).collect();
        course.points[chosen].bytes = self.bytes(&solved)?;
        course.points[chosen].is_exact = true;
        Ok((found, Frontier { points: course.points, chosen, ternary_bytes, limit }))
    }

    /// What can be said before anything is computed.
    fn check(&self) -> Result<(), String> {
        let samples = self.setting.batches.fitted_samples + self.setting.batches.held_out_samples;
        match &self.limits.labels {
            Some(labels) if labels.len() < samples => {
                return Err(format!("{} labels for {samples} samples", labels.len()));
            }
            _ => {}
        }
        let graph = self.setting.graph;
        let has_classes = graph.outputs().iter().any(|port| {
            let shape = &graph.ty(port.value).shape;
            shape.len() == 2 && shape[1].as_size().is_none_or(|width| width >= 2)
        });
        if self.limits.drop.is_some() && !has_classes {
            return Err("no output has classes (a row of two numbers or more for each sample), so that a drop of accuracy has no meaning; give a limit of size"
                .to_owned());
        }
        Ok(())
    }

    /// The forms of each layer, with what they cost; and its solution in the form that it has without a budget.
    fn candidates(&self, layers: &[Layer]) -> Result<(Vec<Vec<Candidate>>, Vec<Solution>), PassError> {
        let Setting { graph, .. } = self.setting;
        let fail = |e: RepairError| e.at(graph.name());
        let heads = self.heads();
        let (judged, _) = self.setting.judged();
        let of_batch = judged.first().and_then(|batch| batch.first()?.shape().first().copied()).unwrap_or(1);
        let judged = &judged[..judged.len().min(SAMPLES.div_ceil(of_batch.max(1)))];
        let mut float = self.setting.activations(judged).map_err(fail)?;
        let mut before = float.clone();
        let values: Vec<ValueId> = heads.iter().map(|head| head.value).collect();
        float.compute(&values).map_err(fail)?;
        let mut work = self.setting.work().map_err(fail)?;
        let mut forms = vec![Form::Scaled(Scale::Layer), Form::Scaled(Scale::Channel), Form::Planes];
        forms.extend(GROUPS.map(|size| Form::Scaled(Scale::Group(size))));
        if !forms.contains(&self.form) {
            forms.push(self.form);
        }
        let (mut all, mut usual) = (vec![], vec![]);
        // In the order of the graph, so that values are let go behind their last layer.
        for (done, layer) in layers.iter().enumerate() {
            self.setting.journal.reach(Stage::Measuring, done, layers.len());
            let fail = |e: RepairError| e.at(&layer.name);
            let weight = layer.float(graph).unwrap_or_default();
            // Refuses a weight that is not finite.
            self.rounding.round(graph, layer, weight)?;
            let target = Target::of(graph, layer, |_| false);
            // One of groups is one of channels where a channel is no larger.
            let is_tried = |form: Form, freedom: Freedom| {
                !matches!(form, Form::Scaled(Scale::Group(_))) || freedom.parts > 1 || form == self.form
            };
            let tried: Vec<(Form, Freedom)> = forms
                .iter()
                .filter_map(|&form| Some((form, form.freedom(graph, layer)?)))
                .filter(|&(form, freedom)| is_tried(form, freedom))
                .collect();
            let sound = |weighed: &Vec<(Solution, f64)>| {
                let all = || weighed.iter().zip(&tried);
                weighed.len() == tried.len()
                    && all().all(|((s, _), (_, freedom))| s.fits(layer, Some(*freedom)))
            };
            let known = self.setting.journal.recall(sound).map_err(fail)?;
            before.compute(&graph.node(layer.node).operands[..1]).map_err(fail)?;
            before.release(&[]);
            let weighed = match known {
                Some(weighed) => {
                    work.reach(graph, layer, &target).map_err(fail)?;
                    weighed
                }
                None => {
                    let fit =
                        work.sums(graph, layer, &target, self.form.freedom(graph, layer)).map_err(fail)?;
                    let mut weighed = vec![];
                    for &(_, freedom) in &tried {
                        // What it costs shows before it is fitted to what is clipped behind it, which takes most of the time.
                        let solution = fit.solution(Some(freedom), None);
                        let error = self.error(&before, &float, &heads, layer, &solution).map_err(fail)?;
                        weighed.push((solution, error));
                    }
                    self.setting.journal.add(&weighed).map_err(fail)?;
                    weighed
                }
            };
            let mut found = vec![];
            for ((form, _), (solution, error)) in tried.into_iter().zip(weighed) {
                if form == self.form {
                    usual.push(solution.clone());
                }
                let bytes = bytes(&solution, target.has_channels());
                found.push(Candidate { form, bytes, error, solution: Some(solution) });
            }
            work.release();
            found.push(Candidate { form: Form::Float, bytes: 4 * weight.len(), error: 0.0, solution: None });
            all.push(hull(found));
        }
        self.setting.journal.reach(Stage::Measuring, layers.len(), layers.len());
        Ok((all, usual))
    }

    /// What is compared of the network: its f32 outputs, in front of a softmax.
    fn heads(&self) -> Vec<Head> {
        let graph = self.setting.graph;
        let is_f32 = |value: ValueId| graph.ty(value).element == twnc_ir::ElementType::F32;
        let ports = graph.outputs().iter().filter(|port| is_f32(port.value));
        ports.map(|port| Head::of(graph, port.value)).collect()
    }

    /// The relative squared error of the heads, mean over them, where one layer alone is replaced; `before` has what it reads.
    fn error(
        &self,
        before: &Activations<'_>,
        float: &Activations<'_>,
        heads: &[Head],
        layer: &Layer,
        solution: &Solution,
    ) -> Result<f64, RepairError> {
        let values: Vec<ValueId> = heads.iter().map(|head| head.value).collect();
        let mut other = before.clone();
        other.substitute(layer, solution.clone());
        other.compute(&values)?;
        let mut sum = 0.0;
        for head in heads {
            let (mut noise, mut signal) = (0.0, 0.0);
            for batch in 0..float.batches() {
                let (a, b) = (float.of(head.value, batch)?, other.of(head.value, batch)?);
                // What is added to all logits of a sample changes nothing.
                let width = match head.is_logits {
                    true => a.shape().last().copied().unwrap_or(1).max(1),
                    false => 1,
                };
                let (Some(a), Some(b)) = (a.as_f32(), b.as_f32()) else { continue };
                for (a, b) in a.chunks(width).zip(b.chunks(width)) {
                    let mean = |row: &[f32]| match width {
                        1 => 0.0,
                        _ => row.iter().map(|&x| f64::from(x)).sum::<f64>() / row.len() as f64,
                    };
                    let (of_a, of_b) = (mean(a), mean(b));
                    for (&a, &b) in a.iter().zip(b) {
                        let (a, b) = (f64::from(a) - of_a, f64::from(b) - of_b);
                        noise += (a - b).powi(2);
                        signal += a.powi(2);
                    }
                }
            }
            sum += if signal > 0.0 { noise / signal } else { 0.0 };
        }
        Ok(sum / heads.len().max(1) as f64)
    }

    /// The bytes of the network in which layers are replaced.
    fn bytes(&self, solved: &[(&Layer, &Solution)]) -> Result<usize, PassError> {
        let mut graph = self.setting.graph.clone();
        replaced(&mut graph, solved.iter().copied())?;
        (self.bytes)(graph).map_err(|message| PassError::Refused {
            node: self.setting.graph.name().to_owned(),
            message: format!("a form of it does not compile: {message}"),
        })
    }

    /// The bytes of a point, compiled.
    fn exact(&self, course: &mut Course, point: usize) -> Result<usize, PassError> {
        if !course.points[point].is_exact {
            let choices = course.layers.iter().zip(&course.candidates).zip(&course.choices[point]);
            let solved: Vec<(&Layer, &Solution)> = choices
                .filter_map(|((layer, candidates), &choice)| {
                    Some((layer, candidates[choice].solution.as_ref()?))
                })
                .collect();
            let bytes = self.bytes(&solved)?;
            course.points[point].bytes = bytes;
            course.points[point].is_exact = true;
        }
        Ok(course.points[point].bytes)
    }

    /// The last point that compiles to no more than so many bytes.
    fn largest(&self, course: &mut Course, limit: usize) -> Result<usize, PassError> {
        let least = self.exact(course, 0)?;
        if least > limit {
            return Err(PassError::Limit {
                node: self.setting.graph.name().to_owned(),
                message: format!(
                    "with the smallest form of each layer the file has {least} bytes; the limit is {limit}"
                ),
            });
        }
        let (mut fits, mut beyond) = (0, course.points.len());
        while fits + 1 < beyond {
            let middle = fits + (beyond - fits) / 2;
            if self.exact(course, middle)? <= limit { fits = middle } else { beyond = middle }
        }
        Ok(fits)
    }

    /// Fits a point as a whole, and measures it.
    fn measured(&self, course: &mut Course, point: usize) -> Result<Vec<Fitted>, PassError> {
        let chosen: Vec<(Layer, Form)> = course
            .layers
            .iter()
            .zip(&course.candidates)
            .zip(&course.choices[point])
            .map(|((layer, candidates), &choice)| (layer.clone(), candidates[choice].form))
            .collect();
        let fitted = self.setting.fit(&chosen, self.rounding)?;
        self.exact(course, point)?;
        let graph = self.setting.graph;
        let values: Vec<ValueId> = graph.outputs().iter().map(|port| port.value).collect();
        let solved: Vec<(&Layer, &Solution)> = fitted.iter().map(|f| (&f.layer, &f.solution)).collect();
        let labels = self.limits.labels.as_deref();
        let distances = self.setting.distances(&values, &solved, labels).map_err(|e| e.at(graph.name()))?;
        let first = distances.iter().find(|d| d.agreement().is_some()).or(distances.first());
        course.points[point].measured =
            first.map(|d| Measured { sqnr: d.sqnr(), agreement: d.agreement(), right: d.right() });
        Ok(fitted)
    }
}

impl Course {
    /// From the smallest form of each layer, step by step.
    fn new(layers: Vec<Layer>, candidates: Vec<Vec<Candidate>>) -> Course {
        let mut steps: Vec<(f64, usize, usize)> = vec![];
        for (i, forms) in candidates.iter().enumerate() {
            for (j, pair) in forms.windows(2).enumerate() {
                let gain = (pair[0].error - pair[1].error) / (pair[1].bytes - pair[0].bytes) as f64;
                steps.push((gain, i, j + 1));
            }
        }
        steps.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        let mut now = vec![0; layers.len()];
        let mut course = Course { layers, candidates, choices: vec![], points: vec![] };
        course.push(&now, None);
        for (_, layer, form) in steps {
            now[layer] = form;
            course.push(&now, Some(layer));
        }
        course
    }

    fn push(&mut self, now: &[usize], changed: Option<usize>) {
        let chosen = || self.candidates.iter().zip(now).map(|(forms, &choice)| &forms[choice]);
        let mut forms: BTreeMap<Form, usize> = BTreeMap::new();
        chosen().for_each(|candidate| *forms.entry(candidate.form).or_default() += 1);
        let point = Point {
            bytes: chosen().map(|candidate| candidate.bytes).sum(),
            is_exact: false,
            error: chosen().map(|candidate| candidate.error).sum(),
            step: changed.map(|i| (self.layers[i].name.clone(), self.candidates[i][now[i]].form)),
            forms: forms.into_iter().collect(),
            measured: None,
        };
        self.points.push(point);
        self.choices.push(now.to_vec());
    }

    /// Adds to all sizes what the file of the first point has beside its layers.
    fn estimate(&mut self, first: usize) {
        let layers: usize = self.candidates.iter().filter_map(|forms| forms.first()).map(|c| c.bytes).sum();
        let beside = first.saturating_sub(layers);
        self.points.iter_mut().filter(|point| !point.is_exact).for_each(|point| point.bytes += beside);
    }
}

/// The bytes of a layer's weights, scales and bias, about. Where each channel is scaled anyway, one scale of a plane takes no room of its own.
fn bytes(solution: &Solution, scaled: bool) -> usize {
    let plane = |plane: &crate::solution::Plane| {
        let trits: usize = plane.rows.iter().map(Vec::len).sum();
        let scales = if scaled { plane.scales.len().max(plane.rows.len()) } else { plane.scales.len() };
        trits.div_ceil(5) + 4 * scales
    };
    // Nor a bias, where each channel is shifted anyway.
    let bias = if scaled { 0 } else { 4 * solution.bias.as_ref().map_or(0, Vec::len) };
    solution.planes.iter().map(plane).sum::<usize>() + bias
}

/// The forms on the lower convex hull of bytes and errors, from the smallest on.
fn hull(mut forms: Vec<Candidate>) -> Vec<Candidate> {
    forms.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(a.error.total_cmp(&b.error)));
    let slope = |a: &Candidate, b: &Candidate| (a.error - b.error) / (b.bytes - a.bytes) as f64;
    let mut found: Vec<Candidate> = vec![];
    for form in forms {
        // One that is not finite is worse than any.
        if !form.error.is_finite()
            || found.last().is_some_and(|last| form.bytes == last.bytes || form.error >= last.error)
        {
            continue;
        }
        while let [.., a, b] = found.as_slice()
            && slope(b, &form) >= slope(a, b)
        {
            found.pop();
        }
        found.push(form);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(points: &[(usize, f64)]) -> Vec<Candidate> {
        let form =
            |&(bytes, error): &(usize, f64)| Candidate { form: Form::Float, bytes, error, solution: None };
        points.iter().map(form).collect()
    }

    #[test]
    fn a_hull_has_steps_that_gain_less_and_less() {
        let found =
            hull(forms(&[(40, 0.0), (10, 1.0), (12, 0.9), (20, 0.2), (10, 2.0), (21, 0.3), (22, f64::NAN)]));
        assert_eq!(found.iter().map(|c| c.bytes).collect::<Vec<_>>(), [10, 20, 40]);
        // One form alone: what it costs does not matter.
        assert_eq!(hull(forms(&[(8, 0.0)])).len(), 1);
    }
}
