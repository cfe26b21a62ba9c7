//! Arithmetic on shapes, done while importing.
//!
//! Exporters compute shapes in the graph: `Shape`, `Gather`, `Mul`, `Concat`, then `Reshape`. Here each small tensor of whole
//! numbers is a list of [`Dim`]s, so that such a chain is done, exactly, with open dimensions in it, and `Reshape` sees its
//! result. A chain that computes with something else (or whose sign is not known where it matters) stays in the graph.

use super::call::{Call, Known, Reason, axes, axis};
use super::inputs::is_index;
use crate::tensor::stored_as;
use twnc_ir::dim::DimNode;
use twnc_ir::{Data, Dim, ElementType, Tensor, TensorType};

/// The most elements that count as a shape and not as data.
const MAX_ELEMENTS: usize = 1024;

/// A small tensor of whole numbers or truth values, some of them computed from open dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes {
    /// I64, I32 or Bool.
    pub element: ElementType,
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// The elements, row-major.
    pub elements: Vec<Dim>,
}

impl Sizes {
    /// A vector of sizes.
    pub fn vector(elements: Vec<Dim>) -> Sizes {
        Sizes { element: ElementType::I64, shape: vec![elements.len()], elements }
    }

    /// A size.
    pub fn scalar(element: Dim) -> Sizes {
        Sizes { element: ElementType::I64, shape: vec![], elements: vec![element] }
    }

    /// The elements of a constant, if it is small and of whole numbers or truth values.
    pub fn of(tensor: &Tensor) -> Option<Sizes> {
        if tensor.len() > MAX_ELEMENTS {
            return None;
        }
        let elements = match tensor.data() {
            Data::I64(v) => v.iter().map(|&n| Dim::fixed(n)).collect(),
            Data::I32(v) => v.iter().map(|&n| Dim::fixed(n.into())).collect(),
            Data::Bool(v) => v.iter().map(|&b| Dim::fixed(b.into())).collect(),
            _ => return None,
        };
        Some(Sizes { element: tensor.element(), shape: tensor.shape().to_vec(), elements })
    }

    /// The type.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.element, self.shape.iter().map(|&n| Dim::from(n)).collect())
    }

    /// A constant, if no element is open.
    pub fn known(self, name: &str) -> Known {
        let name = name.to_owned();
        match self.tensor() {
            Some(tensor) => Known::Constant { tensor, name, stored: stored_as(self.element) },
            None => Known::Sizes { sizes: self, name },
        }
    }

    fn tensor(&self) -> Option<Tensor> {
        let fixed: Vec<i64> = self.elements.iter().map(Dim::as_fixed).collect::<Option<_>>()?;
        let data = match self.element {
            ElementType::I32 => {
                Data::I32(fixed.iter().map(|&n| i32::try_from(n).ok()).collect::<Option<_>>()?)
            }
            ElementType::Bool => Data::Bool(fixed.iter().map(|&n| n != 0).collect()),
            _ => Data::I64(fixed.into()),
        };
        Tensor::new(self.shape.clone(), data).ok()
    }

    /// The element at an index of each axis.
    fn at(&self, indices: &[usize]) -> Option<Dim> {
        let axes = indices.iter().zip(&self.shape);
        let position = axes.fold(0, |position, (index, size)| position * size + index);
        self.elements.get(position).cloned()
    }

    /// Elements of this tensor in another shape, each as `element` finds it by its indices.
    fn rearranged(&self, shape: Vec<usize>, element: impl Fn(&[usize]) -> Option<Dim>) -> Option<Sizes> {
        let elements = (0..count(&shape)?).map(|i| element(&indices(i, &shape))).collect::<Option<_>>()?;
        Some(Sizes { element: self.element, shape, elements })
    }

    /// The element that broadcasting puts at these indices of a larger tensor.
    fn broadcast_at(&self, indices: &[usize]) -> Option<Dim> {
        let own = &indices[indices.len().checked_sub(self.shape.len())?..];
        let own: Vec<usize> =
            own.iter().zip(&self.shape).map(|(&i, &size)| if size == 1 { 0 } else { i }).collect();
        self.at(&own)
    }
}

