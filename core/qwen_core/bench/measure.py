"""Measures a model: prefill and decode of fixed sizes, and the card's conversation.

Warm-up first, discarded; then every workload as often as asked, greedy, with no end-of-text; where drafts are asked
for, in turn without them and with them. It keeps what it has measured when it is stopped. Turning measurements into a
report is report.py's, comparing with another runtime against.py's.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from qwen_core.bench.drafts import DecodePair, DecodeRun, PassCosts
from qwen_core.bench.measured import Conversation, Measured, MeasuredCard
from qwen_core.bench.workloads import (
    CARD_MAX_NEW_TOKENS,
    CARD_SYSTEM,
    CARD_TEMPERATURE,
    CARD_TURNS,
    Workload,
    alternating,
    check_context,
    prompt_ids,
    rest,
)
from qwen_core.device.backend import is_gpu, mx
from qwen_core.model.model import Model
from qwen_core.model.mtp import MtpLayer
from qwen_core.model.state import Snapshot, State
from qwen_core.protocol.events import DraftMode
from qwen_core.protocol.stats import DraftStats, TurnStats
from qwen_core.session.draft_costs import measure
from qwen_core.session.draft_count import MOST_DRAFTS
from qwen_core.session.drafters import Drafters
from qwen_core.session.drafting import Drafting
from qwen_core.session.generate import decode, prefill, read
from qwen_core.session.sampling import Sampler, SamplingParameters
from qwen_core.session.session import Session
from qwen_core.session.turn import never

# Enough to build every kernel (those of a prompt are others than those of a token) and to page the weights in.
WARM_UP_PROMPT, WARM_UP_TOKENS = 64, 2
# Where no kernels are built per size, and 64 tokens of a large model can take half a minute that nothing can end.
WARM_UP_PROMPT_ON_CPU = 4
# Tokens of a decode from one report of progress to the next: what is timed must not be made of reports.
TOLD_EVERY = 8

Report = Callable[[str, int, int], None]


def ignore(label: str, done: int, total: int) -> None:
    """The progress of a benchmark that nobody watches."""


@dataclass(frozen=True)
class DraftChoice:
    """Who is to draft in every second run, and how many a pass; None: as many as pay."""

    drafters: Drafters
    mode: DraftMode
    count: int | None

    def drafting(self, ids: Sequence[int], state: State, vocabulary: int) -> Drafting:
        """For a run over `state`, which holds `ids`."""
        drafting = self.drafters.drafting(self.mode, self.count, ids, state, vocabulary)
        assert drafting is not None, "a choice is made where somebody drafts"
        return drafting

    def ended(self, drafting: Drafting | None, state: State) -> None:
        """A run over `state`, or the way to where runs begin, has ended."""
        if drafting is not None:
            self.drafters.ended(drafting, state)


@dataclass(frozen=True)
class _Timed:
    """One repeat: `seconds` for a workload's tokens; the tokens of a decode, and how drafts fared."""

    seconds: float
    tokens: tuple[int, ...] = ()
    drafts: tuple[DraftStats, ...] = ()

    def run(self, tokens: int) -> DecodeRun:
        """As a decode of `tokens`."""
        return DecodeRun(tokens / self.seconds, self.tokens, self.drafts)


