//! The program under construction: buffers, constants and symbols by the values they stand for.

use crate::LowerError;
use std::collections::HashMap;
use std::sync::Arc;
use twnc_ir::dim::DimNode;
use twnc_ir::{Data, Graph, Tensor, TensorType, ValueId};
use twnc_program::step::{Move, MoveKind};
use twnc_program::{
    Buffer, BufferId, Constant, ConstantData, ConstantId, Dim, ElementType, MAX_RANK, Operand, Port, Program,
    Step, StepKind, SymbolId, Trits,
};

/// Builds a program from a graph's values.
pub(crate) struct Emitter<'g> {
    pub(crate) graph: &'g Graph,
    program: Program,
    symbols: HashMap<String, SymbolId>,
    buffers: HashMap<ValueId, BufferId>,
    constants: HashMap<(ValueId, Vec<usize>), ConstantId>,
}

impl<'g> Emitter<'g> {
    /// A program with the graph's inputs.
    pub(crate) fn new(graph: &'g Graph) -> Result<Emitter<'g>, LowerError> {
        let program = Program { name: graph.name().to_owned(), ..Program::default() };
        let (symbols, buffers, constants) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut emit = Emitter { graph, program, symbols, buffers, constants };
        for port in graph.inputs() {
            for dim in &graph.ty(port.value).shape {
                match dim.as_symbol() {
                    Some(name) if !emit.symbols.contains_key(name) => {
                        emit.symbols.insert(name.to_owned(), SymbolId(emit.program.symbols.len() as u32));
                        emit.program.symbols.push(name.to_owned());
                    }
                    None if dim.as_size().is_none() => {
                        let (input, dimension) = (port.name.clone(), dim.to_string());
                        return Err(LowerError::InputDimension { input, dimension });
                    }
                    _ => {}
                }
            }
        }
        for port in graph.inputs() {
            let buffer = emit.define(port.value)?;
            emit.program.inputs.push(Port { name: port.name.clone(), buffer });
        }
        Ok(emit)
    }

    /// Declares the buffer of a value that a step is about to write.
    pub(crate) fn define(&mut self, value: ValueId) -> Result<BufferId, LowerError> {
        let buffer = self.declare(&self.name(value), self.graph.ty(value))?;
        self.buffers.insert(value, buffer);
        Ok(buffer)
    }

    /// Declares a buffer of this type.
    pub(crate) fn declare(&mut self, node: &str, ty: &TensorType) -> Result<BufferId, LowerError> {
        check_rank(node, ty.rank())?;
        let shape = ty.shape.iter().map(|dim| self.dim(node, dim)).collect::<Result<_, _>>()?;
        let id = BufferId(self.program.buffers.len() as u32);
        self.program.buffers.push(Buffer { element: element(ty.element), shape });
        Ok(id)
    }

    /// The buffer of a value; a constant is copied to one.
    pub(crate) fn buffer(&mut self, value: ValueId) -> Result<BufferId, LowerError> {
        if let Some(&buffer) = self.buffers.get(&value) {
            return Ok(buffer);
        }
        let constant = self.operand(value)?;
        let buffer = self.define(value)?;
        let kind = StepKind::Move(Move { kind: MoveKind::Reshape, inputs: vec![constant], output: buffer });
        self.push(&self.name(value), kind);
        Ok(buffer)
    }

    /// A value as an operand.
    pub(crate) fn operand(&mut self, value: ValueId) -> Result<Operand, LowerError> {
        if let Some(&buffer) = self.buffers.get(&value) {
            return Ok(Operand::Buffer(buffer));
        }
        let shape = self.graph.constant(value).map(|tensor| tensor.shape().to_vec());
        match shape {
            Some(shape) => self.constant(value, shape).map(Operand::Constant),
            None => Err(self.invalid(value, "an operand is neither a constant nor computed before it")),
        }
    }

    /// The constant of a value, with `shape` in the place of its own (of the same size). A single element fills any shape.
    pub(crate) fn constant(&mut self, value: ValueId, shape: Vec<usize>) -> Result<ConstantId, LowerError> {
        if let Some(&id) = self.constants.get(&(value, shape.clone())) {
            return Ok(id);
        }
        let Some(tensor) = self.graph.constant(value) else {
            return Err(self.invalid(value, "an operand that must be constant is not"));
        };
        check_rank(&self.name(value), shape.len())?;
        let data = constant_data(tensor, shape.iter().product());
        let Some(data) = data else {
            return Err(self.invalid(value, "a constant does not fit the shape that its use needs"));
        };
        let id = self.add_constant(&self.name(value), shape.clone(), data);
        self.constants.insert((value, shape), id);
        Ok(id)
    }

    /// A constant that no value stands for.
    pub(crate) fn add_constant(&mut self, name: &str, shape: Vec<usize>, data: ConstantData) -> ConstantId {
        let id = ConstantId(self.program.constants.len() as u32);
        self.program.constants.push(Constant { name: name.to_owned(), shape, data });
        id
    }

    /// Adds a step.
    pub(crate) fn push(&mut self, name: &str, kind: StepKind) {
        self.program.steps.push(Step { name: name.to_owned(), kind });
    }

    /// A dimension with the program's symbols.
    pub(crate) fn dim(&self, node: &str, dim: &twnc_ir::Dim) -> Result<Dim, LowerError> {
        dim.fold(&mut |part: DimNode<'_, Result<Dim, LowerError>>| {
            let pair = |a: Result<Dim, LowerError>, b: Result<Dim, LowerError>| {
                Ok::<_, LowerError>((Box::new(a?), Box::new(b?)))
            };
            Ok(match part {
                DimNode::Fixed(n) => Dim::Fixed(n),
                DimNode::Symbol(name) => match self.symbols.get(name) {
                    Some(&symbol) => Dim::Symbol(symbol),
                    None => {
                        let (node, symbol) = (node.to_owned(), name.to_owned());
                        return Err(LowerError::UnboundSymbol { node, symbol });
                    }
                },
                DimNode::Add(a, b) => pair(a, b).map(|(a, b)| Dim::Add(a, b))?,
                DimNode::Mul(a, b) => pair(a, b).map(|(a, b)| Dim::Mul(a, b))?,
                DimNode::FloorDiv(a, b) => pair(a, b).map(|(a, b)| Dim::FloorDiv(a, b))?,
                DimNode::Min(a, b) => pair(a, b).map(|(a, b)| Dim::Min(a, b))?,
                DimNode::Max(a, b) => pair(a, b).map(|(a, b)| Dim::Max(a, b))?,
            })
        })
    }

