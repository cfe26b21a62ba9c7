//! A place in a text that moves on as tokens are taken, and the errors that name it.

use super::MAX_VALUE;
use super::lex::{Place, Token};
use crate::graph::ValueId;
use thiserror::Error;

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

pub(super) type Parsed<T> = Result<T, ParseError>;

/// What is left of a text.
pub(super) struct Cursor<'a> {
    tokens: &'a [(Token, Place)],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The whole text. The last token is the end.
    pub(super) fn new(tokens: &'a [(Token, Place)]) -> Cursor<'a> {
        Cursor { tokens, at: 0 }
    }

    /// The next token.
    pub(super) fn peek(&self) -> &'a Token {
        self.peek_at(0)
    }

    /// The token that stands `ahead` tokens behind the next.
    pub(super) fn peek_at(&self, ahead: usize) -> &'a Token {
        self.tokens.get(self.at + ahead).map_or(&Token::End, |(token, _)| token)
    }

    /// Takes the next token, whatever it is.
    pub(super) fn skip(&mut self) {
        self.at += 1;
    }

    /// Where the next token starts.
    pub(super) fn place(&self) -> Place {
        let last = self.tokens.last().map_or(Place { line: 1, column: 1 }, |(_, place)| *place);
        self.tokens.get(self.at).map_or(last, |(_, place)| *place)
    }

    /// Takes a sign if it is next.
    pub(super) fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(s) if *s == sign);
        self.at += usize::from(found);
        found
    }

    /// Takes a sign that must be next.
    pub(super) fn sign(&mut self, sign: &'static str) -> Parsed<()> {
        match self.take(sign) {
            true => Ok(()),
            false => Err(self.expected(&format!("`{sign}`"))),
        }
    }

    /// Takes a comma, unless the list is at its end.
    pub(super) fn separator(&mut self, end: &'static str) -> Parsed<()> {
        match self.take(",") || matches!(self.peek(), Token::Sign(sign) if *sign == end) {
            true => Ok(()),
            false => Err(self.expected(&format!("`,` or `{end}`"))),
        }
    }

    /// Takes this word, which must be next.
    pub(super) fn word(&mut self, word: &str) -> Parsed<()> {
        match self.peek() {
            Token::Word(found) if found == word => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.expected(&format!("`{word}`"))),
        }
    }

    /// Takes a word, which must be next.
    pub(super) fn any_word(&mut self, what: &str) -> Parsed<&'a str> {
        match self.peek() {
            Token::Word(word) => {
                self.at += 1;
                Ok(word)
            }
            _ => Err(self.expected(what)),
        }
    }

    /// Takes a quoted text, which must be next.
    pub(super) fn text(&mut self) -> Parsed<&'a str> {
        self.optional_text().ok_or_else(|| self.expected("a quoted name"))
    }

    /// Takes a quoted text if it is next.
    pub(super) fn optional_text(&mut self) -> Option<&'a str> {
        match self.peek() {
            Token::Text(text) => {
                self.at += 1;
                Some(text)
            }
            _ => None,
        }
    }

    /// Takes the number of a value, which must be next.
    pub(super) fn value(&mut self) -> Parsed<ValueId> {
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

    /// The error that something else should be next.
    pub(super) fn expected(&self, what: &str) -> ParseError {
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

/// An error at a place.
pub(super) fn error(place: Place, message: impl Into<String>) -> ParseError {
    ParseError { line: place.line, column: place.column, message: message.into() }
}
