"""/perplexity: how surprising a text is to the model, read by the engine beside the conversation."""

import asyncio
from dataclasses import replace
from pathlib import Path

from qwen_core.errors import SettingsError, quote
from qwen_core.figures import decimal_size
from qwen_core.protocol.events import EngineDied, Event, Loaded, LoadFailed
from qwen_core.protocol.scoring import Score, Scored, ScoreFailed, ScoreProgress, Spell, Spelled, TextScore
from qwen_tui.app.answer_reading import kept_of, reading_of
from qwen_tui.app.context import AppContext
from qwen_tui.text.safe import one_line
from qwen_tui.text.score_lines import Surprise, score_lines, surprises, tokens_shown

MAX_BYTES = 16_000_000
"""Of a file: some million tokens, more than any model takes."""
WIDE = 110
"""Cells from which on the table has what came before a token."""


class TextScoring:
    """Belongs to the thread of the app's loop. One text at a time."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._number = 0
        self._name = self._how = ""
        self._found: tuple[TextScore, list[Surprise]] | None = None
        self.running = False

    async def perplexity(self, argument: str) -> None:
        """Have the text of a file read, or that of the last answer. Raises SettingsError for a file that cannot be."""
        context = self._context
        if context.refuse(context.conversation.refusal.partition(":")[0]):
            return
        if context.refuse("A text is being read: Esc stops that." if self.running else ""):
            return
        asked = await (self._file(argument) if argument else self._last_answer())
        something = asked.ids or asked.text
        if context.refuse("" if something else "There is nothing to read yet: /perplexity FILE reads a file."):
            return
        self._number += 1
        self.running, self._found = True, None
        context.send(replace(asked, number=self._number))
        context.flash(f"Reading {self._name}.")

    async def _file(self, name: str) -> Score:
        path = Path(name.strip("'\"")).expanduser()
        text, self._name, self._how = await asyncio.to_thread(_read, path), one_line(path.name, 60), ""
        return Score(0, text=text, top=1)

    async def _last_answer(self) -> Score:
        """Behind its question and all before it, where these tokens are known and mean something to this model."""
        conversation, model = self._context.conversation, self._context.conversation.model
        turn = next((turn for turn in conversation.latest if turn.has_text), None)
        self._name, self._how = "the last answer", " (without its question)"
        if turn is None:
            return Score(0)
        kept = await kept_of(self._context.store, turn)
        reading = reading_of(turn, kept)
        if not reading.prompt_ids or (model is not None and kept.fingerprint != model.fingerprint):
            return Score(0, text=turn.answer, top=1)
        self._how = " (behind its question" + (", with its reasoning)" if turn.reasoning else ")")
        return Score(0, reading.ids, reading.prompt_ids, top=1)

    def after(self, event: Event) -> None:
        """Take an event in, on the app's loop."""
        match event:
            case ScoreProgress(number, done, total) if number == self._number:
                self._context.flash(f"Reading {self._name}: {done:,} of {total:,} tokens. Esc stops.")
            case Scored(number, score) if number == self._number:
                self._found = score, surprises(score)
                self._context.send(Spell(number, tuple(tokens_shown(*self._found))))
            case ScoreFailed(number, message) if number == self._number:
                self.running = False
                self._context.chat.status.clear_flash()
                self._context.note(f"{self._name} was not read: {message}", "error")
            case Spelled(number, tokens) if number == self._number and self._found is not None:
                self.running = False
                narrow = self._context.chat.size.width < WIDE
                lines = score_lines(*self._found, {spelling.id: spelling for spelling in tokens}, narrow=narrow)
                self._context.note("\n".join([f"How surprising {self._name}{self._how} is to the model", *lines]))
                self._context.chat.status.clear_flash()
            case EngineDied() | LoadFailed() | Loaded():  # what was asked of the engine before is lost
                self.running = False
            case _:
                pass


def _read(path: Path) -> str:
    """A text file's content. SettingsError, one line, for what is none."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise SettingsError(f"{quote(path)} is not a file")
        if size > MAX_BYTES:
            raise SettingsError(f"{quote(path)} holds more than {decimal_size(MAX_BYTES)}: give less")
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode("utf-8")
    except OSError as error:
        raise SettingsError(f"{quote(path)} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{quote(path)} is not UTF-8 text: convert it first") from None
