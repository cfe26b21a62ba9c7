//! Binds the steps of a program to what executes them: a kernel of generated code with its buffers, or the interpreter and why.

use crate::plans::Setup;
use crate::tuning;
use crate::views::Part;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use twnc_jit::{
    AccumulateKernel, AccumulateSpec, Before, ConvSpec, Epilogue, Function, IntegerRange, Jit, JitError,
    Kernel, Layout, MapSpec, MatMulSpec, Measured, PlaneSpec, PoolSpec, Source,
};
use twnc_program::step::{self, Accumulate, Move, MoveKind, Quantize, Term};
use twnc_program::{
    BufferId, ConstantData, ConstantId, ElementType, MAX_MAP_INPUTS, Operand, Program, Shapes, Step, StepKind,
};

/// The largest number of buffers that a kernel reads, so that a run needs no list on the heap.
pub(crate) const MAX_INPUTS: usize = MAX_MAP_INPUTS;

/// The parts of a term that there is code for: a kernel each.
const MAX_PARTS: usize = 1 << 10;

const MANY_PARTS: Execution = Execution::Interpret(Some("a product in more than 1,024 parts"));
const MANY_PLANES: Execution = Execution::Interpret(Some("an accumulation of more than 16 planes"));
const NOT_TERNARY: Execution = Execution::Interpret(Some("a plane whose weight is not ternary"));
const NOT_FLOAT: Execution = Execution::Interpret(Some("operands that are not f32"));

/// The quantize step that writes each buffer of integers whose range is known.
pub(crate) type Ranges<'p> = HashMap<BufferId, &'p Quantize>;

/// Those of a program.
pub(crate) fn ranges(program: &Program) -> Ranges<'_> {
    let quantize = program.steps.iter().filter_map(|step| match &step.kind {
        StepKind::Quantize(quantize) => Some((quantize.outputs[0], quantize)),
        _ => None,
    });
    quantize.collect()
}

/// Where tensors between kernels lie otherwise than the program says, and which may; and what is found out about them where they are written.
#[derive(Default)]
pub(crate) struct Layouts {
    /// Integers, written by a quantize step and read by the products of one accumulation, and by nothing else.
    movable: HashSet<BufferId>,
    /// By number, pools that alone read what the accumulation just before them writes.
    pooled: HashSet<usize>,
    /// How the kernel that reads them wants them.
    wanted: HashMap<BufferId, Arc<Layout>>,
    /// The quantize step, by number, that needs a scale of what a sum or a pool writes.
    scaled: HashMap<BufferId, usize>,
    /// What the kernels that write it measure for that step.
    measured: HashSet<BufferId>,
}

impl Layouts {
    /// None yet, of what may be laid out as its reader wants.
    pub(crate) fn new(program: &Program) -> Layouts {
        // The numbers of the steps that read a buffer, once for each operand; an output is read behind the last step.
        let mut readers: HashMap<BufferId, Vec<usize>> = HashMap::new();
        for (number, step) in program.steps.iter().enumerate() {
            for operand in step.operands() {
                if let Operand::Buffer(id) = operand {
                    readers.entry(id).or_default().push(number);
                }
            }
        }
        let end = program.steps.len();
        program.outputs.iter().for_each(|port| readers.entry(port.buffer).or_default().push(end));
        let of = |id: BufferId| readers.get(&id).map_or(&[][..], Vec::as_slice);
        let sums_whole_products = |number: &usize| match program.steps.get(*number).map(|step| &step.kind) {
            Some(StepKind::Accumulate(s)) => s.terms.iter().all(|term| term.parts == 1),
            _ => false,
        };
        let movable = program.steps.iter().filter_map(|step| match &step.kind {
            StepKind::Quantize(quantize) => {
                let (id, readers) = (quantize.outputs[0], of(quantize.outputs[0]));
                let alike = readers.iter().all(|number| *number == readers[0]);
                (alike && readers.first().is_some_and(sums_whole_products)).then_some(id)
            }
            _ => None,
        });
        let pairs = program.steps.windows(2).zip(1..);
        let pooled = pairs.filter_map(|(pair, number)| match [&pair[0].kind, &pair[1].kind] {
            [StepKind::Accumulate(sums), StepKind::Pool(pool)] => {
                (sums.output == pool.input && *of(pool.input) == [number]).then_some(number)
            }
            _ => None,
        });
        let sums = program.steps.iter().filter_map(|step| match &step.kind {
            StepKind::Accumulate(s) => Some(s.output),
            StepKind::Pool(s) => Some(s.output),
            _ => None,
        });
        let scaled = sums.filter_map(|id| {
            let readers = of(id);
            let scales = |number: &&usize| match program.steps.get(**number).map(|step| &step.kind) {
                Some(StepKind::Quantize(s)) => s.scale.is_none(),
                _ => false,
            };
            // What the caller gets is written by kernels that write nothing else.
            (!readers.contains(&end))
                .then(|| readers.iter().find(scales))
                .flatten()
                .map(|&number| (id, number))
        });
        Layouts {
            movable: movable.collect(),
            pooled: pooled.collect(),
            scaled: scaled.collect(),
            ..Layouts::default()
        }
    }

