"""A model that 2 and 4 real processes share is the model that one has: logits, tokens, snapshots, saved states.

Sums over heads and columns run in another order on several ranks. Measured: 2e-5 at most.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.errors import QwenError
from qwen_core.model.model import Model, load_model
from qwen_core.session.state_file import load_state, save_state
from support import rank_cases
from support.checkpoints import write_checkpoint
from support.published_plan import SHARED, SHARED_MIXTURE, VARIANTS
from support.ranks import Ranks, ranks
from support.reference import Case, write_case

TOLERANCE = 1e-4
IDS = np.random.RandomState(5).randint(0, 512, 40).tolist()
# One linear layer and one full one.
TINY = {"num_hidden_layers": 2, "full_attention_interval": 2}
KINDS = {"dense": SHARED | TINY, "experts": SHARED_MIXTURE | TINY}
WITH_MTP = {
    "dense": Case("shared", 41, "raw", False, 4, 8, TINY | {"intermediate_size": 64}),
    "experts": Case("shared-mixture", 42, "converted", True, 4, 4, TINY | {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 64,
    }),
}  # fmt: skip


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    with ranks(2, tmp_path_factory.mktemp("two")) as started:
        yield started


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    with ranks(4, tmp_path_factory.mktemp("four")) as started:
        yield started


@pytest.fixture(params=["two", "four"])
def several(request: pytest.FixtureRequest) -> Ranks:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module", params=WITH_MTP)
def with_mtp(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model]:
    path = tmp_path_factory.mktemp("mtp")
    write_case(WITH_MTP[request.param], path, mtp="inside")
    return path, load_model(path, "float32")


def close(found: np.ndarray | str, expected: np.ndarray) -> None:
    assert isinstance(found, np.ndarray), found
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nvfp4 variant with experts: nvfp4, affine 5, 6 and 8 bits, and bf16 in one model."""
    path = tmp_path_factory.mktemp("mixed")
    write_checkpoint(path, "nvfp4", text=KINDS["experts"])
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_of_every_variant(variant: str, kind: str, two: Ranks, four: Ranks, tmp_path: Path) -> None:
    """Four ranks repeat key-value heads, of which there are two."""
    names = "raw" if variant in ("bf16", "q4") else "converted"  # bf16: gate and up of the experts in one tensor
    write_checkpoint(tmp_path, variant, text=KINDS[kind], names=names, tied=variant in ("q5", "mxfp8"))
    expected = rank_cases.all_logits(load_model(tmp_path, "float32"), IDS[:12])
    dense_or_chosen = kind == "dense" or variant in ("bf16", "nvfp4", "mxfp8", "q2")
    for some in (two, four) if dense_or_chosen else (two,):
        close(some.do(rank_cases.logits, tmp_path, IDS[:12]), expected)
    assert expected.std() > 0.5


def test_any_split_of_a_prompt_gives_the_same_logits(several: Ranks, mixed: Path) -> None:
    expected = rank_cases.all_logits(load_model(mixed, "float32"), IDS)
    close(several.do(rank_cases.logits, mixed, IDS), expected)
    for cuts in ([1], [39], [3, 4, 30], [7, 23])[: 4 if several.count == 2 else 1]:
        close(several.do(rank_cases.logits_in_pieces, mixed, IDS, cuts), expected[-1])


def test_half_precision_stays_close_to_float32(two: Ranks, mixed: Path) -> None:
    """As close as one rank does (test_model.py): parts of a sum are rounded before they are added up."""
    exact = rank_cases.all_logits(load_model(mixed, "float32"), IDS[:12])
    found = two.do(rank_cases.logits, mixed, IDS[:12], "bfloat16")
    assert 1e-4 < np.sqrt(((found - exact) ** 2).mean()) < 0.3 * exact.std()


def test_64_greedy_tokens_with_and_without_drafts(several: Ranks, with_mtp: tuple[Path, Model]) -> None:
    """Drafts of the MTP layer, which rank 0 has alone, and of one who is mostly right, for `keep`."""
    path, model = with_mtp
    prompt, dense = [3, 1, 4, 1, 5, 9, 2, 6] * 3, model.config.mixture is None
    expected = rank_cases.answer(model, prompt, 64)
    assert len(set(expected)) > 8, "a model that repeats itself compares little"
    runs = {"": 64, "scripted" if dense else "mtp": 64}
    if several.count > 2:  # a token takes long where there are more processes than processors
        runs = {"": 24} if dense else {"scripted": 64}
    for kind, tokens in runs.items():
        found = several.do(rank_cases.greedy, path, prompt, tokens, kind, prompt + expected)
        assert found == expected[:tokens], kind


