//! Sessions: they run a module on the caller's arrays.

use crate::array::{Array, Role, assign, keep_apart};
use crate::error::{Code, Failure, guard};
use crate::handle::Table;
use crate::module::{MODULES, Module};
use crate::options::{OPTIONS, Options};
use crate::pointer::{self, Place};
use std::ffi::{CString, c_char};
use std::sync::Arc;
use twnc_runtime::SessionOptions;

/// Runs a model. Several threads may run one session at a time, each into arrays of its own; each gets, byte for byte, what it would alone.
#[derive(Debug)]
pub struct Session {
    session: twnc_runtime::Session,
    module: Arc<Module>,
    backend: CString,
}

static SESSIONS: Table<Session> = Table::new("session");

/// A session that runs the model, with options or, where they are NULL, without.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twnc_session_new(
    module: *const Module,
    options: *const Options,
    session: *mut *mut Session,
) -> Code {
    guard(|| {
        // SAFETY: the header asks for what it needs.
        let place = unsafe { Place::of_handle(session, "session") }?;
        let module = MODULES.get(module)?;
        let options = match options.is_null() {
            true => SessionOptions::default(),
            false => OPTIONS.get(options)?.get(),
        };
        let session = module.module.session(options)?;
        let backend = CString::new(session.backend().name()).unwrap_or_default();
        place.put(SESSIONS.open(Session { session, module, backend })?);
        Ok(())
    })
}

/// Frees a session. Runs of it that have not ended, in other threads, end as they would.
#[unsafe(no_mangle)]
pub extern "C" fn twnc_session_free(session: *mut Session) -> Code {
    guard(|| SESSIONS.close(session))
}

/// By which path it runs, in the words of twnc_options_set_backend. The text stands until the session is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twnc_session_backend(session: *const Session, name: *mut *const c_char) -> Code {
    guard(|| {
        // SAFETY: the header asks for what it needs.
        let place = unsafe { Place::new(name, "name") }?;
        place.put(SESSIONS.get(session)?.backend.as_ptr());
        Ok(())
    })
}

/// The sizes of output `output` (from 0, in the model's order) for these inputs, of which no element is read, into `rank` places. Needed only where
/// the model leaves sizes open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twnc_session_output_shape(
    session: *const Session,
    inputs: *const Array,
    input_count: usize,
    output: usize,
    shape: *mut i64,
    rank: usize,
) -> Code {
    guard(|| {
        let session = SESSIONS.get(session)?;
        let module = &session.module;
        // SAFETY: the header asks for what it needs.
        let inputs = unsafe { assign(Role::Input, &module.inputs, inputs, input_count) }?;
        let inputs: Vec<_> = inputs.into_iter().map(|input| input.shape).collect();
        let shapes = session.session.shapes(&inputs)?;
        let outputs = &module.module.program().outputs;
        let port = outputs.get(output).ok_or_else(|| {
            Failure::argument(format!("there is no output {output}: the model has {}", outputs.len()))
        })?;
        let sizes = shapes.of(port.buffer);
        if rank != sizes.len() {
            let message = format!("output `{}` has the rank {}, not {rank}", port.name, sizes.len());
            return Err(Failure::argument(message));
        }
        // SAFETY: the header asks for what it needs.
        let places = unsafe { pointer::elements_mut(shape, rank, || "`shape`".into()) }?;
        for (place, &size) in places.iter_mut().zip(sizes) {
            *place = i64::try_from(size).unwrap_or(i64::MAX);
        }
        Ok(())
    })
}

/// Runs the model: reads arrays for all inputs, writes arrays for all outputs, which overlap no other array. The outputs hold anything after a run that
/// failed. Once a run with inputs of these shapes has been, memory is allocated for the description of arrays alone, and not for elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twnc_session_run(
    session: *const Session,
    inputs: *const Array,
    input_count: usize,
    outputs: *const Array,
    output_count: usize,
) -> Code {
    guard(|| {
        let session = SESSIONS.get(session)?;
        let module = &session.module;
        // SAFETY: the header asks for what these need.
        let (inputs, outputs) = unsafe {
            let inputs = assign(Role::Input, &module.inputs, inputs, input_count)?;
            (inputs, assign(Role::Output, &module.outputs, outputs, output_count)?)
        };
        // Before there is any reference to elements: two to the same must not be.
        keep_apart(&inputs, &outputs)?;
        // SAFETY: the header asks for what it needs.
        let named = inputs.iter().map(|given| Ok((given.info.name.as_str(), unsafe { given.input() }?)));
        let named = named.collect::<Result<Vec<_>, Failure>>()?;
        // SAFETY: the header asks for what it needs, and no two arrays overlap.
        let targets = outputs.iter().map(|given| unsafe { given.output() });
        let mut targets = targets.collect::<Result<Vec<_>, Failure>>()?;
        Ok(session.session.run_into(&named, &mut targets)?)
    })
}
