"""A model that 2 and 4 real processes share is the model that one has: logits, tokens, snapshots, saved states.

Sums over heads and columns run in another order on several ranks. Measured: 2e-5 at most.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from qwen_core.model.model import Model, load_model
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
    "dense": Case("shared", 41, "raw", False, 4, 8, {"intermediate_size": 64}),
    "experts": Case("shared-mixture", 42, "converted", True, 4, 4, {
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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_of_every_variant(variant: str, kind: str, two: Ranks, four: Ranks, tmp_path: Path) -> None:
    """Four ranks repeat key-value heads, of which there are two."""
    names = "raw" if variant in ("bf16", "q4") else "converted"  # bf16: gate and up of the experts in one tensor
    write_checkpoint(tmp_path, variant, text=KINDS[kind], names=names, tied=variant in ("q5", "mxfp8"))
    expected = rank_cases.all_logits(load_model(tmp_path, "float32"), IDS)
    for some in (two, four):
        close(some.do(rank_cases.logits, tmp_path, IDS), expected)
    assert expected.std() > 0.5
