"""An answer compared through two models, in a process of its own: whatever either model does, the open one stays.

The process is ended to stop it: what it keeps of a model is in a file without a name, which goes with it.
"""

import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from qwen_core.child_process import connect_to_parent, start_child
from qwen_core.errors import QwenError
from qwen_core.protocol.comparison import (
    CompareAnswer,
    Compared,
    CompareEvent,
    CompareFailed,
    CompareNeedsRoom,
    CompareProgress,
)

_BOOT = "from qwen_core.engine.comparing import main; main()"
ENDED = "the process that compared ended by itself; there may not have been enough memory"

Tell = Callable[[CompareEvent], None]
"""Told of the progress, and in the end of one of the others; from a thread of its own."""


class Comparing:
    """One comparison. `stop` ends it at once; nothing is told from then on."""

    def __init__(self, task: CompareAnswer, tell: Tell) -> None:
        """Start it. Raises OSError if no process can be started."""
        self._tell = tell
        self._stopped = threading.Event()
        self._connection, self._popen = start_child(_BOOT, output=subprocess.DEVNULL)
        self._thread = threading.Thread(target=self._follow, args=(task,), name="comparing", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._popen.pid

    def stop(self) -> None:
        self._stopped.set()
        self._popen.kill()

    def wait(self) -> None:
        """Until the process has ended, and all is told."""
        self._thread.join()

    def _follow(self, task: CompareAnswer) -> None:
        event: CompareEvent = CompareProgress("", 0, 0)
        with self._popen, self._connection:
            with suppress(EOFError, OSError):
                self._connection.send(task)
                while isinstance(event, CompareProgress):
                    event = self._connection.recv()
                    self._say(event)
            self._popen.kill()
        if isinstance(event, CompareProgress):
            self._say(CompareFailed(ENDED))

    def _say(self, event: CompareEvent) -> None:
        if not self._stopped.is_set():
            self._tell(event)


def main() -> None:
    """What the process does."""
    connection = connect_to_parent()
    try:
        task: CompareAnswer = connection.recv()
        found: CompareEvent = short_of_room(task) or compared(task, connection.send)
    except QwenError as error:
        found = CompareFailed(str(error))
    except Exception as error:
        found = CompareFailed(f"unexpected {type(error).__name__}: {error}".splitlines()[0])
    connection.send(found)


def compared(task: CompareAnswer, tell: Tell) -> Compared:
    """The same in this process. Raises QwenError for models that cannot be loaded, or compared."""
    from qwen_core.checkpoint.directory import open_checkpoint
    from qwen_core.checkpoint.locate import resolve_model_path
    from qwen_core.session.comparison import Answer, Kept, check_same_tokens
    from qwen_core.text.tokenizer import load_tokenizer

    paths = [resolve_model_path(name) for name in (task.a, task.b)]
    checkpoints = [open_checkpoint(path) for path in paths]
    check_same_tokens(*(load_tokenizer(one) if one.tokenizer_path else None for one in checkpoints))
    vocabulary = min(one.config.vocab_size for one in checkpoints)
    with Kept(Answer(task.prompt_ids, task.ids), vocabulary) as kept:
        with _loaded(paths[0], task, tell, "A is loaded") as model:
            kept.read_by(model.loaded, _never, _progress(tell, "A reads its answer"))
            a = model.summary()
        with _loaded(paths[1], task, tell, "B is loaded") as model:
            found = kept.against(model.loaded, _never, _progress(tell, "B reads A's answer"))
            assert found is not None, "nothing stops it"
            b_ids: list[int] = []
            for event in model.complete(task.prompt_ids, task.settings):
                b_ids += event.token_ids
                tell(CompareProgress("B answers", len(b_ids), task.settings.max_new_tokens or len(b_ids)))
            tops = {token for side in (found.a, found.b) for step in side for token, _ in step.top}
            spelled = model.spell(sorted({*found.ids, *b_ids, *tops}))
            return Compared(found, tuple(b_ids), spelled, a, model.summary())


def short_of_room(task: CompareAnswer) -> CompareNeedsRoom | None:
    """Whether one of the models, with the answer read, has no place beside the open one. Raises QwenError."""
    if not task.beside:
        return None
    from qwen_core.checkpoint.directory import open_checkpoint
    from qwen_core.checkpoint.locate import resolve_model_path
    from qwen_core.device.backend import is_metal
    from qwen_core.device.machine import memory_limit
    from qwen_core.session.foresight import foresee_loading

    tokens = len(task.prompt_ids) + max(len(task.ids), task.settings.max_new_tokens or 0)
    checkpoints = (open_checkpoint(resolve_model_path(name)) for name in (task.a, task.b))
    needed = max(foresee_loading(checkpoint, task.dtype, tokens).total for checkpoint in checkpoints)
    # Metal tells what a process may take at most, the others what all have left.
    free = max(0, memory_limit() - (task.beside if is_metal() else 0))
    return CompareNeedsRoom(needed, free) if needed > free else None


def _loaded(path: Path, task: CompareAnswer, tell: Tell, words: str) -> Any:
    from qwen_core.session.completion import load_completion

    return load_completion(
        path,
        dtype=task.dtype,
        settings=task.load,
        progress=lambda step: tell(CompareProgress(words, step.done_bytes, step.total_bytes)),
    )


def _progress(tell: Tell, words: str) -> Callable[[int, int], None]:
    return lambda done, total: tell(CompareProgress(words, done, total))


def _never() -> bool:
    return False
