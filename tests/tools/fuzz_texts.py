"""Fuzz the screen: texts of every kind, hostile ones among them, as answers in the app under the test pilot.

    PYTHONPATH=tests python tests/tools/fuzz_texts.py [--count 20000] [--seed 1]

Each is streamed or comes whole, is opened and searched, at several sizes of the screen. Exit code 1 where anything but
the toolkit's own sequences reaches the terminal, where a word of the answer is not on the screen, where the app stops,
or where a key would wait for longer than half a second of processor time: from the event that brings the text until it
is drawn and a key that was pressed meanwhile has its effect.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable
from random import Random
from tempfile import TemporaryDirectory
from unittest.mock import patch

from textual.events import Key

from measure_keys import press
from qwen_tui.chat.answer import AnswerView
from qwen_tui.chat.turn_view import TurnView
from qwen_tui.conversation.turns import Turn
from qwen_tui.widgets.colour_process import ColourProcess
from qwen_tui.widgets.plain_text import PlainText
from qwen_tui.widgets.text_lines import TextLines
from support.app_stage import Stage, stage
from support.fake_engine import delta, done, loads_only
from support.fuzzing import Findings, command
from support.hostile_texts import Text, hostile_text
from support.markdown_texts import missing
from support.raw_output import CapturingDriver, raw_parts

BOUND_S = 0.5
SIZES = ((100, 30), (60, 40), (24, 20), (160, 45))
TURNS = 8  # of one conversation
SESSION = 200  # texts, after which the app is started anew
COLOUR_S = 0.2  # for one text: hundreds of them would take the whole second


def text_of(seed: int, number: int) -> Text:
    return hostile_text(Random(f"{seed}-{number}"))


class Session:
    """The app, while it shows one text after the other."""

    def __init__(self, here: Stage, seed: int, findings: Findings) -> None:
        self._here, self._seed, self._findings = here, seed, findings
        self._driver = CapturingDriver(here.app)
        self._number = 0
        self._wait_s = 0.0

    async def try_one(self, number: int) -> None:
        """Show text `number`; once more where a key waited, as a garbage collection may have fallen into it."""
        wait_s = await self._show(number)
        if wait_s > BOUND_S:
            wait_s = min(wait_s, await self._show(number))
        kind = text_of(self._seed, number).kind
        if wait_s > BOUND_S:
            self._fault(f"{kind}: a key waits for {wait_s:.2f} s")
        if wait_s > self._findings.slowest_s:
            self._findings.slowest_s, self._findings.slowest = wait_s, number
        self._findings.endings[kind] += 1

    async def _show(self, number: int) -> float:
        """The text as the answer to a question, looked at from all sides; the longest that a key waited."""
        here, text = self._here, text_of(self._seed, number)
        self._number, self._wait_s = number, 0.0
        rng = Random(f"how {self._seed}-{number}")
        sent = len(here.engine.sent())
        await here.app.turns.submit("q", "")
        while len(here.engine.sent()) == sent:
            await asyncio.sleep(0)
        turn = here.engine.sent()[-1].turn
        await here.app.chat.draw()
        view = here.app.chat.transcript.views[-1]
        assert isinstance(view, TurnView)
        if rng.random() < 0.3:
            await self._stream(turn, text, rng, view)
        beside = text.text if rng.random() < 0.3 else ""
        here.engine.feed(done(turn, text.text, beside, beside))
        await self._timed(self._drawn(view.item, text.text, running=False))
        self._check([row for answer in view.query(AnswerView) for row in here.rows_of(answer)], text)
        await self._timed(self._pressed("ctrl+r"))
        await self._timed(self._searched(view))
        rows = [row for lines in view.query(TextLines) for row in here.rows_of(lines)]
        if raw := raw_parts("".join(rows)) | self._driver.raw():
            self._fault(f"raw: {raw!r}")
        return self._wait_s

    async def _stream(self, turn: int, text: Text, rng: Random, view: TurnView) -> None:
        end = 0
        for cut in sorted(rng.randrange(len(text.text) + 1) for _ in range(rng.randint(1, 8))):
            self._here.engine.feed(delta(turn, ("answer", text.text[end:cut])))
            end = cut
            await self._timed(self._drawn(view.item, text.text[:end], running=True))
        lines = [*view.query(AnswerView), *view.query(PlainText)]
        shown = text.text[:end]
        rows = [row for widget in lines for row in self._here.rows_of(widget)]
        self._check(rows, Text(text.kind, shown, tuple(word for word in text.words if word in shown)))

    def _check(self, rows: list[str], text: Text) -> None:
        if lost := missing(text.words, rows):
            self._fault(f"{text.kind}: not on the screen: {', '.join(lost[:9])}")

    def _fault(self, what: str) -> None:
        self._findings.faults.append((self._number, what))

    # What keys wait for.

    async def _timed(self, doing: Awaitable[None]) -> None:
        began = time.process_time()
        await doing
        self._wait_s = max(self._wait_s, time.process_time() - began)

    async def _drawn(self, turn: Turn, answer: str, *, running: bool) -> None:
        while turn.answer != answer or turn.running != running:  # the event is still on its way
            await asyncio.sleep(0)
        await self._here.app.chat.draw()
        await press(self._here, "x")

    async def _pressed(self, name: str) -> None:
        app = self._here.app
        app.post_message(Key(name, None).set_sender(app))
        done = asyncio.Event()
        app.chat.call_after_refresh(done.set)
        await done.wait()

    async def _searched(self, view: TurnView) -> None:
        """As a letter in the line that finds does."""
        for needle in ("a", ""):
            view.mark(needle, found=False)
            await press(self._here, "x")


async def run_session(seed: int, numbers: range, findings: Findings, colours: ColourProcess) -> None:
    async with stage(loads_only, size=SIZES[0]) as here:
        session = Session(here, seed, findings)
        for number in numbers:
            if number % TURNS == 0:
                await here.wait(lambda: not colours.busy, "the colours of code")
                here.app.action_new()
                await here.write("")
                await here.pilot.resize_terminal(*SIZES[number // TURNS % len(SIZES)])
            await session.try_one(number)


def fuzz_texts(seed: int, numbers: range) -> Findings:
    """Show these texts of a seed, some hundreds in one app."""
    findings = Findings()
    colours = ColourProcess(COLOUR_S)
    at, told = numbers.start, 0
    with patch("qwen_tui.widgets.text_lines.COLOUR_PROCESS", colours):
        while at < numbers.stop:
            chunk = range(at, min(at + SESSION, numbers.stop))
            before = findings.endings.total()
            try:
                asyncio.run(run_session(seed, chunk, findings, colours))
                at = chunk.stop
            except Exception as error:
                at += findings.endings.total() - before + 1
                findings.faults.append((at - 1, f"the app stopped: {type(error).__name__}: {str(error)[:300]}"))
            for number, fault in findings.faults[told:]:
                print(f"fault: --seed {seed} --first {number} --count 1: {fault}", flush=True)
            told = len(findings.faults)
            print(f"{at - numbers.start:,} of {len(numbers):,}, {told} faults", file=sys.stderr, flush=True)
    colours.close()
    kind = text_of(seed, findings.slowest).kind
    print(f"a key waits for at most {findings.slowest_s:.3f} s of processor time: {kind}, number {findings.slowest}")
    return findings


if __name__ == "__main__":
    with TemporaryDirectory() as home:
        os.environ["QWEN_TUI_HOME"] = home
        sys.exit(command(fuzz_texts, "texts on the screen", 20_000))
