//! Sums, products, comparisons and roundings of sizes.

use super::super::call::{Call, Reason};
use super::{MAX_PARTS, MAX_SIZE, Sizes};
use crate::proto::DataType;
use twnc_ir::dim::DimNode;
use twnc_ir::{Dim, ElementType};

/// Numbers of few bits as whole numbers of parts, and how many of these make one.
pub(super) fn fractions(v: &[f32]) -> Option<(Vec<Dim>, i64)> {
    let whole = |parts: i64| {
        let part = |x: f32| f64::from(x) * parts as f64;
        v.iter().all(|&x| part(x).fract() == 0.0 && part(x).abs() <= MAX_PARTS as f64)
    };
    // Of a whole number there is no -0.
    if v.iter().any(|x| x.to_bits() == (-0f32).to_bits()) {
        return None;
    }
    let parts = (0..=12).map(|bits| 1 << bits).find(|&parts| whole(parts))?;
    Some((v.iter().map(|&x| Dim::fixed((f64::from(x) * parts as f64) as i64)).collect(), parts))
}

/// The two with parts that are as large, if f32 computes with them exactly.
fn in_parts(a: &Sizes, b: &Sizes) -> Option<[Sizes; 2]> {
    if a.parts == 1 && b.parts == 1 {
        return Some([a.clone(), b.clone()]);
    }
    let parts = a.parts.max(b.parts);
    let scaled = |x: &Sizes| {
        let by = Dim::fixed(parts / x.parts);
        let elements = x.elements.iter().map(|dim| dim.checked_mul(&by)).collect::<Option<_>>()?;
        Some(Sizes { elements, parts, shape: x.shape.clone(), ..*x })
    };
    if is_exact(a) && is_exact(b) { Some([scaled(a)?, scaled(b)?]) } else { None }
}

/// Whether a float holds the numbers themselves, and not only what rounding them gives.
pub(super) fn is_exact(x: &Sizes) -> bool {
    x.parts.unsigned_abs().is_power_of_two()
}

/// Whether f32 holds each number of parts, as long as sizes are at most [`MAX_SIZE`]: then it computes what is computed here.
pub(super) fn is_held(x: &Sizes) -> bool {
    let bound = |dim: &Dim| {
        dim.fold(&mut |node: DimNode<'_, i64>| match node {
            DimNode::Fixed(n) => n.saturating_abs(),
            DimNode::Symbol(_) => MAX_SIZE,
            DimNode::Add(a, b) => a.saturating_add(b),
            DimNode::Mul(a, b) => a.saturating_mul(b),
            DimNode::FloorDiv(a, _) => a,
            DimNode::Min(a, b) | DimNode::Max(a, b) => a.max(b),
        })
    };
    x.element != ElementType::F32 || x.elements.iter().all(|dim| bound(dim) <= 1 << 24)
}

/// A function of each two elements, of one numeric type, whose result has the same parts.
pub(super) fn elementwise(a: &Sizes, b: &Sizes, f: impl Fn(&Dim, &Dim) -> Option<Dim>) -> Option<Sizes> {
    if a.element != b.element || a.element == ElementType::Bool {
        return None;
    }
    let [a, b] = in_parts(a, b)?;
    let shape = broadcast(&a.shape, &b.shape)?;
    a.rearranged(shape, |at| f(&a.broadcast_at(at)?, &b.broadcast_at(at)?)).map(in_lowest_terms)
}

/// Truth values of each two elements.
pub(super) fn compared(a: &Sizes, b: &Sizes, f: impl Fn(&Dim, &Dim) -> Option<Dim>) -> Option<Sizes> {
    elementwise(a, b, f).map(|truths| Sizes { element: ElementType::Bool, parts: 1, ..truths })
}

pub(super) fn multiplied(a: &Sizes, b: &Sizes) -> Option<Sizes> {
    let parts = a.parts.checked_mul(b.parts).filter(|&parts| parts <= MAX_PARTS)?;
    if !(is_exact(a) && is_exact(b)) {
        return None;
    }
    let [x, y] = [a, b].map(|sizes| Sizes { parts: 1, ..sizes.clone() });
    let product = elementwise(&x, &y, |a, b| a.checked_mul(b))?;
    Some(in_lowest_terms(Sizes { parts, ..product }))
}

