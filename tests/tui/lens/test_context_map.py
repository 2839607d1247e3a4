"""The map of the context: what it says adds up, whatever the turns; its keys; how it looks."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from qwen_core.protocol.counting import Count, Counted, PromptCount
from qwen_core.protocol.events import Command
from qwen_core.protocol.timeline import Moment, packed
from qwen_tui.chat.turn_view import TurnView
from qwen_tui.conversation.turns import Turn
from qwen_tui.lens.context_map import LOOKS, Kind, blocks, headline, share_facts, share_line, shares, system_tokens
from qwen_tui.lens.context_screen import NOTHING, ContextScreen
from support.app_stage import Stage, stage
from support.fake_engine import Step, loads_only, stats
from support.transcripts import rest, told

SIZES = pytest.mark.parametrize(
    "size", [(40, 15), (60, 20), (100, 30), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}"
)
COUNTS = st.integers(0, 3000)
KINDS: list[Kind] = ["question", "answer", "draft"]
PARTS = st.tuples(st.sampled_from(KINDS), COUNTS)


def turn(number: int, before: int, question: int, reasoning: int, answer: int) -> Turn:
    """A turn whose prompt is what was before it and a question of so many tokens."""
    figures = stats(generated=answer, reasoning=reasoning, prompt=before + question, cached=before)
    return Turn(number, f"question {number}", state="done", stats=figures)


def conversation(counts: list[tuple[int, int, int]], before: int = 0) -> list[Turn]:
    turns: list[Turn] = []
    for number, (question, reasoning, answer) in enumerate(counts, 1):
        turns.append(turn(number, before, question, reasoning, answer))
        before += question + reasoning + answer
    return turns


@given(st.lists(st.tuples(COUNTS, COUNTS, COUNTS), min_size=1, max_size=6), COUNTS, COUNTS, st.integers(0, 30_000))
def test_the_shares_are_the_context(counts: list[tuple[int, int, int]], system: int, draft: int, held: int) -> None:
    whole = system + sum(map(sum, counts))
    found = shares(conversation(counts, system), system, held, draft)
    assert found[-1].end == whole + draft
    assert sum(share.tokens for share in found) == whole + draft
    assert [share.tokens for share in found if share.turn is not None] == [sum(parts) for parts in counts]
    assert sum(share.held for share in found) == min(held, whole)
    for width in (1, 7, 40, 98, 160):
        assert all(line.cell_length <= width for line in headline(found, 4096, width))
        if width > 30:
            lines = [share_line(share, found, width, cursor=cursor) for share in found for cursor in (False, True)]
            assert all(line.cell_length <= width for line in lines)


@given(st.lists(PARTS, max_size=12), st.integers(1, 80))
def test_what_is_there_is_seen_while_there_are_cells(parts: list[tuple[Kind, int]], width: int) -> None:
    drawn = blocks(parts, width).plain
    assert len(drawn) == (width if any(count for _, count in parts) else 0)
    if sum(1 for _, count in parts if count) <= width:
        assert set(drawn) == {LOOKS[kind][0] for kind, count in parts if count}


def test_the_system_prompt_ends_where_the_question_begins() -> None:
    assert system_tokens([7, 1, 2, 8, 7, 3, 8, 7, 4]) == 4
    assert system_tokens([7, 3, 8, 7, 4]) == 0


def test_snapshots_stand_with_what_they_end_in() -> None:
    first, second = conversation([(10, 0, 5), (10, 0, 5)])
    found = shares([first, second], 0, 20, 0, {1: (), 2: (15,)})
    assert [share.kept for share in found] == [(15,), ()]
    assert "S kept behind 15" in share_facts(found[0])
    assert [share.held for share in found] == [15, 5]
    assert "◐ 5 in the state" in share_facts(found[1])
    found = shares([first, second], 0, 20, 0, {1: (10,), 2: (15, 25)})
    assert [share.kept for share in found] == [(15,), (25,)], "that behind a prompt is there until the next"


def counting(command: Command) -> list[Step]:
    """Any draft adds 120 tokens."""
    if isinstance(command, Count):
        return [(0.0, Counted(command.number, PromptCount(900 + 120, 900, 100)))]
    return list(loads_only(command))


async def furnished(here: Stage) -> list[Turn]:
    turns = [told(here, number) for number in range(1, 4)]
    for made, one in zip(conversation([(210, 0, 90), (100, 200, 100), (150, 0, 50)]), turns, strict=True):
        assert made.stats is not None
        one.stats = replace(made.stats, context_tokens=made.stats.prompt_tokens + made.stats.generated_tokens)
        one.timeline = packed([Moment("snapshot", 0.0, made.stats.cached_tokens)] if made.stats.cached_tokens else [])
    here.app.conversation.context_tokens, here.app.conversation.held = 900, turns[-1].stats
    await rest(here)
    return turns


async def shown(here: Stage) -> None:
    await here.press("ctrl+p", *"map", "enter")  # which leaves what is being written
    await here.wait(lambda: isinstance(here.app.screen, ContextScreen), "the map")
    await here.settle()


@SIZES
async def test_the_map(snapshot: SnapshotAssertion, size: tuple[int, int]) -> None:
    async with stage(counting, size) as here:
        await furnished(here)
        await here.write("and this?")
        await shown(here)
        assert here.text() == snapshot


async def test_enter_goes_to_the_turn_and_the_draft_is_the_composer() -> None:
    async with stage(counting) as here:
        turns = await furnished(here)
        await here.write("and this?")
        await shown(here)
        assert "draft 120 · what sending the draft would add" in here.text()
        await here.press("enter")
        assert here.app.screen is here.app.chat
        assert here.app.chat.focused is here.app.chat.editor
        await shown(here)
        await here.press("up", "k", "j", "up", "enter")
        await here.settle()
        view = here.app.chat.focused
        assert isinstance(view, TurnView)
        assert view.item is turns[1]
        assert here.app.chat.editor.text == "and this?"
        await here.press("m")
        await here.wait(lambda: isinstance(here.app.screen, ContextScreen), "the map")
        assert "question 100 · reasoning 200 · answer 100 · ● in the state" in here.text(), "it began on that turn"
        for key in ("escape", "q", "m"):
            assert isinstance(here.app.screen, ContextScreen)
            await here.press(key)
            assert here.app.screen is here.app.chat
            await shown(here)


async def test_an_empty_context_says_so() -> None:
    async with stage(loads_only, (60, 20)) as here:
        await here.enter("/context")
        await here.wait(lambda: isinstance(here.app.screen, ContextScreen), "the map")
        await here.settle()
        assert NOTHING in here.text()
        await here.press("down", "enter")
        assert here.app.screen is here.app.chat
