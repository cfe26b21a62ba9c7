//! Arrays on disk: `.npy`, `.npz`, folders of `.npy`, and images.

use super::failure::{Failure, Kind};
use ndarray::{ArrayD, IxDyn, ShapeBuilder};
use npyz::{NpyFile, Order, TypeChar, WriterBuilder};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};
use twnc_runtime::{ElementType, Output, PortInfo, Size};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// The largest array that is read, in bytes.
const MAX_ARRAY_BYTES: u64 = 8 << 30;

/// Named arrays.
pub type Arrays = BTreeMap<String, Output>;

/// Reads one `.npy` file.
pub fn read_npy(path: &Path) -> Result<Output, Failure> {
    let file = open(path)?;
    read_array(BufReader::new(file)).map_err(|e| Failure::unacceptable(e).in_file(path.display()))
}

/// Reads a `.npz` file, or a folder of `.npy` files, by name.
pub fn read_arrays(path: &Path) -> Result<Arrays, Failure> {
    if path.is_dir() {
        let entries = path.read_dir().map_err(|e| Failure::unacceptable(e).in_file(path.display()))?;
        let mut arrays = Arrays::new();
        for entry in entries {
            let file = entry.map_err(|e| Failure::unacceptable(e).in_file(path.display()))?.path();
            if let (Some("npy"), Some(name)) =
                (file.extension().and_then(|e| e.to_str()), file.file_stem().and_then(|s| s.to_str()))
            {
                arrays.insert(name.to_owned(), read_npy(&file)?);
            }
        }
        return Ok(arrays);
    }
    let fail = |e: &dyn std::fmt::Display| {
        Failure::unacceptable(format!("not a readable .npz file ({e})"))
            .in_file(path.display())
            .help("write one with numpy.savez(path, NAME=array)")
    };
    let mut archive = ZipArchive::new(BufReader::new(open(path)?)).map_err(|e| fail(&e))?;
    let mut arrays = Arrays::new();
    for i in 0..archive.len() {
        let file = archive.by_index(i).map_err(|e| fail(&e))?;
        let Some(name) = file.name().map_err(|e| fail(&e))?.strip_suffix(".npy").map(str::to_owned) else {
            continue;
        };
        let array = read_array(file)
            .map_err(|e| Failure::unacceptable(format!("array `{name}`: {e}")).in_file(path.display()))?;
        arrays.insert(name, array);
    }
    Ok(arrays)
}

/// Refuses to write `output` over a file that is read, and in the place of a device or pipe.
pub fn keep_apart<'a>(output: &Path, read: impl IntoIterator<Item = &'a Path>) -> Result<(), Failure> {
    if std::fs::metadata(output).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return Err(Failure::usage(format!("{} is no regular file", output.display()))
            .help("give another file to write; text goes to standard output without -o"));
    }
    let Ok(output) = output.canonicalize() else { return Ok(()) };
    match read.into_iter().find(|path| path.canonicalize().is_ok_and(|path| path == output)) {
        Some(path) => Err(Failure::usage(format!("{} would be overwritten by the output", path.display()))
            .help("give another file to write")),
        None => Ok(()),
    }
}

/// Where an output goes: what a symbolic link at `path` points to, be it there yet or not, so that the link stays one.
pub fn destination(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    // As many links as Linux follows; of a circle, any is as good as the others: writing replaces it.
    for _ in 0..40 {
        let Ok(next) = std::fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(next);
    }
    path
}

/// A temporary file beside `path`, to take its place; as readable as a file that is made there.
pub fn temporary(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// Writes a file whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let fail =
        |e: io::Error| Failure::unacceptable(format!("cannot be written: {e}")).in_file(path.display());
    let mut file = temporary(&destination(path)).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    file.persist(destination(path)).map_err(|e| fail(e.error))?;
    Ok(())
}

/// Writes named arrays as `.npz`, to a temporary file first, so that `path` is never half written.
pub fn write_npz(path: &Path, arrays: &[(String, Output)]) -> Result<(), Failure> {
    let fail =
        |e: io::Error| Failure::unacceptable(format!("cannot be written: {e}")).in_file(path.display());
    let target = destination(path);
    let file = temporary(&target).map_err(fail)?;
    {
        let mut archive = ZipWriter::new(BufWriter::new(file.as_file()));
        for (name, array) in arrays {
            // What numpy writes too: members of unknown size, stored.
            let options =
                SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
            archive.start_file(format!("{name}.npy"), options).map_err(|e| fail(e.into()))?;
            write_array(&mut archive, array).map_err(fail)?;
        }
        archive.finish().and_then(|mut buffer| Ok(buffer.flush()?)).map_err(|e| fail(e.into()))?;
    }
    file.as_file().sync_all().map_err(fail)?;
    file.persist(target).map_err(|e| fail(e.error))?;
    Ok(())
}

