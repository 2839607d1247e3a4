"""An answer of one model read by another, token by token (teacher forcing), and how far what they would say lies apart.

The two are never needed in memory together: the first one's log-probabilities wait in a temporary file that has no
name, and is gone however the program ends. Both read the answer by the same chunks, after it is complete, so that equal
models compute equal bits: what is left between two is a difference of their weights.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qwen_core.device.backend import mx
from qwen_core.errors import CapacityError, SettingsError, TextError, quote
from qwen_core.figures import decimal_size
from qwen_core.protocol.comparison import Comparison
from qwen_core.protocol.probabilities import Probabilities, together
from qwen_core.session.lens import probability_rows, rows_of
from qwen_core.session.loading import LoadedModel, Stopped
from qwen_core.session.scoring import Done, check_room, predictions
from qwen_core.text.tokenizer import Tokenizer

TOP = 3
"""Alternatives that are kept of each step."""


@dataclass(frozen=True)
class Answer:
    """Token ids that a model answered a prompt with."""

    prompt_ids: Sequence[int]
    ids: Sequence[int]


class Kept:
    """What a model said at each step of an answer: `probabilities`, and in a file the whole distributions.

    `vocabulary`: of so many ids, those that both models have. To be used as a context, which closes the file.
    """

    def __init__(self, answer: Answer, vocabulary: int) -> None:
        if not answer.ids:
            raise SettingsError("the answer is empty: there is nothing to compare")
        self.answer = answer
        self.vocabulary = vocabulary
        self.probabilities = Probabilities(TOP)
        self._file = tempfile.TemporaryFile(prefix="qwen-tui-")  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read_by(self, loaded: LoadedModel, stop: Stopped, progress: Done) -> bool:
        """Have the model read the answer, and keep what it would have said; False where `stop` said so meanwhile.

        Raises CapacityError where the file, or the memory, has no room for it.
        """
        check_room(len(self.answer.prompt_ids) + len(self.answer.ids), loaded)
        rows: list[Probabilities] = []
        try:
            for logs, probabilities in _steps(loaded, self.answer, self.vocabulary, stop, progress):
                self._file.write(logs.data)
                rows.append(probabilities)
            self._file.flush()
        except OSError as error:
            needed = decimal_size(len(self.answer.ids) * self.vocabulary * 4)
            raise CapacityError(
                f"{needed} of temporary space are needed in {quote(tempfile.gettempdir())}: "
                f"{quote(error.strerror or error)}; ask for fewer --max-tokens, or set TMPDIR"
            ) from None
        self.probabilities = together(rows) or self.probabilities
        return len(self.probabilities) == len(self.answer.ids)

    def against(self, loaded: LoadedModel, stop: Stopped, progress: Done) -> Comparison | None:
        """The same answer read by another model; None where `stop` said so meanwhile."""
        check_room(len(self.answer.prompt_ids) + len(self.answer.ids), loaded)
        # Mapped for reading alone: writing to a mapping on a full disk would end the process.
        whole = np.memmap(self._file, np.float32, "r", shape=(len(self.answer.ids), self.vocabulary))
        rows: list[Probabilities] = []
        divergences: list[float] = []
        for q, probabilities in _steps(loaded, self.answer, self.vocabulary, stop, progress):
            p = whole[len(divergences) : len(divergences) + len(q)]
            found = np.sum(np.exp(p) * (p - q), axis=-1, dtype=np.float64)
            divergences += np.maximum(found, 0.0).tolist()  # a sum over nearly equal ones may round below 0
            rows.append(probabilities)
        del whole
        if len(divergences) < len(self.answer.ids):
            return None
        theirs = together(rows) or Probabilities(TOP)
        return Comparison(tuple(self.answer.ids), tuple(divergences), self.probabilities, theirs)


def _steps(
    loaded: LoadedModel, answer: Answer, vocabulary: int, stop: Stopped, progress: Done
) -> Iterator[tuple[NDArray[np.float32], Probabilities]]:
    """Log-probabilities [R, vocabulary] over the ids that both models have, and rows of each step, in runs."""
    ids, first = [*answer.prompt_ids, *answer.ids], len(answer.prompt_ids)
    place, name = 1, f"the model {quote(loaded.summary.name)}"
    for logits, tokens in predictions(loaded.model, ids, first, stop, progress):
        rows = rows_of(probability_rows(logits, mx.array(list(tokens), mx.uint32), TOP), TOP, place, name)
        common = logits[:, :vocabulary].astype(mx.float32)
        logs = common - mx.logsumexp(common, axis=-1, keepdims=True)
        place += len(tokens)
        yield np.ascontiguousarray(np.array(logs)), rows


def check_same_tokens(one: Tokenizer | None, other: Tokenizer | None) -> None:
    """Raise TextError where the same ids are other tokens to two models."""
    if one is None or other is None:
        return
    if not one.has_ids_of(other):
        raise TextError(
            f"{quote(other.path)} has other tokens than {quote(one.path)}: only models with the same tokenizer can be "
            "compared"
        )
