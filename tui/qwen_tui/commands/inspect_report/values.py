"""The values inside one tensor as lines, and its error against the unquantised original."""

import math
from collections.abc import Iterator

from rich.text import Text

from qwen_core.figures import shape_text
from qwen_core.tensors.error import TensorError
from qwen_core.tensors.histogram import Histogram
from qwen_core.tensors.values import SATURATED_SHARE, RowSample, ScaleValues, TensorValues
from qwen_tui.commands.inspect_report.grid import (
    BAD,
    FAINT,
    HEADING,
    MODE_STYLES,
    Column,
    Row,
    clipped,
    facts,
    grid,
    padded,
    plain,
)
from qwen_tui.commands.inspect_report.subject import Subject
from qwen_tui.text.formatting import exact_size, percent
from qwen_tui.text.safe import one_line
from qwen_tui.text.sparkline import sparkline

MAX_NAME = 200
# A code has a line of its own up to so many of them; more are one line of bars.
MOST_CODE_LINES = 16
BAR_CELLS = 32


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


def value_lines(subject: Subject, values: TensorValues, error: TensorError | None, width: int) -> Iterator[Text]:
    """Everything that was found in the tensor."""
    yield plain(clipped(f"{one_line(values.module, MAX_NAME)} · {_format(values)}", width), HEADING)
    yield plain("")
    for line, is_bad in _statistics(subject, values, width):
        if is_bad:
            line.stylize(BAD)
        yield line
    if values.codes is not None:
        yield plain("")
        yield from _code_lines(values, width)
    if values.first_rows:
        yield plain("")
        yield plain(clipped("first elements of the first rows, and the stored words they come from", width), FAINT)
        for row in values.first_rows:
            yield from _row_lines(row, width)
    if error is not None:
        yield plain("")
        yield from error_lines(error, width)


def _format(values: TensorValues) -> str:
    return values.dtype.lower() if values.spec is None else str(values.spec)


def _statistics(subject: Subject, values: TensorValues, width: int) -> Iterator[tuple[Text, bool]]:
    """(line, whether it says that something is wrong)."""
    for label, text, is_bad in (
        ("tensors", ", ".join(one_line(name, MAX_NAME) for name in values.names), False),
        ("stored", _place(subject, values), False),
        ("shape", f"{shape_text(values.shape)}, {values.elements:,} elements", False),
        ("examined", _examined(values.share, values.examined), False),
        ("values", _range(values), False),
        ("", _graph(values.values), False),
        ("scales", _scales(values.scales), False),
        ("", _graph(values.scales.histogram if values.scales else None), False),
        ("groups", _groups(values), values.groups is not None and values.groups.dead > 0),
        ("not finite", _not_finite(values), _is_broken(values)),
    ):
        for line in facts([(f"{label:<10}", text)], width):
            yield line, is_bad


def _place(subject: Subject, values: TensorValues) -> str:
    info = subject.checkpoint.tensors[values.names[0]]
    where = f"{one_line(info.file.name)} at byte {info.offset:,}"
    return f"{exact_size(values.stored_bytes)}, the weight as {values.dtype} in {where}"


def _examined(share: float, examined: int) -> str:
    if share >= 1:
        return "all of it"
    return f"{percent(share)} of it, {examined:,} elements: whole groups, evenly spread"


def _range(values: TensorValues) -> str:
    if values.minimum is None or values.maximum is None:
        return "none is finite"
    text = f"{number(values.minimum)} … {number(values.maximum)}"
    if values.mean is not None and values.standard_deviation is not None:
        text += f", mean {number(values.mean)}, standard deviation {number(values.standard_deviation)}"
    return f"{text}, {percent(values.zero_count / values.examined if values.examined else 0.0)} zero"


def _scales(scales: ScaleValues | None) -> str:
    if scales is None:
        return ""
    text = f"{scales.format}, "
    if scales.minimum is None or scales.maximum is None:
        text += "none is finite"
    else:
        text += f"{number(scales.minimum)} … {number(scales.maximum)}"
    counts = ((scales.zero_count, "zero"), (scales.negative_count, "negative"))
    return text + "".join(f", {count:,} {what}" for count, what in counts if count)


def _graph(histogram: Histogram | None) -> str:
    """The histogram as one line of bars between its ends."""
    if histogram is None or not histogram.counts:
        return ""
    low, high = histogram.edges[0], histogram.edges[-1]
    ends = (f"2^{low:g}", f"2^{high:g}") if "exponent" in histogram.label else (number(low), number(high))
    return f"{ends[0]} {sparkline(histogram.counts, BAR_CELLS).replace(' ', '·')} {ends[1]} ({histogram.label})"