/// The results of a node that only computes with sizes. `None` if it is another kind of node, or if the result cannot be told.
pub fn fold(call: &Call<'_, '_>) -> Result<Option<Vec<Known>>, Reason> {
    let mut operands = vec![];
    for i in 0..call.operand_count() {
        match call.known(i) {
            Some(Known::Sizes { sizes, .. }) => operands.push(sizes.clone()),
            Some(Known::Constant { tensor, .. }) => match Sizes::of(tensor) {
                Some(sizes) => operands.push(sizes),
                None => return Ok(None),
            },
            _ => return Ok(None),
        }
    }
    let Some(first) = operands.first() else { return Ok(None) };
    let op = call.node.op_type.as_str();
    let folded = match (op, operands.as_slice()) {
        ("Add", [a, b]) => elementwise(a, b, a.element, |a, b| a.checked_add(b)),
        ("Sub", [a, b]) => elementwise(a, b, a.element, |a, b| a.checked_sub(b)),
        ("Mul", [a, b]) => elementwise(a, b, a.element, |a, b| a.checked_mul(b)),
        ("Div", [a, b]) => elementwise(a, b, a.element, quotient),
        ("Mod", [a, b]) => {
            let truncated = call.attributes.flag("fmod", false)?;
            elementwise(a, b, a.element, |a, b| remainder(a, b, truncated))
        }
        ("Pow", [a, b]) => elementwise(a, b, a.element, power),
        ("Neg", [x]) => elementwise(x, x, x.element, |x, _| negative(x)),
        ("Abs", [x]) => elementwise(x, x, x.element, |x, _| x.maximum(&negative(x)?)),
        ("Min", [a, b]) => elementwise(a, b, a.element, |a, b| a.minimum(b)),
        ("Max", [a, b]) => elementwise(a, b, a.element, |a, b| a.maximum(b)),
        ("Equal", [a, b]) => elementwise(a, b, ElementType::Bool, equal),
        ("Less", [a, b]) => elementwise(a, b, ElementType::Bool, |a, b| at_least(b, a, 1)),
        ("LessOrEqual", [a, b]) => elementwise(a, b, ElementType::Bool, |a, b| at_least(b, a, 0)),
        ("Greater", [a, b]) => elementwise(a, b, ElementType::Bool, |a, b| at_least(a, b, 1)),
        ("GreaterOrEqual", [a, b]) => elementwise(a, b, ElementType::Bool, |a, b| at_least(a, b, 0)),
        ("Where", [condition, a, b]) => choose(condition, a, b),
        ("Cast", [x]) => cast(call, x)?,
        ("Gather", [data, indices]) => gather(call, data, indices)?,
        ("Concat", _) => concat(call, &operands)?,
        ("Slice", [_, ..]) => slice(call, first)?,
        ("Transpose", [x]) => transpose(call, x)?,
        ("Squeeze" | "Unsqueeze" | "Reshape" | "Flatten", [x, ..]) => reshape(call, x)?,
        ("ReduceProd", [x, ..]) => product(call, x)?,
        ("ConstantOfShape", [shape]) => constant_of_shape(call, shape)?,
        ("Range", [start, limit, delta]) => range(start, limit, delta),
        _ => None,
    };
    Ok(folded
        .filter(|sizes| sizes.elements.len() <= MAX_ELEMENTS)
        .map(|sizes| vec![sizes.known(call.label())]))
}

fn elementwise(
    a: &Sizes,
    b: &Sizes,
    element: ElementType,
    f: impl Fn(&Dim, &Dim) -> Option<Dim>,
) -> Option<Sizes> {
    if a.element != b.element || !is_index(a.element) {
        return None;
    }
    let shape = broadcast(&a.shape, &b.shape)?;
    let result = a.rearranged(shape, |at| f(&a.broadcast_at(at)?, &b.broadcast_at(at)?))?;
    Some(Sizes { element, ..result })
}

/// Whether a dimension is certainly zero or more.
pub fn is_size(dim: &Dim) -> bool {
    dim.is_nonnegative() || least(dim).is_some_and(|n| n >= 0)
}

/// A number that a dimension is certainly not below, from those of its parts.
fn least(dim: &Dim) -> Option<i64> {
    dim.fold(&mut |node: DimNode<'_, Option<i64>>| match node {
        DimNode::Fixed(n) => Some(n),
        DimNode::Symbol(_) => Some(1),
        DimNode::Add(a, b) => a?.checked_add(b?),
        DimNode::Mul(a, b) => a.filter(|&a| a >= 0)?.checked_mul(b.filter(|&b| b >= 0)?),
        // The divisor is positive, or the size is none.
        DimNode::FloorDiv(a, _) => Some(a?.min(0)),
        DimNode::Min(a, b) => Some(a?.min(b?)),
        DimNode::Max(a, b) => a.max(b),
    })
}

