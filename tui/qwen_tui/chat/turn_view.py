"""One turn in the transcript: the question, folded reasoning, the answer, tool calls, and a line of figures."""

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widgets import Static

from qwen_tui.chat.answer import AnswerView
from qwen_tui.chat.finding import FoundIn
from qwen_tui.chat.fold import Fold
from qwen_tui.chat.turn_lines import footer, reasoning_facts, tool_calls_inside, tool_calls_shown
from qwen_tui.conversation.turns import Turn
from qwen_tui.text.block_layout import Block
from qwen_tui.text.marked import Places
from qwen_tui.text.safe import visible
from qwen_tui.widgets.one_layout import OneLayout
from qwen_tui.widgets.plain_text import PlainText
from qwen_tui.widgets.text_lines import TextLines

LINE = 80
"""Cells of the line of figures before the widget knows its own width."""
QUESTION_ROWS = 12
"""A question of more rows is cut until the turn is opened."""

What = Literal["edit", "retry", "continue", "delete", "undo", "copy", "previous", "next", "lens", "context"]


class TurnView(Vertical, OneLayout, can_focus=True):
    """Draws a `Turn`; `show` is called whenever it may have changed. While it has the focus, letters are its keys."""

    # A click selects text; it does not take the keys away from the composer.
    FOCUS_ON_CLICK = False

    DEFAULT_CSS = """
    TurnView { height: auto; margin: 0 2 1 0; border-left: blank $background; }
    TurnView.-found { border-left: outer $accent; }
    TurnView:focus, TurnView:focus-within { border-left: heavy $accent; }
    TurnView > .question { border-left: outer $primary; padding: 0 0 0 1; margin: 0 0 1 0; }
    TurnView > .tail { margin: 0 0 1 0; }
    TurnView > .footer { height: auto; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open or fold it", show=False, id="turn_open"),
        Binding("e", "ask('edit')", "Edit the question", show=False, id="turn_edit"),
        Binding("r", "ask('retry')", "Answer again", show=False, id="turn_retry"),
        Binding("c", "ask('continue')", "Continue an answer that was cut off", show=False, id="turn_continue"),
        Binding("left", "ask('previous')", "The alternative before", show=False, id="turn_previous"),
        Binding("right", "ask('next')", "The next alternative", show=False, id="turn_next"),
        Binding("l", "ask('lens')", "See how sure the model was of it", show=False, id="turn_lens"),
        Binding("m", "ask('context')", "Its place in the map of the context", show=False, id="turn_context"),
        Binding("y", "ask('copy')", "Copy the answer", show=False, id="turn_copy"),
        Binding("d", "ask('delete')", "Delete the turn", show=False, id="turn_delete"),
        Binding("u", "ask('undo')", "Bring a deleted turn back", show=False, id="turn_undo"),
        Binding("n", "screen.find_step(1)", "Next match", show=False, id="turn_match"),
        Binding("N", "screen.find_step(-1)", "Match before", show=False, id="turn_match_before"),
        Binding("escape", "screen.leave_turn", "Back to the composer", show=False, id="turn_leave"),
    ]

    class Asked(Message):
        """Something is to be done with a turn."""

        def __init__(self, turn: Turn | None, what: What) -> None:
            """`turn` None: the last one."""
            super().__init__()
            self.turn = turn
            self.what: What = what

    def __init__(self, turn: Turn) -> None:
        super().__init__()
        self.item = turn
        self._drawn: tuple[object, ...] = ()
        self._question = TextLines(classes="question")
        self._asked = ""
        self._answer = AnswerView()
        self._answer.display = False
        self._tail: PlainText | None = None
        self._footer = Static(classes="footer", markup=False)
        self._line: Content | None = None
        self._folds: dict[str, Fold] = {}  # made when there is something to put in
        self._open = False
        self._needle = ""
        self.marks_drafts = False

    def compose(self) -> ComposeResult:
        yield self._question
        yield self._answer
        yield self._footer

    async def on_mount(self) -> None:
        if self.children:  # none where leaving came before composing
            await self.show()

    # Drawing.

    def render_lines(self, crop: Region) -> list[Strip]:
        """Its own rows are all alike: an edge on the left and nothing else."""
        return super().render_lines(Region(crop.x, crop.y, crop.width, 1)) * crop.height

    async def show(self) -> None:
        """Bring the widgets up to the turn's state. It costs next to nothing where nothing changed."""
        turn = self.item
        # Strings that are the same object are compared at once, however long.
        state = (self.marks_drafts, *vars(turn).values())
        if state == self._drawn or not self.children:
            return
        self._drawn = state
        asked = turn.shown or turn.question
        if asked != self._asked or self._line is None:
            self._asked = asked
            self._question.set_blocks(
                [Block(Content.styled("You", "bold $primary")), Block(Content(visible(asked)), gap=None)]
            )
            self._cut()
        drafted = turn.drafted if self.marks_drafts else {}
        reasoned = drafted.get("reasoning", ())
        await self._show_fold("reasoning", "Reasoning", turn.reasoning, reasoning_facts(turn), reasoned)
        if answered := drafted.get("answer", ()):
            await self._drop_tail()
            self._answer.show_marked(turn.answer, answered)
        else:
            await self._show_answer()
        inside = tool_calls_inside(turn)
        named, body = tool_calls_shown(turn.tool_calls or inside)
        called = drafted.get("tool_call", ())
        title = "Tool call inside the reasoning" if inside else "Tool call"
        await self._show_fold("tools", title, turn.tool_calls if called else body, named, called)
        self._draw_footer()

    async def _show_answer(self) -> None:
        """Finished blocks as markdown; the one that is being written as plain text below them."""
        if not self.item.running:
            with self.app.batch_update():
                self._answer.finish(self.item.answer)
                await self._drop_tail()
            return
        rest = self._answer.show(self.item.answer)
        if self._tail is None:
            if not rest.strip():
                return
            self._tail = PlainText(classes="tail")
            self._tail.mark(self._needle)
            await self.mount(self._tail, after=self._answer)
        self._tail.show(rest)
        self._tail.display = bool(rest.strip())

    async def _drop_tail(self) -> None:
        if self._tail is not None:
            await self._tail.remove()
            self._tail = None

    async def _show_fold(self, key: str, name: str, text: str, facts: str, places: Places) -> None:
        fold = self._folds.get(key)
        if fold is None:
            if not text:
                return
            fold = self._folds[key] = Fold(name, classes=key)
            fold.body.mark(self._needle)
            fold.turn(self._open)
            await self.mount(fold, before=self._answer if key == "reasoning" else self._footer)
        fold.display = bool(text)
        fold.show(text, facts, name, places)

    def on_resize(self) -> None:
        if self._line is not None:  # else nothing has been drawn yet, or ever will be
            self._draw_footer()

    def _draw_footer(self) -> None:
        drawn = footer(self.item, self.content_size.width or LINE, marks_drafts=self.marks_drafts)
        if self._line is None or drawn != self._line:
            self._line = drawn
            self._footer.update(drawn)
            self._footer.display = bool(drawn.plain)

    def _cut(self) -> None:
        self._question.set_cut(None if self._open else QUESTION_ROWS + 1)

    # Opening, marking and finding.

    async def mark_drafts(self, on: bool) -> None:
        """Underline what drafts said, in the text as the model wrote it, or show the answer as it reads."""
        self.marks_drafts = on
        await self.show()

    def turn_folds(self, open: bool) -> None:
        """Open or fold reasoning, tool calls and a long question."""
        self._open = open
        for fold in self._folds.values():
            fold.turn(open)
        self._cut()

    def mark(self, needle: str, *, found: bool) -> None:
        """Mark what reads like `needle`; `found`: the place that was jumped to is here."""
        self._needle = needle
        tail = [self._tail] if self._tail is not None else []
        for lines in (self._question, self._answer, *tail, *(fold.body for fold in self._folds.values())):
            lines.mark(needle)
        self.set_class(found, "-found")

    def open_for(self, part: FoundIn) -> None:
        """Open what hides a part, if anything does."""
        if part == "reasoning" and "reasoning" in self._folds:
            self._folds["reasoning"].turn(True)
        elif part == "question":
            self._question.set_cut(None)

    def hit(self, part: FoundIn, number: int) -> tuple[TextLines, int] | None:
        """Where match `number` of a part stands: the widget, and the row in it.

        Markdown hides characters that a search finds (addresses, signs): then the nearest match that is shown.
        """
        lines = self._answer if part == "answer" else self._question
        if part == "reasoning":
            if "reasoning" not in self._folds:
                return None
            lines = self._folds["reasoning"].body
        hits = lines.hits
        if part == "answer" and self._tail is not None and number >= len(hits):
            number -= len(hits)
            lines, hits = self._tail, self._tail.hits
        return lines, hits[min(number, len(hits) - 1)] if hits else 0

    # Keys.

    def action_open(self) -> None:
        self.turn_folds(not self._open)

    def action_ask(self, what: What) -> None:
        self.post_message(self.Asked(self.item, what))
