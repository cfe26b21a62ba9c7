//! Samples with classes, as data sets come: arrays, MNIST's idx files (also gzipped), folders of images by class.

use super::data;
use super::failure::{Failure, Kind};
use super::host::{Content, Host};
use crate::Samples;
use flate2::read::GzDecoder;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use twnc_ir::{Data, ElementType, Graph, Tensor};
use twnc_runtime::Output;

/// The most numbers that a data set may have.
const MOST: usize = 1 << 31;

/// How a pixel becomes a number: in 0..1, then `(x - mean) / std` by channel.
#[derive(Clone, Debug, Default)]
pub struct Pixels {
    /// One number or one for each channel; 0 without.
    pub mean: Vec<f32>,
    /// One number or one for each channel; 1 without.
    pub std: Vec<f32>,
}

/// Samples, and classes where the files say them.
pub struct Dataset {
    pub samples: Samples,
    pub labels: Option<Vec<usize>>,
    /// Where folders are the classes, their names, in order.
    pub classes: Option<Vec<String>>,
}

/// Samples for a graph: FILE.npz or a folder of NAME.npy by the names of inputs; FILE.npy, idx images or a folder of folders of images for the only
/// input. The folders are the classes: `classes`, which another data set has, or all there are, in the order of their names.
pub fn read(
    host: &Host,
    graph: &Graph,
    path: &Path,
    pixels: &Pixels,
    classes: Option<&[String]>,
) -> Result<Dataset, Failure> {
    let fail = |message: String| Failure::unacceptable(message).in_file(path.display());
    let only = || match graph.inputs() {
        [port] => Ok((port.name.clone(), graph.ty(port.value))),
        ports => Err(fail(format!("this is one array, and the network has {} inputs", ports.len()))
            .help("give a .npz with an array for each input, by its name")),
    };
    let one = |tensor: Tensor| -> Result<Dataset, Failure> {
        Ok(Dataset { samples: Samples::new([(only()?.0, tensor)]), labels: None, classes: None })
    };
    if path.is_dir() && class_folders(path)?.is_empty() || path.extension().is_some_and(|e| e == "npz") {
        return Ok(Dataset {
            samples: super::calibrate::samples(host, graph, path)?,
            labels: None,
            classes: None,
        });
    }
    if path.is_dir() {
        let (name, ty) = only()?;
        let layout = Layout::of(&ty.shape.iter().skip(1).map(|d| d.as_size()).collect::<Vec<_>>())
            .ok_or_else(|| {
                fail(format!("input `{name}` is {ty}: no images of 1 or 3 channels with fixed sides"))
            })?;
        let classes = classes.map_or_else(|| class_names(path), |classes| Ok(classes.to_vec()))?;
        let (tensor, labels) = folder(path, layout, pixels, &classes)?;
        return Ok(Dataset { labels: Some(labels), classes: Some(classes), ..one(tensor)? });
    }
    if is_idx(path)? {
        let (name, ty) = only()?;
        let (sizes, bytes) = idx(path)?;
        let own: Option<Vec<usize>> = ty.shape.iter().skip(1).map(|d| d.as_size()).collect();
        let (&[count, ..], Some(own)) = (sizes.as_slice(), own) else {
            return Err(fail(format!("input `{name}` is {ty}: its sizes are not fixed")));
        };
        if sizes.iter().skip(1).product::<usize>() != own.iter().product::<usize>() {
            return Err(fail(format!("the images are {:?}; input `{name}` is {ty}", &sizes[1..]))
                .help("scale the images to what the network takes, or give it another shape with -i"));
        }
        let layout = Layout::of(&own.iter().map(|&n| Some(n)).collect::<Vec<_>>());
        let shape: Vec<usize> = std::iter::once(count).chain(own).collect();
        let channels = layout.map_or((1, 1), |layout| (layout.channels, layout.inner));
        let numbers = numbers(&bytes, channels, pixels)?;
        return one(tensor(shape, numbers, path)?);
    }
    let (name, ty) = only()?;
    let array = data::read_npy(path)?;
    let element = if ty.element == ElementType::I64 {
        twnc_runtime::ElementType::I64
    } else {
        twnc_runtime::ElementType::F32
    };
    let array = data::convert(array, element, &name).map_err(|e| e.in_file(path.display()))?;
    let samples = crate::samples([(name, array)]).map_err(fail)?;
    Ok(Dataset { samples, labels: None, classes: None })
}

