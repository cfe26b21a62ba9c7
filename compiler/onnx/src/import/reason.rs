//! Why a node is not translated, and what is so common a reason that many operators have it.

use crate::error::{Setting, TensorProblem};
use twnc_ir::{TensorError, TypeError};

/// Why a node is not translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// A clause for the user.
    pub text: String,
    /// The options that help.
    pub settings: &'static [Setting],
}

impl Reason {
    /// A reason that no option changes.
    pub fn new(text: String) -> Reason {
        Reason { text, settings: &[] }
    }

    /// The same reason, whose text ends with an advice that one of these options follows.
    pub fn with(self, settings: &'static [Setting]) -> Reason {
        Reason { settings, ..self }
    }
}

impl From<TypeError> for Reason {
    fn from(error: TypeError) -> Reason {
        Reason::new(error.to_string())
    }
}

impl From<TensorError> for Reason {
    fn from(error: TensorError) -> Reason {
        Reason::new(error.to_string())
    }
}

impl From<TensorProblem> for Reason {
    fn from(problem: TensorProblem) -> Reason {
        Reason::new(problem.to_string())
    }
}

/// The reason that stands for sizes over 64 bits, and for open ones whose expression grows too long.
pub fn overflow() -> Reason {
    Reason::new("a size is too large to be written down".into())
}

/// An axis of a tensor of `rank` axes; negative ones count from the end.
pub fn axis(axis: i64, rank: usize) -> Result<usize, Reason> {
    let from_end =
        if axis < 0 { i64::try_from(rank).ok().and_then(|rank| rank.checked_add(axis)) } else { Some(axis) };
    from_end
        .and_then(|axis| usize::try_from(axis).ok())
        .filter(|&axis| axis < rank)
        .ok_or_else(|| Reason::new(format!("axis {axis} does not exist; the operand has {rank} axes")))
}

/// Distinct axes of a tensor of `rank` axes, ascending.
pub fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, Reason> {
    let mut axes = list.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    if axes.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Reason::new(format!("axes {list:?} name one axis twice")));
    }
    Ok(axes)
}
