"""`qwen-tui doctor`: what it looks at, and that whatever `run` would complain of in settings is a problem here too."""

import json
from pathlib import Path

import pytest

from qwen_core.device.backend import is_metal
from qwen_core.version import __version__
from qwen_tui import cli
from qwen_tui.settings.file import load_settings, settings_path

PEAKS = ('"fast"', "-5", "0", "nan", "inf", "1e9", "true", "[1]", '""', "1" + "0" * 400)
LINES = (*(f"peak_bandwidth_gb_s = {value}" for value in PEAKS), 'gpu_cores = "x"', "gpu_cores = 0", "cores = 40")


@pytest.fixture
def settings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend is asked in a process of its own, which takes seconds and has no part in this."""
    monkeypatch.setattr("qwen_tui.commands.doctor._backend", lambda problems: {})


@pytest.mark.usefixtures("settings_alone")
@pytest.mark.parametrize("line", LINES)
def test_an_override_that_cannot_be_used_is_a_problem(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings_path().write_text(f"[hardware]\n{line}\n", encoding="utf-8")
    (said,) = load_settings().problems
    assert cli.main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"] == [said]
    assert line.split(" = ")[0] in said
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert f"problem: {said}" in out
    assert "nothing is wrong" not in out


@pytest.mark.usefixtures("settings_alone")
def test_a_good_override_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    settings_path().write_text("[hardware]\npeak_bandwidth_gb_s = 400\ngpu_cores = 40\n", encoding="utf-8")
    assert cli.main(["doctor"]) == 0
    assert "nothing is wrong" in capsys.readouterr().out


@pytest.mark.usefixtures("settings_alone")
def test_a_variable_and_a_broken_file_are_problems_as_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings_path().write_text("[hardware\n", encoding="utf-8")
    monkeypatch.setenv("QWEN_TUI_HARDWARE_PEAK_BANDWIDTH_GB_S", "nan")
    assert cli.main(["doctor", "--json"]) == 1
    broken, variable = json.loads(capsys.readouterr().out)["problems"]
    assert "is not valid TOML" in broken
    assert "QWEN_TUI_HARDWARE_PEAK_BANDWIDTH_GB_S" in variable


@pytest.mark.usefixtures("settings_alone")
def test_a_home_that_cannot_be_made_is_told_once(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "file").touch()
    monkeypatch.setenv("QWEN_TUI_HOME", str(home / "file" / "below"))
    assert cli.main(["doctor", "--json"]) == 1
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert len(problems) == 1
    assert "cannot be created" in problems[0]


def test_doctor_finds_nothing_wrong_here(capsys: pytest.CaptureFixture[str]) -> None:
    settings_path().write_text("[hardware]\npeak_bandwidth_gb_s = 321.5\n", encoding="utf-8")
    code = cli.main(["doctor", "--json"])
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    report = json.loads(out)
    assert (code, report["problems"]) == (0, [])
    assert report["version"] == __version__
    assert report["backend"]["computes"] is True
    assert (report["backend"]["kernels"] == []) != is_metal()
    assert (report["backend"]["peak_bandwidth_gb_s"], report["backend"]["peak_source"]) == (321.5, "configured")
    assert report["demo"]["bytes"] > 1_000_000
    assert cli.main(["doctor"]) == 0
    assert "nothing is wrong" in capsys.readouterr().out


def test_doctor_reports_a_damaged_demo_model_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("qwen_core.demo.demo_model_path", lambda: tmp_path)
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "problem: " in out
    assert str(tmp_path) in out
    assert "computes: yes" in out


def test_doctor_names_a_kernel_that_did_not_prove_right(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"computes": True, "kernels": ["add_norm", "delta_rule"], "kernel_faults": ["the kernel x is not used: no"]}
    monkeypatch.setattr("qwen_tui.commands.doctor.PROBE", f"import json; print(json.dumps({found}))")
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "problem: the kernel x is not used: no" in out
    assert "kernels: add_norm, delta_rule" in out


def test_doctor_speaks_to_people_and_its_json_to_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """Yes and no, figures of three digits, sizes with their unit; the JSON keeps values as they are."""
    from qwen_tui.commands.doctor import report_parts
    from support.reports import report_text

    cli.main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    report["backend"] |= {"computes": True, "peak_bandwidth_gb_s": 7.40089659778257}
    report["backend"]["details"] = {"device_name": "M3", "memory_size": "68719476736", "gen": "15"}
    text = report_text(report_parts(report, 100), 100)
    for words in ("computes: yes", "peak bandwidth GB/s: 7.40", "memory_size 68.72 GB, gen 15", "weights: 3.37 MB"):
        assert words in text
    assert "True" not in text
