"""`qwen-tui bench`: which options go together, what the tables and the JSON say, and how Ctrl+C ends it."""

import io
import json
import re
import shutil
import signal
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import RenderableType

from qwen_core import demo_model_path
from qwen_core.bench import measure as core_bench
from qwen_core.bench.against import compare
from qwen_core.bench.against_process import Outcome, Task
from qwen_core.bench.request import versions
from qwen_core.bench.several import measure_hosts
from qwen_core.device.backend import is_gpu, is_metal
from qwen_core.errors import QwenError
from qwen_tui import cli
from qwen_tui.commands.bench_tables import against_parts, bench_parts, variants_parts
from qwen_tui.settings.file import load_settings, settings_path
from support.reference import CASES, write_case
from support.reports import report_text

TINY = ["bench", "--synthetic", "tiny", "--workload", "pp4,tg2", "--repeat", "1", "--peak", "100"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--workload fast", "is not a workload"),
        ("--depth -1", "is not a whole number from 0 to 1,048,576"),
        ("--repeat 0", "is not a whole number from 1 to 1,000"),
        ("--synthetic 70b", "is not one of"),
        ("--variant nvfp4", "--variant and --layers shape the model of --synthetic"),
        ("--layers 4", "--variant and --layers shape the model of --synthetic"),
        ("--synthetic tiny --layers 3", "--layers must be a multiple of 4"),
        ("somewhere --synthetic tiny", "cannot be used together"),
        ("--synthetic tiny --workload card", "needs a tokenizer"),
        ("--float32", "--float32 belongs to --against mlx-lm"),
        ("--against self --float32", "--float32 belongs to --against mlx-lm"),
        ("--against mlx-lm --depth 5", "leave --depth out"),
        ("--workload card --depth 5", "--depth belongs to ppN and tgN"),
        ("--against mlx-lm --workload pp5", "one ppN and one tgN"),
        ("--against mlx-lm --synthetic tiny", "needs a checkpoint on disk"),
        ("--against llama", "is not"),
        ("--variants --against mlx-lm", "cannot be used together"),
        ("--variants --synthetic tiny --variant q4", "--variant cannot be used with it"),
        ("--variants --workload tg4", "--workload needs it"),
        ("--variants --synthetic tiny --workload pp4", "give one tgN"),
        ("--variants --repeat 4", "--repeat needs it"),
        ("--variants --dtype float32", "--dtype needs it"),
        ("--num-draft-tokens 2", "--num-draft-tokens belongs to --draft auto, mtp or lookup"),
        ("--draft off --num-draft-tokens 2", "--num-draft-tokens belongs to --draft auto, mtp or lookup"),
        ("--num-draft-tokens 6 --draft mtp", "is not a whole number from 0 to 5"),
        ("--draft fast", "is not one of"),
        ("--against mlx-lm --draft mtp", "measure without drafts"),
        ("--variants --draft lookup", "measure without drafts"),
        ("--hosts 2 --against self", "--against cannot be used with it"),
        ("--hosts 2 --synthetic tiny", "--synthetic cannot be used with it"),
        ("--hosts 2 --variants", "--variants cannot be used with it"),
        ("--hosts 2 --workload card", "--hosts measures one prefill and the decode after it"),
        ("--hosts 2 --depth 5", "--hosts measures from the start of a context"),
        ("--hosts 2 --draft mtp", "measure without drafts"),
        ("--seed 1", "--seed is that of the weights of --synthetic"),
        ("--peak 0", "is not a number from 0.001 to 100000"),
        ("--peak 1e308", "is not a number from 0.001 to 100000"),
    ],
)
def test_contradictions_are_usage_errors(line: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", *line.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in " ".join(err.split())


def test_json_is_one_object_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*TINY, "--json", "--depth", "5"]) == 0
    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (1, "")
    report = json.loads(out)
    assert [row["workload"] for row in report["sizes"]] == ["pp4", "tg2"]
    assert all(row["depth"] == 5 and row["tok_s"]["median"] > 0 for row in report["sizes"])
    assert (report["peak_bandwidth_gb_s"], report["peak_source"]) == (100.0, "configured")
    assert report["model"]["synthetic"] and not report["model"]["extrapolated"]
    assert set(report["versions"]) == {"qwen-tui", "mlx", "python"}


