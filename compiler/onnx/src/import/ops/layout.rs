//! The same elements in another shape or order: what only renames axes is a `reshape`.

use super::super::call::{Call, Known, Reason, Translated, axes, axis, one, overflow};
use super::{Operator, operator};
use crate::error::Setting;
use twnc_ir::Dim;

pub(super) const OPERATORS: &[Operator] = &[
    operator("Reshape", 6, (2, 2), "reshape", reshape),
    operator("Flatten", 1, (1, 1), "reshape", reshape),
    operator("Squeeze", 1, (1, 2), "reshape", reshape),
    operator("Unsqueeze", 1, (1, 2), "reshape", reshape),
    operator("Transpose", 1, (1, 1), "transpose", transpose),
    operator("DepthToSpace", 1, (1, 1), "reshape, transpose", depth_to_space),
    operator("SpaceToDepth", 1, (1, 1), "reshape, transpose", space_to_depth),
    operator("Identity", 1, (1, 1), "nothing", |call| {
        let known = call.known(0).cloned();
        known.map(|known| vec![known]).ok_or_else(|| Reason::new("operand 0 is missing".into()))
    }),
];

/// The shape that `Reshape`, `Flatten`, `Squeeze` or `Unsqueeze` gives an operand of this shape.
pub fn reshaped(call: &Call<'_, '_>, shape: &[Dim]) -> Result<Vec<Dim>, Reason> {
    match call.node.op_type.as_str() {
        "Reshape" => {
            let Some(target) = call.dims(1, "the shape")? else {
                return Err(Reason::new("the shape (operand 1) is missing".into()));
            };
            resolve(&target, shape, call.attributes.flag("allowzero", false)?)
        }
        "Flatten" => {
            let at = call.attributes.int("axis")?.unwrap_or(1);
            // The axis may be one past the last.
            let at =
                if usize::try_from(at) == Ok(shape.len()) { shape.len() } else { axis(at, shape.len())? };
            let (outer, inner) = shape.split_at(at);
            [outer, inner].into_iter().map(|dims| Dim::product(dims).ok_or_else(overflow)).collect()
        }
        "Squeeze" => {
            let squeezed = match axes_given(call)? {
                Some(list) => axes(&list, shape.len())?,
                None if shape.iter().all(|dim| dim.as_fixed().is_some()) => {
                    (0..shape.len()).filter(|&i| shape[i].as_fixed() == Some(1)).collect()
                }
                None => {
                    return Err(Reason::new(format!(
                        "has no axes, and which of {shape:?} are 1 is not known; fix them"
                    ))
                    .with(&[Setting::InputShapes]));
                }
            };
            if let Some(&i) = squeezed.iter().find(|&&i| !shape[i].may_equal(&Dim::from(1))) {
                return Err(Reason::new(format!("axis {i} of {shape:?} is not 1")));
            }
            Ok((0..shape.len()).filter(|i| !squeezed.contains(i)).map(|i| shape[i].clone()).collect())
        }
        _ => {
            let Some(list) = axes_given(call)? else {
                return Err(Reason::new("the axes are missing".into()));
            };
            let rank = shape.len() + list.len();
            let new = axes(&list, rank)?;
            let mut old = shape.iter();
            let next = |i: usize| if new.contains(&i) { Some(Dim::from(1)) } else { old.next().cloned() };
            Ok((0..rank).map_while(next).collect())
        }
    }
}

fn reshape(call: &mut Call<'_, '_>) -> Translated {
    // A constant stays one, under its own name.
    if let Some(Known::Constant { tensor, name, stored }) = call.known(0) {
        let shape: Option<Vec<usize>> =
            reshaped(call, &tensor.ty().shape)?.iter().map(Dim::as_size).collect();
        if let Some(shape) = shape {
            return Ok(vec![Known::Constant {
                tensor: tensor.reshaped(shape)?,
                name: name.clone(),
                stored: *stored,
            }]);
        }
    }
    let x = call.value(0)?;
    let shape = reshaped(call, &call.shape(x))?;
    one(call.reshape(x, shape)?)
}

