"""What is being written is counted by the engine, and what cannot fit stays in the composer."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from qwen_core.protocol.counting import Count, Counted, PromptCount
from qwen_core.protocol.events import Command, EngineDied, Load, Loaded, Message, Send, TurnDone, TurnStarted
from support.app_stage import Stage, stage
from support.fake_engine import MODEL, Step, answered, stats
from support.scenes import stored

LIMIT = 2000


def counting(command: Command) -> Iterable[Step]:
    """A small context in which a word is a token, and 100 tokens stand before every question."""
    match command:
        case Load():
            return [(0.0, Loaded(replace(MODEL, context_limit=LIMIT)))]
        case Count(number, text):
            words = len(text.split())
            return [(0.0, Counted(number, PromptCount(100 + words, 100, words, at_least=words > LIMIT)))]
        case Send(turn, text):
            return [(0.0, event) for event in answered(turn, f"You said: {text[:20]}")]
        case _:
            return []


def subtitle(here: Stage) -> str:
    return str(here.app.chat.composer.border_subtitle or "").strip()


async def counted(here: Stage, line: str) -> None:
    await here.wait(lambda: subtitle(here) == line, f"{line!r}, and not {subtitle(here)!r}")
    await here.settle()


async def test_what_is_written_is_counted_and_what_is_left_is_said() -> None:
    async with stage(counting) as here:
        await here.type("one two three")
        await counted(here, "3 tokens · 1,897 left")
        assert "3 tokens · 1,897 left" in here.text()
        assert len(here.engine.counts) < 13, "not at every key"
        await here.write("w " * 1700)
        await counted(here, "1,700 tokens · 200 left")
        assert here.app.chat.composer.has_class("-count-warning")
        await here.write("w " * 1900)
        await counted(here, "1,900 tokens · 1 too many")
        assert here.app.chat.composer.has_class("-count-error")
        await here.write("")
        await counted(here, "")


@pytest.mark.parametrize("line", ["/find something", "/nonsense", "   "])
async def test_a_command_is_not_counted(line: str) -> None:
    async with stage(counting) as here:
        await here.type("word")
        await counted(here, "1 token · 1,899 left")
        before = len(here.engine.counts)
        await here.write(line)
        await counted(here, "")
        assert len(here.engine.counts) == before


async def test_files_and_pastes_count_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("a b c d e")
    async with stage(counting) as here:
        await here.write("see @notes.txt")
        await here.wait(lambda: here.engine.counts)
        assert "a b c d e" in here.engine.counts[-1].text
        await here.write("")
        here.app.chat.editor.insert_pasted("line\n" * 50)
        await here.wait(lambda: here.engine.counts[-1].text.count("line") == 50)


@pytest.mark.parametrize(("words", "said"), [(1900, "1,900 tokens, 1 too many"), (5000, "more than 5,000 tokens")])
async def test_what_cannot_fit_is_refused_before_it_is_sent(words: int, said: str) -> None:
    async with stage(counting) as here:
        text = "w " * words
        await here.enter(text)
        await here.wait(lambda: "Not sent" in here.app.chat.status.flash_text)
        assert said in here.app.chat.status.flash_text
        assert here.app.chat.editor.text == text
        assert here.engine.sent() == []
        assert here.app.conversation.turns == []
        await here.ask("w " * 1899)
        assert len(here.engine.sent()) == 1


@pytest.mark.parametrize(
    ("words", "advice"), [(1900, "/drop or /summary makes room."), (LIMIT, ": shorten it."), (5000, ": shorten it.")]
)
async def test_room_is_offered_only_where_it_would_do(words: int, advice: str) -> None:
    async with stage(counting) as here:
        await here.ask("hello")
        await here.enter("w " * words)
        await here.wait(lambda: "Not sent" in here.app.chat.status.flash_text)
        assert here.app.chat.status.flash_text.endswith(advice)


async def test_a_question_that_plainly_fits_waits_for_no_count() -> None:
    async with stage(counting) as here:
        await here.ask("hello")
        assert here.engine.counts == []


async def test_an_engine_that_ends_while_it_counts_leaves_the_text() -> None:
    def dying(command: Command) -> Iterable[Step]:
        return [(0.0, EngineDied("gone"))] if isinstance(command, Count) else counting(command)

    async with stage(dying) as here:
        text = "w " * 1900
        await here.enter(text)
        await here.wait(lambda: here.app.conversation.engine == "engine down")
        assert here.app.chat.editor.text == text
        assert here.engine.sent() == []


async def test_what_the_engine_itself_could_not_take_comes_back_and_no_figure_says_it_was_read() -> None:
    def refusing(command: Command) -> Iterable[Step]:
        if not isinstance(command, Send):
            return counting(command)
        figures = replace(stats(0, 0, 770, 770), ttft_s=None, prefill_tok_s=None, decode_tok_s=None)
        done = TurnDone(command.turn, "context", Message("assistant", ""), (), figures)
        return [(0.0, TurnStarted(command.turn, 770, 770)), (0.0, done)]

    async with stage(refusing) as here:
        await here.ask("a long question")
        await here.wait(lambda: here.app.chat.editor.text == "a long question")
        await here.settle()
        assert "not read: it does not fit" in here.text()
        assert "0 of 770 prefilled" in here.text()
        assert [message.finish_reason for message in stored()][-1] == "context"


async def test_the_question_of_an_earlier_turn_is_counted_at_its_place() -> None:
    async with stage(counting) as here:
        await here.ask("one")
        await here.wait(lambda: here.app.conversation.phase == "ready")
        await here.enter("/edit")
        await counted(here, f"1 token · {LIMIT - 1:,} left")
