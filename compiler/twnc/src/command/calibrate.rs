//! Samples, and what `--calibrate` makes of them: what layers are fitted to, and constant scales of whole numbers.

use super::failure::Failure;
use super::host::Host;
use super::{compare, data, run};
use crate::{CalibrationError, Calibrator, Compiled, Samples};
use std::path::Path;
use twnc_ir::Graph;
use twnc_program::interpret::Functions;
use twnc_runtime::{ElementType, Input, Module};

/// Samples that scales are found on at a time, where the batch is open.
const BATCH: usize = 8;

/// The samples of a file, with the element types of a graph's inputs. That they fit otherwise, whoever uses them finds out.
pub fn samples(host: &Host, graph: &Graph, path: &Path) -> Result<Samples, Failure> {
    let mut arrays = vec![];
    for (name, array) in host.arrays(path)? {
        let port = graph.inputs().iter().find(|port| port.name == name);
        let declared = port.map(|port| graph.ty(port.value).element.to_string());
        let element =
            [ElementType::F32, ElementType::I64].into_iter().find(|e| Some(e.to_string()) == declared);
        let array = match element {
            Some(element) => data::convert(array, element, &name).map_err(|e| e.in_file(path.display()))?,
            None => array,
        };
        arrays.push((name, array));
    }
    crate::samples(arrays).map_err(|e| Failure::unacceptable(e).in_file(path.display()))
}

/// Finds constant scales on samples.
pub fn scales(host: &Host, compiled: Compiled, samples: &Path) -> Result<Compiled, Failure> {
    let fail = |e: CalibrationError| Failure::unacceptable(e).in_file(samples.display());
    let module = Module::new(compiled.program.clone(), Functions::default())?;
    let inputs = run::select(&module, host.arrays(samples)?, &samples.display().to_string())?;
    let count = compare::sample_count(&inputs)?;
    let batch = compare::fixed_batch(&module).unwrap_or(BATCH.min(count));
    if count < batch {
        let message = format!("{count} samples do not fill the model's batch of {batch}");
        return Err(Failure::unacceptable(message).in_file(samples.display()));
    }
    let mut calibrator = Calibrator::new(&compiled).map_err(fail)?;
    let mut progress = host.progress("calibrating", count as u64);
    // The last samples go with some before them, if they do not fill a batch.
    for start in (0..count).step_by(batch).map(|start| start.min(count - batch)) {
        let part: Vec<(&str, Input<'_>)> = inputs
            .iter()
            .map(|(name, array)| (name.as_str(), compare::slice(array, start, start + batch)))
            .collect();
        calibrator.add(&part).map_err(fail)?;
        progress.advance(batch as u64);
    }
    calibrator.apply(compiled).map_err(fail)
}
