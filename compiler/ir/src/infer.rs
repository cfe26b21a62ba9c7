//! Shape inference: the types of an operator's results, from those of its operands.
//!
//! Sizes that are certainly different are an error. Where a size is open the rule is hopeful (two sizes that must agree and may,
//! do; an open size that meets a number is that number), and the runtime refuses inputs that disagree.

use crate::dim::Dim;
use crate::op::{Binary, Conv, Geometry, Op, Pad, PadMode, Pool, Slice, Unary};
use crate::types::{ElementType, TensorType};
use thiserror::Error;

/// Why an operator does not apply to its operands.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TypeError {
    /// The wrong number of operands.
    #[error("{op} takes {expected} operands, not {found}")]
    Arity {
        /// The operator's word.
        op: &'static str,
        /// How many it takes.
        expected: &'static str,
        /// How many it was given.
        found: usize,
    },
    /// An operand has elements that the operator does not take.
    #[error("{op} does not take {ty} as operand {operand}")]
    Element {
        /// The operator's word.
        op: &'static str,
        /// Which operand, from 0.
        operand: usize,
        /// Its type.
        ty: String,
    },
    /// An operand has the wrong number of axes.
    #[error("{op} needs {expected} as operand {operand}, not {ty}")]
    Rank {
        /// The operator's word.
        op: &'static str,
        /// Which operand, from 0.
        operand: usize,
        /// What it needs.
        expected: String,
        /// Its type.
        ty: String,
    },
    /// Sizes that must agree do not.
    #[error("{op}: {what}: {left} against {right}")]
    Mismatch {
        /// The operator's word.
        op: &'static str,
        /// Which sizes.
        what: &'static str,
        /// One of them.
        left: String,
        /// The other.
        right: String,
    },
    /// An attribute is out of its range.
    #[error("{op}: {message}")]
    Attribute {
        /// The operator's word.
        op: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A size is larger than 64 bits, or its expression too long.
    #[error("{op}: a size of the result is too large to be written down")]
    Overflow {
        /// The operator's word.
        op: &'static str,
    },
    /// A value was to take the place of one of another type.
    #[error("a value of type {new} cannot replace one of type {old}")]
    Replacement {
        /// The type of the value to replace.
        old: String,
        /// The type of what was to replace it.
        new: String,
    },
    /// A custom operator refused.
    #[error("custom operator `{name}`: {message}")]
    Custom {
        /// `domain::name`.
        name: String,
        /// Why.
        message: String,
    },
}

