//! Moves, casts and dims.

use crate::single::{buffer, check, count_up, f32s, i32s, i64s, program, run};
use proptest::prelude::*;
use twnc_program::interpret::{Functions, RunError, Tensor, TensorData};
use twnc_program::step::{Cast, Dims, Move, MoveKind, PadMode};
use twnc_program::{BufferId, Dim, ElementType, StepKind, SymbolId, interpret};

fn step(kind: MoveKind, inputs: u32) -> StepKind {
    StepKind::Move(Move { kind, inputs: (0..inputs).map(buffer).collect(), output: BufferId(inputs) })
}

fn slice(axis: usize, start: i64, step: i64) -> MoveKind {
    MoveKind::Slice { axis, start: Dim::Fixed(start), step }
}

fn transpose(perm: &[usize]) -> MoveKind {
    MoveKind::Transpose { perm: perm.to_vec() }
}

fn pad(begin: &[usize], end: &[usize], mode: PadMode) -> MoveKind {
    MoveKind::Pad { begin: begin.to_vec(), end: end.to_vec(), mode }
}

#[test]
fn moves_of_one_input() {
    let two = count_up(&[2, 3]);
    let table: [(MoveKind, Tensor, Tensor); 17] = [
        (MoveKind::Reshape, two.clone(), count_up(&[3, 1, 2])),
        (transpose(&[1, 0]), two.clone(), f32s(&[3, 2], &[1., 4., 2., 5., 3., 6.])),
        (transpose(&[0, 1]), two.clone(), two.clone()),
        (transpose(&[]), f32s(&[], &[9.]), f32s(&[], &[9.])),
        (transpose(&[2, 0, 1]), count_up(&[2, 1, 3]), f32s(&[3, 2, 1], &[1., 4., 2., 5., 3., 6.])),
        (transpose(&[1, 0, 2]), count_up(&[2, 2, 2]), f32s(&[2, 2, 2], &[1., 2., 5., 6., 3., 4., 7., 8.])),
        (slice(1, 1, 1), two.clone(), f32s(&[2, 2], &[2., 3., 5., 6.])),
        (slice(1, 2, -1), two.clone(), f32s(&[2, 3], &[3., 2., 1., 6., 5., 4.])),
        (slice(1, 0, 2), two.clone(), f32s(&[2, 2], &[1., 3., 4., 6.])),
        (slice(0, 1, i64::MIN), two.clone(), f32s(&[1, 3], &[4., 5., 6.])),
        (slice(0, i64::MAX, 1), two.clone(), f32s(&[0, 3], &[])),
        (MoveKind::Broadcast, f32s(&[2, 1], &[1., 2.]), f32s(&[2, 2, 2], &[1., 1., 2., 2., 1., 1., 2., 2.])),
        (MoveKind::Broadcast, f32s(&[], &[3.]), f32s(&[3], &[3.; 3])),
        (pad(&[0, 2], &[1, 0], PadMode::Constant(-0.)), two.clone(), {
            f32s(&[3, 5], &[-0., -0., 1., 2., 3., -0., -0., 4., 5., 6., -0., -0., -0., -0., -0.])
        }),
        (
            pad(&[1, 2], &[0, 1], PadMode::Reflect),
            two.clone(),
            f32s(&[3, 6], &[6., 5., 4., 5., 6., 5., 3., 2., 1., 2., 3., 2., 6., 5., 4., 5., 6., 5.]),
        ),
        (
            pad(&[1, 2], &[0, 1], PadMode::Edge),
            two,
            f32s(&[3, 6], &[1., 1., 1., 2., 3., 3., 1., 1., 1., 2., 3., 3., 4., 4., 4., 5., 6., 6.]),
        ),
        (pad(&[1, 0], &[0, 2], PadMode::Constant(1.)), f32s(&[1, 0], &[]), f32s(&[2, 2], &[1.; 4])),
    ];
    for (kind, input, expected) in table {
        check(&[input], &[], step(kind, 1), &expected);
    }
}

