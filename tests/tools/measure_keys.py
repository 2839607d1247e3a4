"""How long a key press takes in long conversations: `measure_keys.py [--keys N]`.

The app under the test pilot, its engine scripted, at 100x30 and 160x45: with 500 turns, with one finished answer of
50,000 characters, and with such an answer while it streams, drawn ten times a second. Each key goes the way a
terminal's keys go, and has ended when the composer shows it and nothing is left to be laid out or drawn. Printed are
wall time and processor time of a key; a busy machine lengthens the first by far more than the second.

Bound: a key under 50 ms at the 95th percentile. A command, not a test: exit code 0 when it holds, by wall time, or with
--cpu by processor time, which is what to go by while something else is running.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from textual.events import Key

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from qwen_tui.chat.screen import freeze_heap
from support.app_stage import Stage, stage
from support.fake_engine import delta, loads_only
from support.transcripts import finish

BOUND_S = 0.050
SIZES = ((100, 30), (160, 45))
TURNS, CHARACTERS, DRAWS_PER_S = 500, 50_000, 10
TYPED = "Which of these formats keeps most of the quality, and why? "

PARAGRAPH = (
    "NVFP4 stores each group of **16** weights with one `E4M3` scale, so a weight costs *4.5 bits* in all; a scale "
    "for each group keeps outliers from spoiling their neighbours, and 東京 takes two cells a character.\n\n"
)
SECTION = (
    "## A section\n\n"
    + 2 * PARAGRAPH
    + "| format | group | bits |\n|---|---|---|\n| nvfp4 | 16 | 4.5 |\n| mxfp4 | 32 | 4.25 |\n\n"
    + "```python\nscale = max(abs(x) for x in group) / 6.0\nreturn [round(x / scale) for x in group]\n```\n\n"
    + "- one thing\n- another, of which more is to be said\n  - namely this\n\n"
)


@dataclass(frozen=True)
class Figures:
    """Seconds for each key, shortest first."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    def line(self, name: str) -> str:
        return f"{name:<34}" + "   ".join(
            f"{kind} p50 {at(times, 0.5) * 1e3:5.1f}  p95 {at(times, 0.95) * 1e3:5.1f}  max {times[-1] * 1e3:5.1f} ms"
            for kind, times in (("wall", self.wall), ("cpu", self.cpu))
        )


def at(times: tuple[float, ...], share: float) -> float:
    """The time that `share` of the keys do not exceed."""
    return times[min(len(times) - 1, int(len(times) * share))]


def long_answer() -> str:
    return (SECTION * (CHARACTERS // len(SECTION) + 1))[:CHARACTERS]


# What stands in the transcript.


async def many_turns(here: Stage) -> None:
    conversation = here.app.conversation
    for number in range(TURNS):
        turn = conversation.ask(f"Question {number}: explain NVFP4 vs MXFP4.")
        finish(turn, SECTION)


async def long_finished(here: Stage) -> None:
    turn = here.app.conversation.ask("Explain everything.")
    finish(turn, long_answer())


async def long_streaming(here: Stage) -> None:
    await here.ask("Explain everything.")
    here.engine.feed(delta(1, ("answer", long_answer()), count=12_000))


SCENES = {
    f"{TURNS} turns": many_turns,
    f"{CHARACTERS:,} characters, finished": long_finished,
    f"{CHARACTERS:,} characters, streaming": long_streaming,
}


# Keys.


async def press(here: Stage, character: str) -> None:
    """One key, until the screen has nothing left to do for it."""
    app, editor = here.app, here.app.chat.editor
    before = editor.text
    name = "space" if character == " " else "upper_" + character.lower() if character.isupper() else character
    key = Key(name, character)
    key.set_sender(app)
    app.post_message(key)
    while editor.text == before:
        await asyncio.sleep(0)
    drawn = asyncio.Event()
    # Called once nothing on the screen waits to be laid out or drawn.
    app.chat.call_after_refresh(drawn.set)
    await drawn.wait()


async def stream(here: Stage) -> None:
    """A few words more, as often as an engine sends them; the app draws them as it does."""
    words = word_by_word()
    while True:
        here.engine.feed(delta(1, ("answer", " ".join(next(words) for _ in range(6)) + " "), count=12_000))
        await asyncio.sleep(1 / DRAWS_PER_S)


def word_by_word() -> Iterator[str]:
    while True:
        yield from SECTION.split(" ")


async def measure(name: str, size: tuple[int, int], keys: int) -> Figures:
    wall, cpu = [], []
    async with stage(loads_only, size) as here:
        await SCENES[name](here)
        await here.app.chat.draw()
        await here.settle()
        freeze_heap()
        streaming = asyncio.create_task(stream(here)) if here.app.conversation.current is not None else None
        for number in range(keys):
            wall_before, cpu_before = time.perf_counter(), time.process_time()
            await press(here, TYPED[number % len(TYPED)])
            wall.append(time.perf_counter() - wall_before)
            cpu.append(time.process_time() - cpu_before)
            await asyncio.sleep(0.02)  # quicker than anyone types; keys fall anywhere between two drawings
        if streaming is not None:
            streaming.cancel()
    return Figures(tuple(sorted(wall)), tuple(sorted(cpu)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--cpu", action="store_true", help="go by processor time")
    arguments = parser.parse_args()
    worst = 0.0
    with TemporaryDirectory() as home:
        os.environ["QWEN_TUI_HOME"] = home
        for columns, rows in SIZES:
            for name in SCENES:
                figures = asyncio.run(measure(name, (columns, rows), arguments.keys))
                print(figures.line(f"{columns}x{rows}, {name}"), flush=True)
                worst = max(worst, at(figures.cpu if arguments.cpu else figures.wall, 0.95))
    held = worst < BOUND_S
    kind = "cpu" if arguments.cpu else "wall"
    print(f"worst p95, {kind}: {worst * 1e3:.1f} ms, bound {BOUND_S * 1e3:.0f} ms: {'held' if held else 'exceeded'}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
