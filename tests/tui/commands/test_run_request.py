"""What `qwen-tui run` is asked: a prompt, a pipe, a conversation in JSON. The session is a script."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.errors import SettingsError
from qwen_core.protocol.events import Message
from qwen_tui import cli
from qwen_tui.commands import run_request as request
from qwen_tui.commands.run_request import parse_messages
from support.scripted_session import ScriptedSession


class Stdin:
    """Standard input with `data` in it."""

    def __init__(self, data: bytes, *, terminal: bool = False) -> None:
        self.buffer = io.BytesIO(data)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", Stdin(data))


@pytest.mark.parametrize("line", [["run"], ["run", "-p", "-"]])
def test_a_pipe_is_the_prompt(line: list[str], fake: ScriptedSession, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, "法国的首都是哪里？ 🙂\nsecond line\n".encode())
    assert cli.main(line) == 0
    assert fake.calls.text == "法国的首都是哪里？ 🙂\nsecond line"


def test_without_a_prompt_a_terminal_is_not_waited_for(
    fake: ScriptedSession, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Stdin(b"", terminal=True))
    assert cli.main(["run"]) == 2
    assert "Nothing to answer" in capsys.readouterr().err
    assert fake.calls.text is None


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"caf\xe9", "not UTF-8 text (byte 3)"),
        (b"x" * 65, "more than"),
    ],
)
def test_a_bad_pipe_is_one_line_and_exit_code_1(
    data: bytes,
    says: str,
    fake: ScriptedSession,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(request, "MAX_INPUT_BYTES", 64)
    pipe(monkeypatch, data)
    assert cli.main(["run"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("qwen-tui: ")
    assert err.count("\n") == 1
    assert says in err
    assert fake.calls.path == ""


@pytest.mark.parametrize("option", ["-p", "--system"])
def test_an_argument_that_is_no_text_is_refused(
    option: str, fake: ScriptedSession, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["run", "-p", "x", option, os.fsdecode(b"caf\xe9")]
    assert cli.main(line) == 1
    assert "UTF-8" in capsys.readouterr().err
    assert fake.calls.path == ""


def messages_file(folder: Path, content: Any) -> str:
    path = folder / "messages.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def test_messages_are_the_conversation_and_the_last_one_is_answered(fake: ScriptedSession, tmp_path: Path) -> None:
    path = messages_file(
        tmp_path,
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two", "reasoning_content": "hm"},
            {"role": "user", "content": "three"},
        ],
    )
    assert cli.main(["run", "dir", "--messages", path]) == 0
    assert fake.calls.restored == (Message("user", "one"), Message("assistant", "two", "hm"))
    assert (fake.calls.text, fake.calls.system) == ("three", "Be brief.")


def test_messages_may_come_through_the_pipe(fake: ScriptedSession, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, b'[{"role": "user", "content": "one"}]')
    assert cli.main(["run", "dir", "--messages", "-", "--system", "S"]) == 0
    assert (fake.calls.text, fake.calls.restored, fake.calls.system) == ("one", (), "S")


USER = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1, NaN]", "NaN is not a JSON number"),
        ([], "list of 1 to"),
        (USER, "list of 1 to"),
        ([USER, 3], "message 2 is not an object"),
        ([{"role": "user"}], "message 1 needs a content"),
        ([{"content": "x"}], "message 1 needs a role"),
        ([{"role": "user", "content": ["x"]}], "message 1 needs a content"),
        ([{**USER, "role": "king"}], "the role king"),
        ([{**USER, "name": "x"}], "the key name"),
        ([{**USER, "content": "\ud800"}], "surrogate"),
        ([USER, {"role": "assistant", "content": "y"}], "must end with"),
        ([USER, {"role": "system", "content": "y"}, USER], "only the first"),
    ],
)
def test_messages_that_make_no_conversation_are_one_line(
    content: Any, says: str, fake: ScriptedSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", "dir", "--messages", messages_file(tmp_path, content)]) == 1
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert fake.calls.path == ""


def test_a_messages_file_that_is_not_there(fake: ScriptedSession, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "dir", "--messages", "/no/such/file"]) == 1
    assert "/no/such/file cannot be read: No such file" in capsys.readouterr().err


def test_two_system_prompts_are_wrong_use(fake: ScriptedSession, tmp_path: Path) -> None:
    path = messages_file(tmp_path, [{"role": "system", "content": "a"}, USER])
    assert cli.main(["run", "dir", "--messages", path, "--system", "b"]) == 2
    assert fake.calls.path == ""


turns = st.lists(
    st.tuples(st.sampled_from(["user", "assistant", "tool"]), st.text(st.characters(exclude_categories=["Cs"]))),
    max_size=6,
)


@given(system=st.none() | st.text(st.characters(exclude_categories=["Cs"])), history=turns, last=st.text(max_size=9))
def test_messages_come_back_as_they_were_written(system: str | None, history: list[tuple[str, str]], last: str) -> None:
    raw = [{"role": role, "content": content} for role, content in [*history, ("user", last)]]
    if system is not None:
        raw.insert(0, {"role": "system", "content": system})
    messages, found = parse_messages(json.dumps(raw), "here")
    assert found == system
    assert [(message.role, message.content) for message in messages] == [*history, ("user", last)]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["role", "content", "reasoning_content", "x"]), x),
    )
)
def test_any_json_is_a_conversation_or_a_line_for_people(value: Any) -> None:
    try:
        messages, _ = parse_messages(json.dumps(value), "here")
    except SettingsError as error:
        assert str(error).startswith("here")
    else:
        assert messages[-1].role == "user"
