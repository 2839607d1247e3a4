"""What is inside one tensor, and how far it is from the unquantised original."""

import math
from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.text import Text

from qwen_core.figures import percent, shape_text, whole_percent
from qwen_core.tensors.counting import SATURATED_SHARE
from qwen_core.tensors.error import TensorError
from qwen_core.tensors.histogram import CodeCounts, Histogram
from qwen_core.tensors.values import TensorValues
from qwen_tui.commands.inspect_report.formats import MODE_STYLES
from qwen_tui.commands.inspect_report.subject import Subject
from qwen_tui.commands.report import BAD, FAINT, HEADING, Cell, facts, figures, folding, line, paragraph, table
from qwen_tui.layers.facts import MAX_NAME, Fact, FactText, facts_of
from qwen_tui.layers.value_facts import examined, expert_text, histogram_ends, number, row_texts, value_facts
from qwen_tui.text.formatting import exact_size
from qwen_tui.text.safe import one_line
from qwen_tui.text.sparkline import sparkline

# A code has a line of its own up to so many of them; more are one line of bars.
MOST_CODE_LINES = 16
BAR_CELLS = 32


def value_lines(
    subject: Subject, values: TensorValues, error: TensorError | None, width: int
) -> Iterator[RenderableType]:
    """Everything that was found in the tensor."""
    form = values.dtype.lower() if values.spec is None else str(values.spec)
    which = f" · {expert_text(values)}" if values.experts else ""
    yield line(f"{one_line(values.module, MAX_NAME)}{which} · {form}", HEADING)
    yield ""
    yield facts(_statistics(subject, values), width)
    if values.groups is not None:
        yield paragraph(
            f"dead: one value only; saturated: over {whole_percent(SATURATED_SHARE)} of a group at the largest code",
            FAINT,
        )
    if values.codes is not None:
        yield ""
        yield from _code_lines(values.codes, MODE_STYLES.get(values.spec.mode, "") if values.spec else "", width)
    if values.first_rows:
        yield ""
        yield line("first elements of the first rows, and the stored words they come from", FAINT)
        for row in values.first_rows:
            yield from map(line, row_texts(row), ("", FAINT))
    if error is not None:
        yield ""
        yield from error_lines(error, width)


def _statistics(subject: Subject, values: TensorValues) -> Iterator[tuple[str, Cell]]:
    graphs = {"values": values.values, "scales": values.scales.histogram if values.scales else None}
    for fact in (*_headers(subject, values), *value_facts(values)):
        yield fact.label, _joined(fact.pieces)
        yield "", _graph(graphs.get(fact.label))


def _headers(subject: Subject, values: TensorValues) -> Iterable[Fact]:
    """What the headers say; of a tensor beside the text model where it lies."""
    module = subject.layout.index.get(values.module)
    if module is not None:
        return facts_of(module, subject.layout, subject.checkpoint).labelled
    info = subject.checkpoint.tensors[values.names[0]]
    return (
        Fact("shape", [FactText(shape_text(values.shape)), FactText(f"{values.elements:,} elements")]),
        Fact("size", [FactText(exact_size(values.stored_bytes)), FactText(f"at byte {info.offset:,}")]),
        Fact("tensors", [FactText(one_line(info.name, MAX_NAME)), FactText(f"in {one_line(info.file.name)}")]),
    )


def _joined(pieces: Iterable[FactText]) -> Text:
    return Text(", ").join(Text(piece.text, BAD if piece.is_bad else "") for piece in pieces)


def _graph(histogram: Histogram | None) -> str:
    """The histogram as one line of bars between its ends."""
    if histogram is None or not histogram.counts:
        return ""
    first, last = histogram_ends(histogram)
    return f"{first} {sparkline(histogram.counts, BAR_CELLS).replace(' ', '·')} {last} ({histogram.label})"


def _code_lines(codes: CodeCounts, style: str, width: int) -> Iterator[RenderableType]:
    whole, peak = max(sum(codes.counts), 1), max(*codes.counts, 1)
    if len(codes.counts) > MOST_CODE_LINES:
        most = max(range(len(codes.counts)), key=lambda index: codes.counts[index])
        used = f"{sum(count > 0 for count in codes.counts)} of {len(codes.counts)} used"
        often = f"most often {codes.names[most]} ({percent(codes.counts[most] / whole)})"
        yield line(f"codes ({codes.label}): {used}, {often}", FAINT)
        bars = sparkline(codes.counts, min(64, width - 24)).replace(" ", "·")
        yield line(f"{codes.names[0]} {bars} {codes.names[-1]}")
        return
    rows: list[list[Cell]] = []
    for name, count in zip(codes.names, codes.counts, strict=True):
        bar = "█" * math.ceil(BAR_CELLS * count / peak)
        rows.append([name, percent(count / whole), Text(f"{count:,}", FAINT), Text(bar, style)])
    yield table((*map(figures, ("code", "share", "count")), folding("", 4)), rows, width)


def error_lines(error: TensorError, width: int) -> Iterator[RenderableType]:
    """How far the tensor is from the original."""
    yield line(f"error against {one_line(error.reference_name, MAX_NAME)} ({error.reference_dtype})", FAINT)
    yield facts(_error_facts(error), width)


def _error_facts(error: TensorError) -> Iterator[tuple[str, Cell]]:
    yield "compared", _joined(examined(error))
    if error.non_finite_count:
        yield "left out", f"{error.non_finite_count:,} pairs that are not finite"
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
