"""The gated delta rule against its definition in float64 numpy (FORMAT.md, "The model", steps 2 to 6)."""

import math

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qwen_core.model import gated_delta

Array = NDArray[np.float64]


def as_mlx(array: Array, dtype: mx.Dtype = mx.float32) -> mx.array:
    return mx.array(array.tolist(), dtype)


def as_numpy(array: mx.array) -> Array:
    return np.array(array.astype(mx.float32)).astype(np.float64)


def recurrence64(q: Array, k: Array, v: Array, gate: Array, beta: Array, state: Array) -> tuple[Array, Array]:
    """Step 5 word by word, one token and one value head at a time."""
    tokens, value_heads = v.shape[:2]
    group = value_heads // k.shape[1]
    state = state.copy()
    outputs = np.zeros_like(v)
    for t in range(tokens):
        for head in range(value_heads):
            key, query = k[t, head // group], q[t, head // group]
            state[head] *= gate[t, head]
            delta = (v[t, head] - state[head] @ key) * beta[t, head]
            state[head] += np.outer(delta, key)
            outputs[t, head] = state[head] @ query
    return outputs, state


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(1, 2), st.integers(1, 3), st.sampled_from([8, 32]), st.integers(0, 2**32 - 1))
def test_recurrence_is_its_definition(tokens: int, key_heads: int, group: int, size: int, seed: int) -> None:
    random = np.random.RandomState(seed)
    value_size = 2 * size
    q, k = (random.standard_normal((tokens, key_heads, size)) for _ in range(2))
    q, k = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (q, k))
    v = random.standard_normal((tokens, key_heads * group, value_size))
    gate, beta = (random.uniform(0, 1, (tokens, key_heads * group)) for _ in range(2))
    state = random.standard_normal((key_heads * group, value_size, size))
    expected, expected_state = recurrence64(q, k, v, gate, beta, state)
    outputs, after = gated_delta.recurrence(*(as_mlx(x[None]) for x in (q, k, v, gate, beta, state)))
    # float32 sums of at most 32 products of order one.
    np.testing.assert_allclose(as_numpy(outputs)[0], expected, atol=1e-4)
    np.testing.assert_allclose(as_numpy(after)[0], expected_state, atol=1e-4)


def test_4096_tokens_of_slow_decay_keep_the_gate_exact() -> None:
    """Decays of 0.999 to 0.99999 over 4,096 tokens, each rounded to bfloat16, would never decay at all.

    Keys of zero after the first token leave S to the gate alone: what is left of it is the product of all decays.
    The gate itself comes from bfloat16 projections, as it does when a model computes in bfloat16.
    """
    tokens, heads, size = 4096, 8, 32
    random = np.random.RandomState(0)
    a = as_mlx(random.standard_normal((1, tokens, heads)), mx.bfloat16)
    log_rate = np.linspace(math.log(2e-3), math.log(1e-5), heads)
    gate = gated_delta.decay(a, mx.zeros(heads), as_mlx(-np.exp(log_rate)))
    gate64 = np.exp(-np.exp(log_rate) * np.logaddexp(0, as_numpy(a)))
    # Within a rounding of float32 near one: half of 2^-24, doubled for the exponential's own error.
    np.testing.assert_allclose(as_numpy(gate), gate64, rtol=0, atol=2**-23)

    k = np.zeros((tokens, heads, size))
    k[0, :, 0] = 1
    v = random.standard_normal((tokens, heads, size))
    beta = random.uniform(0.2, 1, (tokens, heads))
    first = random.standard_normal((heads, size, size))
    _, expected_state = recurrence64(k, k, v, gate64[0], beta, first)
    keys, values, rates, start = (as_mlx(x[None]) for x in (k, v, beta, first))
    _, after = gated_delta.recurrence(keys, keys, values, gate, rates, start)
    # 4,096 roundings of 2^-24 each, relative to what is left.
    np.testing.assert_allclose(as_numpy(after)[0], expected_state, rtol=4096 * 2**-23, atol=1e-6)
    rounded = as_numpy(gate.astype(mx.bfloat16))
    assert np.abs(np.prod(rounded, axis=1) - np.prod(gate64, axis=1)).max() > 0.1, "the case must be able to fail"


