//! The command `testsuite`: writes generated networks to files, for the scripts that measure and compare, compares networks with the
//! evaluator, measures what the e-graph makes of them, runs ONNX's own tests, and feeds readers with what no writer writes.

mod memory;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand, ValueEnum};
use testsuite::agree::{self, Agreement};
use testsuite::conformance;
use testsuite::extraction::{self, Request};
use testsuite::fuzz::{Outcome, Run, Target};
use testsuite::generate::{GenerateError, Network, Weights};
use testsuite::graphs;
use twnc_onnx::{ImportOptions, ShapeOverride};
use twnc_passes::{Limits, Mode};

/// What the test suite of twnc can do from a shell.
#[derive(Parser)]
#[command(version)]
struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Writes a network with seeded random weights as ONNX
    Generate {
        /// resnet18, resnet50, vgg7, inception, fire, inception-block, fire-block, planes, chain-1000 (layers), conv3x3-64-64-56 (channels in, out,
        /// image size; -s2 for a stride of 2), depthwise3x3-128-56, fc-4096-4096
        name: Network,
        /// The file to write
        #[arg(short, long)]
        output: PathBuf,
        /// Plain float weights, or weights that are ternary already
        #[arg(long, value_enum, default_value_t = Weights::Float)]
        weights: Weights,
        /// Another seed gives other weights
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Compiles a network and compares it, on every path of execution, with the reference evaluator; prints JSON
    Agree {
        /// The ONNX file
        model: PathBuf,
        /// The shape of an input in the place of the declared one, as [NAME:]1x3x224x224
        #[arg(short, long)]
        input_shape: Vec<ShapeOverride>,
        /// Cut the network: these values are the outputs
        #[arg(long = "output")]
        outputs: Vec<String>,
        /// Which layers become ternary
        #[arg(long, value_enum, default_value_t = Ternarise::All)]
        ternarise: Ternarise,
    },
    /// Prints what a network costs after the e-graph by each way of extraction, every layer ternary
    Extraction {
        /// The ONNX files
        #[arg(required = true)]
        models: Vec<PathBuf>,
        /// The shape of an input in the place of the declared one, as [NAME:]1x3x224x224
        #[arg(short, long)]
        input_shape: Vec<ShapeOverride>,
        /// Nodes of a region
        #[arg(long, default_value_t = Limits::default().region)]
        region: usize,
        /// Nodes that a region shares with the one before
        #[arg(long, default_value_t = Limits::default().overlap)]
        overlap: usize,
        /// Nodes of an e-graph
        #[arg(long, default_value_t = Limits::default().nodes)]
        nodes: usize,
        /// Evaluate the network before and after, which takes long for a large one; fails where they do not agree
        #[arg(long)]
        evaluate: bool,
    },
    /// Gives a reader mutations of what the repository has for it, or the compiler random graphs, and tells of panics, hangs and hunger for memory
    Fuzz {
        /// onnx, program (model.bin), twir, rules, npy, npz, image or tuning; or graphs
        subject: Subject,
        /// How many inputs
        #[arg(long, default_value_t = 100_000)]
        executions: u64,
        /// Another seed gives other inputs; of graphs, which have a seed each, it is the first
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Where to write the input of a failure
        #[arg(long, default_value = "failure.bin")]
        failure: PathBuf,
    },
    /// Writes what the mutations of a reader begin with, a file each, for cargo-fuzz
    Seeds {
        /// onnx, program (model.bin), twir, rules, npy, npz, image or tuning
        target: Target,
        /// The folder to write to
        folder: PathBuf,
        /// Only those of at most so many bytes
        #[arg(long, default_value_t = usize::MAX)]
        largest: usize,
    },
    /// Runs ONNX's backend suite by the evaluator and by generated code; fails if a test that passed no longer does
    Conformance {
        /// The folder with node/, simple/, ..., as zoo.sh fetches it
        folder: PathBuf,
        /// Write the list of tests that pass, and the page about them, anew
        #[arg(long)]
        write: bool,
    },
}

/// What is fuzzed.
#[derive(Clone, Debug)]
enum Subject {
    /// A reader.
    Reader(Target),
    /// The compiler and the runtime.
    Graphs,
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(name: &str) -> Result<Subject, String> {
        if name == "graphs" { Ok(Subject::Graphs) } else { name.parse().map(Subject::Reader) }
    }
}

/// Which layers become ternary, as `twnc --ternarise` has it.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Ternarise {
    Auto,
    All,
    Detected,
    None,
}

/// An execution that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(5);
/// An execution that takes more memory, in bytes, takes too much.
const LARGEST: usize = 512 << 20;
/// After so many random graphs a line says how far a run is.
const PROGRESS: u64 = 500;

