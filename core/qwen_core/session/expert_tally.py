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
        self._waiting: mx.array | None = None
        self._scheduled: mx.array | None = None

    def schedule(self) -> list[mx.array]:
        """What the pass just built has to compute beside its token."""
        self._scheduled = self._model.used_experts()
        return [] if self._scheduled is None else [self._scheduled]

    def passed(self) -> None:
        """The pass before the one just scheduled is over."""
        self.flush()
        self._waiting, self._scheduled = self._scheduled, None

    def drafted(self, row: int) -> None:
        """The pass just scheduled is over, and this token of it counts."""
        self.flush()
        if self._scheduled is not None:
            self._add(np.array(self._scheduled[:, row : row + 1]))

    def flush(self) -> None:
        """Count what waits."""
        if self._waiting is not None:
            self._add(np.array(self._waiting))
        self._waiting = None

    def use(self) -> ExpertUse | None:
        """The counts by now; None while there are none."""
        if not self._tokens:
            return None
        experts, used = self._mixture.experts, self._mixture.used
        return ExpertUse(self._tokens, experts, used, self._counts.tobytes(), self._last.tobytes())

    def _add(self, chosen: np.ndarray) -> None:
        """The experts [layers, 1, used] of a token; no expert is named twice in a layer."""
        np.put_along_axis(self._counts, chosen[:, 0], np.take_along_axis(self._counts, chosen[:, 0], 1) + 1, 1)
        self._last = np.ascontiguousarray(chosen[:, 0])
        self._tokens += 1
