"""The lens on the stage: each key does its one thing, and what is chosen leads to another branch."""

from dataclasses import replace

import pytest

from qwen_core.protocol.events import Restore
from qwen_core.protocol.probabilities import LENS_TOP, Probabilities
from qwen_core.protocol.scoring import Score, ScoreFailed, Spell
from qwen_core.protocol.timeline import Moment
from qwen_tui.lens.panel import ALL_SURE, NO_TIMES, NOT_KEPT
from qwen_tui.lens.reading import Reading
from qwen_tui.lens.screen import LensScreen
from qwen_tui.lens.shades import meanings
from qwen_tui.lens.timeline_lines import timeline_lines
from qwen_tui.lens.token_lines import token_facts
from qwen_tui.store import ModelIdentity
from support.app_stage import Stage, stage
from support.fake_engine import Step, loads_only
from support.lens_stage import IDS, PROMPT, TOP, LensEngine, looked, rows
from support.transcripts import tell

SIZE = (100, 30)


def lens(here: Stage) -> LensScreen:
    assert isinstance(here.app.screen, LensScreen)
    return here.app.screen


def reversed_text(here: Stage) -> str:
    """What of the text, which ends above the legend, is drawn under the cursor."""
    region = lens(here).query_one("#text").region
    return "|".join(
        "".join(part.text for part in strip if part.style is not None and part.style.reverse)
        for strip in here.strips()[region.y : region.bottom]
        if any(part.style is not None and part.style.reverse for part in strip)
    )


def panel(here: Stage) -> list[str]:
    region = lens(here).query_one("#panel").region
    return [line[1:] for line in here.lines()[region.y : region.bottom]]


async def test_arrows_walk_the_tokens_and_the_panel_tells_each() -> None:
    async with stage(LensEngine(), SIZE) as here:
        await looked(here)
        assert reversed_text(here) == "The"
        assert (
            panel(here)[0] == "1 of 29 · The · id 2 · 99.7 % · rank 1 · entropy 0.01 nats · drawn at 99.8 % · 12.0 ms"
        )
        for key, place, text in (
            ("right", 1, " capital"),
            ("l", 2, " is"),
            ("left", 1, " capital"),
            ("h", 0, "The"),
            ("left", 0, "The"),
            ("end", 28, "<|im_end|>"),
            ("right", 28, "<|im_end|>"),
            ("pageup", 8, " of"),
            ("ctrl+right", 28, "<|im_end|>"),
            ("ctrl+left", 8, " of"),
            ("pagedown", 28, "<|im_end|>"),
            ("home", 0, "The"),
        ):
            await here.press(key)
            assert (lens(here).place, reversed_text(here)) == (place, text), key
            assert panel(here)[0].startswith(f"{place + 1} of 29 · "), key


async def test_tokens_that_are_part_of_a_character_stand_on_it() -> None:
    async with stage(LensEngine(), SIZE) as here:
        await looked(here)
        before = here.lines()[: lens(here).query_one("#legend").region.y]
        for place, text, told in (
            (15, "👩‍👧", "⟨F0 9F 91⟩"),
            (16, "👩‍👧", "⟨A9 E2 80 8D F0 9F 91 A…"),
            (17, " e\u0301te\u0301", "␣e\u0301te\u0301"),
        ):
            await here.press("home", *["right"] * place)
            assert reversed_text(here) == text
            assert told in panel(here)[0]
        await here.press("home", *["right"] * 4)
        assert "control token </think>" in panel(here)[0]
        await here.press("home", *["right"] * 23)
        assert reversed_text(here) == "⟨400⟩"
        assert "from a draft" not in "".join(panel(here)[:2])
        await here.press("right")
        assert "from a draft" in "".join(panel(here)[:2])
        assert here.lines()[: len(before)] == before, "nothing moved"


async def test_c_colours_by_something_else_and_moves_nothing() -> None:
    async with stage(LensEngine(), SIZE) as here:
        await looked(here)
        region = lens(here).query_one("#text").region
        text = here.lines()[region.y : region.bottom]
        drawn = []
        for by in ("probability", "entropy", "nothing", "probability"):
            assert f"by {by}" in here.lines()[0]
            assert here.lines()[region.y : region.bottom] == text
            drawn.append([[part.style for part in strip] for strip in here.strips()[region.y : region.bottom]])
            await here.press("c")
        assert drawn[0] == drawn[3]
        assert drawn[0] != drawn[1] != drawn[2]


