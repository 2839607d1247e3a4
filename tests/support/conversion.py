"""What the conversion tests share: raw sources, the files of a directory read by the safetensors library, rules."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.recipe import find_variant
from qwen_core.convert.convert import convert
from qwen_core.convert.plan import ConversionPlan, make_plan
from qwen_core.convert.rules import Rules, VariantRules
from support.checkpoints import Stored, read_header_json, write_checkpoint, write_safetensors

# The shorthand of make_checkpoint.py and published_plan.py for the nine.
NINE = ("nvfp4", "mxfp4", "mxfp8", "q2", "q3", "q4", "q5", "q6", "q8")


def variant_rules(name: str) -> Rules:
    variant = find_variant(name)
    assert variant is not None
    return VariantRules(variant)


def write_raw(path: Path, seed: int = 0, **options: Any) -> Path:
    """A small raw Hugging Face checkpoint in bf16."""
    write_checkpoint(path, "bf16", names="raw", seed=seed, **options)
    return path


def converted(source: Path, target: Path, variant: str = "nvfp4", **options: Any) -> ConversionPlan:
    """Convert by the recipe; gives the plan that was followed."""
    plan = make_plan(open_checkpoint(source), variant_rules(variant))
    convert(plan, target, **options)
    return plan


def headers(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Every tensor of a directory as its shard headers say: name -> (dtype, shape)."""
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for file in sorted(path.glob("*.safetensors")):
        for name, entry in read_header_json(file).items():
            if name != "__metadata__":
                found[name] = entry["dtype"], tuple(entry["shape"])
    return found


def places(file: Path) -> dict[str, tuple[int, int]]:
    """Every tensor of a file: name -> (first byte in the file, length)."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    spans = {name: entry["data_offsets"] for name, entry in header.items()}
    return {name: (8 + length + begin, end - begin) for name, (begin, end) in spans.items()}


def tensor_bytes(path: Path) -> dict[str, bytes]:
    """The bytes of every tensor of a directory."""
    found: dict[str, bytes] = {}
    for file in sorted(path.glob("*.safetensors")):
        data = file.read_bytes()
        found |= {name: data[begin : begin + length] for name, (begin, length) in places(file).items()}
    return found


def load_all(path: Path) -> dict[str, mx.array]:
    """The tensors of a directory as MLX's own reader gives them."""
    arrays: dict[str, mx.array] = {}
    for file in sorted(path.glob("*.safetensors")):
        loaded = mx.load(str(file))
        assert isinstance(loaded, dict)
        arrays |= loaded
    return arrays


def same_bits(one: mx.array, other: mx.array) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and raw_bytes(one) == raw_bytes(other)


def raw_bytes(array: mx.array) -> bytes:
    return np.asarray(mx.contiguous(array).reshape(-1).view(mx.uint8)).tobytes()


def add_tensors(path: Path, tensors: Mapping[str, mx.array]) -> None:
    """Put bf16 tensors into a directory as one more shard of its index."""
    stored = {name: Stored("BF16", tuple(array.shape), raw_bytes(array)) for name, array in tensors.items()}
    write_safetensors(path / "model-extra.safetensors", stored)
    index_file = path / "model.safetensors.index.json"
    index = json.loads(index_file.read_text())
    index["weight_map"] |= dict.fromkeys(stored, "model-extra.safetensors")
    index_file.write_text(json.dumps(index))
