//! Tensors of the suite's files, read by onnx-protobuf and compared as numbers.

use half::{bf16, f16};
use ndarray::ArrayD;
use onnx_protobuf::TensorProto;
use onnx_protobuf::tensor_proto::DataType;
use twnc_ir::{Data, ElementType, Tensor};
use twnc_runtime::Output;

/// ONNX's own tolerance: relative, of BFLOAT16, and absolute.
const RELATIVE: f64 = 1e-3;
const RELATIVE_BFLOAT16: f64 = 1.0 / 64.0;
const ABSOLUTE: f64 = 1e-7;

/// A tensor as numbers.
#[derive(Clone, Debug)]
pub(super) struct Values {
    /// What an element is in the file.
    ty: DataType,
    shape: Vec<usize>,
    numbers: Numbers,
    /// The tensor of the file; of what is computed, an empty one.
    source: TensorProto,
}

#[derive(Clone, Debug)]
enum Numbers {
    Float(Vec<f64>),
    Whole(Vec<i128>),
    Truth(Vec<bool>),
}

impl Values {
    /// The tensor of a file; nothing for texts, complex numbers and floats of 8 bits or less.
    pub(super) fn read(proto: &TensorProto) -> Option<Values> {
        let ty: DataType = protobuf::Enum::from_i32(proto.data_type)?;
        let shape: Vec<usize> = proto.dims.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<_>>()?;
        let numbers = match proto.raw_data.as_slice() {
            [] => from_fields(ty, proto)?,
            raw => from_raw(ty, raw)?,
        };
        let count = shape.iter().product();
        let numbers = match numbers {
            // Elements of less than a byte fill the last one up.
            Numbers::Whole(v) if v.len() > count => Numbers::Whole(v.into_iter().take(count).collect()),
            other => other,
        };
        (numbers.len() == count).then(|| Values { ty, shape, numbers, source: proto.clone() })
    }

    /// `0, 1/n, 2/n, ...`, which the suite's large networks are fed.
    pub(super) fn ramp(shape: Vec<usize>) -> Values {
        let count: usize = shape.iter().product();
        let numbers =
            Numbers::Float((0..count).map(|i| f64::from((i as f64 / count as f64) as f32)).collect());
        Values { ty: DataType::FLOAT, shape, numbers, source: TensorProto::default() }
    }

    /// The tensor of the file, as a constant of this name.
    pub(super) fn proto(&self, name: &str) -> TensorProto {
        TensorProto { name: name.to_owned(), ..self.source.clone() }
    }

    /// As an input of a graph that takes elements of this type.
    pub(super) fn tensor(&self, element: ElementType) -> Option<Tensor> {
        let data = match (&self.numbers, element) {
            (Numbers::Float(v), ElementType::F32) => Data::F32(v.iter().map(|&x| x as f32).collect()),
            (Numbers::Whole(v), ElementType::I8) => Data::I8(v.iter().map(|&n| n as i8).collect()),
            (Numbers::Whole(v), ElementType::U8) => Data::U8(v.iter().map(|&n| n as u8).collect()),
            (Numbers::Whole(v), ElementType::I16) => Data::I16(v.iter().map(|&n| n as i16).collect()),
            (Numbers::Whole(v), ElementType::I32) => Data::I32(v.iter().map(|&n| n as i32).collect()),
            (Numbers::Whole(v), ElementType::I64) => Data::I64(v.iter().map(|&n| n as i64).collect()),
            (Numbers::Truth(v), ElementType::Bool) => Data::Bool(v.as_slice().into()),
            _ => return None,
        };
        Tensor::new(self.shape.clone(), data).ok()
    }

    /// What the evaluator gave.
    pub(super) fn of_tensor(tensor: &Tensor) -> Values {
        let (ty, numbers) = match tensor.data() {
            Data::F32(v) => (DataType::FLOAT, Numbers::Float(v.iter().map(|&x| x.into()).collect())),
            Data::I8(v) | Data::Ternary(v) => {
                (DataType::INT8, Numbers::Whole(v.iter().map(|&n| n.into()).collect()))
            }
            Data::U8(v) => (DataType::UINT8, Numbers::Whole(v.iter().map(|&n| n.into()).collect())),
            Data::I16(v) => (DataType::INT16, Numbers::Whole(v.iter().map(|&n| n.into()).collect())),
            Data::I32(v) => (DataType::INT32, Numbers::Whole(v.iter().map(|&n| n.into()).collect())),
            Data::I64(v) => (DataType::INT64, Numbers::Whole(v.iter().map(|&n| n.into()).collect())),
            Data::Bool(v) => (DataType::BOOL, Numbers::Truth(v.to_vec())),
        };
        Values { ty, shape: tensor.shape().to_vec(), numbers, source: TensorProto::default() }
    }

    /// What the runtime gave.
    pub(super) fn of_output(output: &Output) -> Values {
        fn whole<T: Copy + Into<i128>>(array: &ArrayD<T>) -> Numbers {
            Numbers::Whole(array.iter().map(|&n| n.into()).collect())
        }
        let (ty, numbers) = match output {
            Output::F32(a) => (DataType::FLOAT, Numbers::Float(a.iter().map(|&x| x.into()).collect())),
            Output::I8(a) => (DataType::INT8, whole(a)),
            Output::U8(a) => (DataType::UINT8, whole(a)),
            Output::I16(a) => (DataType::INT16, whole(a)),
            Output::I32(a) => (DataType::INT32, whole(a)),
            Output::I64(a) => (DataType::INT64, whole(a)),
            Output::Bool(a) => (DataType::BOOL, Numbers::Truth(a.iter().copied().collect())),
        };
        Values { ty, shape: output.shape().to_vec(), numbers, source: TensorProto::default() }
    }

