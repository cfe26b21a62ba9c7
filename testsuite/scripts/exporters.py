#!/usr/bin/env python3
"""Writes small networks of common architectures by the exporters that people use, with random weights.

    exporters.py DIR torch         PyTorch's own exporter (1.13 and newer, torch.onnx.export)
    exporters.py DIR tensorflow    Keras, by tf2onnx
    exporters.py DIR paddle        PaddlePaddle, by Paddle2ONNX
    exporters.py DIR sklearn       scikit-learn's perceptrons and pipelines, by skl2onnx
    exporters.py DIR onnxruntime   the networks in DIR as ONNX Runtime's quantiser and optimiser write them, to DIR/onnxruntime

    check_ort.py DIR/*.onnx        what twnc makes of them, beside ONNX Runtime
    check_ort.py --input-shape x0:2x3x32x48 DIR/torch_{unet_nearest,unet_transposed,squeezenet,shufflenet,densenet}-*.onnx

Files are EXPORTER_NAME-OPSET.onnx. Those of the second command have open sizes of images, which the first sets to 1. Recurrent networks, and the lists of maps that
skl2onnx makes of probabilities unless told otherwise, are there to be refused in a sentence.
"""

import sys
from pathlib import Path

OPSETS = (11, 13, 17)


def torch_networks(folder):
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.manual_seed(0)

    def unit(inputs, outputs, kernel=3, stride=1, groups=1, activation=nn.ReLU):
        norm = nn.BatchNorm2d(outputs)
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        return nn.Sequential(conv, norm, *([activation()] if activation else []))

    class Gate(nn.Module):
        def __init__(self, channels, gate):
            super().__init__()
            self.down, self.up, self.gate = nn.Conv2d(channels, channels // 4, 1), nn.Conv2d(channels // 4, channels, 1), gate()

        def forward(self, x):
            return x * self.gate(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))

    class Inverted(nn.Module):
        def __init__(self, inputs, outputs, stride, activation, gate):
            super().__init__()
            wide = 2 * inputs
            gates = [Gate(wide, gate)] if gate else []
            depthwise = unit(wide, wide, 3, stride, wide, activation)
            self.body = nn.Sequential(unit(inputs, wide, 1, activation=activation), depthwise, *gates, unit(wide, outputs, 1, activation=None))
            self.shortcut = stride == 1 and inputs == outputs

        def forward(self, x):
            return x + self.body(x) if self.shortcut else self.body(x)

    class Mobile(nn.Module):
        def __init__(self, activation, gate=None):
            super().__init__()
            blocks = [Inverted(i, o, s, activation, gate) for i, o, s in ((16, 16, 1), (16, 24, 2), (24, 24, 1))]
            self.body = nn.Sequential(unit(3, 16, 3, 2, activation=activation), *blocks, unit(24, 64, 1, activation=activation))
            self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, 10))

        def forward(self, x):
            return self.head(torch.flatten(F.adaptive_avg_pool2d(self.body(x), (1, 1)), 1))

    class Next(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.depthwise = nn.Conv2d(3, 24, 4, 4), nn.Conv2d(24, 24, 7, padding=3, groups=24)
            self.norm, self.wide, self.narrow = nn.LayerNorm(24, eps=1e-6), nn.Linear(24, 96), nn.Linear(96, 24)
            self.scale, self.head = nn.Parameter(torch.full((24,), 0.1)), nn.Linear(24, 10)

        def forward(self, x):
            x = self.stem(x)
            y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
            y = self.scale * self.narrow(F.gelu(self.wide(y)))
            return self.head((x + y.permute(0, 3, 1, 2)).mean([-2, -1]))

    class Standardised(nn.Conv2d):
        """Whose weights have mean 0 and deviation 1 over each output channel, as in NFNets and BiT."""

        def forward(self, x):
            flat = self.weight.reshape(1, self.out_channels, -1)
            weight = F.batch_norm(flat, None, None, weight=torch.full((self.out_channels,), 0.3), training=True, momentum=0.0, eps=1e-6)
            return F.conv2d(x, weight.reshape_as(self.weight), self.bias, self.stride, self.padding)

    class UNet(nn.Module):
        def __init__(self, mode):
            super().__init__()
            self.mode, self.a, self.b = mode, unit(3, 8), unit(8, 16)
            self.up, self.narrow = nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(16, 8, 1)
            self.c, self.head = unit(16, 8), nn.Conv2d(8, 2, 1)

        def forward(self, x):
            a = self.a(x)
            b = self.b(F.max_pool2d(a, 2))
            if self.mode == "transposed":
                up = self.up(b)
            elif self.mode == "size":
                up = F.interpolate(self.narrow(b), size=a.shape[2:], mode="bilinear", align_corners=False)
            else:
                up = F.interpolate(self.narrow(b), scale_factor=2, mode=self.mode)
            return torch.sigmoid(self.head(self.c(torch.cat([up, a], 1))))

    class Fire(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.squeeze = nn.Conv2d(3, 16, 3, 2), nn.Conv2d(16, 8, 1)
            self.one, self.three, self.head = nn.Conv2d(8, 16, 1), nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(32, 10, 1)

        def forward(self, x):
            x = F.relu(self.squeeze(F.max_pool2d(F.relu(self.stem(x)), 3, 2, ceil_mode=True)))
            x = torch.cat([F.relu(self.one(x)), F.relu(self.three(x))], 1)
            return torch.flatten(F.adaptive_avg_pool2d(F.relu(self.head(x)), 1), 1)

    class Shuffle(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = unit(3, 16, 3, 2), nn.Linear(16, 10)
            self.branch = nn.Sequential(unit(8, 8, 1), unit(8, 8, 3, 1, 8, None), unit(8, 8, 1))

        def forward(self, x):
            left, right = self.stem(x).chunk(2, dim=1)
            x = torch.cat([left, self.branch(right)], 1)
            n, c, h, w = x.size()
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
            return self.head(x.mean([2, 3]))

    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = unit(3, 16, 7, 2), nn.Linear(40, 10)
            self.layers = nn.ModuleList(nn.Sequential(nn.BatchNorm2d(16 + 8 * i), nn.ReLU(), nn.Conv2d(16 + 8 * i, 8, 3, padding=1)) for i in range(3))

        def forward(self, x):
            features = [F.max_pool2d(self.stem(x), 3, 2, 1)]
            for layer in self.layers:
                features.append(layer(torch.cat(features, 1)))
            return self.head(F.avg_pool2d(torch.cat(features, 1), 2).mean((2, 3)))

    class Bert(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places, self.kinds = nn.Embedding(100, 32), nn.Embedding(64, 32), nn.Embedding(2, 32)
            self.q, self.k, self.v, self.out = (nn.Linear(32, 32) for _ in range(4))
            self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(3))
            self.wide, self.narrow, self.head = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 3)

        def forward(self, ids, mask, kinds):
            batch, length = ids.shape
            hidden = (1.0 - mask[:, None, None, :].float()) * -10000.0
            places = self.places(torch.arange(length).unsqueeze(0).expand(batch, length))
            x = self.norms[0](self.words(ids) + places + self.kinds(kinds))
            q, k, v = (f(x).view(batch, length, 4, 8).transpose(1, 2) for f in (self.q, self.k, self.v))
            a = torch.softmax(q @ k.transpose(-1, -2) / 8**0.5 + hidden, -1) @ v
            x = self.norms[1](x + self.out(a.transpose(1, 2).contiguous().view(batch, length, 32)))
            x = self.norms[2](x + self.narrow(F.gelu(self.wide(x))))
            return self.head(torch.tanh(x[:, 0])), x

    class Recurrent(nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.cells, self.head = kind(8, 16, batch_first=True), nn.Linear(16, 4)

        def forward(self, x):
            return self.head(self.cells(x)[0][:, -1])

    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)
    image, batch, sizes = (torch.randn(2, 3, 32, 32),), {0: "N"}, {0: "N", 2: "H", 3: "W"}
    words = torch.randint(0, 100, (2, 7))
    text = (words, (words > 20).long(), torch.zeros_like(words))
    series = (torch.randn(2, 5, 8),)
    networks = {
        "mobilenet_v2": (Mobile(nn.ReLU6), image, batch),
        "mobilenet_v3": (Mobile(nn.Hardswish, nn.Hardsigmoid), image, batch),
        "efficientnet": (Mobile(nn.SiLU, nn.Sigmoid), image, batch),
        "convnext": (Next(), image, batch),
        "unet_transposed": (UNet("transposed"), image, sizes),
        "unet_nearest": (UNet("nearest"), image, sizes),
        "unet_bilinear": (UNet("bilinear"), image, batch),
        "unet_size": (UNet("size"), image, batch),
        "squeezenet": (Fire(), image, sizes),
        "shufflenet": (Shuffle(), image, sizes),
        "standardised": (nn.Sequential(Standardised(3, 16, 3), nn.ReLU(), Standardised(16, 24, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10)), image, sizes),
        "densenet": (Dense(), image, sizes),
        "bert": (Bert(), text, {0: "N", 1: "L"}),
        "encoder": (encoder, (torch.randn(2, 5, 16),), {0: "N", 1: "L"}),
        "gru": (Recurrent(nn.GRU), series, batch),
        "lstm": (Recurrent(nn.LSTM), series, batch),
    }
    for name, (network, inputs, axes) in networks.items():
        names = [f"x{i}" for i in range(len(inputs))]
        for opset in OPSETS:
            path = folder / f"torch_{name}-{opset}.onnx"
            torch.onnx.export(network.eval(), inputs, str(path), opset_version=opset, input_names=names, dynamic_axes={n: axes for n in names})


def tensorflow_networks(folder):
    import tensorflow as tf
    import tf2onnx

    layers = tf.keras.layers

    def convolutional(activation):
        image = x = tf.keras.Input((32, 32, 3))
        x = layers.BatchNormalization()(layers.Conv2D(16, 3, 2, padding="same", use_bias=False)(x))
        x = layers.Activation(activation)(x)
        y = layers.Conv2D(16, 1)(layers.Activation(activation)(layers.DepthwiseConv2D(3, padding="same")(x)))
        x = layers.MaxPooling2D(3, 2, padding="same")(layers.Add()([x, y]))
        x = layers.AveragePooling2D(2, 2, padding="same")(layers.SeparableConv2D(24, 3, padding="same")(x))
        gate = layers.Conv2D(24, 1, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
        return tf.keras.Model(image, layers.Dense(10, activation="softmax")(layers.Flatten()(layers.Multiply()([x, gate]))))

    def unet():
        image = tf.keras.Input((32, 32, 3))
        a = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
        b = layers.Conv2D(16, 3, padding="same", activation="relu")(layers.MaxPooling2D()(a))
        ups = [layers.Conv2DTranspose(8, 3, 2, padding="same"), layers.UpSampling2D(2, interpolation="bilinear"), layers.UpSampling2D(2)]
        x = layers.Concatenate()([a, *(up(b) for up in ups)])
        return tf.keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(x))

    def perceptron():
        x = numbers = tf.keras.Input((8,))
        x = layers.LeakyReLU()(layers.BatchNormalization()(layers.Dense(16, activation="elu")(x)))
        return tf.keras.Model(numbers, layers.Dense(3)(layers.Dense(8, activation="selu")(x)))

    def vision():
        image = tf.keras.Input((32, 32, 3))
        x = layers.Reshape((16, 16))(layers.Conv2D(16, 8, 8)(image))
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 8)(y, y)])
        x = layers.Add()([x, layers.Dense(16)(layers.Dense(32, activation="silu")(layers.LayerNormalization()(x)))])
        return tf.keras.Model(image, layers.Dense(5)(layers.GlobalAveragePooling1D()(x)))

    def series():
        x = numbers = tf.keras.Input((20, 4))
        x = layers.Conv1D(8, 3, padding="causal", dilation_rate=2, activation="relu")(x)
        x = layers.Conv1D(8, 3, padding="same")(layers.MaxPooling1D(2)(x))
        return tf.keras.Model(numbers, layers.Dense(2)(layers.GlobalMaxPooling1D()(x)))

    activations = {name: convolutional(name) for name in ("relu", "relu6", "swish", "hard_silu")}
    networks = {**activations, "unet": unet(), "mlp": perceptron(), "vit": vision(), "conv1d": series()}
    networks["mobilenet_v2"] = tf.keras.applications.MobileNetV2((64, 64, 3), 0.35, weights=None, classes=10)
    for name, network in networks.items():
        signature = [tf.TensorSpec((None, *network.input_shape[1:]), tf.float32, name="x")]
        function = tf.function(lambda x, network=network: network(x, training=False))
        # Attention is exported as Einsum, which ONNX has from operator set 12 on.
        for opset in OPSETS[name == "vit" :]:
            tf2onnx.convert.from_function(function, signature, opset=opset, output_path=str(folder / f"tensorflow_{name}-{opset}.onnx"))


