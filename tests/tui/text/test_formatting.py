"""Figures as people read them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.protocol.stats import DraftStats
from qwen_tui.text import formatting
from qwen_tui.text.safe import cells
from support.fake_engine import stats


def test_the_line_under_an_answer() -> None:
    assert formatting.turn_line(stats()) == (
        "17.3 tok/s · 412 tokens (+96 reasoning) · first 0.41 s · 38 of 1,242 prefilled"
    )
    bare = replace(stats(1, 0, 20, 0), decode_tok_s=None, ttft_s=None)
    assert formatting.turn_line(bare) == "1 token · 20 of 20 prefilled"


def test_drafts_are_told_under_an_answer_and_among_its_figures() -> None:
    draft = DraftStats("mtp", 3, passes=200, drafted=600, accepted=308, accepted_by_depth=(170, 98, 40))
    drafted = replace(stats(), draft=draft, draft_bytes=200 * 10**9)
    line = formatting.turn_line(drafted)
    assert " · mtp 3: 2.54 a pass · 412 tokens (+96 reasoning) · accepted 85, 49, 20 % of passes · " in line
    figures = "\n".join(formatting.all_figures(drafted))
    assert "drafts by mtp, up to 3 a pass: 308 of 600 accepted, by depth 170, 98, 40 in 200 passes" in figures
    assert "ceiling 47.7 tok/s est. at 2.54 tokens a pass, which reads 21.30 GB" in figures
    nothing = replace(draft, drafted=0, accepted=0, accepted_by_depth=())
    assert " · mtp: none drafted · " in formatting.turn_line(replace(stats(), draft=nothing))
    off_line = formatting.turn_line(replace(stats(), draft_off="cpu"))
    assert off_line.startswith("17.3 tok/s · 412 tokens (+96 reasoning) · no drafts (CPU) · first")
    off = formatting.all_figures(replace(stats(), draft_off="setting"))
    assert "drafts off: as it is set; /draft auto drafts where it pays" in off


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00 s"), (0.412, "0.41 s"), (3.24, "3.2 s"), (24.4, "24 s"), (185.2, "3 min 05 s")]
)
def test_durations(value: float, text: str) -> None:
    assert formatting.seconds(value) == text


@given(st.integers(-5, 10**12), st.integers(0, 10**12), st.integers(0, 60))
def test_a_bar_is_exactly_as_wide_as_asked(done: int, total: int, width: int) -> None:
    assert len(formatting.bar(done, total, width)) == width


def test_a_bar_is_empty_at_nothing_and_full_at_all() -> None:
    assert formatting.bar(0, 8, 4) == "····"
    assert formatting.bar(3, 8, 4) == "█▌··"
    assert formatting.bar(8, 8, 4) == "████"


def test_sizes_name_their_unit() -> None:
    assert formatting.exact_size(19_994_594_368) == "19,994,594,368 bytes (19.99 GB)"
    assert formatting.exact_size(310) == "310 bytes"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], ""), ([3], "3"), ([0, 1, 2, 5], "0-2, 5"), ([3, 7, 11], "3-11 by 4"), ([0, 2], "0, 2"), (range(64), "0-63")],
)
def test_numbers_are_written_as_people_do(numbers: list[int], text: str) -> None:
    assert formatting.ranges(numbers) == text


@given(st.lists(st.text(alphabet="ab\u6771", min_size=1, max_size=20), max_size=5), st.integers(0, 40))
def test_what_fits_keeps_the_first_pieces_whole(pieces: list[str], width: int) -> None:
    text = formatting.fit(pieces, width)
    assert cells(text) <= width
    kept = text.split(" \u00b7 ") if text else []
    assert kept == pieces[: len(kept)] or (len(kept) == 1 and text.endswith("\u2026"))
