"""`qwen-tui convert --add-mtp` as a person uses it."""

from dataclasses import replace
from pathlib import Path

import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_tui import cli
from support.reference import CASES, write_case

CASE = replace(CASES[0], sizes={"intermediate_size": 128})
WRONG = (
    *(
        ["--add-mtp", *words.split()]
        for words in ("--plan", "--realign", "--check", "-q", "--variant q4", "--q-bits 4")
    ),
    *(
        ["--add-mtp", *words.split()]
        for words in ("--imatrix-path x", "--mtp keep", "--vision drop", "--dtype float16")
    ),
    *(["--add-mtp", *words.split()] for words in ("--json", "--mtp-mode affine7")),
    ["--mtp-mode", "nvfp4"],
    ["--realign", "--mtp-mode", "bf16"],
)


def with_layer(path: Path) -> Path:
    write_case(CASE, path, mtp="inside")
    return path


def test_the_layer_is_added_to_a_model_that_lacks_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "results"
    place.mkdir()
    original, model = with_layer(tmp_path / "original"), place / "model"
    assert cli.main(["convert", str(original), str(model), "--variant", "nvfp4"]) == 0
    assert "--mtp keep" in capsys.readouterr().err
    assert cli.main(["convert", "--add-mtp", str(original), str(model), "--mtp-mode", "affine6"]) == 0
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"{model}/mtp.safetensors: the MTP layer, uniform affine 6-bit group 64, 31 tensors, ")
    found = open_checkpoint(model).mtp
    assert found is not None
    assert {str(spec) for spec in found.specs.values()} == {"affine 6-bit group 64"}
    assert cli.main(["convert", "--add-mtp", str(original / "model.safetensors"), str(model)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "mtp.safetensors exists already" in err
    assert [path.name for path in place.iterdir()] == ["model"]


@pytest.mark.parametrize("arguments", [["none", "model"], ["original", "none"], ["original", "original"], ["original"]])
def test_adding_the_layer_needs_a_source_and_a_model(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_layer(tmp_path / "original")
    write_case(CASE, tmp_path / "model")
    code = cli.main(["convert", "--add-mtp", *(str(tmp_path / name) for name in arguments)])
    out, err = capsys.readouterr()
    assert (out, code) == ("", 1 if len(arguments) > 1 else 2)
    assert (err.count("\n") == 1) == (code == 1)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("options", WRONG, ids=" ".join)
def test_options_that_have_no_meaning_are_wrong_use(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_layer(tmp_path / "original")
    write_case(CASE, tmp_path / "model")
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["convert", str(tmp_path / "original"), str(tmp_path / "model"), *options]) == 2
    assert capsys.readouterr().err.startswith("Usage: ")
    assert sorted(tmp_path.rglob("*")) == before
