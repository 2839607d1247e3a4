"""Our own rounding: MLX reads what it stores, and it is never worse than `mx.quantize`, and better by search."""

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.checkpoint.quantization import AFFINE_BITS, FLOAT_MODES, QuantSpec
from qwen_core.convert.rounding import nearest, packed, quantised, restored, searched
from support.conversion import same_bits

FORMATS = [QuantSpec("affine", bits, 64) for bits in AFFINE_BITS] + [
    QuantSpec(mode, bits, group) for mode, (bits, group) in FLOAT_MODES.items()
]
ROWS, COLUMNS = 48, 256


def weights(seed: int) -> mx.array:
    """Heavy tails, rows of very different sizes, and a group of zeros."""
    random = np.random.default_rng(seed)
    values = random.standard_t(4, (ROWS, COLUMNS)) * 10 ** random.uniform(-3, 0, (ROWS, 1))
    values[3, :64] = 0
    return mx.array(values.astype(np.float32)).astype(mx.bfloat16)


def importance(seed: int) -> mx.array:
    return mx.array(10 ** np.random.default_rng(seed).uniform(-3, 3, (1, COLUMNS)).astype(np.float32))


def group_errors(parts: tuple[mx.array, ...], values: mx.array, cost: mx.array, spec: QuantSpec) -> np.ndarray:
    error = cost * mx.square(restored(parts, spec) - values.astype(mx.float32))
    return np.array(error.reshape(ROWS, -1, spec.group_size).sum(-1))


@pytest.mark.parametrize("spec", FORMATS, ids=str)
def test_no_group_is_worse_than_mlxs_and_all_together_are_better(spec: QuantSpec) -> None:
    values, cost = weights(1), importance(2)
    plain, found = quantised(values, spec), searched(values, spec, cost)
    assert [(part.dtype, part.shape) for part in found] == [(part.dtype, part.shape) for part in plain]
    before, after = group_errors(plain, values, cost, spec), group_errors(found, values, cost, spec)
    assert np.isfinite(after).all()
    # The last bits of a sum in float32.
    assert (after <= before * (1 + 1e-5)).all()
    print(f"{spec}: {after.sum() / before.sum():.3f} of the weighted error")
    if spec.mode != "mxfp8":
        assert after.sum() < before.sum() * 0.8


@pytest.mark.parametrize("spec", FORMATS, ids=str)
def test_codes_are_packed_as_mlx_packs_them(spec: QuantSpec) -> None:
    """Words of random codes, read by MLX as affine with scale 1 and bias 0, are these codes."""
    codes = np.random.default_rng(3).integers(0, 2**spec.bits, (7, 128))
    words = packed(mx.array(codes), spec.bits)
    ones, zeros = mx.ones((7, 4)), mx.zeros((7, 4))
    assert np.array_equal(np.array(mx.dequantize(words, ones, zeros, group_size=32, bits=spec.bits)), codes)
    assert words.shape == (7, 128 * spec.bits // 32)


@pytest.mark.parametrize("spec", [spec for spec in FORMATS if spec.bits == 4], ids=str)
def test_the_quick_arithmetic_is_mlxs_but_for_ties(spec: QuantSpec) -> None:
    """Where both differ, the weight lies exactly between two elements: both are equally far."""
    values = weights(4)
    ours, mlx = np.array(nearest(values, spec)), np.array(restored(quantised(values, spec), spec))
    exact = np.array(values.astype(mx.float32))
    np.testing.assert_allclose(np.abs(ours - exact), np.abs(mlx - exact), rtol=1e-5, atol=1e-9)
    assert (ours == mlx).mean() > 0.98


def test_where_nothing_can_be_better_the_bytes_are_mlxs() -> None:
    """Levels that the format holds exactly."""
    values = mx.array(np.tile(np.array([0, 0.5, -1, 1.5, 2, -3, 4, 6], np.float32), (4, 32))).astype(mx.bfloat16)
    for spec in (QuantSpec("nvfp4", 4, 16), QuantSpec("mxfp4", 4, 32)):
        for one, other in zip(quantised(values, spec), searched(values, spec, mx.ones((1, 256))), strict=True):
            assert same_bits(one, other)
