"""`--logprobs`: how likely the tokens of an answer were, and what else was, as JSON and as lines for people."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qwen_core.figures import percent
from qwen_tui.text.token_text import shown_token, token_text

if TYPE_CHECKING:  # slow to import, and the help of the program needs none of it
    from qwen_core.protocol.events import StreamEvent
    from qwen_core.protocol.probabilities import Probabilities, TokenProbability
    from qwen_core.protocol.scoring import Spelling

Spell = Callable[[Sequence[int]], "Sequence[Spelling]"]
_CELLS = 14
DIGITS = 6
"""Of a log-probability in JSON: what float32 has."""


class TokenTexts(Mapping[int, "Spelling"]):
    """What the tokens write that were met: each is asked for once, while the model is there."""

    def __init__(self) -> None:
        self._known: dict[int, Spelling] = {}

    def __getitem__(self, token: int) -> Spelling:
        return self._known[token]

    def __iter__(self) -> Iterator[int]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, spell: Spell, ids: Iterable[int]) -> None:
        """Ask for those that are not known."""
        new = sorted(set(ids) - self._known.keys())
        if new:
            self._known |= {spelling.id: spelling for spelling in spell(new)}

    def learn_all(self, spell: Spell, ids: Sequence[int], probabilities: Probabilities) -> None:
        """Those of tokens and of their alternatives."""
        self.learn(spell, (*ids, *(token for step in probabilities for token, _ in step.top)))


def learning(events: Iterable[StreamEvent], texts: TokenTexts, spell: Callable[[], Spell]) -> Iterator[StreamEvent]:
    """The same events, while `texts` learns what stands in them."""
    for event in events:
        if event.probabilities is not None:
            texts.learn_all(spell(), event.token_ids, event.probabilities)
        yield event


def logprob_fields(ids: Sequence[int], probabilities: Probabilities, texts: TokenTexts) -> list[dict[str, Any]]:
    """An object a token. `sampled_logprob` is after penalties, temperature and filters, null of a token that was not
    drawn; all in nats."""
    return [_fields(token, step, texts) for token, step in zip(ids, probabilities, strict=True)]


def _fields(token: int, step: TokenProbability, texts: TokenTexts) -> dict[str, Any]:
    drawn = step.drawn_logprob
    return {
        "id": token,
        "token": token_text(texts[token]),
        "logprob": round(step.logprob, DIGITS),
        "entropy": round(step.entropy, DIGITS),
        "rank": step.rank,
        "sampled_logprob": None if drawn is None else round(drawn, DIGITS),
        "top": [
            {"id": other, "token": token_text(texts[other]), "logprob": round(logprob, DIGITS)}
            for other, logprob in step.top
        ],
    }


def logprob_lines(ids: Sequence[int], probabilities: Probabilities, texts: TokenTexts) -> Iterator[str]:
    """A line a token: its number, text, probability, rank, the entropy in nats, and what was likeliest."""
    yield f"{'':>5} {'token':<{_CELLS}} {'p':>7} {'rank':>5} {'nats':>5}  likeliest"
    for number, (token, step) in enumerate(zip(ids, probabilities, strict=True), 1):
        likeliest = "  ".join(f"{shown_token(texts[other])} {chance(logprob)}" for other, logprob in step.top)
        shown = shown_token(texts[token], _CELLS)
        figures = f"{chance(step.logprob):>7} {step.rank:>5,} {step.entropy:>5.2f}"
        yield f"{number:>5,} {shown:<{_CELLS}} {figures}  {likeliest}"


def chance(logprob: float) -> str:
    """A probability in per cent."""
    return percent(math.exp(min(logprob, 0.0)))
