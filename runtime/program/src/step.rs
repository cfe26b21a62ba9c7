//! Steps: what a program does, one buffer at a time.
//!
//! Semantics are those of the interpreter; each type states the shapes it relates. `N` is the number of samples, `C`
//! and `M` are input and output channels. Sums of a step are taken in an order that is the kernel's own; everything
//! after the sum (scale, bias, residual, activation) is defined to the bit.

use crate::dim::Dim;
use crate::program::{BufferId, ConstantId};
use crate::scalar::{Binary, Unary};
use crate::window::Window;

mod order;

pub use order::{Combine, Cumulative, Scatter, TopK};

/// One step, with the name of the layer it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// For reports; need not be unique.
    pub name: String,
    /// What it does.
    pub kind: StepKind,
}

/// What a step reads: a buffer, or a dense constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// A buffer written earlier.
    Buffer(BufferId),
    /// A constant that is not ternary.
    Constant(ConstantId),
}

/// The kinds of step.
#[derive(Clone, Debug, PartialEq)]
pub enum StepKind {
    /// Sums of inputs selected and signed by ternary weights.
    Accumulate(Accumulate),
    /// Numbers rounded to integers, with their scale.
    Quantize(Quantize),
    /// A convolution with float weights.
    Conv(Conv),
    /// A product of float matrices.
    MatMul(MatMul),
    /// A fused element-wise expression.
    Map(Map),
    /// A maximum or mean over a sliding window.
    Pool(Pool),
    /// A sum, mean, maximum or minimum along axes.
    Reduce(Reduce),
    /// Softmax along axes.
    Softmax(Softmax),
    /// A move of elements that computes nothing.
    Move(Move),
    /// A conversion of elements.
    Cast(Cast),
    /// The values of dimensions, as data.
    Dims(Dims),
    /// The whole numbers from 0 up.
    Iota(Iota),
    /// Rows written to where indices say.
    Scatter(Scatter),
    /// Running sums or products.
    Cumulative(Cumulative),
    /// The largest or smallest elements.
    TopK(TopK),
    /// A function that the application registers.
    Custom(Custom),
}

/// `output = activation(Σₜ scaleₜ · Σₚ (weightₜₚ ∗ inputₜₚ) + bias + residual)`.
///
/// That is, rounded after each operation and in this order: the sum over the first term's planes, times its factor, plus the bias,
/// plus each further term, a sum times its factor, plus the residual, then the activation; what is absent is skipped. A term in
/// parts is as many sums, each times a factor of its own and added to what is before.
/// Output is `[N, M, spatial...]` for windows, `[..., R, M]` for matrix products.
#[derive(Clone, Debug, PartialEq)]
pub struct Accumulate {
    /// One or more.
    pub terms: Vec<Term>,
    /// What happens to the sum.
    pub epilogue: Epilogue,
    /// Where it goes; f32.
    pub output: BufferId,
}

/// Products that make one sum, and its factor.
///
/// The sum of f32 inputs is f32, in an order that is the kernel's own; that of integer inputs is exact and then rounded to
/// f32. The factor is `scale · input_scale`, rounded once; what is absent of it is 1, without a multiplication.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// One or more products, in all terms of a step windows or in all matrix products, all with the shape of the output. The
    /// inputs of a term are all f32 or all i16.
    pub planes: Vec<Plane>,
    /// Into how many parts the input channels of its one plane are divided; 1 where they are not. Each part is a product of its own
    /// with a factor of its own, and the parts are added in order; the bias is added behind the last part of the first term.
    /// A window in parts has as many groups: output `m` of part `p` is its output `p · M + m`.
    pub parts: usize,
    /// f32 `[1]` or `[parts · M]`, part by part.
    pub scale: Option<ConstantId>,
    /// f32, one number for each index of the output's first axis: the scale of quantised inputs.
    pub input_scale: Option<BufferId>,
}

/// One ternary product.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    /// f32 or i16 `[N, C, spatial...]` or `[..., R, K]`, in parts `[..., R, parts, 1, K/parts]`. What is i16 is written by a [`Quantize`] step, so that its range
    /// is known.
    pub input: BufferId,
    /// Ternary `[M, C/groups, kernel...]` for windows, `[K, M]` for matrix products; in parts `[parts · M, C/parts, kernel...]` and
    /// `[parts, K/parts, M]`.
    pub weight: ConstantId,
    /// Which of the two.
    pub contraction: Contraction,
}

