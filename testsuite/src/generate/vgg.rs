//! VGG-7 for CIFAR-10, the network of "Ternary Weight Networks" (arXiv 1605.04711, section 4.1):
//! 2x128C3-MP2-2x256C3-MP2-2x512C3-MP2-1024FC-10, batch norm live; `image` f32[N,3,32,32] to `logits` f32[N,10].

use onnx_protobuf::ModelProto;

use super::writer::{Conv, Writer};

pub(super) fn vgg7(mut writer: Writer) -> ModelProto {
    let mut x = writer.input("image", &[3, 32, 32]);
    let mut inputs = 3;
    for (stage, outputs) in [128, 256, 512].into_iter().enumerate() {
        for layer in 0..2 {
            let name = |kind: &str| format!("features.{stage}.{layer}.{kind}");
            let conv = Conv { inputs, outputs, kernel: 3, stride: 1, group: 1, bias: false };
            x = writer.conv(&name("conv"), &x, conv);
            x = writer.batch_norm(&name("bn"), &x, outputs, 1.0);
            x = writer.relu(&name("relu"), &x);
            inputs = outputs;
        }
        x = writer.max_pool(&format!("features.{stage}.pool"), &x, 2, 2, 0);
    }
    x = writer.flatten("flatten", &x);
    x = writer.linear("classifier.0", &x, 512 * 4 * 4, 1024, false);
    x = writer.batch_norm("classifier.1", &x, 1024, 1.0);
    x = writer.relu("classifier.2", &x);
    writer.linear("classifier.3", &x, 1024, 10, true);
    writer.finish("vgg7", "logits", &[10])
}
