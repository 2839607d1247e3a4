"""Drafts change the speed and nothing else: the same tokens, the same state, bit for bit, wherever decoding stops.

On a CPU in float32 the rows of one pass are those of single passes bit for bit, so that nothing here has a tolerance
but the comparison with a fresh prefill, whose sums run in another order.
"""

from collections.abc import Callable
from typing import cast

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.mtp import find_mtp
from qwen_core.model.model import Model, load_model
from qwen_core.model.mtp import MtpLayer, load_mtp
from qwen_core.model.state import State
from qwen_core.session.draft_count import MOST_DRAFTS
from qwen_core.session.drafting import Drafter, Drafting, LongestFirst, LookupDrafter, MtpDrafter
from qwen_core.session.generate import decode, prefill
from qwen_core.session.lookup import LookupIndex
from qwen_core.session.sampling import Sampler, SamplingParameters
from support.checkpoints import write_checkpoint
from support.published_plan import SMALL_MIXTURE
from support.reference import CASES, MIXTURES, write_case
from support.scripted_drafter import ScriptedDrafter

SIZES = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 4, "full_attention_interval": 2}
DENSE = ("bf16", "nvfp4", "mxfp4", "mxfp8", "q2", "q3", "q4", "q5", "q6", "q8")
MIXED = ("mixture bf16", "mixture nvfp4", "mixture mxfp8", "mixture q4")
VARIANTS = DENSE + MIXED
SAMPLERS = {
    "greedy": SamplingParameters(temperature=0.0),
    "greedy, penalised": SamplingParameters(temperature=0.0, repetition_penalty=1.3, frequency_penalty=0.5),
    "seeded": SamplingParameters(temperature=0.6, top_p=0.95, top_k=20, seed=7),
    "seeded, penalised": SamplingParameters(
        temperature=1.0, top_p=0.8, presence_penalty=1.5, repetition_penalty=1.1, seed=7
    ),
}
LIMIT = 24


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    def made(variant: str) -> Model:
        path = tmp_path_factory.mktemp("model")
        sizes = SIZES | (SMALL_MIXTURE if variant in MIXED else {})
        write_checkpoint(path, variant.split()[-1], text=sizes)
        return load_model(path, "float32")

    return {variant: made(variant) for variant in VARIANTS}


@pytest.fixture(params=VARIANTS)
def model(request: pytest.FixtureRequest, models: dict[str, Model]) -> Model:
    return models[request.param]


@pytest.fixture(scope="module", params=[CASES[1], MIXTURES[0], MIXTURES[1]], ids=lambda case: case.name)
def with_mtp(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, MtpLayer]:
    path = tmp_path_factory.mktemp("mtp")
    write_case(request.param, path, mtp="inside")
    checkpoint = open_checkpoint(path)
    found = find_mtp(path, checkpoint.config, checkpoint.tensors, checkpoint.converted)
    assert found is not None
    model = load_model(checkpoint, "float32")
    return model, load_mtp(model, found)


class Run:
    """A prompt in a state, and a sampler, as a turn has them before it decodes."""

    def __init__(
        self,
        model: Model,
        prompt: list[int],
        name: str,
        drafter: Callable[[State], Drafter] | None = None,
        count: int = 3,
    ) -> None:
        self.model = model
        self.prompt = prompt
        self.state = model.new_state()
        self.sampler = Sampler(SAMPLERS[name], model.config.vocab_size, model.config.vocab_size)
        self.sampler.note_prompt(prompt)
        self.drafting = Drafting("scripted", drafter(self.state), lambda _: count) if drafter else None
        *_, last = prefill(model, self.state, prompt, chunk=5, drafting=self.drafting)
        assert last.logits is not None
        self.logits = last.logits

    def take(self, tokens: int, limit: int = LIMIT) -> list[int]:
        """Decode and close the iterator at the `tokens`-th token."""
        taken: list[int] = []
        stream = decode(self.model, self.state, self.logits, self.sampler, limit=limit, drafting=self.drafting)
        for token in stream:
            taken.append(token)
            assert self.state.length == len(self.prompt) + len(taken)
            if len(taken) == tokens:
                break
        stream.close()
        return taken


def equal_states(one: State, other: State) -> bool:
    """Whether both hold the same bits: recurrent state, convolution inputs, and the keys and values that count."""
    ours, theirs = one.stored(), other.stored()
    names = {name for name in ours if not name.startswith("mtp.")}
    return names == {name for name in theirs if not name.startswith("mtp.")} and all(
        mx.array_equal(ours[name], theirs[name]).item() for name in names
    )


def scripted(truth: list[int], right: float, vocab: int, hidden: bool) -> Callable[[State], Drafter]:
    return lambda _: ScriptedDrafter(truth, right, vocab, hidden=hidden)


