//! Each operator of a graph as ONNX operators.

use super::{Writer, custom, float, int, sizes, string};
use crate::proto::{AttributeProto, DataType};
use crate::tensor::stored_as;
use twnc_ir::{
    Binary, Combine, Conv, Data, Dim, ElementType, Geometry, Node, Op, Pad, PadMode, Pool, ReduceKind, Slice,
    Tensor, Unary,
};

impl Writer<'_> {
    /// Adds a node of the graph. An error is the reason why not.
    pub(super) fn node(&mut self, node: &Node) -> Result<(), String> {
        let input: Vec<String> = node.operands.iter().map(|&value| self.name(value)).collect();
        let output: Vec<String> = node.results.iter().map(|&value| self.name(value)).collect();
        let Some(name) = output.first().cloned() else { return Ok(()) };
        match &node.op {
            Op::Constant(tensor) => match (tensor.as_ternary(), node.results.first()) {
                (Some(trits), Some(&value)) => self.ternary(&name, value, tensor, trits),
                _ => self.initialiser(&name, tensor),
            },
            Op::Dims(dims) => {
                let dims = self.dims(dims, &name)?;
                self.push("Identity", vec![dims], output, vec![]);
            }
            Op::Conv(Conv { geometry, groups }) => {
                let mut attributes = window(geometry, true);
                attributes.push(int("group", *groups as i64));
                self.product("Conv", node, input, output, attributes)?;
            }
            Op::MatMul => self.product("MatMul", node, input, output, vec![])?,
            Op::Unary(f) => self.unary(*f, input, output),
            Op::Binary(f) => self.binary(*f, node, input, output),
            Op::BatchNorm { epsilon } => {
                self.push("BatchNormalization", input, output, vec![float("epsilon", *epsilon)]);
            }
            Op::MaxPool(pool) => self.push("MaxPool", input, output, pooled(pool, true)),
            Op::AveragePool { pool, count_padding } => {
                if pool.geometry.dilations.iter().any(|&d| d != 1) {
                    return Err("an average pool with dilations is not in operator set 17".into());
                }
                let mut attributes = pooled(pool, false);
                attributes.push(int("count_include_pad", i64::from(*count_padding)));
                self.push("AveragePool", input, output, attributes);
            }
            Op::Reduce { kind, axes, keep_dims } => self.reduce(*kind, axes, *keep_dims, input, output),
            Op::Softmax { axes } => self.softmax(axes, input, output),
            Op::Reshape { shape } => {
                let shape = self.shape(shape, &format!("{name}_shape"))?;
                self.push("Reshape", [input, vec![shape]].concat(), output, vec![int("allowzero", 1)]);
            }
            Op::Transpose { perm } => self.push("Transpose", input, output, vec![sizes("perm", perm)]),
            Op::Concat { axis } => self.push("Concat", input, output, vec![int("axis", *axis as i64)]),
            Op::Slice(slice) => self.slice(slice, input, output)?,
            Op::Pad(pad) => {
                let element = node.operands.first().map(|&value| self.graph.ty(value).element);
                self.pad(pad, element.unwrap_or(ElementType::F32), input, output);
            }
            Op::Broadcast { shape } => {
                // ONNX keeps a size where the target is 1, so that kept ones need not be known.
                let own = node.operands.first().map_or(&[][..], |&value| &self.graph.ty(value).shape);
                let added = shape.len().saturating_sub(own.len());
                let mut target = shape.clone();
                for (wanted, kept) in target.iter_mut().skip(added).zip(own) {
                    if wanted == kept {
                        *wanted = Dim::from(1);
                    }
                }
                let shape = self.dims(&target, &format!("{name}_shape"))?;
                self.push("Expand", [input, vec![shape]].concat(), output, vec![]);
            }
            Op::Gather { axis } => self.push("Gather", input, output, vec![int("axis", *axis as i64)]),
            Op::Iota { size } => {
                let limit = self.dims(std::slice::from_ref(size), &format!("{name}_size"))?;
                let scalar = self.extra_ints(&format!("{name}_scalar"), vec![]);
                let limit = self.extra("Reshape", vec![limit, scalar], vec![], &name);
                let mut number = |n| self.extra_constant(&name, &whole(n));
                let (start, step) = (number(0), number(1));
                self.push("Range", vec![start, limit, step], output, vec![]);
            }
            Op::Scatter { combine } => {
                let [data, indices, updates] = input.as_slice() else { return Ok(()) };
                let reduction = match combine {
                    None => "none",
                    Some(Combine::Add) => "add",
                    Some(Combine::Mul) => "mul",
                    Some(_) => return Err("a scatter by minimum or maximum is not in operator set 17".into()),
                };
                let axis = self.extra_ints(&format!("{name}_axis"), vec![1]);
                let indices =
                    self.extra("Cast", vec![indices.clone()], vec![int("to", DataType::Int64 as i64)], &name);
                let columns = self.extra("Unsqueeze", vec![indices, axis], vec![], &name);
                let input = vec![data.clone(), columns, updates.clone()];
                self.push("ScatterND", input, output, vec![string("reduction", reduction)]);
            }
            Op::Cumulative { combine: Combine::Add, axis } => {
                let axis = self.extra_constant(&format!("{name}_axis"), &whole(*axis as i64));
                self.push("CumSum", [input, vec![axis]].concat(), output, vec![]);
            }
            Op::Cumulative { .. } => return Err("a running product is not in operator set 17".into()),
            Op::TopK { axis, k, largest } => {
                let k = self.dims(std::slice::from_ref(k), &format!("{name}_k"))?;
                let attributes = vec![int("axis", *axis as i64), int("largest", i64::from(*largest))];
                self.push("TopK", [input, vec![k]].concat(), output, attributes);
            }
            Op::Cast { to } => self.push("Cast", input, output, vec![int("to", stored_as(*to) as i64)]),
            Op::Quantize(quantize) => self.quantize(quantize, node, input, output),
            Op::Custom(call) => {
                let full = call.operator.name();
                let (domain, op_type) = full.rsplit_once("::").unwrap_or(("", full));
                let attributes = call.attributes.iter().map(|(name, value)| custom(name, value)).collect();
                match domain {
                    "" => self.push(op_type, input, output, attributes),
                    _ => self.foreign(domain, op_type, input, output, attributes),
                }
            }
        }
        Ok(())
    }

    fn unary(&mut self, f: Unary, mut input: Vec<String>, output: Vec<String>) {
        let (op_type, attributes) = match f {
            Unary::Relu => ("Relu", vec![]),
            Unary::LeakyRelu { slope } => ("LeakyRelu", vec![float("alpha", slope)]),
            Unary::Clip { min, max } => {
                for (bound, hint) in [(min, "min"), (max, "max")] {
                    let name = format!("{}_{hint}", output[0]);
                    input.push(self.extra_constant(&name, &Tensor::scalar(bound)));
                }
                ("Clip", vec![])
            }
            Unary::HardSigmoid { alpha, beta } => {
                ("HardSigmoid", vec![float("alpha", alpha), float("beta", beta)])
            }
            Unary::HardSwish => ("HardSwish", vec![]),
            Unary::Neg => ("Neg", vec![]),
            Unary::Abs => ("Abs", vec![]),
            Unary::Sqrt => ("Sqrt", vec![]),
            Unary::Reciprocal => ("Reciprocal", vec![]),
            Unary::Sigmoid => ("Sigmoid", vec![]),
            Unary::Tanh => ("Tanh", vec![]),
            Unary::Exp => ("Exp", vec![]),
            Unary::Log => ("Log", vec![]),
            Unary::Erf => ("Erf", vec![]),
            Unary::Sin => ("Sin", vec![]),
            Unary::Cos => ("Cos", vec![]),
            Unary::Atan => ("Atan", vec![]),
            Unary::Floor => ("Floor", vec![]),
            Unary::Round => ("Round", vec![]),
        };
        self.push(op_type, input, output, attributes);
    }

    /// Comparisons are truth values in ONNX, and numbers here.
    fn binary(&mut self, f: Binary, node: &Node, input: Vec<String>, output: Vec<String>) {
        let element = node.results.first().map_or(ElementType::F32, |&value| self.graph.ty(value).element);
        let hint = output[0].clone();
        let op_type = match f {
            Binary::Add => "Add",
            Binary::Sub => "Sub",
            Binary::Mul => "Mul",
            Binary::Div => "Div",
            Binary::Min => "Min",
            Binary::Max => "Max",
            Binary::Pow => "Pow",
            Binary::PRelu => "PRelu",
            Binary::Less | Binary::Equal => {
                let op_type = if f == Binary::Less { "Less" } else { "Equal" };
                let truth = self.extra(op_type, input, vec![], &hint);
                return self.push("Cast", vec![truth], output, vec![int("to", stored_as(element) as i64)]);
            }
            Binary::Keep => {
                let [x, condition] = input.as_slice() else { return };
                let to = vec![int("to", DataType::Bool as i64)];
                let truth = self.extra("Cast", vec![condition.clone()], to, &hint);
                let zero = Tensor::new(vec![], number(0.0, element)).unwrap_or_else(|_| Tensor::scalar(0.0));
                let zero = self.extra_constant(&format!("{hint}_zero"), &zero);
                return self.push("Where", vec![truth, x.clone(), zero], output, vec![]);
            }
        };
        self.push(op_type, input, output, vec![]);
    }

    /// `ReduceSum` takes its axes as an operand in operator set 17, the others as an attribute; from 18 on all as an operand.
    pub(super) fn reduce(
        &mut self,
        kind: ReduceKind,
        axes: &[usize],
        keep: bool,
        mut input: Vec<String>,
        output: Vec<String>,
    ) {
        let mut attributes = vec![int("keepdims", i64::from(keep))];
        let op_type = match kind {
            ReduceKind::Sum => "ReduceSum",
            ReduceKind::Mean => "ReduceMean",
            ReduceKind::Max => "ReduceMax",
            ReduceKind::Min => "ReduceMin",
        };
        if kind == ReduceKind::Sum || self.format.opset() >= 18 {
            let axes = axes.iter().map(|&axis| axis as i64).collect();
            input.push(self.extra_ints(&format!("{}_axes", output[0]), axes));
        } else {
            attributes.push(sizes("axes", axes));
        }
        self.push(op_type, input, output, attributes);
    }

    /// Over several axes it is written out: ONNX's takes one.
    fn softmax(&mut self, axes: &[usize], input: Vec<String>, output: Vec<String>) {
        if let [axis] = axes {
            return self.push("Softmax", input, output, vec![int("axis", *axis as i64)]);
        }
        let hint = output[0].clone();
        let (max, sum) = (self.names.unique(&hint), self.names.unique(&hint));
        self.reduce(ReduceKind::Max, axes, true, input.clone(), vec![max.clone()]);
        let shifted = self.extra("Sub", [input, vec![max]].concat(), vec![], &hint);
        let powers = self.extra("Exp", vec![shifted], vec![], &hint);
        self.reduce(ReduceKind::Sum, axes, true, vec![powers.clone()], vec![sum.clone()]);
        self.push("Div", vec![powers, sum], output, vec![]);
    }

    fn slice(&mut self, slice: &Slice, mut input: Vec<String>, output: Vec<String>) -> Result<(), String> {
        let end = slice
            .size
            .checked_mul(&Dim::fixed(slice.step))
            .and_then(|length| slice.start.checked_add(&length));
        let end = end.ok_or("its end is too large to be written down")?;
        let end = match end.as_fixed() {
            // A negative end would count from the last element; this one is before the first.
            Some(n) if n < 0 => Dim::fixed(i64::MIN),
            None if slice.step < 0 => {
                return Err("it walks backwards to an open end; fix the size".into());
            }
            _ => end,
        };
        let hint = output[0].clone();
        input.push(self.dims(std::slice::from_ref(&slice.start), &format!("{hint}_start"))?);
        input.push(self.dims(&[end], &format!("{hint}_end"))?);
        input.push(self.extra_ints(&format!("{hint}_axis"), vec![slice.axis as i64]));
        input.push(self.extra_ints(&format!("{hint}_step"), vec![slice.step]));
        self.push("Slice", input, output, vec![]);
        Ok(())
    }

    fn pad(&mut self, pad: &Pad, element: ElementType, mut input: Vec<String>, output: Vec<String>) {
        let pads = pad.begin.iter().chain(&pad.end).map(|&n| n as i64).collect();
        input.push(self.extra_ints(&format!("{}_pads", output[0]), pads));
        let mode = match pad.mode {
            PadMode::Constant(value) => {
                let data = number(value, element);
                let tensor = Tensor::new(vec![], data).unwrap_or_else(|_| Tensor::scalar(value));
                input.push(self.extra_constant(&format!("{}_value", output[0]), &tensor));
                "constant"
            }
            PadMode::Reflect => "reflect",
            PadMode::Edge => "edge",
        };
        self.push("Pad", input, output, vec![string("mode", mode)]);
    }
}

