"""`qwen-tui run`: what it asks of a session, what goes to which stream, and how it ends. The session is a script."""

import io
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.errors import CheckpointError, SettingsError
from qwen_core.protocol.events import FinishReason, GenerationSettings, LoadSettings, Message, StreamEvent
from qwen_core.settings.paths import location
from qwen_tui import cli
from qwen_tui.commands import run_request as request
from qwen_tui.commands.run_request import parse_messages
from qwen_tui.settings.tree import AppSettings
from support.fake_session import said
from support.scripted_session import PARIS, ScriptedSession

FIELDS = [
    "text",
    "reasoning",
    "finish_reason",
    "token_ids",
    "prompt_tokens",
    "cached_tokens",
    "ttft_s",
    "prefill_tok_s",
    "decode_tok_s",
    "bytes_per_token",
    "weight_bytes_per_token",
    "bandwidth_gb_s",
    "peak_bandwidth_gb_s",
    "peak_source",
    "peak_memory_bytes",
    "device",
    "dtype",
    "load_s",
    "weight_tiers",
    "draft",
]

THINKING = (
    StreamEvent(to_prefill=20),
    said("Which ", 7, part="reasoning"),
    said("city?", 8, part="reasoning"),
    *PARIS[2:],
)


class Stdin:
    """Standard input with `data` in it."""

    def __init__(self, data: bytes, *, terminal: bool = False) -> None:
        self.buffer = io.BytesIO(data)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> ScriptedSession:
    monkeypatch.setattr("qwen_core.checkpoint.locate.resolve_model_path", lambda text: text)
    return ScriptedSession().install(monkeypatch)


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", Stdin(data))


