//! `twnc train`: straight-through training of a network with ternary weights.

use super::dataset::{self, Dataset, Pixels};
use super::failure::{Failure, Kind};
use super::host::Host;
use super::progress::Progress;
use super::training::{Method, Train};
use super::{checkpoint, counted, curve, err, out};
use crate::{Augment, Data, Epoch, GradientError, TrainError, TrainOptions, Trainer};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use twnc_ir::Graph;
use twnc_passes as passes;

/// Trains a network and writes it.
pub fn run(host: &Host, options: &Train, json: bool) -> Result<(), Failure> {
    let read = [&options.model, &options.data].into_iter().chain(&options.labels).chain(&options.validation);
    let read: Vec<&Path> = read.chain(&options.validation_labels).map(std::path::PathBuf::as_path).collect();
    let outputs = std::iter::once(&options.target).chain(&options.checkpoint).chain(&options.curve);
    host.check_outputs(&outputs.map(std::path::PathBuf::as_path).collect::<Vec<_>>(), &read)?;
    let import = host.import(&options.model, &options.import())?;
    import.notes.iter().for_each(|note| err!(host, "note: {note}"));
    let graph = import.graph;
    let (training, validation) = samples(host, options, &graph)?;
    let choice = passes::Options {
        ternarise: passes::Mode::All,
        keep: options.keep.clone(),
        scale: options.scale,
        ..passes::Options::default()
    };
    let of_inputs = || {
        let shapes = graph.inputs().iter().map(|port| training.samples.shape(&port.name));
        let found = shapes
            .map(|shape| Augment::of_shape(&shape))
            .find(|a| *a != Augment::default())
            .unwrap_or_default();
        Augment { cutmix: found.cutmix && training.labels.is_none(), ..found }
    };
    let settings = TrainOptions {
        method: match options.method {
            Method::Twn => crate::Method::Twn,
            Method::Bwn => crate::Method::Bwn,
            Method::Ttq => crate::Method::Ttq,
            Method::Float => crate::Method::Float,
        },
        rule: options.rule(),
        rate: options.rate(),
        schedule: options.schedule.clone(),
        decay: options.weight_decay,
        epochs: options.epochs,
        batch: options.batch,
        augment: options.augment.chosen().unwrap_or_else(of_inputs),
        seed: options.seed,
        fresh: options.fresh,
        temperature: options.temperature,
        memory: options.max_memory,
    };
    let fail = |e: TrainError| failure(e, options);
    let mut trainer = Trainer::new(&graph, &training, &choice, settings).map_err(fail)?;
    if let Some(validation) = &validation {
        trainer.check(validation).map_err(|e| failure_of(e, options, Part::Validation))?;
    }
    if let Some(path) = &options.checkpoint
        && let Some(bytes) = checkpoint::found(path, options.resume)?
    {
        trainer.resume(&bytes).map_err(|e| fail(e).in_file(path.display()))?;
        err!(host, "taken up {}", place(&trainer));
    }
    if !options.quiet {
        let (layers, steps) = (counted(trainer.rounded_layers(), "layer"), trainer.steps());
        err!(host, "{layers} rounded in every step; {} of {steps} steps", counted(options.epochs, "epoch"));
    }
    let stop = host.interruption()?;
    while !trainer.is_done() {
        if !epoch(host, &mut trainer, options, &training, validation.as_ref(), &stop)? {
            return interrupted(host, &trainer, options);
        }
        save(host, &trainer, options)?;
        curves(host, trainer.history(), options)?;
    }
    let trained = trainer.finish().map_err(fail)?;
    let bytes = twnc_onnx::export(&trained).map_err(crate::CompileError::from)?;
    host.write(&options.target, bytes)?;
    summarise(host, options, trainer.history(), trainer.rounded_layers(), json);
    Ok(())
}

/// The samples to train on, and those to validate on.
fn samples(host: &Host, options: &Train, graph: &Graph) -> Result<(Data, Option<Data>), Failure> {
    let pixels = Pixels { mean: options.mean.clone(), std: options.std.clone() };
    type Classes = Option<Vec<String>>;
    let load = |path: &Path, labels: Option<&Path>, classes: &Classes| -> Result<(Data, Classes), Failure> {
        let Dataset { samples, labels: of_folders, classes } =
            dataset::read(host, graph, path, &pixels, classes.as_deref())?;
        let labels = labels
            .map(|labels| dataset::labels(host, labels))
            .transpose()?
            .or(of_folders.filter(|_| !options.distil));
        Ok((Data { samples, labels }, classes))
    };
    let (training, classes) = load(&options.data, options.labels.as_deref(), &None)?;
    let validation = match &options.validation {
        Some(path) => {
            // A class is what it is called, also where validation has not all of them.
            let (data, _) = load(path, options.validation_labels.as_deref(), &classes)?;
            if data.labels.is_some() != training.labels.is_some() {
                return Err(Failure::usage("either training and validation have labels, or neither has")
                    .help("--labels Y --validation-labels Y2"));
            }
            Some(data)
        }
        None => None,
    };
    match (validation, options.hold_out) {
        (None, share) if share > 0.0 => {
            let fail = |e: TrainError| failure(e, options);
            let (training, held) = training.split(share, options.seed).map_err(fail)?;
            Ok((training, held))
        }
        (validation, _) => Ok((training, validation)),
    }
}

