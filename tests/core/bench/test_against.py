"""A comparison with another runtime: who runs when, what the ratios are, and how a side that fails is told of."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest

from qwen_core import demo_model_path
from qwen_core.bench.against import (
    Interrupted,
    MeasuredPair,
    against_report,
    compare,
    peer_task,
    require_peer,
    run_side,
)
from qwen_core.bench.against_process import Outcome, Task, timed
from qwen_core.errors import QwenError
from support.engines import is_gone, wait_until

TASK = Task("qwen-tui", "/model", tuple(range(100)), 4)
FACTS = {"device": "CPU", "versions": {}}


def outcome(prefill: float, decode: float, *tokens: int) -> Outcome:
    return Outcome(prefill, decode, 2 * prefill, 4 * decode, tokens, "9.9")


def never() -> bool:
    return False


def test_sides_alternate_and_so_does_who_goes_first() -> None:
    order: list[str] = []
    rests: list[int] = []

    def run(task: Task, stop: Callable[[], bool]) -> Outcome:
        order.append(task.side)
        return outcome(1.0, 1.0)

    pairs = compare(TASK, peer_task(TASK, float32=False), 3, run=run, rest=lambda: rests.append(len(order)))
    assert order == ["qwen-tui", "mlx-lm", "mlx-lm", "qwen-tui", "qwen-tui", "mlx-lm"]
    assert rests == [1, 2, 3, 4, 5]
    assert len(pairs) == 3


def test_the_peer_gets_the_same_ids_and_count() -> None:
    peer = peer_task(TASK, float32=True)
    assert (peer.side, peer.ids, peer.tokens, peer.path, peer.float32) == ("mlx-lm", TASK.ids, 4, "/model", True)


@pytest.mark.parametrize(("allowed", "whole"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (99, 2)])
def test_a_stop_keeps_whole_pairs(allowed: int, whole: int) -> None:
    runs = count()

    def run(task: Task, stop: Callable[[], bool]) -> Outcome:
        if next(runs) >= allowed:
            raise Interrupted
        return outcome(1.0, 1.0)

    assert len(compare(TASK, peer_task(TASK, float32=False), 2, run=run)) == whole


def test_a_stop_in_a_rest_starts_no_other_side() -> None:
    order: list[str] = []

    def run(task: Task, stop: Callable[[], bool]) -> Outcome:
        order.append(task.side)
        return outcome(1.0, 1.0)

    rests: list[int] = []
    pairs = compare(
        TASK,
        peer_task(TASK, float32=False),
        3,
        run=run,
        rest=lambda: rests.append(len(order)),
        stop=lambda: len(rests) == 2,
    )
    assert (len(pairs), order) == (1, ["qwen-tui", "mlx-lm"])


def test_ratios_are_taken_pair_by_pair() -> None:
    """A slow moment hits both sides of a pair: 2 and 3 and 2.5, not the ratio of the medians."""
    pairs = [
        MeasuredPair(outcome(1.0, 2.0, 1, 2), outcome(2.0, 2.0, 1, 2)),
        MeasuredPair(outcome(10.0, 1.0, 1, 2), outcome(30.0, 1.5, 1, 3)),
        MeasuredPair(outcome(2.0, 4.0, 1, 2), outcome(5.0, 2.0, 1, 2)),
    ]
    report = against_report(TASK, peer_task(TASK, float32=True), pairs, FACTS, interrupted=False)
    assert report["prefill"]["ratio"] == {"median": 2.5, "min": 2.0, "max": 3.0}
    assert report["prefill"]["own_tok_s"] == {"median": 50.0, "min": 10.0, "max": 100.0}
    assert report["decode"]["ratio"] == {"median": 1.0, "min": 0.5, "max": 1.5}
    assert report["decode"]["peer_tok_s"]["max"] == 4 / 1.5
    assert report["decode"]["cpu_ratio"] == report["decode"]["ratio"]
    assert (report["same_tokens"], report["peer"], report["peer_version"]) == (1, "mlx-lm float32", "9.9")
    json.dumps(report, allow_nan=False)


def test_a_report_of_nothing_has_nulls() -> None:
    report = against_report(TASK, peer_task(TASK, float32=False), [], FACTS, interrupted=True)
    assert (report["pairs"], report["prefill"]["ratio"], report["same_tokens"]) == (0, None, None)


def test_a_side_is_warmed_up_and_then_timed_from_the_first_token() -> None:
    """Wall clock: 1 s a look; CPU clock: 10 s. A prefill ends, and the decode begins, with the first token."""
    calls: list[tuple[int, int]] = []

    def generate(ids: Sequence[int], amount: int) -> Iterator[int]:
        calls.append((len(ids), amount))
        yield from range(amount)

    wall, cpu = count(), count(0, 10)
    found = timed(generate, TASK, "1", lambda: float(next(wall)), lambda: float(next(cpu)))
    assert calls == [(64, 2), (100, 5)]
    assert found == Outcome(1.0, 1.0, 10.0, 10.0, (0, 1, 2, 3, 4), "1")


def test_without_the_peer_there_is_one_line() -> None:
    with pytest.raises(QwenError, match="mlx-lm is not installed here: pip install mlx-lm"):
        require_peer(lambda name: None)
    require_peer(lambda name: object())


def test_both_sides_draw_the_same_tokens_of_the_demo_in_float32() -> None:
    pytest.importorskip("mlx_lm.generate")
    task = Task("qwen-tui", str(demo_model_path()), tuple(range(20, 60)), 6, dtype="float32")
    (pair,) = compare(task, peer_task(task, float32=True), 1)
    assert pair.own.tokens == pair.peer.tokens
    assert pair.same_tokens == 7
    assert min(pair.own.prefill_s, pair.own.decode_s, pair.peer.prefill_s, pair.peer.decode_s) > 0


def test_a_side_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(QwenError, match=r"qwen-tui could not be measured: .*has no config.json"):
        run_side(Task("qwen-tui", str(tmp_path), (1,), 1), never)


def test_a_side_ends_with_the_process_that_waits_for_it(tmp_path: Path) -> None:
    """Whatever ends that: nothing runs at the end of a signal that cannot be caught."""
    told = tmp_path / "told"
    os.mkfifo(told)
    side = f"import os; open({str(told)!r}, 'w').write(str(os.getpid())); import threading; threading.Event().wait()"
    boot = f"from qwen_core.child_process import end_with_parent; end_with_parent(); {side}"
    waits = (
        "from qwen_core.bench import against; from qwen_core.bench.against_process import Task; "
        f"against._BOOT = {boot!r}; against.run_side(Task('qwen-tui', '/model', (1,), 1), lambda: False)"
    )
    with subprocess.Popen([sys.executable, "-c", waits]) as process:
        pid = int(told.read_text())
        process.kill()
    wait_until(lambda: is_gone(pid), "the end of the side")


def test_a_stop_ends_the_process_of_a_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_core.bench.against._BOOT", "import threading; threading.Event().wait()")
    with pytest.raises(Interrupted):
        run_side(TASK, lambda: True)
