"""Counting what the runs of one tensor hold: one reader for floats, one for byte scales, one for affine.

For weights with byte scales, and for 16-bit floats, it counts how often each stored pattern occurs and takes every
statistic from that table, which is exact and several times faster than decoding each element. values.py chooses
the reader and the runs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.checkpoint.tensor_bytes import TensorBytes
from qwen_core.tensors.decoding import (
    E2M1_VALUES,
    E4M3_VALUES,
    E8M0_NAN,
    Bytes,
    Floats,
    decode_floats,
    decode_scales,
    dequantise_codes,
    unpack_codes,
)
from qwen_core.tensors.histogram import CodeCounts, Histogram, MagnitudeTally, linear_histogram, merged
from qwen_core.tensors.running_statistics import Moments
from qwen_core.tensors.stored_tensor import (
    FLOAT_BYTES,
    PackedRun,
    Stop,
    StoredTensor,
    check_stop,
    in_pieces,
    read_factor,
    read_float_bytes,
    read_packed,
)

# A group is saturated when more than this share of its elements is at the largest magnitude that a code can have.
# Of 16 normally distributed weights scaled so that the largest just fits, about one is.
SATURATED_SHARE = 0.25


@dataclass(frozen=True)
class ScaleValues:
    """The scales of the examined groups, decoded. `format` is "E4M3", "E8M0", or the float type they are stored in.

    `histogram` counts the magnitudes of scales that are finite and not zero: its edges are magnitudes spaced evenly
    in log2, for E8M0 whole exponents of two. `minimum` and `maximum` are signed and leave out what is not finite
    (None: nothing is left). `nan_count` counts scales that are NaN by their format: E4M3 0x7F and 0xFF, E8M0 0xFF
    (with which MLX computes as infinity), and float NaN.
    """

    format: str
    histogram: Histogram
    minimum: float | None
    maximum: float | None
    nan_count: int
    infinite_count: int
    zero_count: int
    negative_count: int


@dataclass(frozen=True)
class GroupValues:
    """Health of the examined groups of `size` elements.

    A group is dead when it holds one value only: its scale is 0 or, for the float modes, each of its codes is +0 or
    -0, for affine all its codes are equal. A group whose scale is not finite is never dead. A group that is not dead
    is saturated when more than SATURATED_SHARE of its elements have the largest magnitude of a code: +6 and -6 of
    E2M1, +448 and -448 of E4M3, and for affine the lowest and the highest level, its range being between the two.
    """

    size: int
    examined: int
    dead: int
    saturated: int


@dataclass(frozen=True)
class TensorStatistics:
    """What a reader found; the histogram of `values` for floats, the last three for quantised weights."""

    moments: Moments
    values: Histogram | None = None
    scales: ScaleValues | None = None
    codes: CodeCounts | None = None
    groups: GroupValues | None = None


# Float tensors


def read_floats(
    source: TensorBytes, tensor: StoredTensor, runs: Sequence[range], stop: Stop | None
) -> TensorStatistics:
    info, moments = tensor.weight, Moments()
    if FLOAT_BYTES[info.dtype] == 2:
        counts = np.zeros(1 << 16, np.int64)
        for run in runs:
            check_stop(stop)
            counts += np.bincount(_float_bytes(source, tensor, run).view(np.dtype("<u2")), minlength=1 << 16)
        every = decode_floats(np.arange(1 << 16, dtype=np.dtype("<u2")).view(np.uint8), info.dtype)
        moments.add_weighted(every, counts)
        return TensorStatistics(moments, _value_histogram(every, counts, moments))
    for values in _float_pieces(source, tensor, runs, stop):
        moments.add(values)
    # The range had to be known first: the runs are read again rather than held.
    histogram = _value_histogram(np.empty(0, np.float32), None, moments)
    for values in _float_pieces(source, tensor, runs, stop):
        histogram = merged([histogram, _value_histogram(values, None, moments)])
    return TensorStatistics(moments, histogram)


def _value_histogram(values: Floats, counts: NDArray[np.int64] | None, moments: Moments) -> Histogram:
    low, high = moments.minimum, moments.maximum
    if low is None or high is None:
        return Histogram("values", (), ())
    return linear_histogram("values", values, counts, low, high)


def _float_pieces(
    source: TensorBytes, tensor: StoredTensor, runs: Sequence[range], stop: Stop | None
) -> Iterator[Floats]:
    for run in runs:
        check_stop(stop)
        yield from in_pieces(decode_floats(_float_bytes(source, tensor, run), tensor.weight.dtype))


def _packed_pieces(
    source: TensorBytes, tensor: StoredTensor, runs: Sequence[range], stop: Stop | None
) -> Iterator[PackedRun]:
    for run in runs:
        check_stop(stop)
        yield from read_packed(source, tensor, run).pieces(tensor.group_size)


def _float_bytes(source: TensorBytes, tensor: StoredTensor, run: range) -> Bytes:
    end = min(run.stop * tensor.group_size, tensor.elements)
    return read_float_bytes(source, tensor.weight, run.start * tensor.group_size, end)


# Byte scales: nvfp4, mxfp4, mxfp8


def read_byte_scaled(
    source: TensorBytes, tensor: StoredTensor, spec: QuantSpec, runs: Sequence[range], stop: Stop | None
) -> TensorStatistics:
    # How often each byte of elements occurs under each byte of scale.
    pairs = np.zeros(1 << 16, np.int64)
    scale_counts = np.zeros(256, np.int64)
    dead = saturated = 0
    for run in runs:
        check_stop(stop)
        packed = read_packed(source, tensor, run)
        scales, words = packed.stored_scales, packed.words
        scale_counts += np.bincount(scales[:, 0], minlength=256)
        index = words.view(np.uint8) | (scales.astype(np.uint16) << 8)
        pairs += np.bincount(index.reshape(-1), minlength=1 << 16)
        is_dead = _dead_groups(words, scales[:, 0], spec)
        dead += int(is_dead.sum())
        saturated += int((~is_dead & (_at_largest(words, spec) > SATURATED_SHARE * spec.group_size)).sum())
    by_code = pairs.reshape(256, 256)
    elements = E4M3_VALUES
    if spec.bits == 4:
        halves = by_code.reshape(256, 16, 16)
        by_code, elements = halves.sum(axis=1) + halves.sum(axis=2), E2M1_VALUES
    every_scale = decode_scales(np.arange(256, dtype=np.uint8), spec.mode)
    moments = Moments()
    values = every_scale[:, None] * elements[None, :]
    if (factor := read_factor(source, tensor)) is not None:
        values *= factor
    moments.add_weighted(values.reshape(-1), by_code.reshape(-1))
    code_counts = by_code.sum(axis=0)
    codes = _e2m1_counts(code_counts) if spec.bits == 4 else _e4m3_counts(code_counts)
    groups = GroupValues(spec.group_size, int(scale_counts.sum()), dead, saturated)
    return TensorStatistics(moments, None, _byte_scales(scale_counts, every_scale, spec), codes, groups)


def _dead_groups(words: np.ndarray, scales: Bytes, spec: QuantSpec) -> NDArray[np.bool_]:
    """Whether each group decodes to zeros alone."""
    magnitude = np.uint32(0x7777_7777 if spec.bits == 4 else 0x7F7F_7F7F)
    empty = ~(np.bitwise_or.reduce(words, axis=1) & magnitude).astype(bool)
    if spec.mode == "nvfp4":
        is_zero, is_nan = scales & 0x7F == 0, scales & 0x7F == 0x7F
    else:
        is_zero, is_nan = np.zeros(scales.shape, bool), scales == E8M0_NAN
    return (empty | is_zero) & ~is_nan


def _at_largest(words: np.ndarray, spec: QuantSpec) -> NDArray[np.int64]:
    """How many elements of each group are at the largest magnitude of a code."""
    if spec.bits == 4:
        # A nibble x111 leaves its lowest bit; no bit comes from a neighbour, because three are needed in a row.
        ends = words & (words >> np.uint32(1)) & (words >> np.uint32(2)) & np.uint32(0x1111_1111)
        return np.bitwise_count(ends).sum(axis=1, dtype=np.int64)
    return np.count_nonzero((words.view(np.uint8) & 0x7F) == 0x7E, axis=1)


def _e2m1_counts(counts: NDArray[np.int64]) -> CodeCounts:
    order = [*range(15, 7, -1), *range(8)]  # -6 ... -0, 0 ... 6
    names = tuple(f"{'-' if code >= 8 else ''}{abs(float(E2M1_VALUES[code])):g}" for code in order)
    return CodeCounts("E2M1 values", names, tuple(int(counts[code]) for code in order))


def _e4m3_counts(counts: NDArray[np.int64]) -> CodeCounts:
    """256 codes by the power of two that their magnitude begins at: 0, subnormals, 2^-6 ... 2^8, NaN."""
    magnitudes = counts.reshape(2, 128).sum(axis=0)
    octaves = magnitudes.reshape(16, 8).sum(axis=1)
    names = ("0", "<2^-6", *(f"2^{exponent}" for exponent in range(-6, 9)), "NaN")
    totals = (magnitudes[0], octaves[0] - magnitudes[0], *octaves[1:15], octaves[15] - magnitudes[127], magnitudes[127])
    return CodeCounts("E4M3 magnitudes", names, tuple(map(int, totals)))


def _byte_scales(counts: NDArray[np.int64], every: Floats, spec: QuantSpec) -> ScaleValues:
    moments, tally = Moments(), MagnitudeTally()
    moments.add_weighted(every, counts)
    tally.add(every, counts)
    negative = int(counts[every < 0].sum())
    if spec.mode == "nvfp4":
        return _scale_values("E4M3", tally.histogram("scale magnitudes"), moments, negative)
    found = _scale_values("E8M0", tally.exponents("scale exponents of 2"), moments, negative)
    # Its NaN is infinity in what MLX computes with.
    return replace(found, nan_count=found.infinite_count, infinite_count=0)


def _scale_values(format: str, histogram: Histogram, moments: Moments, negative: int) -> ScaleValues:
    return ScaleValues(
        format=format,
        histogram=histogram,
        minimum=moments.minimum,
        maximum=moments.maximum,
        nan_count=moments.nan_count,
        infinite_count=moments.infinite_count,
        zero_count=moments.zero_count,
        negative_count=negative,
    )


# Affine


def read_affine(
    source: TensorBytes, tensor: StoredTensor, spec: QuantSpec, runs: Sequence[range], stop: Stop | None
) -> TensorStatistics:
    levels = 1 << spec.bits
    code_counts = np.zeros(levels, np.int64)
    moments, scales, tally = Moments(), Moments(), MagnitudeTally()
    groups = dead = saturated = negative = 0
    for packed in _packed_pieces(source, tensor, runs, stop):
        codes = unpack_codes(packed.words, spec.bits)
        factors = packed.stored_scales[:, 0]
        code_counts += np.bincount(codes.reshape(-1), minlength=levels)
        moments.add(dequantise_codes(codes, packed.stored_scales, packed.biases, spec))
        scales.add(factors)
        tally.add(factors)
        negative += int((factors < 0).sum())
        is_dead = (_all_equal(codes) | (factors == 0)) & np.isfinite(factors)
        at_ends = _count_true((codes == 0) | (codes == levels - 1))
        groups += len(codes)
        dead += int(is_dead.sum())
        saturated += int((~is_dead & (at_ends > SATURATED_SHARE * spec.group_size)).sum())
    assert tensor.scales is not None
    found = _scale_values(tensor.scales.dtype, tally.histogram("scale magnitudes"), scales, negative)
    names = tuple(map(str, range(levels)))
    counts = CodeCounts(f"{spec.bits}-bit levels", names, tuple(map(int, code_counts)))
    return TensorStatistics(moments, None, found, counts, GroupValues(spec.group_size, groups, dead, saturated))


def _all_equal(codes: Bytes) -> NDArray[np.bool_]:
    """Whether all codes of each row are the same; rows are multiples of eight long, and are compared eight at once."""
    repeated = codes[:, 0].astype(np.uint64) * np.uint64(0x0101_0101_0101_0101)
    return (codes.view(np.uint64) == repeated[:, None]).all(axis=1)


def _count_true(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many flags of each row are set, eight at once."""
    return np.bitwise_count(flags.view(np.uint64)).sum(axis=1, dtype=np.int64)
