"""What the app needs of an engine, and how its events reach the app: the seam that tests put a scripted engine in."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol

from textual.message import Message

from qwen_core.errors import QwenError
from qwen_core.protocol.events import Command, EngineDied, Event, Load
from qwen_tui.text.safe import visible


class EngineLike(Protocol):
    """The face of `qwen_core.engine.engine.Engine` that the app uses. Every method may block for a moment."""

    def start(self) -> object: ...
    def send(self, command: Command) -> object: ...
    def stop(self) -> object: ...
    def restart(self) -> object: ...
    def close(self, timeout: float = 5.0) -> int | None: ...


EngineFactory = Callable[[Callable[[Event], None]], EngineLike]


def make_engine(on_event: Callable[[Event], None]) -> EngineLike:
    """The real engine. Imported here, so that the first screen does not wait for it."""
    from qwen_core.engine.engine import Engine

    return Engine(on_event)


class EngineLink:
    """The engine as the app holds it. Nothing here waits for it but `stop` and `close`.

    One thread starts it and hands it commands, so that they stay in order and never hold up the screen. What goes wrong
    in starting reaches `receive` as an `EngineDied`.
    """

    def __init__(self, factory: EngineFactory, receive: Callable[[Event], None]) -> None:
        self._factory = factory
        self._receive = receive
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine-link")
        self._engine: EngineLike | None = None

    def start(self, load: Load, *, again: bool = False) -> None:
        """Start (or restart) the engine and have it load."""

        def start() -> None:
            try:
                if self._engine is None:
                    self._engine = self._factory(self._receive)
                if again:
                    self._engine.restart()
                else:
                    self._engine.start()
                self._engine.send(load)
            except (QwenError, OSError) as error:
                self._receive(EngineDied(visible(str(error)) or type(error).__name__))

        self._thread.submit(start)

    def send(self, *commands: Command, first: Callable[[], object] | None = None) -> None:
        """Have the engine take `commands`, in order; `first`, which may wait, is done before them."""

        def send() -> None:
            if first is not None:
                first()
            # An engine that cannot take a command has ended, and its EngineDied says so better than this error.
            with suppress(QwenError):
                for command in commands:
                    if self._engine is not None:
                        self._engine.send(command)

        self._thread.submit(send)

    def stop(self) -> None:
        """Have the running turn or load end. May wait a moment."""
        if self._engine is not None:
            self._engine.stop()

    def unload(self, then: Callable[[], object]) -> None:
        """End the engine's process, whose memory somebody else needs; `then`, on a thread, once that has ended."""

        def unload() -> None:
            if self._engine is not None:
                self._engine.close()
            then()

        self._thread.submit(unload)

    def close(self) -> None:
        """End the engine's process, and wait for that."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self._engine is not None:
            self._engine.close()


class EngineEvent(Message, bubble=False):
    """An event of the engine, on its way from the reader thread to the app's loop."""

    def __init__(self, event: Event) -> None:
        super().__init__()
        self.event = event
