"""The fuzzers in tests/tools, each on a few of its inputs; and that they would tell of a fault."""

import json
import os
import signal
from pathlib import Path
from random import Random

import pytest

import fuzz_checkpoints
import fuzz_gguf
import fuzz_templates
import fuzz_texts
from kill_program import compare
from support import fuzzing
from support.fuzzing import Attempt, Findings, change, dumped, fuzz, try_one
from support.hostile_texts import KINDS
from support.raw_output import OURS, raw_parts


@pytest.mark.parametrize(
    ("attempt", "count"), [(fuzz_checkpoints.attempt, 100), (fuzz_gguf.attempt, 50), (fuzz_templates.attempt, 30)]
)
def test_some_inputs_of_each(attempt: Attempt, count: int, tmp_path: Path) -> None:
    findings = Findings()
    for number in range(count):
        try_one(attempt, 1, number, tmp_path, findings)
    assert findings.faults == []
    assert findings.endings.total() == count
    assert len(findings.endings) > 1, "some end well"


def test_some_texts_on_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_texts, "BOUND_S", float("inf"))  # how long a key waits is for the command
    findings = fuzz_texts.fuzz_texts(1, range(50))
    assert findings.faults == []
    assert set(findings.endings) >= set(KINDS) - {"large"}


def test_what_a_terminal_acts_on_is_told() -> None:
    ours = "\x1b[?2026h\x1b[1;38;2;0;0;0mtext\x1b[0m\n\x1b[2;1H\x1b[?2026l"
    assert raw_parts(OURS.sub("", ours)) == set()
    for theirs in ("\x1b[2J", "\x1b]0;x\x07", "\x9b", "\r", "\n", "\u202e", "\ud800", "\u2028"):
        assert raw_parts(OURS.sub("", ours + theirs)) >= {theirs[0]}


def hostile(random: Random, place: Path) -> str:
    """What an input may do, by turns."""
    kind = random.randrange(6)
    if kind == 1:
        raise KeyError("not ours")
    if kind == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == 3:
        os.write(2, b"said")
    if kind == 4:
        signal.pause()
    return "well"


def test_every_kind_of_fault_is_told_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "WAIT_S", 2.0)
    numbers = range(12)
    kinds = [Random(f"1-{number}").randrange(6) for number in numbers]
    assert set(kinds) >= {1, 2, 3, 4, 5}
    findings = fuzz(hostile, 1, numbers)
    words = {1: "KeyError", 2: "ended", 3: "wrote on stderr", 4: "busy"}
    assert [number for number, _ in findings.faults] == [number for number in numbers if kinds[number] in words]
    assert all(words[kinds[number]] in what for number, what in findings.faults)


def test_an_input_depends_on_its_number_alone() -> None:
    trees = []
    for _ in range(2):
        tree = json.loads(fuzz_checkpoints._whole_tokenizer())
        change(Random("1-7"), tree)
        trees.append(dumped(tree))
    assert trees[0] == trees[1]


def test_a_kill_that_lost_something_is_told() -> None:
    before = {1: ("user", "complete", "question"), 2: ("assistant", "running", "half an ans")}
    compare(before, {**before, 2: ("assistant", "interrupted", "half an answer"), 3: ("user", "complete", "next")})
    for worse in (
        {1: before[1]},
        {**before, 1: ("user", "complete", "quest")},
        {**before, 1: ("user", "failed", "question")},
        {**before, 2: ("assistant", "interrupted", "half an")},
        {**before, 2: ("user", "running", "half an ans")},
    ):
        with pytest.raises(AssertionError, match=r"\b[12]\b"):
            compare(before, worse)
