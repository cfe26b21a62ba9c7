//! Products of matrices.

use super::super::call::{Call, Reason, Translated, one};
use super::{Operator, operator};
use twnc_ir::{Binary, Dim, Op, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("Gemm", 6, (2, 3), "transpose, matmul, mul, add", gemm),
    operator("MatMul", 1, (2, 2), "matmul, reshape", matmul),
];

fn gemm(call: &mut Call<'_, '_>) -> Translated {
    one(affine(call)?)
}

/// Operands: a, b and c of `alpha·a·b + beta·c`.
pub(super) fn affine(call: &mut Call<'_, '_>) -> Result<ValueId, Reason> {
    let alpha = call.attributes.float("alpha")?.unwrap_or(1.0);
    let beta = call.attributes.float("beta")?.unwrap_or(1.0);
    let (trans_a, trans_b) = (call.attributes.flag("transA", false)?, call.attributes.flag("transB", false)?);
    if call.opset < 7 {
        // A bias that must not broadcast has the product's shape anyhow.
        call.attributes.ignore(&["broadcast"]);
    }
    let a = if trans_a { call.transposed_matrix(0)? } else { call.value(0)? };
    let b = if trans_b { call.transposed_matrix(1)? } else { call.value(1)? };
    if call.ty(a).rank() != 2 || call.ty(b).rank() != 2 {
        return Err(Reason::new(format!(
            "multiplies matrices; the operands are {} and {}",
            call.ty(a),
            call.ty(b)
        )));
    }
    let mut y = call.op(Op::MatMul, &[a, b])?;
    if alpha != 1.0 {
        y = call.with_scalar(Binary::Mul, y, alpha)?;
    }
    let Some(mut c) = call.optional(2)? else { return Ok(y) };
    let shape = call.shape(y);
    if beta != 1.0 {
        c = call.with_scalar(Binary::Mul, c, beta)?;
    }
    let y = call.binary(Binary::Add, y, c)?;
    if call.ty(y).rank() != 2 || !call.shape(y).iter().zip(&shape).all(|(a, b)| a.may_equal(b)) {
        return Err(Reason::new(format!("operand 2 is {}; it must broadcast to the product", call.ty(c))));
    }
    Ok(y)
}

/// A vector on the left is a row, on the right a column; the axis that this adds is taken off the product.
fn matmul(call: &mut Call<'_, '_>) -> Translated {
    let (mut a, mut b) = (call.value(0)?, call.value(1)?);
    let (row, column) = (call.ty(a).rank() == 1, call.ty(b).rank() == 1);
    if row {
        let shape = [vec![Dim::from(1)], call.shape(a)].concat();
        a = call.reshape(a, shape)?;
    }
    if column {
        let shape = [call.shape(b), vec![Dim::from(1)]].concat();
        b = call.reshape(b, shape)?;
    }
    let y = call.op(Op::MatMul, &[a, b])?;
    let mut shape = call.shape(y);
    if column {
        shape.pop();
    }
    if row {
        shape.remove(shape.len() - usize::from(!column) - 1);
    }
    one(call.reshape(y, shape)?)
}
