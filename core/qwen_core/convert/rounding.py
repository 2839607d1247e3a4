"""Weights rounded to a format by our own arithmetic, so that ranges and scales may be chosen by what they cost.

`mx.quantize` takes the range of a group as it is (affine), or the scale that its largest number needs (nvfp4, mxfp4),
whatever that does to the others. Here each group tries several and keeps the one with the least weighted error,
`mx.quantize`'s own among them: so none is worse. The result is stored as it would have stored it. mxfp8 has nothing to
choose: beside its elements, as precise whatever their size, another power of two changes nothing.

Affine: value = code x scale + bias, scale and bias bfloat16. The others: E2M1 element x scale, which is E4M3 (nvfp4) or
E8M0 (mxfp4; OCP Microscaling 1.0).
"""

from collections.abc import Iterator

import numpy as np

from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.device.backend import mx

Parts = tuple[mx.array, ...]

# Shares of a group's range. Fewer bits gain more from a smaller one.
_SHARES = tuple(1 - step / 25 for step in range(1, 11))
# Steps of an E4M3 scale to either side: each is 1/8 to 1/16 of it. An E8M0 scale is doubled or halved by one.
_E4M3_STEPS = (-4, -3, -2, -1, 1, 2)
_E8M0_STEPS = (-1, 1)
_LARGEST_E2M1 = 6.0


def quantised(values: mx.array, spec: QuantSpec) -> Parts:
    """`mx.quantize` of rows [rows, columns]."""
    return tuple(mx.quantize(values, group_size=spec.group_size, bits=spec.bits, mode=spec.mode))


def restored(parts: Parts, spec: QuantSpec) -> mx.array:
    """What the parts stand for, float32 [rows, columns]."""
    kind = {} if spec.mode == "affine" else {"dtype": mx.float32}
    # Affine numbers are computed in the type of their scales, which float32 makes exact.
    words, *rest = parts if kind else (parts[0], *(part.astype(mx.float32) for part in parts[1:]))
    return mx.dequantize(words, *rest, group_size=spec.group_size, bits=spec.bits, mode=spec.mode, **kind)


def weighted_square(cost: mx.array, values: mx.array) -> float:
    """sum of cost x values squared."""
    return float(np.array(mx.sum(cost * mx.square(values))))


def nearest(values: mx.array, spec: QuantSpec) -> mx.array:
    """What `mx.quantize` would make of rows [rows, columns], float32; of two elements that are equally near either may
    be taken. On a CPU this takes a fraction of its time where elements are E2M1."""
    if spec.mode not in ("nvfp4", "mxfp4"):
        return restored(quantised(values, spec), spec)
    grouped = _grouped(values.astype(mx.float32), spec)
    needed = mx.max(mx.abs(grouped), axis=-1, keepdims=True) / _LARGEST_E2M1
    if spec.mode == "nvfp4":
        size = mx.from_fp8(mx.to_fp8(needed), dtype=mx.float32)
    else:
        size = mx.power(mx.array(2.0), mx.ceil(mx.log2(mx.maximum(needed, 2.0**-126))))
    _, numbers = _elements(grouped / mx.where(size == 0, 1, size))
    return (numbers * size).reshape(values.shape)


def searched(values: mx.array, spec: QuantSpec, weights: mx.array) -> Parts:
    """The parts of rows [rows, columns] with the least sum of `weights` [1 or rows, columns] x error squared."""
    plain = quantised(values, spec)
    if spec.mode == "mxfp8":
        return plain
    grouped = _grouped(values.astype(mx.float32), spec)
    cost = mx.broadcast_to(weights, values.shape)
    grouped_cost = _grouped(cost, spec)
    best = mx.sum(grouped_cost * mx.square(_grouped(restored(plain, spec), spec) - grouped), axis=-1, keepdims=True)
    if spec.mode == "affine":
        return _affine(grouped, grouped_cost, spec, plain, best)
    return _float(grouped, grouped_cost, spec, plain, best)


def _grouped(values: mx.array, spec: QuantSpec) -> mx.array:
    return values.reshape(values.shape[0], -1, spec.group_size)


def _affine(values: mx.array, cost: mx.array, spec: QuantSpec, plain: Parts, best: mx.array) -> Parts:
    """The range of each group: shares of the whole, then the line that fits the codes of the best (least squares)."""
    words, scales, biases = plain
    codes = _codes_of(words, spec, values.shape)
    found = (codes, scales[..., None].astype(mx.float32), biases[..., None].astype(mx.float32), best)
    low, high = mx.min(values, axis=-1, keepdims=True), mx.max(values, axis=-1, keepdims=True)
    levels = 2**spec.bits - 1
    for share in _SHARES:
        scale = (high - low) * (share / levels)
        # 0 stays exact, as `mx.quantize` has it: what is nearest to it becomes it.
        bias = -mx.round(-low * share / mx.maximum(scale, 1e-12)) * scale
        found = _better(found, _line(values, cost, scale, bias, levels))
        mx.eval(*found)
    for _ in range(2):
        found = _better(found, _line(values, cost, *_fitted(values, cost, found[0]), levels))
        mx.eval(*found)
    codes, scale, bias, _ = found
    rows, groups = scale.shape[:2]
    return (
        packed(codes.reshape(rows, -1), spec.bits),
        scale.astype(mx.bfloat16).reshape(rows, groups),
        bias.astype(mx.bfloat16).reshape(rows, groups),
    )