/// Reads an image as an input: scaled to the input's height and width (bilinear), in 0..1, then `(x - mean) / std` by channel,
/// in the order `[1, C, H, W]`. One channel is grey, three are red, green, blue.
pub fn read_image(path: &Path, port: &PortInfo, mean: &[f32], std: &[f32]) -> Result<Output, Failure> {
    let &[_, Size::Fixed(channels), Size::Fixed(height), Size::Fixed(width)] = &port.shape.as_slice() else {
        let message = format!(
            "input `{}` is no image: it has not the shape [N, C, H, W] with fixed C, H, W",
            port.name
        );
        return Err(Failure::usage(message).help("compile with --input-shape, or give the input as an array"));
    };
    let (channels, height, width) = (*channels, *height, *width);
    if !matches!(channels, 1 | 3) {
        return Err(Failure::usage(format!(
            "input `{}` has {channels} channels; an image has 1 or 3",
            port.name
        )));
    }
    let per_channel = |values: &[f32], absent: f32, what: &str| match values {
        [] => Ok(vec![absent; channels]),
        &[one] => Ok(vec![one; channels]),
        many if many.len() == channels => Ok(many.to_vec()),
        many => Err(Failure::usage(format!("{what} has {} numbers for {channels} channels", many.len()))),
    };
    let (mean, std) = (per_channel(mean, 0.0, "--mean")?, per_channel(std, 1.0, "--std")?);
    let image = open_image(path)?;
    let side =
        |n: usize| u32::try_from(n).map_err(|_| Failure::usage(format!("an image side of {n} is too large")));
    let image = image.resize_exact(side(width)?, side(height)?, image::imageops::FilterType::Triangle);
    let pixels = if channels == 1 { image.to_luma8().into_raw() } else { image.to_rgb8().into_raw() };
    let array = ArrayD::from_shape_fn(IxDyn(&[1, channels, height, width]), |index| {
        let pixel = pixels[(index[2] * width + index[3]) * channels + index[1]];
        (f32::from(pixel) / 255.0 - mean[index[1]]) / std[index[1]]
    });
    Ok(Output::F32(array))
}

/// The width, the height and the bytes of an image, pixel by pixel, in 1 or 3 channels.
pub fn decode(path: &Path, channels: usize) -> Result<(usize, usize, Vec<u8>), Failure> {
    let image = open_image(path)?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    Ok((width, height, if channels == 1 { image.to_luma8().into_raw() } else { image.to_rgb8().into_raw() }))
}

fn open_image(path: &Path) -> Result<image::DynamicImage, Failure> {
    image::ImageReader::new(BufReader::new(open(path)?))
        .with_guessed_format()
        .map_err(|e| Failure::unacceptable(e).in_file(path.display()))?
        .decode()
        .map_err(|e| Failure::unacceptable(format!("not a readable image ({e})")).in_file(path.display()))
}

/// An array with the element type that a model declares: widened or narrowed between integers, and from integers or f64 to f32.
pub fn convert(array: Output, element: ElementType, name: &str) -> Result<Output, Failure> {
    if array.element() == element {
        return Ok(array);
    }
    let found = array.element();
    let converted = match (element, array) {
        (ElementType::F32, Output::U8(a)) => Some(Output::F32(a.mapv(f32::from))),
        (ElementType::F32, Output::I8(a)) => Some(Output::F32(a.mapv(f32::from))),
        (ElementType::I64, Output::I32(a)) => Some(Output::I64(a.mapv(i64::from))),
        (ElementType::I64, Output::U8(a)) => Some(Output::I64(a.mapv(i64::from))),
        _ => None,
    };
    converted.ok_or_else(|| {
        Failure::unacceptable(format!("input `{name}` holds {found}, but the model declares {element}"))
            .help(format!("convert the array with numpy's astype to {element}"))
    })
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path)
        .map_err(|e| Failure::unacceptable(format!("cannot be read: {e}")).in_file(path.display()))
}

/// Reads element by element, so that memory follows what is really there and not what the header claims.
fn read_array<R: Read>(reader: R) -> io::Result<Output> {
    let file = NpyFile::new(reader)?;
    let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    let npyz::DType::Plain(ty) = file.dtype() else {
        return Err(invalid("records are not supported; save a plain array".into()));
    };
    let shape = file.shape().iter().map(|&n| usize::try_from(n)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(|e| invalid(e.to_string()))?;
    let bytes = shape.iter().try_fold(ty.size_field(), |product, &n| product.checked_mul(n as u64));
    if bytes.is_none_or(|bytes| bytes > MAX_ARRAY_BYTES) {
        return Err(invalid(format!(
            "shape {shape:?} is larger than the {MAX_ARRAY_BYTES} bytes that are read"
        )));
    }
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

fn write_array(target: &mut dyn io::Write, array: &Output) -> io::Result<()> {
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

/// The largest text that is read, in bytes.
const MAX_TEXT_BYTES: u64 = 256 << 20;

/// A text file.
pub fn text(path: &Path) -> Result<String, Failure> {
    let fail = |e: io::Error| Failure::unacceptable(format!("cannot be read: {e}")).in_file(path.display());
    let size = std::fs::metadata(path).map_err(fail)?.len();
    if size > MAX_TEXT_BYTES {
        let message = format!("{size} bytes; at most {MAX_TEXT_BYTES} of text are read");
        return Err(Failure::new(Kind::Limit, message).in_file(path.display()));
    }
    std::fs::read_to_string(path).map_err(fail)
}
