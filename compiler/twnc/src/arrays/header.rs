//! The header of a `.npy` array: what of it is let through to the parser.
//!
//! A header is a literal of Python. The parser takes any of them, for nested ones in time that doubles with each bracket, allocates as much as the
//! header says that it is long, and multiplies its sizes. What passes here is short, nests nothing, and has fewer than 2^64 elements.

use std::io::{self, Read};

/// The longest header of an array, in bytes: numpy's own limit.
const MAX_HEADER_BYTES: usize = 10_000;

/// The same bytes, if their header is that of a plain array.
pub(super) fn checked(mut reader: impl Read) -> io::Result<impl Read> {
    let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    let mut start = [0; 12];
    reader.read_exact(&mut start[..10])?;
    // Version 1 has two bytes of length, all others four.
    let count = if start[6] == 1 { 10 } else { 12 };
    reader.read_exact(&mut start[10..count])?;
    if !start.starts_with(b"\x93NUMPY") {
        return Err(invalid("it does not begin as a .npy file does".into()));
    }
    let length = start[8..count].iter().rev().fold(0, |length, &byte| length << 8 | usize::from(byte));
    if length > MAX_HEADER_BYTES {
        return Err(invalid(format!("its header has {length} bytes; at most {MAX_HEADER_BYTES} are read")));
    }
    let mut header = vec![0; length];
    reader.read_exact(&mut header)?;
    Literal(&header).plain_array().map_err(|why| invalid(why.into()))?;
    Ok(io::Cursor::new(start).take(count as u64).chain(io::Cursor::new(header)).chain(reader))
}

/// What is left of a header.
struct Literal<'a>(&'a [u8]);

/// Why a header is not let through.
type Refusal = &'static str;

const NOT_PLAIN: Refusal =
    "its header is not a dictionary of `descr`, `fortran_order` and `shape`, each once";

impl<'a> Literal<'a> {
    /// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, in any order.
    fn plain_array(&mut self) -> Result<(), Refusal> {
        let mut seen = Vec::new();
        self.list([b'{', b'}'], |literal| {
            let key = literal.string()?;
            if seen.contains(&key) || !literal.eat(b':') {
                return Err(NOT_PLAIN);
            }
            seen.push(key);
            match key {
                b"descr" if literal.eat(b'[') => Err("records are not supported; save a plain array"),
                b"descr" => literal.string().map(drop),
                b"fortran_order" => match literal.word() {
                    b"True" | b"False" => Ok(()),
                    _ => Err(NOT_PLAIN),
                },
                b"shape" => literal.shape(),
                _ => Err(NOT_PLAIN),
            }
        })?;
        self.blanks();
        if self.0.is_empty() && seen.len() == 3 { Ok(()) } else { Err(NOT_PLAIN) }
    }

    /// Sizes, 0 counting as 1 for their product: no part of it may overflow.
    fn shape(&mut self) -> Result<(), Refusal> {
        let mut product = 1u64;
        self.list([b'(', b')'], |literal| {
            // Python 2 wrote a letter behind long ones.
            let word = literal.word();
            let digits = word.strip_suffix(b"L").unwrap_or(word);
            let size = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u64>().ok());
            let size = size.filter(|_| digits.iter().all(u8::is_ascii_digit));
            let size = size.ok_or("its shape is beyond 64 bits, or has a size that is no decimal number")?;
            product = product.checked_mul(size.max(1)).ok_or("its shape is beyond 64 bits")?;
            Ok(())
        })
    }

    /// Items between brackets, with commas between them and maybe one behind the last.
    fn list(
        &mut self,
        [open, close]: [u8; 2],
        mut item: impl FnMut(&mut Self) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut more = self.eat(open);
        if !more {
            return Err(NOT_PLAIN);
        }
        while !self.eat(close) {
            if !more {
                return Err(NOT_PLAIN);
            }
            item(self)?;
            more = self.eat(b',');
        }
        Ok(())
    }

    fn string(&mut self) -> Result<&'a [u8], Refusal> {
        let quote = [b'\'', b'"'].into_iter().find(|&quote| self.eat(quote)).ok_or(NOT_PLAIN)?;
        let end = self.0.iter().position(|&byte| byte == quote || byte == b'\\');
        let (text, rest) = self.0.split_at(end.ok_or(NOT_PLAIN)?);
        self.0 = rest;
        if self.eat(quote) { Ok(text) } else { Err(NOT_PLAIN) }
    }

    /// Letters, digits and underscores; none, if something else is next.
    fn word(&mut self) -> &'a [u8] {
        self.blanks();
        let end = self
            .0
            .iter()
            .position(|&byte| !byte.is_ascii_alphanumeric() && byte != b'_')
            .unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.blanks();
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn blanks(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }
}

#[cfg(test)]
mod tests {
    use super::{Literal, NOT_PLAIN};

    fn of(header: &str) -> Result<(), &'static str> {
        Literal(header.as_bytes()).plain_array()
    }

    #[test]
    fn plain_headers_pass() {
        for header in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }            \n",
            "{'descr': '|b1', 'fortran_order': True, 'shape': (5,), }\n",
            "{'shape': (), 'fortran_order': False, 'descr': '<i8'}\n",
            "{\"descr\":\"<f8\",\"fortran_order\":False,\"shape\":(3L,0L)}",
        ] {
            assert_eq!(of(header), Ok(()), "{header}");
        }
    }

    #[test]
    fn whatever_else_is_said_does_not() {
        let nested = |open: &str| format!("{{'descr': '<f4', 'fortran_order': {}", open.repeat(40));
        for header in [
            "",
            "{",
            "{}",
            "()",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)} 1",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3),, }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2 3)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': 3}",
            "{'descr': '<f\\'4', 'fortran_order': False, 'shape': (3,)}",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (3,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), 'more': 1}",
            &nested("{"),
            &nested("("),
            &nested("["),
        ] {
            assert_eq!(of(header), Err(NOT_PLAIN), "{header}");
        }
        let shape =
            |shape: &str| of(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape},)}}"));
        for wrong in
            ["-1", "1_000", "0x10", "1e3", "18446744073709551616", "4294967296, 4294967296", "+1", "L"]
        {
            assert!(shape(wrong).is_err_and(|why| why.starts_with("its shape")), "{wrong}");
        }
        let records = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,)}";
        assert!(of(records).is_err_and(|why| why.starts_with("records")));
    }
}
