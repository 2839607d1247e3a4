"""Several ranks beside one: in turn, on the same tokens, and what is said where one alone cannot do it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from qwen_core.bench.against import Interrupted
from qwen_core.bench.against_process import Outcome, Task
from qwen_core.bench.request import BenchRequest
from qwen_core.bench.several import measure_hosts
from qwen_core.bench.workloads import parse_workloads
from qwen_core.errors import QwenError
from qwen_core.protocol.events import LoadSettings
from support.checkpoints import write_checkpoint

Stop = Callable[[], bool]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("several") / "model"
    write_checkpoint(path, "bf16")
    return path


def request(model: Path, repeat: int = 2) -> BenchRequest:
    return BenchRequest(
        model_dir=str(model),
        workloads=parse_workloads("pp8,tg4"),
        depth=0,
        repeat=repeat,
        cooldown=0.0,
        shape=None,
        variant=None,
        layers=None,
        float32=False,
        load=LoadSettings(hosts="2"),
        dtype="float32",
        seed=0,
        draft="off",
        num_draft_tokens=None,
    )


def never() -> bool:
    return False


def silent(label: str, done: int, whole: int) -> None:
    pass


def outcome(seconds: float, memory: int) -> Outcome:
    return Outcome(seconds, seconds, 1.0, 1.0, (1, 2, 3), "9", peak_memory_bytes=memory)


def test_they_run_in_turn_on_the_same_tokens(model: Path) -> None:
    asked: list[Task] = []

    def run(task: Task, stop: Stop) -> Outcome:
        asked.append(task)
        return outcome(1.0, 60) if task.hosts else outcome(1.5, 100)

    report = measure_hosts(request(model), never, silent, run)
    assert [task.hosts for task in asked] == ["2", "", "", "2"]
    assert len({(task.path, task.ids, task.tokens, task.dtype) for task in asked}) == 1
    assert report["decode"]["ratio"]["median"] == 1.5
    assert report["peak_memory_bytes"] == {"own": 60, "peer": 100}
    assert (report["hosts"], report["backend"], report["refusal"]) == (["127.0.0.1"] * 2, "ring", None)
    json.dumps(report, allow_nan=False)


def test_where_one_alone_cannot_hold_it_the_others_are_told_all_the_same(model: Path) -> None:
    def run(task: Task, stop: Stop) -> Outcome:
        if not task.hosts:
            raise QwenError("one rank could not be measured: too large")
        return outcome(2.0, 60)

    report = measure_hosts(request(model), never, silent, run)
    assert (report["pairs"], report["runs"], report["refusal"]) == (0, 1, "one rank could not be measured: too large")
    assert (report["prefill"]["own_tok_s"]["median"], report["prefill"]["ratio"]) == (4.0, None)
    assert report["peak_memory_bytes"] == {"own": 60, "peer": None}


def test_what_several_cannot_do_is_an_error(model: Path) -> None:
    def run(task: Task, stop: Stop) -> Outcome:
        raise QwenError("several ranks could not be measured: rank 1 (b) ended")

    with pytest.raises(QwenError, match=r"rank 1 \(b\) ended"):
        measure_hosts(request(model), never, silent, run)


def test_a_stop_keeps_whole_pairs(model: Path) -> None:
    taken: list[Task] = []

    def run(task: Task, stop: Stop) -> Outcome:
        if len(taken) == 3:
            raise Interrupted
        taken.append(task)
        return outcome(1.0, 1)

    assert measure_hosts(request(model), never, silent, run)["pairs"] == 1


def test_two_ranks_of_this_machine_draw_the_tokens_of_one_in_half_of_its_memory(model: Path) -> None:
    report = measure_hosts(request(model, repeat=1), never, silent)
    assert (report["same_tokens"], report["of_tokens"]) == (5, 5)
    memory = report["peak_memory_bytes"]
    assert 0.4 * memory["peer"] < memory["own"] < 0.6 * memory["peer"]
