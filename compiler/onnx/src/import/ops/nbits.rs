//! `MatMulNBits` of ONNX Runtime (`com.microsoft`): a matrix of few bits, with a scale for each block of inputs of each output. It is read
//! as what it stands for, a FLOAT matrix.

use super::super::attributes::Attributes;
use super::super::call::{Call, Known, Reason, Translated, one, overflow};
use super::{Operator, operator};
use crate::proto::NodeProto;
use twnc_ir::{Binary, Data, Op, Tensor};

pub(super) const OPERATORS: &[Operator] =
    &[operator("com.microsoft::MatMulNBits", 1, (3, 6), "const, matmul, add", matmul_nbits)];

/// Operands: x, codes, scales, zero points, an order of the inputs, a bias.
fn matmul_nbits(call: &mut Call<'_, '_>) -> Translated {
    // How exact another engine may be.
    call.attributes.ignore(&["accuracy_level"]);
    if call.has(4) {
        return Err(Reason::new(
            "has an order of inputs (g_idx, operand 4); export without reordering".into(),
        ));
    }
    let packed = Packed::of(&call.attributes)?;
    let Some(Known::Constant { tensor, name, .. }) = call.known(1) else {
        return Err(Reason::new("the codes (operand 1) are not constant".into()));
    };
    let (codes, name) = (packed.codes(tensor)?, name.clone());
    let Some(scales) = call.constant(2, "the scale")?.and_then(Tensor::as_f32) else {
        return Err(Reason::new("the scale (operand 2) is not FLOAT".into()));
    };
    let zeros = packed.zeros(call.constant(3, "the zero point")?)?;
    let (n, k, blocks) = (packed.n, packed.k, packed.blocks);
    if scales.len() != n * blocks {
        return Err(Reason::new(format!(
            "has {} scales; {n} outputs of {blocks} blocks have {}",
            scales.len(),
            n * blocks
        )));
    }
    let weight = |i: usize| {
        let (input, output) = (i / n, i % n);
        let at = output * blocks + input / packed.block;
        (codes[output * k + input] - zeros[at]) * scales[at]
    };
    let weight = Tensor::from_f32(vec![k, n], (0..k * n).map(weight).collect())?;
    let weight = call.place_named(weight, &name);
    let x = call.value(0)?;
    let y = call.op(Op::MatMul, &[x, weight])?;
    match call.optional(5)? {
        Some(bias) => one(call.binary(Binary::Add, y, bias)?),
        None => one(y),
    }
}

/// The smallest and the largest code of a node's weight, about its zero points.
pub fn range(node: &NodeProto, codes: &Tensor, zeros: Option<&Tensor>) -> Option<(f32, f32)> {
    let packed = Packed::of(&Attributes::new(node).ok()?).ok()?;
    let (codes, zeros) = (packed.codes(codes).ok()?, packed.zeros(zeros).ok()?);
    let block = |i: usize| i / packed.k * packed.blocks + i % packed.k / packed.block;
    let centred = codes.iter().enumerate().map(|(i, code)| code - zeros[block(i)]);
    Some(centred.fold((0.0, 0.0), |(low, high), code| (code.min(low), code.max(high))))
}

/// How codes are packed: low bits first, each block of an output in whole bytes.
struct Packed {
    bits: usize,
    /// Inputs.
    k: usize,
    /// Outputs.
    n: usize,
    /// Inputs that share a scale.
    block: usize,
    /// Of one output.
    blocks: usize,
}

impl Packed {
    fn of(attributes: &Attributes<'_>) -> Result<Packed, Reason> {
        let size = |name: &str, default: Option<i64>| {
            let given = attributes.int(name)?.or(default);
            let size = given.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
            size.ok_or_else(|| Reason::new(format!("attribute `{name}` is not a size of 1 or more")))
        };
        let (bits, k, n, block) =
            (size("bits", Some(4))?, size("K", None)?, size("N", None)?, size("block_size", None)?);
        if !matches!(bits, 2 | 4 | 8) {
            return Err(Reason::new(format!("has codes of {bits} bits; 2, 4 and 8 are accepted")));
        }
        if !(block.is_power_of_two() && block >= 16) {
            return Err(Reason::new(format!(
                "attribute `block_size` is {block}; it must be a power of 2, 16 or more"
            )));
        }
        let packed = Packed { bits, k, n, block, blocks: k.div_ceil(block) };
        // What is indexed below.
        let largest = packed.blocks.checked_mul(block).and_then(|k| k.checked_mul(n)?.checked_mul(bits));
        largest.map(|_| packed).ok_or_else(overflow)
    }

    /// `[N, K]`
    fn codes(&self, tensor: &Tensor) -> Result<Vec<f32>, Reason> {
        let row = self.blocks * self.block;
        let bytes = self.bytes(tensor, "the codes (operand 1)", self.n * row * self.bits / 8)?;
        let code = |output: usize| {
            (0..self.k).map(move |input| f32::from(code(bytes, output * row + input, self.bits)))
        };
        Ok((0..self.n).flat_map(code).collect())
    }

    /// `[N, blocks]`: half of the codes lie below it unless the file says otherwise.
    fn zeros(&self, given: Option<&Tensor>) -> Result<Vec<f32>, Reason> {
        let Some(tensor) = given else {
            return Ok(vec![(1u32 << (self.bits - 1)) as f32; self.n * self.blocks]);
        };
        if let Some(zeros) = tensor.as_f32().filter(|zeros| zeros.len() == self.n * self.blocks) {
            return Ok(zeros.to_vec());
        }
        let row = (self.blocks * self.bits).div_ceil(8);
        let bytes = self.bytes(tensor, "the zero points (operand 3)", self.n * row)?;
        let zero = |output: usize| {
            (0..self.blocks)
                .map(move |block| f32::from(code(bytes, output * row * (8 / self.bits) + block, self.bits)))
        };
        Ok((0..self.n).flat_map(zero).collect())
    }

    fn bytes<'t>(&self, tensor: &'t Tensor, what: &str, expected: usize) -> Result<&'t [u8], Reason> {
        match tensor.data() {
            Data::U8(bytes) if bytes.len() == expected => Ok(bytes),
            _ => Err(Reason::new(format!("{what} are {}, not {expected} bytes of UINT8", tensor.ty()))),
        }
    }
}

/// A code by its number. The caller has checked how many bytes there are.
fn code(bytes: &[u8], number: usize, bits: usize) -> u8 {
    let bit = number * bits;
    (bytes[bit / 8] >> (bit % 8)) & (u8::MAX >> (8 - bits))
}
