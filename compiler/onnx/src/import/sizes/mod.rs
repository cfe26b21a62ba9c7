//! Arithmetic on shapes, done while importing.
//!
//! Exporters compute shapes in the graph: `Shape`, `Gather`, `Mul`, `Concat`, then `Reshape`. Here each small tensor of whole
//! numbers is a list of [`Dim`]s, so that such a chain is done, exactly, with open dimensions in it, and `Reshape` sees its
//! result. Floats that are sizes, or parts of them, are followed as fractions: `ceil(H / 2.0)` is what exporters write for Python's
//! `math.ceil(H / 2)`. A chain that computes with something else (or whose sign is not known where it matters) stays in the graph.

mod arithmetic;
mod movement;

use super::call::{Call, Known, Reason};
use crate::tensor::stored_as;
use arithmetic::{
    at_least, cast, compared, divided, elementwise, equal, multiplied, negative, power, remainder, rounded,
};
use movement::{count, indices};
use twnc_ir::{Data, Dim, ElementType, Tensor, TensorType};

/// The most elements that count as a shape and not as data.
pub const MAX_ELEMENTS: usize = 1024;

/// The most parts of one that a fraction counts.
const MAX_PARTS: i64 = 1 << 16;
/// Up to which sizes floats that are computed from them are exact.
const MAX_SIZE: i64 = 4096;
/// The most that is done of a file, in factors of elements; the rest of it stays in the graph. Networks need some thousands.
const MAX_WORK: usize = 1 << 20;

/// A small tensor of numbers or truth values, some of them computed from open dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes {
    /// I64, I32, Bool or F32.
    pub element: ElementType,
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// The elements, row-major, of how many parts of one each is.
    pub elements: Vec<Dim>,
    /// How many parts make one: 1 but for fractions, which are floats.
    ///
    /// A power of two, and numbers of parts that f32 holds as long as sizes are at most [`MAX_SIZE`]; or behind a division by another number, of
    /// which only the rounded value is followed. So what other engines compute in f32 is this, exactly.
    pub parts: i64,
}

impl Sizes {
    /// A vector of sizes.
    pub fn vector(elements: Vec<Dim>) -> Sizes {
        Sizes { element: ElementType::I64, shape: vec![elements.len()], elements, parts: 1 }
    }

    /// A size.
    pub fn scalar(element: Dim) -> Sizes {
        Sizes { element: ElementType::I64, shape: vec![], elements: vec![element], parts: 1 }
    }

    /// The elements of a constant, if it is small and they are whole numbers, truth values, or fractions of few bits.
    pub fn of(tensor: &Tensor) -> Option<Sizes> {
        if tensor.len() > MAX_ELEMENTS {
            return None;
        }
        let (elements, parts) = match tensor.data() {
            Data::I64(v) => (v.iter().map(|&n| Dim::fixed(n)).collect(), 1),
            Data::I32(v) => (v.iter().map(|&n| Dim::fixed(n.into())).collect(), 1),
            Data::Bool(v) => (v.iter().map(|&b| Dim::fixed(b.into())).collect(), 1),
            Data::F32(v) => arithmetic::fractions(v)?,
            _ => return None,
        };
        Some(Sizes { element: tensor.element(), shape: tensor.shape().to_vec(), elements, parts })
    }

