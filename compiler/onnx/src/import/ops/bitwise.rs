//! Bits of whole numbers. The graph has none, so that they are computed here, of constants: it is how exporters unpack weights of few bits.

use super::super::call::{Call, Known, Reason, Translated};
use super::quantise::{integers, whole_numbers};
use super::{Operator, operator};
use crate::proto::DataType;
use crate::tensor;
use twnc_ir::Tensor;

pub(super) const OPERATORS: &[Operator] = &[
    operator("BitShift", 11, (2, 2), "const", bit_shift),
    operator("BitwiseAnd", 18, (2, 2), "const", |call| of_pairs(call, |a, b| a & b)),
    operator("BitwiseOr", 18, (2, 2), "const", |call| of_pairs(call, |a, b| a | b)),
    operator("BitwiseXor", 18, (2, 2), "const", |call| of_pairs(call, |a, b| a ^ b)),
];

/// Of unsigned numbers; what is shifted out of its type is lost.
fn bit_shift(call: &mut Call<'_, '_>) -> Translated {
    let by = |b: i64| u32::try_from(b).unwrap_or(u32::MAX);
    match call.attributes.string("direction")? {
        Some("LEFT") => of_pairs(call, |a, b| a.checked_shl(by(b)).unwrap_or(0)),
        Some("RIGHT") => of_pairs(call, |a, b| a.checked_shr(by(b)).unwrap_or(0)),
        other => Err(Reason::new(format!(
            "attribute `direction` is {}; LEFT and RIGHT are accepted",
            other.map_or("missing".to_owned(), |word| format!("`{word}`"))
        ))),
    }
}

/// A function of pairs of elements, broadcast; what is over the type is cut off.
fn of_pairs(call: &mut Call<'_, '_>, f: impl Fn(i64, i64) -> i64) -> Translated {
    let (Some(Known::Constant { tensor: a, name, stored }), Some(Known::Constant { tensor: b, .. })) =
        (call.known(0), call.known(1))
    else {
        return Err(Reason::new(
            "computes with the bits of data; that is supported for constants only".into(),
        ));
    };
    let (stored, name) = (*stored, name.clone());
    let (Some(x), Some(y)) = (whole_numbers(a.data()), whole_numbers(b.data())) else {
        return Err(Reason::new(format!("takes whole numbers, not {} and {}", a.ty(), b.ty())));
    };
    let Some(shape) = broadcast(a.shape(), b.shape()) else {
        return Err(Reason::new(format!("{} and {} do not broadcast", a.ty(), b.ty())));
    };
    let count = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
    // Not more than is there already, but for a vector that meets another.
    let most = x.len().saturating_add(y.len()).saturating_mul(8).max(1 << 16);
    let Some(count) = count.filter(|&n| n <= most) else {
        return Err(Reason::new("would make constants much larger; export them computed".into()));
    };
    let element = |i: usize| {
        let (a, b) = (x[position(i, &shape, a.shape())], y[position(i, &shape, b.shape())]);
        cut(f(a, b), stored)
    };
    let data = integers((0..count).map(element).collect(), tensor::element_type(stored as i32)?);
    Ok(vec![Known::Constant { tensor: Tensor::new(shape.clone(), data)?, name, stored }])
}

/// The number that is left in so many bits.
fn cut(n: i64, stored: DataType) -> i64 {
    match stored {
        DataType::Uint2 => n & 0x3,
        DataType::Uint4 => n & 0xf,
        DataType::Uint8 => i64::from(n as u8),
        DataType::Uint16 => i64::from(n as u16),
        DataType::Uint32 => i64::from(n as u32),
        DataType::Int8 => i64::from(n as i8),
        DataType::Int16 => i64::from(n as i16),
        DataType::Int32 => i64::from(n as i32),
        _ => n,
    }
}

fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], axis: usize| {
        (axis + shape.len()).checked_sub(rank).and_then(|axis| shape.get(axis).copied()).unwrap_or(1)
    };
    let pair = |axis: usize| match (size(a, axis), size(b, axis)) {
        (a, b) if a == b => Some(a),
        (1, n) | (n, 1) => Some(n),
        _ => None,
    };
    (0..rank).map(pair).collect()
}

/// Where the element of a broadcast tensor is in one of its operands.
fn position(mut element: usize, shape: &[usize], own: &[usize]) -> usize {
    let (mut position, mut stride) = (0, 1);
    for (&size, &own) in shape.iter().rev().zip(own.iter().rev()) {
        if own > 1 {
            position += element % size * stride;
        }
        element /= size;
        stride *= own;
    }
    position
}
