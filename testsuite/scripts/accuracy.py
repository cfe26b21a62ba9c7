"""The benchmark's table of accuracy against the bits of integer activations."""

import json
import sys

from networks import REPOSITORY, call


def table(bench):
    """LeNet-5 on MNIST's 10,000 test images: f32 activations, then integers of 4 to 12 bits."""
    digits = bench.options.zoo / "mnist"
    if not digits.exists():
        print(f"SKIPPED: no {digits}; zoo.sh fetches it", file=sys.stderr)
        return
    call([sys.executable, REPOSITORY / "testsuite/scripts/mnist.py", digits, bench.scratch])
    network, compiled = REPOSITORY / "testsuite/models/lenet5_twn.onnx", bench.scratch / "lenet5.bin"
    data = ["--data", bench.scratch / "mnist-10000.npz", "--labels", bench.scratch / "mnist-10000-labels.npy"]
    bench.table("activations", "right of 10,000", "same class as the float network", "largest difference of a logit")
    for bits in [None, *range(4, 13)]:
        integers = ["--activations", "int", "--activation-bits", bits] if bits else []
        call([bench.twnc, network, "-o", compiled, *integers])
        found = json.loads(call([bench.twnc, "compare", network, compiled, *data, "--json"]))
        right, same = (round(found[key] * found["samples"]) for key in ("top1", "agreement"))
        bench.row(f"{bits} bits" if bits else "f32", right, same, f"{found['max_abs']:.2g}")
        bench.json.setdefault("bits", {})[str(bits or "f32")] = {k: v for k, v in found.items() if k != "layers"}
