//! What translations compute with beyond one operator: truth values as numbers, choices, numbers of any type.
//!
//! The graph's comparisons give 1 and 0 as numbers; ONNX's give BOOL. A truth value here is a `bool` value of the graph and, where it came from a
//! comparison, the number that it came from, so that what reads it computes with that and the `cast` between them is dead.

use super::call::{Call, Reason};
use twnc_ir::{Binary, Data, Dim, ElementType, Op, ReduceKind, Slice, Tensor, ValueId};

impl Call<'_, '_> {
    /// The truth value of a number that is 0 or 1.
    pub fn truth(&mut self, number: ValueId) -> Result<ValueId, Reason> {
        let truth = self.cast(number, ElementType::Bool)?;
        self.translation.truths.insert(truth, number);
        Ok(truth)
    }

    /// A truth value, as 0 or 1 of a numeric type.
    pub fn truth_number(&mut self, truth: ValueId, element: ElementType) -> Result<ValueId, Reason> {
        if self.ty(truth).element != ElementType::Bool {
            return Err(Reason::new(format!("a condition is {}; it must be BOOL", self.ty(truth))));
        }
        let number = self.translation.truths.get(&truth).copied().unwrap_or(truth);
        self.cast(number, element)
    }

    /// 1 where a number is 0, else 0.
    pub fn is_zero(&mut self, number: ValueId) -> Result<ValueId, Reason> {
        let zero = self.number(0.0, self.ty(number).element);
        self.binary(Binary::Equal, number, zero)
    }

    /// 1 where `a ≤ b`, else 0.
    pub fn at_most(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, Reason> {
        let (less, equal) = (self.binary(Binary::Less, a, b)?, self.binary(Binary::Equal, a, b)?);
        self.binary(Binary::Max, less, equal)
    }

    /// `a` where the number `chosen` is not 0, else `b`; all of one numeric type. A -0 may become 0.
    pub fn choose(&mut self, chosen: ValueId, a: ValueId, b: ValueId) -> Result<ValueId, Reason> {
        let other = self.is_zero(chosen)?;
        let (a, b) = (self.binary(Binary::Keep, a, chosen)?, self.binary(Binary::Keep, b, other)?);
        self.binary(Binary::Add, a, b)
    }

    /// The type in which elements of this one are computed with: itself, or i32 for what is narrower.
    pub fn wide(element: ElementType) -> ElementType {
        match element {
            ElementType::F32 | ElementType::I64 | ElementType::I32 => element,
            _ => ElementType::I32,
        }
    }

    /// Adds a number of a type that is computed with.
    pub fn number(&mut self, value: f64, element: ElementType) -> ValueId {
        let data = match element {
            ElementType::I64 => Data::I64([value as i64].into()),
            ElementType::I32 => Data::I32([value as i32].into()),
            _ => return self.scalar(value as f32),
        };
        let tensor = Tensor::new(vec![], data);
        self.place_tensor(tensor.unwrap_or_else(|_| Tensor::scalar(value as f32)))
    }

    /// Adds an i64 vector.
    pub fn whole_numbers(&mut self, numbers: Vec<i64>) -> Result<ValueId, Reason> {
        Ok(self.place_tensor(Tensor::new(vec![numbers.len()], Data::I64(numbers.into()))?))
    }

    /// A function of a tensor and a number of the tensor's type.
    pub fn with_number(&mut self, f: Binary, a: ValueId, b: f64) -> Result<ValueId, Reason> {
        let b = self.number(b, self.ty(a).element);
        self.binary(f, a, b)
    }

    /// A size, as a number of a type that is computed with.
    pub fn size(&mut self, size: &Dim, element: ElementType) -> Result<ValueId, Reason> {
        if let Some(n) = size.as_fixed() {
            return Ok(self.number(n as f64, element));
        }
        let size = self.op(Op::Dims(vec![size.clone()]), &[])?;
        let size = self.cast(size, element)?;
        self.reshape(size, vec![])
    }

    /// The whole numbers from 0 up along one axis of a tensor of `rank` axes, with all other axes of size 1.
    pub fn positions(
        &mut self,
        size: &Dim,
        axis: usize,
        rank: usize,
        element: ElementType,
    ) -> Result<ValueId, Reason> {
        let numbers = self.op(Op::Iota { size: size.clone() }, &[])?;
        let numbers = self.cast(numbers, element)?;
        self.along(numbers, axis, rank)
    }

    /// A vector along one axis of a tensor of `rank` axes, with all other axes of size 1.
    pub fn along(&mut self, x: ValueId, axis: usize, rank: usize) -> Result<ValueId, Reason> {
        let mut shape = vec![Dim::from(1); rank];
        shape[axis] = self.shape(x).swap_remove(0);
        self.reshape(x, shape)
    }

    /// Indices of which negative ones count from the end, as ones that do not.
    pub fn indices_from_start(&mut self, indices: ValueId, size: &Dim) -> Result<ValueId, Reason> {
        let element = self.ty(indices).element;
        let negative = self.with_number(Binary::Less, indices, 0.0)?;
        let size = self.size(size, element)?;
        let shift = self.binary(Binary::Mul, negative, size)?;
        self.binary(Binary::Add, indices, shift)
    }

    /// Whether an operand's indices, if they are constant, are ones into an axis of this size, if that is fixed. Others are checked as they are used.
    pub fn indices_exist(&self, operand: usize, size: &Dim) -> Result<(), Reason> {
        self.tuples_exist(operand, 1, 0, size)
    }

    /// The same for each `part` of tuples of `width` indices.
    pub fn tuples_exist(&self, operand: usize, width: usize, part: usize, size: &Dim) -> Result<(), Reason> {
        let (Some(tensor), Some(size)) = (self.tensor(operand), size.as_fixed()) else { return Ok(()) };
        let indices: Vec<i64> = match tensor.data() {
            Data::I32(v) => v.iter().map(|&index| i64::from(index)).collect(),
            Data::I64(v) => v.to_vec(),
            _ => return Ok(()),
        };
        match indices.iter().skip(part).step_by(width).find(|&&index| index >= size || index < -size) {
            None => Ok(()),
            Some(index) => Err(Reason::new(format!(
                "index {index} (operand {operand}) does not exist; the axis has {size} elements"
            ))),
        }
    }

    /// Part of one axis, as it is or, with a `step` of -1, from its end.
    pub fn slice(
        &mut self,
        x: ValueId,
        axis: usize,
        start: Dim,
        size: Dim,
        step: i64,
    ) -> Result<ValueId, Reason> {
        self.op(Op::Slice(Slice { axis, start, size, step }), &[x])
    }

    /// A reduction that keeps its axes.
    pub fn reduced(&mut self, kind: ReduceKind, axes: &[usize], x: ValueId) -> Result<ValueId, Reason> {
        if axes.is_empty() {
            return Ok(x);
        }
        self.op(Op::Reduce { kind, axes: axes.to_vec(), keep_dims: true }, &[x])
    }

    /// The value, repeated to a shape to which it broadcasts; itself if it has it.
    pub fn broadcast(&mut self, x: ValueId, shape: Vec<Dim>) -> Result<ValueId, Reason> {
        if self.ty(x).shape == shape { Ok(x) } else { self.op(Op::Broadcast { shape }, &[x]) }
    }
}
