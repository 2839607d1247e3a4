"""The text that tokens write, and where in it each of them stands. Pure.

A token may write part of a character, and a character or a cluster of them (an emoji, a letter with its accents) may be
of several tokens: what is drawn in one style is never less than such a cluster, or cells would change their places.
"""

from bisect import bisect_left, bisect_right
from codecs import getincrementaldecoder
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise

from rich.cells import split_graphemes

from qwen_core.protocol.scoring import Spelling
from qwen_tui.text.safe import cells, visible
from qwen_tui.text.token_text import shown_token

Span = tuple[int, int]
TAB = 8
JOINER = "\u200d"


@dataclass(frozen=True)
class Passage:
    """A run of tokens, the first of them number `first` of the answer, from 0. `text` is fit for a screen; `spans`: the
    characters of it that each token writes or helps to. `control`: no text of the model's but the names of its control
    tokens.
    """

    first: int
    text: str
    spans: tuple[Span, ...]
    control: bool = False

    @property
    def last(self) -> int:
        """The number behind that of its last token."""
        return self.first + len(self.spans)

    @cached_property
    def clusters(self) -> list[Span]:
        """The pieces of the text that take their cells together; what takes none goes with the one before."""
        text = self.text
        spans = split_graphemes(text)[0]
        starts = [start for start, _, width in spans if not start or (width and text[start - 1] != JOINER)]
        return list(pairwise([*starts, len(text)])) if text else []


def passages(tokens: Sequence[Spelling]) -> list[Passage]:
    """The answer, cut where control tokens stand between its text."""
    found: list[Passage] = []
    for control, run in groupby(tokens, key=lambda spelling: spelling.control):
        members, first = list(run), found[-1].last if found else 0
        found.append(_named(members, first) if control else _written(members, first))
    return found


def _named(tokens: Sequence[Spelling], first: int) -> Passage:
    text, spans = "", list[Span]()
    for token in tokens:
        name = shown_token(token, 40)
        text += " " if text else ""
        spans.append((len(text), len(text) + len(name)))
        text += name
    return Passage(first, text, tuple(spans), control=True)


def _written(tokens: Sequence[Spelling], first: int) -> Passage:
    """What ordinary tokens write; of an id without a token, its number."""
    decoder = getincrementaldecoder("utf-8")("replace")
    pieces, spans, length = list[str](), list[Span](), 0
    for token in tokens:
        pieces.append(decoder.decode(token.written) if token.written else shown_token(token))
        begin, length = length, length + len(pieces[-1])
        # A character that is not whole yet will stand where the text ends by now.
        spans.append((begin, length + bool(decoder.getstate()[0])))
    text = "".join(pieces) + decoder.decode(b"", True)
    shown, places = _shown(text)
    return Passage(first, shown, tuple((places[begin], places[min(end, len(text))]) for begin, end in spans))


def _shown(text: str) -> tuple[str, Sequence[int]]:
    """`text` made fit for a screen, tabs as the spaces they come to, and where each character stands in that."""
    if visible(text) == text and "\t" not in text:
        return text, range(len(text) + 1)
    pieces, places, at, line = list[str](), [0], 0, ""
    for character, behind in zip(text, f"{text[1:]}\0", strict=True):
        piece = "" if character == "\r" and behind == "\n" else visible(character)
        piece = " " * (TAB - cells(line) % TAB) if piece == "\t" else piece
        line = "" if piece == "\n" else line + piece
        at += len(piece)
        pieces.append(piece)
        places.append(at)
    return "".join(pieces), places


def strengths(passage: Passage, levels: Sequence[int]) -> list[tuple[Span, int]]:
    """Runs of whole clusters with the level that each is drawn in: the highest of the tokens that write it.

    `levels`: one for each token of the passage.
    """
    highest = [0] * len(passage.text)
    for (begin, end), level in zip(passage.spans, levels, strict=True):
        for place in range(begin, end):
            highest[place] = max(highest[place], level)
    runs: list[tuple[Span, int]] = []
    for begin, end in passage.clusters:
        level = max(highest[begin:end])
        if runs and runs[-1][1] == level:
            runs[-1] = ((runs[-1][0][0], end), level)
        else:
            runs.append(((begin, end), level))
    return runs


def under_cursor(passage: Passage, token: int) -> Span:
    """The whole clusters that token `token` of the passage, from 0, writes or helps to; empty where it writes none."""
    begin, end = passage.spans[token]
    if begin >= end:
        return begin, begin
    first = bisect_right(passage.clusters, (begin, len(passage.text))) - 1
    last = bisect_left(passage.clusters, (end,)) - 1
    return passage.clusters[first][0], passage.clusters[max(first, last)][1]
