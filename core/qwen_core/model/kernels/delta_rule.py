"""The delta rule over the few tokens of a pass (FORMAT.md, step 5): one launch.

MLX's own has two: it fills the outputs with zeros first, which its sequential form has no need of. The sums run in the
order of that form. A pass with drafts replays its tokens by this class too, so that both ways are the same numbers.
"""

from dataclasses import dataclass
from functools import cache

from qwen_core.device.backend import mx
from qwen_core.model.gated_delta import recurrence
from qwen_core.model.kernels.launch import HEAD_SIZES, MOST_HEADS, MOST_TOKENS, SIMD_WIDTH, Kernel, Plan

ROWS = 4
"""Of a head's state, and so simdgroups, in one threadgroup."""

# A simdgroup takes a row of a value head's state through all tokens, each lane as many neighbouring elements.
KERNEL = Kernel(
    "delta_rule",
    ("queries", "keys", "values", "gate", "beta", "before"),
    ("outputs", "after"),
    """
    const int lane = thread_index_in_simdgroup, row = thread_position_in_grid.y, head = thread_position_in_grid.z;
    const int tokens = queries_shape[1], each = KEY_SIZE / 32;
    const int key_head = head / (VALUE_HEADS / KEY_HEADS);
    const int place = (head * VALUE_SIZE + row) * KEY_SIZE + lane * each;
    float state[each], key[each];
    for (int i = 0; i < each; i++) state[i] = before[place + i];
    for (int t = 0; t < tokens; t++) {
        const int from = (t * KEY_HEADS + key_head) * KEY_SIZE + lane * each, at = t * VALUE_HEADS + head;
        const float kept = gate[at];
        float seen = 0.0f;
        for (int i = 0; i < each; i++) {
            key[i] = keys[from + i];
            state[i] = state[i] * kept;
            seen += state[i] * key[i];
        }
        seen = simd_sum(seen);
        const float change = (values[at * VALUE_SIZE + row] - seen) * beta[at];
        float said = 0.0f;
        for (int i = 0; i < each; i++) {
            state[i] = state[i] + key[i] * change;
            said += state[i] * queries[from + i];
        }
        said = simd_sum(said);
        if (lane == 0) outputs[at * VALUE_SIZE + row] = said;
    }
    for (int i = 0; i < each; i++) after[place + i] = state[i];
""",
)


@dataclass(eq=False)
class DeltaRule:
    """Called as `recurrence`, and gives the same."""

    on: bool = False
    name = KERNEL.name

    def __call__(
        self, queries: mx.array, keys: mx.array, values: mx.array, gate: mx.array, beta: mx.array, state: mx.array
    ) -> tuple[mx.array, mx.array]:
        if self.on and self.fits(queries.shape[1], state):
            return self.fused(queries, keys, values, gate, beta, state)
        return self.portable(queries, keys, values, gate, beta, state)

    def fits(self, tokens: int, state: mx.array) -> bool:
        """Whether the kernel takes a pass of so many tokens."""
        _, heads, value_size, key_size = state.shape
        return tokens <= MOST_TOKENS and heads <= MOST_HEADS and key_size in HEAD_SIZES and value_size in HEAD_SIZES

    def portable(
        self, queries: mx.array, keys: mx.array, values: mx.array, gate: mx.array, beta: mx.array, state: mx.array
    ) -> tuple[mx.array, mx.array]:
        """The same by MLX's operation."""
        return recurrence(queries, keys, values, gate, beta, state)

    def fused(
        self, queries: mx.array, keys: mx.array, values: mx.array, gate: mx.array, beta: mx.array, state: mx.array
    ) -> tuple[mx.array, mx.array]:
        """The same by the kernel."""
        outputs, after = _plan(*queries.shape[1:], *values.shape[2:]).run(queries, keys, values, gate, beta, state)
        return outputs, after


@cache
def _plan(tokens: int, key_heads: int, key_size: int, value_heads: int, value_size: int) -> Plan:
    sizes = {"KEY_HEADS": key_heads, "VALUE_HEADS": value_heads, "KEY_SIZE": key_size, "VALUE_SIZE": value_size}
    return Plan(
        KERNEL,
        sizes,
        [((1, tokens, value_heads, value_size), mx.float32), ((1, value_heads, value_size, key_size), mx.float32)],
        (SIMD_WIDTH, value_size, value_heads),
        (SIMD_WIDTH, ROWS, 1),
    )
