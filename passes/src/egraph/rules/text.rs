//! The text of rules: `rule NAME (EXACTNESS): LEFT => RIGHT if CONDITION, ...`.
//!
//! The grammar, with `x*` for any number, `x?` for at most one, and lists with commas between:
//!
//! ```text
//! rules      = rule*
//! rule       = "rule" word "(" ("exact" | "reassociation") ("," "numbers")? ")" ":" left "=>" right ("if" condition*)?
//! left       = variable | operator attributes? "(" left* ")"
//! right      = variable | operator attributes? "(" right* ")" | number
//! attributes = "{" (variable | word "(" variable* ")") "}"
//! number     = product (("+" | "-") product)*          of coefficients
//! product    = factor (("*" | "/") factor)*
//! factor     = variable | integer | "-" factor | "(" number ")" | word "(" number* ")"
//! condition  = word "(" variable* ")"
//! variable   = "?" word
//! ```
//!
//! `#` starts a comment. The words are those of `algebra.rs` and `conditions.rs`.

use super::algebra::{Algebra, AttributeFunction, Condition};
use std::fmt;
use thiserror::Error;
use twnc_ir::Binary;

/// Why a text holds no rules.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {message}")]
pub struct RuleError {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// How closely the sides of a rule agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exactness {
    /// Whether they agree to the bit; else, up to float reassociation.
    pub exact: bool,
    /// Whether they agree for finite numbers only, and may differ beside NaN and infinities.
    pub numbers_only: bool,
}

impl fmt::Display for Exactness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.exact { "exact" } else { "reassociation" })?;
        f.write_str(if self.numbers_only { ", numbers" } else { "" })
    }
}

/// A rule as its text says it. Variables are numbers: places in `variables`.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub(crate) name: String,
    pub(crate) exactness: Exactness,
    /// From `LEFT` on, with blanks as single ones.
    pub(crate) equation: String,
    pub(crate) variables: Vec<String>,
    pub(crate) left: Left,
    pub(crate) right: Right,
    pub(crate) conditions: Vec<(Condition, Vec<u32>)>,
}

/// A left side.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Left {
    Variable(u32),
    Apply { word: &'static str, attributes: Option<u32>, operands: Vec<Left> },
}

/// A right side.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Right {
    Variable(u32),
    Apply { word: &'static str, attributes: Option<RightAttributes>, operands: Vec<Right> },
    Number(Algebra),
}

/// The attributes of an operator on a right side.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RightAttributes {
    Variable(u32),
    Computed(AttributeFunction, Vec<u32>),
}

/// Operators whose nodes have attributes.
const WITH_ATTRIBUTES: [&str; 22] = [
    "conv",
    "leaky_relu",
    "clip",
    "hard_sigmoid",
    "batch_norm",
    "max_pool",
    "average_pool",
    "softmax",
    "reshape",
    "transpose",
    "concat",
    "slice",
    "pad",
    "broadcast",
    "gather",
    "cast",
    "quantize",
    "reduce_sum",
    "reduce_mean",
    "reduce_max",
    "reduce_min",
    "custom",
];

/// The operator of this word, and whether its nodes have attributes.
pub(crate) fn operator(word: &str) -> Option<(&'static str, bool)> {
    if let Some(known) = WITH_ATTRIBUTES.iter().find(|known| **known == word) {
        return Some((known, true));
    }
    crate::egraph::facts::plain(word).map(|op| (op.mnemonic(), false))
}

/// The rules of a text.
pub(crate) fn parse(text: &str) -> Result<Vec<Parsed>, RuleError> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, variables: vec![] };
    let mut rules: Vec<Parsed> = vec![];
    while parser.peek() != "" {
        let place = parser.at;
        let rule = parser.rule()?;
        if rules.iter().any(|other| other.name == rule.name) {
            return Err(parser.error_at(place, format!("there are two rules `{}`", rule.name)));
        }
        rules.push(rule);
    }
    Ok(rules)
}

/// A left side by itself, and its variables.
pub(crate) fn parse_left(text: &str) -> Result<(Left, Vec<String>), RuleError> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, variables: vec![] };
    let left = parser.left(0)?;
    Ok((left, parser.variables))
}

struct Token {
    text: String,
    line: usize,
    column: usize,
}

