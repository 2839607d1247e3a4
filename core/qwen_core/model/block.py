"""The block of a layer: its mixer and its feed-forward part, each behind a norm and added to what came in."""

from collections.abc import Callable

from qwen_core.checkpoint.config import ModelConfig
from qwen_core.device.backend import is_gpu, mx
from qwen_core.model.layers import Attention, FeedForward, GatedDeltaNet, Norm, TensorSource
from qwen_core.model.mixture import Mixture
from qwen_core.model.replay import MOST_TOKENS, Replay
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
        norms = (source.take(f"{prefix}{which}_layernorm.weight") for which in ("input", "post_attention"))
        self.mixer_norm, self.feed_forward_norm = (Norm(w, config.rms_norm_eps, source.kernels) for w in norms)
        self.feed_forward = feed_forward(source, prefix + "mlp.", config)
        self._total: Callable[[mx.array], mx.array] = _itself
        self._replay = self._made_replay()

    def share(self, total: Callable[[mx.array], mx.array]) -> None:
        """The mixer and the feed-forward part are parts of theirs, of what they give `total` makes the whole."""
        self._total = total
        self._replay = None  # what others take part in cannot be recorded

    def _made_replay(self) -> Replay | None:
        if not isinstance(self.mixer, GatedDeltaNet):
            return None
        dense = self.feed_forward if isinstance(self.feed_forward, FeedForward) else None
        return Replay(self.mixer, self.mixer_norm, self.feed_forward_norm, dense)

    def __call__(
        self, h: mx.array, added: mx.array | None, state: State, last: bool = False
    ) -> tuple[mx.array, mx.array]:
        """`h` and what is to be `added` to it (None: nothing), before the block and behind it: the norm that comes next
        does the addition."""
        if self._replay is not None and added is not None and not last and h.shape[1] <= MOST_TOKENS and is_gpu():
            h, behind = self._replay(h, added, state)
            return h, self.feed_forward(behind) if isinstance(self.feed_forward, Mixture) else behind
        h, normed = self.mixer_norm.of_sum(h, added)
        mixed = self._total(self.mixer(normed, state, last))
        h, normed = self.feed_forward_norm.of_sum(h[:, -1:] if last else h, mixed)
        return h, self._total(self.feed_forward(normed))


def _itself(x: mx.array) -> mx.array:
    return x
