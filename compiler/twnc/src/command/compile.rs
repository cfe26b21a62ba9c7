//! `twnc MODEL.onnx -o MODEL.bin`.

use super::arguments::{Activations, Compile, CompileOptions, Emit, OnnxFormat, Ternarise};
use super::failure::{Failure, Kind};
use super::host::Host;
use super::{calibrate, caution, checkpoint, compare, counted, err, frontier, inspect, out, report};
use crate::{CompileError, Compiled, Summary, synthetic};
use std::path::{Path, PathBuf};
use twnc_ir::{CountingCost, Flow, PrintAfter, RemarkKind, RunOptions, dot, text};
use twnc_onnx::TernaryFormat;
use twnc_program::interpret::Functions;
use twnc_runtime::{Backend, Error, Input, Module, Output, SessionOptions};

/// Synthetic samples on which a network that was rounded is compared with the float one.
const SAMPLES: u64 = 16;
/// The most elements that an input of such a sample may have.
const SAMPLE_ELEMENTS: usize = 1 << 20;
/// The most bytes that running one takes.
const SAMPLE_BYTES: usize = 2 << 30;

/// Compiles a model and writes what the options ask for.
pub fn run(host: &Host, options: &Compile, json: bool) -> Result<(), Failure> {
    let Some(model) = options.model.as_deref() else {
        return Err(
            Failure::usage("no model is given").help("twnc MODEL.onnx -o MODEL.bin; twnc --help explains")
        );
    };
    if options.target.is_none() && matches!(options.emit, None | Some(Emit::Onnx)) {
        let help = format!("twnc {} -o MODEL.bin", model.display());
        return Err(Failure::usage("no file to write is given").help(help));
    }
    if options.onnx_format != OnnxFormat::Float && options.emit != Some(Emit::Onnx) {
        return Err(
            Failure::usage("--onnx-format says how ONNX is written, and none is").help("add --emit onnx")
        );
    }
    let calibration = &options.calibration;
    calibration.check()?;
    let outputs = options.target.iter().chain(&options.report).chain(calibration.outputs());
    let outputs: Vec<&Path> = outputs.map(PathBuf::as_path).collect();
    host.check_outputs(
        &outputs,
        &std::iter::once(model).chain(calibration.labels.as_deref()).collect::<Vec<_>>(),
    )?;
    let print_after = match options.print_after.as_slice() {
        [] => PrintAfter::Nothing,
        names if names.iter().any(|name| name == "all") => PrintAfter::All,
        names => PrintAfter::Passes(names.to_vec()),
    };
    let settings = RunOptions {
        print_after,
        stop_after: options.stop_after.clone(),
        skip: options.skip_pass.clone(),
        verify: options.verify,
    };
    let mut chosen = options.options.clone();
    if calibration.calibrate.is_some() {
        chosen.scale.get_or_insert(twnc_passes::Scale::Channel);
    }
    let mut compiler = chosen.compiler(settings.clone())?;
    let import = host.import(model, &chosen.import())?;
    if let Some(samples) = &calibration.calibrate {
        let memory = options.max_memory;
        compiler = calibration.compiler(host, &import.graph, samples, &chosen, settings, memory)?;
    }
    import.notes.iter().for_each(|note| err!(host, "note: {note}"));
    let compiled = compiler
        .compile(import.graph, &mut |pass, text| err!(host, "// after {pass}\n{text}"))
        .map_err(|e| failed(e, model, calibration.checkpoint.as_deref()))?;
    let compiled = Compiled { notes: import.notes, arrivals: import.arrivals, ..compiled };
    // What was repaired and sums floats has no scale to find.
    let finds_scales = options.options.activations == Activations::Int || compiled.repair.is_none();
    let compiled = match calibration.calibrate.as_ref().filter(|_| finds_scales) {
        Some(samples) => calibrate::scales(host, compiled, samples)?,
        None => compiled,
    };
    if let Some(limit) = options.max_memory {
        check_memory(&compiled, limit).map_err(|failure| failure.in_file(model.display()))?;
    }
    if let Some(summary) = &compiled.repair {
        check_size(&compiled, summary).map_err(|failure| failure.in_file(model.display()))?;
        if let (Some(path), Some(found)) = (&calibration.frontier, &summary.frontier) {
            host.write(path, frontier::svg(found).into_bytes())?;
        }
    }
    if options.time_passes {
        for timing in &compiled.timings {
            let (ms, edits) = (timing.time.as_secs_f64() * 1e3, timing.edits);
            err!(host, "{:20} {ms:9.3} ms  {edits} changes", timing.pass);
        }
    }
    if let Some(path) = &options.report {
        report::write(host, path, &report(host, model, &compiled)?)?;
    }
    match options.emit {
        Some(Emit::Twir) => write_text(host, options, text::print_full(&compiled.graph))?,
        Some(Emit::Dot) => write_text(host, options, dot::print(&compiled.graph))?,
        Some(Emit::Onnx) => {
            let bytes = twnc_onnx::export_as(&compiled.graph, ternary_format(options.onnx_format))
                .map_err(CompileError::from)?;
            host.write(target(options), bytes)?;
        }
        None => {
            host.write_program(target(options), &compiled.program)?;
        }
    }
    summarise(host, options, model, &compiled, json)
}