fn tokens(text: &str) -> Result<Vec<Token>, RuleError> {
    let mut tokens = vec![];
    for (number, line) in text.lines().enumerate() {
        let characters: Vec<char> = line.chars().collect();
        let mut at = 0;
        while let Some(&c) = characters.get(at) {
            if c == '#' {
                break;
            }
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let length = match c {
                _ if c.is_whitespace() => 0,
                '?' => 1 + characters[at + 1..].iter().take_while(|c| word(**c)).count(),
                _ if word(c) => characters[at..].iter().take_while(|c| word(**c)).count(),
                '=' if characters.get(at + 1) == Some(&'>') => 2,
                '(' | ')' | '{' | '}' | ',' | ':' | '+' | '-' | '*' | '/' => 1,
                _ => {
                    let (line, column) = (number + 1, at + 1);
                    return Err(RuleError { line, column, message: format!("`{c}` is part of no rule") });
                }
            };
            if length > 0 {
                let text = characters[at..at + length].iter().collect();
                tokens.push(Token { text, line: number + 1, column: at + 1 });
            }
            at += length.max(1);
        }
    }
    tokens.push(Token { text: String::new(), line: text.lines().count().max(1), column: 1 });
    Ok(tokens)
}

/// How deeply the sides of a rule may nest.
const MOST_NESTING: usize = 32;

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    variables: Vec<String>,
}

