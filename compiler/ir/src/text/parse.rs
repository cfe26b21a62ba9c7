//! Text to graphs.
//!
//! A value is defined before it is used, as it is when printed. Types are those of the text, and must be consistent with inference. Nothing is
//! allocated by a number in the text alone.

use super::SMALL;
use super::attributes::{self, Value};
use super::cursor::{Cursor, ParseError, Parsed, error};
use super::lex::{self, Place, Token};
use crate::custom::CustomRegistry;
use crate::graph::{Graph, ValueId};
use crate::infer;
use crate::op::Op;
use crate::tensor::{Data, Tensor};
use crate::types::{ElementType, TensorType};
use std::collections::BTreeSet;

/// Gives the constants that a text holds only the digest of: by name, type and digest.
pub type Constants<'a> = &'a dyn Fn(&str, &TensorType, u64) -> Option<Tensor>;

/// The graph of a text that holds all its constants in full.
pub fn parse(text: &str, registry: &CustomRegistry) -> Result<Graph, ParseError> {
    parse_with(text, registry, &|_, _, _| None)
}

/// The graph of a text, with the constants that it holds only the digest of.
pub fn parse_with(
    text: &str,
    registry: &CustomRegistry,
    constants: Constants<'_>,
) -> Result<Graph, ParseError> {
    let tokens = lex::tokens(text).map_err(|(message, place)| error(place, message))?;
    Parser { tokens: Cursor::new(&tokens), registry, constants, graph: Graph::default() }.graph()
}

struct Parser<'a> {
    tokens: Cursor<'a>,
    registry: &'a CustomRegistry,
    constants: Constants<'a>,
    graph: Graph,
}