/// Why a model is not compiled; of a repair that was interrupted, how it goes on.
fn failed(error: CompileError, model: &Path, checkpoint: Option<&Path>) -> Failure {
    let failure = Failure::from(error).in_file(model.display());
    match failure.kind {
        Kind::Interrupted => checkpoint::interrupted(failure.message, checkpoint),
        _ => failure,
    }
}

/// Refuses a file that has become larger than what was weighed.
fn check_size(compiled: &Compiled, summary: &Summary) -> Result<(), Failure> {
    let limit = summary.frontier.as_ref().and_then(|frontier| frontier.limit);
    let bytes = compiled.program.to_bytes().len();
    match limit {
        Some(limit) if bytes > limit => {
            let message = format!("the compiled model has {bytes} bytes; --max-size allows {limit}");
            Err(Failure::new(Kind::Limit, message)
                .help("a smaller --max-size leaves room for what is found on samples later"))
        }
        _ => Ok(()),
    }
}

/// Refuses a network that takes more than `limit` bytes for the smallest inputs, those whose open sizes are 1.
fn check_memory(compiled: &Compiled, limit: usize) -> Result<(), Failure> {
    let module = Module::new(compiled.program.clone(), Functions::default())?;
    // What buffers take is the same on every path, and this one makes no code.
    let options = SessionOptions::default().backend(Backend::Interpreter).max_memory(limit);
    module.session(options)?.plan(&synthetic::shapes(&module, 1, &[]))?;
    Ok(())
}

