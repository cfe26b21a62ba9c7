//! Largest and smallest elements, running sums, and what positions along axes decide.

use super::super::call::{Call, Known, Reason, Translated, axis, one, overflow};
use super::super::sizes::Sizes;
use super::{Operator, operator};
use crate::error::Setting;
use crate::tensor;
use twnc_ir::{Binary, Combine, Data, Dim, ElementType, Op, Tensor, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("ArgMax", 1, (1, 1), "top_k; reshape", |call| extreme(call, true)),
    operator("ArgMin", 1, (1, 1), "top_k; reshape", |call| extreme(call, false)),
    operator("TopK", 1, (1, 2), "top_k", top_k),
    operator("Hardmax", 1, (1, 1), "reshape, top_k, iota, equal", hardmax),
    operator("CumSum", 11, (2, 2), "cumulative; slice, pad", |call| cumulative(call, Combine::Add)),
    operator("CumProd", 26, (2, 2), "cumulative; slice, concat", |call| cumulative(call, Combine::Mul)),
    operator("Trilu", 14, (1, 2), "iota, sub, less, equal, max, keep", triangle),
    operator("EyeLike", 9, (1, 1), "iota, add, equal, cast", eye_like),
    operator("Range", 11, (3, 3), "const; iota, mul, add where a size is open", range),
    operator("NonZero", 9, (1, 1), "const", non_zero),
    operator("Compress", 9, (2, 2), "reshape, gather", compress),
];

/// The index of the largest or smallest element along an axis; of equal ones the first, or with `select_last_index` the last.
fn extreme(call: &mut Call<'_, '_>, largest: bool) -> Translated {
    let x = call.value(0)?;
    let mut shape = call.shape(x);
    let on = axis(call.attributes.int("axis")?.unwrap_or(0), shape.len())?;
    let index = extreme_index(call, x, on, largest, call.attributes.flag("select_last_index", false)?)?;
    if call.attributes.flag("keepdims", true)? {
        return one(index);
    }
    shape.remove(on);
    one(call.reshape(index, shape)?)
}

fn extreme_index(
    call: &mut Call<'_, '_>,
    x: ValueId,
    on: usize,
    largest: bool,
    last: bool,
) -> Result<ValueId, Reason> {
    let size = call.shape(x)[on].clone();
    let mut x = call.cast(x, Call::wide(call.ty(x).element))?;
    let end = size.checked_sub(&Dim::from(1)).ok_or_else(overflow)?;
    if last {
        x = call.slice(x, on, end.clone(), size, -1)?;
    }
    let [_, index] = largest_of(call, x, on, Dim::from(1), largest)?;
    if !last {
        return Ok(index);
    }
    let end = call.size(&end, ElementType::I64)?;
    call.binary(Binary::Sub, end, index)
}

pub(super) fn largest_of(
    call: &mut Call<'_, '_>,
    x: ValueId,
    axis: usize,
    k: Dim,
    largest: bool,
) -> Result<[ValueId; 2], Reason> {
    let results = call.ops(Op::TopK { axis, k, largest }, &[x])?;
    results.try_into().map_err(|_| Reason::new("has not two results".into()))
}

/// How many is an attribute before operator set 10 and an operand from then on. Without `sorted` any order will do.
fn top_k(call: &mut Call<'_, '_>) -> Translated {
    call.attributes.flag("sorted", true)?;
    let largest = call.attributes.flag("largest", true)?;
    let x = call.value(0)?;
    let element = call.ty(x).element;
    let on = axis(call.attributes.int("axis")?.unwrap_or(-1), call.ty(x).rank())?;
    let k = match call.attributes.int("k")? {
        Some(k) => Dim::fixed(k),
        None => match call.dims(1, "k")?.as_deref() {
            Some([k]) => k.clone(),
            _ => return Err(Reason::new("k (operand 1) is not one number".into())),
        },
    };
    let x = call.cast(x, Call::wide(element))?;
    let [values, indices] = largest_of(call, x, on, k, largest)?;
    Ok(vec![Known::Value(call.cast(values, element)?), Known::Value(indices)])
}

/// 1 at the largest element along the axis, the first of equal ones, else 0. Before operator set 13 all axes from `axis` on are one.
fn hardmax(call: &mut Call<'_, '_>) -> Translated {
    let mut x = call.value(0)?;
    let shape = call.shape(x);
    let old = call.opset < 13;
    let mut on = axis(call.attributes.int("axis")?.unwrap_or(if old { 1 } else { -1 }), shape.len())?;
    if old {
        let (outer, inner) = shape.split_at(on);
        let matrix = [outer, inner].into_iter().map(|dims| Dim::product(dims).ok_or_else(overflow));
        x = call.reshape(x, matrix.collect::<Result<_, _>>()?)?;
        on = 1;
    }
    let (size, rank) = (call.shape(x)[on].clone(), call.ty(x).rank());
    let index = extreme_index(call, x, on, true, false)?;
    let positions = call.positions(&size, on, rank, ElementType::I64)?;
    let hit = call.binary(Binary::Equal, index, positions)?;
    let hit = call.cast(hit, ElementType::F32)?;
    one(call.reshape(hit, shape)?)
}

