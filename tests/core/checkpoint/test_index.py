"""The index of a model directory: wrong, hostile, or carried over from another model."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from support.bad_checkpoints import FIRST, INDEX, UP, complaint, sharded, single
from support.checkpoints import Stored, write_safetensors


def edit_index(path: Path, edit: Callable[[dict[str, str]], object]) -> None:
    index = json.loads((path / INDEX).read_text())
    edit(index["weight_map"])
    (path / INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/b.safetensors", "..", "", "a\\b", "C:x", "x\0y"])
def test_an_index_that_points_elsewhere(name: str, tmp_path: Path) -> None:
    edit_index(sharded(tmp_path), lambda m: m.update({f"{UP}.weight": name}))
    message = complaint(tmp_path)
    assert "not a plain file name" in message
    assert f"{UP}.weight" in message
    assert INDEX in message


def test_an_index_that_is_none(tmp_path: Path) -> None:
    sharded(tmp_path)
    for content in ('{"weight_map": {"a": 1}}', "{}"):
        (tmp_path / INDEX).write_text(content)
        assert "weight_map" in complaint(tmp_path)


def test_what_an_index_lists_and_no_file_has(tmp_path: Path) -> None:
    """Nothing uses an MTP layer that is not there; of any other tensor it is said."""
    edit_index(sharded(tmp_path), lambda m: m.update({"mtp.fc.weight": FIRST, "model.visual.a": FIRST}))
    assert open_checkpoint(tmp_path).warnings == ()
    edit_index(tmp_path, lambda m: m.update({"language_model.model.extra": FIRST}))
    (warning,) = open_checkpoint(tmp_path).warnings
    assert f"{FIRST} lacks tensor language_model.model.extra" in warning


def carried_over(map_: dict[str, str]) -> None:
    """The index of the unquantised original: other files, and no scales."""
    names = [name for name in map_ if name.endswith("weight")]
    map_.clear()
    map_.update({name: f"model-{n % 3 + 1:05}-of-00003.safetensors" for n, name in enumerate(names)})


@pytest.mark.parametrize("change", [carried_over, dict.clear])
@pytest.mark.parametrize("write", [sharded, single])
def test_a_stale_index_is_passed_over_where_the_files_are_whole(
    write: Callable[[Path], Path], change: Callable[[dict[str, str]], object], tmp_path: Path
) -> None:
    whole = open_checkpoint(write(tmp_path))
    sharded(tmp_path / "other")
    (tmp_path / "other" / INDEX).rename(tmp_path / INDEX)
    edit_index(tmp_path, change)
    write_safetensors(tmp_path / "model-mtp.safetensors", {"norm.weight": Stored("BF16", (1,), b"xx")})
    checkpoint = open_checkpoint(tmp_path)
    (warning,) = checkpoint.warnings
    assert f"{INDEX} is stale" in warning
    assert checkpoint.tensors == whole.tensors
    # Where they are not whole it is still the index that is wrong, not the download.
    checkpoint.shards[0].rename(tmp_path / "elsewhere")
    if len(checkpoint.shards) > 1:
        message = complaint(tmp_path)
        assert f"{INDEX} is stale" in message
        assert "download" not in message


def test_a_whole_file_of_any_name_beside_a_stale_index(tmp_path: Path) -> None:
    """Where nothing else is there; beside files that the index names, it is the download that is not whole."""
    whole = open_checkpoint(single(tmp_path))
    (tmp_path / "model.safetensors").rename(tmp_path / "Qwen3.6-27B-nvfp4.safetensors")
    sharded(tmp_path / "other")
    (tmp_path / "other" / INDEX).rename(tmp_path / INDEX)
    edit_index(tmp_path, carried_over)
    write_safetensors(tmp_path / "mtp.safetensors", {"norm.weight": Stored("BF16", (1,), b"xx")})
    checkpoint = open_checkpoint(tmp_path)
    (warning,) = checkpoint.warnings
    assert f"{INDEX} is stale" in warning
    assert "does not name Qwen3.6-27B-nvfp4.safetensors" in warning
    assert checkpoint.tensors.keys() == whole.tensors.keys()
    assert [file.name for file in checkpoint.shards] == ["Qwen3.6-27B-nvfp4.safetensors"]
    # A second one that holds some of it too: nobody can tell which counts.
    (tmp_path / "again.safetensors").write_bytes((tmp_path / "Qwen3.6-27B-nvfp4.safetensors").read_bytes())
    assert "is stored twice" in complaint(tmp_path)
    (tmp_path / "again.safetensors").unlink()
    (tmp_path / "other" / FIRST).rename(tmp_path / "model-00001-of-00003.safetensors")
    assert "download the model again" in complaint(tmp_path)


def test_a_stale_index_is_named_where_its_files_and_others_overlap(tmp_path: Path) -> None:
    """A shard of the original lies there still, beside the files that were made of it."""
    sharded(tmp_path)
    (tmp_path / FIRST).rename(tmp_path / "model-whole.safetensors")
    sharded(tmp_path / "again")
    (tmp_path / "again" / FIRST).rename(tmp_path / FIRST)
    edit_index(tmp_path, lambda m: m.update(dict.fromkeys(list(m)[:1], "model-00009-of-00009.safetensors")))
    message = complaint(tmp_path)
    assert f"{INDEX} is stale" in message
    assert "is stored twice" in message
