"""A `Session` and a `CompletionList` that yield given events: for tests of the headless commands around a model.

They keep to the signatures and events of qwen_core.session.opening and qwen_core.session.completion; `Calls` records
what was asked.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType, TracebackType
from typing import Any, Self

import pytest

from qwen_core.protocol.events import (
    FinishReason,
    GenerationSettings,
    LoadProgress,
    LoadSettings,
    Message,
    ModelSummary,
    StreamEvent,
)
from qwen_core.protocol.stats import TurnStats
from qwen_core.protocol.weight_tiers import WeightTiers
from support.fake_session import said

SUMMARY = ModelSummary(
    name="fake",
    path="/nowhere/fake",
    variant="custom",
    weight_bytes=1000,
    weight_bytes_per_token=900,
    device="a machine",
    dtype="float32",
    context_limit=4096,
    load_s=0.25,
    tiers=WeightTiers(mapped=1, copied=2, streamed=3),
    peak_bandwidth_gb_s=400.0,
)

STATS = TurnStats(
    prompt_tokens=20,
    cached_tokens=0,
    generated_tokens=5,
    reasoning_tokens=0,
    context_tokens=25,
    ttft_s=0.5,
    prefill_tok_s=40.0,
    decode_tok_s=10.0,
    weight_bytes_per_token=900,
    bytes_per_token=1000,
    bandwidth_gb_s=1e-5,
    peak_bandwidth_gb_s=400.0,
    peak_memory_bytes=5000,
    active_memory_bytes=4000,
)

PARIS = (
    StreamEvent(to_prefill=20),
    StreamEvent(prefilled=20, to_prefill=20),
    said("Par", 11),
    said("is.", 12),
    StreamEvent(token_ids=(2,)),
)


@dataclass
class Calls:
    """What the program asked of the fake."""

    path: str = ""
    system: str | None = None
    dtype: str | None = None
    load: LoadSettings | None = None
    restored: tuple[Message, ...] = ()
    text: str | None = None
    prompt_ids: tuple[int, ...] | None = None
    settings: GenerationSettings | None = None
    closed: bool = False


@dataclass
class ScriptedSession:
    """Yields `events`, then a last one. `between` runs before each event; `stop` ends the turn as the engine does."""

    events: Sequence[StreamEvent] = PARIS
    finish_reason: FinishReason = "stop"
    notice: str = ""
    late_reasoning: int = 0
    between: Callable[[int], None] = lambda index: None
    load_error: Exception | None = None
    calls: Calls = field(default_factory=Calls)
    model: ModelSummary = SUMMARY

    def install(self, patch: pytest.MonkeyPatch) -> Self:
        """Stand in for the modules, so that none of what they import is needed."""
        functions = (self.load_session, self.load_completion)
        for name, given in (
            ("qwen_core.session.opening", functions[:1]),
            ("qwen_core.session.completion", functions[1:]),
            ("qwen_core.engine.loading", functions),
        ):
            module = ModuleType(name)
            for function in given:
                setattr(module, function.__name__, function)
            patch.setitem(sys.modules, name, module)
        return self

    def load_session(
        self,
        path: Any,
        system: str | None = None,
        *,
        dtype: str | None = None,
        settings: LoadSettings | None = None,
        progress: Callable[[LoadProgress], None] | None = None,
        stop: Callable[[], bool] | None = None,
        lost: object = None,
    ) -> Self:
        self.calls.path, self.calls.system, self.calls.dtype, self.calls.load = str(path), system, dtype, settings
        if progress:
            progress(LoadProgress("weights", 500, 1000))
        if self.load_error:
            raise self.load_error
        return self

    def load_completion(self, path: Any, **given: Any) -> Self:
        return self.load_session(path, **given)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.calls.closed = True

    def summary(self) -> ModelSummary:
        return self.model

    def restore(self, messages: Sequence[Message], ids: Sequence[int] = (), system: str | None = None) -> None:
        self.calls.restored, self.calls.system = tuple(messages), system

    def send_stream(
        self, text: str, settings: GenerationSettings | None = None, *, stop: Callable[[], bool] | None = None
    ) -> Iterator[StreamEvent]:
        self.calls.text, self.calls.settings = text, settings
        return self._answer(stop or (lambda: False))

    def complete(
        self,
        prompt_ids: Sequence[int],
        settings: GenerationSettings | None = None,
        *,
        stop: Callable[[], bool] | None = None,
    ) -> Iterator[StreamEvent]:
        self.calls.prompt_ids, self.calls.settings = tuple(prompt_ids), settings
        return self._answer(stop or (lambda: False))

    def _answer(self, stop: Callable[[], bool]) -> Iterator[StreamEvent]:
        reason = self.finish_reason
        generated = 0
        for index, event in enumerate(self.events):
            self.between(index)
            generated += len(event.token_ids)
            yield event
            if stop():
                reason = "cancelled"
                break
        stats = replace(STATS, generated_tokens=generated)
        yield StreamEvent(
            done=True, finish_reason=reason, notice=self.notice, stats=stats, late_reasoning=self.late_reasoning
        )
