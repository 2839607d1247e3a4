"""The demo's shape as an unquantised Hugging Face checkpoint, as train.py writes it."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx

from qwen_core.checkpoint.architecture import text_tensors
from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.demo import demo_model_path
from support.checkpoints import Stored, disk_name, write_safetensors
from support.conversion import raw_bytes


def raw_demo(path: Path, *, filled: bool = False) -> Path:
    """Write it: of holes, or of random numbers."""
    model = demo_model_path()
    config: dict[str, Any] = json.loads((model / "config.json").read_text(encoding="utf-8"))
    for block in ("quantization", "quantization_config"):
        del config[block]
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (path / "tokenizer.json").write_bytes((model / "tokenizer.json").read_bytes())
    tensors: dict[str, Stored] = {}
    for index, tensor in enumerate(text_tensors(open_checkpoint(model).config, lm_head=True)):
        shape = (tensor.shape[0], tensor.shape[2], tensor.shape[1]) if tensor.kind == "conv" else tensor.shape
        values = 0.05 * mx.random.normal(shape, key=mx.random.key(index)) if filled else None
        data = None if values is None else raw_bytes(values.astype(mx.bfloat16))
        tensors[disk_name(tensor.name, "raw")] = Stored("BF16", shape, data)
    write_safetensors(path / "model.safetensors", tensors)
    return path
