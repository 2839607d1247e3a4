"""What a model writes, in whatever pieces it comes: the same final screen, nothing taken as markup, nothing raw."""

import random
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qwen_core.protocol.events import FinishReason, TurnStarted
from qwen_core.protocol.pieces import Part
from qwen_tui.chat.turn_view import TurnView
from support.app_stage import Stage, stage
from support.fake_engine import delta, done, loads_only
from support.raw_output import CapturingDriver, raw_parts

ANSWER = """Intro with **bold**, `code` and [a link](https://example.org).

## Head

| a | b |
|---|---|
| 1 | 東京 🎉 |

1. one
2. two

```python
print("[red]no markup[/red]")
```

> quote

<b>raw</b> [bold]text[/bold] \x1b[31mred\x1b[0m and \u202eturned\u202c &#x202e;
end"""


async def stream(here: Stage, turn: int, pieces: list[tuple[Part, str]]) -> list[str]:
    """Send a question, stream `pieces` one event each with a drawing between some; the rows of this turn at the end."""
    await here.ask("q")
    await here.feed(TurnStarted(turn, 10, 0))
    for number, piece in enumerate(pieces):
        here.engine.feed(delta(turn, piece))
        if number % 4 == 0:
            await here.app.chat.draw()
    reasoning = "".join(text for part, text in pieces if part == "reasoning")
    answer = "".join(text for part, text in pieces if part == "answer")
    await here.feed(done(turn, answer, reasoning))
    await here.settle()
    return here.lines()


def cut(text: str, rng: random.Random) -> list[str]:
    pieces = []
    while text:
        size = rng.choice([1, 2, 3, 7, 20, 60])
        pieces.append(text[:size])
        text = text[size:]
    return pieces


async def test_any_chunking_ends_in_the_same_screen() -> None:
    screens = set()
    async with stage(loads_only, size=(80, 48)) as here:
        for seed in range(7):
            rng = random.Random(seed)
            pieces: list[tuple[Part, str]] = [("reasoning", text) for text in cut("Some\n\nthoughts.", rng)]
            pieces.extend(("answer", text) for text in ([ANSWER] if seed == 0 else cut(ANSWER, rng)))
            lines = await stream(here, seed + 1, pieces)
            screens.add("\n".join(line for line in lines if "Reasoning" not in line))
            here.app.action_new()
            await here.settle()
    assert len(screens) == 1
    screen = screens.pop()
    for literal in ("[red]no markup[/red]", "<b>raw</b>", "[bold]text[/bold]", "␛[31mred", "⟨U+202E⟩", "東京 🎉"):
        assert literal in screen, literal


async def test_while_it_streams_the_text_so_far_is_on_the_screen() -> None:
    async with stage(loads_only, size=(80, 48)) as here:
        await here.ask("q")
        for character in ANSWER:
            here.engine.feed(delta(1, ("answer", character)))
        await here.settle()
        text = here.text()
        for part in ("Intro with bold", "Head", "東京 🎉", "[red]no markup[/red]", "␛[31mred", "end"):
            assert part in text, part


MARKUP = [
    "[/]",
    "[@click=app.quit]x[/]",
    "```",
    "| a |\n|---|\n",
    "- ",
    "# ",
    "> ",
    "1. ",
    "![i](x)",
    "[l](javascript:x)",
]
HARM = ["\x1b[2J", "\r", "\n", "\u202e", "<script>", "&#27;", "&#x202e;", "\ud800", "\x9b", "👩\u200d👩\u200d👧"]
WILD = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=()), max_size=20), st.sampled_from(MARKUP), st.sampled_from(HARM)
    ),
    max_size=12,
).map("".join)


@settings(max_examples=2, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(WILD, min_size=3, max_size=5))
async def test_nothing_a_model_writes_reaches_the_terminal_raw_or_stops_the_app(texts: list[str]) -> None:
    """Few examples of many texts: starting the app is what costs."""
    async with stage(loads_only, size=(60, 40)) as here:
        for number, text in enumerate(texts, 1):
            await stream(here, number, [("reasoning", text), ("answer", text), ("tool_call", text)])
            await here.press("ctrl+r")
            assert raw_parts("".join(here.lines())) == set()
        assert here.app.is_running


