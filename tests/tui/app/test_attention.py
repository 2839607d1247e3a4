"""The window around the app: its title, and what tells that an answer nobody watched has ended."""

from pathlib import Path

import pytest

from qwen_tui.app.attention import LONG_S, Attention
from qwen_tui.app.terminal_driver import TerminalDriver
from support.context_stage import ContextStage, context_stage
from support.fake_engine import default_script


class Terminal:
    """What a terminal was given."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.titles: list[str] = []

    def write(self, data: str) -> None:
        self.written.append(data)

    def set_title(self, title: str) -> None:
        self.titles.append(title)


async def answer(here: ContextStage, attention: Attention, *, watched: bool) -> None:
    """A question and its answer, told of once it runs and once it has ended."""
    await here.turns.submit("question\nof two lines", "question\nof two lines")
    attention.look(watched=watched)
    await here.settle()
    attention.look(watched=watched)


async def test_the_title_says_what_is_talked_about_and_whether_it_answers(tmp_path: Path) -> None:
    async with context_stage(tmp_path, default_script) as here:
        terminal = Terminal()
        attention = Attention(here.context, terminal)
        attention.look(watched=True)
        await answer(here, attention, watched=True)
        attention.look(watched=True)
        model, *titles = terminal.titles
        assert model.endswith(" – qwen-tui")
        assert titles == ["● question of two lines – qwen-tui", "question of two lines – qwen-tui"]
        assert terminal.written == []


@pytest.mark.parametrize(
    ("setting", "took", "watched", "written"),
    [
        ("bell", LONG_S, False, ["\a"]),
        ("bell", LONG_S, True, []),
        ("bell", LONG_S - 1, False, []),
        ("off", LONG_S, False, []),
        ("notification", 75.0, False, ["\x1b]9;The answer is there, after 1 min 15 s.\a\a"]),
    ],
)
async def test_a_long_answer_that_nobody_watched_is_told(
    setting: str, took: float, watched: bool, written: list[str], tmp_path: Path
) -> None:
    async with context_stage(tmp_path, default_script) as here:
        here.context.change("looks.when_answered", setting)
        terminal, times = Terminal(), iter([100.0, 100.0 + took])
        await answer(here, Attention(here.context, terminal, lambda: next(times)), watched=watched)
        assert terminal.written == written


def test_a_title_cannot_act_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(TerminalDriver, "write", lambda self, data: written.append(data))
    driver = TerminalDriver.__new__(TerminalDriver)
    driver.set_title("a\a\x1b]52;c;aGk=\x07\x1b[2J\nb\u202e\x9c" + "x" * 900)
    (title,) = written
    assert title.startswith("\x1b]2;a")
    assert title.endswith("\a")
    assert len(title) < 100
    assert not set(title[4:-1]) & {"\a", "\x1b", "\n", "\u202e", "\x9c"}
