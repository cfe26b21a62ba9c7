//! Dimensions that may stay open until the program is given inputs.
//!
//! A [`Dim`] is evaluated, never simplified: simplification is the compiler's business. All arithmetic is checked.

use crate::program::SymbolId;
use thiserror::Error;

/// A dimension: a number, a symbol that an input's shape binds, or an expression over these.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A known, non-negative size, or a (possibly negative) term of an expression.
    Fixed(i64),
    /// The value that an input binds to a named symbol.
    Symbol(SymbolId),
    /// `a + b`
    Add(Box<Dim>, Box<Dim>),
    /// `a * b`
    Mul(Box<Dim>, Box<Dim>),
    /// `a / b`, rounded towards negative infinity; `b` must be positive.
    FloorDiv(Box<Dim>, Box<Dim>),
    /// The smaller of two.
    Min(Box<Dim>, Box<Dim>),
    /// The larger of two.
    Max(Box<Dim>, Box<Dim>),
}

/// The value of each symbol of a program, by [`SymbolId`].
pub type Bindings = [i64];

/// Why a dimension has no value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DimError {
    /// The symbol's id is not one of the program's.
    #[error("dimension names symbol {0}, which the program does not declare")]
    UnknownSymbol(u32),
    /// 64 bits do not hold it.
    #[error("a dimension overflows 64 bits")]
    Overflow,
    /// A divisor was zero or negative.
    #[error("a dimension divides by {0}")]
    Divisor(i64),
    /// A size came out negative or larger than the address space.
    #[error("a dimension comes out as {0}")]
    Size(i64),
}

impl Dim {
    /// The value under `bindings`, as a number of any sign.
    pub fn eval(&self, bindings: &Bindings) -> Result<i64, DimError> {
        let both = |a: &Dim, b: &Dim| Ok::<_, DimError>((a.eval(bindings)?, b.eval(bindings)?));
        match self {
            Dim::Fixed(n) => Ok(*n),
            Dim::Symbol(s) => {
                bindings.get(s.index()).copied().ok_or(DimError::UnknownSymbol(s.index() as u32))
            }
            Dim::Add(a, b) => {
                let (a, b) = both(a, b)?;
                a.checked_add(b).ok_or(DimError::Overflow)
            }
            Dim::Mul(a, b) => {
                let (a, b) = both(a, b)?;
                a.checked_mul(b).ok_or(DimError::Overflow)
            }
            Dim::FloorDiv(a, b) => {
                let (a, b) = both(a, b)?;
                if b <= 0 { Err(DimError::Divisor(b)) } else { Ok(a.div_euclid(b)) }
            }
            Dim::Min(a, b) => both(a, b).map(|(a, b)| a.min(b)),
            Dim::Max(a, b) => both(a, b).map(|(a, b)| a.max(b)),
        }
    }

    /// The value under `bindings`, as a size: zero or more.
    pub fn size(&self, bindings: &Bindings) -> Result<usize, DimError> {
        let n = self.eval(bindings)?;
        usize::try_from(n).map_err(|_| DimError::Size(n))
    }
}

impl From<usize> for Dim {
    /// A fixed size. Sizes beyond `i64::MAX` cannot exist in memory and saturate.
    fn from(n: usize) -> Dim {
        Dim::Fixed(i64::try_from(n).unwrap_or(i64::MAX))
    }
}
