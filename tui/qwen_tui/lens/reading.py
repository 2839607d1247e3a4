"""What is known of the tokens of one answer, put together: their text, how likely they were, when they came. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qwen_core.protocol.events import FinishReason
from qwen_core.protocol.probabilities import Probabilities, TokenProbability
from qwen_core.protocol.scoring import Spelling
from qwen_core.protocol.timeline import Moment, of_tokens


@dataclass(frozen=True)
class Reading:
    """`ids` are those of the answer, behind `prompt_ids` (() where these are not known). `probabilities` are of the
    last of them, as many as there are; `moments` all steps of the turn. `spelled` has what tokens write, of the
    alternatives too. `about`: the question, in a line. `running`: more of the answer comes.
    """

    ids: tuple[int, ...]
    prompt_ids: tuple[int, ...] = ()
    probabilities: Probabilities | None = None
    spelled: Mapping[int, Spelling] = field(default_factory=dict[int, Spelling])
    moments: Sequence[Moment] = ()
    ended: FinishReason | None = None
    stop_s: float | None = None
    about: str = ""
    running: bool = False

    @property
    def first(self) -> int:
        """The place of the first token that has a probability; that behind the last one where none has."""
        return len(self.ids) - (len(self.probabilities) if self.probabilities is not None else 0)

    def spelling(self, token: int) -> Spelling:
        return self.spelled.get(token) or Spelling(token, b"")

    def step(self, place: int) -> TokenProbability | None:
        """How likely the token at `place` was, and what else there was; None where that is not known."""
        if self.probabilities is None or not self.first <= place < len(self.ids):
            return None
        return self.probabilities[place - self.first]

    def came(self) -> Sequence[Moment | None]:
        """When each token came; None of each where the steps are not those of just these tokens."""
        found = of_tokens(self.moments)
        return found if len(found) == len(self.ids) else [None] * len(self.ids)

    def most_uncertain(self, count: int) -> list[int]:
        """The places of the steps of highest entropy, the highest first."""
        return [self.first + n for n in self.probabilities.most_uncertain(count)] if self.probabilities else []

    def wanted(self) -> tuple[int, ...]:
        """All tokens whose spelling is of use here."""
        steps = self.probabilities or ()
        return tuple(sorted({*self.ids, *(token for step in steps for token, _ in step.top)}))
