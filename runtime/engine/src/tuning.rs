//! Tunings: which kernel accumulations take where measurements know better than the estimate, and the text that they are kept as.
//!
//! A choice is bound to the kind of code, the layer's work, and the words in which the kernel describes itself. One that is for something else, or
//! whose kernel this version would make differently, has no effect; none has an effect on what a model computes, beyond the order of f32
//! additions.

use crate::error::Error;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::Read as _;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;
use twnc_jit::{AccumulateSpec, Isa, PlaneSpec};
use twnc_program::step::Contraction;

/// The first line of a file.
const HEADER: &str = "twnc tuning 1";
/// What every first line begins with.
const NAME: &str = "twnc tuning ";
/// Between the fields of a line.
const BETWEEN: &str = " | ";
/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// The highest rank that a file may ask for.
const MAX_RANK: usize = 1_000_000;

/// Which kernels a session's accumulations take in the place of those with the least estimate: what
/// [`Session::tune`](crate::Session::tune) finds, and [`SessionOptions::tuning`](crate::SessionOptions::tuning) takes.
///
/// A choice is for a kind of code, a number of threads, and the work of a layer: its shapes, its window and its elements, not its weights. It
/// serves every model that has such a layer. It is right for the processor that it was measured on.
///
/// As text ([`Display`](fmt::Display), [`FromStr`], [`Tuning::read`]) it is a line `twnc tuning 1`, then a line for each choice in the order
/// of their characters: kind of code, layer, rank, and kernel, with ` | ` between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// By kind of code and layer, as they stand in a line. Equal at once where it is the same map.
    choices: Arc<BTreeMap<String, Choice>>,
}

/// What a layer takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// [`AccumulateSpec::rank`].
    pub(crate) rank: usize,
    /// How the kernel of that rank describes itself.
    pub(crate) kernel: String,
}

/// Why a text is no tuning.
#[derive(Debug, Error)]
pub enum TuningError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// The file is larger than any that is read.
    #[error("larger than the {MAX_BYTES} bytes that a tuning may have")]
    TooLarge,
    /// A line is not right.
    #[error("line {line}: {reason}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Tuning {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Tuning`] if it cannot be read, is larger than 4 MiB, or a line is not right.
    pub fn read(path: impl AsRef<Path>) -> Result<Tuning, Error> {
        let path = path.as_ref();
        Tuning::read_file(path).map_err(|source| Error::Tuning { path: path.display().to_string(), source })
    }

    /// The number of choices.
    pub fn len(&self) -> usize {
        self.choices.len()
    }

    /// Whether every layer takes the kernel with the least estimate.
    pub fn is_empty(&self) -> bool {
        self.choices.is_empty()
    }

    /// The choice for a layer, by its [`key`].
    pub(crate) fn choice(&self, key: &str) -> Option<&Choice> {
        self.choices.get(key)
    }

    /// The same choices but for the layer of a [`key`].
    pub(crate) fn set(&mut self, key: &str, choice: Option<Choice>) {
        let choices = Arc::make_mut(&mut self.choices);
        match choice {
            Some(choice) => choices.insert(key.to_owned(), choice),
            None => choices.remove(key),
        };
    }

    fn read_file(path: &Path) -> Result<Tuning, TuningError> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(TuningError::TooLarge);
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => text.parse(),
            Err(error) => {
                let before = &bytes[..error.valid_up_to()];
                let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
                Err(TuningError::Line { line, reason: "not text" })
            }
        }
    }
}

impl FromStr for Tuning {
    type Err = TuningError;

    fn from_str(text: &str) -> Result<Tuning, TuningError> {
        let at = |line| move |reason| TuningError::Line { line, reason };
        let mut lines = text.lines().zip(1..);
        match lines.next() {
            Some((HEADER, _)) => {}
            Some((line, _)) if line.starts_with(NAME) => {
                return Err(at(1)("a tuning in a format that this version does not know"));
            }
            _ => return Err(at(1)("not a tuning: the first line is not `twnc tuning 1`")),
        }
        let mut choices = BTreeMap::new();
        for (line, number) in lines {
            let (key, choice) = parse(line).map_err(at(number))?;
            if choices.insert(key, choice).is_some() {
                return Err(at(number)("the same kind of code and layer as in a line before"));
            }
        }
        Ok(Tuning { choices: Arc::new(choices) })
    }
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        self.choices.iter().try_for_each(|(key, Choice { rank, kernel })| {
            writeln!(f, "{key}{BETWEEN}{rank}{BETWEEN}{kernel}")
        })
    }
}

/// A line behind the first.
fn parse(line: &str) -> Result<(String, Choice), &'static str> {
    if !line.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err("a character that is not of printable ASCII");
    }
    let fields: Vec<&str> = line.split(BETWEEN).collect();
    let &[isa, layer, rank, kernel] = fields.as_slice() else {
        return Err("not four fields with ` | ` between them");
    };
    if [isa, layer, kernel].iter().any(|field| field.is_empty() || field.trim() != *field) {
        return Err("a field that is empty, or begins or ends with a space");
    }
    let digits = !rank.is_empty() && rank.bytes().all(|byte| byte.is_ascii_digit());
    match rank.parse().ok().filter(|&rank| digits && rank <= MAX_RANK) {
        Some(rank) => Ok((format!("{isa}{BETWEEN}{layer}"), Choice { rank, kernel: kernel.to_owned() })),
        None => Err("a rank that is not a whole number up to 1000000"),
    }
}

