"""The parts of a split model, without any other rank: together they are the whole, each is read for itself, and what
cannot be shared evenly is one line.
"""

import os
from functools import partial
from pathlib import Path
from typing import Self

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core import demo_model_path
from qwen_core.checkpoint.config import ModelConfig
from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.headers import TensorInfo
from qwen_core.checkpoint.mapped_file import MappedFile
from qwen_core.checkpoint.part_bytes import PartBytes, Runs
from qwen_core.checkpoint.tensor_bytes import TensorBytes
from qwen_core.errors import SettingsError
from qwen_core.model import weights
from qwen_core.model.collectives import Collectives
from qwen_core.model.led import load_led
from qwen_core.model.part_plans import part_plans
from qwen_core.model.shard import Shard, check_split, split_config
from qwen_core.model.weights import Weights, load_plans, load_weights, map_tensor
from qwen_core.protocol.weight_tiers import WeightTiers
from support.checkpoints import write_checkpoint
from support.mixtures import write_mixture
from support.published_plan import SHARED, SHARED_MIXTURE, Spec

TINY = {"num_hidden_layers": 2, "full_attention_interval": 2}


@pytest.fixture(autouse=True)
def no_adoption(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is copied unless a test says otherwise, on a Mac too."""
    monkeypatch.setattr(weights, "can_adopt", lambda: False)


def load_part(path: Path, rank: int, ranks: int, dtype: str = "float32") -> Weights:
    return load_plans(part_plans(open_checkpoint(path), dtype, Shard(rank, ranks)))


def segments(name: str, array: mx.array, config: ModelConfig) -> list[mx.array]:
    """What is split each by itself (FORMAT.md, steps 2 and 12): queries, keys and values; gate and up in one tensor."""
    if "in_proj_qkv" in name or "conv1d" in name:
        return list(mx.split(array, [config.linear_key_dim, 2 * config.linear_key_dim], axis=0))
    return list(mx.split(array, 2, axis=1)) if "gate_up_proj" in name else [array]


def assert_whole(path: Path, parts: list[dict[str, mx.array]]) -> None:
    """Each tensor is the same on every rank, or its segments are the parts' one after the other, to the bit."""
    checkpoint, ranks, shared = open_checkpoint(path), len(parts), 0
    of_part = split_config(checkpoint.config, ranks)
    whole = load_weights(checkpoint, "float32").arrays
    for name, array in whole.items():
        found = [arrays[name] for arrays in parts]
        if found[0].shape == array.shape:
            assert all(mx.array_equal(one, array).item() for one in found), name
            continue
        if name.split(".")[-2] in ("k_proj", "v_proj") and ranks > checkpoint.config.num_key_value_heads:
            assert mx.array_equal(found[0], found[1]).item(), "a head of two ranks"
            found = found[::2]
        (axis,) = [n for n, (one, other) in enumerate(zip(found[0].shape, array.shape, strict=True)) if one != other]
        pieces = zip(*(segments(name, one, of_part) for one in found), strict=True)
        for joined, segment in zip(pieces, segments(name, array, checkpoint.config), strict=True):
            assert mx.array_equal(mx.concatenate(list(joined), axis=axis), segment).item(), name
        shared += array.nbytes
    assert shared > 0.9 * sum(array.nbytes for array in whole.values())


@pytest.mark.parametrize("sizes", [SHARED, SHARED_MIXTURE], ids=["dense", "experts"])
@pytest.mark.parametrize("variant", ["bf16", "nvfp4", "mxfp8", "q3"])
def test_the_parts_together_are_the_whole(variant: str, sizes: dict[str, int], tmp_path: Path) -> None:
    write_checkpoint(tmp_path, variant, text=sizes | TINY, names="raw" if variant in ("bf16", "q3") else "converted")
    for ranks in (2, 4):
        assert_whole(tmp_path, [load_part(tmp_path, rank, ranks).arrays for rank in range(ranks)])


def test_rows_are_mapped_and_columns_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows lie in the file as they are used; what lies in several pieces there, is put together."""
    sizes = SHARED | TINY | {"hidden_size": 512, "intermediate_size": 1024}
    write_checkpoint(tmp_path, "bf16", text=sizes, offset=0)
    expected = [load_part(tmp_path, rank, 2, "bfloat16") for rank in range(2)]
    monkeypatch.setattr(weights, "can_adopt", lambda: True)
    monkeypatch.setattr(weights, "map_tensor", partial(map_tensor, adopt=mx.array))
    for rank in range(2):
        loaded = load_part(tmp_path, rank, 2, "bfloat16")
        assert all(mx.array_equal(loaded.arrays[name], array).item() for name, array in expected[rank].arrays.items())
        roles = {name.split(".")[-2] for name in loaded.mapped}
        assert {"embed_tokens", "lm_head", "q_proj", "gate_proj", "up_proj", "in_proj_z"} <= roles
        assert not roles & {"o_proj", "out_proj", "down_proj", "in_proj_qkv"}
        assert loaded.tiers.mapped == sum(loaded.arrays[name].nbytes for name in loaded.mapped)
        assert loaded.tiers.total == expected[rank].tiers.copied


def test_a_file_that_cannot_be_mapped_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streaming would take whole tensors into memory."""

    def unmappable(path: Path) -> MappedFile:
        raise OSError(19, os.strerror(19))

    write_checkpoint(tmp_path, "q4", text=SHARED | TINY)
    monkeypatch.setattr(weights, "MappedFile", unmappable)
    loaded = load_part(tmp_path, 1, 2)
    plans = part_plans(open_checkpoint(tmp_path), "float32", Shard(1, 2))
    whole = sum(plan.nbytes for plan in plans if plan.runs is None)
    assert loaded.tiers == WeightTiers(copied=sum(plan.nbytes for plan in plans) - whole, streamed=whole)


class Counting(TensorBytes):
    """Counts what is read."""

    nbytes = 0

    def __enter__(self) -> Self:
        return self

    def read(self, info: TensorInfo, begin: int, end: int) -> np.ndarray:
        self.nbytes += end - begin
        return super().read(info, begin, end)


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("block") / "file"
    path.write_bytes(np.random.RandomState(1).bytes(7 + 6 * 5000))
    return path


@given(data=st.data())
def test_a_part_is_read_as_if_it_lay_in_one_piece(data: st.DataObject, block: Path) -> None:
    """Any rows, spans and range; and where spans are long nothing else of the file."""
    rows, columns = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5000))
    ends = sorted(data.draw(st.lists(st.integers(0, columns), min_size=2, max_size=6, unique=True)))
    spans = tuple(zip(ends[::2], ends[1::2], strict=False))
    whole = TensorInfo("t", "U8", (rows, columns), block, 7, rows * columns)
    runs = Runs(whole, rows, spans)
    stored = np.frombuffer(block.read_bytes(), np.uint8)[7 : 7 + rows * columns].reshape(rows, columns)
    expected = np.concatenate([stored[:, begin:end] for begin, end in spans], axis=1).reshape(-1)
    begin = data.draw(st.integers(0, expected.size - 1))
    end = data.draw(st.integers(begin + 1, expected.size))
    for short in (0, 1 << 20):
        with pytest.MonkeyPatch.context() as patch, Counting() as source:
            patch.setattr("qwen_core.checkpoint.part_bytes._SHORT", short)
            found = PartBytes(source, runs).read(whole, begin, end)
            np.testing.assert_array_equal(found, expected[begin:end])
            assert short or source.nbytes == end - begin


