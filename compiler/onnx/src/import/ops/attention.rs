//! Attention and rotary embeddings, written out: `softmax(scale·Q·Kᵀ + bias)·V`, head by head.
//!
//! The bias is -Inf where a query may not see a key: what the mask, the causal order, a window and the padding of keys forbid. A query that sees no
//! key gives 0.

use super::super::call::{Call, Known, Reason, Translated, one, overflow};
use super::{Operator, operator};
use twnc_ir::{Binary, Dim, ElementType, Op, Pad, PadMode, ReduceKind, Unary, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator(
        "Attention",
        23,
        (3, 7),
        "reshape, transpose, concat, mul, matmul, add, softmax, keep",
        attention,
    ),
    operator(
        "RotaryEmbedding",
        23,
        (3, 4),
        "gather, slice, mul, sub, add, concat, reshape",
        rotary_embedding,
    ),
];

fn attention(call: &mut Call<'_, '_>) -> Translated {
    // Everything is computed in f32.
    call.attributes.ignore(&["softmax_precision"]);
    let (q, k, v) = (call.value(0)?, call.value(1)?, call.value(2)?);
    let packed = call.ty(q).rank() == 3;
    let q = heads(call, q, "q_num_heads")?;
    let (mut k, mut v) = (heads(call, k, "kv_num_heads")?, heads(call, v, "kv_num_heads")?);
    let past = match (call.optional(4)?, call.optional(5)?) {
        (Some(past_key), Some(past_value)) => {
            let past = call.shape(past_key).get(2).cloned();
            k = call.op(Op::Concat { axis: 2 }, &[past_key, k])?;
            v = call.op(Op::Concat { axis: 2 }, &[past_value, v])?;
            past
        }
        (None, None) => None,
        _ => return Err(Reason::new("has one of past_key and past_value; it needs both or none".into())),
    };
    let (present_key, present_value) = (k, v);
    let shape = call.shape(q);
    let (k, v) = (repeated(call, k, &shape[1])?, repeated(call, v, &shape[1])?);
    let queries = shape[2].clone();
    let keys = call.shape(k)[2].clone();

    let scores = scores(call, q, k, &shape[3])?;
    let capped = match call.attributes.float("softcap")?.unwrap_or(0.0) {
        cap if cap > 0.0 => {
            let small = call.with_scalar(Binary::Div, scores, cap)?;
            let bent = call.unary(Unary::Tanh, small)?;
            call.with_scalar(Binary::Mul, bent, cap)?
        }
        _ => scores,
    };
    let bias = bias(call, &queries, &keys, past)?;
    let biased = match bias {
        Some(bias) => call.binary(Binary::Add, capped, bias)?,
        None => capped,
    };
    let last = call.ty(biased).rank() - 1;
    let mut weights = call.op(Op::Softmax { axes: vec![last] }, &[biased])?;
    if let Some(bias) = bias {
        // Of a row of -Inf alone the softmax is NaN.
        let highest = call.reduced(ReduceKind::Max, &[call.ty(bias).rank() - 1], bias)?;
        let forbidden = call.with_scalar(Binary::Equal, highest, f32::NEG_INFINITY)?;
        let seen = call.is_zero(forbidden)?;
        weights = call.binary(Binary::Keep, weights, seen)?;
    }
    let mut y = call.op(Op::MatMul, &[weights, v])?;
    if packed {
        y = call.transpose(y, vec![0, 2, 1, 3])?;
        let [batch, positions, heads, size] = four(call, y)?;
        y = call.reshape(y, vec![batch, positions, heads.checked_mul(&size).ok_or_else(overflow)?])?;
    }
    let inner = match call.attributes.int("qk_matmul_output_mode")?.unwrap_or(0) {
        0 => scores,
        1 => capped,
        2 => biased,
        3 => weights,
        mode => {
            return Err(Reason::new(format!("attribute `qk_matmul_output_mode` is {mode}; it is 0 to 3")));
        }
    };
    Ok([y, present_key, present_value, inner].map(Known::Value).into())
}

/// The axes of a tensor of four.
fn four(call: &Call<'_, '_>, x: ValueId) -> Result<[Dim; 4], Reason> {
    let misfit =
        |shape| Reason::new(format!("needs four axes, or three and the number of heads; found {shape:?}"));
    call.shape(x).try_into().map_err(misfit)
}

/// `[batch, heads, positions, size]`, also from `[batch, positions, heads·size]`.
fn heads(call: &mut Call<'_, '_>, x: ValueId, attribute: &str) -> Result<ValueId, Reason> {
    let count = call.attributes.int(attribute)?;
    let [batch, positions, hidden] = &call.shape(x)[..] else {
        four(call, x)?;
        return Ok(x);
    };
    let count = count.filter(|&n| n > 0);
    let count =
        count.ok_or_else(|| Reason::new(format!("attribute `{attribute}` is missing or not positive")))?;
    let count = Dim::fixed(count);
    let size = hidden.floor_div(&count).ok_or_else(overflow)?;
    let split = call.reshape(x, vec![batch.clone(), positions.clone(), count, size])?;
    call.transpose(split, vec![0, 2, 1, 3])
}

