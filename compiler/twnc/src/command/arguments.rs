//! The command line.

use super::calibrate::Calibration;
use super::data;
use super::failure::Failure;
use super::training::Train;
use crate::{CompileError, Compiler, CompilerBuilder};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;
use twnc_ir::RunOptions;
use twnc_onnx::{ImportOptions, ShapeOverride};
use twnc_passes as passes;

/// Compile a neural network to a ternary program that runs without multiplications.
///
/// `twnc MODEL.onnx -o MODEL.bin` reads an ONNX network, rewrites the weights of its convolutions and linear layers to -1, 0 and +1 with a
/// scale (weights that are already ternary are taken over exactly), and writes a file that `twnc run` and the runtime library execute.
#[derive(Debug, Parser)]
#[command(
    name = "twnc",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  twnc model.onnx -o model.bin\n  twnc run model.bin -i data.npz -o out.npz\n  twnc compare model.onnx model.bin --data data.npz --labels labels.npy\n  twnc train model.onnx --data train.npz --labels labels.npy -o ternary.onnx\n  twnc bench model.bin --threads 2\n  twnc bench model.bin --autotune --store tuning.txt\n\nExit codes: 0 done, 1 a comparison failed, 2 usage, 3 a model or file is not acceptable, 4 a limit was hit, 130 interrupted."
)]
pub struct Cli {
    /// What to do instead of compiling.
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub compile: Compile,
    /// Write errors (and, where a command has results for machines, results) as JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

/// Commands beside compiling.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a compiled model on arrays or an image.
    Run(Run),
    /// Measure a compiled model: minimum, median and 99th percentile, and each step.
    Bench(Bench),
    /// Show the layers of a model: sizes, sparsity, scales, multiplications; and the generated code.
    Inspect(Inspect),
    /// Compare a compiled model with the float network that it came from.
    Compare(Compare),
    /// Train a network whose weights are ternary in every step, with labels or without.
    Train(Box<Train>),
    /// Run passes on a graph and print it as text.
    Opt(Opt),
    /// List the passes, in order, with the reason for each one's place.
    Passes,
    /// List the rules by which scales move and sums become one, or check a file of others.
    Rules(Rules),
    /// List the ONNX operators that are accepted, and what each becomes.
    Ops,
    /// Print a script by which a shell completes command lines.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write manual pages, one for the command and one for each of these.
    Man {
        /// The folder that they go into; it is made where it is missing.
        folder: PathBuf,
    },
}

/// Options of a compilation.
#[derive(Args, Debug)]
pub struct Compile {
    /// The ONNX file.
    pub model: Option<PathBuf>,
    /// The file to write: model.bin, or what --emit asks for (default: standard output for text).
    #[arg(short = 'o', value_name = "FILE")]
    pub target: Option<PathBuf>,
    #[command(flatten)]
    pub options: CompileOptions,
    #[command(flatten)]
    pub calibration: Calibration,
    /// The most bytes that a run of the model may take for inputs whose open sizes are 1, and that values of all samples of --calibrate may take
    /// at a time; those 8 GiB without it.
    #[arg(long, value_name = "BYTES")]
    pub max_memory: Option<usize>,
    /// Write something else than a model.bin.
    #[arg(long, value_name = "FORM")]
    pub emit: Option<Emit>,
    /// How --emit onnx writes ternary weights: float (elements -1, 0 and 1, for every engine), qdq-int2 (INT2 and DequantizeLinear, operator
    /// set 25), matmulnbits (com.microsoft::MatMulNBits of 2 bits for linear layers, float for the others), qonnx (Quant of 2 bits).
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub onnx_format: OnnxFormat,
    /// Write what was recognised, done and not done, layer by layer: as a page (FILE.html), or as JSON (any other name).
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Print the graph behind a pass, or behind each with `all`.
    #[arg(long, value_name = "PASS")]
    pub print_after: Vec<String>,
    /// Run no pass behind this one.
    #[arg(long, value_name = "PASS")]
    pub stop_after: Option<String>,
    /// Leave a pass out.
    #[arg(long, value_name = "PASS")]
    pub skip_pass: Vec<String>,
    /// Print how long each pass took.
    #[arg(long)]
    pub time_passes: bool,
    /// Verify the graph behind every pass.
    #[arg(long)]
    pub verify: bool,
}

