//! Constants: every element type, from raw bytes and from typed fields, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fixture;

use fixture::raw;
use onnx_protobuf::{Message, TensorProto};
use prost::Message as _;
use twnc_ir::Data;
use twnc_onnx::external::ExternalData;
use twnc_onnx::tensor::decode;

const FLOAT: i32 = 1;
const UINT8: i32 = 2;
const INT8: i32 = 3;
const UINT16: i32 = 4;
const INT16: i32 = 5;
const INT32: i32 = 6;
const INT64: i32 = 7;
const STRING: i32 = 8;
const BOOL: i32 = 9;
const FLOAT16: i32 = 10;
const DOUBLE: i32 = 11;
const UINT32: i32 = 12;
const UINT64: i32 = 13;
const COMPLEX64: i32 = 14;
const BFLOAT16: i32 = 16;
const FLOAT8E4M3FN: i32 = 17;
const UINT4: i32 = 21;
const INT4: i32 = 22;
const UINT2: i32 = 25;
const INT2: i32 = 26;

/// Writes with one library, reads with the other.
fn read(tensor: &TensorProto) -> Result<Data, String> {
    let bytes = tensor.write_to_bytes().unwrap();
    let proto = twnc_onnx::proto::TensorProto::decode(bytes.as_slice()).unwrap();
    decode(&proto, &ExternalData::refused()).map(|tensor| tensor.data().clone()).map_err(|e| e.to_string())
}

#[test]
fn raw_bytes() {
    let cases: Vec<(i32, i64, &[u8], Data)> = vec![
        (FLOAT, 2, &[0, 0, 128, 63, 0, 0, 0, 192], Data::F32([1.0, -2.0].into())),
        (DOUBLE, 1, &[0, 0, 0, 0, 0, 0, 248, 63], Data::F32([1.5].into())),
        (FLOAT16, 2, &[0, 60, 0, 192], Data::F32([1.0, -2.0].into())),
        (BFLOAT16, 2, &[128, 63, 0, 192], Data::F32([1.0, -2.0].into())),
        (INT8, 2, &[255, 127], Data::I8([-1, 127].into())),
        (UINT8, 2, &[255, 127], Data::U8([255, 127].into())),
        (BOOL, 3, &[0, 1, 2], Data::Bool([false, true, true].into())),
        (INT16, 1, &[254, 255], Data::I16([-2].into())),
        (UINT16, 1, &[254, 255], Data::I32([65_534].into())),
        (INT32, 1, &[254, 255, 255, 255], Data::I32([-2].into())),
        (UINT32, 1, &[254, 255, 255, 255], Data::I64([4_294_967_294].into())),
        (INT64, 1, &[254, 255, 255, 255, 255, 255, 255, 255], Data::I64([-2].into())),
        (UINT64, 1, &[2, 0, 0, 0, 0, 0, 0, 0], Data::I64([2].into())),
        (INT4, 3, &[0x8f, 0x07], Data::I8([-1, -8, 7].into())),
        (UINT4, 3, &[0x8f, 0x07], Data::U8([15, 8, 7].into())),
        (INT2, 5, &[0b11_10_01_00, 0b01], Data::I8([0, 1, -2, -1, 1].into())),
        (UINT2, 5, &[0b11_10_01_00, 0b01], Data::U8([0, 1, 2, 3, 1].into())),
        (FLOAT, 0, &[], Data::F32([].into())),
    ];
    for (ty, count, bytes, expected) in cases {
        assert_eq!(read(&raw("t", ty, &[count], bytes)), Ok(expected), "type {ty}");
    }
}

#[test]
fn typed_fields() {
    let base =
        |data_type: i32, count: i64| TensorProto { data_type, dims: vec![count], ..Default::default() };
    let narrow = |ty: i32, count: i64, v: &[i32]| TensorProto { int32_data: v.into(), ..base(ty, count) };
    let cases = vec![
        (TensorProto { float_data: vec![1.0, -2.0], ..base(FLOAT, 2) }, Data::F32([1.0, -2.0].into())),
        (TensorProto { double_data: vec![1.5], ..base(DOUBLE, 1) }, Data::F32([1.5].into())),
        (TensorProto { int64_data: vec![-2], ..base(INT64, 1) }, Data::I64([-2].into())),
        (TensorProto { uint64_data: vec![7], ..base(UINT64, 1) }, Data::I64([7].into())),
        (TensorProto { uint64_data: vec![7], ..base(UINT32, 1) }, Data::I64([7].into())),
        (narrow(FLOAT16, 1, &[0xc000]), Data::F32([-2.0].into())),
        (narrow(BFLOAT16, 1, &[0xc000]), Data::F32([-2.0].into())),
        (narrow(INT8, 1, &[-3]), Data::I8([-3].into())),
        (narrow(UINT8, 1, &[200]), Data::U8([200].into())),
        (narrow(INT16, 1, &[-3]), Data::I16([-3].into())),
        (narrow(UINT16, 1, &[65_535]), Data::I32([65_535].into())),
        (narrow(INT32, 1, &[-3]), Data::I32([-3].into())),
        (narrow(BOOL, 2, &[1, 0]), Data::Bool([true, false].into())),
        (narrow(INT4, 3, &[0x8f, 0x07]), Data::I8([-1, -8, 7].into())),
        (narrow(UINT2, 3, &[0b10_01_00]), Data::U8([0, 1, 2].into())),
    ];
    for (tensor, expected) in cases {
        assert_eq!(read(&tensor), Ok(expected), "type {}", tensor.data_type);
    }
}

#[test]
fn refused() {
    let typed = TensorProto { data_type: FLOAT, dims: vec![3], float_data: vec![1.0], ..Default::default() };
    let cases = vec![
        (raw("t", FLOAT, &[2], &[0; 7]), "7 bytes of data where type and shape ask for 8"),
        (raw("t", FLOAT, &[1], &[0; 8]), "8 bytes of data where type and shape ask for 4"),
        (raw("t", INT4, &[5], &[0; 2]), "2 bytes of data where type and shape ask for 3"),
        (typed, "1 elements of data where type and shape ask for 3"),
        (raw("t", FLOAT, &[-1], &[]), "the shape [-1] is no shape of a tensor"),
        (raw("t", FLOAT, &[1 << 40, 1 << 40], &[]), "is no shape of a tensor"),
        (raw("t", DOUBLE, &[1 << 61], &[]), "is no shape of a tensor"),
        (
            raw("t", INT8, &[1 << 60], &[]),
            "0 elements of data where type and shape ask for 1152921504606846976",
        ),
        (raw("t", UINT64, &[1], &[255; 8]), "element 0 is 18446744073709551615"),
        (raw("t", STRING, &[1], &[0]), "elements of type STRING are not supported"),
        (raw("t", COMPLEX64, &[1], &[0; 8]), "elements of type COMPLEX64 are not supported"),
        (raw("t", FLOAT8E4M3FN, &[1], &[0]), "elements of type FLOAT8E4M3FN are not supported"),
        (raw("t", 0, &[1], &[0]), "elements of type UNDEFINED are not supported"),
        (raw("t", 99, &[1], &[0]), "elements of type number 99 are not supported"),
    ];
    for (tensor, expected) in cases {
        let message = read(&tensor).unwrap_err();
        assert!(message.contains(expected), "{message}\nis not\n{expected}");
    }
}