    /// Whether these are the values that the suite expects; if not, where they differ.
    pub(super) fn check(&self, expected: &Values) -> Result<(), String> {
        if self.shape != expected.shape {
            return Err(format!("has shape {:?}, expected {:?}", self.shape, expected.shape));
        }
        let differs = |i: usize, a: &dyn std::fmt::Display, b: &dyn std::fmt::Display| {
            Err(format!("element {i} is {a}, expected {b}"))
        };
        match (&self.numbers, &expected.numbers) {
            (Numbers::Float(found), Numbers::Float(wanted)) => {
                let relative = if expected.ty == DataType::BFLOAT16 { RELATIVE_BFLOAT16 } else { RELATIVE };
                let near = |a: f64, b: f64| {
                    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= ABSOLUTE + relative * b.abs()
                };
                match found.iter().zip(wanted).position(|(&a, &b)| !near(a, b)) {
                    Some(i) => differs(i, &found[i], &wanted[i]),
                    None => Ok(()),
                }
            }
            (Numbers::Whole(found), Numbers::Whole(wanted)) if self.ty == expected.ty => {
                match found.iter().zip(wanted).position(|(a, b)| a != b) {
                    Some(i) => differs(i, &found[i], &wanted[i]),
                    None => Ok(()),
                }
            }
            (Numbers::Truth(found), Numbers::Truth(wanted)) => {
                match found.iter().zip(wanted).position(|(a, b)| a != b) {
                    Some(i) => differs(i, &found[i], &wanted[i]),
                    None => Ok(()),
                }
            }
            _ => Err(format!("has elements of {:?}, expected {:?}", self.ty, expected.ty)),
        }
    }
}

impl Numbers {
    fn len(&self) -> usize {
        match self {
            Numbers::Float(v) => v.len(),
            Numbers::Whole(v) => v.len(),
            Numbers::Truth(v) => v.len(),
        }
    }
}

fn from_raw(ty: DataType, raw: &[u8]) -> Option<Numbers> {
    macro_rules! words {
        ($t:ty, $convert:expr) => {{
            let (words, _) = raw.as_chunks();
            words.iter().map(|word| $convert(<$t>::from_le_bytes(*word))).collect()
        }};
    }
    Some(match ty {
        DataType::FLOAT => Numbers::Float(words!(f32, f64::from)),
        DataType::DOUBLE => Numbers::Float(words!(f64, |x: f64| f64::from(x as f32))),
        DataType::FLOAT16 => Numbers::Float(words!(f16, f64::from)),
        DataType::BFLOAT16 => Numbers::Float(words!(bf16, f64::from)),
        DataType::INT8 => Numbers::Whole(words!(i8, i128::from)),
        DataType::UINT8 => Numbers::Whole(words!(u8, i128::from)),
        DataType::INT16 => Numbers::Whole(words!(i16, i128::from)),
        DataType::UINT16 => Numbers::Whole(words!(u16, i128::from)),
        DataType::INT32 => Numbers::Whole(words!(i32, i128::from)),
        DataType::UINT32 => Numbers::Whole(words!(u32, i128::from)),
        DataType::INT64 => Numbers::Whole(words!(i64, i128::from)),
        DataType::UINT64 => Numbers::Whole(words!(u64, i128::from)),
        DataType::BOOL => Numbers::Truth(raw.iter().map(|&b| b != 0).collect()),
        DataType::INT4 | DataType::UINT4 => Numbers::Whole(nibbles(ty, raw.iter().copied())),
        _ => return None,
    })
}

fn from_fields(ty: DataType, proto: &TensorProto) -> Option<Numbers> {
    let narrow = || proto.int32_data.iter();
    Some(match ty {
        DataType::FLOAT => Numbers::Float(proto.float_data.iter().map(|&x| x.into()).collect()),
        DataType::DOUBLE => Numbers::Float(proto.double_data.iter().map(|&x| f64::from(x as f32)).collect()),
        DataType::FLOAT16 => Numbers::Float(narrow().map(|&n| f16::from_bits(n as u16).into()).collect()),
        DataType::BFLOAT16 => Numbers::Float(narrow().map(|&n| bf16::from_bits(n as u16).into()).collect()),
        DataType::BOOL => Numbers::Truth(narrow().map(|&n| n != 0).collect()),
        DataType::INT64 => Numbers::Whole(proto.int64_data.iter().map(|&n| n.into()).collect()),
        DataType::UINT32 | DataType::UINT64 => {
            Numbers::Whole(proto.uint64_data.iter().map(|&n| n.into()).collect())
        }
        DataType::INT4 | DataType::UINT4 => Numbers::Whole(nibbles(ty, narrow().map(|&n| n as u8))),
        DataType::INT8 | DataType::UINT8 | DataType::INT16 | DataType::UINT16 | DataType::INT32 => {
            Numbers::Whole(narrow().map(|&n| n.into()).collect())
        }
        _ => return None,
    })
}

/// Two elements a byte, the first in the low bits.
fn nibbles(ty: DataType, bytes: impl Iterator<Item = u8>) -> Vec<i128> {
    let each = |code: u8| if ty == DataType::INT4 && code > 7 { i128::from(code) - 16 } else { code.into() };
    bytes.flat_map(|byte| [each(byte & 15), each(byte >> 4)]).collect()
}
