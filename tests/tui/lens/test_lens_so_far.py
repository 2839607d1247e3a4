"""The lens on an answer that is still coming: what has been said so far, then the rest; what has to wait says so."""

from dataclasses import replace

from qwen_core.protocol.events import Command, Delta, Send
from qwen_core.protocol.probabilities import Probabilities
from qwen_core.protocol.scoring import Score, Spell
from qwen_tui.lens.screen import STILL_COMES, LensScreen
from support.app_stage import stage
from support.fake_engine import Step
from support.lens_stage import IDS, TOP, LensEngine, rows

SIZE = (100, 30)


async def test_it_opens_on_what_has_been_said_so_far_and_gets_the_rest_at_the_end() -> None:
    engine, so_far = LensEngine(), 7

    def script(command: Command) -> list[Step]:
        steps = engine(command)
        if not isinstance(command, Send):
            return steps
        (_, started), (_, delta), _ = steps
        assert isinstance(delta, Delta)
        return [(0.0, started), (0.0, replace(delta, ids=IDS[:so_far], probabilities=rows(IDS[:so_far])))]

    async with stage(script, SIZE) as here:
        await here.ask("What is the capital?")
        await here.settle()
        await here.press("f12")
        await here.wait(lambda: isinstance(here.app.screen, LensScreen), "the lens")
        await here.settle()
        assert "so far" in here.lines()[0]
        assert f" 1 of {so_far} · The · id 2 · 99.7 %" in here.text()
        for key in ("enter", "s"):
            await here.press("right", "left", key)
            assert STILL_COMES.partition(":")[0] in here.text(), key
        assert len(here.engine.sent()) == 1
        assert not any(isinstance(command, Score) for command in here.engine.commands)
        (_, delta), (_, ended) = engine(here.engine.sent()[0])[1:]
        assert isinstance(delta, Delta)
        await here.feed(
            replace(
                delta,
                pieces=(),
                ids=IDS[so_far:],
                probabilities=Probabilities(TOP, rows(IDS).data[so_far * rows(IDS).row_bytes :]),
            ),
            ended,
        )
        await here.wait(lambda: f"1 of {len(IDS)}" in here.text(), "the rest")
        assert "so far" not in here.lines()[0]
        await here.press("right", "right", "right", "down", "enter")
        await here.wait(lambda: len(here.engine.sent()) == 2, "the branch")


async def test_an_engine_that_ends_ends_what_is_still_to_come() -> None:
    def script(command: Command) -> list[Step]:
        return LensEngine()(command)[: 2 if isinstance(command, Send) else None]

    async with stage(script, SIZE) as here:
        await here.ask("What is the capital?")
        await here.settle()
        await here.press("f12")
        await here.wait(lambda: isinstance(here.app.screen, LensScreen), "the lens")
        here.engine.die("out of memory")
        await here.wait(lambda: "so far" not in here.lines()[0], "the end")
        await here.press("s")
        assert "The engine is down" in here.text()


async def test_what_comes_after_it_was_closed_does_not_open_it_again() -> None:
    silent: list[Spell] = []

    def script(command: Command) -> list[Step]:
        if isinstance(command, Spell) and silent:
            silent.append(command)
            return []
        return LensEngine()(command)[: 2 if isinstance(command, Send) else None]

    async with stage(script, SIZE) as here:
        await here.ask("What is the capital?")
        await here.settle()
        await here.press("f12")
        await here.wait(lambda: isinstance(here.app.screen, LensScreen), "the lens")
        silent.append(Spell(0, ()))
        await here.feed(LensEngine()(here.engine.sent()[0])[2][1])
        await here.wait(lambda: len(silent) == 2, "the question what the rest writes")
        await here.press("escape")
        await here.feed(LensEngine()(silent[1])[0][1])
        assert here.app.screen is here.app.chat
