"""A session or a completion as `LoadSettings.hosts` says: of this process alone, or with rank 0's part of the model.

The ranks of a process are started once and stay until it ends, whatever models they hold in between: MLX joins one
group in the life of a process.
"""

import atexit
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.fingerprint import fingerprint
from qwen_core.engine.hosts import Hosts, read_hosts
from qwen_core.engine.ranks import Lost, Ranks, end_process
from qwen_core.errors import EngineError, QwenError
from qwen_core.model.collectives import Collectives
from qwen_core.model.led import load_led
from qwen_core.model.model import Model
from qwen_core.model.shard import check_split
from qwen_core.protocol.events import LoadProgress, LoadSettings
from qwen_core.protocol.ranks import RankSummary
from qwen_core.session import completion, session
from qwen_core.session.completion import Completion
from qwen_core.session.loading import Progress, Stopped
from qwen_core.session.session import Session
from qwen_core.version import __version__


def load_session(
    path: str | Path,
    system: str | None = None,
    *,
    dtype: str | None = None,
    settings: LoadSettings | None = None,
    progress: Progress | None = None,
    stop: Stopped | None = None,
    lost: Lost = end_process,
) -> Session:
    """As `qwen_core.session.session.load_session`, on the hosts of `settings`. Where there are several, `lost` is told
    the one line that says which rank was lost, and ends this process.
    """
    loader = _loader(settings, lost)
    loaded = session.load_session(
        path, system, dtype=dtype, settings=settings, progress=progress, stop=stop, load_model=loader
    )
    if isinstance(loader, _RankedLoader):
        loaded.loaded.summary = replace(loaded.loaded.summary, hosts=loader.summaries)
    return loaded


def load_completion(
    path: str | Path,
    *,
    dtype: str | None = None,
    settings: LoadSettings | None = None,
    progress: Progress | None = None,
    stop: Stopped | None = None,
    lost: Lost = end_process,
) -> Completion:
    """As `qwen_core.session.completion.load_completion`, likewise."""
    loader = _loader(settings, lost)
    loaded = completion.load_completion(
        path, dtype=dtype, settings=settings, progress=progress, stop=stop, load_model=loader
    )
    if isinstance(loader, _RankedLoader):
        loaded.loaded.summary = replace(loaded.loaded.summary, hosts=loader.summaries)
    return loaded
