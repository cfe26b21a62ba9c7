//! The operators of a graph: a small closed set that mirrors mathematics, and `custom` for what extensions bring.
//!
//! Semantics are those of the reference evaluator (`eval`), which computes sums in f64 and rounds once. Elements
//! are f32 unless a line says otherwise; `conv` and `matmul` also take a ternary weight. `docs/ir.md` holds the same in prose.
//!
//! Where a line says nothing of NaN, infinities and signed zeros, a result is what IEEE 754 and the formula say.

use crate::custom::CustomCall;
use crate::dim::Dim;
use crate::tensor::Tensor;
use crate::types::ElementType;
use std::ops::RangeInclusive;

/// What a node computes.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A constant tensor, of any element type. No operands.
    Constant(Tensor),
    /// The values of dimensions, as an i64 vector. No operands.
    Dims(Vec<Dim>),
    /// `conv(x, w)`: `[N,C,s...]`, `[M,C/groups,k...]` to `[N,M,t...]`, one to three spatial axes. Cross-correlation, no bias.
    /// Sums start from +0; padding and ternary weights of 0 take no part, float weights of 0 do (`0·NaN` is NaN).
    /// Of i16 and a ternary weight, the exact sum as i32, which wraps.
    Conv(Conv),
    /// `matmul(a, b)`: `[...,R,K]`, `[...,K,M]` to `[...,R,M]`; leading axes broadcast. Both have rank 2 or more. A ternary
    /// `b` has rank 2. Sums are as in `conv`, also those of i16; of nothing, 0.
    MatMul,
    /// An element-wise function of one tensor.
    Unary(Unary),
    /// An element-wise function of two tensors, broadcast as in NumPy. Also of i64 and i32, where both agree.
    Binary(Binary),
    /// `batch_norm(x, scale, bias, mean, variance)`: `scale·(x - mean)/√(variance + epsilon) + bias`, parameters `[C]` along axis 1.
    /// In f64, rounded once. NaN where `variance + epsilon` is negative; where it is 0, as a division by 0.
    BatchNorm {
        /// Added to the variance.
        epsilon: f32,
    },
    /// The largest element of each window; starting from -Inf, an element replaces it if it is larger. So NaN is passed over, of
    /// 0 and -0 the first stays, and a window of padding alone is -Inf.
    MaxPool(Pool),
    /// The mean of each window, in f64, rounded once; NaN where there is nothing to count. Of NaN, NaN.
    AveragePool {
        /// The windows.
        pool: Pool,
        /// Whether padding counts as elements that are zero (what `ceil` reaches beyond it never does).
        count_padding: bool,
    },
    /// A reduction along axes.
    Reduce {
        /// What is computed.
        kind: ReduceKind,
        /// Ascending, distinct, at least one.
        axes: Vec<usize>,
        /// Whether the reduced axes stay, with size 1.
        keep_dims: bool,
    },
    /// `exp(x - max)/Σ exp(x - max)` over `axes` together, in f64, rounded once. -Inf gives 0 beside a number; NaN or Inf makes all
    /// NaN, and so does -Inf alone. An empty axis gives an empty result.
    Softmax {
        /// Ascending, distinct, at least one.
        axes: Vec<usize>,
    },
    /// The same elements, in row-major order, in another shape. Any element type.
    Reshape {
        /// The new shape.
        shape: Vec<Dim>,
    },
    /// Axis `i` of the result is axis `perm[i]` of the operand. Any element type.
    Transpose {
        /// A permutation of the axes.
        perm: Vec<usize>,
    },
    /// Operands (one or more) one after the other along an axis. Any element type.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// `size` elements along an axis, from `start`, `step` apart. Any element type.
    Slice(Slice),
    /// Elements around the operand. Any element type.
    Pad(Pad),
    /// The operand repeated along axes of size 1 and along new leading axes. Any element type.
    Broadcast {
        /// The new shape.
        shape: Vec<Dim>,
    },
    /// `gather(data, indices)`: `data` taken along `axis` at `indices` (i64 or i32, negative ones count from the end). The shape
    /// of `indices` stands in the place of the axis. `data` has any element type. An index outside the axis is an error.
    Gather {
        /// The axis.
        axis: usize,
    },
    /// The whole numbers from 0 up, as many as `size`, as an i64 vector. No operands.
    Iota {
        /// How many.
        size: Dim,
    },
    /// `scatter(data, indices, updates)`: `data` with the rows along axis 0 that `indices` (an i64 or i32 vector; negative ones count from
    /// the end) names combined, in order, with the rows of `updates`. Any element type without a combination, f32, i64 and i32 with one.
    /// An index outside the axis is an error.
    Scatter {
        /// How a row of `updates` and what is there combine; without, it replaces it.
        combine: Option<Combine>,
    },
    /// The sums or products of the elements of each line along `axis` up to each element, itself included. Of f32 in f64, rounded for each
    /// element; of i64 and i32, wrapping.
    Cumulative {
        /// [`Combine::Add`] or [`Combine::Mul`].
        combine: Combine,
        /// The axis.
        axis: usize,
    },
    /// Two results: the `k` largest (or smallest) elements of each line along `axis`, in that order, and their indices as i64. Of f32, i64 and i32;
    /// of equal elements the one with the lower index comes first; NaN counts as larger than Inf, and -0 as equal to 0.
    TopK {
        /// The axis.
        axis: usize,
        /// How many; at most the size of the axis.
        k: Dim,
        /// Whether the largest are taken.
        largest: bool,
    },
    /// Float to integer truncates towards zero and saturates, NaN gives 0; integer to narrower integer wraps; to bool is
    /// `!= 0` (of NaN, true), from bool 0 or 1; integer to f32 rounds to nearest, ties to even.
    Cast {
        /// The element type of the result; not ternary.
        to: ElementType,
    },
    /// `quantize(x)`: whole numbers q, i16 of the shape of `x`, and their scales s, f32 `[N,1...]` of its rank, so that `q·s` is
    /// about `x`. Axis 0 is the sample; each has its own scale.
    Quantize(Quantize),
    /// What an extension brings.
    Custom(CustomCall),
}

