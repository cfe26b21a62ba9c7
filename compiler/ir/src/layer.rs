//! Layers: the `conv` and `matmul` nodes that multiply an activation by a constant weight, and the constants per channel that
//! stand behind them.
//!
//! The one place that knows where output channels lie: on axis 0 of a convolution's weight `[M,C/groups,k...]` and on the last of
//! a matrix `[K,M]`, or `[G,K/G,M]` of a ternary one in [`parts`](crate::parts); in the result, on axis 1 and on the last ([`channel_axis`]).
//! Depthwise convolutions are convolutions. A `matmul` of two activations is no layer, and neither is a product with an empty weight: its sizes need not fit memory.

use crate::graph::{Graph, NodeId, ValueId};
use crate::infer::TypeError;
use crate::op::{Binary, Op};
use crate::rewrite::Rewriter;
use crate::tensor::{Data, Tensor};
use crate::types::TensorType;

/// The axis of the result along which the output channels of a `conv` or `matmul` lie, whether or not its weight is constant;
/// `rank` is the result's. `None` for any other operator and for a rank that it cannot have.
pub fn channel_axis(op: &Op, rank: usize) -> Option<usize> {
    match op {
        Op::Conv(_) => (rank > 1).then_some(1),
        Op::MatMul => rank.checked_sub(1),
        _ => None,
    }
}

/// How many elements of its input the output that sums the most of them does, for a `conv` or `matmul` with this ternary weight:
/// the most weights of one output channel that are not zero. 0 for any other operator or weight.
pub fn most_summands(op: &Op, weight: &Tensor) -> usize {
    let (Some(trits), Ok(channels)) = (weight.as_ternary(), Channels::of(op, weight)) else { return 0 };
    let mut summands = vec![0; channels.count];
    for (i, _) in trits.iter().enumerate().filter(|(_, t)| **t != 0) {
        summands[channels.of_element(i)] += 1;
    }
    summands.into_iter().max().unwrap_or(0)
}

/// A product with a constant weight that is not empty.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The `conv` or `matmul`.
    pub node: NodeId,
    /// Its name, as [`Graph::node_name`] has it.
    pub name: String,
    /// The constant.
    pub weight: ValueId,
    /// The constant's name; may be empty.
    pub weight_name: String,
    /// What it computes.
    pub result: ValueId,
    /// The axis of the result along which the output channels lie.
    pub channel_axis: usize,
    /// The number of output channels.
    pub channels: usize,
    /// The number of weights of one output channel.
    pub fan_in: usize,
    /// The weight's.
    shape: Vec<usize>,
    in_weight: Channels,
}

/// How a weight that is not empty divides into output channels.
#[derive(Clone, Copy, Debug)]
struct Channels {
    count: usize,
    fan_in: usize,
    /// Whether the weights of one channel lie together, or those of one input.
    major: bool,
}

