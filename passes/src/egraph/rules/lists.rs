//! Rules about lists of any length: what stands before or behind a `concat`, and slices of one.

use super::Function;
use super::text::Exactness;
use crate::egraph::build::{Builder, coefficient};
use crate::egraph::facts::operator;
use egg::Id;
use std::collections::BTreeMap;
use twnc_ir::{Binary, Dim, Op, Slice};

const MUL: Op = Op::Binary(Binary::Mul);
const ADD: Op = Op::Binary(Binary::Add);

pub(super) const RULES: &[Function] = &[
    Function {
        name: "scale_through_concat",
        exactness: Exactness { exact: true, numbers_only: false },
        equation: "concat{?a}(mul(?x, ?s), mul(?y, ?t), ..) => mul(concat{?a}(?x, ?y, ..), [s, t, ..]); what has no scale has 1",
        word: "concat",
        apply: scaled_parts,
        samples: &["concat{?a}(mul(?x, ?s), mul(?y, ?t))", "concat{?a}(?x, mul(?y, ?t), mul(?z, ?u))"],
    },
    Function {
        name: "bias_through_concat",
        exactness: Exactness { exact: false, numbers_only: false },
        equation: "concat{?a}(add(?x, ?s), add(?y, ?t), ..) => add(concat{?a}(?x, ?y, ..), [s, t, ..]); what has no bias has 0",
        word: "concat",
        apply: biased_parts,
        samples: &["concat{?a}(add(?x, ?s), add(?y, ?t))", "concat{?a}(add(?x, ?s), ?y)"],
    },
    Function {
        name: "function_through_concat",
        exactness: Exactness { exact: true, numbers_only: false },
        equation: "concat{?a}(f(?x), f(?y), ..) => f(concat{?a}(?x, ?y, ..)) for a function f of one number",
        word: "concat",
        apply: functions_of_parts,
        samples: &["concat{?a}(relu(?x), relu(?y))", "concat{?a}(clip{?b}(?x), clip{?b}(?y), clip{?b}(?z))"],
    },
    Function {
        name: "scale_of_concat",
        exactness: Exactness { exact: true, numbers_only: false },
        equation: "mul(concat{?a}(?x, ?y, ..), ?s) => concat{?a}(mul(?x, part of s), mul(?y, part of s), ..)",
        word: "mul",
        apply: scale_of_concat,
        samples: &["mul(concat{?a}(?x, ?y), ?s)"],
    },
    Function {
        name: "bias_of_concat",
        exactness: Exactness { exact: true, numbers_only: false },
        equation: "add(concat{?a}(?x, ?y, ..), ?t) => concat{?a}(add(?x, part of t), add(?y, part of t), ..)",
        word: "add",
        apply: bias_of_concat,
        samples: &["add(concat{?a}(?x, ?y), ?s)"],
    },
    Function {
        name: "concat_of_concat",
        exactness: Exactness { exact: true, numbers_only: false },
        equation: "concat{?a}(.., concat{?a}(?x, ?y), ..) => concat{?a}(.., ?x, ?y, ..)",
        word: "concat",
        apply: flattened,
        samples: &["concat{?a}(concat{?a}(?x, ?y), ?z)"],
    },
    Function {
        name: "slice_of_concat",
        exactness: Exactness { exact: true, numbers_only: false },
        equation: "slice{?b}(concat{?a}(.., ?x, ..)) => ?x where the slice is this operand",
        word: "slice",
        apply: slice_of_concat,
        samples: &["slice{?b}(concat{?a}(?x, ?y))"],
    },
    Function {
        name: "scales_of_slices",
        exactness: Exactness { exact: true, numbers_only: false },
        equation: "mul(slice{?a}(?x), ?s) beside mul(slice{?b}(?x), ?t), .. => slice{?a}(mul(?x, [s, t, ..])) where the slices are all of ?x, one after the other",
        word: "mul",
        apply: scales_of_slices,
        samples: &["concat{?c}(mul(slice{?a}(?x), ?s), mul(slice{?b}(?x), ?t))"],
    },
    Function {
        name: "biases_of_slices",
        exactness: Exactness { exact: true, numbers_only: false },
        equation: "add(slice{?a}(?x), ?s) beside add(slice{?b}(?x), ?t), .. => slice{?a}(add(?x, [s, t, ..])) where the slices are all of ?x, one after the other",
        word: "add",
        apply: biases_of_slices,
        samples: &["concat{?c}(add(slice{?a}(?x), ?s), add(slice{?b}(?x), ?t))"],
    },
    Function {
        name: "concat_of_slices",
        exactness: Exactness { exact: true, numbers_only: false },
        equation: "concat{?a}(slice{?b}(?x), slice{?c}(?x), ..) => ?x where each slice begins where the one before ends, and they are all of it",
        word: "concat",
        apply: concat_of_slices,
        samples: &["concat{?a}(slice{?b}(?x), slice{?c}(?x))"],
    },
];

