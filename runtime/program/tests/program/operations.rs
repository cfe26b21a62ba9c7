//! How many operations a step takes: what each kind counts, and what an epilogue adds.

use crate::single::{buffer, constant, count_up, dense, program, ternary, window};
use twnc_program::interpret::Tensor;
use twnc_program::scalar::{Binary, Unary};
use twnc_program::step::{
    Accumulate, Contraction, Conv, Epilogue, Map, MapInstruction, MatMul, Move, MoveKind, Plane, Pool,
    PoolKind, Quantize, Reduce, ReduceKind, Softmax, Term,
};
use twnc_program::{BufferId, Constant, ConstantId, ElementType, Operations, Step, StepKind, operations};

fn term(planes: &[(u32, u32)], scale: Option<u32>) -> Term {
    let plane = |&(input, weight): &(u32, u32)| {
        let contraction = Contraction::Window { window: window(&[1, 1]), groups: 1 };
        Plane { input: BufferId(input), weight: ConstantId(weight), contraction }
    };
    Term {
        planes: planes.iter().map(plane).collect(),
        parts: 1,
        scale: scale.map(ConstantId),
        input_scale: None,
    }
}

fn counts(kernel: (u64, u64), epilogue: (u64, u64), float: u64) -> Operations {
    Operations {
        multiplications_kernel: kernel.0,
        additions_kernel: kernel.1,
        multiplications_epilogue: epilogue.0,
        additions_epilogue: epilogue.1,
        multiplications_float: float,
    }
}

#[test]
fn each_kind_of_step_counts_its_operations() {
    // An image of 2 channels of 3x3; outputs of 3 channels have 27 elements.
    let image = count_up(&[1, 2, 3, 3]);
    let wide = count_up(&[1, 3, 3, 3]);
    let constants = [
        ternary(&[3, 2, 1, 1], &[1, -1, 0, 1, 0, 0]),
        ternary(&[3, 2, 1, 1], &[0, 0, 0, 0, 0, -1]),
        dense(&[3], &[1., 2., 3.]),
        dense(&[3, 2, 1, 1], &[0., 1., 2., 3., 4., 5.]),
    ];
    let sum = |terms: Vec<Term>, epilogue: Epilogue| {
        StepKind::Accumulate(Accumulate { terms, epilogue, output: BufferId(2) })
    };
    let (none, all) = (
        Epilogue::default(),
        Epilogue {
            bias: Some(ConstantId(2)),
            residual: Some(BufferId(1)),
            activation: Some(Unary::HardSwish),
        },
    );
    let conv = |epilogue: Epilogue| {
        let (window, weight) = (window(&[1, 1]), constant(3));
        StepKind::Conv(Conv { input: BufferId(0), weight, window, groups: 1, epilogue, output: BufferId(2) })
    };
    let table = [
        (sum(vec![term(&[(0, 0)], None)], none.clone()), counts((0, 9 * 3), (0, 0), 54)),
        (sum(vec![term(&[(0, 0)], Some(2))], none.clone()), counts((0, 9 * 3), (27, 0), 54)),
        // Planes of one term are added and have one scale; a second term is scaled and added.
        (sum(vec![term(&[(0, 0), (0, 1)], Some(2))], none.clone()), counts((0, 9 * 4), (27, 27), 108)),
        (
            sum(vec![term(&[(0, 0)], Some(2)), term(&[(0, 1)], Some(2))], none.clone()),
            counts((0, 9 * 4), (54, 27), 108),
        ),
        (sum(vec![term(&[(0, 0)], Some(2))], all.clone()), counts((0, 9 * 3), (27 + 54, 5 * 27), 54 + 54)),
        (conv(none), counts((54, 54), (0, 0), 54)),
        (conv(all), counts((54, 54), (54, 5 * 27), 54 + 54)),
        (
            StepKind::Map(Map {
                inputs: vec![buffer(1), buffer(1)],
                code: vec![
                    MapInstruction::Binary(Binary::Mul, 0, 1),
                    MapInstruction::Binary(Binary::Add, 2, 1),
                    MapInstruction::Unary(Unary::Relu, 3),
                ],
                output: BufferId(2),
            }),
            counts((0, 0), (27, 54), 27),
        ),
        (
            StepKind::Softmax(Softmax { input: BufferId(1), axes: vec![1], output: BufferId(2) }),
            counts((0, 0), (54, 81), 54),
        ),
        (
            StepKind::Move(Move {
                kind: MoveKind::Transpose { perm: vec![0, 1, 3, 2] },
                inputs: vec![buffer(1)],
                output: BufferId(2),
            }),
            counts((0, 0), (0, 0), 0),
        ),
    ];
    let inputs = [image, wide];
    for (kind, expected) in table {
        check(&inputs, &constants, kind, &[1, 3, 3, 3], expected);
    }
}

