//! Readers and writers of arrays: `.npy`, `.npz`, and images.
//!
//! Whatever the bytes, there is an array or an error. Memory follows what is there and not what a header claims, up to
//! [`MAX_BYTES`] for a file and [`MAX_IMAGE_BYTES`] for an image.

mod header;

use image::{DynamicImage, ImageError, ImageReader, Limits};
use ndarray::{ArrayD, IxDyn, ShapeBuilder};
use npyz::{NpyFile, Order, TypeChar, WriterBuilder};
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Seek, Write};
use thiserror::Error;
use twnc_runtime::Output;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// The most bytes of all arrays of a file.
pub const MAX_BYTES: u64 = 8 << 30;
/// The most bytes of an image, as it is decoded and as it is scaled.
pub const MAX_IMAGE_BYTES: u64 = 128 << 20;

/// Named arrays.
pub type Arrays = BTreeMap<String, Output>;

/// Why a file holds no arrays.
#[derive(Debug, Error)]
pub enum ArrayError {
    /// It is no archive.
    #[error("not a readable .npz file ({0})")]
    Archive(#[from] ZipError),
    /// One of its arrays cannot be read.
    #[error("array `{name}`: {source}")]
    Array {
        /// Which.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// Why a file holds no image for an input.
#[derive(Debug, Error)]
pub enum PictureError {
    /// It cannot be decoded.
    #[error("not a readable image ({0})")]
    Image(#[from] ImageError),
    /// The input is larger than any image that is scaled.
    #[error("an image of {width}x{height} is larger than the {MAX_IMAGE_BYTES} bytes to which one is scaled")]
    TooLarge {
        /// The input's width.
        width: usize,
        /// Its height.
        height: usize,
    },
}

/// What an image becomes: `[1, C, H, W]`, in 0..1, then `(x - mean) / std` by channel.
#[derive(Clone, Debug)]
pub struct Picture {
    /// For each channel, what is subtracted and what is divided by; one channel is grey, three are red, green, blue.
    pub channels: Vec<(f32, f32)>,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// Reads an array as `.npy`: element by element, so that memory follows what is really there.
pub fn read_npy(reader: impl Read) -> io::Result<Output> {
    let mut left = MAX_BYTES;
    read_array(reader, &mut left)
}

/// Reads the arrays of a `.npz`, by name; what is no `.npy` in it is passed over.
pub fn read_npz(reader: impl Read + Seek) -> Result<Arrays, ArrayError> {
    let mut archive = ZipArchive::new(reader)?;
    let mut arrays = Arrays::new();
    let mut left = MAX_BYTES;
    for i in 0..archive.len() {
        let file = archive.by_index(i)?;
        let Some(name) = file.name()?.strip_suffix(".npy").map(str::to_owned) else { continue };
        match read_array(file, &mut left) {
            Ok(array) => arrays.insert(name, array),
            Err(source) => return Err(ArrayError::Array { name, source }),
        };
    }
    Ok(arrays)
}

/// Writes arrays as `.npz`.
pub fn write_npz(target: impl Write + Seek, arrays: &[(String, Output)]) -> io::Result<()> {
    let mut archive = ZipWriter::new(target);
    for (name, array) in arrays {
        // What numpy writes too: members of unknown size, stored.
        let options =
            SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
        archive.start_file(format!("{name}.npy"), options)?;
        write_npy(&mut archive, array)?;
    }
    archive.finish()?.flush()
}

/// Writes an array as `.npy`.
pub fn write_npy(target: impl Write, array: &Output) -> io::Result<()> {
    macro_rules! write {
        ($array:expr) => {{
            let shape: Vec<u64> = $array.shape().iter().map(|&n| n as u64).collect();
            let mut writer =
                npyz::WriteOptions::new().default_dtype().shape(&shape).writer(target).begin_nd()?;
            writer.extend($array.iter().copied())?;
            writer.finish()
        }};
    }
    match array {
        Output::F32(a) => write!(a),
        Output::I8(a) => write!(a),
        Output::U8(a) => write!(a),
        Output::I16(a) => write!(a),
        Output::I32(a) => write!(a),
        Output::I64(a) => write!(a),
        Output::Bool(a) => write!(a),
    }
}

/// Reads a JPEG or PNG, scaled (bilinear) to what it becomes.
pub fn read_image(reader: impl BufRead + Seek, picture: &Picture) -> Result<Output, PictureError> {
    let &Picture { ref channels, height, width } = picture;
    let too_large = PictureError::TooLarge { width, height };
    // Scaling works in f32 of up to four channels.
    let bytes = [width, height, 16].iter().try_fold(1u64, |product, &n| product.checked_mul(n as u64));
    let (Ok(columns), Ok(rows)) = (u32::try_from(width), u32::try_from(height)) else {
        return Err(too_large);
    };
    if bytes.is_none_or(|bytes| bytes > MAX_IMAGE_BYTES) {
        return Err(too_large);
    }
    let image = decoded(reader)?.resize_exact(columns, rows, image::imageops::FilterType::Triangle);
    let pixels = if channels.len() == 1 { image.to_luma8().into_raw() } else { image.to_rgb8().into_raw() };
    let count = if channels.len() == 1 { 1 } else { 3 };
    let array = ArrayD::from_shape_fn(IxDyn(&[1, channels.len(), height, width]), |index| {
        let pixel = pixels[(index[2] * width + index[3]) * count + index[1].min(count - 1)];
        let (mean, std) = channels[index[1]];
        (f32::from(pixel) / 255.0 - mean) / std
    });
    Ok(Output::F32(array))
}

/// The width, the height and the bytes of an image as it is, pixel by pixel, in one channel or in three.
pub fn read_pixels(
    reader: impl BufRead + Seek,
    channels: usize,
) -> Result<(usize, usize, Vec<u8>), PictureError> {
    let image = decoded(reader)?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    Ok((width, height, if channels == 1 { image.to_luma8().into_raw() } else { image.to_rgb8().into_raw() }))
}

fn decoded(reader: impl BufRead + Seek) -> Result<DynamicImage, ImageError> {
    let mut reader = ImageReader::new(reader).with_guessed_format().map_err(ImageError::IoError)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_IMAGE_BYTES);
    // Scaling keeps the columns of as many rows as it makes.
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    reader.limits(limits);
    reader.decode()
}

/// The longest side of an image.
const MAX_SIDE: u32 = 1 << 15;

/// Reads an array of at most `left` bytes, and subtracts its own.
fn read_array(reader: impl Read, left: &mut u64) -> io::Result<Output> {
    let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    let file = NpyFile::new(header::checked(reader)?)?;
    let npyz::DType::Plain(ty) = file.dtype() else {
        return Err(invalid("records are not supported; save a plain array".into()));
    };
    let shape = file.shape().iter().map(|&n| usize::try_from(n)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(|e| invalid(e.to_string()))?;
    let bytes = shape.iter().try_fold(ty.size_field(), |product, &n| product.checked_mul(n as u64));
    let Some(rest) = bytes.and_then(|bytes| left.checked_sub(bytes)) else {
        return Err(invalid(format!("shape {shape:?} is larger than the {MAX_BYTES} bytes that are read")));
    };
    *left = rest;
    let column_major = file.order() == Order::Fortran;
    macro_rules! read {
        ($variant:ident, $t:ty, $convert:expr) => {{
            let elements = file.data::<$t>().map_err(|e| invalid(e.to_string()))?;
            let elements = elements.map(|x| x.map($convert)).collect::<io::Result<Vec<_>>>()?;
            let shape = IxDyn(&shape).set_f(column_major);
            ArrayD::from_shape_vec(shape, elements).map(Output::$variant).map_err(|e| invalid(e.to_string()))
        }};
    }
    match (ty.type_char(), ty.size_field()) {
        (TypeChar::Float, 2) => read!(F32, half::f16, f32::from),
        (TypeChar::Float, 4) => read!(F32, f32, |x| x),
        (TypeChar::Float, 8) => read!(F32, f64, |x| x as f32),
        (TypeChar::Int, 1) => read!(I8, i8, |x| x),
        (TypeChar::Int, 2) => read!(I16, i16, |x| x),
        (TypeChar::Int, 4) => read!(I32, i32, |x| x),
        (TypeChar::Int, 8) => read!(I64, i64, |x| x),
        (TypeChar::Uint, 1) => read!(U8, u8, |x| x),
        (TypeChar::Bool, 1) => read!(Bool, bool, |x| x),
        _ => Err(invalid(format!(
            "elements of type {ty} are not supported; use f16, f32, f64, i8, u8, i16, i32, i64 or bool"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Output, read_npy, write_npy};

    /// As numpy writes `np.asfortranarray([[0, 1, 2], [3, 4, 5]], '<f4')`.
    #[test]
    fn an_array_in_columns_is_that_in_rows() {
        let file = |order: &str, elements: [f32; 6]| {
            let header = format!("{{'descr': '<f4', 'fortran_order': {order}, 'shape': (2, 3), }}\n");
            let start = [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()];
            let elements = elements.into_iter().flat_map(f32::to_le_bytes);
            start.concat().into_iter().chain(elements).collect::<Vec<u8>>()
        };
        let columns = read_npy(&*file("True", [0.0, 3.0, 1.0, 4.0, 2.0, 5.0])).expect("an array in columns");
        let rows = read_npy(&*file("False", [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])).expect("an array in rows");
        let Output::F32(array) = &columns else { panic!("it is {columns:?}") };
        assert_eq!(array[[1, 0]], 3.0);
        assert_eq!(columns, rows);
        // What is written is in rows, whatever the order in memory.
        let mut written = vec![];
        write_npy(&mut written, &columns).expect("memory");
        assert_eq!(read_npy(&*written).expect("what was written"), rows);
    }
}
