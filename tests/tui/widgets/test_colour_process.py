"""Colours of code: those of the toolkit, from a process that neither holds up the screen nor outlives the app."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.highlight import highlight

from qwen_tui.widgets.colour_process import MAX_CHARACTERS, ColourProcess, Colours
from qwen_tui.widgets.colour_renderer import colours
from support.app_stage import Stage, stage
from support.engines import is_gone, wait_until
from support.fake_engine import delta, done, loads_only

ENDLESS = "a" * MAX_CHARACTERS  # as a makefile: minutes inside one regular expression
SHORT_S, LONG_S = 0.5, 600.0


@pytest.fixture
def process() -> Iterator[ColourProcess]:
    process = ColourProcess(SHORT_S)
    yield process
    process.close()


async def asked(process: ColourProcess, code: str, language: str = "python") -> Colours:
    """What comes for `code`, known already or not."""
    came: list[Colours] = []
    known = process.colours(code, language, came.append)
    while process.busy:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return came[0] if came else known


def pid_of(process: ColourProcess) -> int:
    assert process._child.pid is not None
    return process._child.pid


# Ends of lines but newlines never come here: `visible` shows them.
TEXT = st.text(st.sampled_from("ab1 '\"#(){}<>/=\n\n\\é東."), max_size=60)
CODE = st.one_of(
    TEXT, st.lists(st.sampled_from(["def f(x):", "  return 'a' # b", "", "x = 1.5", '"""']), max_size=6).map("\n".join)
)


@given(CODE, st.sampled_from(["python", "html", "bash", "c", "markdown", "pycon", "diff"]))
def test_colours_are_those_of_the_toolkit(code: str, language: str) -> None:
    lines = colours(code, language)
    text = code.split("\n")
    ours = {
        (number, column): style
        for number, spans in enumerate(lines[: len(text)])
        for begin, end, style in spans
        for column in range(begin, end)
    }
    theirs: dict[tuple[int, int], str] = {}
    for number, line in enumerate(highlight(code + "\n", language=language).split("\n", allow_blank=True)):
        for span in line.spans:
            theirs |= {(number, column): str(span.style) for column in range(span.start, min(span.end, len(line)))}
    assert {place: style for place, style in theirs.items() if style != "$text"} == ours
    assert all(spans == sorted(spans) for spans in lines)


async def test_what_takes_too_long_stays_plain_and_the_next_text_is_coloured(process: ColourProcess) -> None:
    assert await asked(process, ENDLESS, "makefile") == []
    assert await asked(process, "x = 1") != []
    pid = pid_of(process)
    assert await asked(process, ENDLESS, "makefile") == []  # is not tried again, which would end the process
    assert await asked(process, ENDLESS + "a") == []  # is not even sent
    assert await asked(process, "x", "no-such-language") == []
    assert pid_of(process) == pid


async def test_a_text_is_asked_for_once(process: ColourProcess) -> None:
    came: list[Colours] = []
    for _ in range(3):
        assert process.colours("x = 2", "python", came.append) == []
    first = await asked(process, "x = 2")
    assert came == [first, first, first]
    process.close()
    assert await asked(process, "x = 2") == first
    assert process._child.pid is None


async def test_a_process_that_was_ended_from_outside_is_replaced(process: ColourProcess) -> None:
    await asked(process, "x = 3")
    pid = pid_of(process)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_gone(pid), "the end of the process")
    assert await asked(process, "x = 4") != []
    process.close()
    assert await asked(process, "x = 5") != []


async def test_what_is_kept_has_a_bound(process: ColourProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_tui.widgets.colour_process.KEPT_CHARACTERS", 1000)
    for number in range(30):
        await asked(process, f"x = {number}")
    assert process._kept == sum(len(code) + len(answer) for (code, _), answer in process._known.items()) <= 1000
    assert process.colours("x = 29", "python", print) != []


async def test_a_lexer_that_never_ends_does_not_hold_up_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    process = ColourProcess(LONG_S)
    monkeypatch.setattr("qwen_tui.widgets.text_lines.COLOUR_PROCESS", process)
    async with stage(loads_only, size=(60, 30)) as here:
        await here.ask("q")
        answer = f"```makefile\n{ENDLESS}\n```\n\nThe end.\n\n```python\nx = 1\n```\n"
        await here.feed(delta(1, ("answer", answer)))
        await here.feed(done(1, answer))
        await here.type("typed meanwhile")
        for seen in ("typed meanwhile", "The end.", "aaaa", "x = 1"):
            assert seen in here.text()
        assert len(inks(here, "aaaa")) == len(inks(here, "x = 1")) == 1
        assert process.busy
        process._child.kill()
        await here.wait(lambda: not process.busy, "the colours of the text behind it")
        await here.settle()
        assert len(inks(here, "aaaa")) == 1
        assert len(inks(here, "x = 1")) > 1
    process.close()


def inks(here: Stage, text: str) -> set[object]:
    """The colours of the letters in the first row that has `text`."""
    strip = next(strip for strip in here.strips() if text in strip.text)
    return {segment.style and segment.style.color for segment in strip if set(segment.text) & set("a=1")}


PROGRAM = f"""
import asyncio, os, sys
from qwen_tui.widgets.colour_process import COLOUR_PROCESS
async def main():
    came = asyncio.Event()
    COLOUR_PROCESS.colours("x = 1", "python", lambda colours: came.set())
    await came.wait()
    COLOUR_PROCESS.colours({ENDLESS!r}, "makefile", print)
    print(COLOUR_PROCESS._child.pid, flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)", "os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_no_process_is_left_and_nothing_is_said(end: str) -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM + end]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    pid = int(done.stdout)
    wait_until(lambda: is_gone(pid), "the end of the process")
