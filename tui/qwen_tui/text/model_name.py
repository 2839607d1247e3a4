"""What a model is called on screen, where the name of its directory alone would say nothing."""

from pathlib import Path

from qwen_core.demo import demo_model_path
from qwen_core.protocol.events import ModelSummary

DEMO_NAME = "demo model"


def model_name(model: ModelSummary) -> str:
    """The engine's name for the model, which is its directory's, unless the program knows a better one."""
    return _known_name(Path(model.path).absolute()) or model.name or pending_name(model.path)


def pending_name(path: str) -> str:
    """What to call the model in `path` while nothing else is known of it."""
    place = Path(path).absolute()
    return _known_name(place) or place.resolve().name or path


def _known_name(place: Path) -> str:
    """The name of the bundled model, or of a repository in the Hugging Face cache, whose directories commits name."""
    if place == demo_model_path():
        return DEMO_NAME
    repository = place.parent.parent.name
    if place.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.removeprefix("models--").split("--", 1)[-1]
    return ""
