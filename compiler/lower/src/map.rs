//! Maps: element-wise nodes fused into one expression.
//!
//! Which nodes are inlined into the one that uses them is decided by [`twnc_ir::steps`]. Batch normalisation that no pass folded is an
//! expression too.

use crate::LowerError;
use crate::builder::ProgramBuilder;
use std::collections::HashSet;
use twnc_ir::{Binary, ElementType, Graph, NodeId, Op, TensorType, Unary, ValueId, steps};
use twnc_program::scalar;
use twnc_program::step::{Cast, Map, MapInstruction, Move, MoveKind};
use twnc_program::{BufferId, ConstantData, MAX_MAP_INPUTS, MAX_MAP_VALUES, Operand, StepKind};

const _: () = assert!(steps::MOST_INPUTS == MAX_MAP_INPUTS && steps::MOST_VALUES == MAX_MAP_VALUES);

/// Emits the expression that ends at an element-wise node.
pub(crate) fn expression(
    build: &mut ProgramBuilder<'_>,
    inlined: &HashSet<NodeId>,
    id: NodeId,
) -> Result<(), LowerError> {
    let graph = build.graph;
    let mut inputs: Vec<ValueId> = vec![];
    let nodes = collect(graph, inlined, id, &mut inputs);
    let mut numbers: Vec<(ValueId, u16)> = inputs.iter().copied().zip(0..).collect();
    let number = |numbers: &[(ValueId, u16)], value: ValueId| {
        numbers.iter().find(|(v, _)| *v == value).map_or(0, |(_, number)| *number)
    };
    let mut code = vec![];
    for node in nodes.into_iter().map(|id| graph.node(id)) {
        let operand = |i: usize| number(&numbers, node.operands[i]);
        match &node.op {
            Op::Unary(f) => code.push(MapInstruction::Unary(unary(*f), operand(0))),
            Op::Binary(f) => code.push(MapInstruction::Binary(binary(*f), operand(0), operand(1))),
            _ => return Err(build.invalid(node.results[0], "an operator that is not element-wise in a map")),
        }
        numbers.push((node.results[0], (inputs.len() + code.len() - 1) as u16));
    }
    let inputs: Vec<Operand> = inputs.into_iter().map(|v| build.operand(v)).collect::<Result<_, _>>()?;
    let result = graph.node(id).results[0];
    let (name, ty) = (build.name(result), graph.ty(result));
    if !ty.element.is_narrow() {
        let output = build.define(result)?;
        build.push(&name, StepKind::Map(Map { inputs, code, output }));
        return Ok(());
    }
    // There is no arithmetic of narrow integers: one operation of wide ones, cut off, is what wraps.
    let wide = TensorType::new(ElementType::I32, ty.shape.clone());
    let cast = |build: &mut ProgramBuilder<'_>, input: Operand| -> Result<Operand, LowerError> {
        let output = build.declare(&name, &wide)?;
        build.push(&name, StepKind::Cast(Cast { input, output }));
        Ok(Operand::Buffer(output))
    };
    let inputs = inputs.into_iter().map(|input| cast(build, input)).collect::<Result<_, _>>()?;
    let whole = build.declare(&name, &wide)?;
    build.push(&name, StepKind::Map(Map { inputs, code, output: whole }));
    let output = build.define(result)?;
    build.push(&name, StepKind::Cast(Cast { input: Operand::Buffer(whole), output }));
    Ok(())
}

/// Emits a batch normalisation as an expression over its input and parameters, these with their channel on axis 1.
pub(crate) fn batch_norm(build: &mut ProgramBuilder<'_>, id: NodeId, epsilon: f32) -> Result<(), LowerError> {
    let graph = build.graph;
    let node = graph.node(id);
    let rank = graph.ty(node.operands[0]).rank();
    let name = build.name(node.results[0]);
    let mut inputs = vec![build.operand(node.operands[0])?];
    for &parameter in &node.operands[1..] {
        inputs.push(along_axis_1(build, &name, parameter, rank)?);
    }
    let epsilon = ConstantData::F32([epsilon].into());
    inputs.push(Operand::Constant(build.add_constant(&name, vec![], epsilon)));
    use scalar::{Binary as B, Unary as U};
    // Values 0 to 5 are x, scale, bias, mean, variance, epsilon.
    let code = vec![
        MapInstruction::Binary(B::Add, 4, 5),
        MapInstruction::Unary(U::Sqrt, 6),
        MapInstruction::Binary(B::Sub, 0, 3),
        MapInstruction::Binary(B::Div, 8, 7),
        MapInstruction::Binary(B::Mul, 9, 1),
        MapInstruction::Binary(B::Add, 10, 2),
    ];
    let output = build.define(node.results[0])?;
    build.push(&name, StepKind::Map(Map { inputs, code, output }));
    Ok(())
}