#[test]
fn large_transposes() {
    // More than one block each way, with rests.
    let (rows, columns) = (37, 50);
    let moved: Vec<f32> = (0..rows * columns).map(|i| (i % rows * columns + i / rows + 1) as f32).collect();
    check(&[count_up(&[rows, columns])], &[], step(transpose(&[1, 0]), 1), &f32s(&[columns, rows], &moved));
}

#[test]
fn concatenations() {
    let (a, b, none) = (count_up(&[2, 1]), f32s(&[2, 2], &[7., 8., 9., 0.]), f32s(&[2, 0], &[]));
    check(
        &[a.clone(), none, b.clone()],
        &[],
        step(MoveKind::Concat { axis: 1 }, 3),
        &f32s(&[2, 3], &[1., 7., 8., 2., 9., 0.]),
    );
    check(
        &[b, count_up(&[1, 2])],
        &[],
        step(MoveKind::Concat { axis: 0 }, 2),
        &f32s(&[3, 2], &[7., 8., 9., 0., 1., 2.]),
    );
    check(std::slice::from_ref(&a), &[], step(MoveKind::Concat { axis: 0 }, 1), &a);
}

#[test]
fn gathers() {
    let table = count_up(&[3, 2]);
    let rows = f32s(&[2, 2, 2], &[5., 6., 1., 2., 3., 4., 5., 6.]);
    let (gather, columns) = (step(MoveKind::Gather { axis: 0 }, 2), step(MoveKind::Gather { axis: 1 }, 2));
    check(&[table.clone(), i64s(&[2, 2], &[2, 0, 1, -1])], &[], gather.clone(), &rows);
    check(&[table.clone(), i32s(&[2, 2], &[-1, -3, -2, 2])], &[], gather.clone(), &rows);
    check(&[table.clone(), i64s(&[], &[1])], &[], columns.clone(), &f32s(&[3], &[2., 4., 6.]));
    check(&[table.clone(), i64s(&[0], &[])], &[], columns, &f32s(&[3, 0], &[]));
    for index in [3, -4, i64::MAX, i64::MIN] {
        let found =
            run(&[table.clone(), i64s(&[1], &[index])], &[], gather.clone(), ElementType::F32, &[1, 2]);
        assert_eq!(found, Err(RunError::Index { step: "layer".into(), index, size: 3 }));
    }
    let empty = [f32s(&[0, 2], &[]), i64s(&[1], &[0])];
    let found = run(&empty, &[], gather, ElementType::F32, &[1, 2]);
    assert_eq!(found, Err(RunError::Index { step: "layer".into(), index: 0, size: 0 }));
}

#[test]
fn moves_of_every_type() {
    let tensors = [
        TensorData::F32(vec![1., 2.]),
        TensorData::I8(vec![-1, 2]),
        TensorData::U8(vec![1, 200]),
        TensorData::I16(vec![-1, 300]),
        TensorData::I32(vec![-1, 70_000]),
        TensorData::I64(vec![-1, 1 << 40]),
        TensorData::Bool(vec![0, 1]),
    ];
    for data in tensors {
        let tensor = Tensor { shape: vec![2], data };
        let again = step(MoveKind::Concat { axis: 0 }, 1);
        check(std::slice::from_ref(&tensor), &[], again, &tensor);
    }
    // A pad's number is converted like any other.
    let table: [(TensorData, f32, TensorData); 4] = [
        (TensorData::I8(vec![5]), 300., TensorData::I8(vec![5, 127])),
        (TensorData::U8(vec![5]), -1., TensorData::U8(vec![5, 0])),
        (TensorData::I64(vec![5]), f32::NAN, TensorData::I64(vec![5, 0])),
        (TensorData::Bool(vec![0]), 0.5, TensorData::Bool(vec![0, 1])),
    ];
    for (from, number, to) in table {
        let (from, to) = (Tensor { shape: vec![1], data: from }, Tensor { shape: vec![2], data: to });
        check(&[from], &[], step(pad(&[0], &[1], PadMode::Constant(number)), 1), &to);
    }
}

