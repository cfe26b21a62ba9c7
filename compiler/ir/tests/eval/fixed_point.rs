//! Quantisation to fixed point, and products of what it gives.

use crate::{conv, expect_data, f32s, trits};
use proptest::prelude::*;
use twnc_ir::eval::apply;
use twnc_ir::{Data, Op, Quantize, Tensor};

fn quantized(bits: usize, signed: bool, scale: Option<f32>, x: &Tensor) -> (Tensor, Vec<i16>, Tensor) {
    let results = apply(&Op::Quantize(Quantize { bits, signed, scale }), std::slice::from_ref(x)).unwrap();
    let [q, s]: [Tensor; 2] = results.try_into().unwrap();
    let Data::I16(numbers) = q.data() else { panic!("{q:?}") };
    (q.clone(), numbers.to_vec(), s)
}

fn i16s(shape: &[usize], data: &[i16]) -> Tensor {
    Tensor::new(shape.to_vec(), Data::I16(data.into())).unwrap()
}

#[test]
fn ranges() {
    for (bits, signed, least, most) in [
        (2, true, -1, 1),
        (2, false, 0, 3),
        (8, true, -127, 127),
        (8, false, 0, 255),
        (12, true, -2047, 2047),
        (12, false, 0, 4095),
    ] {
        assert_eq!(Quantize { bits, signed, scale: None }.range(), (least, most));
        let (_, q, s) = quantized(bits, signed, None, &f32s(&[1, 3], &[-6.0, 6.0, 0.0]));
        assert_eq!((q, s), (vec![least, most, 0], f32s(&[1, 1], &[6.0 / f32::from(most)])));
    }
}

#[test]
fn ties_go_to_even_and_every_sample_has_its_scale() {
    let x = f32s(&[2, 1, 4], &[0.5, 1.5, -2.5, 7.0, 7.0, -14.0, 1.0, 3.0]);
    let (q, numbers, s) = quantized(4, true, None, &x);
    assert_eq!(numbers, [0, 2, -2, 7, 4, -7, 0, 2]);
    assert_eq!((q.shape(), s), (&[2, 1, 4][..], f32s(&[2, 1, 1], &[1.0, 2.0])));
    // With a scale of rank 1, each element is a sample.
    let (_, numbers, s) = quantized(8, true, None, &f32s(&[3], &[-3.0, 0.0, 1e-20]));
    assert_eq!((numbers, s.shape()), (vec![-127, 0, 127], &[3][..]));
    // Nothing has the scale 0, and no samples none.
    let (_, numbers, s) = quantized(8, false, None, &f32s(&[2, 0], &[]));
    assert_eq!((numbers, s), (vec![], f32s(&[2, 1], &[0.0, 0.0])));
    assert_eq!(quantized(8, false, None, &f32s(&[0, 2], &[])).2, f32s(&[0, 1], &[]));
    // A constant scale saturates what is beyond it, and takes part for every sample.
    let (_, numbers, s) = quantized(4, false, Some(0.5), &f32s(&[2, 2], &[0.25, 0.75, 1e30, -1.0]));
    assert_eq!((numbers, s), (vec![0, 2, 15, 0], f32s(&[2, 1], &[0.5, 0.5])));
}

#[test]
fn products_are_exact() {
    let x = i16s(&[1, 2, 3], &[4095, -4095, 1, 7, i16::MIN, i16::MAX]);
    let w = trits(&[2, 2, 2], &[1, -1, 0, 1, -1, 0, 0, 0]);
    let padded = conv(&[1], &[1], &[0], &[1], 1);
    let expected = [8190 - 32768, -4096 + 32767, 1, -4095, 4095, -1];
    expect_data(padded, &[x, w], Data::I32(expected.into()));
    // Beyond what f32 can hold.
    let n = 1 << 15;
    let x = i16s(&[1, n + 1], &[vec![1 << 12; n], vec![1]].concat());
    expect_data(Op::MatMul, &[x, trits(&[n + 1, 1], &vec![1; n + 1])], Data::I32([(1 << 27) + 1].into()));
    expect_data(Op::MatMul, &[i16s(&[1, 0], &[]), trits(&[0, 1], &[])], Data::I32([0].into()));
}

proptest! {
    /// A number in the range is no further from `q·s` than half a step, but for the rounding of f32 itself.
    #[test]
    fn half_a_step_is_lost(
        mut x in prop::collection::vec(-1e3f32..1e3, 1..40),
        exponent in -30..30i32,
        bits in 2usize..=12,
        signed: bool,
    ) {
        x.iter_mut().for_each(|x| *x *= 2f32.powi(exponent));
        let (_, q, s) = quantized(bits, signed, None, &f32s(&[1, x.len()], &x));
        let step = f64::from(s.as_f32().unwrap()[0]);
        for (&x, q) in x.iter().zip(q) {
            let wanted = if signed { f64::from(x) } else { f64::from(x).max(0.0) };
            let lost = (wanted - f64::from(q) * step).abs();
            prop_assert!(lost <= 0.5 * step + wanted.abs() * 2f64.powi(-22), "{x} became {q} times {step}");
        }
    }

    #[test]
    fn a_sample_does_not_depend_on_its_batch(x in prop::collection::vec(any::<f32>(), 12), signed: bool) {
        let (_, together, scales) = quantized(8, signed, None, &f32s(&[3, 4], &x));
        for i in 0..3 {
            let (_, alone, scale) = quantized(8, signed, None, &f32s(&[1, 4], &x[4 * i..4 * i + 4]));
            prop_assert_eq!(&alone, &together[4 * i..4 * i + 4]);
            prop_assert_eq!(scale.as_f32().unwrap()[0].to_bits(), scales.as_f32().unwrap()[i].to_bits());
        }
    }
}