async def test_n_jumps_between_the_uncertain_places_and_u_lists_them() -> None:
    async with stage(LensEngine(), SIZE) as here:
        await looked(here)
        seen = []
        for _ in range(6):
            await here.press("n")
            seen.append(lens(here).place)
        assert seen == [7, 9, 17, 19, 27, 7]
        await here.press("N")
        assert lens(here).place == 27
        await here.press("u")
        assert [line.split()[0:2] for line in panel(here)[:2]] == [["▸", "10"], ["20", "3.50"]]
        assert "␣of│␣東京" in panel(here)[0]
        await here.press("down", "j", "up", "k", "down", "enter")
        assert lens(here).place == 19
        assert panel(here)[0].startswith("20 of 29")


async def test_nothing_of_the_list_and_of_the_legend_is_cut_where_there_is_little_room() -> None:
    async with stage(LensEngine(), (40, 15)) as here:
        await looked(here)
        await here.press("u")
        listed = [line.rstrip() for line in panel(here) if "nats" in line]
        assert listed and all(line.endswith("%") for line in listed), listed
        for by in ("probability", "entropy"):
            assert by in here.lines()[0]
            assert all(meaning in here.text() for meaning in meanings(by))
            await here.press("c")


def test_a_token_that_came_without_a_pass_is_none() -> None:
    times = [Moment("prefill", 0.2, 8), *[Moment("token", 0.0)] * 3, *[Moment("token", 0.01)] * 2]
    reading = Reading(IDS[:5], PROMPT, moments=times)
    assert timeline_lines(reading, 0, 100, 11)[0].plain.startswith("2 passes · ")
    assert [token_facts(reading, place)[-1] for place in (2, 3)] == ["without a pass of its own", "10.0 ms"]


async def test_t_shows_the_time_and_names_the_slowest() -> None:
    async with stage(LensEngine(), SIZE) as here:
        await looked(here)
        await here.press("t")
        told = " ".join(panel(here)[:2])
        assert told.startswith("24 passes · slowest 8 ␣capital 300 ms · 5 from drafts · median 16.5 ms")
        assert "12 of the prompt in 2 chunks, 0.30 s" in told
        assert "kept behind 30 tokens" in told
        signs = next(line for line in panel(here) if line.startswith("SPP"))
        assert signs == "SPP" + "····d" * 5 + "····"
        await here.press("right", "right")
        at = next(line for line in panel(here) if "▲" in line)
        assert at.index("▲") == 5
        await here.press("a")
        assert panel(here)[0].startswith("3 of 29")
        for shown in ("3.50 nats", "24 passes", "3 of 29"):
            await here.press("tab")
            assert any(shown in line for line in panel(here))


@pytest.mark.parametrize("key", ["escape", "q", "f12"])
async def test_leaving(key: str) -> None:
    async with stage(LensEngine(), SIZE) as here:
        await looked(here)
        await here.press(key)
        assert here.app.screen is here.app.chat
        assert len(here.engine.sent()) == 1


@pytest.mark.parametrize("way", ["f12", "turn"])
async def test_keys_open_it_from_the_chat_and_from_a_turn(way: str) -> None:
    async with stage(LensEngine(), SIZE) as here:
        await here.ask("What is the capital?")
        await here.wait(lambda: here.app.conversation.phase == "ready", "the answer")
        await here.settle()
        await here.press(*(["f12"] if way == "f12" else ["ctrl+up", "l"]))
        await here.wait(lambda: isinstance(here.app.screen, LensScreen), "the lens")


async def test_the_bar_under_the_cursor_is_drawn_as_the_others_are() -> None:
    async with stage(LensEngine(), SIZE) as here:
        await looked(here)
        await here.press("right", "right", "right")
        top = lens(here).query_one("#panel").region.y + 1
        for row in (top, top + 1):
            await here.press("up" if row == top else "down")
            for at in (top, top + 1):
                drawn = [part for part in here.strips()[at] if part.style is not None and "█" in part.text]
                assert drawn and not any(part.style and part.style.reverse for part in drawn)
            told = "".join(part.text for part in here.strips()[row] if part.style and part.style.reverse)
            assert told.startswith("▸") and told.rstrip().endswith("%")


