"""The app's flows under the test pilot, with a scripted engine."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from textual.events import Paste

from qwen_core.protocol.events import (
    Command,
    GenerationSettings,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    LoadSettings,
    Message,
    PrefillProgress,
    Restore,
    TurnFailed,
    TurnStarted,
)
from qwen_core.protocol.weight_tiers import WeightTiers
from qwen_core.settings.paths import location
from qwen_tui.app.app import QwenApp
from qwen_tui.app.help_screen import HelpScreen
from qwen_tui.settings.file import load_settings, settings_path
from qwen_tui.settings.tree import AppSettings
from support.app_stage import stage
from support.fake_engine import MODEL, Step, answered, delta, done, loads_only

WITHOUT_METERS = (90, 30)  # too narrow for the meters, so that a line is not wrapped beside them


async def test_a_question_is_sent_with_its_settings_and_answered() -> None:
    settings = GenerationSettings(temperature=0.0, max_new_tokens=9)
    async with stage(size=WITHOUT_METERS, settings=settings, system="be kind") as here:
        load = Load("/models/Qwen3.6-27B-UD-NVFP4_K_XL-mlx", None, "be kind", AppSettings().for_load())
        assert here.engine.commands == [load]
        await here.ask("  hello\nthere ")
        await here.wait(lambda: here.app.conversation.phase == "ready" and here.app.conversation.turns[0].stats)
        await here.settle()
        sent = here.engine.sent()[0]
        assert (sent.turn, sent.text, sent.settings) == (1, "  hello\nthere ", settings)
        assert "You said: hello there" in here.text()
        assert "↳ 17.3 tok/s · 412 tokens · first 0.41 s · 38 of 1,242 prefilled" in here.text()
        assert here.app.chat.editor.text == ""
        await here.ask("again")
        assert here.engine.sent()[1].turn == 2


def test_what_the_person_set_for_a_load_goes_with_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = str(location("state"))
    assert AppSettings().for_load() == LoadSettings(cache_folder=cache)
    settings_path().write_text("[hardware]\npeak_bandwidth_gb_s = 321.5\n[context]\nsnapshot_budget_mb = 9\n")
    monkeypatch.setenv("QWEN_TUI_HARDWARE_GPU_CORES", "7")
    context = QwenApp("/models/x", load_settings()).context
    assert context.load.settings == LoadSettings(9_000_000, 321.5, 7, cache_folder=cache)
    key = "context.snapshot_budget_mb"
    context.take(context.loaded.for_now(key, 3), key)
    # What is changed counts for the next load.
    assert context.load.settings == LoadSettings(3_000_000, 321.5, 7, cache_folder=cache)
    context.take(context.loaded.for_now("hardware.kernels", False), "hardware.kernels")
    assert context.load.settings == LoadSettings(3_000_000, 321.5, 7, cache_folder=cache, kernels=False)


async def test_the_first_screen_is_drawn_before_the_engine_exists() -> None:
    async with stage(lambda command: [], ready=False) as here:
        assert here.app.conversation.phase == "starting"
        assert "Qwen3.6-27B-UD-NVFP4_K_XL-mlx" in here.text()
        await here.feed(LoadProgress("weights", 8_200_000_000, 21_900_000_000, WeightTiers(mapped=8_200_000_000)))
        assert "8.20 of 21.90 GB" in here.text()
        assert "mapped" in here.lines()[-1]
        await here.enter("too early")
        assert here.engine.sent() == []
        assert here.app.chat.editor.text == "too early"
        assert "Still loading" in here.lines()[-1]
        await here.feed(Loaded(MODEL))
        assert "Qwen3.6-27B · UD-NVFP4_K_XL · 21.90 GB · Metal bf16" in here.lines()[0]
        await here.pilot.press("enter")
        await here.wait(lambda: here.engine.sent())


async def test_escape_and_ctrl_c_stop_and_a_draft_is_kept_meanwhile() -> None:
    async with stage(loads_only) as here:
        await here.ask("count")
        await here.feed(TurnStarted(1, 20, 0), PrefillProgress(1, 5, 20, 0))
        assert "5 / 20 tokens" in here.lines()[-1]
        await here.feed(delta(1, ("answer", "1, 2, 3")))
        assert "17.3 tok/s" in here.lines()[-1]
        await here.enter("and then?")
        await here.settle()
        assert "1 waits (Esc takes back): and then?" in here.text()
        await here.pilot.press("escape")
        assert here.app.chat.editor.text == "and then?"
        await here.pilot.press("escape")
        await here.wait(lambda: here.engine.stopped == 1)
        assert here.app.conversation.phase == "stopping"
        await here.feed(done(1, "1, 2, 3", reason="cancelled"))
        assert "stopped by you" in here.text()
        await here.pilot.press("enter")
        await here.wait(lambda: len(here.engine.sent()) == 2)
        await here.pilot.press("ctrl+c")
        await here.wait(lambda: here.engine.stopped == 2)
        assert here.app.is_running


async def test_ctrl_c_asks_before_it_quits_and_writing_takes_the_question_back() -> None:
    async with stage() as here:
        await here.pilot.press("ctrl+c")
        assert "Ctrl+C again" in here.lines()[-1]
        await here.pilot.press("x")
        await here.pilot.pause()
        assert "Ctrl+C again" not in here.lines()[-1]
        await here.pilot.press("ctrl+c", "ctrl+c")
        await here.wait(lambda: not here.app.is_running)
        assert here.app.return_code == 0
    assert here.engine.closed == 1


@pytest.mark.parametrize("way", ["ctrl+q", "/quit"])
async def test_leaving_is_exit_code_0_and_closes_the_engine_also_in_an_answer(way: str) -> None:
    async with stage(loads_only) as here:
        await here.ask("count")
        if way.startswith("/"):
            await here.enter(way)
        else:
            await here.pilot.press(way)
        await here.wait(lambda: not here.app.is_running)
        assert here.app.return_code == 0
    assert here.engine.closed == 1


async def test_several_lines_and_recall() -> None:
    async with stage() as here:
        editor = here.app.chat.editor
        await here.pilot.press("a", "ctrl+j", "b")
        assert editor.text == "a\nb"
        assert editor.size.height == 2
        await here.pilot.press("enter")
        await here.wait(lambda: here.engine.sent())
        await here.ask("second")
        await here.write("draft")
        await here.pilot.press("up")
        assert editor.text == "second"
        await here.pilot.press("up")
        assert editor.text == "a\nb"
        await here.pilot.press("up")  # from the last line to the first: the cursor moves, the text stays
        assert editor.text == "a\nb"
        assert editor.cursor_location[0] == 0
        await here.pilot.press("up")  # there is nothing older
        assert editor.text == "a\nb"
        await here.pilot.press("down", "down")
        assert editor.text == "second"
        await here.pilot.press("down")
        assert editor.text == "draft"
        await here.write("x\n" * 20)
        await here.settle()
        assert editor.size.height == 8


async def test_pasted_control_characters_stay_out_and_wide_ones_stay_in() -> None:
    async with stage() as here:
        here.app.chat.editor.post_message(Paste("东京 🎉\x1b[2J\x00\r\nend\x9b"))
        await here.wait(lambda: here.app.chat.editor.text)
        assert here.app.chat.editor.text == "东京 🎉[2J\nend"
        await here.settle()
        assert any("东京 🎉[2J" in line for line in here.lines())
        await here.pilot.press("enter")
        await here.wait(lambda: here.engine.sent())
        assert here.engine.sent()[0].text == "东京 🎉[2J\nend"


async def test_a_death_in_an_answer_keeps_the_text_and_the_next_turn_works() -> None:
    async with stage(loads_only) as here:
        await here.ask("one")
        await here.feed(*answered(1, "the first answer"))
        await here.ask("two")
        await here.feed(delta(2, ("answer", "half an ans")))
        await here.write("my draft")
        here.engine.die("the engine process was ended by SIGSEGV")
        await here.settle()
        text = here.text()
        for part in ("half an ans", "interrupted", "SIGSEGV", "/var/log/fake-engine.log", "/restart", "my draft"):
            assert part in text, part
        await here.pilot.press("enter")
        assert "engine is down" in here.lines()[-1]
        assert len(here.engine.sent()) == 2
        await here.pilot.press("ctrl+t")
        await here.wait(lambda: isinstance(here.engine.commands[-1], Restore), "the conversation to be put back")
        assert here.engine.restarted == 1
        assert isinstance(here.engine.commands[-2], Load)
        restored = here.engine.commands[-1]
        assert isinstance(restored, Restore)
        assert restored.messages[-1] == Message("assistant", "half an ans")
        await here.pilot.press("enter")
        await here.wait(lambda: len(here.engine.sent()) == 3)
        assert here.engine.sent()[2].text == "my draft"
        await here.feed(*answered(3, "the third answer"))
        assert "the third answer" in here.text()


async def test_a_death_before_any_text_offers_the_question_again() -> None:
    async with stage(loads_only) as here:
        await here.ask("my long question")
        here.engine.die("gone")
        await here.settle()
        assert here.app.chat.editor.text == "my long question"
        assert "unanswered" in here.text()
        await here.enter("/restart")
        await here.wait(lambda: here.app.conversation.engine == "ready")
        await here.enter("/retry")
        await here.wait(lambda: len(here.engine.sent()) == 2)
        assert here.engine.sent()[1].text == "my long question"
        assert len(here.app.conversation.turns) == 1


async def test_a_death_while_loading_is_told_and_can_be_tried_again() -> None:
    async with stage(lambda command: [], ready=False) as here:
        await here.feed(LoadProgress("weights", 1, 2))
        here.engine.die("the engine process was ended by SIGBUS")
        await here.settle()
        assert "SIGBUS" in here.text()
        await here.pilot.press("ctrl+t")
        await here.wait(lambda: here.engine.restarted == 1)
        await here.feed(Loaded(MODEL))
        assert here.app.conversation.phase == "ready"
        assert not [command for command in here.engine.commands if isinstance(command, Restore)]


async def test_a_model_that_does_not_load_is_one_line_and_the_app_stays_usable() -> None:
    line = "/models/x: config.json is missing; is this a model directory?"
    results: list[list[Step]] = [[(0.0, LoadFailed(line))], [(0.0, Loaded(MODEL))]]

    def script(command: Command) -> Iterable[Step]:
        return results.pop(0) if isinstance(command, Load) else []

    async with stage(script, WITHOUT_METERS, ready=False) as here:
        await here.wait(lambda: here.app.conversation.engine == "no model")
        await here.settle()
        assert line in here.text().replace("\n ▌ ", " ")
        await here.enter("hello?")
        assert "No model is loaded" in here.lines()[-1]
        assert here.app.chat.editor.text == "hello?"
        await here.pilot.press("f1")
        await here.wait(lambda: isinstance(here.app.screen, HelpScreen))
        await here.pilot.press("escape")
        await here.pilot.press("ctrl+t")
        await here.wait(lambda: here.app.conversation.engine == "ready")
        await here.pilot.press("enter")
        await here.wait(lambda: here.engine.sent())


async def test_a_turn_that_fails_says_why_and_can_be_sent_again() -> None:
    async with stage(loads_only) as here:
        await here.ask("one")
        await here.feed(TurnFailed(1, "the chat template ran over its 2 s"))
        assert "the chat template ran over its 2 s" in here.text()
        await here.enter("/retry")
        await here.wait(lambda: len(here.engine.sent()) == 2)
        assert here.engine.sent()[1].text == "one"
        await here.enter("/retry")
        assert len(here.engine.sent()) == 2


async def test_an_engine_that_cannot_start_is_told() -> None:
    from qwen_core.errors import EngineError

    async with stage(loads_only) as here:

        def restart() -> None:
            raise EngineError("the engine process could not be started: no memory")

        here.engine.restart = restart
        here.engine.die("gone")
        await here.settle()
        await here.enter("/restart")
        await here.wait(lambda: "no memory" in here.text())


async def test_commands_that_change_the_conversation() -> None:
    async with stage() as here:
        await here.ask("one")
        await here.enter("/think high")
        await here.ask("two")
        assert here.engine.sent()[1].settings.effort == "high"
        await here.enter("/new")
        await here.wait(lambda: here.engine.commands[-1] == Restore(()))
        await here.settle()
        assert "You said" not in here.text()
        await here.enter("/theme paper")
        assert here.app.theme == "paper"
        await here.enter("/theme nope")
        assert "midnight" in here.lines()[-1]
        await here.enter("/nonsense")
        assert "no command /nonsense" in here.text()
        assert here.app.chat.editor.text == "/nonsense"
        await here.ask("//etc is a folder")
        assert here.engine.sent()[-1].text == "/etc is a folder"
        await here.settle()
        await here.enter("/copy")
        assert here.app.clipboard == "You said: /etc is a folder"


async def test_folds_open_by_key_and_by_enter_and_hold_tool_calls() -> None:
    call = "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>"
    async with stage(loads_only) as here:
        await here.ask("weather?")
        await here.feed(*answered(1, "I will look.", "The user wants weather.", call))
        assert "▸ Reasoning  96 tokens" in here.text()
        assert "▸ Tool call  get_weather" in here.text()
        assert "wants weather" not in here.text()
        await here.press("ctrl+r")
        assert "▾ Reasoning" in here.text()
        assert "The user wants weather." in here.text()
        assert '"city": "Paris"' in here.text()
        await here.pilot.press("ctrl+r")
        await here.press("shift+tab", "enter")
        assert "Paris" in here.text()
        assert "wants weather" not in here.text()
        await here.pilot.press("h", "i")  # writing goes to the composer from anywhere
        assert here.app.chat.editor.text == "hi"


async def test_the_end_is_followed_until_the_person_scrolls_away() -> None:
    async with stage(loads_only, size=(60, 20)) as here:
        transcript = here.app.chat.transcript
        await here.ask("count")
        for number in range(0, 60, 4):
            text = "".join(f"{line}\n\n" for line in range(number, number + 4))
            await here.feed(delta(1, ("answer", text), count=number))
        assert "59" in here.text()
        assert transcript.following
        await here.press("pageup")
        top = transcript.scroll_y
        assert not transcript.following
        await here.feed(delta(1, ("answer", "60\n\n61\n\n62\n\n")))
        assert transcript.scroll_y == top
        await here.press("ctrl+end")
        assert "62" in here.text()
        assert transcript.following


async def test_bad_themes_are_told_in_one_notice(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text("name = 1", encoding="utf-8")
    (tmp_path / "two.toml").write_text("=", encoding="utf-8")
    async with stage(theme_folders=[tmp_path]) as here:
        text = here.text()
        assert "one.toml" in text
        assert "two.toml" in text
        assert text.count("Themes that could not be read") == 1
        await here.ask("hello")


async def test_without_colour_nothing_is_coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with stage() as here:
        await here.ask("hello")
        await here.settle()
        assert here.app.no_color
        assert "● ready" in here.text()
