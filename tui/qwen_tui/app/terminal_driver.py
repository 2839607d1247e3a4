"""The toolkit's driver of a terminal, for terminals that go away and for pastes that hold escape sequences.

The toolkit (textual 8.2) asks a terminal that is gone for keys without end, and its writer ends at the first error,
after which the app waits for it for ever. Here the end of the terminal is a hang-up, with or without a signal of it.
"""

import os
import signal
import sys
from codecs import getincrementaldecoder
from contextlib import suppress
from io import BufferedWriter, FileIO, TextIOWrapper
from select import select
from typing import Any

from textual.drivers.linux_driver import LinuxDriver

from qwen_tui.app.paste_parser import PasteParser
from qwen_tui.text.safe import one_line

KEEP_TITLE, TAKE_TITLE_BACK = "\x1b[22;2t", "\x1b[23;2t"
"""XTWINOPS: put the title of the window on the terminal's stack, and take it from there."""

POLL_S = 0.1
READ_BYTES = 4096


class TerminalDriver(LinuxDriver):
    """A `LinuxDriver` that reads pastes as they are, and raises SIGHUP where its terminal has ended."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._title = ""
        if sys.__stderr__ is not None:
            encoding, errors = sys.__stderr__.encoding, sys.__stderr__.errors
            drawn_on = BufferedWriter(FileIO(sys.__stderr__.fileno(), "w", closefd=False))
            self._file = _Screen(drawn_on, encoding, errors)

    def set_title(self, title: str) -> None:
        """Have `title`, an untrusted text, as the title of the terminal's window for as long as the app has it."""
        self._title = f"\x1b]2;{one_line(title)}\a"
        self.write(self._title)

    def start_application_mode(self) -> None:
        super().start_application_mode()
        self.write(KEEP_TITLE + self._title)

    def stop_application_mode(self) -> None:
        self.write(TAKE_TITLE_BACK)
        super().stop_application_mode()

    def run_input_thread(self) -> None:
        """Hand on what the terminal sends, until the driver is closed or the terminal ends."""
        parser = PasteParser(self._debug)
        decode = getincrementaldecoder("utf-8")("replace").decode
        while not self.exit_event.is_set():
            if select([self.fileno], [], [], POLL_S)[0]:
                data = b""
                with suppress(OSError):
                    data = os.read(self.fileno, READ_BYTES)
                if not data:
                    os.kill(os.getpid(), signal.SIGHUP)  # to hangup.py
                    return
                if text := decode(data):
                    for message in parser.feed(text):
                        self.process_message(message)
            for message in parser.tick():
                self.process_message(message)


class _Screen(TextIOWrapper):
    """What is drawn on. Where that is gone, what is drawn goes nowhere."""

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()
