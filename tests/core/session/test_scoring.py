"""How likely given tokens are: as transformers has it, in chunks, beside a conversation, of an answer as it came."""

import math
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.demo import demo_model_path
from qwen_core.errors import CapacityError, QwenError, SettingsError, TextError
from qwen_core.protocol.probabilities import together
from qwen_core.protocol.scoring import Score
from qwen_core.session import scoring
from qwen_core.session.completion import Completion, load_completion
from qwen_core.session.opening import load_session
from qwen_core.session.reasoning_budget import BudgetWatch
from qwen_core.session.session import Session
from support.reference import CASES, MIXTURES, Case, write_case

GOLDENS = Path(__file__).resolve().parent.parent / "model" / "goldens"
# Both sides are float32 and sum in different orders. Measured: 2e-5.
TOLERANCE = 1e-4
QUESTION = "What is the capital of France?"


def references(case: Case) -> np.ndarray:
    """transformers' log-probabilities of the case's tokens from the second one on, from its float32 logits."""
    logits = np.load(GOLDENS / f"{case.name}.npz")["logits"].astype(np.float64)[:-1]
    logs = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
    logs -= logits.max(-1, keepdims=True)
    return logs[np.arange(len(logs)), case.ids[1:]]


@pytest.mark.parametrize("case", (*CASES[:4], MIXTURES[0]), ids=lambda case: case.name)
def test_log_probabilities_and_perplexity_equal_transformers(case: Case, tmp_path: Path) -> None:
    write_case(case, tmp_path)
    expected = references(case)
    with load_completion(tmp_path, dtype="float32") as completion:
        found = completion.score(Score(1, tuple(case.ids)))
        behind = completion.score(Score(1, tuple(case.ids[30:]), prompt_ids=tuple(case.ids[:30])))
    assert found is not None
    assert behind is not None
    np.testing.assert_allclose(found.probabilities.logprobs(), expected, rtol=0, atol=TOLERANCE)
    assert found.perplexity == pytest.approx(math.exp(-expected.mean()), rel=TOLERANCE)
    assert (found.first, found.nbytes, found.bits_per_byte) == (1, 0, None)
    np.testing.assert_allclose(behind.probabilities.logprobs(), expected[29:], rtol=0, atol=TOLERANCE)
    assert behind.first == 0


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with load_session(demo_model_path(), dtype="float32") as opened:
        yield opened


@pytest.fixture(scope="module")
def completion() -> Iterator[Completion]:
    with load_completion(demo_model_path(), dtype="float32") as opened:
        yield opened