/// Quotients of whole numbers are rounded towards zero. Of floats they are followed where they are whole, and where the divisor is one number.
pub(super) fn divided(a: &Sizes, b: &Sizes) -> Option<Sizes> {
    if a.is_index() {
        return elementwise(a, b, quotient);
    }
    if a.element != ElementType::F32 || b.element != ElementType::F32 {
        return None;
    }
    let [x, y] = in_parts(a, b)?;
    let exact = |a: &Dim, b: &Dim| {
        let quotient = a.floor_div(b)?;
        (quotient.checked_mul(b).as_ref() == Some(a)).then_some(quotient)
    };
    let (whole_x, whole_y) = (Sizes { parts: 1, ..x.clone() }, Sizes { parts: 1, ..y.clone() });
    if let Some(whole) = elementwise(&whole_x, &whole_y, exact) {
        return Some(whole);
    }
    let by = y
        .elements
        .first()?
        .as_fixed()
        .filter(|&by| by > 0 && y.elements.iter().all(|e| e.as_fixed() == Some(by)))?;
    let shape = broadcast(&x.shape, &y.shape)?;
    let quotients = whole_x.rearranged(shape, |at| whole_x.broadcast_at(at))?;
    (by <= MAX_PARTS).then(|| in_lowest_terms(Sizes { parts: by, ..quotients }))
}

/// Floats as whole ones.
pub(super) fn rounded(x: &Sizes, by: &str) -> Option<Sizes> {
    let parts = Dim::fixed(x.parts);
    let round = |dim: &Dim| match by {
        "Floor" => dim.floor_div(&parts),
        "Ceil" => dim.ceil_div(&parts),
        _ => (x.parts == 1).then(|| dim.clone()),
    };
    let elements = x.elements.iter().map(round).collect::<Option<_>>()?;
    (x.element == ElementType::F32).then(|| Sizes { elements, parts: 1, shape: x.shape.clone(), ..*x })
}

/// The same numbers in fewer parts: whole ones, or half as many as often as that works.
fn in_lowest_terms(mut x: Sizes) -> Sizes {
    let over = |x: &Sizes, by: i64| {
        let by = Dim::fixed(by);
        let whole = |dim: &Dim| dim.floor_div(&by).filter(|part| part.checked_mul(&by).as_ref() == Some(dim));
        x.elements.iter().map(whole).collect::<Option<Vec<_>>>()
    };
    while x.parts > 1 && x.parts % 2 == 0 {
        let Some(elements) = over(&x, 2) else { return x };
        x = Sizes { elements, parts: x.parts / 2, ..x };
    }
    match over(&x, x.parts) {
        Some(elements) if x.parts > 1 => Sizes { elements, parts: 1, ..x },
        _ => x,
    }
}

pub(super) fn negative(x: &Dim) -> Option<Dim> {
    x.checked_mul(&Dim::fixed(-1))
}

/// Whole powers up to the fourth, beyond which no size goes.
pub(super) fn power(a: &Sizes, b: &Sizes) -> Option<Sizes> {
    // The exponent's type need not be the base's.
    let b = Sizes { element: a.element, ..b.clone() };
    elementwise(a, &b, |a, b| {
        let times = b.as_fixed().filter(|times| (0..=4).contains(times))?;
        (0..times).try_fold(Dim::fixed(1), |product, _| product.checked_mul(a))
    })
}

/// Rounded towards zero.
fn quotient(a: &Dim, b: &Dim) -> Option<Dim> {
    if let (Some(a), Some(b)) = (a.as_fixed(), b.as_fixed()) {
        return a.checked_div(b).map(Dim::fixed);
    }
    // A size that is a divisor is positive, or there is none.
    b.is_nonnegative().then_some(())?;
    let floor = a.floor_div(b)?;
    // What is whole, or not negative, is not rounded up.
    if a.is_nonnegative() || floor.checked_mul(b).as_ref() == Some(a) {
        return Some(floor);
    }
    b.is_positive().then_some(())?;
    let part = |a: &Dim| a.maximum(&Dim::fixed(0))?.floor_div(b);
    part(a)?.checked_sub(&part(&negative(a)?)?)
}

