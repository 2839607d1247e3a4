"""The window around the app: its title says what runs in it, and an answer that nobody watched tells when it ends."""

import time
from collections.abc import Callable
from typing import Protocol

from qwen_core.checkpoint.locate import model_name
from qwen_tui.app.context import AppContext
from qwen_tui.text import formatting
from qwen_tui.text.safe import one_line

LONG_S = 10.0
"""An answer that took less is not announced: whoever asked is still there."""


class Terminal(Protocol):
    """What takes sequences on their way to the terminal, and the title of its window."""

    def write(self, data: str) -> None: ...
    def set_title(self, title: str) -> None: ...


class Attention:
    """Told of everything that changes; writes to the terminal only what is another than before."""

    def __init__(self, context: AppContext, terminal: Terminal, clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._terminal = terminal
        self._clock = clock
        self._title = ""
        self._since: float | None = None  # when the answer that runs was asked for

    def look(self, *, watched: bool) -> None:
        """Say what there is to say now. `watched`: whether the terminal has the keys."""
        running = self._context.conversation.current is not None
        if running and self._since is None:
            self._since = self._clock()
        elif not running and self._since is not None:
            took, self._since = self._clock() - self._since, None
            if took >= LONG_S and not watched:
                self._announce(took)
        title = ("● " if running else "") + self._name()
        if title != self._title:
            self._title = title
            self._terminal.set_title(f"{title} – qwen-tui")

    def _name(self) -> str:
        turns = self._context.conversation.turns
        return one_line(turns[0].question if turns else model_name(self._context.load.path), 60)

    def _announce(self, took: float) -> None:
        match self._context.running.looks.when_answered:
            case "bell":
                self._terminal.write("\a")
            case "notification":
                self._terminal.write(f"\x1b]9;The answer is there, after {formatting.seconds(took)}.\a\a")
            case "off":
                pass
