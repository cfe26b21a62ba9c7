//! Programs that validation refuses, and shapes that resolution refuses, each with its sentence.

use crate::running::two_steps;
use crate::single::{buffer, constant, count_up, dense, i32s, i64s, program, ternary, window};
use twnc_program::interpret::Tensor;
use twnc_program::scalar::{Binary, Unary};
use twnc_program::step::{
    Accumulate, Attribute, Cast, Contraction, Conv, Custom, Dims, Epilogue, Map, MapInstruction, MatMul,
    Move, MoveKind, PadMode, Plane, Pool, PoolKind, Reduce, ReduceKind, Softmax, Term,
};
use twnc_program::{
    Buffer, BufferId, Constant, ConstantId, Dim, ElementType, Operand, Port, Program, StepKind, SymbolId,
    Window,
};

use ElementType::{F32, I64, U8};

#[test]
fn programs_that_are_not_valid() {
    let turn = "step 1 `turn` (transpose): ";
    let table: Vec<(fn(&mut Program), String)> = vec![
        (|p| p.inputs[0].name.clear(), "input ``: it has no name".into()),
        (|p| p.outputs[1].name = "y".into(), "output `y`: another has the same name".into()),
        (|p| p.inputs[0].buffer = BufferId(9), "input `x`: there is no buffer b9".into()),
        (|p| p.outputs[0].buffer = BufferId(9), "output `y`: there is no buffer b9".into()),
        (
            |p| p.inputs.push(Port { name: "z".into(), buffer: BufferId(0) }),
            "input `z`: its buffer is another input's".into(),
        ),
        (|p| p.symbols.push("M".into()), "symbol `M`: no input binds it".into()),
        (
            |p| p.buffers[0].shape[0] = Dim::Add(Box::new(Dim::Fixed(1)), Box::new(Dim::Fixed(1))),
            "input `x`: its sizes must be numbers or symbols".into(),
        ),
        (
            |p| p.buffers[0].shape[1] = Dim::Fixed(-1),
            "input `x`: its sizes must be numbers or symbols".into(),
        ),
        (|p| p.buffers[2].shape[0] = Dim::Symbol(SymbolId(1)), "buffer b2: there is no symbol s1".into()),
        (|p| p.buffers[2].shape = vec![Dim::Fixed(1); 9], "buffer b2: it has too many axes".into()),
        (|p| p.buffers[2].shape[0] = chain(1024), "buffer b2: an expression of its shape is too long".into()),
        (|p| p.buffers[1].element = ElementType::Ternary, "buffer b1: only constants are ternary".into()),
        (
            |p| p.buffers.push(Buffer { element: F32, shape: vec![] }),
            "buffer b3: no input and no step writes it".into(),
        ),
        (|p| p.constants[0].shape[0] = 4, "constant c0 `weight`: its elements do not fill its shape".into()),
        (
            |p| p.constants[1] = Constant { shape: vec![0, usize::MAX, 2], ..dense(&[0], &[]) },
            "constant c1 `dense`: its elements do not fill its shape".into(),
        ),
        (|p| p.constants[1].shape = vec![1; 9], "constant c1 `dense`: it has too many axes".into()),
        (|p| p.steps.swap(0, 1), "step 0 `turn` (transpose): buffer b1 is read before it is written".into()),
        (|p| set_move(p, buffer(9), 2), format!("{turn}there is no buffer b9")),
        (|p| set_move(p, constant(9), 2), format!("{turn}there is no constant c9")),
        (|p| set_move(p, buffer(2), 2), format!("{turn}buffer b2 is read before it is written")),
        (|p| set_move(p, buffer(0), 1), format!("{turn}buffer b1 is written twice")),
        (|p| set_move(p, buffer(1), 0), format!("{turn}buffer b0 is written twice")),
        (|p| set_move(p, buffer(1), 9), format!("{turn}there is no buffer b9")),
        (|p| set_move(p, constant(0), 2), format!("{turn}an operand is ternary, not f32")),
        (|p| p.buffers[2].element = I64, format!("{turn}an operand is f32, not i64")),
    ];
    for (edit, message) in table {
        let mut program = two_steps();
        assert_eq!(program.validate(), Ok(()));
        edit(&mut program);
        assert_eq!(program.validate().map_err(|e| e.to_string()), Err(message));
    }
}

