//! Iota, scatter, running sums, the largest elements.

use crate::single::{buffer, check, f32s, i32s, i64s, program, run};
use twnc_program::interpret::{self, Functions, RunError, Tensor, TensorData};
use twnc_program::step::{Combine, Cumulative, Iota, Reduce, ReduceKind, Scatter, Softmax, TopK};
use twnc_program::{Buffer, BufferId, Dim, ElementType, Port, Program, StepKind};

const NAN: f32 = f32::NAN;

fn scatter(combine: Option<Combine>) -> StepKind {
    let (data, indices, updates) = (buffer(0), buffer(1), buffer(2));
    StepKind::Scatter(Scatter { combine, data, indices, updates, output: BufferId(3) })
}

#[test]
fn iota_counts_from_zero() {
    check(&[], &[], StepKind::Iota(Iota { output: BufferId(0) }), &i64s(&[4], &[0, 1, 2, 3]));
    check(&[], &[], StepKind::Iota(Iota { output: BufferId(0) }), &i64s(&[0], &[]));
}

#[test]
fn scatter_replaces_or_combines_in_order() {
    let data = f32s(&[3, 2], &[1., 2., 3., 4., 5., 6.]);
    let (indices, updates) = (i64s(&[3], &[-1, 0, -1]), f32s(&[3, 2], &[7., 8., -1., 0., 9., NAN]));
    let table: [(Option<Combine>, [f32; 6]); 5] = [
        (None, [-1., 0., 3., 4., 9., NAN]),
        (Some(Combine::Add), [0., 2., 3., 4., 21., NAN]),
        (Some(Combine::Mul), [-1., 0., 3., 4., 315., NAN]),
        (Some(Combine::Min), [-1., 0., 3., 4., 5., NAN]),
        (Some(Combine::Max), [1., 2., 3., 4., 9., NAN]),
    ];
    for (combine, expected) in table {
        let inputs = [data.clone(), indices.clone(), updates.clone()];
        check(&inputs, &[], scatter(combine), &f32s(&[3, 2], &expected));
    }
    let inputs = [i32s(&[2], &[i32::MAX, 1]), i32s(&[1], &[0]), i32s(&[1], &[1])];
    check(&inputs, &[], scatter(Some(Combine::Add)), &i32s(&[2], &[i32::MIN, 1]));
    let bytes =
        |shape: &[usize], v: &[u8]| Tensor { shape: shape.to_vec(), data: TensorData::U8(v.to_vec()) };
    let inputs = [bytes(&[2], &[1, 2]), i64s(&[1], &[1]), bytes(&[1], &[9])];
    check(&inputs, &[], scatter(None), &bytes(&[2], &[1, 9]));
}

#[test]
fn a_scatter_outside_of_the_data_is_an_error() {
    for index in [2, -3, i64::MIN, i64::MAX] {
        let inputs = [f32s(&[2], &[1., 2.]), i64s(&[1], &[index]), f32s(&[1], &[3.])];
        let outcome = run(&inputs, &[], scatter(None), ElementType::F32, &[2]);
        assert_eq!(outcome, Err(RunError::Index { step: "layer".into(), index, size: 2 }));
    }
}

#[test]
fn running_sums_and_products() {
    let cumulative = |combine, axis| {
        StepKind::Cumulative(Cumulative { combine, input: buffer(0), axis, output: BufferId(1) })
    };
    let matrix = f32s(&[2, 3], &[1., 2., 3., 4., 5., 6.]);
    check(
        std::slice::from_ref(&matrix),
        &[],
        cumulative(Combine::Add, 1),
        &f32s(&[2, 3], &[1., 3., 6., 4., 9., 15.]),
    );
    check(
        std::slice::from_ref(&matrix),
        &[],
        cumulative(Combine::Add, 0),
        &f32s(&[2, 3], &[1., 2., 3., 5., 7., 9.]),
    );
    check(&[matrix], &[], cumulative(Combine::Mul, 1), &f32s(&[2, 3], &[1., 2., 6., 4., 20., 120.]));
    // The sum is in f64: in f32 the small number would be lost.
    let wide = f32s(&[3], &[1e8, 1., -1e8]);
    check(&[wide], &[], cumulative(Combine::Add, 0), &f32s(&[3], &[1e8, 1e8, 1.]));
    check(
        &[i64s(&[2], &[i64::MAX, 1])],
        &[],
        cumulative(Combine::Add, 0),
        &i64s(&[2], &[i64::MAX, i64::MIN]),
    );
    check(&[i32s(&[2], &[1 << 20, 1 << 12])], &[], cumulative(Combine::Mul, 0), &i32s(&[2], &[1 << 20, 0]));
}

