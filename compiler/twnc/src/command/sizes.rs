//! The sizes that a command gives to the open dimensions of a compiled model: what `--dim` says, else a small one that the model takes, and never in
//! silence.

use super::err;
use super::failure::Failure;
use super::host::Host;
use crate::synthetic;
use twnc_runtime::{Module, Session, Size};

/// What an open size is, other than a batch, which is 1: the first of these with which windows fit into images.
const SIZES: [usize; 6] = [1, 16, 32, 64, 224, 256];

/// The shapes of the inputs. A name in `dims` that no input has is an error; a note on standard error tells of sizes other than a
/// batch that nobody gave, since no time or count for such inputs says anything of a real one.
pub fn shapes(
    host: &Host,
    module: &Module,
    session: &Session,
    dims: &[(String, i64)],
) -> Result<Vec<Vec<usize>>, Failure> {
    let open = names(module, 0);
    if let Some((name, _)) = dims.iter().find(|(name, _)| !open.contains(name)) {
        let message = format!("option --dim {name}: no input of the model has an open dimension `{name}`");
        return Err(Failure::usage(message).help(match open.as_slice() {
            [] => "all sizes of the model are fixed".to_owned(),
            open => format!("the open dimensions are {}", open.join(", ")),
        }));
    }
    let inside = names(module, 1).into_iter().filter(|name| dims.iter().all(|(given, _)| given != name));
    let inside: Vec<String> = inside.collect();
    if inside.is_empty() {
        return Ok(synthetic::shapes(module, 1, dims));
    }
    let flags: Vec<String> = inside.iter().map(|name| format!("--dim {name}=N")).collect();
    let (inside, flags) = (inside.join(", "), flags.join(" "));
    let given = |size: usize| {
        let more = names(module, 1).into_iter().map(|name| (name, size as i64));
        let all: Vec<(String, i64)> = dims.iter().cloned().chain(more).collect();
        synthetic::shapes(module, 1, &all)
    };
    let mut why = None;
    for size in SIZES {
        match session.shapes(&given(size)) {
            Ok(_) => {
                err!(host, "note: {inside} taken as {size}; {flags} gives another size");
                return Ok(given(size));
            }
            Err(error) => why = Some(error),
        }
    }
    let why = why.map(|error| format!("; of the last: {error}")).unwrap_or_default();
    let message = format!("{inside} is open, and the model takes none of {SIZES:?}{why}");
    Err(Failure::unacceptable(message).help(format!("say what it is: {flags}")))
}

/// The open dimensions of the inputs from this axis on, each once.
fn names(module: &Module, from: usize) -> Vec<String> {
    let mut names: Vec<String> = vec![];
    for size in module.inputs().iter().flat_map(|port| port.shape.iter().skip(from)) {
        if let Size::Open(name) = size
            && !names.contains(name)
        {
            names.push(name.clone());
        }
    }
    names
}
