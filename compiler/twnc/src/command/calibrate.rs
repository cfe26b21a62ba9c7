//! `--calibrate`: samples, and what is made of them: what layers are fitted to, and constant scales of whole numbers.

use super::arguments::CompileOptions;
use super::checkpoint::{self, Checkpoints};
use super::failure::Failure;
use super::host::Host;
use super::progress::Progress;
use super::training::{AugmentChoice, parse_augment, parse_fine_tune};
use super::{compare, data, err, run};
use crate::{
    CalibrationError, Calibrator, Compiled, Compiler, FineTune, Limits, RepairOptions, Samples, SizeLimit,
    Stage,
};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use twnc_ir::{Graph, RunOptions};
use twnc_program::interpret::Functions;
use twnc_runtime::{ElementType, Input, Module};

/// Samples that scales are found on at a time, where the batch is open.
const BATCH: usize = 8;

/// What a compilation does with samples.
#[derive(Args, Debug)]
pub struct Calibration {
    /// Samples without labels (FILE.npz, or a folder of NAME.npy; the first axis counts them). Layers that become ternary are fitted to what
    /// the float network computes on them; and --activations int finds a constant scale for each value, where without it each sample has its own.
    #[arg(long, value_name = "X.npz")]
    pub calibrate: Option<PathBuf>,
    /// How long the layers are trained together after they were fitted, still without labels, to give the float network's outputs: auto (by
    /// the size of the network, 100 to 1,000 steps of 64 samples), none, or a number of steps.
    #[arg(long, value_name = "STEPS", default_value = "auto", requires = "calibrate", value_parser = parse_fine_tune)]
    pub fine_tune: FineTune,
    /// How images are changed meanwhile: auto (moved by an eighth of their side, mixed and, in three colours, mirrored), none, or some of flip,
    /// shift=PIXELS and cutmix (rectangles of other images).
    #[arg(long, value_name = "HOW", default_value = "auto", requires = "calibrate", value_parser = parse_augment)]
    pub augment: AugmentChoice,
    /// What the samples of a step and changes of images are drawn by.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "calibrate")]
    pub seed: u64,
    /// The largest model.bin, for which each layer has the form that brings most (a scale for the layer, for each channel or for groups of weights, two
    /// ternary planes, or float): bytes (90000, 90KB, 2MB), a share of the float network's model.bin (15%), or what may be added to the one whose layers
    /// are all ternary (+15%).
    #[arg(long, value_name = "SIZE", requires = "calibrate", value_parser = size_limit)]
    pub max_size: Option<SizeLimit>,
    /// By how many percentage points the share of samples held out that are right may fall (with --labels; else that of those with the float network's
    /// class): the smallest model.bin that keeps to it.
    #[arg(long, value_name = "PERCENT", requires = "calibrate", value_parser = percent)]
    pub max_drop: Option<f64>,
    /// The classes of the samples (FILE.npy of whole numbers, or idx), by which accuracy is measured; nothing is fitted to them.
    #[arg(long, value_name = "Y.npy", requires = "calibrate")]
    pub labels: Option<PathBuf>,
    /// Draw what was weighed for --max-size and --max-drop: size against error.
    #[arg(long, value_name = "FILE.svg", requires = "calibrate")]
    pub frontier: Option<PathBuf>,
    /// Write here, once a minute and when interrupted, what is needed to go on.
    #[arg(long, value_name = "FILE", requires = "calibrate")]
    pub checkpoint: Option<PathBuf>,
    /// Go on from the checkpoint, if it is there.
    #[arg(long, requires = "checkpoint")]
    pub resume: bool,
}

impl Calibration {
    /// Refuses what has no meaning without a limit.
    pub fn check(&self) -> Result<(), Failure> {
        if self.max_size.is_some() || self.max_drop.is_some() {
            return Ok(());
        }
        let said = |message: &str, help: &str| Err(Failure::usage(message).help(help));
        if self.frontier.is_some() {
            return said(
                "--frontier draws what was weighed for a limit, and there is none",
                "add --max-size or --max-drop",
            );
        }
        if self.labels.is_some() {
            return said(
                "--labels judge what a limit costs, and there is none",
                "add --max-size or --max-drop; `twnc compare --labels` measures a compiled model",
            );
        }
        Ok(())
    }

    /// The files that are written.
    pub fn outputs(&self) -> impl Iterator<Item = &PathBuf> {
        self.frontier.iter().chain(&self.checkpoint)
    }

