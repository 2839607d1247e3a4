"""The process that renders chat templates, seen from outside: started at its first use, kept, shared by all templates.

The kernel ends it when a rendering takes too long or too much memory: template_renderer.py sets the limits there.
"""

import atexit
import json
import marshal
import os
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from qwen_core.child_process import MEMORY_EXIT, ChildEnded, KeptChild
from qwen_core.errors import printable
from qwen_core.figures import decimal_size

DEADLINE_S = 2.0
MEMORY_BYTES = 320_000_000
_BOOT = "from qwen_core.text.template_renderer import main; main()"


class RenderError(Exception):
    """Why there is no rendering: what the template did, to be read after its name."""


class ProcessEndedError(RenderError):
    """The template took too long or too much memory, or the process ended of it."""


class TemplateProcess:
    """Renders one template at a time: a second thread waits for the first."""

    def __init__(self, deadline_s: float = DEADLINE_S) -> None:
        self._deadline_s = deadline_s
        self.forget()

    def forget(self) -> None:
        """Know of no process. After a fork that is the truth: it is the parent's."""
        self._lock = threading.Lock()
        self._child = KeptChild(_BOOT, str(self._deadline_s), memory_bytes=MEMORY_BYTES)

    def start(self) -> None:
        """Let the process start meanwhile: the first rendering waits less, and tells should none have started."""
        with self._lock, suppress(OSError):
            self._child.start()

    def render(self, source: str, values: Mapping[str, Any] | None) -> str:
        """The template's text, empty without `values`: then it is only compiled, which happens once for a source.

        An object among them is there a word that names its type. Raises RenderError, after which the next call has a
        fresh process where this one's had to be ended.
        """
        with self._lock:
            answer = self._ask(_packed(source, values))
        text = answer[1:].decode("utf-8", "surrogatepass")
        if answer.startswith(b"-"):
            raise RenderError(text)
        return text

    def close(self) -> None:
        """End the process. The next rendering starts another."""
        with self._lock:
            self._child.end()

    def _ask(self, request: bytes) -> bytes:
        try:
            return self._child.ask(request)
        except ChildEnded as ended:
            raise ProcessEndedError(self._reason(ended.exit_code)) from None
        except OSError as error:
            raise RenderError(f"cannot be rendered: no process can be started: {error.strerror or error}") from None

    def _reason(self, exit_code: int) -> str:
        if exit_code == -signal.SIGALRM:
            return f"did not finish within {self._deadline_s:g} seconds"
        if exit_code in (MEMORY_EXIT, -signal.SIGKILL):  # the second is also what a system short of memory does
            return f"failed: it takes more than {decimal_size(MEMORY_BYTES)} of memory"
        return f"failed: the process that renders it ended with code {exit_code}"


def _packed(source: str, values: Any) -> bytes:
    """A request. marshal packs a long conversation ten times faster than json; only the process unpacks any of it."""
    try:
        try:
            return marshal.dumps((source, values))
        except ValueError:  # a template must not meet objects
            return marshal.dumps((source, json.loads(json.dumps(values, default=_plain))))
    except RecursionError:
        raise RenderError("failed: the conversation is nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise RenderError(f"failed: {printable(str(error))}") from None


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else f"<{type(value).__name__}>"


TEMPLATE_PROCESS = TemplateProcess()
atexit.register(TEMPLATE_PROCESS.close)
os.register_at_fork(after_in_child=TEMPLATE_PROCESS.forget)
