"""Any sequence of edits and pastes against a model in which a token is one element that stands for its whole text."""

import re
from collections.abc import Callable

from hypothesis import example, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from qwen_tui.composer.editor import Editor
from support.composer_stage import composer_stage

# The model: one-character strings, and tokens.
Elements = list[str]
EXACT = ("left", "right", "home", "end", "backspace", "delete", "cut", "copy")
LOOSE = ("word left", "word right", "up", "down", "select left", "select up", "undo", "redo", "to start", "to end",
         "delete word left", "delete word right", "delete line", "click")  # fmt: skip
STEPS = st.lists(
    st.sampled_from(EXACT)
    | st.sampled_from(LOOSE)
    | st.sampled_from(["type a", "type  ", "type \n", "type 日", "type 🎉"])
    | st.sampled_from(["paste 3", "paste 5", "paste 8", "paste 1"]),
    max_size=25,
)
ACTIONS: dict[str, Callable[[Editor], object]] = {
    "left": Editor.action_cursor_left,
    "right": Editor.action_cursor_right,
    "home": Editor.action_cursor_line_start,
    "end": Editor.action_cursor_line_end,
    "backspace": Editor.action_delete_left,
    "delete": Editor.action_delete_right,
    "word left": Editor.action_cursor_word_left,
    "word right": Editor.action_cursor_word_right,
    "up": lambda editor: editor.move_cursor(editor.get_cursor_up_location()),
    "down": lambda editor: editor.move_cursor(editor.get_cursor_down_location()),
    "select left": lambda editor: editor.action_cursor_left(True),
    "select up": lambda editor: editor.move_cursor(editor.get_cursor_up_location(), select=True),
    "undo": Editor.undo,
    "redo": Editor.redo,
    "to start": Editor.action_delete_to_start_of_line,
    "to end": Editor.action_delete_to_end_of_line,
    "delete word left": Editor.action_delete_word_left,
    "delete word right": Editor.action_delete_word_right,
    "delete line": Editor.action_delete_line,
    "click": lambda editor: editor.move_cursor((0, 7)),
}


class Model:
    """What is in the field, and every paste there ever was by its token."""

    def __init__(self) -> None:
        self.elements: Elements = []
        self.full: dict[str, str] = {}

    def parse(self, text: str) -> Elements:
        """The elements of a text; a "[" that begins no token, or a piece of one, is found here."""
        elements = [match[0] for match in re.finditer(r"\[paste [^\]]*\]|.", text, re.DOTALL)]
        assert all(element in self.full for element in elements if len(element) > 1 or element in "[]"), text
        return elements

    def expanded(self, elements: Elements) -> str:
        return "".join(self.full.get(element, element) for element in elements)


def place(model: Model, editor: Editor, location: tuple[int, int]) -> int:
    """How many elements are before a location. Parsing fails inside of a token."""
    before = "\n".join([*editor.text.split("\n")[: location[0]], editor.text.split("\n")[location[0]][: location[1]]])
    return len(model.parse(before))


def expect(model: Model, step: str, begin: int, end: int, cursor: int) -> tuple[Elements, int] | None:
    """What a step makes of elements and cursor, where this is plain to say; begin and end are the selection's."""
    elements = model.elements
    without = elements[:begin] + elements[end:]
    match step:
        case "left":
            return elements, max(0, cursor - 1) if begin == end else begin
        case "right":
            return elements, min(len(elements), cursor + 1) if begin == end else end
        case "backspace":
            return (
                (without, begin)
                if begin < end
                else (elements[: max(0, begin - 1)] + elements[begin:], max(0, begin - 1))
            )
        case "delete":
            return (without, begin) if begin < end else (elements[:begin] + elements[begin + 1 :], begin)
        case "cut" if begin < end:
            return without, begin
        case "copy":
            return elements, cursor
    return None


async def take_step(model: Model, editor: Editor, step: str, serial: int) -> None:
    first, last = sorted(editor.selection)
    begin, end = place(model, editor, first), place(model, editor, last)
    cursor = place(model, editor, editor.cursor_location)
    selected = model.expanded(model.elements[begin:end])
    if step.startswith("type "):
        editor.insert_typed(step[5:])
        expected = [*model.elements[:begin], step[5:], *model.elements[end:]], begin + 1
    elif step.startswith("paste "):
        text = "\n".join(f"{serial}.{line}" for line in range(int(step[6:])))
        before = editor.text
        editor.insert_pasted(text)
        if "\n" in text:
            head = len("".join(model.elements[:begin]))
            token = editor.text[head : head + len(editor.text) - len(before) + len("".join(model.elements[begin:end]))]
            assert "\n" not in token
            assert token not in model.full
            model.full[token] = text
            put = [token]
        else:
            put = list(text)
        expected = model.elements[:begin] + put + model.elements[end:], begin + len(put)
    elif step in ("cut", "copy"):
        if begin < end:
            (editor.action_cut if step == "cut" else editor.action_copy)()
            assert editor.app.clipboard == selected
        expected = expect(model, step, begin, end, cursor) if begin < end else None
    else:
        expected = expect(model, step, begin, end, cursor)
        ACTIONS[step](editor)
    now = model.parse(editor.text)
    # Every end of the selection is between elements, or this fails.
    ends = [place(model, editor, location) for location in editor.selection]
    if expected is not None:
        assert now == expected[0], step
        assert ends[1] == expected[1], step
    model.elements = now


@limits(max_examples=25)
@example(steps=["type \n", "undo"])
@given(steps=STEPS)
async def test_what_is_sent_is_what_stands_for_every_element(steps: list[str]) -> None:
    async with composer_stage(size=(24, 12)) as here:
        editor, model = here.editor, Model()
        editor.paste_lines = 2
        known = {"": ""}
        for serial, step in enumerate(steps):
            await take_step(model, editor, step, serial)
            sent = editor.pastes.expand(editor.text)
            assert sent == model.expanded(model.elements)
            # Undone and done again, a text means what it meant.
            assert known.setdefault(editor.text, sent) == sent
            draft = editor.draft()
            assert all(token in model.full for token in model.elements if len(token) > 1)
            assert sorted(draft.pastes.values()) == sorted(
                model.full[token] for token in set(model.elements) if token in model.full
            )
        full = model.expanded(model.elements)
        assert here.taken() == full
        editor.action_cursor_up()
        assert editor.pastes.expand(editor.text) == (full if full.strip() else "")
