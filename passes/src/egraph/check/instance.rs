//! Random small graphs that the left side of a rule might match.
//!
//! Shapes are those of images and matrices. A variable beside a function of two numbers is a coefficient or a value, whatever else a value of the type
//! that the other operands have; attributes are random among those that fit what they are applied to.

use crate::egraph::rules::Sample;
use crate::egraph::rules::conditions::Condition;
use crate::egraph::rules::text::{Among, Left, LeftAttributes};
use std::collections::BTreeMap;
use twnc_ir::{
    Binary, Conv, CountingCost, Data, Dim, ElementType, Flow, Geometry, Graph, GraphBuilder, Op, Pad,
    PadMode, PerChannel, Pool, Quantize, ReduceKind, Slice, Tensor, TensorType, Unary, ValueId,
};

/// Numbers that look random and are the same in every run (SplitMix64).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Numbers {
        Numbers(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both possible.
    fn size(&mut self, low: usize, high: usize) -> usize {
        low + (self.bits() >> 8) as usize % (high - low + 1)
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.size(0, 99) < percent
    }

    fn float(&mut self) -> f32 {
        let unit = (self.bits() >> 40) as f32 / (1u64 << 24) as f32;
        4.0 * unit - 2.0
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.size(0, list.len() - 1)]
    }
}

/// A graph with inputs for it.
pub(crate) struct Instance {
    pub(crate) graph: Graph,
    pub(crate) inputs: BTreeMap<String, Tensor>,
}

struct Maker<'a> {
    numbers: &'a mut Numbers,
    sample: &'a Sample,
    build: GraphBuilder,
    inputs: BTreeMap<String, Tensor>,
    values: BTreeMap<u32, ValueId>,
    attributes: BTreeMap<u32, (Op, Vec<usize>)>,
    /// The type of values that nothing else decides.
    base: TensorType,
    /// How many outputs products have.
    outputs: usize,
    special: bool,
}

impl Instance {
    /// A graph for a sample; `None` where what was drawn does not fit together.
    pub(crate) fn new(numbers: &mut Numbers, sample: &Sample, special: bool) -> Option<Instance> {
        let rank = numbers.pick(&[2, 3, 4, 4]);
        // Attributes that are written out may ask for larger tensors than rules do that hold for all.
        let most = if sample.0.has_written() { numbers.pick(&[4, 9]) } else { 4 };
        let mut shape: Vec<usize> = (0..rank).map(|_| numbers.size(1, most)).collect();
        if numbers.chance(50) {
            shape[0] = 2;
        }
        let outputs = numbers.size(1, 4);
        let base = TensorType::f32(shape.into_iter().map(Dim::from).collect());
        let mut maker = Maker {
            numbers,
            sample,
            build: GraphBuilder::new("case"),
            inputs: BTreeMap::new(),
            values: BTreeMap::new(),
            attributes: BTreeMap::new(),
            base,
            outputs,
            special,
        };
        let value = maker.value(&sample.0, 0)?;
        maker.build.output("y", value);
        let graph = maker.build.finish();
        is_small(&graph).then_some(Instance { graph, inputs: maker.inputs })
    }
}

/// Whether a graph is quickly evaluated: what a rule writes out may be of any size.
pub(crate) fn is_small(graph: &Graph) -> bool {
    const MOST: u64 = 1 << 22;
    let cost = Flow::of(graph).map(|flow| flow.cost(&CountingCost));
    let is_bounded = graph.node_ids().flat_map(|id| &graph.node(id).results).all(|&value| {
        let shape = graph.ty(value).fixed_shape();
        shape.is_some_and(|shape| elements(&shape).is_some())
    });
    is_bounded && cost.is_ok_and(|cost| cost.additions.saturating_add(cost.multiplications) <= MOST)
}

/// The elements of a shape, where there are not too many for a test.
fn elements(shape: &[usize]) -> Option<usize> {
    let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size))?;
    (count <= 1 << 20).then_some(count)
}