/// The types of the results of `op` on operands of the given types.
pub fn infer(op: &Op, operands: &[&TensorType]) -> Result<Vec<TensorType>, TypeError> {
    let rule = Rule { op: op.mnemonic(), operands };
    let one = |ty: TensorType| Ok(vec![ty]);
    match op {
        Op::Constant(tensor) => rule.arity::<0>().and_then(|_| one(tensor.ty())),
        Op::Dims(dims) => {
            rule.arity::<0>()?;
            one(TensorType::new(ElementType::I64, vec![Dim::from(dims.len())]))
        }
        Op::Conv(conv) => one(rule.conv(conv)?),
        Op::MatMul => one(rule.matmul()?),
        Op::Unary(f) => {
            let [x] = rule.arity()?;
            let integers = matches!(f, Unary::Neg | Unary::Abs | Unary::Relu) && x.element.is_integer();
            if !integers {
                rule.f32(0)?;
            }
            one(x.clone())
        }
        Op::Binary(f) => {
            let [a, b] = rule.arity()?;
            let wide = matches!(a.element, ElementType::I64 | ElementType::I32);
            if !wide || matches!(f, Binary::Pow | Binary::PRelu) {
                rule.f32(0)?;
            }
            if a.element != b.element {
                return Err(rule.mismatch("element types", a, b));
            }
            one(TensorType::new(a.element, rule.broadcast(&a.shape, &b.shape)?))
        }
        Op::BatchNorm { .. } => {
            let [x, parameters @ ..] = rule.arity::<5>()?;
            rule.f32(0)?;
            let channels = x.shape.get(1).ok_or_else(|| rule.rank(0, "rank 2 or more"))?;
            for (i, p) in parameters.iter().enumerate() {
                rule.f32(i + 1)?;
                if p.rank() != 1 || !p.shape[0].may_equal(channels) {
                    return Err(rule.mismatch("channels", x, p));
                }
            }
            one(x.clone())
        }
        Op::MaxPool(pool) | Op::AveragePool { pool, .. } => one(rule.pool(pool)?),
        Op::Reduce { axes, keep_dims, .. } => {
            let [x] = rule.arity()?;
            rule.f32(0)?;
            rule.axes(axes, x.rank())?;
            let kept = x.shape.iter().enumerate().filter_map(|(axis, dim)| match axes.contains(&axis) {
                true => keep_dims.then(|| Dim::from(1)),
                false => Some(dim.clone()),
            });
            one(TensorType::f32(kept.collect()))
        }
        Op::Softmax { axes } => {
            let [x] = rule.arity()?;
            rule.f32(0)?;
            rule.axes(axes, x.rank())?;
            one(x.clone())
        }
        Op::Reshape { shape } => {
            let [x] = rule.arity()?;
            rule.not_ternary(0)?;
            let (from, to) = (Dim::product(&x.shape), Dim::product(shape));
            match (from, to) {
                (Some(from), Some(to)) if from.may_equal(&to) => {}
                (Some(from), Some(to)) => return Err(rule.mismatch("number of elements", from, to)),
                _ => return Err(rule.overflow()),
            }
            one(TensorType::new(x.element, rule.sizes(shape)?))
        }
        Op::Transpose { perm } => {
            let [x] = rule.arity()?;
            rule.not_ternary(0)?;
            let mut sorted = perm.clone();
            sorted.sort_unstable();
            if !sorted.iter().copied().eq(0..x.rank()) {
                return Err(rule.attribute(format!("{perm:?} does not permute the {} axes", x.rank())));
            }
            one(TensorType::new(x.element, perm.iter().map(|&axis| x.shape[axis].clone()).collect()))
        }
        Op::Concat { axis } => one(rule.concat(*axis)?),
        Op::Slice(slice) => one(rule.slice(slice)?),
        Op::Pad(pad) => one(rule.pad(pad)?),
        Op::Broadcast { shape } => {
            let [x] = rule.arity()?;
            rule.not_ternary(0)?;
            let broadcast = rule.broadcast(&x.shape, shape)?;
            if broadcast.len() != shape.len() || !broadcast.iter().zip(shape).all(|(a, b)| a.may_equal(b)) {
                return Err(rule.mismatch("shapes", x, TensorType::new(x.element, shape.clone())));
            }
            one(TensorType::new(x.element, rule.sizes(shape)?))
        }
        Op::Gather { axis } => {
            let [data, indices] = rule.arity()?;
            rule.not_ternary(0)?;
            if !matches!(indices.element, ElementType::I64 | ElementType::I32) {
                return Err(rule.element(1));
            }
            rule.axes(&[*axis], data.rank())?;
            let (before, after) = (&data.shape[..*axis], &data.shape[axis + 1..]);
            one(TensorType::new(data.element, [before, &indices.shape, after].concat()))
        }
        Op::Cast { to } => {
            let [x] = rule.arity()?;
            rule.not_ternary(0)?;
            if *to == ElementType::Ternary {
                return Err(rule.attribute("nothing is cast to ternary; a pass makes such constants".into()));
            }
            one(TensorType::new(*to, x.shape.clone()))
        }
        Op::Custom(call) => {
            let name = call.operator.name();
            let results = call.operator.infer(&call.attributes, operands);
            let results = results.map_err(|message| TypeError::Custom { name: name.to_owned(), message })?;
            if results.is_empty() {
                let message = "its shape rule gives no result".to_owned();
                return Err(TypeError::Custom { name: name.to_owned(), message });
            }
            Ok(results)
        }
    }
}

