//! Constant tensors: what weights are, and what the reference evaluator computes with.

use crate::dim::Dim;
use crate::types::{ElementType, TensorType};
use std::sync::Arc;
use thiserror::Error;

/// A dense tensor, row-major. Cloning shares the elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

/// The elements of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
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
    /// true or false
    Bool(Arc<[bool]>),
    /// -1, 0 or +1, one byte each
    Ternary(Arc<[i8]>),
}

/// Why elements do not make a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TensorError {
    /// The number of elements is not the product of the shape.
    #[error("{found} elements for a tensor of shape {shape:?}")]
    Length {
        /// The shape asked for.
        shape: Vec<usize>,
        /// How many elements came.
        found: usize,
    },
    /// An element of a ternary tensor is not -1, 0 or +1.
    #[error("element {index} of a ternary tensor is {value}")]
    NotTernary {
        /// Which.
        index: usize,
        /// What it is.
        value: i8,
    },
}

impl Tensor {
    /// A tensor of these elements.
    pub fn new(shape: Vec<usize>, data: Data) -> Result<Tensor, TensorError> {
        let product = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
        if product != Some(data.len()) {
            return Err(TensorError::Length { shape, found: data.len() });
        }
        if let Data::Ternary(trits) = &data
            && let Some(index) = trits.iter().position(|t| !(-1..=1).contains(t))
        {
            return Err(TensorError::NotTernary { index, value: trits[index] });
        }
        Ok(Tensor { shape, data })
    }

    /// An f32 tensor of these elements.
    pub fn from_f32(shape: Vec<usize>, data: Vec<f32>) -> Result<Tensor, TensorError> {
        Tensor::new(shape, Data::F32(data.into()))
    }

    /// A single f32, of rank 0.
    pub fn scalar(value: f32) -> Tensor {
        Tensor { shape: vec![], data: Data::F32([value].into()) }
    }

    /// Sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many elements are not zero (of truth values, true).
    pub fn nonzeros(&self) -> usize {
        match &self.data {
            Data::F32(v) => v.iter().filter(|&&x| x != 0.0).count(),
            Data::I8(v) | Data::Ternary(v) => v.iter().filter(|&&x| x != 0).count(),
            Data::U8(v) => v.iter().filter(|&&x| x != 0).count(),
            Data::I16(v) => v.iter().filter(|&&x| x != 0).count(),
            Data::I32(v) => v.iter().filter(|&&x| x != 0).count(),
            Data::I64(v) => v.iter().filter(|&&x| x != 0).count(),
            Data::Bool(v) => v.iter().filter(|&&x| x).count(),
        }
    }

    /// What an element is.
    pub fn element(&self) -> ElementType {
        self.data.element()
    }

    /// Its type.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.element(), self.shape.iter().map(|&n| Dim::from(n)).collect())
    }

    /// The elements, if they are f32.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(v) => Some(v),
            _ => None,
        }
    }

    /// The elements, if they are i64.
    pub fn as_i64(&self) -> Option<&[i64]> {
        match &self.data {
            Data::I64(v) => Some(v),
            _ => None,
        }
    }

    /// The elements, if they are ternary.
    pub fn as_ternary(&self) -> Option<&[i8]> {
        match &self.data {
            Data::Ternary(v) => Some(v),
            _ => None,
        }
    }

    /// The same elements in another shape of the same size.
    pub fn reshaped(&self, shape: Vec<usize>) -> Result<Tensor, TensorError> {
        Tensor::new(shape, self.data.clone())
    }

    /// A 64-bit digest of type, shape and elements (FNV-1a), by which the text form tells large constants apart. It
    /// guards against mistakes, not against malice.
    pub fn digest(&self) -> u64 {
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        hash.write(self.ty().to_string().as_bytes());
        match &self.data {
            Data::F32(v) => v.iter().for_each(|x| hash.write(&x.to_bits().to_le_bytes())),
            Data::I8(v) | Data::Ternary(v) => v.iter().for_each(|x| hash.write(&x.to_le_bytes())),
            Data::U8(v) => hash.write(v),
            Data::I16(v) => v.iter().for_each(|x| hash.write(&x.to_le_bytes())),
            Data::I32(v) => v.iter().for_each(|x| hash.write(&x.to_le_bytes())),
            Data::I64(v) => v.iter().for_each(|x| hash.write(&x.to_le_bytes())),
            Data::Bool(v) => v.iter().for_each(|&x| hash.write(&[u8::from(x)])),
        }
        hash.0
    }
}

impl Data {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Data::F32(v) => v.len(),
            Data::I8(v) | Data::Ternary(v) => v.len(),
            Data::U8(v) => v.len(),
            Data::I16(v) => v.len(),
            Data::I32(v) => v.len(),
            Data::I64(v) => v.len(),
            Data::Bool(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What an element is.
    pub fn element(&self) -> ElementType {
        match self {
            Data::F32(_) => ElementType::F32,
            Data::I8(_) => ElementType::I8,
            Data::U8(_) => ElementType::U8,
            Data::I16(_) => ElementType::I16,
            Data::I32(_) => ElementType::I32,
            Data::I64(_) => ElementType::I64,
            Data::Bool(_) => ElementType::Bool,
            Data::Ternary(_) => ElementType::Ternary,
        }
    }
}

/// FNV-1a, the 64-bit variant: a digest that is the same on every machine and in every release.
struct Fnv(u64);

impl Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
