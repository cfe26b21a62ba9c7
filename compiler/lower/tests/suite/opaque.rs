//! A custom operator that does not decompose: `com.example::split` halves a vector, with any attributes.

use std::sync::Arc;
use twnc_ir::{Attributes, CustomOperator, CustomRegistry, Dim, Graph, Tensor, TensorType, text};

struct Split;

impl CustomOperator for Split {
    fn name(&self) -> &str {
        "com.example::split"
    }

    fn infer(&self, _: &Attributes, operands: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        match operands.first().map(|ty| ty.shape.as_slice()) {
            Some([n]) => Ok(vec![TensorType::f32(vec![n.clone()]), TensorType::f32(vec![Dim::from(1)])]),
            _ => Err("it takes a vector".to_owned()),
        }
    }

    fn evaluate(&self, _: &Attributes, _: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Err("lowering evaluates nothing".to_owned())
    }
}

/// Reads a graph that may call the operator.
pub fn parse(source: &str) -> Graph {
    let mut registry = CustomRegistry::default();
    registry.register(Arc::new(Split));
    text::parse(source, &registry).unwrap()
}
