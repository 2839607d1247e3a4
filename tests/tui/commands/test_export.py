"""`qwen-tui export` and `import`: what they print, write, refuse, and how they end."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from qwen_core.errors import QwenError
from qwen_tui import cli
from qwen_tui.commands.export import export, import_conversations
from qwen_tui.settings.file import settings_path
from qwen_tui.settings.themes import colours_of
from qwen_tui.store import open_store
from support.stores import turn


@pytest.fixture
def kept() -> list[int]:
    """Two conversations, the second one used last."""
    with closing(open_store()) as store:
        ids = []
        for name in ("one", "two"):
            ids.append(store.conversations.begin())
            turn(store, ids[-1], f"question {name}", f"answer {name}")
        return ids


def call(command: click.Command, *arguments: object, text: str | None = None) -> Result:
    # As the program's own: click keeps a command's help option as it was first asked for.
    given = [str(command.name), *map(str, arguments)]
    return CliRunner().invoke(cli.program, given, input=text, standalone_mode=False)


def test_the_last_one_is_printed_as_markdown(kept: list[int]) -> None:
    done = call(export, "--last")
    assert (done.return_value, done.stderr) == (0, "")
    assert done.stdout.startswith("# question two\n")
    assert "answer two" in done.stdout and "answer one" not in done.stdout


def test_one_is_chosen_by_its_number(kept: list[int]) -> None:
    assert "answer one" in call(export, kept[0]).stdout
    error = call(export, 99).exception
    assert isinstance(error, QwenError)
    assert "no conversation 99" in str(error)


def test_a_number_that_no_conversation_can_have_is_wrong_use(kept: list[int]) -> None:
    error = call(export, "9" * 20).exception
    assert isinstance(error, click.UsageError)
    assert "9223372036854775807" in error.format_message()
    assert isinstance(call(export, 2**63 - 1).exception, QwenError)


def test_all_are_printed_one_after_the_other(kept: list[int]) -> None:
    text = call(export, "--all").stdout
    assert [line for line in text.splitlines() if line.startswith("# ")] == ["# question two", "# question one"]


def test_what_goes_out_as_json_comes_in(kept: list[int], tmp_path: Path) -> None:
    path = tmp_path / "chats.json"
    done = call(export, "--all", "-o", path)
    assert (done.return_value, done.stdout) == (0, "")
    assert str(path) in done.stderr
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(json.loads(path.read_text())["conversations"]) == 2
    for source, text in ((path, None), ("-", path.read_text())):
        done = call(import_conversations, source, text=text)
        assert (done.return_value, done.stdout) == (0, "")
        assert "added 2 conversations" in done.stderr
    with closing(open_store()) as store:
        assert len(store.conversations.listed()) == 6


def test_a_page_has_the_colours_of_the_theme_that_is_set(kept: list[int], tmp_path: Path) -> None:
    settings_path().write_text('[looks]\ntheme = "paper"\n')
    assert call(export, "--all", "-o", tmp_path / "x.html").stdout == ""
    page = (tmp_path / "x.html").read_text()
    assert "answer one" in page and "answer two" in page
    assert f"background: {colours_of('paper')['background']};" in page
    assert colours_of("paper") != colours_of("midnight") == colours_of("no such theme")


def test_an_ending_that_means_no_format_is_wrong_use(kept: list[int], tmp_path: Path) -> None:
    error = call(export, "--last", "-o", tmp_path / "x.docx").exception
    assert isinstance(error, click.UsageError)
    assert "no export as .docx" in error.format_message().replace("'", "")
    assert not (tmp_path / "x.docx").exists()


def test_without_a_choice_the_latest_are_listed(kept: list[int]) -> None:
    done = call(export)
    assert isinstance(done.exception, click.UsageError)
    assert done.stderr.splitlines() == [f"{kept[1]:>7}  question two", f"{kept[0]:>7}  question one"]


def test_the_kind_can_be_named(kept: list[int], tmp_path: Path) -> None:
    assert json.loads(call(export, "--last", "--format", "json").stdout)["version"] == 1
    call(export, "--last", "--format", "markdown", "-o", tmp_path / "x.json")
    assert (tmp_path / "x.json").read_text().startswith("# question two")


def test_choices_exclude_each_other(kept: list[int]) -> None:
    for arguments in (("--last", "--all"), (1, "--all")):
        assert isinstance(call(export, *arguments).exception, click.UsageError)


def test_a_file_is_replaced_only_by_force(kept: list[int], tmp_path: Path) -> None:
    path = tmp_path / "x.md"
    path.write_text("mine")
    assert isinstance(call(export, "--last", "-o", path).exception, click.UsageError)
    assert path.read_text() == "mine"
    assert call(export, "--last", "-o", path, "--force").return_value == 0
    assert path.read_text().startswith("# question two")


def test_where_there_is_nothing_nothing_is_made(home: Path) -> None:
    for arguments in (("--last",), ("--all",), (1,), ()):
        error = call(export, *arguments).exception
        assert isinstance(error, QwenError)
        assert "no conversations yet" in str(error)
    assert not (home / "data" / "conversations.db").exists()


def test_what_cannot_be_read_or_written_is_one_line(kept: list[int], tmp_path: Path) -> None:
    (tmp_path / "latin1").write_bytes(b"caf\xe9")
    for command, arguments in (
        (export, ("--last", "-o", tmp_path / "no" / "x.md")),
        (import_conversations, (tmp_path / "no.json",)),
        (import_conversations, (tmp_path / "latin1",)),
        (import_conversations, (tmp_path,)),
    ):
        error = call(command, *arguments).exception
        assert isinstance(error, QwenError)
        assert str(tmp_path) in str(error)


def program(*arguments: object, text: str = "") -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, as a shell calls it."""
    words = [sys.executable, "-m", "qwen_tui", *(str(argument) for argument in arguments)]
    return subprocess.run(words, input=text, capture_output=True, text=True, encoding="utf-8", check=False)


