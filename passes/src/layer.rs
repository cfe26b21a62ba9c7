//! Layers: the `conv` and `matmul` nodes that multiply an activation by a constant weight.
//!
//! The one place that knows where output channels lie: on axis 0 of a convolution's weight `[M,C/groups,k...]` and on axis 1
//! of a matrix `[K,M]`; in the result, on axis 1 and on the last. Depthwise convolutions are convolutions. A `matmul` of
//! two activations is no layer.

use crate::per_channel::PerChannel;
use crate::walk;
use twnc_ir::{Binary, Data, Graph, NodeId, Op, Rewriter, Tensor, TypeError, ValueId};

/// A product with a constant weight.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// The `conv` or `matmul`.
    pub(crate) node: NodeId,
    /// Its name.
    pub(crate) name: String,
    /// The constant.
    pub(crate) weight: ValueId,
    /// The constant's name.
    pub(crate) weight_name: String,
    /// What it computes.
    pub(crate) result: ValueId,
    /// The axis of the result along which the output channels lie.
    pub(crate) channel_axis: usize,
    /// The number of output channels.
    pub(crate) channels: usize,
    shape: Vec<usize>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Conv,
    MatMul,
}

impl Layer {
    /// The layer at a node: `None` if it is neither `conv` nor `matmul`, the reason if it has no weight that could be ternary.
    pub(crate) fn at(graph: &Graph, id: NodeId) -> Option<Result<Layer, &'static str>> {
        let node = graph.node(id);
        let kind = match &node.op {
            Op::Conv(_) => Kind::Conv,
            Op::MatMul => Kind::MatMul,
            _ => return None,
        };
        let (&[input, weight], &[result]) = (node.operands.as_slice(), node.results.as_slice()) else {
            return None;
        };
        let (axis, channels, shape) = match (kind, graph.constant(weight).map(Tensor::shape)) {
            (Kind::Conv, Some(shape @ [m, ..])) => (1, *m, shape),
            (Kind::MatMul, Some(shape @ [_, m])) => (graph.ty(result).rank() - 1, *m, shape),
            (_, Some(_)) => return Some(Err("its weight is not a matrix")),
            (Kind::MatMul, None) if graph.constant(input).is_some() => {
                return Some(Err("its constant is the left operand"));
            }
            (Kind::MatMul, None) => return Some(Err("it multiplies two activations")),
            (Kind::Conv, None) => return Some(Err("its weight is not constant")),
        };
        Some(Ok(Layer {
            node: id,
            name: walk::name(graph, id),
            weight,
            weight_name: graph.definer(weight).map_or(String::new(), |(_, node)| node.name.clone()),
            result,
            channel_axis: axis,
            channels,
            shape: shape.to_vec(),
            kind,
        }))
    }

    /// The weight, if it is float.
    pub(crate) fn float<'g>(&self, graph: &'g Graph) -> Option<&'g [f32]> {
        graph.constant(self.weight).and_then(Tensor::as_f32)
    }

    /// The weight, if it is ternary.
    pub(crate) fn ternary<'g>(&self, graph: &'g Graph) -> Option<&'g [i8]> {
        graph.constant(self.weight).and_then(Tensor::as_ternary)
    }

    /// The output channel of a weight's element.
    pub(crate) fn channel_of(&self, element: usize) -> usize {
        match self.kind {
            Kind::Conv => element / self.fan_in().max(1),
            Kind::MatMul => element % self.channels.max(1),
        }
    }

    /// The elements of a weight, by output channel.
    pub(crate) fn rows(&self, weight: &[f32]) -> Vec<Vec<f32>> {
        let mut rows = vec![Vec::with_capacity(self.fan_in()); self.channels];
        weight.iter().enumerate().for_each(|(i, &w)| rows[self.channel_of(i)].push(w));
        rows
    }

    /// The weight whose elements by output channel are these.
    pub(crate) fn ternary_of_rows(&self, rows: &[Vec<i8>]) -> Tensor {
        let mut rows: Vec<_> = rows.iter().map(|row| row.iter()).collect();
        let elements = self.channels * self.fan_in();
        self.ternary_tensor((0..elements).filter_map(|i| rows[self.channel_of(i)].next().copied()).collect())
    }

    /// A ternary weight of this layer's shape.
    pub(crate) fn ternary_tensor(&self, trits: Vec<i8>) -> Tensor {
        Tensor::new(self.shape.clone(), Data::Ternary(trits.into()))
            .expect("every element of the weight has one trit of -1, 0 or +1")
    }

    /// A float weight of this layer's shape.
    pub(crate) fn float_tensor(&self, weight: Vec<f32>) -> Tensor {
        Tensor::from_f32(self.shape.clone(), weight).expect("every element of the weight has one value")
    }

    /// Inserts this layer's product with another weight, which is dead until something uses it.
    pub(crate) fn insert(&self, rewriter: &mut Rewriter<'_>, weight: ValueId) -> Result<ValueId, TypeError> {
        let node = rewriter.graph().node(self.node).clone();
        // The operand is read here, not when the layer was found: an earlier layer may have been replaced since.
        rewriter.insert(node.op, &[node.operands[0], weight], &node.name)
    }

    /// Inserts this layer's product with another weight, times one scale or one for each output channel.
    pub(crate) fn insert_scaled(
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

    /// The number of weights of one output channel.
    fn fan_in(&self) -> usize {
        match self.kind {
            Kind::Conv => self.shape.iter().skip(1).product(),
            Kind::MatMul => self.shape.iter().take(1).product(),
        }
    }
}
