//! The compiler: import, passes, lowering, with the options that a user may set.

use crate::execute::Generated;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;
use twnc_ir::{
    CostModel, CountingCost, Graph, Pass, PassContext, Pipeline, PipelineError, Remark, RemarkKind,
    RunOptions, Timing, Topic,
};
use twnc_lower::LowerError;
use twnc_onnx::{Arrival, Import, ImportOptions, OnnxError};
use twnc_passes::{Activations, Mode, OptionsError};
use twnc_program::{Program, ProgramError, StepKind};
use twnc_train::{Keeper, Limits, Repair, RepairOptions, Samples, Summary};

/// Turns networks into programs, as its [builder](Compiler::builder) was told.
pub struct Compiler {
    import: ImportOptions,
    pipeline: Pipeline,
    cost: Box<dyn CostModel>,
    run: RunOptions,
    repair: Option<Arc<Mutex<Option<Summary>>>>,
}

/// Collects the options of a compiler.
#[derive(Default)]
pub struct CompilerBuilder {
    import: ImportOptions,
    passes: twnc_passes::Options,
    cost: Option<Box<dyn CostModel>>,
    run: RunOptions,
    edits: Vec<Placed>,
    repair: Option<(Samples, RepairOptions)>,
    budget: Option<Limits>,
    progress: Option<twnc_train::repair::Progress>,
    keeper: Option<Kept>,
}

/// Who keeps the checkpoints of a repair, and the one that it is taken up from.
type Kept = (Box<dyn Keeper>, Option<Vec<u8>>);

/// A pass of the user's, and where it goes.
struct Placed {
    pass: Box<dyn Pass>,
    place: String,
    before: bool,
}

/// What a compilation gives.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What the runtime executes.
    pub program: Program,
    /// The graph behind all passes, of which the program is the lowering.
    pub graph: Graph,
    /// What passes recognised, did not do, or warn of.
    pub remarks: Vec<Remark>,
    /// What a user should know of the import.
    pub notes: Vec<String>,
    /// How the weights of layers are stored in the file.
    pub arrivals: Vec<Arrival>,
    /// What a [repair](CompilerBuilder::repair) came to, if any layer was to be made ternary.
    pub repair: Option<Summary>,
    /// How long each pass took.
    pub timings: Vec<Timing>,
}

/// Why a network is not compiled.
#[derive(Debug, Error)]
pub enum CompileError {
    /// The options do not fit together.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The file is not accepted.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// A pass failed, or the options name one that there is not.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The graph has no program.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// The program that came out is not valid: a mistake in the compiler.
    #[error("the compiler made a program that is not valid: {0}")]
    Program(#[from] ProgramError),
}

impl Compiler {
    /// A compiler to be told its options.
    pub fn builder() -> CompilerBuilder {
        CompilerBuilder::default()
    }

    /// Compiles a file.
    pub fn compile_file(&self, path: impl AsRef<Path>) -> Result<Compiled, CompileError> {
        let import = twnc_onnx::import_file(path, &self.import)?;
        let Import { graph, notes, arrivals } = import;
        Ok(Compiled { notes, arrivals, ..self.compile(graph, &mut |_, _| {})? })
    }

    /// Compiles a model in memory.
    pub fn compile_bytes(&self, bytes: &[u8]) -> Result<Compiled, CompileError> {
        let import = twnc_onnx::import_bytes(bytes, &self.import)?;
        let Import { graph, notes, arrivals } = import;
        Ok(Compiled { notes, arrivals, ..self.compile(graph, &mut |_, _| {})? })
    }

    /// Compiles a graph. `print` gets the graph's text behind each pass for which the options ask for it.
    pub fn compile(
        &self,
        mut graph: Graph,
        print: &mut dyn FnMut(&str, &str),
    ) -> Result<Compiled, CompileError> {
        let mut cx = PassContext::new(&*self.cost);
        let timings = self.pipeline.run(&mut graph, &mut cx, &self.run, print)?;
        let program = twnc_lower::lower(&graph)?;
        program.validate()?;
        let summary = self.repair.as_ref();
        let repair =
            summary.and_then(|summary| summary.lock().unwrap_or_else(PoisonError::into_inner).take());
        Ok(Compiled {
            program,
            graph,
            remarks: cx.into_remarks(),
            notes: vec![],
            arrivals: vec![],
            repair,
            timings,
        })
    }