impl Layer {
    /// The layer at a node: `None` if it is neither `conv` nor `matmul`, the reason if it has no weight that could be ternary.
    pub fn at(graph: &Graph, id: NodeId) -> Option<Result<Layer, &'static str>> {
        let node = graph.node(id);
        let (&[input, weight], &[result]) = (node.operands.as_slice(), node.results.as_slice()) else {
            return None;
        };
        let channel_axis = channel_axis(&node.op, graph.ty(result).rank())?;
        let Some(tensor) = graph.constant(weight) else {
            return Some(Err(match node.op {
                Op::Conv(_) => "its weight is not constant",
                _ if graph.constant(input).is_some() => "its constant is the left operand",
                _ => "it multiplies two activations",
            }));
        };
        let in_weight = match Channels::of(&node.op, tensor) {
            Ok(channels) => channels,
            Err(reason) => return Some(Err(reason)),
        };
        Some(Ok(Layer {
            node: id,
            name: graph.node_name(id),
            weight,
            weight_name: graph.definer(weight).map_or(String::new(), |(_, node)| node.name.clone()),
            result,
            channel_axis,
            channels: in_weight.count,
            fan_in: in_weight.fan_in,
            shape: tensor.shape().to_vec(),
            in_weight,
        }))
    }

    /// Whether it is a convolution in groups of one input channel each.
    pub fn is_depthwise(&self, graph: &Graph) -> bool {
        matches!(&graph.node(self.node).op, Op::Conv(conv) if conv.groups > 1)
            && self.shape.get(1) == Some(&1)
    }

    /// The weight, if it is float.
    pub fn float<'g>(&self, graph: &'g Graph) -> Option<&'g [f32]> {
        graph.constant(self.weight).and_then(Tensor::as_f32)
    }

    /// The weight, if it is ternary.
    pub fn ternary<'g>(&self, graph: &'g Graph) -> Option<&'g [i8]> {
        graph.constant(self.weight).and_then(Tensor::as_ternary)
    }

    /// The output channel of a weight's element.
    pub fn channel_of(&self, element: usize) -> usize {
        self.in_weight.of_element(element)
    }

    /// The elements of a weight, by output channel.
    pub fn rows<T: Copy>(&self, weight: &[T]) -> Vec<Vec<T>> {
        let mut rows = vec![Vec::with_capacity(self.fan_in); self.channels];
        weight.iter().enumerate().for_each(|(i, &w)| rows[self.channel_of(i)].push(w));
        rows
    }

    /// The elements of the weight whose elements by output channel are these.
    pub fn of_rows<T: Copy>(&self, rows: &[Vec<T>]) -> Vec<T> {
        let mut rows: Vec<_> = rows.iter().map(|row| row.iter()).collect();
        let elements = self.channels * self.fan_in;
        (0..elements).filter_map(|i| rows[self.channel_of(i)].next().copied()).collect()
    }

    /// The weight whose elements by output channel are these.
    pub fn ternary_of_rows(&self, rows: &[Vec<i8>]) -> Tensor {
        self.ternary_tensor(self.of_rows(rows))
    }

    /// A ternary weight of this layer's shape. Panics if there is not one of -1, 0 or +1 for each element.
    pub fn ternary_tensor(&self, trits: Vec<i8>) -> Tensor {
        Tensor::new(self.shape.clone(), Data::Ternary(trits.into()))
            .expect("every element of the weight has one trit of -1, 0 or +1")
    }

    /// A float weight of this layer's shape. Panics if there is not one number for each element.
    pub fn float_tensor(&self, weight: Vec<f32>) -> Tensor {
        Tensor::from_f32(self.shape.clone(), weight).expect("every element of the weight has one value")
    }

    /// Inserts this layer's product with another weight, which is dead until something uses it.
    pub fn insert(&self, rewriter: &mut Rewriter<'_>, weight: ValueId) -> Result<ValueId, TypeError> {
        let node = rewriter.graph().node(self.node).clone();
        // The operand is read here, not when the layer was found: an earlier layer may have been replaced since.
        rewriter.insert(node.op, &[node.operands[0], weight], &node.name)
    }

    /// Inserts this layer's product with another weight, times one scale or one for each output channel.
    pub fn insert_scaled(
        &self,
        rewriter: &mut Rewriter<'_>,
        weight: ValueId,
        scales: Vec<f32>,
    ) -> Result<ValueId, TypeError> {
        let product = self.insert(rewriter, weight)?;
        let rank = rewriter.graph().ty(product).rank();
        let axis = (scales.len() != 1).then_some(self.channel_axis);
        let name =
            if self.weight_name.is_empty() { String::new() } else { format!("{}.scale", self.weight_name) };
        let scale = rewriter.constant(PerChannel::tensor(axis, scales, rank), &name);
        let layer = rewriter.graph().node(self.node).name.clone();
        rewriter.insert(Op::Binary(Binary::Mul), &[product, scale], &layer)
    }
}

impl Channels {
    /// Those of a weight of `op`; the reason, if it has none.
    fn of(op: &Op, weight: &Tensor) -> Result<Channels, &'static str> {
        let (count, major) = match (op, weight.shape()) {
            (Op::Conv(_), &[count, ..]) => (count, true),
            (Op::MatMul, &[_, count]) => (count, false),
            // In parts.
            (Op::MatMul, &[_, _, count]) if weight.as_ternary().is_some() => (count, false),
            _ => return Err("its weight is not a matrix"),
        };
        // From here on no size is 0, so that no product of some of them is more than all elements, which are there.
        let fan_in =
            weight.len().checked_div(count).filter(|&fan_in| fan_in > 0).ok_or("its weight is empty")?;
        Ok(Channels { count, fan_in, major })
    }

    /// The channel of an element of the weight.
    fn of_element(self, element: usize) -> usize {
        if self.major { element / self.fan_in } else { element % self.count }
    }
}

/// A scale or a bias: one number, or one for each index along one axis of the tensor that it is broadcast over.
#[derive(Clone, Debug, PartialEq)]
pub struct PerChannel {
    /// The axis of the broadcast tensor; `None` for one number.
    pub axis: Option<usize>,
    /// The numbers; exactly one where there is no axis.
    pub values: Vec<f32>,
}

impl PerChannel {
    /// Reads a constant operand that is broadcast over a tensor of type `over` and leaves its shape alone: `f32[]`, `f32[1,1]`,
    /// `f32[M,1,1]`, `f32[1,M,1,1]`, ...
    pub fn of(graph: &Graph, value: ValueId, over: &TensorType) -> Option<PerChannel> {
        let tensor = graph.constant(value)?;
        let values = tensor.as_f32()?;
        let first = over.rank().checked_sub(tensor.shape().len())?;
        let mut wide = tensor.shape().iter().enumerate().filter(|&(_, &n)| n != 1);
        match (wide.next(), wide.next()) {
            (None, _) => Some(PerChannel { axis: None, values: values.to_vec() }),
            (Some((i, &n)), None) if over.shape[first + i].as_size() == Some(n) => {
                Some(PerChannel { axis: Some(first + i), values: values.to_vec() })
            }
            _ => None,
        }
    }

    /// The constant that broadcasts over a tensor of `rank` axes: rank 0 for one number, else `[M]` and a 1 for each axis behind.
    /// Panics if there is no axis and not exactly one number.
    pub fn tensor(axis: Option<usize>, values: Vec<f32>, rank: usize) -> Tensor {
        let shape = match axis {
            None => vec![],
            Some(axis) => (axis..rank).map(|i| if i == axis { values.len() } else { 1 }).collect(),
        };
        Tensor::from_f32(shape, values).expect("one number, or one for each channel")
    }
}
