//! The command line of `twnc train`, and what it shares with fine-tuning while compiling.

use super::arguments::{deviation, mean, parse_dim, scale, share};
use crate::{Augment, FineTune, Rule, Schedule};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use twnc_onnx::{ImportOptions, ShapeOverride};
use twnc_passes as passes;

/// Options of `twnc train`.
#[derive(Args, Debug)]
pub struct Train {
    /// The ONNX file of the network; its weights are where training begins.
    pub model: PathBuf,
    /// Samples: FILE.npz or a folder of NAME.npy, by the names of inputs; or, for the only input, FILE.npy, idx images (also gzipped), or a folder of
    /// folders of PNG and JPEG files, one for each class.
    #[arg(long, value_name = "X")]
    pub data: PathBuf,
    /// The class of each sample: FILE.npy or idx. Without labels, the network is trained to give what the float network gives.
    #[arg(long, value_name = "Y")]
    pub labels: Option<PathBuf>,
    /// Do without the classes of folders.
    #[arg(long, conflicts_with = "labels")]
    pub distil: bool,
    /// Samples on which the network is measured after each epoch.
    #[arg(long, value_name = "X")]
    pub validation: Option<PathBuf>,
    /// Their classes.
    #[arg(long, value_name = "Y", requires = "validation")]
    pub validation_labels: Option<PathBuf>,
    /// Without --validation, measure on this share of the samples, and do not train on it.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share, conflicts_with = "validation")]
    pub hold_out: f64,
    /// The ONNX file to write.
    #[arg(short = 'o', value_name = "OUT.onnx")]
    pub target: PathBuf,
    /// What weights are in a step: twn (threshold 0.7 of the mean magnitude, the paper's), bwn (sign times mean magnitude), ttq (two trained scales), or
    /// float, for comparison on the same recipe.
    #[arg(long, value_enum, default_value_t)]
    pub method: Method,
    /// What shares a scale: layer, or channel, an output channel.
    #[arg(long, value_name = "WHAT", default_value = "layer", value_parser = scale)]
    pub scale: passes::Scale,
    /// Keep the layers whose name matches a pattern (`*` and `?`) float, or those of a kind: kind:depthwise, kind:first, kind:last.
    #[arg(long, value_name = "GLOB")]
    pub keep: Vec<String>,
    /// How gradients are followed.
    #[arg(long, value_enum, default_value_t)]
    pub optimiser: OptimiserChoice,
    /// Of SGD.
    #[arg(long, default_value_t = 0.9, value_parser = fraction)]
    pub momentum: f32,
    /// The rate in the beginning [default: 0.001 for adam, 0.1 for sgd].
    #[arg(long, value_parser = positive)]
    pub rate: Option<f32>,
    /// How the rate changes: constant, cosine (to 0), or steps=S,S:FACTOR (multiplied at these shares of the training).
    #[arg(long, value_name = "HOW", default_value = "cosine", value_parser = parse_schedule)]
    pub schedule: Schedule,
    /// So much of a layer's weights is added to their gradient.
    #[arg(long, default_value_t = 0.0, value_parser = fraction)]
    pub weight_decay: f32,
    /// How often every sample is seen.
    #[arg(long, default_value_t = 12)]
    pub epochs: usize,
    /// Samples of a step; of a network that fixes its batch, as many whole batches as that takes.
    #[arg(long, default_value_t = 64, value_parser = batch)]
    pub batch: usize,
    /// How images are changed: none, auto (moved by an eighth of their side, in three colours mirrored and, without labels, mixed), or some of
    /// flip, shift=PIXELS and, without labels, cutmix (rectangles of other images).
    #[arg(long, value_name = "HOW", default_value = "none", value_parser = parse_augment)]
    pub augment: AugmentChoice,
    /// By what everything is drawn.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Begin with drawn weights instead of the network's.
    #[arg(long)]
    pub fresh: bool,
    /// At which logits, in front of a softmax, are compared with the float network's, where there are no labels. Other outputs are compared by squared error.
    #[arg(long, default_value_t = 2.0, value_parser = positive)]
    pub temperature: f32,
    /// Subtracted from the pixels of idx and image files in 0..1, one number or one for each channel.
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, value_parser = mean)]
    pub mean: Vec<f32>,
    /// These pixels are divided by it, one number or one for each channel.
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, value_parser = deviation)]
    pub std: Vec<f32>,
    /// Write here, behind every epoch, once a minute and when interrupted, what is needed to go on.
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Go on from the checkpoint, if it is there.
    #[arg(long, requires = "checkpoint")]
    pub resume: bool,
    /// Write the course of the training as a table (FILE.csv) or a drawing (FILE.svg); several times.
    #[arg(long, value_name = "FILE")]
    pub curve: Vec<PathBuf>,
    /// Say nothing of epochs.
    #[arg(long)]
    pub quiet: bool,
    /// The most bytes that the values of a batch may take.
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 30)]
    pub max_memory: usize,
    /// The shape of an input in the place of the declared one, as [NAME:]1x3x224x224; a letter leaves a size open.
    #[arg(short = 'i', long, value_name = "SHAPE")]
    pub input_shape: Vec<ShapeOverride>,
    /// The size of a named dimension.
    #[arg(long, value_name = "NAME=N", value_parser = parse_dim)]
    pub dim: Vec<(String, i64)>,
    /// Cut the graph: this value is the output.
    #[arg(long = "output", value_name = "NAME")]
    pub outputs: Vec<String>,
}

