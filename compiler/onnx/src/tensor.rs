//! `TensorProto` to [`Tensor`].
//!
//! FLOAT, INT8, UINT8, INT16, INT32, INT64 and BOOL are taken as they are. FLOAT16, BFLOAT16 and DOUBLE become f32 (DOUBLE
//! rounded to nearest, the others exactly). UINT16 becomes i32, UINT32 and UINT64 become i64; a UINT64 over `i64::MAX` is
//! refused. INT4, INT2, UINT4 and UINT2, packed low bits first, become i8 and u8, one element a byte.
//!
//! The number of bytes or elements in the file is compared with type and shape before anything is allocated.

use crate::error::TensorProblem;
use crate::external::ExternalData;
use crate::proto::{DataLocation, DataType, TensorProto};
use half::{bf16, f16};
use std::borrow::Cow;
use twnc_ir::{Data, ElementType, Tensor};

/// The tensor that a file holds; `external` reads the elements that are in other files.
pub fn decode(proto: &TensorProto, external: &ExternalData) -> Result<Tensor, TensorProblem> {
    let ty = data_type(proto.data_type)?;
    let shape = shape(&proto.dims)?;
    one_place(proto)?;
    let count = shape.iter().product();
    let data = match raw_bytes(proto, ty, count, external)? {
        Some(bytes) => from_raw(ty, count, &bytes)?,
        None => from_typed(ty, count, proto)?,
    };
    Tensor::new(shape, data).map_err(|_| TensorProblem::Shape(proto.dims.clone()))
}

/// Elements are in one place.
fn one_place(proto: &TensorProto) -> Result<(), TensorProblem> {
    let places = [
        ("another file", proto.data_location == DataLocation::External as i32),
        ("`raw_data`", proto.raw_data.as_ref().is_some_and(|bytes| !bytes.is_empty())),
        ("`float_data`", !proto.float_data.is_empty()),
        ("`int32_data`", !proto.int32_data.is_empty()),
        ("`string_data`", !proto.string_data.is_empty()),
        ("`int64_data`", !proto.int64_data.is_empty()),
        ("`double_data`", !proto.double_data.is_empty()),
        ("`uint64_data`", !proto.uint64_data.is_empty()),
    ];
    let mut taken = places.iter().filter(|(_, taken)| *taken).map(|(name, _)| *name);
    match (taken.next(), taken.next()) {
        (Some(first), Some(second)) => Err(TensorProblem::Places(first, second)),
        _ => Ok(()),
    }
}

/// The element type that a graph has for one of ONNX's.
pub fn element_type(data_type_number: i32) -> Result<ElementType, TensorProblem> {
    Ok(match data_type(data_type_number)? {
        DataType::Float | DataType::Float16 | DataType::Bfloat16 | DataType::Double => ElementType::F32,
        DataType::Int8 | DataType::Int4 | DataType::Int2 => ElementType::I8,
        DataType::Uint8 | DataType::Uint4 | DataType::Uint2 => ElementType::U8,
        DataType::Int16 => ElementType::I16,
        DataType::Int32 | DataType::Uint16 => ElementType::I32,
        DataType::Int64 | DataType::Uint32 | DataType::Uint64 => ElementType::I64,
        DataType::Bool => ElementType::Bool,
        other => return Err(TensorProblem::Element(name(other))),
    })
}

/// What a file calls elements of this type; ternary ones are written as FLOAT.
pub fn stored_as(element: ElementType) -> DataType {
    match element {
        ElementType::F32 | ElementType::Ternary => DataType::Float,
        ElementType::I8 => DataType::Int8,
        ElementType::U8 => DataType::Uint8,
        ElementType::I16 => DataType::Int16,
        ElementType::I32 => DataType::Int32,
        ElementType::I64 => DataType::Int64,
        ElementType::Bool => DataType::Bool,
    }
}

