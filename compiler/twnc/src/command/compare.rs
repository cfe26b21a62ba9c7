//! `twnc compare`: a compiled model against the float network that it came from, on data.

use super::arguments::Compare;
use super::failure::{Failure, Kind};
use super::host::Host;
use super::{dataset, err, out, report, run};
use crate::Compiler;
use ndarray::{ArrayD, Axis, Slice};
use serde::Serialize;
use std::collections::BTreeMap;
use twnc_ir::Dim;
use twnc_onnx::{ImportOptions, ShapeOverride};
use twnc_program::interpret::{Functions, View};
use twnc_runtime::{Input, Module, Output, Size};

/// Samples that run at a time, where the batch is open.
const BATCH: usize = 50;

/// What `--json` prints; keys are stable.
#[derive(Serialize)]
struct Report {
    samples: usize,
    /// The share of samples for which both networks have the same class.
    agreement: f64,
    top1: Option<f64>,
    top1_float: Option<f64>,
    top5: Option<f64>,
    max_abs: f64,
    cosine: f64,
    sqnr_db: Option<f64>,
    layers: Vec<LayerReport>,
}

/// How far a layer's result is from the float network's.
#[derive(Serialize)]
struct LayerReport {
    name: String,
    max_abs: f64,
    cosine: f64,
    sqnr_db: Option<f64>,
}

/// Sums over pairs of numbers, from which the distances follow.
#[derive(Clone, Copy, Default)]
struct Distance {
    max_abs: f64,
    dot: f64,
    float: f64,
    compiled: f64,
    noise: f64,
}