    /// What is to be measured of a buffer by who writes it, and where that goes.
    fn measures(&self, program: &Program, id: BufferId) -> Option<(Measured, BufferId)> {
        match &program.steps[*self.scaled.get(&id)?].kind {
            StepKind::Quantize(step) => Some((Measured::of(step.signed), step.outputs[1])),
            _ => None,
        }
    }

    /// A pool, given by its number, with the accumulation before it, if the two may be one.
    pub(crate) fn pair<'p>(
        &self,
        program: &'p Program,
        number: usize,
    ) -> Option<(&'p Accumulate, &'p step::Pool)> {
        let number = self.pooled.get(&number)?;
        match [&program.steps[number - 1].kind, &program.steps[*number].kind] {
            [StepKind::Accumulate(sums), StepKind::Pool(pool)] => Some((sums, pool)),
            _ => None,
        }
    }

    /// How a buffer lies, if that is not in the order of its tensor.
    pub(crate) fn of(&self, id: BufferId) -> Option<&Arc<Layout>> {
        self.wanted.get(&id)
    }

    /// The buffers that are not in the order of their tensors, and their bytes.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (BufferId, usize)> {
        self.wanted.iter().map(|(&id, layout)| (id, layout.len().saturating_mul(size_of::<i16>())))
    }

    /// Notes what a kernel wants, and what it measures: for which step, by number, that was bound before.
    pub(crate) fn note(&mut self, bound: &Bound) -> Option<usize> {
        for (input, layout) in &bound.kernel.interface().layouts {
            self.wanted.insert(bound.inputs[*input], layout.clone());
        }
        let &[output, _] = &bound.outputs[..] else { return None };
        let number = *self.scaled.get(&output)?;
        self.measured.insert(output);
        Some(number)
    }
}

/// How a step is executed.
pub(crate) enum Execution {
    /// Its output is part of its input's memory, or the other way about, but for these parts, which are copied.
    Alias(Vec<Part>),
    /// Together with the step behind it.
    Ahead,
    /// By the interpreter: because the session asks for it, or because there is no generated code for what is named.
    Interpret(Option<&'static str>),
    /// By generated code.
    Kernel(Bound),
}

/// A kernel with the buffers that it works on.
pub(crate) struct Bound {
    pub(crate) kernel: Box<dyn Kernel>,
    pub(crate) inputs: Vec<BufferId>,
    pub(crate) residual: Option<BufferId>,
    pub(crate) outputs: Vec<BufferId>,
}

impl Execution {
    /// In words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Execution::Alias(copies) if copies.is_empty() => "alias".to_owned(),
            Execution::Alias(copies) => format!("alias, but for {} that it copies", copies.len()),
            Execution::Ahead => "with the next step".to_owned(),
            Execution::Interpret(None) => "interpreter".to_owned(),
            Execution::Interpret(Some(what)) => format!("interpreter: no generated code for {what}"),
            Execution::Kernel(bound) => bound.kernel.describe(),
        }
    }

    /// The generated functions that it calls.
    pub(crate) fn functions(&self) -> Vec<Arc<Function>> {
        match self {
            Execution::Kernel(bound) => bound.kernel.functions(),
            Execution::Alias(_) | Execution::Ahead | Execution::Interpret(_) => vec![],
        }
    }

    /// What it should take on one thread, in cycles, where a kernel says so.
    pub(crate) fn estimate(&self) -> Option<f64> {
        match self {
            Execution::Kernel(bound) => bound.kernel.estimate(),
            Execution::Alias(_) | Execution::Ahead | Execution::Interpret(_) => None,
        }
    }

    /// Lines of scratch memory that each thread needs for it.
    pub(crate) fn scratch(&self) -> usize {
        match self {
            Execution::Kernel(bound) => bound.kernel.interface().scratch,
            Execution::Alias(_) | Execution::Ahead | Execution::Interpret(_) => 0,
        }
    }
}

