"""The other ranks: what led.py tells is done here, on a part of the model and of its states."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.device.backend import mx
from qwen_core.errors import QwenError
from qwen_core.model.collectives import Collectives
from qwen_core.model.kernels.proof import Kernels
from qwen_core.model.part import PartModel, load_part
from qwen_core.model.part_files import PartsName, read_part, write_part
from qwen_core.model.state import Snapshot, State
from qwen_core.model.weights import DTYPES, Weights
from qwen_core.protocol.events import LoadProgress
from qwen_core.settings.paths import data_dir


class Follower:
    """One rank's part of a model and its states, by the numbers that rank 0 gave them. Of one thread.

    Nothing here waits for a result: the host is ahead of the device, as rank 0's is.
    """

    def __init__(
        self,
        collectives: Collectives,
        *,
        folder: Path | None = None,
        progress: Callable[[LoadProgress], None] | None = None,
    ) -> None:
        """`folder`: where parts of saved states are kept; None: beside the states of this machine's own program."""
        self.collectives = collectives
        self._folder = folder
        self._progress = progress
        self._model: PartModel | None = None
        self._states: dict[int, State] = {}
        self._snapshots: dict[int, Snapshot] = {}
        self._operations: Mapping[str, Callable[..., dict[str, Any] | None]] = {
            "load": self._load,
            "close": self._close,
            "new_state": self._new_state,
            "forget_state": self._forget_state,
            "forget_snapshot": self._forget_snapshot,
            "pass": self._pass,
            "embed": self._embed,
            "head": self._head,
            "reserve": self._reserve,
            "begin_drafted": self._begin_drafted,
            "keep": self._keep,
            "snapshot": self._snapshot,
            "restore": self._restore,
            "begin_again": self._begin_again,
            "save": self._save,
            "adopt": self._adopt,
        }

    def do(self, command: Mapping[str, Any]) -> dict[str, Any] | None:
        """Do what one line says. "load" alone has an answer: {"loaded": bytes}, or a QwenError is raised."""
        values = dict(command)
        return self._operations[values.pop("do")](**values)

    @property
    def model(self) -> PartModel:
        assert self._model is not None, "no model was loaded"
        return self._model

    def _load(self, path: str, dtype: str, kernels: bool) -> dict[str, Any]:
        self._close()
        checkpoint = open_checkpoint(path)

        def build(weights: Weights, chosen: Kernels) -> PartModel:
            return PartModel(checkpoint, weights, dtype, self.collectives, kernels=chosen)

        self._model = load_part(checkpoint, dtype, self.collectives, build, progress=self._progress, kernels=kernels)
        return {"loaded": self._model.tiers.total}

    def _close(self) -> None:
        self._states.clear()
        self._snapshots.clear()
        if self._model is not None:
            self._model.close()
            self._model = None

    def _new_state(self, state: int) -> None:
        self._states[state] = self.model.new_state()

    def _forget_state(self, number: int) -> None:
        self._states.pop(number, None)

    def _forget_snapshot(self, number: int) -> None:
        self._snapshots.pop(number, None)

    def _pass(self, outputs: str, state: int, tokens: int) -> None:
        held, model, ids = self._states[state], self.model, self._ids(tokens)
        calls = {
            "logits": model,
            "last_logits": model.last_logits,
            "hidden": model.hidden,
            "hidden_and_logits": model.hidden_and_logits,
            "hidden_and_last_logits": model.hidden_and_last_logits,
            "feed": model.feed,
        }
        calls[outputs](ids, held)
        self.collectives.run()
        mx.async_eval(held.arrays())

    def _embed(self, tokens: int) -> None:
        self.model.embed(self._ids(tokens))
        self.collectives.run()

    def _head(self, tokens: int) -> None:
        self.model.head(mx.zeros((1, tokens, self.model.config.hidden_size), DTYPES[self.model.dtype]))
        self.collectives.run()

    def _ids(self, tokens: int) -> mx.array:
        """In place of rank 0's, which are added to them."""
        return mx.zeros((1, tokens), mx.int32)

    def _reserve(self, state: int, tokens: int) -> None:
        self._states[state].reserve(tokens)

    def _begin_drafted(self, state: int) -> None:
        self._states[state].begin_drafted()

    def _keep(self, state: int, tokens: int) -> None:
        self._states[state].keep(tokens)

    def _snapshot(self, state: int, snapshot: int) -> None:
        self._snapshots[snapshot] = self._states[state].snapshot()

    def _restore(self, state: int, snapshot: int) -> None:
        self._states[state].restore(self._snapshots[snapshot])

    def _begin_again(self, state: int) -> None:
        self._states[state].begin_again()

    def _save(self, state: int, name: str, mark: str) -> None:
        self._say(lambda: write_part(self._part_file(name, mark), mark, self._states[state]))

    def _adopt(self, state: int, length: int, name: str, mark: str) -> None:
        self._say(lambda: read_part(self._part_file(name, mark), mark, length, self._states[state]))

    def _part_file(self, name: str, mark: str) -> Path:
        folder = data_dir() / "states" if self._folder is None else self._folder
        return PartsName(name, mark).file(folder, self.collectives.rank)

    def _say(self, work: Callable[[], None]) -> None:
        """Tell rank 0, which waits for it (`Leader.failed`), whether `work` could be done."""
        trouble = 0
        try:
            work()
        except (OSError, RuntimeError, ValueError, QwenError):
            trouble = 1
        self.collectives.gather(mx.full((1, 1, 1), trouble, mx.int32))
        self.collectives.run()
