"""The one factor that a whole nvfp4 weight may have beside its scales: which tensor holds it, and what that says.

A value is element x scale x factor (FORMAT.md, "Other layouts of the same nvfp4 bytes"). The product of element and
scale is exact in float32, so a value is rounded once. The factor is a float32, whoever wrote the file.
"""

import math
import struct
from collections.abc import Callable, Mapping

from qwen_core.checkpoint.headers import TensorInfo
from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.errors import CheckpointError, quote
from qwen_core.figures import shape_text

MLX = "global_scale"
# What `mx.quantize(..., global_scale=max|w|)` divides by: the largest E4M3 number times the largest E2M1 number.
_LARGEST = 448 * 6
# From the number that is stored to the factor, by the part that holds it: MLX's, modelopt's, compressed-tensors'.
_FACTORS: Mapping[str, Callable[[float], float]] = {
    MLX: lambda stored: stored / _LARGEST,
    "weight_scale_2": lambda stored: stored,
    "weight_global_scale": lambda stored: 1 / stored if stored else math.copysign(math.inf, stored),
}
TENSOR_SCALES = tuple(_FACTORS)
"""The last words of the names of tensors that hold a factor."""


def is_tensor_scale(name: str) -> bool:
    """Whether a tensor of this name holds a factor."""
    return name.rpartition(".")[2] in _FACTORS


def tensor_scale_of(tensors: Mapping[str, object], module: str) -> str | None:
    """Which of `tensors` holds the factor of a module; None where it has none."""
    return next((name for part in _FACTORS if (name := f"{module}.{part}") in tensors), None)


def checked_tensor_scale(tensors: Mapping[str, TensorInfo], module: str, spec: QuantSpec, where: str) -> str | None:
    """The name of a module's factor among `tensors`; None where it has none.

    Raises CheckpointError naming `where` for one that is no single float32, or that the weight's mode does not have.
    """
    names = [name for part in _FACTORS if (name := f"{module}.{part}") in tensors]
    if not names:
        return None
    info = tensors[names[0]]
    if len(names) > 1:
        raise CheckpointError(f"{where} has two factors, {quote(info.name)} and {quote(tensors[names[1]].name)}")
    if spec.mode != "nvfp4":
        raise CheckpointError(f"{where} is {spec}, which has no factor, but there is {quote(info.name)}")
    if len(tensors[f"{module}.weight"].shape) != 2:
        raise CheckpointError(
            f"{where}: factors of a stack of experts ({quote(info.name)}) are not read; "
            "convert the unquantised original"
        )
    if info.dtype != "F32" or math.prod(info.shape) != 1:
        raise CheckpointError(
            f"{where}: its factor {quote(info.name)} must be one F32, not {quote(info.dtype)} {shape_text(info.shape)}"
        )
    return names[0]


def factor_of(name: str, stored: float) -> float:
    """The factor, a float32, that the number `stored` in a tensor of this name stands for."""
    return _float32(_FACTORS[name.rpartition(".")[2]](stored))


def _float32(number: float) -> float:
    try:
        return struct.unpack("<f", struct.pack("<f", number))[0]
    except OverflowError:
        return math.copysign(math.inf, number)


def as_global_scale(factor: float) -> float | None:
    """The float32 that stands for exactly this factor in MLX's `global_scale`; None where none does.

    Where the mantissa of the factor is above 32 / 21, the quotients of neighbouring float32 are further apart than
    float32 are, and a third of the factors is none of them. What stands for a factor is the nearest to its product.
    """
    nearest = _float32(factor * _LARGEST)
    return nearest if factor_of(MLX, nearest) == factor else None


def checked_factor(name: str, stored: float, where: str) -> float:
    """`factor_of`, where it is a factor of weights. Raises CheckpointError naming `where` for any other number."""
    factor = factor_of(name, stored)
    if not (math.isfinite(factor) and factor > 0):
        raise CheckpointError(
            f"{where} holds {stored:g}, which makes no positive finite factor: the file is damaged, or its "
            "quantisation went wrong"
        )
    return factor
