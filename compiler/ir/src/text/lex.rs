//! Text to tokens, with their places.

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// An identifier.
    Word(String),
    /// Digits, perhaps with a point or exponent: as written.
    Number(String),
    /// A quoted text, unescaped.
    Text(String),
    /// `%7`.
    Value(u32),
    /// `#` and 16 hexadecimal digits.
    Digest(u64),
    /// A sign of punctuation, or `->`.
    Sign(&'static str),
    /// The end.
    End,
}

/// Where a token starts: line and column, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

const SIGNS: [&str; 15] = ["->", "(", ")", "{", "}", "[", "]", ",", ":", "=", "+", "-", "*", "/", "?"];

/// Splits a text; the error is a message at a place.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, Place)>, (String, Place)> {
    let mut tokens = vec![];
    for (number, line) in text.lines().enumerate() {
        // Columns are counted as the line is eaten: a line may hold the weights of a whole layer.
        let (mut rest, mut column) = (line, 1);
        loop {
            let trimmed = rest.trim_start();
            column += rest[..rest.len() - trimmed.len()].chars().count();
            rest = trimmed;
            let place = Place { line: number + 1, column };
            if rest.is_empty() || rest.starts_with("//") {
                break;
            }
            let (token, length) = token(rest).map_err(|message| (message, place))?;
            tokens.push((token, place));
            column += rest[..length].chars().count();
            rest = &rest[length..];
        }
    }
    let end = Place { line: text.lines().count().max(1), column: 1 };
    tokens.push((Token::End, end));
    Ok(tokens)
}

/// The token at the start of a text that is not empty, and its length in bytes.
fn token(text: &str) -> Result<(Token, usize), String> {
    let run = |from: usize, accept: fn(char) -> bool| {
        from + text[from..].find(|c| !accept(c)).unwrap_or(text.len() - from)
    };
    let first = text.chars().next().unwrap_or(' ');
    match first {
        '"' => quoted(text),
        '%' => {
            let end = run(1, |c| c.is_ascii_digit());
            let number = text[1..end].parse().map_err(|_| "a value is % and a number".to_owned())?;
            Ok((Token::Value(number), end))
        }
        '#' => {
            let end = run(1, |c| c.is_ascii_hexdigit());
            let digest = u64::from_str_radix(&text[1..end], 16);
            Ok((
                Token::Digest(
                    digest.map_err(|_| "a digest is # and up to 16 hexadecimal digits".to_owned())?,
                ),
                end,
            ))
        }
        c if c.is_ascii_digit() => {
            let mut end = run(0, |c| c.is_ascii_digit());
            if text[end..].starts_with('.') {
                end = run(end + 1, |c| c.is_ascii_digit());
            }
            if let Some(exponent) = text[end..].strip_prefix(['e', 'E']) {
                let signed = usize::from(exponent.starts_with(['+', '-']));
                end = run(end + 1 + signed, |c| c.is_ascii_digit());
            }
            Ok((Token::Number(text[..end].to_owned()), end))
        }
        c if c.is_ascii_alphabetic() || c == '_' => {
            let end = run(0, |c| c.is_ascii_alphanumeric() || c == '_');
            Ok((Token::Word(text[..end].to_owned()), end))
        }
        c => match SIGNS.iter().find(|sign| text.starts_with(**sign)) {
            Some(sign) => Ok((Token::Sign(sign), sign.len())),
            None => Err(format!("`{c}` starts nothing")),
        },
    }
}

/// A quoted text with Rust's escapes.
fn quoted(text: &str) -> Result<(Token, usize), String> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Text(value), at + 1)),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('r') => value.push('\r'),
                Some('0') => value.push('\0'),
                Some(c @ ('\\' | '"' | '\'')) => value.push(c),
                Some('u') => {
                    let code: String = chars.by_ref().map(|(_, c)| c).take_while(|&c| c != '}').collect();
                    let digits = code.strip_prefix('{').unwrap_or_default();
                    let c = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
                    value.push(c.ok_or_else(|| format!("\\u{code}}} is no character"))?);
                }
                _ => return Err("an unknown escape in a quoted text".into()),
            },
            c => value.push(c),
        }
    }
    Err("a quoted text does not end on its line".into())
}