/// Keys or values whose heads are each for several heads of the queries, once for each of those.
fn repeated(call: &mut Call<'_, '_>, x: ValueId, heads: &Dim) -> Result<ValueId, Reason> {
    let [batch, own, positions, size] = four(call, x)?;
    if own == *heads {
        return Ok(x);
    }
    let times = match (heads.as_size(), own.as_size()) {
        (Some(heads), Some(own)) if own > 0 && heads % own == 0 => Dim::from(heads / own),
        _ => return Err(Reason::new(format!("{heads} heads of queries for {own} of keys and values"))),
    };
    let one = Dim::from(1);
    let split = vec![batch.clone(), own.clone(), one, positions.clone(), size.clone()];
    let split = call.reshape(x, split)?;
    let wide = call.broadcast(split, vec![batch.clone(), own, times, positions.clone(), size.clone()])?;
    call.reshape(wide, vec![batch, heads.clone(), positions, size])
}

/// `scale·Q·Kᵀ`, the root of the scale being multiplied to both.
fn scores(call: &mut Call<'_, '_>, q: ValueId, k: ValueId, size: &Dim) -> Result<ValueId, Reason> {
    let given = call.attributes.float("scale")?.filter(|&scale| scale != 0.0);
    let root = match given {
        Some(scale) => call.scalar(scale.sqrt()),
        None => {
            let size = call.size(size, ElementType::F32)?;
            call.with_scalar(Binary::Pow, size, -0.25)?
        }
    };
    let k = call.transpose(k, vec![0, 1, 3, 2])?;
    let (q, k) = (call.binary(Binary::Mul, q, root)?, call.binary(Binary::Mul, k, root)?);
    call.op(Op::MatMul, &[q, k])
}

/// What is added to the scores; nothing where every query sees every key.
fn bias(
    call: &mut Call<'_, '_>,
    queries: &Dim,
    keys: &Dim,
    past: Option<Dim>,
) -> Result<Option<ValueId>, Reason> {
    let mut bias = None;
    let add = |call: &mut Call<'_, '_>, bias: &mut Option<ValueId>, part: ValueId| {
        *bias = Some(match *bias {
            Some(sum) => call.binary(Binary::Add, sum, part)?,
            None => part,
        });
        Ok::<_, Reason>(())
    };
    if let Some(mut mask) = call.optional(3)? {
        if call.ty(mask).element == ElementType::Bool {
            let allowed = call.truth_number(mask, ElementType::F32)?;
            mask = allowance(call, allowed)?;
        }
        let mask = padded(call, mask, keys)?;
        add(call, &mut bias, mask)?;
    }
    let lengths = match call.optional(6)? {
        Some(lengths) => {
            let lengths = call.cast(lengths, ElementType::I64)?;
            let mut shape = call.shape(lengths);
            shape.resize(4, Dim::from(1));
            Some(call.reshape(lengths, shape)?)
        }
        None => None,
    };
    let causal = call.attributes.flag("is_causal", false)?;
    let left = call.attributes.int("left_window_size")?.filter(|&n| n >= 0);
    let right = call.attributes.int("right_window_size")?.filter(|&n| n >= 0);
    let right = if causal { Some(0) } else { right };
    if left.is_some() || right.is_some() {
        // How many keys come before the first query.
        let offset = match (&past, lengths) {
            (Some(past), _) => call.size(past, ElementType::I64)?,
            (None, Some(lengths)) => {
                let queries = call.size(queries, ElementType::I64)?;
                call.binary(Binary::Sub, lengths, queries)?
            }
            (None, None) => call.number(0.0, ElementType::I64),
        };
        let query = call.positions(queries, 0, 2, ElementType::I64)?;
        let key = call.positions(keys, 1, 2, ElementType::I64)?;
        let place = call.binary(Binary::Add, query, offset)?;
        let ahead = call.binary(Binary::Sub, key, place)?;
        if let Some(right) = right {
            let furthest = call.number(right as f64, ElementType::I64);
            let allowed = call.at_most(ahead, furthest)?;
            let part = allowance(call, allowed)?;
            add(call, &mut bias, part)?;
        }
        if let Some(left) = left {
            let furthest = call.number(-(left as f64), ElementType::I64);
            let allowed = call.at_most(furthest, ahead)?;
            let part = allowance(call, allowed)?;
            add(call, &mut bias, part)?;
        }
    }
    if let Some(lengths) = lengths {
        let key = call.positions(keys, 3, 4, ElementType::I64)?;
        let there = call.binary(Binary::Less, key, lengths)?;
        let part = allowance(call, there)?;
        add(call, &mut bias, part)?;
    }
    Ok(bias)
}