    /// Whether the elements are whole numbers by their type.
    pub fn is_index(&self) -> bool {
        super::inputs::is_index(self.element)
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
            ElementType::F32 => Data::F32(fixed.iter().map(|&n| n as f32 / self.parts as f32).collect()),
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
        Some(Sizes { shape, elements, ..*self })
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
pub fn fold(call: &mut Call<'_, '_>) -> Result<Option<Vec<Known>>, Reason> {
    let mut operands = vec![];
    let (mut floats, mut open, mut elements) = (false, false, 0);
    for i in 0..call.operand_count() {
        let Some(sizes) = call.sizes(i) else { return Ok(None) };
        floats |= sizes.element == ElementType::F32;
        open |= matches!(call.known(i), Some(Known::Sizes { .. }));
        elements += sizes.elements.len();
        // What has more is no list of sizes when it is put together, either.
        if elements > 4 * MAX_ELEMENTS {
            return Ok(None);
        }
        operands.push(sizes);
    }
    // Constant floats are computed as such, however many their bits.
    if operands.is_empty() || floats && !open {
        return Ok(None);
    }
    let heaviest = operands.iter().flat_map(|sizes| &sizes.elements).map(|dim| 1 + dim.weight()).max();
    let most = operands.iter().map(|sizes| sizes.elements.len()).max();
    if open && !call.works(most.unwrap_or(0) * heaviest.unwrap_or(1), MAX_WORK) {
        return Ok(None);
    }
    folded(call, &operands, floats)
}

fn folded(call: &Call<'_, '_>, operands: &[Sizes], floats: bool) -> Result<Option<Vec<Known>>, Reason> {
    let Some(first) = operands.first() else { return Ok(None) };
    let op = call.node.op_type.as_str();
    let folded = match (op, operands) {
        ("Add", [a, b]) => elementwise(a, b, |a, b| a.checked_add(b)),
        ("Sub", [a, b]) => elementwise(a, b, |a, b| a.checked_sub(b)),
        ("Mul", [a, b]) => multiplied(a, b),
        ("Div", [a, b]) => divided(a, b),
        ("Mod", [a, b]) if !floats => {
            let truncated = call.attributes.flag("fmod", false)?;
            elementwise(a, b, |a, b| remainder(a, b, truncated))
        }
        ("Pow", [a, b]) if a.parts == 1 && b.parts == 1 => power(a, b),
        ("Neg", [x]) => elementwise(x, x, |x, _| negative(x)),
        ("Abs", [x]) => elementwise(x, x, |x, _| x.maximum(&negative(x)?)),
        ("Min", [a, b]) => elementwise(a, b, |a, b| a.minimum(b)),
        ("Max", [a, b]) => elementwise(a, b, |a, b| a.maximum(b)),
        ("Floor" | "Ceil" | "Round", [x]) => rounded(x, op),
        ("Equal", [a, b]) => compared(a, b, equal),
        ("Less", [a, b]) => compared(a, b, |a, b| at_least(b, a, 1)),
        ("LessOrEqual", [a, b]) => compared(a, b, |a, b| at_least(b, a, 0)),
        ("Greater", [a, b]) => compared(a, b, |a, b| at_least(a, b, 1)),
        ("GreaterOrEqual", [a, b]) => compared(a, b, |a, b| at_least(a, b, 0)),
        ("Where", [condition, a, b]) => arithmetic::choose(condition, a, b),
        ("Cast", [x]) => cast(call, x)?,
        ("Gather", [data, indices]) => movement::gather(call, data, indices)?,
        ("Concat", _) => movement::concat(call, operands)?,
        ("Slice", [_, ..]) => movement::slice(call, first)?,
        ("Split", [_, ..]) => return movement::split(call, first),
        ("Transpose", [x]) => movement::transpose(call, x)?,
        ("Squeeze" | "Unsqueeze" | "Reshape" | "Flatten", [x, ..]) => movement::reshape(call, x)?,
        ("Expand", [x, shape]) => movement::expand(x, shape),
        ("Tile", [x, repeats]) => movement::tile(x, repeats),
        ("ReduceProd" | "ReduceSum" | "ReduceMin" | "ReduceMax", [x, ..]) => movement::reduce(call, x)?,
        ("ConstantOfShape", [shape]) => movement::constant_of_shape(call, shape)?,
        ("Range", [start, limit, delta]) if !floats => movement::range(start, limit, delta),
        _ => None,
    };
    let fits = |dim: &Dim| dim.as_fixed().is_none_or(|n| i32::try_from(n).is_ok());
    Ok(folded
        .filter(|sizes| sizes.elements.len() <= MAX_ELEMENTS && arithmetic::is_held(sizes))
        .filter(|sizes| sizes.element != ElementType::I32 || sizes.elements.iter().all(fits))
        .map(|sizes| vec![sizes.known(call.label())]))
}
