"""One turn on the device: prefill what is new, decode until something ends it, and measure both.

Works on token ids and on a `PieceStream` that turns ids into text; which conversation the ids belong to is
session.py's business. Whatever happens, `ids` grows by exactly the tokens that were fed to the state.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import mlx.core as mx

from qwen_core.model.model import Model
from qwen_core.model.state import State
from qwen_core.protocol.events import FinishReason, Part, StreamEvent
from qwen_core.protocol.stats import (
    TokenRate,
    TurnStats,
    bytes_per_token,
    decode_rate,
    effective_bandwidth,
    prefill_rate,
)
from qwen_core.session.generate import decode, prefill
from qwen_core.session.reasoning_budget import BudgetWatch
from qwen_core.session.repetition_guard import RepetitionGuard
from qwen_core.session.sampling import Sampler
from qwen_core.text.reasoning import Splitter
from qwen_core.text.tokenizer import Tokenizer

SNAPSHOT_S = 1 / 20
"""Running figures ride on an event at most this often: a meter draws ten times a second."""


def never() -> bool:
    """The `stop` of a turn that nobody can stop."""
    return False


@dataclass
class PieceStream:
    """Token ids in, ordered (part, text) pieces out: the incremental decoder and the splitter in one."""

    tokenizer: Tokenizer | None
    in_reasoning: bool = False
    reasoning_tokens: int = 0

    def __post_init__(self) -> None:
        self._decoder = self.tokenizer.stream() if self.tokenizer else None
        self._splitter = Splitter(self.tokenizer, in_reasoning=self.in_reasoning) if self.tokenizer else None

    def push(self, token: int) -> list[tuple[Part, str]]:
        if self._decoder is None or self._splitter is None:
            return []
        self.reasoning_tokens += self._splitter.in_reasoning
        return self._splitter.push(token, self._decoder.push(token))

    def flush(self) -> list[tuple[Part, str]]:
        if self._decoder is None or self._splitter is None:
            return []
        return [*self._splitter.push_text(self._decoder.flush()), *self._splitter.flush()]

    @property
    def mid_character(self) -> bool:
        """Whether the last token ended inside a character."""
        return self._decoder is not None and self._decoder.mid_character

    @property
    def reasoning_is_open(self) -> bool:
        """Whether the stream ended (so far) inside a reasoning block."""
        return self._splitter is not None and self._splitter.in_reasoning


@dataclass(frozen=True)
class TurnPlan:
    """What a turn needs besides model and state. `limit` counts new tokens, `context_limit` all of them.

    `at_boundary` is called when exactly `boundary` of `new_ids` are in the state, to take a snapshot there. `budget`
    closes a block of reasoning that grows too long, `guard` ends an answer that repeats itself.
    """

    new_ids: Sequence[int]
    stop_ids: frozenset[int]
    limit: int | None
    context_limit: int
    weight_bytes_per_token: int
    peak_bandwidth_gb_s: float | None = None
    snapshot_bytes: int = 0
    boundary: int | None = None
    at_boundary: Callable[[], None] | None = None
    budget: BudgetWatch | None = None
    guard: RepetitionGuard | None = None
    clock: Callable[[], float] = field(default=time.perf_counter)


def run_turn(
    model: Model,
    state: State,
    ids: list[int],
    plan: TurnPlan,
    sampler: Sampler,
    pieces: PieceStream,
    stop: Callable[[], bool],
) -> Iterator[StreamEvent]:
    """Feed `plan.new_ids`, then decode. Appends every fed id to `ids`; yields events, the last with `done=True`.

    Closing the iterator at any event leaves `state` and `ids` in agreement: the token after the last one yielded
    may be scheduled, but it is not fed.
    """
    cached, prompt = len(ids), len(ids) + len(plan.new_ids)
    start = plan.clock()
    first = end = thought = None
    generated = 0
    reason: FinishReason = "length"
    notice = ""
    rate = TokenRate()
    told = start

    def stats() -> TurnStats:
        return turn_stats(
            plan,
            state,
            cached=cached,
            generated=generated,
            reasoning=pieces.reasoning_tokens,
            ttft_s=None if first is None else first - start,
            decode_tok_s=decode_rate(generated, first, end),
            live_tok_s=rate.per_second,
            reasoning_s=None if first is None or thought is None else thought - first,
        )

    def event(
        new: Sequence[tuple[Part, str]], token_ids: tuple[int, ...] = (), figures: TurnStats | None = None
    ) -> Iterator[StreamEvent]:
        """One event a piece: a consumer that prints sees the parts in order. Ids and figures ride on the first."""
        for part, text in new or [("answer", "")]:
            yield StreamEvent(
                text=text if part == "answer" else "",
                reasoning=text if part == "reasoning" else "",
                tool_call=text if part == "tool_call" else "",
                token_ids=token_ids,
                cached_tokens=cached,
                stats=figures,
            )
            token_ids, figures = (), None

    yield StreamEvent(to_prefill=len(plan.new_ids), cached_tokens=cached, prompt_ids=(*ids, *plan.new_ids))
    logits = None
    for part in _parts(plan):
        logits = None
        for step in prefill(model, state, part, stop=stop):
            ids.extend(step.ids)
            logits = step.logits
            yield StreamEvent(prefilled=len(ids) - cached, to_prefill=len(plan.new_ids), cached_tokens=cached)
        if logits is None:
            break
        if plan.at_boundary is not None and len(ids) - cached == plan.boundary:
            plan.at_boundary()
    room = plan.context_limit - prompt
    limit = room if plan.limit is None else min(plan.limit, room)
    if logits is None or stop():
        reason = "cancelled"
    elif limit <= 0:
        reason = "context"
    else:
        reason = "context" if limit == room else "length"
        ended = False
        while logits is not None and generated < limit and not ended:
            forced: tuple[int, ...] = ()
            with closing(decode(model, state, logits, sampler, limit=limit - generated)) as tokens:
                logits = None
                for token in tokens:
                    ids.append(token)
                    generated += 1
                    end = plan.clock()
                    first = end if first is None else first
                    rate.arrived(1, end)
                    reasoned = pieces.reasoning_tokens
                    new = [] if token in plan.stop_ids else pieces.push(token)
                    thought = end if pieces.reasoning_tokens > reasoned else thought
                    figures = None
                    if end - told >= SNAPSHOT_S:
                        figures, told = stats(), end
                    yield from event(new, (token,), figures)
                    if token in plan.stop_ids:
                        reason, ended = "stop", True
                    elif stop():
                        reason, ended = "cancelled", True
                    elif plan.guard is not None and (repeats := plan.guard.push(token)) is not None:
                        reason, ended, notice = "repetition", True, f"The answer repeats itself: {repeats}."
                    if ended:
                        break
                    forced = _closing(plan, pieces, new)[: limit - generated]
                    if forced:
                        break
            # The token that was sampled after the last one is unfed: the forced ones take its place.
            for step in prefill(model, state, forced):
                logits = step.logits
                ids.extend(step.ids)
                generated += len(step.ids)
                end = plan.clock()
                rate.arrived(len(step.ids), end)
                for token in step.ids:
                    reasoned = pieces.reasoning_tokens
                    new = pieces.push(token)
                    thought = end if pieces.reasoning_tokens > reasoned else thought
                    yield from event(new, (token,))
    tail = pieces.flush()
    if tail:
        yield from event(tail)
    yield StreamEvent(
        cached_tokens=cached,
        done=True,
        finish_reason=reason,
        stats=stats(),
        notice=notice,
    )


def _parts(plan: TurnPlan) -> list[Sequence[int]]:
    """The new ids, cut at the boundary if there is one inside them."""
    if plan.boundary is None or not 0 < plan.boundary < len(plan.new_ids):
        return [plan.new_ids]
    return [plan.new_ids[: plan.boundary], plan.new_ids[plan.boundary :]]


def _closing(plan: TurnPlan, pieces: PieceStream, new: Sequence[tuple[Part, str]]) -> tuple[int, ...]:
    """What the reasoning budget wants fed after the token that gave `new`."""
    if plan.budget is None:
        return ()
    text = "".join(text for _, text in new)
    return plan.budget.push(pieces.reasoning_is_open, text, mid_character=pieces.mid_character)


def turn_stats(
    plan: TurnPlan,
    state: State,
    *,
    cached: int,
    generated: int = 0,
    reasoning: int = 0,
    ttft_s: float | None = None,
    decode_tok_s: float | None = None,
    live_tok_s: float | None = None,
    reasoning_s: float | None = None,
) -> TurnStats:
    """The figures of a turn from what was counted and timed; rates from stats.py's formulas, memory from MLX."""
    per_token = bytes_per_token(plan.weight_bytes_per_token, state.recurrent_nbytes, state.kv_nbytes)
    return TurnStats(
        prompt_tokens=cached + len(plan.new_ids),
        cached_tokens=cached,
        generated_tokens=generated,
        reasoning_tokens=reasoning,
        context_tokens=state.length,
        ttft_s=ttft_s,
        prefill_tok_s=prefill_rate(len(plan.new_ids), ttft_s),
        decode_tok_s=decode_tok_s,
        weight_bytes_per_token=plan.weight_bytes_per_token,
        bytes_per_token=per_token,
        bandwidth_gb_s=effective_bandwidth(per_token, decode_tok_s),
        peak_bandwidth_gb_s=plan.peak_bandwidth_gb_s,
        peak_memory_bytes=mx.get_peak_memory(),
        active_memory_bytes=mx.get_active_memory(),
        live_tok_s=live_tok_s,
        kv_bytes=state.kv_nbytes,
        recurrent_bytes=state.recurrent_nbytes,
        snapshot_bytes=plan.snapshot_bytes,
        reasoning_s=reasoning_s,
    )