@dataclass
class Bench:
    """How to measure. `clock` in seconds; `stop` is asked at every token and prefill step and while resting."""

    repeat: int = 3
    cooldown: float = 0.0
    stop: Callable[[], bool] = never
    progress: Report = ignore
    clock: Callable[[], float] = time.perf_counter
    # Waits seconds, a short while at each call.
    pause: Callable[[float], None] = time.sleep
    _rested: bool = field(default=True, init=False)

    def sizes(
        self, model: Model, workloads: Sequence[Workload], depth: int = 0, drafts: DraftChoice | None = None
    ) -> list[Measured]:
        """Measure prefill and decode workloads behind `depth` tokens of context. Repeats cut short are left out.

        With `drafts` each repeat of a decode has a second run with them, before or after the one without. Raises
        CapacityError where a workload and its depth are more than the model's context.
        """
        sizes = [workload for workload in workloads if workload.kind != "card"]
        limit = model.config.max_position_embeddings
        for workload in sizes:
            check_context(workload, depth, limit)
        self._warm_up(model)
        measured = []
        for workload in sizes:
            chosen = drafts if workload.kind == "decode" else None
            taken = None if self.stop() else self._size(model, workload, depth, chosen)
            if taken is None:
                break
            measured.append(taken)
        return measured

    def _size(self, model: Model, workload: Workload, depth: int, drafts: DraftChoice | None) -> Measured | None:
        """All repeats of one workload, in memory of its own; None when stopped before the first."""
        mx.reset_peak_memory()
        state = model.new_state()
        vocabulary = model.config.vocab_size
        context = prompt_ids(depth, vocabulary, seed=1)
        drafting = drafts.drafting((), state, vocabulary) if drafts is not None else None
        if not self._feed(model, state, context, f"{workload.name}: context", drafting):
            return None
        if drafts is not None:
            drafts.ended(drafting, state)
        start = state.snapshot()
        sides = (None,) if drafts is None else (None, drafts)
        taken: dict[bool, list[_Timed]] = {False: [], True: []}
        before, whole = 0, len(sides) * self.repeat * workload.tokens
        for side in alternating(sides, self.repeat):
            self.progress(workload.name, before, whole)
            if not self._rest():
                break
            tell = partial(self._tell, workload.name, before, whole)
            drafting = side.drafting(context, state, vocabulary) if side is not None else None
            timed = self._once(model, state, start, workload, tell, drafting)
            if timed is None:
                break
            taken[side is not None].append(timed)
            before += workload.tokens
            if side is not None:
                side.ended(drafting, state)
        self.progress(workload.name, before, whole)
        pairs = tuple(
            DecodePair(without.run(workload.tokens), drafted.run(workload.tokens))
            for without, drafted in zip(taken[False], taken[True], strict=False)
        )
        return self._summed(workload, depth, [timed.seconds for timed in taken[False]], pairs, state)

    def _tell(self, label: str, before: int, whole: int, done: int) -> None:
        """Of all repeats together."""
        self.progress(label, before + done, whole)

    def _once(
        self,
        model: Model,
        state: State,
        start: Snapshot,
        workload: Workload,
        tell: Callable[[int], None],
        drafting: Drafting | None = None,
    ) -> _Timed | None:
        """One repeat from the point `start` on; None when it was stopped. `tell`: tokens so far."""
        state.restore(start)
        vocabulary = model.config.vocab_size
        sampler = Sampler(SamplingParameters(temperature=0.0), vocabulary, vocabulary)
        if workload.kind == "prefill":
            ids = prompt_ids(workload.tokens, vocabulary)
            began = self.clock()
            logits, done = None, 0
            for step in prefill(model, state, ids, stop=self.stop):
                logits, done = step.logits, done + len(step.ids)
                tell(done)
            if logits is None:
                return None
            read(sampler(logits))
            return _Timed(self.clock() - began)
        # One more token, untimed, whose logits the first one is drawn from.
        *_, last = prefill(model, state, prompt_ids(1, vocabulary, seed=2), drafting=drafting)
        if last.logits is None:
            return None
        tokens: list[int] = []
        stream = decode(model, state, last.logits, sampler, limit=workload.tokens + 1, drafting=drafting)
        with closing(stream):
            # The first token belongs to the prefill. With drafts others come with it, so that it is timed with them.
            began = self.clock() if drafting is not None else 0.0
            for token in stream:
                if not tokens and drafting is None:
                    began = self.clock()
                elif tokens and len(tokens) % TOLD_EVERY == 0:
                    tell(len(tokens))
                tokens.append(token)
                if len(tokens) <= workload.tokens and self.stop():
                    return None
        seconds = self.clock() - began
        if drafting is None:
            return _Timed(seconds, tuple(tokens))
        return _Timed(seconds * workload.tokens / len(tokens), tuple(tokens), (drafting.stats(),))

    def costs(self, model: Model, layer: MtpLayer | None) -> PassCosts | None:
        """What passes of 1, 2, ... rows and a draft by `layer` cost; None when stopped before the end of the first
        repeat.
        """
        taken = []
        for number in range(self.repeat):
            self.progress("cost of passes", number, self.repeat)
            if self.stop() or not self._rest():
                break
            costs = measure(
                model, layer, rows=range(1, MOST_DRAFTS + 2), budget_s=math.inf, clock=self.clock, stop=self.stop
            )
            if len(costs.passes) <= MOST_DRAFTS:
                break
            taken.append(costs)
        self.progress("cost of passes", len(taken), self.repeat)
        if not taken:
            return None
        passes = tuple(zip(*(costs.passes for costs in taken), strict=True))
        return PassCosts(passes, tuple(costs.draft for costs in taken) if layer is not None else ())

    def card(self, session: Session, drafts: DraftChoice | None = None) -> MeasuredCard:
        """Hold the card's conversation `repeat` times, each from the beginning. Thinking is off.

        A turn counts when it ended by itself or at its limit. Repeat i samples with seed i, so that a run can be
        repeated on the same machine token for token. With `drafts` each repeat is held a second time, with them.
        """
        mx.reset_peak_memory()
        self._warm_up(session.model)
        held: dict[bool, list[Conversation]] = {False: [], True: []}
        sides = (None,) if drafts is None else (None, drafts)
        whole = len(sides) * self.repeat * len(CARD_TURNS)
        for place, side in enumerate(alternating(sides, self.repeat)):
            if self.stop():
                break
            self.progress("card", place * len(CARD_TURNS), whole)
            if not self._rest():
                break
            conversation = self._conversation(session, place // len(sides), place * len(CARD_TURNS), whole, side)
            held[side is not None].append(conversation)
        pairs = tuple(
            (without, drafted)
            for without, drafted in zip(held[False], held[True], strict=False)
            if len(without.turns) == len(drafted.turns) == len(CARD_TURNS)
        )
        conversations = tuple(conversation.turns for conversation in held[False] if conversation.turns)
        taken = MeasuredCard(conversations, mx.get_peak_memory(), pairs)
        session.release()  # what is measured next must not count it
        return taken

    def _conversation(
        self, session: Session, seed: int, before: int, whole: int, drafts: DraftChoice | None
    ) -> Conversation:
        """`before`: turns that were held before, of `whole`."""
        session.restore((), (), CARD_SYSTEM)
        finished: list[TurnStats] = []
        said: list[int] = []
        for number, question in enumerate(CARD_TURNS):
            final, tokens, done = None, 0, before + number
            for event in session.send_stream(
                question,
                stop=self.stop,
                temperature=CARD_TEMPERATURE,
                max_new_tokens=CARD_MAX_NEW_TOKENS,
                effort="none",
                seed=seed,
                draft=drafts.mode if drafts is not None else "off",
                num_draft_tokens=drafts.count if drafts is not None else None,
            ):
                final = event if event.done else None
                said += event.token_ids
                tokens += len(event.token_ids)
                if tokens and tokens % TOLD_EVERY == 0:
                    self.progress(f"card {done + 1} of {whole}: {tokens:,} tokens", done, whole)
            if final is None or final.stats is None or final.finish_reason == "cancelled":
                break
            finished.append(final.stats)
            self.progress("card", done + 1, whole)
        return Conversation(tuple(finished), tuple(said))

    def _warm_up(self, model: Model) -> None:
        self.progress("warm-up", 0, 1)
        vocabulary = model.config.vocab_size
        state = model.new_state()
        length = WARM_UP_PROMPT if is_gpu() else WARM_UP_PROMPT_ON_CPU
        logits = None
        for step in prefill(model, state, prompt_ids(length, vocabulary), stop=self.stop):
            logits = step.logits
        sampler = Sampler(SamplingParameters(temperature=0.0), vocabulary, vocabulary)
        if logits is not None and not self.stop():
            for _ in decode(model, state, logits, sampler, limit=WARM_UP_TOKENS):
                pass
        self._rested = True

    def _feed(
        self, model: Model, state: State, ids: Sequence[int], label: str, drafting: Drafting | None = None
    ) -> bool:
        """Prefill `ids`; whether all of them went in before a stop."""
        fed = 0
        for step in prefill(model, state, ids, stop=self.stop, drafting=drafting):
            fed += len(step.ids)
            self.progress(label, fed, len(ids))
        return fed == len(ids)

    def _rest(self) -> bool:
        """Wait for the machine to cool, except before the first repeat of all; False when stopped meanwhile."""
        waits, self._rested = self.cooldown > 0 and not self._rested, False
        if waits:
            rest(self.cooldown, self.stop, self.pause)
        return not (waits and self.stop())

    def _summed(
        self,
        workload: Workload,
        depth: int,
        seconds: Sequence[float],
        pairs: tuple[DecodePair, ...],
        state: State,
    ) -> Measured:
        context = depth + (workload.tokens if workload.kind == "prefill" else -(-workload.tokens // 2))
        kv_per_token = state.kv_nbytes // state.length if state.length else 0
        return Measured(
            workload=workload,
            depth=depth,
            seconds=tuple(seconds),
            context_tokens=context,
            recurrent_bytes=state.recurrent_nbytes,
            kv_bytes=kv_per_token * context,
            peak_memory_bytes=mx.get_peak_memory(),
            pairs=pairs,
        )