def test_a_pipe_gets_plain_lines_of_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(TINY) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80
    for words in ("pp4", "tg2", "GB/s est.", "of peak", "100.0 GB/s (configured)", "UD-NVFP4_K_XL"):
        assert words in " ".join(out.split())


def test_fewer_layers_say_that_they_extrapolate_and_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*TINY, "--layers", "4"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Extrapolated: 4 of 8 layers were run. Time of none + (time of 4 - time of none) x 8/4." in out
    assert "Memory is not extrapolated: it is what the 4 layers alone took at their peak." in out
    assert cli.main([*TINY, "--layers", "4", "--json"]) == 0
    model = json.loads(capsys.readouterr().out)["model"]
    assert (model["layers"], model["of_layers"]) == (4, 8)


def test_more_layers_than_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*TINY, "--layers", "12"]) == 1
    assert "the tiny has 8 layers: --layers 12 is more than that" in capsys.readouterr().err


def test_the_demo_holds_the_cards_conversation(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--workload", "card", "--repeat", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [turn["turn"] for turn in report["card"]["turns"]] == [1, 2, 3, 4]
    assert report["card"]["best"] >= report["card"]["median"] > 0
    assert report["sizes"] == []
    assert report["model"]["name"] == "demo model"
    assert report["command"] == "qwen-tui bench --workload card --repeat 1 --json"


def test_a_directory_that_is_given_as_a_dot_has_its_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copied = shutil.copytree(demo_model_path(), tmp_path / "my-model")
    monkeypatch.chdir(copied)
    assert cli.main(["bench", ".", "--workload", "tg2", "--repeat", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["name"] == "my-model"


def test_what_does_not_fit_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_core.bench.synthetic.memory_limit", lambda: 1_000_000)
    assert cli.main(TINY) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert re.search(r"needs 5\d\d\.\d\d MB of memory", err)


def test_random_weights_are_measured_for_drafts_too(capsys: pytest.CaptureFixture[str]) -> None:
    """What a pass and a draft cost, and what would follow, which its key calls arithmetic."""
    assert cli.main([*TINY, "--layers", "4", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["rows"] for row in report["pass_costs"]["passes"]] == [1, 2, 3, 4, 5, 6]
    assert report["pass_costs"]["draft"]["seconds"]["median"] > 0
    assert [row["acceptance"] for row in report["draft_arithmetic"]] == [0.5, 0.7, 0.9]
    assert all(row["tok_s"] > 0 for row in report["draft_arithmetic"])
    assert (report["draft"], report["sizes"][1]["draft"]) == (None, None)
    assert cli.main([*TINY, "--draft", "lookup"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "6 rows" in out and "a draft" not in out and "Arithmetic, not measured" in out
    assert cli.main([*TINY, "--draft", "off", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["pass_costs"], report["draft_arithmetic"]) == (None, None)


def test_drafts_are_measured_beside_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_case(CASES[1], tmp_path, mtp="mtp.safetensors")
    line = ["bench", str(tmp_path), "--workload", "pp3,tg8", "--repeat", "2", "--json"]
    assert cli.main([*line, "--draft", "mtp", "--num-draft-tokens", "2"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["draft"] == {"mode": "mtp", "num_draft_tokens": 2, "off": None}
    assert len(report["pass_costs"]["passes"]) == 6
    assert report["draft_arithmetic"] is None
    prefill, decode = report["sizes"]
    assert "draft" not in prefill
    draft = decode["draft"]
    assert decode["tok_s"] == draft["without_tok_s"]
    assert (draft["kind"], draft["num_draft_tokens"], draft["pairs"]) == ("mtp", 2, 2)
    assert (draft["same_tokens"], draft["of_tokens"]) == (9, 9)
    assert draft["passes"] + draft["accepted"] == 2 * 9
    assert draft["ratio"]["min"] <= draft["ratio"]["median"] <= draft["ratio"]["max"]
    assert cli.main(line) == 0
    plain = json.loads(capsys.readouterr().out)
    assert (plain["draft"], plain["pass_costs"], plain["sizes"][1]["draft"]) == (None, None, None)


@pytest.mark.skipif(is_gpu(), reason="drafts pay on a GPU")
def test_auto_is_off_on_a_cpu_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--workload", "card,tg2", "--repeat", "1", "--draft", "auto", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["draft"] == {"mode": "auto", "num_draft_tokens": None, "off": "cpu"}
    assert (report["card"]["draft"], report["sizes"][0]["draft"]) == (None, None)
    assert report["pass_costs"] is not None


def test_a_drafter_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_case(CASES[1], tmp_path)
    assert cli.main(["bench", str(tmp_path), "--workload", "tg2", "--draft", "mtp"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "MTP layer" in err


def test_the_variants_are_nine_with_the_cards_one_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--variants", "--json", "--peak", "400"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["model"] == "27b"
    assert (report["workload"], report["repeat"], report["dtype"]) == (None, None, None)
    cards = {row["variant"]: row["card_m3_max_tok_s"] for row in report["variants"]}
    assert len(cards) == 9
    assert {name: figure for name, figure in cards.items() if figure} == {"UD-NVFP4_K_XL": 14.9}
    assert all(row["measured_tok_s"] is None for row in report["variants"])


def test_variants_of_a_synthetic_shape_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["bench", "--variants", "--synthetic", "tiny", "--workload", "tg2", "--repeat", "1"]
    assert cli.main(line) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "measured here" in " ".join(out.split())
    assert out.count("UD-") == 9


def test_without_mlx_lm_there_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise QwenError("mlx-lm is not installed here")

    monkeypatch.setattr("qwen_core.bench.against.require_peer", missing)
    assert cli.main(["bench", "--against", "mlx-lm"]) == 1
    assert capsys.readouterr().err == "qwen-tui: mlx-lm is not installed here\n"


@pytest.mark.skipif(is_metal(), reason="here there is Metal")
def test_without_metal_there_is_nothing_of_its_own_to_compare(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--against", "self"]) == 1
    line = capsys.readouterr().err
    assert line.startswith("qwen-tui: there are no kernels of this program's own to compare here: they need Metal")
    assert line.count("\n") == 1


@pytest.mark.parametrize("asked", ["option", "setting", "one"])
def test_hosts_compare_several_ranks_with_one(
    asked: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the option says, or else the settings; `--hosts 1` is this machine alone, whatever they say."""

    def run(task: Task, stop: object) -> Outcome:
        return Outcome(1.0, 1.0 if task.hosts == "2" else 1.25, 1.0, 2.0, (1, 2, 3), "1", peak_memory_bytes=5)

    monkeypatch.setattr("qwen_core.bench.several.measure_hosts", partial(measure_hosts, run=run))
    if asked != "option":
        monkeypatch.setenv("QWEN_TUI_HARDWARE_HOSTS", "2")
    options = {"option": ["--hosts", "2"], "setting": [], "one": ["--hosts", "1"]}[asked]
    assert cli.main(["bench", *options, "--workload", "pp4,tg2", "--repeat", "1"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert ("2 ranks on this machine, ring, against one" in text) == (asked != "one")
    assert ("1.25 (1.25..1.25)" in text) == (asked != "one")


def test_kernels_are_compared_with_mlx_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides are this program, in fresh processes; only one may use its kernels, whatever the settings say."""
    monkeypatch.setattr("qwen_core.bench.against.require_kernels", lambda: None)
    monkeypatch.setenv("QWEN_TUI_HARDWARE_KERNELS", "off")
    asked = []

    def run(task: Task, stop: object) -> Outcome:
        asked.append((task.side, task.kernels, task.dtype))
        kernels, faults = (("add_norm",), ("the kernel x is not used: no",)) if task.kernels else ((), ())
        return Outcome(1.0, 2.0, 1.0, 2.0, (1, 2, 3), "1", kernels, faults)

    monkeypatch.setattr("qwen_core.bench.against.compare", partial(compare, run=run))
    line = ["bench", "--against", "self", "--workload", "pp4,tg2", "--repeat", "1", "--dtype", "bfloat16"]
    assert cli.main([*line, "--json"]) == 0
    assert asked == [("qwen-tui", True, "bfloat16"), ("qwen-tui without its own kernels", False, "bfloat16")]
    report = json.loads(capsys.readouterr().out)
    assert report["kernels"] == {"used": ["add_norm"], "faults": ["the kernel x is not used: no"]}
    assert report["peer"] == "qwen-tui without its own kernels"
    assert cli.main(line) == 0
    text = " ".join(capsys.readouterr().out.split())
    for words in ("Kernels of its own: add_norm", "problem: the kernel x is not used: no", "with its own kernels and"):
        assert words in text


def test_ctrl_c_keeps_what_was_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes while the second workload runs: the first one is in the report, and the exit code is 130."""
    once = core_bench.Bench._once

    def interrupted(self: core_bench.Bench, model: Any, state: Any, start: Any, workload: Any, *rest: Any) -> Any:
        if workload.kind == "decode":
            signal.raise_signal(signal.SIGINT)
        return once(self, model, state, start, workload, *rest)

    monkeypatch.setattr(core_bench.Bench, "_once", interrupted)
    assert cli.main([*TINY, "--json"]) == 130
    report = json.loads(capsys.readouterr().out)
    assert report["interrupted"]
    assert [row["tok_s"] is None for row in report["sizes"]] == [False, True]


def test_the_bar_is_for_a_terminal_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    assert cli.main(TINY) == 0
    assert "━" in screen.getvalue()
    assert "tok/s" not in screen.getvalue()


def shown(parts: Callable[[dict[str, Any], int], Iterable[RenderableType]], report: dict[str, Any]) -> str:
    return " ".join(report_text(parts(report, 80)).split())


FACTS: dict[str, Any] = {
    "device": "CPU x",
    "dtype": None,
    "command": "qwen-tui bench",
    "versions": {"mlx": "1"},
    "peak_bandwidth_gb_s": None,
    "peak_source": None,
    "kernels": {"used": [], "faults": []},
    "draft": None,
    "pass_costs": None,
    "draft_arithmetic": None,
    "interrupted": False,
}


def test_a_comparison_shows_ratio_and_range() -> None:
    rate = {"median": 100.0, "min": 90.0, "max": 110.0}
    ratio = {"median": 1.25, "min": 1.1, "max": 1.5}
    phase = {"tokens": 8, "own_tok_s": rate, "peer_tok_s": rate, "ratio": ratio, "cpu_ratio": ratio}
    report = {
        **FACTS,
        "path": "/m",
        "peer": "mlx-lm float32",
        "peer_version": "2",
        "pairs": 3,
        "prefill": phase,
        "peer_dtype": "float32",
    }
    text = shown(against_parts, {**report, "decode": phase, "same_tokens": 9, "of_tokens": 9})
    assert "1.25 (1.10..1.50)" in text
    assert "peak unknown" in text
    assert "by CPU time" in text
    on_gpu = {**report, "decode": phase, "same_tokens": 9, "of_tokens": 9, "device": "CUDA x"}
    assert "by CPU" not in shown(against_parts, on_gpu)


def test_names_from_a_model_reach_the_terminal_as_text() -> None:
    model = {"name": "[red]\x1b[2J", "variant": "custom", "weight_bytes_per_token": 5, "extrapolated": False}
    text = shown(bench_parts, {**FACTS, "model": model, "sizes": [], "card": None})
    assert "[red]\u241b[2J" in text


def test_a_variant_that_does_not_fit_says_so() -> None:
    row = {
        "variant": "UD-Q8_K_XL",
        "nbytes": 5,
        "bytes_per_token": 5,
        "ceiling_tok_s": None,
        "m3_max_ceiling_tok_s": 1.0,
        "card_m3_max_tok_s": None,
        "measured_tok_s": None,
        "refusal": "it needs 30 GB",
    }
    report = {
        **FACTS,
        "model": "27b",
        "depth": 0,
        "layers": None,
        "of_layers": 64,
        "variants": [row],
        "workload": "tg8",
        "repeat": 3,
    }
    text = shown(variants_parts, report)
    assert "does not fit" in text
    assert "UD-Q8_K_XL: it needs 30 GB" in text


def test_versions_name_everything_that_decides_about_speed() -> None:
    assert all(versions().values())


def test_an_override_that_cannot_be_used_is_told_as_run_does(capsys: pytest.CaptureFixture[str]) -> None:
    settings_path().write_text('[hardware]\npeak_bandwidth_gb_s = "fast"\n', encoding="utf-8")
    (said,) = load_settings().problems
    assert cli.main([*TINY, "--json"]) == 0
    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (1, f"qwen-tui: {said}\n")
