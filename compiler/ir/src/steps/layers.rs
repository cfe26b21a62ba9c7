//! Layers: products, sums of products, pools, and what follows them, that are one step.
//!
//! What follows a `conv` or `matmul` is taken along in the order in which an epilogue computes: scale (only behind a ternary weight), bias, further
//! ternary products with scales of their own, residual, activation; what follows a pool likewise, without products and residual. Each must be the only use of what comes before it, so that nothing is computed
//! twice or lost: no other node reads a value inside of a layer, so none that a layer reads depends on one either.
//!
//! A sum of two layers is one where its order of operations is that of a step: one side is a single product without a bias. What has the bias, or several
//! products, comes first; a sum has the same bits whichever side comes first.

use super::Flow;
use crate::layer::channel_axis;
use crate::op::{Binary, Op, Unary};
use crate::parts;
use crate::types::ElementType;

/// Products that one step sums, at most: as many as there are kernels for, with an input and a scale of it for each.
pub const MOST_PLANES: usize = 8;

/// The largest magnitude of a quantised number.
const LARGEST_INTEGER: u64 = (1 << 12) - 1;

/// Products, their sum, and its epilogue; or a pool in the place of a product. `N` stands for a node and `V` for a value.
#[derive(Clone, Debug)]
pub struct Layer<N = usize, V = usize> {
    /// What is summed: of a float weight one product without a factor; one pool.
    pub terms: Vec<Term<N, V>>,
    /// A constant, one number or one for each output channel, that is added to the first term.
    pub bias: Option<V>,
    /// A value of the result's type, added behind all terms.
    pub residual: Option<V>,
    /// The activation.
    pub activation: Option<Unary>,
    /// What it computes.
    pub result: V,
    /// All nodes that it covers. All others come before the last, which computes the result.
    pub nodes: Vec<N>,
}

/// Products whose sum has one factor.
#[derive(Clone, Debug)]
pub struct Term<N = usize, V = usize> {
    /// The `conv` or `matmul` nodes, one or more, or a `max_pool` or `average_pool`. Only the first term of a layer has several.
    pub planes: Vec<N>,
    /// The parts of its one product that are added up ([`parts`]); 1 where it is whole.
    pub parts: usize,
    /// A constant: one number, or one for each output channel, and of several parts for each part.
    pub scale: Option<V>,
    /// The scales of quantised inputs, one for each sample.
    pub input_scale: Option<V>,
}

impl<N, V> Layer<N, V> {
    /// The same layer of other nodes and values.
    pub(super) fn map<M, W>(self, node: impl Fn(N) -> M, value: impl Fn(V) -> W) -> Layer<M, W> {
        let terms = self.terms.into_iter().map(|term| Term {
            planes: term.planes.into_iter().map(&node).collect(),
            parts: term.parts,
            scale: term.scale.map(&value),
            input_scale: term.input_scale.map(&value),
        });
        Layer {
            terms: terms.collect(),
            bias: self.bias.map(&value),
            residual: self.residual.map(&value),
            activation: self.activation,
            result: value(self.result),
            nodes: self.nodes.into_iter().map(&node).collect(),
        }
    }

    fn planes(&self) -> usize {
        self.terms.iter().map(|term| term.planes.len()).sum()
    }
}

impl<N, V> Term<N, V> {
    /// Whether it takes no factor any more.
    fn is_scaled(&self) -> bool {
        self.scale.is_some() || self.input_scale.is_some() || self.parts > 1
    }
}

/// The axis of the output channels of a product or pool.
pub fn channels_of(op: &Op, rank: usize) -> Option<usize> {
    match op {
        Op::MaxPool(_) | Op::AveragePool { .. } => (rank > 1).then_some(1),
        _ => channel_axis(op, rank),
    }
}

/// Finds the layers of a flow, in its order; a node belongs to the first layer that takes it. Marks the nodes that they `taken`.
pub(super) fn find(flow: &Flow<'_>, taken: &mut [bool]) -> Vec<Layer> {
    let mut layers = vec![];
    for node in 0..flow.nodes.len() {
        if !taken[node]
            && let Some(layer) = (Search { flow, taken }).follow(node, None, MOST_PLANES)
        {
            layer.nodes.iter().for_each(|&node| taken[node] = true);
            layers.push(layer);
        }
    }
    layers
}

struct Search<'a> {
    flow: &'a Flow<'a>,
    taken: &'a [bool],
}

