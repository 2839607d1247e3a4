"""The oracle for what is read out of a tensor: its bytes taken straight from the file, and decoded by MLX on the CPU.

The device is named because a GPU flushes subnormal numbers and fuses a multiplication with an addition, where the CPU
does not.
"""

import mlx.core as mx
import numpy as np

from qwen_core.checkpoint.directory import Checkpoint, TensorInfo
from qwen_core.checkpoint.quantization import QuantSpec

_KINDS = {"U8": np.uint8, "U32": np.uint32, "BF16": np.uint16, "F16": np.float16, "F32": np.float32}


def stored_bytes(info: TensorInfo) -> bytes:
    """The tensor's bytes as they lie in the file."""
    with info.file.open("rb") as file:
        file.seek(info.offset)
        return file.read(info.nbytes)


def overwrite(info: TensorInfo, data: bytes) -> None:
    """Put other bytes in the tensor's place."""
    assert len(data) == info.nbytes
    with info.file.open("r+b") as file:
        file.seek(info.offset)
        file.write(data)


def as_array(info: TensorInfo) -> mx.array:
    """The tensor in its stored type and shape."""
    array = mx.array(np.frombuffer(stored_bytes(info), _KINDS[info.dtype]))
    return (array.view(mx.bfloat16) if info.dtype == "BF16" else array).reshape(info.shape)


def mlx_dequantise(words: mx.array, scales: mx.array, biases: mx.array | None, spec: QuantSpec) -> np.ndarray:
    """`mx.dequantize` with all of it computed in float32: [rows, columns]."""
    if biases is not None:
        scales, biases = scales.astype(mx.float32), biases.astype(mx.float32)
    result = mx.dequantize(
        words, scales, biases, spec.group_size, spec.bits, spec.mode, dtype=mx.float32, stream=mx.cpu
    )
    assert result.dtype == mx.float32
    return np.array(result)


def text_values(checkpoint: Checkpoint, module: str) -> np.ndarray:
    """All elements of a text module, float32 in the unquantised shape."""
    spec, text = checkpoint.specs.get(module), checkpoint.text
    if spec is None:
        info = text.get(f"{module}.weight") or text[module]
        return np.array(as_array(info).astype(mx.float32, stream=mx.cpu))
    biases = text.get(f"{module}.biases")
    return mlx_dequantise(
        as_array(text[f"{module}.weight"]),
        as_array(text[f"{module}.scales"]),
        as_array(biases) if biases else None,
        spec,
    )