fn window(geometry: &Geometry, dilations: bool) -> Vec<AttributeProto> {
    let mut attributes = vec![
        sizes("strides", &geometry.strides),
        sizes("pads", geometry.pads_begin.iter().chain(&geometry.pads_end)),
    ];
    if dilations {
        attributes.push(sizes("dilations", &geometry.dilations));
    }
    attributes
}

fn pooled(pool: &Pool, dilations: bool) -> Vec<AttributeProto> {
    let mut attributes = window(&pool.geometry, dilations);
    attributes.push(sizes("kernel_shape", &pool.kernel));
    attributes.push(int("ceil_mode", i64::from(pool.ceil)));
    attributes
}

/// A whole number, of rank 0.
fn whole(n: i64) -> Tensor {
    Tensor::new(vec![], Data::I64([n].into())).unwrap_or_else(|_| Tensor::scalar(n as f32))
}

/// One number of a type; as `cast` converts it.
fn number(value: f32, element: ElementType) -> Data {
    match element {
        ElementType::F32 | ElementType::Ternary => Data::F32([value].into()),
        ElementType::I8 => Data::I8([value as i8].into()),
        ElementType::U8 => Data::U8([value as u8].into()),
        ElementType::I16 => Data::I16([value as i16].into()),
        ElementType::I32 => Data::I32([value as i32].into()),
        ElementType::I64 => Data::I64([value as i64].into()),
        ElementType::Bool => Data::Bool([value != 0.0].into()),
    }
}
