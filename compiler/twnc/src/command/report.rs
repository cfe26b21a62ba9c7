//! The report of a compilation or comparison: JSON, or a page that shows the same JSON, in one file that needs no other.
//!
//! The page holds the JSON as text that no name can end (`<` is written as `\u003c`), and its script only ever sets text, so that names out of
//! a file cannot become markup.

use super::failure::Failure;
use super::host::Host;
use super::inspect::{self, Account, LayerReport};
use crate::synthetic;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use twnc_program::interpret::Functions;
use twnc_program::{ConstantData, ConstantId, Operand, Program, Step, StepKind};
use twnc_runtime::{Input, Module, SessionOptions};

const PAGE: &str = include_str!("report.html");
/// Where the page has the JSON.
const PLACE: &str = "@REPORT@";
/// Bars of a histogram.
const BARS: usize = 24;
/// Runs of which the median counts.
const RUNS: usize = 5;
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
    PAGE.replacen(PLACE, &report.to_string().replace('<', "\\u003c"), 1)
}

/// What is known of a compiled model's layers, in the order of its steps; sizes that are open are 1.
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
    let layer = |layer: &LayerReport| {
        let mut value = json!(layer);
        let step = &program.steps[layer.step];
        let estimate = plan.get(layer.step).and_then(|planned| planned.estimate_cycles).zip(clock);
        let (weights, scales) = constants(step);
        let more = json!({
            "bytes": bytes_of(program, weights.iter().chain(&scales)),
            "weights": weights.iter().map(|&id| program.constant(id).len()).sum::<usize>(),
            "planes": weights.len(),
            "weight_histogram": histogram(program, &weights),
            "scale_histogram": histogram(program, &scales),
            "time_ms": times.as_ref().and_then(|times| times.get(layer.step)).map(|time| time.as_secs_f64() * 1e3),
            "estimate_ms": estimate.map(|(cycles, clock)| cycles / clock * 1e3),
            "reads": readers(program, layer.step),
        });
        if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
            value.extend(more);
        }
        value
    };
    let layers: Vec<Value> = report.layers.iter().map(layer).collect();
    let Value::Object(mut all) = json!(report) else { return Ok(Map::new()) };
    all.insert("layers".to_owned(), layers.into());
    all.insert(
        "time_ms".to_owned(),
        json!(times.map(|times| times.iter().sum::<Duration>().as_secs_f64() * 1e3)),
    );
    Ok(all)
}

/// How long each step takes on seeded noise: the median of some runs; nothing where that would take long or much, or does not run.
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
    let median = |step: usize| {
        let mut times: Vec<Duration> = runs.iter().filter_map(|run| run.get(step).copied()).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    };
    Some((0..module.program().steps.len()).map(median).collect())
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

/// The names of the steps whose results a step reads.
fn readers(program: &Program, number: usize) -> Vec<String> {
    let Some(step) = program.steps.get(number) else { return vec![] };
    let read: Vec<_> = step
        .operands()
        .filter_map(|operand| match operand {
            Operand::Buffer(buffer) => Some(buffer),
            Operand::Constant(_) => None,
        })
        .collect();
    let writes = |other: &&Step| other.outputs().iter().any(|output| read.contains(output));
    program.steps[..number].iter().filter(writes).map(|other| other.name.clone()).collect()
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
        // Nothing comes from elsewhere.
        for word in ["src=", "href=", "@import", "url(", "innerHTML"] {
            assert!(!PAGE.contains(word), "{word}");
        }
    }
}
