//! Text to graphs.
//!
//! A value is defined before it is used, as it is when printed. Types are those of the text, and must be consistent with inference. Nothing is
//! allocated by a number in the text alone, and expressions nest up to a bound.

use super::attributes::{self, Value};
use super::lex::{self, Place, Token};
use super::{MAX_VALUE, SMALL};
use crate::custom::CustomRegistry;
use crate::dim::Dim;
use crate::graph::{Graph, ValueId};
use crate::infer;
use crate::op::Op;
use crate::tensor::{Data, Tensor};
use crate::types::{ElementType, TensorType};
use std::collections::BTreeMap;
use thiserror::Error;

/// How deeply expressions and lists may nest.
const MAX_NESTING: usize = 64;

/// Why a text is no graph.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{line}:{column}: {message}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

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
    Parser { tokens: &tokens, at: 0, registry, constants, graph: Graph::default() }.graph()
}

struct Parser<'a> {
    tokens: &'a [(Token, Place)],
    at: usize,
    registry: &'a CustomRegistry,
    constants: Constants<'a>,
    graph: Graph,
}

type Parsed<T> = Result<T, ParseError>;

impl Parser<'_> {
    fn graph(mut self) -> Parsed<Graph> {
        self.word("graph")?;
        let name = self.text()?;
        self.graph.set_name(&name);
        self.sign("(")?;
        while !self.take(")") {
            let value = self.new_value()?;
            let name = self.text()?;
            self.sign(":")?;
            let ty = self.ty()?;
            self.graph.place_input(value, &name, ty);
            self.separator(")")?;
        }
        self.sign("->")?;
        self.sign("(")?;
        let mut outputs = vec![];
        while !self.take(")") {
            let (place, value) = (self.place(), self.value_number()?);
            outputs.push((place, value, self.text()?));
            self.separator(")")?;
        }
        self.sign("{")?;
        while !self.take("}") {
            self.node()?;
        }
        if *self.peek() != Token::End {
            return Err(self.expected("the end"));
        }
        for (place, value, name) in outputs {
            self.defined(value, place)?;
            self.graph.push_output(&name, value);
        }
        Ok(self.graph)
    }

    fn node(&mut self) -> Parsed<()> {
        let place = self.place();
        let mut results = vec![self.new_value()?];
        while self.take(",") {
            let value = self.new_value()?;
            if results.contains(&value) {
                return Err(error(place, format!("{value} is defined twice")));
            }
            results.push(value);
        }
        self.sign("=")?;
        let word = self.any_word("an operator")?;
        if word == "const" {
            return self.constant(place, &results);
        }
        let custom = if word == "custom" { Some(self.text()?) } else { None };
        self.sign("(")?;
        let mut operands = vec![];
        while !self.take(")") {
            let place = self.place();
            let value = self.value_number()?;
            self.defined(value, place)?;
            operands.push(value);
            self.separator(")")?;
        }
        let mut named = BTreeMap::new();
        if self.take("{") {
            while !self.take("}") {
                let place = self.place();
                let name = self.any_word("an attribute")?;
                self.sign("=")?;
                let value = self.attribute(0)?;
                if named.insert(name.clone(), value).is_some() {
                    return Err(error(place, format!("attribute `{name}` is given twice")));
                }
                self.separator("}")?;
            }
        }
        let name = self.optional_text();
        self.sign(":")?;
        let mut types = vec![self.ty()?];
        while self.take(",") {
            types.push(self.ty()?);
        }
        let rank = operands.first().map_or(0, |&v| self.graph.ty(v).rank());
        let op = match custom {
            Some(custom) => attributes::custom(&custom, named, self.registry),
            None => attributes::operator(&word, named, rank),
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
        self.graph.place_node(op, &operands, &name, results.into_iter().zip(types).collect());
        Ok(())
    }

    fn constant(&mut self, place: Place, results: &[ValueId]) -> Parsed<()> {
        let &[result] = results else { return Err(error(place, "a constant is one value".into())) };
        let ty = self.ty()?;
        let name = self.optional_text();
        let tensor = match self.peek().clone() {
            Token::Digest(digest) => {
                self.at += 1;
                (self.constants)(&name, &ty, digest).filter(|t| t.ty() == ty && t.digest() == digest).ok_or_else(|| {
                    let message = format!("the elements of `{name}` are not in the text (constants of more than {SMALL} elements print as their digest); print the graph in full");
                    error(place, message)
                })?
            }
            _ => self.elements(&ty)?,
        };
        let ty = tensor.ty();
        self.graph.place_node(Op::Constant(tensor), &[], &name, vec![(result, ty)]);
        Ok(())
    }

    fn elements(&mut self, ty: &TensorType) -> Parsed<Tensor> {
        let place = self.place();
        let shape = ty.fixed_shape().ok_or_else(|| error(place, "a constant has no open sizes".into()))?;
        let Value::List(values) = self.attribute(0)? else {
            return Err(error(place, "expected a list of elements".into()));
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
        let place = self.place();
        let word = self.any_word("a type")?;
        let element =
            attributes::element(&word).ok_or_else(|| error(place, format!("there is no type `{word}`")))?;
        self.sign("[")?;
        let mut shape = vec![];
        while !self.take("]") {
            shape.push(self.dim(0)?);
            self.separator("]")?;
        }
        Ok(TensorType::new(element, shape))
    }

    /// The value of an attribute: a list, a float, a quoted text, or an expression.
    fn attribute(&mut self, depth: usize) -> Parsed<Value> {
        self.bounded(depth)?;
        if self.take("[") {
            let mut values = vec![];
            while !self.take("]") {
                values.push(self.attribute(depth + 1)?);
                self.separator("]")?;
            }
            return Ok(Value::List(values));
        }
        let start = self.at;
        let negative = self.take("-");
        if let Some(x) = self.float()? {
            return Ok(Value::Float(if negative { -x } else { x }));
        }
        self.at = start;
        let bare = match self.peek() {
            Token::Text(text) => Some(text.clone()),
            _ => None,
        };
        let dim = self.dim(depth + 1)?;
        Ok(match bare.filter(|_| self.at == start + 1) {
            Some(text) => Value::Text(text),
            None => Value::Dim(dim),
        })
    }

    /// A number that is not whole, if one is next.
    fn float(&mut self) -> Parsed<Option<f32>> {
        let text = match self.peek() {
            Token::Number(text) if text.contains(['.', 'e', 'E']) => text.clone(),
            Token::Word(word) if word == "inf" || word == "NaN" => word.clone(),
            _ => return Ok(None),
        };
        let x = text.parse().map_err(|_| error(self.place(), format!("`{text}` is no number")))?;
        self.at += 1;
        Ok(Some(x))
    }

    /// A sum of products.
    fn dim(&mut self, depth: usize) -> Parsed<Dim> {
        self.bounded(depth)?;
        let place = self.place();
        let too_large = || error(place, "an expression is too large".into());
        let mut sum = self.product(depth)?;
        loop {
            if self.take("+") {
                sum = sum.checked_add(&self.product(depth)?).ok_or_else(too_large)?;
            } else if self.take("-") {
                sum = sum.checked_sub(&self.product(depth)?).ok_or_else(too_large)?;
            } else {
                return Ok(sum);
            }
        }
    }

    fn product(&mut self, depth: usize) -> Parsed<Dim> {
        let place = self.place();
        let too_large = || {
            error(place, "an expression is too large, or divides by something that is not positive".into())
        };
        let mut product = self.factor(depth)?;
        loop {
            if self.take("*") {
                product = product.checked_mul(&self.factor(depth)?).ok_or_else(too_large)?;
            } else if self.take("/") {
                product = product.floor_div(&self.factor(depth)?).ok_or_else(too_large)?;
            } else {
                return Ok(product);
            }
        }
    }

    fn factor(&mut self, depth: usize) -> Parsed<Dim> {
        self.bounded(depth)?;
        let place = self.place();
        if self.take("(") {
            let dim = self.dim(depth + 1)?;
            self.sign(")")?;
            return Ok(dim);
        }
        if self.take("-") {
            // The smallest number has no positive counterpart: the sign belongs to the digits.
            if let Token::Number(text) = self.peek()
                && let Ok(n) = format!("-{text}").parse()
            {
                self.at += 1;
                return Ok(Dim::fixed(n));
            }
            let factor = self.factor(depth + 1)?;
            return Dim::fixed(0)
                .checked_sub(&factor)
                .ok_or_else(|| error(place, "a number is too large".into()));
        }
        let token = self.peek().clone();
        self.at += 1;
        match token {
            Token::Number(text) => {
                let n = text
                    .parse()
                    .map_err(|_| error(place, format!("`{text}` is no whole number of 64 bits")))?;
                Ok(Dim::fixed(n))
            }
            Token::Word(word) if word == "min" || word == "max" => {
                self.sign("(")?;
                let a = self.dim(depth + 1)?;
                self.sign(",")?;
                let b = self.dim(depth + 1)?;
                self.sign(")")?;
                let dim = if word == "min" { a.minimum(&b) } else { a.maximum(&b) };
                dim.ok_or_else(|| error(place, "an expression is too large".into()))
            }
            Token::Word(name) | Token::Text(name) => Ok(Dim::symbol(&name)),
            _ => {
                self.at -= 1;
                Err(self.expected("a size"))
            }
        }
    }

    /// The number of a value that is not defined yet.
    fn new_value(&mut self) -> Parsed<ValueId> {
        let place = self.place();
        let value = self.value_number()?;
        match self.graph.get_value(value) {
            Some(_) => Err(error(place, format!("{value} is defined twice"))),
            None => Ok(value),
        }
    }

    fn value_number(&mut self) -> Parsed<ValueId> {
        match *self.peek() {
            Token::Value(n) if n < MAX_VALUE => {
                self.at += 1;
                Ok(ValueId(n))
            }
            Token::Value(n) => {
                Err(error(self.place(), format!("%{n} is too large; values are below %{MAX_VALUE}")))
            }
            _ => Err(self.expected("a value, as in %7")),
        }
    }

    fn defined(&self, value: ValueId, place: Place) -> Parsed<()> {
        match self.graph.get_value(value) {
            Some(_) => Ok(()),
            None => Err(error(place, format!("{value} is not defined before it is used"))),
        }
    }

    fn bounded(&self, depth: usize) -> Parsed<()> {
        match depth <= MAX_NESTING {
            true => Ok(()),
            false => Err(error(self.place(), format!("nested more than {MAX_NESTING} deep"))),
        }
    }

    fn separator(&mut self, end: &'static str) -> Parsed<()> {
        match self.take(",") || matches!(self.peek(), Token::Sign(sign) if *sign == end) {
            true => Ok(()),
            false => Err(self.expected(&format!("`,` or `{end}`"))),
        }
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(s) if *s == sign);
        self.at += usize::from(found);
        found
    }

    fn sign(&mut self, sign: &'static str) -> Parsed<()> {
        match self.take(sign) {
            true => Ok(()),
            false => Err(self.expected(&format!("`{sign}`"))),
        }
    }

    fn word(&mut self, word: &str) -> Parsed<()> {
        match self.peek() {
            Token::Word(found) if found == word => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.expected(&format!("`{word}`"))),
        }
    }

    fn any_word(&mut self, what: &str) -> Parsed<String> {
        match self.peek().clone() {
            Token::Word(word) => {
                self.at += 1;
                Ok(word)
            }
            _ => Err(self.expected(what)),
        }
    }

    fn text(&mut self) -> Parsed<String> {
        match self.peek().clone() {
            Token::Text(text) => {
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.expected("a quoted name")),
        }
    }

    fn optional_text(&mut self) -> String {
        self.text().unwrap_or_default()
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn place(&self) -> Place {
        let last = self.tokens.last().map_or(Place { line: 1, column: 1 }, |(_, place)| *place);
        self.tokens.get(self.at).map_or(last, |(_, place)| *place)
    }

    fn expected(&self, what: &str) -> ParseError {
        let found = match self.peek() {
            Token::Word(word) | Token::Number(word) => format!("`{word}`"),
            Token::Text(text) => format!("{text:?}"),
            Token::Value(n) => format!("`%{n}`"),
            Token::Digest(_) => "a digest".to_owned(),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end".to_owned(),
        };
        error(self.place(), format!("expected {what}, found {found}"))
    }
}

fn error(place: Place, message: String) -> ParseError {
    ParseError { line: place.line, column: place.column, message }
}
