"""The figures of all kept answers: what is read of the store, how it is charted, and the screen of /history."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from qwen_core.protocol.events import GenerationSettings, Message
from qwen_core.protocol.stats import DraftStats, TurnStats
from qwen_tui.conversation_list.history_lines import by_model, history_lines
from qwen_tui.conversation_list.history_screen import NOTHING, HistoryScreen
from qwen_tui.store import ModelIdentity, Store, StoreError
from qwen_tui.store.figures import AnswerFigures
from qwen_tui.store.thread import StoreThread
from support.app_stage import stage
from support.fake_engine import loads_only, stats
from support.stores import MODEL, OTHER, opened

SIZES = pytest.mark.parametrize(
    "size", [(40, 15), (60, 20), (100, 30), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}"
)


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def answer(store: Store, conversation: int, model: ModelIdentity, figures: TurnStats | None) -> int:
    question = store.answers.ask(conversation, "q")
    answer_id = store.answers.begin(question, GenerationSettings(), model)
    store.answers.finish(answer_id, Message("assistant", "a"), "stop", (), figures)
    return answer_id


def furnish(store: Store) -> None:
    """Twelve answers of one model, one of them with drafts, and two of another, which was first."""
    conversation = store.conversations.begin()
    for rate in (61.0, 59.5):
        answer(store, conversation, OTHER, replace(stats(), decode_tok_s=rate, peak_bandwidth_gb_s=None))
    for number in range(12):
        drafts = DraftStats("lookup", 3, 100, 240, 180, (90, 60, 30)) if number == 7 else None
        figures = replace(stats(), decode_tok_s=14.0 + number / 3, ttft_s=0.3 + 0.1 * (number % 4), draft=drafts)
        answer(store, conversation, MODEL, figures)
    store.database.read("UPDATE messages SET created_at = 1700000000 + id")


def test_answers_are_read_once_and_the_oldest_comes_first(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        furnish(store)
        gone = store.conversations.begin()
        answer(store, gone, MODEL, stats())
        store.conversations.delete(gone)
        kept = store.conversations.begin()
        unknown = answer(store, kept, MODEL, None)
        store.database.read("UPDATE messages SET stats = ? WHERE id = ?", ('{"decode_tok_s": "fast"}', unknown))
        figures = store.figures.recent()
        assert [round(each.stats.decode_tok_s or 0, 1) for each in figures[:4]] == [61.0, 59.5, 14.0, 14.3]
        assert len(figures) == 14
        assert len(store.figures.recent(4)) == 3  # one of them has no figures
        copied = "INSERT INTO messages (conversation_id, role, stats, model_id, created_at) "
        store.database.read(copied + "SELECT conversation_id, role, stats, model_id, created_at FROM messages")
        assert store.figures.recent() == figures


def test_models_are_told_apart_by_their_files(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        furnish(store)
        answer(store, store.conversations.begin(), replace(OTHER, path="/moved"), stats())
        histories = by_model(store.figures.recent())
    assert [(history.model.path, len(history.answers)) for history in histories] == [("/moved", 3), (MODEL.path, 12)]


FIGURES = st.builds(
    lambda rate, first, peak: replace(stats(), decode_tok_s=rate, ttft_s=first, peak_bandwidth_gb_s=peak),
    *[st.none() | st.floats(-1e30, 1e30)] * 3,
)


@given(st.lists(FIGURES, max_size=40), st.integers(1, 200), st.text(max_size=40))
def test_no_line_is_wider_than_the_screen(figures: list[TurnStats], width: int, name: str) -> None:
    model = replace(MODEL, name=name)
    lines = history_lines(by_model([AnswerFigures(float(n), model, each) for n, each in enumerate(figures)]), width)
    assert all(line.cell_length <= width for line in lines)
    assert bool(lines) == bool(figures)


def test_a_chart_says_what_its_bars_stand_for() -> None:
    rates = [10.0, 20.0, 40.0]
    answers = [AnswerFigures(float(n), MODEL, replace(stats(), decode_tok_s=rate)) for n, rate in enumerate(rates)]
    lines = [line.plain for line in history_lines(by_model(answers), 80)]
    assert lines[0] == "Qwen3.6-27B UD-NVFP4_K_XL · 3 answers · since 01 Jan 1970"
    assert lines[1] == "tok/s        ▂▄█  last 40.0 · median 20.0 · 10.0 to 40.0"
    assert lines[2].startswith("first token  ███  last 0.41 s")
    assert not any(line.startswith("accepted") for line in lines)  # nobody drafted


@SIZES
@pytest.mark.parametrize("full", [True, False], ids=["full", "empty"])
async def test_the_screen(snapshot: SnapshotAssertion, size: tuple[int, int], full: bool) -> None:
    async with stage(loads_only, size) as here:
        if full:
            await here.app.context.store.use(furnish)
        await here.write("/history")
        await here.pilot.press("enter")
        await here.wait(lambda: "Reading" not in here.text() and "History" in here.text(), "the figures")
        assert (NOTHING[:30] in here.text()) != full
        assert here.text() == snapshot
        await here.pilot.press("down", "up", "escape")
        assert here.app.screen is here.app.chat


async def test_a_store_that_cannot_be_read_says_so() -> None:
    def broken() -> Store:
        raise StoreError("conversations.db cannot be read")

    thread = StoreThread(broken)
    async with stage(loads_only, (100, 30)) as here:
        here.app.push_screen(HistoryScreen(thread))
        await here.wait(lambda: "conversations.db cannot be read" in here.text(), "the trouble")
    thread.close()
