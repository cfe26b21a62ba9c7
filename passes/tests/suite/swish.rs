//! A custom operator for tests, which decomposes in every way in which one may.

use std::sync::Arc;
use twnc_ir::{
    Attributes, Binary, CustomCall, CustomOperator, Op, Rewriter, Tensor, TensorType, Unary, ValueId, eval,
};

/// `x·sigmoid(x)`, in one of the ways in which an extension may decompose.
pub enum Swish {
    /// Into the closed set.
    Closed,
    /// Into `relu` of an operator that decomposes into the closed set.
    Nested,
    /// Into itself, without end.
    Endless,
    /// Into two values.
    TooMany,
    /// Not at all.
    Opaque,
}

impl CustomOperator for Swish {
    fn name(&self) -> &str {
        if matches!(self, Swish::Opaque) { "com.example::opaque" } else { "com.example::swish" }
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
        attributes: &Attributes,
        operands: &[ValueId],
        rewriter: &mut Rewriter<'_>,
    ) -> Option<Vec<ValueId>> {
        let x = *operands.first()?;
        let call = |operator: Swish| {
            Op::Custom(CustomCall { operator: Arc::new(operator), attributes: attributes.clone() })
        };
        match self {
            Swish::Closed => {
                let sigmoid = rewriter.insert(Op::Unary(Unary::Sigmoid), &[x], "").ok()?;
                Some(vec![rewriter.insert(Op::Binary(Binary::Mul), &[x, sigmoid], "").ok()?])
            }
            Swish::Nested => Some(vec![rewriter.insert(call(Swish::Closed), &[x], "").ok()?]),
            Swish::Endless => Some(vec![rewriter.insert(call(Swish::Endless), &[x], "").ok()?]),
            Swish::TooMany => Some(vec![x, x]),
            Swish::Opaque => None,
        }
    }
}
