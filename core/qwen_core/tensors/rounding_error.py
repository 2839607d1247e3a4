"""What quantisation cost each weight of a model: the figures, and the file beside the weights that keeps them.

The converter writes the file where it measured; the inspector reads it. It is a JSON object, bounded when read.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_core.errors import CheckpointError, quote
from qwen_core.files import read_json_object

ERRORS_FILE = "quantization_errors.json"
MAX_BYTES = 32 << 20


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


def read_errors(directory: Path) -> dict[str, RoundingError]:
    """The errors by canonical module name that the file in a model directory tells; {} where it has none.

    Raises CheckpointError for a file that cannot be true.
    """
    file = directory / ERRORS_FILE
    if not file.exists():
        return {}
    weights = read_json_object(file, MAX_BYTES).get("weights")
    if not isinstance(weights, dict):
        raise CheckpointError(f"{quote(file)} has no weights: remove it, or convert the model again")
    return {module: _error(value, module, file) for module, value in weights.items()}


def _error(value: Any, module: str, file: Path) -> RoundingError:
    try:
        return RoundingError(_number(value["error"]), _number(value["size"]), value.get("weighted") is True)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise CheckpointError(f"{quote(file)}: the entry of {quote(module)} is damaged: remove the file") from None


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ValueError(value)
    return float(value)
