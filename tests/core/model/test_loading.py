"""How loading goes and ends: progress, Stop, memory that does not suffice, files that change under way."""

import os
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.mapped_file import MappedFile
from qwen_core.errors import CapacityError, CheckpointError, SettingsError
from qwen_core.model import weights
from qwen_core.model.model import load_model
from qwen_core.model.weights import LoadCancelled, TensorPlan, load_weights, map_tensor, plan_weights
from qwen_core.protocol.events import LoadProgress
from support.checkpoints import write_checkpoint


@pytest.fixture(autouse=True)
def no_adoption(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is copied unless a test says otherwise, on a Mac too."""
    monkeypatch.setattr(weights, "can_adopt", lambda: False)


def unmappable(path: Path) -> MappedFile:
    raise OSError(19, os.strerror(19))


def adopted(memory: np.ndarray) -> mx.array:
    """In place of Metal's zero copy."""
    return mx.array(memory)


def test_progress_runs_from_nothing_to_everything(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    seen: list[LoadProgress] = []
    checkpoint = open_checkpoint(tmp_path)
    loaded = load_weights(checkpoint, "float32", progress=seen.append)
    total = sum(array.nbytes for array in loaded.arrays.values())
    assert [p.total_bytes for p in seen] == [total] * (len(checkpoint.text) + 1)
    assert [p.done_bytes for p in seen] == [p.tiers.total for p in seen]
    assert (seen[0].done_bytes, seen[-1].done_bytes) == (0, total)
    steps = [after.done_bytes - before.done_bytes for before, after in pairwise(seen)]
    assert sorted(steps) == sorted(array.nbytes for array in loaded.arrays.values()), "one tensor a step"
    assert seen[-1].tiers == loaded.tiers


@pytest.mark.parametrize("tier", ["copied", "streamed"])
@pytest.mark.parametrize("after", [0, 1, 20])
def test_stopping_takes_effect_before_the_next_tensor_and_keeps_nothing(
    after: int, tier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, shard_cap=200_000)
    if tier == "streamed":
        monkeypatch.setattr(weights, "MappedFile", unmappable)
    checkpoint = open_checkpoint(tmp_path)
    seen: list[LoadProgress] = []
    mx.clear_cache()
    before = mx.get_active_memory()
    with pytest.raises(LoadCancelled, match="stopped"):
        load_weights(checkpoint, "float32", progress=seen.append, stop=lambda: len(seen) > after)
    assert len(seen) == after + 1
    assert mx.get_active_memory() <= before
    load_weights(checkpoint, "float32", stop=lambda: False)


def never_read(path: Path) -> MappedFile:
    raise AssertionError("nothing may be read before the size is checked")


@pytest.mark.parametrize(
    ("stored", "dtype", "advice"),
    [
        ("BF16", "float32", "; choose --dtype bfloat16, or a smaller"),
        ("BF16", "bfloat16", "; choose a smaller variant"),
        ("F32", "float32", "; choose a smaller variant"),
    ],
)
def test_a_model_larger_than_memory_is_refused_before_a_byte_is_read(
    stored: str, dtype: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, "bf16", float_dtype=stored)
    checkpoint = open_checkpoint(tmp_path)
    needed = load_weights(checkpoint, dtype).tiers.total
    load_weights(checkpoint, dtype, memory_limit=needed).close()
    monkeypatch.setattr(weights, "MappedFile", never_read)
    with pytest.raises(CapacityError, match=f"need .*B of memory as {dtype} .*{advice}") as caught:
        load_weights(checkpoint, dtype, memory_limit=needed - 1)
    assert str(caught.value).isprintable()
    assert caught.value.dtypes == (("bfloat16", "float16") if "bfloat16" in advice else ())
    monkeypatch.setattr(weights, "memory_bytes", lambda: needed - 1)
    with pytest.raises(CapacityError):
        load_model(checkpoint, dtype)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def swap(path: Path) -> None:
    """Another model's file of the same name: valid, with other tensors."""
    other = path.parent / "other"
    write_checkpoint(other, "bf16", shard_cap=None, text={"hidden_size": 64})
    (other / "model.safetensors").replace(path)


@pytest.mark.parametrize("tier", ["copied", "mapped", "streamed"])
@pytest.mark.parametrize("damage", [cut, empty, Path.unlink, swap])
def test_a_file_that_changes_between_opening_and_loading_is_one_line(
    damage: Callable[[Path], None], tier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, "bf16", shard_cap=None, text={"hidden_size": 256})
    checkpoint = open_checkpoint(tmp_path)
    if tier == "streamed":
        monkeypatch.setattr(weights, "MappedFile", unmappable)
    elif tier == "mapped":
        monkeypatch.setattr(weights, "can_adopt", lambda: True)
        monkeypatch.setattr(weights, "map_tensor", partial(map_tensor, adopt=adopted))
    damage(tmp_path / "model.safetensors")
    mx.clear_cache()
    before = mx.get_active_memory()
    with pytest.raises(CheckpointError) as caught:
        load_weights(checkpoint, "bfloat16")
    message = str(caught.value)
    del caught  # its traceback holds what was loaded so far
    assert message.isprintable()
    assert "model.safetensors" in message
    assert "tensor language_model." in message
    if damage is swap and tier == "streamed":
        assert "changed while" in message
    assert mx.get_active_memory() <= before


@pytest.mark.parametrize("tier", ["copied", "mapped", "streamed"])
def test_a_file_cut_while_it_is_loaded_is_one_line(tier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut behind some tensors that are in memory by then: the next one that is gone is named, and nothing crashes."""
    write_checkpoint(tmp_path, "bf16", shard_cap=None, text={"hidden_size": 256})
    checkpoint = open_checkpoint(tmp_path)
    if tier == "streamed":
        monkeypatch.setattr(weights, "MappedFile", unmappable)
    elif tier == "mapped":
        monkeypatch.setattr(weights, "can_adopt", lambda: True)
        monkeypatch.setattr(weights, "map_tensor", partial(map_tensor, adopt=adopted))
    path = tmp_path / "model.safetensors"
    by_offset = sorted(checkpoint.text.values(), key=lambda info: info.offset)
    middle = by_offset[len(by_offset) // 2]
    seen: list[LoadProgress] = []

    def progress(step: LoadProgress) -> None:
        seen.append(step)
        if len(seen) == 3:
            os.truncate(path, middle.offset)

    with pytest.raises(CheckpointError) as caught:
        load_weights(checkpoint, "bfloat16", progress=progress)
    message = str(caught.value)
    assert message.isprintable()
    assert f"tensor {middle.name}" in message
    assert str(path) in message
    assert len(seen) == 1 + len(by_offset) // 2


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("[metal::malloc] Unable to allocate 5 bytes.")])
def test_memory_that_runs_out_names_the_tensor(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(file: MappedFile, plan: TensorPlan) -> mx.array:
        raise error

    write_checkpoint(tmp_path)
    monkeypatch.setattr(weights, "copy_tensor", failing)
    with pytest.raises(CapacityError, match=r"out of memory while loading tensor language_model\..* of .*safetensors"):
        load_weights(open_checkpoint(tmp_path), "float32")


def test_the_buffer_cache_is_as_it_was_however_loading_ends(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    original = mx.set_cache_limit(12345678)
    try:
        load_weights(checkpoint, "float32").close()
        with pytest.raises(LoadCancelled):
            load_weights(checkpoint, "float32", stop=lambda: True)
        assert mx.set_cache_limit(original) == 12345678
    finally:
        mx.set_cache_limit(original)


def test_what_neighbours_were_made_of_is_gone_when_a_model_stands(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "bf16")
    mx.clear_cache()
    model = load_model(tmp_path, "float32")
    assert mx.get_cache_memory() == 0
    model.close()


def test_an_unknown_type_is_named_with_the_known_ones(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    with pytest.raises(SettingsError, match="'int3' is unknown; choose one of float32, bfloat16, float16"):
        plan_weights(open_checkpoint(tmp_path), "int3")
