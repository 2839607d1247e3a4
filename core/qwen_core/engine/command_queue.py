"""Commands on their way from the pipe to the worker's main thread, each with the Stop that belongs to it.

A Stop concerns the work that was sent before it, running or waiting, and nothing sent later: because one thread reads
the pipe in order, it reaches exactly that work. What the work does about it is worker.py's business.
"""

import os
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from multiprocessing.connection import Connection

from qwen_core.protocol.counting import Count
from qwen_core.protocol.events import Command, Continue, Load, Restore, SaveState, Send, Shutdown, Stop, Watch
from qwen_core.protocol.scoring import Score, Spell


class StopFlag(threading.Event):
    """Whether the work it belongs to was stopped, and since when (`time.monotonic`)."""

    def __init__(self) -> None:
        super().__init__()
        self.since: float | None = None

    def set(self) -> None:
        if self.since is None:
            self.since = time.monotonic()
        super().set()


Work = Load | Restore | SaveState | Send | Continue | Count | Score | Spell


@dataclass(frozen=True)
class Job:
    """One command and whether it was stopped, which the main thread asks at every token and chunk."""

    command: Work
    stop: StopFlag = field(default_factory=StopFlag)


class Inbox:
    """The jobs still to do. `put` is the reading thread's, `next` the main thread's."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._leaving = False
        self.watching = False
        """Whether somebody looks at what experts are used."""

    def put(self, command: Command) -> None:
        """File a command that was read from the pipe. Stop, Watch and Shutdown take effect here and now."""
        with self._changed:
            if isinstance(command, Stop | Shutdown):
                for job in (self._running, *self._waiting):
                    if job is not None:
                        job.stop.set()
                self._leaving |= isinstance(command, Shutdown)
            elif isinstance(command, Watch):
                self.watching = command.experts
            else:
                if isinstance(command, Count):  # those that wait are of what has been typed over
                    self._waiting = deque(job for job in self._waiting if not isinstance(job.command, Count))
                self._waiting.append(Job(command))
            self._changed.notify()

    def has_work(self, wait_s: float = 0.0) -> bool:
        """Whether there is something to do; if not yet, maybe within `wait_s` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._waiting) or self._leaving, wait_s)

    def take_spells(self) -> list[Spell]:
        """Those that need not wait for the end of what runs: before the next load the model stays what it is."""
        with self._changed:
            before = list(takewhile(lambda job: not isinstance(job.command, Load), self._waiting))
            later = list(self._waiting)[len(before) :]
            self._waiting = deque(job for job in before if not isinstance(job.command, Spell))
            self._waiting.extend(later)
            return [job.command for job in before if isinstance(job.command, Spell)]

    def next(self) -> Job | None:
        """The next job, waiting for it; the one before it counts as finished. None: time to leave."""
        with self._changed:
            self._running = None
            while not self._waiting and not self._leaving:
                self._changed.wait()
            if self._leaving:
                return None
            self._running = self._waiting.popleft()
            return self._running


def read_commands(connection: Connection, inbox: Inbox) -> None:
    """The reading thread. The pipe closes only when the parent is gone: so is this process then."""
    with suppress(EOFError, OSError):
        while True:
            inbox.put(connection.recv())
    os._exit(0)
