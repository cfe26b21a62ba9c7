//! The operators of random graphs: one of each kind, on operands that it takes.
//!
//! What jumps reads values of certain bits; what is steep somewhere, values that stay away from there. So that two ways of computing a graph
//! that are both right differ by rounding alone.

use crate::graph::{Build, Known, Vocabulary};
use std::sync::Arc;
use twnc_ir::{
    Attributes, Binary, Combine, CustomCall, CustomOperator, Data, Dim, ElementType, Op, Pad, PadMode,
    Quantize, ReduceKind, Rewriter, Slice, Tensor, TensorType, Unary, ValueId, eval,
};

impl Build {
    /// Adds one operator, with what it needs; nothing where no value is there that it takes.
    pub(super) fn grow(&mut self) -> Option<()> {
        // Those behind the first kinds are no part of networks.
        let kinds = if self.vocabulary == Vocabulary::All { 32 } else { 22 };
        match self.random.below(kinds) {
            0..=5 => self.convolution(),
            6 | 7 => self.scale_or_bias(),
            8..=10 => self.function(),
            11..=13 => self.of_two(),
            14 => self.batch_norm(),
            15 | 16 => self.pool(),
            17 => self.concat_or_slice(),
            18 => self.halves(),
            19 => self.pad(),
            20 => self.channels_last(),
            21 => self.custom(),
            22 | 23 => self.product(),
            24 => self.reduce(),
            25 => self.softmax(),
            26 | 27 => self.shape_change(),
            28 => self.gather_or_scatter(),
            29 => self.jump(),
            30 => self.integers(),
            _ => self.quantised_or_cumulative(),
        }
    }

    fn product(&mut self) -> Option<()> {
        let x = self.float()?;
        let shape = self.shape(x.id);
        if self.yes() && shape.len() >= 2 {
            // By itself, turned.
            let rank = shape.len();
            let perm = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
            let turned = self.node(Op::Transpose { perm }, &[x.id])?;
            let product = self.node(Op::MatMul, &[x.id, turned])?;
            self.push(product, false, 2);
            return Some(());
        }
        let inner = shape.last()?.as_size()?;
        let outputs = self.within(1, 10);
        let (weight, scale) = self.weight(&[inner, outputs]);
        let product = self.node(Op::MatMul, &[x.id, weight])?;
        self.scaled(product, scale, x.growth)
    }

    fn function(&mut self) -> Option<()> {
        let x = self.float()?;
        let kinds = if self.vocabulary == Vocabulary::All { 14 } else { 10 };
        let (f, exact) = match self.random.below(kinds) {
            0 | 1 => (Unary::Relu, true),
            2 => (Unary::LeakyRelu { slope: 0.125 }, false),
            3 => (Unary::Clip { min: -0.75, max: 1.0 }, false),
            4 => (Unary::HardSigmoid { alpha: 0.25, beta: 0.5 }, false),
            5 => (Unary::HardSwish, false),
            6 => (Unary::Neg, true),
            7 => (Unary::Abs, true),
            8 => (Unary::Sigmoid, false),
            9 => (Unary::Tanh, false),
            10 => (Unary::Erf, false),
            11 => (self.of(&[Unary::Sin, Unary::Cos, Unary::Atan]), false),
            12 => return self.steep(x),
            _ => {
                let tanh = self.node(Op::Unary(Unary::Tanh), &[x.id])?;
                let id = self.node(Op::Unary(Unary::Exp), &[tanh])?;
                self.push(id, false, 1);
                return Some(());
            }
        };
        let id = self.node(Op::Unary(f), &[x.id])?;
        self.push(id, exact && x.exact, x.growth);
        Some(())
    }

    /// Functions that are steep at 0, of magnitudes that are not small.
    fn steep(&mut self, x: Known) -> Option<()> {
        let magnitude = self.node(Op::Unary(Unary::Abs), &[x.id])?;
        let half = self.constant(Tensor::scalar(0.5));
        let away = self.node(Op::Binary(Binary::Add), &[magnitude, half])?;
        let id = match self.random.below(4) {
            0 => self.node(Op::Unary(Unary::Sqrt), &[away])?,
            1 => self.node(Op::Unary(Unary::Log), &[away])?,
            2 => self.node(Op::Unary(Unary::Reciprocal), &[away])?,
            _ => {
                let exponent = self.of(&[0.5, 2.0, -1.0, 1.5]);
                let exponent = self.constant(Tensor::scalar(exponent));
                self.node(Op::Binary(Binary::Pow), &[away, exponent])?
            }
        };
        self.push(id, false, x.growth + 1);
        Some(())
    }

