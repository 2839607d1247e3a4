"""The engine and its process with a scripted session: order, Stop, death, restart, leaving, and what may never leak."""

import io
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from qwen_core.engine.engine import Engine
from qwen_core.errors import EngineError
from qwen_core.protocol.events import (
    Delta,
    EngineDied,
    Event,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    Message,
    Notice,
    Restore,
    Send,
    Shutdown,
    Stop,
    TurnDone,
    TurnFailed,
    TurnStarted,
)
from support.engines import EventLog, is_gone, reach, running_engine
from support.fake_session import (
    FACTORY,
    die,
    gate,
    leave,
    prefill,
    progress,
    say,
    script,
    show,
    touch,
    until_stop,
)

LOAD = Load(script())
TESTS = Path(__file__).resolve().parents[2]


def answer(deltas: list[Delta], turn: int) -> str:
    return "".join(text for delta in deltas if delta.turn == turn for _, text in delta.pieces)


def test_a_conversation_in_order() -> None:
    with running_engine(FACTORY) as (engine, log):
        assert engine.alive
        engine.send(Load(script(progress(1, 2, 3)), dtype="bfloat16"))
        engine.send(Send(1, script(prefill(4, 3), say("a", "b"), say("c", part="reasoning"))))
        engine.send(Send(2, script(say("d"))))
        assert log.wait_for(Loaded).model.name == "bfloat16"
        first = log.wait_for(TurnDone)
        second = log.wait_for(TurnDone)
    assert log.of(LoadProgress)[-1].done_bytes == 3
    assert [(s.turn, s.prompt_tokens, s.cached_tokens) for s in log.of(TurnStarted)] == [(1, 7, 0), (2, 10, 10)]
    assert answer(log.of(Delta), 1) == "abc"
    assert answer(log.of(Delta), 2) == "d"
    assert (first.finish_reason, first.message.content, first.ids) == ("stop", "abc", tuple(range(10)))
    assert (second.turn, second.message.content, second.ids) == (2, "d", tuple(range(11)))


def test_stop_ends_the_answer_and_keeps_it() -> None:
    with running_engine(FACTORY) as (engine, log):
        engine.send(LOAD)
        engine.send(Send(1, script(until_stop(), say("never"))))
        log.wait_for(Delta)
        engine.stop()
        done = log.wait_for(TurnDone)
    assert done.finish_reason == "cancelled"
    assert done.message.content == answer(log.of(Delta), 1)
    assert tuple(i for delta in log.of(Delta) for i in delta.ids) == done.ids


def test_stop_ends_a_load_and_the_next_load_succeeds() -> None:
    with running_engine(FACTORY) as (engine, log):
        engine.send(Load(script(until_stop())))
        log.wait_for(LoadProgress)
        engine.stop()
        assert log.wait_for(LoadFailed).message == "loading was stopped"
        engine.send(LOAD)
        log.wait_for(Loaded)


def test_stop_reaches_what_was_sent_before_it_and_nothing_after(pipe: Path) -> None:
    with running_engine(FACTORY) as (engine, log):
        engine.send(LOAD)
        log.wait_for(Loaded)
        engine.stop()
        engine.send(Send(1, script(say("a", "b"))))  # a Stop left over does not reach it
        assert log.wait_for(TurnDone).finish_reason == "stop"
        engine.send(Send(2, script(touch(pipe), until_stop())))
        engine.send(Send(3, script(prefill(5, 5), say("c"))))
        reach(pipe)
        engine.stop()  # turn 2 runs, turn 3 has not begun
        engine.send(Send(4, script(say("e", "f"))))
        reasons = [log.wait_for(TurnDone).finish_reason for _ in range(3)]
    assert reasons == ["cancelled", "cancelled", "stop"]
    assert answer(log.of(Delta), 3) == ""
    assert answer(log.of(Delta), 4) == "ef"


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV"])
@pytest.mark.parametrize("moment", ["answer", "load"])
def test_death_is_told_and_survived(name: str, moment: str) -> None:
    with running_engine(FACTORY) as (engine, log):
        if moment == "answer":
            engine.send(LOAD)
            engine.send(Send(1, script(prefill(3), until_stop())))
            log.wait_for(Delta)
        else:
            engine.send(Load(script(until_stop())))
            log.wait_for(LoadProgress)
        pid = engine.pid
        assert pid is not None
        os.kill(pid, signal.Signals[name])
        death = log.wait_for(EngineDied)
        assert not engine.alive
        assert death.exit_code == -signal.Signals[name]
        assert name in death.reason
        assert death.log_path == engine.log_path
        with pytest.raises(EngineError, match="not running"):
            engine.send(Send(2, script()))
        engine.stop()  # nothing to stop is no error
        assert is_gone(pid)

        told = (Message("user", "q"), Message("assistant", "so far"))
        engine.restart()
        engine.send(LOAD)
        engine.send(Restore(told, (5, 6, 7), "be brief"))
        engine.send(Send(2, script(show("session"), say("back"))))
        log.wait_for(Loaded)
        assert log.wait_for(Notice).text == '["be brief", ["q", "so far"], [5, 6, 7]]'
        assert log.wait_for(TurnDone).message.content == "back"
        assert engine.close() == 0
    assert len(log.of(EngineDied)) == 1


