//! Random programs: valid ones, grown step by step from a list of choices, and such with wrong numbers put into them.

use crate::damage::damage;
use crate::single::{constant, count_up, dense, i64s, ternary};
use proptest::prelude::*;
use std::sync::Arc;
use twnc_program::interpret::{self, CustomFunction, Functions, Tensor, View, ViewMut};
use twnc_program::scalar::{Binary, Unary};
use twnc_program::step::{
    Accumulate, Attribute, Cast, Combine, Contraction, Conv, Cumulative, Custom, Dims, Epilogue, Iota, Map,
    MapInstruction, MatMul, Move, MoveKind, PadMode, Plane, Pool, PoolKind, Quantize, Reduce, ReduceKind,
    Scatter, Softmax, Term, TopK,
};
use twnc_program::{
    Buffer, BufferId, Constant, ConstantId, Dim, ElementType, Operand, Port, Program, Step, StepKind,
    SymbolId, Window, element_count,
};

/// A valid program and inputs for it.
pub fn programs() -> impl Strategy<Value = (Program, Vec<Tensor>)> {
    proptest::collection::vec(any::<u32>(), 0..160).prop_map(|choices| grow(Choices(choices.into_iter())))
}

/// A program that was valid before some of its numbers were changed, and inputs for what it was.
pub fn broken_programs() -> impl Strategy<Value = (Program, Vec<Tensor>)> {
    (programs(), proptest::collection::vec(any::<u32>(), 1..40)).prop_map(
        |((mut program, inputs), choices)| {
            let mut choices = Choices(choices.into_iter());
            for _ in 0..1 + choices.below(3) {
                damage(&mut program, &mut choices);
            }
            (program, inputs)
        },
    )
}

