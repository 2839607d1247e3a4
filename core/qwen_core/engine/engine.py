"""`Engine`: starts, feeds, stops and restarts the process that runs the model. No MLX in this process.

What runs inside is worker.py; how it is started, and ended should this process die, is child_process.py's.
"""

import os
import subprocess
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import SimpleQueue

from qwen_core.child_process import start_child
from qwen_core.engine.log import EngineLog, describe_death, open_engine_log
from qwen_core.errors import EngineError
from qwen_core.protocol.events import Command, EngineDied, Event, Shutdown, Stop

FACTORY = "qwen_core.engine.loading:load_session"
BOOT = "from qwen_core.engine.worker import main; main()"
EXIT_GRACE_S = 5.0
TERMINATE_GRACE_S = 2.0


class Engine:
    """The model's process as the app sees it. Methods may be called from any thread and never wait for the model.

    `on_event` is called from a thread of the engine's own, one event at a time, in order. It may block, and it may call
    any method here, `restart` too. Once `close` or `restart` was called, no further event of the old process is handed
    to it, one that is being handed over at that moment apart.
    """

    def __init__(self, on_event: Callable[[Event], None], *, factory: str = FACTORY) -> None:
        """`factory` is "module:function": what makes a session in the process. It takes what `load_session` takes."""
        self._on_event = on_event
        self._factory = factory
        self._lock = threading.Lock()
        self._process: _Process | None = None

    def start(self) -> None:
        """Start the process. Raises EngineError if one is running or none can be started."""
        with self._lock:
            if self._process is not None and self._process.alive:
                raise EngineError("the engine process is running already; close or restart it")
            self._process = _Process(self._on_event, self._factory)

    def send(self, command: Command) -> None:
        """Hand `command` over, in order. Raises EngineError when the process is not running."""
        process = self._process
        if process is None or not process.alive:
            raise EngineError("the engine process is not running; restart it first")
        process.outbox.put(command)

    def stop(self) -> None:
        """End the running turn or load, and those sent before this call; no later one. Nothing to stop is no error."""
        process = self._process
        if process is not None and process.alive:
            process.outbox.put(Stop())

    def restart(self) -> None:
        """End the process at once if there is one, and start another. Raises EngineError if none can be started."""
        with self._lock:
            if self._process is not None:
                self._process.abandon()
            self._process = _Process(self._on_event, self._factory)

    def close(self, timeout: float = EXIT_GRACE_S) -> int | None:
        """Ask the process to leave, wait `timeout` seconds, then make it. Returns its exit code, None without one."""
        with self._lock:
            return None if self._process is None else self._process.close(timeout)

    @property
    def alive(self) -> bool:
        process = self._process
        return process is not None and process.alive

    @property
    def pid(self) -> int | None:
        """The process's id, also after it ended; None before the first start."""
        process = self._process
        return None if process is None else process.popen.pid

    @property
    def log_path(self) -> str:
        """The file with what the process wrote on stdout and stderr; empty if there is none."""
        process = self._process
        return "" if process is None else process.log_path


class _Process:
    """One process and the three threads around its pipe.

    Reading is apart from delivering, so that a slow `on_event` never fills the pipe and holds the model up; writing has
    its own thread, so that a long conversation handed over never holds up the screen.
    """

    def __init__(self, on_event: Callable[[Event], None], factory: str) -> None:
        self.outbox: SimpleQueue[Command | None] = SimpleQueue()
        self._on_event = on_event
        self._inbox: SimpleQueue[Event | None] = SimpleQueue()
        self._abandoned = threading.Event()
        self._ended = threading.Event()
        self._connection, self.popen, self._log = _launch(factory)
        for target in (self._read, self._deliver, self._write):
            threading.Thread(target=target, name=f"engine{target.__name__}", daemon=True).start()

    @property
    def alive(self) -> bool:
        return not self._ended.is_set() and not self._abandoned.is_set() and self.popen.poll() is None

    @property
    def log_path(self) -> str:
        return "" if self._log.path is None else str(self._log.path)

    def close(self, timeout: float) -> int:
        self._abandoned.set()
        self.outbox.put(Stop())
        self.outbox.put(Shutdown())
        return self._wait(timeout)

    def abandon(self) -> None:
        self._abandoned.set()
        self.popen.kill()
        self.popen.wait()

    def _wait(self, timeout: float) -> int:
        """The exit code, after at most `timeout` seconds and what terminating and killing take."""
        for wait, harsher in ((timeout, self.popen.terminate), (TERMINATE_GRACE_S, self.popen.kill)):
            try:
                return self.popen.wait(wait)
            except subprocess.TimeoutExpired:
                harsher()
        return self.popen.wait()

    def _read(self) -> None:
        """Until the pipe closes: events in. It closes when the process ends, however it ends."""
        while True:
            try:
                self._inbox.put(self._connection.recv())
            except (EOFError, OSError):
                break
        with self.popen:
            exit_code = self._wait(EXIT_GRACE_S)
        self._ended.set()
        if not self._abandoned.is_set():
            reason = describe_death(exit_code, self._log.last_words())
            self._inbox.put(EngineDied(reason, exit_code, self.log_path))
        self._inbox.put(None)
        self.outbox.put(None)

    def _deliver(self) -> None:
        while (event := self._inbox.get()) is not None:
            if self._abandoned.is_set():
                continue
            try:
                self._on_event(event)
            except Exception:
                # The next event must still arrive, and stderr is the screen: the log is the place to tell it.
                self._log.append(f"an event could not be delivered:\n{traceback.format_exc()}")

    def _write(self) -> None:
        while (command := self.outbox.get()) is not None:
            try:
                self._connection.send(command)
            except OSError:
                continue  # The process is gone, which the reader finds out and tells.
        self._connection.close()


def _launch(factory: str) -> tuple[Connection, subprocess.Popen[bytes], EngineLog]:
    """A worker process, our end of its pipe, and its log."""
    log, descriptor = open_engine_log()
    try:
        connection, popen = start_child(BOOT, factory, output=descriptor)
    except OSError as error:
        raise EngineError(f"the engine process could not be started: {error.strerror or error}") from error
    finally:
        os.close(descriptor)
    return connection, popen, log
