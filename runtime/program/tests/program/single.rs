//! Programs of a single step: the inputs are the buffers `b0`, `b1`, ..., the output is the next.

use twnc_program::interpret::{self, Functions, RunError, Tensor, TensorData, ViewMut};
use twnc_program::{
    Buffer, BufferId, Constant, ConstantData, ConstantId, Dim, ElementType, Operand, Port, Program, Step,
    StepKind, Trits, Window,
};

pub fn f32s(shape: &[usize], elements: &[f32]) -> Tensor {
    Tensor::f32(shape, elements.to_vec()).expect("the table's elements fill the shape")
}

pub fn i64s(shape: &[usize], elements: &[i64]) -> Tensor {
    Tensor { shape: shape.to_vec(), data: TensorData::I64(elements.to_vec()) }
}

pub fn i32s(shape: &[usize], elements: &[i32]) -> Tensor {
    Tensor { shape: shape.to_vec(), data: TensorData::I32(elements.to_vec()) }
}

/// 1, 2, 3, ...
pub fn count_up(shape: &[usize]) -> Tensor {
    f32s(shape, &(1..=shape.iter().product()).map(|n: usize| n as f32).collect::<Vec<_>>())
}

pub fn ternary(shape: &[usize], trits: &[i8]) -> Constant {
    let trits = Trits::pack(trits).expect("the table's trits are trits");
    Constant { name: "weight".into(), shape: shape.to_vec(), data: ConstantData::Ternary(trits) }
}

pub fn dense(shape: &[usize], elements: &[f32]) -> Constant {
    Constant { name: "dense".into(), shape: shape.to_vec(), data: ConstantData::F32(elements.into()) }
}

pub fn buffer(id: u32) -> Operand {
    Operand::Buffer(BufferId(id))
}

pub fn constant(id: u32) -> Operand {
    Operand::Constant(ConstantId(id))
}

/// A window that touches each element once: everything 1, no padding.
pub fn window(kernel: &[usize]) -> Window {
    let (ones, zeros) = (vec![1; kernel.len()], vec![0; kernel.len()]);
    Window {
        kernel: kernel.to_vec(),
        strides: ones.clone(),
        dilations: ones,
        pads_begin: zeros.clone(),
        pads_end: zeros,
    }
}

/// The program of one step.
pub fn program(
    inputs: &[Tensor],
    constants: &[Constant],
    kind: StepKind,
    element: ElementType,
    shape: &[usize],
) -> Program {
    let fixed =
        |element, shape: &[usize]| Buffer { element, shape: shape.iter().map(|&n| Dim::from(n)).collect() };
    let mut buffers: Vec<_> = inputs.iter().map(|x| fixed(x.data.view().element(), &x.shape)).collect();
    buffers.push(fixed(element, shape));
    let port = |id: usize| Port { name: format!("b{id}"), buffer: BufferId(id as u32) };
    Program {
        name: "single".into(),
        symbols: vec![],
        buffers,
        constants: constants.to_vec(),
        steps: vec![Step { name: "layer".into(), kind }],
        inputs: (0..inputs.len()).map(port).collect(),
        outputs: vec![port(inputs.len())],
    }
}

/// What the step makes of the inputs.
pub fn run(
    inputs: &[Tensor],
    constants: &[Constant],
    kind: StepKind,
    element: ElementType,
    shape: &[usize],
) -> Result<Tensor, RunError> {
    let program = program(inputs, constants, kind, element, shape);
    program.validate()?;
    let mut outputs = interpret::run(&program, inputs, &Functions::default())?;
    Ok(outputs.remove(0))
}

/// Asserts what the step makes of the inputs, to the bit (but for a NaN's), and that it writes every element.
#[track_caller]
pub fn check(inputs: &[Tensor], constants: &[Constant], kind: StepKind, expected: &Tensor) {
    let element = expected.data.view().element();
    let program = program(inputs, constants, kind, element, &expected.shape);
    program.validate().expect("the table's program is valid");
    let given: Vec<_> = inputs.iter().map(|x| x.shape.clone()).collect();
    let shapes = program.resolve(&given).expect("the table's shapes fit");
    let buffers: Vec<_> = inputs.iter().cloned().map(Some).collect();
    let mut found = expected.clone();
    match found.data.view_mut() {
        ViewMut::F32(v) => v.fill(77.0),
        ViewMut::I8(v) => v.fill(77),
        ViewMut::U8(v) | ViewMut::Bool(v) => v.fill(77),
        ViewMut::I16(v) => v.fill(77),
        ViewMut::I32(v) => v.fill(77),
        ViewMut::I64(v) => v.fill(77),
    }
    let functions = Functions::default();
    interpret::run_step(
        &program,
        &shapes,
        &program.steps[0],
        &buffers,
        &mut [found.data.view_mut()],
        &functions,
    )
    .expect("the table's step runs");
    // The text form tells -0 from 0 and takes all NaN for one.
    assert_eq!(format!("{found:?}"), format!("{expected:?}"));
}