/// Says what was made, and warns loudly where a network was rounded that was not trained for it.
fn summarise(
    host: &Host,
    options: &Compile,
    model: &Path,
    compiled: &Compiled,
    json: bool,
) -> Result<(), Failure> {
    for remark in compiled.remarks.iter().filter(|remark| remark.kind == RemarkKind::Warning) {
        caution!(host, "warning: `{}`: {}", remark.node, remark.message);
    }
    let rounded = compiled.rounded_layers();
    if let Some(summary) = &compiled.repair {
        let float = match summary.float_layers {
            0 => String::new(),
            count => format!("; {} fitted to what they read", counted(count, "float layer")),
        };
        err!(host, "{} made ternary and repaired{float}", counted(summary.layers, "layer"));
        summary.frontier.iter().for_each(|found| frontier::show(host, found));
        summary.describe_tuning().iter().for_each(|tuning| err!(host, "  {tuning}"));
        summary
            .outputs
            .iter()
            .for_each(|output| err!(host, "  `{}`: {}", output.name, summary.describe(output)));
    }
    // Real samples say more than noise.
    let agreement = match rounded {
        0 => None,
        _ if compiled.repair.is_some() => None,
        _ => agreement(host, options, model, compiled)?,
    };
    if rounded > 0 && compiled.repair.is_none() {
        let measured = match agreement {
            Some(share) => format!(
                "On {SAMPLES} synthetic inputs (seeded noise, no real data) it gives the float network's class for {:.0}% of them.",
                share * 100.0
            ),
            None => "Its agreement with the float network was not measured: an input has an open size other than the batch, or is large."
                .to_owned(),
        };
        caution!(
            host,
            "WARNING: {} of a network that was not trained for it {} rounded to ternary. This usually destroys its \
             accuracy (ResNet-8 on CIFAR-10 falls from 75% to 10%). {measured}\n  What helps: --calibrate X.npz, some hundred \
             inputs without labels, to which layers are fitted; train it ternary; keep sensitive layers float \
             (--keep 'PATTERN'); --scale channel --threshold exact; measure on real data with `twnc compare`. To compile it as it is: \
             --ternarise none.",
            counted(rounded, "layer"),
            if rounded == 1 { "was" } else { "were" }
        );
    }
    let (Some(path), None) = (&options.target, options.emit) else { return Ok(()) };
    let (from, to) = (host.size(model), host.size(path));
    let ternary = compiled.ternary_layers();
    if json {
        out!(
            host,
            "{}",
            serde_json::json!({
                "output": path.display().to_string(), "bytes": to, "bytes_onnx": from,
                "ternary_layers": ternary, "rounded_layers": rounded, "agreement_synthetic": agreement,
                "repair": compiled.repair.as_ref().map(repair),
            })
        );
    } else {
        let ratio = from as f64 / to.max(1) as f64;
        let beside = match ratio {
            // Of a network that stays float, nothing becomes smaller.
            ratio if ratio < 1.1 => format!("{} has {from}", model.display()),
            ratio => format!("{ratio:.1} times smaller than {}", model.display()),
        };
        // Products of one input that are added or concatenated become one.
        let origin = if rounded > ternary { format!(", made of {rounded}") } else { String::new() };
        out!(host, "{}: {to} bytes, {beside}; {}{origin}", path.display(), counted(ternary, "ternary layer"));
    }
    Ok(())
}

