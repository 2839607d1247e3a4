"""The engine with the bundled model: the card's conversation, through deaths of the process, to a clean end."""

import os
import signal
from pathlib import Path

import pytest

from exit_hundred import MOMENTS, leave
from qwen_core.demo import demo_model_path
from qwen_core.engine.engine import Engine
from qwen_core.protocol.events import (
    Delta,
    EngineDied,
    GenerationSettings,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    Message,
    Restore,
    Send,
    TurnDone,
    TurnStarted,
)
from support.engines import EventLog, running_engine

SYSTEM = "You are a helpful assistant. Be concise."
TURNS = (
    ("What is the capital of France?", "Paris"),
    ("What about Germany?", "Berlin"),
    ("And Japan?", "Tokyo"),
    ("Which of those three cities has the largest population?", "Tokyo"),
)
GREEDY = GenerationSettings(temperature=0.0, effort="none", max_new_tokens=200)
LONG = GenerationSettings(temperature=2.0, effort="none", max_new_tokens=4096, seed=3)
LOAD = Load(str(demo_model_path()), system=SYSTEM)


def ask(engine: Engine, log: EventLog, turn: int) -> TurnDone:
    engine.send(Send(turn, TURNS[turn][0], GREEDY))
    return log.wait_for(TurnDone)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[TurnDone]:
    """The conversation in one process, checked on the way."""
    with running_engine() as (engine, log):
        engine.send(LOAD)
        summary = log.wait_for(Loaded).model
        assert log.of(LoadProgress)[-1].done_bytes == summary.tiers.total > 0
        done = [ask(engine, log, turn) for turn in range(len(TURNS))]
        assert engine.close() == 0
    assert log.of(EngineDied) == []
    for turn, event in enumerate(done):
        deltas = [delta for delta in log.of(Delta) if delta.turn == turn]
        assert "".join(text for delta in deltas for _, text in delta.pieces) == event.message.content
        generated = tuple(i for delta in deltas for i in delta.ids)
        assert event.ids[-len(generated) :] == generated
        assert deltas[-1].stats is not None
        assert deltas[-1].stats.context_tokens == len(event.ids) == event.stats.context_tokens
        assert deltas[-1].stats.generated_tokens == event.stats.generated_tokens == len(generated)
    cached = [event.cached_tokens for event in log.of(TurnStarted)]
    assert cached == [0, *(len(event.ids) for event in done[:-1])], "a turn prefills only what is new"
    return done


def test_the_cards_conversation(undisturbed: list[TurnDone]) -> None:
    for (_, city), done in zip(TURNS, undisturbed, strict=True):
        assert city in done.message.content
        assert done.finish_reason == "stop"


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV"])
@pytest.mark.parametrize("moment", ["answer", "load"])
def test_a_conversation_goes_on_after_a_death_as_if_there_had_been_none(
    name: str, moment: str, undisturbed: list[TurnDone]
) -> None:
    with running_engine() as (engine, log):
        engine.send(LOAD)
        if moment == "answer":
            log.wait_for(Loaded)
            before = [ask(engine, log, turn) for turn in range(2)]
            assert [event.ids for event in before] == [event.ids for event in undisturbed[:2]]
            engine.send(Send(2, "Tell me about NVFP4.", LONG))
            log.wait_for(Delta)
        else:
            log.wait_for(LoadProgress)
        assert engine.pid is not None
        os.kill(engine.pid, signal.Signals[name])
        assert name in log.wait_for(EngineDied).reason

        engine.restart()
        engine.send(LOAD)
        known = [
            message for turn in range(2) for message in (Message("user", TURNS[turn][0]), undisturbed[turn].message)
        ]
        engine.send(Restore(tuple(known), undisturbed[1].ids, SYSTEM))
        third = ask(engine, log, 2)
        fourth = ask(engine, log, 3)
        assert engine.close() == 0
    # The tokens themselves, not a rendering of the text: the state after the crash is the one before it.
    assert third.ids == undisturbed[2].ids
    assert fourth.ids == undisturbed[3].ids
    assert (third.stats.cached_tokens, fourth.stats.cached_tokens) == (0, len(third.ids))


def test_stopped_in_mid_answer_it_keeps_the_answer_and_takes_the_next_turn() -> None:
    with running_engine() as (engine, log):
        engine.send(LOAD)
        log.wait_for(Loaded)
        engine.send(Send(1, "Tell me about NVFP4.", LONG))
        first = log.wait_for(Delta)
        engine.stop()
        stopped = log.wait_for(TurnDone)
        assert stopped.ids[stopped.stats.prompt_tokens :][: len(first.ids)] == first.ids
        assert len(stopped.ids) == stopped.stats.prompt_tokens + stopped.stats.generated_tokens
        after = ask(engine, log, 0)
        assert after.finish_reason == "stop"
        assert after.ids[: len(stopped.ids)] == stopped.ids
        assert after.stats.cached_tokens == len(stopped.ids)
        assert engine.close() == 0


def test_a_model_that_cannot_load_is_one_line_and_the_next_one_loads(tmp_path: Path) -> None:
    with running_engine() as (engine, log):
        engine.send(Load(str(tmp_path / "nowhere")))
        message = log.wait_for(LoadFailed).message
        assert "nowhere" in message
        assert "internal error" not in message
        engine.send(LOAD)
        log.wait_for(Loaded)
        assert "Paris" in ask(engine, log, 0).message.content


@pytest.mark.parametrize("moment", sorted(set(MOMENTS)))
def test_leaving_is_clean(moment: str) -> None:
    assert leave(moment, demo_model_path()) == 0
