"""`convert` by what it measures: folding that helps or says that it does not, budgets, and what is kept of them."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.convert.awq import folds
from qwen_core.convert.budget import Choice, Point
from qwen_core.convert.convert import convert, is_result_file
from qwen_core.convert.plan import make_plan
from qwen_core.tensors.rounding_error import ERRORS_FILE
from qwen_tui import cli
from qwen_tui.commands.convert_fit import chart_lines
from support.conversion import places, tensor_bytes, variant_rules, write_raw
from support.importance import random_importance, write_imatrix

MEASURE = "qwen_core.convert.candidates.measure_candidates"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(
        tmp_path_factory.mktemp("measured") / "raw", files={"tokenizer.json": "{}", "chat_template.jinja": "x"}
    )


@pytest.fixture(scope="module")
def imatrix(source: Path) -> Path:
    return write_imatrix(source.parent / "im.gguf", random_importance(open_checkpoint(source).config, 1), 4)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder for results alone, so that what is left behind shows."""
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_a_matrix_alone_is_searched_and_the_report_says_by_group(
    source: Path, imatrix: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--variant", "q3", "--imatrix-path", str(imatrix)]
    assert cli.main(["convert", str(source), str(place / "out"), *options]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["scaled", "in", "exponent", "gain", "error", "before", "after"]
    assert sum("layernorm" in line or "up_proj" in line for line in lines) == 12
    assert "the importance matrix is folded into" in lines[-1]
    assert " tensors scaled" in err
    assert (place / "out" / ERRORS_FILE).exists()


def test_fixed_writes_the_published_recipes_bytes(source: Path, imatrix: Path, place: Path) -> None:
    options = ["--variant", "nvfp4", "--imatrix-path", str(imatrix), "--awq", "fixed"]
    assert cli.main(["convert", str(source), str(place / "fixed"), *options]) == 0
    checkpoint = open_checkpoint(source)
    plan = make_plan(checkpoint, variant_rules("nvfp4"))
    factors = folds(checkpoint.config, random_importance(checkpoint.config, 1), set(plan.specs))
    convert(plan, place / "expected", folds=factors)
    assert tensor_bytes(place / "fixed") == tensor_bytes(place / "expected")


def test_a_matrix_that_helps_nothing_is_said_to(
    source: Path, tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    even = {m: np.ones_like(v) for m, v in random_importance(open_checkpoint(source).config, 1).items()}
    path = write_imatrix(tmp_path / "even.gguf", even, 4)
    assert cli.main(["convert", str(source), str(place / "with"), "--variant", "q4", "--imatrix-path", str(path)]) == 0
    assert "the importance matrix helps nothing: in none of 12 groups" in capsys.readouterr().out
    assert cli.main(["convert", str(source), str(place / "without"), "--variant", "q4"]) == 0
    assert tensor_bytes(place / "with") == tensor_bytes(place / "without")


def test_a_matrix_that_chose_formats_need_not_be_folded_in(
    source: Path, imatrix: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A budget that leaves floats what could be scaled, and one that leaves everything so: nothing is scaled then."""
    rules = place.parent / "head.toml"
    rules.write_text('[[rule]]\nmatch = ["lm_head", "o_proj"]\nmode = "nvfp4"\n')
    matrix = ["--imatrix-path", str(imatrix)]
    ways = {
        "all": ["--fit", "1TB", *matrix],
        "fixed": ["--fit", "1TB", *matrix, "--awq", "fixed"],
        "scales": ["--recipe", str(rules), *matrix, "--search"],
    }
    for name, options in ways.items():
        assert cli.main(["convert", str(source), str(place / name), *options]) == 0, name
        out, err = capsys.readouterr()
        assert "nothing is folded in: no weight that the importance matrix could scale is quantised" in out
        assert "scaled" not in err
    assert cli.main(["convert", str(source), str(place / "floats")]) == 0
    assert tensor_bytes(place / "all") == tensor_bytes(place / "fixed") == tensor_bytes(place / "floats")


@pytest.mark.parametrize("more", ["", '[[rule]]\nmatch = "gate_proj"\nmode = "affine"\nbits = 4\n'])
def test_a_search_without_a_matrix_says_nothing_of_one(
    more: str, source: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = place.parent / "rules.toml"
    rules.write_text(f'[[rule]]\nmatch = "o_proj"\nmode = "nvfp4"\n{more}')
    assert cli.main(["convert", str(source), str(place / "out"), "--recipe", str(rules), "--search"]) == 0
    assert capsys.readouterr().out == ""


def test_floats_are_folded_into_where_that_is_asked_for_alone(
    source: Path, imatrix: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    matrix = ["--imatrix-path", str(imatrix)]
    assert cli.main(["convert", str(source), str(place / "searched"), *matrix]) == 1
    assert "nothing that it could scale is quantised" in capsys.readouterr().err
    assert cli.main(["convert", str(source), str(place / "fixed"), *matrix, "--awq", "fixed"]) == 0
    assert " tensors scaled" in capsys.readouterr().err
    assert names(place) == ["fixed"]


def test_a_budget_is_planned_written_and_chosen_again_from_what_was_kept(
    source: Path, imatrix: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--imatrix-path", str(imatrix)]
    recipe = ["--write-recipe", str(place / "r.toml")]
    assert cli.main(["convert", str(source), str(place / "one"), "--bits-per-weight", "5", *common, *recipe]) == 0
    one, written, kept = names(place)
    assert (one, written) == ("one", "r.toml")
    assert all(is_result_file(name) for name in names(place / one))
    assert re.fullmatch(r"raw\.errors-[0-9a-f]{8}\.json", kept)
    assert f"{kept}: what each format costs each weight" in capsys.readouterr().err
    monkeypatch.setattr(MEASURE, lambda *_, **__: pytest.fail("measured again"))
    assert cli.main(["convert", str(source), str(place / "two"), "--fit", "900kB", "--plan", *common]) == 0
    out = capsys.readouterr().out
    for words in ("fitted to 900kB: ", "ffn gate ", "● this choice", "UD-NVFP4_K_XL", "a budget of 900.00 kB: "):
        assert words in out
    assert cli.main(["convert", str(source), str(place / "three"), "--recipe", str(place / "r.toml"), *common]) == 0
    assert tensor_bytes(place / "one") == tensor_bytes(place / "three")


def test_a_plan_without_a_place_keeps_its_errors_for_the_next(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["convert", str(source), "--plan", "--fit", "25tok/s", "--chip", "M3 Ultra"]) == 0
    monkeypatch.setattr(MEASURE, lambda *_, **__: pytest.fail("measured again"))
    assert cli.main(["convert", str(source), "--plan", "--bits-per-weight", "6"]) == 0
    assert "fitted to 6 bits a weight: " in capsys.readouterr().out


@pytest.mark.parametrize("width", [60, 64, 100])
def test_the_chart_is_no_wider_than_it_may_be(width: int) -> None:
    points = [Point(amount, 10.0 ** -(amount / 1e9), amount) for amount in range(0, 10**10, 10**8)]
    lines = list(chart_lines(Choice({}, points[50], tuple(points)), points[::30], width))
    assert max(map(len, lines)) <= width
    assert min(width, 70) - 2 <= max(map(len, lines[:-1]))
    drawn = "".join(lines[:-1])
    assert (drawn.count("●"), drawn.count("×")) == (1, 4)


def test_errors_by_another_matrix_are_kept_beside_the_first(
    source: Path, imatrix: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = ["convert", str(source), str(place / "out"), "--plan", "--fit", "900kB"]
    ways = [[], ["--imatrix-path", str(imatrix)]]
    first = []
    for way in ways:
        assert cli.main([*plan, *way]) == 0
        first.append(capsys.readouterr().out)
    kept = {path: path.read_bytes() for path in place.iterdir()}
    assert len(kept) == 2
    monkeypatch.setattr(MEASURE, lambda *_, **__: pytest.fail("measured again"))
    for way, before in zip(ways, first, strict=True):
        assert cli.main([*plan, *way]) == 0
        assert capsys.readouterr().out == before
    assert {path: path.read_bytes() for path in place.iterdir()} == kept


def test_a_machine_of_unknown_bandwidth_is_told_what_to_do(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("qwen_core.device.memory_peak.measured_peak", lambda *_: None)
    monkeypatch.setattr("qwen_core.device.machine.device_info", lambda: {"device_name": "one of no name"})
    assert cli.main(["convert", str(source), "--plan", "--fit", "15tok/s"]) == 1
    err = capsys.readouterr().err
    assert "name a chip with --chip, or let qwen-tui doctor measure it" in err


Case = tuple[list[str], str]
BAD: dict[str, Case] = {
    "too little": (["--fit", "9kB"], "a budget of 9.00 kB cannot be met: of this model the least is"),
    "too fast": (["--fit", "1000000tok/s", "--chip", "M1"], "cannot be met"),
    "no budget": (["--fit", "much"], "--fit 'much' is no budget: write it as 21GB"),
    "two widths": (["--fit", "9tok/s", "--chip", "m3 max"], "made in two widths: say 'M3 Max 30' or 'M3 Max 40'"),
    "no chip": (["--fit", "9tok/s", "--chip", "A9"], "no peak bandwidth is published of a chip 'A9'"),
    "no matrix": (["--fit", "1MB", "--imatrix-path", "none.dat"], "none.dat is missing"),
    "foreign file": (["--fit", "1MB", "--errors", "{source}/config.json"], "name another"),
    "no place for errors": (["--fit", "1MB", "--errors", "{source}/none/e.json"], "none does not exist: make it first"),
    "no place for a recipe": (["--fit", "1MB", "--write-recipe", "{source}/none/r.toml"], "make it first"),
    "long name": (["--fit", "1MB", "--errors", "x" * 300], "cannot be written: File name too long"),
    "one place for both": (["--fit", "1MB", "--errors", "q", "--write-recipe", "q"], "q exists: name a new file"),
    "almost a rate": (["--fit", "9tok/\N{LATIN SMALL LETTER LONG S}"], "is no budget: write it as 21GB"),
    "errors in place of DST": (["--fit", "1MB", "--errors", "{place}/out"], "is a place that the result takes itself"),
    "recipe in place of a file of DST": (
        ["--fit", "1MB", "--write-recipe", "{place}/out/config.json"],
        "is a place that the result takes itself",
    ),
    "recipe exists": (["--fit", "1MB", "--write-recipe", "{source}/config.json"], "exists: name a new file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_budgets_are_one_line_and_leave_nothing(
    case: str, source: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(MEASURE, lambda *_, **__: pytest.fail("measured before it was refused"))
    options, reason = BAD[case]
    options = [option.format(source=source, place=place) for option in options]
    assert cli.main(["convert", str(source), str(place / "out"), *options]) == 1
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert (out, len(lines)) == ("", 1)
    assert reason in lines[0]
    assert names(place) == []


def test_a_folder_that_takes_no_files_is_refused_before_anything_is_measured(
    source: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "locked").mkdir()
    monkeypatch.setattr(MEASURE, lambda *_, **__: pytest.fail("measured before it was refused"))
    allowed = os.access  # root may write anywhere
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "locked" and allowed(path, mode))
    recipe = ["--write-recipe", str(place / "locked" / "r.toml")]
    assert cli.main(["convert", str(source), str(place / "out"), "--fit", "1MB", *recipe]) == 1
    assert "you may not make files in" in capsys.readouterr().err
    assert names(place) == ["locked"]


@pytest.mark.parametrize(
    "options",
    [
        ["--awq", "fixed", "-q"],
        ["--fit", "1MB", "--bits-per-weight", "4"],
        ["--fit", "1MB", "-q"],
        ["--fit", "1MB", "--variant", "q4"],
        ["--chip", "M1"],
        ["--fit", "1MB", "--chip", "M1"],
        ["--errors", "x"],
        ["--write-recipe", "x"],
        ["--bits-per-weight", "0"],
        ["--bits-per-weight", "nan"],
        ["--realign", "--search"],
        ["--realign", "--fit", "1MB"],
    ],
)
def test_options_that_do_not_go_together_are_wrong_use(
    options: list[str], source: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["convert", str(source), str(place / "out"), *options]) == 2
    assert capsys.readouterr().err.startswith("Usage: ")
    assert names(place) == []


def stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "where",
    [f"qwen_core.convert.{name}" for name in ("candidates.nearest", "fold_search.nearest", "measure.searched")],
)
def test_an_interruption_leaves_nothing(
    where: str, source: Path, imatrix: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While candidates are measured, while folding is searched, and while the result is written."""
    monkeypatch.setattr(where, stop)
    options = ["--variant", "q3"] if "candidates" not in where else ["--fit", "1MB"]
    search = ["--search"] if "measure" in where else []
    command = ["convert", str(source), str(place / "out"), "--imatrix-path", str(imatrix), *options, *search]
    assert cli.main(command) == 130
    assert names(place) == []


@pytest.mark.parametrize("options", [["--fit", "1MB"], ["--variant", "q3", "--search"]])
def test_weights_whose_squares_have_no_number_are_one_line(
    options: list[str], place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_raw(tmp_path / "raw", files={"tokenizer.json": "{}", "chat_template.jinja": "x"})
    file = next(source.glob("*.safetensors"))
    (offset,) = (begin for name, (begin, _) in places(file).items() if name.endswith("layers.1.mlp.gate_proj.weight"))
    data = bytearray(file.read_bytes())
    data[offset : offset + 2] = b"\x04\x69"  # 1e25 in bf16
    file.write_bytes(data)
    assert cli.main(["convert", str(source), str(place / "out"), *options]) == 1
    assert "cannot be measured: its squares" in capsys.readouterr().err
    assert names(place) == []
