"""RMSNorm in three operations against MLX's own, on the same arrays."""

from collections.abc import Callable

import numpy as np
import pytest

from qwen_core.device.backend import mx
from qwen_core.model.norms import rms_norm, rms_norm_portable

# Two float32 factors are multiplied in another order, and the mean is a sum times 1/D.
TOLERANCE = 1e-6
SHAPES = [(1, 1, 256), (1, 5, 2, 128), (1, 33, 8), (1, 1, 16, 64), (1, 1, 5120), (1, 2, 1)]


def drawn(shape: tuple[int, ...], size: float) -> tuple[mx.array, mx.array]:
    numbers = np.random.default_rng(len(shape)).standard_normal(shape) * size
    return mx.array(numbers, mx.float32), mx.array(np.linspace(0.5, -1.5, shape[-1]), mx.float32)


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("function", [rms_norm, rms_norm_portable])
def test_it_is_what_mlx_computes(
    function: Callable[[mx.array, mx.array, float], mx.array], shape: tuple[int, ...], size: float
) -> None:
    x, weight = drawn(shape, size)
    for epsilon in (1e-6, 1e-2):
        expected = np.array(mx.fast.rms_norm(x, weight, epsilon))
        np.testing.assert_allclose(np.array(function(x, weight, epsilon)), expected, rtol=TOLERANCE, atol=0)


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16])
def test_other_types_are_mlx_own(dtype: mx.Dtype) -> None:
    x, weight = (array.astype(dtype) for array in drawn((1, 3, 64), 1.0))
    found = rms_norm(x, weight, 1e-6)
    assert found.dtype == dtype
    assert mx.array_equal(found, mx.fast.rms_norm(x, weight, 1e-6))


def test_nothing_is_nothing() -> None:
    x = mx.zeros((1, 2, 64))
    assert mx.array_equal(rms_norm_portable(x, mx.ones(64), 1e-6), x)