def paddle_networks(folder):
    import paddle
    from paddle import nn
    from paddle.nn import functional as F
    from paddle.static import InputSpec

    paddle.seed(0)

    def unit(inputs, outputs, stride=1, groups=1, activation=nn.Hardswish):
        return nn.Sequential(nn.Conv2D(inputs, outputs, 3, stride, 1, groups=groups, bias_attr=False), nn.BatchNorm2D(outputs), activation())

    class Classifier(nn.Layer):
        def __init__(self):
            super().__init__()
            self.stem, self.depthwise, self.gate, self.head = unit(3, 16, 2), unit(16, 16, groups=16), nn.Conv2D(16, 16, 1), nn.Linear(16, 10)

        def forward(self, x):
            x = self.depthwise(self.stem(x))
            x = x * F.hardsigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)), slope=0.2, offset=0.5)
            return F.softmax(self.head(paddle.flatten(F.adaptive_avg_pool2d(x, 1), 1)))

    class Detector(nn.Layer):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.side = unit(3, 8, 2, activation=nn.ReLU), unit(8, 16, 2, activation=nn.ReLU), nn.Conv2DTranspose(16, 8, 2, 2)
            self.up, self.head = nn.Conv2DTranspose(8, 4, 2, 2), nn.Conv2D(4, 1, 1)

        def forward(self, x):
            a = self.a(x)
            return F.sigmoid(self.head(self.up(a + self.side(self.b(a)))))

    class Recogniser(nn.Layer):
        def __init__(self):
            super().__init__()
            self.stem, self.norm, self.qkv, self.out = unit(3, 32, 4, activation=nn.GELU), nn.LayerNorm(32), nn.Linear(32, 96), nn.Linear(32, 20)

        def forward(self, x):
            x = self.stem(x).flatten(2).transpose([0, 2, 1])
            q, k, v = self.qkv(self.norm(x)).reshape([0, -1, 3, 4, 8]).transpose([2, 0, 3, 1, 4])
            a = F.softmax(q.matmul(k.transpose([0, 1, 3, 2])) * (8**-0.5), -1).matmul(v)
            return F.softmax(self.out(x + a.transpose([0, 2, 1, 3]).reshape([0, -1, 32])), 2)

    image = lambda *sizes: [InputSpec([None, 3, *sizes], "float32", "x")]
    networks = {"cls": (Classifier(), image(32, 32)), "cls_open": (Classifier(), image(None, None)), "det": (Detector(), image(None, None)), "rec": (Recogniser(), image(32, 64))}
    for name, (network, inputs) in networks.items():
        network.eval()
        for opset in OPSETS:
            paddle.onnx.export(network, str(folder / f"paddle_{name}-{opset}"), input_spec=inputs, opset_version=opset)


