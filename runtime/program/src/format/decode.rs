//! Messages and sections to a program. Every number is checked to be representable, every length to be there.

use super::FormatError;
use super::encode::{BINARIES, COMBINATIONS, DENSE_ALIGNMENT, ELEMENTS, REDUCTIONS};
use super::message as m;
use crate::MAX_DIM_NODES;
use crate::constant::{Constant, ConstantData, Trits};
use crate::dim::Dim;
use crate::element::ElementType;
use crate::program::{Buffer, BufferId, ConstantId, Port, Program, SymbolId};
use crate::resolve::element_count;
use crate::scalar::Unary;
use crate::step::{
    Accumulate, Attribute, Cast, Contraction, Conv, Cumulative, Custom, Dims, Epilogue, Iota, Map,
    MapInstruction, MatMul, Move, MoveKind, Operand, PadMode, Plane, Pool, PoolKind, Quantize, Reduce,
    Scatter, Softmax, Step, StepKind, Term, TopK,
};
use crate::window::Window;

type Decoded<T> = Result<T, FormatError>;

pub(super) fn program(p: &m::Program, dense: &[u8], ternary: &[u8]) -> Decoded<Program> {
    Ok(Program {
        name: p.name.clone(),
        symbols: p.symbols.clone(),
        buffers: p.buffers.iter().map(buffer).collect::<Decoded<_>>()?,
        constants: constants(&p.constants, dense, ternary)?,
        steps: p.steps.iter().map(step).collect::<Decoded<_>>()?,
        inputs: p.inputs.iter().map(port).collect(),
        outputs: p.outputs.iter().map(port).collect(),
    })
}

fn constants(constants: &[m::Constant], dense: &[u8], ternary: &[u8]) -> Decoded<Vec<Constant>> {
    let (mut dense_at, mut ternary_at) = (0usize, 0usize);
    let read = constants.iter().map(|c| {
        let fail = || damaged(&format!("constant `{}` is not all there", c.name));
        let shape = sizes(&c.shape)?;
        let count = element_count(&shape).ok_or_else(fail)?;
        let element = element(c.element)?;
        let data = match element.size() {
            None => {
                let end = ternary_at.checked_add(count.div_ceil(5)).ok_or_else(fail)?;
                let bytes = ternary.get(ternary_at..end).ok_or_else(fail)?;
                ternary_at = end;
                let trits = Trits::from_bytes(count, bytes.into());
                ConstantData::Ternary(
                    trits.ok_or_else(|| damaged(&format!("constant `{}` is not packed trits", c.name)))?,
                )
            }
            Some(size) => {
                let start = dense_at.checked_next_multiple_of(DENSE_ALIGNMENT).ok_or_else(fail)?;
                let end = count.checked_mul(size).and_then(|n| n.checked_add(start)).ok_or_else(fail)?;
                let bytes = dense.get(start..end).ok_or_else(fail)?;
                dense_at = end;
                dense_data(element, bytes)?
            }
        };
        Ok(Constant { name: c.name.clone(), shape, data })
    });
    read.collect()
}

fn dense_data(element: ElementType, bytes: &[u8]) -> Decoded<ConstantData> {
    macro_rules! numbers {
        ($variant:ident, $t:ty) => {{
            let (chunks, _) = bytes.as_chunks();
            ConstantData::$variant(chunks.iter().map(|chunk| <$t>::from_le_bytes(*chunk)).collect())
        }};
    }
    Ok(match element {
        ElementType::F32 => numbers!(F32, f32),
        ElementType::I8 => numbers!(I8, i8),
        ElementType::I16 => numbers!(I16, i16),
        ElementType::I32 => numbers!(I32, i32),
        ElementType::I64 => numbers!(I64, i64),
        ElementType::U8 => ConstantData::U8(bytes.into()),
        ElementType::Bool if bytes.iter().all(|&b| b <= 1) => ConstantData::Bool(bytes.into()),
        ElementType::Bool => return Err(damaged("a bool is neither 0 nor 1")),
        ElementType::Ternary => return Err(damaged("a ternary constant is not dense")),
    })
}

