"""Earlier inputs against a list and an index."""

from hypothesis import given
from hypothesis import strategies as st

from qwen_tui.composer.input_history import MAX_CHARACTERS, MAX_HISTORY, History
from qwen_tui.composer.pastes import Pastes
from qwen_tui.store import Draft

TEXT = st.sampled_from(["a", "b", "c d", "é"])


@given(st.lists(TEXT), st.lists(TEXT), st.lists(st.sampled_from(["up", "down"])))
def test_up_and_down_walk_through_everything(earlier: list[str], now: list[str], keys: list[str]) -> None:
    history = History()
    for text in now:
        history.add(Draft(text))
    history.fill(earlier)
    entries = [Draft(text) for texts in (earlier, now) for text, before in zip(texts, ["", *texts], strict=False)
               if text != before]  # fmt: skip
    draft, place = Draft("being written", {1: "x"}), len(entries)
    shown = draft
    for key in keys:
        found = history.older(shown) if key == "up" else history.newer()
        place = max(0, place - 1) if key == "up" else min(len(entries), place + 1)
        shown = found or shown
        assert shown == [*entries, draft][place]


def test_a_text_keeps_the_pastes_it_was_added_with() -> None:
    pastes = Pastes()
    history = History()
    token = pastes.collapse("x\n" * 40, 20)
    history.add(Draft(token, pastes.kept(token)))
    pastes.clear()
    pastes.collapse("y\n" * 40, 20)
    assert history.older(Draft()) == Draft(token, {1: "x\n" * 40})


def test_there_are_not_more_than_anybody_looks_through() -> None:
    history = History()
    history.fill([*(str(number) for number in range(2 * MAX_HISTORY)), "x" * (MAX_CHARACTERS + 1), " ", ""])
    history.add(Draft("\n"))
    history.add(Draft("last"))
    found = []
    while (draft := history.older(Draft())) is not None:
        found.append(draft.text)
    assert found == ["last", *(str(number) for number in range(2 * MAX_HISTORY - 1, MAX_HISTORY, -1))]
