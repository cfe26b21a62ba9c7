//! Whole programs: several steps, open dimensions, custom functions, inputs that do not fit.

use crate::single::{buffer, count_up, dense, f32s, i64s, program, ternary};
use std::sync::Arc;
use twnc_program::interpret::{self, CustomFunction, Functions, RunError, Tensor, View, ViewMut};
use twnc_program::scalar::Unary;
use twnc_program::step::{Accumulate, Attribute, Contraction, Custom, Epilogue, Move, MoveKind, Plane, Term};
use twnc_program::{
    Buffer, BufferId, ConstantId, Dim, ElementType, Port, Program, ProgramError, Step, StepKind, SymbolId,
};

/// `[N, 3]` by a ternary `[3, 2]`, halved, relu; then its transpose.
pub fn two_steps() -> Program {
    let n = || Dim::Symbol(SymbolId(0));
    let f32_buffer = |shape: Vec<Dim>| Buffer { element: ElementType::F32, shape };
    let plane = Plane { input: BufferId(0), weight: ConstantId(0), contraction: Contraction::MatMul };
    let term = Term { planes: vec![plane], parts: 1, scale: Some(ConstantId(1)), input_scale: None };
    let epilogue = Epilogue { activation: Some(Unary::Relu), ..Epilogue::default() };
    let product = Accumulate { terms: vec![term], epilogue, output: BufferId(1) };
    let kind = MoveKind::Transpose { perm: vec![1, 0] };
    let transpose = Move { kind, inputs: vec![buffer(1)], output: BufferId(2) };
    let port = |name: &str, id| Port { name: name.into(), buffer: BufferId(id) };
    Program {
        name: "two steps".into(),
        symbols: vec!["N".into()],
        buffers: vec![
            f32_buffer(vec![n(), Dim::Fixed(3)]),
            f32_buffer(vec![n(), Dim::Fixed(2)]),
            f32_buffer(vec![Dim::Fixed(2), n()]),
        ],
        constants: vec![ternary(&[3, 2], &[1, 0, 0, -1, -1, 1]), dense(&[1], &[0.5])],
        steps: vec![
            Step { name: "fc".into(), kind: StepKind::Accumulate(product) },
            Step { name: "turn".into(), kind: StepKind::Move(transpose) },
        ],
        inputs: vec![port("x", 0)],
        outputs: vec![port("y", 2), port("again", 2), port("x", 0)],
    }
}

#[test]
fn open_dimensions_and_shared_outputs() {
    for n in [1, 2, 3] {
        let input = count_up(&[n, 3]);
        // Each row k, k+1, k+2 gives -2/2, clipped to 0, and 1/2.
        let turned = f32s(&[2, n], &[vec![0.; n], vec![0.5; n]].concat());
        let outputs = interpret::run(&two_steps(), std::slice::from_ref(&input), &Functions::default());
        assert_eq!(outputs, Ok(vec![turned.clone(), turned, input]));
    }
}

#[test]
fn inputs_that_do_not_fit() {
    let mut short = count_up(&[2, 3]);
    short.shape = vec![3, 3];
    let empty = "input `x` has size 0 along axis 0, but `N` stands for a size of at least 1; do not run the model on nothing";
    let table: [(Vec<Tensor>, &str); 7] = [
        (vec![], "the program has 1 inputs, not 0"),
        (vec![count_up(&[3])], "input `x` has the shape [3], but the model takes [N, 3]"),
        (vec![count_up(&[2, 4])], "input `x` has the shape [2, 4], but the model takes [N, 3]"),
        (vec![i64s(&[1, 3], &[1, 2, 3])], "input `x` holds i64, but the model takes f32"),
        (vec![count_up(&[0, 3])], empty),
        (vec![count_up(&[0, 4])], "input `x` has the shape [0, 4], but the model takes [N, 3]"),
        (vec![short], "`x` was handed a buffer that is not of its shape's size"),
    ];
    for (inputs, message) in table {
        let found = interpret::run(&two_steps(), &inputs, &Functions::default());
        assert_eq!(found.map_err(|e| e.to_string()), Err(message.to_owned()));
    }
}