/// Classes: FILE.npy of whole numbers, or idx labels.
pub fn labels(host: &Host, path: &Path) -> Result<Vec<usize>, Failure> {
    let fail = |message: String| Failure::unacceptable(message).in_file(path.display());
    let given = match host.content(path) {
        Some(Content::Array(array)) => Some(array),
        Some(_) => return Err(fail("this is not an array".to_owned())),
        None => None,
    };
    if given.is_none() && is_idx(path)? {
        let (sizes, bytes) = idx(path)?;
        return match sizes.as_slice() {
            [_] => Ok(bytes.into_iter().map(usize::from).collect()),
            sizes => Err(fail(format!("it holds an array of {sizes:?}, not one class for each sample"))),
        };
    }
    let whole = |i: i64| usize::try_from(i).ok();
    let labels: Option<Vec<usize>> = match given.map_or_else(|| data::read_npy(path), Ok)? {
        Output::I64(a) => a.iter().map(|&i| whole(i)).collect(),
        Output::I32(a) => a.iter().map(|&i| whole(i.into())).collect(),
        Output::U8(a) => Some(a.iter().map(|&i| usize::from(i)).collect()),
        _ => None,
    };
    labels.ok_or_else(|| fail("labels must be whole numbers of 0 or more, as i64, i32 or u8".to_owned()))
}

/// How images lie in a sample.
#[derive(Clone, Copy)]
struct Layout {
    channels: usize,
    height: usize,
    width: usize,
    /// Numbers of a channel that lie together: a plane, or one.
    inner: usize,
}

impl Layout {
    fn of(shape: &[Option<usize>]) -> Option<Layout> {
        match *shape {
            [Some(channels @ (1 | 3)), Some(height), Some(width)] => {
                Some(Layout { channels, height, width, inner: height.checked_mul(width)? })
            }
            [Some(height), Some(width), Some(channels @ (1 | 3))] => {
                Some(Layout { channels, height, width, inner: 1 })
            }
            _ => None,
        }
    }
}

fn tensor(shape: Vec<usize>, numbers: Vec<f32>, path: &Path) -> Result<Tensor, Failure> {
    Tensor::new(shape, Data::F32(numbers.into()))
        .map_err(|e| Failure::unacceptable(e).in_file(path.display()))
}

/// Bytes of pixels as numbers; `(channels, numbers of one that lie together)` says which channel a byte is of.
fn numbers(bytes: &[u8], (channels, inner): (usize, usize), pixels: &Pixels) -> Result<Vec<f32>, Failure> {
    let per_channel = |values: &[f32], absent: f32, what: &str| match values {
        [] => Ok(vec![absent; channels]),
        &[one] => Ok(vec![one; channels]),
        many if many.len() == channels => Ok(many.to_vec()),
        many => Err(Failure::usage(format!("{what} has {} numbers for {channels} channels", many.len()))),
    };
    let (mean, std) = (per_channel(&pixels.mean, 0.0, "--mean")?, per_channel(&pixels.std, 1.0, "--std")?);
    let number = |(i, &byte): (usize, &u8)| {
        let channel = i / inner.max(1) % channels;
        (f32::from(byte) / 255.0 - mean[channel]) / std[channel]
    };
    Ok(bytes.iter().enumerate().map(number).collect())
}

/// The folders in a folder, by name; without those that are hidden, which are no classes (`.ipynb_checkpoints` and the like).
fn class_folders(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    Ok(entries(path)?.into_iter().filter(|entry| entry.is_dir() && !name(entry).starts_with('.')).collect())
}