/// A way in which `f` by a coefficient may make each part: the part without it, and the coefficient.
fn parts(build: &Builder<'_>, operands: &[Id], word: &str) -> Option<Vec<(Id, Option<Id>)>> {
    let split = |&operand: &Id| {
        let nodes = build.nodes(operand, word);
        let with = nodes.iter().find_map(|(_, operands)| match operands.as_slice() {
            &[x, s] if build.coefficient_of(s).is_some() => Some((x, Some(s))),
            _ => None,
        });
        with.unwrap_or((operand, None))
    };
    let parts: Vec<(Id, Option<Id>)> = operands.iter().map(split).collect();
    parts.iter().any(|(_, s)| s.is_some()).then_some(parts)
}

/// The coefficients of parts as one along the concatenated axis, or the one that all share.
fn joined(build: &mut Builder<'_>, axis: usize, parts: &[(Id, Option<Id>)], neutral: f64) -> Option<Id> {
    if let [(_, Some(first)), rest @ ..] = parts
        && rest.iter().all(|(_, s)| *s == Some(*first))
        && build.coefficient_of(*first)?.axis(build.ty(parts[0].0)?.rank()) != Some(axis)
    {
        return Some(*first);
    }
    let (mut values, mut back) = (vec![], None);
    for (part, s) in parts {
        let ty = build.ty(*part)?;
        let size = ty.shape.get(axis)?.as_size()?;
        back = Some(ty.rank() - axis);
        match s.and_then(|s| coefficient(build.classes, s)) {
            None => values.extend(std::iter::repeat_n(neutral, size)),
            Some((_, &[one])) => values.extend(std::iter::repeat_n(one, size)),
            Some((known, many)) if known.back() == back && many.len() == size => values.extend(many),
            Some(_) => return None,
        }
    }
    build.numbers(back, &values)
}

fn around(build: &mut Builder<'_>, op: &Op, operands: &[Id], f: Op, neutral: f64) -> Option<Vec<Id>> {
    let Op::Concat { axis } = op else { return None };
    let parts = parts(build, operands, f.mnemonic())?;
    let one = joined(build, *axis, &parts, neutral)?;
    let inner: Vec<Id> = parts.iter().map(|(x, _)| *x).collect();
    let inner = build.operator(op.clone(), &inner)?;
    Some(vec![build.operator(f, &[inner, one])?])
}

fn scaled_parts(build: &mut Builder<'_>, op: &Op, operands: &[Id]) -> Option<Vec<Id>> {
    around(build, op, operands, MUL, 1.0)
}

fn biased_parts(build: &mut Builder<'_>, op: &Op, operands: &[Id]) -> Option<Vec<Id>> {
    around(build, op, operands, ADD, 0.0)
}

