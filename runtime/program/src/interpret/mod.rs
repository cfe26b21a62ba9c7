//! The interpreter: every step in plain, safe Rust, as its documentation defines it.
//!
//! It is the oracle of the generated code, what runs where memory cannot be made executable, and, in every path of the runtime, what
//! executes the steps that only move elements. [`run_step`] works from slices to slices and allocates nothing; the shapes that it is
//! handed come from [`Program::resolve`], and nothing is read or written outside of the slices whatever they hold.
//!
//! Sums are taken in f64 and rounded to f32 once; what follows a sum is computed in f32 in the order that the step defines.

mod cast;
mod elementwise;
mod movement;
mod order;
mod product;
mod quantize;
mod reduction;
mod tensor;
mod walk;

pub use tensor::{Tensor, TensorData, View, ViewMut};

use crate::error::ProgramError;
use crate::program::{BufferId, Program};
use crate::resolve::Shapes;
use crate::step::{Attribute, Operand, Step, StepKind};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// A function that an application registers for `custom` steps.
pub trait CustomFunction: Send + Sync {
    /// Computes the outputs; every one has the size that the program declares. An error is a sentence for the user.
    fn run(
        &self,
        attributes: &[(String, Attribute)],
        inputs: &[(View<'_>, &[usize])],
        outputs: &mut [(ViewMut<'_>, &[usize])],
    ) -> Result<(), String>;
}

/// The custom functions that an application knows, by `domain::name`.
#[derive(Clone, Default)]
pub struct Functions(BTreeMap<String, Arc<dyn CustomFunction>>);

impl Functions {
    /// Adds a function, in the place of one of the same name.
    pub fn register(&mut self, name: &str, function: Arc<dyn CustomFunction>) {
        self.0.insert(name.to_owned(), function);
    }

    /// The function of this name.
    pub fn get(&self, name: &str) -> Option<&dyn CustomFunction> {
        self.0.get(name).map(|function| &**function)
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why a run stopped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RunError {
    /// The program or the inputs are not valid.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// An input's elements are not of the declared type.
    #[error("input `{name}` holds {found}, but the model takes {expected}")]
    InputElement {
        /// The input.
        name: String,
        /// The declared type.
        expected: String,
        /// What came.
        found: String,
    },
    /// A buffer has not the type or size that the step needs; a mistake of the caller of [`run_step`].
    #[error("`{step}` was handed a buffer that is not {expected}")]
    Buffer {
        /// The layer.
        step: String,
        /// What it needs.
        expected: String,
    },
    /// There is no memory for an output.
    #[error("`{step}` needs a buffer of shape {shape:?}, for which there is no memory; give smaller inputs")]
    Memory {
        /// The layer.
        step: String,
        /// The output's shape.
        shape: Vec<usize>,
    },
    /// An index of a gather or scatter is out of range.
    #[error("`{step}` takes element {index} of an axis of {size}")]
    Index {
        /// The layer.
        step: String,
        /// The index.
        index: i64,
        /// The size.
        size: usize,
    },
    /// Integers were divided by zero.
    #[error("`{step}` divides an integer by zero")]
    DivisionByZero {
        /// The layer.
        step: String,
    },
    /// Nobody registered the function of a custom step.
    #[error(
        "`{step}` calls `{function}`, which is not registered; register it and open the model with `Module::open_with`"
    )]
    UnknownFunction {
        /// The layer.
        step: String,
        /// The function.
        function: String,
    },
    /// A custom function failed.
    #[error("`{step}`: `{function}` failed: {message}")]
    Custom {
        /// The layer.
        step: String,
        /// The function.
        function: String,
        /// Its sentence.
        message: String,
    },
}

/// Gives a step its operands.
pub trait Operands {
    /// The elements of a buffer that the step reads.
    fn buffer(&self, id: BufferId) -> View<'_>;
}

/// What a step runs in.
pub(crate) struct Context<'a> {
    pub(crate) program: &'a Program,
    pub(crate) shapes: &'a Shapes,
    pub(crate) step: &'a Step,
    operands: &'a dyn Operands,
}

/// Computes one step into `outputs`, its buffers in order. Allocates nothing, but for what a custom function does.
pub fn run_step(
    program: &Program,
    shapes: &Shapes,
    step: &Step,
    operands: &dyn Operands,
    outputs: &mut [ViewMut<'_>],
    functions: &Functions,
) -> Result<(), RunError> {
    let cx = Context { program, shapes, step, operands };
    if let StepKind::Custom(custom) = &step.kind {
        return run_custom(&cx, custom, outputs, functions);
    }
    if let StepKind::Quantize(s) = &step.kind {
        return quantize::quantize(&cx, s, outputs);
    }
    if let StepKind::TopK(s) = &step.kind {
        return order::top_k(&cx, s, outputs);
    }
    let [output] = outputs else { return Err(cx.wrong_buffer("the one output")) };
    match &step.kind {
        StepKind::Accumulate(s) => product::accumulate(&cx, s, output),
        StepKind::Conv(s) => product::conv(&cx, s, output),
        StepKind::MatMul(s) => product::matmul(&cx, s, output),
        StepKind::Map(s) => elementwise::map(&cx, s, output),
        StepKind::Pool(s) => reduction::pool(&cx, s, output),
        StepKind::Reduce(s) => reduction::reduce(&cx, s, output),
        StepKind::Softmax(s) => reduction::softmax(&cx, s, output),
        StepKind::Move(s) => movement::run(&cx, s, output),
        StepKind::Cast(s) => cast::cast(&cx, s, output),
        StepKind::Dims(s) => {
            let ViewMut::I64(output) = output else { return Err(cx.wrong_buffer("i64")) };
            for (element, dim) in output.iter_mut().zip(&s.values) {
                *element = dim.eval(&shapes.bindings).map_err(|source| {
                    let what = format!("`{}`", step.name);
                    RunError::Program(ProgramError::Dimension { what, source })
                })?;
            }
            Ok(())
        }
        StepKind::Iota(_) => {
            let ViewMut::I64(output) = output else { return Err(cx.wrong_buffer("i64")) };
            (0..).zip(output.iter_mut()).for_each(|(i, element)| *element = i);
            Ok(())
        }
        StepKind::Scatter(s) => order::scatter(&cx, s, output),
        StepKind::Cumulative(s) => order::cumulative(&cx, s, output),
        StepKind::Quantize(_) | StepKind::TopK(_) | StepKind::Custom(_) => Ok(()),
    }
}

/// Runs a whole program on inputs in the order of its declaration.
pub fn run(program: &Program, inputs: &[Tensor], functions: &Functions) -> Result<Vec<Tensor>, RunError> {
    let given: Vec<_> = inputs.iter().map(|tensor| tensor.shape.clone()).collect();
    let shapes = program.resolve(&given)?;
    let mut buffers: Vec<Option<Tensor>> = vec![None; program.buffers.len()];
    for (port, tensor) in program.inputs.iter().zip(inputs) {
        let expected = program.buffers[port.buffer.index()].element;
        if tensor.data.view().element() != expected {
            let (expected, found) = (expected.to_string(), tensor.data.view().element().to_string());
            return Err(RunError::InputElement { name: port.name.clone(), expected, found });
        }
        if tensor.data.view().len() != tensor.shape.iter().product::<usize>() {
            let (step, expected) = (port.name.clone(), "of its shape's size".to_owned());
            return Err(RunError::Buffer { step, expected });
        }
        buffers[port.buffer.index()] = Some(tensor.clone());
    }
    for step in &program.steps {
        let results = step.outputs().iter().map(|&id| {
            let (element, shape) = (program.buffers[id.index()].element, shapes.of(id));
            let no_memory = || RunError::Memory { step: step.name.clone(), shape: shape.to_vec() };
            Tensor::zeros(element, shape).ok_or_else(no_memory)
        });
        let mut results = results.collect::<Result<Vec<_>, _>>()?;
        let mut views: Vec<_> = results.iter_mut().map(|tensor| tensor.data.view_mut()).collect();
        run_step(program, &shapes, step, &buffers, &mut views, functions)?;
        for (id, tensor) in step.outputs().iter().zip(results) {
            buffers[id.index()] = Some(tensor);
        }
    }
    let outputs = program.outputs.iter().map(|port| buffers[port.buffer.index()].clone());
    Ok(outputs.map(Option::unwrap_or_default).collect())
}

impl Operands for Vec<Option<Tensor>> {
    fn buffer(&self, id: BufferId) -> View<'_> {
        self.get(id.index()).and_then(Option::as_ref).map_or(View::F32(&[]), |tensor| tensor.data.view())
    }
}

impl<'a> Context<'a> {
    /// The elements of an operand, checked to be as many as its shape says.
    pub(crate) fn view(&self, operand: Operand) -> Result<View<'a>, RunError> {
        let view = match operand {
            Operand::Buffer(id) => self.operands.buffer(id),
            Operand::Constant(id) => {
                View::of_constant(self.program.constant(id)).ok_or_else(|| self.wrong_buffer("dense"))?
            }
        };
        match view.len() == self.shape(operand).iter().product::<usize>() {
            true => Ok(view),
            false => Err(self.wrong_buffer("of its shape's size")),
        }
    }

    /// The elements of an f32 operand.
    pub(crate) fn f32(&self, operand: Operand) -> Result<&'a [f32], RunError> {
        match self.view(operand)? {
            View::F32(elements) => Ok(elements),
            _ => Err(self.wrong_buffer("f32")),
        }
    }

    /// The shape of an operand.
    pub(crate) fn shape(&self, operand: Operand) -> &'a [usize] {
        self.shapes.operand(self.program, operand)
    }