/// The type of a number in a file.
pub fn data_type(number: i32) -> Result<DataType, TensorProblem> {
    DataType::try_from(number).map_err(|_| TensorProblem::Element(format!("number {number}")))
}

/// A type's name in the ONNX schema.
pub fn name(ty: DataType) -> String {
    format!("{ty:?}").to_uppercase()
}

/// The shape, if each size and the number of elements are ones that a `usize` holds.
fn shape(dims: &[i64]) -> Result<Vec<usize>, TensorProblem> {
    let sizes: Option<Vec<usize>> = dims.iter().map(|&n| usize::try_from(n).ok()).collect();
    sizes
        .filter(|sizes| sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size)).is_some())
        .ok_or_else(|| TensorProblem::Shape(dims.to_vec()))
}

/// The bytes of a tensor that has its elements as bytes, as many as type and shape ask for.
fn raw_bytes<'a>(
    proto: &'a TensorProto,
    ty: DataType,
    count: usize,
    external: &ExternalData,
) -> Result<Option<Cow<'a, [u8]>>, TensorProblem> {
    let bits = bits(ty)?;
    let expected = count.checked_mul(bits).map(|n| n.div_ceil(8));
    let expected = expected.ok_or_else(|| TensorProblem::Shape(proto.dims.clone()))?;
    let bytes = if proto.data_location == DataLocation::External as i32 {
        Cow::Owned(external.read(&proto.external_data, expected)?)
    } else {
        match &proto.raw_data {
            Some(bytes) if !bytes.is_empty() || expected == 0 => Cow::Borrowed(bytes.as_slice()),
            _ => return Ok(None),
        }
    };
    if bytes.len() != expected {
        return Err(TensorProblem::Length { unit: "bytes", expected, found: bytes.len() });
    }
    Ok(Some(bytes))
}

/// Bits of an element in a file.
fn bits(ty: DataType) -> Result<usize, TensorProblem> {
    Ok(match ty {
        DataType::Int2 | DataType::Uint2 => 2,
        DataType::Int4 | DataType::Uint4 => 4,
        DataType::Int8 | DataType::Uint8 | DataType::Bool => 8,
        DataType::Int16 | DataType::Uint16 | DataType::Float16 | DataType::Bfloat16 => 16,
        DataType::Int32 | DataType::Uint32 | DataType::Float => 32,
        DataType::Int64 | DataType::Uint64 | DataType::Double => 64,
        other => return Err(TensorProblem::Element(name(other))),
    })
}

fn from_raw(ty: DataType, count: usize, bytes: &[u8]) -> Result<Data, TensorProblem> {
    Ok(match ty {
        DataType::Float => Data::F32(words(bytes).map(f32::from_le_bytes).collect()),
        DataType::Double => Data::F32(words(bytes).map(|b| f64::from_le_bytes(b) as f32).collect()),
        DataType::Float16 => Data::F32(words(bytes).map(|b| f16::from_le_bytes(b).to_f32()).collect()),
        DataType::Bfloat16 => Data::F32(words(bytes).map(|b| bf16::from_le_bytes(b).to_f32()).collect()),
        DataType::Int8 => Data::I8(words(bytes).map(i8::from_le_bytes).collect()),
        DataType::Uint8 => Data::U8(bytes.into()),
        DataType::Bool => Data::Bool(bytes.iter().map(|&b| b != 0).collect()),
        DataType::Int16 => Data::I16(words(bytes).map(i16::from_le_bytes).collect()),
        DataType::Uint16 => Data::I32(words(bytes).map(|b| i32::from(u16::from_le_bytes(b))).collect()),
        DataType::Int32 => Data::I32(words(bytes).map(i32::from_le_bytes).collect()),
        DataType::Uint32 => Data::I64(words(bytes).map(|b| i64::from(u32::from_le_bytes(b))).collect()),
        DataType::Int64 => Data::I64(words(bytes).map(i64::from_le_bytes).collect()),
        DataType::Uint64 => Data::I64(signed(words(bytes).map(u64::from_le_bytes))?),
        DataType::Int4 | DataType::Uint4 | DataType::Int2 | DataType::Uint2 => {
            unpack(ty, count, bytes.iter().copied())
        }
        other => return Err(TensorProblem::Element(name(other))),
    })
}