impl Parser<'_> {
    fn graph(mut self) -> Parsed<Graph> {
        self.tokens.word("graph")?;
        let name = self.tokens.text()?;
        self.graph.set_name(name);
        self.tokens.sign("(")?;
        while !self.tokens.take(")") {
            let value = self.new_value()?;
            let name = self.tokens.text()?;
            self.tokens.sign(":")?;
            let ty = self.ty()?;
            self.graph.place_input(value, name, ty);
            self.tokens.separator(")")?;
        }
        self.tokens.sign("->")?;
        self.tokens.sign("(")?;
        let mut outputs = vec![];
        while !self.tokens.take(")") {
            let (place, value) = (self.tokens.place(), self.tokens.value()?);
            outputs.push((place, value, self.tokens.text()?));
            self.tokens.separator(")")?;
        }
        self.tokens.sign("{")?;
        while !self.tokens.take("}") {
            self.node()?;
        }
        if *self.tokens.peek() != Token::End {
            return Err(self.tokens.expected("the end"));
        }
        for (place, value, name) in outputs {
            self.defined(value, place)?;
            self.graph.push_output(name, value);
        }
        Ok(self.graph)
    }

    fn node(&mut self) -> Parsed<()> {
        let place = self.tokens.place();
        let mut results = vec![self.new_value()?];
        let mut distinct = BTreeSet::from([results[0]]);
        while self.tokens.take(",") {
            let value = self.new_value()?;
            if !distinct.insert(value) {
                return Err(error(place, format!("{value} is defined twice")));
            }
            results.push(value);
        }
        self.tokens.sign("=")?;
        let word = self.tokens.any_word("an operator")?;
        if word == "const" {
            return self.constant(place, &results);
        }
        let custom = if word == "custom" { Some(self.tokens.text()?) } else { None };
        self.tokens.sign("(")?;
        let mut operands = vec![];
        while !self.tokens.take(")") {
            let place = self.tokens.place();
            let value = self.tokens.value()?;
            self.defined(value, place)?;
            operands.push(value);
            self.tokens.separator(")")?;
        }
        let named = self.tokens.attribute_list()?.0;
        let name = self.tokens.optional_text().unwrap_or_default();
        self.tokens.sign(":")?;
        let mut types = vec![self.ty()?];
        while self.tokens.take(",") {
            types.push(self.ty()?);
        }
        let rank = operands.first().map_or(0, |&v| self.graph.ty(v).rank());
        let op = match custom {
            Some(custom) => attributes::custom(custom, named, self.registry),
            None => attributes::operator(word, named, rank),
        };
        let op = op.map_err(|message| error(place, message))?;
        let operand_types: Vec<_> = operands.iter().map(|&v| self.graph.ty(v)).collect();
        let inferred = infer(&op, &operand_types).map_err(|e| error(place, e.to_string()))?;
        let fits = inferred.len() == types.len()
            && inferred.iter().zip(&types).all(|(a, b)| a.is_consistent_with(b));
        if !fits || types.len() != results.len() {
            let show =
                |types: &[TensorType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let message = format!(
                "the result of `{word}` is {}, but the text declares {}",
                show(&inferred),
                show(&types)
            );
            return Err(error(place, message));
        }
        self.graph.place_node(op, &operands, name, results.into_iter().zip(types).collect());
        Ok(())
    }

    fn constant(&mut self, place: Place, results: &[ValueId]) -> Parsed<()> {
        let &[result] = results else { return Err(error(place, "a constant is one value")) };
        let ty = self.ty()?;
        let name = self.tokens.optional_text().unwrap_or_default();
        let tensor = match self.tokens.peek().clone() {
            Token::Digest(digest) => {
                self.tokens.skip();
                (self.constants)(name, &ty, digest).filter(|t| t.ty() == ty && t.digest() == digest).ok_or_else(|| {
                    let message = format!("the elements of `{name}` are not in the text (constants of more than {SMALL} elements print as their digest); print the graph in full");
                    error(place, message)
                })?
            }
            _ => self.elements(&ty)?,
        };
        let ty = tensor.ty();
        self.graph.place_node(Op::Constant(tensor), &[], name, vec![(result, ty)]);
        Ok(())
    }

    fn elements(&mut self, ty: &TensorType) -> Parsed<Tensor> {
        let place = self.tokens.place();
        let shape = ty.fixed_shape().ok_or_else(|| error(place, "a constant has no open sizes"))?;
        let Value::List(values) = self.tokens.attribute()? else {
            return Err(error(place, "expected a list of elements"));
        };
        let wrong = |value: &Value| error(place, format!("{value} is no element of {}", ty.element));
        macro_rules! integers {
            ($variant:ident, $t:ty) => {{
                let read =
                    |v: &Value| v.integer().and_then(|n| <$t>::try_from(n).ok()).ok_or_else(|| wrong(v));
                Data::$variant(values.iter().map(read).collect::<Parsed<Vec<_>>>()?.into())
            }};
        }
        let data = match ty.element {
            ElementType::F32 => {
                let read = |v: &Value| v.float().ok_or_else(|| wrong(v));
                Data::F32(values.iter().map(read).collect::<Parsed<Vec<_>>>()?.into())
            }
            ElementType::I8 => integers!(I8, i8),
            ElementType::U8 => integers!(U8, u8),
            ElementType::I16 => integers!(I16, i16),
            ElementType::I32 => integers!(I32, i32),
            ElementType::I64 => integers!(I64, i64),
            ElementType::Ternary => integers!(Ternary, i8),
            ElementType::Bool => {
                let read = |v: &Value| match v.word().as_deref() {
                    Some("true") => Ok(true),
                    Some("false") => Ok(false),
                    _ => Err(wrong(v)),
                };
                Data::Bool(values.iter().map(read).collect::<Parsed<Vec<_>>>()?.into())
            }
        };
        Tensor::new(shape, data).map_err(|e| error(place, e.to_string()))
    }

    fn ty(&mut self) -> Parsed<TensorType> {
        let place = self.tokens.place();
        let word = self.tokens.any_word("a type")?;
        let element =
            attributes::element(word).ok_or_else(|| error(place, format!("there is no type `{word}`")))?;
        self.tokens.sign("[")?;
        let mut shape = vec![];
        while !self.tokens.take("]") {
            shape.push(self.tokens.dim()?);
            self.tokens.separator("]")?;
        }
        Ok(TensorType::new(element, shape))
    }

    /// The number of a value that is not defined yet.
    fn new_value(&mut self) -> Parsed<ValueId> {
        let place = self.tokens.place();
        let value = self.tokens.value()?;
        match self.graph.get_value(value) {
            Some(_) => Err(error(place, format!("{value} is defined twice"))),
            None => Ok(value),
        }
    }

    fn defined(&self, value: ValueId, place: Place) -> Parsed<()> {
        match self.graph.get_value(value) {
            Some(_) => Ok(()),
            None => Err(error(place, format!("{value} is not defined before it is used"))),
        }
    }
}