def test_4096_tokens_with_keys_match_float64() -> None:
    tokens, heads, size = 4096, 2, 16
    random = np.random.RandomState(1)
    q, k = (random.standard_normal((tokens, heads, size)) for _ in range(2))
    q, k = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (q, k))
    v = random.standard_normal((tokens, heads, size))
    gate = random.uniform(0.999, 0.9999, (tokens, heads))
    beta = random.uniform(0, 0.1, (tokens, heads))
    state = np.zeros((heads, size, size))
    expected, expected_state = recurrence64(q, k, v, gate, beta, state)
    outputs, after = gated_delta.recurrence(*(as_mlx(x[None]) for x in (q, k, v, gate, beta, state)))
    # The rule contracts errors, so they do not grow with the length.
    np.testing.assert_allclose(as_numpy(outputs)[0], expected, atol=2e-5)
    np.testing.assert_allclose(as_numpy(after)[0], expected_state, atol=2e-5)


@settings(max_examples=25)
@given(st.integers(2, 6), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_convolution_is_its_definition_and_does_not_see_chunks(kernel: int, tokens: int, seed: int) -> None:
    random = np.random.RandomState(seed)
    channels = 12
    inputs = random.standard_normal((kernel - 1 + tokens, channels))
    weight = random.standard_normal((channels, kernel))
    sums = np.array([(inputs[t : t + kernel].T * weight).sum(-1) for t in range(tokens)])
    expected = sums / (1 + np.exp(-sums))
    taps = [as_mlx(weight[:, i]) for i in range(kernel)]
    before, new = as_mlx(inputs[None, : kernel - 1]), as_mlx(inputs[None, kernel - 1 :])
    whole = gated_delta.causal_convolution(before, new, taps)
    np.testing.assert_allclose(as_numpy(whole)[0], expected, atol=1e-5)
    single = []
    for t in range(tokens):
        held = gated_delta.inputs_before_next(before, new, t)
        assert (as_numpy(held) == as_numpy(as_mlx(inputs[None, t : t + kernel - 1])).reshape(held.shape)).all()
        single.append(gated_delta.causal_convolution(held, new[:, t : t + 1], taps))
    np.testing.assert_allclose(as_numpy(mx.concatenate(single, axis=1)), as_numpy(whole), atol=1e-6)


@pytest.mark.parametrize("magnitude", [1e-5, 1.0, 1e4])
def test_l2_norm_is_transformers_formula(magnitude: float) -> None:
    """x * rsqrt(sum(x^2) + 1e-6), also where the epsilon counts."""
    size = 48
    x = np.random.RandomState(2).standard_normal((1, 5, 3, size)) * magnitude
    expected = x / np.sqrt((x * x).sum(-1, keepdims=True) + 1e-6)
    keys = gated_delta.l2_normalise(as_mlx(x), gated_delta.key_scale(size))
    queries = gated_delta.l2_normalise(as_mlx(x), gated_delta.query_scale(size))
    np.testing.assert_allclose(as_numpy(keys), expected, rtol=1e-5)
    np.testing.assert_allclose(as_numpy(queries), expected * size**-0.5, rtol=1e-5)


@given(st.floats(-120, 120), st.floats(-6, 6), st.floats(-5, 4))
@settings(max_examples=100)
def test_decay_and_update_rate_are_their_definitions_everywhere(a: float, bias: float, a_log: float) -> None:
    gate = gated_delta.decay(mx.array([a]), mx.array([bias]), -mx.exp(mx.array([a_log])))
    a, bias, a_log = (float(np.float32(x)) for x in (a, bias, a_log))
    exponent = math.exp(a_log) * float(np.logaddexp(0, a + bias))
    # The exponent's relative error of a few 2^-24 is absolute in its exponential.
    np.testing.assert_allclose(as_numpy(gate), math.exp(-exponent), rtol=1e-6 * max(1.0, exponent), atol=1e-30)
    beta = gated_delta.update_rate(mx.array([a]))
    np.testing.assert_allclose(as_numpy(beta), 1 / (1 + math.exp(-a)), rtol=1e-5, atol=1e-30)


def test_gated_norm_is_norm_before_gate() -> None:
    random = np.random.RandomState(3)
    outputs, gate = (random.standard_normal((1, 4, 3, 16)) for _ in range(2))
    weight = random.standard_normal(16)
    expected = outputs / np.sqrt((outputs**2).mean(-1, keepdims=True) + 1e-6) * weight * gate / (1 + np.exp(-gate))
    result = gated_delta.gated_norm(as_mlx(outputs), as_mlx(gate), as_mlx(weight), 1e-6)
    np.testing.assert_allclose(as_numpy(result), expected, atol=1e-5)
