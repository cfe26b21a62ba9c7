//! One node under translation: its operands, its attributes, and the graph that it adds to.

// What an operator's translation needs beside the call.
pub use super::reason::{Reason, axes, axis, overflow};
pub use super::translation::{Known, Translation};

use super::attributes::Attributes;
use super::model::label;
use super::sizes::{self, Sizes};
use crate::error::Setting;
use crate::proto::{DataType, NodeProto};
use std::collections::BTreeSet;
use twnc_ir::{Binary, Dim, ElementType, Op, Tensor, TensorType, Unary, ValueId};

/// Of so many operands the open sizes are named.
const MAX_NAMED: usize = 16;

/// The results of a node, in the order of its outputs; those not wanted may be left out at the end.
pub type Translated = Result<Vec<Known>, Reason>;

/// One node.
#[derive(Debug)]
pub struct Call<'a, 'm> {
    /// As the file has it.
    pub node: &'m NodeProto,
    /// Its attributes.
    pub attributes: Attributes<'m>,
    /// The version of ONNX's operators.
    pub opset: i64,
    pub(super) translation: &'a mut Translation<'m>,
}

impl<'a, 'm> Call<'a, 'm> {
    /// A node whose operands are known.
    pub fn new(
        node: &'m NodeProto,
        opset: i64,
        translation: &'a mut Translation<'m>,
    ) -> Result<Call<'a, 'm>, Reason> {
        Ok(Call { node, attributes: Attributes::new(node)?, opset, translation })
    }