def test_a_signal_from_within_and_an_exit_code_are_told_apart() -> None:
    with running_engine(FACTORY) as (engine, log):
        engine.send(Load(script(die("SIGABRT"))))
        death = log.wait_for(EngineDied)
        assert "SIGABRT" in death.reason
        assert death.exit_code == -signal.SIGABRT
        engine.restart()
        engine.send(Load(script(leave(7, "out of \x1b[31m luck"))))
        death = log.wait_for(EngineDied)
        assert (death.exit_code, death.reason) == (
            7,
            r"the engine process ended with exit code 7; its last words: out of \x1b[31m luck",
        )


def test_a_person_may_restart_from_the_event_itself() -> None:
    log = EventLog()

    def on_event(event: Event) -> None:
        log(event)
        if isinstance(event, EngineDied):
            engine.restart()
            engine.send(LOAD)

    engine = Engine(on_event, factory=FACTORY)
    engine.start()
    try:
        engine.send(Load(script(die("SIGKILL"))))
        log.wait_for(EngineDied)
        log.wait_for(Loaded)
    finally:
        assert engine.close() == 0


def test_restart_ends_a_process_that_hears_nothing(pipe: Path) -> None:
    with running_engine(FACTORY) as (engine, log):
        engine.send(Load(script(touch(pipe), gate(pipe))))
        reach(pipe)
        old = engine.pid
        engine.restart()
        assert old is not None
        assert is_gone(old)
        engine.send(LOAD)
        log.wait_for(Loaded)
    assert log.of(EngineDied) == []


def test_start_twice_is_refused_and_close_is_not() -> None:
    engine = Engine(EventLog(), factory=FACTORY)
    assert (engine.alive, engine.pid, engine.log_path, engine.close()) == (False, None, "", None)
    with pytest.raises(EngineError, match="not running"):
        engine.send(LOAD)
    engine.start()
    with pytest.raises(EngineError, match="running already"):
        engine.start()
    assert engine.close() == 0
    assert engine.close() == 0
    assert not engine.alive
    engine.start()
    assert engine.alive
    assert engine.close() == 0


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "answering"])
def test_leaving_is_clean_and_tells_nothing_more(busy: bool) -> None:
    with running_engine(FACTORY) as (engine, log):
        engine.send(LOAD)
        log.wait_for(Loaded)
        if busy:
            engine.send(Send(1, script(until_stop())))
            log.wait_for(Delta)
        assert engine.close() == 0
        assert log.of(EngineDied) == []
        assert "closed fake" in Path(engine.log_path).read_text()


def test_a_process_that_will_not_leave_is_made_to(pipe: Path) -> None:
    with running_engine(FACTORY) as (engine, _):
        engine.send(Load(script(touch(pipe), gate(pipe))))
        reach(pipe)
        assert engine.close(timeout=0.01) == -signal.SIGTERM


def test_shutdown_as_a_command_is_no_crash_of_the_engine() -> None:
    with running_engine(FACTORY) as (engine, log):
        engine.send(Shutdown())
        assert log.wait_for(EngineDied).exit_code == 0