fn step(step: &m::Step) -> Decoded<Step> {
    let kind = match required(&step.kind, "a step's kind")? {
        m::Kind::Accumulate(s) => StepKind::Accumulate(Accumulate {
            terms: s.terms.iter().map(term).collect::<Decoded<_>>()?,
            epilogue: epilogue(&s.epilogue)?,
            output: BufferId(s.output),
        }),
        m::Kind::Quantize(s) => StepKind::Quantize(Quantize {
            input: BufferId(s.input),
            bits: s.bits,
            signed: s.signed,
            scale: s.scale.map(f32::from_bits),
            outputs: [BufferId(s.integers), BufferId(s.scales)],
        }),
        m::Kind::Conv(s) => StepKind::Conv(Conv {
            input: BufferId(s.input),
            weight: operand(s.weight)?,
            window: window(required(&s.window, "a window")?)?,
            groups: size(s.groups)?,
            epilogue: epilogue(&s.epilogue)?,
            output: BufferId(s.output),
        }),
        m::Kind::MatMul(s) => StepKind::MatMul(MatMul {
            left: operand(s.left)?,
            right: operand(s.right)?,
            epilogue: epilogue(&s.epilogue)?,
            output: BufferId(s.output),
        }),
        m::Kind::Map(s) => StepKind::Map(Map {
            inputs: operands(&s.inputs)?,
            code: s.code.iter().map(instruction).collect::<Decoded<_>>()?,
            output: BufferId(s.output),
        }),
        m::Kind::Pool(s) => StepKind::Pool(Pool {
            kind: match s.kind {
                0 => PoolKind::Max,
                1 => PoolKind::Average { count_padding: false },
                2 => PoolKind::Average { count_padding: true },
                _ => return Err(damaged("an unknown kind of pool")),
            },
            input: BufferId(s.input),
            window: window(required(&s.window, "a window")?)?,
            ceil: s.ceil,
            scale: s.scale.map(ConstantId),
            epilogue: epilogue(&s.epilogue)?,
            output: BufferId(s.output),
        }),
        m::Kind::Reduce(s) => StepKind::Reduce(Reduce {
            kind: coded(&REDUCTIONS, s.kind, "reduction")?,
            input: BufferId(s.input),
            axes: sizes(&s.axes)?,
            output: BufferId(s.output),
        }),
        m::Kind::Softmax(s) => StepKind::Softmax(Softmax {
            input: BufferId(s.input),
            axes: sizes(&s.axes)?,
            output: BufferId(s.output),
        }),
        m::Kind::Move(s) => StepKind::Move(Move {
            kind: movement(required(&s.kind, "a move's kind")?)?,
            inputs: operands(&s.inputs)?,
            output: BufferId(s.output),
        }),
        m::Kind::Cast(s) => StepKind::Cast(Cast { input: operand(s.input)?, output: BufferId(s.output) }),
        m::Kind::Dims(s) => StepKind::Dims(Dims {
            values: s.values.iter().map(dim).collect::<Decoded<_>>()?,
            output: BufferId(s.output),
        }),
        m::Kind::Iota(output) => StepKind::Iota(Iota { output: BufferId(*output) }),
        m::Kind::Scatter(s) => StepKind::Scatter(Scatter {
            combine: s.combine.map(|code| coded(&COMBINATIONS, code, "combination")).transpose()?,
            data: operand(s.data)?,
            indices: operand(s.indices)?,
            updates: operand(s.updates)?,
            output: BufferId(s.output),
        }),
        m::Kind::Cumulative(s) => StepKind::Cumulative(Cumulative {
            combine: coded(&COMBINATIONS, s.combine, "combination")?,
            input: operand(s.input)?,
            axis: size(s.axis)?,
            output: BufferId(s.output),
        }),
        m::Kind::TopK(s) => StepKind::TopK(TopK {
            input: operand(s.input)?,
            axis: size(s.axis)?,
            largest: s.largest,
            outputs: [BufferId(s.values), BufferId(s.indices)],
        }),
        m::Kind::Custom(s) => StepKind::Custom(Custom {
            function: s.function.clone(),
            attributes: s.attributes.iter().map(attribute).collect::<Decoded<_>>()?,
            inputs: operands(&s.inputs)?,
            outputs: s.outputs.iter().map(|&id| BufferId(id)).collect(),
        }),
    };
    Ok(Step { name: step.name.clone(), kind })
}

