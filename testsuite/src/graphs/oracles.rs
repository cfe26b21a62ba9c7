//! What must hold of a graph: the evaluator, the compiled program on every path, the passes and the file agree.

use crate::arrays;
use std::collections::BTreeMap;
use std::fmt::Display;
use twnc::Compiler;
use twnc_ir::{Data, Graph, Tensor, evaluate, text, verify};
use twnc_passes::{Mode, Options, Scale};
use twnc_program::Program;
use twnc_program::interpret::Functions;
use twnc_runtime::{Backend, Module, Output, SessionOptions};

/// What an output may differ by: of each element, and of the output's range, which is at least 1.
const RELATIVE: f64 = 1e-3;
const OF_RANGE: f64 = 1e-4;

type Outputs = BTreeMap<String, Tensor>;

/// Whether all hold of a graph, on inputs by their names, with scales of layers that are made ternary.
///
/// # Errors
/// What does not hold, and where.
pub fn check(graph: &Graph, inputs: &BTreeMap<String, Tensor>, scale: Scale) -> Result<(), String> {
    verify::verify(graph).map_err(|error| format!("the generator made no valid graph: {error:?}"))?;
    let wanted = evaluated(graph, inputs)?;
    for mode in [Mode::None, Mode::Detected, Mode::All] {
        let options = Options { ternarise: mode, scale, ..Options::default() };
        let compiler = Compiler::builder().passes(options).build().map_err(told)?;
        let compiled = compiler.compile(graph.clone(), &mut |_, _| {}).map_err(told)?;
        let what = |way: &str| format!("{mode:?}, {scale:?}, {way}\n{}", text::print(graph));
        verify::verify(&compiled.graph)
            .map_err(|error| format!("{}: {error:?}", what("passes leave no valid graph")))?;
        let behind = evaluated(&compiled.graph, inputs)?;
        if mode != Mode::All {
            compare(&wanted, &behind).map_err(|error| format!("{error}; {}", what("passes on")))?;
        }
        for backend in Backend::available() {
            let found = run(&compiled.program, inputs, backend, 1)?;
            compare_outputs(&behind, &found)
                .map_err(|error| format!("{error}; {}", what(&format!("{backend:?}"))))?;
            let threaded = run(&compiled.program, inputs, backend, 2)?;
            if !same(&found, &threaded) {
                return Err(what(&format!("{backend:?}: two threads give other bytes")));
            }
        }
        let bytes = compiled.program.to_bytes();
        let loaded = Program::from_bytes(&bytes).map_err(told)?;
        if loaded.to_bytes() != bytes {
            return Err(what("a program does not survive its file"));
        }
        for backend in Backend::available() {
            let direct = run(&compiled.program, inputs, backend, 1)?;
            if !same(&direct, &run(&loaded, inputs, backend, 1)?) {
                return Err(what(&format!("{backend:?}: a program from a file gives other bytes")));
            }
        }
    }
    Ok(())
}

fn told(error: impl Display) -> String {
    error.to_string()
}

fn evaluated(graph: &Graph, inputs: &Outputs) -> Result<Outputs, String> {
    evaluate(graph, inputs).map_err(|error| format!("{error}\n{}", text::print(graph)))
}

fn run(
    program: &Program,
    inputs: &Outputs,
    backend: Backend,
    threads: usize,
) -> Result<Vec<(String, Output)>, String> {
    let module = Module::new(program.clone(), Functions::default()).map_err(told)?;
    let session =
        module.session(SessionOptions::default().backend(backend).threads(threads)).map_err(told)?;
    let given = inputs.iter().filter(|(name, _)| module.inputs().iter().any(|port| port.name == **name));
    let feeds = given.filter_map(|(name, tensor)| Some((name.clone(), arrays::input(tensor)?)));
    session.run(&arrays::views(&feeds.collect::<Vec<_>>())).map_err(told)
}

fn compare(wanted: &Outputs, found: &Outputs) -> Result<(), String> {
    let arrays = found.iter().filter_map(|(name, tensor)| Some((name.clone(), arrays::input(tensor)?)));
    compare_outputs(wanted, &arrays.collect::<Vec<_>>())
}

fn compare_outputs(wanted: &Outputs, found: &[(String, Output)]) -> Result<(), String> {
    if wanted.len() != found.len() {
        return Err(format!("{} outputs, not {}", found.len(), wanted.len()));
    }
    for (name, output) in found {
        let wanted = wanted.get(name).ok_or_else(|| format!("there is no output `{name}`"))?;
        if wanted.shape() != output.shape() {
            return Err(format!("`{name}` has shape {:?}, not {:?}", output.shape(), wanted.shape()));
        }
        let different = match (wanted.data(), output) {
            (Data::F32(wanted), Output::F32(found)) => far(wanted, found.iter().copied()),
            _ => arrays::input(wanted).is_none_or(|wanted| wanted != *output).then(|| "another".to_owned()),
        };
        if let Some(what) = different {
            return Err(format!("`{name}`: {what}"));
        }
    }
    Ok(())
}

/// The first element that is too far away.
fn far(wanted: &[f32], found: impl Iterator<Item = f32>) -> Option<String> {
    let finite = wanted.iter().filter(|x| x.is_finite());
    let range = finite.fold(1f64, |most, &x| most.max(f64::from(x).abs()));
    let near = |w: f32, f: f32| {
        let (w, f) = (f64::from(w), f64::from(f));
        w == f || w.is_nan() && f.is_nan() || (w - f).abs() <= OF_RANGE * range + RELATIVE * w.abs()
    };
    let mut pairs = wanted.iter().copied().zip(found).enumerate();
    pairs.find(|&(_, (w, f))| !near(w, f)).map(|(i, (w, f))| format!("element {i} is {f}, not {w}"))
}

/// Bit for bit.
fn same(left: &[(String, Output)], right: &[(String, Output)]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|((left_name, left), (right_name, right))| {
            left_name == right_name
                && match (left, right) {
                    (Output::F32(left), Output::F32(right)) => {
                        left.iter().map(|x| x.to_bits()).eq(right.iter().map(|x| x.to_bits()))
                    }
                    _ => left == right,
                }
        })
}
