//! Which steps have generated code, and the code.

use std::sync::OnceLock;
use twnc_jit::{AccumulateSpec, Isa, Jit, JitError, Kernel, PlaneSpec};
use twnc_program::step::Accumulate;
use twnc_program::{BufferId, ConstantData, ConstantId, Operand, Program, Shapes, Step, StepKind};

/// The largest number of buffers that a kernel reads, so that a run needs no list on the heap.
pub(crate) const MAX_INPUTS: usize = 8;

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
        StepKind::Accumulate(s) if s.planes.len() <= MAX_INPUTS => {
            accumulate(jit, program, shapes, s, threads)
        }
        _ => Ok(None),
    }
}

fn accumulate(
    jit: &Jit,
    program: &Program,
    shapes: &Shapes,
    step: &Accumulate,
    threads: usize,
) -> Result<Option<Bound>, JitError> {
    let planes = step.planes.iter().map(|plane| {
        let ConstantData::Ternary(weight) = &program.constant(plane.weight).data else { return None };
        Some(PlaneSpec {
            input: shapes.of(plane.input),
            weight_shape: shapes.operand(program, Operand::Constant(plane.weight)),
            weight,
            contraction: &plane.contraction,
            scale: plane.scale.and_then(|id| floats(program, id)),
        })
    });
    let Some(planes) = planes.collect() else { return Ok(None) };
    let spec = AccumulateSpec {
        planes,
        bias: step.epilogue.bias.and_then(|id| floats(program, id)),
        residual: step.epilogue.residual.is_some(),
        activation: step.epilogue.activation,
        threads,
    };
    match jit.accumulate(&spec) {
        Ok(kernel) => Ok(Some(Bound {
            kernel: Box::new(kernel),
            inputs: step.planes.iter().map(|plane| plane.input).collect(),
            residual: step.epilogue.residual,
            output: step.output,
        })),
        Err(JitError::Unsupported(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn floats(program: &Program, id: ConstantId) -> Option<&[f32]> {
    match &program.constant(id).data {
        ConstantData::F32(v) => Some(v),
        _ => None,
    }
}