fn term(term: &m::Term) -> Decoded<Term> {
    let planes = term.planes.iter().map(plane).collect::<Decoded<_>>()?;
    let parts = term.parts.map_or(Ok(1), size)?;
    Ok(Term { planes, parts, scale: term.scale.map(ConstantId), input_scale: term.input_scale.map(BufferId) })
}

fn plane(plane: &m::Plane) -> Decoded<Plane> {
    let contraction = match &plane.window {
        Some(w) => Contraction::Window { window: window(w)?, groups: size(plane.groups)? },
        None => Contraction::MatMul,
    };
    let (input, weight) = (BufferId(plane.input), ConstantId(plane.weight));
    Ok(Plane { input, weight, contraction })
}

fn epilogue(epilogue: &Option<m::Epilogue>) -> Decoded<Epilogue> {
    let epilogue = required(epilogue, "an epilogue")?;
    Ok(Epilogue {
        bias: epilogue.bias.map(ConstantId),
        residual: epilogue.residual.map(BufferId),
        activation: epilogue.activation.as_ref().map(unary).transpose()?,
    })
}

fn instruction(instruction: &m::Instruction) -> Decoded<MapInstruction> {
    let function = required(&instruction.function, "an instruction's function")?;
    let value = |n: u32| u16::try_from(n).map_err(|_| damaged("a value's number is too large"));
    match instruction.operands[..] {
        [a] => Ok(MapInstruction::Unary(unary(function)?, value(a)?)),
        [a, b] => {
            Ok(MapInstruction::Binary(coded(&BINARIES, function.code, "function")?, value(a)?, value(b)?))
        }
        _ => Err(damaged("an instruction has neither one operand nor two")),
    }
}

fn unary(function: &m::Function) -> Decoded<Unary> {
    let parameters: Vec<f32> = function.parameters.iter().map(|&bits| f32::from_bits(bits)).collect();
    Ok(match (function.code, &parameters[..]) {
        (0, []) => Unary::Relu,
        (1, &[slope]) => Unary::LeakyRelu { slope },
        (2, &[min, max]) => Unary::Clip { min, max },
        (3, &[alpha, beta]) => Unary::HardSigmoid { alpha, beta },
        (4, []) => Unary::HardSwish,
        (5, []) => Unary::Neg,
        (6, []) => Unary::Abs,
        (7, []) => Unary::Sqrt,
        (8, []) => Unary::Reciprocal,
        (9, []) => Unary::Sigmoid,
        (10, []) => Unary::Tanh,
        (11, []) => Unary::Exp,
        (12, []) => Unary::Log,
        (13, []) => Unary::Erf,
        (14, []) => Unary::Sin,
        (15, []) => Unary::Cos,
        (16, []) => Unary::Atan,
        (17, []) => Unary::Floor,
        (18, []) => Unary::Round,
        _ => return Err(damaged("an unknown function, or one with other parameters")),
    })
}

fn movement(kind: &m::MoveKind) -> Decoded<MoveKind> {
    Ok(match kind {
        m::MoveKind::Reshape(_) => MoveKind::Reshape,
        m::MoveKind::Transpose(t) => MoveKind::Transpose { perm: sizes(&t.perm)? },
        m::MoveKind::Concat(axis) => MoveKind::Concat { axis: size(*axis)? },
        m::MoveKind::Slice(s) => MoveKind::Slice {
            axis: size(s.axis)?,
            start: dim(required(&s.start, "a slice's start")?)?,
            step: s.step,
        },
        m::MoveKind::Pad(p) => {
            let mode = match p.mode {
                0 => PadMode::Constant(f32::from_bits(p.value)),
                1 => PadMode::Reflect,
                2 => PadMode::Edge,
                _ => return Err(damaged("an unknown mode of padding")),
            };
            MoveKind::Pad { begin: sizes(&p.begin)?, end: sizes(&p.end)?, mode }
        }
        m::MoveKind::Broadcast(_) => MoveKind::Broadcast,
        m::MoveKind::Gather(axis) => MoveKind::Gather { axis: size(*axis)? },
    })
}

