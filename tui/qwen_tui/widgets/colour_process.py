"""The process that gives code its colours, seen from outside: started at its first use, kept, shared by all widgets.

A lexer is made of regular expressions, and with some of them a few thousand characters take hours, in one call that
holds the interpreter's lock. So that the screen never waits, a thread asks a process, which the kernel ends.
"""

import asyncio
import atexit
import marshal
import threading
from collections.abc import Callable
from contextlib import suppress

from qwen_core.child_process import ChildEnded, KeptChild

LIMIT_S = 1.0  # of processor time, for one text
MEMORY_BYTES = 512 << 20
MAX_CHARACTERS = 100_000  # of one text
KEPT_CHARACTERS = 4_000_000  # of texts and what is known of them
_BOOT = "from qwen_tui.widgets.colour_renderer import main; main()"

Colours = list[list[tuple[int, int, str]]]
"""For each line of a text where a style begins and ends in it, in order and never two at one place."""
Taker = Callable[[Colours], object]
_Text = tuple[str, str]  # code and language


class ColourProcess:
    """Colours one text after the other, and each once. All methods are for the thread of the loop."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._child = KeptChild(_BOOT, str(limit_s), memory_bytes=MEMORY_BYTES)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._waiting: dict[_Text, list[tuple[asyncio.AbstractEventLoop, Taker]]] = {}
        self._known: dict[_Text, bytes] = {}
        self._kept = 0

    @property
    def busy(self) -> bool:
        """Whether anything is asked for that has not been handed to the loop."""
        return bool(self._waiting)

    def colours(self, code: str, language: str, take: Taker) -> Colours:
        """The colours of `code`, none while they are not known: the running loop calls `take` when they come.

        They never come for a text that is too long, takes too long, or is in no language that there is.
        """
        if len(code) > MAX_CHARACTERS or not language:
            return []
        with self._lock:
            known = self._known.get((code, language))
            if known is None:
                self._waiting.setdefault((code, language), []).append((asyncio.get_running_loop(), take))
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="colours", daemon=True)
                    self._thread.start()
        return marshal.loads(known) if known else []

    def close(self) -> None:
        """End the process, and what waits for it. The next text starts another."""
        with self._lock:
            self._waiting.clear()
            thread = self._thread
        if thread is not None:
            self._child.kill()
            thread.join()
        self._child.end()

    def _work(self) -> None:
        while True:
            with self._lock:
                text = next(iter(self._waiting), None)
                if text is None:
                    self._thread = None
                    return
            answer = self._ask(text)
            colours = marshal.loads(answer) if answer else []
            with self._lock:
                self._keep(text, answer)
                for loop, take in self._waiting.get(text, ()) if colours else ():
                    with suppress(RuntimeError):  # the loop is closed: nobody waits for colours
                        loop.call_soon_threadsafe(take, colours)
                self._waiting.pop(text, None)

    def _ask(self, text: _Text) -> bytes:
        try:
            return self._child.ask(marshal.dumps(text))
        except (ChildEnded, OSError):
            return b""

    def _keep(self, text: _Text, answer: bytes) -> None:
        self._known[text] = answer
        self._kept += _size(text, answer)
        while self._kept > KEPT_CHARACTERS:
            oldest = next(iter(self._known))
            self._kept -= _size(oldest, self._known.pop(oldest))


def _size(text: _Text, answer: bytes) -> int:
    return len(text[0]) + len(answer)


COLOUR_PROCESS = ColourProcess()
atexit.register(COLOUR_PROCESS.close)
