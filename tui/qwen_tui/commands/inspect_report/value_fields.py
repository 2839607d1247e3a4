"""The values inside one tensor, and its error, as plain values for --json. What is not a finite number is null."""

import math
from typing import Any

from qwen_core.tensors.error import TensorError
from qwen_core.tensors.histogram import Histogram
from qwen_core.tensors.stored_tensor import find_tensor
from qwen_core.tensors.values import TensorValues
from qwen_tui.commands.inspect_report.subject import Subject
from qwen_tui.commands.output import fields_of

_STATISTICS = (
    *("elements", "examined", "sampled", "minimum", "maximum", "mean", "standard_deviation"),
    *("zero_count", "nan_count", "infinite_count"),
)
_SCALES = ("format", "minimum", "maximum", "zero_count", "negative_count", "nan_count", "infinite_count")


def value_fields(subject: Subject, values: TensorValues, error: TensorError | None) -> dict[str, Any]:
    """All that was read of the tensor, and `error` where it was compared."""
    info = find_tensor(subject.checkpoint, values.module, values.expert).weight
    spec, scales, groups = values.spec, values.scales, values.groups
    return finite(
        {
            "module": values.module,
            "tensors": values.names,
            "mode": spec.mode if spec else values.dtype.lower(),
            "bits": spec.bits if spec else None,
            "group_size": spec.group_size if spec else None,
            "dtype": values.dtype,
            "shape": values.shape,
            "experts": values.experts or None,
            "expert": values.expert,
            "bytes": values.stored_bytes,
            "shard": info.file.name,
            "offset": info.offset,
            **fields_of(values, *_STATISTICS, "factor"),
            "values": _histogram(values.values),
            "scales": scales and {**fields_of(scales, *_SCALES), "histogram": _histogram(scales.histogram)},
            "codes": values.codes and fields_of(values.codes, "label", "names", "counts"),
            "groups": groups and fields_of(groups, "size", "examined", "dead", "saturated"),
            "first_rows": [fields_of(row, "row", "values", "words", "scale", "bias") for row in values.first_rows],
            "error": error and error_fields(error),
        }
    )


def error_fields(error: TensorError) -> dict[str, Any]:
    """`snr_db` is null where there is no finite one; `exact` tells the two reasons apart."""
    return {
        "reference": error.reference_name,
        "reference_dtype": error.reference_dtype,
        **fields_of(error, "examined", "sampled", "non_finite_count"),
        "exact": error.relative_error == 0,
        **fields_of(error, "snr_db", "cosine", "relative_error", "rmse", "max_abs_error"),
        "worst": error.worst and fields_of(error.worst, "row", "column", "size", "rmse"),
    }


def _histogram(histogram: Histogram | None) -> dict[str, Any] | None:
    return histogram and fields_of(histogram, "label", "edges", "counts")


def finite(value: Any) -> Any:
    """`value` where JSON has it, in all that it holds."""
    if isinstance(value, dict):
        return {name: finite(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [finite(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