    fn of_two(&mut self) -> Option<()> {
        let x = self.float()?;
        let shape = self.shape(x.id);
        let y =
            self.pick(|build, y| build.element(y.id) == ElementType::F32 && build.shape(y.id) == shape)?;
        let y = self.bounded(y)?;
        let f = self.of(&[
            Binary::Add,
            Binary::Add,
            Binary::Sub,
            Binary::Mul,
            Binary::Min,
            Binary::Max,
            Binary::PRelu,
        ]);
        let exact = x.exact && y.exact && matches!(f, Binary::Min | Binary::Max);
        let id = self.node(Op::Binary(f), &[x.id, y.id])?;
        self.push(id, exact, x.growth.max(y.growth) + u8::from(!exact));
        Some(())
    }

    /// A few axes of a rank, ascending, at least one.
    fn axes(&mut self, rank: usize) -> Vec<usize> {
        let one = self.random.below(rank);
        (0..rank).filter(|&axis| axis == one || self.random.below(3) == 0).collect()
    }

    fn reduce(&mut self) -> Option<()> {
        let x = self.float()?;
        let rank = self.shape(x.id).len();
        if rank == 0 {
            return None;
        }
        let (kind, _) = self.of(&ReduceKind::ALL);
        let keep_dims = self.yes();
        let op = Op::Reduce { kind, axes: self.axes(rank), keep_dims };
        let id = self.node(op, &[x.id])?;
        let exact = x.exact && matches!(kind, ReduceKind::Max | ReduceKind::Min);
        self.push(id, exact, if kind == ReduceKind::Sum { 2 } else { x.growth });
        // Squeeze and excite: one factor for many elements.
        if keep_dims && self.yes() {
            let product = self.node(Op::Binary(Binary::Mul), &[x.id, id])?;
            self.push(product, false, 2);
        }
        Some(())
    }

    fn softmax(&mut self) -> Option<()> {
        let x = self.float()?;
        let rank = self.shape(x.id).len();
        if rank == 0 {
            return None;
        }
        let axes = self.axes(rank);
        let id = self.node(Op::Softmax { axes }, &[x.id])?;
        self.push(id, false, 0);
        Some(())
    }

    /// Of any element type.
    fn any(&mut self) -> Option<Known> {
        self.pick(|_, _| true)
    }

    fn shape_change(&mut self) -> Option<()> {
        let x = self.any()?;
        let shape = self.shape(x.id);
        let rank = shape.len();
        let op = match self.random.below(4) {
            0 if rank > 0 => {
                let turn = self.random.below(rank);
                Op::Transpose { perm: (0..rank).map(|axis| (axis + turn) % rank).collect() }
            }
            1 if rank > 1 => {
                // Two neighbours become one.
                let axis = self.random.below(rank - 1);
                let both = shape[axis].checked_mul(&shape[axis + 1])?;
                Op::Reshape { shape: [&shape[..axis], &[both], &shape[axis + 2..]].concat() }
            }
            2 => {
                let axis = self.random.below(rank + 1);
                Op::Reshape { shape: [&shape[..axis], &[Dim::from(1)], &shape[axis..]].concat() }
            }
            _ => {
                let copies = Dim::from(self.within(1, 3));
                Op::Broadcast { shape: [vec![copies], shape].concat() }
            }
        };
        let id = self.node(op, &[x.id])?;
        self.push(id, x.exact, x.growth);
        Some(())
    }

    fn concat_or_slice(&mut self) -> Option<()> {
        let x = self.any()?;
        let shape = self.shape(x.id);
        if shape.is_empty() {
            return None;
        }
        let axis = self.random.below(shape.len());
        if self.yes() {
            let element = self.element(x.id);
            let y = self.pick(|build, y| build.element(y.id) == element && build.shape(y.id) == shape)?;
            let operands = if self.yes() { vec![x.id, y.id] } else { vec![y.id, x.id, x.id] };
            let id = self.node(Op::Concat { axis }, &operands)?;
            self.push(id, x.exact && y.exact, x.growth.max(y.growth));
            return Some(());
        }
        let size = self.sizes(x.id)[axis];
        let (step, most) = self.of(&[(1, size), (1, size), (2, size.div_ceil(2)), (-1, size)]);
        let take = self.within(1, most);
        let reach = (take - 1) * if step == 2 { 2 } else { 1 };
        let start = if step < 0 { reach } else { 0 } + self.within(0, size - 1 - reach);
        let slice = Slice { axis, start: start.into(), size: take.into(), step };
        let id = self.node(Op::Slice(slice), &[x.id])?;
        self.push(id, x.exact, x.growth);
        Some(())
    }

