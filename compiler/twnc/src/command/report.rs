//! The report of a compilation or comparison: JSON, or a page that shows the same JSON, in one file that needs no other.
//!
//! The page (`report/page.html`, with the scripts beside it) holds the JSON as text that no name can end (`<` is written as `\u003c`), and its
//! scripts only ever set text, so that names out of a file cannot become markup.

use super::failure::Failure;
use super::host::Host;
use super::inspect::{self, Account, LayerReport};
use crate::synthetic;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;
use twnc_program::interpret::Functions;
use twnc_program::{BufferId, ConstantData, ConstantId, Operand, Program, Step, StepKind};
use twnc_runtime::{Input, Module, PlanReport, SessionOptions};

const PAGE: &str = include_str!("report/page.html");
/// What takes the place of what in the page, before the JSON takes that of `@REPORT@`.
const SCRIPTS: [(&str, &str); 2] =
    [("@DRAWING@", include_str!("report/drawing.js")), ("@SCRIPT@", include_str!("report/page.js"))];
const PLACE: &str = "@REPORT@";
/// Bars of a histogram.
const BARS: usize = 24;
/// Runs of which the fastest counts, step by step: what else the machine does only ever makes a step slower.
const RUNS: usize = 9;
/// The most elements of inputs for which steps are timed, and the most bytes that a run may take.
const TIMED_ELEMENTS: usize = 1 << 22;
const TIMED_BYTES: usize = 2 << 30;

/// Writes a report: a page where the file is called `.html` or `.htm`, else JSON.
pub fn write(host: &Host, path: &Path, report: &Value) -> Result<(), Failure> {
    let is_page =
        path.extension().is_some_and(|e| e.eq_ignore_ascii_case("html") || e.eq_ignore_ascii_case("htm"));
    let text = match is_page {
        true => page(report),
        false => serde_json::to_string_pretty(report).map_err(Failure::unacceptable)?,
    };
    host.write(path, text.into_bytes())
}

fn page(report: &Value) -> String {
    let page = SCRIPTS.iter().fold(PAGE.to_owned(), |page, (place, script)| page.replacen(place, script, 1));
    page.replacen(PLACE, &report.to_string().replace('<', "\\u003c"), 1)
}

/// What is known of a compiled model's steps, and of those that are layers; sizes that are open are 1.
pub fn model(
    host: &Host,
    program: &Program,
    accounts: &BTreeMap<String, Account>,
) -> Result<Map<String, Value>, Failure> {
    let bytes = program.to_bytes().len() as u64;
    let module = Module::new(program.clone(), Functions::default())?;
    let (report, plan) = inspect::describe(host, &module, &[], accounts, bytes)?;
    let times = times(&module);
    let session = module.session(SessionOptions::default())?;
    let clock = session.cycles_per_second();
    let work: Vec<Work> =
        (0..program.steps.len()).map(|n| Work::of(&plan, times.as_deref(), clock, n)).collect();
    let layer = |layer: &LayerReport| {
        let mut value = json!(layer);
        let (weights, scales) = constants(&program.steps[layer.step]);
        let work = &work[layer.step];
        let more = json!({
            "bytes": bytes_of(program, weights.iter().chain(&scales)),
            "weights": weights.iter().map(|&id| program.constant(id).len()).sum::<usize>(),
            "planes": weights.len(),
            "shapes": weights.iter().map(|&id| &program.constant(id).shape).collect::<Vec<_>>(),
            "weight_histogram": histogram(program, &weights),
            "scale_histogram": histogram(program, &scales),
            "step": layer.step,
            "time_ms": work.time_ms,
            "estimate_ms": work.estimate_ms,
        });
        if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
            value.extend(more);
        }
        value
    };
    let layers: Vec<Value> = report.layers.iter().map(layer).collect();
    let steps = program.steps.iter().zip(&plan).zip(work.iter().zip(reads(program)));
    let steps = steps.map(|((step, planned), (work, reads))| {
        json!({
            "name": step.name, "kind": step.kind_name(), "kernel": planned.kernel, "reads": reads,
            "time_ms": work.time_ms, "estimate_ms": work.estimate_ms,
        })
    });
    let steps: Vec<Value> = steps.collect();
    let Value::Object(mut all) = json!(report) else { return Ok(Map::new()) };
    all.insert("layers".to_owned(), layers.into());
    all.insert("steps".to_owned(), steps.into());
    all.insert("isa".to_owned(), session.backend().name().into());
    all.insert(
        "time_ms".to_owned(),
        json!(times.map(|times| times.iter().sum::<Duration>().as_secs_f64() * 1e3)),
    );
    Ok(all)
}

/// How long a step takes, and was expected to.
struct Work {
    time_ms: Option<f64>,
    estimate_ms: Option<f64>,
}

impl Work {
    /// Of a step by its number. One that runs together with the next has the time of both, and the next has none.
    fn of(plan: &[PlanReport], times: Option<&[Duration]>, clock: Option<f64>, number: usize) -> Work {
        let with_next = |number: usize| plan.get(number).is_some_and(|planned| planned.with_next);
        if number > 0 && with_next(number - 1) {
            return Work { time_ms: None, estimate_ms: None };
        }
        let last = number + usize::from(with_next(number));
        let estimate = plan.get(last).and_then(|planned| planned.estimate_cycles).zip(clock);
        let time = times.and_then(|times| times.get(number..=last)).map(|times| times.iter().sum());
        Work {
            time_ms: time.map(|time: Duration| time.as_secs_f64() * 1e3),
            estimate_ms: estimate.map(|(cycles, clock)| cycles / clock * 1e3),
        }
    }
}

