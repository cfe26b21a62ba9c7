//! What a program costs per inference, counted step by step over concrete shapes.

use twnc_program::step::{Accumulate, Contraction, Epilogue, MapInstruction, PoolKind};
use twnc_program::{Operand, Program, Shapes, Step, StepKind, scalar};

/// Counts of lanes for one run of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Additions and subtractions, one for each weight that is not zero and each position (as the mathematics has it; tables need fewer).
    pub additions: u64,
    /// Multiplications inside of the sum; a ternary sum has none.
    pub multiplications_kernel: u64,
    /// Multiplications after the sum: scales and activations.
    pub multiplications_epilogue: u64,
    /// Multiplications of the same layer with float weights.
    pub multiplications_float: u64,
}

/// Counts what a step does for inputs of these shapes.
pub fn count(program: &Program, shapes: &Shapes, step: &Step) -> Counts {
    let output = step.outputs().first().map_or(0, |&id| size(shapes.of(id)));
    match &step.kind {
        StepKind::Accumulate(s) => accumulate(program, shapes, s, output),
        StepKind::Conv(s) => {
            let fan_in = size(&shapes.operand(program, s.weight)[1..]);
            product(output, fan_in, &s.epilogue)
        }
        StepKind::MatMul(s) => {
            let left = shapes.operand(program, s.left);
            product(output, left.last().map_or(0, |&k| k as u64), &s.epilogue)
        }
        StepKind::Map(s) => {
            let each = |code: &MapInstruction| match code {
                MapInstruction::Unary(f, _) => multiplies(*f),
                MapInstruction::Binary(f, ..) => {
                    use scalar::Binary::{Div, Mul, PRelu, Pow};
                    u64::from(matches!(f, Mul | Div | Pow | PRelu))
                }
            };
            let per_element: u64 = s.code.iter().map(each).sum();
            let multiplications = output.saturating_mul(per_element);
            Counts {
                additions: output.saturating_mul(s.code.len() as u64 - per_element.min(s.code.len() as u64)),
                multiplications_epilogue: multiplications,
                multiplications_float: multiplications,
                ..Counts::default()
            }
        }
        StepKind::Pool(s) => {
            let taps = s.window.kernel.iter().fold(1u64, |taps, &k| taps.saturating_mul(k as u64));
            let divisions = if s.kind == PoolKind::Max { 0 } else { output };
            one_each(divisions, output.saturating_mul(taps))
        }
        StepKind::Reduce(s) => one_each(output, size(shapes.of(s.input))),
        StepKind::Quantize(_) => one_each(output, 0),
        StepKind::Softmax(_) => one_each(output.saturating_mul(2), output.saturating_mul(3)),
        StepKind::Move(_) | StepKind::Cast(_) | StepKind::Dims(_) | StepKind::Custom(_) => Counts::default(),
    }
}

fn accumulate(program: &Program, shapes: &Shapes, step: &Accumulate, output: u64) -> Counts {
    let mut counts =
        Counts { multiplications_epilogue: epilogue(&step.epilogue, output), ..Counts::default() };
    counts.multiplications_float = counts.multiplications_epilogue;
    for (term, plane) in step.terms.iter().flat_map(|term| term.planes.iter().map(move |p| (term, p))) {
        let shape = shapes.operand(program, Operand::Constant(plane.weight));
        let (channels, fan_in) = match plane.contraction {
            Contraction::Window { .. } => (shape[0] as u64, size(&shape[1..])),
            Contraction::MatMul => (shape[1] as u64, shape[0] as u64),
        };
        let positions = output.checked_div(channels).unwrap_or(0);
        let selected = match &program.constant(plane.weight).data {
            twnc_program::ConstantData::Ternary(trits) => trits.iter().filter(|&t| t != 0).count() as u64,
            _ => 0,
        };
        counts.additions = counts.additions.saturating_add(positions.saturating_mul(selected));
        counts.multiplications_float =
            counts.multiplications_float.saturating_add(output.saturating_mul(fan_in));
        if term.scale.is_some() || term.input_scale.is_some() {
            counts.multiplications_epilogue = counts.multiplications_epilogue.saturating_add(output);
        }
    }
    counts
}

fn product(output: u64, fan_in: u64, e: &Epilogue) -> Counts {
    let products = output.saturating_mul(fan_in);
    let after = epilogue(e, output);
    Counts {
        additions: products,
        multiplications_kernel: products,
        multiplications_epilogue: after,
        multiplications_float: products.saturating_add(after),
    }
}

fn one_each(multiplications: u64, additions: u64) -> Counts {
    Counts {
        additions,
        multiplications_kernel: 0,
        multiplications_epilogue: multiplications,
        multiplications_float: multiplications,
    }
}

fn epilogue(epilogue: &Epilogue, output: u64) -> u64 {
    epilogue.activation.map_or(0, |f| output.saturating_mul(multiplies(f)))
}

/// Multiplications, divisions and transcendental functions in a function of one number.
fn multiplies(f: scalar::Unary) -> u64 {
    use scalar::Unary;
    match f {
        Unary::Relu | Unary::Clip { .. } | Unary::Neg | Unary::Abs => 0,
        Unary::HardSwish => 2,
        _ => 1,
    }
}

fn size(shape: &[usize]) -> u64 {
    shape.iter().fold(1, |product, &n| product.saturating_mul(n as u64))
}
