//! Sizes and the values of attributes: the part of the grammar that nests.
//!
//! Every nesting counts one level, up to [`MAX_NESTING`], so that no text exhausts the stack. Whatever prints reads back: an
//! expression is no heavier than [`MAX_WEIGHT`], and each of its functions prints with at most two levels of parentheses.

use super::attributes::Value;
use super::cursor::{Cursor, Parsed, error};
use super::lex::Token;
use crate::dim::{Dim, MAX_WEIGHT};

/// How deeply expressions and lists may nest: what the deepest expression needs, inside a list.
const MAX_NESTING: usize = 2 * MAX_WEIGHT + 4;

impl Cursor<'_> {
    /// The value of an attribute: a list, a float, a quoted text, or an expression.
    pub(super) fn attribute(&mut self) -> Parsed<Value> {
        self.attribute_at(0)
    }

    /// A sum of products.
    pub(super) fn dim(&mut self) -> Parsed<Dim> {
        self.dim_at(0)
    }

    fn attribute_at(&mut self, depth: usize) -> Parsed<Value> {
        self.bounded(depth)?;
        if self.take("[") {
            let mut values = vec![];
            while !self.take("]") {
                values.push(self.attribute_at(depth + 1)?);
                self.separator("]")?;
            }
            return Ok(Value::List(values));
        }
        if matches!((self.peek(), self.peek_at(1)), (Token::Word(word), Token::Sign("[")) if word == "f32") {
            self.skip();
            self.sign("[")?;
            self.sign("]")?;
            return Ok(Value::NoFloats);
        }
        if let Some(x) = self.float()? {
            return Ok(Value::Float(x));
        }
        if let (Token::Text(text), Token::Sign("," | "]" | "}")) = (self.peek(), self.peek_at(1)) {
            self.skip();
            return Ok(Value::Text(text.clone()));
        }
        self.dim_at(depth + 1).map(Value::Dim)
    }

    /// A number that is not whole, perhaps with a sign, if one is next.
    fn float(&mut self) -> Parsed<Option<f32>> {
        let negative = usize::from(matches!(self.peek(), Token::Sign("-")));
        let text = match self.peek_at(negative) {
            Token::Number(text) if text.contains(['.', 'e', 'E']) => text,
            Token::Word(word) if word == "inf" || word == "NaN" => word,
            _ => return Ok(None),
        };
        (0..negative).for_each(|_| self.skip());
        let x: f32 = text.parse().map_err(|_| error(self.place(), format!("`{text}` is no number")))?;
        self.skip();
        Ok(Some(if negative == 1 { -x } else { x }))
    }

    fn dim_at(&mut self, depth: usize) -> Parsed<Dim> {
        self.bounded(depth)?;
        let place = self.place();
        let too_large = || error(place, "an expression is too large");
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
        let too_large =
            || error(place, "an expression is too large, or divides by something that is not positive");
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
        let place = self.place();
        let mut negative = false;
        while self.take("-") {
            negative = !negative;
        }
        // The smallest number has no positive counterpart: a sign belongs to its digits.
        if let Token::Number(digits) = self.peek() {
            let sign = if negative { "-" } else { "" };
            let n = format!("{sign}{digits}").parse();
            let n = n.map_err(|_| error(place, format!("`{digits}` is no whole number of 64 bits")))?;
            self.skip();
            return Ok(Dim::fixed(n));
        }
        let factor = self.unsigned(depth)?;
        let signed = if negative { Dim::fixed(0).checked_sub(&factor) } else { Some(factor) };
        signed.ok_or_else(|| error(place, "a number is too large"))
    }

    fn unsigned(&mut self, depth: usize) -> Parsed<Dim> {
        let place = self.place();
        if self.take("(") {
            let dim = self.dim_at(depth + 1)?;
            self.sign(")")?;
            return Ok(dim);
        }
        let (Token::Word(name) | Token::Text(name)) = self.peek() else {
            return Err(self.expected("a size"));
        };
        let smaller = matches!(self.peek(), Token::Word(word) if word == "min");
        let larger = matches!(self.peek(), Token::Word(word) if word == "max");
        self.skip();
        if !smaller && !larger {
            return Ok(Dim::symbol(name));
        }
        self.sign("(")?;
        let a = self.dim_at(depth + 1)?;
        self.sign(",")?;
        let b = self.dim_at(depth + 1)?;
        self.sign(")")?;
        let dim = if smaller { a.minimum(&b) } else { a.maximum(&b) };
        dim.ok_or_else(|| error(place, "an expression is too large"))
    }

    fn bounded(&self, depth: usize) -> Parsed<()> {
        match depth <= MAX_NESTING {
            true => Ok(()),
            false => Err(error(self.place(), format!("nested more than {MAX_NESTING} deep"))),
        }
    }
}
