"""Counts which experts of a mixture an answer uses, from what each pass computes beside its token.

A pass that was just scheduled is not waited for: its experts are counted when the next one is scheduled.
"""

import numpy as np

from qwen_core.checkpoint.config import MixtureConfig
from qwen_core.device.backend import mx
from qwen_core.model.model import Model
from qwen_core.protocol.expert_use import ExpertUse


class ExpertTally:
    """The counts of one answer. Nothing is counted, and nothing computed, while nobody watches the model."""

    def __init__(self, model: Model, mixture: MixtureConfig) -> None:
        self._model = model
        self._mixture = mixture
        self._counts = np.zeros((model.config.num_hidden_layers, mixture.experts), np.uint32)
        self._last = np.zeros((model.config.num_hidden_layers, 0), np.uint16)
        self._tokens = 0
        self._waiting: list[mx.array] = []
        self._scheduled: list[mx.array] = []

    def schedule(self) -> list[mx.array]:
        """What the pass just built has to compute beside its token."""
        self._scheduled = self._model.used_experts()
        return self._scheduled

    def passed(self) -> None:
        """The pass before the one just scheduled is over."""
        self.flush()
        self._waiting, self._scheduled = self._scheduled, []

    def drafted(self, row: int) -> None:
        """The pass just scheduled is over, and this token of it counts."""
        self.flush()
        self._add(self._scheduled, row)

    def flush(self) -> None:
        """Count what waits."""
        self._add(self._waiting, 0)
        self._waiting = []

    def use(self) -> ExpertUse | None:
        """The counts by now; None while there are none."""
        if not self._tokens:
            return None
        experts, used = self._mixture.experts, self._mixture.used
        return ExpertUse(self._tokens, experts, used, self._counts.tobytes(), self._last.tobytes())

    def _add(self, layers: list[mx.array], row: int) -> None:
        """The experts of one token of a pass, of each layer [1, T, used]; no expert is named twice in a layer."""
        if not layers:
            return
        # Each by itself: to join them would be as many copies on the device as there are layers.
        chosen = np.stack([np.array(layer)[0, row] for layer in layers])
        np.put_along_axis(self._counts, chosen, np.take_along_axis(self._counts, chosen, 1) + 1, 1)
        self._last = chosen.astype(np.uint16)
        self._tokens += 1
