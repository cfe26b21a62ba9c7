//! The readers of arrays and images: what they must keep, and seeds for them.

use image::{DynamicImage, ImageFormat};
use ndarray::{ArrayD, IxDyn};
use std::io::Cursor;
use twnc::arrays::{self, Picture};
use twnc_runtime::Output;

pub(super) fn npy(bytes: &[u8]) -> bool {
    let Ok(array) = arrays::read_npy(bytes) else { return false };
    let written = npy_of(&array);
    let again = arrays::read_npy(&written[..])
        .unwrap_or_else(|error| panic!("an array that was written is refused: {error}"));
    // By bytes: a NaN is not equal to itself.
    assert!(npy_of(&again) == written, "an array does not survive its file");
    true
}

pub(super) fn npz(bytes: &[u8]) -> bool {
    let Ok(found) = arrays::read_npz(Cursor::new(bytes)) else { return false };
    let found: Vec<_> = found.into_iter().collect();
    let written = npz_of(&found);
    let again = arrays::read_npz(Cursor::new(&written));
    let again = again.unwrap_or_else(|error| panic!("an archive that was written is refused: {error}"));
    assert!(
        npz_of(&again.into_iter().collect::<Vec<_>>()) == written,
        "an archive does not survive its file"
    );
    true
}

/// As an input of one channel, or of three: decoding takes long.
pub(super) fn image(bytes: &[u8]) -> bool {
    let (channels, height, width) = if bytes.len().is_multiple_of(2) { (1, 7, 5) } else { (3, 4, 9) };
    let picture = Picture { channels: vec![(0.5, 0.25); channels], height, width };
    let Ok(array) = arrays::read_image(Cursor::new(bytes), &picture) else { return false };
    assert_eq!(array.shape(), [1, channels, height, width], "an image's shape");
    true
}

fn npy_of(array: &Output) -> Vec<u8> {
    let mut bytes = vec![];
    arrays::write_npy(&mut bytes, array)
        .unwrap_or_else(|error| panic!("an array cannot be written: {error}"));
    bytes
}

fn npz_of(arrays: &[(String, Output)]) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    arrays::write_npz(&mut bytes, arrays)
        .unwrap_or_else(|error| panic!("an archive cannot be written: {error}"));
    bytes.into_inner()
}

/// An array of each element type.
fn samples() -> Vec<Output> {
    fn array<T>(shape: &[usize], each: impl Fn(i8) -> T) -> ArrayD<T> {
        let mut next = 0;
        ArrayD::from_shape_fn(IxDyn(shape), |_| {
            next += 1;
            each(next)
        })
    }
    vec![
        Output::F32(array(&[2, 3], |n| f32::from(n) / 4.0)),
        Output::F32(array(&[], f32::from)),
        Output::I8(array(&[3], |n| -n)),
        Output::U8(array(&[1, 2, 2], |n| n as u8)),
        Output::I16(array(&[4, 1], i16::from)),
        Output::I32(array(&[2], i32::from)),
        Output::I64(array(&[0, 5], i64::from)),
        Output::Bool(array(&[5], |n| n % 2 == 0)),
    ]
}

pub(super) fn npy_seeds() -> Vec<Vec<u8>> {
    samples().iter().map(npy_of).collect()
}

pub(super) fn npz_seeds() -> Vec<Vec<u8>> {
    let named: Vec<_> =
        samples().into_iter().enumerate().map(|(i, array)| (format!("x{i}"), array)).collect();
    [&named[..1], &named[1..4], &named[..]].into_iter().map(npz_of).collect()
}

pub(super) fn image_seeds() -> Vec<Vec<u8>> {
    let grey =
        DynamicImage::ImageLuma8(image::GrayImage::from_fn(9, 6, |x, y| image::Luma([(x * 20 + y) as u8])));
    let colour = DynamicImage::ImageRgb8(image::RgbImage::from_fn(5, 8, |x, y| {
        image::Rgb([(x * 50) as u8, (y * 30) as u8, 128])
    }));
    let alpha = DynamicImage::ImageRgba16(colour.to_rgba16());
    let pairs = [
        (&grey, ImageFormat::Png),
        (&colour, ImageFormat::Png),
        (&alpha, ImageFormat::Png),
        (&grey, ImageFormat::Jpeg),
        (&colour, ImageFormat::Jpeg),
    ];
    pairs
        .into_iter()
        .filter_map(|(image, format)| {
            let mut bytes = Cursor::new(vec![]);
            image.write_to(&mut bytes, format).ok()?;
            Some(bytes.into_inner())
        })
        .collect()
}