fn negative(x: &Dim) -> Option<Dim> {
    x.checked_mul(&Dim::fixed(-1))
}

/// Whole powers up to the fourth, beyond which no size goes.
fn power(a: &Dim, b: &Dim) -> Option<Dim> {
    let times = b.as_fixed().filter(|times| (0..=4).contains(times))?;
    (0..times).try_fold(Dim::fixed(1), |product, _| product.checked_mul(a))
}

/// Rounded towards zero.
fn quotient(a: &Dim, b: &Dim) -> Option<Dim> {
    if let (Some(a), Some(b)) = (a.as_fixed(), b.as_fixed()) {
        return a.checked_div(b).map(Dim::fixed);
    }
    let floor = a.floor_div(b)?;
    // What is whole, or not negative, is not rounded up.
    if is_size(a) || floor.checked_mul(b).as_ref() == Some(a) {
        return Some(floor);
    }
    least(b).filter(|&b| b > 0)?;
    let part = |a: &Dim| a.maximum(&Dim::fixed(0))?.floor_div(b);
    part(a)?.checked_sub(&part(&negative(a)?)?)
}

/// What is left of a division that is rounded down or, `truncated`, towards zero.
fn remainder(a: &Dim, b: &Dim, truncated: bool) -> Option<Dim> {
    if let (Some(a), Some(b)) = (a.as_fixed(), b.as_fixed()) {
        let rest = a.checked_rem(b)?;
        let other_sign = !truncated && rest != 0 && (rest < 0) != (b < 0);
        return Some(Dim::fixed(if other_sign { rest + b } else { rest }));
    }
    if truncated && !is_size(a) {
        return a.checked_sub(&quotient(a, b)?.checked_mul(b)?);
    }
    least(b).filter(|&b| b > 0)?;
    let rest = a.checked_sub(&a.floor_div(b)?.checked_mul(b)?)?;
    // It is not negative, which its terms do not show.
    rest.maximum(&Dim::fixed(0))
}

/// Whether one is as large as another and `more`, if that is certain.
fn at_least(a: &Dim, b: &Dim, more: i64) -> Option<Dim> {
    let over = a.checked_sub(b)?.checked_sub(&Dim::fixed(more))?;
    match () {
        () if is_size(&over) => Some(Dim::fixed(1)),
        () if is_size(&negative(&over)?.checked_sub(&Dim::fixed(1))?) => Some(Dim::fixed(0)),
        () => None,
    }
}

/// Whether two are equal, if that is certain.
fn equal(a: &Dim, b: &Dim) -> Option<Dim> {
    let above = |x: &Dim, y: &Dim| at_least(x, y, 1) == Some(Dim::fixed(1));
    match () {
        () if a == b => Some(Dim::fixed(1)),
        () if above(a, b) || above(b, a) => Some(Dim::fixed(0)),
        () => None,
    }
}

fn choose(condition: &Sizes, a: &Sizes, b: &Sizes) -> Option<Sizes> {
    if condition.element != ElementType::Bool || a.element != b.element {
        return None;
    }
    let shape = broadcast(&broadcast(&condition.shape, &a.shape)?, &b.shape)?;
    a.rearranged(shape, |at| {
        let chosen = if condition.broadcast_at(at)?.as_fixed()? != 0 { a } else { b };
        chosen.broadcast_at(at)
    })
}

fn cast(call: &Call<'_, '_>, x: &Sizes) -> Result<Option<Sizes>, Reason> {
    let to = call.attributes.int("to")?.and_then(|n| i32::try_from(n).ok());
    let to = to.and_then(|n| crate::tensor::element_type(n).ok());
    let fits = |dim: &Dim| dim.as_fixed().is_none_or(|n| i32::try_from(n).is_ok());
    Ok(match to {
        Some(element @ ElementType::I64) => Some(Sizes { element, ..x.clone() }),
        Some(element @ ElementType::I32) if x.elements.iter().all(fits) => {
            Some(Sizes { element, ..x.clone() })
        }
        _ => None,
    })
}

fn gather(call: &Call<'_, '_>, data: &Sizes, indices: &Sizes) -> Result<Option<Sizes>, Reason> {
    if axis(call.attributes.int("axis")?.unwrap_or(0), data.shape.len())? != 0 || data.shape.len() != 1 {
        return Ok(None);
    }
    let pick = |index: &Dim| data.elements.get(axis(index.as_fixed()?, data.elements.len()).ok()?).cloned();
    let elements = indices.elements.iter().map(pick).collect::<Option<_>>();
    Ok(elements.map(|elements| Sizes { element: data.element, shape: indices.shape.clone(), elements }))
}