/// The size of one output axis of a sliding window over `size` elements; `None` if it is too large to be written down.
/// Where the window does not fit, the size is zero or negative.
pub fn window_size(geometry: &Geometry, axis: usize, kernel: &Dim, size: &Dim, ceil: bool) -> Option<Dim> {
    let number = |list: &[usize]| list.get(axis).map(|&n| Dim::from(n));
    let (stride, dilation) = (number(&geometry.strides)?, number(&geometry.dilations)?);
    let (begin, end) = (number(&geometry.pads_begin)?, number(&geometry.pads_end)?);
    let one = Dim::from(1);
    let reach = kernel.checked_sub(&one)?.checked_mul(&dilation)?.checked_add(&one)?;
    let room = size.checked_add(&begin)?.checked_add(&end)?.checked_sub(&reach)?;
    if !ceil {
        return room.floor_div(&stride)?.checked_add(&one);
    }
    // The last window must start inside the input or its leading padding.
    let starts = size.checked_add(&begin)?.checked_sub(&one)?.floor_div(&stride)?.checked_add(&one)?;
    room.ceil_div(&stride)?.checked_add(&one)?.minimum(&starts)
}

/// A rule at work: the operator's word and its operands' types.
struct Rule<'a> {
    op: &'static str,
    operands: &'a [&'a TensorType],
}

impl<'a> Rule<'a> {
    fn arity<const N: usize>(&self) -> Result<[&'a TensorType; N], TypeError> {
        self.operands.try_into().map_err(|_| TypeError::Arity {
            op: self.op,
            expected: ["no", "1", "2", "3", "4", "5"].get(N).unwrap_or(&"other"),
            found: self.operands.len(),
        })
    }

    fn f32(&self, operand: usize) -> Result<(), TypeError> {
        match self.operands[operand].element {
            ElementType::F32 => Ok(()),
            _ => Err(self.element(operand)),
        }
    }

    fn not_ternary(&self, operand: usize) -> Result<(), TypeError> {
        match self.operands[operand].element {
            ElementType::Ternary => Err(self.element(operand)),
            _ => Ok(()),
        }
    }

    fn weight(&self, operand: usize) -> Result<(), TypeError> {
        match self.operands[operand].element {
            ElementType::F32 | ElementType::Ternary => Ok(()),
            _ => Err(self.element(operand)),
        }
    }

    fn conv(&self, conv: &Conv) -> Result<TensorType, TypeError> {
        let [x, w] = self.arity()?;
        self.f32(0)?;
        self.weight(1)?;
        if !(3..=5).contains(&x.rank()) {
            return Err(self.rank(0, "[N,C] and one to three spatial axes"));
        }
        if w.rank() != x.rank() {
            return Err(self.rank(1, "a weight of the same rank as the input"));
        }
        self.geometry(&conv.geometry, x.rank() - 2)?;
        if conv.groups == 0 {
            return Err(self.attribute("groups is 0".into()));
        }
        let groups = Dim::from(conv.groups);
        let channels = w.shape[1].checked_mul(&groups).ok_or_else(|| self.overflow())?;
        if !channels.may_equal(&x.shape[1]) {
            return Err(self.mismatch("input channels", x, w));
        }
        if w.shape[0].as_size().is_some_and(|m| m % conv.groups != 0) {
            return Err(self.mismatch("output channels and groups", &w.shape[0], groups));
        }
        let mut shape = vec![x.shape[0].clone(), w.shape[0].clone()];
        for axis in 0..x.rank() - 2 {
            shape.push(self.window(&conv.geometry, axis, &w.shape[axis + 2], &x.shape[axis + 2], false)?);
        }
        Ok(TensorType::f32(shape))
    }

