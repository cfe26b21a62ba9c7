//! The metadata as protobuf messages. Field numbers and codes are part of the format; `docs/model-bin.md` lists them.
//!
//! An operand is one number: twice its id, plus one for a constant. A dimension is a postfix sequence (see [`Dim`]). f32 parameters are
//! their bits, so that -0 and NaN survive.

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Program {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, repeated, tag = "2")]
    pub symbols: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    pub buffers: Vec<Buffer>,
    #[prost(message, repeated, tag = "4")]
    pub constants: Vec<Constant>,
    #[prost(message, repeated, tag = "5")]
    pub steps: Vec<Step>,
    #[prost(message, repeated, tag = "6")]
    pub inputs: Vec<Port>,
    #[prost(message, repeated, tag = "7")]
    pub outputs: Vec<Port>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Port {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint32, tag = "2")]
    pub buffer: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Buffer {
    #[prost(uint32, tag = "1")]
    pub element: u32,
    #[prost(message, repeated, tag = "2")]
    pub shape: Vec<Dim>,
}

/// Postfix: 0 v pushes a number, 1 s a symbol; 2 add, 3 multiply, 4 divide rounding down, 5 minimum, 6 maximum.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Dim {
    #[prost(sint64, repeated, tag = "1")]
    pub code: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Constant {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint32, tag = "2")]
    pub element: u32,
    #[prost(uint64, repeated, tag = "3")]
    pub shape: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Step {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(oneof = "Kind", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17")]
    pub kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Kind {
    #[prost(message, tag = "2")]
    Accumulate(Accumulate),
    #[prost(message, tag = "3")]
    Conv(Conv),
    #[prost(message, tag = "4")]
    MatMul(MatMul),
    #[prost(message, tag = "5")]
    Map(Map),
    #[prost(message, tag = "6")]
    Pool(Pool),
    #[prost(message, tag = "7")]
    Reduce(Reduce),
    #[prost(message, tag = "8")]
    Softmax(Softmax),
    #[prost(message, tag = "9")]
    Move(Move),
    #[prost(message, tag = "10")]
    Cast(Cast),
    #[prost(message, tag = "11")]
    Dims(Dims),
    #[prost(message, tag = "12")]
    Custom(Custom),
    #[prost(message, tag = "13")]
    Quantize(Quantize),
    /// The output.
    #[prost(uint32, tag = "14")]
    Iota(u32),
    #[prost(message, tag = "15")]
    Scatter(Scatter),
    #[prost(message, tag = "16")]
    Cumulative(Cumulative),
    #[prost(message, tag = "17")]
    TopK(TopK),
}

/// combine: 0 sum, 1 product, 2 minimum, 3 maximum; without it, updates replace.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Scatter {
    #[prost(uint32, optional, tag = "1")]
    pub combine: Option<u32>,
    #[prost(uint64, tag = "2")]
    pub data: u64,
    #[prost(uint64, tag = "3")]
    pub indices: u64,
    #[prost(uint64, tag = "4")]
    pub updates: u64,
    #[prost(uint32, tag = "5")]
    pub output: u32,
}

/// combine: 0 sum, 1 product.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Cumulative {
    #[prost(uint32, tag = "1")]
    pub combine: u32,
    #[prost(uint64, tag = "2")]
    pub input: u64,
    #[prost(uint64, tag = "3")]
    pub axis: u64,
    #[prost(uint32, tag = "4")]
    pub output: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TopK {
    #[prost(uint64, tag = "1")]
    pub input: u64,
    #[prost(uint64, tag = "2")]
    pub axis: u64,
    #[prost(bool, tag = "3")]
    pub largest: bool,
    #[prost(uint32, tag = "4")]
    pub values: u32,
    #[prost(uint32, tag = "5")]
    pub indices: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Window {
    #[prost(uint64, repeated, tag = "1")]
    pub kernel: Vec<u64>,
    #[prost(uint64, repeated, tag = "2")]
    pub strides: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    pub dilations: Vec<u64>,
    #[prost(uint64, repeated, tag = "4")]
    pub pads_begin: Vec<u64>,
    #[prost(uint64, repeated, tag = "5")]
    pub pads_end: Vec<u64>,
}

/// A function of one or two numbers and the bits of its parameters.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Function {
    #[prost(uint32, tag = "1")]
    pub code: u32,
    #[prost(fixed32, repeated, tag = "2")]
    pub parameters: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Epilogue {
    #[prost(uint32, optional, tag = "1")]
    pub bias: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    pub residual: Option<u32>,
    #[prost(message, optional, tag = "3")]
    pub activation: Option<Function>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Accumulate {
    #[prost(message, repeated, tag = "1")]
    pub terms: Vec<Term>,
    #[prost(message, optional, tag = "2")]
    pub epilogue: Option<Epilogue>,
    #[prost(uint32, tag = "3")]
    pub output: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Term {
    #[prost(message, repeated, tag = "1")]
    pub planes: Vec<Plane>,
    #[prost(uint32, optional, tag = "2")]
    pub scale: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    pub input_scale: Option<u32>,
    #[prost(uint64, optional, tag = "4")]
    pub parts: Option<u64>,
}

/// `scale` holds the bits of a given scale.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Quantize {
    #[prost(uint32, tag = "1")]
    pub input: u32,
    #[prost(uint32, tag = "2")]
    pub bits: u32,
    #[prost(bool, tag = "3")]
    pub signed: bool,
    #[prost(fixed32, optional, tag = "4")]
    pub scale: Option<u32>,
    #[prost(uint32, tag = "5")]
    pub integers: u32,
    #[prost(uint32, tag = "6")]
    pub scales: u32,
}

/// Without a window it is a matrix product.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Plane {
    #[prost(uint32, tag = "1")]
    pub input: u32,
    #[prost(uint32, tag = "2")]
    pub weight: u32,
    #[prost(message, optional, tag = "3")]
    pub window: Option<Window>,
    #[prost(uint64, tag = "4")]
    pub groups: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Conv {
    #[prost(uint32, tag = "1")]
    pub input: u32,
    #[prost(uint64, tag = "2")]
    pub weight: u64,
    #[prost(message, optional, tag = "3")]
    pub window: Option<Window>,
    #[prost(uint64, tag = "4")]
    pub groups: u64,
    #[prost(message, optional, tag = "5")]
    pub epilogue: Option<Epilogue>,
    #[prost(uint32, tag = "6")]
    pub output: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MatMul {
    #[prost(uint64, tag = "1")]
    pub left: u64,
    #[prost(uint64, tag = "2")]
    pub right: u64,
    #[prost(message, optional, tag = "3")]
    pub epilogue: Option<Epilogue>,
    #[prost(uint32, tag = "4")]
    pub output: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Map {
    #[prost(uint64, repeated, tag = "1")]
    pub inputs: Vec<u64>,
    #[prost(message, repeated, tag = "2")]
    pub code: Vec<Instruction>,
    #[prost(uint32, tag = "3")]
    pub output: u32,
}

/// Two operands for a function of two numbers, one for a function of one.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Instruction {
    #[prost(message, optional, tag = "1")]
    pub function: Option<Function>,
    #[prost(uint32, repeated, tag = "2")]
    pub operands: Vec<u32>,
}

/// kind: 0 maximum, 1 average of elements, 2 average with padding counted.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Pool {
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    #[prost(uint32, tag = "2")]
    pub input: u32,
    #[prost(message, optional, tag = "3")]
    pub window: Option<Window>,
    #[prost(bool, tag = "4")]
    pub ceil: bool,
    #[prost(uint32, optional, tag = "5")]
    pub scale: Option<u32>,
    #[prost(message, optional, tag = "6")]
    pub epilogue: Option<Epilogue>,
    #[prost(uint32, tag = "7")]
    pub output: u32,
}

/// kind: 0 sum, 1 mean, 2 maximum, 3 minimum.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Reduce {
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    #[prost(uint32, tag = "2")]
    pub input: u32,
    #[prost(uint64, repeated, tag = "3")]
    pub axes: Vec<u64>,
    #[prost(uint32, tag = "4")]
    pub output: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Softmax {
    #[prost(uint32, tag = "1")]
    pub input: u32,
    #[prost(uint64, repeated, tag = "2")]
    pub axes: Vec<u64>,
    #[prost(uint32, tag = "3")]
    pub output: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Move {
    #[prost(uint64, repeated, tag = "1")]
    pub inputs: Vec<u64>,
    #[prost(uint32, tag = "2")]
    pub output: u32,
    #[prost(oneof = "MoveKind", tags = "3, 4, 5, 6, 7, 8, 9")]
    pub kind: Option<MoveKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum MoveKind {
    #[prost(message, tag = "3")]
    Reshape(Empty),
    #[prost(message, tag = "4")]
    Transpose(Transpose),
    #[prost(uint64, tag = "5")]
    Concat(u64),
    #[prost(message, tag = "6")]
    Slice(Slice),
    #[prost(message, tag = "7")]
    Pad(Pad),
    #[prost(message, tag = "8")]
    Broadcast(Empty),
    #[prost(uint64, tag = "9")]
    Gather(u64),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Transpose {
    #[prost(uint64, repeated, tag = "1")]
    pub perm: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Slice {
    #[prost(uint64, tag = "1")]
    pub axis: u64,
    #[prost(message, optional, tag = "2")]
    pub start: Option<Dim>,
    #[prost(sint64, tag = "3")]
    pub step: i64,
}

/// mode: 0 constant, 1 reflect, 2 edge; `value` holds the bits of the constant.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Pad {
    #[prost(uint64, repeated, tag = "1")]
    pub begin: Vec<u64>,
    #[prost(uint64, repeated, tag = "2")]
    pub end: Vec<u64>,
    #[prost(uint32, tag = "3")]
    pub mode: u32,
    #[prost(fixed32, tag = "4")]
    pub value: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Cast {
    #[prost(uint64, tag = "1")]
    pub input: u64,
    #[prost(uint32, tag = "2")]
    pub output: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Dims {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Dim>,
    #[prost(uint32, tag = "2")]
    pub output: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Custom {
    #[prost(string, tag = "1")]
    pub function: String,
    #[prost(message, repeated, tag = "2")]
    pub attributes: Vec<Attribute>,
    #[prost(uint64, repeated, tag = "3")]
    pub inputs: Vec<u64>,
    #[prost(uint32, repeated, tag = "4")]
    pub outputs: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(oneof = "AttributeValue", tags = "2, 3, 4, 5, 6")]
    pub value: Option<AttributeValue>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum AttributeValue {
    #[prost(sint64, tag = "2")]
    Int(i64),
    #[prost(fixed32, tag = "3")]
    Float(u32),
    #[prost(string, tag = "4")]
    String(String),
    #[prost(message, tag = "5")]
    Ints(Ints),
    #[prost(message, tag = "6")]
    Floats(Floats),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Ints {
    #[prost(sint64, repeated, tag = "1")]
    pub values: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Floats {
    #[prost(fixed32, repeated, tag = "1")]
    pub values: Vec<u32>,
}
