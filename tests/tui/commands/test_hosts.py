"""--hosts on the command line: what is wrong with it, how `run` ends with its ranks, and what doctor says of hosts."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from qwen_tui import cli
from support import fake_ssh
from support.failing_ranks import Stage, shared_model

TESTS = Path(__file__).resolve().parents[2]
PROGRAM = "import sys; from support.failing_ranks import lead; lead(); from qwen_tui.cli import main; sys.exit(main())"


@pytest.mark.parametrize("command", [[], ["run", "-p", "x"], ["bench"], ["doctor"]])
@pytest.mark.parametrize(
    ("hosts", "code", "words"),
    [
        ("0", 2, "there can be 1 to 64 ranks"),
        ("", 2, "Give a number of ranks or a host file"),
        ("nowhere.json", 1, "qwen-tui: the host file nowhere.json is missing"),
    ],
)
def test_what_is_no_host_is_told_before_anything_else(
    command: list[str], hosts: str, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command, "--hosts", hosts]) == code
    assert words in capsys.readouterr().err


def test_the_demo_model_says_why_it_cannot_be_shared() -> None:
    with asking(
        "-p", "x", "--hosts", "2", program="import sys; from qwen_tui.cli import main; sys.exit(main())"
    ) as run:
        out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("qwen-tui: 1 linear key head cannot be shared by 2 ranks")


@contextmanager
def asking(*arguments: str, program: str = PROGRAM) -> Iterator["subprocess.Popen[str]"]:
    """`qwen-tui run` in a group of its own, as a shell starts it."""
    command = [sys.executable, "-c", program, "run", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, process_group=0
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def killed(stage: Stage, process: "subprocess.Popen[str]") -> None:
    os.kill(stage.pid(), signal.SIGKILL)


def interrupted(stage: Stage, process: "subprocess.Popen[str]") -> None:
    os.killpg(process.pid, signal.SIGINT)


@pytest.mark.parametrize(
    ("happens", "code", "last"),
    [
        (killed, 1, "qwen-tui: rank 1 (127.0.0.1) was ended by SIGKILL (killed from outside, by the system if memory"),
        (interrupted, 130, "stopped"),
    ],
)
def test_an_answer_ends_with_its_ranks_and_one_line(
    happens: Callable[[Stage, "subprocess.Popen[str]"], None],
    code: int,
    last: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the fifth token, where the other rank waits to be let on."""
    stage = replace(Stage(str(tmp_path)), do="pass", at=5, waits=True)
    stage.set(monkeypatch)
    model = shared_model(tmp_path / "shared")
    with asking(str(model), "-p", "Hello", "--max-tokens", "2000", "--hosts", "2", "--effort", "none") as process:
        stage.wait_until_it_waits()
        happens(stage, process)
        stage.open()
        out, err = process.communicate(timeout=60)
    stage.wait_for_the_end()
    assert process.returncode == code
    assert "[ring]" not in out + err
    *_, line = err.splitlines()
    assert line.startswith(last) or last in line


@pytest.fixture
def machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend is asked in a process of its own, which takes seconds and has no part in this."""
    monkeypatch.setattr("qwen_tui.commands.doctor._backend", lambda problems: {})


@pytest.mark.usefixtures("machine_alone")
def test_doctor_has_a_line_for_each_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_ssh.install(tmp_path / "bin", monkeypatch)
    model, file = shared_model(tmp_path / "shared"), tmp_path / "hosts.json"
    names = ["127.0.0.1", "studio", "refused"]
    file.write_text(json.dumps([{"ssh": name, "ips": ["127.0.0.1"]} for name in names]))
    assert cli.main(["doctor", str(model), "--hosts", str(file)]) == 1
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert any(
        line.startswith("hosts     rank 0 (127.0.0.1): reachable, same version, model there, ") for line in lines
    )
    assert any(line.startswith("rank 1 (studio): reachable, same version, model there, memory ") for line in lines)
    assert "rank 2 (refused): not reachable" in lines
    problems = [line for line in lines if line.startswith("problem: ")]
    assert problems[0].startswith("problem: rank 2 (refused) cannot be reached: ssh ended with exit code 255")
    assert "4 linear key heads cannot be shared by 3 ranks" in problems[1]


@pytest.mark.usefixtures("machine_alone")
def test_doctor_tells_programs_of_hosts_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--hosts", "2", "--json"]) == 0, "nobody named the demo model"
    report = json.loads(capsys.readouterr().out)
    first, second = report["hosts"]
    assert (first["rank"], second["rank"]) == (0, 1)
    assert second == {**first, "rank": 1}
    assert report["problems"] == []
    assert "name a MODEL_DIR to check it: 1 linear key head cannot be shared by 2 ranks" in report["split"]
    assert cli.main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hosts"] is None
