"""The mathematics of gated delta networks, stateless: FORMAT.md, "The model", steps 2 to 6.

Everything here is float32, whatever the model computes in: the decay of a slow head is so close to one that
bfloat16 makes it exactly one. Projections, shapes of a checkpoint and the keeping of state are layers.py's.
"""

from collections.abc import Sequence

from qwen_core.device.backend import elementwise, mx
from qwen_core.model.norms import rms_norm
from qwen_core.model.numpy_products import delta_rule, pays

Taken = tuple[mx.array, mx.array, mx.array, mx.array, mx.array]
"""What `recurrence` takes of T tokens: queries, keys, values, gate and beta."""
L2_EPSILON = 1e-6
"""Under the root of the L2 norm of queries and keys: transformers, modeling_qwen3_5.py, `l2norm`."""


@elementwise
def _tap(total: mx.array, inputs: mx.array, weight: mx.array) -> mx.array:
    return total + inputs.astype(mx.float32) * weight


@elementwise
def _silu(x: mx.array) -> mx.array:
    return x * mx.sigmoid(x)


@elementwise
def _convolve4(
    x0: mx.array,
    x1: mx.array,
    x2: mx.array,
    x3: mx.array,
    w0: mx.array,
    w1: mx.array,
    w2: mx.array,
    w3: mx.array,
) -> mx.array:
    """Step 2 in one kernel, for the four taps that every released model has: x [1, T, C] any type, w [C] float32."""
    # In pairs: `mx.compile` joins no more than 11 operations that follow each other, and leaves casts outside.
    y = (x0.astype(mx.float32) * w0 + x1.astype(mx.float32) * w1) + (
        x2.astype(mx.float32) * w2 + x3.astype(mx.float32) * w3
    )
    return y * mx.sigmoid(y)


def causal_convolution(before: mx.array, new: mx.array, taps: Sequence[mx.array]) -> mx.array:
    """silu of the depthwise causal convolution (step 2) over the T inputs `new` [1, T, C].

    `before` [1, K - 1, C] are the inputs before the first; `taps` are K float32 vectors [C], the oldest input's first.
    Returns float32 [1, T, C]. The sum runs in the same order for every T, so that a prompt split into chunks gives the
    same bits.
    """
    length, older = new.shape[1], len(taps) - 1
    if length == 1:  # nothing has to lie side by side
        shifted = [*mx.split(before, older, axis=1), new]
    else:
        inputs = mx.concatenate([before, new], axis=1)
        shifted = [inputs[:, i : i + length] for i in range(len(taps))]
    if len(taps) == 4:
        return _convolve4(*shifted, *taps)
    total = mx.zeros((1, 1, 1), mx.float32)
    for x, weight in zip(shifted, taps, strict=True):
        total = _tap(total, x, weight)
    return _silu(total)


def inputs_before_next(before: mx.array, new: mx.array, tokens: int) -> mx.array:
    """`before` of the convolution behind the first `tokens` of `new`: [1, K - 1, C], and no view, which would keep all
    of `new` alive for its last rows."""
    older = before.shape[1]
    if tokens >= older:
        return mx.contiguous(new[:, tokens - older : tokens])
    fed = new if tokens == new.shape[1] else new[:, :tokens]
    return mx.concatenate([before[:, tokens:], fed], axis=1)


def l2_normalise(x: mx.array, scale: mx.array) -> mx.array:
    """x * rsqrt(sum(x^2) + 1e-6) * scale * sqrt(D) over the last axis of x [..., D], in float32 (step 3).

    RMSNorm is this up to a constant: sum(x^2) + e = D * (mean(x^2) + e / D). So that one kernel does both, `scale` [D]
    is a vector that holds the constant: see `query_scale` and `key_scale`.
    """
    return rms_norm(x, scale, L2_EPSILON / x.shape[-1])


def key_scale(size: int) -> mx.array:
    """`scale` that makes `l2_normalise` the plain L2 norm of keys of `size` elements."""
    return mx.full((size,), size**-0.5, dtype=mx.float32)


def query_scale(size: int) -> mx.array:
    """The same for queries, which are also multiplied by size^-0.5 (step 3)."""
    return mx.full((size,), 1.0 / size, dtype=mx.float32)


@elementwise
def decay(a: mx.array, dt_bias: mx.array, negative_rate: mx.array) -> mx.array:
    """exp(g), g = -exp(A_log) * softplus(a + dt_bias), in float32 (step 4). `negative_rate` is -exp(A_log), float32.

    a [1, T, Hv]; dt_bias and negative_rate [Hv]. Returns what the state is multiplied by at each step, in (0, 1].
    """
    x = a.astype(mx.float32) + dt_bias
    softplus = mx.maximum(x, 0.0) + mx.log1p(mx.exp(-mx.abs(x)))
    return mx.exp(negative_rate * softplus)


@elementwise
def update_rate(b: mx.array) -> mx.array:
    """beta = sigmoid(b) in float32 (step 4). b [1, T, Hv], and so is what it gives."""
    return mx.sigmoid(b.astype(mx.float32))


def recurrence(
    queries: mx.array, keys: mx.array, values: mx.array, gate: mx.array, beta: mx.array, state: mx.array
) -> tuple[mx.array, mx.array]:
    """Step 5 over T tokens: S *= gate; d = (v - S k) * beta; S += d k^T; o = S q.

    queries, keys [1, T, Hk, Dk]; values [1, T, Hv, Dv]; gate, beta [1, T, Hv]; state [1, Hv, Dv, Dk]; all float32:
    `mx.fast.gated_delta_update` rounds the gate to the queries' type. Returns outputs [1, T, Hv, Dv] and the state
    after the last token. Value head h reads key head h // (Hv / Hk).
    """
    if pays(keys, state.size):
        return delta_rule(queries, keys, values, gate, beta, state)
    outputs, state = mx.fast.gated_delta_update(queries, keys, values, gate, beta, state)
    return outputs, state


@elementwise
def _times_silu(x: mx.array, gate: mx.array) -> mx.array:
    wide = gate.astype(mx.float32)
    return (x * (wide * mx.sigmoid(wide))).astype(gate.dtype)


def gated_norm(outputs: mx.array, gate: mx.array, weight: mx.array, epsilon: float) -> mx.array:
    """rmsnorm(o) * weight * silu(z), the norm before the gate, per value head (step 6), computed in float32.

    outputs [1, T, Hv, Dv] float32; gate (z) the same shape in any type, which is the result's too; weight [Dv] float32.
    """
    return _times_silu(rms_norm(outputs, weight, epsilon), gate)
