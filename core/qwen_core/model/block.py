"""The block of a layer: its mixer and its feed-forward part, each behind a norm and added to what came in."""

from qwen_core.checkpoint.config import ModelConfig
from qwen_core.device.backend import mx
from qwen_core.model.layers import Attention, FeedForward, GatedDeltaNet, Norm, TensorSource
from qwen_core.model.mixture import Mixture
from qwen_core.model.state import State


def feed_forward(source: TensorSource, prefix: str, config: ModelConfig) -> FeedForward | Mixture:
    """The part behind the mixer: one network, or a mixture of many."""
    if config.mixture is None:
        return FeedForward(source, prefix)
    return Mixture(source, prefix, config.mixture.used)


class Block:
    """h += mixer(norm(h)); h += feed_forward(norm(h)) (step 9): [1, T, hidden], or [1, 1, hidden] if `last`."""

    def __init__(self, source: TensorSource, index: int, config: ModelConfig) -> None:
        prefix = f"layers.{index}."
        if config.layer_types[index] == "linear_attention":
            self.mixer = GatedDeltaNet(source, prefix + "linear_attn.", index, config)
        else:
            self.mixer = Attention(source, prefix + "self_attn.", index, config)
        self.mixer_norm = Norm(source.take(prefix + "input_layernorm.weight"), config.rms_norm_eps)
        self.feed_forward = feed_forward(source, prefix + "mlp.", config)
        self.feed_forward_norm = Norm(source.take(prefix + "post_attention_layernorm.weight"), config.rms_norm_eps)

    def __call__(self, h: mx.array, state: State, last: bool = False) -> mx.array:
        mixed = self.mixer(self.mixer_norm(h), state, last)
        h = (h[:, -1:] if last else h) + mixed
        return h + self.feed_forward(self.feed_forward_norm(h))
