"""An `Engine` under test: its events kept in order, and waiting for one of them with a deadline instead of a sleep."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from qwen_core.engine.engine import Engine
from qwen_core.protocol.events import Event

DEADLINE_S = 60.0
Kind = TypeVar("Kind")


def reach(path: Path) -> None:
    """Wait until a script comes to its `touch(path)`."""
    path.open("rb").close()


class EventLog:
    """Every event so far. Waiting looks only at those after the last one that was waited for."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._seen = 0
        self._changed = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait_for(self, kind: type[Kind], test: Callable[[Kind], bool] = lambda _: True) -> Kind:
        """The next event of a kind that passes `test`."""
        deadline = time.monotonic() + DEADLINE_S
        with self._changed:
            while True:
                while self._seen < len(self.events):
                    event = self.events[self._seen]
                    self._seen += 1
                    if isinstance(event, kind) and test(event):
                        return event
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise AssertionError(f"no {kind.__name__} came; the last events were {self.events[-5:]}")

    def of(self, kind: type[Kind]) -> list[Kind]:
        with self._changed:
            return [event for event in self.events if isinstance(event, kind)]


@contextmanager
def running_engine(factory: str | None = None) -> Iterator[tuple[Engine, EventLog]]:
    """A started engine, closed at the end whatever happened."""
    log = EventLog()
    engine = Engine(log) if factory is None else Engine(log, factory=factory)
    engine.start()
    try:
        yield engine, log
    finally:
        engine.close()


def is_gone(pid: int) -> bool:
    """Whether the process ended; one that only waits for its parent to notice counts as ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def wait_until(test: Callable[[], bool], what: str) -> None:
    """Wait for a condition that announces itself in no other way than by being true."""
    deadline = time.monotonic() + DEADLINE_S
    while not test():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {DEADLINE_S:g} s")
        time.sleep(0.01)