fn attribute(attribute: &m::Attribute) -> Decoded<(String, Attribute)> {
    let value = match required(&attribute.value, "an attribute's value")? {
        m::AttributeValue::Int(v) => Attribute::Int(*v),
        m::AttributeValue::Float(bits) => Attribute::Float(f32::from_bits(*bits)),
        m::AttributeValue::String(v) => Attribute::String(v.clone()),
        m::AttributeValue::Ints(v) => Attribute::Ints(v.values.clone()),
        m::AttributeValue::Floats(v) => {
            Attribute::Floats(v.values.iter().map(|&bits| f32::from_bits(bits)).collect())
        }
    };
    Ok((attribute.name.clone(), value))
}

fn dim(dim: &m::Dim) -> Decoded<Dim> {
    let fail = || damaged("a dimension is not an expression");
    if dim.code.len() > 2 * MAX_DIM_NODES {
        return Err(damaged("a dimension's expression is too long"));
    }
    let mut stack: Vec<Dim> = vec![];
    let mut code = dim.code.iter().copied();
    while let Some(operation) = code.next() {
        let next = match operation {
            0 => Dim::Fixed(code.next().ok_or_else(fail)?),
            1 => {
                let symbol = code.next().and_then(|n| u32::try_from(n).ok()).ok_or_else(fail)?;
                Dim::Symbol(SymbolId(symbol))
            }
            2..=6 => {
                let b = Box::new(stack.pop().ok_or_else(fail)?);
                let a = Box::new(stack.pop().ok_or_else(fail)?);
                match operation {
                    2 => Dim::Add(a, b),
                    3 => Dim::Mul(a, b),
                    4 => Dim::FloorDiv(a, b),
                    5 => Dim::Min(a, b),
                    _ => Dim::Max(a, b),
                }
            }
            _ => return Err(fail()),
        };
        stack.push(next);
    }
    match (stack.pop(), stack.pop()) {
        (Some(dim), None) => Ok(dim),
        _ => Err(fail()),
    }
}

fn buffer(buffer: &m::Buffer) -> Decoded<Buffer> {
    let shape = buffer.shape.iter().map(dim).collect::<Decoded<_>>()?;
    Ok(Buffer { element: element(buffer.element)?, shape })
}

fn port(port: &m::Port) -> Port {
    Port { name: port.name.clone(), buffer: BufferId(port.buffer) }
}

fn window(window: &m::Window) -> Decoded<Window> {
    Ok(Window {
        kernel: sizes(&window.kernel)?,
        strides: sizes(&window.strides)?,
        dilations: sizes(&window.dilations)?,
        pads_begin: sizes(&window.pads_begin)?,
        pads_end: sizes(&window.pads_end)?,
    })
}

fn operands(codes: &[u64]) -> Decoded<Vec<Operand>> {
    codes.iter().map(|&code| operand(code)).collect()
}

fn operand(code: u64) -> Decoded<Operand> {
    let id = u32::try_from(code / 2).map_err(|_| damaged("an operand's number is too large"))?;
    Ok(if code.is_multiple_of(2) { Operand::Buffer(BufferId(id)) } else { Operand::Constant(ConstantId(id)) })
}

fn element(code: u32) -> Decoded<ElementType> {
    coded(&ELEMENTS, code, "element type")
}

fn coded<T: Copy>(table: &[T], code: u32, what: &str) -> Decoded<T> {
    table.get(code as usize).copied().ok_or_else(|| damaged(&format!("an unknown {what}")))
}

fn sizes(sizes: &[u64]) -> Decoded<Vec<usize>> {
    sizes.iter().map(|&n| size(n)).collect()
}

fn size(n: u64) -> Decoded<usize> {
    usize::try_from(n).map_err(|_| damaged("a size is too large for this machine"))
}

fn required<'a, T>(field: &'a Option<T>, what: &str) -> Decoded<&'a T> {
    field.as_ref().ok_or_else(|| damaged(&format!("{what} is missing")))
}

fn damaged(what: &str) -> FormatError {
    FormatError::Damaged(what.to_owned())
}
