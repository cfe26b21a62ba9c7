//! The parser of rules; `text.rs` has the grammar. What is not bounded by the form of a text is bounded here.

use super::algebra::Algebra;
use super::attributes::AttributeFunction;
use super::conditions::Condition;
use super::text::{
    Among, Exactness, Left, LeftAttributes, Parsed, Right, RightAttributes, RuleError, operator,
    operator_words,
};
use super::tokens::{Token, tokens};
use crate::near::hint;
use twnc_ir::text::AttributeList;
use twnc_ir::{Attributes, Binary, CustomCall, CustomRegistry};

/// The most bytes of a text.
const MOST_BYTES: usize = 1 << 20;
/// The most rules of a text: each is evaluated before it is applied, and applied to all of a network.
const MOST_RULES: usize = 256;
/// The most words and signs of a rule; how deeply a sum of coefficients nests follows from it.
const MOST_TOKENS: usize = 1000;
/// The most variables of a rule.
const MOST_VARIABLES: usize = 32;

/// The rules of a text, which may use these custom operators. The names in `taken` are those of other rules.
pub(crate) fn parse(text: &str, registry: &CustomRegistry, taken: &[&str]) -> Result<Vec<Parsed>, RuleError> {
    if text.len() > MOST_BYTES {
        let message = format!("{} bytes of rules; at most {MOST_BYTES} are read", text.len());
        return Err(RuleError { line: 1, column: 1, message });
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, variables: vec![], registry, start: 0 };
    let mut rules: Vec<Parsed> = vec![];
    while parser.peek() != "" {
        let place = parser.at;
        let rule = parser.rule()?;
        let error = |message: String| Err(parser.error_at(place + 1, message));
        if taken.contains(&rule.name.as_str()) {
            return error(format!(
                "there is a built-in rule `{}` already; give yours another name",
                rule.name
            ));
        }
        if let Some(other) = rules.iter().find(|other| other.name == rule.name) {
            let line = other.place.0;
            return error(format!(
                "there are two rules `{}`, the first in line {line}; rename one",
                rule.name
            ));
        }
        if rules.len() == MOST_RULES {
            return error(format!(
                "more than {MOST_RULES} rules; divide the file, and compile with the part that matters"
            ));
        }
        rules.push(rule);
    }
    Ok(rules)
}

/// A left side by itself, and its variables.
pub(crate) fn parse_left(text: &str) -> Result<(Left, Vec<String>), RuleError> {
    let tokens = tokens(text)?;
    let registry = CustomRegistry::default();
    let mut parser = Parser { tokens: &tokens, at: 0, variables: vec![], registry: &registry, start: 0 };
    let left = parser.left(0)?;
    Ok((left, parser.variables))
}

