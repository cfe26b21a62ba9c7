//! The promise that `run_into` allocates nothing, once a run with inputs of the same shapes has been. (Custom functions may.)

// The counter is an allocator, which only unsafe code can be.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use twnc_program::interpret::Functions;
use twnc_program::scalar::{Binary, Unary};
use twnc_program::step::{
    Accumulate, Contraction, Conv, Epilogue, Map, MapInstruction, MatMul, Move, MoveKind, Plane, Pool,
    PoolKind, Quantize, Reduce, ReduceKind, Softmax, Term, TopK,
};
use twnc_program::{
    Buffer, BufferId, Constant, ConstantData, ConstantId, Dim, ElementType, Operand, Port, Program, Step,
    StepKind, SymbolId, Trits, Window,
};
use twnc_runtime::{Backend, Module, OutputMut, SessionOptions};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is the system allocator's; counting touches no memory of its.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A network with a step of almost every kind: `[N,2,8,8]` to `[N,5]`.
fn program() -> Program {
    let n = || Dim::Symbol(SymbolId(0));
    let shapes = [
        vec![n(), Dim::Fixed(2), Dim::Fixed(8), Dim::Fixed(8)],
        vec![n(), Dim::Fixed(4), Dim::Fixed(8), Dim::Fixed(8)],
        vec![n(), Dim::Fixed(4), Dim::Fixed(8), Dim::Fixed(8)],
        vec![n(), Dim::Fixed(8), Dim::Fixed(4), Dim::Fixed(4)],
        vec![n(), Dim::Fixed(8)],
        vec![n(), Dim::Fixed(5)],
        vec![n(), Dim::Fixed(5)],
        vec![n(), Dim::Fixed(4), Dim::Fixed(4), Dim::Fixed(4)],
        vec![n(), Dim::Fixed(40), Dim::Fixed(8), Dim::Fixed(8)],
        vec![n(), Dim::Fixed(30)],
        vec![n(), Dim::Fixed(2), Dim::Fixed(8), Dim::Fixed(8)],
        vec![n()],
        vec![n(), Dim::Fixed(4)],
        vec![n(), Dim::Fixed(4)],
        vec![n(), Dim::Fixed(2), Dim::Fixed(2), Dim::Fixed(4), Dim::Fixed(8)],
        vec![n(), Dim::Fixed(8), Dim::Fixed(4), Dim::Fixed(2), Dim::Fixed(2)],
    ];
    let window = |kernel: usize, stride: usize, pad: usize| Window {
        kernel: vec![kernel; 2],
        strides: vec![stride; 2],
        dilations: vec![1; 2],
        pads_begin: vec![pad; 2],
        pads_end: vec![pad; 2],
    };
    let trits: Vec<i8> = (0..72).map(|i| (i * 5 % 3) as i8 - 1).collect();
    let constant = |shape: &[usize], data| Constant { name: String::new(), shape: shape.to_vec(), data };
    let b = BufferId;
    let buffer = |i| Operand::Buffer(b(i));
    let term = |input, weight, contraction| Term {
        planes: vec![Plane { input, weight: ConstantId(weight), contraction }],
        parts: 1,
        scale: Some(ConstantId(1)),
        input_scale: None,
    };
    let conv = term(b(0), 0, Contraction::Window { window: window(3, 1, 1), groups: 1 });
    let relu = Epilogue { activation: Some(Unary::Relu), ..Epilogue::default() };
    let code = vec![MapInstruction::Unary(Unary::Sigmoid, 0), MapInstruction::Binary(Binary::Mul, 0, 1)];
    let kinds = [
        StepKind::Accumulate(Accumulate { terms: vec![conv], epilogue: relu, output: b(1) }),
        StepKind::Map(Map { inputs: vec![buffer(1)], code, output: b(2) }),
        StepKind::Pool(Pool {
            kind: PoolKind::Max,
            input: b(2),
            window: window(2, 2, 0),
            ceil: false,
            scale: Some(ConstantId(1)),
            epilogue: Epilogue::default(),
            output: b(7),
        }),
        StepKind::Move(Move {
            kind: MoveKind::Concat { axis: 1 },
            inputs: vec![buffer(7), buffer(7)],
            output: b(3),
        }),
        StepKind::Reduce(Reduce { kind: ReduceKind::Mean, input: b(3), axes: vec![2, 3], output: b(4) }),
        StepKind::Accumulate(Accumulate {
            terms: vec![term(b(4), 2, Contraction::MatMul)],
            epilogue: Epilogue::default(),
            output: b(5),
        }),
        StepKind::Softmax(Softmax { input: b(5), axes: vec![1], output: b(6) }),
    ];
    let conv = Conv {
        input: b(0),
        weight: Operand::Constant(ConstantId(3)),
        window: window(3, 1, 1),
        groups: 1,
        epilogue: Epilogue::default(),
        output: b(8),
    };
    let matmul = MatMul {
        left: buffer(4),
        right: Operand::Constant(ConstantId(4)),
        epilogue: Epilogue::default(),
        output: b(9),
    };
    let move_to =
        |kind, input, output| StepKind::Move(Move { kind, inputs: vec![buffer(input)], output: b(output) });
    let others = [
        StepKind::Conv(conv),
        StepKind::MatMul(matmul),
        StepKind::Quantize(Quantize {
            input: b(0),
            bits: 8,
            signed: true,
            scale: None,
            outputs: [b(10), b(11)],
        }),
        StepKind::TopK(TopK { input: buffer(9), axis: 1, largest: true, outputs: [b(12), b(13)] }),
        move_to(MoveKind::Reshape, 0, 14),
        move_to(MoveKind::Transpose { perm: vec![0, 4, 3, 2, 1] }, 14, 15),
    ];
    let element = |i: usize| match i {
        10 => ElementType::I16,
        13 => ElementType::I64,
        _ => ElementType::F32,
    };
    let buffers = shapes.into_iter().enumerate();
    let program = Program {
        name: "everything".into(),
        symbols: vec!["N".into()],
        buffers: buffers.map(|(i, shape)| Buffer { element: element(i), shape }).collect(),
        constants: vec![
            constant(&[4, 2, 3, 3], ConstantData::Ternary(Trits::pack(&trits).expect("trits"))),
            constant(&[1], ConstantData::F32([0.5].into())),
            constant(&[8, 5], ConstantData::Ternary(Trits::pack(&trits[..40]).expect("trits"))),
            constant(&[40, 2, 3, 3], ConstantData::F32(vec![0.5; 720].into())),
            constant(&[8, 30], ConstantData::F32(vec![0.5; 240].into())),
        ],
        steps: kinds.into_iter().chain(others).map(|kind| Step { name: kind_of(&kind), kind }).collect(),
        inputs: vec![Port { name: "x".into(), buffer: b(0) }],
        outputs: vec![Port { name: "y".into(), buffer: b(6) }],
    };
    program.validate().expect("the program is valid");
    program
}

fn kind_of(kind: &StepKind) -> String {
    Step { name: String::new(), kind: kind.clone() }.kind_name().to_owned()
}

#[test]
fn a_second_run_allocates_nothing() {
    let module = Module::new(program(), Functions::default()).expect("the program is valid");
    for backend in Backend::available() {
        let session = module.session(SessionOptions::default().backend(backend)).expect("a session");
        let x = ndarray::Array4::<f32>::from_elem((3, 2, 8, 8), 0.25);
        let mut y = ndarray::Array2::<f32>::zeros((3, 5));
        let mut counts = vec![];
        for _ in 0..4 {
            let inputs = [("x", x.view().into_dyn())];
            let mut outputs = [OutputMut::from(y.view_mut())];
            let before = ALLOCATIONS.get();
            session.run_into(&inputs, &mut outputs).expect("a run");
            counts.push(ALLOCATIONS.get() - before);
        }
        assert!(counts[0] > 0, "{backend:?}: the first run makes the plan, so the counter counts");
        assert_eq!(counts[1..], [0, 0, 0], "{backend:?}");
    }
}
