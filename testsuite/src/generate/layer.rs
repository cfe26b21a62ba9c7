//! One layer with bias and relu, of any size, for the table of layers: `x` f32[N,..] to `y` f32[N,..].

use onnx_protobuf::ModelProto;

use super::writer::{Conv, Writer};
use super::{GenerateError, MAX_WEIGHTS};

/// A layer, as its name spells it: `conv3x3-IN-OUT-SIZE`, `depthwise3x3-CHANNELS-SIZE` (both with `-s2` for a stride
/// of 2), `fc-IN-OUT`. SIZE is the input's height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    Conv { kernel: usize, inputs: usize, outputs: usize, size: usize, stride: usize },
    Depthwise { kernel: usize, channels: usize, size: usize, stride: usize },
    FullyConnected { inputs: usize, outputs: usize },
}

impl Layer {
    pub(super) fn parse(name: &str) -> Result<Layer, GenerateError> {
        let unknown = || GenerateError::UnknownName(name.to_owned());
        let mut parts: Vec<&str> = name.split('-').collect();
        let stride = match parts.last().and_then(|last| last.strip_prefix('s')) {
            Some(_) if parts.len() < 2 => return Err(unknown()),
            Some(stride) => {
                parts.pop();
                Some(stride.parse().map_err(|_| unknown())?)
            }
            None => None,
        };
        let Some((&kind, sizes)) = parts.split_first() else { return Err(unknown()) };
        let sizes: Vec<usize> =
            sizes.iter().map(|size| size.parse().map_err(|_| unknown())).collect::<Result<_, _>>()?;
        let layer = if let Some(kernel) = kind.strip_prefix("conv").and_then(square) {
            let &[inputs, outputs, size] = &*sizes else { return Err(unknown()) };
            Layer::Conv { kernel, inputs, outputs, size, stride: stride.unwrap_or(1) }
        } else if let Some(kernel) = kind.strip_prefix("depthwise").and_then(square) {
            let &[channels, size] = &*sizes else { return Err(unknown()) };
            Layer::Depthwise { kernel, channels, size, stride: stride.unwrap_or(1) }
        } else {
            let ("fc", &[inputs, outputs], None) = (kind, &*sizes, stride) else { return Err(unknown()) };
            Layer::FullyConnected { inputs, outputs }
        };
        if layer.is_possible() { Ok(layer) } else { Err(GenerateError::Size(name.to_owned())) }
    }

    pub(super) fn model(self, mut writer: Writer) -> ModelProto {
        match self {
            Layer::Conv { kernel, inputs, outputs, size, stride } => {
                conv(writer, Conv { inputs, outputs, kernel, stride, group: 1, bias: true }, size)
            }
            Layer::Depthwise { kernel, channels, size, stride } => {
                let [inputs, outputs, group] = [channels; 3];
                conv(writer, Conv { inputs, outputs, kernel, stride, group, bias: true }, size)
            }
            Layer::FullyConnected { inputs, outputs } => {
                let x = writer.input("x", &[inputs]);
                let y = writer.linear("fc", &x, inputs, outputs, true);
                writer.relu("relu", &y);
                writer.finish("layer", "y", &[outputs])
            }
        }
    }

    /// Whether there is such a layer, and one whose arrays can be counted.
    fn is_possible(self) -> bool {
        let (sizes, weights): (Vec<usize>, Vec<usize>) = match self {
            Layer::Conv { kernel, inputs, outputs, size, stride } => {
                (vec![size, stride], vec![inputs, outputs, kernel, kernel])
            }
            Layer::Depthwise { kernel, channels, size, stride } => {
                (vec![size, stride], vec![channels, kernel, kernel])
            }
            Layer::FullyConnected { inputs, outputs } => (vec![], vec![inputs, outputs]),
        };
        let count = weights.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        sizes.iter().all(|size| (1..=MAX_WEIGHTS).contains(size))
            && count.is_some_and(|count| (1..=MAX_WEIGHTS).contains(&count))
    }
}

fn conv(mut writer: Writer, geometry: Conv, size: usize) -> ModelProto {
    let x = writer.input("x", &[geometry.inputs, size, size]);
    let y = writer.conv("conv", &x, geometry);
    writer.relu("relu", &y);
    let out = (size + 2 * (geometry.kernel / 2) - geometry.kernel) / geometry.stride + 1;
    writer.finish("layer", "y", &[geometry.outputs, out, out])
}

/// `3` from `3x3`. Only odd kernels, which padding by half of them centres.
fn square(kernel: &str) -> Option<usize> {
    let (height, width) = kernel.split_once('x')?;
    let side = height.parse().ok()?;
    (height == width && side % 2 == 1).then_some(side)
}

#[cfg(test)]
mod tests {
    use super::{GenerateError, Layer};

    #[test]
    fn names() {
        let conv =
            |kernel, inputs, outputs, size, stride| Layer::Conv { kernel, inputs, outputs, size, stride };
        let cases = [
            ("conv3x3-64-128-56", conv(3, 64, 128, 56, 1)),
            ("conv1x1-256-256-28-s2", conv(1, 256, 256, 28, 2)),
            ("depthwise5x5-96-14", Layer::Depthwise { kernel: 5, channels: 96, size: 14, stride: 1 }),
            ("fc-4096-1000", Layer::FullyConnected { inputs: 4096, outputs: 1000 }),
        ];
        for (name, layer) in cases {
            assert_eq!(Layer::parse(name).unwrap(), layer, "{name}");
        }
    }

    #[test]
    fn names_of_nothing() {
        let names =
            ["", "s2", "conv", "conv3x3", "conv2x2-8-8-8", "conv3x5-8-8-8", "conv3x3-8-8-s2", "fc-8-8-s2"];
        for name in names {
            assert!(matches!(Layer::parse(name), Err(GenerateError::UnknownName(_))), "{name}");
        }
        for name in ["conv3x3-0-8-8", "conv3x3-8-8-8-s0", "fc-4000000000-4000000000", "fc-1000000-1000000"] {
            assert!(matches!(Layer::parse(name), Err(GenerateError::Size(_))), "{name}");
        }
    }
}