impl Parser<'_> {
    fn peek(&self) -> &str {
        self.tokens.get(self.at).map_or("", |token| &token.text)
    }

    fn next(&mut self) -> String {
        let text = self.peek().to_owned();
        self.at += usize::from(self.at + 1 < self.tokens.len());
        text
    }

    fn error_at(&self, at: usize, message: impl Into<String>) -> RuleError {
        let token = &self.tokens[at.min(self.tokens.len() - 1)];
        RuleError { line: token.line, column: token.column, message: message.into() }
    }

    fn expected(&self, what: &str) -> RuleError {
        let found = match self.peek() {
            "" => "the end".to_owned(),
            text => format!("`{text}`"),
        };
        self.error_at(self.at, format!("expected {what}, found {found}"))
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.peek() == text;
        if found {
            self.next();
        }
        found
    }

    fn sign(&mut self, text: &str) -> Result<(), RuleError> {
        if self.take(text) { Ok(()) } else { Err(self.expected(&format!("`{text}`"))) }
    }

    fn word(&mut self, what: &str) -> Result<String, RuleError> {
        let is_word = |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic());
        if is_word(self.peek()) { Ok(self.next()) } else { Err(self.expected(what)) }
    }

    fn rule(&mut self) -> Result<Parsed, RuleError> {
        self.variables.clear();
        self.sign("rule")?;
        let name = self.word("the name of the rule")?;
        self.sign("(")?;
        let exact = match self.next().as_str() {
            "exact" => true,
            "reassociation" => false,
            _ => return Err(self.error_at(self.at - 1, "expected `exact` or `reassociation`")),
        };
        let numbers_only = self.take(",");
        if numbers_only {
            self.sign("numbers")?;
        }
        self.sign(")")?;
        self.sign(":")?;
        let from = self.at;
        let left = self.left(0)?;
        if let Left::Variable(_) = left {
            return Err(self.error_at(from, "the left side is an operator"));
        }
        let known = self.variables.len();
        self.sign("=>")?;
        let right = self.right(0)?;
        let mut conditions = vec![];
        if self.take("if") {
            loop {
                conditions.push(self.condition()?);
                if !self.take(",") {
                    break;
                }
            }
        }
        if let Some(unbound) = self.variables.get(known) {
            return Err(self.error_at(from, format!("{unbound} is not on the left side")));
        }
        let words: Vec<&str> = self.tokens[from..self.at].iter().map(|token| token.text.as_str()).collect();
        let exactness = Exactness { exact, numbers_only };
        let variables = self.variables.clone();
        Ok(Parsed { name, exactness, equation: spaced(&words), variables, left, right, conditions })
    }

    fn variable(&mut self) -> Result<u32, RuleError> {
        if !self.peek().starts_with('?') {
            return Err(self.expected("a variable"));
        }
        let name = self.next();
        let place = self.variables.iter().position(|known| *known == name);
        if place.is_none() {
            self.variables.push(name);
        }
        Ok(place.unwrap_or(self.variables.len() - 1) as u32)
    }

    fn deeper(&self, depth: usize) -> Result<usize, RuleError> {
        if depth < MOST_NESTING { Ok(depth + 1) } else { Err(self.expected("less nesting")) }
    }

    fn left(&mut self, depth: usize) -> Result<Left, RuleError> {
        let depth = self.deeper(depth)?;
        if self.peek().starts_with('?') {
            return self.variable().map(Left::Variable);
        }
        let (word, has_attributes) = self.operator()?;
        let mut attributes = None;
        if has_attributes {
            self.sign("{")?;
            attributes = Some(self.variable()?);
            self.sign("}")?;
        }
        let operands = self.list(|parser| parser.left(depth))?;
        self.arity(word, operands.len())?;
        Ok(Left::Apply { word, attributes, operands })
    }

    fn operator(&mut self) -> Result<(&'static str, bool), RuleError> {
        let place = self.at;
        let word = self.word("an operator or a variable")?;
        operator(&word).ok_or_else(|| self.error_at(place, format!("there is no operator `{word}`")))
    }

    fn arity(&self, word: &str, found: usize) -> Result<(), RuleError> {
        let fits = match word {
            "concat" | "custom" => found > 0,
            "conv" | "matmul" | "gather" => found == 2,
            "batch_norm" => found == 5,
            _ if Binary::ALL.iter().any(|f| f.mnemonic() == word) => found == 2,
            _ => found == 1,
        };
        if fits {
            Ok(())
        } else {
            Err(self.error_at(self.at - 1, format!("`{word}` has not {found} operands")))
        }
    }

    fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, RuleError>,
    ) -> Result<Vec<T>, RuleError> {
        self.sign("(")?;
        let mut items = vec![];
        while !self.take(")") {
            if !items.is_empty() {
                self.sign(",")?;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn right(&mut self, depth: usize) -> Result<Right, RuleError> {
        let depth = self.deeper(depth)?;
        let number = match self.peek() {
            text if text.starts_with('?') => {
                let behind = self.tokens.get(self.at + 1).map_or("", |token| &token.text);
                ["+", "-", "*", "/"].contains(&behind)
            }
            word => operator(word).is_none(),
        };
        if number {
            return self.number(depth).map(Right::Number);
        }
        if self.peek().starts_with('?') {
            return self.variable().map(Right::Variable);
        }
        let (word, has_attributes) = self.operator()?;
        let mut attributes = None;
        if has_attributes {
            self.sign("{")?;
            attributes = Some(match self.peek().starts_with('?') {
                true => RightAttributes::Variable(self.variable()?),
                false => {
                    let place = self.at;
                    let function = self.word("a variable or a function of attributes")?;
                    let known = AttributeFunction::named(&function).ok_or_else(|| {
                        self.error_at(place, format!("there is no function `{function}` of attributes"))
                    })?;
                    RightAttributes::Computed(known, self.list(Parser::variable)?)
                }
            });
            self.sign("}")?;
        }
        let operands = self.list(|parser| parser.right(depth))?;
        self.arity(word, operands.len())?;
        Ok(Right::Apply { word, attributes, operands })
    }

    fn number(&mut self, depth: usize) -> Result<Algebra, RuleError> {
        let mut sum = self.product(depth)?;
        loop {
            let negative = self.peek() == "-";
            if !self.take("+") && !self.take("-") {
                return Ok(sum);
            }
            let next = self.product(depth)?;
            let next = if negative { Algebra::times(Algebra::Whole(-1), next) } else { next };
            sum = Algebra::Plus(Box::new(sum), Box::new(next));
        }
    }

    fn product(&mut self, depth: usize) -> Result<Algebra, RuleError> {
        let mut product = self.factor(depth)?;
        loop {
            if self.take("*") {
                product = Algebra::times(product, self.factor(depth)?);
            } else if self.take("/") {
                product = Algebra::Over(Box::new(product), Box::new(self.factor(depth)?));
            } else {
                return Ok(product);
            }
        }
    }

    fn factor(&mut self, depth: usize) -> Result<Algebra, RuleError> {
        let depth = self.deeper(depth)?;
        if self.take("-") {
            return Ok(Algebra::times(Algebra::Whole(-1), self.factor(depth)?));
        }
        if self.take("(") {
            let number = self.number(depth)?;
            self.sign(")")?;
            return Ok(number);
        }
        if self.peek().starts_with('?') {
            return self.variable().map(Algebra::Variable);
        }
        if let Ok(whole) = self.peek().parse::<i32>() {
            self.next();
            return Ok(Algebra::Whole(whole));
        }
        let place = self.at;
        let word = self.word("a coefficient")?;
        let operands = self.list(|parser| parser.number(depth))?;
        Algebra::function(&word, operands).map_err(|message| self.error_at(place, message))
    }

    fn condition(&mut self) -> Result<(Condition, Vec<u32>), RuleError> {
        let place = self.at;
        let word = self.word("a condition")?;
        let condition = Condition::named(&word)
            .ok_or_else(|| self.error_at(place, format!("there is no condition `{word}`")))?;
        let variables = self.list(Parser::variable)?;
        match variables.len() == condition.arity() {
            true => Ok((condition, variables)),
            false => Err(self.error_at(place, format!("`{word}` is said of {}", condition.arity()))),
        }
    }
}

/// Tokens as one text.
fn spaced(words: &[&str]) -> String {
    let mut text = String::new();
    for (i, word) in words.iter().enumerate() {
        let before = i.checked_sub(1).map_or("", |i| words[i]);
        let tight = ["(", "{"].contains(&before) || ["(", ")", "{", "}", ","].contains(word);
        let operator = ["=>", "if", "+", "-", "*", "/"].contains(&before) && *word == "(";
        if i > 0 && (!tight || operator) {
            text.push(' ');
        }
        text.push_str(word);
    }
    text
}
