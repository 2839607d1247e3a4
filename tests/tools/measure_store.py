"""Measures what a write costs as a conversation grows: `measure_store.py [--turns N] [--tokens N] [--drop-reasoning]`.

One conversation of N turns goes through a `Recorder` into a store, as the app has it: a question, the start of its
answer, its prompt, two updates of the streamed text, its end; every tenth turn is an edit of an earlier question. For
each tenth of the turns: milliseconds of CPU for each of these writes (of the whole process, all threads), and the
resident memory. With every turn the engine hands over the tokens of the whole context, which are compared with those
that are on disk: 10 to 20 ns each, twice a turn. That is in the figures and grows with the context; by default turns
are of a few tokens, so that it is the turns that are measured.
`--drop-reasoning`: each prompt leaves out what the answer before it had reasoned.

A command, not a test: on a busy machine its times say little. Exit code 0 when a turn of the last tenth costs at most
twice what one of the first does and no more than MOST_GROWTH bytes have come to the resident memory since then.
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from os import getpid
from pathlib import Path
from typing import TypeVar

from qwen_core.protocol.events import Delta, GenerationSettings, Message, TurnDone, TurnStarted
from qwen_core.protocol.pieces import Part
from qwen_core.protocol.stats import TurnStats
from qwen_tui.conversation.recorder import Beginning, Begun, KeptConversation, Recorder
from qwen_tui.store import Store, open_store
from qwen_tui.store.thread import StoreThread

MOST_GROWTH = 64 << 20
EDITS = 10
Result = TypeVar("Result")
KINDS: tuple[str, ...] = ("begin", "edit", "prompt", "update", "finish")
ANSWER = "It is stored in groups of sixteen, each of which shares one scale. "
STATS = TurnStats(10, 0, 4, 2, 14, 0.1, 500.0, 20.0, 9_000_000, 9_000_000, 180.0, None, 20_000_000, 18_000_000)


class Measured:
    """A conversation that is written through a recorder whose timer never fires by itself.

    `spent`: for each kind of write what `meter` has gone on by.
    """

    def __init__(
        self, opener: Callable[[], Store], meter: Callable[[], float], tokens: int = 4, *, drop_reasoning: bool = False
    ) -> None:
        self.troubles: list[str] = []
        self._store = StoreThread(opener)
        self._meter = meter
        self._recorder = Recorder(self._store, self.troubles.append, later=lambda seconds, action: None)
        self._kept = KeptConversation()
        self._tokens = itertools.count(1000)
        self._part = tokens // 4
        self._drop_reasoning = drop_reasoning
        self._before: list[tuple[Begun, int]] = []  # the last two turns, each with how many tokens were there before it
        self._ids: list[int] = []
        self.spent: dict[str, float] = dict.fromkeys(KINDS, 0.0)

    def turn(self, number: int) -> None:
        edits = self._before[-2] if number % EDITS == 0 and len(self._before) > 1 else None
        after = self._before[-1][0].answer_id if self._before else None
        if edits is not None:
            del self._ids[edits[1] :]
        new = Beginning(
            number, self._kept, f"Question {number}?", "", GenerationSettings(), None, after=after,
            edits=edits[0].question_id if edits is not None else None,
        )  # fmt: skip
        begun = self._timed("edit" if edits else "begin", lambda: self._recorder.begin(new).result())
        assert begun is not None, self.troubles
        self._before = [*self._before[-1:], (begun, len(self._ids))]
        prompt = (*self._ids, *self._new(2 * self._part))
        self._timed("prompt", lambda: self._recorder.record(TurnStarted(number, len(prompt), 0, prompt)))
        thought, said = self._new(self._part), self._new(self._part)
        parts: tuple[tuple[Part, list[int]], ...] = (("reasoning", thought), ("answer", said))
        for part, ids in parts:
            delta = Delta(number, ((part, ANSWER),), tuple(ids), STATS)
            self._timed("update", lambda delta=delta: (self._recorder.record(delta), self._recorder.flush()))
        ids, message = (*prompt, *thought, *said), Message("assistant", ANSWER, ANSWER)
        self._timed("finish", lambda: self._recorder.record(TurnDone(number, "stop", message, ids, STATS)))
        self._ids = [*prompt, *said] if self._drop_reasoning else list(ids)

    def close(self) -> None:
        self._store.close()

    def _new(self, count: int) -> list[int]:
        return list(itertools.islice(self._tokens, count))

    def _timed(self, kind: str, action: Callable[[], Result]) -> Result:
        began = self._meter()
        result = action()
        self._store.submit(lambda store: None).result()
        self.spent[kind] += self._meter() - began
        return result


def quick_store(path: Path) -> Store:
    store = open_store(path)
    store.database.read("PRAGMA synchronous = OFF")  # CPU is measured, not a disk
    return store


def resident_bytes() -> int:
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(getpid())])) * 1024


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=10_000)
    parser.add_argument("--tokens", type=int, default=4)
    parser.add_argument("--drop-reasoning", action="store_true")
    given = parser.parse_args(arguments)
    tenth = max(EDITS, given.turns // 10 // EDITS * EDITS)
    costs, resident = [], []
    with tempfile.TemporaryDirectory() as folder:
        measured = Measured(
            lambda: quick_store(Path(folder) / "c.db"),
            time.process_time,
            given.tokens,
            drop_reasoning=given.drop_reasoning,
        )
        print(f"{'turns':>7}" + "".join(f"{kind:>10}" for kind in KINDS) + f"{'a turn':>10}  resident")
        for part in range(10):
            measured.spent = dict.fromkeys(KINDS, 0.0)
            for number in range(part * tenth, (part + 1) * tenth):
                measured.turn(number + 1)
            edits = tenth // EDITS
            counts = {"edit": edits, "begin": tenth - edits, "prompt": tenth, "update": 2 * tenth, "finish": tenth}
            each = {kind: 1e3 * measured.spent[kind] / counts[kind] for kind in KINDS}
            costs.append(1e3 * sum(measured.spent.values()) / tenth)
            resident.append(resident_bytes())
            times = "".join(f"{each[kind]:7.2f} ms" for kind in KINDS)
            print(f"{(part + 1) * tenth:7}{times}{costs[-1]:7.2f} ms  {resident[-1] / 1e6:.0f} MB", flush=True)
        measured.close()
    held = costs[-1] <= 2 * costs[0] and resident[-1] - resident[0] <= MOST_GROWTH
    print(f"the last tenth costs {costs[-1] / costs[0]:.2f} times what the first does")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
