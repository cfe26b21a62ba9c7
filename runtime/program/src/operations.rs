//! What a program computes per inference: additions and multiplications, counted step by step over concrete shapes.
//!
//! An addition is also a subtraction or a comparison of elements, a multiplication also a division or a transcendental function.
//! Counted is what the mathematics of a step asks for; a kernel may need fewer.

use crate::constant::ConstantData;
use crate::program::Program;
use crate::resolve::Shapes;
use crate::scalar::{Binary, Unary};
use crate::step::{
    Accumulate, Contraction, Epilogue, MapInstruction, Operand, PoolKind, ReduceKind, Scatter, Step,
    StepKind, Term,
};
use std::iter::Sum;
use std::ops::Add;

/// Operations for one run of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    /// Additions inside of a sum of products. A ternary weight takes one where it is not zero.
    pub additions_kernel: u64,
    /// All other additions: of products to one another, biases, residuals, activations.
    pub additions_epilogue: u64,
    /// Multiplications inside of a sum of products; a ternary sum has none.
    pub multiplications_kernel: u64,
    /// All other multiplications: scales and activations.
    pub multiplications_epilogue: u64,
    /// Multiplications of the same step with float weights, which need no scale.
    pub multiplications_float: u64,
}

impl Operations {
    /// All additions.
    pub fn additions(&self) -> u64 {
        self.additions_kernel.saturating_add(self.additions_epilogue)
    }

    /// All multiplications.
    pub fn multiplications(&self) -> u64 {
        self.multiplications_kernel.saturating_add(self.multiplications_epilogue)
    }
}

impl Add for Operations {
    type Output = Operations;

    fn add(self, other: Operations) -> Operations {
        let add = u64::saturating_add;
        Operations {
            additions_kernel: add(self.additions_kernel, other.additions_kernel),
            additions_epilogue: add(self.additions_epilogue, other.additions_epilogue),
            multiplications_kernel: add(self.multiplications_kernel, other.multiplications_kernel),
            multiplications_epilogue: add(self.multiplications_epilogue, other.multiplications_epilogue),
            multiplications_float: add(self.multiplications_float, other.multiplications_float),
        }
    }
}

impl Sum for Operations {
    fn sum<I: Iterator<Item = Operations>>(all: I) -> Operations {
        all.fold(Operations::default(), Add::add)
    }
}

/// Counts what a step of a valid program does for buffers of these shapes.
pub fn count(program: &Program, shapes: &Shapes, step: &Step) -> Operations {
    let output = step.outputs().first().map_or(0, |&id| size(shapes.of(id)));
    match &step.kind {
        StepKind::Accumulate(s) => accumulate(program, shapes, s, output),
        StepKind::Conv(s) => {
            let fan_in = shapes.operand(program, s.weight).get(1..).map_or(0, size);
            product(output, fan_in, &s.epilogue)
        }
        StepKind::MatMul(s) => {
            let fan_in = shapes.operand(program, s.left).last().map_or(0, |&k| k as u64);
            product(output, fan_in, &s.epilogue)
        }
        StepKind::Map(s) => s.code.iter().map(|instruction| each(output, of_instruction(instruction))).sum(),
        StepKind::Pool(s) => {
            let taps = s.window.kernel.iter().fold(1u64, |taps, &k| taps.saturating_mul(k as u64));
            let divisions = if s.kind == PoolKind::Max { 0 } else { output };
            let scales = if s.scale.is_some() { output } else { 0 };
            outside(divisions.saturating_add(scales), output.saturating_mul(taps))
                + epilogue(&s.epilogue, output)
        }
        StepKind::Reduce(s) => {
            let divisions = if s.kind == ReduceKind::Mean { output } else { 0 };
            outside(divisions, size(shapes.of(s.input)))
        }
        // Without a given scale, each element is compared with the largest so far. A float network does not quantise.
        StepKind::Quantize(s) => {
            let counts = each(output, (1, u64::from(s.scale.is_none())));
            Operations { multiplications_float: 0, ..counts }
        }
        // The exponential and a division; the maximum, a subtraction and the sum.
        StepKind::Softmax(_) => each(output, (2, 3)),
        StepKind::Scatter(Scatter { combine: Some(combine), updates, .. }) => {
            each(size(shapes.operand(program, *updates)), of_binary(combine.binary()))
        }
        StepKind::Cumulative(s) => each(output, of_binary(s.combine.binary())),
        // A comparison with the least that is kept so far.
        StepKind::TopK(s) => outside(0, size(shapes.operand(program, s.input))),
        StepKind::Scatter(_) | StepKind::Iota(_) => Operations::default(),
        StepKind::Move(_) | StepKind::Cast(_) | StepKind::Dims(_) | StepKind::Custom(_) => {
            Operations::default()
        }
    }
}

