//! Which steps have generated code, and the code.

use std::sync::{Arc, OnceLock};
use twnc_jit::{
    AccumulateSpec, ConvSpec, Epilogue, Isa, Jit, JitError, Kernel, MapSpec, MatMulSpec, PlaneSpec, PoolSpec,
    Source,
};
use twnc_program::step::{self, Accumulate};
use twnc_program::{
    BufferId, ConstantData, ConstantId, ElementType, Operand, Program, Shapes, Step, StepKind,
};

/// The largest number of buffers that a kernel reads, so that a run needs no list on the heap.
pub(crate) const MAX_INPUTS: usize = twnc_program::MAX_MAP_INPUTS;

/// A kernel with the buffers that it works on.
pub(crate) struct Bound {
    pub(crate) kernel: Box<dyn Kernel>,
    pub(crate) inputs: Vec<BufferId>,
    pub(crate) residual: Option<BufferId>,
    pub(crate) output: BufferId,
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.kernel.describe())
    }
}

/// The code generator of this process; `None` where memory cannot be made executable or the machine is unknown to it.
pub(crate) fn generator() -> Option<&'static Jit> {
    static GENERATOR: OnceLock<Option<Jit>> = OnceLock::new();
    GENERATOR.get_or_init(|| Jit::new(Isa::Portable).ok()).as_ref()
}

/// The kernel of a step; `None` if the interpreter executes it.
pub(crate) fn bind(
    jit: &Jit,
    program: &Program,
    shapes: &Shapes,
    step: &Step,
    threads: usize,
) -> Result<Option<Bound>, JitError> {
    match &step.kind {
        StepKind::Accumulate(s) if s.terms.len() <= MAX_INPUTS => {
            accumulate(jit, program, shapes, s, threads)
        }
        StepKind::Conv(s) => {
            let mut operands = Operands::new(program);
            operands.source(Operand::Buffer(s.input));
            let Some(weight) = operands.source(s.weight) else { return Ok(None) };
            let spec = ConvSpec {
                input: shapes.of(s.input),
                weight_shape: shapes.operand(program, s.weight),
                weight,
                window: &s.window,
                groups: s.groups,
                epilogue: epilogue(program, &s.epilogue),
            };
            operands.bind(jit.conv(&spec), s.epilogue.residual, s.output)
        }
        StepKind::MatMul(s) => {
            let mut operands = Operands::new(program);
            let (Some(left), Some(right)) = (operands.source(s.left), operands.source(s.right)) else {
                return Ok(None);
            };
            let spec = MatMulSpec {
                left_shape: shapes.operand(program, s.left),
                left,
                right_shape: shapes.operand(program, s.right),
                right,
                epilogue: epilogue(program, &s.epilogue),
            };
            operands.bind(jit.matmul(&spec), s.epilogue.residual, s.output)
        }
        StepKind::Map(s) => {
            if program.buffers[s.output.index()].element != ElementType::F32 {
                return Ok(None);
            }
            let mut operands = Operands::new(program);
            let mut inputs = Vec::with_capacity(s.inputs.len());
            for &operand in &s.inputs {
                let Some(source) = operands.source(operand) else { return Ok(None) };
                inputs.push((shapes.operand(program, operand), source));
            }
            let spec = MapSpec { output: shapes.of(s.output), inputs, code: &s.code };
            operands.bind(jit.map(&spec), None, s.output)
        }
        StepKind::Pool(s) => {
            let mut operands = Operands::new(program);
            operands.source(Operand::Buffer(s.input));
            let (input, output) = (shapes.of(s.input), shapes.of(s.output));
            let spec = PoolSpec { kind: s.kind, input, output, window: &s.window };
            operands.bind(jit.pool(&spec), None, s.output)
        }
        _ => Ok(None),
    }
}

/// Collects the buffers that a kernel reads, in the order of its inputs.
struct Operands<'p> {
    program: &'p Program,
    inputs: Vec<BufferId>,
}

impl<'p> Operands<'p> {
    fn new(program: &'p Program) -> Operands<'p> {
        Operands { program, inputs: vec![] }
    }

    /// An operand as a kernel's source; `None` for a constant that is not f32.
    fn source(&mut self, operand: Operand) -> Option<Source> {
        match operand {
            Operand::Buffer(id) => {
                self.inputs.push(id);
                Some(Source::Input(self.inputs.len() - 1))
            }
            Operand::Constant(id) => match &self.program.constant(id).data {
                ConstantData::F32(elements) => Some(Source::Constant(Arc::clone(elements))),
                _ => None,
            },
        }
    }

    fn bind(
        self,
        kernel: Result<impl Kernel + 'static, JitError>,
        residual: Option<BufferId>,
        output: BufferId,
    ) -> Result<Option<Bound>, JitError> {
        match kernel {
            Ok(kernel) => Ok(Some(Bound { kernel: Box::new(kernel), inputs: self.inputs, residual, output })),
            Err(JitError::Unsupported(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn epilogue(program: &Program, epilogue: &step::Epilogue) -> Epilogue {
    Epilogue {
        scale: None,
        carry: false,
        bias: epilogue.bias.and_then(|id| floats(program, id)).map(<[f32]>::to_vec),
        residual: epilogue.residual.is_some(),
        activation: epilogue.activation,
    }
}

fn accumulate(
    jit: &Jit,
    program: &Program,
    shapes: &Shapes,
    step: &Accumulate,
    threads: usize,
) -> Result<Option<Bound>, JitError> {
    let planes = step.terms.iter().map(|term| {
        // Sums over several planes and of integers are the interpreter's.
        let [plane] = &term.planes[..] else { return None };
        if term.input_scale.is_some() || program.buffers[plane.input.index()].element != ElementType::F32 {
            return None;
        }
        let ConstantData::Ternary(weight) = &program.constant(plane.weight).data else { return None };
        Some(PlaneSpec {
            input: shapes.of(plane.input),
            weight_shape: shapes.operand(program, Operand::Constant(plane.weight)),
            weight,
            contraction: &plane.contraction,
            scale: term.scale.and_then(|id| floats(program, id)),
        })
    });
    let Some(planes) = planes.collect() else { return Ok(None) };
    let spec = AccumulateSpec {
        planes,
        bias: step.epilogue.bias.and_then(|id| floats(program, id)),
        residual: step.epilogue.residual.is_some(),
        activation: step.epilogue.activation,
        threads,
        rank: 0,
    };
    let inputs = step.terms.iter().flat_map(|term| term.planes.iter().map(|plane| plane.input)).collect();
    Operands { program, inputs }.bind(jit.accumulate(&spec), step.epilogue.residual, step.output)
}

fn floats(program: &Program, id: ConstantId) -> Option<&[f32]> {
    match &program.constant(id).data {
        ConstantData::F32(v) => Some(v),
        _ => None,
    }
}
