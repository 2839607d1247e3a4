"""`run --logprobs`: the promised fields, mlx-lm's numbers, a table for people, and nothing where nobody asks."""

import json
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.protocol.probabilities import Probabilities
from qwen_core.protocol.scoring import Spelling
from qwen_tui import cli
from qwen_tui.text.token_text import shown_token, token_text
from support.checkpoints import write_checkpoint
from support.peer_mlx_lm import load_peer, prompt
from support.scripted_session import PARIS, ScriptedSession

WRITTEN = {11: b"Par", 12: b"is.\n", 2: b"<|im_end|>", 5: b" \xe4\xbd", 6: b"\x1b[2J", 7: b""}


def row(logprob: float, drawn: float, *top: int) -> Probabilities:
    logs = [-0.25 - n for n in range(len(top))]
    figures = struct.pack("<3fI", logprob, drawn, 1.5, 3)
    return Probabilities(len(top), figures + struct.pack(f"<{len(top)}I{len(top)}f", *top, *logs))


class Sure(ScriptedSession):
    """An answer with probabilities."""

    def spell(self, ids: Sequence[int]) -> tuple[Spelling, ...]:
        return tuple(Spelling(token, WRITTEN[token], token == 2) for token in ids)


@pytest.fixture
def sure(monkeypatch: pytest.MonkeyPatch) -> ScriptedSession:
    monkeypatch.setattr("qwen_core.checkpoint.locate.resolve_model_path", lambda text: text)
    rows = (row(-0.5, -0.25, 11, 5), row(-2.0, float("nan"), 6, 7), row(-0.125, 0.0, 2, 12))
    events = [
        event if not event.token_ids else replace(event, probabilities=next_row)
        for event, next_row in zip(PARIS, (None, None, *rows), strict=True)
    ]
    return Sure(events).install(monkeypatch)


def test_json_has_an_entry_a_token(sure: ScriptedSession, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "./dir", "-p", "x", "--logprobs", "2", "--json"]) == 0
    assert sure.calls.settings is not None
    assert sure.calls.settings.logprobs == 2
    out, err = capsys.readouterr()
    assert err == ""
    fields = json.loads(out)
    assert list(fields)[-1] == "logprobs"
    assert [entry["id"] for entry in fields["logprobs"]] == fields["token_ids"] == [11, 12, 2]
    assert fields["logprobs"][0] == {
        "id": 11,
        "token": "Par",
        "logprob": -0.5,
        "entropy": 1.5,
        "rank": 3,
        "sampled_logprob": -0.25,
        "top": [
            {"id": 11, "token": "Par", "logprob": -0.25},
            {"id": 5, "token": " \\xe4\\xbd", "logprob": -1.25},
        ],
    }
    assert fields["logprobs"][1]["sampled_logprob"] is None


def test_without_json_they_are_a_table_on_standard_error(
    sure: ScriptedSession, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", "./dir", "-p", "x", "--logprobs", "2"]) == 0
    out, err = capsys.readouterr()
    assert out == "Paris.\n"
    head, first, second, third, _ = err.splitlines()
    assert head.split() == ["token", "p", "rank", "nats", "likeliest"]
    assert first.split() == ["1", "Par", "60.7", "%", "3", "1.50", "Par", "77.9", "%", "⟨20", "E4", "BD⟩", "28.7", "%"]
    assert second.split()[:4] == ["2", "is.↵", "13.5", "%"]
    assert "␛[2J" in second
    assert "⟨7⟩" in second
    assert "<|im_end|>" in third
    assert "\x1b" not in err


def test_who_asks_for_none_gets_none(fake: ScriptedSession, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "./dir", "-p", "x", "--json"]) == 0
    assert "logprobs" not in json.loads(capsys.readouterr().out)
    assert fake.calls.settings is not None
    assert fake.calls.settings.logprobs is None


@pytest.mark.parametrize("count", ["0", "21", "1.5", "x"])
def test_a_count_out_of_range_is_a_usage_error(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "./dir", "-p", "x", "--logprobs", count]) == 2
    assert "whole number from 1 to 20" in capsys.readouterr().err


def test_they_are_mlx_lms_on_the_same_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a model without a tokenizer, too: ids stand for the text there."""
    generation = pytest.importorskip("mlx_lm.generate")
    write_checkpoint(tmp_path / "model", text={"num_hidden_layers": 4})
    ids = prompt(4)
    words = ["run", str(tmp_path / "model"), "--prompt-ids", ",".join(map(str, ids)), "--logprobs", "5", "--json"]
    assert cli.main([*words, "--temperature", "0", "--max-tokens", "12", "--dtype", "float32"]) == 0
    entries = json.loads(capsys.readouterr().out)["logprobs"]
    theirs = list(generation.generate_step(mx.array(ids), load_peer(tmp_path / "model"), max_tokens=12))
    assert [entry["id"] for entry in entries] == [int(token) for token, _ in theirs]
    for entry, (_, logprobs) in zip(entries, theirs, strict=True):
        logs = np.array(logprobs)
        assert len(entry["top"]) == 5
        assert entry["token"] == ""
        assert entry["logprob"] == pytest.approx(float(logs[entry["id"]]), abs=1e-4)
        assert entry["entropy"] == pytest.approx(-float((np.exp(logs) * logs).sum()), abs=1e-4)
        for other in entry["top"]:
            assert other["logprob"] == pytest.approx(float(logs[other["id"]]), abs=1e-4)


@pytest.mark.parametrize(
    ("written", "data", "shown"),
    [
        (b" Paris", " Paris", "␣Paris"),
        (b"a\tb\n", "a\tb\n", "a⇥b↵"),
        (b"\xe4\xbd", "\\xe4\\xbd", "⟨E4 BD⟩"),
        ("é中".encode(), "é中", "é中"),
        (b"\x1b]0;x\x07", "\x1b]0;x\x07", "␛]0;x␇"),
        (b"", "", "⟨9⟩"),
        ("\u200b".encode(), "\u200b", "⟨9⟩"),
        (b"x" * 500, "x" * 500, "x" * 23 + "…"),
    ],
)
def test_tokens_as_text(written: bytes, data: str, shown: str) -> None:
    assert token_text(Spelling(9, written)) == data
    assert shown_token(Spelling(9, written)) == shown
