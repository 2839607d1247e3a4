"""What the meters show, as one frozen snapshot of the conversation: taken ten times a second, drawn elsewhere.

Pure: no widgets, no clock but the one handed in. The lines that a snapshot becomes are panel_lines.py's.
"""

from dataclasses import dataclass, replace

from qwen_core.protocol.events import ModelSummary
from qwen_core.protocol.stats import TurnStats, remaining_s
from qwen_tui.conversation.conversation import Conversation, Phase


@dataclass(frozen=True)
class MeterSnapshot:
    """Everything the panel draws.

    `stats` are the running turn's, else those of the last turn that has any, if it was this model's. `held` says what
    is in memory: None before the engine has answered in this conversation, also where earlier turns have figures.
    `foreseen`: bytes in use at the end of the prompt that is being read, 0 where none is.
    """

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
    cached: int = 0
    held: TurnStats | None = None
    foreseen: int = 0


def take_snapshot(conversation: Conversation) -> MeterSnapshot:
    """The figures of this moment."""
    turn = conversation.current
    model = conversation.model
    earlier = (past.stats for past in conversation.latest if past is not turn and past.stats is not None)
    last = of_model(next(earlier, None), model)
    stats, left, foreseen = of_model(turn.stats, model) if turn is not None else last, None, 0
    if turn is not None and turn.state in ("waiting", "prefill"):
        # An answer that is continued has figures of what came before; what it does now is to read.
        stats, foreseen = None, turn.foreseen_bytes
        left = remaining_s(turn.prefilled, turn.to_prefill, turn.prefill_s)
    return MeterSnapshot(
        phase=conversation.phase,
        model=model,
        stats=stats,
        rates=tuple(conversation.rates.rates) if turn is not None or stats is not None else (),
        running=turn is not None,
        prefilled=turn.prefilled if turn is not None else 0,
        to_prefill=turn.to_prefill if turn is not None else 0,
        prefill_left_s=left,
        context_tokens=conversation.context_tokens,
        snapshot_budget=conversation.snapshot_budget,
        cached=turn.cached if turn is not None else 0,
        held=of_model(conversation.held, model),
        foreseen=foreseen,
    )


def of_model(stats: TurnStats | None, model: ModelSummary | None) -> TurnStats | None:
    """An earlier turn's figures against the peak of today; None if they are those of another model."""
    if stats is None or model is None:
        return stats
    if stats.weight_bytes_per_token != model.weight_bytes_per_token:
        return None
    return replace(stats, peak_bandwidth_gb_s=model.peak_bandwidth_gb_s)