#[test]
fn buffers_handed_wrongly() {
    let program = two_steps();
    let shapes = program.resolve(&[vec![1, 3]]).expect("the shapes fit");
    let functions = Functions::default();
    let given = vec![Some(count_up(&[1, 3])), None, None];
    let (mut right, mut short, mut integers) = ([0f32; 2], [0f32; 1], [0i64; 2]);
    let run = |operands: &Vec<Option<Tensor>>, outputs: &mut [ViewMut<'_>]| {
        interpret::run_step(&program, &shapes, &program.steps[0], operands, outputs, &functions)
            .map_err(|e| e.to_string())
    };
    let wrong = |what: &str| Err(format!("`fc` was handed a buffer that is not {what}"));
    assert_eq!(run(&given, &mut [ViewMut::F32(&mut right)]), Ok(()));
    assert_eq!(run(&given, &mut [ViewMut::F32(&mut short)]), wrong("f32 of its shape's size"));
    assert_eq!(run(&given, &mut [ViewMut::I64(&mut integers)]), wrong("f32 of its shape's size"));
    assert_eq!(run(&given, &mut []), wrong("the one output"));
    assert_eq!(run(&vec![None], &mut [ViewMut::F32(&mut right)]), wrong("of its shape's size"));
}

#[test]
fn memory_that_there_is_not() {
    let huge = 1 << 56;
    let broadcast =
        StepKind::Move(Move { kind: MoveKind::Broadcast, inputs: vec![buffer(0)], output: BufferId(1) });
    let input = f32s(&[1], &[1.]);
    let program = program(std::slice::from_ref(&input), &[], broadcast, ElementType::F32, &[huge]);
    let found = interpret::run(&program, &[input], &Functions::default());
    assert_eq!(found, Err(RunError::Memory { step: "layer".into(), shape: vec![huge] }));
}

/// Gives the sum and the number of elements of its input, each plus its attribute `more`.
struct Statistics;

impl CustomFunction for Statistics {
    fn run(
        &self,
        attributes: &[(String, Attribute)],
        inputs: &[(View<'_>, &[usize])],
        outputs: &mut [(ViewMut<'_>, &[usize])],
    ) -> Result<(), String> {
        let [(name, Attribute::Int(more))] = attributes else { return Err("no attribute".into()) };
        assert_eq!(name, "more");
        match (inputs, outputs) {
            ([(View::F32(x), shape)], [(ViewMut::F32(sum), []), (ViewMut::I64(count), [1])]) => {
                sum[0] = x.iter().sum::<f32>() + *more as f32;
                count[0] = shape.iter().product::<usize>() as i64 + more;
                Ok(())
            }
            _ => Err("it takes one tensor".into()),
        }
    }
}

fn statistics(attributes: &[(String, Attribute)]) -> Program {
    let custom = StepKind::Custom(Custom {
        function: "test::statistics".into(),
        attributes: attributes.to_vec(),
        inputs: vec![buffer(0)],
        outputs: vec![BufferId(1), BufferId(2)],
    });
    let mut program = program(&[count_up(&[2, 2])], &[], custom, ElementType::F32, &[]);
    program.buffers.push(Buffer { element: ElementType::I64, shape: vec![Dim::Fixed(1)] });
    program.outputs.push(Port { name: "count".into(), buffer: BufferId(2) });
    program
}

#[test]
fn custom_functions() {
    let more = [("more".to_owned(), Attribute::Int(100))];
    let mut functions = Functions::default();
    let inputs = [count_up(&[2, 2])];
    let unknown = interpret::run(&statistics(&more), &inputs, &functions).map_err(|e| e.to_string());
    let message = "`layer` calls `test::statistics`, which is not registered; register it and open the model with \
                   `Module::open_with`";
    assert_eq!(unknown, Err(message.to_owned()));
    functions.register("test::statistics", Arc::new(Statistics));
    assert_eq!(statistics(&more).validate(), Ok(()));
    assert_eq!(
        interpret::run(&statistics(&more), &inputs, &functions),
        Ok(vec![f32s(&[], &[110.]), i64s(&[1], &[104])])
    );
    let failed = interpret::run(&statistics(&[]), &inputs, &functions).map_err(|e| e.to_string());
    assert_eq!(failed, Err("`layer`: `test::statistics` failed: no attribute".to_owned()));
}

#[test]
fn one_symbol_has_one_size() {
    let mut program = two_steps();
    program.buffers[0].shape[1] = Dim::Symbol(SymbolId(0));
    assert_eq!(
        program.resolve(&[vec![2, 3]]),
        Err(ProgramError::InputShape { name: "x".into(), expected: "[N, N]".into(), found: vec![2, 3] })
    );
}
