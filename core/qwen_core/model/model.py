"""A Qwen3.5, 3.6 or 3.8 text model in memory: token ids and a `State` in, logits out.

Its layers are in layers.py, the way of its bytes into memory in weights.py; session/generate.py feeds it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeVar

from qwen_core.checkpoint.config import ModelConfig
from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.device.backend import default_dtype, is_metal, mx
from qwen_core.errors import QwenError
from qwen_core.model.block import Block
from qwen_core.model.kernels.proof import NONE, Kernels, proven
from qwen_core.model.layers import Embedding, Norm, TensorSource
from qwen_core.model.mixture import Mixture
from qwen_core.model.state import State
from qwen_core.model.weights import DTYPES, Weights, given_back, load_weights
from qwen_core.protocol.events import LoadProgress
from qwen_core.protocol.weight_tiers import WeightTiers

__all__ = ["Model", "default_dtype", "load_model"]

Outputs = Literal["all", "last", "none"]
AnyModel = TypeVar("AnyModel", bound="Model")


class Model:
    """Weights and the function they compute. Made by `load_model`; takes over the arrays of `weights`.

    `dtype` is the compute type by name, `kernels` which of our own it uses. `config` has the sizes of what is in this
    process: those of the checkpoint, or of a part of it (part.py). Calls are lazy: MLX computes when a result or
    `state.arrays()` is evaluated.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        weights: Weights,
        specs: Mapping[str, QuantSpec],
        dtype: str,
        *,
        config: ModelConfig | None = None,
        joined: bool = True,
        kernels: Kernels = NONE,
    ) -> None:
        self.checkpoint = checkpoint
        self.config = config or checkpoint.config
        self.dtype = dtype
        self.kernels = kernels
        self.tiers: WeightTiers = weights.tiers
        self._weights = weights
        # Joining tensors that lie in their files would copy what mapping saved.
        source = TensorSource(
            weights.arrays, specs, lambda module: joined and f"{module}.weight" not in weights.mapped, kernels.names
        )
        embedding = Embedding(source, DTYPES[dtype])
        self._embedding: Callable[[mx.array], mx.array] = embedding
        self._blocks = [Block(source, index, self.config) for index in range(self.config.num_hidden_layers)]
        self._norm = Norm(source.take("norm.weight"), self.config.rms_norm_eps, source.kernels)
        tied = "lm_head.weight" not in weights.arrays
        self._head: Callable[[mx.array], mx.array] = embedding.head if tied else source.projection("lm_head")

    def new_state(self) -> State:
        """The state before the first token."""
        return State(self.config, DTYPES[self.dtype])

    def embed(self, ids: mx.array) -> mx.array:
        """The embeddings [1, T, H] of `ids` [1, T]."""
        return self._embedding(ids)

    def head(self, hidden: mx.array) -> mx.array:
        """Logits [1, T, vocab] of vectors [1, T, H] behind the final norm."""
        return self._head(hidden)

    def __call__(self, ids: mx.array, state: State) -> mx.array:
        """Feed `ids` [1, T], which must be ids of the vocabulary; logits [1, T, vocab] after each of them."""
        return self._head(self._hidden(ids, state, "all"))

    def last_logits(self, ids: mx.array, state: State) -> mx.array:
        """Feed `ids` [1, T]; logits [1, vocab] after the last alone, at the cost of one token's head."""
        return self._head(self._hidden(ids, state, "last"))[:, -1]

    def hidden(self, ids: mx.array, state: State) -> mx.array:
        """Feed `ids` [1, T]; the hidden vectors behind the final norm [1, T, H] alone."""
        return self._hidden(ids, state, "all")

    def hidden_and_logits(self, ids: mx.array, state: State) -> tuple[mx.array, mx.array]:
        """Feed `ids` [1, T]; the hidden vectors behind the final norm [1, T, H] and the logits [1, T, vocab]."""
        hidden = self._hidden(ids, state, "all")
        return hidden, self._head(hidden)

    def hidden_and_last_logits(self, ids: mx.array, state: State) -> tuple[mx.array, mx.array]:
        """Feed `ids` [1, T]; all hidden vectors [1, T, H], and the logits [1, vocab] after the last token."""
        hidden = self._hidden(ids, state, "all")
        return hidden, self._head(hidden[:, -1:])[:, -1]

    def feed(self, ids: mx.array, state: State) -> None:
        """Feed `ids` [1, T] and compute nothing but the state: evaluate `state.arrays()`."""
        self._hidden(ids, state, "none")

    def watch_experts(self, on: bool) -> None:
        """Whether passes keep which experts of a mixture they used; of a dense model there is nothing to keep."""
        for mixture in self._mixtures():
            mixture.watched, mixture.chosen = on, None

    def used_experts(self) -> list[mx.array]:
        """The experts that the T tokens of the last pass with all outputs were given, of each layer [1, T, used]; none
        where nobody watches. Lazy, and nothing that the pass does not compute anyway."""
        return [mixture.chosen for mixture in self._mixtures() if mixture.chosen is not None]

    def _mixtures(self) -> list[Mixture]:
        return [block.feed_forward for block in self._blocks if isinstance(block.feed_forward, Mixture)]

    def close(self) -> None:
        """Release the weights. The model takes no more calls."""
        self._blocks.clear()
        del self._embedding, self._head, self._norm
        self._weights.close()
        if is_metal():
            mx.set_wired_limit(0)

    def _hidden(self, ids: mx.array, state: State, outputs: Outputs) -> mx.array:
        """The hidden vectors behind the final norm: of all tokens, or of the last one where that is all we need.

        Lazy evaluation drops the rest of the last block when nobody asks for its output.
        """
        h, added = self._embedding(ids), None
        final = len(self._blocks) - 1
        for index, block in enumerate(self._blocks):
            h, added = block(h, added, state, last=index == final and outputs != "all")
        state.advance(ids.shape[1])
        return self._norm.of_sum(h, added)[1]


def assembled(read: Callable[[], Weights], build: Callable[[Weights], AnyModel]) -> AnyModel:
    """The model that `build` makes of the weights that `read` brings into memory, with no more than them in memory."""
    # Joining neighbours frees them one by one: what a group was made of must be gone before the next one.
    with given_back():
        weights = read()
        try:
            model = build(weights)
        except QwenError:
            weights.close()
            raise
    if is_metal():
        # Without it macOS may page weights out between turns. The limit is advice, and what is not used costs nothing.
        mx.set_wired_limit(int(mx.device_info()["max_recommended_working_set_size"]))
    return model


def load_model(
    path: str | Path | Checkpoint,
    dtype: str | None = None,
    *,
    progress: Callable[[LoadProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    kernels: bool = True,
) -> Model:
    """Open a model directory and bring its text model into memory. Needs neither tokenizer nor template.

    `dtype` is "float32", "bfloat16" or "float16"; None takes what suits the device (`default_dtype`). `progress` is
    called as bytes arrive; `stop` returning True ends the load with QwenError. `kernels`: whether our own may be used,
    where there are any and they prove right. Raises CheckpointError, CapacityError, SettingsError: QwenError, one line
    each.
    """
    checkpoint = path if isinstance(path, Checkpoint) else open_checkpoint(path)
    dtype = dtype or default_dtype()

    def build(weights: Weights) -> Model:
        chosen = proven(checkpoint.config, DTYPES[dtype]) if kernels else NONE
        return Model(checkpoint, weights, checkpoint.specs, dtype, kernels=chosen)

    return assembled(lambda: load_weights(checkpoint, dtype, progress=progress, stop=stop), build)
