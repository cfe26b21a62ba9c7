//! Blocks of networks whose layers read one input or add up, by themselves: `x` f32[N,..] to `y` f32[N,..].

use onnx_protobuf::ModelProto;

use super::writer::{Conv, Writer};

/// A block, as its name spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// `fire-block`: SqueezeNet's second (Iandola et al., arXiv 1602.07360), over 128 channels of 55x55.
    Fire,
    /// `inception-block`: GoogLeNet's first (Szegedy et al., arXiv 1409.4842), over 192 channels of 28x28.
    Inception,
    /// `planes`: two weights of one layer added up, 64 channels of 56x56 by 3x3.
    Planes,
}

impl Block {
    pub(super) fn parse(name: &str) -> Option<Block> {
        match name {
            "fire-block" => Some(Block::Fire),
            "inception-block" => Some(Block::Inception),
            "planes" => Some(Block::Planes),
            _ => None,
        }
    }

    pub(super) fn model(self, mut writer: Writer) -> ModelProto {
        match self {
            Block::Fire => {
                let x = writer.input("x", &[128, 55, 55]);
                let squeezed = layer(&mut writer, "squeeze", &x, [128, 16], 1);
                let parts = [1, 3].map(|k| layer(&mut writer, &format!("expand{k}"), &squeezed, [16, 64], k));
                writer.concat("concat", parts.to_vec());
                writer.finish("fire", "y", &[128, 55, 55])
            }
            Block::Inception => {
                let x = writer.input("x", &[192, 28, 28]);
                let ones = layer(&mut writer, "ones", &x, [192, 64], 1);
                let threes = layer(&mut writer, "threes.reduce", &x, [192, 96], 1);
                let fives = layer(&mut writer, "fives.reduce", &x, [192, 16], 1);
                let threes = layer(&mut writer, "threes", &threes, [96, 128], 3);
                let fives = layer(&mut writer, "fives", &fives, [16, 32], 5);
                let pooled = writer.max_pool("pool", &x, 3, 1, 1);
                let pooled = layer(&mut writer, "pool.project", &pooled, [192, 32], 1);
                writer.concat("concat", vec![ones, threes, fives, pooled]);
                writer.finish("inception", "y", &[256, 28, 28])
            }
            Block::Planes => {
                let x = writer.input("x", &[64, 56, 56]);
                let conv = Conv { inputs: 64, outputs: 64, kernel: 3, stride: 1, group: 1, bias: false };
                let [a, b] = ["coarse", "fine"].map(|name| writer.conv(name, &x, conv));
                let sum = writer.add("add", &a, &b);
                writer.relu("relu", &sum);
                writer.finish("planes", "y", &[64, 56, 56])
            }
        }
    }
}

fn layer(writer: &mut Writer, name: &str, x: &str, [inputs, outputs]: [usize; 2], kernel: usize) -> String {
    let y = writer.conv(name, x, Conv { inputs, outputs, kernel, stride: 1, group: 1, bias: true });
    writer.relu(&format!("{name}.relu"), &y)
}
