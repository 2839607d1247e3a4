"""The process that renders chat templates, seen from outside: started at its first use, kept, shared by all templates.

Nothing inside a process ends a single long call of the C library, or one that fills the memory. What ends the whole
process does: the kernel's timer and its limit of the address space, which template_renderer.py sets there.
"""

import atexit
import ctypes
import json
import marshal
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from qwen_core.child_process import start_child
from qwen_core.errors import printable

DEADLINE_S = 2.0
MEMORY_BYTES = 320 << 20
MEMORY_EXIT = 3
_BOOT = "from qwen_core.text.template_renderer import main; main()"
_LOOK_S = 0.005


class RenderError(Exception):
    """Why there is no rendering: what the template did, to be read after its name."""


class TemplateProcess:
    """Renders one template at a time: a second thread waits for the first."""

    def __init__(self, deadline_s: float = DEADLINE_S) -> None:
        self._deadline_s = deadline_s
        self.forget()

    def forget(self) -> None:
        """Know of no process. After a fork that is the truth: it is the parent's."""
        self._lock = threading.Lock()
        self._running: tuple[Connection, subprocess.Popen[bytes]] | None = None

    def start(self) -> None:
        """Let the process start meanwhile: the first rendering waits less, and tells should none have started."""
        with self._lock, suppress(OSError):
            self._ready()

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
            self._end()

    def _ask(self, request: bytes) -> bytes:
        try:
            connection, popen = self._ready()
        except OSError as error:
            raise RenderError(f"cannot be rendered: no process can be started: {error.strerror or error}") from None
        try:
            connection.send_bytes(request)
            while sys.platform == "darwin" and not connection.poll(_LOOK_S):
                if _footprint_bytes(popen.pid) > MEMORY_BYTES:
                    popen.kill()
            return connection.recv_bytes()
        except (EOFError, OSError):
            raise RenderError(self._reason(self._end())) from None
        except BaseException:  # ctrl+c: an answer that comes now would be taken for the next one
            self._end()
            raise

    def _ready(self) -> tuple[Connection, subprocess.Popen[bytes]]:
        if self._running is None or self._running[1].poll() is not None:
            self._end()
            self._running = start_child(_BOOT, str(self._deadline_s), output=subprocess.DEVNULL)
        return self._running

    def _reason(self, exit_code: int) -> str:
        if exit_code == -signal.SIGALRM:
            return f"did not finish within {self._deadline_s:g} seconds"
        if exit_code in (MEMORY_EXIT, -signal.SIGKILL):  # the second is also what a system short of memory does
            return f"failed: it takes more than {MEMORY_BYTES >> 20} MB of memory"
        return f"failed: the process that renders it ended with code {exit_code}"

    def _end(self) -> int:
        """End the process, if there is one. Its exit code is its own where it has ended already."""
        if self._running is None:
            return 0
        connection, popen = self._running
        self._running = None
        connection.close()
        with popen:
            popen.kill()
        return popen.returncode


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


def _footprint_bytes(pid: int) -> int:
    """Memory of another process on macOS, which does not hold a process to a limit of its own."""
    usage = (ctypes.c_uint64 * 12)()  # rusage_info_v0, in 8 bytes each
    ctypes.CDLL(None).proc_pid_rusage(pid, 0, usage)
    return usage[9]  # ri_phys_footprint


TEMPLATE_PROCESS = TemplateProcess()
atexit.register(TEMPLATE_PROCESS.close)
os.register_at_fork(after_in_child=TEMPLATE_PROCESS.forget)
