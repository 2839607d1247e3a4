"""NVFP4 model directories in the three ways that people have them, their numbers written down apart from the program.

    write_nvfp4(path, "modelopt")     weight U8, weight_scale F8_E4M3, weight_scale_2, input_scale
    write_nvfp4(path, "compressed")   weight_packed, weight_scale, weight_global_scale (the inverse)
    write_nvfp4(path, "mlx")          weight U32, scales U8, global_scale (value = element x scale x global / 2688)

Random bits: every code, and scales of ordinary size. All matrices of the layers are quantised, embedding and head not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import numpy as np

from support.checkpoints import Stored, Written, disk_name, edit_config, write_checkpoint, write_safetensors
from support.published_plan import Planned, text_plan

Way = Literal["modelopt", "compressed", "mlx"]
WAYS: tuple[Way, ...] = ("modelopt", "compressed", "mlx")
PARTS: dict[Way, tuple[str, str, str]] = {
    "modelopt": ("weight", "weight_scale", "weight_scale_2"),
    "compressed": ("weight_packed", "weight_scale", "weight_global_scale"),
    "mlx": ("weight", "scales", "global_scale"),
}
"""What each calls elements, scales and factor."""
MODELOPT = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head", "model.visual*"]}
COMPRESSED = {
    "quant_method": "compressed-tensors",
    "format": "nvfp4-pack-quantized",
    "config_groups": {
        "group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "float", "group_size": 16}}
    },
    "ignore": ["lm_head", "re:.*visual.*"],
    "kv_cache_scheme": {"num_bits": 8, "type": "float"},
}
_ELEMENTS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


@dataclass(frozen=True)
class Nvfp4Files:
    """`values` are those of each quantised module, float32; `written` the directory."""

    path: Path
    way: Way
    written: Written
    values: dict[str, np.ndarray]

    def write_again(self, tensors: Mapping[str, Stored]) -> None:
        write_safetensors(self.path / "model.safetensors", dict(sorted(tensors.items())))


def write_nvfp4(
    path: Path, way: Way, *, seed: int = 0, offset: int | None = None, text: Mapping[str, Any] | None = None
) -> Nvfp4Files:
    """Write a small model. `offset` and `text` are `write_checkpoint`'s."""
    names = "converted" if way == "mlx" else "raw"
    written = write_checkpoint(path, "bf16", names=names, shard_cap=None, seed=seed, text=text)
    random = np.random.default_rng(seed)
    values: dict[str, np.ndarray] = {}
    for weight in text_plan(written.config["text_config"]):
        if len(weight.shape) == 2 and weight.role not in ("embed", "head"):
            module = weight.name.removesuffix(".weight")
            name = disk_name(module, names)
            del written.tensors[f"{name}.weight"]
            parts, values[module] = _quantised(weight, way, random)
            written.tensors |= {f"{name}.{part}": stored for part, stored in parts.items()}
    write_safetensors(path / "model.safetensors", dict(sorted(written.tensors.items())), offset)
    if way == "mlx":
        block = {"bits": 4, "group_size": 16, "mode": "nvfp4"}
        edit_config(path, quantization=block, quantization_config=block)
    else:
        edit_config(path, quantization_config=MODELOPT if way == "modelopt" else COMPRESSED)
    return Nvfp4Files(path, way, written, values)


def _quantised(weight: Planned, way: Way, random: np.random.Generator) -> tuple[dict[str, Stored], np.ndarray]:
    """The stored parts of one weight, and its values."""
    rows, columns = weight.shape
    codes = random.integers(0, 16, (rows, columns), np.uint8)
    scales = random.integers(0x50, 0x7F, (rows, columns // 16), np.uint8)
    # Elements have a root mean square of 2.9, these scales one of 170.
    factor = np.float32(columns**-0.5 / (2.9 * 170) * random.uniform(0.7, 1.4))
    stored = {"modelopt": factor, "compressed": 1 / factor, "mlx": factor * np.float32(2688)}[way]
    factor = {"modelopt": stored, "compressed": 1 / stored, "mlx": stored / np.float32(2688)}[way]
    values = _ELEMENTS[codes] * np.repeat(e4m3(scales), 16, axis=1) * factor
    assert values.dtype == stored.dtype == np.float32
    packed = codes[:, ::2] | codes[:, 1::2] << 4
    names = PARTS[way]
    parts = {
        names[0]: Stored("U8", packed.shape, packed.tobytes()),
        names[1]: Stored("F8_E4M3", scales.shape, scales.tobytes()),
        names[2]: Stored("F32", (1,) if way == "compressed" else (), stored.tobytes()),
    }
    if way == "mlx":
        parts |= {
            "weight": Stored("U32", (rows, columns // 8), packed.tobytes()),
            "scales": Stored("U8", scales.shape, scales.tobytes()),
        }
    return parts | _of_activations(weight, way), values


def _of_activations(weight: Planned, way: Way) -> dict[str, Stored]:
    """What is stored beside a weight for computing in FP8 and FP4."""
    one = Stored("F32", () if way == "modelopt" else (1,), np.float32(0.5).tobytes())
    if way == "mlx":
        return {}
    found = {"input_scale" if way == "modelopt" else "input_global_scale": one}
    role = weight.name.split(".")[-2]
    return found | ({f"{role[0]}_scale": one} if role in ("k_proj", "v_proj") else {})


def e4m3(codes: np.ndarray) -> np.ndarray:
    """By MLX, which knows nothing of these files."""
    return np.array(mx.from_fp8(mx.array(codes), dtype=mx.float32, stream=mx.cpu))


def write_dequantised(path: Path, files: Nvfp4Files) -> Path:
    """The same model with every quantised weight as the float32 numbers that it stands for."""
    names = "converted" if files.way == "mlx" else "raw"
    config = {key: value for key, value in files.written.config.items() if "quantization" not in key}
    write_checkpoint(path, "bf16", names=names, shard_cap=None, text=config["text_config"])
    quantised = {disk_name(module, names) for module in files.values}
    tensors = {n: t for n, t in files.written.tensors.items() if n.rpartition(".")[0] not in quantised}
    for module, values in files.values.items():
        tensors[f"{disk_name(module, names)}.weight"] = Stored("F32", values.shape, values.tobytes())
    write_safetensors(path / "model.safetensors", dict(sorted(tensors.items())))
    return path