impl Maker<'_> {
    /// The value of a left side, as operand `place` of what stands around it.
    fn value(&mut self, left: &Left, place: usize) -> Option<ValueId> {
        match left {
            Left::Variable(variable) => match self.values.get(variable) {
                Some(&value) => Some(value),
                None => {
                    let value = self.leaf(*variable, place)?;
                    self.values.insert(*variable, value);
                    Some(value)
                }
            },
            Left::Apply { word: word @ ("conv" | "matmul"), attributes, operands } => {
                self.product(word, attributes.as_ref(), operands)
            }
            Left::Apply { word: "batch_norm", attributes: Some(attributes), operands } => {
                let x = self.value(operands.first()?, 0)?;
                let channels = elements(&[self.build.graph().ty(x).shape.get(1)?.as_size()?])?;
                let mut values = vec![x];
                for (i, operand) in operands.iter().enumerate().skip(1) {
                    let Left::Variable(variable) = operand else { return None };
                    let number = |n: &mut Numbers| if i == 4 { n.float().abs() + 0.1 } else { n.float() };
                    let data = (0..channels).map(|_| number(self.numbers)).collect();
                    let constant = self.build.constant(Tensor::from_f32(vec![channels], data).ok()?, "");
                    values.push(*self.values.entry(*variable).or_insert(constant));
                }
                let op = self.chosen("batch_norm", attributes, &self.base.clone())?;
                self.build.node(op, &values, "").ok()
            }
            Left::Apply { word, attributes, operands } => {
                let first = self.value(operands.first()?, 0)?;
                let mut values = vec![first];
                for (i, operand) in operands.iter().enumerate().skip(1) {
                    let of_two = Binary::ALL.iter().any(|f| f.mnemonic() == *word);
                    values.push(match operand {
                        Left::Variable(variable) if of_two && !self.values.contains_key(variable) => {
                            let ty = self.build.graph().ty(first).clone();
                            let value = self.second(*variable, &ty)?;
                            self.values.insert(*variable, value);
                            value
                        }
                        _ => self.value(operand, i)?,
                    });
                }
                let ty = self.build.graph().ty(first).clone();
                let op = match attributes {
                    None => crate::egraph::facts::plain(word)?.clone(),
                    Some(attributes) => self.chosen(word, attributes, &ty)?,
                };
                if let Op::Quantize(_) = op {
                    // What the whole numbers stand for: by how much they differ is measured in floats.
                    let results = self.build.nodes(op, &values, "").ok()?;
                    let numbers =
                        self.build.node(Op::Cast { to: ElementType::F32 }, &results[..1], "").ok()?;
                    return self.build.node(Op::Binary(Binary::Mul), &[numbers, results[1]], "").ok();
                }
                self.build.node(op, &values, "").ok()
            }
        }
    }

    /// An operator with attributes that a left side allows, for an operand of this type.
    fn chosen(&mut self, word: &str, attributes: &LeftAttributes, ty: &TensorType) -> Option<Op> {
        if let Some((op, _)) = self.attributes.get(&attributes.variable) {
            return Some(op.clone());
        }
        let op = match &attributes.among {
            Among::All => self.attribute(word, ty)?,
            Among::These(list) => list.operator(word, ty.rank()).ok()?,
            Among::AllOf(call) | Among::Call(call) => Op::Custom(call.clone()),
        };
        self.attributes.insert(attributes.variable, (op.clone(), vec![]));
        Some(op)
    }

    fn is_coefficient(&self, variable: u32) -> bool {
        let of_coefficients = [
            Condition::Coefficient,
            Condition::Nonzero,
            Condition::Positive,
            Condition::Uniform,
            Condition::Unit,
            Condition::Zero,
            Condition::Proportional,
        ];
        let named = self.sample.1.get(variable as usize).map_or("", String::as_str);
        let asked = |(condition, variables): &(Condition, Vec<u32>)| {
            of_coefficients.contains(condition) && variables.contains(&variable)
        };
        self.sample.2.iter().any(asked) || ["?s", "?t", "?u"].contains(&named)
    }

    fn is_asked(&self, condition: Condition, variable: u32) -> bool {
        self.sample.2.iter().any(|(other, variables)| *other == condition && variables.contains(&variable))
    }

    /// A variable that nothing has bound yet.
    fn leaf(&mut self, variable: u32, place: usize) -> Option<ValueId> {
        let base = self.base.clone();
        if self.is_coefficient(variable) {
            return self.coefficient(variable, &base);
        }
        let mut ty = base;
        // The parts of a list may differ; which axis fits is left to chance.
        if place > 0 && self.numbers.chance(40) {
            let axis = self.numbers.size(0, ty.rank() - 1);
            ty.shape[axis] = Dim::from(self.numbers.size(1, 4));
        }
        let value = self.input(&ty)?;
        let asks_for_products = [Condition::FactorLeft, Condition::FactorRight];
        if asks_for_products.iter().any(|condition| self.is_asked(*condition, variable))
            && self.numbers.chance(50)
        {
            let size = ty.shape.last()?.as_size()?;
            let matrix = self.weight(variable, vec![size, size])?;
            return self.build.node(Op::MatMul, &[value, matrix], "").ok();
        }
        let positive = self.is_asked(Condition::NonNegative, variable) && self.numbers.chance(50);
        if positive { self.build.node(Op::Unary(Unary::Abs), &[value], "").ok() } else { Some(value) }
    }

    /// The second operand of a function of two numbers.
    fn second(&mut self, variable: u32, ty: &TensorType) -> Option<ValueId> {
        if self.is_coefficient(variable)
            || (!self.is_asked(Condition::Variable, variable) && self.numbers.chance(70))
        {
            return self.coefficient(variable, ty);
        }
        self.input(ty)
    }

    fn input(&mut self, ty: &TensorType) -> Option<ValueId> {
        const SPECIAL: [f32; 5] = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        let shape = ty.fixed_shape()?;
        let numbers = &mut *self.numbers;
        let mut element = || match (numbers.chance(20), self.special) {
            (true, true) => numbers.pick(&SPECIAL),
            (true, false) => numbers.pick(&SPECIAL[..2]),
            _ => numbers.float(),
        };
        let data = (0..elements(&shape)?).map(|_| element()).collect();
        let name = format!("x{}", self.inputs.len());
        self.inputs.insert(name.clone(), Tensor::from_f32(shape, data).ok()?);
        Some(self.build.input(&name, ty.clone()))
    }

    /// A number, or one for each index along an axis, of one sign or both.
    fn coefficient(&mut self, variable: u32, ty: &TensorType) -> Option<ValueId> {
        if self.is_asked(Condition::Proportional, variable) && self.numbers.chance(60) {
            let known =
                self.values.iter().filter(|(other, _)| self.is_asked(Condition::Proportional, **other));
            let known: Vec<ValueId> = known.map(|(_, value)| *value).collect();
            if let Some(tensor) = known.first().and_then(|&value| self.build.graph().constant(value)) {
                let (shape, factor) = (tensor.shape().to_vec(), self.numbers.float());
                let values = tensor.as_f32()?.iter().map(|x| x * factor).collect();
                return Some(self.build.constant(Tensor::from_f32(shape, values).ok()?, ""));
            }
        }
        let axis = match ty.rank() {
            0 => None,
            rank => self.numbers.chance(60).then(|| match self.numbers.chance(60) {
                true => 1.min(rank - 1),
                false => self.numbers.size(0, rank - 1),
            }),
        };
        let count = axis.map_or(Some(1), |axis| elements(&[ty.shape[axis].as_size()?]))?;
        let kind = self.numbers.size(0, 9);
        let number = |numbers: &mut Numbers| match kind {
            0 => 1.0,
            1 => 0.0,
            2..=5 => numbers.float().abs() + 0.1,
            6 if numbers.chance(30) => 0.0,
            _ => numbers.float(),
        };
        let values = (0..count).map(|_| number(self.numbers)).collect();
        let tensor = PerChannel::tensor(axis.filter(|_| count != 1), values, ty.rank());
        Some(self.build.constant(tensor, ""))
    }

    fn weight(&mut self, variable: u32, shape: Vec<usize>) -> Option<ValueId> {
        let count = elements(&shape)?;
        let float = self.is_asked(Condition::Float, variable) || self.numbers.chance(30);
        let float = float && !self.is_asked(Condition::Ternary, variable);
        if float {
            let data = (0..count).map(|_| self.numbers.float()).collect();
            return Some(self.build.constant(Tensor::from_f32(shape, data).ok()?, "w"));
        }
        let dense = self.numbers.pick(&[10, 30, 70]);
        let numbers = &mut *self.numbers;
        let trits = (0..count).map(|_| if numbers.chance(dense) { numbers.pick(&[-1i8, 1]) } else { 0 });
        let data = Data::Ternary(trits.collect());
        Some(self.build.constant(Tensor::new(shape, data).ok()?, "w"))
    }

    fn product(
        &mut self,
        word: &str,
        attributes: Option<&LeftAttributes>,
        operands: &[Left],
    ) -> Option<ValueId> {
        let x = self.value(operands.first()?, 0)?;
        let shape = self.build.graph().ty(x).fixed_shape()?;
        if self.build.graph().ty(x).element != ElementType::F32 {
            return None;
        }
        let (op, kernel) = match attributes {
            None => (Op::MatMul, vec![]),
            Some(attributes) => match self.attributes.get(&attributes.variable) {
                Some(known) => known.clone(),
                None => {
                    let (random, kernel) = self.conv(&shape)?;
                    let op = match &attributes.among {
                        Among::These(list) => list.operator(word, shape.len()).ok()?,
                        _ => random,
                    };
                    self.attributes.insert(attributes.variable, (op.clone(), kernel.clone()));
                    (op, kernel)
                }
            },
        };
        let weight = match operands.get(1)? {
            Left::Variable(variable) if !self.values.contains_key(variable) => {
                let shape = match &op {
                    Op::Conv(conv) => {
                        let outputs = if conv.groups > 1 { conv.groups } else { self.outputs };
                        let inputs = shape.get(1)?.checked_div(conv.groups)?;
                        [&[outputs, inputs], kernel.as_slice()].concat()
                    }
                    _ => vec![*shape.last()?, self.outputs],
                };
                let value = self.weight(*variable, shape)?;
                self.values.insert(*variable, value);
                value
            }
            other => {
                // The right operand of a matrix product is a value of a fitting type.
                let base = std::mem::replace(
                    &mut self.base,
                    TensorType::f32([*shape.last()?, self.outputs].map(Dim::from).to_vec()),
                );
                let value = self.value(other, 0);
                self.base = base;
                value?
            }
        };
        self.build.node(op, &[x, weight], "").ok()
    }

    /// A convolution over an operand of this shape, and the extents of its kernel.
    fn conv(&mut self, shape: &[usize]) -> Option<(Op, Vec<usize>)> {
        let rank = shape.len().checked_sub(2).filter(|&rank| rank > 0)?;
        let groups = if self.numbers.chance(30) { shape[1] } else { 1 };
        let kernel: Vec<usize> = (0..rank).map(|_| self.numbers.size(1, 3)).collect();
        Some((Op::Conv(Conv { geometry: self.geometry(rank, 2), groups }), kernel))
    }

    fn geometry(&mut self, rank: usize, pads: usize) -> Geometry {
        let mut list = |low, high| (0..rank).map(|_| self.numbers.size(low, high)).collect();
        Geometry {
            strides: list(1, 2),
            dilations: list(1, 2),
            pads_begin: list(0, pads),
            pads_end: list(0, pads),
        }
    }

    /// Attributes of an operator for an operand of this type.
    fn attribute(&mut self, word: &str, ty: &TensorType) -> Option<Op> {
        let shape = ty.fixed_shape()?;
        let rank = shape.len();
        let axis = self.numbers.size(0, rank.checked_sub(1)?);
        Some(match word {
            "leaky_relu" => Op::Unary(Unary::LeakyRelu { slope: self.numbers.float() }),
            "clip" => {
                let (min, max) = (self.numbers.float(), self.numbers.float());
                let (min, max) = (min.min(max), max.max(min));
                let min = if self.numbers.chance(20) { f32::NEG_INFINITY } else { min };
                Op::Unary(Unary::Clip { min, max: if self.numbers.chance(20) { f32::INFINITY } else { max } })
            }
            "hard_sigmoid" => {
                Op::Unary(Unary::HardSigmoid { alpha: self.numbers.float(), beta: self.numbers.float() })
            }
            "max_pool" | "average_pool" => {
                let spatial = rank.checked_sub(2).filter(|&spatial| spatial > 0)?;
                let kernel: Vec<usize> = (0..spatial).map(|_| self.numbers.size(1, 3)).collect();
                let geometry = self.geometry(spatial, 1);
                let pool = Pool { kernel, geometry, ceil: self.numbers.chance(30) };
                match word {
                    "max_pool" => Op::MaxPool(pool),
                    _ => Op::AveragePool { pool, count_padding: self.numbers.chance(50) },
                }
            }
            "batch_norm" => Op::BatchNorm { epsilon: 1e-3 },
            "softmax" => Op::Softmax { axes: vec![axis] },
            "reshape" => Op::Reshape { shape: self.regrouped(&shape).into_iter().map(Dim::from).collect() },
            "transpose" => {
                let mut perm: Vec<usize> = (0..rank).collect();
                for i in (1..rank).rev() {
                    perm.swap(i, self.numbers.size(0, i));
                }
                Op::Transpose { perm }
            }
            "concat" => Op::Concat { axis: if self.numbers.chance(60) { 1.min(rank - 1) } else { axis } },
            "slice" => {
                let start = self.numbers.size(0, shape[axis] - 1);
                let step = self.numbers.pick(&[1, 1, 1, 2, -1]);
                let most = if step < 0 { start + 1 } else { (shape[axis] - start).div_ceil(step as usize) };
                let size = if self.numbers.chance(50) { most } else { self.numbers.size(1, most) };
                Op::Slice(Slice { axis, start: Dim::from(start), size: Dim::from(size), step })
            }
            "pad" => {
                let mut list = || -> Vec<usize> {
                    (0..rank)
                        .map(|_| if self.numbers.chance(40) { self.numbers.size(0, 2) } else { 0 })
                        .collect()
                };
                let (begin, end) = (list(), list());
                let number = self.numbers.float();
                let mode = self.numbers.pick(&[
                    PadMode::Constant(0.0),
                    PadMode::Constant(0.0),
                    PadMode::Constant(number),
                    PadMode::Edge,
                ]);
                Op::Pad(Pad { begin, end, mode })
            }
            "quantize" => {
                // Of few bits, one number beside another may be any.
                let (bits, signed) = (self.numbers.size(6, 12), self.numbers.chance(50));
                let scale = self.numbers.chance(40).then(|| self.numbers.float().abs() / 16.0 + 0.01);
                Op::Quantize(Quantize { bits, signed, scale })
            }
            "broadcast" => Op::Broadcast { shape: [vec![Dim::from(2usize)], ty.shape.clone()].concat() },
            _ => {
                let (kind, _) = ReduceKind::ALL.iter().find(|(_, name)| *name == word)?;
                let mut axes: Vec<usize> = (0..rank).filter(|_| self.numbers.chance(40)).collect();
                if axes.is_empty() {
                    axes = vec![axis];
                }
                Op::Reduce { kind: *kind, axes, keep_dims: self.numbers.chance(50) }
            }
        })
    }

    /// The same number of elements in another shape: neighbours joined, axes of size 1 put between.
    fn regrouped(&mut self, shape: &[usize]) -> Vec<usize> {
        let mut new: Vec<usize> = vec![];
        for &size in shape {
            match new.last_mut() {
                Some(last) if self.numbers.chance(40) => *last *= size,
                _ => new.push(size),
            }
            if self.numbers.chance(20) {
                new.push(1);
            }
        }
        new
    }
}
