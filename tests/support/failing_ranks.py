"""Real ranks on this machine that do what a test says: die, stop, answer late, or have other files.

`load_session` is a factory for `Engine`, and `follow` what the processes of its ranks run. Both read the `Stage` in the
folder that the environment names, whenever a load begins.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from support.checkpoints import write_checkpoint
from support.engines import is_gone, wait_until
from support.published_plan import SHARED
from support.text import write_text_files

FACTORY = "support.failing_ranks:load_session"
VARIABLE = "QWEN_TUI_TEST_STAGE"


@dataclass(frozen=True)
class Stage:
    """What rank 1 does: at its `at`-th command called `do`, counted from 0, it is sent `signal_name`, or with `waits`
    waits for `open`. `version`, `mlx`: what it says of itself. `model`: the directory that it finds."""

    folder: str
    silence_s: float = 10.0
    do: str = ""
    at: int = 0
    signal_name: str = ""
    waits: bool = False
    version: str = ""
    mlx: str = ""
    model: str = ""

    def set(self, patch: pytest.MonkeyPatch) -> None:
        """Have it count, and nothing be known of processes before."""
        for rank in range(1, 4):
            (Path(self.folder) / str(rank)).unlink(missing_ok=True)
        (Path(self.folder) / "stage.json").write_text(json.dumps(asdict(self)))
        patch.setenv(VARIABLE, self.folder)

    def pid(self, rank: int = 1) -> int:
        """Of a rank's process, once it has begun."""
        file = Path(self.folder) / str(rank)
        wait_until(lambda: file.exists() and file.read_text() != "", f"the start of rank {rank}")
        return int(file.read_text())

    @property
    def started(self) -> bool:
        """Whether there was a process of a rank."""
        return (Path(self.folder) / "1").exists()

    def wait_until_it_waits(self) -> None:
        wait_until((Path(self.folder) / "waiting").exists, "the command that it waits at")

    def open(self) -> None:
        """Let it go on."""
        (Path(self.folder) / "open").touch()

    def wait_for_the_end(self, ranks: int = 2) -> None:
        """Until no process of the others is left."""
        pids = [self.pid(rank) for rank in range(1, ranks)]
        wait_until(lambda: all(map(is_gone, pids)), "the end of the ranks")


def shared_model(path: Path, **text: Any) -> Path:
    """A model to talk with that four ranks can share."""
    write_checkpoint(path, text={**SHARED, **text})
    write_text_files(path)
    return path


def load_session(*arguments: Any, **named: Any) -> Any:
    """That of `qwen_core.engine.loading`, with other processes."""
    from qwen_core.engine import loading

    lead()
    return loading.load_session(*arguments, **named)


def lead() -> None:
    """Have this process start ranks that run `follow`."""
    from qwen_core.engine import rank_process, ranks

    ranks.SILENCE_S = _stage().silence_s
    rank_process.BOOT = "from support.failing_ranks import follow; follow()"


def follow() -> None:
    """What the process of a rank runs."""
    from qwen_core.engine import hello, rank

    stage = _stage()
    (Path(stage.folder) / os.environ["MLX_RANK"]).write_text(str(os.getpid()))
    if os.environ["MLX_RANK"] == "1":
        _play(stage, rank.Rank)
        if stage.model:
            rank.found_there = lambda path, below_home: hello.found_there(stage.model, "")
        hello.__version__ = stage.version or hello.__version__
        if stage.mlx:
            hello.version = lambda name: stage.mlx
    rank.main()


def _play(stage: Stage, kind: Any) -> None:
    done: Callable[..., Any] = kind._do
    seen = 0

    def do(self: Any, command: dict[str, Any]) -> Any:
        nonlocal seen
        if command["do"] == stage.do:
            if seen == stage.at:
                _meddle(stage)
            seen += 1
        return done(self, command)

    kind._do = do


def _meddle(stage: Stage) -> None:
    if stage.signal_name:
        os.kill(os.getpid(), signal.Signals[stage.signal_name])
    if stage.waits:
        (Path(stage.folder) / "waiting").touch()
        while not (Path(stage.folder) / "open").exists():
            time.sleep(0.005)


def _stage() -> Stage:
    return Stage(**json.loads((Path(os.environ[VARIABLE]) / "stage.json").read_text()))
