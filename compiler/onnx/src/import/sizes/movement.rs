//! Elements of sizes put elsewhere: parts, joins, other shapes, repetitions, reductions of vectors, counting.

use super::super::call::{Call, Known, Reason, axes, axis};
use super::super::ops;
use super::arithmetic::{broadcast, is_exact};
use super::{MAX_ELEMENTS, Sizes};
use twnc_ir::{Dim, ElementType, Slice};

pub(super) fn gather(call: &Call<'_, '_>, data: &Sizes, indices: &Sizes) -> Result<Option<Sizes>, Reason> {
    if axis(call.attributes.int("axis")?.unwrap_or(0), data.shape.len())? != 0
        || data.shape.len() != 1
        || !indices.is_index()
    {
        return Ok(None);
    }
    let pick = |index: &Dim| data.elements.get(axis(index.as_fixed()?, data.elements.len()).ok()?).cloned();
    let elements = indices.elements.iter().map(pick).collect::<Option<_>>();
    Ok(elements.map(|elements| Sizes { shape: indices.shape.clone(), elements, ..*data }))
}

pub(super) fn concat(call: &Call<'_, '_>, operands: &[Sizes]) -> Result<Option<Sizes>, Reason> {
    let alike = |sizes: &Sizes| (sizes.element, sizes.parts) == (operands[0].element, operands[0].parts);
    let vectors = operands.iter().all(|sizes| sizes.shape.len() == 1 && alike(sizes));
    if !vectors || axis(call.attributes.int("axis")?.unwrap_or(0), 1)? != 0 {
        return Ok(None);
    }
    let elements: Vec<Dim> = operands.iter().flat_map(|sizes| sizes.elements.iter().cloned()).collect();
    Ok(Some(Sizes { shape: vec![elements.len()], elements, ..operands[0] }))
}

pub(super) fn slice(call: &Call<'_, '_>, x: &Sizes) -> Result<Option<Sizes>, Reason> {
    let ranges = ops::slice_ranges(call, &x.ty().shape)?;
    Ok(ranges.iter().try_fold(x.clone(), part))
}

/// Elements along an axis.
fn part(x: Sizes, range: &Slice) -> Option<Sizes> {
    let size = range.size.as_size().filter(|&n| n <= MAX_ELEMENTS)?;
    let start = range.start.as_fixed()?;
    let indices: Option<Vec<usize>> = (0..i64::try_from(size).ok()?)
        .map(|i| usize::try_from(i.checked_mul(range.step)?.checked_add(start)?).ok())
        .collect();
    let mut shape = x.shape.clone();
    *shape.get_mut(range.axis)? = size;
    let indices = indices?;
    let element = |at: &[usize]| {
        let mut from = at.to_vec();
        *from.get_mut(range.axis)? = *indices.get(*at.get(range.axis)?)?;
        x.at(&from)
    };
    x.rearranged(shape, element)
}

/// The parts of an axis, one for each result.
pub(super) fn split(call: &Call<'_, '_>, x: &Sizes) -> Result<Option<Vec<Known>>, Reason> {
    let (axis, sizes) = ops::split_sizes(call, &x.ty().shape)?;
    let mut start = 0;
    let mut parts = vec![];
    for size in sizes {
        let Some(n) = size.as_fixed() else { return Ok(None) };
        let Some(taken) = part(x.clone(), &Slice { axis, start: Dim::fixed(start), size, step: 1 }) else {
            return Ok(None);
        };
        parts.push(taken.known(call.label()));
        start += n;
    }
    Ok(Some(parts))
}

pub(super) fn transpose(call: &Call<'_, '_>, x: &Sizes) -> Result<Option<Sizes>, Reason> {
    let rank = x.shape.len();
    let perm = call.attributes.sizes("perm")?.unwrap_or_else(|| (0..rank).rev().collect());
    let shape: Option<Vec<usize>> = perm.iter().map(|&axis| x.shape.get(axis).copied()).collect();
    let element = |at: &[usize]| {
        let mut from = vec![0; rank];
        for (&axis, &index) in perm.iter().zip(at) {
            *from.get_mut(axis)? = index;
        }
        x.at(&from)
    };
    let distinct = (0..rank).all(|axis| perm.contains(&axis));
    Ok(shape.filter(|shape| shape.len() == rank && distinct).and_then(|shape| x.rearranged(shape, element)))
}

pub(super) fn reshape(call: &Call<'_, '_>, x: &Sizes) -> Result<Option<Sizes>, Reason> {
    let shape = ops::reshaped(call, &x.ty().shape)?;
    let shape: Option<Vec<usize>> = shape.iter().map(Dim::as_size).collect();
    let fits = |shape: &Vec<usize>| count(shape) == Some(x.elements.len());
    Ok(shape.filter(fits).map(|shape| Sizes { shape, ..x.clone() }))
}