impl Search<'_> {
    /// The layer that begins with a product or pool, of at most `most` planes; up to the value `until` it has neither residual nor activation.
    fn follow(&self, product: usize, until: Option<usize>, most: usize) -> Option<Layer> {
        let node = self.flow.nodes.get(product)?;
        let &[result] = &node.results[..] else { return None };
        let (ternary, pool) = match (node.op, &node.operands[..]) {
            (Op::Conv(_) | Op::MatMul, &[_, weight]) => {
                (self.flow.values[weight].ty.element == ElementType::Ternary, false)
            }
            (Op::MaxPool(_) | Op::AveragePool { .. }, _) => (false, true),
            _ => return None,
        };
        let term = Term { planes: vec![product], parts: 1, scale: None, input_scale: None };
        let mut layer = Layer {
            terms: vec![term],
            bias: None,
            residual: None,
            activation: None,
            result,
            nodes: vec![product],
        };
        if self.flow.values[result].ty.element != ElementType::F32 && !pool {
            self.follow_integers(&mut layer, until, most);
        }
        while layer.activation.is_none() && until != Some(layer.result) {
            let Some((user, other)) = self.next(&layer) else { break };
            let per_channel =
                other.is_some_and(|other| self.flow.is_per_channel(other, layer.result, node.op));
            let scale = per_channel
                || other
                    .is_some_and(|other| layer.terms[0].parts == 1 && self.is_scale_of_parts(other, product));
            let plain = layer.bias.is_none() && layer.residual.is_none();
            match (self.flow.nodes[user].op, other) {
                (Op::Binary(Binary::Mul), Some(factor)) if scale && (ternary || pool) && plain => {
                    if layer.terms.iter().any(Term::is_scaled) {
                        break;
                    }
                    // One factor of all products so far: they make one sum.
                    let planes = layer.terms.drain(..).flat_map(|term| term.planes).collect();
                    layer.terms.push(Term { planes, parts: 1, scale: Some(factor), input_scale: None });
                }
                (Op::Binary(Binary::Add), Some(bias)) if per_channel && plain && layer.terms.len() == 1 => {
                    layer.bias = Some(bias);
                }
                (Op::Binary(Binary::Add), Some(other))
                    if !per_channel && !pool && layer.residual.is_none() =>
                {
                    let most = if ternary { most.saturating_sub(layer.planes()) } else { 0 };
                    let addend = self.addend(other, most);
                    if !addend.is_some_and(|addend| self.add(&mut layer, addend)) {
                        if until.is_some() || !self.is_residual(other, layer.result) {
                            break;
                        }
                        layer.residual = Some(other);
                    }
                }
                (Op::Reshape { .. } | Op::Reduce { .. }, _) if ternary && plain => {
                    let Some((nodes, parts)) = self.sum_of_parts(&layer) else { break };
                    layer.terms[0].parts = parts;
                    nodes.into_iter().for_each(|node| self.take(&mut layer, node));
                    continue;
                }
                (Op::Unary(f), _) if until.is_none() && f.is_activation() => layer.activation = Some(*f),
                _ => break,
            }
            self.take(&mut layer, user);
        }
        // Parts that are not added up are no step of their own.
        let whole = layer.terms[0].parts == 1;
        if whole && node.operands.get(1).is_some_and(|&w| parts::is_matrix(node.op, self.flow.values[w].ty)) {
            return None;
        }
        Some(layer)
    }

    /// The nodes that add up the parts of a layer's one product, and how many these are.
    fn sum_of_parts(&self, layer: &Layer) -> Option<(Vec<usize>, usize)> {
        let [term] = layer.terms.as_slice() else { return None };
        let &[product] = term.planes.as_slice() else { return None };
        let (first, _) = self.next(layer)?;
        let reshape = matches!(self.flow.nodes[first].op, Op::Reshape { .. });
        let &[result] = self.flow.nodes[first].results.as_slice() else { return None };
        let last = if reshape {
            self.flow.only_user(result).filter(|&(user, _)| !self.taken[user])?.0
        } else {
            first
        };
        let ty = |value: usize| self.flow.values[value].ty;
        let product = &self.flow.nodes[product];
        let weight = ty(*product.operands.get(1)?);
        let divided = reshape.then(|| ty(result));
        let parts = parts::added(product.op, weight, ty(layer.result), divided, self.flow.nodes[last].op)?;
        let nodes = if reshape { vec![first, last] } else { vec![first] };
        (term.parts == 1).then_some((nodes, parts))
    }

    /// Whether a value is a constant with a scale for each part and output of a matrix product that keeps its parts apart.
    fn is_scale_of_parts(&self, value: usize, product: usize) -> bool {
        let (constant, node) = (&self.flow.values[value], &self.flow.nodes[product]);
        let weight = node.operands.get(1).map(|&weight| self.flow.values[weight].ty);
        constant.nonzeros.is_some()
            && weight.is_some_and(|weight| parts::is_scale(node.op, weight, constant.ty))
    }

    /// A sum of integers is converted to f32, and multiplied by the scales of its input or by their product with a scale of its
    /// own, which is one factor, rounded once. Before, sums that fit together in 32 bits are one.
    fn follow_integers(&self, layer: &mut Layer, until: Option<usize>, most: usize) {
        let flow = self.flow;
        while until != Some(layer.result) {
            let Some((user, other)) = self.next(layer) else { return };
            match (flow.nodes[user].op, other) {
                (Op::Cast { to: ElementType::F32 }, _) => {
                    self.take(layer, user);
                    break;
                }
                (Op::Binary(Binary::Add), Some(other)) => {
                    let Some(addend) = self.addend(other, most.saturating_sub(layer.planes())) else {
                        return;
                    };
                    let planes: Vec<usize> = [layer, &addend]
                        .iter()
                        .flat_map(|side| side.terms.iter().flat_map(|term| term.planes.clone()))
                        .collect();
                    if !self.are_alike(layer, &addend) || !self.fit(&planes) {
                        return;
                    }
                    layer.terms = vec![Term { planes, parts: 1, scale: None, input_scale: None }];
                    layer.nodes.extend(addend.nodes);
                    self.take(layer, user);
                }
                _ => return,
            }
        }
        let Some((user, Some(factor))) = self.next(layer).filter(|_| until != Some(layer.result)) else {
            return;
        };
        let (result, term) = (layer.result, &mut layer.terms[0]);
        if *flow.nodes[user].op != Op::Binary(Binary::Mul)
            || flow.nodes[user]
                .results
                .iter()
                .any(|&product| flow.values[product].ty != flow.values[result].ty)
        {
            return;
        }
        if let Some((definer, input_scale, scale)) = self.factor(factor, result, term.planes[0]) {
            (term.input_scale, term.scale) = (Some(input_scale), Some(scale));
            if flow.values[factor].uses == 1 {
                layer.nodes.push(definer);
            }
        } else if flow.is_per_sample(factor, result) {
            term.input_scale = Some(factor);
        } else {
            return;
        }
        self.take(layer, user);
    }

    /// The scales of an input and of a weight whose product a factor is, with the node that multiplies them.
    fn factor(&self, factor: usize, result: usize, product: usize) -> Option<(usize, usize, usize)> {
        let definer = self.flow.values[factor].definer?;
        let (Op::Binary(Binary::Mul), &[a, b]) =
            (self.flow.nodes[definer].op, self.flow.nodes[definer].operands.as_slice())
        else {
            return None;
        };
        let (input_scale, scale) = if self.flow.is_per_sample(a, result) { (a, b) } else { (b, a) };
        let op = self.flow.nodes[product].op;
        let fits = self.flow.is_per_channel(scale, result, op) || self.is_scale_of_parts(scale, product);
        let fits = fits && self.flow.is_per_sample(input_scale, result);
        fits.then_some((definer, input_scale, scale))
    }

    /// The node that alone reads what a layer computes, and what else it reads, if it is part of no layer yet.
    fn next(&self, layer: &Layer) -> Option<(usize, Option<usize>)> {
        let (user, operand) = self.flow.only_user(layer.result).filter(|&(user, _)| !self.taken[user])?;
        Some((user, self.flow.nodes[user].operands.get(1 - operand.min(1)).copied()))
    }

    fn take(&self, layer: &mut Layer, node: usize) {
        layer.result = self.flow.nodes[node].results[0];
        layer.nodes.push(node);
    }

    /// The ternary products, at most `most` of them, that a value is the sum of which nothing else reads.
    fn addend(&self, value: usize, most: usize) -> Option<Layer> {
        if most == 0 || self.flow.values[value].uses != 1 {
            return None;
        }
        let mut at = value;
        // A sum of so many products has so many nodes, at most.
        for _ in 0..4 * MOST_PLANES {
            let definer = self.flow.values[at].definer.filter(|&node| !self.taken[node])?;
            let node = &self.flow.nodes[definer];
            let shaped = |&&v: &&usize| {
                let (operand, result) = (&self.flow.values[v], &self.flow.values[at]);
                operand.nonzeros.is_none() && operand.ty.shape == result.ty.shape
            };
            at = match node.op {
                Op::Conv(_) | Op::MatMul => {
                    let ternary = self.flow.values[*node.operands.get(1)?].ty.element == ElementType::Ternary;
                    let layer = self.follow(definer, Some(value), most).filter(|_| ternary)?;
                    return (layer.result == value && layer.planes() <= most).then_some(layer);
                }
                Op::Binary(Binary::Add | Binary::Mul) | Op::Cast { .. } => {
                    *node.operands.iter().find(shaped)?
                }
                Op::Reduce { .. } | Op::Reshape { .. } => *node.operands.first()?,
                _ => return None,
            };
        }
        None
    }

    /// Adds the terms of another layer, if the order of operations allows it.
    fn add(&self, layer: &mut Layer, mut other: Layer) -> bool {
        let is_single =
            |layer: &Layer| layer.planes() == 1 && layer.terms[0].parts == 1 && layer.bias.is_none();
        if !self.are_alike(layer, &other) || !(is_single(layer) || is_single(&other)) {
            return false;
        }
        if !is_single(&other) {
            std::mem::swap(&mut layer.terms, &mut other.terms);
            std::mem::swap(&mut layer.bias, &mut other.bias);
        }
        layer.terms.append(&mut other.terms);
        layer.nodes.append(&mut other.nodes);
        true
    }

    /// Whether the products of two layers are all windows, or all of matrices, and of one shape.
    fn are_alike(&self, a: &Layer, b: &Layer) -> bool {
        let kind = |layer: &Layer| std::mem::discriminant(self.flow.nodes[layer.terms[0].planes[0]].op);
        kind(a) == kind(b) && self.flow.values[a.result].ty == self.flow.values[b.result].ty
    }

    /// Whether the sum of integer products fits 32 bits, whatever the numbers are.
    fn fit(&self, planes: &[usize]) -> bool {
        let summands = planes.iter().map(|&plane| {
            let weight = self.flow.nodes[plane].operands.get(1).map(|&weight| self.flow.values[weight].ty);
            let axis = if matches!(self.flow.nodes[plane].op, Op::MatMul) { 1 } else { 0 };
            let sizes = weight.and_then(|ty| ty.fixed_shape()).unwrap_or_default();
            let others = sizes.iter().enumerate().filter(|&(i, _)| i != axis);
            others.fold(1u64, |product, (_, &n)| product.saturating_mul(n as u64))
        });
        summands.fold(0, u64::saturating_add).saturating_mul(LARGEST_INTEGER) <= i32::MAX as u64
    }

    fn is_residual(&self, value: usize, result: usize) -> bool {
        self.flow.values[value].ty == self.flow.values[result].ty
            && self.flow.values[value].nonzeros.is_none()
    }
}

