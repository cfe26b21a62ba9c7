//! `Einsum`: products summed over named axes, as products of matrices.
//!
//! Operands are taken in one after the other. Labels that neither the result nor a later operand has are summed: in one operand alone at once, in
//! both by the product. A label that one operand has twice is its diagonal.

use super::super::call::{Call, Reason, Translated, one, overflow};
use super::{MANY, Operator, operator};
use twnc_ir::{Binary, Dim, ElementType, Op, ReduceKind, ValueId};

pub(super) const OPERATORS: &[Operator] =
    &[operator("Einsum", 12, (1, MANY), "iota, equal, keep, reduce_sum, transpose, reshape, matmul", einsum)];

/// The name of an axis; axes that an ellipsis stands for are numbered from the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Ellipsis(usize),
    Letter(char),
}

/// A value whose axes have names.
struct Named {
    value: ValueId,
    labels: Vec<Label>,
}

fn einsum(call: &mut Call<'_, '_>) -> Translated {
    let Some(equation) = call.attributes.string("equation")? else {
        return Err(Reason::new("attribute `equation` is missing".into()));
    };
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (terms, result) = match equation.split_once("->") {
        Some((terms, result)) => (terms, Some(result)),
        None => (equation.as_str(), None),
    };
    let terms: Vec<&str> = terms.split(',').collect();
    if terms.len() != call.operand_count() {
        return Err(Reason::new(format!(
            "equation `{equation}` is not one of {} operands",
            call.operand_count()
        )));
    }
    let mut operands = vec![];
    for (i, term) in terms.iter().enumerate() {
        let value = call.value(i)?;
        if call.ty(value).element != ElementType::F32 {
            return Err(Reason::new(format!("does not take {}", call.ty(value))));
        }
        let labels = labels(term, Some(call.ty(value).rank()), &equation)?;
        operands.push(diagonals(call, Named { value, labels })?);
    }
    let widest =
        operands.iter().flat_map(|operand| &operand.labels).filter(|l| matches!(l, Label::Ellipsis(_)));
    let widest =
        widest.map(|label| if let Label::Ellipsis(n) = label { n + 1 } else { 0 }).max().unwrap_or(0);
    let result = match result {
        Some(result) => {
            let wanted = labels(result, None, &equation)?;
            wanted
                .into_iter()
                .flat_map(|label| match label {
                    Label::Ellipsis(_) => (0..widest).rev().map(Label::Ellipsis).collect(),
                    letter => vec![letter],
                })
                .collect()
        }
        None => implied(&operands, widest),
    };
    let mut rest = operands.into_iter();
    let Some(mut all) = rest.next() else { return Err(Reason::new("has no operand".into())) };
    let mut rest: Vec<Named> = rest.collect();
    rest.reverse();
    while let Some(next) = rest.pop() {
        let later =
            |label: &Label| result.contains(label) || rest.iter().any(|named| named.labels.contains(label));
        all = product(call, all, next, &later)?;
    }
    all = summed(call, all, &|label| result.contains(label))?;
    one(arranged(call, all, &result, &equation)?)
}

/// The labels of a term; `rank` is how many axes it must name, of an operand.
fn labels(term: &str, rank: Option<usize>, equation: &str) -> Result<Vec<Label>, Reason> {
    let misfit =
        || Reason::new(format!("`{term}` in equation `{equation}` does not name the axes of its operand"));
    let letters = |text: &str| {
        let all = text.chars().map(|c| if c.is_alphabetic() { Some(Label::Letter(c)) } else { None });
        all.collect::<Option<Vec<_>>>().ok_or_else(misfit)
    };
    let Some((before, after)) = term.split_once("...") else {
        let labels = letters(term)?;
        return if rank.is_none_or(|rank| rank == labels.len()) { Ok(labels) } else { Err(misfit()) };
    };
    let (before, after) = (letters(before)?, letters(after)?);
    let between = match rank {
        Some(rank) => rank.checked_sub(before.len() + after.len()).ok_or_else(misfit)?,
        None => 1,
    };
    Ok([before, (0..between).rev().map(Label::Ellipsis).collect(), after].concat())
}

/// Without a result: the ellipsis, then what stands once, by name.
fn implied(operands: &[Named], widest: usize) -> Vec<Label> {
    let all: Vec<Label> = operands.iter().flat_map(|operand| operand.labels.clone()).collect();
    let mut letters: Vec<Label> =
        all.iter().copied().filter(|label| matches!(label, Label::Letter(_))).collect();
    letters.retain(|label| all.iter().filter(|other| *other == label).count() == 1);
    letters.sort_unstable();
    (0..widest).rev().map(Label::Ellipsis).chain(letters).collect()
}

/// Each label once: of axes with the same one, the elements where both indices are equal.
fn diagonals(call: &mut Call<'_, '_>, mut named: Named) -> Result<Named, Reason> {
    while let Some((first, second)) = twice(&named.labels) {
        let (shape, rank) = (call.shape(named.value), named.labels.len());
        let row = call.positions(&shape[first], first, rank, ElementType::F32)?;
        let column = call.positions(&shape[second], second, rank, ElementType::F32)?;
        let same = call.binary(Binary::Equal, row, column)?;
        let kept = call.binary(Binary::Keep, named.value, same)?;
        let op = Op::Reduce { kind: ReduceKind::Sum, axes: vec![second], keep_dims: false };
        named.value = call.op(op, &[kept])?;
        named.labels.remove(second);
    }
    Ok(named)
}

