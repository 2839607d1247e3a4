"""Names of keys as people read them, and which keys an action may have."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qwen_tui.settings.key_names import refusal, spoken, spoken_keys

KEYS_OF = {"help": ("f1", "ctrl+g"), "interrupt": ("ctrl+c",), "nothing": ()}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("ctrl+j", "Ctrl+J"),
        ("f1", "F1"),
        ("f10", "F10"),
        ("pageup", "PgUp"),
        ("ctrl+home", "Ctrl+Home"),
        ("ctrl+shift+f4", "Ctrl+Shift+F4"),
        ("slash", "/"),
        ("up", "↑"),
        ("n", "n"),
        ("N", "N"),
        ("f", "f"),
        ("ctrl+underscore", "Ctrl+_"),
        ("ctrl+\ud800", "Ctrl+\ufffd"),  # what "\x1b[55296;5u" on a terminal's line means
    ],
)
def test_keys_are_spoken(key: str, name: str) -> None:
    assert spoken(key) == name


def test_several_keys_and_none() -> None:
    assert spoken_keys(("f1", "ctrl+g")) == "F1 or Ctrl+G"
    assert spoken_keys(()) == "none"


@pytest.mark.parametrize(
    ("key", "printable", "reason"),
    [
        ("f1", False, "F1 is the key of help"),
        ("ctrl+c", False, "the key of interrupt"),
        ("a", True, "a character"),
        ("slash", True, "a character"),
        ("space", True, "a character"),
        ("enter", False, "needed"),
        ("escape", False, "needed"),
        ("ctrl+q", False, "needed"),
        ("up", False, "needed"),
        ("ctrl+w", False, "edits text"),
    ],
)
def test_keys_that_would_make_the_program_unusable_are_refused(key: str, printable: bool, reason: str) -> None:
    assert reason in refusal(key, printable, "new", KEYS_OF)


@pytest.mark.parametrize("key", ["f5", "f9", "ctrl+b", "ctrl+t", "alt+n", "ctrl+shift+f1"])
def test_other_keys_are_free(key: str) -> None:
    assert refusal(key, False, "new", KEYS_OF) == ""


def test_an_action_may_keep_its_own_key() -> None:
    assert refusal("ctrl+g", False, "help", KEYS_OF) == ""
    assert refusal("ctrl+c", False, "interrupt", KEYS_OF) == ""


@example("\ud800")
@given(st.characters())
def test_whatever_can_be_written_stays_writable(character: str) -> None:
    assert refusal(character, character.isprintable(), "new", KEYS_OF)


def test_an_action_of_letters_may_have_others_but_not_what_moves() -> None:
    keys_of = {**KEYS_OF, "turn_edit": ("e",), "turn_copy": ("y",)}
    assert refusal("x", True, "turn_edit", keys_of, letters=True) == ""
    assert "the key of turn_copy" in refusal("y", True, "turn_edit", keys_of, letters=True)
    assert "needed" in refusal("space", True, "turn_edit", keys_of, letters=True)
