//! Fully connected layers one behind the other, as many as the name says, to see how the time of compiling grows: `x` f32[N,8] to `y` f32[N,8].

use onnx_protobuf::ModelProto;

use super::writer::Writer;

/// Inputs and outputs of each layer.
const WIDTH: usize = 8;
/// The most layers.
const MOST: usize = 1_000_000;

/// A chain, as its name spells it: `chain-LAYERS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    layers: usize,
}

impl Chain {
    pub(super) fn parse(name: &str) -> Option<Chain> {
        let layers = name.strip_prefix("chain-")?.parse().ok()?;
        (1..=MOST).contains(&layers).then_some(Chain { layers })
    }

    pub(super) fn model(self, mut writer: Writer) -> ModelProto {
        let mut x = writer.input("x", &[WIDTH]);
        for layer in 0..self.layers {
            x = writer.linear(&format!("layer{layer}"), &x, WIDTH, WIDTH, true);
            if layer + 1 < self.layers {
                x = writer.relu(&format!("layer{layer}.relu"), &x);
            }
        }
        writer.finish("chain", "y", &[WIDTH])
    }
}