/// The shape that a target with 0 for "as before" and -1 for "what is left" stands for.
fn resolve(target: &[Dim], shape: &[Dim], allow_zero: bool) -> Result<Vec<Dim>, Reason> {
    let mut resolved = vec![];
    let mut open = None;
    for (i, dim) in target.iter().enumerate() {
        resolved.push(match dim.as_fixed() {
            Some(0) if !allow_zero => match shape.get(i) {
                Some(size) => size.clone(),
                None => {
                    return Err(Reason::new(format!(
                        "the shape {target:?} copies axis {i}, which {shape:?} does not have"
                    )));
                }
            },
            Some(-1) if open.is_none() => {
                open = Some(i);
                Dim::from(1)
            }
            Some(n) if n < 0 => return Err(Reason::new(format!("the shape {target:?} is no shape"))),
            _ => dim.clone(),
        });
    }
    let Some(open) = open else { return Ok(resolved) };
    // Sizes on both sides cancel before anything is multiplied: what is left divides more often.
    let mut numerator = shape.to_vec();
    let mut divisor = vec![];
    for dim in resolved.iter().filter(|dim| dim.as_fixed() != Some(0)) {
        match numerator.iter().position(|own| own == dim) {
            Some(i) => drop(numerator.swap_remove(i)),
            None => divisor.push(dim.clone()),
        }
    }
    let (numerator, divisor) =
        (Dim::product(&numerator).ok_or_else(overflow)?, Dim::product(&divisor).ok_or_else(overflow)?);
    if let (Some(n), Some(d)) = (numerator.as_fixed(), divisor.as_fixed())
        && n.checked_rem(d) != Some(0)
    {
        return Err(Reason::new(format!("{shape:?} cannot be reshaped to {target:?}")));
    }
    resolved[open] = numerator.floor_div(&divisor).ok_or_else(overflow)?;
    Ok(resolved)
}

/// Axes, an attribute before operator set 13 and an operand from then on.
fn axes_given(call: &Call<'_, '_>) -> Result<Option<Vec<i64>>, Reason> {
    match call.attributes.ints("axes")? {
        Some(list) => Ok(Some(list.to_vec())),
        None => call.ints(1, "axes"),
    }
}

fn transpose(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let rank = call.ty(x).rank();
    let perm = call.attributes.sizes("perm")?.unwrap_or_else(|| (0..rank).rev().collect());
    one(if perm.len() == rank {
        call.transpose(x, perm)?
    } else {
        call.op(twnc_ir::Op::Transpose { perm }, &[x])?
    })
}

fn depth_to_space(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let (block, [n, c, h, w]) = blocks(call, call.shape(x))?;
    let depth = block.checked_mul(&block).and_then(|squared| c.floor_div(&squared)).ok_or_else(overflow)?;
    let (split, perm) = match call.attributes.string("mode")?.unwrap_or("DCR") {
        "DCR" => (
            [n.clone(), block.clone(), block.clone(), depth.clone(), h.clone(), w.clone()],
            [0, 3, 4, 1, 5, 2],
        ),
        "CRD" => (
            [n.clone(), depth.clone(), block.clone(), block.clone(), h.clone(), w.clone()],
            [0, 1, 4, 2, 5, 3],
        ),
        other => return Err(Reason::new(format!("attribute `mode` is `{other}`; accepted are DCR and CRD"))),
    };
    let split = call.reshape(x, split.to_vec())?;
    let moved = call.transpose(split, perm.to_vec())?;
    let (h, w) = (h.checked_mul(&block).ok_or_else(overflow)?, w.checked_mul(&block).ok_or_else(overflow)?);
    one(call.reshape(moved, vec![n, depth, h, w])?)
}

fn space_to_depth(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let (block, [n, c, h, w]) = blocks(call, call.shape(x))?;
    let divide = |dim: &Dim| dim.floor_div(&block).ok_or_else(overflow);
    let (h, w) = (divide(&h)?, divide(&w)?);
    let split = vec![n.clone(), c.clone(), h.clone(), block.clone(), w.clone(), block.clone()];
    let split = call.reshape(x, split)?;
    let moved = call.transpose(split, vec![0, 3, 5, 1, 2, 4])?;
    let depth = Dim::product([&c, &block, &block]).ok_or_else(overflow)?;
    one(call.reshape(moved, vec![n, depth, h, w])?)
}

/// The block size and the four axes.
fn blocks(call: &Call<'_, '_>, shape: Vec<Dim>) -> Result<(Dim, [Dim; 4]), Reason> {
    let block = call.attributes.int("blocksize")?.filter(|&n| n > 0);
    let block =
        block.ok_or_else(|| Reason::new("attribute `blocksize` is missing or not positive".into()))?;
    let axes = shape
        .try_into()
        .map_err(|shape| Reason::new(format!("needs four axes; the operand has {shape:?}")))?;
    Ok((Dim::fixed(block), axes))
}
