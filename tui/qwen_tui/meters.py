"""What the meters show, as one frozen snapshot of the conversation: taken ten times a second, drawn elsewhere.

Pure: no widgets, no clock but the one handed in. The lines that a snapshot becomes are panel_lines.py's.
"""

from dataclasses import dataclass

from qwen_core.events import ModelSummary
from qwen_core.stats import TurnStats
from qwen_tui.conversation import Conversation, Phase


@dataclass(frozen=True)
class MeterSnapshot:
    """Everything the panel draws. `stats` are the running turn's, else those of the last turn that has any."""

    phase: Phase
    model: ModelSummary | None = None
    stats: TurnStats | None = None
    rates: tuple[float, ...] = ()
    running: bool = False
    prefilled: int = 0
    to_prefill: int = 0
    prefill_left_s: float | None = None
    context_tokens: int = 0
    snapshot_budget: int = 0


def take_snapshot(conversation: Conversation) -> MeterSnapshot:
    """The figures of this moment."""
    turn = conversation.current
    stats = turn.stats if turn is not None else None
    if turn is None:
        stats = next((past.stats for past in reversed(conversation.turns) if past.stats is not None), None)
    left = None
    if turn is not None and turn.state in ("waiting", "prefill"):
        left = remaining_s(turn.prefilled, turn.to_prefill, turn.prefill_s)
    return MeterSnapshot(
        phase=conversation.phase,
        model=conversation.model,
        stats=stats,
        rates=tuple(conversation.rates.rates),
        running=turn is not None,
        prefilled=turn.prefilled if turn is not None else 0,
        to_prefill=turn.to_prefill if turn is not None else 0,
        prefill_left_s=left,
        context_tokens=conversation.context_tokens,
        snapshot_budget=conversation.snapshot_budget,
    )


def remaining_s(done: int, total: int, spent_s: float | None) -> float | None:
    """Seconds left at the pace so far; None before there is a pace."""
    if spent_s is None or spent_s <= 0 or not 0 < done < total:
        return None
    return spent_s / done * (total - done)