impl Flow<'_> {
    /// Whether a value is an f32 constant that broadcasts over `result` along the channel axis of a product or pool alone, and leaves its shape alone.
    /// Where the number of channels is open or 0 there is none: an epilogue holds one number for each channel.
    fn is_per_channel(&self, value: usize, result: usize, product: &Op) -> bool {
        let (constant, over) = (&self.values[value], self.values[result].ty);
        if constant.nonzeros.is_none() || constant.ty.element != ElementType::F32 {
            return false;
        }
        let Some(first) = over.rank().checked_sub(constant.ty.rank()) else { return false };
        let axis = channels_of(product, over.rank());
        let channels = axis.and_then(|axis| over.shape[axis].as_size()).filter(|&channels| channels > 0);
        let mut wide = constant.ty.shape.iter().enumerate().filter(|(_, size)| size.as_size() != Some(1));
        channels.is_some() && wide.all(|(i, size)| Some(first + i) == axis && size.as_size() == channels)
    }

    /// Whether a value is no constant and has one number of f32 for each index of the first axis of `result`.
    fn is_per_sample(&self, value: usize, result: usize) -> bool {
        let (factor, over) = (&self.values[value], self.values[result].ty);
        let ones = |shape: &[crate::Dim]| shape.iter().skip(1).all(|size| size.as_size() == Some(1));
        factor.nonzeros.is_none()
            && factor.ty.element == ElementType::F32
            && factor.ty.rank() == over.rank()
            && factor.ty.shape.first() == over.shape.first()
            && ones(&factor.ty.shape)
    }
}