fn twice(labels: &[Label]) -> Option<(usize, usize)> {
    (0..labels.len())
        .find_map(|second| Some((labels[..second].iter().position(|l| *l == labels[second])?, second)))
}

/// Sums over the axes whose labels are not kept.
fn summed(call: &mut Call<'_, '_>, named: Named, kept: &dyn Fn(&Label) -> bool) -> Result<Named, Reason> {
    let axes: Vec<usize> = (0..named.labels.len()).filter(|&i| !kept(&named.labels[i])).collect();
    if axes.is_empty() {
        return Ok(named);
    }
    let value = call.op(Op::Reduce { kind: ReduceKind::Sum, axes, keep_dims: false }, &[named.value])?;
    Ok(Named { value, labels: named.labels.into_iter().filter(|label| kept(label)).collect() })
}

/// The product of two operands, with the labels of both that are needed later.
fn product(
    call: &mut Call<'_, '_>,
    a: Named,
    b: Named,
    later: &dyn Fn(&Label) -> bool,
) -> Result<Named, Reason> {
    let (of_a, of_b) = (a.labels.clone(), b.labels.clone());
    let a = summed(call, a, &|label| later(label) || of_b.contains(label))?;
    let b = summed(call, b, &|label| later(label) || of_a.contains(label))?;
    let both = |label: &&Label| b.labels.contains(label);
    let batch: Vec<Label> = a.labels.iter().filter(both).filter(|label| later(label)).copied().collect();
    let inner: Vec<Label> = a.labels.iter().filter(both).filter(|label| !later(label)).copied().collect();
    let rows: Vec<Label> = a.labels.iter().filter(|label| !b.labels.contains(label)).copied().collect();
    let columns: Vec<Label> = b.labels.iter().filter(|label| !a.labels.contains(label)).copied().collect();
    let sizes = |call: &Call<'_, '_>, list: &[Label]| -> Vec<Dim> {
        let of = |named: &Named, label: &Label| {
            let axis = named.labels.iter().position(|l| l == label)?;
            call.shape(named.value).get(axis).cloned()
        };
        let one = Dim::from(1);
        // An axis of size 1 broadcasts.
        let size = |label| match (of(&a, label), of(&b, label)) {
            (Some(x), Some(y)) => {
                if x == one {
                    y
                } else {
                    x
                }
            }
            (Some(x), None) | (None, Some(x)) => x,
            (None, None) => one.clone(),
        };
        list.iter().map(size).collect()
    };
    let (batch_sizes, inner_sizes) = (sizes(call, &batch), sizes(call, &inner));
    let (row_sizes, column_sizes) = (sizes(call, &rows), sizes(call, &columns));
    let flat = |dims: &[Dim]| Dim::product(dims).ok_or_else(overflow);
    let left = ordered(call, &a, &[&batch, &rows, &inner], &[&batch_sizes, &row_sizes, &inner_sizes])?;
    let left =
        call.reshape(left, [batch_sizes.clone(), vec![flat(&row_sizes)?, flat(&inner_sizes)?]].concat())?;
    let right = ordered(call, &b, &[&batch, &inner, &columns], &[&batch_sizes, &inner_sizes, &column_sizes])?;
    let right =
        call.reshape(right, [batch_sizes.clone(), vec![flat(&inner_sizes)?, flat(&column_sizes)?]].concat())?;
    let value = call.op(Op::MatMul, &[left, right])?;
    let value = call.reshape(value, [batch_sizes, row_sizes, column_sizes].concat())?;
    Ok(Named { value, labels: [batch, rows, columns].concat() })
}

/// The value with its axes in this order, repeated to these sizes.
fn ordered(
    call: &mut Call<'_, '_>,
    named: &Named,
    order: &[&[Label]],
    sizes: &[&[Dim]],
) -> Result<ValueId, Reason> {
    let order = order.concat();
    let perm: Vec<usize> =
        order.iter().filter_map(|label| named.labels.iter().position(|own| own == label)).collect();
    let value = call.transpose(named.value, perm)?;
    call.broadcast(value, sizes.concat())
}

/// The value with the axes of the result, all of which it has.
fn arranged(
    call: &mut Call<'_, '_>,
    named: Named,
    result: &[Label],
    equation: &str,
) -> Result<ValueId, Reason> {
    let perm: Option<Vec<usize>> =
        result.iter().map(|label| named.labels.iter().position(|own| own == label)).collect();
    let perm = perm.filter(|perm| perm.len() == named.labels.len() && twice(result).is_none());
    let perm = perm.ok_or_else(|| {
        Reason::new(format!(
            "the result of equation `{equation}` names an axis that no operand has, or one twice"
        ))
    })?;
    call.transpose(named.value, perm)
}