    /// The name that everything made from this node has.
    pub fn label(&self) -> &'m str {
        label(self.node)
    }

    /// Whether an operand is given.
    pub fn has(&self, operand: usize) -> bool {
        self.node.input.get(operand).is_some_and(|name| !name.is_empty())
    }

    /// Whether a result is wanted.
    pub fn wants(&self, result: usize) -> bool {
        self.node.output.get(result).is_some_and(|name| !name.is_empty())
    }

    /// The number of operands, those left out in between included.
    pub fn operand_count(&self) -> usize {
        self.node.input.len()
    }

    /// What is known of an operand; `None` if it is not given.
    pub fn known(&self, operand: usize) -> Option<&Known> {
        let name = self.node.input.get(operand)?;
        self.translation.known.get(name.as_str())
    }

    /// An operand as a value of the graph.
    pub fn value(&mut self, operand: usize) -> Result<ValueId, Reason> {
        match self.node.input.get(operand) {
            Some(name) if !name.is_empty() => self.translation.place(name),
            _ => Err(Reason::new(format!("operand {operand} is missing"))),
        }
    }

    /// An operand as a value of the graph, if it is given.
    pub fn optional(&mut self, operand: usize) -> Result<Option<ValueId>, Reason> {
        if self.has(operand) { self.value(operand).map(Some) } else { Ok(None) }
    }

    /// What is known, as a value of the graph.
    pub fn place_known(&mut self, known: Known) -> Result<ValueId, Reason> {
        known.place(&mut self.translation.build)
    }

    /// All operands as values of the graph.
    pub fn values(&mut self) -> Result<Vec<ValueId>, Reason> {
        (0..self.operand_count()).map(|i| self.value(i)).collect()
    }

    /// The same reason, which for a size that cannot be written down names the open ones that it is computed from.
    pub fn explained(&mut self, reason: Reason) -> Reason {
        if reason != overflow() {
            return reason;
        }
        let mut dims = vec![];
        for i in 0..self.operand_count().min(MAX_NAMED) {
            dims.extend(self.sizes(i).map(|sizes| sizes.elements).unwrap_or_default());
            dims.extend(self.operand_type(i).map(|ty| ty.shape).unwrap_or_default());
        }
        match open_names(&dims).as_str() {
            "" => reason,
            names => Reason::new(format!("{}; fix {names}", reason.text))
                .with(&[Setting::InputShapes, Setting::Dims]),
        }
    }

    /// The type of an operand.
    pub fn operand_type(&mut self, operand: usize) -> Result<TensorType, Reason> {
        match self.known(operand) {
            Some(Known::Constant { tensor, .. }) => Ok(tensor.ty()),
            Some(Known::Sizes { sizes, .. }) => Ok(sizes.ty()),
            _ => self.value(operand).map(|value| self.ty(value).clone()),
        }
    }

    /// An operand, if it is constant.
    pub fn tensor(&self, operand: usize) -> Option<&Tensor> {
        match self.known(operand)? {
            Known::Constant { tensor, .. } => Some(tensor),
            _ => None,
        }
    }

    /// An operand that must be constant, if it is given; `what` it is.
    pub fn constant(&self, operand: usize, what: &str) -> Result<Option<&Tensor>, Reason> {
        match self.known(operand) {
            None => Ok(None),
            Some(Known::Constant { tensor, .. }) => Ok(Some(tensor)),
            Some(Known::Sizes { .. }) => Err(self.open(operand, what)),
            Some(Known::Value(_)) => Err(self.computed(operand, what, "it must be constant")),
        }
    }

    fn open(&self, operand: usize, what: &str) -> Reason {
        Reason::new(format!("{what} (operand {operand}) depends on an open dimension; fix it"))
            .with(&[Setting::InputShapes, Setting::Dims])
    }

    /// Why an operand that is a value of the graph is not taken.
    fn computed(&self, operand: usize, what: &str, accepted: &str) -> Reason {
        let name = self.node.input.get(operand).map_or("", String::as_str);
        match self.translation.from_shapes.get(name) {
            None => Reason::new(format!("{what} (operand {operand}) is computed from data; {accepted}")),
            Some(node) => Reason::new(format!(
                "{what} (operand {operand}) is computed from open dimensions by node `{}` ({}), which is not followed; fix them",
                label(node),
                node.op_type
            ))
            .with(&[Setting::InputShapes, Setting::Dims]),
        }
    }

    /// The elements of an operand, if it is given, small, and depends on shapes only.
    pub fn sizes(&self, operand: usize) -> Option<Sizes> {
        match self.known(operand)? {
            Known::Sizes { sizes, .. } => Some(sizes.clone()),
            Known::Constant { tensor, .. } => Sizes::of(tensor),
            Known::Value(_) => None,
        }
    }

    /// The elements of an operand of whole numbers, if it is given; `what` it is. They must not depend on data.
    pub fn dims(&self, operand: usize, what: &str) -> Result<Option<Vec<Dim>>, Reason> {
        let sizes = match self.known(operand) {
            None => return Ok(None),
            Some(Known::Sizes { sizes, .. }) => Some(sizes.clone()),
            Some(Known::Constant { tensor, .. }) => Sizes::of(tensor),
            Some(Known::Value(_)) => {
                return Err(self.computed(operand, what, "it may depend on shapes only"));
            }
        };
        match sizes.filter(|sizes| sizes.shape.len() <= 1 && sizes.element != ElementType::F32) {
            Some(sizes) => Ok(Some(sizes.elements)),
            None => match self.tensor(operand).map(Tensor::len) {
                Some(count) if count > sizes::MAX_ELEMENTS => Err(Reason::new(format!(
                    "{what} (operand {operand}) has {count} elements; at most {} are read as sizes",
                    sizes::MAX_ELEMENTS
                ))),
                _ => Err(Reason::new(format!("{what} (operand {operand}) is no list of whole numbers"))),
            },
        }
    }

    /// The same, where no element may depend on an open dimension.
    pub fn ints(&self, operand: usize, what: &str) -> Result<Option<Vec<i64>>, Reason> {
        let Some(dims) = self.dims(operand, what)? else { return Ok(None) };
        let fixed: Option<Vec<i64>> = dims.iter().map(Dim::as_fixed).collect();
        fixed.map(Some).ok_or_else(|| self.open(operand, what))
    }

    /// The type of a value of the graph.
    pub fn ty(&self, value: ValueId) -> &TensorType {
        self.translation.build.graph().ty(value)
    }

    /// The shape of a value of the graph.
    pub fn shape(&self, value: ValueId) -> Vec<Dim> {
        self.ty(value).shape.clone()
    }

    /// Whether a value of the graph depends on constants alone.
    pub fn is_computed_from_constants(&mut self, value: ValueId) -> bool {
        let graph = self.translation.build.graph();
        let mut seen = BTreeSet::from([value]);
        let mut left = vec![value];
        while let Some(value) = left.pop() {
            if self.translation.from_constants.contains(&value) {
                continue;
            }
            match graph.definer(value) {
                Some((_, node)) => left.extend(node.operands.iter().filter(|&&operand| seen.insert(operand))),
                None => return false,
            }
        }
        // So that what follows is not asked of the same values again.
        self.translation.from_constants.extend(seen);
        true
    }

    /// Whether there is this much left to do with sizes, of so much in all; then it counts as done.
    pub fn works(&mut self, work: usize, most: usize) -> bool {
        let total = self.translation.work.saturating_add(work);
        let left = total <= most;
        if left {
            self.translation.work = total;
        }
        left
    }

    /// Adds an operator with one result.
    pub fn op(&mut self, op: Op, operands: &[ValueId]) -> Result<ValueId, Reason> {
        Ok(self.translation.build.node(op, operands, label(self.node))?)
    }

    /// Adds an operator with all its results.
    pub fn ops(&mut self, op: Op, operands: &[ValueId]) -> Result<Vec<ValueId>, Reason> {
        Ok(self.translation.build.nodes(op, operands, label(self.node))?)
    }

    /// Adds a function of one tensor.
    pub fn unary(&mut self, f: Unary, x: ValueId) -> Result<ValueId, Reason> {
        self.op(Op::Unary(f), &[x])
    }

    /// Adds a function of two tensors.
    pub fn binary(&mut self, f: Binary, a: ValueId, b: ValueId) -> Result<ValueId, Reason> {
        self.op(Op::Binary(f), &[a, b])
    }

    /// Adds a function of a tensor and a number.
    pub fn with_scalar(&mut self, f: Binary, a: ValueId, b: f32) -> Result<ValueId, Reason> {
        let b = self.scalar(b);
        self.binary(f, a, b)
    }

    /// Adds a number.
    pub fn scalar(&mut self, value: f32) -> ValueId {
        self.place_tensor(Tensor::scalar(value))
    }

    /// Adds a constant that this node brings.
    pub fn place_tensor(&mut self, tensor: Tensor) -> ValueId {
        self.translation.build.constant(tensor, label(self.node))
    }

    /// Adds a constant that keeps the name of the one it is made from.
    pub fn place_named(&mut self, tensor: Tensor, name: &str) -> ValueId {
        self.translation.build.constant(tensor, name)
    }

    /// A constant, not yet in the graph, that this node results in.
    pub fn known_tensor(&self, tensor: Tensor, stored: DataType) -> Known {
        Known::Constant { tensor, name: self.label().to_owned(), stored }
    }

    /// The value in another shape; itself if it has that shape.
    pub fn reshape(&mut self, x: ValueId, shape: Vec<Dim>) -> Result<ValueId, Reason> {
        if self.ty(x).shape == shape { Ok(x) } else { self.op(Op::Reshape { shape }, &[x]) }
    }

    /// The value with its axes in another order; itself if that changes nothing.
    pub fn transpose(&mut self, x: ValueId, perm: Vec<usize>) -> Result<ValueId, Reason> {
        if perm.iter().copied().eq(0..perm.len()) { Ok(x) } else { self.op(Op::Transpose { perm }, &[x]) }
    }

    /// The value with another element type; itself if it has it.
    pub fn cast(&mut self, x: ValueId, to: ElementType) -> Result<ValueId, Reason> {
        if self.ty(x).element == to { Ok(x) } else { self.op(Op::Cast { to }, &[x]) }
    }

    /// An operand that is a vector along axis 1 of a tensor of `rank` axes, such as a bias: in the shape `[M,1,...]`. A constant is
    /// reshaped here, and keeps its name.
    pub fn along_channels(&mut self, operand: usize, rank: usize) -> Result<ValueId, Reason> {
        let trailing = rank.saturating_sub(2);
        if let Some(Known::Constant { tensor, name, .. }) = self.known(operand)
            && let [size] = tensor.shape()
        {
            let shape = std::iter::once(*size).chain(std::iter::repeat_n(1, trailing)).collect();
            let (tensor, name) = (tensor.reshaped(shape)?, name.clone());
            return Ok(self.place_named(tensor, &name));
        }
        let value = self.value(operand)?;
        let mut shape = self.shape(value);
        if shape.len() != 1 {
            return Err(Reason::new(format!("operand {operand} is {}, not a vector", self.ty(value))));
        }
        shape.extend(std::iter::repeat_n(Dim::from(1), trailing));
        self.reshape(value, shape)
    }

    /// An operand that is a matrix, transposed. A constant is transposed here, and keeps its name.
    pub fn transposed_matrix(&mut self, operand: usize) -> Result<ValueId, Reason> {
        if let Some(Known::Constant { tensor, name, .. }) = self.known(operand)
            && let Some(tensor) = transposed(tensor)
        {
            let name = name.clone();
            return Ok(self.place_named(tensor, &name));
        }
        let value = self.value(operand)?;
        self.op(Op::Transpose { perm: vec![1, 0] }, &[value])
    }
}

/// One result.
pub fn one(value: ValueId) -> Translated {
    Ok(vec![Known::Value(value)])
}

/// The names in sizes, as a text.
pub fn open_names<'d>(dims: impl IntoIterator<Item = &'d Dim>) -> String {
    let names: BTreeSet<String> = dims.into_iter().flat_map(Dim::symbols).collect();
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ")
}

/// A matrix of f32, transposed.
fn transposed(tensor: &Tensor) -> Option<Tensor> {
    let (&[rows, columns], elements) = (tensor.shape(), tensor.as_f32()?) else { return None };
    let column = |c: usize| elements.iter().skip(c).step_by(columns.max(1)).copied();
    let elements = (0..columns).flat_map(column).collect();
    Tensor::from_f32(vec![columns, rows], elements).ok()
}
