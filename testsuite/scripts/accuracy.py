"""The benchmark's tables of what integer activations cost in accuracy: a network against bits, and networks on real inputs.

What the second one reads of the zoo, beside its networks and what zoo.sh fetches: `cifar10/test/CLASS/*.jpg`, and
`imagenet/*.jpg`, one photograph of 224x224 for each class, whose file names sort as the classes do. A network whose
file or data is absent is skipped, with a word.
"""

import dataclasses
import json
import sys
import typing

import numpy as np
import onnx

from mnist import read_idx
from networks import REPOSITORY, Network, call

# Inputs of a run of the command, which are in memory at once.
BATCH = 50


def table(bench):
    """LeNet-5 on MNIST's 10,000 test images: f32 activations, then integers of 4 to 12 bits; accuracy and speed."""
    digits = bench.options.zoo / "mnist"
    if not digits.exists():
        print(f"SKIPPED: no {digits}; zoo.sh fetches it", file=sys.stderr)
        return
    call([sys.executable, REPOSITORY / "testsuite/scripts/mnist.py", digits, bench.scratch])
    network = REPOSITORY / "testsuite/models/lenet5_twn.onnx"
    data = ["--data", bench.scratch / "mnist-10000.npz", "--labels", bench.scratch / "mnist-10000-labels.npy"]
    columns = {}
    for bits in [None, *range(4, 13)]:
        name = f"{bits} bits" if bits else "f32"
        columns[name] = bench.scratch / f"lenet5-{bits}.bin"
        call([bench.twnc, network, "-o", columns[name], *integers(bits)])
    times = {batch: turns(bench, columns, batch) for batch in (1, 64)}
    bench.table(
        "activations",
        "right of 10,000",
        "same class as the float network",
        "largest difference of a logit",
        "one image, ms",
        "64 images, ms",
    )
    for name, compiled in columns.items():
        found = json.loads(call([bench.twnc, "compare", network, compiled, *data, "--json"]))
        right, same = (round(found[key] * found["samples"]) for key in ("top1", "agreement"))
        taken = [f"{times[batch][name]:.3g}" for batch in times]
        bench.row(name, right, same, f"{found['max_abs']:.2g}", *taken)
        kept = {k: v for k, v in found.items() if k != "layers"}
        bench.json.setdefault("bits", {})[name] = kept | {"ms": [times[batch][name] for batch in times]}


def integers(bits):
    return ["--activations", "int", "--activation-bits", bits] if bits else []


