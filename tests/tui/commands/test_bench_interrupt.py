"""How Ctrl+C ends `qwen-tui bench`: while it rests, loads, makes weights or compares."""

import json
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from qwen_core.bench import measure as core_bench
from qwen_core.bench import runs
from qwen_core.bench.against import Interrupted
from qwen_core.bench.against_process import Outcome, Task
from qwen_core.bench.request import BenchRequest
from qwen_core.checkpoint.directory import Checkpoint
from qwen_tui import cli
from support.checkpoints import write_checkpoint

TINY = ["bench", "--synthetic", "tiny", "--workload", "pp4"]
SIDES = ["bench", "--against", "mlx-lm", "--workload", "pp4,tg2"]
INTERRUPTED = "qwen-tui: interrupted\n"


def press(*_: object) -> None:
    """Ctrl+C."""
    signal.raise_signal(signal.SIGINT)


def test_during_a_rest_the_finished_repeats_are_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One Ctrl+C is enough: a second one would end the test with KeyboardInterrupt."""

    class Pressed(core_bench.Bench):
        def __init__(self, **options: Any) -> None:
            super().__init__(pause=press, **options)

    monkeypatch.setattr(runs, "Bench", Pressed)
    assert cli.main([*TINY, "--cooldown", "60", "--repeat", "3", "--json"]) == 130
    report = json.loads(capsys.readouterr().out)
    assert [len(row["seconds"]) for row in report["sizes"]] == [1]
    assert report["interrupted"]


def scripted_sides(monkeypatch: pytest.MonkeyPatch, run: Callable[[Task, Callable[[], bool]], Outcome]) -> None:
    """Sides that answer from a script, and an mlx-lm that seems to be installed."""
    from qwen_core.bench import against

    compare = against.compare

    def scripted(task: Task, peer: Task, repeat: int, **options: Any) -> Sequence[Any]:
        return compare(task, peer, repeat, **options, run=run)

    monkeypatch.setattr(against, "compare", scripted)
    monkeypatch.setattr(against, "require_peer", lambda: None)


def test_during_a_rest_of_a_comparison_whole_pairs_are_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def run(task: Task, stop: Callable[[], bool]) -> Outcome:
        ran.append(task.side)
        return Outcome(1.0, 1.0, 1.0, 1.0, (1, 2, 3), "9")

    def pause(seconds: float) -> None:
        rested.append(seconds)
        if len(ran) == 2:
            press()

    rested: list[float] = []
    scripted_sides(monkeypatch, run)
    monkeypatch.setattr("qwen_core.bench.workloads.rest.__defaults__", (pause,))
    assert cli.main([*SIDES, "--cooldown", "1", "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["pairs"] == 1
    assert sum(rested) == 1.125


def test_before_the_first_pair_one_line_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(task: Task, stop: Callable[[], bool]) -> Outcome:
        press()
        assert stop()
        raise Interrupted

    scripted_sides(monkeypatch, run)
    assert cli.main(SIDES) == 130
    assert capsys.readouterr() == ("Interrupted: nothing was finished.\n", "")


@pytest.mark.parametrize("workload", ["pp4", "card"])
def test_while_loading(workload: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = BenchRequest.checkpoint

    def pressed(request: BenchRequest) -> Checkpoint:
        press()
        return checkpoint(request)

    monkeypatch.setattr(BenchRequest, "checkpoint", pressed)
    assert cli.main(["bench", "--workload", workload]) == 130
    assert capsys.readouterr() == ("", INTERRUPTED)


def pressed_in_model(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Ctrl+C after the first tensor of the synthetic model with this number."""
    make, made = runs.synthetic_model, []

    def pressed(*arguments: Any, progress: Callable[[int, int], None], **options: Any) -> Any:
        made.append(0)
        return make(*arguments, progress=press if len(made) == number else progress, **options)

    monkeypatch.setattr(runs, "synthetic_model", pressed)


@pytest.mark.parametrize("number", [1, 2])
def test_while_random_weights_are_made(
    number: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second signal, at the second tensor, would end the test. Of some layers alone nothing can be said."""
    pressed_in_model(monkeypatch, number)
    assert cli.main([*TINY, "--layers", "4", "--repeat", "1"]) == 130
    assert capsys.readouterr() == ("", INTERRUPTED)


def test_variants_before_it_are_kept(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pressed_in_model(monkeypatch, 2)
    line = ["bench", "--variants", "--synthetic", "tiny", "--workload", "tg2", "--repeat", "1", "--json"]
    assert cli.main(line) == 130
    report = json.loads(capsys.readouterr().out)
    assert [row["measured_tok_s"] is not None for row in report["variants"]] == [True] + [False] * 8


@pytest.mark.parametrize(
    ("workloads", "words"),
    [("pp500,tg5", "pp500 behind 0 tokens"), ("tg5,pp396", "tg5 behind 396 tokens")],
)
def test_a_comparison_beyond_the_context_is_refused(
    workloads: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, text={"max_position_embeddings": 400})
    scripted_sides(monkeypatch, lambda task, stop: pytest.fail("nothing may run"))
    assert cli.main(["bench", str(tmp_path), "--against", "mlx-lm", "--workload", workloads]) == 1
    assert capsys.readouterr() == ("", f"qwen-tui: {words} is more than the model's context of 400 tokens\n")
