"""What a benchmark says: measurements and facts about model and machine as plain values, for JSON and for tables.

Pure: nothing here measures. Rates are tok/s, bandwidths decimal GB/s; what was not measured or is not known is None.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qwen_core.bench.drafts import DecodePair, DecodeRun, PassCosts, costs_fields, draft_arithmetic, pairs_fields
from qwen_core.bench.measured import Conversation, Measured, MeasuredCard
from qwen_core.bench.workloads import spread, spread_fields
from qwen_core.device.hardware import Hardware
from qwen_core.protocol.events import DraftMode
from qwen_core.protocol.stats import DraftOff, TurnStats, ceiling_tok_s, effective_bandwidth
from qwen_core.session.draft_costs import CONTEXT

# The card scores the turns after the first, which also pays for the system prompt.
FIRST_SCORED_TURN = 2


@dataclass(frozen=True)
class BenchSubject:
    """What was measured: `layers` of `of_layers` were run; the bytes are those of the whole model, as stored."""

    name: str
    variant: str
    synthetic: bool
    layers: int
    of_layers: int
    weight_bytes: int
    weight_bytes_per_token: int
    dtype: str
    device: str
    kernels: tuple[str, ...] = ()
    """Our own that were used."""
    kernel_faults: tuple[str, ...] = ()

    @property
    def is_extrapolated(self) -> bool:
        return self.layers < self.of_layers


@dataclass(frozen=True)
class BenchDrafts:
    """Who was to draft, and how many a pass (None: as many as pay); why nobody did, if so; what passes cost."""

    mode: DraftMode
    count: int | None
    off: DraftOff | None = None
    costs: PassCosts | None = None


def bench_report(
    subject: BenchSubject,
    machine: Hardware,
    versions: dict[str, str],
    sizes: Sequence[Measured],
    card: MeasuredCard | None = None,
    *,
    repeat: int,
    drafts: BenchDrafts | None = None,
    interrupted: bool = False,
) -> dict[str, Any]:
    """Everything that `bench --json` prints. Rates are those without drafts, but in a workload's `draft`."""
    peak = machine.peak_bandwidth_gb_s
    return {
        "kind": "bench",
        "model": {
            "name": subject.name,
            "variant": subject.variant,
            "synthetic": subject.synthetic,
            "layers": subject.layers,
            "of_layers": subject.of_layers,
            "extrapolated": subject.is_extrapolated,
            "weight_bytes": subject.weight_bytes,
            "weight_bytes_per_token": subject.weight_bytes_per_token,
        },
        "device": subject.device,
        "dtype": subject.dtype,
        "kernels": {"used": list(subject.kernels), "faults": list(subject.kernel_faults)},
        "versions": versions,
        "peak_bandwidth_gb_s": peak,
        "peak_source": machine.peak_source,
        "repeat": repeat,
        "sizes": [_size(measured, subject.weight_bytes_per_token, peak) for measured in sizes],
        "card": None if card is None else _card(card, peak),
        **_drafts(drafts, synthetic=subject.synthetic),
        "interrupted": interrupted,
    }


def _drafts(drafts: BenchDrafts | None, *, synthetic: bool) -> dict[str, Any]:
    """What a report says of drafts beside its workloads. Of random weights nothing but costs is measured."""
    asked, costs, arithmetic = None, None, None
    if drafts is not None and not synthetic:
        asked = {"mode": drafts.mode, "num_draft_tokens": drafts.count, "off": drafts.off}
    if drafts is not None and drafts.costs is not None:
        costs = costs_fields(drafts.costs, CONTEXT)
        arithmetic = draft_arithmetic(drafts.costs, drafts.count) if synthetic else None
    return {"draft": asked, "pass_costs": costs, "draft_arithmetic": arithmetic}