/// What the step makes of an input of one line.
fn top_k(largest: bool, k: usize, input: &Tensor) -> (TensorData, Vec<i64>) {
    let kind =
        StepKind::TopK(TopK { input: buffer(0), axis: 0, largest, outputs: [BufferId(1), BufferId(2)] });
    let element = input.data.view().element();
    let mut program: Program = program(std::slice::from_ref(input), &[], kind, element, &[k]);
    program.buffers.push(Buffer { element: ElementType::I64, shape: vec![Dim::from(k)] });
    program.outputs.push(Port { name: "indices".into(), buffer: BufferId(2) });
    program.validate().expect("the program is valid");
    let outputs =
        interpret::run(&program, std::slice::from_ref(input), &Functions::default()).expect("it runs");
    let [values, Tensor { data: TensorData::I64(indices), .. }] = &outputs[..] else {
        panic!("two outputs, the second whole numbers")
    };
    (values.data.clone(), indices.clone())
}

#[test]
fn the_largest_come_in_order_and_the_first_of_equal_ones_first() {
    let numbers = f32s(&[6], &[1., 3., -0., 3., NAN, 0.]);
    let table: [(bool, usize, &[f32], &[i64]); 4] = [
        (true, 3, &[NAN, 3., 3.], &[4, 1, 3]),
        (true, 0, &[], &[]),
        (false, 3, &[-0., 0., 1.], &[2, 5, 0]),
        (false, 6, &[-0., 0., 1., 3., 3., NAN], &[2, 5, 0, 1, 3, 4]),
    ];
    for (largest, k, values, indices) in table {
        let (found, at) = top_k(largest, k, &numbers);
        assert_eq!(format!("{found:?}"), format!("{:?}", TensorData::F32(values.to_vec())));
        assert_eq!(at, indices);
    }
    assert_eq!(
        top_k(true, 2, &i64s(&[3], &[-5, i64::MAX, 0])),
        (TensorData::I64(vec![i64::MAX, 0]), vec![1, 2])
    );
}

#[test]
fn what_is_taken_is_what_sorting_gives() {
    // Few values, so that many are equal; rising and falling lines take a heap the longest.
    let random = (0..997u64).scan(7u64, |seed, _| {
        *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        Some((*seed >> 33) as i64 % 100)
    });
    let lines: [Vec<i64>; 4] = [random.collect(), (0..997).collect(), (0..997).rev().collect(), vec![3; 997]];
    for line in lines {
        for largest in [true, false] {
            let mut sorted: Vec<usize> = (0..line.len()).collect();
            sorted.sort_by_key(|&i| if largest { -line[i] } else { line[i] });
            for k in [1, 2, 3, 10, 500, 996, 997] {
                let (values, indices) = top_k(largest, k, &i64s(&[line.len()], &line));
                assert_eq!(
                    indices,
                    sorted[..k].iter().map(|&i| i as i64).collect::<Vec<_>>(),
                    "{k} {largest}"
                );
                assert_eq!(values, TensorData::I64(sorted[..k].iter().map(|&i| line[i]).collect()));
            }
        }
    }
    // A comparison with each that is taken would be 10^12 of them.
    let (count, k) = (4_000_000, 2_000_000);
    let rising: Vec<i64> = (0..count).collect();
    let (_, indices) = top_k(true, k as usize, &i64s(&[count as usize], &rising));
    assert!(indices.into_iter().eq((count - k..count).rev()));
}

/// Of a great many lines that are empty, none is walked: it would not end.
#[test]
fn shapes_without_elements_end_at_once() {
    let empty = f32s(&[1 << 30, 1 << 29, 0], &[]);
    let (input, output) = (buffer(0), BufferId(1));
    let lines = StepKind::Cumulative(Cumulative { combine: Combine::Add, input, axis: 2, output });
    check(std::slice::from_ref(&empty), &[], lines, &empty);
    let softmax = StepKind::Softmax(Softmax { input: BufferId(0), axes: vec![2], output });
    check(std::slice::from_ref(&empty), &[], softmax, &empty);
    let all = StepKind::Reduce(Reduce { kind: ReduceKind::Sum, input: BufferId(0), axes: vec![], output });
    check(std::slice::from_ref(&empty), &[], all, &empty);
    let sum =
        StepKind::Reduce(Reduce { kind: ReduceKind::Sum, input: BufferId(0), axes: vec![0, 1, 2], output });
    check(std::slice::from_ref(&empty), &[], sum, &f32s(&[1, 1, 1], &[0.0]));
}