/// Runs both networks on the data and says how they differ.
pub fn run(host: &Host, options: &Compare, json: bool) -> Result<(), Failure> {
    if let Some(report) = &options.report {
        host.keep_apart(
            report,
            [&*options.model, &*options.compiled, &*options.data]
                .into_iter()
                .chain(options.labels.as_deref()),
        )?;
    }
    let compiled = host.module(&options.compiled)?;
    let float = float_module(host, options, &compiled)?;
    let inputs = run::select(&compiled, host.arrays(&options.data)?, &options.data.display().to_string())?;
    let samples = sample_count(&inputs)?;
    let labels = options.labels.as_deref().map(|path| labels(host, path, samples)).transpose()?;
    let sessions = (run::session(&float, &options.session)?, run::session(&compiled, &options.session)?);

    let batch = fixed_batch(&compiled).unwrap_or(BATCH);
    let mut output = Distance::default();
    let mut layers: Vec<(String, Distance)> = vec![];
    let (mut classes_float, mut ranked): (Vec<usize>, Vec<Vec<usize>>) = (vec![], vec![]);
    let mut progress = host.progress("comparing", samples as u64);
    for start in (0..samples).step_by(batch) {
        let end = (start + batch).min(samples);
        if end - start < batch && fixed_batch(&compiled).is_some() {
            err!(
                host,
                "note: the last {} samples do not fill the model's batch of {batch} and are left out",
                end - start
            );
            break;
        }
        let part: Vec<(&str, Input<'_>)> =
            inputs.iter().map(|(name, array)| (name.as_str(), slice(array, start, end))).collect();
        let mut of_float: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
        sessions.0.observe(&part, &mut |step, shape, view| {
            if let View::F32(elements) = view {
                of_float.insert(step.name.clone(), (shape.to_vec(), elements.to_vec()));
            }
        })?;
        let mut number = 0;
        sessions.1.observe(&part, &mut |step, shape, view| {
            let View::F32(elements) = view else { return };
            let Some((_, float)) = of_float.get(&step.name).filter(|(float, _)| float == shape) else {
                return;
            };
            match layers.get_mut(number) {
                Some((_, distance)) => distance.add(float, elements),
                None => {
                    let mut distance = Distance::default();
                    distance.add(float, elements);
                    layers.push((step.name.clone(), distance));
                }
            }
            number += 1;
        })?;
        let (a, b) = (sessions.0.run(&part)?, sessions.1.run(&part)?);
        let (Some((_, Output::F32(a))), Some((_, Output::F32(b)))) = (a.first(), b.first()) else {
            return Err(Failure::unacceptable("the first output is not f32, so there is nothing to compare"));
        };
        output.add(&a.iter().copied().collect::<Vec<_>>(), &b.iter().copied().collect::<Vec<_>>());
        classes_float.extend(classes(a));
        ranked.extend(rows(b).map(|row| best(&row, 5)));
        progress.advance((end - start) as u64);
    }
    drop(progress);

    let counted = ranked.len();
    let first = |row: &Vec<usize>| row.first().copied();
    let share = |hits: usize| hits as f64 / counted.max(1) as f64;
    let agreement =
        share(ranked.iter().zip(&classes_float).filter(|(row, f)| first(row) == Some(**f)).count());
    let right = |hit: &dyn Fn(usize, usize) -> bool| {
        let labels = labels.as_ref().filter(|labels| labels.len() >= counted)?;
        Some(share((0..counted).filter(|&i| hit(i, labels[i])).count()))
    };
    let found = Report {
        samples: counted,
        agreement,
        top1: right(&|i, label| first(&ranked[i]) == Some(label)),
        top1_float: right(&|i, label| classes_float[i] == label),
        top5: right(&|i, label| ranked[i].contains(&label)),
        max_abs: output.max_abs,
        cosine: output.cosine(),
        sqnr_db: output.sqnr_db(),
        layers: layers
            .into_iter()
            .map(|(name, d)| LayerReport {
                name,
                max_abs: d.max_abs,
                cosine: d.cosine(),
                sqnr_db: d.sqnr_db(),
            })
            .collect(),
    };
    if let Some(path) = &options.report {
        let mut all = report::model(host, compiled.program(), &BTreeMap::new())?;
        all.insert("network".to_owned(), options.compiled.display().to_string().into());
        all.insert("compare".to_owned(), serde_json::json!(found));
        report::write(host, path, &all.into())?;
    }
    show(host, &found, json);
    match options.min_agreement {
        Some(least) if found.agreement < least => {
            let message = format!("agreement {:.4} is below {least}", found.agreement);
            Err(Failure::new(Kind::Comparison, message).in_file(options.compiled.display()))
        }
        _ => Ok(()),
    }
}

/// The class of each row along the last axis: the place of its largest element.
pub fn classes(array: &ArrayD<f32>) -> Vec<usize> {
    rows(array).map(|row| best(&row, 1).first().copied().unwrap_or(0)).collect()
}

fn show(host: &Host, report: &Report, json: bool) {
    if json {
        out!(host, "{}", serde_json::json!(report));
        return;
    }
    let percent = |share: f64| format!("{:.2}%", share * 100.0);
    let decibels = |db: Option<f64>| db.map_or("exact".to_owned(), |db| format!("{db:.1} dB"));
    out!(host, "samples            {}", report.samples);
    out!(host, "same class         {}", percent(report.agreement));
    for (what, share) in [
        ("top-1 accuracy", report.top1),
        ("top-1 of float", report.top1_float),
        ("top-5 accuracy", report.top5),
    ] {
        if let Some(share) = share {
            out!(host, "{what:18} {}", percent(share));
        }
    }
    out!(
        host,
        "output             max |difference| {:.3e}, cosine {:.6}, SQNR {}",
        report.max_abs,
        report.cosine,
        decibels(report.sqnr_db)
    );
    for layer in &report.layers {
        out!(
            host,
            "  {:32} max {:.3e}  cosine {:.6}  SQNR {}",
            layer.name,
            layer.max_abs,
            layer.cosine,
            decibels(layer.sqnr_db)
        );
    }
}

/// The network without any rounding, for inputs as the compiled model declares them.
fn float_module(host: &Host, options: &Compare, compiled: &Module) -> Result<Module, Failure> {
    let shape = |sizes: &[Size]| {
        let dim = |size: &Size| match size {
            Size::Fixed(n) => Some(Dim::from(*n)),
            Size::Open(name) => Some(Dim::symbol(name)),
            Size::Computed => None,
        };
        sizes.iter().map(dim).collect::<Option<Vec<_>>>()
    };
    let shapes = compiled
        .inputs()
        .into_iter()
        .filter_map(|port| Some(ShapeOverride { input: Some(port.name), shape: shape(&port.shape)? }));
    let import = ImportOptions { input_shapes: shapes.collect(), ..ImportOptions::default() };
    let passes =
        twnc_passes::Options { ternarise: twnc_passes::Mode::None, ..twnc_passes::Options::default() };
    let graph = host.import(&options.model, &import)?.graph;
    let compiled = Compiler::builder().passes(passes).build()?.compile(graph, &mut |_, _| {})?;
    Ok(Module::new(compiled.program, Functions::default())?)
}

/// How many samples a model takes at a time, where that is fixed.
pub fn fixed_batch(module: &Module) -> Option<usize> {
    match module.inputs().first()?.shape.first()? {
        Size::Fixed(n) => Some((*n).max(1)),
        _ => None,
    }
}

/// How many samples the inputs hold along their first axes.
pub fn sample_count(inputs: &[(String, Output)]) -> Result<usize, Failure> {
    let counts: Vec<usize> =
        inputs.iter().map(|(_, array)| array.shape().first().copied().unwrap_or(1)).collect();
    match counts.first() {
        Some(&n) if n > 0 && counts.iter().all(|&count| count == n) => Ok(n),
        _ => Err(Failure::unacceptable(format!(
            "the inputs hold {counts:?} samples; they must be as many, and some"
        ))),
    }
}

/// The classes of so many samples.
pub fn labels(host: &Host, path: &std::path::Path, samples: usize) -> Result<Vec<usize>, Failure> {
    let labels = dataset::labels(host, path)?;
    if labels.len() != samples {
        let message = format!("{} labels for {samples} samples", labels.len());
        return Err(Failure::unacceptable(message).in_file(path.display()));
    }
    Ok(labels)
}

/// Samples `start..end` of an array.
pub fn slice(array: &Output, start: usize, end: usize) -> Input<'_> {
    let range = Slice::from(start..end);
    match array {
        Output::F32(a) => a.slice_axis(Axis(0), range).into(),
        Output::I8(a) => a.slice_axis(Axis(0), range).into(),
        Output::U8(a) => a.slice_axis(Axis(0), range).into(),
        Output::I16(a) => a.slice_axis(Axis(0), range).into(),
        Output::I32(a) => a.slice_axis(Axis(0), range).into(),
        Output::I64(a) => a.slice_axis(Axis(0), range).into(),
        Output::Bool(a) => a.slice_axis(Axis(0), range).into(),
    }
}

/// The rows along the last axis.
fn rows(array: &ArrayD<f32>) -> impl Iterator<Item = Vec<f32>> + '_ {
    array.rows().into_iter().map(|row| row.to_vec())
}

/// The places of the `n` largest elements, the largest first; of equal ones the first.
fn best(row: &[f32], n: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..row.len()).collect();
    places.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
    places.truncate(n);
    places
}

impl Distance {
    fn add(&mut self, float: &[f32], compiled: &[f32]) {
        for (&a, &b) in float.iter().zip(compiled) {
            let (a, b) = (f64::from(a), f64::from(b));
            self.max_abs = self.max_abs.max((a - b).abs());
            self.dot += a * b;
            self.float += a * a;
            self.compiled += b * b;
            self.noise += (a - b) * (a - b);
        }
    }

    fn cosine(&self) -> f64 {
        match self.float * self.compiled {
            0.0 => f64::from(u8::from(self.float == self.compiled)),
            product => self.dot / product.sqrt(),
        }
    }

    /// Signal to quantisation noise; `None` where there is no noise.
    fn sqnr_db(&self) -> Option<f64> {
        (self.noise > 0.0).then(|| 10.0 * (self.float / self.noise).log10())
    }
}