HEADS = "num_attention_heads", "num_key_value_heads"


@pytest.mark.parametrize(
    ("text", "ranks", "line"),
    [
        ({}, 4, "2 linear key heads cannot be shared by 4 ranks; it can be split over 2"),
        (SHARED, 3, "4 linear key heads cannot be shared by 3 ranks; it can be split over 2, 4"),
        (SHARED | {"num_attention_heads": 2}, 4, "2 query heads cannot"),
        (SHARED | dict.fromkeys(HEADS, 9) | {"linear_num_key_heads": 8}, 8, "9 query heads cannot"),
        (SHARED | dict(zip(HEADS, (12, 3), strict=True)), 4, "3 key-value heads cannot"),
        (SHARED | dict(zip(HEADS, (12, 6), strict=True)), 4, "6 key-value heads cannot"),
        (SHARED | {"vocab_size": 511}, 2, "511 tokens of the vocabulary cannot"),
        (SHARED | {"intermediate_size": 255}, 2, "255 columns of the feed-forward part cannot"),
        (SHARED_MIXTURE | {"moe_intermediate_size": 65}, 2, "65 columns of an expert cannot"),
        (SHARED_MIXTURE | {"shared_expert_intermediate_size": 1}, 2, "1 column of the shared expert cannot"),
    ],
)
def test_what_cannot_be_shared_is_one_line_with_its_number(
    text: dict[str, int], ranks: int, line: str, tmp_path: Path
) -> None:
    write_mixture(tmp_path, lambda module: None, text=text)
    checkpoint = open_checkpoint(tmp_path)
    with pytest.raises(SettingsError, match=f"^{line}") as caught:
        check_split(checkpoint.config, checkpoint.specs, ranks)
    assert "\n" not in str(caught.value)


def test_groups_of_columns_are_not_torn(tmp_path: Path) -> None:
    write_mixture(tmp_path, {"layers.1.mlp.down_proj": Spec("affine", 4, 128)}.get, text=SHARED)
    checkpoint = open_checkpoint(tmp_path)
    check_split(checkpoint.config, checkpoint.specs, 2)
    with pytest.raises(
        SettingsError, match=r"^2 groups of 128 columns of layers\.1\.mlp\.down_proj cannot be shared by 4"
    ):
        check_split(checkpoint.config, checkpoint.specs, 4)


def test_the_demo_model_has_one_linear_key_head() -> None:
    checkpoint = open_checkpoint(demo_model_path())
    with pytest.raises(SettingsError) as caught:
        check_split(checkpoint.config, checkpoint.specs, 2)
    assert str(caught.value) == "1 linear key head cannot be shared by 2 ranks; it runs on one machine alone"


def test_on_a_gpu_the_ranks_add_up_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There one rank replays what was recorded of a layer, in which nobody else has a part."""
    monkeypatch.setattr("qwen_core.model.block.is_gpu", lambda: True)
    write_checkpoint(tmp_path, "bf16", text=SHARED)
    collectives = Collectives(rank=0, ranks=2)
    with collectives.silenced():
        model = load_led(tmp_path, "float32", collectives, lambda command: None)
        state = model.new_state()
        for _ in range(3):
            before = collectives.messages
            mx.eval(model(mx.array([[7]]), state))
            assert collectives.messages - before == 2 * model.config.num_hidden_layers + 3
