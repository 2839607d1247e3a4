"""What drawing costs while an answer streams: layouts counted, and that what is kept as drawn is never out of date."""

import random
import re
from dataclasses import replace

import pytest
from textual._compositor import ChopsUpdate, Compositor
from textual.content import Content
from textual.geometry import Region, Size
from textual.screen import Screen

from qwen_core.protocol.pieces import Part
from qwen_tui.chat.screen import ChatScreen
from qwen_tui.text.block_layout import Block, Laid, lay_out
from qwen_tui.widgets.draw_pace import INTERVAL, SHARE, SLOWEST, SOON, DrawPace
from qwen_tui.widgets.partial_paint import PartialCompositor
from qwen_tui.widgets.plain_text import PlainText
from qwen_tui.widgets.styled_rows import Rows
from qwen_tui.widgets.text_lines import TextLines
from support.app_stage import Stage, stage
from support.fake_engine import delta, loads_only, stats
from support.transcripts import rest

WORDS = ["NVFP4 stores", "each **group**", "with one `E4M3` scale;", "東京", "takes", "two", "cells."]


def strips(here: Stage) -> list[str]:
    """The whole screen, styles included, from the widgets as they are now."""
    return [repr(list(strip)) for strip in here.strips()]


def forget_drawn(here: Stage) -> None:
    """Have every widget drawn from nothing."""
    for widget in here.app.screen.walk_children():
        if isinstance(widget, TextLines):
            widget.set_blocks(list(widget._blocks))
        widget.refresh()


async def test_a_drawing_is_one_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toolkit would make it two: one for the text, one because the text's widget has grown."""
    layouts: list[Screen[object]] = []
    real = Screen._refresh_layout

    def counted(screen: Screen[object], size: Size | None = None, scroll: bool = False) -> None:
        layouts.append(screen)
        real(screen, size, scroll)

    async with stage(loads_only, (100, 30)) as here:
        await here.ask("Explain.")
        await here.feed(delta(1, ("answer", "word " * 800)))
        await rest(here)
        monkeypatch.setattr(Screen, "_refresh_layout", counted)
        for number in range(10):
            layouts.clear()
            await here.feed(delta(1, ("answer", f"number {number} " * 12), count=900 + number))
            assert len(layouts) == 1
        layouts.clear()
        # Words that fit into the row that is being written, and figures: nothing moves, nothing is laid out.
        figures = replace(stats(), live_tok_s=17.4, generated_tokens=1000)
        await here.feed(replace(delta(1, ("answer", "x"), count=1000), stats=figures))
        assert layouts == []


def painted(update: ChopsUpdate) -> dict[tuple[int, int], str]:
    """What of an update reaches the screen, styles included, by line and column."""
    pieces: dict[tuple[int, int], str] = {}
    for y, begin, end in update.spans:
        for following, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=True):
            if x < end and following > begin:
                assert strip is not None
                pieces[y, x] = repr(list(strip))
    return pieces


@pytest.fixture
def both_ways(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, object]]:
    """Every partial update of a screen as ours and as the toolkit's own, which was not written here."""
    updates: list[tuple[object, object]] = []
    real = PartialCompositor.render_partial_update

    def twice(compositor: PartialCompositor) -> ChopsUpdate | None:
        dirty = set(compositor._dirty_regions)
        ours = real(compositor)
        compositor._dirty_regions = dirty
        theirs = Compositor.render_partial_update(compositor)
        if ours is not None and theirs is not None:
            updates.append(((ours.spans, painted(ours)), (theirs.spans, painted(theirs))))
        else:
            assert ours is theirs is None
        return ours

    monkeypatch.setattr(PartialCompositor, "render_partial_update", twice)
    return updates


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_kept_as_drawn_is_what_drawing_it_anew_gives(
    seed: int, both_ways: list[tuple[object, object]]
) -> None:
    """After any stream, scrolling, marking, folding, selecting and change of theme; and a part of the screen is painted
    as the toolkit paints it."""
    rng = random.Random(seed)
    async with stage(loads_only, rng.choice([(60, 20), (100, 30)])) as here:
        await here.ask("Explain **this**.")
        for number in range(14):
            match rng.randrange(8):
                case 7:
                    await here.pilot.press(*rng.choice([["slash", "h"], ["escape"]]))
                case 0:
                    here.app.theme = rng.choice(sorted(here.app.available_themes))
                case 1:
                    here.app.chat.transcript.mark(rng.choice(["group", "o", ""]), None)
                case 2:
                    await here.pilot.press(rng.choice(["pageup", "pagedown", "ctrl+r"]))
                case 3:
                    chat: ChatScreen = here.app.chat
                    chat.text_select_all() if rng.random() < 0.5 else chat.clear_selection()
                case _:
                    part: Part = rng.choice(["answer", "answer", "reasoning"])
                    text = " ".join(rng.choices(WORDS, k=rng.choice([3, 40]))) + rng.choice([" ", "\n", "\n\n"])
                    await here.feed(delta(1, (part, text), count=number))
            await rest(here)
            shown = strips(here)
            forget_drawn(here)
            await rest(here)
            assert strips(here) == shown
    assert len(both_ways) > 14
    assert all(ours == theirs for ours, theirs in both_ways)