/// What is compiled, and how.
#[derive(Args, Clone, Debug)]
pub struct CompileOptions {
    /// Which layers become ternary: auto (a network that is ternary for half of its weights or more keeps the others float; any other
    /// becomes ternary as a whole), all, detected (only those that are already), none.
    #[arg(long, value_enum, default_value_t)]
    pub ternarise: Ternarise,
    /// Keep the layers whose name matches a pattern (`*` and `?`) float, or those of a kind: kind:depthwise, kind:first, kind:last. With
    /// --calibrate, those behind ternary layers are fitted to what they read.
    #[arg(long, value_name = "GLOB")]
    pub keep: Vec<String>,
    /// How weights are rounded: twn (0.7 of the mean magnitude) or exact (least squares).
    #[arg(long, value_enum, default_value_t)]
    pub threshold: Threshold,
    /// What shares a scale: layer, as in the paper; channel, an output channel; or group:N, at most N weights of an output channel, those of whole
    /// input channels [default: layer; with --calibrate, channel].
    #[arg(long, value_name = "WHAT", value_parser = scale)]
    pub scale: Option<passes::Scale>,
    /// What ternary layers sum: f32, or int (whole numbers, to which their inputs are rounded, with a scale for each sample).
    #[arg(long, value_enum, default_value_t)]
    pub activations: Activations,
    /// The bits of such a whole number, 4 to 12.
    #[arg(long, value_name = "N", default_value_t = 8, requires = "activations", value_parser = parse_bits)]
    pub activation_bits: usize,
    /// Leave out one positive scale and one bias before outputs whose order alone matters, such as logits: values change, their order does not.
    #[arg(long)]
    pub logits_scale_free: bool,
    /// Apply the rules of a file beside the built-in ones.
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// The shape of an input in the place of the declared one, as [NAME:]1x3x224x224; a letter leaves a size open.
    #[arg(short = 'i', long, value_name = "SHAPE")]
    pub input_shape: Vec<ShapeOverride>,
    /// The size of a named dimension.
    #[arg(long, value_name = "NAME=N", value_parser = parse_dim)]
    pub dim: Vec<(String, i64)>,
    /// Cut the graph: these values are the outputs.
    #[arg(long = "output", value_name = "NAME")]
    pub outputs: Vec<String>,
}

/// What to write instead of a model.bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    /// The graph as text.
    Twir,
    /// The graph for Graphviz.
    Dot,
    /// The network as ONNX, its ternary weights as --onnx-format says, with a multiplication behind.
    Onnx,
}

/// How ternary weights are written as ONNX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)] // `Compile::onnx_format` explains them; here they would end up in --help twice.
pub enum OnnxFormat {
    #[default]
    Float,
    QdqInt2,
    #[value(name = "matmulnbits")]
    MatMulNBits,
    Qonnx,
}

/// Which layers become ternary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)] // `CompileOptions::ternarise` explains them; here they would end up in --help twice.
pub enum Ternarise {
    #[default]
    Auto,
    All,
    Detected,
    None,
}

/// How weights are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)] // as above
pub enum Threshold {
    #[default]
    Twn,
    Exact,
}

/// What ternary layers sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)] // as above
pub enum Activations {
    #[default]
    F32,
    Int,
}

/// Options of `twnc run`.
#[derive(Args, Debug)]
pub struct Run {
    /// The compiled model.
    pub model: PathBuf,
    /// An input: NAME=FILE.npy (several times), FILE.npz, or a folder of NAME.npy.
    #[arg(short, long, value_name = "INPUT")]
    pub input: Vec<String>,
    /// An image (PNG or JPEG) for the model's only input.
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    pub image: Option<PathBuf>,
    /// Subtracted from pixels in 0..1, one number or one for each channel.
    #[arg(long, value_delimiter = ',', requires = "image", conflicts_with = "input", allow_hyphen_values = true, value_parser = mean)]
    pub mean: Vec<f32>,
    /// Pixels are divided by it, one number or one for each channel.
    #[arg(long, value_delimiter = ',', requires = "image", conflicts_with = "input", allow_hyphen_values = true, value_parser = deviation)]
    pub std: Vec<f32>,
    /// Write the outputs here, by name; without it they are summed up on standard output.
    #[arg(short = 'o', value_name = "OUT.npz")]
    pub target: Option<PathBuf>,
    #[command(flatten)]
    pub session: SessionArguments,
}