    /// An f32 output, checked to be of its shape's size.
    pub(crate) fn f32_output<'o>(
        &self,
        id: BufferId,
        output: &'o mut ViewMut<'_>,
    ) -> Result<&'o mut [f32], RunError> {
        match output {
            ViewMut::F32(elements) if elements.len() == self.shapes.of(id).iter().product::<usize>() => {
                Ok(elements)
            }
            _ => Err(self.wrong_buffer("f32 of its shape's size")),
        }
    }

    pub(crate) fn wrong_buffer(&self, expected: &str) -> RunError {
        RunError::Buffer { step: self.step.name.clone(), expected: expected.to_owned() }
    }
}

fn run_custom(
    cx: &Context<'_>,
    custom: &crate::step::Custom,
    outputs: &mut [ViewMut<'_>],
    functions: &Functions,
) -> Result<(), RunError> {
    let (step, function) = (cx.step.name.clone(), custom.function.clone());
    let Some(implementation) = functions.get(&custom.function) else {
        return Err(RunError::UnknownFunction { step, function });
    };
    let inputs = custom.inputs.iter().map(|&operand| Ok((cx.view(operand)?, cx.shape(operand))));
    let inputs = inputs.collect::<Result<Vec<_>, RunError>>()?;
    let shapes = custom.outputs.iter().map(|&id| cx.shapes.of(id));
    let mut outputs: Vec<_> = outputs.iter_mut().map(ViewMut::reborrow).zip(shapes).collect();
    implementation.run(&custom.attributes, &inputs, &mut outputs).map_err(|message| RunError::Custom {
        step,
        function,
        message,
    })
}
