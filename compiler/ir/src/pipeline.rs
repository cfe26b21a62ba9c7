//! Pipelines: an ordered, named list of passes, and the machinery that runs it.
//!
//! Order is by name, never by index. Every entry says why it stands where it does.

use crate::graph::Graph;
use crate::pass::{Pass, PassContext, PassError};
use crate::text;
use crate::verify::{self, Violations};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Passes in the order in which they run.
#[derive(Default)]
pub struct Pipeline {
    entries: Vec<Entry>,
}

/// A pass in its place.
pub struct Entry {
    /// The pass.
    pub pass: Box<dyn Pass>,
    /// Why it stands here, in a sentence.
    pub why: String,
}

/// How to run a pipeline.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Print the graph after these passes.
    pub print_after: PrintAfter,
    /// Run nothing behind this pass.
    pub stop_after: Option<String>,
    /// Leave these passes out.
    pub skip: Vec<String>,
    /// Verify the graph after every pass.
    pub verify: bool,
}

/// After which passes to print.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PrintAfter {
    /// After none.
    #[default]
    Nothing,
    /// After the passes of these names.
    Passes(Vec<String>),
    /// After each.
    All,
}

/// What one pass did.
#[derive(Clone, Debug)]
pub struct Timing {
    /// The pass.
    pub pass: String,
    /// How many changes it made.
    pub edits: usize,
    /// How long it took.
    pub time: Duration,
}

/// Why a pipeline stopped.
#[derive(Debug, Error)]
pub enum PipelineError {
    /// A name that no pass in the pipeline has.
    #[error("there is no pass `{name}`; there are {known}")]
    UnknownPass {
        /// The name.
        name: String,
        /// Those there are.
        known: String,
    },
    /// Two passes of one name.
    #[error("the pipeline has a pass `{0}` already")]
    Duplicate(String),
    /// A pass gave up.
    #[error("pass `{pass}`: {source}")]
    Pass {
        /// Which.
        pass: String,
        /// Why.
        source: Box<PassError>,
    },
    /// The graph is not valid, before any pass or after one.
    #[error("the graph is not valid after `{pass}`:\n{source}")]
    Invalid {
        /// After which pass; `(input)` before the first.
        pass: String,
        /// What is wrong.
        source: Violations,
    },
}

impl Pipeline {
    /// An empty pipeline.
    pub fn new() -> Pipeline {
        Pipeline::default()
    }

    /// The passes in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Adds a pass at the end.
    pub fn push(&mut self, pass: impl Pass + 'static, why: &str) -> Result<(), PipelineError> {
        self.insert(self.entries.len(), Box::new(pass), why)
    }

    /// Adds a pass right before the one named `place`.
    pub fn before(&mut self, place: &str, pass: Box<dyn Pass>, why: &str) -> Result<(), PipelineError> {
        self.insert(self.position(place)?, pass, why)
    }

    /// Adds a pass right after the one named `place`.
    pub fn after(&mut self, place: &str, pass: Box<dyn Pass>, why: &str) -> Result<(), PipelineError> {
        self.insert(self.position(place)? + 1, pass, why)
    }

    /// The pipeline with only the passes of these names, in the order of the names.
    pub fn select(self, names: &[String]) -> Result<Pipeline, PipelineError> {
        // First of all, so that the error lists every pass there is.
        names.iter().try_for_each(|name| self.position(name).map(drop))?;
        let mut rest = self;
        let mut chosen = Pipeline::new();
        for name in names {
            if chosen.position(name).is_ok() {
                return Err(PipelineError::Duplicate(name.clone()));
            }
            let at = rest.position(name)?;
            chosen.entries.push(rest.entries.remove(at));
        }
        Ok(chosen)
    }

    /// Runs the passes on `graph`. `print` gets the text of the graph where the options ask for it, with the pass's name.
    pub fn run(
        &self,
        graph: &mut Graph,
        cx: &mut PassContext<'_>,
        options: &RunOptions,
        print: &mut dyn FnMut(&str, &str),
    ) -> Result<Vec<Timing>, PipelineError> {
        let mut named: Vec<&String> = options.skip.iter().chain(&options.stop_after).collect();
        if let PrintAfter::Passes(names) = &options.print_after {
            named.extend(names);
        }
        named.into_iter().try_for_each(|name| self.position(name).map(drop))?;
        let check = |graph: &Graph, pass: &str| match options.verify || cfg!(debug_assertions) {
            true => verify::verify(graph)
                .map_err(|source| PipelineError::Invalid { pass: pass.to_owned(), source }),
            false => Ok(()),
        };
        check(graph, "(input)")?;
        let mut timings = vec![];
        for entry in &self.entries {
            let name = entry.pass.name();
            if !options.skip.iter().any(|skip| skip == name) {
                cx.enter(name);
                let start = Instant::now();
                let changed = entry.pass.run(graph, cx);
                let changed = changed
                    .map_err(|e| PipelineError::Pass { pass: name.to_owned(), source: Box::new(e) })?;
                let (edits, time) = (changed.edits.len(), start.elapsed());
                timings.push(Timing { pass: name.to_owned(), edits, time });
                let wanted = match &options.print_after {
                    PrintAfter::Nothing => false,
                    PrintAfter::Passes(names) => names.iter().any(|n| n == name),
                    PrintAfter::All => true,
                };
                if wanted {
                    print(name, &text::print(graph));
                }
                // After printing: a graph that is refused is the one that people want to see.
                check(graph, name)?;
            }
            if options.stop_after.as_deref() == Some(name) {
                break;
            }
        }
        Ok(timings)
    }

    fn insert(&mut self, at: usize, pass: Box<dyn Pass>, why: &str) -> Result<(), PipelineError> {
        if self.position(pass.name()).is_ok() {
            return Err(PipelineError::Duplicate(pass.name().to_owned()));
        }
        self.entries.insert(at, Entry { pass, why: why.to_owned() });
        Ok(())
    }

    fn position(&self, name: &str) -> Result<usize, PipelineError> {
        self.entries.iter().position(|entry| entry.pass.name() == name).ok_or_else(|| {
            let known: Vec<_> = self.entries.iter().map(|entry| entry.pass.name()).collect();
            PipelineError::UnknownPass { name: name.to_owned(), known: known.join(", ") }
        })
    }
}
