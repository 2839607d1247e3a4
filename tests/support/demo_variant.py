"""The demo model a second time, in another format: its weights unpacked and quantised again."""

import json
import shutil
from pathlib import Path

import mlx.core as mx

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.demo import demo_model_path
from support.checkpoints import disk_name

GROUP = 64


def write_demo_variant(path: Path, bits: int) -> Path:
    """Write it with affine codes of so many bits everywhere; without the MTP layer."""
    demo = demo_model_path()
    path.mkdir()
    for file in demo.iterdir():
        if file.suffix != ".safetensors" and file.name != "model.safetensors.index.json":
            shutil.copyfile(file, path / file.name)
    tensors: dict[str, mx.array] = {}
    for shard in demo.glob("model-*.safetensors"):
        loaded = mx.load(str(shard))
        assert isinstance(loaded, dict)
        tensors |= loaded
    for module, spec in open_checkpoint(demo).specs.items():
        name = disk_name(module, "converted")
        parts = (tensors[f"{name}.{part}"] for part in ("weight", "scales"))
        weight = mx.dequantize(
            *parts, tensors.pop(f"{name}.biases", None), group_size=spec.group_size, bits=spec.bits, mode=spec.mode
        )
        packed = mx.quantize(weight, group_size=GROUP, bits=bits)
        tensors |= {f"{name}.{part}": array for part, array in zip(("weight", "scales", "biases"), packed, strict=True)}
    mx.save_safetensors(str(path / "model.safetensors"), tensors)
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    config["quantization"] = config["quantization_config"] = {"bits": bits, "group_size": GROUP, "mode": "affine"}
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return path