def turns(bench, columns, batch):
    """{column: milliseconds}: compiled networks of one image size in turns, the median of their rounds' medians."""
    found = {name: [] for name in columns}
    runs = max(5, int(bench.options.seconds * 1e3 / (0.06 * batch)))
    for number in range(bench.options.rounds):
        order = list(columns)
        turn = number % len(order)
        for name in order[turn:] + order[:turn]:
            command = [bench.twnc, "bench", columns[name], "--json", "--runs", runs, f"--dim=N={batch}"]
            found[name].append(json.loads(call(command))["median_ms"])
    return {name: float(np.median(times)) for name, times in found.items()}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network with real inputs: its file in the zoo's models or in testsuite/models; its inputs, as a function
    of the zoo that gives batches and, where there are labels, all of them; and whether its weights are ternary as they are."""

    label: str
    file: str
    inputs: typing.Callable
    ternary: bool = False


def digits(kind, white=255):
    def inputs(zoo):
        images = read_idx(zoo / kind / "t10k-images-idx3-ubyte")[:, None].astype(np.float32) / np.float32(255 / white)
        labels = read_idx(zoo / kind / "t10k-labels-idx1-ubyte").astype(np.int64)
        return batches(len(images), lambda part: images[part], 1000), labels

    return inputs


def cifar10(zoo):
    folders = sorted((zoo / "cifar10/test").iterdir())
    files = [(path, label) for label, folder in enumerate(folders) for path in sorted(folder.glob("*.jpg"))]
    read = lambda part: np.stack([pixels(path) for path, _ in files[part]])
    return batches(len(files), read, 1000), np.array([label for _, label in files])


def photographs(prepare, labelled=False):
    def inputs(zoo):
        files = sorted((zoo / "imagenet").glob("*.jpg"))
        if not files:
            raise FileNotFoundError(zoo / "imagenet/*.jpg")
        read = lambda part: np.stack([prepare(path) for path in files[part]])
        return batches(len(files), read, BATCH), np.arange(len(files)) if labelled else None

    return inputs


def batches(count, read, size):
    return (read(slice(start, start + size)) for start in range(0, count, size))


def pixels(path, size=None):
    """f32[height, width, 3] in 0..255."""
    from PIL import Image

    image = Image.open(path).convert("RGB")
    return np.asarray(image.resize((size, size)) if size else image, np.float32)


MEANS = np.array([104, 117, 123], np.float32)  # of blue, green, red
TRAINED = [
    Trained("LeNet-5, MNIST, trained ternary", "lenet5_twn.onnx", digits("mnist", white=1), ternary=True),
    Trained("LeNet-5, MNIST", "lenet5_float.onnx", digits("mnist", white=1)),
    Trained("two convolutions, MNIST", "mnist_conv.onnx", digits("mnist")),
    Trained("ResNet-8, CIFAR-10", "tiny_resnet8.onnx", cifar10),
    Trained("MobileNet 96² (person or not), photographs", "tiny_vww.onnx", photographs(lambda path: pixels(path, 96) / 255)),
    Trained(
        "EfficientNet-lite0, photographs",
        "efficientnet_lite0.onnx",
        photographs(lambda path: ((pixels(path) - 127) / 128).transpose(2, 0, 1), labelled=True),
    ),
    Trained("ResNet-50, thin (two classes), photographs", "resnet50_thin.onnx", photographs(lambda path: pixels(path)[..., ::-1] - MEANS)),
]
WIDTHS = (8, 10, 12)


def classes(bench):
    """Networks with ternary weights on real inputs: the classes with integer activations beside those with f32 activations."""
    bench.table(
        "network, inputs",
        "weights",
        "inputs",
        *(f"same class, {bits} bits" for bits in WIDTHS),
        "cosine of outputs, 8 bits",
        "right: float",
        "f32",
        "8 bits",
        "classes seen",
        "share of the first",
        "margin of those that differ",
    )
    for network in TRAINED:
        for scale in ["as trained"] if network.ternary else ["layer", "channel"]:
            try:
                row = compared(bench, network, scale)
            except (FileNotFoundError, ImportError) as error:
                print(f"SKIPPED: {network.label}: {error}", file=sys.stderr)
                break
            bench.row(network.label, scale if network.ternary else f"rounded, a scale for each {scale}", *row)


def compared(bench, network, scale):
    folders = (bench.options.zoo / "models", REPOSITORY / "testsuite/models")
    source = next((folder / network.file for folder in folders if (folder / network.file).exists()), None)
    if source is None:
        raise FileNotFoundError(f"no {network.file} in {folders[0]}")
    given, labels = network.inputs(bench.options.zoo)
    path = bench.scratch / network.file
    if not path.exists():
        onnx.save(any_batch(onnx.load(source)), path)
    name = Network(path).inputs[0].name
    rounding = [] if network.ternary else ["--scale", scale]
    modes = {"float": ["--ternarise", "none"], "f32": rounding}
    modes |= {f"{bits}": [*rounding, *integers(bits)] for bits in WIDTHS}
    for mode, options in modes.items():
        call([bench.twnc, path, "-o", bench.scratch / f"{mode}.bin", *options])
    outputs = {mode: [] for mode in modes}
    for batch in given:
        np.savez(bench.scratch / "batch.npz", **{name: batch})
        for mode in modes:
            command = [bench.twnc, "run", bench.scratch / f"{mode}.bin", "-i", bench.scratch / "batch.npz"]
            call([*command, "-o", bench.scratch / "out.npz"])
            with np.load(bench.scratch / "out.npz") as found:
                outputs[mode].append(next(iter(found.values())))
    outputs = {mode: np.concatenate(parts) for mode, parts in outputs.items()}
    chosen = {mode: values.argmax(1) for mode, values in outputs.items()}
    seen = np.bincount(chosen["f32"])
    same = {bits: float((chosen[str(bits)] == chosen["f32"]).mean()) for bits in WIDTHS}
    right = {mode: None if labels is None else float((chosen[mode] == labels).mean()) for mode in ("float", "f32", "8")}
    # How far the first class is ahead of the second, of the inputs whose class differs and of all.
    margins = np.diff(np.sort(outputs["f32"].astype(np.float64), axis=1)[:, -2:]).ravel()
    differs = chosen["8"] != chosen["f32"]
    margin = float(np.median(margins[differs]) / np.median(margins)) if differs.any() else None
    cosine = float(np.mean(cosines(outputs["f32"], outputs["8"])))
    bench.json.setdefault("classes", {})[f"{network.label}, {scale}"] = {
        "same": same,
        "right": right,
        "cosine": cosine,
        "seen": {int(number): int(seen[number]) for number in seen.nonzero()[0]},
        "margin": margin,
    }
    percent = lambda share: "" if share is None else f"{share:.2%}"
    return [
        len(chosen["f32"]),
        *(percent(same[bits]) for bits in WIDTHS),
        f"{cosine:.6f}",
        *map(percent, right.values()),
        f"{np.count_nonzero(seen)} of {outputs['f32'].shape[1]}",
        percent(seen.max() / seen.sum()),
        percent(margin),
    ]


def any_batch(model):
    """The network with an open batch: also where a reshape says 1 for it, as in networks exported for one input."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in tensors]
    inputs[0].type.tensor_type.shape.dim[0].dim_param = "N"
    for node in model.graph.node:
        shape = tensors.get(node.input[1]) if node.op_type == "Reshape" else None
        sizes = [] if shape is None else onnx.numpy_helper.to_array(shape).copy()
        if len(sizes) and sizes[0] == 1 and node.input[0] not in tensors:
            sizes[0] = 0
            shape.CopyFrom(onnx.numpy_helper.from_array(sizes, shape.name))
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return model


def cosines(a, b):
    """For each row, of what is left of the outputs without their mean, which no class depends on."""
    a, b = (x.astype(np.float64) - x.mean(1, keepdims=True) for x in (a, b))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.where(norms > 0, (a * b).sum(1) / np.where(norms > 0, norms, 1), 1.0)