fn accumulate(program: &Program, shapes: &Shapes, step: &Accumulate, output: u64) -> Operations {
    let planes = step.terms.iter().flat_map(|term| term.planes.iter().map(|plane| (plane, term.parts)));
    let planes = planes.map(|(plane, parts)| {
        let shape = shapes.operand(program, Operand::Constant(plane.weight));
        let channel_axis = match plane.contraction {
            Contraction::Window { .. } => 0,
            Contraction::MatMul => shape.len().saturating_sub(1),
        };
        let channels = shape.get(channel_axis).map_or(0, |&channels| channels as u64);
        // The outputs of a window are those of all its parts.
        let outputs = if channel_axis == 0 { output.saturating_mul(parts as u64) } else { output };
        let positions = outputs.checked_div(channels).unwrap_or(0);
        let selected = match &program.constant(plane.weight).data {
            ConstantData::Ternary(trits) => trits.iter().filter(|&t| t != 0).count() as u64,
            _ => 0,
        };
        Operations {
            additions_kernel: positions.saturating_mul(selected),
            multiplications_float: positions.saturating_mul(size(shape)),
            ..Operations::default()
        }
    });
    let scales = step.terms.iter().map(|term| {
        let outputs = output.saturating_mul(term.parts as u64);
        match (term.scale, term.input_scale) {
            (None, None) => 0,
            // The factor first, for each sample and each number of the scale.
            (Some(scale), Some(samples)) => {
                let factors = size(shapes.of(samples)).saturating_mul(size(&program.constant(scale).shape));
                outputs.saturating_add(factors)
            }
            _ => outputs,
        }
    });
    // Parts are added to nothing at first, as a sum along an axis is.
    let summands =
        |term: &Term| if term.parts > 1 { term.parts.saturating_add(1) } else { term.planes.len() };
    let products = step.terms.iter().map(summands).fold(0, usize::saturating_add);
    let terms = Operations {
        additions_epilogue: output.saturating_mul(products.saturating_sub(1) as u64),
        multiplications_epilogue: scales.fold(0, u64::saturating_add),
        ..Operations::default()
    };
    planes.sum::<Operations>() + terms + epilogue(&step.epilogue, output)
}

fn product(output: u64, fan_in: u64, after: &Epilogue) -> Operations {
    let products = output.saturating_mul(fan_in);
    let kernel = Operations {
        additions_kernel: products,
        multiplications_kernel: products,
        multiplications_float: products,
        ..Operations::default()
    };
    kernel + epilogue(after, output)
}

fn epilogue(epilogue: &Epilogue, output: u64) -> Operations {
    let summands = u64::from(epilogue.bias.is_some()) + u64::from(epilogue.residual.is_some());
    each(output, (0, summands)) + each(output, epilogue.activation.map_or((0, 0), of_unary))
}

/// So many multiplications and additions for each element.
fn each(elements: u64, (multiplications, additions): (u64, u64)) -> Operations {
    outside(elements.saturating_mul(multiplications), elements.saturating_mul(additions))
}

/// Operations that are part of no sum of products.
fn outside(multiplications: u64, additions: u64) -> Operations {
    Operations {
        additions_epilogue: additions,
        multiplications_epilogue: multiplications,
        multiplications_float: multiplications,
        ..Operations::default()
    }
}

fn of_instruction(instruction: &MapInstruction) -> (u64, u64) {
    match instruction {
        MapInstruction::Unary(f, _) => of_unary(*f),
        MapInstruction::Binary(f, ..) => of_binary(*f),
    }
}

/// Multiplications and additions for one element.
fn of_unary(f: Unary) -> (u64, u64) {
    match f {
        Unary::Relu | Unary::Neg | Unary::Abs | Unary::Floor | Unary::Round => (0, 1),
        Unary::Clip { .. } => (0, 2),
        Unary::LeakyRelu { .. } => (1, 1),
        Unary::HardSigmoid { .. } => (1, 3),
        Unary::HardSwish => (2, 3),
        Unary::Sqrt
        | Unary::Reciprocal
        | Unary::Sigmoid
        | Unary::Tanh
        | Unary::Exp
        | Unary::Log
        | Unary::Erf
        | Unary::Sin
        | Unary::Cos
        | Unary::Atan => (1, 0),
    }
}

/// Multiplications and additions for one element.
fn of_binary(f: Binary) -> (u64, u64) {
    match f {
        Binary::Mul | Binary::Div | Binary::Pow => (1, 0),
        Binary::Add
        | Binary::Sub
        | Binary::Min
        | Binary::Max
        | Binary::Less
        | Binary::Equal
        | Binary::Keep => (0, 1),
        Binary::PRelu => (1, 1),
    }
}

fn size(shape: &[usize]) -> u64 {
    shape.iter().fold(1, |product, &n| product.saturating_mul(n as u64))
}