def _groups(values: TensorValues) -> str:
    groups = values.groups
    if groups is None:
        return ""
    saturated = percent(groups.saturated / groups.examined if groups.examined else 0.0)
    return (
        f"{groups.examined:,} of {groups.size}: {groups.dead:,} dead (one value only), {groups.saturated:,} saturated "
        f"({saturated}; more than {SATURATED_SHARE:.0%} of a group at the largest code)"
    )


def _broken(values: TensorValues) -> list[str]:
    scales = values.scales
    counts = (
        (values.nan_count, "NaN"),
        (values.infinite_count, "infinite"),
        (scales.nan_count if scales else 0, "scales NaN"),
        (scales.infinite_count if scales else 0, "scales infinite"),
    )
    return [f"{count:,} {what}" for count, what in counts if count]


def _is_broken(values: TensorValues) -> bool:
    return bool(_broken(values))


def _not_finite(values: TensorValues) -> str:
    return ", ".join(_broken(values)) or "none: no NaN, no infinity"


def _code_lines(values: TensorValues, width: int) -> Iterator[Text]:
    codes = values.codes
    if codes is None:
        return
    whole, peak = max(sum(codes.counts), 1), max(*codes.counts, 1)
    if len(codes.counts) > MOST_CODE_LINES:
        most = max(range(len(codes.counts)), key=lambda index: codes.counts[index])
        used = sum(count > 0 for count in codes.counts)
        bars = sparkline(codes.counts, min(64, width - 24)).replace(" ", "·")
        yield plain(clipped(f"codes ({codes.label}): {used} of {len(codes.counts)} used, most often "
                            f"{codes.names[most]} ({percent(codes.counts[most] / whole)})", width), FAINT)  # fmt: skip
        yield plain(clipped(f"{codes.names[0]} {bars} {codes.names[-1]}", width))
        return
    columns = (
        Column("code", right=True),
        Column("share", right=True),
        Column("count", right=True),
        Column("", least=4),
    )
    style = MODE_STYLES.get(values.spec.mode, "") if values.spec else ""
    rows = []
    for name, count in zip(codes.names, codes.counts, strict=True):
        bar = "█" * math.ceil(BAR_CELLS * count / peak)
        rows.append(Row((name, percent(count / whole), f"{count:,}", bar), ("", "", FAINT, style)))
    yield from grid(columns, rows, width)


def _row_lines(row: RowSample, width: int) -> Iterator[Text]:
    label = f"row {row.row}"
    room = max(width - 8, 10)
    yield plain(clipped(f"{label:<6}" + "".join(padded(f"{value:.3g}", 9, right=True) for value in row.values), width))
    words = " ".join(row.words)
    for name, factor in (("scale", row.scale), ("bias", row.bias)):
        if factor is not None:
            words += f", {name} {number(factor)}"
    yield plain(f"{'':<8}{clipped(words, room)}", FAINT)


def error_lines(error: TensorError, width: int) -> Iterator[Text]:
    """How far the tensor is from the original."""
    yield plain(
        clipped(f"error against {one_line(error.reference_name, MAX_NAME)} ({error.reference_dtype})", width), FAINT
    )
    lines = [("compared", _examined(error.share, error.examined))]
    if error.non_finite_count:
        lines.append(("left out", f"{error.non_finite_count:,} pairs that are not finite"))
    lines += _figures(error)
    yield from facts(lines, width)


def _figures(error: TensorError) -> Iterator[tuple[str, str]]:
    if error.snr_db is None or error.rmse is None or error.max_abs_error is None or error.relative_error is None:
        yield "error", "no pair of finite values"
        return
    exact = error.relative_error == 0
    yield "SNR", "exact: every value is the same" if exact else f"{error.snr_db:.2f} dB"
    yield "cosine", "–" if error.cosine is None else f"{error.cosine:.6f}"
    if exact:
        return
    yield "relative", percent(error.relative_error) if math.isfinite(error.relative_error) else "the original is zero"
    yield "RMSE", f"{number(error.rmse)}, the largest error {number(error.max_abs_error)}"
    worst = error.worst
    if worst is not None:
        last = worst.column + worst.size - 1
        yield "worst group", f"row {worst.row:,}, columns {worst.column:,}-{last:,}: RMSE {number(worst.rmse)}"
