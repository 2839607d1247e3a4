"""`qwen-tui score`: which text is read, what is printed of it, and how it ends where that cannot be."""

import io
import json
import math
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.demo import demo_model_path
from qwen_core.text.tokenizer import load_tokenizer
from qwen_tui import cli
from qwen_tui.commands.score import split_words
from support.reference import CASES, write_case

TEXT = "The capital of France is Paris. And <|im_end|> é 中.\n"
GOLDENS = Path(__file__).resolve().parents[2] / "core" / "model" / "goldens"


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))


def test_json_has_every_tokens_log_probability(capsys: pytest.CaptureFixture[str], piped: None) -> None:
    assert cli.main(["score", "--json"]) == 0
    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (1, "")
    fields = json.loads(out)
    tokenizer = load_tokenizer(open_checkpoint(demo_model_path()))
    assert tokenizer.decode(fields["token_ids"]) == TEXT
    assert not set(fields["token_ids"]) & set(tokenizer.special_tokens.values())
    first, *logprobs = fields["logprobs"]
    assert first is None
    assert len(logprobs) == fields["predicted_tokens"] == fields["tokens"] - 1 == len(fields["token_ids"]) - 1
    assert fields["bytes"] == len(TEXT.encode()) - len(tokenizer.token_bytes(fields["token_ids"][0]))
    assert fields["perplexity"] == pytest.approx(math.exp(-sum(logprobs) / len(logprobs)), rel=1e-4)
    assert fields["bits_per_byte"] == pytest.approx(-sum(logprobs) / math.log(2) / fields["bytes"], rel=1e-4)
    surprising = fields["surprising"]
    assert [entry["logprob"] for entry in surprising] == sorted(logprobs)[: len(surprising)]
    for entry in surprising:
        assert fields["token_ids"][entry["index"]] == entry["id"]
        assert entry["likeliest"]["logprob"] >= entry["logprob"]
        assert (entry["rank"] == 1) == (entry["likeliest"]["id"] == entry["id"])


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", terminal := io.StringIO())
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    assert cli.main(["score", "nofile.txt"]) == 2
    assert "Nothing to score: there is no file nofile.txt. Give FILE" in capsys.readouterr().err
    assert cli.main(["score"]) == 2
    assert "Nothing to score. Give FILE" in capsys.readouterr().err


def test_a_text_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["score", "-p", "The capital of France is Berlin."]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f"{len('The capital of France is Berlin.') - 3} bytes")
    assert [line.split()[0] for line in lines[1:4]] == ["perplexity", "bits", "nats"]
    assert "␣Berlin" in lines[6]
    assert "␣Paris" in lines[6]


def test_it_equals_transformers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a model without a tokenizer: ids go in and come out. Both sides are float32, and sum in different orders."""
    case = CASES[0]
    write_case(case, tmp_path)
    ids = ",".join(map(str, case.ids))
    assert cli.main(["score", str(tmp_path), "--prompt-ids", ids, "--json", "--dtype", "float32"]) == 0
    fields = json.loads(capsys.readouterr().out)
    logits = np.load(GOLDENS / f"{case.name}.npz")["logits"].astype(np.float64)[:-1]
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = logs[np.arange(len(logs)), case.ids[1:]]
    np.testing.assert_allclose(fields["logprobs"][1:], expected, rtol=0, atol=1e-4)
    assert (fields["bytes"], fields["bits_per_byte"]) == (None, None)
    assert cli.main(["score", str(tmp_path), "--prompt-ids", ids]) == 0
    assert f"⟨{case.ids[int(expected.argmin()) + 1]}⟩" in capsys.readouterr().out
    assert cli.main(["score", str(tmp_path), "-p", "text"]) == 1
    assert "has no tokenizer.json: give token ids" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), (None, None)),
        (("-",), (None, "-")),
        (("a file",), (None, "a file")),
        (("a folder",), ("a folder", None)),
        (("owner/name",), ("owner/name", None)),
        (("a folder", "a file"), ("a folder", "a file")),
        (("a folder", "-"), ("a folder", "-")),
    ],
)
def test_which_word_is_the_model_and_which_the_text(
    words: tuple[str, ...], found: tuple[str | None, str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a file").write_text("text")
    assert split_words(words) == found


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["-p", ""], 1, "the text is empty"),
        (["-p", "x"], 1, "there is nothing to score: it takes two tokens"),
        (["-p", "\udcff"], 1, "not UTF-8"),
        (["-p", "word " * 1_000_000], 1, "has more than 4,096 tokens"),
        (["--prompt-ids", "1,99999"], 1, "token id 99999 is outside the model's vocabulary"),
        (["MODEL", "/there/is/none"], 1, "the text /there/is/none cannot be read"),
        (["-p", "x", "--prompt-ids", "1,2"], 2, "cannot be used together"),
        (["a", "b", "c"], 2, "Too many words"),
        (["./nowhere", "-p", "text"], 1, "does not exist"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_scored_is_one_line(
    words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["score", *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert code == 2 or err.count("\n") == 1


def test_an_interrupt_ends_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from qwen_core.session import scoring

    def interrupted(heads: int, context: int) -> int:
        signal.raise_signal(signal.SIGINT)
        return 4

    monkeypatch.setattr(scoring, "chunk_size", interrupted)
    assert cli.main(["score", "-p", "The capital of France is Paris."]) == 130
    assert capsys.readouterr() == ("", "qwen-tui: interrupted\n")