fn functions_of_parts(build: &mut Builder<'_>, op: &Op, operands: &[Id]) -> Option<Vec<Id>> {
    let functions = |id: Id| -> Vec<(Op, Id)> {
        let nodes = build.classes[id].nodes.iter().filter_map(|node| {
            let f = operator(build.classes, node)?;
            matches!(f, Op::Unary(_)).then(|| (f.clone(), *node.children.last().unwrap_or(&id)))
        });
        nodes.collect()
    };
    let mut found = vec![];
    for (f, first) in functions(*operands.first()?) {
        let same = |id: &Id| functions(*id).into_iter().find(|(g, _)| *g == f).map(|(_, x)| x);
        let Some(rest) = operands[1..].iter().map(same).collect::<Option<Vec<Id>>>() else { continue };
        let inner: Vec<Id> = std::iter::once(first).chain(rest).collect();
        found.push((f, inner));
    }
    let found = found.into_iter().filter_map(|(f, inner)| {
        let inner = build.operator(op.clone(), &inner)?;
        build.operator(f, &[inner])
    });
    Some(found.collect())
}

/// `f` by parts of a coefficient, of each operand of a `concat`.
fn inside(build: &mut Builder<'_>, f: &Op, operands: &[Id]) -> Option<Vec<Id>> {
    let &[whole, s] = operands else { return None };
    let (known, values) = coefficient(build.classes, s)?;
    let (back, values) = (known.back(), values.to_vec());
    let rank = build.ty(whole)?.rank();
    let mut found = vec![];
    for (concat, parts) in build.nodes(whole, "concat") {
        let Op::Concat { axis } = concat else { continue };
        let along = back == Some(rank - axis);
        let (mut new, mut at) = (vec![], 0);
        for &part in &parts {
            let size = build.ty(part)?.shape.get(axis)?.as_size();
            let own = match (along, size) {
                (false, _) => Some(s),
                (true, Some(size)) => {
                    let own = values.get(at..at + size)?;
                    at += size;
                    build.numbers(back, own)
                }
                (true, None) => None,
            };
            new.push(own.and_then(|own| build.operator(f.clone(), &[part, own])));
        }
        let Some(new) = new.into_iter().collect::<Option<Vec<Id>>>() else { continue };
        found.extend(build.operator(Op::Concat { axis }, &new));
    }
    Some(found)
}

fn scale_of_concat(build: &mut Builder<'_>, _: &Op, operands: &[Id]) -> Option<Vec<Id>> {
    inside(build, &MUL, operands)
}

fn bias_of_concat(build: &mut Builder<'_>, _: &Op, operands: &[Id]) -> Option<Vec<Id>> {
    inside(build, &ADD, operands)
}

/// The most operands of a `concat` that is made of several.
const MOST_PARTS: usize = 256;

fn flattened(build: &mut Builder<'_>, op: &Op, operands: &[Id]) -> Option<Vec<Id>> {
    let mut flat = vec![];
    for &operand in operands {
        match build.nodes(operand, "concat").into_iter().find(|(inner, _)| inner == op) {
            Some((_, parts)) => flat.extend(parts),
            None => flat.push(operand),
        }
    }
    // Values that are concatenated with themselves again and again have exponentially many parts.
    let fits = flat.len() > operands.len() && flat.len() <= MOST_PARTS;
    fits.then(|| build.operator(op.clone(), &flat).into_iter().collect())
}

fn slice_of_concat(build: &mut Builder<'_>, op: &Op, operands: &[Id]) -> Option<Vec<Id>> {
    let Op::Slice(Slice { axis, start, size, step: 1 }) = op else { return None };
    let mut found = vec![];
    for (concat, parts) in build.nodes(*operands.first()?, "concat") {
        if concat != (Op::Concat { axis: *axis }) {
            continue;
        }
        let mut at = Dim::from(0usize);
        for part in parts {
            let length = build.ty(part)?.shape.get(*axis)?.clone();
            if at == *start && length == *size {
                found.push(part);
            }
            at = at.checked_add(&length)?;
        }
    }
    Some(found)
}

