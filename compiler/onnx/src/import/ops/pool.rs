//! Pools. Of 8-bit integers, a maximum is taken in f32, which holds them exactly.

use super::super::call::{Call, Reason, Translated, one};
use super::convolution::geometry;
use super::{Operator, operator};
use twnc_ir::{Dim, ElementType, Op, Pool, ReduceKind, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("MaxPool", 7, (1, 1), "max_pool", max_pool),
    operator("AveragePool", 7, (1, 1), "average_pool", average_pool),
    operator("GlobalAveragePool", 7, (1, 1), "reduce_mean", |call| global(call, ReduceKind::Mean)),
    operator("GlobalMaxPool", 7, (1, 1), "reduce_max", |call| global(call, ReduceKind::Max)),
];

fn max_pool(call: &mut Call<'_, '_>) -> Translated {
    if call.wants(1) {
        return Err(Reason::new("its second result, the indices, is not supported".into()));
    }
    // It orders the indices, which are not there.
    call.attributes.ignore(&["storage_order"]);
    let x = call.value(0)?;
    let element = call.ty(x).element;
    if matches!(element, ElementType::I64 | ElementType::I32) {
        return Err(Reason::new(format!("elements of type {element} are not supported; cast them to FLOAT")));
    }
    let x = call.cast(x, ElementType::F32)?;
    let pool = pool(call, x)?;
    let y = call.op(Op::MaxPool(pool), &[x])?;
    one(call.cast(y, element)?)
}

fn average_pool(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let pool = pool(call, x)?;
    let count_padding = call.attributes.flag("count_include_pad", false)?;
    one(call.op(Op::AveragePool { pool, count_padding }, &[x])?)
}

fn global(call: &mut Call<'_, '_>, kind: ReduceKind) -> Translated {
    let x = call.value(0)?;
    let axes: Vec<usize> = (2..call.ty(x).rank()).collect();
    one(if axes.is_empty() { x } else { call.op(Op::Reduce { kind, axes, keep_dims: true }, &[x])? })
}

fn pool(call: &Call<'_, '_>, x: ValueId) -> Result<Pool, Reason> {
    let Some(kernel) = call.attributes.sizes("kernel_shape")? else {
        return Err(Reason::new("attribute `kernel_shape` is missing".into()));
    };
    let shape = call.shape(x);
    let spatial = shape.get(2..).unwrap_or_default();
    if kernel.len() != spatial.len() || kernel.contains(&0) {
        return Err(Reason::new(format!(
            "kernel_shape {kernel:?} does not fit the spatial axes of {}",
            call.ty(x)
        )));
    }
    let extents: Vec<Dim> = kernel.iter().map(|&n| Dim::from(n)).collect();
    let geometry = geometry(call, &extents, spatial)?;
    Ok(Pool { kernel, geometry, ceil: call.attributes.flag("ceil_mode", false)? })
}
