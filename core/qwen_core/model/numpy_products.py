"""Large float32 products on a CPU by NumPy, whose wheels bring a fast BLAS: that of MLX's Linux wheels is the reference
one, which takes 40 times as long for many rows and ten times for one.

Each call evaluates its inputs and returns arrays that are computed. Of fewer than `LEAST_ROWS` rows each is computed
by itself, so that a pass of a few tokens gives the numbers of its tokens one by one; from there on sums run in another
order, and how a prompt was split shows in the last bits.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from qwen_core.device.backend import is_gpu, mx
from qwen_core.model.row_parallel import cut_rows, processors, shares

Floats = NDArray[np.float32]
Part = TypeVar("Part")
Result = TypeVar("Result")

LEAST_ROWS = 16
# Multiplications from which leaving MLX pays: some 50 microseconds of its BLAS.
LEAST_WORK = 1 << 17
# Those from which another processor is asked for its share: some 0.3 ms for many rows, 1 ms for one.
_LEAST_SHARED = 1 << 23
# Elements of a packed weight that are unpacked at a time.
_UNPACKED = 4 << 20
# Attention scores that a group of heads holds at a time.
_SCORES = 1 << 20
# Tokens of one step of the delta rule: more make its triangular systems dearer, fewer its products.
_STEP = 64


def pays(x: mx.array, work: int, rows: int = LEAST_ROWS) -> bool:
    """Whether NumPy takes over what needs `work` multiplications for each token of `x` [1, T, ...]: for T >= `rows`."""
    if is_gpu():
        return False
    tokens = x.shape[1]
    together = tokens if tokens >= LEAST_ROWS else 1
    return tokens >= rows and work * together >= LEAST_WORK and x.dtype == mx.float32


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads for the parts of a product, in place of the BLAS's own: these wait at full speed between small ones."""
    from threadpoolctl import threadpool_limits  # not for those whose products are small

    threadpool_limits(1, "blas")
    return ThreadPoolExecutor(processors())


