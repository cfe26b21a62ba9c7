//! Steps in which the order of elements counts.

use super::Operand;
use crate::program::BufferId;
use crate::scalar::Binary;

/// How two elements become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// Their sum; integers wrap.
    Add,
    /// Their product; integers wrap.
    Mul,
    /// The smaller, as [`Binary::Min`].
    Min,
    /// The larger, as [`Binary::Max`].
    Max,
}

impl Combine {
    /// The function of two numbers that it is.
    pub fn binary(self) -> Binary {
        match self {
            Combine::Add => Binary::Add,
            Combine::Mul => Binary::Mul,
            Combine::Min => Binary::Min,
            Combine::Max => Binary::Max,
        }
    }
}

/// `data` with the rows along axis 0 that `indices` names combined, in order, with the rows of `updates`.
#[derive(Clone, Debug, PartialEq)]
pub struct Scatter {
    /// Without a combination, a row of `updates` replaces what is there.
    pub combine: Option<Combine>,
    /// `[N, row...]`, any element type; with a combination f32, i64 or i32.
    pub data: Operand,
    /// i64 or i32 `[K]`; negative ones count from the end; one out of range is an error when running.
    pub indices: Operand,
    /// `[K, row...]`, of the type of `data`.
    pub updates: Operand,
    /// As `data`.
    pub output: BufferId,
}

/// Sums or products of each line along an axis up to each element, itself included. Of f32 in f64, rounded for each element;
/// of i64 and i32, wrapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Cumulative {
    /// [`Combine::Add`] or [`Combine::Mul`].
    pub combine: Combine,
    /// f32, i64 or i32.
    pub input: Operand,
    /// The axis.
    pub axis: usize,
    /// As the input.
    pub output: BufferId,
}

/// The largest (or smallest) elements of each line along an axis, in that order, and their indices; as many as the axis of the outputs
/// has. Of equal elements the one with the lower index comes first; NaN counts as larger than Inf, and -0 as equal to 0.
#[derive(Clone, Debug, PartialEq)]
pub struct TopK {
    /// f32, i64 or i32.
    pub input: Operand,
    /// The axis.
    pub axis: usize,
    /// Whether the largest are taken.
    pub largest: bool,
    /// The elements, of the input's type, then their indices, i64; one shape, which is the input's but along the axis, where it is no larger.
    pub outputs: [BufferId; 2],
}
