//! What `twnc bench --autotune` says of the kernels that it has measured.

use super::bench::milliseconds;
use super::host::Host;
use super::{counted, out};
use serde::Serialize;
use twnc_runtime::{Module, Tuned};

/// What `--json` prints; keys are stable.
#[derive(Serialize)]
pub struct Autotune {
    /// All steps by the kernels that were estimated to be fastest, and by those that were chosen: sums of least times, from runs in turns.
    first_ms: f64,
    best_ms: f64,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    name: String,
    /// Different kernels that were measured.
    candidates: usize,
    /// What was expected of the first, on one thread.
    estimate_ms: Option<f64>,
    first_ms: f64,
    best_ms: f64,
    /// How many times as fast the chosen one is; 1 where that is the first.
    gain: f64,
    /// The chosen one's place in the order of estimates.
    rank: usize,
    kernel: String,
}

impl Autotune {
    /// Of a model; `clock` is the processor's, in cycles per second.
    pub fn new(tuned: &Tuned, module: &Module, clock: Option<f64>) -> Autotune {
        let program = module.program();
        let steps = tuned.steps.iter().map(|step| {
            let (first_ms, best_ms) = (milliseconds(step.first), milliseconds(step.best));
            Step {
                name: program.steps.get(step.step).map(|step| step.name.clone()).unwrap_or_default(),
                candidates: step.candidates,
                estimate_ms: step.estimate_cycles.zip(clock).map(|(cycles, clock)| cycles / clock * 1e3),
                first_ms,
                best_ms,
                gain: if step.rank == 0 { 1.0 } else { first_ms / best_ms.max(f64::MIN_POSITIVE) },
                rank: step.rank,
                kernel: step.kernel.clone(),
            }
        });
        Autotune {
            first_ms: milliseconds(tuned.first),
            best_ms: milliseconds(tuned.best),
            steps: steps.collect(),
        }
    }
}

/// Prints it as a table.
pub fn show(host: &Host, report: &Autotune) {
    let changed = report.steps.iter().filter(|step| step.rank > 0).count();
    out!(
        host,
        "autotune: {} of {} with another kernel; {:.3} ms before, {:.3} ms after ({:.2} times as fast)",
        changed,
        counted(report.steps.len(), "step"),
        report.first_ms,
        report.best_ms,
        report.first_ms / report.best_ms.max(f64::MIN_POSITIVE)
    );
    let width = report.steps.iter().map(|step| step.name.chars().count()).max().unwrap_or(0).clamp(4, 48);
    out!(
        host,
        "{:width$}  {:>9}  {:>9}  {:>9}  {:>5}  kernel",
        "step",
        "estimate",
        "first ms",
        "best ms",
        "gain"
    );
    for step in &report.steps {
        out!(
            host,
            "{:width$}  {:>9}  {:9.4}  {:9.4}  {:5.2}  {}",
            step.name,
            step.estimate_ms.map_or(String::new(), |estimate| format!("~{estimate:.4}")),
            step.first_ms,
            step.best_ms,
            step.gain,
            step.kernel
        );
    }
}
