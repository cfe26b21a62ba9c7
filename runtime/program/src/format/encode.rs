//! A program to messages and sections.

use super::message as m;
use crate::constant::ConstantData;
use crate::dim::Dim;
use crate::element::ElementType;
use crate::program::{BufferId, Port, Program};
use crate::scalar::{Binary, Unary};
use crate::step::{
    Attribute, Combine, Contraction, Epilogue, MapInstruction, MoveKind, Operand, PadMode, PoolKind,
    ReduceKind, Step, StepKind,
};
use crate::window::Window;

/// Every element type, at the place of its code.
pub(super) const ELEMENTS: [ElementType; 8] = [
    ElementType::F32,
    ElementType::I8,
    ElementType::U8,
    ElementType::I16,
    ElementType::I32,
    ElementType::I64,
    ElementType::Bool,
    ElementType::Ternary,
];

/// Every reduction, at the place of its code.
pub(super) const REDUCTIONS: [ReduceKind; 4] =
    [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::Min];

/// Every function of two numbers, at the place of its code.
pub(super) const BINARIES: [Binary; 11] = [
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

/// Every combination of two elements, at the place of its code.
pub(super) const COMBINATIONS: [Combine; 4] = [Combine::Add, Combine::Mul, Combine::Min, Combine::Max];

/// Dense constants start at multiples of this in their section.
pub(super) const DENSE_ALIGNMENT: usize = 64;

pub(super) fn metadata(program: &Program) -> m::Program {
    let constants = program.constants.iter().map(|constant| m::Constant {
        name: constant.name.clone(),
        element: element(constant.element()),
        shape: sizes(&constant.shape),
    });
    let buffers = program
        .buffers
        .iter()
        .map(|b| m::Buffer { element: element(b.element), shape: b.shape.iter().map(dim).collect() });
    m::Program {
        name: program.name.clone(),
        symbols: program.symbols.clone(),
        buffers: buffers.collect(),
        constants: constants.collect(),
        steps: program.steps.iter().map(step).collect(),
        inputs: program.inputs.iter().map(port).collect(),
        outputs: program.outputs.iter().map(port).collect(),
    }
}

/// Dense constants one after the other, each aligned.
pub(super) fn dense(program: &Program) -> Vec<u8> {
    let mut bytes: Vec<u8> = vec![];
    for constant in &program.constants {
        if let ConstantData::Ternary(_) = &constant.data {
            continue;
        }
        bytes.resize(bytes.len().next_multiple_of(DENSE_ALIGNMENT), 0);
        match &constant.data {
            ConstantData::F32(v) => v.iter().for_each(|x| bytes.extend(x.to_le_bytes())),
            ConstantData::I8(v) => v.iter().for_each(|x| bytes.extend(x.to_le_bytes())),
            ConstantData::U8(v) | ConstantData::Bool(v) => bytes.extend(&**v),
            ConstantData::I16(v) => v.iter().for_each(|x| bytes.extend(x.to_le_bytes())),
            ConstantData::I32(v) => v.iter().for_each(|x| bytes.extend(x.to_le_bytes())),
            ConstantData::I64(v) => v.iter().for_each(|x| bytes.extend(x.to_le_bytes())),
            ConstantData::Ternary(_) => {}
        }
    }
    bytes
}

/// Ternary constants one after the other.
pub(super) fn ternary(program: &Program) -> Vec<u8> {
    let packed = program.constants.iter().filter_map(|constant| match &constant.data {
        ConstantData::Ternary(trits) => Some(trits.as_bytes()),
        _ => None,
    });
    packed.flatten().copied().collect()
}

fn step(step: &Step) -> m::Step {
    let kind = match &step.kind {
        StepKind::Accumulate(s) => m::Kind::Accumulate(m::Accumulate {
            terms: s.terms.iter().map(term).collect(),
            epilogue: Some(epilogue(&s.epilogue)),
            output: s.output.0,
        }),
        StepKind::Quantize(s) => m::Kind::Quantize(m::Quantize {
            input: s.input.0,
            bits: s.bits,
            signed: s.signed,
            scale: s.scale.map(f32::to_bits),
            integers: s.outputs[0].0,
            scales: s.outputs[1].0,
        }),
        StepKind::Conv(s) => m::Kind::Conv(m::Conv {
            input: s.input.0,
            weight: operand(&s.weight),
            window: Some(window(&s.window)),
            groups: s.groups as u64,
            epilogue: Some(epilogue(&s.epilogue)),
            output: s.output.0,
        }),
        StepKind::MatMul(s) => m::Kind::MatMul(m::MatMul {
            left: operand(&s.left),
            right: operand(&s.right),
            epilogue: Some(epilogue(&s.epilogue)),
            output: s.output.0,
        }),
        StepKind::Map(s) => m::Kind::Map(m::Map {
            inputs: s.inputs.iter().map(operand).collect(),
            code: s.code.iter().map(instruction).collect(),
            output: s.output.0,
        }),
        StepKind::Pool(s) => m::Kind::Pool(m::Pool {
            kind: match s.kind {
                PoolKind::Max => 0,
                PoolKind::Average { count_padding } => 1 + u32::from(count_padding),
            },
            input: s.input.0,
            window: Some(window(&s.window)),
            ceil: s.ceil,
            scale: s.scale.map(|id| id.0),
            epilogue: Some(epilogue(&s.epilogue)),
            output: s.output.0,
        }),
        StepKind::Reduce(s) => m::Kind::Reduce(m::Reduce {
            kind: code(&REDUCTIONS, &s.kind),
            input: s.input.0,
            axes: sizes(&s.axes),
            output: s.output.0,
        }),
        StepKind::Softmax(s) => {
            m::Kind::Softmax(m::Softmax { input: s.input.0, axes: sizes(&s.axes), output: s.output.0 })
        }
        StepKind::Move(s) => m::Kind::Move(m::Move {
            inputs: s.inputs.iter().map(operand).collect(),
            output: s.output.0,
            kind: Some(movement(&s.kind)),
        }),
        StepKind::Cast(s) => m::Kind::Cast(m::Cast { input: operand(&s.input), output: s.output.0 }),
        StepKind::Dims(s) => {
            m::Kind::Dims(m::Dims { values: s.values.iter().map(dim).collect(), output: s.output.0 })
        }
        StepKind::Iota(s) => m::Kind::Iota(s.output.0),
        StepKind::Scatter(s) => m::Kind::Scatter(m::Scatter {
            combine: s.combine.map(|combine| code(&COMBINATIONS, &combine)),
            data: operand(&s.data),
            indices: operand(&s.indices),
            updates: operand(&s.updates),
            output: s.output.0,
        }),
        StepKind::Cumulative(s) => m::Kind::Cumulative(m::Cumulative {
            combine: code(&COMBINATIONS, &s.combine),
            input: operand(&s.input),
            axis: s.axis as u64,
            output: s.output.0,
        }),
        StepKind::TopK(s) => m::Kind::TopK(m::TopK {
            input: operand(&s.input),
            axis: s.axis as u64,
            largest: s.largest,
            values: s.outputs[0].0,
            indices: s.outputs[1].0,
        }),
        StepKind::Custom(s) => m::Kind::Custom(m::Custom {
            function: s.function.clone(),
            attributes: s.attributes.iter().map(attribute).collect(),
            inputs: s.inputs.iter().map(operand).collect(),
            outputs: s.outputs.iter().map(|&BufferId(id)| id).collect(),
        }),
    };
    m::Step { name: step.name.clone(), kind: Some(kind) }
}

fn term(term: &crate::step::Term) -> m::Term {
    m::Term {
        planes: term.planes.iter().map(plane).collect(),
        scale: term.scale.map(|id| id.0),
        input_scale: term.input_scale.map(|id| id.0),
        parts: (term.parts != 1).then_some(term.parts as u64),
    }
}

fn plane(plane: &crate::step::Plane) -> m::Plane {
    let (geometry, groups) = match &plane.contraction {
        Contraction::Window { window: w, groups } => (Some(window(w)), *groups as u64),
        Contraction::MatMul => (None, 0),
    };
    m::Plane { input: plane.input.0, weight: plane.weight.0, window: geometry, groups }
}

fn epilogue(epilogue: &Epilogue) -> m::Epilogue {
    m::Epilogue {
        bias: epilogue.bias.map(|id| id.0),
        residual: epilogue.residual.map(|id| id.0),
        activation: epilogue.activation.map(unary),
    }
}

fn instruction(instruction: &MapInstruction) -> m::Instruction {
    match *instruction {
        MapInstruction::Unary(f, a) => {
            m::Instruction { function: Some(unary(f)), operands: vec![u32::from(a)] }
        }
        MapInstruction::Binary(f, a, b) => {
            let function = m::Function { code: code(&BINARIES, &f), parameters: vec![] };
            m::Instruction { function: Some(function), operands: vec![u32::from(a), u32::from(b)] }
        }
    }
}

/// A function's code and the bits of its parameters; [`super::decode`] has the inverse.
fn unary(f: Unary) -> m::Function {
    let (code, parameters) = match f {
        Unary::Relu => (0, vec![]),
        Unary::LeakyRelu { slope } => (1, vec![slope]),
        Unary::Clip { min, max } => (2, vec![min, max]),
        Unary::HardSigmoid { alpha, beta } => (3, vec![alpha, beta]),
        Unary::HardSwish => (4, vec![]),
        Unary::Neg => (5, vec![]),
        Unary::Abs => (6, vec![]),
        Unary::Sqrt => (7, vec![]),
        Unary::Reciprocal => (8, vec![]),
        Unary::Sigmoid => (9, vec![]),
        Unary::Tanh => (10, vec![]),
        Unary::Exp => (11, vec![]),
        Unary::Log => (12, vec![]),
        Unary::Erf => (13, vec![]),
        Unary::Sin => (14, vec![]),
        Unary::Cos => (15, vec![]),
        Unary::Atan => (16, vec![]),
        Unary::Floor => (17, vec![]),
        Unary::Round => (18, vec![]),
    };
    m::Function { code, parameters: parameters.into_iter().map(f32::to_bits).collect() }
}

fn movement(kind: &MoveKind) -> m::MoveKind {
    match kind {
        MoveKind::Reshape => m::MoveKind::Reshape(m::Empty {}),
        MoveKind::Transpose { perm } => m::MoveKind::Transpose(m::Transpose { perm: sizes(perm) }),
        MoveKind::Concat { axis } => m::MoveKind::Concat(*axis as u64),
        MoveKind::Slice { axis, start, step } => {
            m::MoveKind::Slice(m::Slice { axis: *axis as u64, start: Some(dim(start)), step: *step })
        }
        MoveKind::Pad { begin, end, mode } => {
            let (mode, value) = match mode {
                PadMode::Constant(value) => (0, value.to_bits()),
                PadMode::Reflect => (1, 0),
                PadMode::Edge => (2, 0),
            };
            m::MoveKind::Pad(m::Pad { begin: sizes(begin), end: sizes(end), mode, value })
        }
        MoveKind::Broadcast => m::MoveKind::Broadcast(m::Empty {}),
        MoveKind::Gather { axis } => m::MoveKind::Gather(*axis as u64),
    }
}

fn attribute((name, value): &(String, Attribute)) -> m::Attribute {
    let value = match value {
        Attribute::Int(v) => m::AttributeValue::Int(*v),
        Attribute::Float(v) => m::AttributeValue::Float(v.to_bits()),
        Attribute::String(v) => m::AttributeValue::String(v.clone()),
        Attribute::Ints(v) => m::AttributeValue::Ints(m::Ints { values: v.clone() }),
        Attribute::Floats(v) => {
            m::AttributeValue::Floats(m::Floats { values: v.iter().map(|x| x.to_bits()).collect() })
        }
    };
    m::Attribute { name: name.clone(), value: Some(value) }
}

fn dim(dim: &Dim) -> m::Dim {
    fn push(dim: &Dim, code: &mut Vec<i64>) {
        let (a, b, operation) = match dim {
            Dim::Fixed(n) => return code.extend([0, *n]),
            Dim::Symbol(symbol) => return code.extend([1, i64::from(symbol.0)]),
            Dim::Add(a, b) => (a, b, 2),
            Dim::Mul(a, b) => (a, b, 3),
            Dim::FloorDiv(a, b) => (a, b, 4),
            Dim::Min(a, b) => (a, b, 5),
            Dim::Max(a, b) => (a, b, 6),
        };
        push(a, code);
        push(b, code);
        code.push(operation);
    }
    let mut code = vec![];
    push(dim, &mut code);
    m::Dim { code }
}

fn window(window: &Window) -> m::Window {
    m::Window {
        kernel: sizes(&window.kernel),
        strides: sizes(&window.strides),
        dilations: sizes(&window.dilations),
        pads_begin: sizes(&window.pads_begin),
        pads_end: sizes(&window.pads_end),
    }
}

fn port(port: &Port) -> m::Port {
    m::Port { name: port.name.clone(), buffer: port.buffer.0 }
}

fn operand(operand: &Operand) -> u64 {
    match operand {
        Operand::Buffer(id) => u64::from(id.0) * 2,
        Operand::Constant(id) => u64::from(id.0) * 2 + 1,
    }
}

fn element(element: ElementType) -> u32 {
    code(&ELEMENTS, &element)
}

fn code<T: PartialEq>(table: &[T], value: &T) -> u32 {
    table.iter().position(|v| v == value).map_or(u32::MAX, |i| i as u32)
}

fn sizes(sizes: &[usize]) -> Vec<u64> {
    sizes.iter().map(|&n| n as u64).collect()
}