@settings(max_examples=25)
@given(
    variant=st.sampled_from(VARIANTS),
    prompt=st.lists(st.integers(0, 95), min_size=1, max_size=12),
    name=st.sampled_from(sorted(SAMPLERS)),
    count=st.integers(1, MOST_DRAFTS),
    right=st.sampled_from([0.0, 0.6, 1.0]),
    stop=st.integers(1, LIMIT),
    hidden=st.booleans(),
)
def test_the_same_tokens_and_state_wherever_it_stops(
    models: dict[str, Model],
    variant: str,
    prompt: list[int],
    name: str,
    count: int,
    right: float,
    stop: int,
    hidden: bool,
) -> None:
    model = models[variant]
    truth = prompt + Run(model, prompt, name).take(LIMIT)
    plain = Run(model, prompt, name)
    expected = plain.take(stop)
    drafted = Run(model, prompt, name, scripted(truth, right, model.config.vocab_size, hidden), count)
    assert drafted.take(stop) == expected
    assert equal_states(drafted.state, plain.state)
    # What is drawn next is drawn by the same random numbers and penalties.
    again = mx.random.normal((1, model.config.vocab_size), key=mx.random.key(1))
    assert drafted.sampler(again).item() == plain.sampler(again).item()
    assert drafted.drafting is not None
    assert isinstance(drafted.drafting.drafter, ScriptedDrafter)
    assert drafted.drafting.drafter.fed_ids == prompt + expected
    fresh = model.last_logits(mx.array([[*prompt, *expected, 17]]), model.new_state())
    found = drafted.model.last_logits(mx.array([[17]]), drafted.state)
    np.testing.assert_allclose(np.array(found), np.array(fresh), rtol=0, atol=1e-3)


def test_drafts_that_are_always_right_save_passes(model: Model) -> None:
    prompt = [3, 1, 4, 1, 5]
    truth = prompt + Run(model, prompt, "greedy").take(LIMIT)
    drafted = Run(model, prompt, "greedy", scripted(truth, 1.0, model.config.vocab_size, False), 3)
    assert drafted.take(LIMIT) == truth[len(prompt) :]
    assert drafted.drafting is not None
    assert drafted.drafting.counts.passes == LIMIT // 4
    assert drafted.drafting.counts.accepted_by_depth[:4] == [6, 6, 6, 0]


@settings(max_examples=12)
@given(
    prompt=st.lists(st.integers(0, 95), min_size=1, max_size=20),
    name=st.sampled_from(sorted(SAMPLERS)),
    count=st.integers(1, MOST_DRAFTS),
    stop=st.integers(1, LIMIT),
    kind=st.sampled_from(["mtp", "lookup", "both"]),
)
def test_the_real_drafters_change_nothing_either(
    with_mtp: tuple[Model, MtpLayer], prompt: list[int], name: str, count: int, stop: int, kind: str
) -> None:
    model, layer = with_mtp

    def drafter(state: State) -> Drafter:
        lookup = LookupDrafter(LookupIndex())
        mtp = MtpDrafter(layer, state, model.config.vocab_size)
        return {"mtp": mtp, "lookup": lookup, "both": LongestFirst(mtp, lookup)}[kind]

    plain = Run(model, prompt, name)
    expected = plain.take(stop)
    drafted = Run(model, prompt, name, drafter, count)
    assert drafted.take(stop) == expected
    assert equal_states(drafted.state, plain.state)


def test_a_snapshot_within_a_pass_is_restored_exactly(model: Model) -> None:
    prompt = [2, 7, 1, 8]
    truth = prompt + Run(model, prompt, "greedy").take(LIMIT)
    drafted = Run(model, prompt, "greedy", scripted(truth, 1.0, model.config.vocab_size, False), 4)
    points = []
    for _ in decode(model, drafted.state, drafted.logits, drafted.sampler, limit=9, drafting=drafted.drafting):
        points.append((drafted.state.snapshot(), {n: np.array(a) for n, a in drafted.state.stored().items()}))
    for snapshot, arrays in reversed(points):
        drafted.state.restore(snapshot)
        stored = drafted.state.stored()
        assert stored.keys() == arrays.keys()
        assert all((np.array(stored[name]) == array).all() for name, array in arrays.items())


def test_the_mtp_layer_goes_on_from_a_snapshot_and_from_a_file(with_mtp: tuple[Model, MtpLayer]) -> None:
    """What it drafts afterwards is what it drafted then; without its rows it begins a run of its own."""
    model, layer = with_mtp
    prompt, vocab = list(range(20)), model.config.vocab_size
    run = Run(model, prompt, "greedy", lambda state: MtpDrafter(layer, state, vocab))
    run.take(7)
    layer.catch_up(run.state.mtp)
    token = mx.array([5], mx.uint32)

    def drafts(state: State) -> list[int]:
        return [cast(int, mx.argmax(row).item()) for row in layer.draft_logits(token, 4, vocab, state.mtp)]

    expected = drafts(run.state)
    snapshot, stored = run.state.snapshot(), run.state.stored()
    run.logits = model.last_logits(mx.array([[3]]), run.state)  # fed without the MTP layer
    assert run.state.mtp.point() is None
    run.state.restore(snapshot)
    assert drafts(run.state) == expected
    other = model.new_state()
    other.adopt(run.state.length, stored)
    assert drafts(other) == expected
    assert equal_states(other, run.state)
