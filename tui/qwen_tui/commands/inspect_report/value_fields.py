"""The values inside one tensor, and its error, as plain values for --json. What is not a finite number is null."""

import math
from typing import Any

from qwen_core.tensors.counting import ScaleValues
from qwen_core.tensors.error import TensorError
from qwen_core.tensors.histogram import Histogram
from qwen_core.tensors.values import TensorValues
from qwen_tui.commands.inspect_report.subject import Subject


def value_fields(subject: Subject, values: TensorValues, error: TensorError | None) -> dict[str, Any]:
    """All that was read of the tensor, and `error` where it was compared."""
    info = subject.checkpoint.tensors[values.names[0]]
    spec, scales, codes, groups = values.spec, values.scales, values.codes, values.groups
    return {
        "module": values.module,
        "tensors": list(values.names),
        "mode": spec.mode if spec else values.dtype.lower(),
        "bits": spec.bits if spec else None,
        "group_size": spec.group_size if spec else None,
        "dtype": values.dtype,
        "shape": list(values.shape),
        "bytes": values.stored_bytes,
        "shard": info.file.name,
        "offset": info.offset,
        "elements": values.elements,
        "examined": values.examined,
        "sampled": values.sampled,
        "minimum": finite(values.minimum),
        "maximum": finite(values.maximum),
        "mean": finite(values.mean),
        "standard_deviation": finite(values.standard_deviation),
        "zero_count": values.zero_count,
        "nan_count": values.nan_count,
        "infinite_count": values.infinite_count,
        "values": _histogram_fields(values.values),
        "scales": scales and _scale_fields(scales),
        "codes": codes and {"label": codes.label, "names": list(codes.names), "counts": list(codes.counts)},
        "groups": groups
        and {
            "size": groups.size,
            "examined": groups.examined,
            "dead": groups.dead,
            "saturated": groups.saturated,
        },
        "first_rows": [
            {
                "row": row.row,
                "values": [finite(value) for value in row.values],
                "words": list(row.words),
                "scale": finite(row.scale),
                "bias": finite(row.bias),
            }
            for row in values.first_rows
        ],
        "error": error and error_fields(error),
    }


def _scale_fields(scales: ScaleValues) -> dict[str, Any]:
    return {
        "format": scales.format,
        "minimum": finite(scales.minimum),
        "maximum": finite(scales.maximum),
        "zero_count": scales.zero_count,
        "negative_count": scales.negative_count,
        "nan_count": scales.nan_count,
        "infinite_count": scales.infinite_count,
        "histogram": _histogram_fields(scales.histogram),
    }


def error_fields(error: TensorError) -> dict[str, Any]:
    """`snr_db` is null where there is no finite one; `exact` tells the two reasons apart."""
    worst = error.worst
    return {
        "reference": error.reference_name,
        "reference_dtype": error.reference_dtype,
        "examined": error.examined,
        "sampled": error.sampled,
        "non_finite_count": error.non_finite_count,
        "exact": error.relative_error == 0,
        "snr_db": finite(error.snr_db),
        "cosine": finite(error.cosine),
        "relative_error": finite(error.relative_error),
        "rmse": finite(error.rmse),
        "max_abs_error": finite(error.max_abs_error),
        "worst": worst and {"row": worst.row, "column": worst.column, "size": worst.size, "rmse": finite(worst.rmse)},
    }


def _histogram_fields(histogram: Histogram | None) -> dict[str, Any] | None:
    if histogram is None:
        return None
    return {"label": histogram.label, "edges": list(histogram.edges), "counts": list(histogram.counts)}


def finite(value: float | None) -> float | None:
    """`value` where JSON has it."""
    return value if value is not None and math.isfinite(value) else None
