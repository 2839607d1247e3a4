"""Decoding without MLX is MLX's own, bit for bit, in every mode, width and group, for every pattern of a scale."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_core.checkpoint.quantization import AFFINE_BITS, AFFINE_GROUPS, FLOAT_MODES, QuantSpec
from qwen_core.tensors import decoding
from support.stored_tensors import mlx_dequantise

AFFINE = [QuantSpec("affine", bits, group) for bits in AFFINE_BITS for group in AFFINE_GROUPS]
BYTE_SCALED = [QuantSpec(mode, *sizes) for mode, sizes in FLOAT_MODES.items()]


def assert_same_bits(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Equal bit for bit, the sign of zero included; of a NaN, that it is one."""
    assert ours.dtype == theirs.dtype == np.float32
    nans = np.isnan(theirs)
    np.testing.assert_array_equal(np.isnan(ours), nans)
    np.testing.assert_array_equal(ours.view(np.uint32)[~nans], theirs.view(np.uint32)[~nans])


def bfloat16(patterns: np.ndarray) -> mx.array:
    return mx.array(patterns).view(mx.bfloat16)


@pytest.mark.parametrize("spec", BYTE_SCALED, ids=str)
def test_every_scale_byte_with_every_code(spec: QuantSpec) -> None:
    """256 rows, one for each scale byte, NaN and subnormal ones among them, and every code in each row."""
    codes = np.arange(256, dtype=np.uint8)  # all pairs of nibbles, or all E4M3 bytes
    words = np.tile(codes.view(np.uint32), (256, 1))
    groups = words.shape[1] * 32 // spec.bits // spec.group_size
    scales = np.repeat(codes[:, None], groups, axis=1)
    ours = decoding.dequantise(words, scales, None, spec)
    assert_same_bits(ours, mlx_dequantise(mx.array(words), mx.array(scales), None, spec))


@pytest.mark.parametrize("spec", [*AFFINE, *BYTE_SCALED], ids=str)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 5), groups=st.sampled_from([2, 4, 6]))
def test_random_bits_decode_as_mlx_decodes_them(spec: QuantSpec, seed: int, rows: int, groups: int) -> None:
    """Words, scales and biases of random bits: any bfloat16, so NaN, infinite, subnormal and negative scales too.

    Two groups at least, because MLX takes no row of fewer than 32 elements.
    """
    random = np.random.default_rng(seed)
    words = random.integers(0, 2**32, (rows, groups * spec.group_size * spec.bits // 32), np.uint32)
    if spec.mode != "affine":
        scales = random.integers(0, 256, (rows, groups), np.uint8)
        ours = decoding.dequantise(words, scales, None, spec)
        theirs = mlx_dequantise(mx.array(words), mx.array(scales), None, spec)
    else:
        parts = random.integers(0, 2**16, (2, rows, groups), np.uint16)
        factors, biases = (decoding.decode_bfloat16(part) for part in parts)
        ours = decoding.dequantise(words, factors, biases, spec)
        theirs = mlx_dequantise(mx.array(words), bfloat16(parts[0]), bfloat16(parts[1]), spec)
    assert ours.shape == (rows, groups * spec.group_size)
    assert_same_bits(ours, theirs)


@pytest.mark.parametrize("spec", AFFINE, ids=str)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1))
def test_affine_weights_of_ordinary_size(spec: QuantSpec, seed: int) -> None:
    """Scales and biases near each other in size, as those of a weight are."""
    random = np.random.default_rng(seed)
    words = random.integers(0, 2**32, (3, 4 * spec.group_size * spec.bits // 32), np.uint32)
    parts = [mx.array(random.normal(size=(3, 4))).astype(mx.bfloat16) for _ in range(2)]
    factors, biases = (np.array(part.astype(mx.float32)) for part in parts)
    ours = decoding.dequantise(words, factors, biases, spec)
    assert_same_bits(ours, mlx_dequantise(mx.array(words), parts[0], parts[1], spec))


@pytest.mark.parametrize("bits", AFFINE_BITS)
@settings(max_examples=25)
@given(data=st.data())
def test_codes_are_a_little_endian_stream_of_bits(bits: int, data: st.DataObject) -> None:
    """Against one whole number of arbitrary size, which knows no bytes or words at all."""
    codes = data.draw(
        st.lists(st.integers(0, 2**bits - 1), min_size=32, max_size=96).filter(lambda c: len(c) % 32 == 0)
    )
    stream = sum(code << (index * bits) for index, code in enumerate(codes))
    words = np.frombuffer(stream.to_bytes(len(codes) * bits // 8, "little"), np.uint32).reshape(1, -1)
    assert decoding.unpack_codes(words, bits).tolist() == [codes]


def test_the_element_and_scale_tables() -> None:
    """E2M1 and E8M0 by their definitions (OCP MX 1.0), E4M3 by MLX's own conversion."""
    every = np.arange(256, dtype=np.uint8)
    assert_same_bits(decoding.E4M3_VALUES, np.array(mx.from_fp8(mx.array(every), dtype=mx.float32, stream=mx.cpu)))
    positive = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    expected = np.array([*positive, *(-value for value in positive)], np.float32)
    assert_same_bits(decoding.E2M1_VALUES, expected)
    assert decoding.E8M0_VALUES[:255].tolist() == [2.0 ** (byte - 127) for byte in range(255)]


def test_every_bfloat16() -> None:
    patterns = np.arange(1 << 16, dtype=np.uint16)
    assert_same_bits(decoding.decode_bfloat16(patterns), np.array(bfloat16(patterns).astype(mx.float32)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("dtype", "kind", "bits"), [("F16", np.float16, np.uint16), ("F32", np.float32, np.uint32)])
def test_other_floats_are_read_as_they_are(dtype: str, kind: type[np.floating], bits: type[np.unsignedinteger]) -> None:
    """Signalling NaN are NaN as well, and no warning."""
    values = np.random.default_rng(0).normal(size=64).astype(kind)
    values.view(bits)[0] = np.array(np.inf, kind).view(bits) + 1
    expected = np.where(np.isnan(values), np.float32(np.nan), values.astype(object)).astype(np.float32)
    assert_same_bits(decoding.decode_floats(values.view(np.uint8), dtype), expected)
