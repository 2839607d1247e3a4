"""All of one headless answer, and what there is to say about it once it has ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from qwen_core.protocol.stats import TurnStats
from qwen_core.settings.ranges import SAMPLING
from qwen_tui.commands.logprobs import TokenTexts, logprob_fields
from qwen_tui.commands.output import fields_of
from qwen_tui.text.formatting import counted, ending, number, peak, turn_line

if TYPE_CHECKING:  # slow to import, and the help of the program needs none of it
    from collections.abc import Mapping

    from qwen_core.protocol.events import ModelSummary, PeakSource, StreamEvent
    from qwen_core.protocol.pieces import Part, Piece
    from qwen_core.protocol.probabilities import Probabilities
    from qwen_core.settings.sampling_values import Sourced

_FIGURES = (
    *("prompt_tokens", "cached_tokens", "ttft_s", "prefill_tok_s", "decode_tok_s", "bytes_per_token"),
    *("weight_bytes_per_token", "bandwidth_gb_s", "peak_bandwidth_gb_s"),
)


@dataclass
class AnswerText:
    """All of one answer: what it says, the ids that were generated (the stop token too), and its last event."""

    pieces: list[Piece] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    final: StreamEvent | None = None
    texts: TokenTexts = field(default_factory=TokenTexts)
    _rows: list[Probabilities] = field(default_factory=list)

    def add(self, event: StreamEvent) -> None:
        self.pieces += event.pieces
        self.token_ids.extend(event.token_ids)
        if event.probabilities is not None:
            self._rows.append(event.probabilities)
        if event.done:
            self.final = event

    @property
    def probabilities(self) -> Probabilities | None:
        """Of all `token_ids`; None where nobody asked for them."""
        from qwen_core.protocol.probabilities import together

        return together(self._rows)

    @property
    def stats(self) -> TurnStats | None:
        return self.final.stats if self.final else None

    def text(self, *parts: Part) -> str:
        """What was said in `parts`, by what is known of it in the end."""
        from qwen_core.protocol.pieces import text_of, with_late_reasoning

        return text_of(with_late_reasoning(self.pieces, self.final.late_reasoning if self.final else 0), *parts)

    @property
    def said(self) -> str:
        """What was said outside of reasoning."""
        return self.text("answer", "tool_call")

    def fields(self, model: ModelSummary, sampling: Mapping[str, Sourced], *, logprobs: bool = False) -> dict[str, Any]:
        """What --json prints; `logprobs`: these too."""
        stats = self.stats
        if self.final is None or stats is None:
            raise ValueError("the answer has not ended")
        return {
            "text": self.text("answer", "tool_call"),
            "reasoning": self.text("reasoning"),
            "finish_reason": self.final.finish_reason,
            "token_ids": self.token_ids,
            **fields_of(stats, *_FIGURES),
            "peak_source": model.peak_source,
            "peak_memory_bytes": stats.peak_memory_bytes,
            **fields_of(model, "device", "dtype", "load_s"),
            "weight_tiers": fields_of(model.tiers, "mapped", "copied", "streamed"),
            "model": fields_of(model, "name", "path", "variant", "weight_bytes", "context_limit", "fingerprint"),
            "sampling": {name: asdict(sampling[name]) for name in (*SAMPLING, "effort")},
            "draft": None if stats.draft is None else asdict(stats.draft),
            **rank_fields(model, stats),
            **self._logprobs(asked=logprobs),
        }

    def _logprobs(self, *, asked: bool) -> dict[str, Any]:
        found = self.probabilities
        entries = [] if found is None else logprob_fields(self.token_ids, found, self.texts)
        return {"logprobs": entries} if asked else {}


def rank_fields(model: ModelSummary, stats: TurnStats) -> dict[str, Any]:
    """The ranks that share the model, and the seconds of a token in which this one waits for the others (an estimate);
    nothing where there is one."""
    from qwen_core.protocol.ranks import waiting_s

    if not model.hosts:
        return {}
    return {"hosts": [asdict(host) for host in model.hosts], "waiting_s": waiting_s(stats, model.alone_token_s)}


def statistics(stats: TurnStats, peak_source: PeakSource | None) -> str:
    """The line after an answer. The bandwidth is what the rate implies, and says so; so does a peak."""
    line = turn_line(stats)
    if stats.bandwidth_gb_s is not None:
        line += f" · {number(stats.bandwidth_gb_s)} GB/s (estimate)"
        if stats.peak_bandwidth_gb_s:
            line += f" of {peak(stats.peak_bandwidth_gb_s, peak_source)}"
    return line


def missing_answer(answer: AnswerText) -> str:
    """One line where the turn ended without an answer; "" where there is one."""
    final = answer.final
    if final is None or answer.said.strip():
        return ""
    return ending(final.finish_reason, "", answer.text("reasoning"))


def summary_lines(answer: AnswerText, peak_source: PeakSource | None = None) -> list[str]:
    """What there is to say about an answer that has ended: its figures, how it ended if not by itself, a notice."""
    final = answer.final
    if final is None:
        return []
    lines = [] if final.stats is None else [statistics(final.stats, peak_source)]
    how = ending(final.finish_reason, answer.said, answer.text("reasoning"))
    late = f"the first {counted(final.late_reasoning, 'character')} of the text are reasoning, not answer"
    return [*lines, *(line for line in (how, late if final.late_reasoning else "", final.notice) if line)]
