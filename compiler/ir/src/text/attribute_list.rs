//! The attributes of an operator by themselves, as a graph's text has them: `{kernel=[2,2], strides=[2,2]}`.

use super::attributes::{self, Value};
use super::cursor::{Cursor, ParseError, Parsed, error};
use super::lex::{self, Token};
use crate::custom::Attributes;
use crate::op::Op;
use std::collections::BTreeMap;

/// Attributes by name, of no operator yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttributeList(pub(super) BTreeMap<String, Value>);

impl AttributeList {
    /// The attributes of a text that begins and ends with braces.
    pub fn parse(text: &str) -> Result<AttributeList, ParseError> {
        let tokens = lex::tokens(text).map_err(|(message, place)| error(place, message))?;
        let mut cursor = Cursor::new(&tokens);
        let list = cursor.attribute_list()?;
        match cursor.peek() {
            Token::End => Ok(list),
            _ => Err(cursor.expected("the end")),
        }
    }

    /// The operator of a word with these attributes; windows that are not given have their defaults over the spatial axes of an operand of
    /// this rank. The error is a sentence.
    pub fn operator(&self, word: &str, rank: usize) -> Result<Op, String> {
        attributes::operator(word, self.0.clone(), rank)
    }

    /// As attributes of a custom operator. The error is a sentence.
    pub fn custom(&self) -> Result<Attributes, String> {
        attributes::of_custom(self.0.clone())
    }

    /// Whether an operator of the closed set has just these attributes; those that are not given have their defaults.
    pub fn is_of(&self, op: &Op) -> bool {
        let spatial = match op {
            Op::Conv(conv) => conv.geometry.rank(),
            Op::MaxPool(pool) | Op::AveragePool { pool, .. } => pool.geometry.rank(),
            _ => 0,
        };
        self.operator(op.mnemonic(), spatial + 2).as_ref() == Ok(op)
    }
}

impl Cursor<'_> {
    /// Names and values between braces, if there are any.
    pub(super) fn attribute_list(&mut self) -> Parsed<AttributeList> {
        let mut named = BTreeMap::new();
        if self.take("{") {
            while !self.take("}") {
                let place = self.place();
                let quoted = self.optional_text();
                let name = quoted.map_or_else(|| self.any_word("an attribute"), Ok)?;
                self.sign("=")?;
                let value = self.attribute()?;
                if named.insert(name.to_owned(), value).is_some() {
                    return Err(error(place, format!("attribute `{name}` is given twice")));
                }
                self.separator("}")?;
            }
        }
        Ok(AttributeList(named))
    }
}
