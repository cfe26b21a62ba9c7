//! Inputs without labels, by name, in batches: those that a network is fitted to, and the last fifth, on which it is measured.

use crate::RepairError;
use std::collections::BTreeMap;
use std::ops::Range;
use twnc_ir::{Data, ElementType, Graph, Tensor};

/// Samples that run at a time, where the network leaves that open.
const BATCH: usize = 16;

/// Inputs of a network. Along its first axis, each tensor holds the same number of samples.
#[derive(Clone, Debug)]
pub struct Samples {
    inputs: BTreeMap<String, Tensor>,
}

/// Samples as a network takes them.
#[derive(Debug)]
pub(crate) struct Batches {
    /// For each batch the tensors of the graph's inputs, in order.
    pub inputs: Vec<Vec<Tensor>>,
    /// How many batches, the first ones, are for fitting.
    pub fitted: usize,
    /// How many samples these are.
    pub fitted_samples: usize,
    /// How many samples the batches behind them hold. 0: there are too few to hold any back, and what is measured was fitted to.
    pub held_out_samples: usize,
    /// How many samples do not fill the network's batch, and are left out.
    pub left_out: usize,
}

impl Samples {
    /// Samples by the names of inputs.
    pub fn new(inputs: impl IntoIterator<Item = (String, Tensor)>) -> Samples {
        Samples { inputs: inputs.into_iter().collect() }
    }

    /// How many there are: as the first axis of the first input says.
    pub fn count(&self) -> usize {
        self.inputs.values().next().and_then(|tensor| tensor.shape().first().copied()).unwrap_or(0)
    }

    /// Some of them. An input that has not so many gives those that there are, and is refused where it is used.
    pub(crate) fn part(&self, samples: &[usize]) -> Samples {
        let part = |tensor: &Tensor| {
            let Some(&count) = tensor.shape().first() else { return tensor.clone() };
            gather(tensor, &samples.iter().copied().filter(|&sample| sample < count).collect::<Vec<_>>())
        };
        Samples { inputs: self.inputs.iter().map(|(name, tensor)| (name.clone(), part(tensor))).collect() }
    }

    /// A number that other samples have not, as good as surely (CRC-32).
    pub(crate) fn checksum(&self) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        for (name, tensor) in &self.inputs {
            sum.update(format!("{name} {};", tensor.ty()).as_bytes());
            hash(tensor, &mut sum);
        }
        sum.finalize()
    }

    /// The shape of all samples of an input.
    pub fn shape(&self, input: &str) -> Vec<usize> {
        self.inputs.get(input).map(|tensor| tensor.shape().to_vec()).unwrap_or_default()
    }

    /// Some samples as the tensors of a graph's inputs, which they [fit](Samples::check).
    pub(crate) fn chosen(&self, graph: &Graph, samples: &[usize]) -> Vec<Tensor> {
        let tensors = graph.inputs().iter().filter_map(|port| self.inputs.get(&port.name));
        tensors.map(|tensor| gather(tensor, samples)).collect()
    }

    /// How many samples there are, which must fit a graph's inputs, by name, element and shape, all numbers finite; and the batch that the graph fixes.
    pub(crate) fn check(&self, graph: &Graph) -> Result<(usize, Option<usize>), RepairError> {
        let refuse = |message: String| Err(RepairError::Samples(message));
        let known = || {
            let ports = graph.inputs().iter().map(|p| format!("`{}` {}", p.name, graph.ty(p.value)));
            ports.collect::<Vec<_>>().join(", ")
        };
        let named = |name: &str| graph.inputs().iter().any(|port| port.name == name);
        if let Some(unknown) = self.inputs.keys().find(|name| !named(name)) {
            return refuse(format!("the network has no input `{unknown}`; it has {}", known()));
        }
        let (mut samples, mut fixed) = (None, None);
        for port in graph.inputs() {
            let Some(tensor) = self.inputs.get(&port.name) else {
                return refuse(format!(
                    "there are no samples for input `{}`; the network has {}",
                    port.name,
                    known()
                ));
            };
            let declared = graph.ty(port.value);
            let (name, found) = (&port.name, tensor.ty());
            let (Some(&count), Some(first)) = (tensor.shape().first(), declared.shape.first()) else {
                return refuse(format!("input `{name}` is a single number, so no axis counts its samples"));
            };
            let rest = declared.shape.iter().zip(&found.shape).skip(1).all(|(a, b)| a.may_equal(b));
            if found.element != declared.element || found.rank() != declared.rank() || !rest {
                return refuse(format!(
                    "the samples of input `{name}` are {found}; it is declared {declared}"
                ));
            }
            if count == 0 || *samples.get_or_insert(count) != count {
                return refuse(format!(
                    "input `{name}` has {count} samples; each input needs as many, and one or more"
                ));
            }
            if let Some(at) = tensor.as_f32().and_then(|v| v.iter().position(|x| !x.is_finite())) {
                let sample = at / (tensor.len() / count).max(1);
                return refuse(format!(
                    "sample {sample} of input `{name}` holds a number that is not finite"
                ));
            }
            if let Some(batch) = first.as_size()
                && *fixed.get_or_insert(batch) != batch
            {
                return refuse(format!(
                    "input `{name}` is declared for another batch than the inputs before it"
                ));
            }
        }
        samples.map(|count| (count, fixed)).map_or_else(|| refuse("the network has no input".to_owned()), Ok)
    }

    /// The batches for a graph, which the samples must [fit](Samples::check).
    pub(crate) fn batches(&self, graph: &Graph) -> Result<Batches, RepairError> {
        let (count, fixed) = self.check(graph)?;
        let tensors: Vec<&Tensor> =
            graph.inputs().iter().filter_map(|port| self.inputs.get(&port.name)).collect();
        let batch = fixed.unwrap_or(BATCH).max(1);
        let (used, left_out) = match fixed {
            Some(batch) => (count / batch.max(1) * batch, count % batch.max(1)),
            None => (count, 0),
        };
        if used == 0 {
            let message = format!("{count} samples do not fill the network's batch of {batch}");
            return Err(RepairError::Samples(message));
        }
        // Whole batches where their size is fixed.
        let unit = fixed.map_or(1, |batch| batch.max(1));
        let held_out_samples = used / unit / 5 * unit;
        let fitted_samples = used - held_out_samples;
        let mut parts = parts(0..fitted_samples, batch);
        let fitted = parts.len();
        parts.extend(self::parts(fitted_samples..used, batch));
        let inputs = parts.into_iter().map(|part| tensors.iter().map(|t| slice(t, part.clone())).collect());
        Ok(Batches { inputs: inputs.collect(), fitted, fitted_samples, held_out_samples, left_out })
    }
}

