"""Any app under Textual's test pilot: pressed, waited for, and its screen read back."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from string import ascii_letters
from typing import Generic, TypeVar

from rich.style import Style
from textual.app import App
from textual.message_pump import MessagePump
from textual.pilot import Pilot
from textual.strip import Strip

DEADLINE_S = 30.0
KEYS = {" ": "space", "\n": "ctrl+j"}
AnyApp = TypeVar("AnyApp", bound=App[None])


def is_idle(pump: MessagePump) -> bool:
    """Whether `pump` waits for a message: it has none, and the last one has been dealt with."""
    queue = pump._message_queue
    return (queue.empty() and bool(queue.ready_event._waiters)) or pump._closing or pump._closed


class IdlePilot(Pilot[None]):
    """Textual's pilot, but it sends a message to every widget, at every wait, only where one of them has work left.

    With a long conversation that was half of the time that a test took.
    """

    async def _wait_for_screen(self, timeout: float = DEADLINE_S) -> bool:
        for _ in range(100):
            await asyncio.sleep(0)
            if all(map(is_idle, (self.app, *self.app.screen.walk_children(with_self=True)))):
                return True
        return await super()._wait_for_screen(timeout)


def look(style: Style | None) -> str:
    """A style by rich's words for it, but those for what it turns off."""
    return re.sub(r"\bnot \w+ ?", "", str(style))


@dataclass
class PilotStage(Generic[AnyApp]):
    app: AnyApp
    pilot: Pilot[None]

    async def wait(self, condition: Callable[[], object], what: str = "") -> None:
        """Until `condition` holds; fails with the screen after the deadline."""
        loop = asyncio.get_running_loop()
        end = loop.time() + DEADLINE_S
        while not condition():
            if loop.time() > end:
                raise AssertionError(f"waited in vain for {what or condition}; the screen:\n{self.text()}")
            await self.pilot.pause(0.01)

    async def settle(self) -> None:
        """Until what was pressed has been acted on and drawn."""
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.settle()

    async def type(self, text: str) -> None:
        """Key by key, to whatever has the focus."""
        await self.press(*(KEYS.get(character, character) for character in text))

    def strips(self) -> list[Strip]:
        """The rows of the screen as they are drawn."""
        return self.app.screen._compositor.render_strips()

    def lines(self) -> list[str]:
        """The screen as text, one string a row, without trailing blanks."""
        return [strip.text.rstrip() for strip in self.strips()]

    def text(self) -> str:
        return "\n".join(self.lines())

    def snapshot(self) -> str:
        """Text, then one letter a cell for its style, then what each letter means."""
        letters: dict[str, str] = {}
        grid = [
            "".join(
                letters.setdefault(look(segment.style), ascii_letters[len(letters)]) * segment.cell_length
                for segment in strip
            )
            for strip in self.strips()
        ]
        legend = [f"{letter}  {style}" for style, letter in letters.items()]
        return "\n".join([*self.lines(), "-" * 20, *grid, "-" * 20, *legend]) + "\n"
