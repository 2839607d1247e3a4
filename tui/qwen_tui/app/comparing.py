"""/compare: the last answer read by another model, in a process of its own beside the engine."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import replace
from functools import partial
from typing import Protocol

from qwen_core.checkpoint.locate import model_name
from qwen_core.errors import SettingsError
from qwen_core.protocol.comparison import CompareAnswer, Compared, CompareEvent, CompareFailed, CompareProgress
from qwen_tui.app.answer_reading import kept_of, reading_of
from qwen_tui.app.context import AppContext
from qwen_tui.lens.compare_screen import CompareScreen
from qwen_tui.text.safe import one_line

MOST_TOKENS = 512
"""Of B's own answer, where A's is not longer."""
AGAIN = "Compared: /compare shows it."


class ComparingLike(Protocol):
    """A comparison that runs."""

    def stop(self) -> None: ...


Start = Callable[[CompareAnswer, Callable[[CompareEvent], None]], ComparingLike]


def start_comparing(task: CompareAnswer, tell: Callable[[CompareEvent], None]) -> ComparingLike:
    """The real one. Raises OSError."""
    from qwen_core.engine.comparing import Comparing

    return Comparing(task, tell)


class Comparison:
    """Belongs to the thread of the app's loop. One at a time; what the last one found is kept to be looked at again."""

    def __init__(self, context: AppContext, start: Start = start_comparing) -> None:
        self._context = context
        self.start = start
        self._running: ComparingLike | None = None
        self._found: Compared | None = None
        self._name = ""

    @property
    def running(self) -> bool:
        return self._running is not None

    async def compare(self, argument: str) -> None:
        """Have another model read the last answer; without a name show what the last comparison found."""
        context = self._context
        if context.refuse("A comparison runs: Esc stops it." if self.running else ""):
            return
        name = argument.strip("'\"")
        if not name:
            if not context.refuse(
                "" if self._found else "/compare MODEL_DIR compares the last answer with that model."
            ):
                self._show()
            return
        task = await self._task(name)
        if task is None:
            return
        loop = asyncio.get_running_loop()
        self._name, self._found = one_line(model_name(name), 60), None
        try:
            self._running = self.start(task, partial(_told, loop, copy_context(), self._after))
        except OSError as error:
            raise SettingsError(f"no process can be started to compare: {error.strerror or error}") from None
        context.flash(f"Comparing with {self._name}. Esc stops.")

    async def _task(self, name: str) -> CompareAnswer | None:
        """What is to be compared; None where it cannot be, which is said."""
        context, model = self._context, self._context.conversation.model
        if context.still_answering() or context.refuse(context.conversation.refusal.partition(":")[0]):
            return None
        turn = next((turn for turn in context.conversation.latest if turn.has_text), None)
        if turn is None or model is None:
            context.flash("There is no answer to compare yet: ask something first.")
            return None
        kept = await kept_of(context.store, turn)
        reading = reading_of(turn, kept)
        if kept.fingerprint and kept.fingerprint != model.fingerprint:
            context.flash(f"The last answer is {one_line(kept.model, 60) or 'another model'}'s: /model opens it.")
            return None
        if context.refuse("" if reading.ids and reading.prompt_ids else "The tokens of this answer are not known."):
            return None
        settings = replace(
            context.request(), temperature=0.0, max_new_tokens=max(MOST_TOKENS, len(reading.ids)), logprobs=None
        )
        load = context.load.settings
        return CompareAnswer(model.path, name, reading.prompt_ids, reading.ids, settings, load, context.load.dtype)

    def stop(self) -> bool:
        """End it; whether there was one."""
        if self._running is None:
            return False
        self._running.stop()
        self._running = None
        self._context.flash("The comparison was stopped.")
        return True

    def close(self) -> None:
        """End its process, when the app is left."""
        if self._running is not None:
            self._running.stop()

    def _after(self, event: CompareEvent) -> None:
        """What the process tells, on the app's loop."""
        if self._running is None:  # stopped meanwhile
            return
        match event:
            case CompareProgress(words, done, total):
                share = f", {100 * done // total} %" if total else ""
                self._context.flash(f"Comparing with {self._name}: {words}{share}. Esc stops.")
            case CompareFailed(message):
                self._running = None
                self._context.chat.status.clear_flash()
                self._context.note(f"It was not compared: {one_line(message, 400)}", "error")
            case Compared():
                self._running, self._found = None, event
                self._context.chat.status.clear_flash()
                if self._context.chat.app.screen is self._context.chat:
                    self._show()
                else:
                    self._context.flash(AGAIN)

    def _show(self) -> None:
        if self._found is not None:
            self._context.chat.app.push_screen(CompareScreen(self._found))


def _told(
    loop: asyncio.AbstractEventLoop, context: Context, take: Callable[[CompareEvent], None], event: CompareEvent
) -> None:
    """Hand an event to the loop, from whichever thread; `context` is the app's, which its screens need."""
    with suppress(RuntimeError):  # the loop is closed: nobody waits for this
        loop.call_soon_threadsafe(take, event, context=context)