def test_the_answer_is_on_stdout_and_the_rest_on_stderr(
    fake: ScriptedSession, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.events = THINKING
    assert cli.main(["run", "./dir", "-p", "capital of France?"]) == 0
    out, err = capsys.readouterr()
    assert out == "Paris.\n"
    reasoning, figures = err.splitlines()
    assert reasoning == "Which city?"
    assert "10.0 tok/s" in figures
    assert "GB/s (estimate) of 400 GB/s" in figures
    assert (fake.calls.path, fake.calls.text, fake.calls.closed) == ("./dir", "capital of France?", True)


def test_the_demo_model_is_the_default(fake: ScriptedSession) -> None:
    from qwen_core import demo_model_path

    assert cli.main(["run", "-p", "x"]) == 0
    assert fake.calls.path == str(demo_model_path())


def test_json_is_one_object_of_the_promised_fields_on_one_line(
    fake: ScriptedSession, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.events = (*THINKING, said("line\nhere \u009b \U0001f642", 3))
    assert cli.main(["run", "./dir", "--json", "-p", "x"]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert out.isascii()
    assert err == ""
    fields = json.loads(out)
    assert list(fields) == FIELDS
    assert fields["text"] == "Paris.line\nhere \u009b \U0001f642"
    assert fields["reasoning"] == "Which city?"
    assert fields["token_ids"] == [7, 8, 11, 12, 2, 3]
    assert fields["finish_reason"] == "stop"
    assert fields["weight_tiers"] == {"mapped": 1, "copied": 2, "streamed": 3}
    assert (fields["load_s"], fields["dtype"], fields["device"]) == (0.25, "float32", "a machine")


def test_every_generation_option_reaches_the_session(fake: ScriptedSession) -> None:
    words = (
        "run dir -p x --system S --max-tokens 7 --temperature 0 --top-p 0.9 --top-k 0 --min-p 0.1 "
        "--presence-penalty 1.5 --frequency-penalty -1 --repetition-penalty 1.1 --seed 5 --effort high --dtype float32"
    )
    assert cli.main(words.split()) == 0
    assert fake.calls.settings == GenerationSettings(7, 0.0, 0.9, 0, 0.1, 1.5, -1.0, 1.1, 5, "high")
    assert (fake.calls.system, fake.calls.dtype) == ("S", "float32")


def test_options_that_are_not_given_are_left_to_the_engine(fake: ScriptedSession) -> None:
    assert cli.main(["run", "-p", "x"]) == 0
    assert fake.calls.settings == GenerationSettings()


@pytest.mark.parametrize("line", [["run", "-p", "x"], ["run", "--prompt-ids", "1,2"]])
def test_what_the_person_set_for_a_load_reaches_it(
    line: list[str], fake: ScriptedSession, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = str(location("state"))
    assert cli.main(line) == 0
    assert fake.calls.load == AppSettings().for_load()
    (home / "config" / "config.toml").write_text(
        "[context]\nsnapshot_budget_mb = 3\n[hardware]\npeak_bandwidth_gb_s = 321.5\ngpu_cores = 7\n"
    )
    assert cli.main(line) == 0
    assert fake.calls.load == LoadSettings(3 << 20, 321.5, 7, cache_folder=cache)
    monkeypatch.setenv("QWEN_TUI_HARDWARE_GPU_CORES", "9")
    assert cli.main(line) == 0
    assert fake.calls.load == LoadSettings(3 << 20, 321.5, 9, cache_folder=cache)


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


def test_prompt_ids_need_no_session(fake: ScriptedSession, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "dir", "--prompt-ids", "5, 6,7", "--json", "--dtype", "float16"]) == 0
    assert fake.calls.prompt_ids == (5, 6, 7)
    assert fake.calls.text is None
    assert fake.calls.dtype == "float16"
    assert list(json.loads(capsys.readouterr().out)) == FIELDS


def test_ctrl_c_keeps_what_is_there_and_is_exit_code_130(
    fake: ScriptedSession, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(index: int) -> None:
        if index == 3:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    fake.between = interrupt
    assert cli.main(["run", "dir", "-p", "x"]) == 130
    out, err = capsys.readouterr()
    assert out == "Paris.\n"
    assert "stopped by you" in err
    assert fake.calls.closed
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_with_json_still_prints_the_object(fake: ScriptedSession, capsys: pytest.CaptureFixture[str]) -> None:
    fake.between = lambda index: os.kill(os.getpid(), signal.SIGINT) if index == 2 else None
    assert cli.main(["run", "dir", "--json", "-p", "x"]) == 130
    fields = json.loads(capsys.readouterr().out)
    assert (fields["finish_reason"], fields["text"], fields["token_ids"]) == ("cancelled", "Par", [11])


def test_a_second_ctrl_c_does_not_wait(fake: ScriptedSession) -> None:
    reached: list[int] = []

    def interrupt(index: int) -> None:
        reached.append(index)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    fake.between = interrupt
    assert cli.main(["run", "dir", "-p", "x"]) == 130
    assert reached == [0]
    assert fake.calls.closed


def test_ctrl_c_while_loading(
    fake: ScriptedSession, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load_session(*args: Any, stop: Any, **keywords: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        raise CheckpointError("loading was stopped")

    monkeypatch.setattr(fake, "load_session", load_session)
    fake.install(monkeypatch)
    assert cli.main(["run", "dir", "-p", "x"]) == 130
    assert capsys.readouterr().err == "qwen-tui: interrupted\n"


def test_a_model_at_fault_is_one_line(fake: ScriptedSession, capsys: pytest.CaptureFixture[str]) -> None:
    fake.load_error = CheckpointError("there is no model here")
    assert cli.main(["run", "dir", "-p", "x"]) == 1
    assert capsys.readouterr() == ("", "qwen-tui: there is no model here\n")


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_question_longer_than_the_context_is_a_fault(
    as_json: list[str], fake: ScriptedSession, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.events, fake.finish_reason, fake.notice = (), "context", "the context is full: send less"
    assert cli.main(["run", "dir", "-p", "x", *as_json]) == 1
    out, err = capsys.readouterr()
    assert "the context is full: send less" in err
    assert bool(out) == bool(as_json)


def test_an_answer_cut_by_the_length_limit_says_so(fake: ScriptedSession, capsys: pytest.CaptureFixture[str]) -> None:
    fake.finish_reason = "length"
    assert cli.main(["run", "dir", "-p", "x"]) == 0
    assert "length limit" in capsys.readouterr().err


NO_ANSWER = "stopped while still reasoning, no answer"


@pytest.mark.parametrize(
    ("events", "reason", "line"),
    [
        ([said("hm", 7, part="reasoning")], "stop", NO_ANSWER),
        ([said("hm", 7, part="reasoning"), said("\n", 8)], "stop", NO_ANSWER),
        ([said("hm", 7, part="reasoning")], "length", "reached the length limit · still reasoning, no answer"),
        ([said("hm", 7, part="reasoning")], "cancelled", "stopped by you"),
        ([], "stop", "no answer: the turn ended without any text"),
    ],
)
def test_a_turn_without_an_answer_says_so(
    events: list[StreamEvent],
    reason: FinishReason,
    line: str,
    fake: ScriptedSession,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake.events, fake.finish_reason = events, reason
    cli.main(["run", "./dir", "-p", "x"])
    out, err = capsys.readouterr()
    assert (out.strip(), err.splitlines()[-1]) == ("", line)


@pytest.mark.parametrize("events", [PARIS, [said("hm", 7, part="reasoning"), said("<tool_call>", 8, part="tool_call")]])
def test_a_turn_with_an_answer_or_a_call_says_nothing_of_it(
    events: Sequence[StreamEvent], fake: ScriptedSession, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.events = events
    assert cli.main(["run", "./dir", "-p", "x"]) == 0
    assert "no answer" not in capsys.readouterr().err


def test_reasoning_that_showed_late_is_said_to_be_it(fake: ScriptedSession, capsys: pytest.CaptureFixture[str]) -> None:
    """What is on stdout stays; stderr says how much of it is reasoning, and --json has the parts as they are."""
    fake.events, fake.late_reasoning = [said("I think.", 7), said("\n\nParis.", 8)], len("I think.\n\n")
    assert cli.main(["run", "./dir", "-p", "x"]) == 0
    out, err = capsys.readouterr()
    assert out == "I think.\n\nParis.\n"
    assert err.splitlines()[-1] == "the first 10 characters of the text are reasoning, not answer"
    assert cli.main(["run", "./dir", "-p", "x", "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert (fields["text"], fields["reasoning"]) == ("Paris.", "I think.")
