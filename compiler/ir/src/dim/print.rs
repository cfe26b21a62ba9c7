//! Dimensions to text; `text` parses what is printed here to the same dimension.

use super::{Atom, Dim, Repr};
use std::fmt;

impl fmt::Display for Dim {
    /// As the text form writes it: `N`, `2*N*H+1`, `(H+1)/2`, `min(H,7)`; `/` rounds down.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repr::Open(p) = &self.0 else {
            return write!(f, "{}", self.as_fixed().unwrap_or(0));
        };
        for (i, (factors, &c)) in p.terms.iter().enumerate() {
            let sign = if c == i64::MIN && i > 0 {
                "+-" // its digits are no number without their sign
            } else if c < 0 {
                "-"
            } else if i > 0 {
                "+"
            } else {
                ""
            };
            f.write_str(sign)?;
            if c.unsigned_abs() != 1 {
                write!(f, "{}*", c.unsigned_abs())?;
            }
            for (j, atom) in factors.iter().enumerate() {
                if j > 0 {
                    f.write_str("*")?;
                }
                let alone = p.terms.len() == 1 && factors.len() == 1 && p.constant == 0 && c == 1;
                match atom {
                    Atom::Symbol(name) => write_name(f, name)?,
                    Atom::FloorDiv(a, b) if alone => write!(f, "({a})/({b})")?,
                    Atom::FloorDiv(a, b) => write!(f, "(({a})/({b}))")?,
                    Atom::Min(a, b) => write!(f, "min({a},{b})")?,
                    Atom::Max(a, b) => write!(f, "max({a},{b})")?,
                }
            }
        }
        match p.constant {
            0 => Ok(()),
            i64::MIN => write!(f, "+{}", i64::MIN),
            c => write!(f, "{c:+}"),
        }
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A name bare where it is an identifier (and no word of the grammar), quoted otherwise.
fn write_name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    if is_word(name) && !["min", "max", "inf", "NaN"].contains(&name) {
        f.write_str(name)
    } else {
        write!(f, "{name:?}")
    }
}

/// Whether a name is an identifier, which the text form does not quote.
pub(crate) fn is_word(name: &str) -> bool {
    let start = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    start && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
