"""The front of a linear layer: from its projections to what the delta rule takes (FORMAT.md, steps 2 to 4).

Convolution step, silu, norms of queries and keys, decay and update rate: ten launches as MLX's operations, one here.
"""

from dataclasses import dataclass
from functools import cache

from qwen_core.device.backend import mx
from qwen_core.model.gated_delta import (
    L2_EPSILON,
    Taken,
    causal_convolution,
    decay,
    inputs_before_next,
    key_scale,
    l2_normalise,
    query_scale,
    update_rate,
)
from qwen_core.model.kernels.launch import FLOATS, HEAD_SIZES, MOST_HEADS, MOST_TOKENS, SIMD_WIDTH, Kernel, Plan
from qwen_core.model.products import Products

TAPS = 4
"""Of the convolution, in every released model."""

# A simdgroup takes a head of a token, each lane as many neighbouring channels; the one behind the last head takes the
# gates. The rows before the pass are `held`'s, and those of the last token's heads write what the next pass holds.
KERNEL = Kernel(
    "linear_front",
    ("qkv", "held", "rates", "updates", "taps", "dt_bias", "negative_rate"),
    ("queries", "keys", "values", "gate", "beta", "kept"),
    f"""
    const int lane = thread_index_in_simdgroup, head = thread_position_in_grid.y, t = thread_position_in_grid.z;
    const int tokens = qkv_shape[1], row = qkv_shape[2];
    const int channels = (2 * KEY_HEADS + VALUE_HEADS) * SIZE, each = SIZE / 32;
    if (head == 2 * KEY_HEADS + VALUE_HEADS) {{
        for (int h = lane; h < VALUE_HEADS; h += 32) {{
            float a = float(rates[t * rates_shape[2] + RATES_BEGIN + h]) + dt_bias[h];
            float b = float(updates[t * updates_shape[2] + UPDATES_BEGIN + h]);
            gate[t * VALUE_HEADS + h] = metal::exp(negative_rate[h] * qwen_softplus(a));
            beta[t * VALUE_HEADS + h] = qwen_sigmoid(b);
        }}
        return;
    }}
    float mixed[each];
    float squares = 0.0f;
    for (int i = 0; i < each; i++) {{
        const int c = head * SIZE + lane * each + i;
        In window[4];
        for (int tap = 0; tap < 4; tap++) {{
            const int from = t + tap - 3;
            window[tap] = from < 0 ? held[(from + 3) * channels + c] : qkv[from * row + c];
        }}
        const float older = float(window[0]) * taps[c] + float(window[1]) * taps[channels + c];
        const float newer = float(window[2]) * taps[2 * channels + c] + float(window[3]) * taps[3 * channels + c];
        const float y = older + newer;
        mixed[i] = y * qwen_sigmoid(y);
        squares += mixed[i] * mixed[i];
        if (t == tokens - 1) {{
            for (int tap = 1; tap < 4; tap++) kept[(tap - 1) * channels + c] = window[tap];
        }}
    }}
    if (head >= 2 * KEY_HEADS) {{
        for (int i = 0; i < each; i++) {{
            values[(t * VALUE_HEADS + head - 2 * KEY_HEADS) * SIZE + lane * each + i] = mixed[i];
        }}
        return;
    }}
    const float root = metal::precise::rsqrt(simd_sum(squares) / SIZE + {L2_EPSILON}f / SIZE);
    const float scale = head < KEY_HEADS ? 1.0f / SIZE : metal::precise::rsqrt(float(SIZE));
    for (int i = 0; i < each; i++) {{
        const float x = mixed[i] * root * scale;
        if (head < KEY_HEADS) queries[(t * KEY_HEADS + head) * SIZE + lane * each + i] = x;
        else keys[(t * KEY_HEADS + head - KEY_HEADS) * SIZE + lane * each + i] = x;
    }}
""",
)