/// A sum of `n` ones and one more.
fn chain(n: usize) -> Dim {
    (0..n).fold(Dim::Fixed(1), |sum, _| Dim::Add(Box::new(sum), Box::new(Dim::Fixed(1))))
}

fn set_move(program: &mut Program, input: Operand, output: u32) {
    if let StepKind::Move(step) = &mut program.steps[1].kind {
        (step.inputs[0], step.output) = (input, BufferId(output));
    }
}

/// A term of one plane.
fn term(contraction: Contraction) -> Term {
    let plane = Plane { input: BufferId(0), weight: ConstantId(0), contraction };
    Term { planes: vec![plane], parts: 1, scale: None, input_scale: None }
}

fn accumulate(terms: Vec<Term>, epilogue: Epilogue) -> StepKind {
    StepKind::Accumulate(Accumulate { terms, epilogue, output: BufferId(1) })
}

fn windowed(window: Window, groups: usize) -> StepKind {
    accumulate(vec![term(Contraction::Window { window, groups })], Epilogue::default())
}

fn conv(window: Window, groups: usize) -> StepKind {
    let (input, weight, epilogue, output) = (BufferId(0), constant(0), Epilogue::default(), BufferId(1));
    StepKind::Conv(Conv { input, weight, window, groups, epilogue, output })
}

fn pool(window: Window, ceil: bool) -> StepKind {
    StepKind::Pool(Pool {
        kind: PoolKind::Max,
        input: BufferId(0),
        window,
        ceil,
        scale: None,
        epilogue: Epilogue::default(),
        output: BufferId(1),
    })
}

fn scaled_pool(bias: Option<u32>) -> StepKind {
    let StepKind::Pool(pool) = pool(window(&[2, 2]), false) else { unreachable!("a pool is one") };
    let epilogue = Epilogue { bias: bias.map(ConstantId), ..Epilogue::default() };
    StepKind::Pool(Pool { scale: Some(ConstantId(0)), epilogue, ..pool })
}

fn map(inputs: &[Operand], code: &[MapInstruction]) -> StepKind {
    StepKind::Map(Map { inputs: inputs.to_vec(), code: code.to_vec(), output: BufferId(1) })
}

fn moved(kind: MoveKind, inputs: &[Operand]) -> StepKind {
    StepKind::Move(Move { kind, inputs: inputs.to_vec(), output: BufferId(1) })
}

fn slice(axis: usize, start: Dim, step: i64) -> StepKind {
    moved(MoveKind::Slice { axis, start, step }, &[buffer(0)])
}

fn pad(begin: &[usize], end: &[usize], mode: PadMode) -> StepKind {
    moved(MoveKind::Pad { begin: begin.to_vec(), end: end.to_vec(), mode }, &[buffer(0)])
}

fn reduce(axes: &[usize]) -> StepKind {
    StepKind::Reduce(Reduce {
        kind: ReduceKind::Sum,
        input: BufferId(0),
        axes: axes.to_vec(),
        output: BufferId(1),
    })
}

fn softmax(axes: &[usize]) -> StepKind {
    StepKind::Softmax(Softmax { input: BufferId(0), axes: axes.to_vec(), output: BufferId(1) })
}

fn custom(function: &str, attributes: &[&str], inputs: &[Operand]) -> StepKind {
    StepKind::Custom(Custom {
        function: function.into(),
        attributes: attributes.iter().map(|&name| (name.to_owned(), Attribute::Int(1))).collect(),
        inputs: inputs.to_vec(),
        outputs: vec![BufferId(1)],
    })
}