    fn pool(&self, pool: &Pool) -> Result<TensorType, TypeError> {
        let [x] = self.arity()?;
        self.f32(0)?;
        if !(3..=5).contains(&x.rank()) {
            return Err(self.rank(0, "[N,C] and one to three spatial axes"));
        }
        self.geometry(&pool.geometry, x.rank() - 2)?;
        if pool.kernel.len() != x.rank() - 2 || pool.kernel.contains(&0) {
            return Err(
                self.attribute(format!("kernel {:?} does not fit the spatial axes of {x}", pool.kernel))
            );
        }
        let mut shape = x.shape[..2].to_vec();
        for (axis, &kernel) in pool.kernel.iter().enumerate() {
            shape.push(self.window(
                &pool.geometry,
                axis,
                &Dim::from(kernel),
                &x.shape[axis + 2],
                pool.ceil,
            )?);
        }
        Ok(TensorType::f32(shape))
    }

    fn geometry(&self, g: &Geometry, rank: usize) -> Result<(), TypeError> {
        let lists = [&g.strides, &g.dilations, &g.pads_begin, &g.pads_end];
        if lists.iter().any(|list| list.len() != rank) {
            return Err(self.attribute(format!("strides, dilations and pads need {rank} entries each")));
        }
        if g.strides.contains(&0) || g.dilations.contains(&0) {
            return Err(self.attribute("a stride or dilation is 0".into()));
        }
        Ok(())
    }

    fn window(&self, g: &Geometry, axis: usize, k: &Dim, size: &Dim, ceil: bool) -> Result<Dim, TypeError> {
        let out = window_size(g, axis, k, size, ceil).ok_or_else(|| self.overflow())?;
        match out.as_fixed() {
            Some(n) if n <= 0 => {
                let message =
                    format!("a window of {k} does not fit into {size} elements along spatial axis {axis}");
                Err(self.attribute(message))
            }
            _ => Ok(out),
        }
    }

    fn matmul(&self) -> Result<TensorType, TypeError> {
        let [a, b] = self.arity()?;
        self.f32(0)?;
        self.weight(1)?;
        if a.rank() < 2 {
            return Err(self.rank(0, "rank 2 or more"));
        }
        if b.rank() < 2 || (b.element == ElementType::Ternary && b.rank() != 2) {
            return Err(self.rank(1, "rank 2 or more (a ternary weight: rank 2)"));
        }
        let ((a_outer, a_inner), (b_outer, b_inner)) =
            (a.shape.split_at(a.rank() - 2), b.shape.split_at(b.rank() - 2));
        if !a_inner[1].may_equal(&b_inner[0]) {
            return Err(self.mismatch("inner sizes", a, b));
        }
        let mut shape = self.broadcast(a_outer, b_outer)?;
        shape.extend([a_inner[0].clone(), b_inner[1].clone()]);
        Ok(TensorType::f32(shape))
    }

    fn concat(&self, axis: usize) -> Result<TensorType, TypeError> {
        let Some((first, rest)) = self.operands.split_first() else {
            return Err(TypeError::Arity { op: self.op, expected: "1 or more", found: 0 });
        };
        self.not_ternary(0)?;
        self.axes(&[axis], first.rank())?;
        let mut result = (*first).clone();
        for ty in rest {
            if ty.element != first.element || ty.rank() != first.rank() {
                return Err(self.mismatch("operands", first, ty));
            }
            for (i, (total, dim)) in result.shape.iter_mut().zip(&ty.shape).enumerate() {
                if i == axis {
                    *total = total.checked_add(dim).ok_or_else(|| self.overflow())?;
                } else {
                    *total = self.agree(total, dim).ok_or_else(|| self.mismatch("operands", first, ty))?;
                }
            }
        }
        Ok(result)
    }

    fn slice(&self, slice: &Slice) -> Result<TensorType, TypeError> {
        let [x] = self.arity()?;
        self.not_ternary(0)?;
        self.axes(&[slice.axis], x.rank())?;
        if slice.step == 0 {
            return Err(self.attribute("step is 0".into()));
        }
        if let (Some(size), Some(start), Some(count)) =
            (x.shape[slice.axis].as_fixed(), slice.start.as_fixed(), slice.size.as_fixed())
        {
            let last = count.checked_sub(1).and_then(|n| n.checked_mul(slice.step)?.checked_add(start));
            let inside = |i: i64| (0..size).contains(&i);
            if count < 0 || (count > 0 && !(inside(start) && last.is_some_and(inside))) {
                let what = format!("{count} elements from {start} by {} leave an axis of {size}", slice.step);
                return Err(self.attribute(what));
            }
        }
        let mut shape = x.shape.clone();
        shape[slice.axis] = slice.size.clone();
        Ok(TensorType::new(x.element, self.sizes(&shape)?))
    }

