//! Ternary constants, in each of the forms in which ONNX files hold them.
//!
//! All have a scale of 1: the network's own scales stay where passes put them, which is mostly behind a product. So a file that is read again is the
//! same network.

use super::{Writer, int, string};
use crate::proto::{AttributeProto, DataType, NodeProto, TensorProto};
use std::collections::BTreeMap;
use twnc_ir::{ElementType, Graph, Node, NodeId, Op, Tensor, ValueId};

/// How ternary constants are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TernaryFormat {
    /// FLOAT elements -1, 0 and 1, which every engine reads.
    #[default]
    Float,
    /// INT2 codes behind a `DequantizeLinear`: 2 bits a weight. Operator set 25, IR version 13.
    QdqInt2,
    /// `com.microsoft::MatMulNBits` of 2 bits for the weights of linear layers; all others are FLOAT.
    MatMulNBits,
    /// FLOAT elements behind a `Quant` of 2 bits, signed and narrow, of the domain `qonnx.custom_op.general`.
    Qonnx,
}

impl TernaryFormat {
    /// The version of ONNX's operators.
    pub(super) fn opset(self) -> i64 {
        if self == TernaryFormat::QdqInt2 { 25 } else { 17 }
    }

    /// The version of the file format.
    pub(super) fn ir_version(self) -> i64 {
        if self == TernaryFormat::QdqInt2 { 13 } else { 8 }
    }
}

/// The fewest and the most inputs that share a scale, in ONNX Runtime.
const BLOCKS: (usize, usize) = (16, 128);
/// The code of 0, and what is behind the last input.
const ZERO: u8 = 2;

/// The weight of a linear layer as `MatMulNBits` takes it.
pub(super) struct Packed {
    codes: String,
    scales: String,
    /// Inputs, outputs, inputs that share a scale.
    sizes: [usize; 3],
}

impl Writer<'_> {
    /// Adds a ternary constant, under a name that is unique already.
    pub(super) fn ternary(&mut self, name: &str, value: ValueId, tensor: &Tensor, trits: &[i8]) {
        match self.format {
            TernaryFormat::Float => self.initialiser(name, tensor),
            TernaryFormat::QdqInt2 => {
                let codes = trits.chunks(4).map(|trits| pack(trits.iter().map(|&t| t as u8 & 0b11)));
                self.bytes(name, DataType::Int2, tensor.shape(), codes.collect());
                let scale = self.extra_constant(&format!("{name}_scale"), &Tensor::scalar(1.0));
                let result = self.extra(
                    "DequantizeLinear",
                    vec![name.to_owned(), scale],
                    vec![],
                    &format!("{name}_dq"),
                );
                self.values.insert(value, result);
            }
            TernaryFormat::MatMulNBits => match tensor.shape() {
                &[inputs, outputs] if inputs * outputs > 0 && is_linear_weight(self.graph, value) => {
                    let packed = self.packed(name, trits, inputs, outputs);
                    self.packed.insert(value, packed);
                }
                _ => self.initialiser(name, tensor),
            },
            TernaryFormat::Qonnx => {
                self.initialiser(name, tensor);
                let parameters =
                    [("scale", 1.0), ("zero_point", 0.0), ("bits", 2.0)].map(|(what, number)| {
                        self.extra_constant(&format!("{name}_{what}"), &Tensor::scalar(number))
                    });
                let input = [name.to_owned()].into_iter().chain(parameters).collect();
                let result = self.names.unique(&format!("{name}_quant"));
                let attribute = vec![int("signed", 1), int("narrow", 1), string("rounding_mode", "ROUND")];
                self.foreign("qonnx.custom_op.general", "Quant", input, vec![result.clone()], attribute);
                self.values.insert(value, result);
            }
        }
    }

    /// Adds a product, as `MatMulNBits` if its weight is packed for that.
    pub(super) fn linear(
        &mut self,
        op_type: &str,
        weight: Option<&ValueId>,
        mut input: Vec<String>,
        output: Vec<String>,
        attributes: Vec<AttributeProto>,
    ) {
        let Some(Packed { codes, scales, sizes: [k, n, block] }) = weight.and_then(|w| self.packed.get(w))
        else {
            return self.push(op_type, input, output, attributes);
        };
        input.truncate(1);
        input.extend([codes.clone(), scales.clone()]);
        let sizes = [("K", *k), ("N", *n), ("bits", 2), ("block_size", *block)];
        let attributes = sizes.map(|(name, size)| int(name, size as i64)).into();
        self.foreign("com.microsoft", "MatMulNBits", input, output, attributes);
    }

    fn packed(&mut self, name: &str, trits: &[i8], inputs: usize, outputs: usize) -> Packed {
        let block = inputs.next_power_of_two().clamp(BLOCKS.0, BLOCKS.1);
        let blocks = inputs.div_ceil(block);
        let mut bytes = Vec::with_capacity(outputs * blocks * block / 4);
        for output in 0..outputs {
            let row = trits.iter().skip(output).step_by(outputs).map(|&t| (t as u8).wrapping_add(ZERO));
            let row: Vec<u8> = row.chain(std::iter::repeat_n(ZERO, blocks * block - inputs)).collect();
            bytes.extend(row.chunks(4).map(|codes| pack(codes.iter().copied())));
        }
        self.bytes(name, DataType::Uint8, &[outputs, blocks, block / 4], bytes);
        let scales = Tensor::from_f32(vec![outputs * blocks], vec![1.0; outputs * blocks]);
        let scales = scales.unwrap_or_else(|_| Tensor::scalar(1.0));
        let scales = self.extra_constant(&format!("{name}_scales"), &scales);
        Packed { codes: name.to_owned(), scales, sizes: [inputs, outputs, block] }
    }

    fn bytes(&mut self, name: &str, data_type: DataType, shape: &[usize], bytes: Vec<u8>) {
        self.initialisers.push(TensorProto {
            dims: shape.iter().map(|&n| n as i64).collect(),
            data_type: data_type as i32,
            name: name.to_owned(),
            raw_data: Some(bytes),
            ..TensorProto::default()
        });
    }

    /// Adds a node of another domain than ONNX's.
    pub(super) fn foreign(
        &mut self,
        domain: &str,
        op_type: &str,
        input: Vec<String>,
        output: Vec<String>,
        attribute: Vec<AttributeProto>,
    ) {
        self.push(op_type, input, output, attribute);
        if let Some(NodeProto { domain: own, .. }) = self.nodes.last_mut() {
            domain.clone_into(own);
        }
        self.domains.insert(domain.to_owned());
    }
}

/// Codes of 2 bits as a byte, low bits first.
fn pack(codes: impl Iterator<Item = u8>) -> u8 {
    codes.enumerate().fold(0, |byte, (i, code)| byte | code << (2 * i))
}

/// Which values are packed, by name of the file.
pub(super) type PackedWeights = BTreeMap<ValueId, Packed>;

/// Whether all that reads a constant are products with it on the right.
fn is_linear_weight(graph: &Graph, value: ValueId) -> bool {
    let reads = |id: NodeId| graph.node(id).operands.contains(&value);
    let multiplies = |node: &Node| {
        let left = node.operands.first().filter(|&&left| left != value).map(|&left| graph.ty(left));
        let accepted = left.is_some_and(|ty| matches!(ty.element, ElementType::F32 | ElementType::I16));
        node.op == Op::MatMul && accepted
    };
    let is_output = graph.outputs().iter().any(|port| port.value == value);
    !is_output && graph.node_ids().filter(|&id| reads(id)).all(|id| multiplies(graph.node(id)))
}
