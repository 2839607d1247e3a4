"""Long prompts on a CPU multiply by unpacked weights: the same numbers as by packed ones, and only there."""

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.checkpoint.quantization import FLOAT_MODES, QuantSpec
from qwen_core.model import layers
from qwen_core.model.layers import Linear, QuantizedLinear

SPECS = [
    *(QuantSpec("affine", bits, 64) for bits in (2, 3, 4, 5, 6, 8)),
    *(QuantSpec(mode, *form) for mode, form in FLOAT_MODES.items()),
]
ROWS, COLUMNS = 96, 128


def packed(spec: QuantSpec) -> QuantizedLinear:
    weight = mx.random.normal((ROWS, COLUMNS), key=mx.random.key(1)) * COLUMNS**-0.5
    parts = mx.quantize(weight, group_size=spec.group_size, bits=spec.bits, mode=spec.mode)
    return QuantizedLinear(parts[0], parts[1], parts[2] if len(parts) > 2 else None, spec)


def tokens(count: int, dtype: mx.Dtype = mx.float32) -> mx.array:
    return mx.random.normal((1, count, COLUMNS), key=mx.random.key(2)).astype(dtype)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_unpacked_and_packed_products_agree(spec: QuantSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of 128 products in another order, nothing else."""
    layer, x = packed(spec), tokens(200)
    dense = np.array(layer(x))
    monkeypatch.setattr(layers, "_takes_dense", lambda *arguments: False)
    np.testing.assert_allclose(dense, np.array(layer(x)), rtol=0, atol=1e-5)


def test_plain_products_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = Linear(mx.random.normal((ROWS, COLUMNS), key=mx.random.key(3))), tokens(64)
    dense = np.array(layer(x))
    monkeypatch.setattr(layers, "_takes_dense", lambda *arguments: False)
    np.testing.assert_allclose(dense, np.array(layer(x)), rtol=0, atol=1e-4)


def test_each_token_is_computed_from_itself_alone() -> None:
    layer, x = packed(QuantSpec("affine", 6, 64)), tokens(200)
    changed = mx.concatenate([x[:, :150], 2 * x[:, 150:]], axis=1)
    np.testing.assert_array_equal(np.array(layer(x))[:, :150], np.array(layer(changed))[:, :150])


def test_only_long_prompts_in_float32_of_small_enough_weights_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "is_gpu", lambda: False)
    assert layers._takes_dense(tokens(64), 1000)
    assert not layers._takes_dense(tokens(63), 1000)
    assert not layers._takes_dense(tokens(64), 1000, least=65)
    assert not layers._takes_dense(tokens(64, mx.bfloat16), 1000)
    assert not layers._takes_dense(tokens(64), (64 << 20) + 1)
    monkeypatch.setattr(layers, "is_gpu", lambda: True)
    assert not layers._takes_dense(tokens(64), 1000)