/// Numbers rounded to integers: `output = clamp(round(input · (1 / scale)))`, ties to even, where `scale` is one number for
/// each index of the first axis.
///
/// All operations are of f32, each rounded. Without a given scale it is the largest finite magnitude of the sample
/// (unsigned: the largest finite number, at least 0), divided by the largest integer. NaN becomes 0, infinities the ends of the
/// range. Where the scale is 0, every finite number is 0; where its inverse is infinite, the largest finite number serves instead.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantize {
    /// f32, of rank 1 or more.
    pub input: BufferId,
    /// From 2 to 12.
    pub bits: u32,
    /// Whether the range is `-(2^(bits-1) - 1)` to `2^(bits-1) - 1`, or 0 to `2^bits - 1`.
    pub signed: bool,
    /// A scale for all samples, positive and finite.
    pub scale: Option<f32>,
    /// i16 of the input's shape, then f32: the scales, as many as the size of the input's first axis.
    pub outputs: [BufferId; 2],
}

impl Quantize {
    /// The largest integer.
    pub fn largest(&self) -> i16 {
        ((1i32 << (self.bits.clamp(2, 12) - u32::from(self.signed))) - 1) as i16
    }

    /// The smallest integer.
    pub fn smallest(&self) -> i16 {
        if self.signed { -self.largest() } else { 0 }
    }

    /// The scale of a sample whose largest finite magnitude (unsigned: number) is `largest`.
    pub fn scale_of(&self, largest: f32) -> f32 {
        self.scale.unwrap_or(largest / f32::from(self.largest()))
    }

    /// What elements are multiplied with, given the scale.
    pub fn inverse(scale: f32) -> f32 {
        if scale == 0.0 { 0.0 } else { (1.0 / scale).min(f32::MAX) }
    }

    /// An element's integer.
    pub fn round(&self, x: f32, inverse: f32) -> i16 {
        let (low, high) = (f32::from(self.smallest()), f32::from(self.largest()));
        match x {
            _ if x == f32::INFINITY => self.largest(),
            _ if x == f32::NEG_INFINITY => self.smallest(),
            // A conversion takes NaN to 0.
            _ => (x * inverse).round_ties_even().clamp(low, high) as i16,
        }
    }

    /// The magnitude that counts for the scale: nothing for what is not finite.
    pub fn magnitude(&self, x: f32) -> f32 {
        let magnitude = if self.signed { x.abs() } else { x };
        if x.is_finite() && magnitude > 0.0 { magnitude } else { 0.0 }
    }
}

/// Over what a product sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contraction {
    /// Channels of a group and the taps of a window. Padding contributes nothing.
    Window {
        /// Its geometry.
        window: Window,
        /// Divides input and output channels.
        groups: usize,
    },
    /// The last axis of the input and the first of the weight.
    MatMul,
}

/// What happens to a sum before it is stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Epilogue {
    /// f32 `[M]`, added per output channel.
    pub bias: Option<ConstantId>,
    /// f32 of the output's shape, added per element.
    pub residual: Option<BufferId>,
    /// Applied last.
    pub activation: Option<Unary>,
}

/// A convolution with float weights: `[N, C, spatial...]` by `[M, C/groups, kernel...]` to `[N, M, spatial...]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// f32.
    pub input: BufferId,
    /// f32, a constant or not.
    pub weight: Operand,
    /// Its geometry.
    pub window: Window,
    /// Divides input and output channels.
    pub groups: usize,
    /// What happens to the sum.
    pub epilogue: Epilogue,
    /// f32.
    pub output: BufferId,
}

/// A product of float matrices, `[..., R, K]` by `[..., K, M]` to `[..., R, M]`; leading axes broadcast.
/// Both operands have rank 2 or more.
#[derive(Clone, Debug, PartialEq)]
pub struct MatMul {
    /// f32.
    pub left: Operand,
    /// f32.
    pub right: Operand,
    /// Its bias is per column, `[M]`.
    pub epilogue: Epilogue,
    /// f32.
    pub output: BufferId,
}

/// A fused element-wise expression. Inputs broadcast to the output's shape as in NumPy. All elements are of the
/// output's type: f32 takes every instruction; i64 and i32 take `Neg`, `Abs`, `Relu`, `Add`, `Sub`, `Mul`, `Div` (truncating; by
/// zero is an error), `Min`, `Max`, `Less`, `Equal` and `Keep`, wrapping on overflow.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// One or more; value `i` of the expression is input `i`.
    pub inputs: Vec<Operand>,
    /// Each defines the next value, in order; the last is the result. Never empty.
    pub code: Vec<MapInstruction>,
    /// The result.
    pub output: BufferId,
}

/// One instruction of a map; operands are numbers of earlier values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MapInstruction {
    /// A function of one value.
    Unary(Unary, u16),
    /// A function of two values.
    Binary(Binary, u16, u16),
}