/// How a window moves over the spatial axes. Every list has one entry per spatial axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Distance between two windows, in elements; at least 1.
    pub strides: Vec<usize>,
    /// Distance between two taps, in elements; at least 1.
    pub dilations: Vec<usize>,
    /// Padding before the first element.
    pub pads_begin: Vec<usize>,
    /// Padding after the last element.
    pub pads_end: Vec<usize>,
}

/// The attributes of a convolution; its kernel's extents are the weight's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Conv {
    /// How the kernel moves.
    pub geometry: Geometry,
    /// Divides input and output channels; at least 1.
    pub groups: usize,
}

/// The attributes of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Extents of the window; at least 1 each.
    pub kernel: Vec<usize>,
    /// How the window moves.
    pub geometry: Geometry,
    /// Whether a last window may reach past the end, if it starts before it (ONNX `ceil_mode`).
    pub ceil: bool,
}

/// The attributes of a quantisation to fixed point. Every operation is in f32, rounded to nearest.
///
/// `q = clamp(round(x·r))`, ties to even, where r is the [reciprocal](Quantize::reciprocal) of the sample's scale s. NaN gives 0,
/// infinities give the ends of the [range](Quantize::range), also where s is 0 and with it all else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantize {
    /// 2 to 12.
    pub bits: usize,
    /// Whether negative numbers have a q; without, they give 0.
    pub signed: bool,
    /// The scale of every sample, positive and finite. Without it, a sample's scale is the largest of its finite magnitudes
    /// (unsigned: of its finite numbers) and of +0, divided by the largest q.
    pub scale: Option<f32>,
}

/// The attributes of a slice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slice {
    /// The axis.
    pub axis: usize,
    /// Index of the first element.
    pub start: Dim,
    /// How many.
    pub size: Dim,
    /// Not 0; negative walks backwards.
    pub step: i64,
}

/// The attributes of a pad; one entry per axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    /// Before the first element.
    pub begin: Vec<usize>,
    /// After the last element.
    pub end: Vec<usize>,
    /// What they are.
    pub mode: PadMode,
}

/// What a pad puts around its operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PadMode {
    /// This number, converted to the element type as by `cast`.
    Constant(f32),
    /// A mirror image that does not repeat the edge; narrower than the axis.
    Reflect,
    /// The nearest element.
    Edge,
}

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReduceKind {
    /// The sum; of nothing, 0.
    Sum,
    /// The sum, divided by the number of elements; of nothing, NaN.
    Mean,
    /// The largest, as [`Binary::Max`]; of nothing, -Inf.
    Max,
    /// The smallest, as [`Binary::Min`]; of nothing, Inf.
    Min,
}

/// How two elements become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Combine {
    /// Their sum; integers wrap.
    Add,
    /// Their product; integers wrap.
    Mul,
    /// The smaller, as [`Binary::Min`].
    Min,
    /// The larger, as [`Binary::Max`].
    Max,
}