/// The sentence about a program of one step, with the input and the constants given, or none.
fn refusal(
    input: &Tensor,
    constants: &[Constant],
    step: StepKind,
    element: ElementType,
    shape: &[usize],
) -> Option<String> {
    let program = program(std::slice::from_ref(input), constants, step, element, shape);
    let found = program.validate().and_then(|()| program.resolve(std::slice::from_ref(&input.shape)));
    found
        .err()
        .map(|e| e.to_string().split_once("): ").map_or(e.to_string(), |(_, message)| message.to_owned()))
}

#[test]
fn steps_that_are_not_valid() {
    let image = count_up(&[1, 2, 4, 4]);
    let trits = || ternary(&[1, 2, 1, 1], &[1, 1]);
    let one = || window(&[1, 1]);
    let add = MapInstruction::Binary(Binary::Add, 0, 0);
    let too_large = "a number of its window is too large, or it has too many taps";
    let odd = "its window has not one to three axes, or not one entry for each";
    let zero = "a kernel, stride or dilation is 0";
    let in_parts = |parts: usize, groups: usize| {
        let divided = Term { parts, ..term(Contraction::Window { window: one(), groups }) };
        accumulate(vec![divided], Epilogue::default())
    };
    let table: Vec<(StepKind, Constant, &str)> = vec![
        (accumulate(vec![], Epilogue::default()), trits(), "it has no term"),
        (in_parts(0, 1), trits(), "a term of it has no part"),
        (in_parts(2, 1), trits(), "a term in parts is not one plane whose weight has as many"),
        // More parts than weights: an empty weight would fit any number of them.
        (in_parts(1 << 40, 1 << 40), trits(), "a term in parts is not one plane whose weight has as many"),
        (
            accumulate(vec![Term { parts: 2, ..term(Contraction::MatMul) }], Epilogue::default()),
            trits(),
            "a term in parts is not one plane whose weight has as many",
        ),
        (
            accumulate(
                vec![term(Contraction::Window { window: one(), groups: 1 }), term(Contraction::MatMul)],
                Epilogue::default(),
            ),
            trits(),
            "some of its planes are windows and some are matrix products",
        ),
        (
            accumulate(vec![term(Contraction::MatMul)], Epilogue::default()),
            trits(),
            "its weight has not two axes",
        ),
        (windowed(one(), 1), dense(&[1, 2, 1, 1], &[1., 1.]), "an operand is f32, not ternary"),
        (windowed(one(), 0), trits(), "it has 0 groups"),
        (windowed(window(&[1]), 1), trits(), "its weight has 4 axes for 1 spatial ones"),
        (conv(one(), 1), trits(), "an operand is ternary, not f32"),
        (pool(window(&[]), false), trits(), odd),
        // 2^64 taps: in 64 bits none.
        (pool(window(&[1 << 22, 1 << 21, 1 << 21]), false), trits(), too_large),
        (pool(window(&[1; 4]), false), trits(), odd),
        (pool(Window { pads_end: vec![0], ..one() }, false), trits(), odd),
        (pool(window(&[0, 1]), false), trits(), zero),
        (pool(Window { strides: vec![1, 0], ..one() }, false), trits(), zero),
        (pool(Window { dilations: vec![0, 1], ..one() }, false), trits(), zero),
        (pool(Window { pads_begin: vec![1 << 31, 0], ..one() }, false), trits(), too_large),
        (pool(Window { strides: vec![1, usize::MAX], ..one() }, false), trits(), too_large),
        (pool(window(&[1 << 16, 1 << 15]), false), trits(), too_large),
        (map(&[], &[add]), trits(), "it has no inputs or no instructions"),
        (map(&[buffer(0)], &[]), trits(), "it has no inputs or no instructions"),
        (map(&[constant(0)], &[add]), trits(), "an operand is ternary, not f32"),
        (map(&[buffer(0); 17], &[add]), trits(), "its expression is too long"),
        (map(&[buffer(0)], &[add; 64]), trits(), "its expression is too long"),
        (
            map(&[buffer(0)], &[add, MapInstruction::Unary(Unary::Neg, 2)]),
            trits(),
            "instruction 1 reads a value that is not defined before it",
        ),
        (reduce(&[4]), trits(), "axes [4] do not fit 4 axes"),
        (reduce(&[1, 0]), trits(), "axes [1, 0] do not fit 4 axes"),
        (reduce(&[1, 1]), trits(), "axes [1, 1] do not fit 4 axes"),
        (softmax(&[]), trits(), "it has no axis"),
        (softmax(&[4]), trits(), "axes [4] do not fit 4 axes"),
        (moved(MoveKind::Reshape, &[]), trits(), "it has no input"),
        (moved(MoveKind::Reshape, &[buffer(0); 2]), trits(), "it has 2 inputs, not 1"),
        (moved(MoveKind::Gather { axis: 0 }, &[buffer(0)]), trits(), "it has 1 inputs, not 2"),
        (moved(MoveKind::Gather { axis: 0 }, &[buffer(0); 2]), trits(), "its indices are f32"),
        (moved(MoveKind::Concat { axis: 4 }, &[buffer(0)]), trits(), "axis 4 of 4"),
        (
            moved(MoveKind::Transpose { perm: vec![0, 1, 1, 3] }, &[buffer(0)]),
            trits(),
            "[0, 1, 1, 3] does not permute 4 axes",
        ),
        (
            moved(MoveKind::Transpose { perm: vec![0, 1] }, &[buffer(0)]),
            trits(),
            "[0, 1] does not permute 4 axes",
        ),
        (slice(4, Dim::Fixed(0), 1), trits(), "axis 4 of 4"),
        (slice(0, Dim::Fixed(0), 0), trits(), "its step is 0"),
        (slice(0, Dim::Symbol(SymbolId(0)), 1), trits(), "a slice: there is no symbol s0"),
        (pad(&[0; 4], &[0; 3], PadMode::Edge), trits(), "4 axes need as many pads"),
        (
            StepKind::Cast(Cast { input: constant(0), output: BufferId(1) }),
            trits(),
            "a ternary constant is not cast",
        ),
        (
            StepKind::Dims(Dims { values: vec![Dim::Symbol(SymbolId(3))], output: BufferId(1) }),
            trits(),
            "a dims step: there is no symbol s3",
        ),
        (StepKind::Dims(Dims { values: vec![], output: BufferId(1) }), trits(), "an operand is f32, not i64"),
        (custom("", &[], &[]), trits(), "it names no function or has no output"),
        (custom("a::b", &[], &[constant(0)]), trits(), "a ternary constant is no argument"),
        (
            custom("a::b", &["b", "a"], &[]),
            trits(),
            "its attributes are not in the order of their names, each once",
        ),
        (
            custom("a::b", &["a", "a"], &[]),
            trits(),
            "its attributes are not in the order of their names, each once",
        ),
    ];
    for (step, constant, message) in table {
        let found = refusal(&image, &[constant], step.clone(), F32, &[1, 2, 4, 4]);
        assert_eq!(found.as_deref(), Some(message), "{step:?}");
    }
    let (integers, bytes) = (i64s(&[1], &[1]), Tensor::zeros(U8, &[1]).expect("one byte"));
    let divide = MapInstruction::Unary(Unary::Sqrt, 0);
    let not_for_i64 = "instruction 0 is not defined for i64";
    assert_eq!(
        refusal(&integers, &[], map(&[buffer(0)], &[divide]), I64, &[1]).as_deref(),
        Some(not_for_i64)
    );
    let no_bytes = "there is no arithmetic of u8";
    assert_eq!(refusal(&bytes, &[], map(&[buffer(0)], &[add]), U8, &[1]).as_deref(), Some(no_bytes));
}