/// The sum, product, smallest or largest of all elements of a vector.
pub(super) fn reduce(call: &Call<'_, '_>, x: &Sizes) -> Result<Option<Sizes>, Reason> {
    if x.shape.len() != 1 || x.element == ElementType::Bool {
        return Ok(None);
    }
    let given = match call.attributes.ints("axes")? {
        Some(axes) => Some(axes.to_vec()),
        None => call.ints(1, "axes")?,
    };
    let keep = call.attributes.flag("keepdims", true)?;
    if call.attributes.flag("noop_with_empty_axes", false)? && given.is_none() {
        return Ok(Some(x.clone()));
    }
    if axes(given.as_deref().unwrap_or(&[0]), 1)? != [0] {
        return Ok(None);
    }
    let shape = if keep { vec![1] } else { vec![] };
    let join = |a: Dim, b: &Dim| match call.node.op_type.as_str() {
        "ReduceSum" => a.checked_add(b).filter(|_| is_exact(x)),
        "ReduceMin" => a.minimum(b),
        "ReduceMax" => a.maximum(b),
        // What is a fraction would become one of other parts.
        _ => a.checked_mul(b).filter(|_| x.parts == 1),
    };
    let Some((first, others)) = x.elements.split_first() else { return Ok(None) };
    let all = others.iter().try_fold(first.clone(), join);
    Ok(all.map(|all| Sizes { shape, elements: vec![all], ..*x }))
}

/// Whole numbers by their type that are not open.
fn whole(sizes: &Sizes) -> Option<Vec<usize>> {
    let elements = sizes.elements.iter().map(Dim::as_size).collect::<Option<_>>()?;
    sizes.is_index().then_some(elements)
}

/// Sizes of 1, on either side, are as large as the other side's.
pub(super) fn expand(x: &Sizes, shape: &Sizes) -> Option<Sizes> {
    let shape = whole(shape)?;
    x.rearranged(broadcast(&x.shape, &shape)?, |at| x.broadcast_at(at))
}

pub(super) fn tile(x: &Sizes, repeats: &Sizes) -> Option<Sizes> {
    let repeats = whole(repeats)?;
    let repeated = |(&size, &times): (&usize, &usize)| size.checked_mul(times);
    let shape: Vec<usize> = x.shape.iter().zip(&repeats).map(repeated).collect::<Option<_>>()?;
    let at = |at: &[usize]| x.at(&at.iter().zip(&x.shape).map(|(&i, &size)| i % size).collect::<Vec<_>>());
    if repeats.len() == x.shape.len() { x.rearranged(shape, at) } else { None }
}

pub(super) fn constant_of_shape(call: &Call<'_, '_>, shape: &Sizes) -> Result<Option<Sizes>, Reason> {
    let Some((value, _)) = call.attributes.tensor("value")? else { return Ok(None) };
    let shape: Option<Vec<usize>> = shape.elements.iter().map(Dim::as_size).collect();
    let (Some(value), Some(shape)) = (Sizes::of(&value), shape) else { return Ok(None) };
    // A value of several elements is refused where the node is translated.
    let ([element], Some(count)) = (value.elements.as_slice(), count(&shape)) else { return Ok(None) };
    Ok(Some(Sizes { elements: vec![element.clone(); count], shape, ..value }))
}

pub(super) fn range(start: &Sizes, limit: &Sizes, delta: &Sizes) -> Option<Sizes> {
    let number = |sizes: &Sizes| sizes.elements.first()?.as_fixed();
    let (start_at, limit) = (number(start)?, number(limit)?);
    let delta = number(delta).filter(|&delta| delta != 0)?;
    let inside = |x: &i64| if delta > 0 { *x < limit } else { *x > limit };
    let numbers = std::iter::successors(Some(start_at), |x| x.checked_add(delta)).take_while(inside);
    let elements: Vec<Dim> = numbers.take(MAX_ELEMENTS + 1).map(Dim::fixed).collect();
    Some(Sizes { shape: vec![elements.len()], elements, ..*start })
}

/// The indices along each axis of the element at a position.
pub(super) fn indices(position: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = position;
    let mut indices: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&size| {
            let index = rest % size.max(1);
            rest /= size.max(1);
            index
        })
        .collect();
    indices.reverse();
    indices
}

/// The number of elements, if it is small.
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    let product = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
    product.filter(|&n| n <= MAX_ELEMENTS)
}