    /// A compiler that fits layers to samples.
    pub fn compiler(
        &self,
        host: &Host,
        graph: &Graph,
        path: &Path,
        options: &CompileOptions,
        settings: RunOptions,
        memory: Option<usize>,
    ) -> Result<Compiler, Failure> {
        let samples = samples(host, graph, path)?;
        let (progress, listener) = (Mutex::new(None), host.listener());
        let progress = move |stage: Stage, done: usize, all: usize| {
            if let Ok(mut bar) = progress.lock() {
                if done == 0 || bar.as_ref().is_none_or(|(now, _)| *now != stage) {
                    *bar = Some((stage, Progress::new(listener.clone(), stage.word(), all as u64)));
                }
                bar.iter_mut().for_each(|(_, bar)| bar.reach(done as u64));
            }
        };
        let mut builder = options.builder(settings)?.progress(progress);
        let checkpoint = self.checkpoint.as_deref();
        if checkpoint.is_some() || host.is_heard() {
            let from = checkpoint.map(|path| checkpoint::found(path, self.resume)).transpose()?.flatten();
            if let (Some(path), Some(_)) = (checkpoint, &from) {
                err!(host, "taken up from {}", path.display());
            }
            builder = builder.keeper(Checkpoints::new(host, checkpoint)?, from);
        }
        if self.max_size.is_some() || self.max_drop.is_some() {
            let labels = self
                .labels
                .as_deref()
                .map(|path| compare::labels(host, path, samples.count()))
                .transpose()?;
            builder = builder.budget(Limits { size: self.max_size, drop: self.max_drop, labels });
        }
        let default = RepairOptions::default();
        let repair = RepairOptions {
            memory: memory.unwrap_or(default.memory),
            seed: self.seed,
            fine_tune: self.fine_tune,
            augment: self.augment.chosen(),
        };
        builder.repair(samples, repair).build().map_err(|error| options.refused(error))
    }
}

/// The samples of a file, with the element types of a graph's inputs. That they fit otherwise, whoever uses them finds out.
pub fn samples(host: &Host, graph: &Graph, path: &Path) -> Result<Samples, Failure> {
    let mut arrays = vec![];
    for (name, array) in host.arrays(path)? {
        let port = graph.inputs().iter().find(|port| port.name == name);
        let declared = port.map(|port| graph.ty(port.value).element.to_string());
        let element =
            [ElementType::F32, ElementType::I64].into_iter().find(|e| Some(e.to_string()) == declared);
        let array = match element {
            Some(element) => data::convert(array, element, &name).map_err(|e| e.in_file(path.display()))?,
            None => array,
        };
        arrays.push((name, array));
    }
    crate::samples(arrays).map_err(|e| Failure::unacceptable(e).in_file(path.display()))
}

/// Finds constant scales on samples.
pub fn scales(host: &Host, compiled: Compiled, samples: &Path) -> Result<Compiled, Failure> {
    let fail = |e: CalibrationError| Failure::unacceptable(e).in_file(samples.display());
    let module = Module::new(compiled.program.clone(), Functions::default())?;
    let inputs = run::select(&module, host.arrays(samples)?, &samples.display().to_string())?;
    let count = compare::sample_count(&inputs)?;
    let batch = compare::fixed_batch(&module).unwrap_or(BATCH.min(count));
    if count < batch {
        let message = format!("{count} samples do not fill the model's batch of {batch}");
        return Err(Failure::unacceptable(message).in_file(samples.display()));
    }
    let mut calibrator = Calibrator::new(&compiled).map_err(fail)?;
    let mut progress = host.progress("calibrating", count as u64);
    // The last samples go with some before them, if they do not fill a batch.
    for start in (0..count).step_by(batch).map(|start| start.min(count - batch)) {
        let part: Vec<(&str, Input<'_>)> = inputs
            .iter()
            .map(|(name, array)| (name.as_str(), compare::slice(array, start, start + batch)))
            .collect();
        calibrator.add(&part).map_err(fail)?;
        progress.advance(batch as u64);
    }
    calibrator.apply(compiled).map_err(fail)
}

/// A size in bytes, of the float network's file, or beyond the ternary one's.
fn size_limit(text: &str) -> Result<SizeLimit, String> {
    let wrong = || {
        format!(
            "`{text}` is no size; write 90KB, 15% (of the float network) or +15% (beyond the ternary one)"
        )
    };
    let number =
        |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0).ok_or_else(wrong);
    if let Some(share) = text.strip_suffix('%') {
        return Ok(match share.strip_prefix('+') {
            Some(share) => SizeLimit::Beyond(number(share)? / 100.0),
            None => SizeLimit::OfFloat(number(share)? / 100.0),
        });
    }
    let units = [("KB", 1e3), ("MB", 1e6), ("GB", 1e9)];
    let unit = units.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
    let (amount, unit) = unit.unwrap_or((text, 1.0));
    Ok(SizeLimit::Bytes((number(amount)? * unit) as usize))
}

/// A number of percentage points, as a share.
fn percent(text: &str) -> Result<f64, String> {
    let points = text.strip_suffix('%').unwrap_or(text).parse::<f64>().ok();
    let points = points.filter(|points| (0.0..=100.0).contains(points));
    points
        .map(|points| points / 100.0)
        .ok_or_else(|| format!("`{text}` is no number of percentage points from 0 to 100"))
}