    /// The name of the layer that defines a value, or its number.
    pub(crate) fn name(&self, value: ValueId) -> String {
        let name = self.graph.definer(value).map(|(_, node)| node.name.clone());
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| value.to_string())
    }

    /// An error at the layer that defines a value.
    pub(crate) fn invalid(&self, value: ValueId, reason: &'static str) -> LowerError {
        LowerError::Invalid { node: self.name(value), reason }
    }

    /// The program with the graph's outputs.
    pub(crate) fn finish(mut self) -> Result<Program, LowerError> {
        for port in self.graph.outputs() {
            let buffer = self.buffer(port.value)?;
            self.program.outputs.push(Port { name: port.name.clone(), buffer });
        }
        Ok(self.program)
    }
}

/// The program's word for an element type.
pub(crate) fn element(ty: twnc_ir::ElementType) -> ElementType {
    match ty {
        twnc_ir::ElementType::F32 => ElementType::F32,
        twnc_ir::ElementType::I8 => ElementType::I8,
        twnc_ir::ElementType::U8 => ElementType::U8,
        twnc_ir::ElementType::I16 => ElementType::I16,
        twnc_ir::ElementType::I32 => ElementType::I32,
        twnc_ir::ElementType::I64 => ElementType::I64,
        twnc_ir::ElementType::Bool => ElementType::Bool,
        twnc_ir::ElementType::Ternary => ElementType::Ternary,
    }
}

fn check_rank(node: &str, rank: usize) -> Result<(), LowerError> {
    if rank > MAX_RANK { Err(LowerError::Rank { node: node.to_owned(), rank }) } else { Ok(()) }
}

/// The elements of a tensor as `count` elements of a constant: as they are, or a single f32 repeated.
fn constant_data(tensor: &Tensor, count: usize) -> Option<ConstantData> {
    if let (Some([value]), true) = (tensor.as_f32(), count != 1) {
        return Some(ConstantData::F32(vec![*value; count].into()));
    }
    if tensor.len() != count {
        return None;
    }
    Some(match tensor.data() {
        Data::F32(v) => ConstantData::F32(Arc::clone(v)),
        Data::I8(v) => ConstantData::I8(Arc::clone(v)),
        Data::U8(v) => ConstantData::U8(Arc::clone(v)),
        Data::I16(v) => ConstantData::I16(Arc::clone(v)),
        Data::I32(v) => ConstantData::I32(Arc::clone(v)),
        Data::I64(v) => ConstantData::I64(Arc::clone(v)),
        Data::Bool(v) => ConstantData::Bool(v.iter().map(|&b| u8::from(b)).collect()),
        Data::Ternary(v) => ConstantData::Ternary(Trits::pack(v)?),
    })
}
