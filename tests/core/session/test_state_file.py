"""Saved states: exact when they fit, one line when they do not, and never a crash."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qwen_core import demo_model_path, load_session, open_checkpoint
from qwen_core.checkpoint.fingerprint import fingerprint
from qwen_core.errors import QwenError, SettingsError
from qwen_core.protocol.events import (
    GenerationSettings,
    Load,
    Loaded,
    Message,
    Notice,
    Restore,
    SaveState,
    Send,
    StateSaved,
    TurnDone,
)
from qwen_core.session.session import Session
from qwen_core.session.state_file import StateFileError
from support.engines import running_engine

GREEDY: dict[str, Any] = {"temperature": 0.0, "reasoning_effort": "none"}


@pytest.fixture(scope="module")
def loaded() -> Iterator[Session]:
    with load_session(demo_model_path()) as session:
        yield session


@pytest.fixture
def session(loaded: Session) -> Session:
    return Session(loaded.loaded, loaded.tokenizer, loaded.template)


@pytest.fixture(scope="module")
def saved(loaded: Session, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Session]:
    """A state after one turn, and the session it is of."""
    first = Session(loaded.loaded, loaded.tokenizer, loaded.template)
    list(first.send_stream("What is the capital of France?", **GREEDY))
    path = tmp_path_factory.mktemp("states") / "one.state"
    told = first.save_state(path)
    assert told == StateSaved(str(path), len(first.ids), path.stat().st_size)
    return path, first


def test_a_loaded_state_is_the_saved_one_to_the_bit(saved: tuple[Path, Session], session: Session) -> None:
    path, first = saved
    session.restore(first.messages, first.conversation_ids)
    assert session.load_state(path) == len(first.ids)
    ours, theirs = session.state.stored(), first.state.stored()
    assert ours.keys() == theirs.keys()
    assert all(mx.array_equal(ours[name], theirs[name]).item() for name in ours)
    resumed = list(session.send_stream("What about Germany?", **GREEDY))
    assert resumed[-1].stats is not None
    assert resumed[-1].stats.cached_tokens == len(first.ids)
    plain = Session(first.loaded, first.tokenizer, first.template)
    plain.restore(first.messages, first.conversation_ids)
    list(plain.send_stream("What about Germany?", **GREEDY))
    assert session.ids == plain.ids


def test_nothing_is_saved_that_is_not_the_conversation(session: Session, tmp_path: Path) -> None:
    with pytest.raises(StateFileError, match="nothing to save"):
        session.save_state(tmp_path / "empty")
    session.restore((), [1, 2, 3])
    with pytest.raises(SettingsError, match="does not hold"):
        session.save_state(tmp_path / "ahead")
    list(session.send_stream("hi", max_new_tokens=2, **GREEDY))
    with pytest.raises(StateFileError, match="cannot be saved"):
        session.save_state(tmp_path / "nowhere" / "x")
    assert list(tmp_path.iterdir()) == []


def refusal(session: Session, path: Path) -> str:
    before = (list(session.ids), session.state)
    with pytest.raises(QwenError) as caught:
        session.load_state(path)
    assert (session.ids, session.state) == before, "nothing has changed"
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_state_of_something_else_is_refused(
    saved: tuple[Path, Session], session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, first = saved
    session.restore((), [*first.conversation_ids[:-1], 5])
    assert "another conversation" in refusal(session, path)
    session.restore(first.messages, first.conversation_ids)
    assert "is damaged" in refusal(session, tmp_path / "absent")
    monkeypatch.setattr("qwen_core.session.state_file.version", lambda _: "0.1.0")
    assert "another MLX" in refusal(session, path)
    monkeypatch.undo()
    with load_session(demo_model_path(), dtype="float16") as other:
        other.restore(first.messages, first.conversation_ids)
        assert "another compute type" in refusal(other, path)


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_refused_or_harmless(
    data: st.DataObject, saved: tuple[Path, Session], tmp_path: Path
) -> None:
    path, first = saved
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        place = data.draw(st.integers(0, 4000))
        content[place : place + 8] = data.draw(st.binary(min_size=1, max_size=8))
    damaged = tmp_path / "damaged"
    damaged.write_bytes(content)
    session = Session(first.loaded, first.tokenizer, first.template)
    session.restore(first.messages, first.conversation_ids)
    try:
        session.load_state(damaged)
    except QwenError as error:
        assert str(error).isprintable()
    else:
        assert session.state.length == len(session.ids)


def test_a_fingerprint_is_of_the_files_not_of_their_place(tmp_path: Path) -> None:
    copy = shutil.copytree(demo_model_path(), tmp_path / "copy")
    known = fingerprint(open_checkpoint(demo_model_path()))
    assert fingerprint(open_checkpoint(copy)) == known
    shard = next(copy.glob("model-*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert fingerprint(open_checkpoint(copy)) != known


def test_the_engine_saves_and_resumes(tmp_path: Path) -> None:
    greedy = GenerationSettings(temperature=0.0, effort="none")
    path = tmp_path / "engine.state"
    with running_engine() as (engine, log):
        engine.send(Load(str(demo_model_path())))
        summary = log.wait_for(Loaded).model
        assert summary.fingerprint == fingerprint(open_checkpoint(demo_model_path()))
        engine.send(Send(1, "What is the capital of France?", greedy))
        first = log.wait_for(TurnDone)
        engine.send(SaveState(str(path)))
        assert log.wait_for(StateSaved).tokens == len(first.ids)
    with running_engine() as (engine, log):
        engine.send(Load(str(demo_model_path())))
        log.wait_for(Loaded)
        said = (Message("user", "What is the capital of France?"), first.message)
        engine.send(Restore(said, first.ids, None, str(path)))
        engine.send(Send(2, "And Japan?", greedy))
        assert log.wait_for(TurnDone).stats.cached_tokens == len(first.ids)
        engine.send(Restore((), first.ids, None, str(tmp_path / "gone.state")))
        assert "prefilled instead" in log.wait_for(Notice).text