/// 0 where a number is 1, -Inf where it is 0.
fn allowance(call: &mut Call<'_, '_>, allowed: ValueId) -> Result<ValueId, Reason> {
    let allowed = call.cast(allowed, ElementType::F32)?;
    let forbidden = call.is_zero(allowed)?;
    let lowest = call.scalar(f32::NEG_INFINITY);
    call.binary(Binary::Keep, lowest, forbidden)
}

/// A mask of fewer keys than there are forbids the others.
fn padded(call: &mut Call<'_, '_>, mask: ValueId, keys: &Dim) -> Result<ValueId, Reason> {
    let shape = call.shape(mask);
    let missing = shape.last().and_then(|own| keys.checked_sub(own)).and_then(|n| n.as_size()).unwrap_or(0);
    if missing == 0 {
        return Ok(mask);
    }
    let (begin, mut end) = (vec![0; shape.len()], vec![0; shape.len()]);
    end[shape.len() - 1] = missing;
    call.op(Op::Pad(Pad { begin, end, mode: PadMode::Constant(f32::NEG_INFINITY) }), &[mask])
}

/// Pairs of elements turned by an angle: `(x·cos - y·sin, x·sin + y·cos)`. Pairs are neighbours, or one from each half.
fn rotary_embedding(call: &mut Call<'_, '_>) -> Translated {
    let interleaved = call.attributes.flag("interleaved", false)?;
    let given = call.attributes.int("rotary_embedding_dim")?.filter(|&n| n != 0);
    let count = call.attributes.int("num_heads")?;
    let x = call.value(0)?;
    let shape = call.shape(x);
    // To [batch, positions, heads, size].
    let rows = match &shape[..] {
        [_, _, _, _] => call.transpose(x, vec![0, 2, 1, 3])?,
        [batch, positions, hidden] => {
            let count = count.filter(|&n| n > 0);
            let count = count
                .ok_or_else(|| Reason::new("attribute `num_heads` is missing or not positive".into()))?;
            let size = hidden.floor_div(&Dim::fixed(count)).ok_or_else(overflow)?;
            call.reshape(x, vec![batch.clone(), positions.clone(), Dim::fixed(count), size])?
        }
        _ => return Err(Reason::new(format!("needs three axes or four; the operand is {}", call.ty(x)))),
    };
    let [batch, positions, heads, size] = four(call, rows)?;
    let turned = match given {
        Some(n) if n > 0 && n % 2 == 0 => Dim::fixed(n),
        Some(n) => {
            return Err(Reason::new(format!("attribute `rotary_embedding_dim` is {n}; it must be even")));
        }
        None => size.clone(),
    };
    let half = turned.floor_div(&Dim::from(2)).ok_or_else(overflow)?;
    let mut angles = |operand: usize| -> Result<ValueId, Reason> {
        let mut cache = call.value(operand)?;
        if let Some(places) = call.optional(3)? {
            cache = call.op(Op::Gather { axis: 0 }, &[cache, places])?;
        }
        let mut shape = call.shape(cache);
        shape.insert(shape.len().saturating_sub(1), Dim::from(1));
        call.reshape(cache, shape)
    };
    let (cos, sin) = (angles(1)?, angles(2)?);
    let zero = Dim::from(0);
    let (first, second) = if interleaved {
        (
            call.slice(rows, 3, zero.clone(), half.clone(), 2)?,
            call.slice(rows, 3, Dim::from(1), half.clone(), 2)?,
        )
    } else {
        (
            call.slice(rows, 3, zero.clone(), half.clone(), 1)?,
            call.slice(rows, 3, half.clone(), half.clone(), 1)?,
        )
    };
    let mut part = |f: Binary, a: ValueId, b: ValueId| {
        let (a, b) = (call.binary(Binary::Mul, a, first)?, call.binary(Binary::Mul, b, second)?);
        call.binary(f, a, b)
    };
    let (real, imaginary) = (part(Binary::Sub, cos, sin)?, part(Binary::Add, sin, cos)?);
    let mut y = if interleaved {
        let column = vec![batch.clone(), positions.clone(), heads.clone(), half, Dim::from(1)];
        let (real, imaginary) = (call.reshape(real, column.clone())?, call.reshape(imaginary, column)?);
        let pairs = call.op(Op::Concat { axis: 4 }, &[real, imaginary])?;
        call.reshape(pairs, vec![batch, positions, heads, turned.clone()])?
    } else {
        call.op(Op::Concat { axis: 3 }, &[real, imaginary])?
    };
    let rest = size.checked_sub(&turned).ok_or_else(overflow)?;
    if rest != zero {
        let kept = call.slice(rows, 3, turned, rest, 1)?;
        y = call.op(Op::Concat { axis: 3 }, &[y, kept])?;
    }
    one(if shape.len() == 4 { call.transpose(y, vec![0, 2, 1, 3])? } else { call.reshape(y, shape)? })
}