/// A maximum or mean over a window, per channel: `[N, C, spatial...]` to `[N, C, spatial...]`, f32. It is multiplied by the scale; then
/// comes the epilogue, with a bias for each of the C channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// What is taken of each window.
    pub kind: PoolKind,
    /// f32.
    pub input: BufferId,
    /// Its geometry.
    pub window: Window,
    /// Whether a last window may reach past the end (ONNX `ceil_mode`).
    pub ceil: bool,
    /// f32 `[1]` or `[C]`.
    pub scale: Option<ConstantId>,
    /// What happens to the scaled maximum or mean.
    pub epilogue: Epilogue,
    /// f32.
    pub output: BufferId,
}

/// What a pool takes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest: starting from -Inf, each larger element replaces it (so a NaN never does). Padding takes no part.
    Max,
    /// The mean: the sum, divided by the number of elements.
    Average {
        /// Whether padding counts as elements (what `ceil` reaches beyond it never does).
        count_padding: bool,
    },
}

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduceKind {
    /// The sum.
    Sum,
    /// The sum, divided by the number of elements.
    Mean,
    /// The largest, as [`Binary::Max`].
    Max,
    /// The smallest, as [`Binary::Min`].
    Min,
}

/// A reduction along axes, f32. The output's elements are those of the input with the reduced axes left out, in order;
/// its shape may or may not keep them with size 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Reduce {
    /// What is computed.
    pub kind: ReduceKind,
    /// f32.
    pub input: BufferId,
    /// Ascending, distinct; without any, elements stay what they are.
    pub axes: Vec<usize>,
    /// f32.
    pub output: BufferId,
}

/// `exp(x - max) / Σ exp(x - max)` over `axes` together; shape and f32 stay.
#[derive(Clone, Debug, PartialEq)]
pub struct Softmax {
    /// f32.
    pub input: BufferId,
    /// Ascending, distinct, at least one.
    pub axes: Vec<usize>,
    /// f32.
    pub output: BufferId,
}

/// A move of elements: any element type; input and output have the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// How elements move.
    pub kind: MoveKind,
    /// One, or for [`MoveKind::Concat`] and [`MoveKind::Gather`] more.
    pub inputs: Vec<Operand>,
    /// The result.
    pub output: BufferId,
}

/// How elements move.
#[derive(Clone, Debug, PartialEq)]
pub enum MoveKind {
    /// The same elements in another shape of the same size.
    Reshape,
    /// Axis `i` of the output is axis `perm[i]` of the input.
    Transpose {
        /// A permutation of the axes.
        perm: Vec<usize>,
    },
    /// Inputs one after the other along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// Every `step`-th element along an axis, from `start`; how many is the output's size there.
    Slice {
        /// The axis.
        axis: usize,
        /// Index of the first element.
        start: Dim,
        /// Never 0; negative walks backwards.
        step: i64,
    },
    /// Elements around the input, along every axis.
    Pad {
        /// Before the first element, per axis.
        begin: Vec<usize>,
        /// After the last element, per axis.
        end: Vec<usize>,
        /// What they are.
        mode: PadMode,
    },
    /// The input repeated along axes of size 1 (and along new leading axes) to the output's shape.
    Broadcast,
    /// `inputs[0]` taken along `axis` at the indices `inputs[1]` (i64 or i32; negative ones count from the end; one out
    /// of range is an error when running).
    Gather {
        /// The axis.
        axis: usize,
    },
}

/// What a pad puts around its input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PadMode {
    /// This number, converted to the element type as by [`Cast`].
    Constant(f32),
    /// A mirror image that does not repeat the edge.
    Reflect,
    /// The nearest element.
    Edge,
}

/// A conversion. Float to integer truncates towards zero and saturates, NaN gives 0; integer to a narrower integer
/// wraps; to bool is `!= 0`; integers to f32 round to nearest.
#[derive(Clone, Debug, PartialEq)]
pub struct Cast {
    /// Any element type.
    pub input: Operand,
    /// Any element type.
    pub output: BufferId,
}

/// The values of dimension expressions, as an i64 vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Dims {
    /// One element each.
    pub values: Vec<Dim>,
    /// i64 `[values.len()]`.
    pub output: BufferId,
}

/// The whole numbers from 0 up.
#[derive(Clone, Debug, PartialEq)]
pub struct Iota {
    /// i64, of rank 1.
    pub output: BufferId,
}

/// A call of a function that the application registers with the runtime.
#[derive(Clone, Debug, PartialEq)]
pub struct Custom {
    /// `domain::name`, by which the application registers it.
    pub function: String,
    /// Attributes, by name, in the order of their names, which are distinct.
    pub attributes: Vec<(String, Attribute)>,
    /// What it reads.
    pub inputs: Vec<Operand>,
    /// What it writes; their shapes are declared.
    pub outputs: Vec<BufferId>,
}

/// An attribute of a custom step.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f32),
    /// A text.
    String(String),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// Numbers.
    Floats(Vec<f32>),
}