    fn pad(&mut self) -> Option<()> {
        let x = self.any()?;
        let sizes = self.sizes(x.id);
        let mode =
            self.of(&[PadMode::Constant(0.0), PadMode::Constant(1.5), PadMode::Reflect, PadMode::Edge]);
        let mut widths = || -> Vec<usize> {
            let width = |&n: &usize| match mode {
                PadMode::Reflect => self.random.below(n.min(3)),
                _ => self.random.below(3),
            };
            sizes.iter().map(width).collect()
        };
        let pad = Pad { begin: widths(), end: widths(), mode };
        let id = self.node(Op::Pad(pad), &[x.id])?;
        self.push(id, x.exact, x.growth);
        Some(())
    }

    /// Indices of an axis, from either end, as i64 or i32.
    fn indices(&mut self, count: usize, size: usize) -> ValueId {
        let signed: Vec<i64> = (0..count).map(|_| self.random.below(2 * size) as i64 - size as i64).collect();
        let data = match self.yes() {
            true => Data::I64(signed.into()),
            false => Data::I32(signed.iter().map(|&n| n as i32).collect()),
        };
        let tensor = Tensor::new(vec![count], data).unwrap_or_else(|_| Tensor::scalar(0.0));
        self.constant(tensor)
    }

    fn gather_or_scatter(&mut self) -> Option<()> {
        let x = self.any()?;
        let sizes = self.sizes(x.id);
        if sizes.is_empty() {
            return None;
        }
        let count = self.within(1, 4);
        if self.yes() {
            let axis = self.random.below(sizes.len());
            let indices = self.indices(count, sizes[axis]);
            let id = self.node(Op::Gather { axis }, &[x.id, indices])?;
            self.push(id, x.exact, x.growth);
            return Some(());
        }
        let element = self.element(x.id);
        let numbers = matches!(element, ElementType::F32 | ElementType::I32 | ElementType::I64);
        let combine = if numbers && self.yes() { Some(self.of(&Combine::ALL).0) } else { None };
        let indices = self.indices(count, sizes[0]);
        let updates = self.tensor(element, &[&[count], &sizes[1..]].concat());
        let updates = self.constant(updates);
        let id = self.node(Op::Scatter { combine }, &[x.id, indices, updates])?;
        let exact = element != ElementType::F32 || !matches!(combine, Some(Combine::Add | Combine::Mul));
        self.push(id, x.exact && exact, x.growth + u8::from(!exact));
        Some(())
    }

    /// What is not continuous.
    fn jump(&mut self) -> Option<()> {
        let x = self.exact(ElementType::F32)?;
        let shape = self.shape(x.id);
        match self.random.below(5) {
            0 => {
                let f = self.of(&[Unary::Floor, Unary::Round]);
                let id = self.node(Op::Unary(f), &[x.id])?;
                self.push(id, true, x.growth);
            }
            1 | 2 => {
                let y = self.pick(|build, y| {
                    y.exact && build.element(y.id) == ElementType::F32 && build.shape(y.id) == shape
                })?;
                let f = self.of(&[Binary::Less, Binary::Equal, Binary::Keep]);
                let id = self.node(Op::Binary(f), &[x.id, y.id])?;
                self.push(id, true, x.growth);
            }
            3 if !shape.is_empty() => {
                let axis = self.random.below(shape.len());
                let k = self.within(1, self.sizes(x.id)[axis]).into();
                let op = Op::TopK { axis, k, largest: self.yes() };
                for id in self.nodes(op, &[x.id])? {
                    self.push(id, true, x.growth);
                }
            }
            _ => {
                let (to, _) = ElementType::ALL[self.random.below(7)];
                let id = self.node(Op::Cast { to }, &[x.id])?;
                self.push(id, true, x.growth);
            }
        }
        Some(())
    }

