"""Packed words to codes, and codes and scales to numbers: what the bytes of a quantised weight say, without MLX.

The formats are those of FORMAT.md's table: E2M1, E4M3 and E8M0 as in the OCP Microscaling specification 1.0, affine
levels as MLX packs them. Results equal `mx.dequantize` in float32 bit for bit (of a NaN only that it is one: its sign
and payload differ between processors). Everything is vectorised and works on copies or views of whatever memory it is
given.
"""

import numpy as np
from numpy.typing import NDArray

from qwen_core.checkpoint.quantization import QuantSpec

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint32]
Floats = NDArray[np.float32]

# One byte that E8M0 sets apart for NaN (OCP MX 1.0, section 5.4.1). MLX reads it as 2^128, which is infinity.
E8M0_NAN = 0xFF
# Bytes and codes of the smallest run of each width that begins and ends on a byte.
_PACKS = {2: (1, 4), 3: (3, 8), 4: (1, 2), 5: (5, 8), 6: (3, 4), 8: (1, 1)}


def _e2m1_values() -> Floats:
    """Sign, two exponent bits (bias 1), one mantissa bit: 0 0.5 1 1.5 2 3 4 6 and their negatives from code 8 on."""
    positive = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    return np.concatenate([positive, -positive])


def _e4m3_values() -> Floats:
    """Sign, four exponent bits (bias 7), three mantissa bits; no infinity, and only 0x7F and 0xFF are NaN ("fn")."""
    code = np.arange(128)
    exponent, mantissa = code >> 3, code & 7
    fraction = np.where(exponent == 0, mantissa, mantissa + 8)
    positive = np.ldexp(fraction.astype(np.float32), np.maximum(exponent, 1) - 10)
    positive[127] = np.nan
    return np.concatenate([positive, -positive]).astype(np.float32)


def _e8m0_values() -> Floats:
    """2^(byte - 127), the smallest of them subnormal; 0xFF as MLX has it (see E8M0_NAN)."""
    values = np.ldexp(np.float32(1), np.arange(255) - 127)
    return np.append(values, np.inf).astype(np.float32)


E2M1_VALUES = _e2m1_values()
E4M3_VALUES = _e4m3_values()
E8M0_VALUES = _e8m0_values()
for _table in (E2M1_VALUES, E4M3_VALUES, E8M0_VALUES):
    _table.setflags(write=False)


def decode_bfloat16(patterns: NDArray[np.uint16]) -> Floats:
    """bfloat16 bit patterns as float32, exactly: they are its upper half."""
    return (patterns.astype(np.uint32) << 16).view(np.float32)


def decode_floats(data: Bytes, dtype: str) -> Floats:
    """The bytes of a "BF16", "F16" or "F32" tensor as a flat float32 array."""
    if dtype == "BF16":
        return decode_bfloat16(data.view(np.dtype("<u2")))
    return data.view(np.dtype("<f2" if dtype == "F16" else "<f4")).astype(np.float32)


def unpack_codes(words: Words | Bytes, bits: int) -> Bytes:
    """Codes of `bits` bits, one to a byte: [..., W] words (or their bytes) to [..., codes of W words].

    A row of words is one little-endian stream of bits, lowest first; codes of 3, 5 and 6 bits cross byte and word
    boundaries (mlx, backend/cpu/quantized.cpp, `extract_bits`). The last axis must be contiguous and hold whole runs,
    which rows of whole groups always do.
    """
    data = words.view(np.uint8)
    if bits == 8:
        return data
    size, count = _PACKS[bits]
    packs = data.reshape(*data.shape[:-1], data.shape[-1] // size, size)
    stream = packs[..., 0] if size == 1 else _joined(packs)
    codes = np.empty((*stream.shape, count), np.uint8)
    mask = (1 << bits) - 1
    for index in range(count):
        codes[..., index] = (stream >> (index * bits)) & mask
    return codes.reshape(*data.shape[:-1], -1)


def _joined(packs: Bytes) -> NDArray[np.unsignedinteger]:
    """[..., 3 or 5] bytes to [...] whole numbers, the first byte lowest."""
    kind = np.uint32 if packs.shape[-1] == 3 else np.uint64
    total = packs[..., 0].astype(kind)
    for index in range(1, packs.shape[-1]):
        total |= packs[..., index].astype(kind) << kind(8 * index)
    return total


def decode_scales(scales: Bytes, mode: str) -> Floats:
    """The byte scales of nvfp4 (E4M3), mxfp4 or mxfp8 (E8M0), in their shape."""
    return (E4M3_VALUES if mode == "nvfp4" else E8M0_VALUES).take(scales)


def dequantise(
    words: Words, scales: Bytes | Floats, biases: Floats | None, spec: QuantSpec, factor: np.float32 | None = None
) -> Floats:
    """The weight that packed parts stand for: float32 [rows, columns].

    `words` is [rows, columns * bits / 32]; `scales` is [rows, columns / group], bytes as stored for the modes with
    byte scales and decoded floats for affine, whose `biases` have the same shape. `factor` is a whole nvfp4 weight's:
    element x scale is exact, so the product with it is the only one that is rounded.
    """
    return dequantise_codes(unpack_codes(words, spec.bits), scales, biases, spec, factor)


def dequantise_codes(
    codes: Bytes, scales: Bytes | Floats, biases: Floats | None, spec: QuantSpec, factor: np.float32 | None = None
) -> Floats:
    """`dequantise` for a weight that is unpacked already: `codes` is [rows, columns], one to a byte."""
    rows, columns = codes.shape
    grouped = codes.reshape(rows, columns // spec.group_size, spec.group_size)
    with np.errstate(all="ignore"):
        if biases is None:
            elements = (E2M1_VALUES if spec.bits == 4 else E4M3_VALUES).take(grouped)
            values = elements * decode_scales(scales.view(np.uint8), spec.mode)[..., None]
            return (values if factor is None else values * factor).reshape(rows, columns)
        values = np.multiply(grouped, scales.view(np.float32)[..., None], dtype=np.float32)
        values += biases[..., None]
        return values.reshape(rows, columns)