impl Step {
    /// The buffers it writes.
    pub fn outputs(&self) -> &[BufferId] {
        let output = match &self.kind {
            StepKind::Accumulate(s) => &s.output,
            StepKind::Quantize(s) => return &s.outputs,
            StepKind::Conv(s) => &s.output,
            StepKind::MatMul(s) => &s.output,
            StepKind::Map(s) => &s.output,
            StepKind::Pool(s) => &s.output,
            StepKind::Reduce(s) => &s.output,
            StepKind::Softmax(s) => &s.output,
            StepKind::Move(s) => &s.output,
            StepKind::Cast(s) => &s.output,
            StepKind::Dims(s) => &s.output,
            StepKind::Iota(s) => &s.output,
            StepKind::Scatter(s) => &s.output,
            StepKind::Cumulative(s) => &s.output,
            StepKind::TopK(s) => return &s.outputs,
            StepKind::Custom(s) => return &s.outputs,
        };
        std::slice::from_ref(output)
    }

    /// What it reads, constants included, in no particular order; an operand used twice is there twice. Allocates nothing.
    pub fn operands(&self) -> impl Iterator<Item = Operand> + '_ {
        let (mut terms, mut list, mut epilogue): (&[Term], &[Operand], Option<&Epilogue>) = (&[], &[], None);
        let (mut pair, mut third) = ([None, None], None);
        let buffer = |id: BufferId| [Some(Operand::Buffer(id)), None];
        match &self.kind {
            StepKind::Accumulate(s) => (terms, epilogue) = (&s.terms, Some(&s.epilogue)),
            StepKind::Quantize(s) => pair = buffer(s.input),
            StepKind::Conv(s) => {
                (pair, epilogue) = ([Some(Operand::Buffer(s.input)), Some(s.weight)], Some(&s.epilogue));
            }
            StepKind::MatMul(s) => (pair, epilogue) = ([Some(s.left), Some(s.right)], Some(&s.epilogue)),
            StepKind::Map(s) => list = &s.inputs,
            StepKind::Pool(s) => {
                (pair, epilogue) =
                    ([Some(Operand::Buffer(s.input)), s.scale.map(Operand::Constant)], Some(&s.epilogue));
            }
            StepKind::Reduce(s) => pair = buffer(s.input),
            StepKind::Softmax(s) => pair = buffer(s.input),
            StepKind::Move(s) => list = &s.inputs,
            StepKind::Cast(s) => pair = [Some(s.input), None],
            StepKind::Dims(_) | StepKind::Iota(_) => {}
            StepKind::Scatter(s) => (pair, third) = ([Some(s.data), Some(s.indices)], Some(s.updates)),
            StepKind::Cumulative(s) => pair = [Some(s.input), None],
            StepKind::TopK(s) => pair = [Some(s.input), None],
            StepKind::Custom(s) => list = &s.inputs,
        }
        let of_terms = terms.iter().flat_map(Term::operands);
        let rest = list.iter().copied().chain(pair.into_iter().flatten()).chain(third);
        of_terms.chain(rest).chain(epilogue.into_iter().flat_map(Epilogue::operands))
    }

    /// The word for its kind, as reports use it.
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            StepKind::Accumulate(_) => "accumulate",
            StepKind::Quantize(_) => "quantize",
            StepKind::Conv(_) => "conv",
            StepKind::MatMul(_) => "matmul",
            StepKind::Map(_) => "map",
            StepKind::Pool(_) => "pool",
            StepKind::Reduce(_) => "reduce",
            StepKind::Softmax(_) => "softmax",
            StepKind::Move(m) => match m.kind {
                MoveKind::Reshape => "reshape",
                MoveKind::Transpose { .. } => "transpose",
                MoveKind::Concat { .. } => "concat",
                MoveKind::Slice { .. } => "slice",
                MoveKind::Pad { .. } => "pad",
                MoveKind::Broadcast => "broadcast",
                MoveKind::Gather { .. } => "gather",
            },
            StepKind::Cast(_) => "cast",
            StepKind::Dims(_) => "dims",
            StepKind::Iota(_) => "iota",
            StepKind::Scatter(_) => "scatter",
            StepKind::Cumulative(_) => "cumulative",
            StepKind::TopK(_) => "top_k",
            StepKind::Custom(_) => "custom",
        }
    }
}

impl Term {
    fn operands(&self) -> impl Iterator<Item = Operand> + '_ {
        let planes = self.planes.iter();
        let planes = planes.flat_map(|plane| [Operand::Buffer(plane.input), Operand::Constant(plane.weight)]);
        let scales = [self.scale.map(Operand::Constant), self.input_scale.map(Operand::Buffer)];
        planes.chain(scales.into_iter().flatten())
    }
}

impl Epilogue {
    fn operands(&self) -> impl Iterator<Item = Operand> + use<> {
        [self.bias.map(Operand::Constant), self.residual.map(Operand::Buffer)].into_iter().flatten()
    }
}