Line = tuple[mx.array, mx.array, mx.array, mx.array]
"""Codes [rows, groups, size]; scale, bias and weighted error [rows, groups, 1]."""


def _line(values: mx.array, cost: mx.array, scale: mx.array, bias: mx.array, levels: int) -> Line:
    """The nearest codes for scale and bias, which are rounded as they will be stored."""
    scale, bias = (part.astype(mx.bfloat16).astype(mx.float32) for part in (scale, bias))
    safe = mx.where(scale == 0, 1, scale)
    codes = mx.clip(mx.round((values - bias) / safe), 0, levels)
    error = mx.sum(cost * mx.square(codes * scale + bias - values), axis=-1, keepdims=True)
    return codes, scale, bias, error


def _better(one: Line, other: Line) -> Line:
    """Of each group what has the smaller error. One that is no number is not smaller."""
    is_better = other[3] < one[3]
    codes, scale, bias, error = (mx.where(is_better, new, old) for new, old in zip(other, one, strict=True))
    return codes, scale, bias, error


def _fitted(values: mx.array, cost: mx.array, codes: mx.array) -> tuple[mx.array, mx.array]:
    """Scale and bias of the line through (code, value) with the least weighted squares."""
    total = mx.maximum(mx.sum(cost, axis=-1, keepdims=True), 1e-30)
    code = mx.sum(cost * codes, axis=-1, keepdims=True) / total
    value = mx.sum(cost * values, axis=-1, keepdims=True) / total
    spread = mx.sum(cost * mx.square(codes - code), axis=-1, keepdims=True)
    slope = mx.sum(cost * (codes - code) * (values - value), axis=-1, keepdims=True) / mx.maximum(spread, 1e-30)
    return slope, value - slope * code


def _float(values: mx.array, cost: mx.array, spec: QuantSpec, plain: Parts, best: mx.array) -> Parts:
    """The scale of each group among its neighbours."""
    words, scales = plain
    codes, first = _codes_of(words, spec, values.shape), scales[..., None].astype(mx.int32)
    scale = first
    for step in _E4M3_STEPS if spec.mode == "nvfp4" else _E8M0_STEPS:
        # From 1 to the largest finite E4M3 number, or the largest power of two.
        other = mx.clip(first + step, 1, 126 if spec.mode == "nvfp4" else 254)
        size = _scale_values(other.astype(mx.uint8), spec)
        elements, numbers = _elements(values / size)
        error = mx.sum(cost * mx.square(numbers * size - values), axis=-1, keepdims=True)
        is_better = error < best
        codes, scale, best = (
            mx.where(is_better, new, old)
            for new, old in ((elements, codes), (other, scale), (error, best))
        )  # fmt: skip
        mx.eval(codes, scale, best)
    rows, groups = scale.shape[:2]
    return packed(codes.reshape(rows, -1), spec.bits), scale.astype(mx.uint8).reshape(rows, groups)


def _scale_values(scales: mx.array, spec: QuantSpec) -> mx.array:
    if spec.mode == "nvfp4":
        return mx.from_fp8(scales, dtype=mx.float32)
    return mx.power(mx.array(2.0), scales.astype(mx.float32) - 127)


def _elements(numbers: mx.array) -> tuple[mx.array, mx.array]:
    """The nearest E2M1 elements' codes, and their values."""
    size = mx.abs(numbers)
    # Halves below 2, wholes below 4, then 4 and 6.
    step = mx.where(size < 2, 0.5, mx.where(size < 4, 1.0, 2.0))
    size = mx.minimum(mx.round(size / step) * step, _LARGEST_E2M1)
    code = mx.where(size < 2, size * 2, mx.where(size < 4, size + 2, size / 2 + 4))
    negative = numbers < 0
    return mx.where(negative, code + 8, code), mx.where(negative, -size, size)


def _codes_of(words: mx.array, spec: QuantSpec, shape: tuple[int, ...]) -> mx.array:
    """Packed words to codes, float32 in `shape`: `mx.dequantize` as affine with scale 1 and bias 0."""
    rows, size = shape[0], 32
    ones = mx.ones((rows, shape[1] * shape[2] // size))
    codes = mx.dequantize(words, ones, mx.zeros(ones.shape), group_size=size, bits=spec.bits)
    return codes.reshape(shape)


def packed(codes: mx.array, bits: int) -> mx.array:
    """Codes [rows, columns], whole numbers of any type, as words: one little-endian stream of bits a row, lowest first
    (mlx, backend/cpu/quantized.cpp)."""
    rows = codes.shape[0]
    runs = codes.astype(mx.uint32).reshape(rows, -1, 32)
    words = [mx.zeros((rows, runs.shape[1]), mx.uint32) for _ in range(bits)]
    for index in range(32):
        for word, moved in _places(runs[..., index], index * bits, bits):
            words[word] = words[word] | moved
    return mx.stack(words, axis=-1).reshape(rows, -1)


def _places(codes: mx.array, bit: int, bits: int) -> Iterator[tuple[int, mx.array]]:
    """Which word a code that begins at `bit` goes into, and the next where it is cut in two."""
    word, offset = divmod(bit, 32)
    yield word, codes << offset
    if offset + bits > 32:
        yield word + 1, codes >> (32 - offset)
