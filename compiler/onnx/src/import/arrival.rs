//! How the weights of layers are stored in a file: the account that a user is given of what arrived, and of what is not ternary in it.
//!
//! It is read off the file, behind the translation and beside it: from each layer back over what its weight is computed with, to a constant. Whether
//! a layer is taken as ternary is not decided here but by its values, in passes. A layer inside of an `If` or `Loop` has no account.

use super::call::Known;
use super::model::{is_onnx, label};
use super::ops::{codes_of_bits, find, nbits_range, whole_numbers};
use crate::proto::{AttributeProto, NodeProto};
use crate::tensor;
use std::collections::{HashMap, HashSet};
use twnc_ir::Tensor;

/// More different magnitudes than this are not counted.
const MOST_MAGNITUDES: usize = 8;
/// Two magnitudes this close, relatively, are one.
const TOLERANCE: f32 = 1e-6;

/// How the weight of a layer is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The layer, as its node is called.
    pub layer: String,
    /// What its weight is made of, from the file to the layer: `INT2, DequantizeLinear with a scale for each index of axis 0`.
    pub form: String,
    /// What keeps it from being ternary, as far as its codes or numbers tell.
    pub obstacle: Option<String>,
}

/// An account of each layer whose weight comes from constants alone, in the order of the nodes.
pub fn arrivals(nodes: &[&NodeProto], known: &HashMap<&str, Known>) -> Vec<Arrival> {
    let producers = nodes.iter().flat_map(|node| node.output.iter().map(|name| (name.as_str(), *node)));
    let file = File { producers: producers.collect(), known };
    nodes.iter().filter_map(|node| file.layer(node)).collect()
}

struct File<'a> {
    producers: HashMap<&'a str, &'a NodeProto>,
    known: &'a HashMap<&'a str, Known>,
}

/// A weight, as far back as it was followed.
#[derive(Default)]
struct Weight {
    /// What was done to it, the last first.
    steps: Vec<String>,
    obstacle: Option<String>,
}

impl<'a> File<'a> {
    fn layer(&self, node: &NodeProto) -> Option<Arrival> {
        let mut weight = Weight::default();
        let name = match (node.domain.as_str(), node.op_type.as_str()) {
            (domain, "Conv" | "ConvTranspose" | "Gemm" | "MatMul") if is_onnx(domain) => node.input.get(1)?,
            (domain, "ConvInteger" | "MatMulInteger") if is_onnx(domain) => {
                weight.products(self, node, 1, 3);
                node.input.get(1)?
            }
            ("com.microsoft", "FusedConv" | "FusedGemm" | "FusedMatMul") => node.input.get(1)?,
            (domain, "QLinearConv" | "QLinearMatMul" | "QGemm")
                if is_onnx(domain) || domain == "com.microsoft" =>
            {
                weight.products(self, node, 3, 5);
                node.input.get(3)?
            }
            ("com.microsoft", "MatMulNBits") => {
                let int = |name| attribute(node, name).and_then(|a| a.i);
                let (bits, block) = (int("bits").unwrap_or(4), int("block_size").unwrap_or(0));
                let zeros = if given(node, 3) { ", with zero points" } else { "" };
                weight.steps.push(format!(
                    "MatMulNBits of {bits} bits with a scale for each {block} inputs of an output{zeros}"
                ));
                let operand = |i: usize| node.input.get(i).and_then(|name| self.constant(name));
                if let Some((low, high)) = nbits_range(node, operand(1)?, operand(3)) {
                    weight.range(low.floor() as i64, high.ceil() as i64);
                }
                node.input.get(1)?
            }
            _ => return None,
        };
        self.follow(name, &mut weight)?;
        if let (None, Some(tensor)) = (&weight.obstacle, self.constant(name)) {
            weight.judge(tensor);
        }
        weight.steps.reverse();
        Some(Arrival {
            layer: label(node).to_owned(),
            form: weight.steps.join(", "),
            obstacle: weight.obstacle,
        })
    }

    /// Follows a value back to the constant that it is made of; `None` if it is made of data.
    fn follow(&self, name: &'a str, weight: &mut Weight) -> Option<()> {
        let mut name = name;
        // Nodes are in order, so that no way back is longer.
        for _ in 0..=self.producers.len() {
            let Some(node) = self.producers.get(name).filter(|node| node.op_type != "Constant") else {
                let Known::Constant { stored, .. } = self.known.get(name)? else { return None };
                weight.steps.push(tensor::name(*stored));
                return Some(());
            };
            let next = match node.op_type.as_str() {
                "Transpose" | "Reshape" | "Identity" | "Squeeze" | "Unsqueeze" | "Flatten" | "Cast"
                | "CastLike" => 0,
                "DequantizeLinear" => {
                    let scales = self.scales(node);
                    weight.steps.push(format!("DequantizeLinear with {scales}"));
                    weight.codes(self, node, 0, 2);
                    0
                }
                "QuantizeLinear" | "Clip" | "BitShift" | "BitwiseAnd" | "Concat" => {
                    weight.steps.push(node.op_type.clone());
                    0
                }
                "Mul" | "Div" | "Add" | "Sub" => {
                    weight.steps.push(node.op_type.clone());
                    usize::from(self.elements(node.input.get(1)?) > self.elements(node.input.first()?))
                }
                "Quant" | "IntQuant" | "BipolarQuant" if find(&node.domain, &node.op_type).is_some() => {
                    weight.quant(self, node);
                    0
                }
                _ => return None,
            };
            // A step that is repeated along the way is one.
            weight.steps.dedup();
            name = node.input.get(next)?;
        }
        None
    }

