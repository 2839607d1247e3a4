"""The sampler against numpy oracles of its own definitions: what is kept, with which probability, and what repeats."""

import math
from collections import Counter
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from count_launches import can_count
from qwen_core.device import backend
from qwen_core.errors import SettingsError
from qwen_core.protocol.events import GenerationSettings
from qwen_core.session.sampling import (
    Sampler,
    SamplingParameters,
    filtered,
    least,
    resolve_sampling,
)
from qwen_core.settings.ranges import SAMPLING

Array = NDArray[np.float64]

# Multiples of 1/8 are exact in every type, so ties are ties, and often there.
LOGITS = st.lists(st.integers(-80, 80).map(lambda n: n / 8), min_size=1, max_size=300)
PARAMETERS = st.builds(
    SamplingParameters,
    temperature=st.floats(0.05, 5),
    top_p=st.one_of(st.just(1.0), st.floats(0, 1)),
    top_k=st.one_of(st.just(0), st.integers(1, 400)),
    min_p=st.one_of(st.just(0.0), st.just(1.0), st.floats(0, 1)),
)


def one(token: mx.array) -> int:
    """The token of a sampler's answer."""
    assert token.shape == (1,)
    assert token.dtype == mx.uint32
    return int(np.array(token)[0])


def oracle(logits: list[float], parameters: SamplingParameters) -> tuple[dict[int, float], bool]:
    """id -> log-probability of what may be drawn, by the definitions in sampling.py's docstring, in float64.

    Also whether a token lies so close to a limit that float32 may decide otherwise.
    """
    x = np.array(logits) / parameters.temperature
    order = sorted(range(len(x)), key=lambda i: (-logits[i], i))
    if parameters.top_k:
        order = order[: parameters.top_k]
    chances = np.exp(x[order] - x[order[0]])
    chances /= chances.sum()
    before = np.concatenate([[0.0], np.cumsum(chances)[:-1]])
    close = bool((np.abs(before - parameters.top_p) < 1e-5).any()) if parameters.top_p < 1 else False
    if parameters.top_p < 1:
        order = [token for rank, token in enumerate(order) if rank == 0 or before[rank] < parameters.top_p]
    if parameters.min_p > 0:
        gaps = x[order] - x[order[0]] - math.log(parameters.min_p)
        close = close or bool((np.abs(gaps) < 1e-5).any() and parameters.min_p < 1)
        order = [token for token, gap in zip(order, gaps, strict=True) if gap >= 0]
    kept = x[order] - x[order[0]]
    kept -= np.log(np.exp(kept).sum())
    return dict(zip(order, kept.tolist(), strict=True)), close


def drawn_from(logits: list[float], parameters: SamplingParameters) -> dict[int, float]:
    """id -> log-probability of what the sampler's one draw is made from."""
    x, ids = filtered(-mx.array([logits]), parameters)
    values = np.array(x[0]).astype(np.float64)
    values -= np.log(np.exp(values).sum())
    return {int(token): value for token, value in zip(np.array(ids[0]), values, strict=True) if value > -np.inf}


@settings(max_examples=150)
@given(LOGITS, PARAMETERS)
def test_the_distribution_drawn_from_is_the_defined_one(logits: list[float], parameters: SamplingParameters) -> None:
    expected, close = oracle(logits, parameters)
    found = drawn_from(logits, parameters)
    if not close:
        assert found.keys() == expected.keys()
        for token, value in expected.items():
            assert found[token] == pytest.approx(value, abs=1e-4 * max(1, abs(value)))
    assert len(found) >= 1


@settings(max_examples=60)
@given(
    st.integers(1, 4000),
    st.sampled_from([1, 2, 5, 20, 64]),
    st.sampled_from([2, 40, 10**6]),
    st.integers(0, 2**32 - 1),
)
def test_least_is_a_stable_sort(size: int, count: int, distinct: int, seed: int) -> None:
    """Sizes on both sides of the two-stage search, and with so few values that most of them tie."""
    values = np.random.RandomState(seed).randint(0, distinct, size).astype(np.float32)
    count = min(count, size)
    expected = np.argsort(values, kind="stable")[:count]
    found, ids = least(mx.array([values.tolist()]), count)
    np.testing.assert_array_equal(np.array(ids)[0], expected)
    np.testing.assert_array_equal(np.array(found)[0], values[expected])


