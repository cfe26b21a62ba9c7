//! `twnc run`: inputs in, outputs out.

use super::arguments::{Run, SessionArguments};
use super::data::{self, Arrays};
use super::failure::Failure;
use super::host::Host;
use super::out;
use std::collections::btree_map::Entry;
use std::path::Path;
use twnc_runtime::{Input, Module, Output, Session, SessionOptions, Tuning};

/// Runs a compiled model once.
pub fn run(host: &Host, options: &Run, json: bool) -> Result<(), Failure> {
    if let Some(output) = &options.target {
        let files = options.input.iter().map(|input| Path::new(input.rsplit('=').next().unwrap_or(input)));
        host.keep_apart(
            output,
            [options.model.as_path()]
                .into_iter()
                .chain(options.image.as_deref())
                .chain(options.session.tuning.as_deref())
                .chain(files),
        )?;
    }
    let module = host.module(&options.model)?;
    let inputs = match &options.image {
        Some(image) => image_input(&module, image, options)?,
        None => array_inputs(&module, &options.input)?,
    };
    let session = session(&module, &options.session)?;
    let views: Vec<(&str, Input<'_>)> =
        inputs.iter().map(|(name, array)| (name.as_str(), array.view())).collect();
    let outputs = session.run(&views)?;
    match &options.target {
        Some(path) => data::write_npz(path, &outputs),
        None => {
            outputs.iter().for_each(|(name, output)| show(host, name, output, json));
            Ok(())
        }
    }
}

/// A session as the command line asks for it.
pub fn session(module: &Module, arguments: &SessionArguments) -> Result<Session, Failure> {
    Ok(module.session(session_options(arguments)?)?)
}

/// The options of a session that the command line asks for.
pub fn session_options(arguments: &SessionArguments) -> Result<SessionOptions, Failure> {
    let options = SessionOptions::default().threads(arguments.threads);
    let options = match arguments.max_memory {
        Some(bytes) => options.max_memory(bytes),
        None => options,
    };
    match &arguments.tuning {
        Some(path) => Ok(options.tuning(Tuning::read(path)?)),
        None => Ok(options),
    }
}

/// The module's inputs out of named arrays, with the element types that it declares.
pub fn select(module: &Module, mut arrays: Arrays, from: &str) -> Result<Vec<(String, Output)>, Failure> {
    let ports = module.inputs();
    let inputs = ports.iter().map(|port| {
        let array = arrays.remove(&port.name).ok_or_else(|| {
            let found = arrays.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let found = if found.is_empty() { "nothing".to_owned() } else { found };
            Failure::unacceptable(format!(
                "{from}: there is no array for input `{}`; there is {found}",
                port.name
            ))
            .help(format!("the model's inputs are {}", describe(module)))
        })?;
        Ok((port.name.clone(), data::convert(array, port.element, &port.name)?))
    });
    inputs.collect()
}

/// The inputs of a model in words.
pub fn describe(module: &Module) -> String {
    let program = module.program();
    let ports = program.inputs.iter().map(|port| {
        let buffer = &program.buffers[port.buffer.index()];
        format!("`{}` {}{}", port.name, buffer.element, program.describe_shape(&buffer.shape))
    });
    ports.collect::<Vec<_>>().join(", ")
}

fn array_inputs(module: &Module, words: &[String]) -> Result<Vec<(String, Output)>, Failure> {
    if words.is_empty() {
        let help =
            format!("give -i NAME=FILE.npy, -i FILE.npz or -i FOLDER; the model takes {}", describe(module));
        return Err(Failure::usage("no input is given").help(help));
    }
    let mut arrays = Arrays::new();
    for word in words {
        match word.split_once('=') {
            Some((name, path)) => {
                if !module.inputs().iter().any(|port| port.name == name) {
                    let message = format!("the model has no input `{name}`");
                    return Err(Failure::unacceptable(message).help(format!("it takes {}", describe(module))));
                }
                add(&mut arrays, name.to_owned(), data::read_npy(Path::new(path))?)?;
            }
            None => {
                for (name, array) in data::read_arrays(Path::new(word))? {
                    add(&mut arrays, name, array)?;
                }
            }
        }
    }
    select(module, arrays, &words.join(", "))
}

/// Adds an array that is not there yet.
fn add(arrays: &mut Arrays, name: String, array: Output) -> Result<(), Failure> {
    match arrays.entry(name) {
        Entry::Occupied(there) => Err(Failure::usage(format!("input `{}` is given twice", there.key()))),
        Entry::Vacant(place) => {
            place.insert(array);
            Ok(())
        }
    }
}

fn image_input(module: &Module, path: &Path, options: &Run) -> Result<Vec<(String, Output)>, Failure> {
    match &module.inputs()[..] {
        [port] => Ok(vec![(port.name.clone(), data::read_image(path, port, &options.mean, &options.std)?)]),
        ports => Err(Failure::usage(format!(
            "--image is for a model with one input; this one has {}",
            ports.len()
        ))),
    }
}

/// An output in a line: its shape, and the largest element of each row where there are few.
fn show(host: &Host, name: &str, output: &Output, json: bool) {
    if json {
        let elements: Vec<f64> = numbers(output);
        out!(host, "{}", serde_json::json!({"name": name, "shape": output.shape(), "elements": elements}));
        return;
    }
    out!(host, "{name}: {} {:?}", output.element(), output.shape());
    let elements = numbers(output);
    let width = output.shape().last().copied().unwrap_or(1).max(1);
    for row in elements.chunks(width).take(16) {
        let largest = row
            .iter()
            .enumerate()
            .fold((0, f64::NEG_INFINITY), |best, (i, &x)| if x > best.1 { (i, x) } else { best });
        let shown = row.iter().take(10).map(|x| format!("{x:.4}")).collect::<Vec<_>>().join(" ");
        let more = if row.len() > 10 { " ..." } else { "" };
        out!(host, "  largest at {} ({:.4}); {shown}{more}", largest.0, largest.1);
    }
}

/// The elements as f64.
fn numbers(output: &Output) -> Vec<f64> {
    match output {
        Output::F32(a) => a.iter().map(|&x| f64::from(x)).collect(),
        Output::I8(a) => a.iter().map(|&x| f64::from(x)).collect(),
        Output::U8(a) => a.iter().map(|&x| f64::from(x)).collect(),
        Output::I16(a) => a.iter().map(|&x| f64::from(x)).collect(),
        Output::I32(a) => a.iter().map(|&x| f64::from(x)).collect(),
        Output::I64(a) => a.iter().map(|&x| x as f64).collect(),
        Output::Bool(a) => a.iter().map(|&x| f64::from(u8::from(x))).collect(),
    }
}
