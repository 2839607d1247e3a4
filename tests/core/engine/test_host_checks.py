"""Hosts behind ssh: what is asked of each before a model is loaded, and a model that is loaded over them."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.engine import ranks
from qwen_core.engine.hello import found_there, place
from qwen_core.engine.host_checks import HostCheck, check_hosts
from qwen_core.engine.hosts import Host, Hosts
from qwen_core.engine.joining import Listening, reach
from qwen_core.errors import QwenError
from qwen_core.protocol.events import EngineDied, GenerationSettings, Load, Loaded, LoadSettings, Send, TurnDone
from support import fake_ssh
from support.engines import running_engine
from support.failing_ranks import FACTORY, Stage, shared_model

HERE = ("127.0.0.1",)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_model(tmp_path_factory.mktemp("models") / "shared")


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_ssh.install(tmp_path / "bin", monkeypatch)


def checked(names: list[str], model: Path) -> list[HostCheck]:
    return check_hosts(Hosts(tuple(Host(name, HERE) for name in names)), open_checkpoint(model))


@pytest.mark.usefixtures("ssh")
def test_every_host_is_asked_and_each_has_its_line(model: Path) -> None:
    first, there, refused = checked(["studio", "mini", "refused"], model)
    for check in (first, there):
        assert check.reachable and check.same_version and check.same_model and not check.problem
        assert check.memory_bytes == first.memory_bytes
    assert (refused.reachable, refused.same_model, refused.memory_bytes) == (False, None, None)
    assert refused.problem == (
        "rank 2 (refused) cannot be reached: ssh ended with exit code 255; see whether this works: ssh refused true"
    )


@pytest.mark.usefixtures("ssh")
def test_a_host_that_never_answers_is_given_up(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "SILENCE_S", 0.3)
    assert checked(["studio", "silent"], model)[1].problem == "rank 1 (silent) has not answered for 0.3 s"


def test_a_model_is_looked_for_at_its_path_and_below_the_home_folder(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(model.parent))
    said = place(open_checkpoint(model))
    path, own = found_there(**said)
    assert Path(path) == model
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "other"))
    shutil.copytree(model, tmp_path / "other" / model.name)
    moved = {**said, "path": str(tmp_path / "gone")}
    assert found_there(**moved) == (str(tmp_path / "other" / model.name), own)
    with pytest.raises(QwenError, match="there is no model directory"):
        found_there(moved["path"], "")


def test_memory_that_the_parts_on_one_host_do_not_fit(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = open_checkpoint(model)
    little = {"memory_bytes": checkpoint.text_bytes * 3 // 5}
    monkeypatch.setattr("qwen_core.engine.host_checks.introduction", lambda: little)
    here, there = Host("127.0.0.1", HERE), Host("refused", HERE)
    monkeypatch.setattr("qwen_core.engine.host_checks._look_at", lambda check, *_: setattr(check, "memory_bytes", 1))
    assert not check_hosts(Hosts((here, there)), checkpoint)[0].problem
    problems = [check.problem for check in check_hosts(Hosts((here, here, there)), checkpoint)]
    assert problems[0].startswith("rank 0 (127.0.0.1) has ")
    assert "its part of the weights" in problems[2]


def test_the_first_host_must_be_this_one(model: Path) -> None:
    hosts = Hosts((Host("127.0.0.1", ("192.0.2.1",)), Host("127.0.0.1", HERE)))  # of no machine (RFC 5737)
    first, second = check_hosts(hosts, open_checkpoint(model))
    assert "192.0.2.1 is no address of this machine" in first.problem
    assert not second.problem


def test_addresses_are_held_until_all_were_reached() -> None:
    listening = Listening(HERE * 2)
    first, second = addresses = listening.addresses
    assert first != second
    reach(addresses, "rank 1 (mini)", 5.0)
    listening.close()
    with pytest.raises(QwenError) as caught:
        reach(addresses, "rank 1 (mini)", 5.0)
    assert str(caught.value).startswith(f"rank 1 (mini) cannot be reached at {first} (Connection refused)")


@pytest.mark.usefixtures("ssh")
def test_a_model_over_ssh(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said goes through a terminal, the numbers through MLX's ring; the other host ends with this one."""
    stage = Stage(str(tmp_path))
    stage.set(monkeypatch)
    file = tmp_path / "hosts.json"
    file.write_text(json.dumps([{"ssh": "127.0.0.1", "ips": HERE}, {"ssh": "studio", "ips": HERE}]))
    with running_engine(FACTORY) as (engine, log):
        engine.send(Load(str(model), settings=LoadSettings(hosts=str(file))))
        assert [rank.host for rank in log.wait_for(Loaded).model.hosts] == ["127.0.0.1", "studio"]
        engine.send(Send(0, "Hello", GenerationSettings(temperature=0.0, effort="none", max_new_tokens=4)))
        log.wait_for(TurnDone)
        os.kill(stage.pid(), signal.SIGKILL)
        assert log.wait_for(EngineDied).reason.startswith("rank 1 (studio) ")
    stage.wait_for_the_end()