#[test]
fn casts() {
    use TensorData::{Bool, F32, I8, I16, I32, I64, U8};
    let floats = || F32(vec![-1.9, 300.7, f32::NAN, f32::INFINITY, 0.5]);
    let wide = || I64(vec![-1, 300, 1 << 40, 0, 16_777_217]);
    let table: [(TensorData, TensorData); 16] = [
        (floats(), floats()),
        (floats(), I8(vec![-1, 127, 0, 127, 0])),
        (floats(), U8(vec![0, 255, 0, 255, 0])),
        (floats(), I16(vec![-1, 300, 0, i16::MAX, 0])),
        (floats(), I32(vec![-1, 300, 0, i32::MAX, 0])),
        (floats(), I64(vec![-1, 300, 0, i64::MAX, 0])),
        (floats(), Bool(vec![1, 1, 1, 1, 1])),
        (F32(vec![0., -0., 1e-45]), Bool(vec![0, 0, 1])),
        (wide(), F32(vec![-1., 300., 1.099_511_6e12, 0., 16_777_216.])),
        (wide(), I8(vec![-1, 44, 0, 0, 1])),
        (wide(), U8(vec![255, 44, 0, 0, 1])),
        (wide(), I32(vec![-1, 300, 0, 0, 16_777_217])),
        (wide(), Bool(vec![1, 1, 1, 0, 1])),
        (U8(vec![200, 1]), I8(vec![-56, 1])),
        (I8(vec![-56, 1]), I64(vec![-56, 1])),
        (Bool(vec![0, 1]), F32(vec![0., 1.])),
    ];
    for (from, to) in table {
        let shape = vec![from.view().len()];
        let cast = StepKind::Cast(Cast { input: buffer(0), output: BufferId(1) });
        check(&[Tensor { shape: shape.clone(), data: from }], &[], cast, &Tensor { shape, data: to });
    }
}

#[test]
fn dims() {
    let symbol = || Box::new(Dim::Symbol(SymbolId(0)));
    let fixed = |n| Box::new(Dim::Fixed(n));
    let table: [(Dim, i64); 7] = [
        (Dim::Fixed(-3), -3),
        (Dim::Symbol(SymbolId(0)), 5),
        (Dim::Add(symbol(), fixed(-7)), -2),
        (Dim::Mul(symbol(), symbol()), 25),
        (Dim::FloorDiv(Box::new(Dim::Add(symbol(), fixed(-8))), fixed(2)), -2),
        (Dim::Min(symbol(), fixed(4)), 4),
        (Dim::Max(symbol(), fixed(4)), 5),
    ];
    let (values, expected): (Vec<_>, Vec<_>) = table.into_iter().unzip();
    let count = expected.len();
    let dims = StepKind::Dims(Dims { values, output: BufferId(1) });
    let input = count_up(&[5]);
    let mut program = program(std::slice::from_ref(&input), &[], dims, ElementType::I64, &[count]);
    program.symbols = vec!["n".into()];
    program.buffers[0].shape = vec![Dim::Symbol(SymbolId(0))];
    program.validate().expect("valid");
    let outputs = interpret::run(&program, &[input], &Functions::default());
    assert_eq!(outputs, Ok(vec![i64s(&[count], &expected)]));
}

/// A shape of up to four axes, and one number per axis.
fn shapes() -> impl Strategy<Value = Vec<(usize, u32)>> {
    proptest::collection::vec((1usize..6, any::<u32>()), 0..5)
}

/// The index along each axis of every element, in row-major order.
fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![vec![]], |indices, &size| {
        indices.iter().flat_map(|index| (0..size).map(|i| [&index[..], &[i]].concat())).collect()
    })
}

/// Asserts that a move takes each element of the output from the place that `source` names.
fn check_places(shape: &[usize], kind: MoveKind, to: &[usize], source: &dyn Fn(&[usize]) -> Vec<usize>) {
    let element = |index: Vec<usize>| {
        (shape.iter().zip(index).fold(0, |place, (&size, i)| place * size + i) + 1) as f32
    };
    let expected: Vec<f32> = indices(to).iter().map(|index| element(source(index))).collect();
    check(&[count_up(shape)], &[], step(kind, 1), &f32s(to, &expected));
}

