//! `twnc bench`: how fast a compiled model runs, as a whole and step by step.

use super::arguments::Bench;
use super::failure::Failure;
use super::host::Host;
use super::tuning::{self, Autotune};
use super::{counted, out, run, sizes};
use crate::synthetic;
use serde::Serialize;
use std::time::{Duration, Instant};
use twnc_runtime::{Input, Output};

/// Time to spend on runs when their number is not given.
const BUDGET: Duration = Duration::from_millis(1500);

/// What `--json` prints; keys are stable.
#[derive(Serialize)]
struct Report {
    min_ms: f64,
    median_ms: f64,
    p99_ms: f64,
    runs: usize,
    threads: usize,
    isa: &'static str,
    /// Reading, planning and the first run.
    load_ms: f64,
    peak_rss_bytes: Option<u64>,
    steps: Vec<StepReport>,
    /// With `--autotune`: what was chosen before all of this was measured.
    autotune: Option<Autotune>,
}

#[derive(Serialize)]
struct StepReport {
    name: String,
    kind: &'static str,
    median_ms: f64,
    /// How it is executed.
    kernel: String,
    /// What the model that chose the kernel expects of one thread, at the clock of this run.
    estimate_ms: Option<f64>,
}

/// Measures a compiled model on seeded synthetic inputs.
pub fn run(host: &Host, options: &Bench, json: bool) -> Result<(), Failure> {
    if let Some(store) = &options.store {
        host.keep_apart(store, [options.model.as_path()])?;
    }
    let start = Instant::now();
    let module = host.module(&options.model)?;
    let session_options = run::session_options(&options.session)?;
    let mut session = module.session(session_options.clone())?;
    let shapes = sizes::shapes(host, &module, &session, &options.dim)?;
    // Before inputs are made: sizes that a file asks for and there is no memory for are refused here.
    let mut plan = session.plan(&shapes)?;
    let inputs = synthetic::inputs(&module, &shapes, 1);
    let views: Vec<(&str, Input<'_>)> =
        inputs.iter().map(|(name, array)| (name.as_str(), array.view())).collect();
    let mut outputs: Vec<Output> = session.run(&views)?.into_iter().map(|(_, output)| output).collect();
    let load_ms = milliseconds(start.elapsed());
    let mut autotune = None;
    if options.autotune {
        let tuned = session.tune(&views)?;
        if let Some(store) = &options.store {
            host.write(store, tuned.tuning.to_string().into_bytes())?;
        }
        autotune = Some(Autotune::new(&tuned, &module, session.cycles_per_second()));
        session = module.session(session_options.tuning(tuned.tuning))?;
        plan = session.plan(&shapes)?;
    }

    let mut targets: Vec<_> = outputs.iter_mut().map(Output::view_mut).collect();
    let mut once = || {
        let start = Instant::now();
        session.run_into(&views, &mut targets)?;
        Ok::<_, Failure>(start.elapsed())
    };
    let first = once()?;
    let fitting = (BUDGET.as_secs_f64() / first.as_secs_f64().max(1e-7)) as usize;
    let runs = options.runs.unwrap_or(fitting.clamp(5, 20_000));
    let mut progress = host.progress("running", runs as u64);
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs {
        times.push(once()?);
        progress.advance(1);
    }
    drop(progress);
    times.sort_unstable();

    let clock = session.cycles_per_second();
    let profiles = (0..runs.min(25)).map(|_| session.profile(&views)).collect::<Result<Vec<_>, _>>()?;
    let steps = module.program().steps.iter().zip(plan).enumerate().map(|(i, (step, planned))| {
        let mut times: Vec<_> = profiles.iter().filter_map(|profile| profile.get(i).copied()).collect();
        times.sort_unstable();
        StepReport {
            name: step.name.clone(),
            kind: step.kind_name(),
            median_ms: milliseconds(quantile(&times, 0.5)),
            kernel: planned.kernel,
            estimate_ms: planned.estimate_cycles.zip(clock).map(|(cycles, clock)| cycles / clock * 1e3),
        }
    });
    let report = Report {
        min_ms: milliseconds(quantile(&times, 0.0)),
        median_ms: milliseconds(quantile(&times, 0.5)),
        p99_ms: milliseconds(quantile(&times, 0.99)),
        runs,
        threads: session.threads(),
        isa: session.backend().name(),
        load_ms,
        peak_rss_bytes: peak_rss_bytes(),
        steps: steps.collect(),
        autotune,
    };
    show(host, &report, json);
    Ok(())
}

fn show(host: &Host, report: &Report, json: bool) {
    if json {
        out!(host, "{}", serde_json::json!(report));
        return;
    }
    report.autotune.iter().for_each(|autotune| tuning::show(host, autotune));
    out!(
        host,
        "median {:.3} ms, minimum {:.3}, 99th percentile {:.3} ({}, {}, {}); first result after {:.1} ms",
        report.median_ms,
        report.min_ms,
        report.p99_ms,
        counted(report.runs, "run"),
        counted(report.threads, "thread"),
        report.isa,
        report.load_ms
    );
    let total: f64 = report.steps.iter().map(|step| step.median_ms).sum();
    let width = report.steps.iter().map(|step| step.name.chars().count()).max().unwrap_or(0).min(48);
    for step in &report.steps {
        let share = 100.0 * step.median_ms / total.max(f64::MIN_POSITIVE);
        out!(
            host,
            "{:width$}  {:10}  {:9.4} ms  {share:5.1}%  {:>9}  {}",
            step.name,
            step.kind,
            step.median_ms,
            step.estimate_ms.map_or(String::new(), |estimate| format!("~{estimate:.4}")),
            step.kernel
        );
    }
}

fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get((share * last as f64).round() as usize).copied().unwrap_or_default()
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The most memory that this process has had resident, where the system tells.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}
