"""qwen_core: an inference engine for Qwen3.5, 3.6 and 3.8 text checkpoints on MLX. This is its public face.

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
    from qwen_core.engine.loading import load_session
    from qwen_core.model.model import Model, load_model
    from qwen_core.protocol.events import GenerationSettings, LoadSettings, Message, StreamEvent
    from qwen_core.protocol.stats import TurnStats
    from qwen_core.session.session import Session
    from qwen_core.text.template import ChatTemplate
    from qwen_core.text.tokenizer import Tokenizer

__all__ = [
    "ChatTemplate",
    "Checkpoint",
    "GenerationSettings",
    "LoadSettings",
    "Message",
    "Model",
    "QwenError",
    "Session",
    "StreamEvent",
    "Tokenizer",
    "TurnStats",
    "__version__",
    "demo_model_path",
    "load_model",
    "load_session",
    "open_checkpoint",
]

_HOMES = {
    "ChatTemplate": "text.template",
    "Checkpoint": "checkpoint.directory",
    "GenerationSettings": "protocol.events",
    "LoadSettings": "protocol.events",
    "Message": "protocol.events",
    "Model": "model.model",
    "Session": "session.session",
    "StreamEvent": "protocol.events",
    "Tokenizer": "text.tokenizer",
    "TurnStats": "protocol.stats",
    "demo_model_path": "demo",
    "load_model": "model.model",
    "load_session": "engine.loading",
    "open_checkpoint": "checkpoint.directory",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