async def test_text_that_grows_in_its_last_row_has_only_its_last_part_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Region] = []
    real = TextLines.refresh

    def heard(lines: TextLines, *regions: Region, layout: bool = False) -> TextLines:
        assert regions and not layout
        asked.extend(regions)
        return real(lines, *regions)

    async with stage(loads_only, (60, 20)) as here:
        lines = PlainText()
        await here.app.chat.transcript.mount(lines)
        lines.show("a line of some words\n" * 150)
        await rest(here)
        old = [lines.render_line(y) for y in range(lines.size.height)]
        monkeypatch.setattr(TextLines, "refresh", heard)
        lines.show("a line of some words\n" * 150 + "x")
        new = [lines.render_line(y) for y in range(lines.size.height)]
        changed = {y for y, (one, other) in enumerate(zip(old, new, strict=True)) if one != other}
        painted = {y for region in asked for y in region.line_range}
        assert changed == {150} <= painted == set(range(min(painted), 151))
        assert min(painted) > 0


async def test_how_many_lines_are_left_out_is_painted_again_as_they_become_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Region] = []
    real = TextLines.refresh

    def heard(lines: TextLines, *regions: Region, layout: bool = False) -> TextLines:
        asked.extend(regions)
        return real(lines, *regions, layout=layout)

    async with stage(loads_only, (60, 20)) as here:
        lines = PlainText()
        lines.set_cut(4)
        await here.app.chat.transcript.mount(lines)
        lines.show("a line\n" * 30)
        await rest(here)
        monkeypatch.setattr(TextLines, "refresh", heard)
        lines.show("a line\n" * 31)
        assert [region.line_span for region in asked] == [(3, 4)]
        await rest(here)
        assert "… 29 more lines" in strips(here)[lines.region.y + 3]


def test_the_next_drawing_waits_for_its_interval_and_for_its_share_of_the_processor() -> None:
    now, spent = 10.0, 3.0
    pace = DrawPace(lambda: now, lambda: spent, processors=4)
    assert pace.wait() == SOON  # the first waits for nothing
    pace.began()
    assert pace.wait() == pytest.approx(INTERVAL)
    now += INTERVAL - 0.001
    assert pace.wait() == SOON
    spent += 0.007
    assert pace.wait() == pytest.approx(0.007 / (4 * SHARE) - INTERVAL + 0.001)
    spent += 1.0
    assert pace.wait() == pytest.approx(SLOWEST - INTERVAL + 0.001)
    pace.began()
    assert pace.wait() == pytest.approx(INTERVAL)


async def test_rows_draw_again_what_has_changed_in_text_or_style() -> None:
    async with stage(loads_only, (120, 30)) as here:
        rows = Rows()
        await here.app.chat.panel.mount(rows)
        rows.show([Content("one"), Content.styled("two", "$muted")])
        await rest(here)
        before = strips(here)
        rows.show([Content("one"), Content.styled("two", "$error")])
        await rest(here)
        changed = [y for y, (old, new) in enumerate(zip(before, strips(here), strict=True)) if old != new]
        assert changed == [rows.region.y + 1]
        assert rows.plain == "one\ntwo"
        rows.show([Content("one")])
        await rest(here)
        assert rows.size.height == 1


async def test_what_is_searched_for_is_marked_where_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter that is in each of many lines would else lay out all of them anew for every key."""
    async with stage(loads_only, (60, 20)) as here:
        lines = TextLines()
        await here.app.chat.transcript.mount(lines)
        lines.set_blocks([Block(Content("a\n" * 20)) for _ in range(200)])
        await rest(here)
        marked: list[Block] = []

        def counted(block: Block, width: int, find: re.Pattern[str] | None = None) -> Laid:
            marked.append(block)
            return lay_out(block, width, find)

        monkeypatch.setattr("qwen_tui.widgets.text_lines.lay_out", counted)
        lines.mark("a")
        await rest(here)
        assert 0 < len(marked) < 5
        assert len(lines.hits) == 200 * 20
        assert len(marked) == 200
