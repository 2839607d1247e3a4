"""What is said of the values inside a tensor, in words: by the inspector's screens and by `inspect`. Pure."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qwen_core.figures import decimal_size, percent, shape_text
from qwen_tui.layers.facts import Fact, FactText

if TYPE_CHECKING:  # NumPy behind it: too slow an import for the first screen
    from qwen_core.tensors.counting import ScaleValues
    from qwen_core.tensors.histogram import Histogram
    from qwen_core.tensors.stored_tensor import Examined
    from qwen_core.tensors.values import RowSample, TensorValues


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


def span(low: float | None, high: float | None) -> str:
    return "nothing finite" if low is None or high is None else f"{number(low)} … {number(high)}"


def histogram_ends(histogram: "Histogram") -> tuple[str, str]:
    """What the first and the last edge stand for."""
    first, last = histogram.edges[0], histogram.edges[-1]
    return (f"2^{first:g}", f"2^{last:g}") if "exponent" in histogram.label else (number(first), number(last))


def expert_text(values: "TensorValues") -> str:
    """Which experts of a stack the values are of."""
    if values.expert is None:
        return f"all {values.experts} experts"
    return f"expert {values.expert} of {values.experts}"


def value_facts(values: "TensorValues") -> list[Fact]:
    """Everything that is counted: how much of it, range and mean, scales, dead and saturated groups, NaN."""
    facts = {
        "experts": _experts(values),
        "examined": examined(values),
        "values": _values(values),
        "scales": _scales(values.scales, values.factor),
        "groups": _groups(values),
        "not finite": _not_finite(values),
    }
    return [Fact(label, pieces) for label, found in facts.items() if (pieces := tuple(found))]


def _experts(values: "TensorValues") -> Iterator[FactText]:
    if not values.experts:
        return
    yield FactText(expert_text(values))
    if values.expert is not None:
        yield FactText(f"{shape_text(values.shape)}, {decimal_size(values.stored_bytes)}")


def examined(found: "Examined") -> Iterator[FactText]:
    """How much of a tensor was looked at."""
    if found.sampled:
        yield FactText(f"sampled: {percent(found.share)} of its groups", brief=True)
        yield FactText(f"{found.examined:,} elements: whole groups, evenly spread")
    else:
        yield FactText("all of it")


def _values(values: "TensorValues") -> Iterator[FactText]:
    yield FactText(span(values.minimum, values.maximum))
    if values.mean is not None and values.standard_deviation is not None:
        yield FactText(f"mean {number(values.mean)}", brief=True)
        yield FactText(f"deviation {number(values.standard_deviation)}", brief=True)
    if values.minimum is not None:
        yield FactText(f"{percent(values.zero_count / values.examined)} zero")


def _scales(scales: "ScaleValues | None", factor: float | None) -> Iterator[FactText]:
    if scales is None:
        return
    yield FactText(scales.format)
    yield FactText(span(scales.minimum, scales.maximum))
    for count, what in ((scales.zero_count, "zero"), (scales.negative_count, "negative")):
        if count:
            yield FactText(f"{count:,} {what}")
    if factor is not None:
        yield FactText(f"all times {number(factor)}", is_bad=not 0 < factor < math.inf)


def _groups(values: "TensorValues") -> Iterator[FactText]:
    groups = values.groups
    if groups is None:
        return
    yield FactText(f"{groups.examined:,} of {groups.size}")
    if groups.dead:
        yield FactText(f"{groups.dead:,} of {groups.examined:,} groups dead", brief=True, is_bad=True)
    else:
        yield FactText("no dead groups", brief=True)
    share = percent(groups.saturated / groups.examined if groups.examined else 0.0)
    yield FactText(f"{share} saturated", brief=bool(groups.saturated))


def _not_finite(values: "TensorValues") -> list[FactText]:
    scales = values.scales
    counts = (
        (values.nan_count, "NaN"),
        (values.infinite_count, "infinite"),
        (scales.nan_count if scales else 0, "scales NaN"),
        (scales.infinite_count if scales else 0, "scales infinite"),
    )
    bad = [FactText(f"{count:,} {what}", brief=True, is_bad=True) for count, what in counts if count]
    return bad or [FactText("none: no NaN, no infinity")]


def row_texts(row: "RowSample") -> tuple[str, str]:
    """The first elements of a row, and below them the words they are packed in."""
    words = " ".join(row.words)
    for name, factor in (("scale", row.scale), ("bias", row.bias)):
        if factor is not None:
            words += f", {name} {number(factor)}"
    return f"row {row.row}".ljust(6) + "".join(f"{value:>9.3g}" for value in row.values), f"{'':<8}{words}"