/// Options of a session.
#[derive(Args, Clone, Debug)]
pub struct SessionArguments {
    /// How many threads compute.
    #[arg(long, default_value_t = 1, value_parser = threads)]
    pub threads: usize,
    /// The most bytes that tensors may take.
    #[arg(long, value_name = "BYTES")]
    pub max_memory: Option<usize>,
    /// Which kernels layers take, as `twnc bench --autotune --store FILE` has measured it on this machine.
    #[arg(long, value_name = "FILE")]
    pub tuning: Option<PathBuf>,
}

/// Options of `twnc bench`.
#[derive(Args, Debug)]
pub struct Bench {
    /// The compiled model.
    pub model: PathBuf,
    /// How many runs to time; as many as fit into a second or two without it.
    #[arg(long, value_parser = runs)]
    pub runs: Option<usize>,
    /// The size of a named dimension; without it, a batch of 1, and a small one of others.
    #[arg(long, value_name = "NAME=N", value_parser = parse_dim)]
    pub dim: Vec<(String, i64)>,
    /// Measure several kernels for each ternary layer first, and take those that are faster than the ones that were estimated to be fastest.
    #[arg(long)]
    pub autotune: bool,
    /// Write what was chosen, beside what --tuning says of other layers, for --tuning.
    #[arg(long, value_name = "FILE", requires = "autotune")]
    pub store: Option<PathBuf>,
    #[command(flatten)]
    pub session: SessionArguments,
}

/// Options of `twnc inspect`.
#[derive(Args, Debug)]
pub struct Inspect {
    /// A model.bin, or an ONNX file, which is compiled in memory.
    pub model: PathBuf,
    #[command(flatten)]
    pub options: CompileOptions,
    /// Disassemble the code of the accumulations.
    #[arg(long)]
    pub disassemble: bool,
}

/// Options of `twnc compare`.
#[derive(Args, Debug)]
pub struct Compare {
    /// The ONNX file of the float network.
    pub model: PathBuf,
    /// The compiled model.
    pub compiled: PathBuf,
    /// Inputs: FILE.npz, or a folder of NAME.npy; the first axis counts samples.
    #[arg(long, value_name = "X.npz")]
    pub data: PathBuf,
    /// The right class of each sample.
    #[arg(long, value_name = "Y.npy")]
    pub labels: Option<PathBuf>,
    /// Write the comparison with the compiled model's layers: as a page (FILE.html), or as JSON (any other name).
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Fail (exit code 1) if agreement with the float network is below this share.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub min_agreement: Option<f64>,
    #[command(flatten)]
    pub session: SessionArguments,
}

/// Options of `twnc opt`.
#[derive(Args, Debug)]
pub struct Opt {
    /// A .twir or .onnx file.
    pub file: PathBuf,
    /// The passes to run, in this order, as names with commas between; none without it.
    #[arg(long, value_delimiter = ',')]
    pub passes: Vec<String>,
    /// Print all elements of large constants, so that the text can be read again.
    #[arg(long)]
    pub full: bool,
    /// Say by which rules of the e-graph a value came to be: a layer, an output, or %7. Needs the pass saturate.
    #[arg(long, value_name = "VALUE")]
    pub explain: Vec<String>,
    #[command(flatten)]
    pub options: CompileOptions,
}

/// Options of `twnc rules`.
#[derive(Args, Debug)]
pub struct Rules {
    /// Evaluate both sides of the rules of this file on random tensors, instead of listing the built-in rules.
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,
    /// How many random cases each rule must hold in.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = cases)]
    pub cases: usize,
}

impl CompileOptions {
    /// What the importer needs of them.
    pub fn import(&self) -> ImportOptions {
        ImportOptions {
            input_shapes: self.input_shape.clone(),
            dims: self.dim.clone(),
            outputs: self.outputs.clone(),
            ..ImportOptions::default()
        }
    }

    /// The compiler that they ask for.
    pub fn compiler(&self, run: RunOptions) -> Result<Compiler, Failure> {
        self.builder(run)?.build().map_err(|error| self.refused(error))
    }