fn from_typed(ty: DataType, count: usize, proto: &TensorProto) -> Result<Data, TensorProblem> {
    let check = |found: usize, expected: usize| match found == expected {
        true => Ok(()),
        false => Err(TensorProblem::Length { unit: "elements", expected, found }),
    };
    let narrow = &proto.int32_data;
    let expected = if bits(ty)? < 8 { count.div_ceil(8 / bits(ty)?) } else { count };
    check(
        match ty {
            DataType::Float => proto.float_data.len(),
            DataType::Double => proto.double_data.len(),
            DataType::Int64 => proto.int64_data.len(),
            DataType::Uint32 | DataType::Uint64 => proto.uint64_data.len(),
            _ => narrow.len(),
        },
        expected,
    )?;
    Ok(match ty {
        DataType::Float => Data::F32(proto.float_data.as_slice().into()),
        DataType::Double => Data::F32(proto.double_data.iter().map(|&x| x as f32).collect()),
        DataType::Float16 => Data::F32(narrow.iter().map(|&x| f16::from_bits(x as u16).to_f32()).collect()),
        DataType::Bfloat16 => Data::F32(narrow.iter().map(|&x| bf16::from_bits(x as u16).to_f32()).collect()),
        DataType::Int8 => Data::I8(narrow.iter().map(|&x| x as i8).collect()),
        DataType::Uint8 => Data::U8(narrow.iter().map(|&x| x as u8).collect()),
        DataType::Bool => Data::Bool(narrow.iter().map(|&x| x != 0).collect()),
        DataType::Int16 => Data::I16(narrow.iter().map(|&x| x as i16).collect()),
        DataType::Uint16 => Data::I32(narrow.iter().map(|&x| i32::from(x as u16)).collect()),
        DataType::Int32 => Data::I32(narrow.as_slice().into()),
        DataType::Int64 => Data::I64(proto.int64_data.as_slice().into()),
        DataType::Uint32 => Data::I64(proto.uint64_data.iter().map(|&x| i64::from(x as u32)).collect()),
        DataType::Uint64 => Data::I64(signed(proto.uint64_data.iter().copied())?),
        DataType::Int4 | DataType::Uint4 | DataType::Int2 | DataType::Uint2 => {
            unpack(ty, count, narrow.iter().map(|&x| x as u8))
        }
        other => return Err(TensorProblem::Element(name(other))),
    })
}

/// Groups of `N` bytes; what is left at the end is not a group.
fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.as_chunks().0.iter().copied()
}

/// Elements of less than a byte, the first in the low bits.
fn unpack(ty: DataType, count: usize, bytes: impl Iterator<Item = u8>) -> Data {
    let bits: u32 = if matches!(ty, DataType::Int4 | DataType::Uint4) { 4 } else { 2 };
    let codes =
        bytes.flat_map(|byte| (0..8 / bits).map(move |i| (byte >> (i * bits)) << (8 - bits))).take(count);
    if matches!(ty, DataType::Int4 | DataType::Int2) {
        Data::I8(codes.map(|code| (code as i8) >> (8 - bits)).collect())
    } else {
        Data::U8(codes.map(|code| code >> (8 - bits)).collect())
    }
}

fn signed(values: impl Iterator<Item = u64>) -> Result<std::sync::Arc<[i64]>, TensorProblem> {
    values
        .enumerate()
        .map(|(index, value)| {
            i64::try_from(value).map_err(|_| TensorProblem::Range { index, value, element: "UINT64" })
        })
        .collect()
}
