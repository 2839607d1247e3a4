"""What a rank's part costs: the bytes that loading it reads, and all of the whole between the ranks."""

import pytest

from qwen_core.bench.synthetic import synthetic_checkpoint
from qwen_core.checkpoint.layout import make_layout
from qwen_core.checkpoint.recipe import find_variant
from qwen_core.model.part_layout import part_layout
from qwen_core.model.part_plans import part_plans
from qwen_core.model.shard import Shard

SHAPES = ["27b", "9b", "4b", "35b-a3b", "tiny"]


@pytest.mark.parametrize("variant", ["nvfp4", "q3", None])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_what_loading_reads(shape: str, variant: str | None) -> None:
    checkpoint = synthetic_checkpoint(shape, find_variant(variant) if variant else None)
    shard = Shard(1, 2)
    read = sum(plan.info.nbytes for plan in part_plans(checkpoint, "bfloat16", shard))
    assert part_layout(checkpoint, shard).text.nbytes == read


@pytest.mark.parametrize("shape", SHAPES)
def test_a_token_reads_all_weights_once_between_the_ranks(shape: str) -> None:
    """But for what every rank has: norms, routers, and key-value heads of which there are fewer than ranks."""
    checkpoint, ranks = synthetic_checkpoint(shape, find_variant("nvfp4")), 2
    whole = make_layout(checkpoint)
    parts = [part_layout(checkpoint, Shard(rank, ranks)) for rank in range(ranks)]
    read = sum(part.token_bytes for part in parts)
    assert whole.token_bytes <= read + whole.text.modules < whole.token_bytes * 1.02
    for name, module in whole.index.items():
        had = [part.index[name].nbytes for part in parts]
        assert sum(had) == module.nbytes or had == [module.nbytes] * ranks, name
    # So does a pass of several tokens, of a mixture too.
    assert sum(part.pass_bytes(4) for part in parts) == pytest.approx(whole.pass_bytes(4), rel=0.02)
