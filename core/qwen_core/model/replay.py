"""The graph of a linear layer's block over a few tokens, recorded once for a number of tokens and replayed by MLX.

Python takes 60 us to build it, MLX 25 to build it again, and a GPU waits for the host at each token. What is computed
is the same. Full layers are not replayed: their keys and values are longer at each token.
"""

from collections.abc import Callable, Sequence
from threading import get_ident

from qwen_core.device.backend import mx
from qwen_core.model.drafted_pass import LinearLayerState
from qwen_core.model.layers import FeedForward, GatedDeltaNet, Norm
from qwen_core.model.products import Products
from qwen_core.model.state import State

MOST_TOKENS = 8
"""Of a pass that is replayed: a token with its drafts. Each number is recorded apart."""


class Replay:
    """A block's pass: h and what is added to it [1, T, hidden] give h and what the feed-forward part makes of it, or
    where that is none of it (`feed_forward` None) what it takes.
    """

    def __init__(
        self, mixer: GatedDeltaNet, mixer_norm: Norm, feed_forward_norm: Norm, feed_forward: FeedForward | None
    ) -> None:
        self._mixer = mixer
        self._once = _recorded(mixer, mixer_norm, feed_forward_norm, feed_forward)
        self._replayed = mx.compile(self._once)
        self._thread: int | None = None

    def __call__(self, h: mx.array, added: mx.array, state: State) -> tuple[mx.array, mx.array]:
        mixer = self._mixer
        held = state.linear[mixer.index]
        inputs = (h, added, held.convolution, held.recurrent)
        run = self._replayed if self._is_recorded_here(inputs) else self._once
        h, behind, convolution, recurrent, queries, keys, values, gate, beta, *qkv_z = run(*inputs)
        products = Products(qkv_z, mixer.qkv_z.ends)
        mixer.keep(state, held, LinearLayerState(convolution, recurrent), products, (queries, keys, values, gate, beta))
        return h, behind

    def _is_recorded_here(self, inputs: Sequence[mx.array]) -> bool:
        """MLX keeps records by thread and drops those of one: of a second thread's the weights would stay for ever."""
        if self._thread is None:
            # What is not computed yet of a layer's constants would be recorded, and computed at every token.
            mx.eval(self._once(*map(mx.zeros_like, inputs)))
            self._thread = get_ident()
        return self._thread == get_ident()


def _recorded(
    mixer: GatedDeltaNet, mixer_norm: Norm, feed_forward_norm: Norm, feed_forward: FeedForward | None
) -> Callable[[mx.array, mx.array, mx.array, mx.array], Sequence[mx.array]]:
    """What is recorded. It knows its parts alone: in a circle with the block, weights would outlive their model."""

    def outputs(h: mx.array, added: mx.array, convolution: mx.array, recurrent: mx.array) -> Sequence[mx.array]:
        h, normed = mixer_norm.of_sum(h, added)
        mixed, after, qkv_z, taken = mixer.step(normed, LinearLayerState(convolution, recurrent), last=False)
        h, normed = feed_forward_norm.of_sum(h, mixed)
        behind = normed if feed_forward is None else feed_forward(normed)
        return [h, behind, after.convolution, after.recurrent, *taken, *qkv_z.arrays]

    return outputs