impl std::fmt::Debug for Execution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe())
    }
}

/// What executes a step, where `jit` makes the code for a setup. A step that there is no code for is interpreted. The steps behind it were
/// bound before, and the layouts are what their kernels want.
///
/// # Errors
/// Whatever else keeps `jit` from making the code.
pub(crate) fn bind(
    jit: &Jit,
    program: &Program,
    shapes: &Shapes,
    ranges: &Ranges<'_>,
    layouts: &Layouts,
    step: &Step,
    setup: &Setup,
) -> Result<Execution, JitError> {
    match &step.kind {
        StepKind::Accumulate(s) => match accumulation(program, shapes, ranges, layouts, s, setup.threads) {
            Ok(mut accumulation) => accumulation.bind_tuned(jit, setup),
            Err(interpreted) => Ok(interpreted),
        },
        StepKind::Conv(s) => {
            let mut operands = Operands::new(program);
            operands.source(Operand::Buffer(s.input));
            let Some(weight) = operands.source(s.weight) else { return Ok(NOT_FLOAT) };
            let spec = ConvSpec {
                input: shapes.of(s.input),
                weight_shape: shapes.operand(program, s.weight),
                weight,
                window: &s.window,
                groups: s.groups,
                epilogue: epilogue(program, None, &s.epilogue),
            };
            operands.bind(jit.conv(&spec), s.epilogue.residual, step.outputs())
        }
        StepKind::MatMul(s) => {
            let mut operands = Operands::new(program);
            let (Some(left), Some(right)) = (operands.source(s.left), operands.source(s.right)) else {
                return Ok(NOT_FLOAT);
            };
            let spec = MatMulSpec {
                left_shape: shapes.operand(program, s.left),
                left,
                right_shape: shapes.operand(program, s.right),
                right,
                epilogue: epilogue(program, None, &s.epilogue),
            };
            operands.bind(jit.matmul(&spec), s.epilogue.residual, step.outputs())
        }
        StepKind::Map(s) => {
            if program.buffers[s.output.index()].element != ElementType::F32 {
                return Ok(NOT_FLOAT);
            }
            let mut operands = Operands::new(program);
            let mut inputs = Vec::with_capacity(s.inputs.len());
            for &operand in &s.inputs {
                let Some(source) = operands.source(operand) else { return Ok(NOT_FLOAT) };
                inputs.push((shapes.operand(program, operand), source));
            }
            let spec = MapSpec { output: shapes.of(s.output), inputs, code: &s.code };
            operands.bind(jit.map(&spec), None, step.outputs())
        }
        StepKind::Move(Move { kind: MoveKind::Transpose { perm }, inputs, output }) => match inputs[..] {
            [Operand::Buffer(id)] if program.buffers[output.index()].element == ElementType::F32 => {
                let mut operands = Operands::new(program);
                operands.source(Operand::Buffer(id));
                operands.bind(jit.transpose(shapes.of(id), perm), None, step.outputs())
            }
            _ => Ok(Execution::Interpret(Some(step.kind_name()))),
        },
        StepKind::Softmax(s) => {
            let mut operands = Operands::new(program);
            operands.source(Operand::Buffer(s.input));
            operands.bind(jit.softmax(shapes.of(s.input), &s.axes), None, step.outputs())
        }
        StepKind::Pool(s) => {
            let mut operands = Operands::new(program);
            operands.source(Operand::Buffer(s.input));
            let kernel = jit.pool(&pool(program, shapes, layouts, s));
            operands.bind(kernel, s.epilogue.residual, &outputs(program, layouts, s.output))
        }
        StepKind::Quantize(s) => {
            let mut operands = Operands::new(program);
            operands.source(Operand::Buffer(s.input));
            let layout = layouts.of(s.outputs[0]);
            // The first that needs a scale of a buffer is the one that it was measured for.
            let measured = layouts.measured.contains(&s.input)
                && layouts.measures(program, s.input).is_some_and(|(_, scales)| scales == s.outputs[1]);
            let kernel = jit.quantize(s, shapes.of(s.input), layout, measured);
            operands.bind(kernel, None, step.outputs())
        }
        _ => Ok(Execution::Interpret(Some(step.kind_name()))),
    }
}

