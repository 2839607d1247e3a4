"""What the store hands out and takes: frozen dataclasses of plain values, and their JSON where a column holds that."""

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeGuard, get_args

from qwen_core.files import json_text, strict_json
from qwen_core.protocol.events import FinishReason, GenerationSettings
from qwen_core.protocol.stats import DraftOff, DraftStats, TurnStats
from qwen_tui.text.safe import typed

Status = Literal["complete", "running", "interrupted", "failed"]
StoredRole = Literal["user", "assistant"]
_SURROGATES = re.compile("[\ud800-\udfff]")
MAX_TITLE = 60
LATEST_MOMENT = 1e11


@dataclass(frozen=True)
class ModelIdentity:
    """Which model an answer is from. `fingerprint` is the same for the same files, wherever they lie."""

    fingerprint: str
    path: str
    name: str
    variant: str = ""
    weight_bytes: int = 0


@dataclass(frozen=True)
class ConversationSummary:
    """A line of the list of conversations. `turns` counts the questions of the branch that is shown."""

    id: int
    title: str
    created_at: float
    updated_at: float
    pinned: bool = False
    deleted_at: float | None = None
    system: str | None = None
    model: ModelIdentity | None = None
    turns: int = 0
    interrupted: bool = False


@dataclass(frozen=True)
class StoredMessage:
    """A question or an answer as it is on disk. `siblings` are the ids of its alternatives, itself among them.

    `shown` is what the person wrote where `content`, which the model got, has more: attached files.
    """

    id: int
    conversation_id: int
    parent_id: int | None
    role: StoredRole
    content: str
    reasoning: str = ""
    tool_calls: str = ""
    status: Status = "complete"
    finish_reason: FinishReason | None = None
    error: str = ""
    created_at: float = 0.0
    model: ModelIdentity | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    stats: Mapping[str, Any] = field(default_factory=dict)
    siblings: tuple[int, ...] = ()
    shown: str = ""

    @property
    def has_text(self) -> bool:
        return bool(self.content or self.reasoning or self.tool_calls)

    @property
    def place(self) -> tuple[int, int]:
        """Which of how many alternatives it is, counted from 1."""
        return (self.siblings.index(self.id) + 1 if self.id in self.siblings else 1), max(1, len(self.siblings))


@dataclass(frozen=True)
class Hit:
    """A message that a search found: its text around the hit in pieces, each with whether it is what was searched."""

    conversation_id: int
    title: str
    message_id: int
    role: StoredRole
    part: Literal["content", "reasoning"]
    snippet: tuple[tuple[str, bool], ...]
    created_at: float


@dataclass(frozen=True)
class Draft:
    """What was being written, and the long pastes that its tokens stand for, by number."""

    text: str = ""
    pastes: Mapping[int, str] = field(default_factory=dict[int, str])


@dataclass(frozen=True)
class DeletedTurn:
    """How to undo the deletion of a turn: the answer whose followers, `moved_ids`, follow the turn above without it."""

    question_id: int
    answer_id: int | None = None
    moved_ids: tuple[int, ...] = ()


def clean(text: str) -> str:
    """`text` without lone surrogates, which no file can hold."""
    return _SURROGATES.sub("\ufffd", text)


def moment(value: float) -> float:
    """A time of a file that someone else has edited, in seconds since 1970, as every calendar takes it."""
    return min(max(value, 0.0), LATEST_MOMENT)


def plain_line(text: str) -> str:
    """`text` as one line without control characters, as it can stand in a list or a heading, on a terminal or not."""
    return " ".join(typed(" ".join(clean(text).split())).split())


def title_from(question: str) -> str:
    """A title for a conversation that begins with `question`: its first line with a word in it, short."""
    lines = (plain_line(plain_line(line).strip("#>*-_`~| ")) for line in question[:4000].splitlines())
    line = next((line for line in lines if any(character.isalnum() for character in line)), "")
    line = line or plain_line(question[:200]) or "Conversation"
    if len(line) <= MAX_TITLE:
        return line
    cut = line[: MAX_TITLE - 1]
    space = cut.rfind(" ")
    return (cut[:space] if space > MAX_TITLE // 2 else cut).rstrip(" ,;:.") + "…"


_MOST = 1e30  # of a figure in a file that someone else has edited


def to_json(values: Mapping[str, Any]) -> str:
    """`values` as strict JSON: a figure that is no number is left out."""
    kept = {
        name: value
        for name, value in values.items()
        if value is not None and not (isinstance(value, float) and not math.isfinite(value))
    }
    return json_text(kept)


def from_json(text: str | None) -> dict[str, Any]:
    """The mapping in a column; empty for anything else, as in a file that someone else has edited."""
    try:
        value = strict_json(text) if text else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def settings_json(settings: GenerationSettings) -> str:
    return to_json(asdict(settings))


def stats_json(stats: TurnStats | None) -> str:
    return to_json({} if stats is None else asdict(stats))


def turn_stats(values: Mapping[str, Any]) -> TurnStats | None:
    """The figures of a stored answer; None where they are not those of a `TurnStats` (any more)."""
    known = fields(TurnStats)
    given = {entry.name: values[entry.name] for entry in known if _is_figure(values.get(entry.name))}
    for entry in known:
        if entry.name not in given and entry.default is MISSING and entry.default_factory is MISSING:
            if "None" not in str(entry.type):
                return None
            given[entry.name] = None
    off = values.get("draft_off")
    draft_off: DraftOff | None = off if off in get_args(DraftOff) else None
    stats = TurnStats(**given, draft=_draft_stats(values.get("draft")), draft_off=draft_off)
    return _with_earlier_reasoning(stats, values)


def _with_earlier_reasoning(stats: TurnStats, values: Mapping[str, Any]) -> TurnStats:
    """An earlier version kept the figures of an answer's last run, and of the runs before it the reasoning alone."""
    tokens, seconds = values.get("reasoning_tokens_before"), values.get("reasoning_s_before")
    if not (_is_figure(tokens) and _is_figure(seconds)):
        return stats
    return replace(
        stats,
        reasoning_tokens=stats.reasoning_tokens + int(tokens),
        generated_tokens=stats.generated_tokens + int(tokens),
        reasoning_s=(stats.reasoning_s or 0.0) + seconds,
    )


def _draft_stats(values: Any) -> DraftStats | None:
    """The figures of the drafts; None where there are none, or others than those of a `DraftStats`."""
    if not isinstance(values, dict):
        return None
    kind, depths = values.get("kind"), values.get("accepted_by_depth")
    names = ("num_draft_tokens", "passes", "drafted", "accepted")
    counts: dict[str, int] = {name: values[name] for name in names if _is_figure(values.get(name))}
    if not isinstance(kind, str) or not isinstance(depths, list) or len(counts) < len(names):
        return None
    if not all(map(_is_figure, depths)):
        return None
    return DraftStats(kind=kind, accepted_by_depth=tuple(depths), **counts)


def _is_figure(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST
