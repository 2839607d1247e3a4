"""What there is to say about a text that was scored: how surprising it was, and where most."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from qwen_core.figures import percent
from qwen_core.protocol.probabilities import TokenProbability
from qwen_core.protocol.scoring import Spelling, TextScore
from qwen_tui.text.token_text import shown_token

MOST = 10
"""Surprising tokens that are shown."""
_BEFORE = 6  # tokens that are shown before one of them
_CONTEXT, _TOKEN, _NARROW = 28, 14, 10  # cells of what is before a token, and of a token


@dataclass(frozen=True)
class Surprise:
    """A token that was less likely than others: its place in the text, from 0, and the step."""

    index: int
    token: int
    step: TokenProbability


def surprises(score: TextScore, most: int = MOST) -> list[Surprise]:
    """The `most` most surprising tokens, the most surprising first."""
    return [
        Surprise(score.first + place, score.ids[score.first + place], score.probabilities[place])
        for place in score.probabilities.least_likely(most)
    ]


def tokens_shown(score: TextScore, found: Sequence[Surprise]) -> list[int]:
    """The tokens whose spelling `score_lines` wants."""
    ids = [token for each in found for token in score.ids[max(0, each.index - _BEFORE) : each.index + 1]]
    return sorted({*ids, *(each.step.top[0][0] for each in found)})


def score_lines(
    score: TextScore, found: Sequence[Surprise], spelled: Mapping[int, Spelling], *, narrow: bool = False
) -> Iterator[str]:
    """Lines for people: the figures, then a line for each surprise, with what came before it where there is room."""
    logprobs = score.probabilities.logprobs()
    bytes_of = f", {score.nbytes:,} bytes" if score.nbytes else ""
    yield f"{len(score.ids):,} tokens, {len(logprobs):,} of them predicted{bytes_of}"
    yield f"perplexity    {_figure(score.perplexity)}"
    if score.bits_per_byte is not None:
        yield f"bits a byte   {_figure(score.bits_per_byte)}"
    yield f"nats a token  {_figure(max(0.0, -math.fsum(logprobs) / len(logprobs)))}"
    yield ""
    context, token_cells = (0, _NARROW) if narrow else (_CONTEXT, _TOKEN)
    head = "" if narrow else f"{'before it':>{context}} "
    yield f"{'number':>7}  {head}{'token':<{token_cells}} {'nats':>5} {'rank':>7}  likeliest"
    for each in found:
        before = "".join(shown_token(spelled[token]) for token in score.ids[max(0, each.index - _BEFORE) : each.index])
        led = f"{before[-context:]:>{context}} " if context else ""
        likeliest, logprob = each.step.top[0]
        instead = f"{shown_token(spelled[likeliest], token_cells)} {percent(math.exp(min(logprob, 0.0)))}"
        shown = f"{shown_token(spelled[each.token], token_cells):<{token_cells}}"
        yield f"{each.index + 1:>7,}  {led}{shown} {max(0.0, -each.step.logprob):>5.1f} {each.step.rank:>7,}  {instead}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