/// Trains an epoch; whether it came to its end.
fn epoch(
    host: &Host,
    trainer: &mut Trainer,
    options: &Train,
    training: &Data,
    validation: Option<&Data>,
    stop: &AtomicBool,
) -> Result<bool, Failure> {
    let fail = |e: TrainError| failure(e, options);
    let begun = Instant::now();
    let mut progress: Option<Progress> = None;
    loop {
        let since = Instant::now();
        let found = trainer.epoch(training, validation, &mut |step, steps| {
            let progress = progress.get_or_insert_with(|| host.progress("training", steps as u64));
            progress.reach(step as u64);
            let due = options.checkpoint.is_some() && since.elapsed() > checkpoint::INTERVAL;
            !stop.load(Ordering::Relaxed) && !due
        });
        match found.map_err(fail)? {
            Some(epoch) => {
                progress.into_iter().for_each(Progress::complete);
                if !options.quiet {
                    let seconds = begun.elapsed().as_secs_f64();
                    err!(host, "{}  {seconds:.1} s", curve::line(&epoch, options.epochs));
                }
                return Ok(true);
            }
            None if stop.load(Ordering::Relaxed) => return Ok(false),
            None => save(host, trainer, options)?,
        }
    }
}

fn save(host: &Host, trainer: &Trainer, options: &Train) -> Result<(), Failure> {
    options.checkpoint.as_ref().map_or(Ok(()), |path| host.write(path, trainer.checkpoint()))
}

fn curves(host: &Host, epochs: &[Epoch], options: &Train) -> Result<(), Failure> {
    for path in &options.curve {
        let is_svg = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("svg"));
        host.write(path, if is_svg { curve::svg(epochs) } else { curve::csv(epochs) }.into_bytes())?;
    }
    Ok(())
}

/// What was done so far is kept, if there is a place for it.
fn interrupted(host: &Host, trainer: &Trainer, options: &Train) -> Result<(), Failure> {
    save(host, trainer, options)?;
    Err(checkpoint::interrupted(format!("interrupted {}", place(trainer)), options.checkpoint.as_deref()))
}

/// How far a training is.
fn place(trainer: &Trainer) -> String {
    let (epoch, step) = trainer.place();
    format!("behind {} and {}", counted(epoch, "epoch"), counted(step, "step"))
}

fn summarise(host: &Host, options: &Train, epochs: &[Epoch], layers: usize, json: bool) {
    let path = options.target.display();
    let Some(last) = epochs.last() else {
        out!(host, "{path}: {} rounded, not trained", counted(layers, "layer"));
        return;
    };
    if json {
        let [loss, right] = last.validation.map_or([None; 2], |v| v.map(Some));
        out!(
            host,
            "{}",
            serde_json::json!({
                "output": path.to_string(), "epochs": last.number, "rounded_layers": layers, "loss": last.loss,
                "validation_loss": loss, "validation_right": right,
            })
        );
    } else {
        let right = last
            .validation
            .map_or(String::new(), |[_, right]| format!(", {:.2}% of validation right", 100.0 * right));
        out!(
            host,
            "{path}: {} rounded, {} trained{right}",
            counted(layers, "layer"),
            counted(last.number, "epoch")
        );
    }
}

/// What samples are for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Training,
    Validation,
}

fn failure(error: TrainError, options: &Train) -> Failure {
    failure_of(error, options, Part::Training)
}

fn failure_of(error: TrainError, options: &Train, part: Part) -> Failure {
    let model = options.model.display();
    let (data, labels) = match (part, &options.validation) {
        (Part::Validation, Some(data)) => (data, &options.validation_labels),
        _ => (&options.data, &options.labels),
    };
    match &error {
        TrainError::Samples(_) => Failure::unacceptable(error).in_file(data.display()),
        TrainError::Labels(_) => {
            let file = labels.as_ref().unwrap_or(data);
            Failure::unacceptable(&error)
                .in_file(file.display())
                .help("one class for each sample, counted from 0")
        }
        TrainError::Gradient(GradientError::Memory { .. }) => Failure::new(Kind::Limit, error.to_string())
            .in_file(model)
            .help("a smaller --batch needs less; --max-memory BYTES sets another limit"),
        TrainError::Gradient(_) | TrainError::Network(_) | TrainError::Type(_) => {
            Failure::unacceptable(error).in_file(model)
        }
        TrainError::Options(_) => Failure::usage(error),
        TrainError::Diverged { .. } => Failure::unacceptable(error).in_file(model),
        TrainError::Checkpoint(_) => Failure::unacceptable(error),
    }
}
