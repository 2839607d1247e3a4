"""What the app needs of an engine, and how its events reach the app: the seam that tests put a scripted engine in."""

from collections.abc import Callable
from typing import Protocol

from textual.message import Message

from qwen_core.events import Command, Event


class EngineLike(Protocol):
    """The face of `qwen_core.engine.Engine` that the app uses. Every method may block for a moment."""

    def start(self) -> object: ...
    def send(self, command: Command) -> object: ...
    def stop(self) -> object: ...
    def restart(self) -> object: ...
    def close(self, timeout: float = 5.0) -> int | None: ...
    @property
    def alive(self) -> bool: ...


EngineFactory = Callable[[Callable[[Event], None]], EngineLike]


def make_engine(on_event: Callable[[Event], None]) -> EngineLike:
    """The real engine. Imported here, so that the first screen does not wait for it."""
    from qwen_core.engine import Engine

    return Engine(on_event)


class EngineEvent(Message, bubble=False):
    """An event of the engine, on its way from the reader thread to the app's loop."""

    def __init__(self, event: Event) -> None:
        super().__init__()
        self.event = event
