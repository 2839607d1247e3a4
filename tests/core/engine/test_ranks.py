"""Ranks that share a model, as processes of this machine: how they begin, how they are lost, and that they end.

What the shared model computes is tests/core/model's.
"""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from qwen_core.demo import demo_model_path
from qwen_core.engine import ranks
from qwen_core.engine.engine import Engine
from qwen_core.engine.hosts import read_hosts
from qwen_core.engine.ranks import Ranks
from qwen_core.protocol.events import (
    EngineDied,
    GenerationSettings,
    Load,
    Loaded,
    LoadFailed,
    LoadSettings,
    Restore,
    SaveState,
    Send,
    StateSaved,
    TurnDone,
    TurnStarted,
)
from qwen_core.protocol.ranks import waiting_s
from support.engines import EventLog, is_gone, running_engine, wait_until
from support.failing_ranks import FACTORY, Stage, shared_model

TESTS = Path(__file__).resolve().parents[2]
GREEDY = GenerationSettings(temperature=0.0, effort="none", max_new_tokens=8)
ENDLESS = GenerationSettings(temperature=1.0, effort="none", max_new_tokens=20_000)
TWO = LoadSettings(hosts="2")
SOON_S = 3.0
"""How long a rank may be silent in a test of that: longer than one takes to start on a busy machine."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_model(tmp_path_factory.mktemp("models") / "shared")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(str(tmp_path))


def asked(engine: Engine, log: EventLog, turn: int, text: str = "Hello") -> TurnDone:
    engine.send(Send(turn, text, GREEDY))
    return log.wait_for(TurnDone)


@pytest.fixture(scope="module")
def alone(model: Path) -> list[TurnDone]:
    """Two turns by one process."""
    with running_engine() as (engine, log):
        engine.send(Load(str(model)))
        log.wait_for(Loaded)
        return [asked(engine, log, turn) for turn in range(2)]


def test_a_conversation_over_two_ranks_is_that_of_one(
    model: Path, stage: Stage, alone: list[TurnDone], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a load stopped, a state saved and taken up, and the same ranks for a second load."""
    stage = replace(stage, do="load", at=1, waits=True)
    stage.set(monkeypatch)
    saved = tmp_path / "saved.state"
    with running_engine(FACTORY) as (engine, log):
        engine.send(Load(str(model), settings=TWO))
        summary = log.wait_for(Loaded).model
        assert [(rank.rank, rank.host) for rank in summary.hosts] == [(0, "127.0.0.1"), (1, "127.0.0.1")]
        assert all(0 < rank.weight_bytes < summary.weight_bytes < rank.memory_bytes for rank in summary.hosts)
        pid = stage.pid()
        turn = asked(engine, log, 0)
        assert turn.ids == alone[0].ids
        # What is told is this rank's part: what it reads, and what of a token is waiting.
        assert turn.stats.bytes_per_token < 0.6 * alone[0].stats.bytes_per_token
        waited = waiting_s(turn.stats, summary.alone_token_s)
        assert waited is not None and turn.stats.decode_tok_s is not None
        assert 0 <= waited < 1 / turn.stats.decode_tok_s
        engine.send(SaveState(str(saved)))
        log.wait_for(StateSaved)

        engine.send(Load(str(model), settings=TWO))
        stage.wait_until_it_waits()
        engine.stop()
        assert log.wait_for(LoadFailed).message == "loading was stopped"
        stage.open()

        engine.send(Load(str(model), settings=TWO))
        log.wait_for(Loaded)
        assert stage.pid() == pid
        engine.send(Restore((alone[0].message,), alone[0].ids, state_path=str(saved)))
        engine.send(Send(1, "Hello", GREEDY))
        assert log.wait_for(TurnStarted).cached_tokens == len(alone[0].ids)
        assert len(log.wait_for(TurnDone).ids) > len(alone[0].ids)

        engine.send(Load(str(model), settings=LoadSettings(hosts="4")))
        assert "has its ranks on other hosts" in log.wait_for(LoadFailed).message
        assert engine.close() == 0
    stage.wait_for_the_end()
    assert log.of(EngineDied) == []


def test_a_rank_that_is_killed_ends_all_and_a_restart_goes_on(
    model: Path, stage: Stage, alone: list[TurnDone], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.set(monkeypatch)
    with running_engine(FACTORY) as (engine, log):
        engine.send(Load(str(model), settings=TWO))
        log.wait_for(Loaded)
        done = asked(engine, log, 0)
        first = stage.pid()
        engine.send(Send(1, "Hello", ENDLESS))
        log.wait_for(TurnStarted)
        os.kill(first, signal.SIGKILL)
        assert log.wait_for(EngineDied).reason.startswith("rank 1 (127.0.0.1) was ended by SIGKILL")
        stage.set(monkeypatch)
        engine.restart()
        engine.send(Load(str(model), settings=TWO))
        log.wait_for(Loaded)
        engine.send(Restore((done.message,), done.ids))
        engine.send(Send(2, "Hello", GREEDY))
        assert len(log.wait_for(TurnDone).ids) > len(done.ids)
        assert stage.pid() != first
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)  # rank 0
        assert "SIGKILL" in log.wait_for(EngineDied).reason
        stage.wait_for_the_end()