/// A function of one number. Those from `Sigmoid` to `Atan` compute in f64 and round once; the others compute in f32, where every operation
/// is rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `0` if `x < 0`, else `x`: NaN and -0 stay. Also of integers.
    Relu,
    /// `slope·x` if `x < 0`, else `x`: NaN and -0 stay.
    LeakyRelu {
        /// Factor for negative numbers.
        slope: f32,
    },
    /// `min` where `x < min`, then `max` where `x > max`; NaN stays, and -0 where a bound is 0. If `min > max`, numbers become `max`.
    Clip {
        /// Lower bound; may be -Inf. NaN bounds nothing.
        min: f32,
        /// Upper bound; may be Inf. NaN bounds nothing.
        max: f32,
    },
    /// `alpha·x + beta`, clipped to 0..1; NaN stays.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// `x·hard_sigmoid(x)` with alpha 1/6 and beta 0.5: -0 from -3 downwards, NaN at -Inf.
    HardSwish,
    /// `-x`; also of integers, wrapping.
    Neg,
    /// `|x|`; also of integers, wrapping.
    Abs,
    /// The square root; NaN for negative numbers, -0 for -0.
    Sqrt,
    /// `1/x`: of 0 and -0, Inf and -Inf.
    Reciprocal,
    /// `1/(1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// The exponential.
    Exp,
    /// The natural logarithm; -Inf for 0 and -0, NaN for negative numbers.
    Log,
    /// The error function.
    Erf,
    /// The sine of an angle in radians; NaN for infinities.
    Sin,
    /// The cosine of an angle in radians; NaN for infinities.
    Cos,
    /// The angle whose tangent it is, in radians.
    Atan,
    /// The largest whole number that is not larger; -0 stays.
    Floor,
    /// The nearest whole number, ties to even; keeps the sign.
    Round,
}

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `a + b`; integers wrap.
    Add,
    /// `a - b`; integers wrap.
    Sub,
    /// `a·b`; integers wrap.
    Mul,
    /// `a/b`; integers truncate towards zero, and a division by zero is an error.
    Div,
    /// The smaller; NaN if either is; -0 < +0.
    Min,
    /// The larger; NaN if either is; -0 < +0.
    Max,
    /// `a` raised to `b`; f32 only, in f64 and rounded once. 1 if `b` is 0 or `a` is 1, even beside NaN; NaN for a negative `a` unless
    /// `b` is whole.
    Pow,
    /// `b·a` if `a < 0`, else `a`: NaN and -0 stay; f32 only.
    PRelu,
    /// 1 if `a < b`, else 0; so 0 if either is NaN.
    Less,
    /// 1 if `a` and `b` are equal, else 0; so 0 if either is NaN, and 1 for 0 and -0.
    Equal,
    /// `a` where `b` is not 0 (NaN is not), else 0.
    Keep,
}

impl Unary {
    /// The word that the text form has for it.
    pub fn mnemonic(self) -> &'static str {
        match self {
            Unary::Relu => "relu",
            Unary::LeakyRelu { .. } => "leaky_relu",
            Unary::Clip { .. } => "clip",
            Unary::HardSigmoid { .. } => "hard_sigmoid",
            Unary::HardSwish => "hard_swish",
            Unary::Neg => "neg",
            Unary::Abs => "abs",
            Unary::Sqrt => "sqrt",
            Unary::Reciprocal => "reciprocal",
            Unary::Sigmoid => "sigmoid",
            Unary::Tanh => "tanh",
            Unary::Exp => "exp",
            Unary::Log => "log",
            Unary::Erf => "erf",
            Unary::Sin => "sin",
            Unary::Cos => "cos",
            Unary::Atan => "atan",
            Unary::Floor => "floor",
            Unary::Round => "round",
        }
    }

    /// Whether a layer computes it as its activation. The others, for which there is no generated code, would keep the layer from having any.
    pub fn is_activation(self) -> bool {
        !matches!(self, Unary::Sin | Unary::Cos | Unary::Atan)
    }
}

impl Binary {
    /// Every function.
    pub const ALL: [Binary; 11] = [
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

    /// The word that the text form has for it.
    pub fn mnemonic(self) -> &'static str {
        match self {
            Binary::Add => "add",
            Binary::Sub => "sub",
            Binary::Mul => "mul",
            Binary::Div => "div",
            Binary::Min => "min",
            Binary::Max => "max",
            Binary::Pow => "pow",
            Binary::PRelu => "prelu",
            Binary::Less => "less",
            Binary::Equal => "equal",
            Binary::Keep => "keep",
        }
    }
}