fn concat_of_slices(build: &mut Builder<'_>, op: &Op, operands: &[Id]) -> Option<Vec<Id>> {
    let Op::Concat { axis } = op else { return None };
    let (mut whole, mut at) = (None, Dim::from(0usize));
    for &operand in operands {
        let next =
            build.nodes(operand, "slice").into_iter().find_map(|(slice, of)| match (slice, of.as_slice()) {
                (Op::Slice(slice), &[x]) => {
                    let follows = slice.axis == *axis && slice.step == 1 && slice.start == at;
                    let x = build.classes.find(x);
                    (follows && whole.is_none_or(|whole| whole == x)).then_some((x, slice.size))
                }
                _ => None,
            });
        let (x, size) = next?;
        whole = Some(x);
        at = at.checked_add(&size)?;
    }
    // If they are not all of it, the types differ.
    Some(vec![whole?])
}

fn scales_of_slices(build: &mut Builder<'_>, _: &Op, operands: &[Id]) -> Option<Vec<Id>> {
    of_slices(build, &MUL, operands)
}

fn biases_of_slices(build: &mut Builder<'_>, _: &Op, operands: &[Id]) -> Option<Vec<Id>> {
    of_slices(build, &ADD, operands)
}

/// `f` by a coefficient of a slice, as the slice of `f` by all coefficients by which slices are taken beside it.
fn of_slices(build: &mut Builder<'_>, f: &Op, operands: &[Id]) -> Option<Vec<Id>> {
    let &[part, s] = operands else { return None };
    build.coefficient_of(s)?;
    let mut found = vec![];
    for (slice, of) in build.nodes(part, "slice") {
        let (Op::Slice(own), &[x]) = (&slice, of.as_slice()) else { continue };
        let Some(parts) = slices(build, x, own) else { continue };
        let coefficients = parts.iter().map(|&(start, id)| {
            let by = if own.start == Dim::fixed(start) { Some(s) } else { coefficient_by(build, id, f) };
            by.map(|by| (id, Some(by)))
        });
        let Some(parts) = coefficients.collect::<Option<Vec<_>>>() else { continue };
        let Some(all) = joined(build, own.axis, &parts, 0.0) else { continue };
        let whole = build.operator(f.clone(), &[x, all]);
        found.extend(whole.and_then(|whole| build.operator(slice, &[whole])));
    }
    Some(found)
}

/// The slices of a value that follow one another and are all of it, in order, one of which is `own`: the start and the class of each.
fn slices(build: &Builder<'_>, x: Id, own: &Slice) -> Option<Vec<(i64, Id)>> {
    let x = build.classes.find(x);
    let whole = i64::try_from(build.ty(x)?.shape.get(own.axis)?.as_size()?).ok()?;
    let mut ends: BTreeMap<i64, (i64, Id)> = BTreeMap::new();
    for parent in build.classes[x].parents() {
        let node = build.classes.id_to_node(parent);
        if let Some(Op::Slice(slice)) = operator(build.classes, node)
            && slice.axis == own.axis
            && slice.step == 1
            && let (Some(start), Some(size)) = (slice.start.as_fixed(), slice.size.as_fixed())
            && (1..whole).contains(&size)
            && (slice.start != own.start || slice == own)
        {
            ends.entry(start).or_insert((start.checked_add(size)?, build.classes.find(parent)));
        }
    }
    let (mut at, mut parts) = (0, vec![]);
    while at < whole {
        let &(end, id) = ends.get(&at)?;
        parts.push((at, id));
        at = end;
    }
    let has_own = parts.iter().any(|&(start, _)| own.start == Dim::fixed(start));
    (at == whole && has_own).then_some(parts)
}

/// A coefficient by which `f` of a class is taken somewhere.
fn coefficient_by(build: &Builder<'_>, id: Id, f: &Op) -> Option<Id> {
    let by = build.classes[id].parents().filter_map(|parent| {
        let node = build.classes.id_to_node(parent);
        let &[x, s] = node.children.as_slice() else { return None };
        let fits = node.head.is(f.mnemonic())
            && build.classes.find(x) == build.classes.find(id)
            && build.coefficient_of(s).is_some();
        fits.then(|| build.classes.find(s))
    });
    by.min()
}
