"""How fast the kept answers came, by model, as small charts of one line each. Pure text of plain figures."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from textual.content import Content

from qwen_core.figures import whole_percent
from qwen_core.protocol.stats import TurnStats
from qwen_tui.store.figures import AnswerFigures
from qwen_tui.store.records import ModelIdentity
from qwen_tui.text import formatting
from qwen_tui.text.safe import cells, one_line
from qwen_tui.text.sparkline import sparkline

MOST_CHART = 60  # cells
LEAST_CHART = 8
_MOST = 1e15
_FINE = 1_000_000  # a figure as a whole number, as the bars take it


@dataclass(frozen=True)
class Measure:
    """A figure of answers: its name, what it is of one (None: it has none), and how it reads."""

    name: str
    of: Callable[[TurnStats], float | None]
    shown: Callable[[float], str]


def _share_of_ceiling(stats: TurnStats) -> float | None:
    ceiling = stats.ceiling_tok_s
    return stats.decode_tok_s / ceiling if ceiling and stats.decode_tok_s is not None else None


def _accepted(stats: TurnStats) -> float | None:
    return stats.draft.accepted / stats.draft.drafted if stats.draft is not None and stats.draft.drafted else None


MEASURES = (
    Measure("tok/s", lambda stats: stats.decode_tok_s, formatting.number),
    Measure("first token", lambda stats: stats.ttft_s, formatting.seconds),
    Measure("of ceiling", _share_of_ceiling, whole_percent),
    Measure("accepted", _accepted, whole_percent),
)
_LABEL = max(len(measure.name) for measure in MEASURES) + 2


@dataclass(frozen=True)
class ModelHistory:
    """The answers of one model, the oldest first."""

    model: ModelIdentity
    answers: tuple[AnswerFigures, ...]


def by_model(answers: Sequence[AnswerFigures]) -> list[ModelHistory]:
    """The answers by the files that gave them, wherever these lay; the model that answered last comes first."""
    groups: dict[str, list[AnswerFigures]] = {}
    for answer in answers:
        groups.setdefault(answer.model.fingerprint, []).append(answer)
    histories = [ModelHistory(group[-1].model, tuple(group)) for group in groups.values()]
    return sorted(histories, key=lambda history: history.answers[-1].created_at, reverse=True)


def history_lines(histories: Sequence[ModelHistory], width: int) -> list[Content]:
    """A heading for each model, and a chart for each figure that any of its answers has, `width` cells wide at most."""
    lines: list[Content] = []
    for history in histories:
        if lines:
            lines.append(Content(""))
        lines.append(_heading(history, width))
        lines += _charts(history, width)
    return lines


def _heading(history: ModelHistory, width: int) -> Content:
    name = one_line(f"{history.model.name} {history.model.variant}".strip(), 80)
    since = time.strftime("%d %b %Y", time.localtime(history.answers[0].created_at))
    facts = ["", formatting.counted(len(history.answers), "answer"), f"since {since}"]
    return Content.assemble(
        (name, "bold $primary"), (formatting.fit(facts, max(0, width - cells(name))), "$muted")
    ).truncate(width, ellipsis=True)


def _charts(history: ModelHistory, width: int) -> list[Content]:
    """For each figure its name, a bar for each answer or for several, and what it was: last, in the middle, from to."""
    charts = [(measure, values) for measure in MEASURES if (values := _values(measure, history))]
    longest = min(MOST_CHART, max((len(values) for _, values in charts), default=0))
    return [_chart(measure, values, longest, width) for measure, values in charts]


def _values(measure: Measure, history: ModelHistory) -> list[float]:
    """The figure of each answer that has it; a file that someone else has edited may hold any number."""
    values = (measure.of(answer.stats) for answer in history.answers)
    return [value for value in values if value is not None and 0 <= value < _MOST]


def _chart(measure: Measure, values: Sequence[float], longest: int, width: int) -> Content:
    """`longest`: cells that the bars of this model take where there is room, so that what follows is a column."""
    told = [f"last {measure.shown(values[-1])}"]
    if len(values) > 1:
        told += [
            f"median {measure.shown(median(values))}",
            f"{measure.shown(min(values))} to {measure.shown(max(values))}",
        ]
    least = min(longest, LEAST_CHART)
    while len(told) > 1 and _LABEL + least + 2 + cells(" · ".join(told)) > width:
        told.pop()
    room = max(0, min(longest, width - _LABEL - 2 - cells(" · ".join(told))))
    bars = sparkline([round(value * _FINE) for value in values], room)
    return Content.assemble(
        (measure.name.ljust(_LABEL), "$muted"), (bars.ljust(room), "$secondary"), f"  {' · '.join(told)}"
    ).truncate(width, ellipsis=True)