/// The nodes of the expression that ends at `root`, operands first, and the values from outside that they read.
fn collect(graph: &Graph, inlined: &HashSet<NodeId>, root: NodeId, inputs: &mut Vec<ValueId>) -> Vec<NodeId> {
    let (mut stack, mut nodes) = (vec![root], vec![]);
    while let Some(id) = stack.pop() {
        nodes.push(id);
        for &operand in &graph.node(id).operands {
            match graph.definer(operand) {
                Some((before, _)) if inlined.contains(&before) => stack.push(before),
                _ if !inputs.contains(&operand) => inputs.push(operand),
                _ => {}
            }
        }
    }
    // Every inlined node has one user, so reversing a walk from the user puts operands first.
    nodes.reverse();
    nodes
}

/// A `[C]` parameter as `[C,1,...]`, so that it broadcasts along axis 1 of a tensor of this rank.
fn along_axis_1(
    build: &mut ProgramBuilder<'_>,
    name: &str,
    parameter: ValueId,
    rank: usize,
) -> Result<Operand, LowerError> {
    let ty = build.graph.ty(parameter).clone();
    if let Some(tensor) = build.graph.constant(parameter) {
        let mut shape = tensor.shape().to_vec();
        shape.resize(rank.saturating_sub(1).max(1), 1);
        return build.constant(parameter, shape).map(Operand::Constant);
    }
    let mut column = ty;
    column.shape.resize(rank.saturating_sub(1).max(1), twnc_ir::Dim::from(1));
    let input = build.operand(parameter)?;
    let output: BufferId = build.declare(name, &column)?;
    build.push(name, StepKind::Move(Move { kind: MoveKind::Reshape, inputs: vec![input], output }));
    Ok(Operand::Buffer(output))
}

/// The program's word for a function of one number.
pub(crate) fn unary(f: Unary) -> scalar::Unary {
    match f {
        Unary::Relu => scalar::Unary::Relu,
        Unary::LeakyRelu { slope } => scalar::Unary::LeakyRelu { slope },
        Unary::Clip { min, max } => scalar::Unary::Clip { min, max },
        Unary::HardSigmoid { alpha, beta } => scalar::Unary::HardSigmoid { alpha, beta },
        Unary::HardSwish => scalar::Unary::HardSwish,
        Unary::Neg => scalar::Unary::Neg,
        Unary::Abs => scalar::Unary::Abs,
        Unary::Sqrt => scalar::Unary::Sqrt,
        Unary::Reciprocal => scalar::Unary::Reciprocal,
        Unary::Sigmoid => scalar::Unary::Sigmoid,
        Unary::Tanh => scalar::Unary::Tanh,
        Unary::Exp => scalar::Unary::Exp,
        Unary::Log => scalar::Unary::Log,
        Unary::Erf => scalar::Unary::Erf,
        Unary::Sin => scalar::Unary::Sin,
        Unary::Cos => scalar::Unary::Cos,
        Unary::Atan => scalar::Unary::Atan,
        Unary::Floor => scalar::Unary::Floor,
        Unary::Round => scalar::Unary::Round,
    }
}

fn binary(f: Binary) -> scalar::Binary {
    match f {
        Binary::Add => scalar::Binary::Add,
        Binary::Sub => scalar::Binary::Sub,
        Binary::Mul => scalar::Binary::Mul,
        Binary::Div => scalar::Binary::Div,
        Binary::Min => scalar::Binary::Min,
        Binary::Max => scalar::Binary::Max,
        Binary::Pow => scalar::Binary::Pow,
        Binary::PRelu => scalar::Binary::PRelu,
        Binary::Less => scalar::Binary::Less,
        Binary::Equal => scalar::Binary::Equal,
        Binary::Keep => scalar::Binary::Keep,
    }
}