/// What executes an accumulation and the pool behind it: one kernel, if that can be and pays, else what executes the accumulation alone.
///
/// # Errors
/// As [`bind`].
pub(crate) fn bind_pooled(
    jit: &Jit,
    program: &Program,
    shapes: &Shapes,
    ranges: &Ranges<'_>,
    layouts: &Layouts,
    (sums, behind): (&Accumulate, &step::Pool),
    setup: &Setup,
) -> Result<(Execution, Option<Bound>), JitError> {
    let mut accumulation = match accumulation(program, shapes, ranges, layouts, sums, setup.threads) {
        Ok(accumulation) => accumulation,
        Err(interpreted) => return Ok((interpreted, None)),
    };
    accumulation.spec.pooled = true;
    let kernel = match accumulation.tuned(jit, setup) {
        Ok(kernel) => kernel,
        Err(error) => return Ok((accumulation.execution(Err(error))?, None)),
    };
    match jit.pooled(kernel, &pool(program, shapes, layouts, behind))? {
        None => {
            accumulation.spec.pooled = false;
            let alone = accumulation.tuned(jit, setup);
            Ok((accumulation.execution(alone)?, None))
        }
        Some(kernel) => {
            let (inputs, scales) = buffers(sums);
            let bound = Bound {
                kernel: Box::new(kernel),
                inputs: [inputs, scales].concat(),
                residual: None,
                outputs: outputs(program, layouts, behind.output),
            };
            Ok((Execution::Ahead, Some(bound)))
        }
    }
}

/// The outputs of a kernel that writes a buffer and, if that is wanted, what it measures of it.
fn outputs(program: &Program, layouts: &Layouts, id: BufferId) -> Vec<BufferId> {
    let scales = layouts.measures(program, id).map(|(_, scales)| scales);
    std::iter::once(id).chain(scales).collect()
}

fn pool<'p>(
    program: &'p Program,
    shapes: &'p Shapes,
    layouts: &Layouts,
    step: &'p step::Pool,
) -> PoolSpec<'p> {
    let (input, output) = (shapes.of(step.input), shapes.of(step.output));
    let measured = layouts.measures(program, step.output).map(|(measured, _)| measured);
    let epilogue = Epilogue { measured, ..epilogue(program, step.scale, &step.epilogue) };
    PoolSpec { kind: step.kind, input, output, window: &step.window, epilogue }
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
        outputs: &[BufferId],
    ) -> Result<Execution, JitError> {
        match kernel {
            Ok(kernel) => Ok(Execution::Kernel(Bound {
                kernel: Box::new(kernel),
                inputs: self.inputs,
                residual,
                outputs: outputs.to_vec(),
            })),
            Err(JitError::Unsupported(what)) => Ok(Execution::Interpret(Some(what))),
            Err(error) => Err(error),
        }
    }
}

fn epilogue(program: &Program, scale: Option<ConstantId>, epilogue: &step::Epilogue) -> Epilogue {
    let numbers = |id: ConstantId| floats(program, id).map(<[f32]>::to_vec);
    Epilogue {
        scale: scale.and_then(numbers),
        input_scale: None,
        before: Before::Nothing,
        partial: false,
        bias: epilogue.bias.and_then(numbers),
        residual: epilogue.residual.is_some(),
        activation: epilogue.activation,
        measured: None,
    }
}

/// The buffers that a kernel of the step reads, beside the residual: those of its planes, each once, then the scales of its terms.
fn buffers(step: &Accumulate) -> (Vec<BufferId>, Vec<BufferId>) {
    let mut inputs = vec![];
    for plane in step.terms.iter().flat_map(|term| &term.planes) {
        if !inputs.contains(&plane.input) {
            inputs.push(plane.input);
        }
    }
    (inputs, step.terms.iter().filter_map(|term| term.input_scale).collect())
}

/// An accumulate step, ready for kernels of several ranks.
pub(crate) struct Accumulation<'p> {
    spec: AccumulateSpec<'p>,
    program: &'p Program,
    step: &'p Accumulate,
    outputs: Vec<BufferId>,
}

