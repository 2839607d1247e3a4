"""One turn on the device: prefill what is new, decode until something ends it, and measure both.

Works on token ids and on a `PieceStream` that turns ids into text; which conversation the ids belong to is
session.py's business. Whatever happens, `ids` grows by exactly the tokens that were fed to the state.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise

from qwen_core.device.backend import mx
from qwen_core.model.state import State
from qwen_core.protocol.begun_answer import BegunAnswer
from qwen_core.protocol.events import FinishReason, StreamEvent
from qwen_core.protocol.pieces import Piece, joined
from qwen_core.protocol.probabilities import Probabilities
from qwen_core.protocol.stats import (
    DraftOff,
    TokenRate,
    TurnStats,
    bytes_per_token,
    checked_bytes,
    decode_rate,
    effective_bandwidth,
    prefill_rate,
)
from qwen_core.session.drafting import Drafting
from qwen_core.session.expert_tally import ExpertTally
from qwen_core.session.generate import decode, prefill
from qwen_core.session.lens import Lens, probability_rows, rows_of
from qwen_core.session.loading import LoadedModel, Stopped
from qwen_core.session.reasoning_budget import BudgetWatch
from qwen_core.session.repetition_guard import RepetitionGuard
from qwen_core.session.sampling import Sampler
from qwen_core.text.piece_stream import PieceStream


def never() -> bool:
    """The `stop` of a turn that nobody can stop."""
    return False


@dataclass(frozen=True)
class TurnPlan:
    """What a turn needs besides model and state. `max_new_tokens` None: as many as the context takes.

    `foreseen_bytes` of memory are in use at the end of the prompt. `keep_here` is called when so many of `new_ids` as
    one of `kept_at` says are in the state, to take a snapshot there; it says whether it did. `budget` closes a block of
    reasoning that grows too long, `repetition_guard` ends an answer that repeats itself, `drafting` proposes tokens,
    `draft_off` says why nobody does. `logprobs`: events have the probabilities of their tokens, with so many
    alternatives each. `begun`: the answer begins so; its ids are the last of the prompt, be they in `new_ids` or in the
    state.
    """

    new_ids: Sequence[int]
    stop_ids: frozenset[int]
    max_new_tokens: int | None
    snapshot_bytes: int = 0
    foreseen_bytes: int = 0
    kept_at: Sequence[int] = ()
    keep_here: Callable[[], bool] = never
    budget: BudgetWatch | None = None
    repetition_guard: RepetitionGuard | None = None
    drafting: Drafting | None = None
    draft_off: DraftOff | None = None
    logprobs: int | None = None
    begun: BegunAnswer | None = None
    clock: Callable[[], float] = field(default=time.perf_counter)


class Turn:
    """Feeds the new ids of `plan`, then decodes; without any it decodes from the logits of `state`. Made for one `run`.

    `ids` are those that `state` holds already; every fed id is appended. Closing the iterator at any event leaves the
    two in agreement: the token after the last one yielded may be scheduled, but it is not fed.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        state: State,
        ids: list[int],
        plan: TurnPlan,
        sampler: Sampler,
        pieces: PieceStream,
        stop: Stopped | None = None,
    ) -> None:
        self._model, self._summary, self._pass_bytes = loaded.model, loaded.summary, loaded.pass_bytes
        self._state = state
        self._ids = ids
        self._plan = plan
        self._sampler = sampler
        self._pieces = pieces
        self._stop = stop or never
        self._cached, self._target = len(ids), len(ids) + len(plan.new_ids)
        self._begun = len(plan.begun.ids) if plan.begun is not None else 0
        self._room = self._summary.context_limit - self._target
        most = self._room if plan.max_new_tokens is None else min(plan.max_new_tokens - self._begun, self._room)
        self._limit = self._begun + max(most, 1 if self._begun else 0)
        mixture = loaded.model.config.mixture
        self._tally = ExpertTally(loaded.model, mixture) if mixture is not None else None
        top = plan.logprobs
        self._lens = Lens(min(top, loaded.model.config.vocab_size)) if top is not None else None
        self._generated = self._begun
        self._first_pass = 0  # tokens that came with the first one, which belongs to the prefill; with drafts several
        self._rate = TokenRate()
        self._began = plan.clock()
        self._first: float | None = None  # when the first token came, the last one, and the last one of reasoning
        self._last: float | None = None
        self._thought: float | None = None
        self._reason: FinishReason | None = None  # what a token or a stop ended the turn for
        self._notice = ""
        self._forced_passes = self._forced_tokens = 0  # fed in place of sampled ones, several a pass
        self._forced_bytes = 0  # that these read beside a token's
        self._forced: Sequence[int] = ()  # what is to be fed after the last token in place of a sampled one

    def run(self) -> Iterator[StreamEvent]:
        """The events of the turn, the last with `done=True`. A prompt without room for an answer is not fed."""
        if self._room > 0:
            new = len(self._plan.new_ids)
            prompt_ids = (*self._ids, *self._plan.new_ids)[: self._prompt]
            yield StreamEvent(
                to_prefill=new,
                cached_tokens=self._cached,
                prompt_ids=prompt_ids,
                foreseen_bytes=self._plan.foreseen_bytes,
                kept_tokens=self._cached,
            )
            logits = self._state.logits if not new else (yield from self._prefill())
            if logits is not None and self._plan.begun is not None:
                yield self._begin(self._plan.begun)
            if logits is None or self._stop():
                self._reason = self._reason or "cancelled"
            while logits is not None and self._reason is None and self._generated < self._limit:
                logits = yield from self._decode(logits)
            if rest := self._pieces.flush():
                yield StreamEvent(joined(rest), cached_tokens=self._cached)
        else:
            needs = f"with it there are {self._target:,} tokens and the model takes {self._summary.context_limit:,}"
            self._notice = f"The question does not fit and was not read: {needs}. Make room, or send less."
        if self._tally is not None:
            self._tally.flush()
        yield StreamEvent(
            cached_tokens=self._cached,
            done=True,
            finish_reason=self._reason or ("context" if self._limit >= self._begun + self._room else "length"),
            stats=self._stats(),
            notice=self._notice,
            late_reasoning=self._pieces.late_reasoning,
            experts=self._tally.use() if self._tally is not None else None,
        )

    def _begin(self, begun: BegunAnswer) -> StreamEvent:
        """What the tokens say that the answer begins with; they are fed by now."""
        ends = begun.ids[-1] in self._plan.stop_ids
        said = begun.ids[:-1] if ends else begun.ids
        pieces = [piece for token in said for piece in self._pieces.push(token)]
        self._reason = "stop" if ends else None
        return StreamEvent(
            joined(pieces),
            begun.ids,
            cached_tokens=self._cached,
            stats=self._stats(),
            probabilities=begun.probabilities,
            given=True,
        )

    @property
    def _prompt(self) -> int:
        """Tokens that the answer stands on, from its beginning."""
        return self._target - self._begun

    def _prefill(self) -> Generator[StreamEvent, None, mx.array | None]:
        """Feed the prompt. Returns the logits behind it; None where it was stopped before its end."""
        plan, logits = self._plan, None
        whole = len(plan.new_ids)
        cuts = sorted({whole, *(cut for cut in plan.kept_at if 0 < cut < whole)})
        for begin, end in pairwise([0, *cuts]):
            logits, part = None, plan.new_ids[begin:end]
            for step in prefill(self._model, self._state, part, stop=self._stop, drafting=plan.drafting):
                self._ids.extend(step.ids)
                logits = step.logits
                fed = len(self._ids) - self._cached
                yield StreamEvent(prefilled=fed, to_prefill=whole, cached_tokens=self._cached)
            if logits is None:
                break
            if end in plan.kept_at and plan.keep_here():
                kept = len(self._ids)
                yield StreamEvent(prefilled=end, to_prefill=whole, cached_tokens=self._cached, kept_tokens=kept)
        return logits

    def _decode(self, logits: mx.array) -> Generator[StreamEvent, None, mx.array | None]:
        """Decode to the end of the turn, or to where it is forced on. Returns the logits to go on from in that case."""
        drafting, lens = self._plan.drafting, self._lens
        stream = decode(
            *(self._model, self._state, logits, self._sampler),
            limit=self._left,
            drafting=drafting,
            tally=self._tally,
            lens=lens,
            first=self._generated + 1,
        )
        with closing(stream) as tokens:
            for token in tokens:
                yield self._step((token,), lens.last if lens is not None else None)
                if self._reason is None and self._stop():
                    self._reason = "cancelled"
                if self._reason or self._forced:
                    break
        # The token that was sampled after the last one is unfed: the forced ones take its place.
        behind = None
        forced = self._forced[: 0 if self._reason else self._left]
        # Each alone where somebody wants to know how likely it was: that takes the logits before it.
        for part in [forced] if lens is None else [forced[n : n + 1] for n in range(len(forced))]:
            probabilities = None if lens is None else self._likelihood(part[0], lens.top)
            for step in prefill(self._model, self._state, part, drafting=drafting):
                behind = step.logits
                self._forced_passes += 1
                self._forced_tokens += len(step.ids)
                self._forced_bytes += self._pass_bytes(len(step.ids)) - self._pass_bytes(1)
                yield self._step(step.ids, probabilities)
        return behind

    def _likelihood(self, token: int, top: int) -> Probabilities:
        """How likely a token is that is fed next in place of a drawn one."""
        assert self._state.logits is not None
        rows = probability_rows(self._state.logits, mx.array([token], mx.uint32), top)
        return rows_of(rows, top, self._generated + 1)

    @property
    def _left(self) -> int:
        """How many tokens the answer may still have."""
        return self._limit - self._generated

    def _step(self, tokens: Sequence[int], probabilities: Probabilities | None) -> StreamEvent:
        """Take in the tokens that one step of the device has fed; what they say and the figures after them."""
        self._last = now = self._plan.clock()
        self._first = now if self._first is None else self._first
        drafting = self._plan.drafting
        if drafting is None or len(tokens) > 1:
            self._rate.arrived(len(tokens), now)
        elif not drafting.last_was_draft:  # the tokens of a pass arrive together, however they are told
            self._rate.arrived(drafting.counts.pass_tokens, now)
        reasoned = self._pieces.reasoning_tokens
        pieces = [piece for token in tokens for piece in self._take(token)]
        if self._pieces.reasoning_tokens > reasoned:
            self._thought = now
        if self._first_pass == 0 or (drafting is not None and drafting.counts.passes <= 1):
            self._first_pass = self._generated
        return StreamEvent(
            joined(pieces),
            tuple(tokens),
            cached_tokens=self._cached,
            stats=self._stats(),
            drafted=drafting is not None and drafting.last_was_draft,
            experts=self._tally.use() if self._tally is not None else None,
            probabilities=probabilities,
        )

    def _take(self, token: int) -> Sequence[Piece]:
        """Take in one fed token; what it says. After it `_reason` is set if it ends the turn, `_forced` if it is to be
        followed by other tokens than the sampled ones.
        """
        plan = self._plan
        self._ids.append(token)
        self._generated += 1
        if token in plan.stop_ids:
            self._reason = "stop"
            return ()
        new = self._pieces.push(token)
        if plan.repetition_guard is not None and (repeats := plan.repetition_guard.push(token)) is not None:
            self._reason, self._notice = "repetition", f"The answer repeats itself: {repeats}."
        if plan.budget is not None:
            text = "".join(text for _, text in new)
            mid_character = self._pieces.mid_character
            self._forced = plan.budget.push(self._pieces.reasoning_is_open, text, mid_character=mid_character)
        return new

    def _stats(self) -> TurnStats:
        """The figures by now: what was counted and timed, rates from stats.py's formulas, memory from MLX."""
        state, weight_bytes = self._state, self._summary.weight_bytes_per_token
        recurrent_bytes, kv_bytes = state.recurrent_nbytes, state.kv_nbytes
        ttft_s = None if self._first is None else self._first - self._began
        decode_tok_s = decode_rate(self._generated - self._first_pass + 1, self._first, self._last)
        moved = bytes_per_token(weight_bytes, recurrent_bytes, kv_bytes)
        drafting = self._plan.drafting
        draft, draft_bytes = None, 0
        if drafting is not None:
            checked = checked_bytes(drafting.counts.drafted_by_depth, self._pass_bytes)
            draft, draft_bytes = drafting.stats(), drafting.drafter.bytes_read + checked
        decoded = self._generated - self._begun
        passes = decoded - self._forced_tokens if draft is None else draft.passes
        all_moved = moved * (passes + self._forced_passes) + draft_bytes + self._forced_bytes
        return TurnStats(
            prompt_tokens=min(self._prompt, len(self._ids)),  # of a prompt not read to its end, what was read
            cached_tokens=min(self._cached, self._prompt),
            generated_tokens=self._generated,
            reasoning_tokens=self._pieces.reasoning_tokens,
            context_tokens=state.length,
            ttft_s=ttft_s,
            prefill_tok_s=prefill_rate(len(self._plan.new_ids), ttft_s),
            decode_tok_s=decode_tok_s,
            weight_bytes_per_token=weight_bytes,
            bytes_per_token=moved,
            bandwidth_gb_s=effective_bandwidth(all_moved, decode_tok_s and decode_tok_s / decoded),
            peak_bandwidth_gb_s=self._summary.peak_bandwidth_gb_s,
            peak_memory_bytes=mx.get_peak_memory(),
            active_memory_bytes=mx.get_active_memory(),
            live_tok_s=self._rate.per_second,
            kv_bytes=kv_bytes,
            recurrent_bytes=recurrent_bytes,
            snapshot_bytes=self._plan.snapshot_bytes,
            reasoning_s=None if self._first is None or self._thought is None else self._thought - self._first,
            draft=draft,
            draft_off=self._plan.draft_off,
            draft_bytes=draft_bytes,
            decode_s=self._last - self._first if decode_tok_s and self._last and self._first is not None else None,
            reread_tokens=max(0, self._target - max(self._cached, self._prompt)),
        )
