"""Bytes of memory that a conversation takes beside the weights, told from the config alone: no MLX, nothing loaded.

What is then done about it is session/foresight.py's.
"""

from qwen_core.checkpoint.config import FULL, ModelConfig

_FLOAT = 4
_MOST_UNPACKED = 4 << 20
"""Elements of a weight that a CPU unpacks at a time (model/numpy_products.py)."""
_STEP, _LEAST_STEP = 64, 16
"""Tokens of a step of the delta rule there, and those from which it is computed in steps."""


def state_bytes(config: ModelConfig, context: int, element_bytes: int) -> tuple[int, int]:
    """(recurrent, KV) bytes of a sequence of `context` tokens: what `State` will report, without making one."""
    full = sum(kind == FULL for kind in config.layer_types)
    convolution = (config.linear_conv_kernel_dim - 1) * config.linear_conv_dim * element_bytes
    linear = len(config.layer_types) - full
    return linear * (_matrix_bytes(config) + convolution), full * row_bytes(config, element_bytes) * context


def row_bytes(config: ModelConfig, element_bytes: int) -> int:
    """Keys and values of one token in one layer with full attention."""
    return 2 * config.num_key_value_heads * config.head_dim * element_bytes


def step_bytes(config: ModelConfig, tokens: int, scores: int, context: int, element_bytes: int, *, gpu: bool) -> int:
    """Temporary bytes of a prefill step of `tokens` that has at most `scores` attention scores in a layer and stands at
    the end of `context` tokens: an upper bound, by the layer that takes most.

    Attention holds the scores once, keys and values of its layer twice while they grow, and what its projections gave
    several times over; so do the other parts (all counted on MLX 0.32.4). On a CPU a linear layer holds the matrix of
    every token of a short step, or what a step of the delta rule needs; and weights are unpacked.
    """
    heads = config.num_attention_heads * config.head_dim
    projected = 2 * heads * element_bytes + row_bytes(config, element_bytes)
    attention = scores * element_bytes + 6 * tokens * projected + row_bytes(config, element_bytes) * context
    linear = tokens * (5 * config.linear_conv_dim + 4 * config.linear_value_dim) * _FLOAT
    feed_forward = 6 * tokens * config.intermediate_size * element_bytes + _mixture_bytes(config, tokens)
    stream = 6 * tokens * config.hidden_size * element_bytes
    if gpu:
        return max(attention, linear, feed_forward) + stream
    return max(attention, linear + _delta_bytes(config, tokens), feed_forward) + stream + _unpacked_bytes(config)


def _delta_bytes(config: ModelConfig, tokens: int) -> int:
    """The delta rule on a CPU: a few matrices of tokens by tokens for each value head, some of them in float64."""
    step = min(tokens, _STEP)
    systems = 12 * config.linear_num_value_heads * step * step * _FLOAT
    return min(tokens, _LEAST_STEP) * _matrix_bytes(config) + systems + 4 * step * config.linear_conv_dim * _FLOAT


def _unpacked_bytes(config: ModelConfig) -> int:
    """The run of a weight that a CPU has unpacked, and what it is made of."""
    heads, kv = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    inner = 2 * (config.intermediate_size if config.mixture is None else config.mixture.shared_size)
    rows = max(2 * heads + 2 * kv, config.linear_conv_dim + config.linear_value_dim, inner)
    return 6 * min(rows * config.hidden_size, _MOST_UNPACKED) * _FLOAT


def _mixture_bytes(config: ModelConfig, tokens: int) -> int:
    """A step through experts: a row for each expert of a token, before and behind it, and the router's shares."""
    mixture = config.mixture
    if mixture is None:
        return 0
    row = 5 * config.hidden_size + 5 * mixture.size
    return tokens * (mixture.used * row + 4 * mixture.experts + 6 * mixture.shared_size) * _FLOAT


def _matrix_bytes(config: ModelConfig) -> int:
    """S of one linear layer: a matrix for each value head."""
    return config.linear_num_value_heads * config.linear_value_head_dim * config.linear_key_head_dim * _FLOAT
