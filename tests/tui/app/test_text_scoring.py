"""/perplexity: a file or the last answer is read beside the conversation, what comes out is a note, Esc stops it."""

import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from qwen_core.protocol.events import Command, Load
from qwen_core.protocol.probabilities import Probabilities
from qwen_core.protocol.scoring import Score, Scored, ScoreFailed, ScoreProgress, Spell, Spelled, Spelling, TextScore
from support.app_stage import Stage, stage
from support.fake_engine import Step, default_script
from support.lens_stage import ANSWER, IDS, PROMPT, LensEngine

WORDS = {3: b"The", 4: b" moon", 5: b" is\n", 6: b" \xe4\xbd", 7: b"\x1b[2J"}


def rows(*logprobs: float) -> Probabilities:
    return Probabilities(1, b"".join(struct.pack("<3fIIf", each, float("nan"), 1.0, 9, 7, -0.5) for each in logprobs))


def reads(command: Command) -> Iterable[Step]:
    """An engine that knows four tokens."""
    match command:
        case Score(number):
            score = TextScore((3, 4, 5, 6), rows(-1.0, -7.25, -0.25), 12)
            return [(0.0, ScoreProgress(number, 2, 3)), (0.0, Scored(number, score))]
        case Spell(number, ids):
            return [(0.0, Spelled(number, tuple(Spelling(token, WORDS[token]) for token in ids)))]
        case _:
            return default_script(command)


def waits(command: Command) -> Iterable[Step]:
    return default_script(command) if isinstance(command, Load) else []


async def done(here: Stage) -> None:
    await here.wait(lambda: not here.app.commands.scoring.running, "the score")
    await here.settle()


async def test_no_token_is_less_than_not_surprising(tmp_path: Path) -> None:
    """Rounding can leave the logarithm of a probability a hair above zero."""

    def certain(command: Command) -> Iterable[Step]:
        if not isinstance(command, Score):
            return reads(command)
        return [(0.0, Scored(command.number, TextScore((3, 4), rows(1e-7), 4)))]

    (tmp_path / "moon.txt").write_text("The moon")
    async with stage(certain) as here:
        await here.enter(f"/perplexity {tmp_path}/moon.txt")
        await done(here)
        assert " 0.0 " in here.transcript()
        assert " -0" not in here.transcript()


@pytest.mark.parametrize("size", [(140, 40), (60, 30)])
async def test_a_file_is_read_and_told_of_in_a_note(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "a moon.txt").write_text("The moon is …")
    async with stage(reads, size=size) as here:
        await here.enter(f"/perplexity {tmp_path}/a moon.txt")
        await done(here)
        sent = next(command for command in here.engine.commands if isinstance(command, Score))
        assert (sent.text, sent.top) == ("The moon is …", 1)
        shown = here.transcript()
        for words in (
            "a moon.txt",
            "4 tokens, 3 of them predicted, 12 bytes",
            "perplexity",
            "17",
            "␣is↵",
            "7.2",
            "␛[2J",
        ):
            assert words in shown
        assert ("The␣moon ␣is↵" in shown) == (size[0] > 100)
        assert "\x1b" not in shown


async def test_alone_it_reads_the_last_answer() -> None:
    async with stage(reads, size=(140, 40)) as here:
        await here.enter("/perplexity")
        await here.settle()
        assert "nothing to read yet" in here.lines()[-1]
        await here.ask("one")
        await here.wait(lambda: here.app.conversation.phase == "ready" and not here.app.turns.busy)
        await here.enter("/perplexity")
        await done(here)
        assert next(c for c in here.engine.commands if isinstance(c, Score)).text == "You said: one"
        assert "How surprising the last answer (without its question) is" in here.transcript()


async def test_where_its_tokens_are_known_the_answer_is_read_behind_its_question() -> None:
    engine = LensEngine()

    def script(command: Command) -> Iterable[Step]:
        return [] if isinstance(command, Score) and command.text else engine(command)

    async with stage(script, size=(140, 40)) as here:
        await here.ask("What is the capital?")
        await here.wait(lambda: here.app.conversation.phase == "ready" and not here.app.turns.busy)
        await here.enter("/perplexity")
        await done(here)
        score = next(command for command in here.engine.commands if isinstance(command, Score))
        assert (score.prompt_ids, score.ids, score.text, score.top) == (PROMPT, IDS, "", 1)
        assert "How surprising the last answer (behind its question, with its reasoning) is" in here.transcript()
        assert f"{len(IDS)} tokens, {len(IDS)} of them predicted" in here.transcript()
        model = here.app.conversation.model
        assert model is not None
        here.app.conversation.model = replace(model, fingerprint="another")
        await here.enter("/perplexity")
        await here.wait(lambda: isinstance(here.engine.commands[-1], Score), "the question")
        assert here.engine.commands[-1] == Score(2, text=ANSWER, top=1), "to another model its tokens mean nothing"


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b""])
async def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    async with stage(reads, size=(140, 40)) as here:
        await here.enter(f"/perplexity {tmp_path}/file")
        await here.settle()
        line = here.lines()[-1]
        assert any(words in line for words in ("cannot be read", "is not UTF-8", "nothing to read"))
        assert not any(isinstance(command, Score) for command in here.engine.commands)


async def test_esc_stops_it_and_a_second_one_waits(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    async with stage(waits, size=(140, 40)) as here:
        await here.enter(f"/perplexity {tmp_path}/file")
        await here.settle()
        await here.enter(f"/perplexity {tmp_path}/file")
        await here.settle()
        assert "A text is being read" in here.lines()[-1]
        stopped = here.engine.stopped
        await here.write("")
        await here.pilot.press("escape")
        await here.wait(lambda: here.engine.stopped == stopped + 1, "the stop")
        here.engine.feed(ScoreFailed(1, "it was stopped before all tokens were read"))
        await done(here)
        assert "file was not read: it was stopped" in here.transcript()


async def test_of_a_text_that_was_not_read_it_is_not_said_that_it_is(tmp_path: Path) -> None:
    def fails(command: Command) -> Iterable[Step]:
        return [(0.0, ScoreFailed(command.number, "too long"))] if isinstance(command, Score) else waits(command)

    (tmp_path / "file").write_text("text")
    async with stage(fails, size=(140, 40)) as here:
        await here.enter(f"/perplexity {tmp_path}/file")
        await done(here)
        assert "file was not read: too long" in here.transcript()
        assert "Reading" not in here.lines()[-1]


async def test_an_engine_that_dies_leaves_nothing_running(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    async with stage(waits, size=(140, 40)) as here:
        await here.enter(f"/perplexity {tmp_path}/file")
        await here.wait(lambda: here.app.commands.scoring.running)
        here.engine.die("the engine process was ended")
        await done(here)


async def test_an_engine_that_is_started_again_leaves_nothing_running(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    async with stage(waits, size=(140, 40)) as here:
        await here.enter(f"/perplexity {tmp_path}/file")
        await here.wait(lambda: here.app.commands.scoring.running)
        await here.enter("/restart")
        await done(here)
