"""How sure the model was of each token: what NumPy computes of the same logits, with drafts and without, and mlx-lm."""

import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.errors import QwenError
from qwen_core.model.model import Model, load_model
from qwen_core.protocol.probabilities import Probabilities, TokenProbability, together
from qwen_core.session import generate
from qwen_core.session.drafting import Drafting
from qwen_core.session.generate import decode, prefill
from qwen_core.session.lens import Lens, probability_rows, rows_of
from qwen_core.session.sampling import Sampler, SamplingParameters, filtered
from support.checkpoints import write_checkpoint
from support.peer_mlx_lm import load_peer, prompt
from support.scripted_drafter import ScriptedDrafter

VOCAB, TOP, LIMIT = 512, 8, 20
# Sums of 512 to 250,000 terms in float32 against float64. Measured: 5e-6.
TOLERANCE = 1e-4
WARM = SamplingParameters(temperature=0.8, top_p=0.9, top_k=30, presence_penalty=0.5, seed=3)
GREEDY = SamplingParameters(temperature=0.0)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    write_checkpoint(path, text={"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 4})
    return path


@pytest.fixture(scope="module")
def model(directory: Path) -> Model:
    return load_model(directory, "float32")


def expected(logits: np.ndarray, token: int, top: int) -> TokenProbability:
    """The step by its definitions, in float64."""
    values = logits.astype(np.float64)
    logs = values - values.max() - math.log(np.exp(values - values.max()).sum())
    order = np.lexsort((np.arange(len(values)), -values))[:top]
    entropy = -float((np.exp(logs) * logs).sum())
    alternatives = tuple((int(place), float(logs[place])) for place in order)
    return TokenProbability(float(logs[token]), None, entropy, int((values > values[token]).sum()) + 1, alternatives)


def assert_equal(found: TokenProbability, wanted: TokenProbability) -> None:
    assert found.logprob == pytest.approx(wanted.logprob, abs=TOLERANCE)
    assert found.entropy == pytest.approx(wanted.entropy, abs=TOLERANCE)
    assert (found.rank, [token for token, _ in found.top]) == (wanted.rank, [token for token, _ in wanted.top])
    np.testing.assert_allclose([p for _, p in found.top], [p for _, p in wanted.top], atol=TOLERANCE)


@given(
    rows=st.integers(1, 4),
    size=st.sampled_from([9, 300, 2000, 5000]),
    top=st.integers(1, 9),
    scale=st.sampled_from([0.01, 1.0, 8.0]),
    ties=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_rows_are_what_the_definitions_say(rows: int, size: int, top: int, scale: float, ties: bool, seed: int) -> None:
    random = np.random.RandomState(seed)
    logits = (random.standard_normal((rows, size)) * scale).astype(np.float32)
    if ties:
        logits = np.round(logits * 4) / 4
    tokens = random.randint(0, size, rows)
    drawn = random.uniform(-9, 0, rows).astype(np.float32)
    packed = probability_rows(mx.array(logits), mx.array(tokens), top, mx.array(drawn))
    found = rows_of(packed, top)
    assert len(found) == rows
    for index, step in enumerate(found):
        assert step.drawn_logprob == drawn[index]
        assert_equal(step, expected(logits[index], int(tokens[index]), top))


def answer(
    model: Model, ids: list[int], parameters: SamplingParameters, truth: list[int] | None = None, right: float = 0.6
) -> tuple[list[int], Probabilities]:
    """The tokens of an answer with their rows; with `truth`, what the sequence will have, by drafts of that."""
    state, lens = model.new_state(), Lens(TOP)
    drafting = Drafting("scripted", ScriptedDrafter(truth, right, VOCAB), lambda _: 3) if truth is not None else None
    *_, last = prefill(model, state, ids, drafting=drafting)
    assert last.logits is not None
    sampler = Sampler(parameters, VOCAB, VOCAB)
    sampler.note_prompt(ids)
    tokens, rows = [], []
    for token in decode(model, state, last.logits, sampler, limit=LIMIT, drafting=drafting, lens=lens):
        tokens.append(token)
        rows.append(lens.last)
    found = together(rows)
    assert found is not None
    assert drafting is None or (drafting.counts.passes < LIMIT) == (right > 0)
    return tokens, found


@pytest.mark.parametrize("parameters", [GREEDY, WARM], ids=["greedy", "warm"])
def test_an_answers_tokens_have_what_a_fresh_pass_says(model: Model, parameters: SamplingParameters) -> None:
    ids = prompt(1)
    tokens, found = answer(model, ids, parameters)
    logits = np.array(model(mx.array([ids + tokens]), model.new_state())[0])[len(ids) - 1 : -1]
    assert len(found) == len(tokens) == LIMIT
    counts = np.zeros((1, VOCAB))
    for step, row, token in zip(found, logits, tokens, strict=True):
        assert_equal(step, expected(row, token, TOP))
        # After the penalty, the temperature and the filters.
        if parameters.temperature:
            x, kept = filtered(mx.array(parameters.presence_penalty * (counts > 0) - row[None]), parameters)
        else:
            x, kept = mx.zeros((1, 1)), mx.array([[token]])
        drawn = np.array(x - mx.logsumexp(x, axis=-1, keepdims=True))[0][np.array(kept)[0] == token]
        assert step.drawn_logprob == pytest.approx(float(drawn[0]), abs=TOLERANCE)
        counts[0, token] += 1


@pytest.mark.parametrize("parameters", [GREEDY, WARM], ids=["greedy", "warm"])
@pytest.mark.parametrize("right", [0.0, 0.6, 1.0])
def test_drafts_change_nothing_of_it(model: Model, parameters: SamplingParameters, right: float) -> None:
    """On a CPU in float32 the rows of one pass are those of single passes bit for bit, and so are these."""
    ids = prompt(2)
    tokens, found = answer(model, ids, parameters)
    assert answer(model, ids, parameters, ids + tokens, right) == (tokens, found)


def test_log_probabilities_equal_mlx_lms(directory: Path, model: Model) -> None:
    generation = pytest.importorskip("mlx_lm.generate")
    ids = prompt(3)
    tokens, found = answer(model, ids, GREEDY)
    theirs = list(generation.generate_step(mx.array(ids), load_peer(directory), max_tokens=LIMIT))
    assert [int(token) for token, _ in theirs] == tokens
    for step, token, (_, logprobs) in zip(found, tokens, theirs, strict=True):
        logs = np.array(logprobs)
        assert step.logprob == pytest.approx(float(logs[token]), abs=TOLERANCE)
        for alternative, logprob in step.top:
            assert logprob == pytest.approx(float(logs[alternative]), abs=TOLERANCE)


def test_the_host_still_waits_once_a_token(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    schedule, read = mx.async_eval, generate.read

    def scheduling(*arrays: object) -> None:
        events.append("schedule")
        schedule(*arrays)

    def reading(token: mx.array) -> int:
        events.append("read")
        return read(token)

    def forbidden(*_: object) -> None:
        raise AssertionError("decode waited for the device elsewhere")

    state = model.new_state()
    *_, last = prefill(model, state, [1, 2, 3])
    assert last.logits is not None
    monkeypatch.setattr(mx, "async_eval", scheduling)
    monkeypatch.setattr(generate, "read", reading)
    for name in ("eval", "synchronize"):
        monkeypatch.setattr(mx, name, forbidden)
    list(decode(model, state, last.logits, Sampler(WARM, VOCAB, VOCAB), limit=5, lens=Lens(TOP)))
    assert events == ["schedule"] + ["schedule", "read"] * 5


class Breaking:
    """A model whose logits are no numbers from a token on."""

    def __init__(self, model: Model, sound: int, value: float) -> None:
        self._model, self._left, self._value = model, sound, value
        self.config, self.dtype = model.config, model.dtype

    def last_logits(self, ids: mx.array, state: Any) -> mx.array:
        self._left -= 1
        logits = self._model.last_logits(ids, state)
        return logits if self._left >= 0 else mx.full(logits.shape, self._value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("asked", [False, True], ids=["without", "with the lens"])
@pytest.mark.parametrize("sound", [1, 4])
def test_logits_that_are_no_numbers_end_the_answer_at_their_token(
    model: Model, value: float, asked: bool, sound: int
) -> None:
    broken: Any = Breaking(model, sound, value)
    state = model.new_state()
    *_, last = prefill(broken, state, [1, 2, 3])
    assert last.logits is not None
    said = []
    with pytest.raises(QwenError, match=f"computes no numbers at token {sound + 8}:"):
        for token in decode(
            broken, state, last.logits, Sampler(GREEDY, VOCAB, VOCAB), limit=9, lens=Lens(3) if asked else None, first=8
        ):
            said.append(token)
    assert len(said) == sound


def test_a_row_is_read_back_as_it_was_written() -> None:
    with pytest.raises(IndexError):
        Probabilities(8)[0]
    assert together([]) is None
    packed = probability_rows(mx.array([[0.0, 1.0, 2.0, 3.0]]), mx.array([1]), 2)
    found = rows_of(packed, 2)
    assert (found[0], list(found)) == (found[-1], [found[0]])
    assert found[0].drawn_logprob is None
    assert (found.logprobs(), found.entropies()) == ([found[0].logprob], [found[0].entropy])
