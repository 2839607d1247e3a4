"""From the raw checkpoint to the published layout: `python -m qwen_core.demo.publish RAW MODEL_DIR`.

Names, norms and convolutions as the converter of the published 27B writes them, weights quantised by MLX with the
`unsloth` nvfp4 plan: gate and up nvfp4, down 5, attention inputs and embedding 6, head 8 bits affine, all else bf16.
"""

from __future__ import annotations

import argparse
import json
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

NVFP4 = {"group_size": 16, "bits": 4, "mode": "nvfp4"}
AFFINE_BITS = {
    "embed_tokens": 6, "lm_head": 8, "down_proj": 5, "q_proj": 6, "k_proj": 6, "v_proj": 6, "in_proj_qkv": 6,
    "in_proj_z": 6,
}  # fmt: skip
SHIFTED = ("input_layernorm", "post_attention_layernorm", "q_norm", "k_norm", "model.norm")
DTYPES = {mx.bfloat16: "BF16", mx.uint32: "U32", mx.uint8: "U8"}
SHARD = "model-00001-of-00001.safetensors"
COPIED = ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja")


def plan(module: str) -> dict[str, Any] | None:
    """How a module's weight is quantised; None leaves it in bf16."""
    last = module.rsplit(".", 1)[-1]
    if last in ("gate_proj", "up_proj"):
        return NVFP4
    if last in AFFINE_BITS:
        return {"bits": AFFINE_BITS[last], "group_size": 64, "mode": "affine"}
    return None


def published(name: str, value: mx.array) -> tuple[str, mx.array]:
    """A raw tensor under its published name: norms as 1 + w, the convolution [C, kernel, 1]."""
    name = name.replace("model.language_model.", "language_model.model.", 1)
    name = f"language_model.{name}" if name.startswith("lm_head") else name
    if name.removesuffix(".weight").endswith(SHIFTED):
        value = (value.astype(mx.float32) + 1).astype(value.dtype)
    if name.endswith("conv1d.weight"):
        value = value.swapaxes(1, 2)
    return name, value


def write_shard(path: Path, tensors: dict[str, mx.array]) -> int:
    """One safetensors file with the tensors in the order given; returns their bytes. (MLX's own order is by chance.)"""
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + tensor.nbytes
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    blob = json.dumps(header, separators=(",", ":")).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(blob)) + blob)
        for tensor in tensors.values():
            file.write(np.asarray(tensor.view(mx.uint8)).tobytes())
    return offset


def publish(raw: Path, target: Path) -> None:
    """Write the published directory."""
    tensors: dict[str, mx.array] = {}
    overrides: dict[str, dict[str, Any]] = {}
    loaded: Any = mx.load(str(raw / "model.safetensors"))
    for raw_name in sorted(loaded):
        name, value = published(raw_name, loaded[raw_name])
        module = name.removesuffix(".weight")
        spec = plan(module)
        if spec is None:
            tensors[name] = value
            continue
        if spec != NVFP4:
            overrides[module] = spec
        parts = mx.quantize(value, group_size=spec["group_size"], bits=spec["bits"], mode=spec["mode"])
        tensors.update(zip((f"{module}.weight", f"{module}.scales", f"{module}.biases"), parts, strict=False))
    target.mkdir(parents=True, exist_ok=True)
    tensors = {name: mx.contiguous(tensors[name]) for name in sorted(tensors)}
    index = {
        "metadata": {"total_size": write_shard(target / SHARD, tensors)},
        "weight_map": dict.fromkeys(tensors, SHARD),
    }
    config = json.loads((raw / "config.json").read_text(encoding="utf-8"))
    config["quantization"] = config["quantization_config"] = {**NVFP4, **overrides}
    for file, data in (("model.safetensors.index.json", index), ("config.json", config)):
        (target / file).write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for file in COPIED:
        shutil.copy(raw / file, target / file)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m qwen_core.demo.publish", description=__doc__)
    parser.add_argument("raw", type=Path, help="what train.py wrote")
    parser.add_argument("model", type=Path, help="the directory to write")
    args = parser.parse_args()
    publish(args.raw, args.model)
    size = sum(f.stat().st_size for f in args.model.iterdir())
    print(f"{args.model}: {size:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