def sklearn_networks(folder):
    import numpy as np
    from skl2onnx import to_onnx
    from sklearn.decomposition import PCA
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler

    x = np.random.RandomState(0).randn(200, 8).astype(np.float32)
    classes = (x[:, 0] + x[:, 1] > 0).astype(int) + (x[:, 2] > 1)
    deep = lambda: MLPClassifier((16, 8), activation="tanh", max_iter=50)
    networks = {
        "mlp": deep(),
        "binary": MLPClassifier((8,), max_iter=50),
        "regressor": MLPRegressor(hidden_layer_sizes=(16,), activation="logistic", max_iter=50),
        "standard": make_pipeline(StandardScaler(), deep()),
        "range": make_pipeline(MinMaxScaler(), deep()),
        "norm": make_pipeline(Normalizer(), deep()),
        "pca": make_pipeline(StandardScaler(), PCA(4), deep()),
    }
    for name, network in networks.items():
        network.fit(x, {"regressor": x[:, 0], "binary": classes > 0}.get(name, classes))
        for opset in OPSETS[1:]:
            kinds = {"": {"zipmap": False}, "_maps": {"zipmap": True}} if hasattr(network, "predict_proba") else {"": None}
            for kind, options in kinds.items():
                model = to_onnx(network, x[:1], options=options and {id(network): options}, target_opset={"": opset, "ai.onnx.ml": 3})
                (folder / f"sklearn_{name}{kind}-{opset}.onnx").write_bytes(model.SerializeToString())


