//! Constants: dense tensors, and ternary weights packed five to a byte.

use crate::element::ElementType;
use std::ops::Range;
use std::sync::Arc;

/// A named constant tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// The name it had in the network, for reports; may be empty.
    pub name: String,
    /// Sizes of its axes.
    pub shape: Vec<usize>,
    /// Its elements; their number is the product of `shape`.
    pub data: ConstantData,
}

/// The elements of a constant.
#[derive(Clone, Debug, PartialEq)]
pub enum ConstantData {
    /// binary32
    F32(Arc<[f32]>),
    /// 8 bits, signed
    I8(Arc<[i8]>),
    /// 8 bits, unsigned
    U8(Arc<[u8]>),
    /// 16 bits, signed
    I16(Arc<[i16]>),
    /// 32 bits, signed
    I32(Arc<[i32]>),
    /// 64 bits, signed
    I64(Arc<[i64]>),
    /// 0 or 1 each
    Bool(Arc<[u8]>),
    /// -1, 0 or +1 each
    Ternary(Trits),
}

impl Constant {
    /// The type of its elements.
    pub fn element(&self) -> ElementType {
        match &self.data {
            ConstantData::F32(_) => ElementType::F32,
            ConstantData::I8(_) => ElementType::I8,
            ConstantData::U8(_) => ElementType::U8,
            ConstantData::I16(_) => ElementType::I16,
            ConstantData::I32(_) => ElementType::I32,
            ConstantData::I64(_) => ElementType::I64,
            ConstantData::Bool(_) => ElementType::Bool,
            ConstantData::Ternary(_) => ElementType::Ternary,
        }
    }

    /// The number of elements that `data` holds.
    pub fn len(&self) -> usize {
        match &self.data {
            ConstantData::F32(v) => v.len(),
            ConstantData::I8(v) => v.len(),
            ConstantData::U8(v) => v.len(),
            ConstantData::I16(v) => v.len(),
            ConstantData::I32(v) => v.len(),
            ConstantData::I64(v) => v.len(),
            ConstantData::Bool(v) => v.len(),
            ConstantData::Ternary(t) => t.len(),
        }
    }

    /// Whether it holds no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The trits of each byte below 243.
static DIGITS: [[i8; 5]; 243] = {
    let mut table = [[0; 5]; 243];
    let mut byte = 0;
    while byte < 243 {
        let (mut rest, mut i) = (byte, 0);
        while i < 5 {
            table[byte][i] = (rest % 3) as i8 - 1;
            rest /= 3;
            i += 1;
        }
        byte += 1;
    }
    table
};

/// A sequence of trits, five to a byte: a byte is Σ (tᵢ + 1)·3ⁱ over its five trits, the first the least significant.
/// The unused places of the last byte hold the digit 1 (a zero), so equal sequences are equal bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trits {
    len: usize,
    bytes: Arc<[u8]>,
}

impl Trits {
    /// Packs `values`; `None` if one is not -1, 0 or +1.
    pub fn pack(values: &[i8]) -> Option<Trits> {
        let mut bytes = Vec::with_capacity(values.len().div_ceil(5));
        for five in values.chunks(5) {
            let mut byte = 0u8;
            for i in (0..5).rev() {
                let digit = match five.get(i).copied().unwrap_or(0) {
                    -1 => 0,
                    0 => 1,
                    1 => 2,
                    _ => return None,
                };
                byte = byte * 3 + digit;
            }
            bytes.push(byte);
        }
        Some(Trits { len: values.len(), bytes: bytes.into() })
    }

    /// Takes over packed bytes; `None` unless they are exactly the packing of `len` trits.
    pub fn from_bytes(len: usize, bytes: Arc<[u8]>) -> Option<Trits> {
        if bytes.len() != len.div_ceil(5) || bytes.iter().any(|&b| b >= 243) {
            return None;
        }
        let spare = bytes.len() * 5 - len;
        let last = bytes.last().copied().unwrap_or(0);
        // The unused digits are the most significant ones of the last byte; each must be 1.
        let canonical = (5 - spare..5).all(|i| (last / 3u8.pow(i as u32)) % 3 == 1);
        canonical.then_some(Trits { len, bytes })
    }

    /// How many trits.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The packed form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The trits one after the other.
    pub fn iter(&self) -> impl Iterator<Item = i8> + '_ {
        let digits = self.bytes.iter().flat_map(|&byte| DIGITS[usize::from(byte)]);
        digits.take(self.len)
    }

    /// The trit at `i`, which must be less than the length.
    pub fn get(&self, i: usize) -> i8 {
        DIGITS[usize::from(self.bytes[i / 5])][i % 5]
    }

    /// All trits, one byte each.
    pub fn unpack(&self) -> Vec<i8> {
        self.unpack_range(0..self.len)
    }

    /// The trits of a range, which must lie within the length, one byte each.
    pub fn unpack_range(&self, range: Range<usize>) -> Vec<i8> {
        let bytes = &self.bytes[range.start / 5..range.end.div_ceil(5)];
        let mut trits = Vec::with_capacity(bytes.len() * 5);
        bytes.iter().for_each(|&byte| trits.extend_from_slice(&DIGITS[usize::from(byte)]));
        trits.truncate(range.end - range.start / 5 * 5);
        trits.drain(..range.start % 5);
        trits
    }
}