def test_any_walk_over_a_state(several: Ranks, mixed: Path) -> None:
    """Feeding, passes with drafts, snapshots and ways back, saving and taking up, in any order."""
    difference, taken = several.do(rank_cases.walk, mixed, 55, 40 if several.count == 2 else 8)
    assert difference < TOLERANCE
    assert {"feed", "draft", "take", "back", "save"} <= taken.keys(), taken


def test_the_mtp_layer_goes_on_from_a_saved_state(two: Ranks, with_mtp: tuple[Path, Model]) -> None:
    """It is whole, on rank 0 alone, beside a part of all other layers."""
    before, behind = two.do(rank_cases.drafts_behind_a_file, with_mtp[0])
    assert before == behind


def test_what_is_forgotten_here_is_forgotten_there(two: Ranks, mixed: Path) -> None:
    """By the next command at the latest. Of five states the last is still to be forgotten."""
    told = two.do(rank_cases.remembered, mixed)
    assert (told["new_state"], told["snapshot"]) == (5, 5)
    assert (told["forget_state"], told["forget_snapshot"]) == (4, 5)


def test_scores_of_a_text(two: Ranks, mixed: Path) -> None:
    """Vectors go through the head a few at a time, as rank 0 asks for them."""
    expected = rank_cases.all_logits(load_model(mixed, "float32"), IDS[:-1])
    close(two.do(rank_cases.scores, mixed, IDS), expected)


def test_a_saved_state_and_every_way_to_lose_a_part(two: Ranks, mixed: Path, tmp_path: Path) -> None:
    """One line says why, and rank 0 goes on without."""
    model, file = load_model(mixed, "float32"), tmp_path / "my state.safetensors"
    expected = rank_cases.all_logits(model, [*IDS, 7])[-1]
    two.do(rank_cases.saved, mixed, IDS, file)
    close(two.do(rank_cases.taken_up, mixed, IDS, file), expected)
    (part,) = two.folder.glob("states/my-state.rank1.safetensors")
    whole = part.read_bytes()
    for damage in (b"", whole[:-4], whole[:8] + b"x" + whole[9:]):
        part.write_bytes(damage)
        assert "rank 1 has no part of it that fits" in two.do(rank_cases.taken_up, mixed, IDS, file)
    part.write_bytes(whole)
    close(two.do(rank_cases.taken_up, mixed, IDS, file), expected)
    earlier = tmp_path / "earlier.safetensors"
    earlier.write_bytes(file.read_bytes())
    two.do(rank_cases.saved, mixed, IDS, file)
    assert "rank 1 has no part" in two.do(rank_cases.taken_up, mixed, IDS, earlier), "the part is of another time"
    alone = tmp_path / "alone.safetensors"
    state = model.new_state()
    model.feed(mx.array([IDS]), state)
    save_state(alone, model, "a fingerprint", IDS, state)
    assert " is of another number of ranks (1, here 2)" in two.do(rank_cases.taken_up, mixed, IDS, alone)
    part.unlink()
    part.mkdir()
    with pytest.raises(QwenError, match="rank 1 cannot write its part"):
        two.do(rank_cases.saved, mixed, IDS, file)
    part.rmdir()
    with pytest.raises(QwenError, match=r"is of another number of ranks \(2, here 1\)"):
        load_state(file, model, "a fingerprint", IDS)


def test_a_pass_is_two_sums_a_layer_and_three_messages(two: Ranks, four: Ranks, mixed: Path) -> None:
    """Ids, their vectors, two sums a layer, the logits. In a ring a rank sends most of a sum twice."""
    tokens, hidden, vocab, layers = 5, 128, 512, 2
    for some in (two, four):
        others = some.count - 1
        numbers = tokens * (1 + hidden + 2 * layers * hidden)
        sent = 4 * 2 * numbers * others // some.count + 4 * tokens * vocab // some.count * others
        messages, nbytes, told = some.do(rank_cases.counted, mixed, tokens)
        assert messages == 2 * layers + 3
        assert nbytes == pytest.approx(sent, abs=messages)
        assert told == 0, "a silenced model speaks to nobody"


def test_sums_run_in_the_order_in_which_they_were_built(several: Ranks) -> None:
    expected = [float(number * several.count) for number in range(12)]
    assert several.do(rank_cases.out_of_order, 3) == [expected] * several.count


def test_mlx_lm_shared_by_two_ranks_gives_the_same_tokens(two: Ranks, tmp_path: Path) -> None:
    if find_spec("mlx_lm") is None:  # the ranks import it, which takes a while
        pytest.skip("could not import 'mlx_lm': pip install '.[test]'")
    write_checkpoint(tmp_path, "nvfp4", text=SHARED, seed=3)
    found = two.do(rank_cases.greedy, tmp_path, IDS, 32, "", [])
    assert two.do(rank_cases.peer_greedy, tmp_path, IDS, 32) == [found, found]
    assert len(set(found)) > 4
