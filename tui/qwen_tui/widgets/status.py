"""The bottom line: what goes on in figures, or a short word to the person, and the keys that matter now."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from textual.content import Content
from textual.css.scalar import Scalar
from textual.events import Click
from textual.strip import Strip
from textual.style import Style

from qwen_core.figures import size_of, tokens_short, whole_percent
from qwen_tui.conversation.conversation import Conversation, Phase
from qwen_tui.text import formatting
from qwen_tui.text.formatting import fit
from qwen_tui.text.safe import cells, one_line
from qwen_tui.widgets.key_hints import key_line, pressed
from qwen_tui.widgets.line_strips import LineStrips
from qwen_tui.widgets.phase_look import PHASES

FLASH_SECONDS = 6.0
MOST_LINES = 3
WIDE = 100  # cells from which on there is room for both
PAUSED = "paused, ^End follows"
_SHORT = {PAUSED: "^End follows"}
Place = Literal["composer", "turn", "find"]
_BUSY = ("waiting", "prefill", "reasoning", "decoding", "stopping")


TURN_HINTS = ("Esc back", "e edit", "r again", "l lens", "←→ others", "c continue", "m map", "y copy", "d delete")
TURN_HINTS += ("u undo", "⏎ open")
FIND_HINTS = ("Esc close", "⏎ ↓ next", "↑ before", "n N on a turn")


def hints(phase: Phase, at: Place = "composer", *, waiting: bool = False) -> list[str]:
    """Key hints, the most needed first. `at`: where the focus is. `waiting`: whether a message waits to be sent."""
    if at == "turn":
        return list(TURN_HINTS)
    if at == "find":
        return list(FIND_HINTS)
    if phase in _BUSY:
        return ["Esc take back" if waiting else "Esc stop", "^R reasoning", "F2 layers", "F1 help"]
    if phase == "no model":
        return ["/model opens another", "F2 layers", "^T load again", "F1 help"]
    if phase == "engine down":
        return ["^T start again", "F2 layers", "F1 help", "^Q quit"]
    if phase in ("starting", "loading"):
        return ["F1 help", "F2 layers", "^Q quit"]
    return ["⏎ send", "^J newline", "^P commands", "F2 layers", "F1 help"]


def figures(conversation: Conversation) -> tuple[tuple[int, int] | None, list[str]]:
    """The progress to draw as a bar (done, total), if any, and the figures beside it, the most telling first."""
    model, turn, phase = conversation.model, conversation.current, conversation.phase
    if phase == "loading" and conversation.progress is not None:
        progress = conversation.progress
        if not progress.total_bytes:
            return None, [one_line(progress.stage)]
        pieces = [size_of(progress.done_bytes, progress.total_bytes), one_line(progress.stage)]
        tiers = {name: getattr(progress.tiers, name) for name in ("mapped", "copied", "streamed")}
        if any(tiers.values()):
            pieces.append(" + ".join(name for name, count in tiers.items() if count))
        return (progress.done_bytes, progress.total_bytes), pieces
    context = [f"context {tokens_short(conversation.context_tokens)}"]
    if model is not None:
        of_limit = f"{tokens_short(conversation.context_tokens)} / {tokens_short(model.context_limit)}"
        context = [f"context {of_limit}"]
        if conversation.is_nearly_full:
            share = whole_percent(conversation.context_tokens / model.context_limit)
            context = [f"context {share} full", of_limit]
    if turn is None:
        return None, context if conversation.engine == "ready" else []
    if turn.state in ("waiting", "prefill"):
        if not turn.to_prefill:
            return None, context
        done = f"{turn.prefilled:,} / {turn.to_prefill:,} tokens"
        return (turn.prefilled, turn.to_prefill), [done, *context]
    pieces = [formatting.tokens(turn.generated_tokens), *context]
    if conversation.live_tok_s is not None:
        pieces.insert(0, formatting.rate(conversation.live_tok_s))
    return None, pieces


class Status(LineStrips):
    """One line whatever the width: hints give way first, then the figures from the right.

    Only a word to the person that is longer has as many lines as it needs, up to `MOST_LINES`.
    """

    DEFAULT_CSS = """
    Status { height: 1; color: $muted; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._phase: Phase = "starting"
        self._bar: tuple[int, int] | None = None
        self._pieces: list[str] = []
        self._at: Place = "composer"
        self._waiting = False
        self._flash = ""
        self._flashes = 0

    @property
    def flash_text(self) -> str:
        return self._flash

    def show(self, conversation: Conversation, *, following: bool = True, waiting: bool = False) -> None:
        """`following`: whether text that comes keeps the end in view. `waiting`: whether a message waits to be sent."""
        bar, pieces = figures(conversation)
        if conversation.current is not None and not following:
            pieces.insert(0, PAUSED)
        now = (conversation.phase, bar, pieces, waiting)
        if now != (self._phase, self._bar, self._pieces, self._waiting):
            self._phase, self._bar, self._pieces, self._waiting = now
            self.refresh()

    def hints(self) -> list[str]:
        """The keys that matter now, the most needed first."""
        return hints(self._phase, self._at, waiting=self._waiting)

    def hint_at(self, place: Place) -> None:
        """Hint at the keys of where the focus is now."""
        if place != self._at:
            self._at = place
            self.refresh()

    @contextmanager
    def giving_way(self) -> Iterator[None]:
        """What is done meanwhile takes the word before it back, and may say one of its own."""
        before = self._flashes
        yield
        self.clear_flash(before)

    def flash(self, text: str) -> None:
        """Say something in place of the figures, for a moment or until the next thing is done."""
        self._flash = one_line(text, 200)
        self._flashes += 1
        number = self._flashes
        self.set_timer(FLASH_SECONDS, lambda: self.clear_flash(number))
        self._fit()

    def clear_flash(self, number: int | None = None) -> None:
        """Take the word back; with `number`, only if no later one has replaced it."""
        if self._flash and number in (None, self._flashes):
            self._flash = ""
            self._fit()

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """As high as what is said needs."""
        if self.size:
            height = len(self._said(max(1, self.size.width - 2)))
            if self.styles.height != Scalar.from_number(height):
                self.styles.height = height
        self.refresh()

    def _said(self, width: int) -> list[Content]:
        """The word to the person in lines of `width` cells; one empty line where there is none."""
        lines = Content(self._flash).wrap(width)
        if len(lines) > MOST_LINES:
            rest = " ".join(line.plain for line in lines[MOST_LINES - 1 :])
            lines[MOST_LINES - 1 :] = [Content(fit([rest], width))]
        return lines or [Content("")]

    def on_click(self, event: Click) -> None:
        if key := pressed(event):
            event.stop()
            self.app.simulate_key(key)

    def line_strip(self, y: int, width: int, base: Style) -> Strip:
        lines = self._said(max(1, width - 2))
        line = lines[y].stylize("$accent") if 1 < len(lines) > y else self._line(max(0, width - 2))
        return self.strip_of(Content.assemble(" ", line, " "), width, base)

    def _line(self, width: int) -> Content:
        """What the line says, in `width` cells: one on each side stays empty."""
        look = PHASES[self._phase]
        right = self.hints()
        if self._flash:
            while right and cells(self._flash) + 3 + cells("  ".join(right)) > width:
                right.pop()
            return _apart(Content.styled(fit([self._flash], width), "$accent"), right, width)
        # The first hint says how to get on from here: the figures make room for it.
        left = self._left(look.word, max(0, width - cells(right[0]) - 3))
        here = self._at == "composer"
        if not here:  # the keys of a turn are many, and not known from elsewhere: they come before the figures
            left = f"{look.word}  {PAUSED}" if PAUSED in self._pieces and width >= WIDE else look.word
        while right and cells(left) + 3 + cells("  ".join(right)) > width:
            right.pop(1 if here and len(right) > 1 else -1)
        word, rest = left[: len(look.word)], left[len(look.word) :]
        return _apart(Content.assemble((word, look.style), rest), right, width)

    def _left(self, word: str, width: int) -> str:
        left = word
        if self._bar is not None:
            room = min(24, width - cells(word) - cells(self._pieces[0]) - 4)
            if room >= 6:
                left += "  " + formatting.bar(*self._bar, room)
        room, pieces = width - cells(left) - 2, self._pieces
        if pieces and cells(pieces[0]) > room:
            pieces = [_SHORT.get(pieces[0], pieces[0].removesuffix(" tokens"))]
        rest = fit(pieces, room)
        return f"{left}  {rest}" if rest else left


def _apart(left: Content, hints: Sequence[str], width: int) -> Content:
    """What is said at the left edge, the keys at the right one."""
    keys = key_line(hints)
    return Content.assemble(left, " " * max(0, width - left.cell_length - keys.cell_length), keys.stylize("$muted"))
