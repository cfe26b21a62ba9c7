//! Arrays on disk: `.npy`, `.npz`, folders of `.npy`, and images.

use super::failure::{Failure, Kind};
use crate::arrays::{self, ArrayError, Picture, PictureError};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use twnc_runtime::{ElementType, Output, PortInfo, Size};

pub use crate::arrays::Arrays;

/// Reads one `.npy` file.
pub fn read_npy(path: &Path) -> Result<Output, Failure> {
    let file = open(path)?;
    arrays::read_npy(BufReader::new(file)).map_err(|e| {
        Failure::unacceptable(format!("not a readable .npy file ({e})"))
            .in_file(path.display())
            .help("write one with numpy.save(path, array)")
    })
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
    arrays::read_npz(BufReader::new(open(path)?)).map_err(|error| {
        let failure = Failure::unacceptable(&error).in_file(path.display());
        match error {
            ArrayError::Archive(_) => failure.help("write one with numpy.savez(path, NAME=array)"),
            ArrayError::Array { .. } => failure,
        }
    })
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

/// Refuses a place where no file can be written, before there is anything to write.
pub fn check_writable(path: &Path) -> Result<(), Failure> {
    let fail = |e: io::Error| unwritten(path, &e);
    if path.is_dir() {
        return Err(fail(io::ErrorKind::IsADirectory.into()));
    }
    temporary(&destination(path)).map_err(fail)?.close().map_err(fail)
}

/// Whether two outputs are one file, be it there yet or not.
pub fn is_same(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| {
        let path = destination(path);
        Some((folder(&path).canonicalize().ok()?, path.file_name()?.to_owned()))
    };
    place(a).is_some_and(|a| place(b) == Some(a))
}

/// A temporary file beside `path`, to take its place; as readable as a file that is made there.
pub fn temporary(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder(path))
}

/// The folder that a file is in, be it there yet or not.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that cannot be written. Errors of a temporary file name that one, which says nothing to who asked for another.
pub fn unwritten(path: &Path, error: &io::Error) -> Failure {
    let failure = |reason: &dyn std::fmt::Display| {
        Failure::unacceptable(format!("cannot be written: {reason}")).in_file(path.display())
    };
    match error.kind() {
        io::ErrorKind::NotFound => {
            failure(&"its folder does not exist").help("make the folder first, or give another file to write")
        }
        _ => failure(error),
    }
}

/// Writes a file whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let fail = |e: io::Error| unwritten(path, &e);
    let mut file = temporary(&destination(path)).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    file.persist(destination(path)).map_err(|e| fail(e.error))?;
    Ok(())
}

/// Writes named arrays as `.npz`, to a temporary file first, so that `path` is never half written.
pub fn write_npz(path: &Path, arrays: &[(String, Output)]) -> Result<(), Failure> {
    let fail = |e: io::Error| unwritten(path, &e);
    let target = destination(path);
    let file = temporary(&target).map_err(fail)?;
    arrays::write_npz(BufWriter::new(file.as_file()), arrays).map_err(fail)?;
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
    let picture = Picture { channels: mean.into_iter().zip(std).collect(), height, width };
    arrays::read_image(BufReader::new(open(path)?), &picture).map_err(|error| match error {
        PictureError::Image(_) => Failure::unacceptable(error).in_file(path.display()),
        PictureError::TooLarge { .. } => Failure::new(Kind::Limit, format!("input `{}`: {error}", port.name))
            .help("give the input as an array"),
    })
}

/// The width, the height and the bytes of an image, pixel by pixel, in 1 or 3 channels.
pub fn decode(path: &Path, channels: usize) -> Result<(usize, usize, Vec<u8>), Failure> {
    let pixels = arrays::read_pixels(BufReader::new(open(path)?), channels);
    pixels.map_err(|error| Failure::unacceptable(error).in_file(path.display()))
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
