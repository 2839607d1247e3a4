"""What one turn cost and how fast it ran: plain figures, computed from timestamps by pure functions.

Nothing here reads a clock: whoever measures hands the moments in, so tests are exact.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import Any, Literal

RATE_WINDOW_S = 1.0

DraftOff = Literal["cpu", "setting"]
"""Why nobody drafts: `auto` on a CPU, where a pass costs what its rows cost, or because a person said so."""


@dataclass(frozen=True)
class DraftStats:
    """How the drafts of a turn fared. `passes` counts those of the model that decoded, with drafts and without;
    `num_draft_tokens` is the most drafts a pass had, `accepted_by_depth` how many were accepted as the first, the
    second and so on.
    """

    kind: str
    num_draft_tokens: int
    passes: int
    drafted: int
    accepted: int
    accepted_by_depth: tuple[int, ...]


@dataclass(frozen=True)
class TurnStats:
    """Figures of one finished or running turn. Rates are None until they are defined; bytes are decimal bytes.

    `prompt_tokens` counts the whole context the answer began from (`cached_tokens` of them were already in the
    state); `generated_tokens` counts every token fed after it, reasoning and stop token included. `live_tok_s` is the
    rate over the last second of a running turn. `bytes_per_token` is what the next token moves at this context
    length: weights, state in and out, KV. `stop_s` is the time lost to a stop: from the request to the turn's end.
    `reasoning_s` is the time from the first token to the last one of reasoning, None where there was none. With drafts
    one pass gives several tokens: `bytes_per_pass` is what it moves, its drafts included, `bandwidth_gb_s` counts
    passes, `draft` says what became of the drafts and `draft_bytes` what was read of weights for all of them: to
    propose them, and of a mixture of experts also to check them (`checked_bytes`). Without, `draft_off` says why,
    where that is known. `decode_s` is the time from the first to the last token, which `decode_tok_s` divides by.
    `reread_tokens`: of an answer that went on, those that had to be read again for that.
    """

    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    reasoning_tokens: int
    context_tokens: int
    ttft_s: float | None
    prefill_tok_s: float | None
    decode_tok_s: float | None
    weight_bytes_per_token: int
    bytes_per_token: int
    bandwidth_gb_s: float | None
    peak_bandwidth_gb_s: float | None
    peak_memory_bytes: int
    active_memory_bytes: int
    live_tok_s: float | None = None
    kv_bytes: int = 0
    recurrent_bytes: int = 0
    snapshot_bytes: int = 0
    stop_s: float | None = None
    reasoning_s: float | None = None
    draft: DraftStats | None = None
    draft_off: DraftOff | None = None
    draft_bytes: int = 0
    decode_s: float | None = None
    reread_tokens: int = 0

    @property
    def bytes_per_pass(self) -> int:
        """What a pass of the model moved: a token's bytes, and those of the drafts before it, evenly spread."""
        passes = self.draft.passes if self.draft is not None else 0
        return self.bytes_per_token + (round(self.draft_bytes / passes) if passes else 0)

    @property
    def tokens_a_pass(self) -> float:
        """Tokens that one pass of the model gave, on average: its own and the drafts that it accepted."""
        return 1.0 + self.draft.accepted / self.draft.passes if self.draft is not None and self.draft.passes else 1.0

    @property
    def share_of_peak(self) -> float | None:
        """Effective bandwidth as a share (0 to 1) of the peak; None where either is unknown."""
        if self.bandwidth_gb_s is None or not self.peak_bandwidth_gb_s:
            return None
        return self.bandwidth_gb_s / self.peak_bandwidth_gb_s

    @property
    def ceiling_tok_s(self) -> float | None:
        """Tokens per second at this context length, and with as many of them a pass as so far, if memory were read at
        its peak and nothing else took time.
        """
        ceiling = ceiling_tok_s(self.bytes_per_pass, self.peak_bandwidth_gb_s)
        return None if ceiling is None else ceiling * self.tokens_a_pass

    def as_dict(self) -> dict[str, Any]:
        """Every figure by name, the derived ones too, as JSON takes them."""
        derived = ("bytes_per_pass", "tokens_a_pass", "share_of_peak", "ceiling_tok_s")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}


def went_on(before: TurnStats | None, stats: TurnStats) -> TurnStats:
    """The figures of an answer that went on: `before` from its beginning to where it was cut off, `stats` since then.

    Tokens, seconds and passes add up, rates are over both. What the first part stood on stays the prompt; what was read
    since is `reread_tokens`. Where nothing was, the first token since then was decoded like any other, and counts so.
    Memory, context and the time of a stop are those of now.
    """
    if before is None:
        return stats
    reread = stats.prompt_tokens - stats.cached_tokens
    decoded, decode_s, moved = _decoded(before)
    tokens, seconds, moved_since = _decoded(stats)
    if not reread and stats.ttft_s is not None:
        tokens, seconds = stats.generated_tokens, seconds + stats.ttft_s
        moved_since = stats.bytes_per_pass * tokens / stats.tokens_a_pass / 1e9
    decode_s, decoded, moved = decode_s + seconds, decoded + tokens, moved + moved_since
    reasoning_s = [part.reasoning_s for part in (before, stats) if part.reasoning_s is not None]
    drafts = _drafted_both(before, stats)
    return replace(
        stats,
        prompt_tokens=before.prompt_tokens,
        cached_tokens=before.cached_tokens,
        reread_tokens=before.reread_tokens + reread,
        generated_tokens=before.generated_tokens + stats.generated_tokens,
        reasoning_tokens=before.reasoning_tokens + stats.reasoning_tokens,
        ttft_s=stats.ttft_s if before.ttft_s is None else before.ttft_s,
        prefill_tok_s=stats.prefill_tok_s if before.prefill_tok_s is None else before.prefill_tok_s,
        decode_tok_s=decoded / decode_s if decode_s > 0 else None,
        decode_s=decode_s if decode_s > 0 else None,
        bandwidth_gb_s=moved / decode_s if decode_s > 0 else None,
        reasoning_s=sum(reasoning_s) if reasoning_s else None,
        draft=drafts,
        draft_off=stats.draft_off if drafts is None else None,
        draft_bytes=before.draft_bytes + stats.draft_bytes,
        peak_memory_bytes=max(before.peak_memory_bytes, stats.peak_memory_bytes),
    )