/// How deeply the sides of a rule may nest.
const MOST_NESTING: usize = 32;

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    /// Their names; attributes that are written out have a variable without a name.
    variables: Vec<String>,
    registry: &'a CustomRegistry,
    /// Where the rule starts.
    start: usize,
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
        self.start = self.at;
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
                self.bounded()?;
                conditions.push(self.condition()?);
                if !self.take(",") {
                    break;
                }
            }
        }
        if let Some(unbound) = self.variables.get(known) {
            let here = self.tokens[from..self.at].iter().position(|token| token.text == *unbound);
            let bound = self.variables[..known].iter().map(String::as_str);
            let message = format!("{unbound} is not on the left side{}", hint(unbound, bound));
            return Err(self.error_at(from + here.unwrap_or(0), message));
        }
        let words: Vec<&str> = self.tokens[from..self.at].iter().map(|token| token.text.as_str()).collect();
        let exactness = Exactness { exact, numbers_only };
        let variables = self.variables.clone();
        let place = (self.tokens[self.start].line, self.tokens[self.start].column);
        Ok(Parsed { name, place, exactness, equation: spaced(&words), variables, left, right, conditions })
    }

    fn variable(&mut self) -> Result<u32, RuleError> {
        if !self.peek().starts_with('?') {
            return Err(self.expected("a variable"));
        }
        if self.peek() == "?" {
            return Err(self.expected("a variable, `?` and a name"));
        }
        let place = self.variables.iter().position(|known| *known == self.peek());
        match place {
            Some(place) => {
                self.next();
                Ok(place as u32)
            }
            None if self.variables.len() >= MOST_VARIABLES => {
                Err(self.error_at(self.at, format!("a rule has at most {MOST_VARIABLES} variables")))
            }
            None => {
                let name = self.next();
                Ok(self.new_variable(name))
            }
        }
    }

    fn new_variable(&mut self, name: String) -> u32 {
        self.variables.push(name);
        self.variables.len() as u32 - 1
    }

    fn deeper(&self, depth: usize) -> Result<usize, RuleError> {
        let message = || format!("a rule nests at most {MOST_NESTING} deep; divide it");
        if depth < MOST_NESTING { Ok(depth + 1) } else { Err(self.error_at(self.at, message())) }
    }

    /// Refuses a rule that is too long; every loop over a part of one asks.
    fn bounded(&self) -> Result<(), RuleError> {
        match self.at - self.start <= MOST_TOKENS {
            true => Ok(()),
            false => {
                let message = format!("a rule has at most {MOST_TOKENS} words and signs; divide it");
                Err(self.error_at(self.start, message))
            }
        }
    }

    fn left(&mut self, depth: usize) -> Result<Left, RuleError> {
        let depth = self.deeper(depth)?;
        if self.peek().starts_with('?') {
            return self.variable().map(Left::Variable);
        }
        let (word, has_attributes) = self.operator()?;
        let attributes = match (word, has_attributes) {
            ("custom", _) => Some(self.left_call()?),
            (_, true) => Some(self.left_attributes(word)?),
            (_, false) => None,
        };
        let operands = self.list(|parser| parser.left(depth))?;
        self.arity(word, operands.len())?;
        Ok(Left::Apply { word, attributes, operands })
    }

    fn left_attributes(&mut self, word: &str) -> Result<LeftAttributes, RuleError> {
        if let Some(list) = self.written(word)? {
            return Ok(LeftAttributes {
                variable: self.new_variable(String::new()),
                among: Among::These(list),
            });
        }
        self.sign("{")?;
        let variable = self.variable()?;
        self.sign("}")?;
        Ok(LeftAttributes { variable, among: Among::All })
    }

    fn left_call(&mut self) -> Result<LeftAttributes, RuleError> {
        let call = self.call()?;
        if self.take("{") {
            let variable = self.variable()?;
            self.sign("}")?;
            return Ok(LeftAttributes { variable, among: Among::AllOf(call) });
        }
        let call = self.with_attributes(call)?;
        Ok(LeftAttributes { variable: self.new_variable(String::new()), among: Among::Call(call) })
    }

    /// The name of a custom operator, as a use of it without attributes.
    fn call(&mut self) -> Result<CustomCall, RuleError> {
        let Some(name) = self.tokens.get(self.at).and_then(Token::quoted) else {
            return Err(self.expected("the quoted name of a custom operator"));
        };
        let Some(operator) = self.registry.get(name) else {
            let near = hint(name, self.registry.names());
            let message = format!(
                "the custom operator `{name}` is not registered{near}: nothing here can evaluate it; a program that registers it \
                 compiles with the rule, and checks it"
            );
            return Err(self.error_at(self.at, message));
        };
        let operator = operator.clone();
        self.next();
        Ok(CustomCall { operator, attributes: Attributes::new() })
    }

    /// A use with the attributes that are written out next, if any are.
    fn with_attributes(&mut self, call: CustomCall) -> Result<CustomCall, RuleError> {
        let place = self.at;
        let Some(list) = self.attribute_list()? else { return Ok(call) };
        let attributes = list.custom().map_err(|message| self.error_at(place, message))?;
        Ok(CustomCall { attributes, ..call })
    }

    /// The attributes that are written out next, if any are.
    fn attribute_list(&mut self) -> Result<Option<AttributeList>, RuleError> {
        let Some(token) = self.tokens.get(self.at) else { return Ok(None) };
        let Some(text) = token.attributes() else { return Ok(None) };
        let list = AttributeList::parse(text).map_err(|e| RuleError {
            line: token.line + e.line - 1,
            column: if e.line == 1 { token.column + e.column - 1 } else { e.column },
            message: e.message,
        })?;
        self.next();
        Ok(Some(list))
    }

    /// The same for an operator of the closed set, which must have such attributes.
    fn written(&mut self, word: &str) -> Result<Option<AttributeList>, RuleError> {
        let place = self.at;
        let list = self.attribute_list()?;
        if let Some(list) = &list {
            list.operator(word, 4).map_err(|message| self.error_at(place, format!("`{word}`: {message}")))?;
        }
        Ok(list)
    }

    fn operator(&mut self) -> Result<(&'static str, bool), RuleError> {
        let place = self.at;
        let word = self.word("an operator or a variable")?;
        operator(&word).ok_or_else(|| {
            self.error_at(place, format!("there is no operator `{word}`{}", hint(&word, operator_words())))
        })
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
            self.bounded()?;
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
        let attributes = match (word, has_attributes) {
            ("custom", _) => Some(self.right_call()?),
            (_, true) => Some(self.right_attributes(word)?),
            (_, false) => None,
        };
        let operands = self.list(|parser| parser.right(depth))?;
        self.arity(word, operands.len())?;
        Ok(Right::Apply { word, attributes, operands })
    }

    fn right_attributes(&mut self, word: &str) -> Result<RightAttributes, RuleError> {
        if let Some(list) = self.written(word)? {
            return Ok(RightAttributes::Written(list));
        }
        self.sign("{")?;
        let attributes = match self.peek().starts_with('?') {
            true => RightAttributes::Variable(self.variable()?),
            false => {
                let place = self.at;
                let function = self.word("a variable, `NAME=`, or a function of attributes")?;
                let known = AttributeFunction::named(&function).ok_or_else(|| {
                    let near = hint(&function, AttributeFunction::words());
                    self.error_at(place, format!("there is no function `{function}` of attributes{near}"))
                })?;
                RightAttributes::Computed(known, self.list(Parser::variable)?)
            }
        };
        self.sign("}")?;
        Ok(attributes)
    }

    fn right_call(&mut self) -> Result<RightAttributes, RuleError> {
        let call = self.call()?;
        if self.take("{") {
            let variable = self.variable()?;
            self.sign("}")?;
            return Ok(RightAttributes::VariableOf(call, variable));
        }
        self.with_attributes(call).map(RightAttributes::Call)
    }

    fn number(&mut self, depth: usize) -> Result<Algebra, RuleError> {
        let mut sum = self.product(depth)?;
        loop {
            self.bounded()?;
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
            self.bounded()?;
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
        let condition = Condition::named(&word).ok_or_else(|| {
            self.error_at(place, format!("there is no condition `{word}`{}", hint(&word, Condition::words())))
        })?;
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
        let tight =
            ["(", "{"].contains(&before) || ["(", ")", "{", "}", ","].contains(word) || word.starts_with('{');
        let operator = ["=>", "if", "+", "-", "*", "/"].contains(&before) && *word == "(";
        if i > 0 && (!tight || operator) {
            text.push(' ');
        }
        text.push_str(word);
    }
    text
}
