//! The reference evaluator against values computed by hand.

#![allow(clippy::unwrap_used)] // A value that cannot be built is a failure of the test.

mod fixed_point;
mod graph;
mod special;
mod values;

use twnc_ir::eval::apply;
use twnc_ir::{Conv, Data, Dim, Geometry, Op, Tensor};

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

fn f32s(shape: &[usize], data: &[f32]) -> Tensor {
    Tensor::from_f32(shape.to_vec(), data.to_vec()).unwrap()
}

fn i64s(shape: &[usize], data: &[i64]) -> Tensor {
    Tensor::new(shape.to_vec(), Data::I64(data.into())).unwrap()
}

fn trits(shape: &[usize], data: &[i8]) -> Tensor {
    Tensor::new(shape.to_vec(), Data::Ternary(data.into())).unwrap()
}

fn dims(sizes: &[i64]) -> Vec<Dim> {
    sizes.iter().map(|&n| Dim::fixed(n)).collect()
}

/// The one result, which must have the shape and, bit for bit (any NaN being a NaN), the elements.
fn expect(op: Op, operands: &[Tensor], shape: &[usize], elements: &[f32]) {
    let results = apply(&op, operands).unwrap_or_else(|e| panic!("{op:?}: {e}"));
    let [result] = results.as_slice() else { panic!("{op:?} gave {} results", results.len()) };
    let bits = |x: &f32| if x.is_nan() { NAN.to_bits() } else { x.to_bits() };
    let (found, wanted): (Vec<u32>, Vec<u32>) =
        (result.as_f32().unwrap().iter().map(bits).collect(), elements.iter().map(bits).collect());
    assert_eq!(result.shape(), shape, "{op:?}");
    assert_eq!(found, wanted, "{op:?}: {:?}, not {elements:?}", result.as_f32().unwrap());
}

fn expect_data(op: Op, operands: &[Tensor], data: Data) {
    assert_eq!(apply(&op, operands).unwrap()[0].data(), &data, "{op:?}");
}

fn conv(strides: &[usize], dilations: &[usize], begin: &[usize], end: &[usize], groups: usize) -> Op {
    Op::Conv(Conv { geometry: geometry(strides, dilations, begin, end), groups })
}

fn geometry(strides: &[usize], dilations: &[usize], begin: &[usize], end: &[usize]) -> Geometry {
    Geometry {
        strides: strides.to_vec(),
        dilations: dilations.to_vec(),
        pads_begin: begin.to_vec(),
        pads_end: end.to_vec(),
    }
}
