"""/compare: the last answer read by another model, in a process of its own beside the engine."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import replace
from functools import partial
from typing import Protocol

from qwen_core.checkpoint.locate import model_name
from qwen_core.figures import decimal_size
from qwen_core.protocol.comparison import (
    CompareAnswer,
    Compared,
    CompareEvent,
    CompareFailed,
    CompareNeedsRoom,
    CompareProgress,
)
from qwen_tui.app.answer_reading import kept_of, reading_of
from qwen_tui.app.context import AppContext
from qwen_tui.app.token_count import TokenCount
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
    """Belongs to the thread of the app's loop. One at a time; what the last one found is kept to be looked at again.

    Where memory has no room for either model beside the open one, that is unloaded meanwhile, and loaded again.
    """

    def __init__(self, context: AppContext, tokens: TokenCount, load_again: Callable[[str], object]) -> None:
        self._context = context
        self._tokens = tokens
        self._load_again = load_again
        self.start: Start = start_comparing
        self._task: CompareAnswer | None = None  # what is being done
        self._process: ComparingLike | None = None  # what does it
        self._unloaded = False
        self._found: Compared | None = None
        self._name = ""

    @property
    def running(self) -> bool:
        return self._task is not None

    @property
    def alone(self) -> bool:
        """Whether it runs in place of the open model."""
        return self._unloaded

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
        self._task = await self._asked(name)
        if self._task is None:
            return
        self._name, self._found = one_line(model_name(name), 60), None
        context.flash(f"Comparing with {self._name}. Esc stops.")
        self._begin()

    def _begin(self) -> None:
        """Start the process. It may have been stopped while the open model was unloaded."""
        if self._task is None:
            return
        try:
            self._process = self.start(self._task, self._to_loop(self._after))
        except OSError as error:
            self._after(CompareFailed(f"no process can be started: {error.strerror or error}"))

    def _to_loop(self, take: Callable[..., None]) -> Callable[..., None]:
        """`take`, to be called from any thread, with the context of the app, which its screens need."""
        return partial(_told, asyncio.get_running_loop(), copy_context(), take)

    def _make_room(self, short: CompareNeedsRoom) -> None:
        """Unload the open model, then compare."""
        context, task = self._context, self._task
        sizes = f"{decimal_size(short.needed)} needed, {decimal_size(short.free)} free"
        if task is None or context.conversation.refusal:
            busy = "which is busy: ask again when it is ready"
            self._after(CompareFailed(f"there is no room beside the open model ({sizes}), {busy}"))
            return
        context.note(
            f"Memory has no room for {self._name} beside the open model ({sizes}): that is unloaded while they are "
            "compared, one after the other, and loaded again then. The conversation stays."
        )
        self._task, self._unloaded = replace(task, beside=0), True
        context.conversation.restarting()
        self._tokens.lost()
        context.link.unload(self._to_loop(self._begin))
        context.chat.request_draw()

    def _over(self) -> None:
        """Nothing is done any more; the open model comes back."""
        self._task = self._process = None
        self._context.chat.status.clear_flash()
        if self._unloaded:
            self._unloaded = False
            self._load_again("")

    async def _asked(self, name: str) -> CompareAnswer | None:
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
        load, held = context.load, context.conversation.held
        beside = max(1, model.tiers.total, held.active_memory_bytes if held is not None else 0)
        return CompareAnswer(
            model.path, name, reading.prompt_ids, reading.ids, settings, load.settings, load.dtype, beside
        )

    def stop(self) -> bool:
        """End it; whether there was one."""
        if self._task is None:
            return False
        self.close()
        self._over()
        self._context.flash("The comparison was stopped.")
        return True

    def close(self) -> None:
        """End its process, when the app is left."""
        if self._process is not None:
            self._process.stop()

    def _after(self, event: CompareEvent) -> None:
        """What the process tells, on the app's loop."""
        if self._task is None:  # stopped meanwhile
            return
        match event:
            case CompareProgress(words, done, total):
                share = f", {100 * done // total} %" if total else ""
                self._context.flash(f"Comparing with {self._name}: {words}{share}. Esc stops.")
            case CompareNeedsRoom():
                self._make_room(event)
            case CompareFailed(message):
                self._over()
                self._context.note(f"It was not compared: {one_line(message, 400)}", "error")
            case Compared():
                self._over()
                self._found = event
                if self._context.chat.app.screen is self._context.chat:
                    self._show()
                else:
                    self._context.flash(AGAIN)

    def _show(self) -> None:
        if self._found is not None:
            self._context.chat.app.push_screen(CompareScreen(self._found))


def _told(loop: asyncio.AbstractEventLoop, context: Context, take: Callable[..., None], *event: CompareEvent) -> None:
    """Hand an event, or word that something is done, to the loop, from whichever thread."""
    with suppress(RuntimeError):  # the loop is closed: nobody waits for this
        loop.call_soon_threadsafe(partial(take, *event), context=context)
