"""The welcome and the guidance of a first start: shown once, never in the way of starting."""

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from qwen_core.protocol.events import Loaded, LoadProgress
from qwen_tui.app.first_start import MARKER, first_start
from qwen_tui.chat.welcome import EXAMPLES, GUIDANCE, WORDMARK, Welcome, fitted, welcome_lines
from qwen_tui.conversation.conversation import Conversation
from qwen_tui.text.safe import cells
from support.app_stage import stage
from support.fake_engine import MODEL, loads_only


def test_the_first_start_is_the_first_one_only(tmp_path: Path, home: Path) -> None:
    assert first_start(tmp_path / "state")
    assert not first_start(tmp_path / "state")
    assert first_start()
    assert not first_start()
    assert (home / "state" / MARKER).is_file()


def test_where_nothing_can_be_written_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    assert first_start(tmp_path / "file" / "state")
    assert first_start(tmp_path / "file")
    monkeypatch.setenv("QWEN_TUI_HOME", str(tmp_path / "file"))
    assert first_start()
    (tmp_path / "marked").mkdir()
    assert first_start(tmp_path / "marked")
    (tmp_path / "marked").chmod(0o500)
    assert not first_start(tmp_path / "marked"), "it was made when that was possible"


def test_on_a_disk_that_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "touch", refuse)
    assert first_start(tmp_path)
    assert first_start(tmp_path)


def ready() -> Conversation:
    conversation = Conversation()
    conversation.apply(Loaded(MODEL))
    return conversation


@given(width=st.integers(8, 200), first=st.booleans())
def test_four_lines_of_guidance_at_the_first_start_and_none_later(width: int, first: bool) -> None:
    starting, loading = Conversation(), Conversation()
    loading.apply(LoadProgress("weights", 1, 2))
    for conversation in (starting, loading, ready()):
        lines = [line.plain for line in welcome_lines(conversation, "demo", width, first)]
        told = next((form for form in GUIDANCE if set(form) <= set(lines)), ())
        assert len(told) == (4 if first else 0)
        if told:
            assert tuple(lines[-4:]) == told
            assert width < 56 or told == GUIDANCE[0]


def test_the_guidance_fits_where_it_is_meant_for() -> None:
    assert max(cells(line) for line in GUIDANCE[0]) <= 60 - 4
    assert max(cells(line) for line in GUIDANCE[1]) <= 40 - 4


@given(height=st.integers(0, 20))
def test_what_matters_stays_where_there_is_little_room(height: int) -> None:
    lines = welcome_lines(ready(), "demo", 56, True)
    left = fitted(lines, height)
    assert {line.plain for line in left} >= {line.plain for line in lines if line} - {*WORDMARK}
    if height >= 8:
        assert len(left) <= height


@pytest.mark.parametrize("size", [(100, 30), (60, 20), (40, 15)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_all_of_it_is_on_the_screen(size: tuple[int, int]) -> None:
    async with stage(loads_only, size) as here:
        here.app.chat.query_one(Welcome).greet()
        await here.settle()
        form = GUIDANCE[0] if size[0] >= 60 else GUIDANCE[1]
        assert all(line in here.text() for line in form)
        assert "Ask anything." in here.text()


async def test_tab_offers_examples_and_leaves_what_is_written() -> None:
    async with stage(loads_only, first=True) as here:
        editor = here.app.chat.editor
        assert "press Tab for an example" in here.text()
        for example in (*EXAMPLES, EXAMPLES[0]):
            await here.press("tab")
            assert editor.text == example
            assert editor.has_focus
        await here.press(*"my own", "tab")
        assert editor.text == f"{EXAMPLES[0]}my own"
        await here.press("ctrl+u", "tab", "enter")
        assert [sent.text for sent in here.engine.sent()] == [EXAMPLES[0]]


@pytest.mark.parametrize("size", [(40, 15), (60, 20), (100, 30), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_first_screen(size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    async with stage(loads_only, size=size, first=True) as here:
        drawn = here.snapshot()
    assert drawn == snapshot