def onnxruntime_networks(folder):
    import numpy as np
    import onnxruntime
    from onnxruntime import quantization
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType

    class Samples(CalibrationDataReader):
        """Open sizes are 1."""

        def __init__(self, path):
            random = np.random.default_rng(0)
            inputs = onnxruntime.InferenceSession(path).get_inputs()
            shapes = {x.name: [size if isinstance(size, int) else 1 for size in x.shape] for x in inputs}
            draw = lambda: {name: random.random(shape).astype(np.float32) for name, shape in shapes.items()}
            self.samples = iter([draw() for _ in range(4)])

        def get_next(self):
            return next(self.samples, None)

    place = folder / "onnxruntime"
    place.mkdir(exist_ok=True)

    def quantise(path, file, kind, **options):
        weight = QuantType.QInt8
        if kind == "dynamic":
            return quantization.quantize_dynamic(path, file, weight_type=weight)
        return quantization.quantize_static(path, file, Samples(path), quant_format=QuantFormat[kind], weight_type=weight, **options)

    def optimise(path, file):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = file
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    unsigned, signed = {"activation_type": QuantType.QUInt8}, {"activation_type": QuantType.QInt8, "per_channel": True}
    ways = {
        "qoperator": lambda *files: quantise(*files, "QOperator", **unsigned),
        "qoperator_channels": lambda *files: quantise(*files, "QOperator", **signed),
        "qdq": lambda *files: quantise(*files, "QDQ", **unsigned),
        "qdq_channels": lambda *files: quantise(*files, "QDQ", **signed),
        "dynamic": lambda *files: quantise(*files, "dynamic"),
        "optimised": optimise,
    }
    for path in sorted(folder.glob("*.onnx")):
        for name, write in ways.items():
            try:
                write(str(path), str(place / f"{path.stem}-{name}.onnx"))
            except Exception as error:  # Of any type: what its tools cannot do is theirs to say.
                print(f"{path.stem}, {name}: {str(error).splitlines()[0]}", file=sys.stderr)


EXPORTERS = {"torch": torch_networks, "tensorflow": tensorflow_networks, "paddle": paddle_networks, "sklearn": sklearn_networks, "onnxruntime": onnxruntime_networks}

if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[2] not in EXPORTERS:
        sys.exit(__doc__)
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    EXPORTERS[sys.argv[2]](place)