def test_a_blocked_screen_holds_neither_the_model_nor_closing_up(pipe: Path) -> None:
    entered, leave_it = threading.Event(), threading.Event()

    def on_event(event: Event) -> None:
        entered.set()
        leave_it.wait()

    engine = Engine(on_event, factory=FACTORY)
    engine.start()
    try:
        # Far more than a pipe holds: the process can only come to its end because somebody reads.
        tokens = ["x" * 60_000] * 100
        turns = [Send(turn, script(say(*tokens[turn : turn + 10]))) for turn in range(30)]
        engine.send(LOAD)
        for turn in turns:
            engine.send(turn)
        engine.send(Send(99, script(touch(pipe))))
        assert entered.wait(60)
        reach(pipe)
        assert engine.close() == 0
    finally:
        leave_it.set()
        engine.close()


def test_an_event_that_cannot_be_delivered_is_logged_and_the_next_one_comes() -> None:
    log = EventLog()

    def on_event(event: Event) -> None:
        if isinstance(event, Loaded):
            raise RuntimeError("no screen")
        log(event)

    engine = Engine(on_event, factory=FACTORY)
    engine.start()
    try:
        engine.send(LOAD)
        engine.send(Send(1, script(say("a"))))
        log.wait_for(TurnDone)
        assert "no screen" in Path(engine.log_path).read_text()
    finally:
        engine.close()


def test_sending_never_waits_for_the_process() -> None:
    with running_engine(FACTORY) as (engine, log):
        engine.send(LOAD)
        log.wait_for(Loaded)
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGSTOP)
        try:
            huge = "é" * 5_000_000
            engine.send(Restore((Message("user", huge),), tuple(range(300_000))))
            engine.send(Send(1, script(show("session"))))
        finally:
            os.kill(engine.pid, signal.SIGCONT)
        assert len(log.wait_for(Notice).text) > 5_000_000
        assert len(log.wait_for(TurnDone).ids) == 300_000


def test_the_process_is_alone_with_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No screen, no test runner, no terminal; ctrl+c is not for it; nothing is imported from the working directory."""
    for name in ("pickle", "json", "struct", "qwen_core", "multiprocessing"):
        (tmp_path / f"{name}.py").write_text("import os; os._exit(66)")
    monkeypatch.chdir(tmp_path)
    with running_engine(FACTORY) as (engine, log):
        engine.send(LOAD)
        for turn, what in enumerate(("modules", "group", "sigint")):
            engine.send(Send(turn, script(show(what))))
        modules = set(log.wait_for(Notice).text.split())
        group = log.wait_for(Notice).text
        interrupt = log.wait_for(Notice).text
        assert modules.isdisjoint({"textual", "rich", "click", "pytest", "mlx", "mlx.core", "numpy"})
        assert group == f"{engine.pid} {engine.pid}"
        assert interrupt == str(signal.SIG_IGN)


def test_it_starts_where_stderr_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """As inside a running Textual app, whose stderr has the descriptor -1."""

    class Captured(io.StringIO):
        def fileno(self) -> int:
            return -1

    monkeypatch.setattr(sys, "stderr", Captured())
    monkeypatch.setattr(sys, "stdout", Captured())
    with running_engine(FACTORY) as (engine, log):
        engine.send(LOAD)
        log.wait_for(Loaded)


def test_a_factory_that_cannot_be_imported_is_one_line() -> None:
    with running_engine("support.nothing_here:load") as (engine, log):
        engine.send(LOAD)
        failure = log.wait_for(LoadFailed).message
        assert "internal error while loading the model" in failure
        assert engine.log_path in failure
        engine.send(Send(1, script()))
        assert "no model is loaded" in log.wait_for(TurnFailed).message
        assert engine.alive


def test_stop_can_be_sent_like_any_command() -> None:
    with running_engine(FACTORY) as (engine, log):
        engine.send(LOAD)
        log.wait_for(Loaded)
        engine.send(Send(1, script(until_stop())))
        engine.send(Stop())
        assert log.wait_for(TurnDone).finish_reason == "cancelled"
