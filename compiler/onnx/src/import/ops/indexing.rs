//! Elements by indices: what gathers and scatters becomes one `gather` or `scatter` of rows, at indices that are computed.

use super::super::call::{Call, Reason, Translated, axis, one, overflow};
use super::{Operator, operator};
use twnc_ir::{Binary, Combine, Dim, ElementType, Op, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("Gather", 1, (2, 2), "gather", gather),
    operator("GatherElements", 11, (2, 2), "iota, less, mul, add, reshape, gather", gather_elements),
    operator("GatherND", 11, (2, 2), "slice, less, mul, add, reshape, gather", gather_nd),
    operator("Scatter", 9, (3, 3), "iota, less, mul, add, reshape, scatter", scatter_elements),
    operator("ScatterElements", 11, (3, 3), "iota, less, mul, add, reshape, scatter", scatter_elements),
    operator("ScatterND", 11, (3, 3), "slice, less, mul, add, reshape, scatter", scatter_nd),
    operator("OneHot", 9, (3, 3), "iota, less, mul, add, equal, keep", one_hot),
];

fn gather(call: &mut Call<'_, '_>) -> Translated {
    let (data, indices) = (call.value(0)?, call.value(1)?);
    let axis = axis(call.attributes.int("axis")?.unwrap_or(0), call.ty(data).rank())?;
    call.indices_exist(1, &call.shape(data)[axis])?;
    one(call.op(Op::Gather { axis }, &[data, indices])?)
}

fn gather_elements(call: &mut Call<'_, '_>) -> Translated {
    let (data, indices) = (call.value(0)?, call.value(1)?);
    let rows = element_rows(call, data, indices)?;
    let data = flat(call, data)?;
    one(call.op(Op::Gather { axis: 0 }, &[data, rows])?)
}

fn scatter_elements(call: &mut Call<'_, '_>) -> Translated {
    let (data, indices, updates) = (call.value(0)?, call.value(1)?, call.value(2)?);
    let shape = call.shape(data);
    let rows = element_rows(call, data, indices)?;
    let (data, rows, updates) = (flat(call, data)?, flat(call, rows)?, flat(call, updates)?);
    scattered(call, data, rows, updates, shape)
}

/// For each of `indices` along the attribute `axis`, the element's place among all of `data`.
fn element_rows(call: &mut Call<'_, '_>, data: ValueId, indices: ValueId) -> Result<ValueId, Reason> {
    let (shape, wanted) = (call.shape(data), call.shape(indices));
    let on = axis(call.attributes.int("axis")?.unwrap_or(0), shape.len())?;
    if wanted.len() != shape.len() {
        return Err(Reason::new(format!("indices {} for data {}", call.ty(indices), call.ty(data))));
    }
    call.indices_exist(1, &shape[on])?;
    let indices = call.cast(indices, ElementType::I64)?;
    let indices = call.indices_from_start(indices, &shape[on])?;
    let mut rows = scaled(call, indices, &shape[on + 1..])?;
    for k in (0..shape.len()).filter(|&k| k != on && wanted[k] != Dim::from(1)) {
        let positions = call.positions(&wanted[k], k, shape.len(), ElementType::I64)?;
        let positions = scaled(call, positions, &shape[k + 1..])?;
        rows = call.binary(Binary::Add, rows, positions)?;
    }
    Ok(rows)
}

fn gather_nd(call: &mut Call<'_, '_>) -> Translated {
    let (data, indices) = (call.value(0)?, call.value(1)?);
    let batch = call.attributes.int("batch_dims")?.unwrap_or(0);
    let batch =
        usize::try_from(batch).map_err(|_| Reason::new(format!("attribute `batch_dims` is {batch}")))?;
    let (rows, width) = tuple_rows(call, data, indices, batch)?;
    let data = in_rows(call, data, batch + width)?;
    one(call.op(Op::Gather { axis: 0 }, &[data, rows])?)
}

fn scatter_nd(call: &mut Call<'_, '_>) -> Translated {
    let (data, indices, updates) = (call.value(0)?, call.value(1)?, call.value(2)?);
    let shape = call.shape(data);
    let (rows, width) = tuple_rows(call, data, indices, 0)?;
    let (data, rows) = (in_rows(call, data, width)?, flat(call, rows)?);
    let row = call.shape(data).split_off(1);
    let updates_shape = [call.shape(rows), row].concat();
    let updates = call.reshape(updates, updates_shape)?;
    scattered(call, data, rows, updates, shape)
}

