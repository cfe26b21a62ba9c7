//! The types of a graph's inputs: what the file declares, what the options override.

use super::options::{ImportOptions, ShapeOverride};
use crate::error::{ImportProblem, Setting};
use crate::proto::{DataType, DimensionValue, TypeValue, ValueInfoProto};
use crate::tensor;
use std::collections::BTreeSet;
use twnc_ir::{Dim, ElementType, TensorType};

/// The types of the inputs, in order. `notes` takes what is changed on the way.
pub fn types(
    inputs: &[&ValueInfoProto],
    options: &ImportOptions,
    notes: &mut Vec<String>,
) -> Result<Vec<TensorType>, ImportProblem> {
    let overrides = overrides(inputs, options)?;
    let mut symbols = BTreeSet::new();
    let mut types = vec![];
    for (input, shape) in inputs.iter().zip(overrides) {
        let ty = declared(input, shape, notes)?;
        symbols.extend(ty.shape.iter().filter_map(Dim::as_symbol).map(str::to_owned));
        types.push(ty);
    }
    for (name, size) in &options.dims {
        let refuse = |reason: String| ImportProblem::Option {
            setting: Setting::Dims,
            value: format!("{name}={size}"),
            reason,
        };
        if *size < 1 {
            return Err(refuse("a size is at least 1".into()));
        }
        if !symbols.contains(name) {
            let known: Vec<_> = symbols.iter().map(String::as_str).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            return Err(refuse(format!("no input has a dimension of this name; named dimensions: {known}")));
        }
    }
    let bound =
        |name: &str| options.dims.iter().find(|(dim, _)| dim == name).map(|(_, size)| Dim::fixed(*size));
    for dim in types.iter_mut().flat_map(|ty| &mut ty.shape) {
        *dim = dim.substitute(&bound).unwrap_or_else(|| dim.clone());
    }
    for (input, ty) in inputs.iter().zip(&types) {
        let fixed = ty.shape.iter().filter_map(Dim::as_fixed);
        if fixed.filter(|&n| n != 0).try_fold(1i64, i64::checked_mul).is_none() {
            let reason = format!("{ty} has more elements than can be counted; give it smaller sizes");
            return Err(ImportProblem::Input { input: input.name.clone(), reason });
        }
    }
    Ok(types)
}

/// The override for each input.
fn overrides<'a>(
    inputs: &[&ValueInfoProto],
    options: &'a ImportOptions,
) -> Result<Vec<Option<&'a [Dim]>>, ImportProblem> {
    let mut found = vec![None; inputs.len()];
    for ShapeOverride { input, shape } in &options.input_shapes {
        let names = || inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>().join(", ");
        let position = match input {
            Some(name) => inputs.iter().position(|input| input.name == *name),
            None => (inputs.len() == 1).then_some(0),
        };
        let Some(slot) = position.and_then(|i| found.get_mut(i)) else {
            return Err(ImportProblem::Option {
                setting: Setting::InputShapes,
                value: input.as_deref().unwrap_or("without a name").to_owned(),
                reason: format!("write [NAME:]1x3x224x224 with one of the inputs: {}", names()),
            });
        };
        *slot = Some(shape.as_slice());
    }
    Ok(found)
}

/// The type that the file declares, its shape replaced by the override if there is one.
fn declared(
    input: &ValueInfoProto,
    shape: Option<&[Dim]>,
    notes: &mut Vec<String>,
) -> Result<TensorType, ImportProblem> {
    let refuse = |reason: String| ImportProblem::Input { input: input.name.clone(), reason };
    let ty = match input.r#type.as_ref().and_then(|ty| ty.value.as_ref()) {
        Some(TypeValue::Tensor(ty)) => ty,
        Some(_) => {
            return Err(refuse(
                "is a sequence, map, optional or sparse tensor; only dense tensors are supported".into(),
            ));
        }
        None => return Err(refuse("has no type; export the model with typed inputs".into())),
    };
    let element = tensor::element_type(ty.elem_type).map_err(|problem| refuse(problem.to_string()))?;
    let stored = tensor::data_type(ty.elem_type).map_err(|problem| refuse(problem.to_string()))?;
    match stored {
        DataType::Float16 | DataType::Bfloat16 | DataType::Double => notes.push(format!(
            "input `{}` is declared {} and taken as FLOAT: everything is computed in f32",
            input.name,
            tensor::name(stored)
        )),
        DataType::Uint16
        | DataType::Uint32
        | DataType::Uint64
        | DataType::Int4
        | DataType::Uint4
        | DataType::Int2
        | DataType::Uint2 => {
            return Err(refuse(format!(
                "elements of type {} are not supported as input; take them as INT32, INT64 or INT8 and cast",
                tensor::name(stored)
            )));
        }
        _ => {}
    }
    let Some(declared) = &ty.shape else {
        return match shape {
            Some(shape) => Ok(TensorType::new(element, shape.to_vec())),
            None => Err(ImportProblem::NoShape { input: input.name.clone() }),
        };
    };
    if let Some(shape) = shape {
        if shape.len() != declared.dim.len() {
            return Err(refuse(format!(
                "has {} axes; the shape given has {}",
                declared.dim.len(),
                shape.len()
            )));
        }
        return Ok(TensorType::new(element, shape.to_vec()));
    }
    let mut dims = vec![];
    for (axis, dim) in declared.dim.iter().enumerate() {
        dims.push(match &dim.value {
            Some(DimensionValue::Value(n)) if *n >= 0 => Dim::fixed(*n),
            Some(DimensionValue::Value(n)) if *n < -1 => {
                return Err(refuse(format!(
                    "axis {axis} has size {n}; give a size, or a name where it is open"
                )));
            }
            // Exporters write `?` for sizes that have no name; two of them need not be equal.
            Some(DimensionValue::Param(name)) if !name.is_empty() && name != "?" => Dim::symbol(name),
            // No size, or the -1 that some exporters write for one that is open.
            _ => Dim::symbol(&format!("{}_{axis}", input.name)),
        });
    }
    Ok(TensorType::new(element, dims))
}

/// Whether a value of this element type may be a list of sizes.
pub fn is_index(element: ElementType) -> bool {
    matches!(element, ElementType::I64 | ElementType::I32)
}
