"""How a headless answer leaves the program: the answer on stdout, everything said about it on stderr.

A terminal never gets a model's control characters; a pipe gets the text as it is, because there stdout is data.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

from qwen_core.figures import size_of
from qwen_tui.commands.output import writing
from qwen_tui.text.safe import visible

if TYPE_CHECKING:  # slow to import, and the help of the program needs none of it
    from qwen_core.protocol.events import LoadProgress, StreamEvent

DIM, DIM_OFF = "\x1b[2m", "\x1b[22m"
CLEAR_LINE = "\r\x1b[K"


class Terminal:
    """stdout and stderr of one answer. Keeps their lines apart where both are the same screen."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None, *, narrate: bool = True) -> None:
        """`narrate` False: stderr belongs to someone else, nothing is written there."""
        self.out = sys.stdout if out is None else out
        self.err = sys.stderr if err is None else err
        self._narrates = narrate
        self._err_line_open = False
        self._out_line_open = False
        self._progress_shown = False
        self._colour = self.err.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def event(self, event: StreamEvent) -> None:
        """Show one step of the answer as it arrives."""
        for part, text in event.pieces:
            if part == "reasoning":
                self._narrate(text, dim=True)
            else:
                self._clear_progress()
                self.end_narration()
                self._write_answer(text)
        if event.to_prefill and event.prefilled < event.to_prefill:
            self.progress(f"reading the prompt, {event.prefilled:,} of {event.to_prefill:,} tokens")

    def loading(self, step: LoadProgress) -> None:
        """Show how far loading has come."""
        of = f", {size_of(step.done_bytes, step.total_bytes)}" if step.total_bytes else ""
        self.progress(f"{visible(step.stage)}{of}")

    def progress(self, line: str) -> None:
        """A line that the next output replaces; only where someone watches."""
        if self._narrates and self.err.isatty() and os.environ.get("TERM") != "dumb":
            self._tell(CLEAR_LINE + line)
            self._progress_shown = True

    def line(self, text: str) -> None:
        """One line about the answer."""
        self.close()
        self._narrate(f"{text}\n", dim=True)

    def print(self, line: str) -> None:
        """A whole line of data."""
        self._clear_progress()
        self._put(line + "\n")

    def close(self) -> None:
        """End the lines that are open on both streams."""
        self._clear_progress()
        self.end_narration()
        if self._out_line_open:
            self._put("\n")

    def end_narration(self) -> None:
        if self._err_line_open:
            self._narrate("\n")

    def _write_answer(self, text: str) -> None:
        self._put(visible(text) if self.out.isatty() else text)

    def _put(self, text: str) -> None:
        with writing():
            self.out.write(text)
            self.out.flush()
        self._out_line_open = not text.endswith("\n")

    def _narrate(self, text: str, *, dim: bool = False) -> None:
        if not self._narrates:
            return
        self._clear_progress()
        shown = visible(text)
        self._tell(f"{DIM}{shown}{DIM_OFF}" if dim and self._colour else shown)
        self._err_line_open = not text.endswith("\n")

    def _clear_progress(self) -> None:
        if self._progress_shown:
            self._tell(CLEAR_LINE)
            self._progress_shown = False

    def _tell(self, text: str) -> None:
        """Onto stderr. Where nobody takes it any more the answer goes on: that is what was asked for."""
        try:
            self.err.write(text)
            self.err.flush()
        except OSError:
            self._narrates = False