    fn constant(&self, name: &str) -> Option<&'a Tensor> {
        match self.known.get(name)? {
            Known::Constant { tensor, .. } => Some(tensor),
            _ => None,
        }
    }

    /// How many elements a value has; those of what is not constant count as many.
    fn elements(&self, name: &str) -> usize {
        self.constant(name).map_or(usize::MAX, Tensor::len)
    }

    fn scales(&self, node: &NodeProto) -> String {
        let int = |name| attribute(node, name).and_then(|a| a.i);
        let (axis, block) = (int("axis").unwrap_or(1), int("block_size").unwrap_or(0));
        let one = node.input.get(1).and_then(|name| self.constant(name)).is_some_and(|t| t.len() == 1);
        match (block, one) {
            (0, true) => "one scale".to_owned(),
            (0, false) => format!("a scale for each index of axis {axis}"),
            _ => format!("a scale for each block of {block} along axis {axis}"),
        }
    }
}

impl Weight {
    /// A product of integers.
    fn products(&mut self, file: &File<'_>, node: &NodeProto, weight: usize, zero: usize) {
        self.steps.push(node.op_type.clone());
        self.codes(file, node, weight, zero);
    }

    /// Codes with a zero point: what their constant tells.
    fn codes(&mut self, file: &File<'_>, node: &NodeProto, codes: usize, zero: usize) {
        let numbers = |operand: usize| {
            let tensor = file.constant(node.input.get(operand)?)?;
            whole_numbers(tensor.data())
        };
        let zeros = if given(node, zero) { numbers(zero) } else { Some(vec![0]) };
        // Zero points that differ lie along an axis, and with them so do the codes.
        let (Some(codes), Some(&[zero])) = (numbers(codes), zeros.map(distinct).as_deref()) else { return };
        let (low, high) = (codes.iter().min(), codes.iter().max());
        if let (Some(low), Some(high)) = (low, high) {
            self.range(low.saturating_sub(zero), high.saturating_sub(zero));
        }
    }

    /// QONNX's quantisers, whose bits say what codes they give.
    fn quant(&mut self, file: &File<'_>, node: &NodeProto) {
        if node.op_type == "BipolarQuant" {
            self.steps.push("BipolarQuant".to_owned());
            return;
        }
        let flag = |name, default| attribute(node, name).and_then(|a| a.i).unwrap_or(default) != 0;
        let (signed, narrow) = (flag("signed", 1), flag("narrow", 0));
        let bits = node.input.get(3).and_then(|name| file.constant(name)).and_then(Tensor::as_f32);
        let words = format!(
            "{}{}",
            if signed { "signed" } else { "unsigned" },
            if narrow { " and narrow" } else { "" }
        );
        let Some(&[bits]) = bits else {
            self.steps.push(format!("{} of several widths, {words}", node.op_type));
            return;
        };
        self.steps.push(format!("{} of {bits} bits, {words}", node.op_type));
        let (low, high) = codes_of_bits(bits.into(), signed, narrow);
        // A cast of a float saturates.
        self.range(low.floor() as i64, high.ceil() as i64);
    }

    fn range(&mut self, low: i64, high: i64) {
        if low < -1 || high > 1 {
            let bits = |n: i64| 64 - n.leading_zeros();
            let bits = if low < 0 { 1 + bits(high.max(-1 - low)) } else { bits(high) };
            self.obstacle = Some(match (low, high) {
                (-2, ..=1) => "it has the code -2, which is not ternary".to_owned(),
                _ => format!("its codes run from {low} to {high}, {bits} bits wide"),
            });
        }
    }

    /// The numbers that the layer reads.
    fn judge(&mut self, tensor: &Tensor) {
        let Some(numbers) = tensor.as_f32() else { return };
        let mut magnitudes: Vec<f32> = vec![];
        for number in numbers.iter().map(|number| number.abs()).filter(|&number| number != 0.0) {
            if magnitudes.iter().all(|known| (known - number).abs() > TOLERANCE * known) {
                magnitudes.push(number);
            }
            if magnitudes.len() > MOST_MAGNITUDES {
                self.obstacle = Some("its weights have many magnitudes".to_owned());
                return;
            }
        }
        if magnitudes.len() > 1 {
            self.obstacle = Some(format!("its weights have {} magnitudes", magnitudes.len()));
        }
    }
}

fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

fn given(node: &NodeProto, operand: usize) -> bool {
    node.input.get(operand).is_some_and(|name| !name.is_empty())
}

fn distinct(numbers: Vec<i64>) -> Vec<i64> {
    numbers.into_iter().collect::<HashSet<_>>().into_iter().collect()
}
