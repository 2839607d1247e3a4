"""qwen_core: an inference engine for Qwen3.5/3.6 text checkpoints on MLX. This is its public face.

Importing it costs nothing: every name below is imported when it is first used, so reading a checkpoint's headers
never starts MLX, and a missing backend is reported only where one is needed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from qwen_core.errors import QwenError
from qwen_core.version import __version__

if TYPE_CHECKING:
    from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
    from qwen_core.demo import demo_model_path
    from qwen_core.model.model import Model, load_model
    from qwen_core.session.session import Session, load_session

__all__ = [
    "Checkpoint",
    "Model",
    "QwenError",
    "Session",
    "__version__",
    "demo_model_path",
    "load_model",
    "load_session",
    "open_checkpoint",
]

_HOMES = {
    "Checkpoint": "qwen_core.checkpoint.directory",
    "Model": "qwen_core.model.model",
    "Session": "qwen_core.session.session",
    "demo_model_path": "qwen_core.demo",
    "load_model": "qwen_core.model.model",
    "load_session": "qwen_core.session.session",
    "open_checkpoint": "qwen_core.checkpoint.directory",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'qwen_core' has no attribute {name!r}")
    return getattr(import_module(home), name)
