"""`qwen-tui compare`: an answer of the demo model through a copy of it with fewer bits."""

import json
import signal
from pathlib import Path

import pytest

from qwen_core.demo import demo_model_path
from qwen_tui import cli
from support.demo_variant import write_demo_variant
from support.reference import CASES, write_case
from support.text import write_text_files

DEMO = str(demo_model_path())
# Not among what the demo was trained on, so that two bits do not say the same.
QUESTION = "Write a poem about cheese"
ASKED = ["-p", QUESTION, "--effort", "none", "--max-tokens", "24"]


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_demo_variant(tmp_path_factory.mktemp("demo") / "two bits", 2))


def test_json_has_every_step_and_both_answers(variant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", DEMO, variant, *ASKED, "--json"]) == 0
    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (1, "")
    fields = json.loads(out)
    a, b, steps = fields["a"], fields["b"], fields["steps"]
    assert [step["id"] for step in steps] == a["token_ids"]
    assert fields["tokens"] == len(steps)
    assert a["token_ids"] != b["token_ids"]
    assert a["text"] != b["text"]
    assert (a["model"]["path"], b["model"]["path"]) == (DEMO, variant)
    # Greedy: A took its likeliest token everywhere. Up to where they part, so did B.
    assert all(step["a"]["rank"] == 1 for step in steps)
    differing = [n for n, step in enumerate(steps) if step["b"]["top"][0]["id"] != step["a"]["top"][0]["id"]]
    first = next(n for n, pair in enumerate(zip(a["token_ids"], b["token_ids"], strict=False)) if pair[0] != pair[1])
    assert fields["differing"] == differing
    assert fields["first_difference"] == differing[0] == first
    assert steps[first]["b"]["top"][0]["id"] == b["token_ids"][first]
    divergences = [step["kl"] for step in steps]
    assert fields["kl_mean"] == pytest.approx(sum(divergences) / len(divergences))
    assert 0 < fields["kl_mean"] < fields["kl_p99"] <= max(divergences)


@pytest.mark.parametrize("width", [60, 100])
def test_for_people_it_says_where_they_part(
    variant: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qwen_tui.commands.compare.output_width", lambda: width)
    assert cli.main(["compare", DEMO, variant, *ASKED, "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert cli.main(["compare", DEMO, variant, *ASKED]) == 0
    out = capsys.readouterr().out
    assert all(len(line) <= width for line in out.splitlines())
    words = " ".join(out.split())
    count, first = len(fields["differing"]), fields["first_difference"] + 1
    assert f"At {count} of {fields['tokens']} tokens of A's answer B thinks another token likeliest" in words
    assert f"first at {first:,}." in words
    assert f"KL mean {fields['kl_mean']:.6f} nats a token" in words
    for side in ("a", "b"):
        assert fields[side]["text"].split()[0] in out


def test_equal_files_are_exactly_equal(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", DEMO, DEMO, *ASKED, "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert {step["kl"] for step in fields["steps"]} == {0.0}
    assert (fields["kl_mean"], fields["kl_p99"], fields["differing"], fields["first_difference"]) == (0, 0, [], None)
    assert fields["a"]["token_ids"] == fields["b"]["token_ids"]


def test_models_without_a_tokenizer_are_compared_by_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for case in CASES[:2]:
        write_case(case, tmp_path / case.name)
    words = ["compare", *(str(tmp_path / case.name) for case in CASES[:2]), "--prompt-ids", "1,2,3"]
    assert cli.main([*words, "--max-tokens", "6", "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert cli.main([*words, "--max-tokens", "6"]) == 0
    out = capsys.readouterr().out
    assert " ".join(map(str, fields["a"]["token_ids"])) in out
    assert f"⟨{fields['steps'][0]['id']}⟩" in out


def test_other_tokens_are_one_line_before_anything_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_demo_variant(tmp_path / "other", 4)
    write_text_files(path)
    monkeypatch.setattr("qwen_core.session.opening.load_session", None)
    assert cli.main(["compare", DEMO, str(path), "-p", "x"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "has other tokens than" in err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["compare", DEMO], 2, "Missing argument 'B'"),
        (["compare", DEMO, "./nowhere", "-p", "x"], 1, "does not exist"),
        (["compare", DEMO, DEMO, "-p", " "], 1, "the prompt is empty"),
    ],
)
def test_wrong_use(words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == code
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("at", ["answered", "read", "against"])
def test_an_interrupt_ends_it(at: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from qwen_core.session import comparison, turn

    module, name = (turn, "decode") if at == "answered" else (comparison, "predictions")
    original, calls = getattr(module, name), 0

    def interrupted(*given: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == (2 if at == "against" else 1):
            signal.raise_signal(signal.SIGINT)
        return original(*given, **named)

    monkeypatch.setattr(module, name, interrupted)
    assert cli.main(["compare", DEMO, DEMO, *ASKED]) == 130
    assert capsys.readouterr() == ("", "qwen-tui: interrupted\n")
