"""An answer that is given so far, for the model to go on from. Plain values."""

from dataclasses import dataclass

from qwen_core.errors import SettingsError
from qwen_core.protocol.probabilities import Probabilities


@dataclass(frozen=True)
class BegunAnswer:
    """How an answer begins: with the tokens `ids` behind `prompt_ids`, which are all before it, the question's too.

    `probabilities`: of `ids`, where they are known; they are told with them.
    """

    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    probabilities: Probabilities | None = None

    def tokens(self, vocab: int) -> list[int]:
        """All of them. Raises SettingsError where there is no answer, nothing before it, or an id of another model."""
        if not self.prompt_ids or not self.ids:
            raise SettingsError("an answer cannot begin with nothing, or behind nothing")
        whole = [*self.prompt_ids, *self.ids]
        if any(not 0 <= token < vocab for token in whole):
            raise SettingsError(f"these are tokens of another model: this one has {vocab:,}; answer the question again")
        return whole
