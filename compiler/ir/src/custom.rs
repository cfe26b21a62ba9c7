//! Operators that extensions bring.
//!
//! An extension implements [`CustomOperator`] and registers it under `domain::name` in a [`CustomRegistry`]; the importer and
//! the text parser look it up there. An operator that [decomposes](CustomOperator::decompose) into the closed set
//! needs nothing more; any other becomes a call of a function that the application registers with the runtime.

use crate::graph::ValueId;
use crate::rewrite::Rewriter;
use crate::tensor::Tensor;
use crate::types::TensorType;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What an attribute of a custom operator holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f32),
    /// A text.
    String(String),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// Numbers.
    Floats(Vec<f32>),
}

/// Attributes by name.
pub type Attributes = BTreeMap<String, Attribute>;

/// The definition of an operator outside the closed set. Errors are sentences for the user.
pub trait CustomOperator: Send + Sync {
    /// `domain::name`, for instance `com.example::swish`.
    fn name(&self) -> &str;

    /// The types of its results.
    fn infer(&self, attributes: &Attributes, operands: &[&TensorType]) -> Result<Vec<TensorType>, String>;

    /// Its results, by definition; the oracle for whatever computes it.
    fn evaluate(&self, attributes: &Attributes, operands: &[Tensor]) -> Result<Vec<Tensor>, String>;

    /// Writes it in operators of the closed set and returns values for its results, or `None` to leave it as a call.
    fn decompose(
        &self,
        _attributes: &Attributes,
        _operands: &[ValueId],
        _rewriter: &mut Rewriter<'_>,
    ) -> Option<Vec<ValueId>> {
        None
    }
}

/// A use of a custom operator in a graph.
#[derive(Clone)]
pub struct CustomCall {
    /// Its definition.
    pub operator: Arc<dyn CustomOperator>,
    /// Its attributes.
    pub attributes: Attributes,
}

/// The custom operators that an application knows, by `domain::name`.
#[derive(Clone, Default)]
pub struct CustomRegistry(BTreeMap<String, Arc<dyn CustomOperator>>);

impl CustomRegistry {
    /// Adds an operator, in the place of one of the same name.
    pub fn register(&mut self, operator: Arc<dyn CustomOperator>) {
        self.0.insert(operator.name().to_owned(), operator);
    }

    /// The operator of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn CustomOperator>> {
        self.0.get(name)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl PartialEq for CustomCall {
    fn eq(&self, other: &CustomCall) -> bool {
        self.operator.name() == other.operator.name() && self.attributes == other.attributes
    }
}

impl fmt::Debug for CustomCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CustomCall({}, {:?})", self.operator.name(), self.attributes)
    }
}

impl fmt::Debug for CustomRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
