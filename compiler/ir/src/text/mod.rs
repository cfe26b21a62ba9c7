//! `twir`, the text form of a graph: printed and parsed. `docs/ir.md` has the grammar.
//!
//! [`print()`] and [`parse()`] are inverse: values keep their numbers, so that printing what was parsed gives the same text. Constants of more than
//! [`SMALL`] elements print as name, type and digest; such a text is parsed against the constants that it stands for
//! ([`parse_with`]), or printed in full ([`print_full`]). NaN prints as `NaN`, whatever its payload.

mod attribute_list;
mod attributes;
mod cursor;
mod expression;
mod lex;
mod parse;
mod print;

pub use attribute_list::AttributeList;
pub use cursor::ParseError;
pub use parse::{Constants, parse, parse_with};
pub use print::{print, print_full};

/// The largest number of elements of a constant that is printed in full.
pub const SMALL: usize = 16;

/// Above the number of every value in a text: half of all numbers, so that passes have the others.
const MAX_VALUE: u32 = 1 << 31;