/// Adds the elements of a tensor to a checksum.
pub(crate) fn hash(tensor: &Tensor, sum: &mut crc32fast::Hasher) {
    fn each<T: Copy, const N: usize>(elements: &[T], bytes: fn(T) -> [u8; N], sum: &mut crc32fast::Hasher) {
        for piece in elements.chunks(1 << 12) {
            sum.update(&piece.iter().flat_map(|&x| bytes(x)).collect::<Vec<u8>>());
        }
    }
    match tensor.data() {
        Data::F32(v) => each(v, f32::to_le_bytes, sum),
        Data::I8(v) | Data::Ternary(v) => each(v, i8::to_le_bytes, sum),
        Data::U8(v) => each(v, u8::to_le_bytes, sum),
        Data::I16(v) => each(v, i16::to_le_bytes, sum),
        Data::I32(v) => each(v, i32::to_le_bytes, sum),
        Data::I64(v) => each(v, i64::to_le_bytes, sum),
        Data::Bool(v) => each(v, |b| [u8::from(b)], sum),
    }
}

/// A range in pieces of at most `size`.
fn parts(range: Range<usize>, size: usize) -> Vec<Range<usize>> {
    range.clone().step_by(size).map(|start| start..(start + size).min(range.end)).collect()
}

/// A range of samples of a tensor, whose first axis has them.
fn slice(tensor: &Tensor, samples: Range<usize>) -> Tensor {
    gather(tensor, &samples.collect::<Vec<_>>())
}

/// Some samples of a tensor, whose first axis has them.
pub(crate) fn gather(tensor: &Tensor, samples: &[usize]) -> Tensor {
    fn rows<T: Copy>(elements: &[T], samples: &[usize], row: usize) -> std::sync::Arc<[T]> {
        samples
            .iter()
            .flat_map(|&sample| &elements[sample * row..(sample + 1) * row])
            .copied()
            .collect::<Vec<T>>()
            .into()
    }
    let row: usize = tensor.shape().iter().skip(1).product();
    let mut shape = tensor.shape().to_vec();
    if let Some(first) = shape.first_mut() {
        *first = samples.len();
    }
    let data = match tensor.data() {
        Data::F32(v) => Data::F32(rows(v, samples, row)),
        Data::I8(v) => Data::I8(rows(v, samples, row)),
        Data::U8(v) => Data::U8(rows(v, samples, row)),
        Data::I16(v) => Data::I16(rows(v, samples, row)),
        Data::I32(v) => Data::I32(rows(v, samples, row)),
        Data::I64(v) => Data::I64(rows(v, samples, row)),
        Data::Bool(v) => Data::Bool(rows(v, samples, row)),
        Data::Ternary(v) => Data::Ternary(rows(v, samples, row)),
    };
    Tensor::new(shape, data).expect("as many rows as samples")
}

/// Bytes of a tensor's elements.
pub(crate) fn bytes(element: ElementType, elements: usize) -> usize {
    let size = match element {
        ElementType::F32 | ElementType::I32 => 4,
        ElementType::I64 => 8,
        ElementType::I16 => 2,
        ElementType::I8 | ElementType::U8 | ElementType::Bool | ElementType::Ternary => 1,
    };
    elements.saturating_mul(size)
}
