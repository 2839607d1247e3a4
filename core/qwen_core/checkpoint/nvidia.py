"""NVIDIA's NVFP4 files read as they are: the parts that modelopt and compressed-tensors write, seen as MLX's.

The bytes are the same (FORMAT.md, "Other layouts of the same nvfp4 bytes"): only names, and types as headers spell
them, differ. So whoever comes after this sees `weight` U32 [N, K/8], `scales` U8 [N, K/16], and the tensor of the
factor under its own name. Scales of activations and of the KV cache are for computing in FP8, which nothing here does.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from qwen_core.checkpoint.headers import TensorInfo
from qwen_core.checkpoint.schemes import ADVICE
from qwen_core.errors import CheckpointError, quote
from qwen_core.figures import shape_text

Writer = Literal["mlx", "modelopt", "compressed-tensors"]
PACKED, SCALE = "weight_packed", "weight_scale"
PARTS = (PACKED, SCALE)
"""The last words of the names of tensors that MLX calls `weight` and `scales`."""
# The part with the factor that each writer never leaves out.
_FACTORS: Mapping[str, str] = {"weight": "weight_scale_2", PACKED: "weight_global_scale"}
ACTIVATION_SCALES = ("input_scale", "input_global_scale", "output_scale", "q_scale", "k_scale", "v_scale")
"""The last words of the names of tensors that are left alone."""


class MissingPartError(CheckpointError):
    """A weight has some of its parts and not the others: a file may be missing."""


def writer_of(names: Mapping[str, TensorInfo], module: str) -> Writer:
    """Who wrote the parts of a quantised module, by their names on disk; `names` by canonical name."""
    if names[f"{module}.weight"].name.endswith(f".{PACKED}"):
        return "compressed-tensors"
    return "modelopt" if names[f"{module}.scales"].name.endswith(f".{SCALE}") else "mlx"


def is_activation_scale(name: str) -> bool:
    """Whether a tensor of this name scales activations, or keys and values."""
    return name.rpartition(".")[2] in ACTIVATION_SCALES


def as_mlx_parts(table: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """`table`, by canonical name, with each module's parts as MLX has them, without the scales of activations.

    Raises CheckpointError, naming file and tensor, for parts of another type or shape, for one without its others, and
    for a module that is stored twice.
    """
    seen: dict[str, TensorInfo] = {}
    for name, info in table.items():
        if is_activation_scale(name):
            continue
        module, _, part = name.rpartition(".")
        if part in PARTS or (part == "weight" and f"{module}.{SCALE}" in table):
            name, info = f"{module}.{'scales' if part == SCALE else 'weight'}", _as_mlx(info, module, part, table)
        elif info.dtype.startswith("F8_"):
            raise _fail(info, f"is FP8 ({info.dtype}), which is not read: {ADVICE}")
        if name in seen:
            raise _fail(info, f"and {quote(seen[name].name)} are both the {name.rpartition('.')[2]} of one module")
        seen[name] = info
    return seen


def _as_mlx(info: TensorInfo, module: str, part: str, table: Mapping[str, TensorInfo]) -> TensorInfo:
    """The weight or the scales of one module under MLX's type and shape."""
    dtype, each = ("F8_E4M3", 1) if part == SCALE else ("U8", 4)
    if info.dtype != dtype:
        form = f"FP8 ({info.dtype}), which is not read" if info.dtype.startswith("F8_") else quote(info.dtype)
        raise _fail(info, f"is {form}, where NVFP4 has {dtype}: {ADVICE}")
    weight = PACKED if f"{module}.{PACKED}" in table else "weight"
    for other in (weight, SCALE, _FACTORS[weight]):
        if f"{module}.{other}" not in table:
            raise MissingPartError(_line(info, f"is one of an NVFP4 weight's three parts, but {other} is missing"))
    if len(info.shape) != 2 or info.shape[1] % each:
        raise _fail(info, f"of shape {shape_text(info.shape)} holds no matrix of NVFP4 groups")
    bytes_shape = table[f"{module}.{weight}"].shape
    if part == SCALE and (info.shape[0], info.shape[1] * 8) != bytes_shape:
        fits = f"does not fit a weight of {shape_text(bytes_shape)} bytes"
        raise _fail(info, f"of shape {shape_text(info.shape)} {fits}, 16 elements to a scale")
    shape = (info.shape[0], info.shape[1] // each)
    return replace(info, dtype="U8" if part == SCALE else "U32", shape=shape)


def _fail(info: TensorInfo, problem: str) -> CheckpointError:
    return CheckpointError(_line(info, problem))


def _line(info: TensorInfo, problem: str) -> str:
    return f"{quote(info.file)}: tensor {quote(info.name)} {problem}"
