//! ResNet-18 and ResNet-50 (He et al., "Deep residual learning for image recognition", arXiv 1512.03385) as torchvision builds them and
//! names their parameters: `image` f32[N,3,224,224] to `logits` f32[N,1000], batch norm live.

use onnx_protobuf::ModelProto;

use super::writer::{Conv, Writer};

/// Two blocks of two 3x3 convolutions in each stage.
pub(super) fn resnet18(writer: Writer) -> ModelProto {
    let stages = [(64, 2), (128, 2), (256, 2), (512, 2)];
    network(writer, "resnet18", stages, basic_block)
}

/// Three to six blocks of three convolutions in each stage, of which the second alone is a 3x3.
pub(super) fn resnet50(writer: Writer) -> ModelProto {
    let stages = [(256, 3), (512, 4), (1024, 6), (2048, 3)];
    network(writer, "resnet50", stages, bottleneck)
}

/// A block of a name, from a value, with so many channels in and out, and a stride.
type Block = fn(&mut Writer, &str, &str, [usize; 2], usize) -> String;

/// A network of stages, each of so many channels and blocks.
fn network(mut writer: Writer, name: &str, stages: [(usize, usize); 4], block: Block) -> ModelProto {
    let image = writer.input("image", &[3, 224, 224]);
    let stem = conv_norm(&mut writer, ["conv1", "bn1"], &image, [3, 64], 7, 2, 1.0);
    let stem = writer.relu("relu", &stem);
    let mut x = writer.max_pool("maxpool", &stem, 3, 2, 1);
    let mut inputs = 64;
    for (stage, (outputs, blocks)) in stages.into_iter().enumerate() {
        for number in 0..blocks {
            let stride = if stage > 0 && number == 0 { 2 } else { 1 };
            let name = format!("layer{}.{number}", stage + 1);
            x = block(&mut writer, &name, &x, [inputs, outputs], stride);
            inputs = outputs;
        }
    }
    let pooled = writer.global_average_pool("avgpool", &x);
    let flat = writer.flatten("flatten", &pooled);
    writer.linear("fc", &flat, inputs, 1000, true);
    writer.finish(name, "logits", &[1000])
}

/// Two 3x3 convolutions beside a shortcut.
fn basic_block(writer: &mut Writer, name: &str, x: &str, channels: [usize; 2], stride: usize) -> String {
    let [_, outputs] = channels;
    let part = |suffix: &str| format!("{name}.{suffix}");
    let first = conv_norm(writer, [&part("conv1"), &part("bn1")], x, channels, 3, stride, 1.0);
    let first = writer.relu(&part("relu1"), &first);
    // A branch of half the gain: with a full one the sum would double its energy from block to block.
    let names = [&*part("conv2"), &*part("bn2")];
    let branch = conv_norm(writer, names, &first, [outputs, outputs], 3, 1, 0.5);
    end(writer, name, x, &branch, channels, stride)
}

/// A 3x3 convolution of a quarter of the channels between two 1x1 ones, beside a shortcut; the 3x3 has the stride.
fn bottleneck(writer: &mut Writer, name: &str, x: &str, channels: [usize; 2], stride: usize) -> String {
    let [inputs, outputs] = channels;
    let width = outputs / 4;
    let part = |suffix: &str| format!("{name}.{suffix}");
    let first = conv_norm(writer, [&part("conv1"), &part("bn1")], x, [inputs, width], 1, 1, 1.0);
    let first = writer.relu(&part("relu0"), &first);
    let second = conv_norm(writer, [&part("conv2"), &part("bn2")], &first, [width, width], 3, stride, 1.0);
    let second = writer.relu(&part("relu1"), &second);
    let branch = conv_norm(writer, [&part("conv3"), &part("bn3")], &second, [width, outputs], 1, 1, 0.5);
    end(writer, name, x, &branch, channels, stride)
}

/// The sum of a block's branch and its shortcut, which is a 1x1 convolution where the shape changes.
fn end(
    writer: &mut Writer,
    name: &str,
    x: &str,
    branch: &str,
    channels: [usize; 2],
    stride: usize,
) -> String {
    let part = |suffix: &str| format!("{name}.{suffix}");
    let shortcut = if channels[0] == channels[1] && stride == 1 {
        x.to_owned()
    } else {
        conv_norm(writer, [&part("downsample.0"), &part("downsample.1")], x, channels, 1, stride, 1.0)
    };
    let sum = writer.add(&part("add"), branch, &shortcut);
    writer.relu(&part("relu2"), &sum)
}

fn conv_norm(
    writer: &mut Writer,
    [conv, norm]: [&str; 2],
    x: &str,
    [inputs, outputs]: [usize; 2],
    kernel: usize,
    stride: usize,
    gain: f32,
) -> String {
    let y = writer.conv(conv, x, Conv { inputs, outputs, kernel, stride, group: 1, bias: false });
    writer.batch_norm(norm, &y, outputs, gain)
}