#[test]
fn shapes_that_do_not_fit() {
    let image = count_up(&[1, 2, 4, 4]);
    let trits = || ternary(&[3, 2, 2, 2], &[1; 24]);
    let square = || window(&[2, 2]);
    let floats = |shape: &[usize]| dense(shape, &vec![1.; shape.iter().product()]);
    let copy = MapInstruction::Unary(Unary::Neg, 0);
    let with = |scale: Option<u32>, bias: Option<u32>, residual: Option<u32>| {
        let contraction = Contraction::Window { window: square(), groups: 1 };
        let epilogue =
            Epilogue { bias: bias.map(ConstantId), residual: residual.map(BufferId), activation: None };
        accumulate(vec![Term { scale: scale.map(ConstantId), ..term(contraction) }], epilogue)
    };
    let matmul = |left, right| {
        StepKind::MatMul(MatMul { left, right, epilogue: Epilogue::default(), output: BufferId(1) })
    };
    let huge = Dim::Mul(Box::new(Dim::Fixed(i64::MAX)), Box::new(Dim::Fixed(2)));
    let table: Vec<(StepKind, Vec<Constant>, &[usize], &str)> = vec![
        (
            windowed(square(), 1),
            vec![trits()],
            &[1, 3, 4, 4],
            "output of shape [1, 3, 4, 4], not [1, 3, 3, 3]",
        ),
        (
            windowed(square(), 2),
            vec![trits()],
            &[1, 3, 3, 3],
            "2 groups of a weight of shape [3, 2, 2, 2] do not fit 2 channels",
        ),
        (windowed(window(&[3, 3]), 1), vec![trits()], &[1, 3, 2, 2], "kernel of shape [3, 3], not [2, 2]"),
        (
            windowed(window(&[2]), 1),
            vec![ternary(&[3, 2, 2], &[1; 12])],
            &[1, 3, 3],
            "a weight of shape [3, 2, 2] for an input of shape [1, 2, 4, 4]",
        ),
        (
            windowed(Window { dilations: vec![4, 1], ..square() }, 1),
            vec![trits()],
            &[1, 3, 1, 3],
            "a window of 2 does not fit into 4 elements along spatial axis 0",
        ),
        (with(Some(1), None, None), vec![trits(), floats(&[2])], &[1, 3, 3, 3], "2 scales for 3 channels"),
        (with(None, Some(1), None), vec![trits(), floats(&[1])], &[1, 3, 3, 3], "bias of shape [1], not [3]"),
        (scaled_pool(None), vec![floats(&[3])], &[1, 2, 3, 3], "3 scales for 2 channels"),
        (scaled_pool(Some(0)), vec![floats(&[1])], &[1, 2, 3, 3], "bias of shape [1], not [2]"),
        (scaled_pool(None), vec![trits()], &[1, 2, 3, 3], "an operand is ternary, not f32"),
        (
            with(None, None, Some(0)),
            vec![trits()],
            &[1, 3, 3, 3],
            "residual of shape [1, 2, 4, 4], not [1, 3, 3, 3]",
        ),
        (
            with(Some(1), None, None),
            vec![trits(), floats(&[3, 1])],
            &[1, 3, 3, 3],
            "a scale or bias has 2 axes, not one",
        ),
        (
            accumulate(vec![term(Contraction::MatMul)], Epilogue::default()),
            vec![ternary(&[3, 2], &[1; 6])],
            &[1, 2, 4, 2],
            "[1, 2, 4, 4] and [3, 2] do not multiply",
        ),
        (
            conv(square(), 1),
            vec![floats(&[2, 1, 2, 2])],
            &[1, 2, 3, 3],
            "1 groups of a weight of shape [2, 1, 2, 2] do not fit 2 channels",
        ),
        (
            matmul(buffer(0), constant(0)),
            vec![floats(&[3, 4, 4])],
            &[1, 2, 4, 4],
            "[1, 2, 4, 4] and [3, 4, 4] do not multiply",
        ),
        (
            matmul(constant(0), buffer(0)),
            vec![floats(&[4])],
            &[1, 2, 4, 4],
            "[4] and [1, 2, 4, 4] do not multiply",
        ),
        (map(&[buffer(0)], &[copy]), vec![], &[2, 4, 4], "[1, 2, 4, 4] does not broadcast to [2, 4, 4]"),
        (map(&[constant(0)], &[copy]), vec![floats(&[2])], &[4], "[2] does not broadcast to [4]"),
        (pool(square(), false), vec![], &[1, 2, 4, 4], "output of shape [1, 2, 4, 4], not [1, 2, 3, 3]"),
        (pool(window(&[2]), false), vec![], &[1, 2, 3], "an input of 4 axes for a window of 1"),
        (
            pool(window(&[5, 1]), true),
            vec![],
            &[1, 2, 1, 1],
            "a window of 5 does not fit into 4 elements along spatial axis 0",
        ),
        (
            pool(
                Window {
                    pads_end: vec![(1 << 31) - 1; 2],
                    strides: vec![(1 << 31) - 1; 2],
                    ..window(&[1, 1])
                },
                false,
            ),
            vec![],
            &[1, 2, 2, 2],
            "a padded input of shape [1, 2, 2147483651, 2147483651] is larger than memory can be",
        ),
        (reduce(&[1, 2]), vec![], &[1, 1, 4], "output of shape [1, 1, 4], not [1, 4]"),
        (softmax(&[1]), vec![], &[1, 2, 4], "output of shape [1, 2, 4], not [1, 2, 4, 4]"),
        (
            moved(MoveKind::Reshape, &[buffer(0)]),
            vec![],
            &[31],
            "[1, 2, 4, 4] has not as many elements as [31]",
        ),
        (
            moved(MoveKind::Transpose { perm: vec![1, 0, 2, 3] }, &[buffer(0)]),
            vec![],
            &[1, 2, 4, 4],
            "output of shape [1, 2, 4, 4], not [2, 1, 4, 4]",
        ),
        (
            moved(MoveKind::Concat { axis: 1 }, &[buffer(0), buffer(0)]),
            vec![],
            &[1, 3, 4, 4],
            "output of shape [1, 3, 4, 4], not [1, 4, 4, 4]",
        ),
        (
            moved(MoveKind::Concat { axis: 1 }, &[buffer(0), constant(0)]),
            vec![floats(&[1])],
            &[1, 3, 4, 4],
            "an input has too few axes",
        ),
        (
            moved(MoveKind::Concat { axis: 1 }, &[buffer(0), constant(0)]),
            vec![floats(&[1, 1, 4, 3])],
            &[1, 3, 4, 4],
            "input of shape [1, 2, 4, 3], not [1, 2, 4, 4]",
        ),
        (slice(2, Dim::Fixed(1), 1), vec![], &[1, 2, 4, 4], "4 elements from 1 by 1 leave an axis of 4"),
        (slice(2, Dim::Fixed(2), -1), vec![], &[1, 2, 4, 4], "4 elements from 2 by -1 leave an axis of 4"),
        (slice(2, Dim::Fixed(-1), 1), vec![], &[1, 2, 2, 4], "2 elements from -1 by 1 leave an axis of 4"),
        (
            slice(2, Dim::Fixed(0), i64::MAX),
            vec![],
            &[1, 2, 4, 4],
            "4 elements from 0 by 9223372036854775807 leave an axis of 4",
        ),
        (slice(2, Dim::Fixed(0), 1), vec![], &[1, 2], "the output has too few axes"),
        (slice(2, huge.clone(), 1), vec![], &[1, 2, 2, 4], "a dimension overflows 64 bits"),
        (
            pad(&[0, 0, 1, 0], &[0; 4], PadMode::Edge),
            vec![],
            &[1, 2, 4, 4],
            "output of shape [1, 2, 4, 4], not [1, 2, 5, 4]",
        ),
        (
            pad(&[0, 0, 4, 0], &[0; 4], PadMode::Reflect),
            vec![],
            &[1, 2, 8, 4],
            "an axis of 4 has nothing to pad 4 elements with",
        ),
        (
            pad(&[usize::MAX, 0, 0, 0], &[0; 4], PadMode::Constant(0.)),
            vec![],
            &[1, 2, 4, 4],
            "a size overflows",
        ),
        (
            moved(MoveKind::Broadcast, &[buffer(0)]),
            vec![],
            &[1, 3, 4, 4],
            "[1, 2, 4, 4] does not broadcast to [1, 3, 4, 4]",
        ),
        (
            StepKind::Cast(Cast { input: buffer(0), output: BufferId(1) }),
            vec![],
            &[32],
            "output of shape [32], not [1, 2, 4, 4]",
        ),
        (
            map(&[buffer(0)], &[copy]),
            vec![],
            &[1 << 40, 1 << 40, 4, 4],
            "the program's buffers need more bytes than memory can address",
        ),
        (
            moved(MoveKind::Reshape, &[buffer(0)]),
            vec![],
            &[0, 1 << 40, 1 << 40],
            "the program's buffers need more bytes than memory can address",
        ),
    ];
    for (step, constants, shape, message) in table {
        let found = refusal(&image, &constants, step.clone(), F32, shape);
        assert_eq!(found.as_deref(), Some(message), "{step:?}");
    }
    let dims = |values| StepKind::Dims(Dims { values, output: BufferId(1) });
    let indices = i32s(&[2], &[0, 0]);
    let table: Vec<(StepKind, &[usize], &str)> = vec![
        (dims(vec![Dim::Fixed(1)]), &[2], "output of shape [2], not [1]"),
        (dims(vec![huge]), &[1], "a dimension overflows 64 bits"),
        (
            dims(vec![Dim::FloorDiv(Box::new(Dim::Fixed(1)), Box::new(Dim::Fixed(0)))]),
            &[1],
            "a dimension divides by 0",
        ),
    ];
    for (step, shape, message) in table {
        assert_eq!(refusal(&indices, &[], step, I64, shape).as_deref(), Some(message));
    }
    let gather = moved(MoveKind::Gather { axis: 0 }, &[constant(0), buffer(0)]);
    let found = refusal(&indices, &[floats(&[3, 4])], gather, F32, &[2, 3]);
    assert_eq!(found.as_deref(), Some("output of shape [2, 3], not [2, 4]"));
}

#[test]
fn sizes_that_come_out_wrong() {
    let n = || Box::new(Dim::Symbol(SymbolId(0)));
    let table: [(Dim, &str); 4] = [
        (Dim::Add(n(), Box::new(Dim::Fixed(-5))), "buffer b1: a dimension comes out as -3"),
        (Dim::FloorDiv(n(), Box::new(Dim::Fixed(0))), "buffer b1: a dimension divides by 0"),
        (Dim::Mul(n(), Box::new(Dim::Fixed(i64::MAX))), "buffer b1: a dimension overflows 64 bits"),
        (
            Dim::Max(n(), Box::new(Dim::Fixed(i64::MAX))),
            "the program's buffers need more bytes than memory can address",
        ),
    ];
    for (dim, message) in table {
        let mut program = two_steps();
        program.buffers[1].shape[0] = dim;
        assert_eq!(program.validate(), Ok(()));
        assert_eq!(program.resolve(&[vec![2, 3]]).map_err(|e| e.to_string()), Err(message.to_owned()));
    }
}
