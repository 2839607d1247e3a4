"""An answer whose tokens are of every kind, with all that the lens knows of them, from a scripted engine."""

import math
import struct
from collections.abc import Sequence
from dataclasses import replace

from qwen_core.protocol.events import Command, Delta, Event, Load, Loaded, Message, Send, TurnDone, TurnStarted
from qwen_core.protocol.pieces import Piece
from qwen_core.protocol.probabilities import Probabilities
from qwen_core.protocol.scoring import Score, Scored, ScoreProgress, Spell, Spelled, Spelling, TextScore
from qwen_core.protocol.timeline import Moment, packed
from support.app_stage import Stage
from support.fake_engine import MODEL, Step, stats

TOP = 8
_FAMILY = "👩‍👧".encode()
WRITTEN: dict[int, bytes] = {
    0: b"<|im_end|>",
    1: b"</think>",
    2: b"The",
    3: b" capital",
    4: b" is",
    5: " 東京".encode(),
    6: _FAMILY[:3],
    7: _FAMILY[3:],
    8: b"\n\n",
    9: " e\u0301te\u0301".encode(),
    10: b"**bold**",
    11: b" Berlin",
    12: b" maybe",
    13: b"\t",
    14: b"\x1b[31m",
    15: b" Paris",
    16: b" of",
    17: b" course",
    18: b",",
}
CONTROL = (0, 1)
HOLE = 400  # an id without a token
PROMPT = tuple(range(1000, 1042))
IDS = (2, 3, 4, 11, 1, 8, 2, 3, 16, 5, 4, 11, 18, 16, 17, 6, 7, 9, 10, 8, 12, 13, 14, HOLE, 15, 18, 12, 17, 0)
REASONING = "The capital is Berlin"
ANSWER = "The capital of 東京 is Berlin, of course👩‍👧 e\u0301te\u0301**bold**\n\n maybe\t\x1b[31m Paris, maybe course"
SURE = (0.997, 0.8, 0.997, 0.45, 0.997, 0.2, 0.997, 0.05, 0.997, 0.004)
OPEN = (0.01, 0.05, 0.02, 0.8, 0.0, 2.2, 0.01, 2.5, 0.04, 3.5)


def row(place: int, token: int) -> bytes:
    """One step: the surer the token the nearer the top it stands; a control token is always among the others."""
    share, entropy = SURE[place % len(SURE)], OPEN[place % len(OPEN)]
    rank = 1 if share > 0.4 else 2 if share > 0.1 else 4 if share > 0.01 else 31
    others = [other for other in (15, 11, 0, 6, 8, 12, 5, 13, 3, 2) if other != token][:TOP]
    if rank <= TOP:
        others = [*others[: rank - 1], token, *others[rank - 1 : TOP - 1]]
    shares = [share * 0.5 ** (n - rank + 1) if rank <= TOP else 0.4 * 0.5**n for n in range(TOP)]
    logs = [math.log(max(1e-6, min(each, 0.99))) for each in shares]
    if rank <= TOP:
        logs[rank - 1] = math.log(share)
    return struct.pack(f"<3fI{TOP}I{TOP}f", math.log(share), math.log(share) / 2, entropy, rank, *others, *logs)


def rows(ids: Sequence[int]) -> Probabilities:
    return Probabilities(TOP, b"".join(row(place, token) for place, token in enumerate(ids)))


def moments() -> list[Moment]:
    """A snapshot, two chunks of the prompt, then the tokens: every fifth one came with the pass of the one before."""
    tokens = [Moment("draft", 0.0) if n % 5 == 4 else Moment("token", 0.012 + 0.003 * (n % 4)) for n in range(len(IDS))]
    tokens[7] = Moment("token", 0.3)
    return [Moment("snapshot", 0.0, 30), Moment("prefill", 0.2, 8), Moment("prefill", 0.1, 4), *tokens]


class LensEngine:
    """Answers with `IDS`. `kept`: with probabilities; `times`: with those; `spells`: it has a tokenizer."""

    def __init__(self, *, kept: bool = True, times: bool = True, spells: bool = True) -> None:
        self.kept, self.times, self.spells = kept, times, spells

    def __call__(self, command: Command) -> list[Step]:
        match command:
            case Load():
                return [(0.0, Loaded(MODEL))]
            case Send():
                return [(0.0, event) for event in self._answer(command)]
            case Spell(number, ids):
                return [(0.0, Spelled(number, tuple(self._spelling(token) for token in ids)))]
            case Score(number, ids, prompt):
                whole = len(prompt) + len(ids)
                score = TextScore(ids, rows(ids))
                return [(0.0, ScoreProgress(number, whole, whole)), (0.0, Scored(number, score))]
            case _:
                return []

    def _spelling(self, token: int) -> Spelling:
        return Spelling(token, WRITTEN.get(token, b"") if self.spells else b"", token in CONTROL)

    def _answer(self, command: Send) -> list[Event]:
        pieces: list[Piece] = [("reasoning", REASONING), ("answer", ANSWER)]
        figures = replace(
            stats(generated=len(IDS) - 5, reasoning=5, prompt=len(PROMPT), cached=30), context_tokens=len(PROMPT + IDS)
        )
        times = packed(moments()) if self.times else packed([])
        found = rows(IDS) if self.kept else None
        return [
            TurnStarted(command.turn, len(PROMPT), 30, PROMPT),
            Delta(command.turn, tuple(pieces), IDS, figures, probabilities=found, timeline=times),
            TurnDone(command.turn, "stop", Message("assistant", ANSWER, REASONING), (*PROMPT, *IDS), figures),
        ]


async def looked(here: Stage) -> None:
    """A question is asked, and the lens opened on its answer."""
    from qwen_tui.lens.screen import LensScreen

    await here.ask("What is the capital?")
    await here.wait(lambda: here.app.conversation.phase == "ready", "the answer")
    await here.settle()
    await here.enter("/lens")
    await here.wait(lambda: isinstance(here.app.screen, LensScreen), "the lens")
    await here.settle()
