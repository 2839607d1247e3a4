"""What every weight would lose in every format: measured once, kept in a file, so that any budget is then arithmetic.

The error is measure.py's, of the unfolded weight: with an importance matrix weighted by it. A few megabytes of a weight
are in memory at a time.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.fingerprint import fingerprint
from qwen_core.checkpoint.layout import role_of
from qwen_core.checkpoint.quantization import FLOAT_MODES, QuantSpec
from qwen_core.checkpoint.recipe import AFFINE_GROUP, ROUTING
from qwen_core.checkpoint.tensor_bytes import TensorBytes
from qwen_core.convert.awq import Vector
from qwen_core.convert.measure import Measure, check_sums
from qwen_core.convert.meter import Meter
from qwen_core.convert.plan import ConversionPlan, Decision, Progress
from qwen_core.convert.rounding import nearest, restored, searched, weighted_square
from qwen_core.convert.transform import element_type, row_pieces, values_of
from qwen_core.device.backend import mx
from qwen_core.errors import CheckpointError, QwenError, quote
from qwen_core.files import json_text, read_json_object, write_private

MAX_BYTES = 64 << 20
_BITS = (2, 3, 4, 5, 6, 8)
_WHAT = "errors of every weight in every format"


@dataclass(frozen=True)
class Candidates:
    """Of one weight: sum of importance x W^2, and by the text of a format the same sum of its error."""

    size: float
    errors: Mapping[str, float]

    def error(self, spec: QuantSpec | None) -> float:
        """That of a format; 0 unquantised."""
        return 0.0 if spec is None else self.errors[str(spec)]


def formats_of(decision: Decision) -> tuple[QuantSpec, ...]:
    """The formats that a weight may get beside a float type. None of what chooses and weighs experts."""
    if not decision.is_matrix or decision.part != "text" or role_of(decision.module) in ROUTING:
        return ()
    columns = decision.shape[-1]
    groups = [group for group in (AFFINE_GROUP, 32) if columns % group == 0][:1]
    affine = [QuantSpec("affine", bits, group) for group in groups for bits in _BITS]
    floats = [QuantSpec(mode, *kind) for mode, kind in FLOAT_MODES.items() if columns % kind[1] == 0]
    return (*affine, *floats)


def key_of(checkpoint: Checkpoint, importance: Mapping[str, Vector], *, search: bool) -> dict[str, Any]:
    """What the errors depend on."""
    digest = hashlib.sha256()
    for module, values in sorted(importance.items()):
        digest.update(module.encode())
        digest.update(values.tobytes())
    return {
        "source": fingerprint(checkpoint),
        "importance": digest.hexdigest()[:32] if importance else None,
        "search": search,
        "head": "by the final norm",  # files from before tied heads were weighted so are of other numbers
    }


def file_name(name: str, key: Mapping[str, Any]) -> str:
    """Of the file for a source called `name`: another key has another file, so that each stays."""
    digest = hashlib.sha256(json_text(key, sort_keys=True).encode()).hexdigest()[:8]
    return f"{name}.errors-{digest}.json"


def measure_candidates(
    plan: ConversionPlan, importance: Mapping[str, Vector], *, search: bool = False, progress: Progress | None = None
) -> dict[str, Candidates]:
    """Of every weight that may be quantised, by canonical module name; `plan` says which tensors there are."""
    wanted = [decision for decision in plan.decisions if formats_of(decision)]
    meter = Meter(sum(decision.source_bytes for decision in wanted), progress)
    with TensorBytes() as source:
        measure = Measure(_with_head(importance, plan, source))
        return {decision.module: _of_weight(source, decision, measure, meter, search) for decision in wanted}


def _with_head(importance: Mapping[str, Vector], plan: ConversionPlan, source: TensorBytes) -> dict[str, Vector]:
    """With the head's importance, which llama.cpp measures only when asked to: what the final norm gives has a mean
    square of about its weight's, w^2, where a plain 1 would be in other units than all the rest."""
    found = dict(importance)
    head = "lm_head" if any(decision.module == "lm_head" for decision in plan.decisions) else "embed_tokens"
    norm = next((decision for decision in plan.decisions if decision.module == "norm"), None)
    if found and head not in found and norm is not None:
        bits = source.read(norm.source, 0, norm.source.nbytes).view(element_type(norm))
        found[head] = np.square(np.array(values_of(bits, norm, None, 0).astype(mx.float32)))
    return found


def _of_weight(source: TensorBytes, decision: Decision, measure: Measure, meter: Meter, search: bool) -> Candidates:
    specs = formats_of(decision)
    sums = np.zeros(1 + len(specs))
    rows = np.prod(decision.shape[:-1])
    meter.begin(decision.source.name)
    for row, bits in row_pieces(source, decision):
        exact = values_of(bits, decision, None, row).astype(mx.float32)
        rounded, cost = exact.astype(mx.bfloat16), measure.weighting(decision, None, row, len(bits)).whole
        sums[0] += weighted_square(cost, exact)
        for number, spec in enumerate(specs, 1):
            values = restored(searched(rounded, spec, cost), spec) if search else nearest(rounded, spec)
            sums[number] += weighted_square(cost, values - exact)
        meter.reached((row + len(bits)) / rows * decision.source_bytes)
    check_sums(sums, decision.source.name)
    meter.finish(decision.source_bytes)
    return Candidates(float(sums[0]), {str(spec): float(error) for spec, error in zip(specs, sums[1:], strict=True)})


def keep_candidates(path: Path, key: Mapping[str, Any], found: Mapping[str, Candidates]) -> None:
    """Write the file, whole or not at all."""
    weights = {module: {"size": one.size, "errors": dict(one.errors)} for module, one in found.items()}
    try:
        write_private(path, json_text({"what": _WHAT, **key, "weights": weights}, indent=1).encode())
    except OSError as error:
        raise QwenError(f"{quote(path)} cannot be written: {quote(error.strerror or error)}") from None


def kept_candidates(path: Path, key: Mapping[str, Any], plan: ConversionPlan) -> dict[str, Candidates] | None:
    """What the file holds; None where there is none, or it is of another source, matrix or search.

    Raises CheckpointError for a file that is something else, which must not be overwritten, or is damaged.
    """
    if not path.exists():
        return None
    value = read_json_object(path, MAX_BYTES)
    if value.get("what") != _WHAT:
        raise CheckpointError(f"{quote(path)} is no file of errors that this program wrote: name another")
    if any(value.get(name) != wanted for name, wanted in key.items()):
        return None
    weights = value.get("weights")
    wanted = {decision.module: formats_of(decision) for decision in plan.decisions if formats_of(decision)}
    try:
        assert isinstance(weights, dict)
        return {
            module: Candidates(
                _number(weights[module]["size"]), {str(s): _number(weights[module]["errors"][str(s)]) for s in specs}
            )
            for module, specs in wanted.items()
        }
    except (AssertionError, KeyError, OverflowError, TypeError, ValueError):
        raise CheckpointError(f"{quote(path)} is damaged: remove it, and it is measured anew") from None


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ValueError(value)
    return float(value)
