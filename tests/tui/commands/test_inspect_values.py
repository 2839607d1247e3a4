"""`qwen-tui inspect --tensor`: what was read of a tensor is what stands there, and its error against the original."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.tensors.error import compare_with_reference
from qwen_core.tensors.values import read_values
from qwen_tui import cli
from qwen_tui.commands.inspect_report.subject import open_subject
from qwen_tui.commands.inspect_report.value_fields import value_fields
from qwen_tui.commands.inspect_report.values import value_lines
from qwen_tui.text.safe import cells
from support.checkpoints import Stored, write_checkpoint, write_safetensors
from support.mixtures import ONE, write_mixture
from support.published_plan import Spec
from support.reports import report_text

UP = "layers.1.mlp.up_proj"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same random weights in three forms."""
    path = tmp_path_factory.mktemp("models")
    for variant in ("nvfp4", "q8", "bf16"):
        write_checkpoint(path / variant, variant)
    return path


def shown(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert cli.main(["inspect", *map(str, arguments)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for line in out.splitlines():
        assert line.isprintable()
        assert cells(line) <= 80
    return " ".join(out.split())


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    assert cli.main(["inspect", *map(str, arguments), "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out)


def test_every_code_of_an_nvfp4_tensor_has_its_line(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = read_values(open_checkpoint(models / "nvfp4"), UP)
    text = shown(capsys, models / "nvfp4", "--tensor", UP)
    assert text.startswith(f"{UP} · nvfp4 4-bit group 16 ")
    assert values.codes is not None
    for name, count in zip(values.codes.names, values.codes.counts, strict=True):
        assert f"{name} {count / values.examined:.2%} {count:,}".replace("%", " %") in text or count == 0
    assert "scales E4M3, " in text
    assert "examined all of it" in text
    assert "none: no NaN, no infinity" in text
    for row in values.first_rows:
        assert f"row {row.row} " + " ".join(f"{value:.3g}" for value in row.values) in text
        assert " ".join(row.words) in text


def test_levels_too_many_for_lines_are_bars(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, models / "q8", "--tensor", UP)
    assert "codes (8-bit levels): " in text
    assert " of 256 used" in text
    assert "bias " in text


def test_floats_have_a_histogram(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, models / "bf16", "--tensor", UP)
    assert f"{UP} · bf16 " in text
    assert "(values)" in text
    assert "codes" not in text


@pytest.mark.parametrize("variant", ["nvfp4", "q8", "bf16"])
@pytest.mark.parametrize("form", [UP, f"{UP}.weight", f"language_model.model.{UP}", f"model.{UP}.weight"])
def test_json_is_what_was_read(models: Path, variant: str, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    values = read_values(open_checkpoint(models / variant), UP)
    found = as_json(capsys, models / variant, "--tensor", form)
    assert found["module"] == UP
    assert found["tensors"] == list(values.names)
    assert found["examined"] == found["elements"] == 256 * 128
    assert (found["minimum"], found["maximum"], found["mean"]) == (values.minimum, values.maximum, values.mean)
    if values.codes is not None:
        assert dict(zip(found["codes"]["names"], found["codes"]["counts"], strict=True)) == dict(
            zip(values.codes.names, values.codes.counts, strict=True)
        )
        assert sum(found["codes"]["counts"]) == found["examined"]
    assert [row["words"] for row in found["first_rows"]] == [list(row.words) for row in values.first_rows]
    assert found["error"] is None


def test_the_error_against_the_original(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = compare_with_reference(open_checkpoint(models / "nvfp4"), open_checkpoint(models / "bf16"), UP)
    assert error.snr_db is not None
    assert error.worst is not None
    assert error.cosine is not None
    words = [models / "nvfp4", "--tensor", UP, "--reference", models / "bf16"]
    text = shown(capsys, *words)
    assert f"SNR {error.snr_db:.2f} dB" in text
    assert f"cosine {error.cosine:.6f}" in text
    assert f"worst group row {error.worst.row:,}, columns {error.worst.column:,}-{error.worst.column + 15:,}" in text
    found = as_json(capsys, *words)["error"]
    assert (found["snr_db"], found["cosine"], found["exact"]) == (error.snr_db, error.cosine, False)
    better = as_json(capsys, models / "q8", "--tensor", UP, "--reference", models / "bf16")["error"]
    assert better["snr_db"] > found["snr_db"]


def test_an_exact_copy_says_so(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [models / "bf16", "--tensor", UP, "--reference", models / "bf16"]
    assert "exact: every value is the same" in shown(capsys, *words)
    found = as_json(capsys, *words)["error"]
    assert (found["exact"], found["snr_db"], found["worst"]) == (True, None, None)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--tensor", "layers.1.mlp.upproj"], UP),
        (["--tensor", "\x1b[31m"], "has no tensor"),
        (["--tensor", "n" * 10_000], "has no tensor"),
        (["--tensor", UP, "--reference", "./absent"], "does not exist"),
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_what_is_not_there_is_one_line(
    models: Path, words: list[str], says: str, form: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["inspect", str(models / "nvfp4"), *words, *form]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert err[:-1].isprintable()


def test_nan_dead_groups_and_sampling_are_said(tmp_path: Path) -> None:
    """A zeroed tensor whose first scale is NaN, read in part."""
    tensors = write_mixture(tmp_path, lambda _: Spec("nvfp4", 4, 16), default=Spec("nvfp4", 4, 16))
    scales = tensors[f"language_model.model.{UP}.scales"]
    tensors[f"language_model.model.{UP}.scales"] = Stored(
        scales.dtype, scales.shape, b"\x7f" + bytes(scales.nbytes - 1)
    )
    write_safetensors(tmp_path / ONE, tensors)
    subject = open_subject(tmp_path)
    whole = read_values(subject.checkpoint, UP)
    part = read_values(subject.checkpoint, UP, limit_bytes=4096)
    text = " ".join(report_text(value_lines(subject, whole, None, 80)).split())
    assert "16 NaN, 1 scales NaN" in text
    assert "2,047 of 2,048 groups dead" in text
    styled = io.StringIO()
    Console(file=styled, width=80, color_system="standard", force_terminal=True).print(
        *value_lines(subject, whole, None, 80)
    )
    for words in ("16 NaN", "2,047 of 2,048 groups dead"):
        assert f"\x1b[31m{words}\x1b[0m" in styled.getvalue()
    fields = json.loads(json.dumps(value_fields(subject, whole, None), allow_nan=False))
    assert fields["first_rows"][0]["values"][0] is None
    assert fields["groups"]["dead"] == 2047
    text = " ".join(report_text(value_lines(subject, part, None, 80)).split())
    assert f"{part.examined:,} elements: whole groups, evenly spread" in text
    assert value_fields(subject, part, None)["sampled"] is True