/// Running sums or products: from the end with `reverse`, without the element itself with `exclusive`.
fn cumulative(call: &mut Call<'_, '_>, combine: Combine) -> Translated {
    let (exclusive, reverse) =
        (call.attributes.flag("exclusive", false)?, call.attributes.flag("reverse", false)?);
    let x = call.value(0)?;
    let element = call.ty(x).element;
    let Some(&[given]) = call.ints(1, "the axis")?.as_deref() else {
        return Err(Reason::new("the axis (operand 1) is not one number".into()));
    };
    let on = axis(given, call.ty(x).rank())?;
    let size = call.shape(x)[on].clone();
    let end = size.checked_sub(&Dim::from(1)).ok_or_else(overflow)?;
    let mut y = call.cast(x, Call::wide(element))?;
    if reverse {
        y = call.slice(y, on, end.clone(), size.clone(), -1)?;
    }
    y = call.op(Op::Cumulative { combine, axis: on }, &[y])?;
    if exclusive {
        let mut first = call.shape(y);
        first[on] = Dim::from(1);
        let neutral = call.number(if combine == Combine::Mul { 1.0 } else { 0.0 }, call.ty(y).element);
        let neutral = call.broadcast(neutral, first)?;
        let before = call.slice(y, on, Dim::from(0), end.clone(), 1)?;
        y = call.op(Op::Concat { axis: on }, &[neutral, before])?;
    }
    if reverse {
        y = call.slice(y, on, end, size, -1)?;
    }
    one(call.cast(y, element)?)
}

/// The elements on and above (or below) the diagonal `k`; 0 elsewhere.
fn triangle(call: &mut Call<'_, '_>) -> Translated {
    let upper = call.attributes.flag("upper", true)?;
    let x = call.value(0)?;
    let (element, shape) = (call.ty(x).element, call.shape(x));
    let [.., rows, columns] = shape.as_slice() else {
        return Err(Reason::new(format!("needs two axes or more; the operand is {}", call.ty(x))));
    };
    let diagonal = match call.optional(1)? {
        Some(k) => {
            let k = call.cast(k, ElementType::I64)?;
            call.reshape(k, vec![])?
        }
        None => call.number(0.0, ElementType::I64),
    };
    let row = call.positions(rows, 0, 2, ElementType::I64)?;
    let column = call.positions(columns, 1, 2, ElementType::I64)?;
    let distance = call.binary(Binary::Sub, column, row)?;
    let inside = if upper { call.at_most(diagonal, distance)? } else { call.at_most(distance, diagonal)? };
    let wide = Call::wide(element);
    let (inside, x) = (call.cast(inside, wide)?, call.cast(x, wide)?);
    let y = call.binary(Binary::Keep, x, inside)?;
    one(call.cast(y, element)?)
}

fn eye_like(call: &mut Call<'_, '_>) -> Translated {
    let ty = call.operand_type(0)?;
    let [rows, columns] = ty.shape.as_slice() else {
        return Err(Reason::new(format!("needs a matrix; the operand is {ty}")));
    };
    let element = match call.attributes.int("dtype")? {
        Some(number) => tensor::element_type(i32::try_from(number).unwrap_or(0))?,
        None => ty.element,
    };
    let diagonal = call.attributes.int("k")?.unwrap_or(0);
    let row = call.positions(rows, 0, 2, ElementType::I64)?;
    let k = call.whole_numbers(vec![diagonal])?;
    let row = call.binary(Binary::Add, row, k)?;
    let column = call.positions(columns, 1, 2, ElementType::I64)?;
    let hit = call.binary(Binary::Equal, row, column)?;
    one(call.cast(hit, element)?)
}

/// Numbers at equal distances. How many there are may depend on shapes, not on data.
fn range(call: &mut Call<'_, '_>) -> Translated {
    let element = call.operand_type(0)?.element;
    let floats: Option<Vec<f32>> =
        (0..3).map(|i| call.tensor(i).and_then(Tensor::as_f32).and_then(|v| v.first().copied())).collect();
    let (count, start, step) = match floats.as_deref() {
        Some(&[_, _, 0.0]) => return Err(zero_step()),
        Some(&[start, limit, step]) => {
            let count = ((f64::from(limit) - f64::from(start)) / f64::from(step)).ceil();
            if count.is_nan() || count > 1e9 {
                return Err(Reason::new(format!("{count} elements from {start} to {limit} by {step}")));
            }
            (Dim::fixed(count.max(0.0) as i64), call.number(f64::from(start), element), f64::from(step))
        }
        _ => range_of_sizes(call, element)?,
    };
    let numbers = call.op(Op::Iota { size: count }, &[])?;
    let mut y = call.cast(numbers, Call::wide(element))?;
    if step != 1.0 {
        y = call.with_number(Binary::Mul, y, step)?;
    }
    let nothing = call.translation.build.graph().constant(start).is_some_and(|start| start.nonzeros() == 0);
    if !nothing {
        let start = call.cast(start, Call::wide(element))?;
        y = call.binary(Binary::Add, y, start)?;
    }
    one(call.cast(y, element)?)
}

