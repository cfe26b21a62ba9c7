//! `twir`, the text form of a graph: printed and parsed. `docs/ir.md` has the grammar.
//!
//! [`print()`] and [`parse()`] are inverse: values keep their numbers, so that printing what was parsed gives the same text. Constants of more than
//! [`SMALL`] elements print as name, type and digest; such a text is parsed against the constants that it stands for
//! ([`parse_with`]), or printed in full ([`print_full`]). NaN prints as `NaN`, whatever its payload.

mod attributes;
mod lex;
mod parse;
mod print;

pub use parse::{Constants, ParseError, parse, parse_with};
pub use print::{print, print_full};

/// The largest number of elements of a constant that is printed in full.
pub const SMALL: usize = 16;

/// The largest number of a value, and of a value's axes, in a text; what a text can make the parser allocate.
const MAX_VALUE: u32 = 1 << 20;