def test_the_whole_vocabulary_is_searched() -> None:
    """248,320 values whose least lie anywhere, the first and last place among them."""
    size = 248_320
    random = np.random.RandomState(0)
    values = random.standard_normal(size).astype(np.float32)
    places = [0, size - 1, 127, 128, *random.randint(0, size, 16).tolist()]
    values[places] -= 100
    _, ids = least(mx.array(values.tolist())[None], len(set(places)))
    assert set(np.array(ids)[0].tolist()) == set(places)


@pytest.mark.parametrize("temperature", [1e-38, 1e-3, 100.0])
def test_extreme_temperatures_stay_finite(temperature: float) -> None:
    x, _ = filtered(-mx.array([[30.0, -1e4, 29.0, 3e4]]), SamplingParameters(temperature=temperature))
    chances = np.array(mx.softmax(x, axis=-1))[0]
    assert np.isfinite(chances).all()
    assert chances.argmax() == 3


@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.floats(0.5, 2),
    st.lists(st.integers(0, 11), max_size=6),
)
def test_penalties_are_their_definitions(
    seed: int, presence: float, frequency: float, repetition: float, prompt: list[int]
) -> None:
    """Greedy choices under penalties, step by step, against counts kept by hand."""
    random = np.random.RandomState(seed)
    sampler = Sampler(
        SamplingParameters(
            temperature=0.0,
            presence_penalty=presence,
            frequency_penalty=frequency,
            repetition_penalty=repetition,
            seed=0,
        ),
        12,
        16,
    )
    sampler.note_prompt(prompt)
    counts: Counter[int] = Counter()
    for _ in range(8):
        logits = random.standard_normal(16)
        expected = logits[:12].copy()
        for token in range(12):
            if token in prompt or counts[token]:
                expected[token] = expected[token] / repetition if expected[token] > 0 else expected[token] * repetition
            expected[token] -= presence * (counts[token] > 0) + frequency * counts[token]
        token = one(sampler(mx.array([logits.tolist()])))
        # What was chosen is the largest, but for float32.
        assert expected[token] == pytest.approx(expected.max(), abs=1e-5)
        counts[token] += 1


def test_ids_beyond_the_tokenizer_are_never_drawn() -> None:
    logits = mx.array([[0.0] * 8 + [50.0] * 8])
    for parameters in (
        SamplingParameters(temperature=0.0),
        SamplingParameters(temperature=2.0, seed=1),
        SamplingParameters(temperature=2.0, top_k=12, seed=1),
        SamplingParameters(temperature=2.0, top_p=0.99, seed=1, presence_penalty=1.0, repetition_penalty=1.3),
    ):
        sampler = Sampler(parameters, 8, 16)
        sampler.note_prompt([3, 9, 15, 200])
        assert all(one(sampler(logits)) < 8 for _ in range(30))


def run(parameters: SamplingParameters, steps: int = 40) -> list[int]:
    sampler = Sampler(parameters, 100, 100)
    tokens = []
    for _ in range(steps):
        mx.random.normal((3,))  # somebody else's use of the generator
        tokens.append(one(sampler(mx.zeros((1, 100)))))
    return tokens


def test_a_seed_reproduces_and_no_seed_does_not() -> None:
    mx.random.seed(1)
    first = run(SamplingParameters(seed=7))
    mx.random.seed(2)
    assert run(SamplingParameters(seed=7)) == first
    assert len(set(first)) > 10, "each step has its own key"
    assert run(SamplingParameters(seed=8)) != first
    assert run(SamplingParameters()) != run(SamplingParameters())
    assert run(SamplingParameters(seed=2**64 - 1)) != first


def test_greedy_takes_the_first_of_the_largest_and_no_key() -> None:
    sampler = Sampler(SamplingParameters(temperature=0.0, seed=3), 5, 5)
    key = sampler._key
    assert sampler(mx.array([[1.0, 4.0, 4.0, 0.0, 4.0]])).tolist() == [1]
    assert sampler._key is key


