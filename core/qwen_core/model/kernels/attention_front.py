"""The front of attention: norms and rotation of queries and keys (FORMAT.md, steps 7 and 8): one launch in place of
five, or six where MLX copies what it cannot read in place.
"""

from dataclasses import dataclass
from functools import cache

from qwen_core.device.backend import mx
from qwen_core.model.kernels.launch import (
    EPSILON,
    FLOATS,
    HEAD_SIZES,
    MOST_HEADS,
    MOST_TOKENS,
    SIMD_WIDTH,
    Kernel,
    Plan,
)
from qwen_core.model.norms import rms_norm
from qwen_core.model.products import Products

# A simdgroup takes a head of a token, first the queries' and then the keys'; a lane every 32nd channel, so that with
# `other` both channels of a rotated pair are its own. Rounded where MLX's norm and rotation round.
KERNEL = Kernel(
    "attention_front",
    ("query_rows", "key_rows", "query_weight", "key_weight", "frequencies", "position"),
    ("queries", "keys"),
    f"""
    const int lane = thread_index_in_simdgroup, head = thread_position_in_grid.y, t = thread_position_in_grid.z;
    const int tokens = query_rows_shape[1], each = SIZE / 32, half_turned = TURNED / 2;
    const bool asks = head < HEADS;
    const int key_head = head - HEADS;
    float x[each];
    float squares = 0.0f;
    for (int i = 0; i < each; i++) {{
        const int c = lane + 32 * i;
        x[i] = asks ? float(query_rows[t * query_rows_shape[2] + head * 2 * SIZE + c])
                    : float(key_rows[t * key_rows_shape[2] + KEYS_BEGIN + key_head * SIZE + c]);
        squares += x[i] * x[i];
    }}
    const float root = metal::precise::rsqrt(simd_sum(squares) / SIZE + {EPSILON}f);
    for (int i = 0; i < each; i++) {{
        const int c = lane + 32 * i;
        const float weight = float(asks ? query_weight[c] : key_weight[c]);
        x[i] = float(In(weight * float(In(x[i] * root))));
    }}
    for (int i = 0; i < each; i++) {{
        const int c = lane + 32 * i;
        float turned = x[i];
        if (c < TURNED) {{
            const int pair = c % half_turned;
            const float angle = float(position[0] + t) * frequencies[pair];
            const float other = c < half_turned ? -x[i + half_turned / 32] : x[i - half_turned / 32];
            turned = x[i] * metal::precise::cos(angle) + other * metal::precise::sin(angle);
        }}
        if (asks) queries[(head * tokens + t) * SIZE + c] = In(turned);
        else keys[(key_head * tokens + t) * SIZE + c] = In(turned);
    }}
""",
)


@dataclass(eq=False)
class AttentionFront:
    """`heads` of queries and `key_heads` of keys, of D channels, of which `turned` are rotated.

    `query_weight` and `key_weight` [D] in the compute type. The rotation is by `theta`, or by `wavelengths` in tokens
    a radian [turned / 2] where that is given; `frequencies` are radians a token in either case.
    """

    heads: int
    key_heads: int
    turned: int
    query_weight: mx.array
    key_weight: mx.array
    epsilon: float
    theta: float
    wavelengths: mx.array | None
    frequencies: mx.array
    on: bool = False
    name = KERNEL.name

    def __call__(self, qkv: Products, position: int, last: bool = False) -> tuple[mx.array, mx.array]:
        """Queries [1, heads, T, D] and keys [1, key heads, T, D] of the tokens from `position` on; with `last` the
        queries of the last token alone.

        `qkv`: per head a query and its gate, 2 D columns; then keys, and values.
        """
        if not (self.on and self.fits(qkv)):
            return self.portable(qkv, position, last)
        queries, keys = self.fused(qkv, position)
        return queries[:, :, -1:] if last else queries, keys

    @property
    def size(self) -> int:
        return self.query_weight.size

    def fits(self, qkv: Products) -> bool:
        """Whether the kernel takes them."""
        sized = self.size in HEAD_SIZES and max(self.heads, self.key_heads) <= MOST_HEADS
        turned = 0 < self.turned <= self.size and self.turned % (2 * SIMD_WIDTH) == 0
        typed = qkv.arrays[0].dtype in FLOATS and self.epsilon == EPSILON
        return sized and turned and typed and qkv.tokens <= MOST_TOKENS

    def portable(self, qkv: Products, position: int, last: bool = False) -> tuple[mx.array, mx.array]:
        """The same by MLX's operations."""
        query_rows, key_rows, _ = qkv.views
        first = qkv.tokens - 1 if last else 0
        query_rows = query_rows[:, first:] if first else query_rows
        # Per head, the query and then its gate: not two halves of the whole.
        asking = query_rows.reshape(1, -1, self.heads, 2 * self.size)[..., : self.size]
        keys = key_rows.reshape(1, -1, self.key_heads, self.size)
        return (
            self._rotated(rms_norm(asking, self.query_weight, self.epsilon), position + first),
            self._rotated(rms_norm(keys, self.key_weight, self.epsilon), position),
        )

    def fused(self, qkv: Products, position: int) -> tuple[mx.array, mx.array]:
        """The same by the kernel."""
        (queries, _), (keys, begin) = qkv.place(0), qkv.place(1)
        plan = _plan(qkv.tokens, self.heads, self.key_heads, self.size, self.turned, begin, queries.dtype)
        asking, asked = plan.run(
            queries, keys, self.query_weight, self.key_weight, self.frequencies, mx.array([position], mx.int32)
        )
        return asking, asked

    def _rotated(self, x: mx.array, position: int) -> mx.array:
        """RoPE on the first `turned` of x [1, T, heads, D], pairs (i, i + half): mRoPE for text (step 8). Gives heads
        before tokens."""
        base = self.theta if self.wavelengths is None else None
        return mx.fast.rope(
            x.transpose(0, 2, 1, 3),
            self.turned,
            traditional=False,
            base=base,
            scale=1.0,
            offset=position,
            freqs=self.wavelengths,
        )


@cache
def _plan(tokens: int, heads: int, key_heads: int, size: int, turned: int, begin: int, dtype: mx.Dtype) -> Plan:
    return Plan(
        KERNEL,
        {"In": dtype, "HEADS": heads, "SIZE": size, "TURNED": turned, "KEYS_BEGIN": begin},
        [((1, heads, tokens, size), dtype), ((1, key_heads, tokens, size), dtype)],
        (SIMD_WIDTH, heads + key_heads, tokens),
        (SIMD_WIDTH, 1, 1),
    )