fn concat(call: &Call<'_, '_>, operands: &[Sizes]) -> Result<Option<Sizes>, Reason> {
    let vectors = operands.iter().all(|sizes| sizes.shape.len() == 1 && sizes.element == operands[0].element);
    if !vectors || axis(call.attributes.int("axis")?.unwrap_or(0), 1)? != 0 {
        return Ok(None);
    }
    let elements: Vec<Dim> = operands.iter().flat_map(|sizes| sizes.elements.iter().cloned()).collect();
    Ok(Some(Sizes { element: operands[0].element, shape: vec![elements.len()], elements }))
}

fn slice(call: &Call<'_, '_>, x: &Sizes) -> Result<Option<Sizes>, Reason> {
    let ranges = super::ops::slice_ranges(call, &x.ty().shape)?;
    Ok(ranges.iter().try_fold(x.clone(), |x, range| {
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
    }))
}

fn transpose(call: &Call<'_, '_>, x: &Sizes) -> Result<Option<Sizes>, Reason> {
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
    Ok(shape.filter(|shape| shape.len() == rank).and_then(|shape| x.rearranged(shape, element)))
}

fn reshape(call: &Call<'_, '_>, x: &Sizes) -> Result<Option<Sizes>, Reason> {
    let shape = super::ops::reshaped(call, &x.ty().shape)?;
    let shape: Option<Vec<usize>> = shape.iter().map(Dim::as_size).collect();
    let fits = |shape: &Vec<usize>| count(shape) == Some(x.elements.len());
    Ok(shape.filter(fits).map(|shape| Sizes { shape, ..x.clone() }))
}

fn product(call: &Call<'_, '_>, x: &Sizes) -> Result<Option<Sizes>, Reason> {
    let keep = call.attributes.flag("keepdims", true)?;
    let given = match call.attributes.ints("axes")? {
        Some(axes) => Some(axes.to_vec()),
        None => call.ints(1, "axes")?,
    };
    call.attributes.ignore(&["noop_with_empty_axes"]);
    let reduced = axes(given.as_deref().unwrap_or(&[0]), x.shape.len())?;
    if x.shape.len() != 1 || reduced != [0] {
        return Ok(None);
    }
    let shape = if keep { vec![1] } else { vec![] };
    Ok(Dim::product(&x.elements).map(|product| Sizes { element: x.element, shape, elements: vec![product] }))
}

fn constant_of_shape(call: &Call<'_, '_>, shape: &Sizes) -> Result<Option<Sizes>, Reason> {
    let Some((value, _)) = call.attributes.tensor("value")? else { return Ok(None) };
    let shape: Option<Vec<usize>> = shape.elements.iter().map(Dim::as_size).collect();
    let (Some(value), Some(shape)) = (Sizes::of(&value), shape) else { return Ok(None) };
    let (Some(element), Some(count)) = (value.elements.first(), count(&shape).filter(|&n| n <= MAX_ELEMENTS))
    else {
        return Ok(None);
    };
    Ok(Some(Sizes { element: value.element, elements: vec![element.clone(); count], shape }))
}

fn range(start: &Sizes, limit: &Sizes, delta: &Sizes) -> Option<Sizes> {
    let number = |sizes: &Sizes| sizes.elements.first()?.as_fixed();
    let (start_at, limit) = (number(start)?, number(limit)?);
    let delta = number(delta).filter(|&delta| delta != 0)?;
    let inside = |x: &i64| if delta > 0 { *x < limit } else { *x > limit };
    let numbers = std::iter::successors(Some(start_at), |x| x.checked_add(delta)).take_while(inside);
    let elements: Vec<Dim> = numbers.take(MAX_ELEMENTS + 1).map(Dim::fixed).collect();
    Some(Sizes { element: start.element, shape: vec![elements.len()], elements })
}

fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    let agreed = (0..rank).map(|axis| match (at(a, axis), at(b, axis)) {
        (x, y) if x == y || y == 1 => Some(x),
        (1, y) => Some(y),
        _ => None,
    });
    agreed.collect()
}

/// The indices along each axis of the element at a position.
fn indices(position: usize, shape: &[usize]) -> Vec<usize> {
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
fn count(shape: &[usize]) -> Option<usize> {
    let product = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
    product.filter(|&n| n <= MAX_ELEMENTS)
}