/// The share of synthetic samples for which the compiled network has the float network's class; `None` where the inputs have open sizes
/// other than a batch, for which no size would be representative, or are
/// large.
fn agreement(
    host: &Host,
    options: &Compile,
    model: &Path,
    compiled: &Compiled,
) -> Result<Option<f64>, Failure> {
    let passes = CompileOptions {
        ternarise: Ternarise::None,
        activations: Activations::F32,
        ..options.options.clone()
    };
    let graph = host.import(model, &passes.import())?.graph;
    let float = passes.compiler(RunOptions::default())?.compile(graph, &mut |_, _| {})?;
    let modules = [float.program, compiled.program.clone()].map(|p| Module::new(p, Functions::default()));
    let [Ok(float), Ok(ternary)] = modules else { return Ok(None) };
    let open_inside = |m: &Module| {
        m.inputs()
            .iter()
            .any(|port| port.shape.iter().skip(1).any(|s| !matches!(s, twnc_runtime::Size::Fixed(_))))
    };
    if open_inside(&float) {
        return Ok(None);
    }
    let sessions = [&float, &ternary].map(|m| m.session(SessionOptions::default().max_memory(SAMPLE_BYTES)));
    let [Ok(float_session), Ok(ternary_session)] = sessions else { return Ok(None) };
    let shapes = synthetic::shapes(&float, 1, &[]);
    // Sizes for which a user would wait long for a warning, or that no machine holds.
    let elements = |shape: &Vec<usize>| shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
    if shapes.iter().any(|shape| elements(shape).is_none_or(|n| n > SAMPLE_ELEMENTS)) {
        return Ok(None);
    }
    let (mut same, mut total) = (0usize, 0usize);
    for seed in 0..SAMPLES {
        let inputs = synthetic::inputs(&float, &shapes, seed);
        let views: Vec<(&str, Input<'_>)> = inputs.iter().map(|(n, a)| (n.as_str(), a.view())).collect();
        let [a, b] = match [&float_session, &ternary_session].map(|session| session.run(&views)) {
            [Ok(a), Ok(b)] => [a, b],
            // As large inputs: the file is written, and this machine need not be the one that runs it.
            [Err(Error::Memory { .. }), _] | [_, Err(Error::Memory { .. })] => return Ok(None),
            [a, b] => [a?, b?],
        };
        let (Some((_, Output::F32(a))), Some((_, Output::F32(b)))) = (a.first(), b.first()) else {
            return Ok(None);
        };
        let (a, b) = (compare::classes(a), compare::classes(b));
        same += a.iter().zip(&b).filter(|(x, y)| x == y).count();
        total += a.len();
    }
    Ok((total > 0).then(|| same as f64 / total as f64))
}

/// What a repair came to. A number that is not finite is null.
fn repair(summary: &Summary) -> serde_json::Value {
    let outputs = summary.outputs.iter().map(|output| {
        serde_json::json!({
            "name": output.name, "sqnr_db_rounded": output.sqnr_rounded, "sqnr_db": output.sqnr,
            "agreement_rounded": output.agreement_rounded, "agreement": output.agreement,
            "right_float": output.right_float, "right": output.right,
        })
    });
    let accuracies = summary.accuracies.iter().map(|layer| {
        serde_json::json!({
            "name": layer.name, "form": layer.form.word(), "zeros": layer.zeros,
            "error_rounded": layer.error_rounded, "error": layer.error,
        })
    });
    let tuning = summary.tuning.as_ref().map(|tuning| {
        serde_json::json!({
            "steps": tuning.steps, "best": tuning.best, "loss_fitted": tuning.loss[0], "loss": tuning.loss[1],
            "flip": tuning.augment.flip, "shift": tuning.augment.shift, "cutmix": tuning.augment.cutmix,
        })
    });
    serde_json::json!({
        "tuning": tuning, "layers": summary.layers, "float_layers": summary.float_layers, "fitted": summary.fitted, "held_out": summary.held_out, "outputs": outputs.collect::<Vec<_>>(),
        "accuracies": accuracies.collect::<Vec<_>>(), "frontier": summary.frontier.as_ref().map(frontier::json),
    })
}

/// What became of each layer, and what passes said of it.
fn report(host: &Host, model: &Path, compiled: &Compiled) -> Result<serde_json::Value, Failure> {
    let remarks = compiled.remarks.iter().map(|remark| {
        let kind = match remark.kind {
            RemarkKind::Applied => "applied",
            RemarkKind::Missed => "missed",
            RemarkKind::Warning => "warning",
        };
        serde_json::json!({
            "pass": remark.pass, "layer": remark.node, "kind": kind, "topic": remark.topic.word(), "message": remark.message,
        })
    });
    let passes = compiled.timings.iter().map(|timing| {
        serde_json::json!({"pass": timing.pass, "changes": timing.edits, "ms": timing.time.as_secs_f64() * 1e3})
    });
    // Open sizes as 1.
    let cost = Flow::of(&compiled.graph).map(|flow| flow.cost(&CountingCost)).unwrap_or_default();
    let mut all = report::model(host, &compiled.program, &inspect::accounts(compiled))?;
    let own = serde_json::json!({
        "network": compiled.graph.name(),
        "bytes_onnx": host.size(model),
        "cost": {
            "multiplications": cost.multiplications, "additions": cost.additions, "tables": cost.tables, "bytes": cost.bytes, "steps": cost.steps,
        },
        "repair": compiled.repair.as_ref().map(repair),
        "notes": compiled.notes,
        "arrivals": compiled.arrivals.iter().map(|arrival| serde_json::json!({
            "layer": arrival.layer, "in_file": arrival.form, "obstacle": arrival.obstacle,
        })).collect::<Vec<_>>(),
        "remarks": remarks.collect::<Vec<_>>(),
        "passes": passes.collect::<Vec<_>>(),
    });
    if let serde_json::Value::Object(own) = own {
        all.extend(own);
    }
    Ok(all.into())
}

fn ternary_format(format: OnnxFormat) -> TernaryFormat {
    match format {
        OnnxFormat::Float => TernaryFormat::Float,
        OnnxFormat::QdqInt2 => TernaryFormat::QdqInt2,
        OnnxFormat::MatMulNBits => TernaryFormat::MatMulNBits,
        OnnxFormat::Qonnx => TernaryFormat::Qonnx,
    }
}

fn target(options: &Compile) -> &Path {
    options.target.as_deref().unwrap_or(Path::new(""))
}

fn write_text(host: &Host, options: &Compile, text: String) -> Result<(), Failure> {
    match &options.target {
        Some(path) => host.write(path, text.into_bytes()),
        None => {
            out!(host, "{}", text.trim_end());
            Ok(())
        }
    }
}
