"""Long pastes: short on the screen, whole when sent, and only what was pasted is replaced."""

from hypothesis import given
from hypothesis import strategies as st

from qwen_tui.composer.pastes import Pastes

LINES = st.lists(st.text(max_size=8) | st.just("[paste 1: 3 lines]"), max_size=8).map("\n".join)
PIECES = st.lists(st.tuples(st.booleans(), LINES), max_size=6)


@given(PIECES, st.integers(1, 4))
def test_what_is_sent_is_what_was_pasted_and_typed(pieces: list[tuple[bool, str]], limit: int) -> None:
    """Also where a paste spells the token of another: it is looked at once."""
    pastes = Pastes()
    shown, meant = "", ""
    for pasted, text in pieces:
        token = pastes.collapse(text, limit, shown) if pasted else text.replace("[paste", "(paste")
        shown += f"<{token}>"
        meant += f"<{text if pasted else token}>"
        if pasted and token != text:
            assert "\n" not in token
            assert len(text.split("\n")) > limit or len(text) > limit * 100 or "[paste" in text
        elif pasted:
            assert len(text.split("\n")) <= limit
    assert pastes.expand(shown) == meant
    # What a draft keeps is enough to send it after a restart.
    assert Pastes(pastes.kept(shown)).expand(shown) == meant


def test_a_token_says_how_much_it_stands_for() -> None:
    pastes = Pastes()
    assert pastes.collapse("x\n" * 411, 20) == "[paste 1: 412 lines]"
    assert pastes.collapse("x" * 51_200, 20) == "[paste 2: 51,200 characters]"
    assert pastes.collapse("short", 20) == "short"
    assert Pastes({5: "a\nb"}).collapse("c\nd\n", 1) == "[paste 6: 3 lines]"


def test_a_token_that_was_changed_or_is_no_paste_stays_text() -> None:
    pastes = Pastes()
    token = pastes.collapse("a\nb", 1)
    for text in (token[:-1], token.replace("2", "3"), "[paste 9: 2 lines]", "[paste 1: 99999999999999999999 lines]"):
        assert pastes.expand(text) == text
        assert pastes.kept(text) == {}
    pastes.clear()
    assert pastes.expand(token) == token


def test_a_token_stands_where_it_was_put() -> None:
    pastes = Pastes()
    token = pastes.collapse("a\nb", 1)
    text = f"see {token}!"
    assert pastes.spans(text) == [(4, 4 + len(token))]
    assert pastes.spans("[paste 9: 2 lines]") == []
