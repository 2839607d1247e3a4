"""What is being written, in the engine's tokens: counted while the person types, and once more before it is sent.

The engine counts, in its own process, so the screen never waits: a moment after the last key it is asked, and what it
answers stands at the composer. What cannot fit is refused before anything of it is sent.
"""

import asyncio

from textual.timer import Timer

from qwen_core.errors import EngineError
from qwen_core.protocol.counting import Count, Counted, PromptCount
from qwen_core.protocol.events import EngineDied, Event, Loaded, LoadFailed, TurnDone, TurnFailed
from qwen_tui.app.context import AppContext
from qwen_tui.app.drafts import Drafts
from qwen_tui.composer.slash import MessageText, parse_input
from qwen_tui.text import formatting

DELAY_S = 0.25  # without a key until the engine is asked
PATIENCE_S = 10.0  # for a count that a question waits for; without it the engine itself refuses what does not fit
_ENDED = "The engine has ended: your text is kept."
FRAME_TOKENS = 512
"""More than a template writes around a question."""


class TokenCount:
    """Belongs to the thread of the app's loop."""

    def __init__(self, context: AppContext, drafts: Drafts) -> None:
        self._context = context
        self._drafts = drafts
        self._number = 0
        self._timer: Timer | None = None
        self._answer: asyncio.Future[PromptCount | None] | None = None
        self._gone = True  # nobody is there to count

    # While the person types.

    def written(self) -> None:
        """The text in the composer, or the conversation before it, is another now."""
        if self._timer is not None:
            self._timer.stop()
        chat = self._context.chat
        if not self._question().strip():
            chat.composer.show_count("")
        else:
            self._timer = chat.set_timer(DELAY_S, lambda: chat.run_worker(self._ask(), group="count", exclusive=True))

    def _question(self) -> str:
        """What of the composer's text would go to the model; "" for a command."""
        match parse_input(self._context.chat.editor.text):
            case MessageText(text):
                return text
            case _:
                return ""

    async def _ask(self) -> None:
        question = self._question()
        if self._answer is None and question.strip() and not self._context.conversation.refusal:
            content = await self._content(question)
            if self._answer is None:  # else the question is on its way already
                self._send(content)

    async def _content(self, question: str) -> str:
        """The question as the model would get it."""
        return (await self._context.attached(question, self._context.chat.editor.pastes)).text

    def _send(self, content: str) -> None:
        self._number += 1
        self._context.link.send(Count(self._number, content, self._context.request()))

    # What the engine says.

    def hear(self, event: Event) -> None:
        """Take an event in, on the engine's thread: what waits for a count holds the app's own messages up."""
        if isinstance(event, EngineDied | LoadFailed | Loaded):
            self._gone = not isinstance(event, Loaded)
        answer = self._answer
        if answer is not None and isinstance(event, Counted | EngineDied | LoadFailed):
            answer.get_loop().call_soon_threadsafe(self._settle, answer, event)

    def _settle(self, answer: "asyncio.Future[PromptCount | None]", event: Counted | EngineDied | LoadFailed) -> None:
        if answer.done():
            return
        if not isinstance(event, Counted):
            answer.set_exception(EngineError(_ENDED))
        elif event.number == self._number:
            answer.set_result(event.count)

    def after(self, event: Event) -> None:
        """On the app's loop: an answer is shown; where another context stands before the text, it is counted anew."""
        match event:
            case Counted():
                self.told(event)
            case EngineDied() | LoadFailed():
                self.lost()
            case Loaded() | TurnDone() | TurnFailed():
                self.written()
            case _:
                pass

    def told(self, counted: Counted) -> None:
        """Show an answer, unless the text is another by now."""
        if counted.number == self._number:
            self._show(counted.count)

    def lost(self) -> None:
        """The engine answers no more: its process ended, or loads."""
        self._context.chat.composer.show_count("")

    def _show(self, count: PromptCount | None) -> None:
        limit = self._limit
        if count is None or limit is None or not self._question().strip():
            self._context.chat.composer.show_count("")
            return
        left = self._left(count, limit)
        look = "error" if left <= 0 else "warning" if left * 5 <= limit else ""
        self._context.chat.composer.show_count(formatting.count_line(count.text_tokens, left, count.at_least), look)

    # Before it is sent.

    async def refusal(self, content: str) -> str:
        """Why `content` cannot be sent, "" if it can: counted where it is not plain that it fits."""
        limit = self._limit
        # A token is a byte at least.
        if limit is None or self._before + FRAME_TOKENS + len(content.encode("utf-8", "replace")) < limit:
            return ""
        try:
            count = await self.count(content)
        except EngineError as error:
            return str(error)
        if count is None or (left := self._left(count, limit)) > 0:
            return ""
        alone = self._drafts.editing is not None or not self._context.conversation.turns
        can = ": shorten it" if alone or count.text_tokens >= limit else ""
        most = f"{'more than ' if count.at_least else ''}{formatting.tokens(count.text_tokens)}"
        return f"Not sent: {most}, {1 - left:,} too many{can}." + ("" if can else " /drop or /summary makes room.")

    async def count(self, content: str) -> PromptCount | None:
        """What it takes to send `content` now; None where the engine cannot tell. Raises EngineError where it ends."""
        self._answer = asyncio.get_running_loop().create_future()
        try:
            # Asked after `_answer` is there: whatever ends the engine from now on reaches it.
            if self._gone:
                raise EngineError(_ENDED)
            self._send(content)
            return await asyncio.wait_for(self._answer, PATIENCE_S)
        except TimeoutError:
            return None
        finally:
            self._answer = None

    async def draft(self) -> int:
        """Tokens that sending what is being written would add; 0 for nothing, or where the engine cannot tell."""
        question = self._question()
        if not question.strip() or self._context.conversation.refusal:
            return 0
        try:
            count = await self.count(await self._content(question))
        except EngineError:
            return 0
        return max(0, count.prompt_tokens - self._context.conversation.context_tokens) if count is not None else 0

    @property
    def _limit(self) -> int | None:
        model = self._context.conversation.model
        return model.context_limit if model is not None else None

    @property
    def _before(self) -> int:
        """Tokens of the context that a question comes after, as far as it is known here."""
        conversation = self._context.conversation
        if self._drafts.editing is None or self._drafts.editing not in conversation.turns:
            system = len((conversation.system or "").encode("utf-8", "replace"))
            return conversation.context_tokens or system
        earlier = conversation.turns[: conversation.turns.index(self._drafts.editing)]
        return next((turn.stats.context_tokens for turn in reversed(earlier) if turn.stats is not None), 0)

    def _left(self, count: PromptCount, limit: int) -> int:
        """Tokens left for an answer; none, or less, where the question does not fit."""
        if self._drafts.editing is None or count.at_least:
            return limit - count.prompt_tokens
        return limit - self._before - count.text_tokens
