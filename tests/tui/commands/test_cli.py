"""Which command a line means, what is imported for it, how it ends, and what a shell completes."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import get_args

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.errors import CheckpointError
from qwen_core.protocol.events import Effort, GenerationSettings
from qwen_core.version import __version__
from qwen_tui import cli
from qwen_tui.commands.chat import chat
from qwen_tui.commands.options import EFFORTS, TokenIds
from qwen_tui.settings.file import LoadedSettings, settings_path
from qwen_tui.store import ModelIdentity, open_store

HEAVY = (
    *("mlx", "textual", "rich", "numpy", "tokenizers", "jinja2", "safetensors", "sqlite3"),
    "qwen_core.protocol.events",
)


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter, so that what this one has imported does not count."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, **environment},
        check=False,
    )


def qwen_tui(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return python("import sys; from qwen_tui.cli import main; sys.exit(main())", *arguments, **environment)


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["--version"], ["run", "--help"], ["doctor", "--help"], ["export", "--help"]]
)
def test_nothing_heavy_is_imported_to_say_what_there_is(arguments: list[str]) -> None:
    code = (
        "import sys, qwen_tui.cli\n"
        "if sys.argv[1:]: assert qwen_tui.cli.main() == 0\n"
        f"print('LOADED', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = python(code, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_the_levels_of_effort_are_those_of_the_engine() -> None:
    assert get_args(Effort) == EFFORTS


def test_version() -> None:
    done = qwen_tui("--version")
    assert (done.returncode, done.stdout) == (0, f"qwen-tui {__version__}\n")


def test_python_dash_m_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "qwen_tui", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"qwen-tui {__version__}\n")


class Opened(list[tuple[str | None, GenerationSettings, str | None, str | None, int | None]]):
    """What the app was opened with, instead of opening it: path, request, system prompt, type, conversation."""

    def run_app(
        self, model_path: str | None, loaded: LoadedSettings, dtype: str | None, resume: int | None = None
    ) -> int:
        self.append((model_path, loaded.settings.request(), loaded.settings.generation.system, dtype, resume))
        return 0


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    opened = Opened()
    monkeypatch.setattr("qwen_tui.commands.chat.check_terminal", lambda: None)
    monkeypatch.setattr("qwen_core.checkpoint.locate.resolve_model_path", lambda text: text)
    monkeypatch.setattr("qwen_tui.app.run.run_app", opened.run_app)
    return opened


def test_alone_it_opens_the_demo_chat(opened: Opened) -> None:
    assert cli.main([]) == 0
    assert opened == [(None, GenerationSettings(), None, None, None)]


@pytest.mark.parametrize(
    ("line", "directory"),
    [
        (["./run"], "./run"),
        (["models/x"], "models/x"),
        (["--", "run"], "run"),
        (["owner/name"], "owner/name"),
        (["--seed", "1", "there"], "there"),
        (["inspectt"], "inspectt"),
        ([""], ""),
    ],
)
def test_a_first_word_that_is_no_command_is_a_model_directory(line: list[str], directory: str, opened: Opened) -> None:
    assert cli.main(line) == 0
    assert [entry[0] for entry in opened] == [directory]


def test_the_chat_takes_every_generation_option(opened: Opened) -> None:
    words = (
        "dir --system S --max-tokens 7 --temperature 0.5 --top-p 0.9 --top-k 4 --min-p 0.1 --presence-penalty 1.5 "
        "--frequency-penalty -1 --repetition-penalty 1.1 --seed 18446744073709551615 --effort medium --dtype bfloat16"
    )
    assert cli.main(words.split()) == 0
    settings = GenerationSettings(7, 0.5, 0.9, 4, 0.1, 1.5, -1.0, 1.1, 2**64 - 1, "medium")
    assert opened == [("dir", settings, "S", "bfloat16", None)]


@pytest.mark.parametrize(
    "line",
    [
        ["one", "two"],
        ["--no-such-option"],
        ["--continue", "--resume", "1"],
        ["--resume", "0"],
        ["--temperature", "101"],
        ["run", "--no-such-option"],
        ["--top-p", "0"],
        ["--top-p", "1.01"],
        ["--temperature", "nan"],
        ["--temperature", "-1"],
        ["--top-k", "-1"],
        ["--max-tokens", "0"],
        ["--seed", "18446744073709551616"],
        ["--effort", "extreme"],
        ["--dtype", "int4"],
        ["run", "-p", "x", "--messages", "y"],
        ["run", "-p", "x", "--prompt-ids", "1"],
        ["run", "--prompt-ids", "1,,2"],
        ["run", "--prompt-ids", "-1"],
        ["run", "--prompt-ids", ""],
        ["run", "--prompt-ids", "1", "--system", "x"],
        ["run", "--prompt-ids", "1", "--effort", "low"],
    ],
)
def test_wrong_use_is_exit_code_2_and_opens_nothing(
    line: list[str], opened: Opened, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(line) == 2
    out, err = capsys.readouterr()
    assert not opened
    assert out == ""
    assert "Error: " in err
    assert "Usage: qwen-tui" in err
    assert "\0" not in err


def test_a_control_character_in_an_argument_is_not_sent_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--effort", "\x1b[31mred"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_options_beat_the_environment_which_beats_the_file(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_path().write_text("[generation]\ntop_p = 0.5\ntop_k = 5\nmin_p = 0.05\n", encoding="utf-8")
    monkeypatch.setenv("QWEN_TUI_GENERATION_TOP_K", "6")
    monkeypatch.setenv("QWEN_TUI_GENERATION_MIN_P", "0.06")
    assert cli.main(["--min-p", "0.07"]) == 0
    request = opened[0][1]
    assert (request.top_p, request.top_k, request.min_p) == (0.5, 6, 0.07)


def test_continue_and_resume_find_the_conversation_and_its_model(
    opened: Opened, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in (["--continue"], ["--resume", "1"]):
        assert cli.main(line) == 1
        assert "there are no conversations yet" in capsys.readouterr().err
    with closing(open_store()) as store:
        for path in (tmp_path, tmp_path / "gone"):
            turn = store.answers.ask(store.conversations.begin(), "Q")
            store.answers.begin(turn, model=ModelIdentity("f", str(path), "name"))
        store.conversations.delete(store.conversations.begin())
    assert cli.main(["--resume", "1"]) == 0
    assert cli.main(["--continue"]) == 0
    assert cli.main(["./other", "--resume", "1"]) == 0
    assert [(entry[0], entry[4]) for entry in opened] == [(str(tmp_path), 1), (None, 2), ("./other", 1)]
    assert cli.main(["--resume", "3"]) == 1
    assert "was deleted" in capsys.readouterr().err
    assert cli.main(["--resume", "99"]) == 1
    assert "99" in capsys.readouterr().err


@given(st.lists(st.integers(0, 999_999_999), min_size=1))
def test_prompt_ids_are_read_as_written(ids: list[int]) -> None:
    assert TokenIds().convert(",".join(map(str, ids)), None, None) == tuple(ids)
    assert TokenIds().convert(" , ".join(map(str, ids)), None, None) == tuple(ids)


def test_an_error_for_people_is_one_line_and_exit_code_1(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> int:
        raise CheckpointError("no config.json in ./dir\nsecond \x1b[31mline")

    monkeypatch.setattr("qwen_tui.app.run.run_app", fail)
    assert cli.main(["./dir"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "qwen-tui: no config.json in ./dir\\nsecond \\x1b[31mline\n"


def test_a_fault_of_our_own_is_one_line_that_names_the_log(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    def fail(*_: object) -> int:
        raise ZeroDivisionError("first\nsecond")

    monkeypatch.setattr("qwen_tui.app.run.run_app", fail)
    monkeypatch.setattr("sys.argv", ["qwen-tui", "./dir", "--system", "--a secret", "--effort=none", "-pother"])
    log = home / "state" / "qwen-tui.log"
    log.parent.mkdir(mode=0o700, exist_ok=True)
    log.touch(0o644)
    assert cli.main(["./dir"]) == 1
    err = capsys.readouterr().err
    assert err == f"qwen-tui: internal error: ZeroDivisionError: first\\nsecond (details in {log})\n"
    assert "Traceback" in log.read_text(encoding="utf-8")
    assert log.parent.stat().st_mode & 0o777 == 0o700
    # It is for its owner alone, and what a person wrote is not in it.
    assert log.stat().st_mode & 0o777 == 0o600
    assert log.read_text(encoding="utf-8").splitlines()[0] == f"qwen-tui {__version__} --system --effort -p"


def test_a_log_that_cannot_be_written_does_not_hide_the_fault(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    def fail(*_: object) -> int:
        raise ZeroDivisionError("here")

    (home / "state").write_text("a file where a folder belongs")
    monkeypatch.setattr("qwen_tui.app.run.run_app", fail)
    assert cli.main(["./dir"]) == 1
    assert "ZeroDivisionError: here" in capsys.readouterr().err


def test_an_interrupt_is_exit_code_130(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("qwen_tui.app.run.run_app", interrupt)
    assert cli.main([]) == 130


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_made_for(shell: str) -> None:
    done = qwen_tui(_QWEN_TUI_COMPLETE=f"{shell}_source")
    assert done.returncode == 0
    assert "qwen-tui" in done.stdout


def completions(line: str) -> list[str]:
    """What fish is offered for the last word of `line`."""
    done = qwen_tui(COMP_WORDS=line, COMP_CWORD=line.split(" ")[-1], _QWEN_TUI_COMPLETE="fish_complete")
    return [entry for entry in done.stdout.splitlines() if entry]


def test_completion_offers_commands_directories_options_and_choices() -> None:
    first = completions("qwen-tui ")
    assert any(entry.startswith("plain") and "run" in entry for entry in first)
    assert any(entry.startswith("dir") for entry in first)
    assert any("--temperature" in entry for entry in completions("qwen-tui --te"))
    assert any("--temperature" in entry for entry in completions("qwen-tui ./dir --te"))
    assert any("--messages" in entry for entry in completions("qwen-tui run --me"))
    assert {"none", "low", "medium", "high", "xhigh"} == {
        entry.split(",")[-1] for entry in completions("qwen-tui run --effort ") if entry.startswith("plain")
    }


def test_bash_completes_a_command(tmp_path: Path) -> None:
    """The real shell with the real script, on the word `qwen-tui ru`."""
    script = qwen_tui(_QWEN_TUI_COMPLETE="bash_source").stdout
    program = tmp_path / "qwen-tui"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom qwen_tui.cli import main\nsys.exit(main())\n")
    program.chmod(0o755)
    # compopt works only inside a completion, which this is not.
    code = f"""{script}
        compopt() {{ :; }}
        COMP_WORDS=(qwen-tui ru)
        COMP_CWORD=1
        _qwen_tui_completion {program}
        echo ${{COMPREPLY[@]}}"""
    try:
        done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no bash on this machine")
    if "not supported" in done.stderr or "nosort" in done.stderr:
        pytest.skip("this bash is too old for completion (macOS ships 3.2)")
    assert "run" in done.stdout.split(), done.stderr


def test_the_help_shows_the_options_of_the_chat(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    for option in chat.params:
        if isinstance(option, click.Option):
            assert option.opts[0] in text
    assert "\0" not in text
    for name in cli.program.commands:
        assert f"  {name} " in text


def test_without_a_terminal_the_chat_points_at_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "qwen-tui run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("./no-such-folder", "model directory ./no-such-folder does not exist"),
        ("inspectt", "model directory inspectt does not exist"),
        ("owner/name", "hf download owner/name"),
    ],
)
def test_a_model_that_is_not_there_is_one_line_before_anything_opens(
    name: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("qwen_tui.commands.chat.check_terminal", lambda: None)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for line in ([name], ["run", name, "-p", "x"]):
        assert cli.main(line) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("qwen-tui: ")
        assert err.count("\n") == 1
        assert says in err


def test_a_name_of_the_hugging_face_cache_is_its_snapshot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened = Opened()
    monkeypatch.setattr("qwen_tui.commands.chat.check_terminal", lambda: None)
    monkeypatch.setattr("qwen_tui.app.run.run_app", opened.run_app)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--owner--name" / "snapshots" / "0123456789abcdef"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert cli.main(["owner/name"]) == 0
    assert opened[0][0] == str(snapshot)


def test_without_a_backend_every_command_names_the_extras(tmp_path: Path) -> None:
    """An `mlx` that cannot be imported, first on the path, as plain `pip install mlx` leaves it on Linux."""
    broken = tmp_path / "mlx"
    broken.mkdir()
    (broken / "core.py").write_text("raise ImportError('libmlx.so: cannot open shared object file')")
    (broken / "__init__.py").touch()
    chat = (
        "import sys, qwen_tui.commands.chat as chat; chat.check_terminal = lambda: None\n"
        "from qwen_tui.cli import main; sys.exit(main())"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    plain = "import sys; from qwen_tui.cli import main; sys.exit(main())"
    for code, line in ((chat, []), (plain, ["run", "-p", "x"]), (plain, ["doctor"])):
        done = python(code, *line, PYTHONPATH=path)
        assert done.returncode == 1, done.stderr
        said = done.stderr + done.stdout
        assert "qwen-tui[cpu]" in said
        assert "qwen-tui[cuda]" in said
        assert "Traceback" not in said
        if line != ["doctor"]:
            assert done.stderr.count("\n") == 1
