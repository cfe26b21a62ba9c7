#!/usr/bin/env python3
"""Networks of torchvision, timm and transformers, with random weights, as PyTorch's default exporter writes them, against ONNX Runtime.

    architectures.py export DIR [NAME...]    writes DIR/NAME.onnx; the batch, height and width (or length) of inputs stay open where PyTorch allows it
    architectures.py check DIR [NAME...]     compiles each once, with its sizes open, runs it at several sizes, and compares
    ... --fixed                              the same, compiled again for each of the sizes, which must be as good
    ... --twnc PATH                          the command to check; built without it

Names are `tv:resnet18` (torchvision), `timm:convnext_atto` and `hf:bert`; without any, all that are listed here. What was done is kept in DIR/export.jsonl and
DIR/check.jsonl, and not done again. Exporting needs torch 2.9 or newer, torchvision, timm, transformers and onnxscript. Exit code 1 if a network was refused,
or differs, that ONNX Runtime runs.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

TORCHVISION = """alexnet vgg11_bn resnet18 resnext50_32x4d wide_resnet50_2 densenet121 squeezenet1_1 googlenet inception_v3 mobilenet_v2 mobilenet_v3_small
mnasnet0_5 shufflenet_v2_x0_5 efficientnet_b0 efficientnet_v2_s regnet_y_400mf regnet_x_400mf convnext_tiny vit_b_32 swin_t swin_v2_t maxvit_t
segmentation.fcn_resnet50 segmentation.deeplabv3_mobilenet_v3_large segmentation.lraspp_mobilenet_v3_large video.r3d_18 video.r2plus1d_18""".split()

TIMM = """resnet10t resnet26d resnetv2_50x1_bit resnetrs50 seresnet33ts ecaresnet26t skresnet18 res2net50_14w_8s resnest14d gernet_s repvgg_a0 dla34 hrnet_w18_small
selecsls42 vovnet39a ese_vovnet19b_dw cspresnet50 cspdarknet53 darknet53 tresnet_m xception41 inception_resnet_v2 nf_regnet_b0 eca_nfnet_l0 nfnet_f0 tf_mobilenetv3_small_minimal_100
tf_efficientnet_lite0 mixnet_s tf_mixnet_s fbnetc_100 spnasnet_100 lcnet_050 tinynet_e ghostnet_100 ghostnetv2_100 hardcorenas_a rexnet_100 mobilenetv4_conv_small mobilenetv4_hybrid_medium
mobileone_s0 fastvit_t8 fasternet_t0 starnet_s1 repghostnet_050 repvit_m0_9 efficientformer_l1 efficientformerv2_s0 efficientvit_b0 efficientvit_m0 edgenext_xx_small mobilevit_xxs mobilevitv2_050
convnext_atto convnextv2_atto convmixer_768_32 poolformer_s12 poolformerv2_s12 caformer_s18 inception_next_atto focalnet_tiny_srf mambaout_femto hgnet_tiny hgnetv2_b0 rdnet_tiny
vit_tiny_patch16_224 deit_tiny_distilled_patch16_224 deit3_small_patch16_224 cait_xxs24_224 xcit_nano_12_p16_224 crossvit_tiny_240 levit_128s pit_ti_224 tnt_s_patch16_224 twins_pcpvt_small twins_svt_small
visformer_tiny coat_tiny coatnet_nano_rw_224 volo_d1_224 gcvit_xxtiny maxvit_nano_rw_256 nest_tiny mvitv2_tiny davit_tiny swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swinv2_cr_tiny_224
pvt_v2_b0 eva02_tiny_patch14_224 beit_base_patch16_224 mixer_s32_224 resmlp_12_224 gmlp_s16_224 sequencer2d_s tiny_vit_5m_224 hiera_tiny_224 vit_small_patch14_dinov2 naflexvit_base_patch16_gap
vit_base_patch16_siglip_224 vitamin_small_224 shvit_s1 swiftformer_xs csatv2 haloregnetz_b bat_resnext26ts lambda_resnet26t botnet26t_256 halonet26t eca_botnext26ts_256 regnetz_b16 nextvit_small
cs3darknet_s cs3sedarknet_l crossvit_9_240 convit_tiny repvit_m1 test_byobnet""".split()

TRANSFORMERS = {
    "bert": "Bert", "roberta": "Roberta", "distilbert": "DistilBert", "albert": "Albert", "electra": "Electra", "mpnet": "MPNet", "deberta-v2": "DebertaV2", "mobilebert": "MobileBert", "squeezebert": "SqueezeBert",
    "convbert": "ConvBert", "nystromformer": "Nystromformer", "fnet": "FNet", "funnel": "Funnel", "xlm-roberta": "XLMRoberta", "camembert": "Camembert", "ernie": "Ernie", "layoutlm": "LayoutLM", "roformer": "RoFormer", "modernbert": "ModernBert",
    "rembert": "RemBert", "splinter": "Splinter", "yoso": "Yoso", "ibert": "IBert", "xmod": "Xmod", "nomic_bert": "NomicBert", "gpt2": "GPT2",
    "vit": "ViT", "deit": "Deit", "beit": "Beit", "swin": "Swin", "convnext": "ConvNext", "segformer": "Segformer", "dinov2": "Dinov2", "mobilevit": "MobileViT", "poolformer": "PoolFormer", "cvt": "Cvt",
    "levit": "Levit", "regnet": "RegNet", "resnet": "ResNet", "yolos": "Yolos", "dpt": "DPT", "mobilenet_v1": "MobileNetV1", "mobilenet_v2": "MobileNetV2", "focalnet": "FocalNet", "pvt_v2": "PvtV2", "siglip_vision_model": "SiglipVision", "clip_vision_model": "CLIPVision",
    "wav2vec2": "Wav2Vec2", "hubert": "Hubert", "data2vec-audio": "Data2VecAudio", "audio-spectrogram-transformer": "AST",
}  # fmt: skip

NAMES = [*(f"tv:{name}" for name in TORCHVISION), *(f"timm:{name}" for name in TIMM), *(f"hf:{name}" for name in TRANSFORMERS)]
WORDS, SECONDS = 12, 8000
# Seconds that writing one network may take; some of PyTorch's exports do not end.
LONGEST = 120


def file_of(name):
    return name.replace(":", "_").replace("/", "_") + ".onnx"


def network(name):
    """A network, inputs for it, and what is open of each."""
    import torch

    torch.manual_seed(0)
    library, _, which = name.partition(":")
    batch, height, width = torch.export.Dim("N", max=64), torch.export.Dim("H", max=4096), torch.export.Dim("W", max=4096)
    if library == "tv":
        import torchvision

        options = {"init_weights": False, "aux_logits": False} if which in ("googlenet", "inception_v3") else {}
        if which.startswith("segmentation"):
            options = {"weights_backbone": None}
        model = torchvision.models.get_model(which.split(".")[-1], weights=None, **options)
        side = {"inception_v3": 299}.get(which, 224)
        shape = (2, 3, 8, 64, 64) if which.startswith("video") else (2, 3, side, side)
        sizes = {0: batch} if which.startswith("video") else {0: batch, 2: height, 3: width}
        return model.eval(), (torch.randn(shape),), [sizes], ["image"]
    if library == "timm":
        import timm

        model = timm.create_model(which, pretrained=False, exportable=True)
        shape = model.default_cfg.get("test_input_size") or model.default_cfg["input_size"]
        return model.eval(), (torch.randn(2, *shape),), [{0: batch, 2: height, 3: width}], ["image"]
    import transformers

    config = transformers.AutoConfig.for_model(which)
    for key, value in {"num_hidden_layers": 2, "n_layer": 2, "encoder_layers": 2}.items():
        if isinstance(getattr(config, key, None), int):
            setattr(config, key, value)
    config._attn_implementation, config.return_dict = "eager", False
    model = getattr(transformers, TRANSFORMERS[which] + "Model")(config).eval()
    length = torch.export.Dim("L", min=2, max=500)
    kind = model.main_input_name
    if kind == "input_ids":
        words = torch.randint(3, 90, (2, WORDS))
        return model, (words, torch.ones_like(words)), [{0: batch, 1: length}] * 2, ["input_ids", "attention_mask"]
    if kind == "pixel_values":
        side = getattr(config, "image_size", 224) or 224
        side = side if isinstance(side, int) else side[0]
        return model, (torch.randn(2, 3, side, side),), [{0: batch, 2: height, 3: width}], [kind]
    samples = (torch.randn(2, SECONDS),) if kind == "input_values" and which != "audio-spectrogram-transformer" else (torch.randn(2, config.max_length, config.num_mel_bins),)
    return model, samples, [{0: batch}], [kind]


def export(folder, name, way):
    """Writes a network with all that may be open of its inputs open, the batch, or nothing."""
    import torch

    model, inputs, sizes, names = network(name)
    kept = {"all": lambda axis: True, "batch": lambda axis: axis == 0, "nothing": None}[way]
    shapes = kept and tuple({axis: dim for axis, dim in size.items() if kept(axis)} for size in sizes)
    program = torch.onnx.export(model, inputs, dynamo=True, dynamic_shapes=shapes, input_names=names, verbose=False)
    program.save(str(folder / file_of(name)), external_data=False)


def exported(folder, name):
    """What is said of writing a network, in a process that can be ended, with as much open as it can be."""
    problems = []
    for way in ("all", "batch", "nothing"):
        try:
            done = subprocess.run([sys.executable, __file__, "one", folder, name, way], capture_output=True, text=True, timeout=LONGEST)
            if done.returncode == 0:
                return {"open": way, "problems": problems}
            problems.append(" ".join(done.stderr.split())[-200:])
        except subprocess.TimeoutExpired:
            problems.append(f"takes over {LONGEST} s")
    return {"verdict": "not exported", "problems": problems}


def sizes_of(model):
    """Shapes to run it at: all inputs of one run, several runs."""
    runs = []
    for step in range(4):
        shapes = {}
        for value in model.graph.input:
            shape = []
            for axis, dim in enumerate(value.type.tensor_type.shape.dim):
                if not dim.dim_param:
                    shape.append(dim.dim_value)
                elif axis == 0:
                    shape.append((1, 3, 2, 1)[step])
                elif len(value.type.tensor_type.shape.dim) == 2:
                    shape.append((7, 12, 20, 33)[step])
                else:
                    # What networks are made for first, at the end what no stride divides.
                    shape.append(((224, 224), (256, 256), (288, 192), (231, 250))[step][axis % 2])
            shapes[value.name] = shape
        if shapes not in runs:
            runs.append(shapes)
    return runs


def drawn(random, value, shape):
    """Normal numbers; words, all different; a mask that leaves out the last of them."""
    import numpy as np
    import onnx

    if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
        return random.normal(size=shape).astype(np.float32)
    if "mask" in value.name:
        return (np.arange(shape[-1]) < shape[-1] - 1).astype(np.int64) * np.ones(shape, np.int64)
    return random.integers(3, 90, shape)


def check(twnc, path, fixed):
    """What twnc makes of a network: a verdict, the largest share of what is allowed, and how long compiling took."""
    import numpy as np
    import onnx
    import onnxruntime
    from check_ort import Unsuited, difference, run_ort
    from networks import Failed, call

    model = onnx.load(path)
    random, worst, held, took, unsuited_by = np.random.default_rng(0), 0.0, 0, 0.0, ""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        compiled = None
        for shapes in sizes_of(model):
            inputs = {value.name: drawn(random, value, shapes[value.name]) for value in model.graph.input}
            try:
                reference = run_ort(str(path), inputs, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
            except Unsuited as unsuited:
                unsuited_by = str(unsuited)
                continue
            optimised = run_ort(str(path), inputs, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
            np.savez(scratch / "in.npz", **inputs)
            try:
                if fixed or compiled is None:
                    options = [f"--input-shape={name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items()] if fixed else []
                    start = time.monotonic()
                    call([twnc, path, "-o", scratch / "model.bin", "--ternarise=none", *options])
                    compiled, took = True, max(took, time.monotonic() - start)
                call([twnc, "run", scratch / "model.bin", "-i", scratch / "in.npz", "-o", scratch / "out.npz"])
                ours = np.load(scratch / "out.npz")
                for name, array in reference.items():
                    own, share = difference(array, optimised[name])[2], difference(array, ours[name])[2]
                    worst = max(worst, 0.0 if own > 1 else share)
            except Failed as failed:
                return {"verdict": "REFUSED", "why": f"{shapes}: {failed}", "seconds": round(took, 1)}
            held += 1
    if held == 0:
        return {"verdict": "not compared", "why": unsuited_by}
    return {"verdict": "holds" if worst <= 1 else "DIFFERS", "share": round(worst, 4), "sizes": held, "seconds": round(took, 1)}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("what", choices=("export", "check", "one"))
    arguments.add_argument("folder", type=pathlib.Path)
    arguments.add_argument("names", nargs="*", metavar="NAME")
    arguments.add_argument("--fixed", action="store_true", help="compile for each size")
    arguments.add_argument("--twnc", type=pathlib.Path, help="the command to check; built without it")
    options = arguments.parse_intermixed_args()
    folder, twnc = options.folder, options.twnc
    folder.mkdir(parents=True, exist_ok=True)
    if options.what == "one":  # What `export` calls.
        return export(folder, *options.names)
    if options.what == "check" and twnc is None:
        from networks import build

        twnc = build()[0]
    log = folder / (options.what + ("-fixed" if options.fixed else "") + ".jsonl")
    entries = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {entry["name"]: entry for entry in entries}
    for name in options.names or NAMES:
        path = folder / file_of(name)
        if (name in done and not options.names) or (options.what == "check" and not path.exists()):
            continue
        start = time.monotonic()
        try:
            found = exported(folder, name) if options.what == "export" else check(twnc, path, options.fixed)
        except Exception as error:  # One network is not all.
            found = {"verdict": "not compared", "why": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
        done[name] = {"name": name, **found, "took": round(time.monotonic() - start, 1)}
        print(json.dumps(done[name]), flush=True)
        with log.open("a") as file:
            file.write(json.dumps(done[name]) + "\n")
    sys.exit(1 if any(entry.get("verdict") in ("REFUSED", "DIFFERS") for entry in done.values()) else 0)


if __name__ == "__main__":
    main()