/// How many numbers there are, the first of them, and the step, where these depend on open dimensions; of floats, whole numbers of parts.
fn range_of_sizes(call: &mut Call<'_, '_>, element: ElementType) -> Result<(Dim, ValueId, f64), Reason> {
    let mut operands = vec![];
    for (operand, what) in [(0, "the start"), (1, "the limit"), (2, "the step")] {
        let given = match call.sizes(operand) {
            Some(sizes) => Some(sizes),
            // Says why not.
            None => call.dims(operand, what)?.map(Sizes::vector),
        };
        match given.filter(|sizes| sizes.elements.len() == 1) {
            Some(sizes) => operands.push(sizes),
            None => return Err(Reason::new(format!("{what} (operand {operand}) is not one number"))),
        }
    }
    let open = |what| {
        Reason::new(format!("{what} is open; fix the size")).with(&[Setting::InputShapes, Setting::Dims])
    };
    let parts = operands.iter().map(|sizes| sizes.parts).max().unwrap_or(1);
    let in_parts = |sizes: &Sizes| match parts % sizes.parts {
        0 => sizes.elements[0].checked_mul(&Dim::fixed(parts / sizes.parts)),
        _ => None,
    };
    let numbers: Option<Vec<Dim>> = operands.iter().map(in_parts).collect();
    let numbers = numbers.ok_or_else(|| open("a part of its limit"))?;
    let [start, limit, step] = numbers.as_slice() else { return Err(overflow()) };
    let step = step.as_fixed().ok_or_else(|| open("its step"))?;
    if step == 0 {
        return Err(zero_step());
    }
    // Walking down from a to b is walking up from -a to -b.
    let distance = if step > 0 { limit.checked_sub(start) } else { start.checked_sub(limit) };
    let size = Dim::fixed(step.checked_abs().ok_or_else(overflow)?);
    let count = distance.and_then(|d| d.maximum(&Dim::from(0))).and_then(|d| d.ceil_div(&size));
    let first = match (start.as_fixed(), parts) {
        (Some(start), _) => call.number(start as f64 / parts as f64, Call::wide(element)),
        (None, 1) => call.size(start, ElementType::I64)?,
        (None, _) => return Err(open("a part of its start")),
    };
    Ok((count.ok_or_else(overflow)?, first, step as f64 / parts as f64))
}

fn zero_step() -> Reason {
    Reason::new("the step (operand 2) is 0; it must lead from the start to the limit".into())
}

/// The indices of the elements that are not 0, one column each. How many there are is the size of the result.
fn non_zero(call: &mut Call<'_, '_>) -> Translated {
    let Some(tensor) = call.tensor(0) else { return Err(counted_by_data()) };
    let places = nonzero_places(tensor.data());
    let shape = tensor.shape();
    let index = |place: usize, axis: usize| {
        let inner: usize = shape[axis + 1..].iter().product();
        (place / inner.max(1) % shape[axis].max(1)) as i64
    };
    let elements: Vec<i64> =
        (0..shape.len()).flat_map(|axis| places.iter().map(move |&place| index(place, axis))).collect();
    let tensor = Tensor::new(vec![shape.len(), places.len()], Data::I64(elements.into()))?;
    Ok(vec![call.known_tensor(tensor, crate::proto::DataType::Int64)])
}

/// The slices along an axis for which a condition holds; without an axis, of all elements in one.
fn compress(call: &mut Call<'_, '_>) -> Translated {
    let Some(condition) = call.tensor(1) else { return Err(counted_by_data()) };
    let chosen: Vec<i64> = nonzero_places(condition.data()).into_iter().map(|place| place as i64).collect();
    let mut x = call.value(0)?;
    let on = match call.attributes.int("axis")? {
        Some(given) => axis(given, call.ty(x).rank())?,
        None => {
            x = super::indexing::flat(call, x)?;
            0
        }
    };
    let indices = call.whole_numbers(chosen)?;
    one(call.op(Op::Gather { axis: on }, &[x, indices])?)
}

fn counted_by_data() -> Reason {
    Reason::new(
        "the size of its result depends on data, and sizes here depend on those of inputs alone; cut it off, \
         or make what it counts constant"
            .into(),
    )
    .with(&[Setting::Outputs])
}

fn nonzero_places(data: &Data) -> Vec<usize> {
    fn places<T>(elements: &[T], zero: impl Fn(&T) -> bool) -> Vec<usize> {
        elements.iter().enumerate().filter(|(_, x)| !zero(x)).map(|(i, _)| i).collect()
    }
    match data {
        Data::F32(v) => places(v, |&x| x == 0.0),
        Data::I8(v) | Data::Ternary(v) => places(v, |&x| x == 0),
        Data::U8(v) => places(v, |&x| x == 0),
        Data::I16(v) => places(v, |&x| x == 0),
        Data::I32(v) => places(v, |&x| x == 0),
        Data::I64(v) => places(v, |&x| x == 0),
        Data::Bool(v) => places(v, |&x| !x),
    }
}