impl Combine {
    /// Every combination, with the word that the text form has for it.
    pub const ALL: [(Combine, &'static str); 4] =
        [(Combine::Add, "add"), (Combine::Mul, "mul"), (Combine::Min, "min"), (Combine::Max, "max")];

    /// The function of two numbers that it is.
    pub fn binary(self) -> Binary {
        match self {
            Combine::Add => Binary::Add,
            Combine::Mul => Binary::Mul,
            Combine::Min => Binary::Min,
            Combine::Max => Binary::Max,
        }
    }

    /// The word that the text form has for it.
    pub fn word(self) -> &'static str {
        Combine::ALL.iter().find(|(c, _)| *c == self).map_or("add", |(_, word)| word)
    }
}

impl ReduceKind {
    /// Every kind, with the word that the text form has for it.
    pub const ALL: [(ReduceKind, &'static str); 4] = [
        (ReduceKind::Sum, "reduce_sum"),
        (ReduceKind::Mean, "reduce_mean"),
        (ReduceKind::Max, "reduce_max"),
        (ReduceKind::Min, "reduce_min"),
    ];
}

impl Op {
    /// The word that the text form has for it.
    pub fn mnemonic(&self) -> &'static str {
        match self {
            Op::Constant(_) => "const",
            Op::Dims(_) => "dims",
            Op::Conv(_) => "conv",
            Op::MatMul => "matmul",
            Op::Unary(f) => f.mnemonic(),
            Op::Binary(f) => f.mnemonic(),
            Op::BatchNorm { .. } => "batch_norm",
            Op::MaxPool(_) => "max_pool",
            Op::AveragePool { .. } => "average_pool",
            Op::Reduce { kind, .. } => {
                ReduceKind::ALL.iter().find(|(k, _)| k == kind).map_or("reduce", |(_, word)| word)
            }
            Op::Softmax { .. } => "softmax",
            Op::Reshape { .. } => "reshape",
            Op::Transpose { .. } => "transpose",
            Op::Concat { .. } => "concat",
            Op::Slice(_) => "slice",
            Op::Pad(_) => "pad",
            Op::Broadcast { .. } => "broadcast",
            Op::Gather { .. } => "gather",
            Op::Iota { .. } => "iota",
            Op::Scatter { .. } => "scatter",
            Op::Cumulative { .. } => "cumulative",
            Op::TopK { .. } => "top_k",
            Op::Cast { .. } => "cast",
            Op::Quantize(_) => "quantize",
            Op::Custom(_) => "custom",
        }
    }

    /// The operator with each dimension in its attributes replaced by what `map` gives for it.
    pub fn try_map_dims<E>(&self, map: &mut dyn FnMut(&Dim) -> Result<Dim, E>) -> Result<Op, E> {
        let mut each = |dims: &[Dim]| dims.iter().map(&mut *map).collect::<Result<Vec<_>, E>>();
        Ok(match self {
            Op::Dims(dims) => Op::Dims(each(dims)?),
            Op::Reshape { shape } => Op::Reshape { shape: each(shape)? },
            Op::Broadcast { shape } => Op::Broadcast { shape: each(shape)? },
            Op::Iota { size } => Op::Iota { size: map(size)? },
            Op::TopK { axis, k, largest } => Op::TopK { axis: *axis, k: map(k)?, largest: *largest },
            Op::Slice(s) => {
                Op::Slice(Slice { start: map(&s.start)?, size: map(&s.size)?, axis: s.axis, step: s.step })
            }
            other => other.clone(),
        })
    }

    /// The tensor, if it is a constant.
    pub fn as_constant(&self) -> Option<&Tensor> {
        match self {
            Op::Constant(tensor) => Some(tensor),
            _ => None,
        }
    }
}

impl Quantize {
    /// The numbers of bits that there are.
    pub const BITS: RangeInclusive<usize> = 2..=12;

    /// The smallest q and the largest: `-(2^(bits-1) - 1)` and its opposite, or 0 and `2^bits - 1`.
    pub fn range(&self) -> (i16, i16) {
        let bits = self.bits.clamp(*Self::BITS.start(), *Self::BITS.end()) - usize::from(self.signed);
        let largest = (1 << bits) - 1;
        (if self.signed { -largest } else { 0 }, largest)
    }

    /// What `x` is multiplied by: `1/scale`; 0 for a scale of 0, and the largest finite number where `1/scale` is beyond it (for a
    /// scale of 2^-128 or less).
    pub fn reciprocal(scale: f32) -> f32 {
        if scale == 0.0 { 0.0 } else { (1.0 / scale).min(f32::MAX) }
    }
}

impl Geometry {
    /// Stride 1, dilation 1, no padding, over `rank` spatial axes.
    pub fn unit(rank: usize) -> Geometry {
        Geometry {
            strides: vec![1; rank],
            dilations: vec![1; rank],
            pads_begin: vec![0; rank],
            pads_end: vec![0; rank],
        }
    }

    /// The number of spatial axes.
    pub fn rank(&self) -> usize {
        self.strides.len()
    }
}
