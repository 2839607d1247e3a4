"""What a rank says of itself before anything is loaded, and of a checkpoint; and whether it fits what rank 0 has."""

import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.fingerprint import fingerprint
from qwen_core.errors import CheckpointError, EngineError, quote
from qwen_core.version import __version__


def introduction() -> dict[str, Any]:
    """This process: its id, the versions that must be the same everywhere, and the memory that models may take here.

    Raises BackendError without MLX.
    """
    from qwen_core.device.backend import device_info
    from qwen_core.device.hardware import memory_bytes, recommended_bytes

    memory = min(memory_bytes(), recommended_bytes(device_info()) or memory_bytes())
    return {"pid": os.getpid(), "qwen-tui": __version__, "mlx": version("mlx"), "memory_bytes": memory}


def check_versions(said: Mapping[str, Any], called: str) -> None:
    """EngineError where the rank that is `called` so has another version than this process."""
    for name, own in (("qwen-tui", __version__), ("mlx", version("mlx"))):
        if (other := said.get(name)) != own:
            raise EngineError(f"{called} has {name} {quote(other)}, here it is {own}: install the same on every host")


def place(checkpoint: Checkpoint) -> dict[str, str]:
    """Where another machine may have the same model: at the same path, or at the same place below its home folder."""
    path = checkpoint.path.absolute()
    below = path.relative_to(Path.home()) if path.is_relative_to(Path.home()) else ""
    return {"path": str(path), "below_home": str(below)}


def found_there(path: str, below_home: str) -> tuple[str, str]:
    """(path, fingerprint) of the model that another machine has at such a `place`. Raises CheckpointError for none."""
    if not Path(path).is_dir():
        if not below_home:
            raise CheckpointError(f"there is no model directory {quote(path)}")
        path = str(Path.home() / below_home)
    return path, fingerprint(open_checkpoint(path))


def check_same(said: Mapping[str, Any], own: str, path: object, called: str) -> None:
    """EngineError where the rank that is `called` so has other files than those in `path`, whose fingerprint is
    `own`."""
    if (other := said.get("fingerprint")) != own:
        raise EngineError(
            f"{called} has another checkpoint ({quote(other)}, here {own}): copy {quote(path)} to every host"
        )
