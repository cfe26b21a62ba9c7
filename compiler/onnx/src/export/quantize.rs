//! Fixed point in operators of ONNX that give the same bits.
//!
//! `quantize` is written out by its definition, in FLOAT. A product of i16 becomes a FLOAT product between two casts, since
//! `ConvInteger` and `MatMulInteger` take 8 bits alone: it is exact, in whatever order an engine sums, as long as no sum can pass
//! 2^24. One that can is refused.

use super::{Writer, int};
use crate::proto::AttributeProto;
use crate::tensor::stored_as;
use twnc_ir::layer::most_summands;
use twnc_ir::{ElementType, Node, Op, Quantize, ReduceKind, Tensor};

/// Up to here FLOAT holds every whole number.
const EXACT: usize = 1 << 24;

impl Writer<'_> {
    /// Adds a `Conv` or `MatMul`. An error is the reason why not.
    pub(super) fn product(
        &mut self,
        op_type: &str,
        node: &Node,
        mut input: Vec<String>,
        output: Vec<String>,
        attributes: Vec<AttributeProto>,
    ) -> Result<(), String> {
        let (Some(x), Some(y)) = (input.first_mut(), output.first()) else { return Ok(()) };
        if node.operands.first().is_none_or(|&x| self.graph.ty(x).element != ElementType::I16) {
            self.linear(op_type, node.operands.get(1), input, output, attributes);
            return Ok(());
        }
        let largest = self.largest_sum(node);
        if largest > EXACT {
            return Err(format!(
                "its sums can reach {largest}, and ONNX multiplies integers of more than 8 bits as FLOAT alone, which is exact to {EXACT}; \
                 compile with fewer --activation-bits, or with --activations f32"
            ));
        }
        *x = self.cast(x.clone(), ElementType::F32, y);
        let sum = self.names.unique(y);
        self.linear(op_type, node.operands.get(1), input, vec![sum.clone()], attributes);
        self.push("Cast", vec![sum], output, vec![to(ElementType::I32)]);
        Ok(())
    }

    /// `input` are the name of x, `output` those of q and s.
    pub(super) fn quantize(
        &mut self,
        quantize: &Quantize,
        node: &Node,
        input: Vec<String>,
        output: Vec<String>,
    ) {
        let ([x], [q, s]) = (input.as_slice(), output.as_slice()) else { return };
        let infinite = self.extra("IsInf", vec![x.clone()], vec![], q);
        let rank = node.operands.first().map_or(1, |&x| self.graph.ty(x).rank());
        let (least, most) = quantize.range();
        let [zero, least, most] = [0.0, f32::from(least), f32::from(most)].map(|n| self.number(n, q));
        let reciprocal = match quantize.scale {
            Some(scale) => {
                self.constant_scale(scale, rank, x, s);
                self.number(Quantize::reciprocal(scale), q)
            }
            None => {
                let largest = self.largest(quantize, rank, [x, &infinite, &zero], q);
                self.push("Div", vec![largest, most.clone()], vec![s.clone()], vec![]);
                let (one, cap) = (self.number(1.0, q), self.number(f32::MAX, q));
                let reciprocal = self.extra("Div", vec![one, s.clone()], vec![], q);
                let reciprocal = self.extra("Min", vec![reciprocal, cap], vec![], q);
                let none = self.extra("Equal", vec![s.clone(), zero.clone()], vec![], q);
                self.extra("Where", vec![none, zero.clone(), reciprocal], vec![], q)
            }
        };
        let scaled = self.extra("Mul", vec![x.clone(), reciprocal], vec![], q);
        let scaled = self.extra("Where", vec![infinite, x.clone(), scaled], vec![], q);
        // ONNX does not say what `Clip` and `Cast` make of NaN.
        let odd = self.extra("IsNaN", vec![scaled.clone()], vec![], q);
        let number = self.extra("Where", vec![odd, zero, scaled], vec![], q);
        let whole = self.extra("Round", vec![number], vec![], q);
        let clipped = self.extra("Clip", vec![whole, least, most], vec![], q);
        self.push("Cast", vec![clipped], vec![q.clone()], vec![to(ElementType::I16)]);
    }

    /// The largest number of each sample that its scale follows from; of x, whether it is infinite, and zero.
    fn largest(&mut self, quantize: &Quantize, rank: usize, names: [&str; 3], hint: &str) -> String {
        let [x, infinite, zero] = names.map(str::to_owned);
        let odd = self.extra("IsNaN", vec![x.clone()], vec![], hint);
        let odd = self.extra("Or", vec![odd, infinite], vec![], hint);
        let finite = self.extra("Where", vec![odd, zero.clone(), x], vec![], hint);
        let magnitude = if quantize.signed {
            self.extra("Abs", vec![finite], vec![], hint)
        } else {
            let positive = self.extra("Greater", vec![finite.clone(), zero.clone()], vec![], hint);
            self.extra("Where", vec![positive, finite, zero], vec![], hint)
        };
        let axes: Vec<usize> = (1..rank).collect();
        if axes.is_empty() {
            return magnitude;
        }
        let largest = self.names.unique(hint);
        self.reduce(ReduceKind::Max, &axes, true, vec![magnitude], vec![largest.clone()]);
        largest
    }

    /// One number for each sample of x.
    fn constant_scale(&mut self, scale: f32, rank: usize, x: &str, s: &str) {
        let samples = vec![int("start", 0), int("end", 1)];
        let mut shape = self.extra("Shape", vec![x.to_owned()], samples, s);
        if rank > 1 {
            let ones = self.extra_ints(&format!("{s}_shape"), vec![1; rank - 1]);
            shape = self.extra("Concat", vec![shape, ones], vec![int("axis", 0)], s);
        }
        let scale = self.number(scale, s);
        self.push("Expand", vec![scale, shape], vec![s.to_owned()], vec![]);
    }

    /// A bound on the magnitude of the sums of a product of i16.
    fn largest_sum(&self, node: &Node) -> usize {
        let largest = match node.operands.first().and_then(|&x| self.graph.definer(x)) {
            Some((_, Node { op: Op::Quantize(quantize), .. })) => quantize.range().1.unsigned_abs(),
            _ => i16::MIN.unsigned_abs(),
        };
        let weight = node.operands.get(1).and_then(|&w| self.graph.constant(w));
        weight.map_or(0, |weight| most_summands(&node.op, weight)).saturating_mul(largest.into())
    }

    fn cast(&mut self, x: String, element: ElementType, hint: &str) -> String {
        self.extra("Cast", vec![x], vec![to(element)], hint)
    }

    fn number(&mut self, number: f32, hint: &str) -> String {
        self.extra_constant(hint, &Tensor::scalar(number))
    }
}

fn to(element: ElementType) -> AttributeProto {
    int("to", stored_as(element) as i64)
}