/// What the custom steps of random programs call.
pub fn functions() -> Functions {
    struct Nothing;
    impl CustomFunction for Nothing {
        fn run(
            &self,
            _: &[(String, Attribute)],
            _: &[(View<'_>, &[usize])],
            _: &mut [(ViewMut<'_>, &[usize])],
        ) -> Result<(), String> {
            Ok(())
        }
    }
    let mut functions = Functions::default();
    functions.register("test::nothing", Arc::new(Nothing));
    functions
}

/// Runs a program if it resolves and is small; whatever happens, it must not be a panic. True if it ran to its end.
pub fn attempt(program: &Program, inputs: &[Tensor]) -> bool {
    let given: Vec<_> = inputs.iter().map(|x| x.shape.clone()).collect();
    let Ok(shapes) = program.resolve(&given) else { return false };
    if shapes.bytes(program).iter().sum::<usize>() > 1 << 20 {
        return false;
    }
    let Ok(outputs) = interpret::run(program, inputs, &functions()) else { return false };
    for (port, output) in program.outputs.iter().zip(&outputs) {
        assert_eq!(output.shape, shapes.of(port.buffer));
        assert_eq!(Some(output.data.view().len()), element_count(&output.shape));
        assert_eq!(output.data.view().element(), program.buffers[port.buffer.index()].element);
    }
    true
}

/// Numbers that decide; 0 when there are no more.
pub struct Choices(std::vec::IntoIter<u32>);

impl Choices {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.next().map_or(0, |n| n as usize % bound.max(1))
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 1
    }

    pub fn of<T: Clone>(&mut self, table: &[T]) -> T {
        table[self.below(table.len())].clone()
    }
}

struct Growth {
    program: Program,
    shapes: Vec<Vec<usize>>,
    choices: Choices,
}

fn grow(mut choices: Choices) -> (Program, Vec<Tensor>) {
    let image: Vec<usize> = (0..4).map(|_| 1 + choices.below(5)).collect();
    let vector = vec![choices.below(4)];
    let mut growth =
        Growth { program: Program { name: "random".into(), ..Program::default() }, shapes: vec![], choices };
    growth.program.symbols = vec!["N".into()];
    for (name, element, shape) in [("image", ElementType::F32, &image), ("vector", ElementType::I64, &vector)]
    {
        let buffer = growth.define(element, shape.clone());
        growth.program.inputs.push(Port { name: name.into(), buffer });
    }
    growth.program.buffers[0].shape = image.iter().map(|&n| Dim::from(n)).collect();
    growth.program.buffers[0].shape[0] = Dim::Symbol(SymbolId(0));
    growth.program.buffers[1].shape = vec![Dim::from(vector[0])];
    for number in 0..growth.choices.below(9) {
        let (buffers, constants) = (growth.program.buffers.len(), growth.program.constants.len());
        let steps = growth.program.steps.len();
        match growth.step() {
            Some(kind) => growth.program.steps.push(Step { name: format!("layer{number}"), kind }),
            None => {
                growth.program.buffers.truncate(buffers);
                growth.shapes.truncate(buffers);
                growth.program.constants.truncate(constants);
                growth.program.steps.truncate(steps);
            }
        }
    }
    let last = BufferId(growth.program.buffers.len() as u32 - 1);
    growth.program.outputs = vec![Port { name: "last".into(), buffer: last }];
    let indices: Vec<i64> = (0..vector[0] as i64).map(|i| i - 1).collect();
    (growth.program, vec![count_up(&image), i64s(&vector, &indices)])
}

impl Growth {
    /// A new buffer; its sizes are written as numbers, as the batch, or as expressions.
    fn define(&mut self, element: ElementType, shape: Vec<usize>) -> BufferId {
        let batch = self.shapes.first().map_or(0, |image| image[0]);
        let fixed = |n: usize| Box::new(Dim::from(n));
        let n = || Box::new(Dim::Symbol(SymbolId(0)));
        let dims = shape.iter().map(|&size| match self.choices.below(8) {
            0 => Dim::Add(n(), Box::new(Dim::Fixed(size as i64 - batch as i64))),
            1 => Dim::Max(fixed(size), Box::new(Dim::Fixed(-1))),
            2 => Dim::Min(fixed(size + 1), fixed(size)),
            3 => Dim::FloorDiv(Box::new(Dim::Mul(n(), fixed(size))), n()),
            _ if size == batch => Dim::Symbol(SymbolId(0)),
            _ => Dim::from(size),
        });
        let dims = dims.collect();
        self.program.buffers.push(Buffer { element, shape: dims });
        self.shapes.push(shape);
        BufferId(self.program.buffers.len() as u32 - 1)
    }

    fn constant(&mut self, constant: Constant) -> ConstantId {
        self.program.constants.push(constant);
        ConstantId(self.program.constants.len() as u32 - 1)
    }

    fn floats(&mut self, shape: &[usize]) -> ConstantId {
        let count = shape.iter().product();
        let elements: Vec<f32> = (0..count).map(|i| i as f32 - self.choices.below(3) as f32).collect();
        self.constant(dense(shape, &elements))
    }

    fn trits(&mut self, shape: &[usize]) -> ConstantId {
        let mut state = self.choices.below(1 << 30);
        let trits = (0..shape.iter().product()).map(|_| {
            state = (state * 1_103_515_245 + 12_345) % (1 << 31);
            (state / 65_536 % 3) as i8 - 1
        });
        let trits: Vec<i8> = trits.collect();
        self.constant(ternary(shape, &trits))
    }

    /// Integers and scales of a buffer of f32, of rank 1 or more.
    fn quantized(&mut self, input: BufferId, shape: &[usize]) -> (BufferId, BufferId) {
        let integers = self.define(ElementType::I16, shape.to_vec());
        let scales = self.define(ElementType::F32, vec![shape[0]]);
        let (bits, signed) = (2 + self.choices.below(11) as u32, self.choices.flip());
        let scale = self.choices.flip().then_some(0.25);
        let outputs = [integers, scales];
        let kind = StepKind::Quantize(Quantize { input, bits, signed, scale, outputs });
        self.program.steps.push(Step { name: "rounded".into(), kind });
        (integers, scales)
    }

    /// A buffer of f32.
    fn float_buffer(&mut self) -> (BufferId, Vec<usize>) {
        let of_f32 = |&i: &usize| self.program.buffers[i].element == ElementType::F32;
        let buffers: Vec<usize> = (0..self.shapes.len()).filter(of_f32).collect();
        let i = self.choices.of(&buffers);
        (BufferId(i as u32), self.shapes[i].clone())
    }

    /// A step with a new output; nothing if what was chosen does not fit together.
    fn step(&mut self) -> Option<StepKind> {
        let (input, shape) = self.float_buffer();
        let x = Operand::Buffer(input);
        let (rank, count) = (shape.len(), element_count(&shape)?);
        match self.choices.below(15) {
            0 => self.windowed(input, &shape, true),
            1 => self.windowed(input, &shape, false),
            2 | 3 if rank < 2 => None,
            2 => {
                let columns = 1 + self.choices.below(4);
                let (integers, input_scale) = self.quantized(input, &shape);
                let weight = |random: &mut Self, input| Plane {
                    input,
                    weight: random.trits(&[shape[rank - 1], columns]),
                    contraction: Contraction::MatMul,
                };
                let terms = [(input, None), (integers, Some(input_scale))].map(|(input, input_scale)| Term {
                    planes: (0..1 + self.choices.below(2)).map(|_| weight(self, input)).collect(),
                    parts: 1,
                    scale: self.choices.flip().then(|| self.floats(&[1])),
                    input_scale,
                });
                let terms = terms.into_iter().skip(self.choices.below(2)).collect();
                let output = self.define(ElementType::F32, [&shape[..rank - 1], &[columns]].concat());
                let epilogue = self.epilogue(output, columns);
                Some(StepKind::Accumulate(Accumulate { terms, epilogue, output }))
            }
            3 => {
                let columns = 1 + self.choices.below(4);
                let right = Operand::Constant(self.floats(&[shape[rank - 1], columns]));
                let output = self.define(ElementType::F32, [&shape[..rank - 1], &[columns]].concat());
                let epilogue = self.epilogue(output, columns);
                Some(StepKind::MatMul(MatMul { left: x, right, epilogue, output }))
            }
            4 => {
                let scalar = Operand::Constant(self.floats(&[1]));
                let inputs = vec![x, scalar];
                let code = (0..1 + self.choices.below(4)).map(|i| self.instruction(2 + i)).collect();
                let output = if rank == 0 { return None } else { self.define(ElementType::F32, shape) };
                Some(StepKind::Map(Map { inputs, code, output }))
            }
            5 => {
                let (window, ceil) = (self.window(shape.get(2..)?)?, self.choices.flip());
                let spatial = (0..rank - 2).map(|axis| window.output_size(axis, shape[axis + 2], ceil));
                let sizes = spatial.collect::<Option<Vec<_>>>()?;
                let output = self.define(ElementType::F32, [&shape[..2], &sizes].concat());
                let kinds = [false, true].map(|count_padding| PoolKind::Average { count_padding });
                let kind = self.choices.of(&[PoolKind::Max, kinds[0], kinds[1]]);
                let scale = self.choices.flip().then(|| self.choices.of(&[1, shape[1]]));
                let scale = scale.map(|scales| self.floats(&[scales]));
                let epilogue = self.epilogue(output, shape[1]);
                Some(StepKind::Pool(Pool { kind, input, window, ceil, scale, epilogue, output }))
            }
            6 => {
                let axes: Vec<usize> = (0..rank).filter(|_| self.choices.flip()).collect();
                let keep = self.choices.flip();
                let sizes = shape.iter().enumerate().filter_map(|(axis, &n)| match axes.contains(&axis) {
                    true => keep.then_some(1),
                    false => Some(n),
                });
                let output = self.define(ElementType::F32, sizes.collect());
                let kind =
                    self.choices.of(&[ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::Min]);
                Some(StepKind::Reduce(Reduce { kind, input, axes, output }))
            }
            7 if rank == 0 => None,
            7 => {
                let axes = vec![self.choices.below(rank)];
                let output = self.define(ElementType::F32, shape);
                Some(StepKind::Softmax(Softmax { input, axes, output }))
            }
            8 => self.cast_or_dims(x, &shape),
            9 => {
                let attributes = vec![
                    ("a".into(), Attribute::Int(self.choices.below(100) as i64 - 50)),
                    ("b".into(), Attribute::Float(-0.)),
                    ("c".into(), Attribute::String("é".into())),
                    ("d".into(), Attribute::Ints(vec![0, -1, i64::MIN])),
                    ("e".into(), Attribute::Floats(vec![0., -1.5])),
                ];
                let outputs =
                    vec![self.define(ElementType::U8, vec![2]), self.define(ElementType::Bool, vec![])];
                let inputs = vec![x, constant(self.floats(&[0]).0)];
                Some(StepKind::Custom(Custom {
                    function: "test::nothing".into(),
                    attributes,
                    inputs,
                    outputs,
                }))
            }
            10..=12 => self.ordered(x, &shape),
            _ => self.movement(x, &shape, count),
        }
    }

    /// A step in which the order of elements counts.
    fn ordered(&mut self, input: Operand, shape: &[usize]) -> Option<StepKind> {
        let axis = self.choices.below(shape.len().max(1));
        let combine = self.choices.of(&[Combine::Add, Combine::Mul]);
        match self.choices.below(4) {
            0 => {
                let size = self.choices.below(5);
                Some(StepKind::Iota(Iota { output: self.define(ElementType::I64, vec![size]) }))
            }
            _ if shape.is_empty() => None,
            1 => {
                let output = self.define(ElementType::F32, shape.to_vec());
                Some(StepKind::Cumulative(Cumulative { combine, input, axis, output }))
            }
            2 => {
                let mut kept = shape.to_vec();
                kept[axis] = self.choices.below(shape[axis] + 1);
                let outputs =
                    [ElementType::F32, ElementType::I64].map(|element| self.define(element, kept.clone()));
                Some(StepKind::TopK(TopK { input, axis, largest: self.choices.flip(), outputs }))
            }
            _ => {
                let combine = self.choices.of(&[None, Some(combine), Some(Combine::Min), Some(Combine::Max)]);
                let (data, indices) = (input, Operand::Buffer(BufferId(1)));
                let mut rows = shape.to_vec();
                rows[0] = self.shapes[1][0];
                let updates = Operand::Constant(self.floats(&rows));
                let output = self.define(ElementType::F32, shape.to_vec());
                Some(StepKind::Scatter(Scatter { combine, data, indices, updates, output }))
            }
        }
    }

    fn epilogue(&mut self, output: BufferId, channels: usize) -> Epilogue {
        let shape = &self.shapes[output.index()];
        let like =
            |&i: &usize| self.shapes[i] == *shape && self.program.buffers[i].element == ElementType::F32;
        let residual = (0..output.index()).find(like).map(|i| BufferId(i as u32));
        Epilogue {
            bias: self.choices.flip().then(|| self.floats(&[channels])),
            residual: residual.filter(|_| self.choices.flip()),
            activation: self.choices.flip().then(|| self.function()),
        }
    }

    fn function(&mut self) -> Unary {
        self.choices.of(&[
            Unary::Relu,
            Unary::LeakyRelu { slope: 0.1 },
            Unary::Clip { min: -0., max: f32::INFINITY },
            Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
            Unary::HardSwish,
            Unary::Neg,
            Unary::Abs,
            Unary::Sqrt,
            Unary::Reciprocal,
            Unary::Sigmoid,
            Unary::Tanh,
            Unary::Exp,
            Unary::Log,
            Unary::Erf,
            Unary::Floor,
            Unary::Round,
        ])
    }

    fn instruction(&mut self, known: usize) -> MapInstruction {
        let (a, b) = (self.choices.below(known) as u16, self.choices.below(known) as u16);
        let binaries = [
            Binary::Add,
            Binary::Sub,
            Binary::Mul,
            Binary::Div,
            Binary::Min,
            Binary::Max,
            Binary::Pow,
            Binary::PRelu,
            Binary::Less,
            Binary::Equal,
            Binary::Keep,
        ];
        match self.choices.flip() {
            true => {
                let angle =
                    self.choices.of(&[None, None, Some(Unary::Sin), Some(Unary::Cos), Some(Unary::Atan)]);
                MapInstruction::Unary(angle.unwrap_or_else(|| self.function()), a)
            }
            false => MapInstruction::Binary(self.choices.of(&binaries), a, b),
        }
    }

    fn window(&mut self, sizes: &[usize]) -> Option<Window> {
        if !(1..=3).contains(&sizes.len()) {
            return None;
        }
        let mut each = |bound: usize, least: usize| -> Vec<usize> {
            sizes.iter().map(|_| least + self.choices.below(bound)).collect()
        };
        Some(Window {
            kernel: each(3, 1),
            strides: each(3, 1),
            dilations: each(2, 1),
            pads_begin: each(3, 0),
            pads_end: each(3, 0),
        })
    }

    fn windowed(&mut self, input: BufferId, shape: &[usize], ternary: bool) -> Option<StepKind> {
        let window = self.window(shape.get(2..)?)?;
        let spatial = (0..window.rank()).map(|axis| window.output_size(axis, shape[axis + 2], false));
        let sizes = spatial.collect::<Option<Vec<_>>>()?;
        let groups = if self.choices.flip() { shape[1].max(1) } else { 1 };
        let channels = groups * (1 + self.choices.below(2));
        let weight = [&[channels, shape[1] / groups], &window.kernel[..]].concat();
        let parts = if ternary && groups > 1 && self.choices.flip() { groups } else { 1 };
        let output = self.define(ElementType::F32, [&[shape[0], channels / parts], &sizes[..]].concat());
        let epilogue = self.epilogue(output, channels / parts);
        Some(match ternary {
            true => {
                let contraction = Contraction::Window { window, groups };
                let terms = (0..1 + self.choices.below(3)).map(|_| {
                    let scale = self.choices.flip().then(|| self.floats(&[channels]));
                    let (input, input_scale) = match self.choices.flip() {
                        true => {
                            let (integers, scales) = self.quantized(input, shape);
                            (integers, Some(scales))
                        }
                        false => (input, None),
                    };
                    let plane = |random: &mut Self| Plane {
                        input,
                        weight: random.trits(&weight),
                        contraction: contraction.clone(),
                    };
                    let count = if parts > 1 { 1 } else { 1 + self.choices.below(2) };
                    let planes = (0..count).map(|_| plane(self)).collect();
                    Term { planes, parts, scale, input_scale }
                });
                let terms = terms.collect();
                StepKind::Accumulate(Accumulate { terms, epilogue, output })
            }
            false => {
                let weight = Operand::Constant(self.floats(&weight));
                StepKind::Conv(Conv { input, weight, window, groups, epilogue, output })
            }
        })
    }

    fn cast_or_dims(&mut self, x: Operand, shape: &[usize]) -> Option<StepKind> {
        let types =
            [ElementType::F32, ElementType::I8, ElementType::I16, ElementType::I32, ElementType::Bool];
        Some(match self.choices.flip() {
            true => {
                let element = self.choices.of(&types);
                StepKind::Cast(Cast { input: x, output: self.define(element, shape.to_vec()) })
            }
            false => {
                let values = vec![Dim::Symbol(SymbolId(0)), Dim::Fixed(i64::MIN)];
                StepKind::Dims(Dims { values, output: self.define(ElementType::I64, vec![2]) })
            }
        })
    }

    fn movement(&mut self, x: Operand, shape: &[usize], count: usize) -> Option<StepKind> {
        let (rank, mut to, mut inputs) = (shape.len(), shape.to_vec(), vec![x]);
        let axis = self.choices.below(rank);
        let kind = match self.choices.below(7) {
            0 => {
                to = vec![1, count];
                MoveKind::Reshape
            }
            1 => {
                let mut perm: Vec<usize> = (0..rank).collect();
                perm.rotate_left(axis);
                to = perm.iter().map(|&axis| shape[axis]).collect();
                MoveKind::Transpose { perm }
            }
            2 => {
                if rank < 8 {
                    to.insert(0, 2);
                }
                MoveKind::Broadcast
            }
            _ if rank == 0 => return None,
            3 => {
                to[axis] *= 2;
                inputs.push(x);
                MoveKind::Concat { axis }
            }
            4 => {
                let start = self.choices.below(shape[axis]);
                let (step, most) = match self.choices.flip() {
                    true => (1, shape[axis] - start),
                    false => (-1, (start + 1).min(shape[axis])),
                };
                to[axis] = self.choices.below(most + 1);
                MoveKind::Slice { axis, start: Dim::from(start), step }
            }
            5 => {
                let pads = || vec![0; rank];
                let (mut begin, mut end) = (pads(), pads());
                (begin[axis], end[axis]) = (self.choices.below(shape[axis]), self.choices.below(shape[axis]));
                to[axis] += begin[axis] + end[axis];
                let mode = self.choices.of(&[PadMode::Constant(-0.), PadMode::Reflect, PadMode::Edge]);
                MoveKind::Pad { begin, end, mode }
            }
            _ => {
                inputs.push(Operand::Buffer(BufferId(1)));
                to[axis] = self.shapes[1][0];
                MoveKind::Gather { axis }
            }
        };
        if element_count(&to)? > 1 << 12 {
            return None;
        }
        Some(StepKind::Move(Move { kind, inputs, output: self.define(ElementType::F32, to) }))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn grown_programs_run((program, inputs) in programs()) {
        prop_assert_eq!(program.validate(), Ok(()));
        let given: Vec<_> = inputs.iter().map(|x| x.shape.clone()).collect();
        let resolved = program.resolve(&given);
        prop_assert!(resolved.is_ok(), "{:?}", resolved);
        let outcome = interpret::run(&program, &inputs, &functions());
        // Only an index may be out of range: it is data.
        let index = matches!(outcome, Err(interpret::RunError::Index { .. }));
        prop_assert!(index || outcome.is_ok() && attempt(&program, &inputs), "{:?}", outcome);
    }

    #[test]
    fn damaged_programs_do_not_panic((program, inputs) in broken_programs()) {
        if program.validate().is_ok() {
            attempt(&program, &inputs);
        }
    }
}
