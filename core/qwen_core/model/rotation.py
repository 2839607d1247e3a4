"""Attention's rotation as arrays, and what YaRN changes of it (FORMAT.md, step 8)."""

from qwen_core.checkpoint.config import ModelConfig
from qwen_core.checkpoint.rope import inverse_frequencies
from qwen_core.device.backend import mx


def frequencies(config: ModelConfig) -> mx.array:
    """Radians a token [rotary / 2], float32."""
    return mx.array(inverse_frequencies(config.rope_theta, config.rotary_dim, config.yarn), mx.float32)


def stretched_wavelengths(config: ModelConfig) -> mx.array | None:
    """Tokens a radian [rotary / 2] for `mx.fast.rope`; None where the frequencies follow from the base alone."""
    if config.yarn is None:
        return None
    turns = inverse_frequencies(config.rope_theta, config.rotary_dim, config.yarn)
    return mx.array([1 / turn for turn in turns], mx.float32)


def stretched_norm(weight: mx.array, config: ModelConfig) -> mx.array:
    """The weight [head_dim] of the norm before the rotation, times the attention factor where it turns.

    YaRN multiplies the rotated part of queries and keys; rotation is linear, and so nothing is left to do a token.
    """
    if config.yarn is None:
        return weight
    turned = mx.arange(config.head_dim) < config.rotary_dim
    return (weight * mx.where(turned, config.yarn.attention_factor, 1.0)).astype(weight.dtype)