    fn pad(&self, pad: &Pad) -> Result<TensorType, TypeError> {
        let [x] = self.arity()?;
        self.not_ternary(0)?;
        if pad.begin.len() != x.rank() || pad.end.len() != x.rank() {
            return Err(self.attribute(format!("begin and end need {} entries each", x.rank())));
        }
        let mut shape = vec![];
        for ((dim, &begin), &end) in x.shape.iter().zip(&pad.begin).zip(&pad.end) {
            let widest = begin.max(end);
            if widest > 0
                && let Some(size) = dim.as_size()
                && (pad.mode == PadMode::Reflect && widest >= size || pad.mode == PadMode::Edge && size == 0)
            {
                return Err(
                    self.attribute(format!("an axis of {size} has nothing to pad {widest} elements with"))
                );
            }
            let padded = dim.checked_add(&Dim::from(begin)).and_then(|d| d.checked_add(&Dim::from(end)));
            shape.push(padded.ok_or_else(|| self.overflow())?);
        }
        Ok(TensorType::new(x.element, shape))
    }

    /// The shape to which two shapes broadcast.
    fn broadcast(&self, a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, TypeError> {
        let rank = a.len().max(b.len());
        let one = Dim::from(1);
        let at = |shape: &[Dim], axis: usize| match (axis + shape.len()).checked_sub(rank) {
            Some(i) => shape[i].clone(),
            None => one.clone(),
        };
        let agreed = (0..rank).map(|axis| match (at(a, axis), at(b, axis)) {
            (x, y) if x == one => Some(y),
            (x, y) if y == one => Some(x),
            (x, y) => self.agree(&x, &y),
        });
        agreed.collect::<Option<_>>().ok_or_else(|| {
            let show = |shape: &[Dim]| format!("{shape:?}");
            self.mismatch("shapes do not broadcast", show(a), show(b))
        })
    }

    /// One size for two that must be equal: the number, where only one is.
    fn agree(&self, a: &Dim, b: &Dim) -> Option<Dim> {
        a.may_equal(b).then(|| {
            if a.as_fixed().is_some() {
                a.clone()
            } else if b.as_fixed().is_some() {
                b.clone()
            } else {
                a.clone()
            }
        })
    }

    fn axes(&self, axes: &[usize], rank: usize) -> Result<(), TypeError> {
        let ascending = axes.windows(2).all(|pair| pair[0] < pair[1]);
        if axes.is_empty() || !ascending || axes.iter().any(|&axis| axis >= rank) {
            return Err(self.attribute(format!("axes {axes:?} do not fit rank {rank}")));
        }
        Ok(())
    }

    fn sizes(&self, shape: &[Dim]) -> Result<Vec<Dim>, TypeError> {
        match shape.iter().find(|dim| dim.as_fixed().is_some_and(|n| n < 0)) {
            Some(dim) => Err(self.attribute(format!("a size is {dim}"))),
            None => Ok(shape.to_vec()),
        }
    }

    fn element(&self, operand: usize) -> TypeError {
        TypeError::Element { op: self.op, operand, ty: self.operands[operand].to_string() }
    }

    fn rank(&self, operand: usize, expected: &str) -> TypeError {
        let ty = self.operands[operand].to_string();
        TypeError::Rank { op: self.op, operand, expected: expected.to_owned(), ty }
    }

    fn mismatch(&self, what: &'static str, left: impl ToString, right: impl ToString) -> TypeError {
        TypeError::Mismatch { op: self.op, what, left: left.to_string(), right: right.to_string() }
    }

    fn attribute(&self, message: String) -> TypeError {
        TypeError::Attribute { op: self.op, message }
    }

    fn overflow(&self) -> TypeError {
        TypeError::Overflow { op: self.op }
    }
}
