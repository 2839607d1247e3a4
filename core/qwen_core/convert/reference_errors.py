"""What quantisation cost each weight of a model that does not say so, measured against its unquantised original.

What an importance matrix had folded into a weight is found by comparing both models (found_folds.py) and taken out.
Without the matrix all channels count alike.
"""

from statistics import median

import numpy as np

from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.convert.awq import Fold
from qwen_core.convert.found_folds import find_folds
from qwen_core.convert.matrices import matrices
from qwen_core.convert.measure import check_sums
from qwen_core.convert.meter import Meter
from qwen_core.convert.plan import Progress
from qwen_core.convert.quality import check_same_model
from qwen_core.convert.rounding import weighted_square
from qwen_core.device.backend import mx
from qwen_core.errors import CheckpointError, quote
from qwen_core.figures import percent
from qwen_core.tensors.rounding_error import RoundingError

# Zeros in place of a weight are off by all of it; a weight of another model that is of its size by 1.4 times as much.
_MOST_RELATIVE = 1.2
_ROWS = 4096
"""Of a matrix, compared at a time."""


def errors_against(
    original: Checkpoint, model: Checkpoint, progress: Progress | None = None
) -> dict[str, RoundingError]:
    """The errors of every quantised weight of `model`, by canonical module name.

    Raises CheckpointError where the models differ in shape, where `original` is quantised itself, and where its weights
    are others.
    """
    if original.specs:
        raise CheckpointError(f"{quote(original.path)} is quantised itself: name the unquantised original")
    check_same_model(original.config, model.config, model.path)
    folds = find_folds(original, model)
    meter = Meter(sum(model.text[f"{module}.weight"].nbytes for module in model.specs), progress)
    errors = {}
    for module in model.specs:
        meter.begin(module)
        errors[module] = _of_module(original, model, module, folds.get(module, Fold()))
        meter.finish(model.text[f"{module}.weight"].nbytes)
    if errors and (typical := median(found.relative for found in errors.values())) > _MOST_RELATIVE:
        raise CheckpointError(
            f"{quote(model.path)} was not made from {quote(original.path)}: half of its weights differ by more than "
            f"{percent(typical)} of what they are there"
        )
    return errors


def _of_module(original: Checkpoint, model: Checkpoint, module: str, fold: Fold) -> RoundingError:
    error = size = 0.0
    pairs = zip(matrices(original, module), matrices(model, module), strict=True)
    for expert, (before, after) in enumerate(pairs):
        for row in range(0, before.shape[0], _ROWS):
            here = slice(row, row + _ROWS)
            stored = after[here]
            if fold.rows is not None:
                rows = fold.rows if fold.rows.ndim == 1 else fold.rows[expert]
                stored = stored / mx.array(rows[here])[:, None]
            if fold.columns is not None:
                stored = stored / mx.array(fold.columns if fold.columns.ndim == 1 else fold.columns[expert])
            error += weighted_square(mx.array(1.0), stored - before[here])
            size += weighted_square(mx.array(1.0), before[here])
    check_sums(np.array([error, size]), module)
    return RoundingError(error, size, weighted=False)