/// What a choice is for: everything that the plans of an accumulation depend on, in words.
pub(crate) fn key(isa: Isa, spec: &AccumulateSpec<'_>) -> String {
    let mut key = format!("{}{BETWEEN}threads {}", isa.name(), spec.threads);
    // Parts of a product are alike.
    for (i, plane) in spec.planes.iter().enumerate().filter(|(_, plane)| plane.part[0] == 0) {
        // Writing to a string does not fail.
        let _ = describe(&mut key, plane);
        // Planes of one input may share tables.
        if let Some(first) = spec.planes[..i].iter().position(|other| other.source == plane.source) {
            let _ = write!(key, " as {first}");
        }
    }
    key
}

fn describe(key: &mut String, plane: &PlaneSpec<'_>) -> fmt::Result {
    match plane.integers {
        None => key.push_str(", f32"),
        Some(range) => write!(key, ", {}{}", if range.signed { "+-" } else { "0.." }, range.largest)?,
    }
    write!(key, " {} by {}", Sizes(plane.input), Sizes(plane.weight_shape))?;
    if let Contraction::Window { window, groups } = plane.contraction {
        let sizes = [&window.strides, &window.dilations, &window.pads_begin, &window.pads_end];
        let [strides, dilations, begin, end] = sizes.map(|sizes| Sizes(sizes));
        write!(key, " strides {strides} dilations {dilations} pads {begin} {end} groups {groups}")?;
    }
    if plane.part[1] > 1 {
        key.push_str(" added up");
    }
    if plane.laid_out {
        key.push_str(" laid out");
    }
    Ok(())
}

/// `1x64x56x56`.
struct Sizes<'a>(&'a [usize]);

impl fmt::Display for Sizes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, size) in self.0.iter().enumerate() {
            write!(f, "{}{size}", if i > 0 { "x" } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "avx2 | threads 1, f32 1x2 by 2x3 | 4 | tables: groups of 3";

    #[test]
    fn what_is_written_is_read() {
        let mut tuning = Tuning::default();
        assert_eq!(tuning.to_string(), "twnc tuning 1\n");
        let choice = |rank| Some(Choice { rank, kernel: "tables: groups of 3".to_owned() });
        tuning.set("portable | threads 2, 0..255 1x2 by 2x3", choice(MAX_RANK));
        tuning.set("avx2 | threads 1, f32 1x2 by 2x3", choice(4));
        tuning.set("avx2 | gone", choice(1));
        tuning.set("avx2 | gone", None);
        let text = tuning.to_string();
        assert_eq!(text.lines().nth(1), Some(LINE));
        let read: Tuning = text.parse().expect("what was written");
        assert_eq!((&read, read.len(), read.is_empty()), (&tuning, 2, false));
        assert_eq!(read.to_string(), text);
        // Lines of other systems, lines that no layer asks for, and the last one without an end.
        let read: Tuning =
            format!("{HEADER}\r\n{LINE}\r\nriscv | a layer | 0 | a kernel").parse().expect("valid");
        assert_eq!(read.choice("avx2 | threads 1, f32 1x2 by 2x3"), choice(4).as_ref());
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn what_is_no_tuning_is_refused_by_line() {
        let header = "not a tuning: the first line is not `twnc tuning 1`";
        let fields = "not four fields with ` | ` between them";
        let field = "a field that is empty, or begins or ends with a space";
        let rank = "a rank that is not a whole number up to 1000000";
        let ascii = "a character that is not of printable ASCII";
        let table: [(&str, usize, &str); 20] = [
            ("", 1, header),
            ("\n", 1, header),
            ("TWNB\u{1}", 1, header),
            (LINE, 1, header),
            (" twnc tuning 1", 1, header),
            ("twnc tuning 2\n", 1, "a tuning in a format that this version does not know"),
            ("twnc tuning 1 \n", 1, "a tuning in a format that this version does not know"),
            ("#\n\n", 2, fields),
            ("#\n@\n\n", 3, fields),
            ("#\navx2 | a layer | 4\n", 2, fields),
            ("#\navx2 | a layer | 4 | kernel | more\n", 2, fields),
            ("#\navx2|a layer|4|kernel\n", 2, fields),
            ("#\n | a layer | 4 | kernel\n", 2, field),
            ("#\navx2 |  a layer | 4 | kernel\n", 2, field),
            ("#\navx2 | a layer | +4 | kernel\n", 2, rank),
            ("#\navx2 | a layer | 1000001 | kernel\n", 2, rank),
            ("#\navx2 | a layer | 99999999999999999999999 | kernel\n", 2, rank),
            ("#\n@\navx2 | a l\u{e4}yer | 4 | kernel\n", 3, ascii),
            ("#\navx2 | a\tlayer | 4 | kernel\n", 2, ascii),
            ("#\n@\n@\n", 3, "the same kind of code and layer as in a line before"),
        ];
        for (text, line, reason) in table {
            let text = text.replace('#', HEADER).replace('@', LINE);
            let error = text.parse::<Tuning>().expect_err(&text);
            assert_eq!(error.to_string(), format!("line {line}: {reason}"), "{text:?}");
        }
    }
}