def test_draws_follow_the_filtered_distribution() -> None:
    """800 draws of a fixed seed: frequencies within 5 standard deviations of their chances."""
    parameters = SamplingParameters(temperature=0.8, top_k=5, top_p=0.9, seed=11)
    logits = [2.0, 1.0, 0.5, 1.5, -1.0, 1.25, 0.0]
    expected, _ = oracle(logits, parameters)
    sampler = Sampler(parameters, 7, 7)
    row = mx.array([logits])
    draws = [sampler(row) for _ in range(800)]
    counts = Counter(np.array(mx.concatenate(draws)).tolist())
    assert counts.keys() == expected.keys()
    for token, value in expected.items():
        chance = math.exp(value)
        assert abs(counts[token] - 800 * chance) < 5 * math.sqrt(800 * chance * (1 - chance)) + 1


@pytest.mark.skipif(not can_count(), reason="without g++ MLX joins no elementwise operations on a CPU")
def test_joined_as_on_a_gpu_the_same_tokens_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.01, "presence_penalty": 0.5, "seed": 5}
    parameters = SamplingParameters(**asked, repetition_penalty=1.1)
    rows = mx.random.normal((30, 1, 700), key=mx.random.key(0))

    def drawn(on_gpu: bool) -> list[int]:
        monkeypatch.setattr(backend, "is_gpu", lambda: on_gpu)
        sampler = Sampler(parameters, 690, 700)
        return [one(sampler(row)) for row in rows]

    assert drawn(True) == drawn(False)


# Settings


def test_a_request_beats_the_file_which_beats_the_recommendation() -> None:
    file = {"temperature": 0.5, "top_k": 7, "do_sample": True}
    request = GenerationSettings(top_k=3, seed=5)
    assert resolve_sampling(request, file, thinking=True) == SamplingParameters(
        temperature=0.5, top_p=0.95, top_k=3, seed=5
    )
    greedy = resolve_sampling(GenerationSettings(), {"do_sample": False, "temperature": 0.6}, thinking=True)
    assert greedy.temperature == 0.0
    asked = resolve_sampling(GenerationSettings(temperature=0.3), {"do_sample": False}, thinking=True)
    assert asked.temperature == 0.3


OFF_IN_FILES = (("top_p", 1.5), ("top_k", -1), ("min_p", -1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", "hot"),
        ("temperature", True),
        ("top_p", 1.5),
        ("top_k", -1),
        ("top_k", 2.5),
        ("min_p", -1),
        ("presence_penalty", 9),
        ("frequency_penalty", -3),
        ("repetition_penalty", 0),
        ("repetition_penalty", [1]),
    ],
)
def test_what_is_out_of_range_is_named_with_its_source(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"^{name} = .* is not a "):
        resolve_sampling(GenerationSettings(**{name: value}), {}, thinking=True)
    if (name, value) in OFF_IN_FILES:
        return
    with pytest.raises(SettingsError, match=f"^generation_config.json: {name} = .* is not a "):
        resolve_sampling(GenerationSettings(), {name: value}, thinking=True)


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [(*given, off) for given, off in zip(OFF_IN_FILES, (1, 0, 0), strict=True)]
    + [("top_k", 20.0, 20), ("top_k", 0, 0)],
)
def test_a_file_may_say_off_as_other_runtimes_do(name: str, value: Any, meant: float) -> None:
    found = getattr(resolve_sampling(GenerationSettings(), {name: value}, thinking=True), name)
    assert (found, type(found)) == (meant, int if name == "top_k" else float)


@pytest.mark.parametrize("name", sorted(SAMPLING.keys() - {"seed", "top_p", "min_p"}))
@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_of_hundreds_of_digits_is_one_line(name: str, sign: int) -> None:
    value = sign * 10**400
    if (name, sign) == ("top_k", -1):
        return
    with pytest.raises(SettingsError, match=f"generation_config.json: {name} = -?10000") as error:
        resolve_sampling(GenerationSettings(), {name: value}, thinking=True)
    assert len(str(error.value)) < 600


def test_a_seed_must_fit() -> None:
    for seed in (-1, 2**64):
        with pytest.raises(SettingsError, match="seed"):
            resolve_sampling(GenerationSettings(seed=seed), {}, thinking=True)
