"""How the time of an answer went: a bar for each step, and the slowest named. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from textual.content import Content

from qwen_core.protocol.timeline import Moment
from qwen_tui.lens.reading import Reading
from qwen_tui.lens.token_lines import milliseconds, rows_of
from qwen_tui.text.formatting import counted, seconds
from qwen_tui.text.sparkline import BARS
from qwen_tui.text.token_text import shown_token

SIGNS = {"token": "·", "draft": "d", "prefill": "P", "snapshot": "S"}
STOP = "■"
HERE = "▲"
LEGEND = ("· a pass", "d from a draft", "P a chunk of the prompt", "S a snapshot kept", "■ the stop")
_SLOWEST = 3


@dataclass(frozen=True)
class Column:
    """One step of the chart; `place`: of its token, None for what brought none."""

    sign: str
    seconds: float
    place: int | None = None


def columns(reading: Reading) -> list[Column]:
    """All steps, in order, and the stop where somebody stopped it."""
    found: list[Column] = []
    place = 0
    for moment in reading.moments:
        is_token = moment.kind in ("token", "draft")
        found.append(Column(SIGNS[moment.kind], moment.seconds, place if is_token else None))
        place += is_token
    if reading.ended == "cancelled":
        found.append(Column(STOP, reading.stop_s or 0.0))
    return found


def timeline_lines(reading: Reading, place: int, width: int, rows: int) -> list[Content]:
    """The chart around the token at `place`, in `rows` rows; what it says comes first. [] where no times are known."""
    steps = columns(reading)
    passes = [step for step in steps if step.sign == SIGNS["token"] and step.seconds > 0]
    if not passes or width < 1:
        return []
    slowest, others = _slowest(reading, steps), _facts(reading, passes)
    facts = rows_of([*others[:1], *slowest[:1], *others[1:], *slowest[1:]], width, max(1, min(3, rows // 3)))
    high = max(1, min(6, rows - len(facts) - 3))
    shown, at = _window(steps, place, width)
    peak = max((step.seconds for step in steps if step.place is not None), default=0.0)
    chart = [Content.assemble(*_bars(shown, peak, level, high)) for level in range(high)]
    signs = Content("".join(step.sign for step in shown)).stylize("$muted")
    here = Content(" " * at + HERE).stylize("$accent")
    legend = rows_of(_used(shown), width, 1)
    return [*facts, *chart, signs, here, *(line.stylize("$muted") for line in legend)]


def _used(shown: Sequence[Column]) -> list[str]:
    """Of the legend what is in sight."""
    signs = {step.sign for step in shown}
    return [words for words in LEGEND if words[0] in signs] or [LEGEND[0]]


def _window(steps: Sequence[Column], place: int, width: int) -> tuple[Sequence[Column], int]:
    """As many steps as there are cells for, that of the token at `place` among them, and in which cell that is."""
    at = next((number for number, step in enumerate(steps) if step.place == place), 0)
    first = max(0, min(at - width // 2, len(steps) - width))
    return steps[first : first + width], at - first


def _bars(shown: Sequence[Column], peak: float, level: int, high: int) -> list[tuple[str, str]]:
    """Row `level`, from above, of bars that are `high` rows at `peak` seconds; longer ones are cut there."""
    cells: list[tuple[str, str]] = []
    for step in shown:
        eighths = min(8 * high, round(8 * high * step.seconds / peak)) if peak > 0 else 0
        eighths = max(eighths, 1 if step.seconds > 0 else 0)
        inside = max(0, min(8, eighths - 8 * (high - 1 - level)))
        style = "$primary" if step.place is not None else "$secondary"
        cells.append((BARS[inside - 1] if inside else " ", style))
    return cells


def _facts(reading: Reading, passes: Sequence[Column]) -> list[str]:
    prompt = [moment for moment in reading.moments if moment.kind == "prefill"]
    facts = [f"{len(passes):,} passes" if len(passes) != 1 else "1 pass"]
    drafted = sum(moment.kind == "draft" for moment in reading.moments)
    facts += [f"{drafted:,} from drafts"] if drafted else []
    facts.append(f"median {milliseconds(Moment('token', median(step.seconds for step in passes)))}")
    if prompt:
        read = sum(moment.tokens for moment in prompt)
        spent = seconds(sum(moment.seconds for moment in prompt))
        facts.append(f"{read:,} of the prompt in {counted(len(prompt), 'chunk')}, {spent}")
    kept = [f"{moment.tokens:,}" for moment in reading.moments if moment.kind == "snapshot"]
    facts += [f"kept behind {', '.join(kept)} tokens"] if kept else []
    facts += [f"stopped within {seconds(reading.stop_s)}"] if reading.stop_s is not None else []
    return facts


def _slowest(reading: Reading, steps: Sequence[Column]) -> list[str]:
    """The slowest tokens by name."""
    known = [(step.seconds, step.place) for step in steps if step.place is not None and step.place < len(reading.ids)]
    slowest = sorted(known, key=lambda each: (-each[0], each[1]))[:_SLOWEST]
    return [
        f"{'slowest ' if not number else ''}{place + 1:,} {shown_token(reading.spelling(reading.ids[place]), 12)} "
        f"{milliseconds(Moment('token', spent))}"
        for number, (spent, place) in enumerate(slowest)
    ]