/// For each tuple along the last axis of `indices`, the row of `data` seen as rows of all but its first axes; and how many the tuple names.
/// The first `batch` axes of both are the same.
fn tuple_rows(
    call: &mut Call<'_, '_>,
    data: ValueId,
    indices: ValueId,
    batch: usize,
) -> Result<(ValueId, usize), Reason> {
    let (shape, wanted) = (call.shape(data), call.shape(indices));
    let misfit = || Reason::new(format!("indices of shape {wanted:?} for data of shape {shape:?}"));
    let (last, outer) = wanted.split_last().ok_or_else(misfit)?;
    let width = last.as_size().ok_or_else(misfit)?;
    let named = batch.checked_add(width).filter(|&named| named <= shape.len() && batch <= outer.len());
    let named = named.ok_or_else(misfit)?;
    if width == 0 {
        return Err(misfit());
    }
    for part in 0..width {
        call.tuples_exist(1, width, part, &shape[batch + part])?;
    }
    let indices = call.cast(indices, ElementType::I64)?;
    let mut rows = None;
    for part in 0..width {
        let index = call.slice(indices, outer.len(), Dim::from(part), Dim::from(1), 1)?;
        let index = call.reshape(index, outer.to_vec())?;
        let index = call.indices_from_start(index, &shape[batch + part])?;
        let index = scaled(call, index, &shape[batch + part + 1..named])?;
        rows = Some(match rows {
            None => index,
            Some(sum) => call.binary(Binary::Add, sum, index)?,
        });
    }
    let mut rows = rows.ok_or_else(misfit)?;
    for k in 0..batch {
        let positions = call.positions(&shape[k], k, outer.len(), ElementType::I64)?;
        let positions = scaled(call, positions, &shape[k + 1..named])?;
        rows = call.binary(Binary::Add, rows, positions)?;
    }
    Ok((rows, width))
}

/// The value times the product of these sizes.
fn scaled(call: &mut Call<'_, '_>, x: ValueId, sizes: &[Dim]) -> Result<ValueId, Reason> {
    let product = Dim::product(sizes).ok_or_else(overflow)?;
    if product == Dim::from(1) {
        return Ok(x);
    }
    let product = call.size(&product, call.ty(x).element)?;
    call.binary(Binary::Mul, x, product)
}

/// The value with its first axes as one.
fn in_rows(call: &mut Call<'_, '_>, x: ValueId, first: usize) -> Result<ValueId, Reason> {
    let shape = call.shape(x);
    let (outer, inner) = shape.split_at(first);
    let rows = Dim::product(outer).ok_or_else(overflow)?;
    call.reshape(x, [vec![rows], inner.to_vec()].concat())
}

/// The value with one axis.
pub(super) fn flat(call: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Reason> {
    in_rows(call, x, call.ty(x).rank())
}

/// `data` with rows replaced or combined, as the attribute `reduction` says, in this shape.
fn scattered(
    call: &mut Call<'_, '_>,
    data: ValueId,
    rows: ValueId,
    updates: ValueId,
    shape: Vec<Dim>,
) -> Translated {
    let combine = match call.attributes.string("reduction")?.unwrap_or("none") {
        "none" => None,
        "add" => Some(Combine::Add),
        "mul" => Some(Combine::Mul),
        "min" => Some(Combine::Min),
        "max" => Some(Combine::Max),
        other => {
            let text =
                format!("attribute `reduction` is `{other}`; accepted are none, add, mul, min and max");
            return Err(Reason::new(text));
        }
    };
    let element = call.ty(data).element;
    let wide = if combine.is_some() { Call::wide(element) } else { element };
    let (data, updates) = (call.cast(data, wide)?, call.cast(updates, wide)?);
    let y = call.op(Op::Scatter { combine }, &[data, rows, updates])?;
    let y = call.cast(y, element)?;
    one(call.reshape(y, shape)?)
}

/// `on` where the index is the position along the new axis, else `off`. Indices may be floats, which are truncated.
fn one_hot(call: &mut Call<'_, '_>) -> Translated {
    let indices = call.value(0)?;
    let depth = match call.tensor(1).and_then(|tensor| tensor.as_f32()) {
        Some(&[depth]) => Dim::fixed(depth as i64),
        _ => match call.dims(1, "the depth")?.as_deref() {
            Some([depth]) => depth.clone(),
            _ => return Err(Reason::new("the depth (operand 1) is not one number".into())),
        },
    };
    if depth.is_negative() || depth == Dim::from(0) {
        return Err(Reason::new(format!("the depth (operand 1) is {depth}; it must be positive")));
    }
    let values = call.value(2)?;
    let element = call.ty(values).element;
    let mut shape = call.shape(indices);
    let on = axis(call.attributes.int("axis")?.unwrap_or(-1), shape.len() + 1)?;
    shape.insert(on, Dim::from(1));
    let indices = call.cast(indices, ElementType::I64)?;
    let indices = call.indices_from_start(indices, &depth)?;
    let indices = call.reshape(indices, shape.clone())?;
    let positions = call.positions(&depth, on, shape.len(), ElementType::I64)?;
    let hit = call.binary(Binary::Equal, indices, positions)?;
    let wide = Call::wide(element);
    let (hit, values) = (call.cast(hit, wide)?, call.cast(values, wide)?);
    let mut value = |at: usize| {
        let part = call.slice(values, 0, Dim::from(at), Dim::from(1), 1)?;
        call.reshape(part, vec![])
    };
    let (off_value, on_value) = (value(0)?, value(1)?);
    let y = call.choose(hit, on_value, off_value)?;
    one(call.cast(y, element)?)
}