@pytest.mark.parametrize("text", ["東京" * 40, "🎉" * 90, "e\u0301" * 200, "a" * 500, "👩\u200d👩\u200d👧" * 30])
async def test_wide_characters_keep_their_cells(text: str) -> None:
    """No row is wider than the screen and no wide character is cut in half by its end."""
    async with stage(loads_only, size=(41, 30)) as here:
        await here.write(text)
        for row in here.strips():
            assert row.cell_length == 41
        await here.ask(text)
        await here.feed(delta(1, ("answer", text)))
        await here.feed(done(1, text))
        for row in here.strips():
            assert row.cell_length == 41
        assert here.transcript().replace("\n", "").replace(" ", "").count(text[:2]) >= 2


async def test_a_clicked_link_is_copied_and_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    async with stage(loads_only) as here:
        monkeypatch.setattr(here.app, "open_url", lambda url, **_: opened.append(url))
        await here.ask("q")
        await here.feed(done(1, "[click me](https://evil.example/x)"))
        row = next(y for y, line in enumerate(here.lines()) if "click me" in line)
        await here.pilot.click(offset=(here.lines()[row].index("click me") + 2, row))
        await here.wait(lambda: here.app.clipboard == "https://evil.example/x")
        await here.settle()
        assert "not opened" in here.lines()[-1]
        assert opened == []


@pytest.mark.parametrize(("head", "shown"), [("python a.py", "⧉ python a.py"), ("", "⧉ copy")])
async def test_a_click_on_the_head_of_a_block_copies_its_code(head: str, shown: str) -> None:
    async with stage(loads_only) as here:
        await here.ask("q")
        await here.feed(done(1, f"1. one\n\n   ```{head}\n   if x:\n   \ty = 1\n   ```\n\n```\nother\n```\n"))
        row = next(y for y, line in enumerate(here.lines()) if shown in line)
        for column in (0, len(shown) - 1):
            here.app.copy_to_clipboard("")
            await here.pilot.click(offset=(here.lines()[row].index(shown) + column, row))
            await here.wait(lambda: here.app.clipboard == "if x:\n\ty = 1\n")


async def test_a_link_of_a_page_is_handed_to_the_terminal_and_no_other() -> None:
    async with stage(loads_only) as here:
        await here.ask("q")
        driver = CapturingDriver(here.app)
        await here.feed(done(1, "[page](https://a.example/x;y) [mail](mailto:a@b.example) [file](file:///etc/passwd)"))
        await here.settle()
        links = re.findall(r"\x1b\]8;[^;]*;([^\x1b]+)\x1b\\", driver.taken())
        assert set(links) == {"https://a.example/x;y", "mailto:a@b.example"}


CALL = "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>"


@pytest.mark.parametrize("reason", ["stop", "length", "cancelled"])
async def test_a_turn_that_ends_in_its_reasoning_says_so_and_shows_its_call(reason: FinishReason) -> None:
    async with stage(loads_only) as here:
        await here.ask("q")
        await here.feed(TurnStarted(1, 10, 0), delta(1, ("reasoning", f"Let me call.\n{CALL}")))
        assert "Tool call" not in here.transcript()
        await here.feed(done(1, "", f"Let me call.\n{CALL}", reason=reason))
        assert ("still reasoning, no answer" in here.transcript()) == (reason != "cancelled")
        assert "Tool call inside the reasoning  get_weather" in here.transcript()
        here.app.chat.transcript.query_one(TurnView).turn_folds(True)
        await here.settle()
        assert '"city": "Paris"' in here.transcript()


async def test_what_was_shown_as_answer_goes_into_the_reasoning_it_turns_out_to_be() -> None:
    async with stage(loads_only) as here:
        await here.ask("q")
        await here.feed(TurnStarted(1, 10, 0), delta(1, ("answer", "I think.\n\nParis.")))
        assert "I think." in here.transcript()
        await here.feed(done(1, "Paris.", "I think."))
        assert "Paris." in here.transcript()
        assert "I think." not in here.transcript()
        assert "Reasoning" in here.transcript()