/// What is left of a division that is rounded down or, `truncated`, towards zero.
pub(super) fn remainder(a: &Dim, b: &Dim, truncated: bool) -> Option<Dim> {
    if let (Some(a), Some(b)) = (a.as_fixed(), b.as_fixed()) {
        let rest = a.checked_rem(b)?;
        let other_sign = !truncated && rest != 0 && (rest < 0) != (b < 0);
        return Some(Dim::fixed(if other_sign { rest + b } else { rest }));
    }
    if truncated && !a.is_nonnegative() {
        return a.checked_sub(&quotient(a, b)?.checked_mul(b)?);
    }
    b.is_positive().then_some(())?;
    let rest = a.checked_sub(&a.floor_div(b)?.checked_mul(b)?)?;
    // It is not negative, which its terms may not show.
    rest.maximum(&Dim::fixed(0))
}

/// Whether one is as large as another and `more`, if that is certain.
pub(super) fn at_least(a: &Dim, b: &Dim, more: i64) -> Option<Dim> {
    let over = a.checked_sub(b)?.checked_sub(&Dim::fixed(more))?;
    match () {
        () if over.is_nonnegative() => Some(Dim::fixed(1)),
        () if over.is_negative() => Some(Dim::fixed(0)),
        () => None,
    }
}

/// Whether two are equal, if that is certain.
pub(super) fn equal(a: &Dim, b: &Dim) -> Option<Dim> {
    let above = |x: &Dim, y: &Dim| at_least(x, y, 1) == Some(Dim::fixed(1));
    match () {
        () if a == b => Some(Dim::fixed(1)),
        () if above(a, b) || above(b, a) => Some(Dim::fixed(0)),
        () => None,
    }
}

pub(super) fn choose(condition: &Sizes, a: &Sizes, b: &Sizes) -> Option<Sizes> {
    if condition.element != ElementType::Bool || a.element != b.element {
        return None;
    }
    let [a, b] = &in_parts(a, b)?;
    let shape = broadcast(&broadcast(&condition.shape, &a.shape)?, &b.shape)?;
    a.rearranged(shape, |at| {
        let chosen = if condition.broadcast_at(at)?.as_fixed()? != 0 { a } else { b };
        chosen.broadcast_at(at)
    })
}

/// Floats become whole numbers by rounding towards zero.
pub(super) fn cast(call: &Call<'_, '_>, x: &Sizes) -> Result<Option<Sizes>, Reason> {
    let to = call.attributes.int("to")?.and_then(|n| DataType::try_from(i32::try_from(n).ok()?).ok());
    call.attributes.ignore(&["saturate", "round_mode"]);
    let whole = |element| {
        let parts = Dim::fixed(x.parts);
        let elements = x.elements.iter().map(|dim| quotient(dim, &parts)).collect::<Option<_>>()?;
        Some(Sizes { element, elements, parts: 1, shape: x.shape.clone() })
    };
    let fits = |sizes: &Sizes| {
        sizes.elements.iter().all(|dim| dim.as_fixed().is_none_or(|n| i32::try_from(n).is_ok()))
    };
    Ok(match to {
        Some(DataType::Int64) => whole(ElementType::I64),
        Some(DataType::Int32) => whole(ElementType::I32).filter(fits),
        // A half has too few bits for sizes.
        Some(DataType::Float | DataType::Double) => Some(Sizes { element: ElementType::F32, ..x.clone() }),
        _ => None,
    })
}

pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    let agreed = (0..rank).map(|axis| match (at(a, axis), at(b, axis)) {
        (x, y) if x == y || y == 1 => Some(x),
        (1, y) => Some(y),
        _ => None,
    });
    agreed.collect()
}
