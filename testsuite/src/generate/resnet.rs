//! ResNet-18 (He et al., "Deep residual learning for image recognition", arXiv 1512.03385) as torchvision builds it and
//! names its parameters: `image` f32[N,3,224,224] to `logits` f32[N,1000], batch norm live.

use onnx_protobuf::ModelProto;

use super::writer::{Conv, Writer};

pub(super) fn resnet18(mut writer: Writer) -> ModelProto {
    let image = writer.input("image", &[3, 224, 224]);
    let stem = conv_norm(&mut writer, ["conv1", "bn1"], &image, [3, 64], 7, 2, 1.0);
    let stem = writer.relu("relu", &stem);
    let mut x = writer.max_pool("maxpool", &stem, 3, 2, 1);
    let mut inputs = 64;
    for (stage, outputs) in [64, 128, 256, 512].into_iter().enumerate() {
        for block in 0..2 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let name = format!("layer{}.{block}", stage + 1);
            x = basic_block(&mut writer, &name, &x, [inputs, outputs], stride);
            inputs = outputs;
        }
    }
    let pooled = writer.global_average_pool("avgpool", &x);
    let flat = writer.flatten("flatten", &pooled);
    writer.linear("fc", &flat, inputs, 1000, true);
    writer.finish("resnet18", "logits", &[1000])
}

/// Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes.
fn basic_block(writer: &mut Writer, name: &str, x: &str, channels: [usize; 2], stride: usize) -> String {
    let [inputs, outputs] = channels;
    let part = |suffix: &str| format!("{name}.{suffix}");
    let first = conv_norm(writer, [&part("conv1"), &part("bn1")], x, channels, 3, stride, 1.0);
    let first = writer.relu(&part("relu1"), &first);
    // A branch of half the gain: with a full one the sum would double its energy from block to block.
    let names = [&*part("conv2"), &*part("bn2")];
    let branch = conv_norm(writer, names, &first, [outputs, outputs], 3, 1, 0.5);
    let shortcut = if inputs == outputs && stride == 1 {
        x.to_owned()
    } else {
        conv_norm(writer, [&part("downsample.0"), &part("downsample.1")], x, channels, 1, stride, 1.0)
    };
    let sum = writer.add(&part("add"), &branch, &shortcut);
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