def _each(compute: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    return [compute(parts[0])] if len(parts) == 1 else list(_threads().map(compute, parts))


def _values(*arrays: mx.array) -> list[Floats]:
    """The memory of `arrays` [1, ...], evaluated."""
    _threads()
    return [np.asarray(array)[0] for array in arrays]


def times_transposed(x: mx.array, weight: mx.array) -> mx.array:
    """x W^T: x [1, T, in] and weight [out, in], both float32, give [1, T, out]."""
    (rows,) = _values(x)
    return mx.array(_product(rows, np.asarray(weight))[None])


def times_unpacked(x: mx.array, out: int, unpacked: Callable[[slice], mx.array]) -> mx.array:
    """The same for a packed weight of `out` rows. `unpacked` gives a run of them, so that few are in memory at once."""
    step = max(1, _UNPACKED // x.shape[-1])
    runs = [slice(begin, min(begin + step, out)) for begin in range(0, out, step)]
    (rows,) = _values(x)
    return mx.array(np.concatenate([_product(rows, np.asarray(unpacked(run))) for run in runs], axis=-1)[None])


def _product(rows: Floats, weight: Floats) -> Floats:
    """rows [T, in] times `weight` [out, in] transposed: [T, out]."""
    parts = cut_rows(len(weight), shares(len(weight), len(rows), weight.shape[1], _LEAST_SHARED))
    return np.concatenate(_each(partial(_part, rows), [weight[part] for part in parts]), axis=-1)


def _part(rows: Floats, weight: Floats) -> Floats:
    if len(rows) >= LEAST_ROWS:
        return rows @ weight.T
    return np.stack([row @ weight.T for row in rows])


def causal_attention(queries: mx.array, keys: mx.array, values: mx.array, scale: float) -> mx.array:
    """softmax(q k^T * scale) v: queries [1, heads, T, D] of the last T of L tokens; keys, values [1, groups, L, D]."""
    q, k, v = _values(queries, keys, values)
    q = (q * np.float32(scale)).reshape(len(k), -1, *q.shape[1:])
    return mx.array(np.concatenate(_each(_attention, list(zip(q, k, v, strict=True))))[None])


def _attention(group: tuple[Floats, Floats, Floats]) -> Floats:
    """The heads [heads, T, D] of one group of keys and values [L, D], some tokens at a time: their scores stay few."""
    q, k, v = group
    heads, tokens, _ = q.shape
    step = max(1, min(tokens, _SCORES // (heads * len(k))))
    ends = [(begin, min(begin + step, tokens)) for begin in range(0, tokens, step)]
    seen = len(k) - tokens
    return np.concatenate([_attended(q[:, i:j], k[: seen + j], v[: seen + j]) for i, j in ends], axis=1)


def _attended(q: Floats, k: Floats, v: Floats) -> Floats:
    """Queries [heads, T, D] of the last T of the L tokens that `k` and `v` [L, D] are of."""
    heads, tokens, size = q.shape
    scores = (q.reshape(-1, size) @ k.T).reshape(heads, tokens, -1)
    scores[:, :, -tokens:][:, np.triu(np.ones((tokens, tokens), bool), 1)] = -np.inf
    scores -= scores.max(-1, keepdims=True)
    np.exp(scores, out=scores)
    return (scores.reshape(heads * tokens, -1) @ v).reshape(q.shape) / scores.sum(-1, keepdims=True)


def delta_rule(
    queries: mx.array, keys: mx.array, values: mx.array, gate: mx.array, beta: mx.array, state: mx.array
) -> tuple[mx.array, mx.array]:
    """`gated_delta.recurrence` in steps of many tokens: the chunked form of Yang et al., "Gated Delta Networks"
    (arXiv 2412.06464, section 3.3).

    With G_i the product of a step's gates up to its token i, what token i adds to the state for its key is
    u_i = beta_i (v_i - G_i S k_i - sum over j < i of G_i / G_j (k_i . k_j) u_j): a triangular system.
    """
    q, k, v, g, b, s = _values(queries, keys, values, gate, beta, state)
    tokens, heads, groups = len(v), v.shape[1], k.shape[1]
    # Heads before tokens, and value heads by the key head that they share: [Hk, Hv / Hk, T, ...].
    q, k = (x.swapaxes(0, 1)[:, None] for x in (q, k))
    v, g, b = (x.swapaxes(0, 1).reshape(groups, -1, *x.shape[:1], *x.shape[2:]) for x in (v, g, b))
    s = s.reshape(groups, -1, *s.shape[1:])
    outputs = []
    for begin in range(0, tokens, _STEP):
        at = slice(begin, begin + _STEP)
        mixed, s = _delta_step(q[:, :, at], k[:, :, at], v[:, :, at], g[:, :, at], b[:, :, at, None], s)
        outputs.append(mixed.reshape(heads, -1, v.shape[-1]).swapaxes(0, 1))
    return mx.array(np.concatenate(outputs)[None]), mx.array(s.reshape(state.shape))


def _delta_step(q: Floats, k: Floats, v: Floats, gate: Floats, rate: Floats, state: Floats) -> tuple[Floats, Floats]:
    """Outputs and state after the tokens of one step; arrays as `delta_rule` has them."""
    total = np.cumsum(np.log(np.maximum(gate, np.finfo(np.float32).tiny).astype(np.float64)), axis=-1)
    # Their differences in float64: behind a gate near 0 the sums are large, and a gate may be near 1.
    between: Floats = np.minimum(total[..., :, None] - total[..., None, :], 0).astype(np.float32)
    decayed: Floats = np.exp(between) * np.tri(k.shape[2], dtype=np.float32)
    since: Floats = np.exp(total)[..., None].astype(np.float32)
    until: Floats = np.exp(total[..., -1:] - total)[..., None].astype(np.float32)
    later, before = k.swapaxes(-1, -2), state.swapaxes(-1, -2)
    system = np.tril((k @ later) * decayed * rate, -1) + np.eye(k.shape[2], dtype=np.float32)
    added: Floats = np.linalg.solve(system, rate * (v - since * (k @ before)))
    outputs = since * (q @ before) + ((q @ later) * decayed) @ added
    moved = state * since[..., -1:, :] + added.swapaxes(-1, -2) @ (k * until)
    return cast(Floats, outputs), cast(Floats, moved)
