"""The MTP layer in `inspect` and `doctor`: formats, bytes, its file, that it is used or why not; nothing without it."""

import json
from pathlib import Path
from typing import Any

import pytest

from qwen_tui import cli
from support.checkpoints import write_checkpoint
from support.mixtures import write_mixture
from support.mtp_layers import write_layer
from support.published_plan import Spec
from support.reference import CASES, write_case

NVFP4 = Spec("nvfp4", 4, 16)
WITHOUT = "mtp.layers.0.self_attn.q_norm.weight"


def inspected(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert cli.main(["inspect", *map(str, arguments)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def fields(capsys: pytest.CaptureFixture[str], path: Path) -> dict[str, Any]:
    return json.loads(inspected(capsys, path, "--json"))


@pytest.mark.parametrize("file", ["mtp.safetensors", "mtp/weights.safetensors", "model-mtp-1.safetensors"])
def test_a_file_beside_the_model_adds_fields_and_changes_none(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mixture(tmp_path, lambda module: None)
    before = fields(capsys, tmp_path)
    assert before.pop("mtp") is None
    count = write_layer(tmp_path, NVFP4, file=file)
    after = fields(capsys, tmp_path)
    mtp = after.pop("mtp")
    assert after == before
    assert {name: mtp[name] for name in ("used", "problem", "file", "inside", "bytes")} == {
        "used": True,
        "problem": None,
        "file": file,
        "inside": False,
        "bytes": count,
    }
    (mode,) = mtp["modes"]
    assert (mode["mode"], mode["bits"], mode["group_size"], mode["modules"]) == ("nvfp4", 4, 16, 8)
    assert mode["share_of_token"] == 0
    assert [module["name"] for module in mtp["modules"]][:2] == ["mtp.fc", "mtp.pre_fc_norm_embedding"]
    assert {module["weight_bytes_per_token"] for module in mtp["modules"]} == {0}
    assert sum(module["bytes"] for module in mtp["modules"]) == count


def test_inside_the_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_case(CASES[2], tmp_path, mtp="inside")
    found = fields(capsys, tmp_path)
    assert (found["mtp"]["file"], found["mtp"]["inside"]) == ("model.safetensors", True)
    (unused,) = [entry for entry in found["totals"]["unused"] if entry["what"] == "MTP layer"]
    assert (unused["bytes"], unused["tensors"]) == (found["mtp"]["bytes"], 15)
    out = " ".join(inspected(capsys, tmp_path).split())
    assert "MTP layer f32, " in out
    assert "in the only shard, used for drafts" in out
    assert "unused MTP" not in out


def test_the_tables_have_a_line_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mixture(tmp_path, lambda module: None)
    without = [inspected(capsys, tmp_path, table) for table in ("--layers", "--tensors")]
    assert not any("MTP" in text for text in without)
    write_layer(tmp_path, NVFP4)
    layers, tensors = (inspected(capsys, tmp_path, table) for table in ("--layers", "--tensors"))
    (line,) = [line for line in layers.splitlines() if "MTP" in line]
    assert line.split()[:7] == ["MTP", "drafts", *["nvfp4"] * 5]
    lines = [line.split() for line in tensors.splitlines() if "MTP" in line]
    assert len(lines) == 15
    assert lines[0][1:4] == ["fc", "nvfp4", "4/16"]
    assert any("mtp.safetensors:" in word for word in lines[0])
    filtered = inspected(capsys, tmp_path, "--tensors", "--role", "up_proj")
    assert "MTP" not in filtered


def test_one_tensor_of_it_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mixture(tmp_path, lambda module: None)
    write_layer(tmp_path, NVFP4)
    assert "told by its headers" in inspected(capsys, tmp_path, "--tensor", "mtp.layers.0.mlp.up_proj")
    found = json.loads(inspected(capsys, tmp_path, "--tensor", "mtp.fc.scales", "--json"))
    assert (found["module"], found["mode"], found["shard"]) == ("mtp.fc", "nvfp4", "mtp.safetensors")


def test_one_that_does_not_fit_is_shown_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mixture(tmp_path, lambda module: None)
    write_layer(tmp_path, without=WITHOUT)
    mtp = fields(capsys, tmp_path)["mtp"]
    assert (mtp["used"], mtp["file"], mtp["bytes"], mtp["modules"]) == (False, None, 0, [])
    assert WITHOUT in mtp["problem"]
    out = " ".join(inspected(capsys, tmp_path).split())
    assert "MTP layer not used: " in out
    assert "of the MTP layer is missing" in out


@pytest.mark.parametrize("layer", ["none", "good", "bad"])
def test_doctor_says_it_of_a_model(
    layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("qwen_tui.commands.doctor._backend", dict)
    monkeypatch.setattr("qwen_core.text.tokenizer.load_tokenizer", lambda checkpoint: None)
    monkeypatch.setattr("qwen_core.text.template.load_template", lambda checkpoint: None)
    write_checkpoint(tmp_path)
    if layer != "none":
        write_layer(tmp_path, NVFP4, without=WITHOUT if layer == "bad" else "")
    assert cli.main(["doctor", str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["model"].get("mtp")
    assert cli.main(["doctor", str(tmp_path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    if layer == "none":
        assert said is None
    else:
        expected = "nvfp4 4-bit g16, " if layer == "good" else "not used: "
        assert said.startswith(expected)
        assert said.endswith("used for drafts" if layer == "good" else "is missing")
        assert f"mtp: {expected.strip()}" in out
