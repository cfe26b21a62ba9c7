//! Vectors of 128 bits, by Cranelift.

use super::{Compare, One, Two, Vectors};
use crate::loops::{bytes, splat};
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use cranelift_frontend::FunctionBuilder;

impl Vectors for FunctionBuilder<'_> {
    type Vector = Value;

    fn bits(&mut self, bits: u32) -> Value {
        splat(self, f32::from_bits(bits))
    }

    fn one(&mut self, operation: One, x: Value) -> Value {
        let takes = if operation == One::Root { types::F32X4 } else { types::I32X4 };
        let x = of_type(self, x, takes);
        match operation {
            One::Root => self.ins().sqrt(x),
            One::FromIntegers => self.ins().fcvt_from_sint(types::F32X4, x),
            One::Left(bits) => self.ins().ishl_imm_u(x, i64::from(bits)),
            One::Right(bits) => self.ins().ushr_imm_u(x, i64::from(bits)),
            One::RightSigned(bits) => self.ins().sshr_imm_s(x, i64::from(bits)),
        }
    }

    fn two(&mut self, operation: Two, a: Value, b: Value) -> Value {
        let takes = match operation {
            Two::AddIntegers | Two::SubtractIntegers => types::I32X4,
            _ => types::F32X4,
        };
        let (a, b) = (of_type(self, a, takes), of_type(self, b, takes));
        match operation {
            Two::Add => self.ins().fadd(a, b),
            Two::Subtract => self.ins().fsub(a, b),
            Two::Multiply => self.ins().fmul(a, b),
            Two::Divide => self.ins().fdiv(a, b),
            Two::Smaller => self.ins().fmin(a, b),
            Two::And => self.ins().band(a, b),
            Two::Or => self.ins().bor(a, b),
            Two::Differ => self.ins().bxor(a, b),
            Two::AddIntegers => self.ins().iadd(a, b),
            Two::SubtractIntegers => self.ins().isub(a, b),
        }
    }

    fn choose(&mut self, compare: Compare, between: [Value; 2], yes_no: [Value; 2]) -> Value {
        let condition = match compare {
            Compare::Less => FloatCC::LessThan,
            Compare::Greater => FloatCC::GreaterThan,
            Compare::Equal => FloatCC::Equal,
        };
        let [a, b] = between.map(|x| of_type(self, x, types::F32X4));
        let [yes, no] = yes_no.map(|x| of_type(self, x, types::F32X4));
        let mask = self.ins().fcmp(condition, a, b);
        let mask = bytes(self, mask, types::F32X4);
        self.ins().bitselect(mask, yes, no)
    }
}

/// A vector whose type is `ty`, of the same bits.
fn of_type(b: &mut FunctionBuilder<'_>, x: Value, ty: Type) -> Value {
    if b.func.dfg.value_type(x) == ty { x } else { bytes(b, x, ty) }
}
