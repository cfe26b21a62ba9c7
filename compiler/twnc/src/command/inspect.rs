//! `twnc inspect`: the layers of a model, and what they cost.

use super::arguments::Inspect;
use super::failure::Failure;
use super::host::Host;
use super::{out, sizes};
use crate::Compiled;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use twnc_ir::RunOptions;
use twnc_onnx::Import;
use twnc_program::interpret::Functions;
use twnc_program::step::Contraction;
use twnc_program::{ConstantData, Operand, Operations, Program, Step, StepKind, operations};
use twnc_runtime::{Audit, Function, Module, PlanReport, SessionOptions};

/// What `--json` prints; keys are stable.
#[derive(Serialize)]
pub struct Report {
    bytes: u64,
    pub layers: Vec<LayerReport>,
    /// What all steps that are no layer do together: pools, sums and what else stands alone.
    others: LayerCounts,
    totals: Totals,
}

#[derive(Serialize)]
pub struct LayerReport {
    /// The number of its step.
    #[serde(skip)]
    pub step: usize,
    pub name: String,
    op: &'static str,
    /// The weight's shape.
    shape: Vec<usize>,
    ternary: bool,
    /// How the weight is stored in the ONNX file.
    in_file: Option<String>,
    /// As what a weight was taken over that is ternary in the file.
    recognised: Option<String>,
    /// Why it is not ternary; of a layer that was rounded, why it is not in the file.
    why_not: Option<String>,
    /// `layer`, `channel` or nothing.
    scale: Option<&'static str>,
    /// The share of weights that are zero.
    sparsity: f64,
    bits_per_weight: f64,
    #[serde(flatten)]
    counts: LayerCounts,
    /// Instructions in the generated code of the sum, and how many of them multiply or call.
    code: Option<CodeReport>,
}

#[derive(Serialize)]
struct LayerCounts {
    additions: u64,
    multiplications_kernel: u64,
    multiplications_epilogue: u64,
}

#[derive(Serialize)]
struct CodeReport {
    instructions: usize,
    multiplying: usize,
    epilogue: usize,
    calls: usize,
}

#[derive(Serialize)]
struct Totals {
    additions: u64,
    multiplications: u64,
    multiplications_float_network: u64,
}

/// Shows a compiled model, or an ONNX file as it would be compiled.
pub fn run(host: &Host, options: &Inspect, json: bool) -> Result<(), Failure> {
    let is_onnx = options.model.extension().is_some_and(|extension| extension == "onnx");
    let (module, accounts, dims) = if is_onnx {
        let compiler = options.options.compiler(RunOptions::default())?;
        let Import { graph, notes, arrivals } = host.import(&options.model, &options.options.import())?;
        let compiled = Compiled { notes, arrivals, ..compiler.compile(graph, &mut |_, _| {})? };
        let accounts = accounts(&compiled);
        // The import has given the named dimensions their sizes.
        (Module::new(compiled.program, Functions::default())?, accounts, &[][..])
    } else {
        (host.module(&options.model)?, BTreeMap::new(), options.options.dim.as_slice())
    };
    let bytes = match is_onnx {
        true => module.program().to_bytes().len() as u64,
        false => host.size(&options.model),
    };
    let (report, plan) = describe(host, &module, dims, &accounts, bytes)?;
    show(host, &report, json);
    let program = module.program();
    if options.disassemble {
        for (step, planned) in program.steps.iter().zip(&plan) {
            for function in &planned.functions {
                out!(host, "\n; {}, of `{}`\n{}", function.name(), step.name, function.disassemble());
            }
        }
    }
    Ok(())
}

/// The layers of a compiled model of so many bytes, with what they cost, and the plan by which they run.
pub fn describe(
    host: &Host,
    module: &Module,
    dims: &[(String, i64)],
    accounts: &BTreeMap<String, Account>,
    bytes: u64,
) -> Result<(Report, Vec<PlanReport>), Failure> {
    let program = module.program();
    let session = module.session(SessionOptions::default())?;
    let shapes = sizes::shapes(host, module, &session, dims)?;
    let resolved = session.shapes(&shapes)?;
    let plan = session.plan(&shapes)?;
    let (mut total, mut others) = (Operations::default(), Operations::default());
    let mut layers = vec![];
    for (number, step) in program.steps.iter().enumerate() {
        let counts = operations::count(program, &resolved, step);
        total = total + counts;
        // A layer that runs with the pool behind it has its code there.
        let planned = plan.iter().skip(number).find(|planned| !planned.with_next);
        let functions = planned.map_or(&[][..], |planned| &planned.functions);
        match layer(program, step, &counts, functions, accounts) {
            Some(layer) => layers.push(LayerReport { step: number, ..layer }),
            None => others = others + counts,
        }
    }
    let totals = Totals {
        additions: total.additions(),
        multiplications: total.multiplications(),
        multiplications_float_network: total.multiplications_float,
    };
    Ok((Report { bytes, layers, others: LayerCounts::of(&others), totals }, plan))
}

/// What is told of the layers of a network that was compiled from an ONNX file.
pub fn accounts(compiled: &Compiled) -> BTreeMap<String, Account> {
    let names = compiled.program.steps.iter().map(|step| step.name.clone());
    names.map(|name| (name.clone(), Account::of(compiled, &name))).collect()
}

/// What is told of a layer that comes from an ONNX file.
#[derive(Clone, Default)]
pub struct Account {
    in_file: Option<String>,
    recognised: Option<String>,
    why_not: Option<String>,
}

impl Account {
    fn of(compiled: &Compiled, layer: &str) -> Account {
        Account {
            in_file: compiled.arrival(layer).map(|arrival| arrival.form.clone()),
            recognised: compiled.recognised(layer).map(str::to_owned),
            why_not: compiled.why_not_ternary(layer),
        }
    }
}