def test_an_answer_is_scored_anew_as_it_came_and_the_conversation_goes_on(session: Session) -> None:
    """Single steps against chunks: sums in another order. Measured: 1e-5."""
    events = list(session.send_stream(QUESTION, temperature=0.0, reasoning_effort="none", logprobs=8))
    prompt_ids = events[0].prompt_ids
    ids = tuple(token for event in events for token in event.token_ids)
    came = together([event.probabilities for event in events if event.probabilities is not None])
    assert came is not None
    assert len(came) == len(ids) > 3
    scored = session.score(Score(1, ids, prompt_ids))
    assert scored is not None
    np.testing.assert_allclose(scored.probabilities.logprobs(), came.logprobs(), rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(scored.probabilities.entropies(), came.entropies(), rtol=0, atol=TOLERANCE)
    assert [step.rank for step in scored.probabilities] == [step.rank for step in came] == [1] * len(ids)
    assert all(step.drawn_logprob == 0 for step in came)
    assert all(step.drawn_logprob is None for step in scored.probabilities)
    last = list(session.send_stream("And Japan?", temperature=0.0, reasoning_effort="none"))[-1]
    assert last.cached_tokens == len(prompt_ids) + len(ids)
    assert last.probabilities is None


def test_what_closes_reasoning_has_probabilities_too_but_was_not_drawn(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No line end is waited for.
    monkeypatch.setattr("qwen_core.session.session.BudgetWatch", lambda *given: BudgetWatch(*given, grace=0))
    asked = {"temperature": 0.0, "reasoning_effort": "medium", "reasoning_budget": 2, "max_new_tokens": 60}
    session.restore([])
    plain = [token for event in session.send_stream(QUESTION, **asked) for token in event.token_ids]
    session.restore([])
    events = [event for event in session.send_stream(QUESTION, logprobs=4, **asked) if event.token_ids]
    assert [token for event in events for token in event.token_ids] == plain
    rows = together([event.probabilities for event in events if event.probabilities is not None])
    assert rows is not None
    assert len(rows) == len(plain)
    drawn = [step.drawn_logprob is not None for step in rows]
    assert 0 < drawn.count(False) < len(drawn)


def test_chunks_and_rows_change_nothing_but_rounding(completion: Completion, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "The capital of France is Paris. What about Germany? " * 4
    whole = completion.score(Score(1, text=text))
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(scoring, "chunk_size", lambda heads, context: 7)
    monkeypatch.setattr(scoring, "ROWS", 3)
    most = 0
    rows = scoring.probability_rows

    def counted(logits: mx.array, *given: object) -> mx.array:
        nonlocal most
        most = max(most, logits.shape[0])
        return rows(logits, *given)  # type: ignore

    monkeypatch.setattr(scoring, "probability_rows", counted)
    pieces = completion.score(Score(1, text=text), progress=lambda done, total: told.append((done, total)))
    assert whole is not None
    assert pieces is not None
    assert pieces.ids == whole.ids
    np.testing.assert_allclose(pieces.probabilities.logprobs(), whole.probabilities.logprobs(), atol=TOLERANCE)
    assert most == 3
    assert told[-1] == (len(whole.ids) - 1, len(whole.ids) - 1)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_a_text_is_ordinary_text_and_its_bytes_are_counted(completion: Completion) -> None:
    text = "an <|im_end|> é 中"
    found = completion.score(Score(1, text=text, top=2))
    assert found is not None
    assert completion.tokenizer is not None
    assert completion.tokenizer.decode(found.ids) == text
    assert not any(spelling.control for spelling in completion.spell(found.ids))
    assert found.nbytes == len(text.encode()) - len(completion.tokenizer.token_bytes(found.ids[0]))
    logprobs = found.probabilities.logprobs()
    assert found.bits_per_byte == pytest.approx(-sum(logprobs) / math.log(2) / found.nbytes)
    assert found.probabilities.top == 2
    assert found.probabilities.least_likely(1) == [logprobs.index(min(logprobs))]


def test_a_stop_ends_it(completion: Completion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "chunk_size", lambda heads, context: 5)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    assert completion.score(Score(1, tuple(range(40))), stop=stop) is None


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        (Score(1, ()), SettingsError, "nothing to score"),
        (Score(1, (5,)), SettingsError, "nothing to score"),
        (Score(1, (5, 10**6)), QwenError, "outside the model's vocabulary"),
        (Score(1, tuple(range(3000)) * 2), CapacityError, "6,000 tokens and the model takes 4,096"),
        (Score(1, text="word " * 1_000_000), CapacityError, "more than 4,096 tokens"),
    ],
    ids=["nothing", "one token", "no id", "too many ids", "a million words"],
)
def test_what_cannot_be_scored_is_one_line(
    completion: Completion, asked: Score, error: type[QwenError], words: str
) -> None:
    with pytest.raises(error, match=words):
        completion.score(asked)


def test_without_a_tokenizer_ids_alone_are_scored(tmp_path: Path) -> None:
    write_case(CASES[0], tmp_path)
    with load_completion(tmp_path, dtype="float32") as completion:
        with pytest.raises(TextError, match="no tokenizer"):
            completion.score(Score(1, text="text"))
        assert [spelling.written for spelling in completion.spell((1, 2))] == [b"", b""]


def test_a_model_that_computes_no_numbers_is_one_line(completion: Completion, monkeypatch: pytest.MonkeyPatch) -> None:
    head = completion.model.head
    monkeypatch.setattr(
        completion.model, "head", lambda hidden: mx.where(mx.arange(hidden.shape[1])[:, None] > 1, mx.nan, head(hidden))
    )
    with pytest.raises(QwenError, match="no numbers at token 4:"):
        completion.score(Score(1, (5, 6, 7, 8, 9)))