proptest! {
    #[test]
    fn transposes_are_as_defined(axes in shapes()) {
        let shape: Vec<_> = axes.iter().map(|&(size, _)| size).collect();
        let mut perm: Vec<usize> = (0..axes.len()).collect();
        perm.sort_by_key(|&axis| axes[axis].1);
        let to: Vec<_> = perm.iter().map(|&axis| shape[axis]).collect();
        check_places(&shape, transpose(&perm), &to, &|index| {
            (0..perm.len()).map(|axis| index[perm.iter().position(|&p| p == axis).expect("a permutation")]).collect()
        });
    }

    #[test]
    fn slices_are_as_defined(axes in shapes(), axis: usize, start: usize, by in 1usize..4, back: bool) {
        prop_assume!(!axes.is_empty());
        let shape: Vec<_> = axes.iter().map(|&(size, _)| size).collect();
        let axis = axis % shape.len();
        let start = start % shape[axis];
        let mut to = shape.clone();
        to[axis] = if back { start / by + 1 } else { (shape[axis] - start).div_ceil(by) };
        let sign = if back { -1 } else { 1 };
        check_places(&shape, slice(axis, start as i64, sign * by as i64), &to, &|index| {
            let mut index = index.to_vec();
            index[axis] = if back { start - index[axis] * by } else { start + index[axis] * by };
            index
        });
    }

    #[test]
    fn broadcasts_are_as_defined(axes in shapes(), more in 0usize..3) {
        let shape: Vec<_> = axes.iter().map(|&(size, wide)| if wide % 2 == 0 { 1 } else { size }).collect();
        let to: Vec<_> = std::iter::repeat_n(2, more).chain(axes.iter().map(|&(size, _)| size)).collect();
        check_places(&shape, MoveKind::Broadcast, &to, &|index| {
            index[more..].iter().zip(&shape).map(|(&i, &size)| if size == 1 { 0 } else { i }).collect()
        });
    }

    #[test]
    fn pads_by_a_number_are_as_defined(axes in shapes(), none: bool) {
        let mut shape: Vec<_> = axes.iter().map(|&(size, _)| size).collect();
        if let (true, Some(last)) = (none, shape.last_mut()) {
            *last = 0;
        }
        // Every second axis is padded, so that some lie together.
        let width = |n: u32| if n.is_multiple_of(2) { 0 } else { (n / 2 % 4) as usize };
        let begin: Vec<_> = axes.iter().map(|&(_, n)| width(n)).collect();
        let end: Vec<_> = axes.iter().map(|&(_, n)| width(n / 16)).collect();
        let to: Vec<_> = (0..shape.len()).map(|axis| begin[axis] + shape[axis] + end[axis]).collect();
        let element = |index: Vec<usize>| {
            let place = index.iter().zip(&begin).zip(&shape).try_fold(0, |place, ((&i, &begin), &size)| {
                Some(place * size + i.checked_sub(begin).filter(|&i| i < size)?)
            });
            place.map_or(-2.5, |place| (place + 1) as f32)
        };
        let expected: Vec<f32> = indices(&to).into_iter().map(element).collect();
        let kind = pad(&begin, &end, PadMode::Constant(-2.5));
        check(&[count_up(&shape)], &[], step(kind, 1), &f32s(&to, &expected));
    }

    #[test]
    fn pads_are_as_defined(axes in shapes(), edge: bool) {
        let shape: Vec<_> = axes.iter().map(|&(size, _)| size).collect();
        let widths: Vec<_> = axes.iter().map(|&(size, n)| {
            let bound = if edge { 4 } else { size as u32 };
            ((n % bound) as usize, (n / 16 % bound) as usize)
        }).collect();
        let (begin, end): (Vec<_>, Vec<_>) = widths.into_iter().unzip();
        let to: Vec<_> = (0..shape.len()).map(|axis| begin[axis] + shape[axis] + end[axis]).collect();
        let mode = if edge { PadMode::Edge } else { PadMode::Reflect };
        check_places(&shape, pad(&begin, &end, mode), &to, &|index| {
            (0..shape.len()).map(|axis| {
                let (place, last) = (index[axis] as i64 - begin[axis] as i64, shape[axis] as i64 - 1);
                let near = place.clamp(0, last);
                (if edge { near } else { 2 * near - place }) as usize
            }).collect()
        });
    }
}