fn layer(
    program: &Program,
    step: &Step,
    counts: &Operations,
    functions: &[Arc<Function>],
    accounts: &BTreeMap<String, Account>,
) -> Option<LayerReport> {
    let (op, weights, scale) = match &step.kind {
        StepKind::Accumulate(s) => {
            let term = s.terms.first()?;
            let plane = term.planes.first()?;
            let op = match plane.contraction {
                Contraction::Window { .. } => "conv",
                Contraction::MatMul => "matmul",
            };
            let scale = term.scale.map(|id| match program.constant(id).len() {
                1 => "layer",
                _ if term.parts > 1 => "group",
                _ => "channel",
            });
            (op, s.terms.iter().flat_map(|term| &term.planes).map(|plane| plane.weight).collect(), scale)
        }
        StepKind::Conv(s) => ("conv", vec![constant(s.weight)?], None),
        StepKind::MatMul(s) => ("matmul", vec![constant(s.right)?], None),
        _ => return None,
    };
    let weights: Vec<_> = weights.into_iter().map(|id| program.constant(id)).collect();
    let zeros = weights.iter().map(|weight| match &weight.data {
        ConstantData::Ternary(trits) => trits.iter().filter(|&t| t == 0).count(),
        ConstantData::F32(v) => v.iter().filter(|&&w| w == 0.0).count(),
        _ => 0,
    });
    let (zeros, all): (usize, usize) = (zeros.sum(), weights.iter().map(|weight| weight.len()).sum());
    let weight = weights.first()?;
    let ternary = matches!(weight.data, ConstantData::Ternary(_));
    let audits: Vec<_> = functions.iter().filter_map(|f| f.audit()).collect();
    let total = |count: fn(&Audit) -> usize| audits.iter().map(count).sum();
    let account = accounts.get(&step.name).cloned().unwrap_or_default();
    Some(LayerReport {
        step: 0,
        name: step.name.clone(),
        op,
        shape: weight.shape.clone(),
        ternary,
        why_not: account.why_not.filter(|_| !ternary || account.recognised.is_none()),
        in_file: account.in_file,
        recognised: account.recognised,
        scale,
        sparsity: zeros as f64 / all.max(1) as f64,
        bits_per_weight: if ternary { 1.6 } else { 32.0 },
        counts: LayerCounts::of(counts),
        code: (!audits.is_empty()).then(|| CodeReport {
            instructions: total(|audit| audit.instructions),
            multiplying: total(|audit| audit.multiplications),
            epilogue: total(|audit| audit.epilogue),
            calls: total(|audit| audit.calls),
        }),
    })
}

impl LayerCounts {
    fn of(counts: &Operations) -> LayerCounts {
        LayerCounts {
            additions: counts.additions(),
            multiplications_kernel: counts.multiplications_kernel,
            multiplications_epilogue: counts.multiplications_epilogue,
        }
    }
}

fn constant(operand: Operand) -> Option<twnc_program::ConstantId> {
    match operand {
        Operand::Constant(id) => Some(id),
        Operand::Buffer(_) => None,
    }
}

fn show(host: &Host, report: &Report, json: bool) {
    if json {
        out!(host, "{}", serde_json::json!(report));
        return;
    }
    let width = report.layers.iter().map(|layer| layer.name.chars().count()).max().unwrap_or(0).clamp(5, 48);
    out!(
        host,
        "{:width$}  {:6}  {:18}  {:7}  {:7}  {:>6}  {:>12}  {:>12}  {:>12}",
        "layer",
        "op",
        "weight",
        "kind",
        "scale",
        "zeros",
        "additions",
        "mul in sum",
        "mul after"
    );
    for layer in &report.layers {
        let shape = layer.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
        out!(
            host,
            "{:width$}  {:6}  {shape:18}  {:7}  {:7}  {:>5.1}%  {:>12}  {:>12}  {:>12}",
            layer.name,
            layer.op,
            if layer.ternary { "ternary" } else { "float" },
            layer.scale.unwrap_or("-"),
            layer.sparsity * 100.0,
            layer.counts.additions,
            layer.counts.multiplications_kernel,
            layer.counts.multiplications_epilogue
        );
        if let Some(form) = &layer.in_file {
            out!(host, "{:width$}    in the file: {form}", "");
        }
        if let Some(how) = &layer.recognised {
            out!(host, "{:width$}    {how}", "");
        }
        if let Some(reason) = &layer.why_not {
            let rounded = if layer.ternary { "rounded, for it was " } else { "" };
            out!(host, "{:width$}    {rounded}not ternary: {reason}", "");
        }
        if let Some(code) = &layer.code {
            let CodeReport { instructions, multiplying, epilogue, calls } = code;
            let finished = match epilogue {
                0 => String::new(),
                _ => format!(" (and {epilogue} when it is finished)"),
            };
            out!(
                host,
                "{:width$}    code of the sum: {instructions} instructions, {multiplying} multiply{finished}, {calls} calls",
                ""
            );
        }
    }
    let LayerCounts { additions, multiplications_kernel, multiplications_epilogue } = report.others;
    out!(
        host,
        "{:width$}  {:6}  {:18}  {:7}  {:7}  {:>6}  {additions:>12}  {multiplications_kernel:>12}  {multiplications_epilogue:>12}",
        "other",
        "",
        "",
        "",
        "",
        ""
    );
    let Totals { additions, multiplications, multiplications_float_network } = report.totals;
    out!(
        host,
        "{} bytes; per inference {additions} additions and {multiplications} multiplications, against {multiplications_float_network} of the float network",
        report.bytes
    );
}
