"""Tables and texts of the command line at any width: they fit, hide no figure without a sign, and send no control."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from rich.table import Column

from qwen_tui.commands.report import facts, figures, folding, line, paragraph, table, words
from qwen_tui.text.safe import cells
from support.reports import report_text

KINDS: tuple[Callable[[], Column], ...] = (
    lambda: figures("n"),
    lambda: words("word"),
    lambda: folding("text"),
    lambda: folding("path", 4),
    lambda: Column("name", min_width=3),
)
TEXTS = st.text(alphabet="abc 東", max_size=20).map(str.strip)
NUMBERS = st.integers(0, 10**9).map(str)


@given(st.data(), st.integers(4, 90), st.integers(1, 2))
def test_a_table_fits_and_loses_nothing_that_folds(data: st.DataObject, width: int, gap: int) -> None:
    kinds = data.draw(st.lists(st.integers(0, len(KINDS) - 1), min_size=1, max_size=5))
    rows = data.draw(st.lists(st.tuples(*(NUMBERS if kind == 0 else TEXTS for kind in kinds)), max_size=5))
    text = report_text([table([KINDS[kind]() for kind in kinds], rows, width, gap)], width)
    assert all(cells(drawn) <= width for drawn in text.splitlines())
    if all(kind in (2, 3) for kind in kinds) and width >= 8 * len(kinds):
        drawn = "".join(sorted("".join(text.split())))
        titles = "".join(str(KINDS[kind]().header) for kind in kinds)
        assert drawn == "".join(sorted((titles + "".join(map("".join, rows))).replace(" ", "")))


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=6), st.integers(1, 50))
def test_a_figure_is_whole_or_says_that_it_is_cut(rows: list[tuple[str, str, str]], width: int) -> None:
    text = report_text([table([figures(""), figures(""), figures("")], rows, width)], width)
    for row, drawn in zip(rows, text.splitlines(), strict=True):
        for wanted, shown in zip(row, drawn.split(), strict=False):
            assert shown == wanted or (shown.endswith("…") and wanted.startswith(shown[:-1]))


@given(st.lists(st.tuples(st.sampled_from(["a", "label", ""]), TEXTS), max_size=6), st.integers(10, 60))
def test_facts_keep_every_word_beside_its_label(pairs: list[tuple[str, str]], width: int) -> None:
    text = report_text([facts(pairs, width)], width)
    assert all(cells(drawn) <= width for drawn in text.splitlines())
    expected = "".join(label + said for label, said in pairs if said)
    assert "".join(sorted("".join(text.split()))) == "".join(sorted(expected.replace(" ", "")))


@given(st.text(max_size=60))
def test_no_text_reaches_a_terminal_as_a_control(text: str) -> None:
    parts = [table([words("")], [[text]], 200), facts([("x", text)], 200), line(text), paragraph(text)]
    for drawn in report_text(parts, 200).split("\n"):
        assert not [sign for sign in drawn if sign < " " or "\x7f" <= sign <= "\x9f" or "\ud800" <= sign <= "\udfff"]


def test_markup_is_text() -> None:
    assert report_text([line("[red]x[/red] :smile:"), paragraph("[b]")]) == "[red]x[/red] :smile:\n[b]"


@given(st.lists(st.text("abcdef", min_size=1, max_size=12), min_size=1, max_size=12), st.integers(24, 60))
def test_a_path_is_broken_behind_its_slashes_and_nowhere_else(names: list[str], width: int) -> None:
    path = "/" + "/".join(names)
    lines = report_text([facts([("directory", path)], width)], width).splitlines()
    shown = [text.removeprefix("directory").strip() for text in lines]
    assert "".join(shown) == path
    assert all(text.endswith("/") for text in shown[:-1])
    assert all(cells(text) <= width for text in lines)
