"""Measures a model: prefill and decode of fixed sizes, and the card's conversation.

Warm-up first, discarded; then every workload as often as asked, greedy, with no end-of-text. It keeps what it has
measured when it is stopped. Turning measurements into a report is report.py's, comparing with another runtime
against.py's.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial

from qwen_core.bench.workloads import (
    CARD_MAX_NEW_TOKENS,
    CARD_SYSTEM,
    CARD_TEMPERATURE,
    CARD_TURNS,
    Workload,
    check_context,
    prompt_ids,
    rest,
)
from qwen_core.device.backend import is_gpu, mx
from qwen_core.model.model import Model
from qwen_core.model.state import Snapshot, State
from qwen_core.protocol.stats import TurnStats, bytes_per_token
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
class Measured:
    """One size of prefill or decode at one depth: `seconds` of each repeat in which `workload.tokens` were processed.

    `recurrent_bytes` and `kv_bytes` are those of the state at `context_tokens`: in the middle of a decode, at the end
    of a prefill.
    """

    workload: Workload
    depth: int
    seconds: tuple[float, ...]
    context_tokens: int
    recurrent_bytes: int
    kv_bytes: int
    peak_memory_bytes: int

    @property
    def rates(self) -> tuple[float, ...]:
        """Tokens per second of each repeat."""
        return tuple(self.workload.tokens / seconds for seconds in self.seconds)

    def bytes_per_token(self, weight_bytes: int) -> int:
        """Bytes that a decoded token moves at `context_tokens`."""
        return bytes_per_token(weight_bytes, self.recurrent_bytes, self.kv_bytes)


@dataclass(frozen=True)
class MeasuredCard:
    """The card's conversation: the figures of the turns of each repeat that ended by themselves."""

    conversations: tuple[tuple[TurnStats, ...], ...]
    peak_memory_bytes: int


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

    def sizes(self, model: Model, workloads: Sequence[Workload], depth: int = 0) -> list[Measured]:
        """Measure prefill and decode workloads behind `depth` tokens of context. Repeats cut short are left out.

        Raises CapacityError where a workload and its depth are more than the model's context.
        """
        sizes = [workload for workload in workloads if workload.kind != "card"]
        limit = model.config.max_position_embeddings
        for workload in sizes:
            check_context(workload, depth, limit)
        self._warm_up(model)
        measured = []
        for workload in sizes:
            taken = None if self.stop() else self._size(model, workload, depth)
            if taken is None:
                break
            measured.append(taken)
        return measured

    def _size(self, model: Model, workload: Workload, depth: int) -> Measured | None:
        """All repeats of one workload, in memory of its own; None when stopped before the first."""
        mx.reset_peak_memory()
        state = model.new_state()
        context = prompt_ids(depth, model.config.vocab_size, seed=1)
        if not self._feed(model, state, context, f"{workload.name}: context"):
            return None
        start = state.snapshot()
        seconds = []
        for _ in range(self.repeat):
            before, whole = len(seconds) * workload.tokens, self.repeat * workload.tokens
            self.progress(workload.name, before, whole)
            if not self._rest():
                break
            tell = partial(self._tell, workload.name, before, whole)
            taken = self._once(model, state, start, workload, tell)
            if taken is None:
                break
            seconds.append(taken)
        self.progress(workload.name, len(seconds) * workload.tokens, self.repeat * workload.tokens)
        return self._summed(workload, depth, seconds, state, start)

    def _tell(self, label: str, before: int, whole: int, done: int) -> None:
        """Of all repeats together."""
        self.progress(label, before + done, whole)

    def _once(
        self, model: Model, state: State, start: Snapshot, workload: Workload, tell: Callable[[int], None]
    ) -> float | None:
        """Seconds of one repeat from the point `start` on; None when it was stopped. `tell`: tokens so far."""
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
            return self.clock() - began
        # One more token, untimed, whose logits the first one is drawn from.
        *_, last = prefill(model, state, prompt_ids(1, vocabulary, seed=2))
        if last.logits is None:
            return None
        began, count = 0.0, 0
        with closing(decode(model, state, last.logits, sampler, limit=workload.tokens + 1)) as tokens:
            for _ in tokens:
                if count == 0:
                    began = self.clock()  # the first token belongs to the prefill
                elif count % TOLD_EVERY == 0:
                    tell(count)
                count += 1
                if count <= workload.tokens and self.stop():
                    return None
        return self.clock() - began

    def card(self, session: Session) -> MeasuredCard:
        """Hold the card's conversation `repeat` times, each from the beginning. Thinking is off.

        A turn counts when it ended by itself or at its limit. Repeat i samples with seed i, so that a run can be
        repeated on the same machine token for token.
        """
        mx.reset_peak_memory()
        self._warm_up(session.model)
        conversations = []
        for turn in range(self.repeat):
            if self.stop():
                break
            self.progress("card", turn * len(CARD_TURNS), self.repeat * len(CARD_TURNS))
            if not self._rest():
                break
            finished = self._conversation(session, turn)
            if finished:
                conversations.append(tuple(finished))
        taken = MeasuredCard(tuple(conversations), mx.get_peak_memory())
        session.release()  # what is measured next must not count it
        return taken

    def _conversation(self, session: Session, seed: int) -> list[TurnStats]:
        session.restore((), (), CARD_SYSTEM)
        finished = []
        whole = self.repeat * len(CARD_TURNS)
        for number, question in enumerate(CARD_TURNS):
            final, tokens, done = None, 0, seed * len(CARD_TURNS) + number
            for event in session.send_stream(
                question,
                stop=self.stop,
                temperature=CARD_TEMPERATURE,
                max_new_tokens=CARD_MAX_NEW_TOKENS,
                effort="none",
                seed=seed,
            ):
                final = event if event.done else None
                tokens += len(event.token_ids)
                if tokens and tokens % TOLD_EVERY == 0:
                    self.progress(f"card {done + 1} of {whole}: {tokens:,} tokens", done, whole)
            if final is None or final.stats is None or final.finish_reason == "cancelled":
                break
            finished.append(final.stats)
            self.progress("card", done + 1, whole)
        return finished

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

    def _feed(self, model: Model, state: State, ids: Sequence[int], label: str) -> bool:
        """Prefill `ids`; whether all of them went in before a stop."""
        fed = 0
        for step in prefill(model, state, ids, stop=self.stop):
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
        self, workload: Workload, depth: int, seconds: Sequence[float], state: State, start: Snapshot
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
        )


def extrapolated(measured: Measured, without_layers: Measured, layers: int, of_layers: int) -> Measured:
    """What a model of `of_layers` layers would take, from the same measurement of `layers` and of none.

    Embedding, head, sampling and the host's own work are in both; what is left is the layers' and grows with their
    number: seconds = none + (layers - none) * of_layers / layers. So do the bytes of the state.
    """
    if not without_layers.seconds or not measured.seconds:
        return replace(measured, seconds=())
    middle = statistics.median(without_layers.seconds)
    factor = of_layers / layers
    return replace(
        measured,
        seconds=tuple(middle + max(0.0, seconds - middle) * factor for seconds in measured.seconds),
        recurrent_bytes=round(measured.recurrent_bytes * factor),
        kv_bytes=round(measured.kv_bytes * factor),
    )