/// How long each step takes on seeded noise: the fastest of some runs; nothing where that would take long or much, or does not run.
fn times(module: &Module) -> Option<Vec<Duration>> {
    let shapes = synthetic::shapes(module, 1, &[]);
    let elements = |shape: &Vec<usize>| shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
    if shapes.iter().any(|shape| elements(shape).is_none_or(|n| n > TIMED_ELEMENTS)) {
        return None;
    }
    let session = module.session(SessionOptions::default().max_memory(TIMED_BYTES)).ok()?;
    let inputs = synthetic::inputs(module, &shapes, 0);
    let views: Vec<(&str, Input<'_>)> =
        inputs.iter().map(|(name, array)| (name.as_str(), array.view())).collect();
    let runs: Vec<Vec<Duration>> = (0..RUNS).map(|_| session.profile(&views).ok()).collect::<Option<_>>()?;
    let fastest =
        |step: usize| runs.iter().filter_map(|run| run.get(step).copied()).min().unwrap_or_default();
    Some((0..module.program().steps.len()).map(fastest).collect())
}

/// The constants of a layer: its weights, and the scales of ternary ones.
fn constants(step: &Step) -> (Vec<ConstantId>, Vec<ConstantId>) {
    let constant = |operand: Operand| match operand {
        Operand::Constant(id) => Some(id),
        Operand::Buffer(_) => None,
    };
    match &step.kind {
        StepKind::Accumulate(s) => (
            s.terms.iter().flat_map(|term| &term.planes).map(|plane| plane.weight).collect(),
            s.terms.iter().filter_map(|term| term.scale).collect(),
        ),
        StepKind::Conv(s) => (constant(s.weight).into_iter().collect(), vec![]),
        StepKind::MatMul(s) => (constant(s.right).into_iter().collect(), vec![]),
        _ => (vec![], vec![]),
    }
}

fn bytes_of<'a>(program: &Program, ids: impl Iterator<Item = &'a ConstantId>) -> usize {
    let bytes = |id: &ConstantId| {
        let constant = program.constant(*id);
        constant.element().size().map_or(constant.len().div_ceil(5), |size| size * constant.len())
    };
    ids.map(bytes).sum()
}

/// How often numbers occur: `{"least", "most", "counts"}`; of ternary weights, three counts from -1 on.
fn histogram(program: &Program, ids: &[ConstantId]) -> Value {
    let mut trits = [0usize; 3];
    let mut numbers: Vec<f32> = vec![];
    for &id in ids {
        match &program.constant(id).data {
            ConstantData::Ternary(found) => {
                found.iter().for_each(|t| trits[usize::from((t + 1).clamp(0, 2) as u8)] += 1)
            }
            ConstantData::F32(found) => numbers.extend(found.iter().copied().filter(|x| x.is_finite())),
            _ => {}
        }
    }
    if trits.iter().any(|count| *count > 0) {
        return json!({"least": -1, "most": 1, "counts": trits});
    }
    let (least, most) =
        numbers.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &x| (a.min(x), b.max(x)));
    if numbers.is_empty() {
        return Value::Null;
    }
    let mut counts = [0usize; BARS];
    let width = (f64::from(most) - f64::from(least)) / BARS as f64;
    for &x in &numbers {
        let place = if width > 0.0 { (f64::from(x) - f64::from(least)) / width } else { 0.0 };
        counts[(place as usize).min(BARS - 1)] += 1;
    }
    json!({"least": least, "most": most, "counts": counts})
}

/// For each step the numbers of those whose results it reads.
fn reads(program: &Program) -> Vec<Vec<usize>> {
    let mut writers: HashMap<BufferId, usize> = HashMap::new();
    let mut all = vec![];
    for (number, step) in program.steps.iter().enumerate() {
        let read = step.operands().filter_map(|operand| match operand {
            Operand::Buffer(buffer) => writers.get(&buffer).copied(),
            Operand::Constant(_) => None,
        });
        let mut read: Vec<usize> = read.collect();
        read.sort_unstable();
        read.dedup();
        all.push(read);
        writers.extend(step.outputs().iter().map(|&output| (output, number)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_ends_the_script() {
        let report = json!({"network": "</script><script>alert(1)</script>", "layers": []});
        let page = page(&report);
        assert!(!page.contains("alert(1)</script>"));
        // What the page has is the report.
        let begin = page.find("application/json\">").unwrap() + "application/json\">".len();
        let end = begin + page[begin..].find("</script>").unwrap();
        assert_eq!(serde_json::from_str::<Value>(&page[begin..end]).unwrap(), report);
        // Nothing comes from elsewhere, and nothing is left open.
        for word in
            ["src=", "href=", "@import", "url(", "innerHTML", "insertAdjacent", "@DRAWING@", "@SCRIPT@"]
        {
            assert!(!page.contains(word), "{word}");
        }
    }
}