/// What weights are in a step of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)] // `Train` explains them; here they would end up in --help twice.
pub enum Method {
    #[default]
    Twn,
    Bwn,
    Ttq,
    Float,
}

/// How gradients are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)] // `Train` explains them; here they would end up in --help twice.
pub enum OptimiserChoice {
    #[default]
    Adam,
    Sgd,
}

impl Train {
    /// What the importer needs of them.
    pub fn import(&self) -> ImportOptions {
        ImportOptions {
            input_shapes: self.input_shape.clone(),
            dims: self.dim.clone(),
            outputs: self.outputs.clone(),
            ..ImportOptions::default()
        }
    }

    /// How gradients are followed.
    pub fn rule(&self) -> Rule {
        match self.optimiser {
            OptimiserChoice::Adam => Rule::Adam,
            OptimiserChoice::Sgd => Rule::Sgd { momentum: self.momentum },
        }
    }

    /// The rate in the beginning.
    pub fn rate(&self) -> f32 {
        self.rate.unwrap_or(match self.optimiser {
            OptimiserChoice::Adam => 1e-3,
            OptimiserChoice::Sgd => 0.1,
        })
    }
}

/// How images are changed: `None` for what is safe.
pub type AugmentChoice = Chosen<Augment>;

/// A choice, or what the compiler makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen<T> {
    /// What the compiler finds right.
    Auto,
    /// This.
    As(T),
}

impl<T> Chosen<T> {
    /// The choice, if it was made.
    pub fn chosen(self) -> Option<T> {
        match self {
            Chosen::Auto => None,
            Chosen::As(choice) => Some(choice),
        }
    }
}

/// How long layers are trained together.
pub fn parse_fine_tune(word: &str) -> Result<FineTune, String> {
    match word {
        "auto" => Ok(FineTune::Auto),
        "none" => Ok(FineTune::None),
        number => match number.parse() {
            Ok(steps @ 1..=MOST_STEPS) => Ok(FineTune::Steps(steps)),
            _ => Err(format!("auto, none, or 1 to {MOST_STEPS} steps")),
        },
    }
}

/// The most steps of a fine-tuning.
const MOST_STEPS: usize = 1_000_000;

/// How images are changed.
pub fn parse_augment(text: &str) -> Result<AugmentChoice, String> {
    let mut augment = Augment::default();
    for word in text.split(',') {
        match (word, word.split_once('=')) {
            ("auto", _) if text == "auto" => return Ok(Chosen::Auto),
            ("none", _) if text == "none" => {}
            ("flip", _) => augment.flip = true,
            ("cutmix", _) => augment.cutmix = true,
            (_, Some(("shift", pixels))) => {
                augment.shift = pixels
                    .parse()
                    .ok()
                    .filter(|n| *n <= 1024)
                    .ok_or("an image is moved by 0 to 1024 pixels")?;
            }
            _ => {
                return Err(
                    "auto, none, or some of flip, shift=PIXELS and cutmix with commas between".to_owned()
                );
            }
        }
    }
    Ok(Chosen::As(augment))
}

fn fraction(word: &str) -> Result<f32, String> {
    word.parse().ok().filter(|x| (0.0..1.0).contains(x)).ok_or_else(|| "a number from 0 up to 1".to_owned())
}

fn positive(word: &str) -> Result<f32, String> {
    let number = word.parse().ok().filter(|x: &f32| x.is_finite() && *x > 0.0);
    number.ok_or_else(|| "a number above 0".to_owned())
}

fn batch(word: &str) -> Result<usize, String> {
    word.parse()
        .ok()
        .filter(|n| (1..=1 << 16).contains(n))
        .ok_or_else(|| format!("a step has 1 to {} samples", 1 << 16))
}

fn parse_schedule(text: &str) -> Result<Schedule, String> {
    let steps = || -> Option<Schedule> {
        let (shares, factor) = text.strip_prefix("steps=")?.split_once(':')?;
        let at: Vec<f64> = shares.split(',').map(|share| share.parse().ok()).collect::<Option<_>>()?;
        let factor = factor.parse().ok().filter(|f: &f64| f.is_finite() && *f > 0.0)?;
        let ascending = at.is_sorted() && at.iter().all(|share| (0.0..=1.0).contains(share));
        ascending.then_some(Schedule::Steps { at, factor })
    };
    match text {
        "constant" => Ok(Schedule::Constant),
        "cosine" => Ok(Schedule::Cosine),
        _ => steps().ok_or_else(|| "constant, cosine, or for instance steps=0.5,0.75:0.1".to_owned()),
    }
}