fn class_names(path: &Path) -> Result<Vec<String>, Failure> {
    Ok(class_folders(path)?.iter().map(|folder| name(folder)).collect())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn entries(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let fail =
        |e: std::io::Error| Failure::unacceptable(format!("cannot be read: {e}")).in_file(path.display());
    let mut found = vec![];
    for entry in path.read_dir().map_err(fail)? {
        found.push(entry.map_err(fail)?.path());
    }
    found.sort();
    Ok(found)
}

/// All images of a folder of classes, which have the size that the network takes.
fn folder(
    path: &Path,
    layout: Layout,
    pixels: &Pixels,
    classes: &[String],
) -> Result<(Tensor, Vec<usize>), Failure> {
    let (mut bytes, mut labels) = (vec![], vec![]);
    let size = layout.channels * layout.height * layout.width;
    for folder in class_folders(path)?.iter() {
        let class = classes.iter().position(|class| *class == name(folder)).ok_or_else(|| {
            Failure::unacceptable(format!("`{}` is no class of the samples to train on", name(folder)))
                .in_file(path.display())
                .help("each folder must have the name of one in --data")
        })?;
        for file in entries(folder)? {
            let is_image = file
                .extension()
                .and_then(|e| e.to_str())
                .is_some_and(|e| ["png", "jpg", "jpeg"].contains(&e.to_lowercase().as_str()));
            if !is_image {
                continue;
            }
            if bytes.len() + size > MOST {
                return Err(
                    Failure::new(Kind::Limit, format!("more than {MOST} pixels")).in_file(path.display())
                );
            }
            let (width, height, image) = data::decode(&file, layout.channels)?;
            if (width, height) != (layout.width, layout.height) {
                let message = format!(
                    "the image is {width}x{height}; the network takes {}x{}",
                    layout.width, layout.height
                );
                return Err(Failure::unacceptable(message)
                    .in_file(file.display())
                    .help("scale the images first"));
            }
            match layout.inner {
                1 => bytes.extend(image),
                _ => (0..layout.channels)
                    .for_each(|c| bytes.extend(image.iter().skip(c).step_by(layout.channels))),
            }
            labels.push(class);
        }
    }
    if labels.is_empty() {
        return Err(Failure::unacceptable("its folders hold no PNG or JPEG files").in_file(path.display()));
    }
    let shape = match layout.inner {
        1 => vec![labels.len(), layout.height, layout.width, layout.channels],
        _ => vec![labels.len(), layout.channels, layout.height, layout.width],
    };
    Ok((tensor(shape, numbers(&bytes, (layout.channels, layout.inner), pixels)?, path)?, labels))
}

fn opened(path: &Path) -> Result<Box<dyn Read>, Failure> {
    let fail =
        |e: std::io::Error| Failure::unacceptable(format!("cannot be read: {e}")).in_file(path.display());
    let mut head = vec![];
    File::open(path).map_err(fail)?.take(2).read_to_end(&mut head).map_err(fail)?;
    let file = BufReader::new(File::open(path).map_err(fail)?);
    Ok(if head == [0x1f, 0x8b] { Box::new(GzDecoder::new(file)) } else { Box::new(file) })
}

/// Whether a file begins as idx does, with bytes for elements.
fn is_idx(path: &Path) -> Result<bool, Failure> {
    let mut head = vec![];
    let read = opened(path)?.take(3).read_to_end(&mut head);
    Ok(read.is_ok() && head == [0, 0, 8])
}

/// An idx file of bytes: `0 0 8 rank`, sizes of 4 bytes (big end first), elements.
fn idx(path: &Path) -> Result<(Vec<usize>, Vec<u8>), Failure> {
    let fail = |message: String| Failure::unacceptable(message).in_file(path.display());
    let short = |_| fail("it ends before its last element".to_owned());
    let mut file = opened(path)?;
    let mut head = [0; 4];
    file.read_exact(&mut head).map_err(short)?;
    let mut sizes = vec![];
    for _ in 0..head[3] {
        let mut size = [0; 4];
        file.read_exact(&mut size).map_err(short)?;
        sizes.push(u32::from_be_bytes(size) as usize);
    }
    let count = sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size)).filter(|&n| n <= MOST);
    let Some(count) = count.filter(|_| !sizes.is_empty()) else {
        return Err(Failure::new(
            Kind::Limit,
            format!("an array of {sizes:?} is not read; at most {MOST} elements are"),
        )
        .in_file(path.display()));
    };
    let mut bytes = vec![];
    file.take(count as u64).read_to_end(&mut bytes).map_err(|e| fail(format!("cannot be read: {e}")))?;
    if bytes.len() < count {
        return Err(fail(format!("it has {} of {count} elements", bytes.len())));
    }
    Ok((sizes, bytes))
}
