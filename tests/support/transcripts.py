"""Long conversations on the stage, put there without an engine, and what their transcript shows."""

from typing import Any

from qwen_core.protocol.events import Message
from qwen_core.protocol.pieces import Part
from qwen_tui.chat.transcript import Transcript
from qwen_tui.conversation.turns import Turn
from support.app_stage import Stage
from support.fake_engine import stats


def told(here: Stage, number: int, answer: str = "", **more: Any) -> Turn:
    """One more answered turn."""
    turn = here.app.conversation.ask(f"question {number}")
    finish(turn, answer or f"answer {number}\n\nand its second paragraph", **more)
    return turn


def put(turn: Turn, part: Part, text: str) -> None:
    """Other text for a part of an answer."""
    turn.pieces = (*(piece for piece in turn.pieces if piece[0] != part), (part, text))


def finish(turn: Turn, answer: str, *, reasoning: str = "", tool_calls: str = "", **more: Any) -> None:
    turn.state, turn.finish_reason, turn.stats = "done", "stop", stats()
    turn.kept(Message("assistant", answer, reasoning=reasoning, tool_calls=tool_calls))
    for name, value in more.items():
        setattr(turn, name, value)


async def rest(here: Stage) -> None:
    """Until the conversation is drawn and nothing slides any more."""
    before = None
    while before != (now := place(here)):
        before = now
        await here.app.chat.draw()
        await here.settle()


def place(here: Stage) -> tuple[list[int], float]:
    transcript = here.app.chat.transcript
    return [id(view) for view in transcript.views], transcript.scroll_y


async def tell(here: Stage, count: int) -> list[Turn]:
    """A conversation of `count` turns on the screen."""
    turns = [told(here, number) for number in range(1, count + 1)]
    await rest(here)
    return turns


def numbers(transcript: Transcript) -> list[int]:
    """The turns that have widgets."""
    return [view.item.number for view in transcript.views if isinstance(view.item, Turn)]


def body(here: Stage) -> list[str]:
    """The rows of the transcript that are in view, cut to its width."""
    region = here.app.chat.transcript.region
    return [row[: region.width - 2].rstrip() for row in here.lines()[region.y : region.bottom]]