impl Accumulation<'_> {
    /// What a choice of a tuning for it is for.
    pub(crate) fn key(&self, jit: &Jit) -> String {
        tuning::key(jit.isa(), &self.spec)
    }

    /// What executes it by the plan of a rank.
    ///
    /// # Errors
    /// As [`bind`].
    pub(crate) fn bind(&mut self, jit: &Jit, rank: usize) -> Result<Execution, JitError> {
        let kernel = self.kernel(jit, rank);
        self.execution(kernel)
    }

    /// What executes it by the plan that the setup's tuning chooses, if that is still the one that was measured; else by the first.
    fn bind_tuned(&mut self, jit: &Jit, setup: &Setup) -> Result<Execution, JitError> {
        let kernel = self.tuned(jit, setup);
        self.execution(kernel)
    }

    fn execution(&self, kernel: Result<AccumulateKernel, JitError>) -> Result<Execution, JitError> {
        let (inputs, scales) = buffers(self.step);
        let inputs = [inputs, scales].concat();
        let operands = Operands { program: self.program, inputs };
        let written = kernel.as_ref().map_or(0, |kernel| kernel.interface().outputs.len());
        let outputs = &self.outputs[..written.min(self.outputs.len())];
        operands.bind(kernel, self.step.epilogue.residual, outputs)
    }

    fn kernel(&mut self, jit: &Jit, rank: usize) -> Result<AccumulateKernel, JitError> {
        self.spec.rank = rank;
        jit.accumulate(&self.spec)
    }

    fn tuned(&mut self, jit: &Jit, setup: &Setup) -> Result<AccumulateKernel, JitError> {
        if !setup.tuning.is_empty()
            && let Some(choice) = setup.tuning.choice(&self.key(jit))
        {
            let kernel = self.kernel(jit, choice.rank)?;
            if kernel.describe() == choice.kernel {
                return Ok(kernel);
            }
        }
        self.kernel(jit, 0)
    }
}

/// An accumulate step that there may be a kernel for, or how it is executed otherwise.
pub(crate) fn accumulation<'p>(
    program: &'p Program,
    shapes: &'p Shapes,
    ranges: &Ranges<'_>,
    layouts: &Layouts,
    step: &'p Accumulate,
    threads: usize,
) -> Result<Accumulation<'p>, Execution> {
    let (inputs, scales) = buffers(step);
    let planes = step.terms.iter().map(|term| term.planes.len()).sum::<usize>();
    if planes.max(inputs.len() + scales.len()) > MAX_INPUTS {
        return Err(MANY_PLANES);
    }
    if step.terms.iter().any(|term| term.parts > MAX_PARTS) {
        return Err(MANY_PARTS);
    }
    let planes = step.terms.iter().flat_map(|term| {
        let planes = move |part: usize| term.planes.iter().enumerate().map(move |plane| (term, part, plane));
        (0..term.parts).flat_map(planes)
    });
    let planes = planes.map(|(term, part, (i, plane))| {
        let ConstantData::Ternary(weight) = &program.constant(plane.weight).data else { return None };
        let range = ranges.get(&plane.input);
        // The last plane of a term has its factor.
        let partial = i + 1 < term.planes.len();
        let factor = Some(term).filter(|_| !partial);
        Some(PlaneSpec {
            source: inputs.iter().position(|&input| input == plane.input)?,
            input: shapes.of(plane.input),
            weight_shape: shapes.operand(program, Operand::Constant(plane.weight)),
            weight,
            contraction: &plane.contraction,
            part: [part, term.parts],
            partial,
            scale: factor
                .and_then(|term| term.scale)
                .and_then(|id| of_part(floats(program, id)?, part, term)),
            integers: range.map(|step| IntegerRange { largest: step.largest(), signed: step.signed }),
            input_scale: factor.is_some_and(|term| term.input_scale.is_some()),
            laid_out: layouts.movable.contains(&plane.input),
        })
    });
    let spec = AccumulateSpec {
        planes: planes.collect::<Option<_>>().ok_or(NOT_TERNARY)?,
        bias: step.epilogue.bias.and_then(|id| floats(program, id)),
        residual: step.epilogue.residual.is_some(),
        activation: step.epilogue.activation,
        measured: layouts.measures(program, step.output).map(|(measured, _)| measured),
        threads,
        pooled: false,
        rank: 0,
    };
    Ok(Accumulation { spec, program, step, outputs: outputs(program, layouts, step.output) })
}

/// The factors of a part of a term.
fn of_part<'p>(scale: &'p [f32], part: usize, term: &Term) -> Option<&'p [f32]> {
    match scale.len() {
        1 => Some(scale),
        all => scale.chunks((all / term.parts).max(1)).nth(part),
    }
}

fn floats(program: &Program, id: ConstantId) -> Option<&[f32]> {
    match &program.constant(id).data {
        ConstantData::F32(v) => Some(v),
        _ => None,
    }
}
