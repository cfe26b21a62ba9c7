//! Blocks whose branches read one input and are concatenated: those of GoogLeNet (Szegedy et al., arXiv 1409.4842, 3a and 3b of its table 1, with batch norm as in
//! arXiv 1502.03167) and of SqueezeNet (Iandola et al., arXiv 1602.07360, fire2 to fire4). `image` f32[N,C,S,S] to `logits` f32[N,10].

use onnx_protobuf::ModelProto;

use super::writer::{Conv, Writer};

/// Two blocks of branches of 1x1, 3x3 and 5x5 convolutions and a pool, on 192 channels of 28x28.
pub(super) fn inception(mut writer: Writer) -> ModelProto {
    let mut x = writer.input("image", &[192, 28, 28]);
    let mut inputs = 192;
    for (name, widths) in [("3a", [64, 96, 128, 16, 32, 32]), ("3b", [128, 128, 192, 32, 96, 64])] {
        let [one, to_three, three, to_five, five, pooled] = widths;
        let part = |suffix: &str| format!("inception_{name}.{suffix}");
        let pool = writer.max_pool(&part("pool"), &x, 3, 1, 1);
        let three_in = layer(&mut writer, &part("3x3_reduce"), &x, [inputs, to_three], 1);
        let five_in = layer(&mut writer, &part("5x5_reduce"), &x, [inputs, to_five], 1);
        let branches = [
            layer(&mut writer, &part("1x1"), &x, [inputs, one], 1),
            layer(&mut writer, &part("3x3"), &three_in, [to_three, three], 3),
            layer(&mut writer, &part("5x5"), &five_in, [to_five, five], 5),
            layer(&mut writer, &part("pool_proj"), &pool, [inputs, pooled], 1),
        ];
        x = writer.concat(&part("concat"), branches.to_vec());
        inputs = one + three + five + pooled;
    }
    classifier(writer, "inception", &x, inputs)
}

/// Three fire modules on 96 channels of 55x55; without batch norm, and with the biases that they have in its place.
pub(super) fn fire(mut writer: Writer) -> ModelProto {
    let mut x = writer.input("image", &[96, 55, 55]);
    let mut inputs = 96;
    for (name, [squeeze, expand]) in [("fire2", [16, 64]), ("fire3", [16, 64]), ("fire4", [32, 128])] {
        let mut conv = |suffix: &str, x: &str, [inputs, outputs]: [usize; 2], kernel| {
            let name = format!("{name}.{suffix}");
            let geometry = Conv { inputs, outputs, kernel, stride: 1, group: 1, bias: true };
            let y = writer.conv(&name, x, geometry);
            writer.relu(&format!("{name}.relu"), &y)
        };
        let squeezed = conv("squeeze1x1", &x, [inputs, squeeze], 1);
        let branches = [
            conv("expand1x1", &squeezed, [squeeze, expand], 1),
            conv("expand3x3", &squeezed, [squeeze, expand], 3),
        ];
        x = writer.concat(&format!("{name}.concat"), branches.to_vec());
        inputs = 2 * expand;
    }
    classifier(writer, "fire", &x, inputs)
}

/// A convolution with batch norm and relu.
fn layer(writer: &mut Writer, name: &str, x: &str, [inputs, outputs]: [usize; 2], kernel: usize) -> String {
    let y = writer.conv(
        &format!("{name}.conv"),
        x,
        Conv { inputs, outputs, kernel, stride: 1, group: 1, bias: false },
    );
    let y = writer.batch_norm(&format!("{name}.bn"), &y, outputs, 1.0);
    writer.relu(&format!("{name}.relu"), &y)
}

fn classifier(mut writer: Writer, name: &str, x: &str, inputs: usize) -> ModelProto {
    let pooled = writer.global_average_pool("avgpool", x);
    let flat = writer.flatten("flatten", &pooled);
    writer.linear("fc", &flat, inputs, 10, true);
    writer.finish(name, "logits", &[10])
}
