"""`qwen-tui run`: what it asks of a session, what goes to which stream, and how it ends. The session is a script."""

import json
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qwen_core.errors import CheckpointError
from qwen_core.protocol.events import FinishReason, GenerationSettings, LoadSettings, StreamEvent
from qwen_core.protocol.ranks import RankSummary
from qwen_core.settings.paths import location
from qwen_tui import cli
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
    "model",
    "sampling",
    "draft",
]

THINKING = (
    StreamEvent(to_prefill=20),
    said("Which ", 7, part="reasoning"),
    said("city?", 8, part="reasoning"),
    *PARIS[2:],
)


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
    assert fields["model"].keys() == {"name", "path", "variant", "weight_bytes", "context_limit", "fingerprint"}


def test_json_names_the_ranks_that_shared_the_model(fake: ScriptedSession, capsys: pytest.CaptureFixture[str]) -> None:
    fake.model = replace(fake.model, hosts=(RankSummary(0, "a", 5, 4), RankSummary(1, "b", 6, 3)), alone_token_s=0.09)
    assert cli.main(["run", "./dir", "--json", "-p", "x"]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert list(fields) == [*FIELDS, "hosts", "waiting_s"]
    assert fields["hosts"][1] == {"rank": 1, "host": "b", "memory_bytes": 6, "weight_bytes": 3}
    assert fields["waiting_s"] == pytest.approx(0)  # 0.09 s for 900 bytes are 0.1 s for 1,000


def test_json_says_what_counted_of_sampling_and_where_it_was_from(
    fake: ScriptedSession, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QWEN_TUI_GENERATION_TOP_K", "40")
    assert cli.main(["run", "--json", "-p", "x", "--top-p", "0.5", "--seed", "3"]) == 0
    sampling = json.loads(capsys.readouterr().out)["sampling"]
    assert sampling["top_p"] == {"value": 0.5, "source": "command line"}
    assert sampling["top_k"] == {"value": 40, "source": "environment"}
    assert sampling["temperature"] == {"value": 1.0, "source": "recommended"}
    assert sampling["min_p"] == {"value": 0.0, "source": "default"}


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
    assert fake.calls.load == LoadSettings(3_000_000, 321.5, 7, cache_folder=cache)
    monkeypatch.setenv("QWEN_TUI_HARDWARE_GPU_CORES", "9")
    assert cli.main(line) == 0
    assert fake.calls.load == LoadSettings(3_000_000, 321.5, 9, cache_folder=cache)
    monkeypatch.setenv("QWEN_TUI_HARDWARE_KERNELS", "off")
    assert cli.main(line) == 0
    assert fake.calls.load == LoadSettings(3_000_000, 321.5, 9, cache_folder=cache, kernels=False)


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
    cli.main(["run", "./dir", "-p", "x", "--json"])
    out, err = capsys.readouterr()
    assert (json.loads(out)["text"].strip(), err) == ("", f"qwen-tui: {line}\n")


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