@pytest.mark.parametrize("entropies", [(0.0,), (0.004,)])
async def test_a_place_of_no_entropy_is_not_uncertain(
    entropies: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("support.lens_stage.OPEN", (*entropies, 1.0))
    async with stage(LensEngine(), SIZE) as here:
        await looked(here)
        await here.press("u")
        assert all(" 1.00 nats" in line for line in panel(here) if "nats" in line)
        assert "0.00 nats" not in here.text()
        monkeypatch.setattr("support.lens_stage.OPEN", entropies)
    async with stage(LensEngine(), SIZE) as here:
        await looked(here)
        await here.press("n")
        assert ALL_SURE in here.text()
        await here.press("u")
        assert ALL_SURE in here.lines()[lens(here).query_one("#panel").region.y]


async def test_enter_goes_on_from_an_alternative_as_a_branch_that_is_kept() -> None:
    async with stage(LensEngine(), SIZE) as here:
        await looked(here)
        await here.press("right", "right", "right", "down")
        assert "▸  ␣Paris" in panel(here)[2]
        await here.press("up", "k", "j", "enter")
        await here.wait(lambda: len(here.engine.sent()) == 2, "the branch to be asked for")
        send = here.engine.sent()[-1]
        assert send.begun is not None
        assert (send.begun.prompt_ids, send.begun.ids) == (PROMPT, (*IDS[:3], 15))
        assert send.settings.logprobs == LENS_TOP
        given, first = send.begun.probabilities, rows(IDS)
        assert given is not None
        assert [given[n] for n in range(3)] == [first[n] for n in range(3)]
        chosen = next(value for token, value in first[3].top if token == 15)
        assert (given[3].logprob, given[3].rank, given[3].drawn_logprob) == (chosen, 2, None)
        assert (given[3].top, given[3].entropy) == (first[3].top, first[3].entropy)
        # The engine goes back to before the question, which is answered anew.
        assert isinstance(here.engine.commands[-2], Restore)
        await here.wait(lambda: here.app.conversation.phase == "ready", "the branch")
        await here.settle()
        assert here.app.screen is here.app.chat
        turn = here.app.conversation.turns[-1]
        assert turn.place == (2, 2)
        await here.press("ctrl+up", "left")
        await here.wait(lambda: here.app.conversation.turns[-1].place == (1, 2), "the first answer")


async def test_a_control_token_is_chosen_only_on_purpose() -> None:
    async with stage(LensEngine(), SIZE) as here:
        await looked(here)
        await here.press("right", "down", "down", "down")
        assert "▸  <|im_end|>" in panel(here)[4]
        await here.press("enter")
        assert "<|im_end|> is a control token, not text: Enter again goes on with it." in here.text()
        await here.press("right", "left", "down", "down", "down", "enter")
        assert "Enter again" in here.text(), "asked anew after going elsewhere"
        assert len(here.engine.sent()) == 1
        await here.press("enter")
        await here.wait(lambda: len(here.engine.sent()) == 2, "the branch")
        begun = here.engine.sent()[-1].begun
        assert begun is not None
        assert begun.ids == (IDS[0], 0)


async def test_what_is_known_is_not_read_once_more() -> None:
    """A reading knows nothing of how likely a token was to be drawn, which is kept with the answer."""
    async with stage(LensEngine(), SIZE) as here:
        await looked(here)
        await here.press("s")
        await here.settle()
        assert not any(isinstance(command, Score) for command in here.engine.commands)
        assert "is known" in here.text()
        assert "drawn at" in here.text()


async def test_an_answer_without_probabilities_is_read_once_more_and_they_are_kept() -> None:
    async with stage(LensEngine(kept=False, times=False), SIZE) as here:
        await looked(here)
        assert NOT_KEPT in here.text()
        assert "s read it once more" in here.lines()[-1]
        await here.press("u")
        assert NOT_KEPT in here.text()
        await here.press("t")
        assert NO_TIMES in here.text()
        await here.press("n")
        assert "Nothing is known to be uncertain here." in here.text()
        await here.press("a", "s")
        await here.wait(lambda: "99.7 %" in here.text(), "the score")
        (asked,) = [command for command in here.engine.commands if isinstance(command, Score)]
        assert (asked.ids, asked.prompt_ids) == (IDS, PROMPT)
        assert "drawn at" in panel(here)[0]
        answer_id = here.app.conversation.turns[-1].answer_id
        assert answer_id is not None
        kept = await here.app.context.store.use(lambda store: store.probabilities.of(answer_id))
        assert kept is not None
        assert kept.probabilities == rows(IDS)
        await here.press("escape")
        await here.enter("/lens")
        await here.wait(lambda: isinstance(here.app.screen, LensScreen), "the lens")
        assert "99.7 %" in here.text()


async def test_what_cannot_be_scored_says_why() -> None:
    engine = LensEngine(kept=False)

    def script(command: object) -> list[Step]:
        if isinstance(command, Score):
            return [(0.0, ScoreFailed(command.number, "memory is short"))]
        return engine(command)  # pyright: ignore[reportArgumentType]

    async with stage(script, SIZE) as here:
        await looked(here)
        await here.press("enter")
        await here.wait(lambda: "It was not read: memory is short" in here.text(), "the refusal")
        await here.press("right")
        assert "memory is short" not in here.text()


async def test_a_model_without_tokenizer_shows_ids() -> None:
    async with stage(LensEngine(spells=False), SIZE) as here:
        await looked(here)
        assert "⟨2⟩⟨3⟩⟨4⟩⟨11⟩" in here.text()
        assert "1 of 29 · ⟨2⟩ · id 2" in here.text()


async def test_another_models_answer_is_refused_and_figures_of_another_are_passed_over() -> None:
    async with stage(LensEngine(), SIZE) as here:
        await here.ask("What is the capital?")
        await here.wait(lambda: here.app.conversation.phase == "ready", "the answer")
        turn = here.app.conversation.turns[-1]
        answer_id = turn.answer_id
        assert answer_id is not None
        other = ModelIdentity("e" * 32, "/models/other", "Other-9B", "q4", 1)
        turn.probabilities = None
        found = Probabilities(TOP, rows(IDS).data)
        await here.app.context.store.use(lambda store: store.probabilities.keep(answer_id, found, other))
        await here.enter("/lens")
        await here.wait(lambda: isinstance(here.app.screen, LensScreen), "the lens")
        assert NOT_KEPT in here.text()
        await here.press("escape")
        assert here.app.conversation.model is not None
        here.app.conversation.model = replace(here.app.conversation.model, fingerprint="another")
        await here.app.context.store.use(
            lambda store: store.database.read("UPDATE models SET fingerprint = ?", ("f" * 32,))
        )
        await here.enter("/lens")
        await here.wait(lambda: "whose tokens mean nothing to this model" in here.text(), "the refusal")
        assert here.app.screen is here.app.chat


async def test_without_an_answer_or_its_tokens_it_says_so() -> None:
    async with stage(loads_only, SIZE) as here:
        await here.enter("/lens")
        await here.wait(lambda: "There is no answer to look at yet" in here.text(), "the refusal")
        await tell(here, 1)
        await here.enter("/lens")
        await here.wait(lambda: "The tokens of this answer are not known" in here.text(), "the refusal")
        here.app.conversation.turns[-1].ids = IDS  # those before it are still not
        await here.enter("/lens")
        await here.wait(lambda: here.engine.commands and isinstance(here.engine.commands[-1], Spell), "the question")
        spell = here.engine.commands[-1]
        assert isinstance(spell, Spell)
        await here.feed(*(event for _, event in LensEngine()(spell)))
        await here.press("s")
        assert "It cannot be read once more: the tokens before this answer are not known." in here.text()
        here.app.conversation.turns[-1].probabilities = rows(IDS)
        await here.press("escape")
        await here.enter("/lens")
        await here.wait(lambda: here.engine.commands[-1] is not spell, "the question")
        again = here.engine.commands[-1]
        assert isinstance(again, Spell)
        await here.feed(*(event for _, event in LensEngine()(again)))
        await here.press("enter")
        assert "It cannot go on from here: the tokens before this answer are not known." in here.text()
        assert len(here.engine.sent()) == 0


async def test_an_answer_of_an_earlier_start_has_all_of_it() -> None:
    async with stage(LensEngine(), SIZE) as here:
        await looked(here)
        before = panel(here)
        await here.press("t")
        times = panel(here)
    async with stage(LensEngine(), SIZE, resume=1) as here:
        await here.wait(lambda: here.app.conversation.turns, "the conversation")
        await here.enter("/lens")
        await here.wait(lambda: isinstance(here.app.screen, LensScreen), "the lens")
        await here.settle()
        assert panel(here) == before
        await here.press("t")
        assert panel(here) == times
        await here.press("a", "down", "enter")
        await here.wait(lambda: len(here.engine.sent()) == 1, "the branch")
        begun = here.engine.sent()[-1].begun
        assert begun is not None
        assert begun.prompt_ids == PROMPT