@pytest.mark.parametrize(
    ("do", "at", "signal_name", "words"),
    [
        ("pass", 0, "SIGSEGV", "was ended by SIGSEGV; its last words: Fatal Python error"),  # in prefill
        ("pass", 3, "SIGSTOP", f"has not answered for {SOON_S:g} s"),
    ],
)
def test_a_rank_lost_in_a_turn_ends_the_engine_with_its_name(
    do: str, at: int, signal_name: str, words: str, model: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence_s = SOON_S if signal_name == "SIGSTOP" else stage.silence_s
    stage = replace(stage, do=do, at=at, signal_name=signal_name, silence_s=silence_s)
    stage.set(monkeypatch)
    with running_engine(FACTORY) as (engine, log):
        engine.send(Load(str(model), settings=TWO))
        log.wait_for(Loaded)
        engine.send(Send(0, "Hello", ENDLESS))
        died = log.wait_for(EngineDied)
        assert died.reason.startswith("rank 1 (127.0.0.1) ")
        assert words in died.reason
        assert log.of(TurnDone) == []
    stage.wait_for_the_end()


@pytest.mark.parametrize(
    ("error", "waited"),
    [
        (RuntimeError("[ring] connection to a peer was lost"), 1),
        (RuntimeError("[matmul] shapes"), 0),
        (ValueError("[ring] no"), 0),
    ],
)
def test_mlx_has_not_the_first_word_on_a_lost_rank(
    error: Exception, waited: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may notice before the watch does, and knows neither which rank it is nor why."""
    waits: list[Ranks] = []
    connected = Ranks(read_hosts("2") or pytest.fail("two ranks are several"))
    monkeypatch.setattr(ranks, "_connected", [connected])
    monkeypatch.setattr(Ranks, "wait_for_the_end", lambda self: waits.append(self))
    ranks.leave_to_watch(error)
    assert waits == [connected] * waited


def test_what_is_wrong_before_all_are_connected_fails_the_load(
    model: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine lives on, and nothing else does: the next load begins anew."""
    stage.set(monkeypatch)
    with running_engine(FACTORY) as (engine, log):
        for wrong, words in (
            (replace(stage, do="load", signal_name="SIGKILL"), " was ended by SIGKILL"),
            (replace(stage, do="join", signal_name="SIGKILL", silence_s=SOON_S), " was ended by SIGKILL"),
            (replace(stage, version="0.0.0"), " has qwen-tui 0.0.0, here it is "),
            (replace(stage, mlx="0.1"), " has mlx 0.1, here it is "),
            (replace(stage, model=str(demo_model_path())), " has another checkpoint ("),
            (replace(stage, model="/nowhere"), ": there is no model directory /nowhere"),
        ):
            wrong.set(monkeypatch)
            engine.send(Load(str(model), settings=TWO))
            assert log.wait_for(LoadFailed).message.startswith(f"rank 1 (127.0.0.1){words}")
            stage.wait_for_the_end()

        replace(stage, do="load", waits=True).set(monkeypatch)
        engine.send(Load(str(model), settings=TWO))
        stage.wait_until_it_waits()
        engine.stop()
        assert log.wait_for(LoadFailed).message == "loading was stopped"
        stage.wait_for_the_end()

        stage.set(monkeypatch)
        engine.send(Load(str(demo_model_path()), settings=TWO))
        assert log.wait_for(LoadFailed).message.startswith("1 linear key head cannot be shared by 2 ranks")
        assert not stage.started
        engine.send(Load(str(model), settings=TWO))
        log.wait_for(Loaded)
        assert engine.close() == 0
    stage.wait_for_the_end()


PROGRAM = f"""
import threading
from qwen_core.engine.engine import Engine
from qwen_core.protocol.events import GenerationSettings, Load, Loaded, LoadSettings, Send, TurnStarted
loaded, begun = threading.Event(), threading.Event()
def hear(event):
    if isinstance(event, Loaded): loaded.set()
    if isinstance(event, TurnStarted): begun.set()
engine = Engine(hear, factory="{FACTORY}")
engine.start()
engine.send(Load({{model!r}}, settings=LoadSettings(hosts="3")))
loaded.wait()
engine.send(Send(0, "Hello", GenerationSettings(temperature=1.0, max_new_tokens=20_000)))
begun.wait()
print(engine.pid, flush=True)
threading.Event().wait()
"""


def test_no_rank_outlives_the_app(tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one that is stopped."""
    three = {"linear_num_key_heads": 3, "linear_num_value_heads": 6, "num_attention_heads": 6, "num_key_value_heads": 3}
    path = shared_model(tmp_path / "three", **three, intermediate_size=192, vocab_size=528)
    stage.set(monkeypatch)
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    program = PROGRAM.format(model=str(path))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment) as app:
        assert app.stdout is not None
        engine = int(app.stdout.readline())
        os.kill(stage.pid(2), signal.SIGSTOP)
        app.kill()
        wait_until(lambda: is_gone(engine), "the end of rank 0")
        stage.wait_for_the_end(3)
