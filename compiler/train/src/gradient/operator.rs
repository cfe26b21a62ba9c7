//! Which operator computes what a node says, and which have no derivative.

use super::conv::Conv;
use super::depthwise::Depthwise;
use super::elementwise::{Map, Zip};
use super::moves::{Concat, Move};
use super::normalise::{BatchNorm, Softmax};
use super::pools::{AveragePool, MaxPool};
use super::product::Product;
use super::reduce::Reduce;
use super::window::Windows;
use twnc_ir::{ElementType, Op, Tensor};

/// An operator for operands and a result of known shapes, all f32 and row-major.
pub trait Operator: Send {
    /// Computes the result.
    fn forward(&mut self, x: &[&[f32]], y: &mut [f32]);

    /// Adds to the gradients by the operands, or writes, what `dy`, the gradient by the result, makes of them. `forward` has run on the same
    /// numbers.
    fn backward(&mut self, x: &[&[f32]], y: &[f32], dy: &[f32], dx: &mut Gradients<'_>);

    /// Whether statistics are those of the batch.
    fn set_live(&mut self, _: bool) {}

    /// The statistics of the batch, of a batch norm.
    fn statistics(&self) -> Option<Statistics<'_>> {
        None
    }
}

/// What a batch norm has found of a batch.
pub struct Statistics<'s> {
    pub mean: &'s [f32],
    /// Divided by the count, not by one less.
    pub variance: &'s [f32],
    pub count: usize,
}

/// The gradients that are asked for, by operand.
pub struct Gradients<'g>(Vec<Option<Place<'g>>>);

/// Where a gradient goes.
struct Place<'g> {
    elements: &'g mut [f32],
    /// Whether nothing was added to it so far: what is there means nothing.
    fresh: bool,
}

impl<'g> Gradients<'g> {
    /// Of each operand, where its gradient goes, if it is asked for, and whether nothing was added to that so far.
    pub fn new(operands: impl Iterator<Item = Option<(&'g mut [f32], bool)>>) -> Gradients<'g> {
        let place = |(elements, fresh)| Place { elements, fresh };
        Gradients(operands.map(|operand| operand.map(place)).collect())
    }

    /// The gradient by an operand, if it is asked for, to add to.
    pub fn of(&mut self, operand: usize) -> Option<&mut [f32]> {
        let (elements, fresh) = self.place(operand)?;
        if fresh {
            elements.fill(0.0);
        }
        Some(elements)
    }

    /// The gradient by an operand, if it is asked for, and whether each of its elements is to be written instead of added to.
    pub fn place(&mut self, operand: usize) -> Option<(&mut [f32], bool)> {
        let place = self.0.get_mut(operand)?.as_mut()?;
        Some((place.elements, std::mem::take(&mut place.fresh)))
    }

    /// Whether it is asked for.
    pub fn wants(&self, operand: usize) -> bool {
        self.0.get(operand).is_some_and(Option::is_some)
    }

    /// Makes those that nobody has asked for since zeros.
    pub fn finish(&mut self) {
        let untouched = self.0.iter_mut().flatten().filter(|place| place.fresh);
        untouched.for_each(|place| place.elements.fill(0.0));
    }
}

/// An operand: its element type and shape, and the tensor if it is known in advance.
pub struct Operand<'o> {
    pub element: ElementType,
    pub shape: Vec<usize>,
    pub constant: Option<&'o Tensor>,
}

/// What computes an operator; the reason, if nothing here does.
pub fn operator(op: &Op, operands: &[Operand<'_>], result: &[usize]) -> Result<Box<dyn Operator>, String> {
    let floats = |count: usize| {
        operands.iter().take(count).all(|x| matches!(x.element, ElementType::F32 | ElementType::Ternary))
    };
    let first = operands.first().map(|x| x.shape.as_slice()).unwrap_or_default();
    if operands.is_empty() || !floats(if matches!(op, Op::Gather { .. }) { 1 } else { operands.len() }) {
        return Err("it is not of floats".to_owned());
    }
    let run = |axes: &[usize]| -> Option<(usize, usize)> {
        let (&from, &to) = (axes.first()?, axes.last()?);
        let together = to - from + 1 == axes.len();
        together.then(|| (first[from..=to].iter().product(), first[to + 1..].iter().product()))
    };
    Ok(match op {
        Op::Conv(conv) => {
            let weight = &operands[1].shape;
            let windows = Windows::new(&conv.geometry, weight.get(2..).unwrap_or_default(), first, result);
            let (inputs, outputs) = (first[1], weight[0]);
            let is_depthwise = weight[1] == 1 && conv.groups > 1 && inputs == conv.groups;
            match is_depthwise.then(|| Depthwise::new(windows, inputs, outputs)).flatten() {
                Some(depthwise) => Box::new(depthwise),
                None => Box::new(Conv::new(windows, conv.groups, inputs, outputs)),
            }
        }
        Op::MatMul => Box::new(
            Product::new(first, &operands[1].shape, result)
                .ok_or("its operands are no matrices".to_owned())?,
        ),
        Op::Unary(function) => Box::new(Map(*function)),
        Op::Binary(function) => Box::new(Zip::new(*function, first, &operands[1].shape, result)),
        Op::BatchNorm { epsilon } => Box::new(BatchNorm::new(first, *epsilon)),
        Op::MaxPool(pool) => {
            Box::new(MaxPool::new(&Windows::new(&pool.geometry, &pool.kernel, first, result)))
        }
        Op::AveragePool { pool, count_padding } => {
            let windows = Windows::new(&pool.geometry, &pool.kernel, first, result);
            Box::new(AveragePool::new(&windows, *count_padding))
        }
        Op::Reduce { kind, axes, .. } => Box::new(Reduce::new(*kind, first, axes)),
        Op::Softmax { axes } => {
            let (size, inner) = run(axes).ok_or("its axes do not lie together".to_owned())?;
            Box::new(Softmax { size, inner })
        }
        Op::Concat { axis } => {
            let runs = operands.iter().map(|x| x.shape[*axis..].iter().product()).collect();
            Box::new(Concat { runs })
        }
        Op::Transpose { .. } | Op::Slice(_) | Op::Pad(_) | Op::Broadcast { .. } | Op::Reshape { .. } => {
            Box::new(Move::new(op, first, &[])?)
        }
        Op::Gather { .. } => {
            let indices =
                operands.get(1).and_then(|x| x.constant).ok_or("its indices are not constant".to_owned())?;
            Box::new(Move::new(op, first, std::slice::from_ref(indices))?)
        }
        _ => return Err("it has none".to_owned()),
    })
}

/// Why nothing is learnt through an operator that runs.
pub fn flat(op: &Op) -> Option<&'static str> {
    match op {
        Op::Unary(function) if Map::is_flat(*function) => Some("its derivative is 0"),
        _ => None,
    }
}