    /// The builder of that compiler.
    pub fn builder(&self, run: RunOptions) -> Result<CompilerBuilder, Failure> {
        Ok(Compiler::builder().import(self.import()).passes(self.passes()?).run(run))
    }

    /// The failure of an error in what they ask for, with the file of rules where it is there.
    pub fn refused(&self, error: CompileError) -> Failure {
        let of_rules = matches!(
            error,
            CompileError::Options(passes::OptionsError::Rules(_) | passes::OptionsError::WrongRule { .. })
        );
        let failure = Failure::from(error);
        match self.rules.as_ref().filter(|_| of_rules) {
            Some(path) => failure.in_file(path.display()),
            None => failure,
        }
    }

    /// What the passes need of them.
    pub fn passes(&self) -> Result<passes::Options, Failure> {
        Ok(passes::Options {
            ternarise: match self.ternarise {
                Ternarise::Auto => passes::Mode::Auto,
                Ternarise::All => passes::Mode::All,
                Ternarise::Detected => passes::Mode::Detected,
                Ternarise::None => passes::Mode::None,
            },
            keep: self.keep.clone(),
            threshold: match self.threshold {
                Threshold::Twn => passes::Threshold::Twn,
                Threshold::Exact => passes::Threshold::Exact,
            },
            scale: self.scale.unwrap_or_default(),
            activations: match self.activations {
                Activations::F32 => passes::Activations::F32,
                Activations::Int => passes::Activations::Int,
            },
            activation_bits: self.activation_bits,
            rules: self.rules.as_deref().map_or(Ok(String::new()), data::text)?,
            logits_scale_free: self.logits_scale_free,
            explain: vec![],
        })
    }
}

fn parse_bits(text: &str) -> Result<usize, String> {
    let (least, most) = passes::fix_point::BITS.into_inner();
    let bits = text.parse().ok().filter(|bits| passes::fix_point::BITS.contains(bits));
    bits.ok_or_else(|| format!("an activation has {least} to {most} bits"))
}

/// What shares a scale, in words.
pub fn scale(text: &str) -> Result<passes::Scale, String> {
    match text.split_once(':') {
        None if text == "layer" => Ok(passes::Scale::Layer),
        None if text == "channel" => Ok(passes::Scale::Channel),
        Some(("group", size)) => match size.parse() {
            Ok(size @ 1..) => Ok(passes::Scale::Group(size)),
            _ => Err(format!("`{size}` is no number of weights; write group:64, for instance")),
        },
        _ => Err("a scale is that of a layer, a channel or group:N".to_owned()),
    }
}

pub fn parse_dim(text: &str) -> Result<(String, i64), String> {
    let (name, size) = text.split_once('=').ok_or("write NAME=SIZE, for instance batch=1")?;
    match size.parse::<u32>() {
        Ok(size) if size > 0 && !name.is_empty() => Ok((name.to_owned(), size.into())),
        _ => Err(format!("`{size}` is not a size of 1 or more")),
    }
}

/// A number of threads that a machine may have.
fn threads(word: &str) -> Result<usize, String> {
    match word.parse() {
        Ok(threads) if (1..=1024).contains(&threads) => Ok(threads),
        _ => Err("from 1 to 1024 threads may compute".to_owned()),
    }
}

fn runs(word: &str) -> Result<usize, String> {
    match word.parse() {
        Ok(runs) if runs > 0 => Ok(runs),
        _ => Err("at least 1 run is timed".to_owned()),
    }
}

fn cases(word: &str) -> Result<usize, String> {
    match word.parse() {
        Ok(cases @ 1..=1_000_000) => Ok(cases),
        _ => Err("a rule is evaluated in 1 to 1000000 cases".to_owned()),
    }
}

pub fn share(word: &str) -> Result<f64, String> {
    match word.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is a number from 0 to 1".to_owned()),
    }
}

pub fn mean(word: &str) -> Result<f32, String> {
    word.parse().ok().filter(|mean: &f32| mean.is_finite()).ok_or_else(|| "a mean is a number".to_owned())
}

pub fn deviation(word: &str) -> Result<f32, String> {
    match word.parse() {
        Ok(deviation) if f32::is_normal(deviation) => Ok(deviation),
        _ => Err("pixels are divided by a number that is not 0".to_owned()),
    }
}