    fn integers(&mut self) -> Option<()> {
        let wide = self.of(&[ElementType::I64, ElementType::I32]);
        let counted = match self.random.below(4) {
            0 => {
                let size = self.of(&[Dim::symbol("N"), Dim::from(3)]);
                Some(self.node(Op::Iota { size }, &[])?)
            }
            1 => Some(self.node(Op::Dims(vec![Dim::symbol("N"), Dim::from(5)]), &[])?),
            _ => None,
        };
        if let Some(id) = counted {
            self.push(id, true, 0);
            return Some(());
        }
        let x = self.pick(|build, x| x.exact && build.element(x.id) != ElementType::F32)?;
        let id = match self.random.below(3) {
            0 => self.node(Op::Cast { to: wide }, &[x.id])?,
            1 => self.node(Op::Cast { to: ElementType::F32 }, &[x.id])?,
            _ => {
                let element = self.element(x.id);
                let f = self.of(&[Unary::Neg, Unary::Abs, Unary::Relu]);
                if self.yes() {
                    self.node(Op::Unary(f), &[x.id])?
                } else {
                    let f = self.of(&Binary::ALL);
                    let tensor = match self.tensor(element, &[]).data() {
                        // Nothing is divided by 0.
                        Data::I64(v) => Data::I64(v.iter().map(|n| n | 1).collect()),
                        Data::I32(v) => Data::I32(v.iter().map(|n| n | 1).collect()),
                        _ => return None,
                    };
                    let c = self.constant(Tensor::new(vec![], tensor).ok()?);
                    self.node(Op::Binary(f), &[x.id, c])?
                }
            }
        };
        // Whole numbers may be large.
        self.push(id, true, 2);
        Some(())
    }

    fn quantised_or_cumulative(&mut self) -> Option<()> {
        if self.yes() { self.quantised() } else { self.cumulative() }
    }

    /// A product of whole numbers, and what they stand for.
    fn quantised(&mut self) -> Option<()> {
        let x = self.exact(ElementType::F32)?;
        let shape = self.shape(x.id);
        let inner = shape.last()?.as_size()?;
        let scale = if self.yes() { Some(0.125) } else { None };
        let quantize = Quantize { bits: self.within(2, 12), signed: self.yes(), scale };
        let [whole, scales] = self.nodes(Op::Quantize(quantize), &[x.id])?[..] else { return None };
        let outputs = self.within(1, 8);
        let trits = self.tensor(ElementType::Ternary, &[inner, outputs]);
        let weight = self.constant(trits);
        let sums = self.node(Op::MatMul, &[whole, weight])?;
        // Nothing else reads the sums: a program keeps them within the step that scales them.
        let floats = self.node(Op::Cast { to: ElementType::F32 }, &[sums])?;
        let id = self.node(Op::Binary(Binary::Mul), &[floats, scales])?;
        self.push(id, false, 2);
        Some(())
    }

    fn custom(&mut self) -> Option<()> {
        let x = self.float()?;
        let call = CustomCall { operator: Arc::new(Swish), attributes: Attributes::new() };
        let id = self.node(Op::Custom(call), &[x.id])?;
        self.push(id, false, x.growth);
        Some(())
    }

    fn cumulative(&mut self) -> Option<()> {
        let x = self.float()?;
        let rank = self.shape(x.id).len();
        if rank == 0 {
            return None;
        }
        let combine = self.of(&[Combine::Add, Combine::Mul]);
        let axis = self.random.below(rank);
        let id = self.node(Op::Cumulative { combine, axis }, &[x.id])?;
        self.push(id, false, 2);
        Some(())
    }
}

/// `x·sigmoid(x)`, which decomposes.
struct Swish;

impl CustomOperator for Swish {
    fn name(&self) -> &str {
        "testsuite::swish"
    }

    fn infer(&self, _: &Attributes, operands: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        Ok(operands.iter().map(|&ty| ty.clone()).collect())
    }

    fn evaluate(&self, _: &Attributes, operands: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let sigmoid = eval::apply(&Op::Unary(Unary::Sigmoid), operands).map_err(|e| e.to_string())?;
        let both = [operands, sigmoid.as_slice()].concat();
        eval::apply(&Op::Binary(Binary::Mul), &both).map_err(|e| e.to_string())
    }

    fn decompose(
        &self,
        _: &Attributes,
        operands: &[ValueId],
        rewriter: &mut Rewriter<'_>,
    ) -> Option<Vec<ValueId>> {
        let x = *operands.first()?;
        let sigmoid = rewriter.insert(Op::Unary(Unary::Sigmoid), &[x], "").ok()?;
        Some(vec![rewriter.insert(Op::Binary(Binary::Mul), &[x, sigmoid], "").ok()?])
    }
}
