"""The kept conversations as the app uses them: one thread that owns the open store, work handed to it in order.

The screen never waits for a disk, and what the engine says is stored in the order in which it came.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from qwen_tui.store import Store, open_store

Result = TypeVar("Result")


class StoreThread:
    """Opens the store at the first work it gets. Work raises StoreError (or another QwenError) where it fails."""

    def __init__(self, opener: Callable[[], Store] = open_store) -> None:
        self._opener = opener
        self._store: Store | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="store")

    def submit(self, work: Callable[[Store], Result]) -> "Future[Result]":
        """Have `work` done after all that was handed in before. RuntimeError once closed."""
        return self._executor.submit(lambda: work(self._opened()))

    async def use(self, work: Callable[[Store], Result]) -> Result:
        """The result of `work`, awaited by the screen's loop."""
        return await asyncio.wrap_future(self.submit(work))

    def close(self) -> None:
        """Do what was handed in, then leave the store: answers that still run are marked as interrupted."""
        self._executor.submit(self._leave)
        self._executor.shutdown(wait=True)

    def _opened(self) -> Store:
        if self._store is None:
            self._store = self._opener()
        return self._store

    def _leave(self) -> None:
        if self._store is not None:
            self._store.close()