    /// Imports a file as this compiler would.
    pub fn import_file(&self, path: impl AsRef<Path>) -> Result<Import, CompileError> {
        Ok(twnc_onnx::import_file(path, &self.import)?)
    }

    /// The passes, in order.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }
}

impl CompilerBuilder {
    /// How files are imported: shapes, dimensions, outputs, custom operators.
    pub fn import(self, import: ImportOptions) -> CompilerBuilder {
        CompilerBuilder { import, ..self }
    }

    /// What becomes ternary, and how. Rules of a text may use the custom operators with which files are imported.
    pub fn passes(self, passes: twnc_passes::Options) -> CompilerBuilder {
        CompilerBuilder { passes, ..self }
    }

    /// The model by which passes choose; [`CountingCost`] unless told otherwise.
    pub fn cost(self, cost: impl CostModel + 'static) -> CompilerBuilder {
        CompilerBuilder { cost: Some(Box::new(cost)), ..self }
    }

    /// What ternary layers sum; one of the choices of [`passes`](CompilerBuilder::passes).
    pub fn activations(mut self, activations: Activations) -> CompilerBuilder {
        self.passes.activations = activations;
        self
    }

    /// The bits of a whole number that is summed, 4 to 12; one of the choices of [`passes`](CompilerBuilder::passes).
    pub fn activation_bits(mut self, bits: usize) -> CompilerBuilder {
        self.passes.activation_bits = bits;
        self
    }

    /// Lets layers that become ternary reproduce what the float network computes on these samples, which need no labels, in the place of
    /// rounding them alone. Scales for each [channel](twnc_passes::Scale::Channel) serve that better than one for each layer.
    pub fn repair(self, samples: Samples, options: RepairOptions) -> CompilerBuilder {
        CompilerBuilder { repair: Some((samples, options)), ..self }
    }

    /// Lets each layer of a [repair](CompilerBuilder::repair) have the form that limits of size and accuracy leave it: a scale for the layer, for each
    /// channel or for groups of weights, two ternary planes, or float.
    pub fn budget(self, limits: Limits) -> CompilerBuilder {
        CompilerBuilder { budget: Some(limits), ..self }
    }

    /// Is told, during a [repair](CompilerBuilder::repair), how many layers are fitted and steps of fine-tuning made, of how many.
    pub fn progress(
        self,
        progress: impl Fn(twnc_train::repair::Stage, usize, usize) + Send + Sync + 'static,
    ) -> CompilerBuilder {
        CompilerBuilder { progress: Some(Box::new(progress)), ..self }
    }

    /// Lets a [repair](CompilerBuilder::repair) be interrupted and keep checkpoints; with one of them, the same repair goes on from there.
    pub fn keeper(self, keeper: impl Keeper + 'static, from: Option<Vec<u8>>) -> CompilerBuilder {
        CompilerBuilder { keeper: Some((Box::new(keeper), from)), ..self }
    }

    /// How the pipeline is run: what is printed, skipped, verified.
    pub fn run(self, run: RunOptions) -> CompilerBuilder {
        CompilerBuilder { run, ..self }
    }

    /// Adds a pass right before the one named `place`.
    pub fn pass_before(self, place: &str, pass: impl Pass + 'static) -> CompilerBuilder {
        self.place(place, Box::new(pass), true)
    }

    /// Adds a pass right after the one named `place`.
    pub fn pass_after(self, place: &str, pass: impl Pass + 'static) -> CompilerBuilder {
        self.place(place, Box::new(pass), false)
    }

