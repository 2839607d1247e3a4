"""The lens on a turn: what is known of its tokens is brought together, what is missing is asked of the engine."""

import asyncio
from dataclasses import replace
from itertools import count

from qwen_core.protocol.begun_answer import BegunAnswer
from qwen_core.protocol.events import EngineDied, Event, Loaded, LoadFailed, TurnDone, TurnFailed
from qwen_core.protocol.probabilities import LENS_TOP, Probabilities
from qwen_core.protocol.scoring import Score, Scored, ScoreFailed, ScoreProgress, Spell, Spelled
from qwen_tui.app.answer_reading import kept_of, reading_of
from qwen_tui.app.context import AppContext
from qwen_tui.app.turn_actions import TurnActions
from qwen_tui.conversation.recorder import identity
from qwen_tui.conversation.turns import Turn
from qwen_tui.lens.begun import begun_probabilities
from qwen_tui.lens.reading import Reading
from qwen_tui.lens.screen import GoOnFrom, LensScreen
from qwen_tui.text.safe import one_line


class LensActions:
    """Belongs to the thread of the app's loop. Its questions have numbers below 0, to be told from those of others."""

    def __init__(self, context: AppContext, turns: TurnActions) -> None:
        self._context = context
        self._turns = turns
        self._numbers = count(-1, -1)
        self._spelling = self._scoring = 0
        self._turn: Turn | None = None
        self._reading = Reading(())
        self._screen: LensScreen | None = None

    @property
    def running(self) -> bool:
        """Whether an answer is being read once more."""
        return bool(self._scoring)

    async def open(self, turn: Turn | None) -> None:
        """Look at an answer, the last one if none is named. Raises StoreError."""
        context = self._context
        turn = turn or next((turn for turn in context.conversation.latest if turn.has_text), None)
        refusal = context.conversation.unready.partition(":")[0]
        if turn is None or not turn.has_text:
            refusal = refusal or "There is no answer to look at yet: ask something first."
        if context.refuse(refusal) or turn is None:
            return
        kept = await kept_of(context.store, turn)
        model = context.conversation.model
        if kept.fingerprint and model is not None and kept.fingerprint != model.fingerprint:
            name = one_line(kept.model, 60) or "another model"
            context.flash(f"This answer is {name}'s, whose tokens mean nothing to this model: /model opens it.")
            return
        self._turn, self._reading = turn, reading_of(turn, kept)
        if context.refuse("" if self._reading.ids else "The tokens of this answer are not known: r answers it again."):
            return
        self._spell()

    async def _rest(self, turn: Turn) -> None:
        """The answer has ended that the lens was opened on: the rest of it, and all that is kept with it."""
        kept = await kept_of(self._context.store, turn)
        if self._is_open_on(turn.number):
            self._reading = reading_of(turn, kept)
            self._spell()

    def _spell(self) -> None:
        self._spelling = next(self._numbers)
        self._context.link.send(Spell(self._spelling, self._reading.wanted()))

    # What the engine says.

    def after(self, event: Event) -> None:
        """Take an event in, on the app's loop."""
        match event:
            case Spelled(number, tokens) if number == self._spelling:
                self._spelling = 0
                self._show(replace(self._reading, spelled={spelling.id: spelling for spelling in tokens}))
            case ScoreProgress(number, done, total) if number == self._scoring and self._screen is not None:
                self._screen.tell(f"Reading the answer once more: {done:,} of {total:,} tokens")
            case Scored(number, score) if number == self._scoring:
                self._scoring = 0
                self._scored(score.probabilities)
            case ScoreFailed(number, message) if number == self._scoring:
                self._scoring = 0
                if self._screen is not None:
                    self._screen.tell(f"It was not read: {message}")
            case TurnDone(number) | TurnFailed(number) if self._reading.running and self._is_open_on(number):
                assert self._turn is not None
                self._context.chat.app.run_worker(self._context.tell_trouble(self._rest(self._turn)))
            case EngineDied() | LoadFailed() | Loaded():  # what was asked of the engine before is lost
                self._scoring = self._spelling = 0
                if self._screen is not None:
                    self._show(replace(self._reading, running=False))
            case _:
                pass

    def _is_open_on(self, number: int) -> bool:
        """Whether the lens is open, or about to be, on the turn of that number."""
        return self._turn is not None and self._turn.number == number and bool(self._screen or self._spelling)

    def _show(self, reading: Reading) -> None:
        self._reading = reading
        if self._screen is not None:
            self._screen.take(reading)
            return
        self._screen = LensScreen(reading, self._score)
        self._context.chat.app.push_screen(self._screen, self._closed)

    def _score(self) -> str:
        """Have the answer read once more; why that cannot be, if so."""
        refusal = self._context.conversation.refusal.partition(":")[0]
        if refusal or self._scoring:
            return refusal or "It is being read."
        if self._reading.probabilities is not None and not self._reading.first:
            return "How likely these tokens were is known: nothing is left to be read."
        if not self._reading.prompt_ids:
            return "It cannot be read once more: the tokens before this answer are not known."
        self._scoring = next(self._numbers)
        self._context.link.send(Score(self._scoring, self._reading.ids, self._reading.prompt_ids))
        return ""

    def _scored(self, found: Probabilities) -> None:
        """They are kept with the answer where they are those of all its tokens."""
        turn, model = self._turn, self._context.conversation.model
        self._reading = replace(self._reading, probabilities=found)
        if turn is not None and len(found) == len(self._reading.ids):
            turn.probabilities, turn.ids = found, self._reading.ids
            answer_id = turn.answer_id
            if answer_id is not None and model is not None:
                whose = identity(model)
                self._context.in_store(lambda store: store.probabilities.keep(answer_id, found, whose))
        self._spell()

    # On from a token.

    async def _closed(self, chosen: GoOnFrom | None) -> None:
        screen, turn, self._screen = self._screen, self._turn, None
        self._spelling = 0  # what is still to come must not open it again
        if self._scoring:
            await asyncio.to_thread(self._context.link.stop)
        if chosen is None or turn is None or screen is None:
            return
        reading = screen.reading
        ids = (*reading.ids[: chosen.place], chosen.token)
        begun = BegunAnswer(reading.prompt_ids, ids, begun_probabilities(reading, chosen.place, chosen.token))
        settings = replace(self._context.request(), logprobs=LENS_TOP)
        await self._context.tell_trouble(self._turns.retry(turn, begun, settings))
