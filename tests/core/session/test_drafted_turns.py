"""Whole turns with drafts are the turns without: budgets, guards, limits and stops may fall anywhere inside a pass."""

from collections.abc import Iterator, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_core import demo_model_path, load_session
from qwen_core.protocol.events import StreamEvent
from qwen_core.session.draft_count import MOST_DRAFTS
from qwen_core.session.drafting import Drafting
from qwen_core.session.reasoning_budget import BudgetWatch
from qwen_core.session.repetition_guard import RepetitionGuard
from qwen_core.session.session import Session
from support.scripted_drafter import ScriptedDrafter

QUESTIONS = ("What is the capital of France?", "Explain NVFP4 vs MXFP4 quantization.")
MOST_TOKENS = 24
SAMPLING: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "greedy, penalised": {"temperature": 0.0, "repetition_penalty": 1.3, "frequency_penalty": 0.5},
    "seeded": {"temperature": 0.9, "top_p": 0.95, "top_k": 20, "presence_penalty": 1.5, "seed": 7},
}
# As in test_session.py: the kernels of one row and of many sum in another order.
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def loaded() -> Iterator[Session]:
    with load_session(demo_model_path(), dtype="float32") as session:
        yield session


class Played:
    """A turn of a session of its own, with a drafter that knows what comes, or with none."""

    def __init__(
        self, loaded: Session, question: str, settings: dict[str, Any], stop_after: int, drafter: ScriptedDrafter | None
    ) -> None:
        self.session = Session(loaded.loaded, loaded.tokenizer, loaded.template)
        self.count = 3
        self.events: list[StreamEvent] = []
        self._drafter = drafter
        fed = 0
        with pytest.MonkeyPatch.context() as patch:
            # No grace, and a loop that is short: both fall inside passes.
            patch.setattr("qwen_core.session.session.BudgetWatch", lambda *given: BudgetWatch(*given, grace=0))
            patch.setattr("qwen_core.session.session.RepetitionGuard", lambda: RepetitionGuard(1, 2, 4))
            patch.setattr(loaded.loaded.drafters, "drafting", self._drafting)
            stop = lambda: fed >= stop_after  # noqa: E731
            for event in self.session.send_stream(question, stop=stop, **settings):
                self.events.append(event)
                fed += len(event.token_ids)

    def _drafting(self, mode: str, count: int | None, ids: Sequence[int], *_: object) -> Drafting | None:
        if self._drafter is None:
            return None
        self._drafter.begin(ids)
        return Drafting("scripted", self._drafter, lambda _: count or self.count)

    @property
    def outcome(self) -> tuple[object, ...]:
        """What a person and the next turn get of it."""
        last = self.events[-1]
        tokens = [token for event in self.events for token in event.token_ids]
        said = [(piece, text) for event in self.events for piece, text in event.pieces]
        return tokens, said, last.finish_reason, last.notice, self.session.ids, self.session.messages

    def next_logits(self) -> np.ndarray:
        return np.array(self.session.model.last_logits(mx.array([[17, 3]]), self.session.state))


@settings(max_examples=7)
@given(
    question=st.sampled_from(QUESTIONS),
    name=st.sampled_from(sorted(SAMPLING)),
    effort=st.sampled_from(["none", "medium"]),
    budget=st.none() | st.integers(1, 12),
    guard=st.booleans(),
    limit=st.integers(1, MOST_TOKENS),
    stop_after=st.integers(1, 2 * MOST_TOKENS),
    right=st.sampled_from([0.0, 0.6, 1.0]),
    count=st.integers(1, MOST_DRAFTS),
)
def test_a_turn_is_the_same_with_any_drafts(
    loaded: Session,
    question: str,
    name: str,
    effort: str,
    budget: int | None,
    guard: bool,
    limit: int,
    stop_after: int,
    right: float,
    count: int,
) -> None:
    asked: dict[str, Any] = {
        **SAMPLING[name],
        "reasoning_effort": effort,
        "reasoning_budget": budget,
        "repetition_guard": guard,
        "max_new_tokens": limit,
        "num_draft_tokens": count,
    }
    plain = Played(loaded, question, asked, stop_after, None)
    free = Played(loaded, question, {**asked, "max_new_tokens": MOST_TOKENS}, MOST_TOKENS, None)
    vocab = loaded.model.config.vocab_size
    drafter = ScriptedDrafter(free.session.ids, right, vocab)
    drafted = Played(loaded, question, asked, stop_after, drafter)
    assert drafted.outcome == plain.outcome
    assert drafter.fed_ids == drafted.session.ids
    ours, theirs = drafted.session.state.stored(), plain.session.state.stored()
    assert ours.keys() == theirs.keys()
    assert all(mx.array_equal(ours[name], theirs[name]).item() for name in ours)
    found = drafted.next_logits()
    whole = mx.array([[*drafted.session.ids, 17, 3]])
    fresh = np.array(loaded.model.last_logits(whole, loaded.model.new_state()))
    np.testing.assert_allclose(found, fresh, rtol=0, atol=TOLERANCE)


def test_the_tokens_that_were_drafts_are_told_one_by_one(loaded: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded.loaded, "pass_bytes", lambda rows: 100 * rows)
    asked: dict[str, Any] = {**SAMPLING["greedy"], "reasoning_effort": "none", "max_new_tokens": 16}
    free = Played(loaded, QUESTIONS[1], asked, MOST_TOKENS, None)
    assert not any(event.drafted for event in free.events)
    drafter = ScriptedDrafter(free.session.ids, 1.0, loaded.model.config.vocab_size)
    drafted = Played(loaded, QUESTIONS[1], asked, MOST_TOKENS, drafter)
    stats = drafted.events[-1].stats
    assert stats is not None
    assert stats.draft is not None
    tokens = [event for event in drafted.events if event.token_ids]
    # Right always: of each pass the first token was drawn, and the three after it were drafts.
    assert [event.drafted for event in tokens] == [False, True, True, True] * 4
    assert sum(event.drafted for event in tokens) == stats.draft.accepted == 12
    assert stats.draft.passes == 4
    # The drafter reads nothing, each row that looks at a draft 100 bytes.
    assert stats.draft_bytes == 12 * 100
    assert stats.bytes_per_pass == stats.bytes_per_token + 300
