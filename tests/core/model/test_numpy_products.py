"""Products that leave MLX for NumPy on a CPU: the same numbers as MLX's own, and only large ones, in float32, there."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_core.checkpoint.quantization import FLOAT_MODES, QuantSpec
from qwen_core.model import numpy_products
from qwen_core.model.layers import Linear, QuantizedLinear
from qwen_core.model.numpy_products import LEAST_ROWS, LEAST_WORK, causal_attention, delta_rule, pays

SPECS = [
    *(QuantSpec("affine", bits, 64) for bits in (2, 3, 4, 5, 6, 8)),
    *(QuantSpec(mode, *form) for mode, form in FLOAT_MODES.items()),
]
ROWS, COLUMNS = 1056, 128
"""More elements than `LEAST_WORK`, and no multiple of the 4,096 rows of a run below."""


def drawn(*shape: int, seed: int = 1) -> mx.array:
    return mx.random.normal(shape, key=mx.random.key(seed))


def packed(spec: QuantSpec, factor: mx.array | None = None) -> QuantizedLinear:
    parts = mx.quantize(drawn(ROWS, COLUMNS), group_size=spec.group_size, bits=spec.bits, mode=spec.mode)
    return QuantizedLinear(parts[0], parts[1], parts[2] if len(parts) > 2 else None, spec, factor)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_products_of_unpacked_and_packed_weights_agree(spec: QuantSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of 128 products of order one in another order, whatever runs of rows are unpacked and shared out."""
    monkeypatch.setattr(numpy_products, "_UNPACKED", 100 * COLUMNS)
    monkeypatch.setattr(numpy_products, "_LEAST_SHARED", 1 << 12)
    layer, x = packed(spec, mx.full(ROWS, 0.75) if spec.mode == "nvfp4" else None), drawn(1, 40, COLUMNS, seed=2)
    assert pays(x, ROWS * COLUMNS)
    dense = np.array(layer(x))
    monkeypatch.setattr("qwen_core.model.layers.pays", lambda *arguments: False)
    np.testing.assert_allclose(dense, np.array(layer(x)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("tokens", [1, 5, LEAST_ROWS, 200])
def test_products_of_plain_weights_agree(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_products, "_LEAST_SHARED", 1 << 12)
    layer, x = Linear(drawn(ROWS, COLUMNS)), drawn(1, tokens, COLUMNS, seed=2)
    np.testing.assert_allclose(np.array(layer(x)), np.array(x @ layer.weight.T), rtol=0, atol=1e-4)


def test_rows_of_a_short_pass_are_single_rows_bit_for_bit() -> None:
    """What drafts rely on: a pass that checks them draws what decoding would."""
    layer, x = Linear(drawn(ROWS, COLUMNS)), drawn(1, LEAST_ROWS - 1, COLUMNS, seed=2)
    single = mx.concatenate([layer(x[:, i : i + 1]) for i in range(x.shape[1])], axis=1)
    np.testing.assert_array_equal(np.array(layer(x)), np.array(single))


def test_each_token_is_computed_from_itself_alone() -> None:
    layer, x = packed(QuantSpec("affine", 6, 64)), drawn(1, 200, COLUMNS, seed=2)
    changed = mx.concatenate([x[:, :150], 2 * x[:, 150:]], axis=1)
    np.testing.assert_array_equal(np.array(layer(x))[:, :150], np.array(layer(changed))[:, :150])


@settings(max_examples=25)
@given(st.integers(1, 2), st.integers(1, 3), st.integers(2, 90), st.integers(0, 70), st.integers(0, 2**31))
def test_attention_is_mlx_s(groups: int, share: int, tokens: int, before: int, seed: int) -> None:
    keys, values = (drawn(1, groups, tokens + before, 32, seed=seed + i) for i in range(2))
    queries = drawn(1, groups * share, tokens, 32, seed=seed + 2)
    expected = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=0.3, mask="causal")
    mixed = causal_attention(queries, keys, values, 0.3)
    # Sums in another order: some roundings of scores up to 10 and of values up to 4, in float32.
    np.testing.assert_allclose(np.array(mixed), np.array(expected), rtol=0, atol=1e-5)


@settings(max_examples=25)
@given(
    st.integers(1, 2), st.integers(1, 3), st.integers(1, 200), st.sampled_from([0.0, 1e-40, 0.5, 0.999, 1.0]),
    st.integers(0, 2**31),
)  # fmt: skip
def test_delta_rule_in_steps_is_token_by_token(
    key_heads: int, share: int, tokens: int, least_gate: float, seed: int
) -> None:
    """Also where a gate is 0 in the middle of a step, behind which the state is only what came after."""
    size, heads = 32, key_heads * share
    keys, queries = (drawn(1, tokens, key_heads, size, seed=seed + i) for i in range(2))
    keys, queries = (x / mx.linalg.norm(x, axis=-1, keepdims=True) for x in (keys, queries))
    values, state = drawn(1, tokens, heads, 2 * size, seed=seed + 2), drawn(1, heads, 2 * size, size, seed=seed + 3)
    slow = mx.random.uniform(0.9, 1, (1, tokens, heads), key=mx.random.key(seed + 4))
    gate = mx.where(mx.random.uniform(shape=slow.shape, key=mx.random.key(seed + 5)) < 0.2, least_gate, slow)
    beta = mx.random.uniform(shape=slow.shape, key=mx.random.key(seed + 6))
    taken = queries, keys, values, gate, beta, state
    for ours, theirs in zip(delta_rule(*taken), mx.fast.gated_delta_update(*taken), strict=True):
        np.testing.assert_allclose(np.array(ours), np.array(theirs), rtol=0, atol=2e-5)


def test_only_large_products_in_float32_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_products, "is_gpu", lambda: False)
    one, many = drawn(1, 1, 8), drawn(1, LEAST_ROWS, 8)
    assert pays(one, LEAST_WORK, 1) and not pays(one, LEAST_WORK - 1, 1) and not pays(one, LEAST_WORK)
    assert pays(many, LEAST_WORK // LEAST_ROWS) and not pays(many, LEAST_WORK // LEAST_ROWS - 1)
    assert not pays(many, LEAST_WORK, LEAST_ROWS + 1)
    # Each row of a short pass is computed as if it were alone.
    assert not pays(drawn(1, LEAST_ROWS - 1, 8), LEAST_WORK - 1, 1)
    assert not pays(many.astype(mx.bfloat16), LEAST_WORK)
    monkeypatch.setattr(numpy_products, "is_gpu", lambda: True)
    assert not pays(many, LEAST_WORK)