def roofline(bytes_per_token: int, rate: float | None, peak_gb_s: float | None) -> dict[str, Any]:
    """A decode rate against the machine: the bandwidth that it implies, its share of the peak, and the ceiling.

    The ceiling is what the peak allows at these bytes a token, so the two shares are the same figure seen from the two
    sides; both are given because people look for either.
    """
    bandwidth = effective_bandwidth(bytes_per_token, rate)
    ceiling = ceiling_tok_s(bytes_per_token, peak_gb_s)
    return {
        "bytes_per_token": bytes_per_token,
        "bandwidth_gb_s": bandwidth,
        "ceiling_tok_s": ceiling,
        "share_of_peak": bandwidth / peak_gb_s if bandwidth is not None and peak_gb_s else None,
        "share_of_ceiling": rate / ceiling if rate is not None and ceiling else None,
    }


def _size(measured: Measured, weight_bytes: int, peak_gb_s: float | None) -> dict[str, Any]:
    rates = spread(measured.rates)
    row: dict[str, Any] = {
        "workload": measured.workload.name,
        "phase": measured.workload.kind,
        "tokens": measured.workload.tokens,
        "depth": measured.depth,
        "context_tokens": measured.context_tokens,
        "tok_s": rates.as_dict() if rates else None,
        "seconds": list(measured.seconds),
        "peak_memory_bytes": measured.peak_memory_bytes,
    }
    if measured.workload.kind == "decode":
        row |= roofline(measured.bytes_per_token(weight_bytes), rates.median if rates else None, peak_gb_s)
        row["draft"] = pairs_fields(measured.pairs)
    return row


def card_scores(conversations: Sequence[Sequence[TurnStats]]) -> dict[str, Any]:
    """The score of the card's workload: of each conversation the best decode rate of turns 2 to 4, then over all.

    `score` spreads over the conversations; `best` is the best of them, `median` the median of all scored turns.
    """
    scored = [_scored(conversation) for conversation in conversations]
    score = spread([max(rates) for rates in scored if rates])
    every = [rate for rates in scored for rate in rates]
    return {
        "best": max(every) if every else None,
        "median": statistics.median(every) if every else None,
        "score": score.as_dict() if score else None,
    }


def _scored(conversation: Sequence[TurnStats]) -> list[float]:
    later = conversation[FIRST_SCORED_TURN - 1 :]
    return [stats.decode_tok_s for stats in later if stats.decode_tok_s is not None]


def _card(card: MeasuredCard, peak_gb_s: float | None) -> dict[str, Any]:
    scores = card_scores(card.conversations)
    turns = []
    for number in range(max((len(conversation) for conversation in card.conversations), default=0)):
        all_stats = [conversation[number] for conversation in card.conversations if len(conversation) > number]
        turns.append(_turn(number + 1, all_stats))
    of_best = max(
        (s for c in card.conversations for s in c[FIRST_SCORED_TURN - 1 :] if s.decode_tok_s is not None),
        key=lambda stats: stats.decode_tok_s or 0.0,
        default=None,
    )
    line = {} if of_best is None else roofline(of_best.bytes_per_token, of_best.decode_tok_s, peak_gb_s)
    pairs = [DecodePair(_decode_run(without), _decode_run(drafted)) for without, drafted in card.pairs]
    memory = card.peak_memory_bytes
    return {**scores, **line, "turns": turns, "draft": pairs_fields(pairs), "peak_memory_bytes": memory}


def _decode_run(conversation: Conversation) -> DecodeRun:
    """A conversation by the rate that it scores."""
    drafts = tuple(stats.draft for stats in conversation.turns if stats.draft is not None)
    return DecodeRun(max(_scored(conversation.turns), default=None), conversation.tokens, drafts)


def _turn(number: int, all_stats: Sequence[TurnStats]) -> dict[str, Any]:
    """One turn of the conversation over all repeats."""
    first = all_stats[0]
    return {
        "turn": number,
        "prompt_tokens": first.prompt_tokens,
        "cached_tokens": first.cached_tokens,
        "generated_tokens": [stats.generated_tokens for stats in all_stats],
        "ttft_s": spread_fields(stats.ttft_s for stats in all_stats),
        "prefill_tok_s": spread_fields(stats.prefill_tok_s for stats in all_stats),
        "decode_tok_s": spread_fields(stats.decode_tok_s for stats in all_stats),
    }