    /// The bytes of the file that a graph becomes, whose ternary layers are there already. Passes that are left out are left out here too; those of the
    /// user's are not counted.
    fn bytes(&self) -> twnc_train::budget::Bytes {
        let passes = twnc_passes::Options { ternarise: Mode::Detected, ..self.passes.clone() };
        let custom = self.import.custom.clone();
        let run = RunOptions { skip: self.run.skip.clone(), ..RunOptions::default() };
        Arc::new(move |mut graph: Graph| {
            let pipeline = twnc_passes::pipeline_with(&passes, &custom).map_err(|e| e.to_string())?;
            let mut cx = PassContext::new(&CountingCost);
            pipeline.run(&mut graph, &mut cx, &run, &mut |_, _| {}).map_err(|e| e.to_string())?;
            Ok(twnc_lower::lower(&graph).map_err(|e| e.to_string())?.to_bytes().len())
        })
    }

    /// The compiler.
    pub fn build(self) -> Result<Compiler, CompileError> {
        let mut pipeline = twnc_passes::pipeline_with(&self.passes, &self.import.custom)?;
        let (mut summary, mut run, bytes) = (None, self.run.clone(), self.bytes());
        if let Some((samples, options)) = self.repair {
            let mut pass = Repair::new(&self.passes, Arc::new(samples), Arc::new(Generated), options)?;
            if let Some(progress) = self.progress {
                pass = pass.progress(progress);
            }
            if let Some((keeper, from)) = self.keeper {
                pass = pass.keeper(keeper, from);
            }
            if let Some(limits) = self.budget {
                pass = pass.budget(limits, bytes);
            }
            summary = Some(pass.summary());
            let why = "With samples, in the place of `ternarise`, which is skipped: layers are fitted to what they compute.";
            // What is left float is to stay so.
            if !run.skip.iter().any(|name| name == "repair") {
                run.skip.push("ternarise".to_owned());
            }
            pipeline.before("ternarise", Box::new(pass), why)?;
        }
        for Placed { pass, place, before } in self.edits {
            let why = format!(
                "{} `{place}`, where the application put it",
                if before { "before" } else { "after" }
            );
            match before {
                true => pipeline.before(&place, pass, &why)?,
                false => pipeline.after(&place, pass, &why)?,
            }
        }
        let cost = self.cost.unwrap_or_else(|| Box::new(CountingCost));
        Ok(Compiler { import: self.import, pipeline, cost, run, repair: summary })
    }

    fn place(mut self, place: &str, pass: Box<dyn Pass>, before: bool) -> CompilerBuilder {
        self.edits.push(Placed { pass, place: place.to_owned(), before });
        self
    }
}

impl Compiled {
    /// How many layers have a ternary weight.
    pub fn ternary_layers(&self) -> usize {
        self.program.steps.iter().filter(|step| matches!(step.kind, StepKind::Accumulate(_))).count()
    }

    /// How many layers were rounded: they were not ternary in the file.
    pub fn rounded_layers(&self) -> usize {
        let rounded =
            |remark: &&Remark| remark.topic == Topic::Rounding && remark.kind == RemarkKind::Applied;
        self.remarks.iter().filter(rounded).count()
    }

    /// As what a layer was taken over that is ternary in the file: `one scale, 40.0% zeros`.
    pub fn recognised(&self, layer: &str) -> Option<&str> {
        let found = self.remarks.iter().find(|remark| {
            remark.node == layer && remark.topic == Topic::Detection && remark.kind == RemarkKind::Applied
        });
        found.map(|remark| remark.message.as_str())
    }

    /// How the weight of a layer is stored in the file, where it comes from one.
    pub fn arrival(&self, layer: &str) -> Option<&Arrival> {
        self.arrivals.iter().find(|arrival| arrival.layer == layer)
    }

    /// Why a layer is not ternary, or is not in the file: what keeps its weight from it, and everything that passes have said of that, in
    /// their order.
    pub fn why_not_ternary(&self, layer: &str) -> Option<String> {
        let missed = self.remarks.iter().filter(|remark| {
            remark.node == layer && remark.topic.is_ternary() && remark.kind == RemarkKind::Missed
        });
        let obstacle = self.arrival(layer).filter(|_| self.recognised(layer).is_none());
        let obstacle = obstacle.and_then(|arrival| arrival.obstacle.as_deref());
        let reasons: Vec<&str> =
            obstacle.into_iter().chain(missed.map(|remark| remark.message.as_str())).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}