def _decoded(stats: TurnStats) -> tuple[float, float, float]:
    """(tokens that the decode rate counts, the seconds they took, GB that they moved); zeros where none was decoded."""
    if not stats.decode_tok_s or stats.decode_tok_s < 0:
        return 0.0, 0.0, 0.0
    # Figures kept by an earlier version have no time: with one token before it the rate gives it back.
    seconds = (stats.generated_tokens - 1) / stats.decode_tok_s if stats.decode_s is None else stats.decode_s
    return stats.decode_tok_s * seconds, seconds, (stats.bandwidth_gb_s or 0.0) * seconds


def _drafted_both(before: TurnStats, stats: TurnStats) -> DraftStats | None:
    """The drafts of both parts; a part without any had a pass for each of its tokens."""
    first, second = before.draft, stats.draft
    if first is None and second is None:
        return None
    first = first or DraftStats(second.kind if second else "", 0, before.generated_tokens, 0, 0, ())
    second = second or DraftStats(first.kind, 0, stats.generated_tokens, 0, 0, ())
    pairs = zip_longest(first.accepted_by_depth, second.accepted_by_depth, fillvalue=0)
    return DraftStats(
        kind=first.kind if first.kind == second.kind else f"{first.kind}, {second.kind}",
        num_draft_tokens=max(first.num_draft_tokens, second.num_draft_tokens),
        passes=first.passes + second.passes,
        drafted=first.drafted + second.drafted,
        accepted=first.accepted + second.accepted,
        accepted_by_depth=tuple(one + other for one, other in pairs),
    )


class TokenRate:
    """Tokens per second over the last `window` seconds of arrivals, or over the last step where that took longer."""

    def __init__(self, window: float = RATE_WINDOW_S) -> None:
        self._window = window
        self._arrivals: deque[tuple[float, int]] = deque()
        self._tokens = 0

    def arrived(self, tokens: int, now: float) -> None:
        """Count `tokens` more at `now`, a clock that does not go backwards."""
        self._arrivals.append((now, tokens))
        self._tokens += tokens
        while len(self._arrivals) > 2 and self._arrivals[1][0] <= now - self._window:
            self._tokens -= self._arrivals.popleft()[1]

    @property
    def per_second(self) -> float | None:
        """The tokens after the oldest arrival, over the time since it; None before there are two moments."""
        if not self._arrivals:
            return None
        (oldest, count), newest = self._arrivals[0], self._arrivals[-1][0]
        return (self._tokens - count) / (newest - oldest) if newest > oldest else None


def prefill_rate(new_tokens: int, ttft_s: float | None) -> float | None:
    """Uncached prompt tokens per second of the time to first token; None where nothing was measured."""
    return new_tokens / ttft_s if ttft_s and new_tokens > 0 else None


def decode_rate(generated: int, first_s: float | None, end_s: float | None) -> float | None:
    """(n - 1) / (end - first): the first token belongs to prefill, so a single token has no decode rate."""
    if generated < 2 or first_s is None or end_s is None or end_s <= first_s:
        return None
    return (generated - 1) / (end_s - first_s)


def effective_bandwidth(bytes_per_token: int, decode_tok_s: float | None) -> float | None:
    """GB/s (decimal) that a decode rate implies if every token reads `bytes_per_token`: an estimate by design."""
    return None if decode_tok_s is None else bytes_per_token * decode_tok_s / 1e9


def ceiling_tok_s(bytes_per_token: int, peak_gb_s: float | None) -> float | None:
    """The roofline: peak bandwidth over the bytes a token moves; None where the peak is unknown."""
    return peak_gb_s * 1e9 / bytes_per_token if peak_gb_s and bytes_per_token else None


def bytes_per_token(weight_bytes: int, recurrent_bytes: int, kv_bytes: int) -> int:
    """Bytes that decoding one token moves: weights and KV read once, the recurrent state read and written."""
    return weight_bytes + 2 * recurrent_bytes + kv_bytes


def checked_bytes(drafted_by_depth: Sequence[int], pass_bytes: Callable[[int], int]) -> int:
    """Bytes of weights that passes with drafts read beside those of one token each.

    `drafted_by_depth`: how many passes had a first draft, a second one and so on; `pass_bytes`: what a pass of so many
    tokens reads. Of a dense model that is what one token reads. Of a mixture of experts each row reads its own: what
    `Layout.pass_bytes` takes for granted of them counts here too.
    """
    return sum(passes * (pass_bytes(depth + 1) - pass_bytes(depth)) for depth, passes in enumerate(drafted_by_depth, 1))


def remaining_s(done: int, total: int, spent_s: float | None) -> float | None:
    """Seconds left at the pace so far; None before there is a pace."""
    if spent_s is None or spent_s <= 0 or not 0 < done < total:
        return None
    return spent_s / done * (total - done)