def test_the_command_line_brings_conversations_to_another_home(
    kept: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them by a file, one of them by a pipe; exported again, the text is the same."""
    everything, one = tmp_path / "all.json", tmp_path / "one.json"
    assert program("export", "--all", "-o", everything).returncode == 0
    done = program("export", kept[0], "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    one.write_text(done.stdout, encoding="utf-8")
    markdown = program("export", kept[0]).stdout
    assert "answer one" in markdown

    monkeypatch.setenv("QWEN_TUI_HOME", str(tmp_path / "elsewhere"))
    done = program("import", everything)
    assert (done.returncode, done.stdout) == (0, "")
    assert "added 2 conversations" in done.stderr
    assert program("export", "--all", "--format", "json").stdout == everything.read_text(encoding="utf-8")

    monkeypatch.setenv("QWEN_TUI_HOME", str(tmp_path / "third"))
    assert "added 1 conversation\n" in program("import", "-", text=one.read_text(encoding="utf-8")).stderr
    assert program("export", "--last", "--format", "json").stdout == one.read_text(encoding="utf-8")
    assert program("export", "--last").stdout == markdown


def test_wrong_use_of_the_command_line_is_told_in_its_exit_code(kept: list[int], tmp_path: Path) -> None:
    for code, arguments in ((2, ("export",)), (2, ("export", "x")), (1, ("export", 99)), (1, ("import", tmp_path))):
        done = program(*arguments)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["export", "import"])
def test_help_opens_neither_a_screen_nor_a_database(command: str) -> None:
    code = (
        f"import sys; from qwen_tui.cli import main; assert main(['{command}', '--help']) == 0\n"
        "print('LOADED', [name for name in ('textual', 'rich', 'mlx', 'numpy', 'sqlite3') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "LOADED []", done.stderr
