"""One turn in the transcript: the question, folded reasoning, the answer, tool calls, and a line of figures."""

import json

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from qwen_core.reasoning import parse_tool_calls
from qwen_tui import formatting
from qwen_tui.conversation import Turn
from qwen_tui.text import one_line, visible
from qwen_tui.widgets.answer import Answer
from qwen_tui.widgets.fold import Fold
from qwen_tui.widgets.header import fit

LINE = 80
"""Cells of the line of figures before the widget knows its own width."""


def tool_calls_shown(text: str) -> tuple[str, str]:
    """Name for the title and body of a block of tool calls. What does not parse is shown as it came."""
    calls = parse_tool_calls(text)
    if not calls:
        return "", text
    bodies = [f"{call.name}\n{json.dumps(call.arguments, ensure_ascii=False, indent=2)}" for call in calls]
    return one_line(", ".join(call.name for call in calls), 60), "\n\n".join(bodies)


def footer(turn: Turn, width: int) -> Content:
    """The dim line under a turn, its figures on one line of `width` cells, and why it ended if not by itself."""
    if turn.state in ("waiting", "prefill"):
        progress = f" · {turn.prefilled:,} of {turn.to_prefill:,} tokens" if turn.to_prefill else ""
        return Content.styled(f"reading{progress} …", "$muted")
    pieces: list[tuple[str, str]] = []
    if turn.stats is not None and not turn.running:
        pieces.append((f"↳ {fit(formatting.turn_pieces(turn.stats), width - 2)}", "$muted"))
    lead = "\n↳ " if pieces else "↳ "
    why = formatting.ending(turn.finish_reason) if turn.finish_reason else ""
    if why:
        pieces.append((lead + why, "$warning"))
    if turn.state == "failed":
        pieces.append((f"✕ {visible(turn.error)}", "$error"))
    if turn.state == "interrupted":
        text = "interrupted: the engine ended here" if turn.has_text else "unanswered: the engine ended before it"
        pieces.append((lead + text, "$warning"))
    if turn.unanswered:
        pieces.append((" · /retry sends it again", "$muted"))
    return Content.assemble(*pieces)


class TurnView(Vertical):
    """Draws a `Turn`; `show` is called whenever it may have changed."""

    DEFAULT_CSS = """
    TurnView { height: auto; margin: 0 0 1 0; }
    TurnView > .question { height: auto; border-left: outer $primary; padding: 0 0 0 1; margin: 0 0 1 0; }
    TurnView > .footer { height: auto; }
    """

    def __init__(self, turn: Turn) -> None:
        super().__init__()
        self.turn = turn
        self._final = False
        self._footer: Content | None = None

    def compose(self) -> ComposeResult:
        question = Content.assemble(("You", "bold $primary"), "\n", visible(self.turn.question))
        yield Static(question, classes="question", markup=False)
        for fold in (Fold("Reasoning", classes="reasoning"), Fold("Tool call", classes="tools")):
            fold.display = False
            if fold.has_class("tools"):
                answer = Answer()
                answer.display = False
                yield answer
            yield fold
        yield Static(classes="footer", markup=False)

    async def on_mount(self) -> None:
        if self.children:  # none where leaving came before composing
            await self.show()

    async def show(self) -> None:
        """Bring the widgets up to the turn's state."""
        turn = self.turn
        if self._final:
            return
        self._final = not turn.running
        if turn.reasoning:
            fold = self.query_one(".reasoning", Fold)
            fold.display = True
            await fold.show(turn.reasoning, reasoning_facts(turn))
        if turn.answer:
            answer = self.query_one(Answer)
            answer.display = True
            await (answer.show(turn.answer) if turn.running else answer.finish(turn.answer))
        if turn.tool_calls:
            fold = self.query_one(".tools", Fold)
            fold.display = True
            name, body = tool_calls_shown(turn.tool_calls)
            await fold.show(body, name)
        self._draw_footer()

    def on_resize(self) -> None:
        if self._footer is not None:  # else nothing has been drawn yet, or ever will be
            self._draw_footer()

    def _draw_footer(self) -> None:
        drawn = footer(self.turn, self.content_size.width or LINE)
        if self._footer is None or drawn != self._footer:
            self._footer = drawn
            line = self.query_one(".footer", Static)
            line.update(drawn)
            line.display = bool(drawn.plain)

    async def turn_folds(self, open: bool) -> None:
        for fold in self.query(Fold):
            await fold.turn(open)


def reasoning_facts(turn: Turn) -> str:
    """ "412 tokens · 24 s"; while it runs, what there is so far."""
    pieces = []
    if turn.reasoning_tokens:
        pieces.append(formatting.tokens(turn.reasoning_tokens))
    if turn.reasoning_s is not None and turn.reasoning_s >= 0.05:
        pieces.append(formatting.seconds(turn.reasoning_s))
    if turn.state == "reasoning":
        pieces.append("…")
    return " · ".join(pieces)