#[test]
fn what_shrinks_counts_its_inputs_or_its_windows() {
    let image = [count_up(&[1, 2, 3, 3])];
    let pool = |kind, scale: Option<u32>| {
        let (input, output) = (BufferId(0), BufferId(1));
        let (window, scale) = (window(&[2, 2]), scale.map(ConstantId));
        let epilogue = Epilogue { bias: scale, residual: None, activation: scale.map(|_| Unary::Relu) };
        StepKind::Pool(Pool { kind, input, window, ceil: false, scale, epilogue, output })
    };
    let reduce =
        |kind| StepKind::Reduce(Reduce { kind, input: BufferId(0), axes: vec![2, 3], output: BufferId(1) });
    let table: [(StepKind, &[usize], Operations); 6] = [
        (pool(PoolKind::Max, None), &[1, 2, 2, 2], counts((0, 0), (0, 32), 0)),
        (pool(PoolKind::Average { count_padding: false }, None), &[1, 2, 2, 2], counts((0, 0), (8, 32), 8)),
        // A scale, a bias and a relu.
        (pool(PoolKind::Max, Some(0)), &[1, 2, 2, 2], counts((0, 0), (8, 48), 8)),
        (reduce(ReduceKind::Sum), &[1, 2], counts((0, 0), (0, 18), 0)),
        (reduce(ReduceKind::Max), &[1, 2], counts((0, 0), (0, 18), 0)),
        (reduce(ReduceKind::Mean), &[1, 2], counts((0, 0), (2, 18), 2)),
    ];
    for (kind, shape, expected) in table {
        check(&image, &[dense(&[2], &[2.0, 3.0])], kind, shape, expected);
    }
    let product = |left: &[usize], right: &[usize], output: &[usize], expected: Operations| {
        let kind = StepKind::MatMul(MatMul {
            left: buffer(0),
            right: buffer(1),
            epilogue: Epilogue::default(),
            output: BufferId(2),
        });
        check(&[count_up(left), count_up(right)], &[], kind, output, expected);
    };
    product(&[7, 5], &[5, 3], &[7, 3], counts((105, 105), (0, 0), 105));
    product(&[7, 5], &[2, 5, 3], &[2, 7, 3], counts((210, 210), (0, 0), 210));
}

#[test]
fn a_scale_that_is_given_is_not_looked_for() {
    for (scale, additions) in [(None, 18), (Some(0.5), 0)] {
        let image = count_up(&[1, 2, 3, 3]);
        let outputs = [BufferId(1), BufferId(2)];
        let kind = StepKind::Quantize(Quantize { input: BufferId(0), bits: 8, signed: true, scale, outputs });
        let mut quantised = program(&[image], &[], kind, ElementType::I16, &[1, 2, 3, 3]);
        quantised.buffers.push(twnc_program::Buffer { element: ElementType::F32, shape: vec![1.into()] });
        quantised.validate().expect("the program is valid");
        let shapes = quantised.resolve(&[vec![1, 2, 3, 3]]).expect("the shapes fit");
        let found = operations::count(&quantised, &shapes, &quantised.steps[0]);
        assert_eq!(found, counts((0, 0), (18, additions), 0), "{scale:?}");
    }
}

#[test]
fn counts_saturate() {
    let most = Operations { additions_kernel: u64::MAX, ..counts((1, 0), (1, 1), 0) };
    assert_eq!((most.additions(), most.multiplications()), (u64::MAX, 2));
    assert_eq!([most, most].into_iter().sum::<Operations>().additions_kernel, u64::MAX);
}

#[track_caller]
fn check(inputs: &[Tensor], constants: &[Constant], kind: StepKind, shape: &[usize], expected: Operations) {
    let what = format!("{kind:?}");
    let program = program(inputs, constants, kind, ElementType::F32, shape);
    program.validate().unwrap_or_else(|e| panic!("{what}: {e}"));
    let given: Vec<_> = inputs.iter().map(|x| x.shape.clone()).collect();
    let shapes = program.resolve(&given).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(operations::count(&program, &shapes, &program.steps[0]), expected, "{what}");
}

#[test]
fn a_step_names_all_that_it_reads() {
    let mut terms = vec![term(&[(0, 0), (1, 1)], Some(2)), term(&[(2, 3)], None)];
    terms[1].input_scale = Some(BufferId(3));
    let epilogue =
        Epilogue { bias: Some(ConstantId(4)), residual: Some(BufferId(4)), activation: Some(Unary::Relu) };
    let kind = StepKind::Accumulate(Accumulate { terms, epilogue, output: BufferId(5) });
    let step = Step { name: "layer".into(), kind };
    let mut reads: Vec<String> = step.operands().map(|operand| format!("{operand:?}")).collect();
    reads.sort();
    let mut expected: Vec<String> =
        (0..5).flat_map(|i| [buffer(i), constant(i)]).map(|operand| format!("{operand:?}")).collect();
    expected.sort();
    assert_eq!(reads, expected);
    let product =
        MatMul { left: buffer(0), right: buffer(0), epilogue: Epilogue::default(), output: BufferId(1) };
    let step = Step { name: "product".into(), kind: StepKind::MatMul(product) };
    assert_eq!(step.operands().collect::<Vec<_>>(), [buffer(0), buffer(0)]);
}
