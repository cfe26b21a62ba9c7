#!/usr/bin/env python3
"""Turns the idx files of MNIST's test set into what `twnc compare` and `twnc run` read.

    mnist.py IDX_FOLDER OUT_FOLDER [--count 500]

Without --count it writes mnist-10000.npz and mnist-10000-labels.npy; with --count N the first N images as
mnist-N.npz and mnist-N-labels.npy. The npz holds one array, `image`: f32[N,1,28,28], pixel / 255, the input of
the LeNet-5 in testsuite/models. The labels are i64[N]. Fashion-MNIST has the same files and can be read too.

The bytes written depend on the input alone, so the excerpt in testsuite/data can be made again and compared.
"""

import argparse
import io
import pathlib
import struct
import zipfile

import numpy as np


def read_idx(path):
    """An idx file of unsigned bytes (magic 0x0000 08 RANK, then RANK big-endian sizes) as an array."""
    data = path.read_bytes()
    zero, kind, rank = struct.unpack_from(">HBB", data)
    if (zero, kind) != (0, 8):
        raise SystemExit(f"{path}: not an idx file of unsigned bytes")
    shape = struct.unpack_from(f">{rank}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def write_npz(path, arrays):
    """np.savez_compressed at the highest compression and without the time of day in it."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, buffer.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("idx", type=pathlib.Path, help="folder with t10k-images-idx3-ubyte and its labels")
    arguments.add_argument("out", type=pathlib.Path, help="folder to write to")
    arguments.add_argument("--count", type=int, default=10_000, help="images from the start of the set")
    options = arguments.parse_args()

    images = read_idx(options.idx / "t10k-images-idx3-ubyte")[: options.count]
    labels = read_idx(options.idx / "t10k-labels-idx1-ubyte")[: options.count]
    if len(images) != len(labels):
        raise SystemExit(f"{options.idx}: {len(images)} images but {len(labels)} labels")
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / f"mnist-{len(images)}"
    write_npz(stem.with_suffix(".npz"), {"image": images[:, None].astype(np.float32) / np.float32(255)})
    np.save(f"{stem}-labels.npy", labels.astype(np.int64))
    print(f"{stem}.npz")


if __name__ == "__main__":
    main()
