//! A text of rules as words and signs, each with its place.
//!
//! Attributes that are written out, `{kernel=[2,2]}`, are one token from brace to brace: what stands between is in the syntax of a graph's text.

use super::text::RuleError;

/// A word, a sign, or attributes.
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Token {
    /// What stands between the quotes of a name.
    pub(super) fn quoted(&self) -> Option<&str> {
        self.text.strip_prefix('"')?.strip_suffix('"')
    }

    /// Attributes that are written out, with their braces.
    pub(super) fn attributes(&self) -> Option<&str> {
        (self.text.len() > 1 && self.text.starts_with('{')).then_some(&*self.text)
    }
}

/// The tokens of a text, and an empty one at its end.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, RuleError> {
    let characters: Vec<char> = text.chars().collect();
    let (mut tokens, mut at, mut line, mut column) = (vec![], 0, 1, 1);
    while at < characters.len() {
        let rest = &characters[at..];
        let error = |message: String| RuleError { line, column, message };
        let (length, is_token) = match rest[0] {
            '#' => (rest.iter().take_while(|&&c| c != '\n').count(), false),
            c if c.is_whitespace() => (1, false),
            '?' => (1 + word(&rest[1..]), true),
            '"' => (
                quoted(rest).ok_or_else(|| error("a quoted name does not end on its line".to_owned()))?,
                true,
            ),
            '{' if begins_attributes(&rest[1..]) => {
                let end = braced(rest).ok_or_else(|| error("these attributes have no `}`".to_owned()))?;
                (end, true)
            }
            '=' if rest.get(1) == Some(&'>') => (2, true),
            '(' | ')' | '{' | '}' | ',' | ':' | '+' | '-' | '*' | '/' => (1, true),
            c if is_word(c) => (word(rest), true),
            c => return Err(error(format!("`{c}` is part of no rule"))),
        };
        if is_token {
            tokens.push(Token { text: without_comments(&rest[..length]), line, column });
        }
        for c in &rest[..length] {
            (line, column) = if *c == '\n' { (line + 1, 1) } else { (line, column + 1) };
        }
        at += length;
    }
    tokens.push(Token { text: String::new(), line, column });
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn word(characters: &[char]) -> usize {
    characters.iter().take_while(|c| is_word(**c)).count()
}

/// The length of a quoted name, with its quotes.
fn quoted(characters: &[char]) -> Option<usize> {
    let mut escaped = false;
    for (i, &c) in characters.iter().enumerate().skip(1) {
        match c {
            '\n' => return None,
            '"' if !escaped => return Some(i + 1),
            _ => escaped = c == '\\' && !escaped,
        }
    }
    None
}

/// Whether what follows a brace is a name and `=`, or the brace that ends it.
fn begins_attributes(characters: &[char]) -> bool {
    let blank = |characters: &[char]| characters.iter().take_while(|c| c.is_whitespace()).count();
    let rest = &characters[blank(characters)..];
    let name = match rest.first() {
        Some('}') => return true,
        Some('"') => quoted(rest).unwrap_or(0),
        _ => word(rest),
    };
    let rest = &rest[name..];
    name > 0 && matches!(rest[blank(rest)..], ['=', ref behind @ ..] if behind.first() != Some(&'>'))
}

/// The length of attributes with their braces.
fn braced(characters: &[char]) -> Option<usize> {
    let mut at = 0;
    while at < characters.len() {
        at += match characters[at] {
            '}' => return Some(at + 1),
            '"' => quoted(&characters[at..])?,
            '#' => characters[at..].iter().take_while(|&&c| c != '\n').count(),
            _ => 1,
        };
    }
    None
}

/// A text with blanks in the place of comments, which a graph's text writes otherwise.
fn without_comments(characters: &[char]) -> String {
    let (mut text, mut at) = (String::with_capacity(characters.len()), 0);
    while at < characters.len() {
        let (length, is_comment) = match characters[at] {
            '"' => (quoted(&characters[at..]).unwrap_or(1), false),
            '#' => (characters[at..].iter().take_while(|&&c| c != '\n').count(), true),
            _ => (1, false),
        };
        let part = &characters[at..at + length];
        text.extend(part.iter().map(|&c| if is_comment { ' ' } else { c }));
        at += length;
    }
    text
}
