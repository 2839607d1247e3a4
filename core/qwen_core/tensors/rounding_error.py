"""What quantisation cost each weight of a model: the figures, and the file that keeps them.

The converter writes the file beside the weights where it measured. For a model without one `inspect --errors` measures
against the original, and keeps it among the program's own files. It is a JSON object, bounded when read.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.fingerprint import fingerprint
from qwen_core.checkpoint.layout import Layout, make_layout
from qwen_core.errors import CheckpointError, quote
from qwen_core.files import read_json_object
from qwen_core.settings.paths import location

ERRORS_FILE = "quantization_errors.json"
MAX_BYTES = 32 << 20
# A weight that has become noise many times its own size: beyond, the figures cannot be true.
_MOST_RELATIVE = 1e6


@dataclass(frozen=True)
class RoundingError:
    """`error`: sum of importance x (W - W')^2 over a weight; `size`: the same sum of W^2. Without an importance matrix
    (`weighted` false) importance is 1."""

    error: float
    size: float
    weighted: bool

    @property
    def relative(self) -> float:
        """sqrt(error / size): 0 for an exact weight, 1 for one that is lost."""
        return math.sqrt(self.error / self.size) if self.size > 0 else 0.0


def errors_as_json(errors: Mapping[str, RoundingError]) -> dict[str, Any]:
    """The contents of the file."""
    return {
        "version": 1,
        "weights": {
            module: {"error": found.error, "size": found.size, "weighted": found.weighted}
            for module, found in sorted(errors.items())
        },
    }


def read_errors(file: Path) -> dict[str, RoundingError]:
    """The errors by canonical module name in a file; {} where there is none. Raises CheckpointError for a file that
    cannot be true."""
    if not file.exists():
        return {}
    weights = read_json_object(file, MAX_BYTES).get("weights")
    if not isinstance(weights, dict):
        raise CheckpointError(f"{quote(file)} has no weights: remove it, or convert the model again")
    return {module: _error(value, module, file) for module, value in weights.items()}


def kept_file(checkpoint: Checkpoint) -> Path:
    """Where the errors of a model are kept that did not bring them."""
    return location("state") / f"errors-of-{fingerprint(checkpoint)}.json"


def errors_of(checkpoint: Checkpoint) -> dict[str, RoundingError]:
    """The errors of a model by canonical module name, from its own file or from what was kept; {} where there is none.
    Raises CheckpointError for a file that cannot be true."""
    beside = checkpoint.path / ERRORS_FILE
    return read_errors(beside if beside.exists() else kept_file(checkpoint))


def with_errors(layout: Layout, errors: Mapping[str, float]) -> Layout:
    """The same with the errors of modules, by canonical name."""
    modules = tuple(replace(module, error=errors.get(module.canonical)) for module in layout.modules)
    return replace(layout, modules=modules)


def measured_layout(checkpoint: Checkpoint) -> Layout:
    """`make_layout` with the errors that are known; a damaged file of them is a warning."""
    layout = make_layout(checkpoint)
    try:
        errors = {module: found.relative for module, found in errors_of(checkpoint).items()}
    except CheckpointError as error:
        return replace(layout, warnings=(*layout.warnings, str(error)))
    return with_errors(layout, errors) if errors else layout


def _error(value: Any, module: str, file: Path) -> RoundingError:
    try:
        found = RoundingError(_number(value["error"]), _number(value["size"]), value.get("weighted") is True)
        if not found.relative < _MOST_RELATIVE:
            raise ValueError(value)
        return found
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        raise CheckpointError(f"{quote(file)}: the entry of {quote(module)} is damaged: remove the file") from None


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ValueError(value)
    return float(value)