@dataclass(eq=False)
class LinearFront:
    """Hk key heads and Hv value heads, all of D channels where the kernel is to take them; C = (2 Hk + Hv) D.

    `taps` [K, C], the oldest input's first; `dt_bias` and `negative_rate`, -exp(A_log), [Hv]; all float32.
    """

    key_heads: int
    key_size: int
    value_heads: int
    value_size: int
    taps: mx.array
    dt_bias: mx.array
    negative_rate: mx.array
    on: bool = False
    name = KERNEL.name

    def __post_init__(self) -> None:
        self._taps = [self.taps[i] for i in range(self.taps.shape[0])]
        self._scales = query_scale(self.key_size), key_scale(self.key_size)
        sized = self.key_size == self.value_size and self.key_size in HEAD_SIZES
        self._fits = self.taps.shape[0] == TAPS and sized and max(self.key_heads, self.value_heads) <= MOST_HEADS

    def __call__(self, qkv_z: Products, a_b: Products, held: mx.array) -> tuple[Taken, mx.array]:
        """What the delta rule takes of T tokens, and the last K - 1 inputs of the convolution [1, K - 1, C].

        `qkv_z`: C and then Hv D columns; `a_b`: twice Hv; `held` [1, K - 1, C] the inputs before these tokens.
        """
        if self.on and self.fits(qkv_z.tokens, held.dtype):
            return self.fused(qkv_z, a_b, held)
        return self.portable(qkv_z, a_b, held)

    def fits(self, tokens: int, dtype: mx.Dtype) -> bool:
        """Whether the kernel takes a pass of so many tokens."""
        return self._fits and tokens <= MOST_TOKENS and dtype in FLOATS

    def portable(self, qkv_z: Products, a_b: Products, held: mx.array) -> tuple[Taken, mx.array]:
        """The same by MLX's operations."""
        length = qkv_z.tokens
        a, b = a_b.views
        qkv = qkv_z.views[0]
        mixed = causal_convolution(held, qkv, self._taps)
        width = self.key_heads * self.key_size
        queries, keys, values = mx.split(mixed, [width, 2 * width], axis=-1)
        taken = (
            l2_normalise(queries.reshape(1, length, self.key_heads, self.key_size), self._scales[0]),
            l2_normalise(keys.reshape(1, length, self.key_heads, self.key_size), self._scales[1]),
            values.reshape(1, length, self.value_heads, self.value_size),
            decay(a, self.dt_bias, self.negative_rate),
            update_rate(b),
        )
        return taken, inputs_before_next(held, qkv, length)

    def fused(self, qkv_z: Products, a_b: Products, held: mx.array) -> tuple[Taken, mx.array]:
        """The same by the kernel."""
        (qkv, _), (rates, rates_begin), (updates, updates_begin) = qkv_z.place(0), a_b.place(0), a_b.place(1)
        plan = _plan(
            qkv_z.tokens, self.key_heads, self.value_heads, self.key_size, rates_begin, updates_begin, held.dtype
        )
        queries, keys, values, gate, beta, kept = plan.run(
            qkv, held, rates, updates, self.taps, self.dt_bias, self.negative_rate
        )
        return (queries, keys, values, gate, beta), kept


@cache
def _plan(
    tokens: int, key_heads: int, value_heads: int, size: int, rates_begin: int, updates_begin: int, dtype: mx.Dtype
) -> Plan:
    heads, gates = (1, tokens, key_heads, size), (1, tokens, value_heads)
    return Plan(
        KERNEL,
        {
            "In": dtype,
            "KEY_HEADS": key_heads,
            "VALUE_HEADS": value_heads,
            "SIZE": size,
            "RATES_BEGIN": rates_begin,
            "UPDATES_BEGIN": updates_begin,
        },
        [
            (heads, mx.float32),
            (heads, mx.float32),
            ((1, tokens, value_heads, size), mx.float32),
            (gates, mx.float32),
            (gates, mx.float32),
            ((1, TAPS - 1, (2 * key_heads + value_heads) * size), dtype),
        ],
        (SIMD_WIDTH, 2 * key_heads + value_heads + 1, tokens),
        (SIMD_WIDTH, 1, 1),
    )
