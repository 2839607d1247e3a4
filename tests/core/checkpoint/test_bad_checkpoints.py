"""Model directories with something wrong: each is one printable CheckpointError line naming file and tensor."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.errors import CheckpointError
from support.bad_checkpoints import FIRST, INDEX, ONE, SECOND, UP, complaint, sharded, single
from support.checkpoints import (
    Stored,
    edit_config,
    read_header_json,
    replace_header,
    write_checkpoint,
    write_safetensors,
)


def edit_header(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    header = read_header_json(path / ONE)
    edit(header)
    replace_header(path / ONE, header)


def test_no_directory(tmp_path: Path) -> None:
    assert "does not exist" in complaint(tmp_path / "absent")
    (tmp_path / "file").touch()
    assert "is not a directory" in complaint(tmp_path / "file")
    assert "no config.json" in complaint(tmp_path)
    complaint(Path("x" * 5000))
    complaint(Path("nul\0byte"))


def test_no_weights(tmp_path: Path) -> None:
    (single(tmp_path) / ONE).unlink()
    assert INDEX in (message := complaint(tmp_path))
    assert "no weights" in message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "expected a JSON object"),
        (b'{"model_type": "qwen3_5", "model_type": "llama"}', "occurs twice"),
        (b'{"a": NaN}', "NaN"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "not valid JSON"),
        (b"{}", "model_type is missing"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_a_config_that_is_no_config(content: bytes, says: str, tmp_path: Path) -> None:
    (single(tmp_path) / "config.json").write_bytes(content)
    message = complaint(tmp_path)
    assert says in message
    assert "config.json" in message


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    single(tmp_path)
    (tmp_path / ONE).unlink()
    os.mkfifo(tmp_path / ONE)
    assert "not a regular file" in complaint(tmp_path)


def test_a_file_larger_than_its_kind_may_be_is_not_read(tmp_path: Path) -> None:
    single(tmp_path)
    with (tmp_path / "config.json").open("r+b") as file:
        file.truncate(1 << 40)
    assert "more than" in complaint(tmp_path)


def test_unknown_architecture(tmp_path: Path) -> None:
    edit_config(single(tmp_path), model_type="gpt2")
    assert "'gpt2' is not supported" in complaint(tmp_path)


def test_a_missing_shard(tmp_path: Path) -> None:
    (sharded(tmp_path) / SECOND).unlink()
    message = complaint(tmp_path)
    assert f"{SECOND} is missing" in message
    assert "places tensor language_model." in message
    (tmp_path / INDEX).unlink()
    assert f"{SECOND} is missing" in complaint(tmp_path)


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_cut_anywhere_is_cut_short(data: st.DataObject, tmp_path: Path) -> None:
    if not (tmp_path / ONE).exists():
        (single(tmp_path) / ONE).rename(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    length = data.draw(st.integers(0, len(whole) - 1))
    (tmp_path / ONE).write_bytes(whole[:length])
    message = complaint(tmp_path)
    assert "cut short" in message
    assert ONE in message
    if length > 8 + int.from_bytes(whole[:8], "little"):
        assert "tensor language_model." in message


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    sharded(tmp_path)
    name = next(n for n in read_header_json(tmp_path / SECOND) if n != "__metadata__")
    write_safetensors(tmp_path / FIRST, {name: Stored("U8", (1,), b"x")})
    assert f"tensor {name} is stored twice" in complaint(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dtype": "F32"}, "packed as U32, but its weight is F32"),
        ({"dtype": "BF16"}, "invalid shape, data type, or offset"),
        ({"shape": [1, 1]}, "invalid shape, data type, or offset"),
        ({"dtype": "Q4_0"}, "Q4_0"),
        ({"dtype": 3}, "expected string"),
        ({"shape": "16"}, "expected a sequence"),
        ({"shape": [-1, 2]}, "expected usize"),
        ({"shape": [2.0]}, "expected usize"),
        ({"shape": [1 << 70]}, "expected usize"),
        ({"data_offsets": [8, 4]}, "invalid offset"),
        ({"data_offsets": [8]}, "invalid length"),
        ({"data_offsets": None}, "expected a tuple"),
        ({"data_offsets": [0, 1 << 62]}, f"tensor {UP}.weight ends at byte"),
    ],
    ids=str,
)
def test_a_header_that_lies_about_a_tensor(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    edit_header(single(tmp_path), lambda h: h[f"{UP}.weight"].update(change))
    message = complaint(tmp_path)
    assert says in message
    assert ONE in message


def test_an_entry_that_is_a_list_is_none(tmp_path: Path) -> None:
    """The library takes the fields in this order as well, other readers do not."""
    edit_header(single(tmp_path), lambda h: h.update({f"{UP}.weight": list(h[f"{UP}.weight"].values())}))
    message = complaint(tmp_path)
    assert f"tensor {UP}.weight: its header entry is not an object" in message


def test_ranges_that_overlap_or_leave_gaps(tmp_path: Path) -> None:
    single(tmp_path)
    original = read_header_json(tmp_path / ONE)

    def shift(header: dict[str, Any], by: int) -> None:
        header[f"{UP}.weight"]["data_offsets"] = [o + by for o in original[f"{UP}.weight"]["data_offsets"]]

    for by in (-4, 4):
        edit_header(tmp_path, lambda h, by=by: shift(h, by))
        message = complaint(tmp_path)
        assert "invalid offset for tensor" in message
        assert "language_model." in message


def test_bytes_after_the_last_tensor(tmp_path: Path) -> None:
    with (single(tmp_path) / ONE).open("ab") as file:
        file.write(b"\0" * 7)
    assert "file not fully covered" in complaint(tmp_path)


def test_headers_that_are_none(tmp_path: Path) -> None:
    file = single(tmp_path) / ONE
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    assert "Git LFS pointer" in complaint(tmp_path)
    file.write_bytes((1 << 62).to_bytes(8, "little") + b"x" * 100)
    assert "over the format's limit" in complaint(tmp_path)
    file.write_bytes(b"")
    assert "cut short" in complaint(tmp_path)
    write_safetensors(file, {})
    assert "is missing" in complaint(tmp_path)


def test_a_name_twice_in_a_header(tmp_path: Path) -> None:
    header = read_header_json(single(tmp_path) / ONE)
    doubled = json.dumps(header)[:-1] + f', "{UP}.weight": {json.dumps(header[f"{UP}.weight"])}}}'
    replace_header(tmp_path / ONE, doubled.encode())
    message = complaint(tmp_path)
    assert f"{UP}.weight" in message
    assert "occurs twice" in message


def rewrite(path: Path, change: Callable[[dict[str, Stored]], object], **options: Any) -> str:
    """Write a checkpoint, change its tensors, store them truthfully, and give the complaint."""
    written = write_checkpoint(path, shard_cap=None, **options)
    change(written.tensors)
    write_safetensors(path / ONE, written.tensors)
    return complaint(path)


def rename(tensors: dict[str, Stored], old: str, new: str) -> None:
    tensors[new] = tensors.pop(old)


@pytest.mark.parametrize(
    "role", ["mlp.up_proj.weight", "linear_attn.A_log", "linear_attn.conv1d.weight", "input_layernorm.weight"]
)
def test_a_missing_tensor_is_named(role: str, tmp_path: Path) -> None:
    message = rewrite(tmp_path, lambda t: t.pop(f"language_model.model.layers.1.{role}"), variant="bf16")
    assert f"tensor layers.1.{role} is missing" in message


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": 256},
        {"intermediate_size": 512},
        {"vocab_size": 513},
        {"head_dim": 32},
        {"num_attention_heads": 8},
        {"num_key_value_heads": 4},
        {"linear_num_key_heads": 1},
        {"linear_num_value_heads": 2},
        {"linear_key_head_dim": 32},
        {"linear_value_head_dim": 32},
        {"linear_conv_kernel_dim": 3},
        {"num_hidden_layers": 3, "layer_types": ["linear_attention"] * 3},
        {"num_hidden_layers": 5, "layer_types": ["linear_attention"] * 3 + ["full_attention"] + ["linear_attention"]},
        {"layer_types": ["full_attention"] + ["linear_attention"] * 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("variant", ["bf16", "nvfp4"])
def test_every_size_is_checked_against_the_tensors(change: dict[str, Any], variant: str, tmp_path: Path) -> None:
    config = write_checkpoint(tmp_path, variant, shard_cap=None).config
    edit_config(tmp_path, text_config=config["text_config"] | change)
    message = complaint(tmp_path)
    assert "tensor " in message
    assert any(word in message for word in ("layers.", "embed_tokens", "lm_head"))


def test_tensors_that_the_architecture_does_not_have(tmp_path: Path) -> None:
    bias = Stored("BF16", (1,), b"\0\0")
    message = rewrite(tmp_path, lambda t: t.update({f"{UP}.bias": bias}))
    assert f"tensor {UP}.bias is not part of the architecture" in message


def test_one_tensor_under_two_prefixes(tmp_path: Path) -> None:
    message = rewrite(tmp_path, lambda t: t.update({"model.norm.weight": t["language_model.model.norm.weight"]}))
    assert "under two prefixes" in message


def test_no_head_and_not_tied(tmp_path: Path) -> None:
    message = rewrite(tmp_path, lambda t: t.pop("language_model.lm_head.weight"), variant="bf16")
    assert "lm_head.weight is missing" in message


def test_raw_and_converted_layers_mixed(tmp_path: Path) -> None:
    name = "language_model.model.layers.2.linear_attn.conv1d.weight"

    def turn(tensors: dict[str, Stored]) -> None:
        channels, kernel, _ = tensors[name].shape
        tensors[name].shape = (channels, 1, kernel)

    assert name in (message := rewrite(tmp_path, turn))
    assert "mixed" in message


def test_types_that_weights_cannot_have(tmp_path: Path) -> None:
    def retype(tensors: dict[str, Stored]) -> None:
        old = tensors["language_model.model.norm.weight"]
        tensors["language_model.model.norm.weight"] = Stored("U8", old.shape, b"\0" * old.shape[0])

    message = rewrite(tmp_path, retype)
    assert "language_model.model.norm.weight has dtype U8" in message


def test_scales_gone_missing(tmp_path: Path) -> None:
    message = rewrite(tmp_path, lambda t: t.pop(f"{UP}.scales"))
    assert "packed (U32)" in message
    assert UP in message


def test_biases_gone_missing(tmp_path: Path) -> None:
    message = rewrite(tmp_path, lambda t: t.pop(f"{UP}.biases"), variant="q4")
    assert "scales without biases" in message
    assert UP in message
    assert "config.json says affine 4-bit group 64 (default)" in message


@pytest.mark.parametrize(
    ("entry", "claimed"),
    [
        ({"bits": 6, "group_size": 64, "mode": "affine"}, "affine 6-bit group 64"),
        ({"bits": 4, "group_size": 32, "mode": "mxfp4"}, "mxfp4 4-bit group 32"),
        (False, "unquantised"),
    ],
)
def test_headers_count_against_config_and_the_warning_names_both(entry: Any, claimed: str, tmp_path: Path) -> None:
    block = write_checkpoint(tmp_path, shard_cap=None).config["quantization"]
    before = open_checkpoint(tmp_path)
    edit_config(tmp_path, quantization={**block, f"model.{UP.removeprefix('language_model.model.')}": entry})
    checkpoint = open_checkpoint(tmp_path)
    (warning,) = checkpoint.warnings
    for part in ("layers.1.mlp.up_proj is stored as nvfp4 4-bit group 16", f"says {claimed}"):
        assert part in warning
    assert checkpoint.specs == before.specs
    assert checkpoint.spec_sources == {**before.spec_sources, "layers.1.mlp.up_proj": "headers"}


def test_a_default_that_disagrees_and_a_block_that_is_absent(tmp_path: Path) -> None:
    block = write_checkpoint(tmp_path, shard_cap=None).config["quantization"]
    specs = open_checkpoint(tmp_path).specs
    edit_config(tmp_path, quantization={**block, "group_size": 32, "mode": "mxfp4"})
    checkpoint = open_checkpoint(tmp_path)
    (warning,) = checkpoint.warnings
    assert "stored as nvfp4 4-bit group 16, but config.json says mxfp4 4-bit group 32 (default)" in warning
    assert f"{list(checkpoint.spec_sources.values()).count('headers') - 1} more" in warning
    edit_config(tmp_path, quantization=None, quantization_config=None)
    checkpoint = open_checkpoint(tmp_path)
    assert "no quantization block" in checkpoint.warnings[0]
    assert set(checkpoint.spec_sources.values()) == {"headers"}
    assert checkpoint.specs == specs


def test_names_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    evil = "model.\x1b]0;owned\x07\n" + "A" * 5000
    message = rewrite(tmp_path, lambda t: t.update({evil: Stored("BF16", (1,), b"\0\0")}))
    assert "\\x1b" in message
    assert len(message) <= 600


def test_side_files_that_are_damaged(tmp_path: Path) -> None:
    single(tmp_path)
    (tmp_path / "generation_config.json").write_text("[1]")
    assert "generation_config.json" in complaint(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    checkpoint = open_checkpoint(tmp_path)
    (tmp_path / "chat_template.jinja").write_bytes(b"ok \xff")
    with pytest.raises(CheckpointError, match=r"chat_template\.jinja.* not UTF-8"):
        checkpoint.template_source()
