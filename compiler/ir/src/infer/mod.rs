//! Shape inference: the types of an operator's results, from those of its operands.
//!
//! Sizes that are certainly different are an error. Where a size is open the rule is hopeful (two sizes that must agree and may,
//! do; an open size that meets a number is that number), and the runtime refuses inputs that disagree.

mod error;
mod windows;

pub use error::TypeError;
pub use windows::window_size;

use crate::dim::Dim;
use crate::op::{Binary, Combine, Op, Pad, PadMode, Quantize, Slice, Unary};
use crate::types::{ElementType, TensorType};

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
        Op::Iota { size } => {
            rule.arity::<0>()?;
            one(TensorType::new(ElementType::I64, rule.sizes(std::slice::from_ref(size))?))
        }
        Op::Scatter { combine } => one(rule.scatter(combine.is_some())?),
        Op::Cumulative { combine, axis } => {
            let [x] = rule.arity()?;
            rule.number(0)?;
            rule.axes(&[*axis], x.rank())?;
            if !matches!(combine, Combine::Add | Combine::Mul) {
                return Err(rule.attribute(format!("combine is {}; it is add or mul", combine.word())));
            }
            one(x.clone())
        }
        Op::TopK { axis, k, .. } => rule.top_k(*axis, k),
        Op::Cast { to } => {
            let [x] = rule.arity()?;
            rule.not_ternary(0)?;
            if *to == ElementType::Ternary {
                return Err(rule.attribute("nothing is cast to ternary; a pass makes such constants".into()));
            }
            one(TensorType::new(*to, x.shape.clone()))
        }
        Op::Quantize(quantize) => rule.quantize(quantize),
        Op::Custom(call) => {
            let name = call.operator.name();
            let results = call.operator.infer(&call.attributes, operands);
            let results = results.map_err(|message| TypeError::Custom { name: name.to_owned(), message })?;
            if results.is_empty() {
                let message = "its shape rule gives no result".to_owned();
                return Err(TypeError::Custom { name: name.to_owned(), message });
            }
            results.iter().try_for_each(|ty| rule.sizes(&ty.shape).map(drop))?;
            Ok(results)
        }
    }
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
            expected: match N {
                0 => "no operands".into(),
                1 => "1 operand".into(),
                _ => format!("{N} operands"),
            },
            found: self.operands.len(),
        })
    }

    fn f32(&self, operand: usize) -> Result<(), TypeError> {
        match self.operands[operand].element {
            ElementType::F32 => Ok(()),
            _ => Err(self.element(operand)),
        }
    }

    /// f32, i64 or i32.
    fn number(&self, operand: usize) -> Result<(), TypeError> {
        match self.operands[operand].element {
            ElementType::F32 | ElementType::I64 | ElementType::I32 => Ok(()),
            _ => Err(self.element(operand)),
        }
    }

    fn scatter(&self, combines: bool) -> Result<TensorType, TypeError> {
        let [data, indices, updates] = self.arity()?;
        if combines {
            self.number(0)?
        } else {
            self.not_ternary(0)?
        }
        if !matches!(indices.element, ElementType::I64 | ElementType::I32) {
            return Err(self.element(1));
        }
        let [_, row @ ..] = data.shape.as_slice() else { return Err(self.rank(0, "rank 1 or more")) };
        let [count] = indices.shape.as_slice() else { return Err(self.rank(1, "rank 1")) };
        let expected = TensorType::new(data.element, [std::slice::from_ref(count), row].concat());
        match updates.is_consistent_with(&expected) {
            true => Ok(data.clone()),
            false => Err(self.mismatch("updates", expected, updates)),
        }
    }

    fn top_k(&self, axis: usize, k: &Dim) -> Result<Vec<TensorType>, TypeError> {
        let [x] = self.arity()?;
        self.number(0)?;
        self.axes(&[axis], x.rank())?;
        let size = &x.shape[axis];
        if k.is_negative() || size.checked_sub(k).is_some_and(|rest| rest.is_negative()) {
            return Err(self.attribute(format!("k is {k}; the axis has {size} elements")));
        }
        let mut shape = x.shape.clone();
        shape[axis] = k.clone();
        Ok(vec![TensorType::new(x.element, shape.clone()), TensorType::new(ElementType::I64, shape)])
    }

    fn not_ternary(&self, operand: usize) -> Result<(), TypeError> {
        match self.operands[operand].element {
            ElementType::Ternary => Err(self.element(operand)),
            _ => Ok(()),
        }
    }

    /// The elements of a product of operands 0 and 1: f32, or of i16 with a ternary weight the sum as i32.
    fn product(&self, x: &TensorType, w: &TensorType) -> Result<ElementType, TypeError> {
        match (x.element, w.element) {
            (ElementType::F32, ElementType::F32 | ElementType::Ternary) => Ok(ElementType::F32),
            (ElementType::I16, ElementType::Ternary) => Ok(ElementType::I32),
            (ElementType::I16, ElementType::F32) => {
                Err(self.mismatch("integers need a ternary weight", x, w))
            }
            (ElementType::F32 | ElementType::I16, _) => Err(self.element(1)),
            _ => Err(self.element(0)),
        }
    }

    fn matmul(&self) -> Result<TensorType, TypeError> {
        let [a, b] = self.arity()?;
        let element = self.product(a, b)?;
        if a.rank() < 2 {
            return Err(self.rank(0, "rank 2 or more"));
        }
        // Parts of a row: [..., R, G, 1, K] by [G, K, M].
        let in_parts = || match (a.shape.as_slice(), b.shape.as_slice()) {
            ([_, .., parts, one, _], [count, ..]) if b.rank() == 3 => {
                parts == count && one.as_size() == Some(1)
            }
            _ => false,
        };
        if b.rank() < 2 || (b.element == ElementType::Ternary && b.rank() != 2 && !in_parts()) {
            return Err(self.rank(1, "rank 2 or more (a ternary weight: rank 2, or 3 for parts of a row)"));
        }
        let ((a_outer, a_inner), (b_outer, b_inner)) =
            (a.shape.split_at(a.rank() - 2), b.shape.split_at(b.rank() - 2));
        if !a_inner[1].may_equal(&b_inner[0]) {
            return Err(self.mismatch("inner sizes", a, b));
        }
        let mut shape = self.broadcast(a_outer, b_outer)?;
        shape.extend([a_inner[0].clone(), b_inner[1].clone()]);
        Ok(TensorType::new(element, shape))
    }

    fn quantize(&self, quantize: &Quantize) -> Result<Vec<TensorType>, TypeError> {
        let [x] = self.arity()?;
        self.f32(0)?;
        let Some(samples) = x.shape.first() else { return Err(self.rank(0, "rank 1 or more")) };
        if !Quantize::BITS.contains(&quantize.bits) {
            let (least, most) = Quantize::BITS.into_inner();
            return Err(self.attribute(format!("bits is {}, not in {least} to {most}", quantize.bits)));
        }
        if let Some(scale) = quantize.scale.filter(|&s| !(s.is_finite() && s > 0.0)) {
            return Err(self.attribute(format!("scale is {scale:?}, not a positive, finite number")));
        }
        let mut scales = vec![Dim::from(1); x.rank()];
        scales[0] = samples.clone();
        Ok(vec![TensorType::new(ElementType::I16, x.shape.clone()), TensorType::f32(scales)])
    }

    fn concat(&self, axis: usize) -> Result<TensorType, TypeError> {
        let Some((first, rest)) = self.operands.split_first() else {
            return Err(TypeError::Arity { op: self.op, expected: "1 or more operands".into(), found: 0 });
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
        let (size, one) = (&x.shape[slice.axis], Dim::from(1));
        let before_last = slice.size.checked_sub(&one);
        let last = before_last
            .as_ref()
            .and_then(|n| n.checked_mul(&Dim::fixed(slice.step))?.checked_add(&slice.start));
        let outside = |i: &Dim| i.is_negative() || i.checked_sub(size).is_some_and(|d| d.is_nonnegative());
        // Of numbers alone, only one beyond 64 bits cannot be written down.
        let leaves = outside(&slice.start) || last.map_or(slice.size.as_fixed().is_some(), |i| outside(&i));
        if leaves && before_last.is_some_and(|n| n.is_nonnegative()) {
            let Slice { start, size: count, step, .. } = slice;
            return Err(
                self.attribute(format!("{count} elements from {start} by {step} leave an axis of {size}"))
            );
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
        match shape.iter().find(|dim| dim.is_negative()) {
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
