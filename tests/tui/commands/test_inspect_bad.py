"""`qwen-tui inspect` on hostile and damaged models: shown harmlessly, or refused with one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from qwen_tui import cli
from qwen_tui.text.safe import cells
from support.checkpoints import Stored, edit_config
from support.mixtures import write_mixture


def inspected(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    code = cli.main(["inspect", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


def harmless(text: str) -> None:
    for line in text.split("\n"):
        assert line.isprintable()
        assert cells(line) <= 80


def test_hostile_names_are_shown_and_sent_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the directory, in the weight file, in a vision tower and in config.json."""
    path = tmp_path / "\x1b]0;owned\x07 [red]UD-Q2_K_XL[red]\x7f"
    evil = "vision_tower.\x1b[31m\u202e" + "n" * 10_000
    write_mixture(path, lambda _: None, extra={evil: Stored("U8", (0,)), "visual.\x07": Stored("U8", (0,))})
    shard = "\x1b[2J\x7f\u009b.safetensors"
    names = [name for name in json.loads(header_of(path / "model.safetensors")) if name != "__metadata__"]
    (path / "model.safetensors").rename(path / shard)
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(names, shard)}))
    edit_config(path, quantization={"layers.9.\x1b[31m": {"bits": 4}})
    for words in ([], ["--layers"], ["--tensors"], ["--compare", path], ["--tensor", "norm"]):
        harmless(inspected(capsys, path, *words))
    assert cli.main(["inspect", str(path), "--tensor", evil]) == 1
    assert capsys.readouterr().err.rstrip("\n").isprintable()
    out = inspected(capsys, path)
    assert "[red]UD-Q2_K_XL[red]" in out
    assert "the name says UD-Q2_K_XL, but by its tensors this is bf16" in " ".join(out.split())
    for words in ([], ["--compare", path], ["--tensor", "norm"]):
        text = inspected(capsys, path, *words, "--json")
        assert text.rstrip("\n").isprintable()
        assert text.isascii()
    found = json.loads(inspected(capsys, path, "--json"))
    assert found["model"]["shards"] == [shard]
    assert len(found["warnings"]) == 3
    assert found["warnings"][-1].startswith("2 tensor names with control characters")
    assert all(len(warning) < 400 for warning in found["warnings"])


def header_of(path: Path) -> bytes:
    data = path.read_bytes()
    return data[8 : 8 + int.from_bytes(data[:8], "little")]


@pytest.mark.parametrize(
    "damage",
    ["lying", "overlapping", "doubled", "long name", "control", "100 MB", "no config"],
)
def test_a_bad_model_is_one_line_on_standard_error(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mixture(tmp_path, lambda _: None, text={"num_hidden_layers": 1})
    file = tmp_path / "model.safetensors"
    text = header_of(file).decode()
    header = json.loads(text)
    name = "language_model.model.layers.0.mlp.up_proj.weight"
    end = max(entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__")
    nothing = {"dtype": "U8", "shape": [0], "data_offsets": [end, end]}
    match damage:
        case "lying":
            header[name]["shape"] = [1, 1]
        case "overlapping":
            header[name]["data_offsets"] = [offset - 2 for offset in header[name]["data_offsets"]]
        case "long name":
            header["language_model." + "n" * 10_000] = nothing
        case "control":
            header["language_model.\x1b[31m\x9b\x7f"] = nothing
    blob = json.dumps(header)
    if damage == "doubled":
        blob = f'{text[:-1]},"{name}":{json.dumps(header[name])}}}'
    body = file.read_bytes()[8 + len(text) :]
    length = 99_000_000 if damage == "100 MB" else len(blob)
    file.write_bytes(length.to_bytes(8, "little") + blob.encode() + body)
    if damage == "100 MB":
        os.truncate(file, length + 1000)
    if damage == "no config":
        (tmp_path / "config.json").unlink()
    for words in ([], ["--json"], ["--tensors"], ["--tensor", "norm"], ["--compare", str(tmp_path)]):
        assert cli.main(["inspect", str(tmp_path), *words]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("qwen-tui: ")
        assert err.endswith("\n")
        assert err[:-1].isprintable()
        assert len(err) < 700


def test_ten_thousand_tensors_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extra = {f"vision_tower.{number}": Stored("BF16", (2,)) for number in range(10_000)}
    tensors = write_mixture(tmp_path, lambda _: None, text={"num_hidden_layers": 1}, extra=extra)
    out = inspected(capsys, tmp_path)
    assert f"in {len(tensors):,} tensors" in " ".join(out.split())
    assert "vision tower 40.00 kB in 10,000 tensors" in " ".join(out.split())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("words", [["inspect"], ["run", "-p", "Hi", "--effort", "none"]])
def test_a_full_disk_is_one_line(words: list[str]) -> None:
    command = [sys.executable, "-m", "qwen_tui", *words]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("qwen-tui: standard output cannot be written: ")
    assert done.stderr.count("\n") == 1