fn main() -> ExitCode {
    let result = match Command::parse().action {
        Action::Generate { name, output, weights, seed } => generate(name, weights, seed, &output),
        Action::Conformance { folder, write } => {
            let summary = conformance::run(&folder, write);
            summary.map(|summary| println!("{summary}")).map_err(|error| error.to_string())
        }
        Action::Agree { model, input_shape, outputs, ternarise } => {
            let import = ImportOptions { input_shapes: input_shape, outputs, ..ImportOptions::default() };
            agree(&model, import, ternarise)
        }
        Action::Extraction { models, input_shape, region, overlap, nodes, evaluate } => {
            let import = ImportOptions { input_shapes: input_shape, ..ImportOptions::default() };
            let limits = Limits { region, overlap, nodes, ..Limits::default() };
            extraction(&models, &Request { import, limits, evaluate })
        }
        Action::Fuzz { subject: Subject::Reader(target), executions, seed, failure } => {
            fuzz(Run { target, executions, seed }, &failure)
        }
        Action::Fuzz { subject: Subject::Graphs, executions, seed, .. } => {
            fuzz_graphs(graphs::Run { executions, seed })
        }
        Action::Seeds { target, folder, largest } => seeds(target, &folder, largest),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn generate(name: Network, weights: Weights, seed: u64, output: &Path) -> Result<(), String> {
    name.write(weights, seed, output).map_err(|error: GenerateError| error.to_string())
}

fn agree(model: &Path, import: ImportOptions, ternarise: Ternarise) -> Result<(), String> {
    let mode = match ternarise {
        Ternarise::Auto => Mode::Auto,
        Ternarise::All => Mode::All,
        Ternarise::Detected => Mode::Detected,
        Ternarise::None => Mode::None,
    };
    let Agreement { ternary_layers, bytes, compile_seconds, shares } =
        agree::agree(model, import, mode).map_err(|error| format!("{}: {error}", model.display()))?;
    println!(
        "{}",
        serde_json::json!({
            "ternary_layers": ternary_layers, "bytes": bytes, "compile_seconds": compile_seconds,
            "shares": shares.iter().copied().collect::<BTreeMap<_, _>>(),
        })
    );
    match shares.iter().find(|(_, share)| share.is_nan() || *share > 1.0) {
        Some((path, share)) => Err(format!("{}: {path} uses {share} of the bound", model.display())),
        None => Ok(()),
    }
}

fn extraction(models: &[PathBuf], request: &Request) -> Result<(), String> {
    println!(
        "| network | extraction | weight | multiplications | additions | tables | bytes | steps | nodes | ms | MB | limits reached | of the bound |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|"
    );
    for model in models {
        let rows = extraction::measure(model, request, &mut memory::most_since_last_asked);
        let name = model.file_stem().unwrap_or_default().to_string_lossy();
        for row in rows.map_err(|error| format!("{}: {error}", model.display()))? {
            let cost = row.cost;
            println!(
                "| {name} | {} | {:.0} | {} | {} | {} | {} | {} | {} | {:.0} | {:.1} | {} | {} |",
                row.name,
                row.weight,
                cost.multiplications,
                cost.additions,
                cost.tables,
                cost.bytes,
                cost.steps,
                row.nodes,
                row.time.as_secs_f64() * 1e3,
                row.memory as f64 / 1e6,
                row.limited,
                row.share.map_or("".to_owned(), |share| format!("{share:.4}"))
            );
            if row.share.is_some_and(|share| share.is_nan() || share > 1.0) {
                return Err(format!(
                    "{}: what `{}` extracts computes something else",
                    model.display(),
                    row.name
                ));
            }
        }
    }
    Ok(())
}

fn fuzz(run: Run, failure: &Path) -> Result<(), String> {
    let start = Instant::now();
    let Outcome { accepted, slowest, largest, failure: found } =
        run.execute(&mut memory::most_since_last_asked);
    println!(
        "{}: {} executions from seed {} in {:.1} s, {accepted} accepted; the longest took {:.3} s, the largest {:.1} MB",
        run.target,
        run.executions,
        run.seed,
        start.elapsed().as_secs_f64(),
        slowest.0.as_secs_f64(),
        largest.0 as f64 / 1e6
    );
    let (input, what) = match found {
        Some((input, message)) => (input, format!("panicked: {message}")),
        None if slowest.0 > LONGEST => (slowest.1, format!("took longer than {LONGEST:?}")),
        None if largest.0 > LARGEST => (largest.1, format!("took more than {LARGEST} bytes of memory")),
        None => return Ok(()),
    };
    let told = std::fs::write(failure, &input);
    let place = told.map_or_else(|error| error.to_string(), |()| failure.display().to_string());
    Err(format!("{} {what}; its input: {place}", run.target))
}

fn fuzz_graphs(run: graphs::Run) -> Result<(), String> {
    let start = Instant::now();
    let outcome = run.execute(&mut memory::most_since_last_asked, &mut |so_far| {
        if so_far.graphs.is_multiple_of(PROGRESS) {
            eprintln!("{} of {}, {:.0} s", so_far.graphs, run.executions, start.elapsed().as_secs_f64());
        }
    });
    println!(
        "graphs: {} from seed {} in {:.1} s, {} nodes; the longest took {:.3} s (seed {}), the largest {:.1} MB (seed {})",
        outcome.graphs,
        run.seed,
        start.elapsed().as_secs_f64(),
        outcome.nodes,
        outcome.slowest.0.as_secs_f64(),
        outcome.slowest.1,
        outcome.largest.0 as f64 / 1e6,
        outcome.largest.1
    );
    match outcome.failure {
        Some((seed, what)) => Err(format!("the graph of seed {seed}: {what}")),
        None if outcome.slowest.0 > LONGEST => {
            Err(format!("the graph of seed {} took longer than {LONGEST:?}", outcome.slowest.1))
        }
        None if outcome.largest.0 > LARGEST => {
            Err(format!("the graph of seed {} took more than {LARGEST} bytes of memory", outcome.largest.1))
        }
        None => Ok(()),
    }
}

fn seeds(target: Target, folder: &Path, largest: usize) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for (number, seed) in target.seeds().into_iter().enumerate().filter(|(_, seed)| seed.len() <= largest) {
        let path = folder.join(format!("{target}-{number}"));
        std::fs::write(&path, seed).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}
