"""Keys that come faster than they are acted on do to a field's text what the same keys do one by one."""

import asyncio
from typing import ClassVar

import pytest
from hypothesis import example, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Key
from textual.widgets import Input

from qwen_tui.chat.find_bar import FindInput
from qwen_tui.composer.editor import Editor
from qwen_tui.settings.editors import ValueEditor
from qwen_tui.settings.themes import FALLBACK_THEME
from qwen_tui.widgets.key_order import OneLine
from support.app_stage import stage

Field = Editor | ValueEditor | OneLine
FIELDS: dict[str, type[Field]] = {
    "composer": Editor,
    "setting": ValueEditor,
    "one line": OneLine,
    "find": FindInput,
}
BOUND = ("backspace", "delete", "left", "right", "home", "end", "ctrl+u", "ctrl+k", "ctrl+w", "shift+left", "ctrl+left")
KEYS = st.lists(st.sampled_from(["a", "b", "c", *BOUND]), max_size=10)


class FieldApp(App[None]):
    """One field, and a key that is bound on the app only."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("f9", "count", show=False)]

    def __init__(self, kind: type[Field]) -> None:
        super().__init__()
        self._kind = kind
        self.register_theme(FALLBACK_THEME)
        self.theme = FALLBACK_THEME.name
        self.counted = 0

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return FALLBACK_THEME.variables

    def compose(self) -> ComposeResult:
        yield self._kind()

    def action_count(self) -> None:
        self.counted += 1


def written(field: Field) -> str:
    if isinstance(field, Input):
        return field.value
    return field.text


def empty(field: Field) -> None:
    if isinstance(field, Input):
        field.value = ""
    else:
        field.text = ""


async def press_at_once(app: App[None], field: Field, keys: list[str]) -> None:
    """As a terminal hands them over after a moment in which nobody read: returns once the field has had them all."""
    done = asyncio.Event()
    for key in keys:
        app.post_message(Key(key, key if len(key) == 1 else None))
    app.call_later(field.call_later, done.set)
    await done.wait()


@pytest.mark.parametrize("name", list(FIELDS))
@limits(max_examples=5)
@example(lists=[["a", "backspace", "b", "left", "c", "ctrl+u", "a"]])
@given(lists=st.lists(KEYS, min_size=1, max_size=4))
async def test_any_keys_at_once_write_what_they_write_one_by_one(name: str, lists: list[list[str]]) -> None:
    app = FieldApp(FIELDS[name])
    async with app.run_test() as pilot:
        field = app.query_one(FIELDS[name])
        field.focus()
        for keys in lists:
            empty(field)
            for key in keys:
                await pilot.press(key)
            one_by_one = written(field)
            empty(field)
            await press_at_once(app, field, keys)
            assert written(field) == one_by_one


async def test_what_is_bound_further_out_still_goes_there() -> None:
    app = FieldApp(Editor)
    async with app.run_test() as pilot:
        app.query_one(Editor).focus()
        await pilot.press("a", "f9", "b", "f9")
        assert app.counted == 2
        assert app.query_one(Editor).text == "ab"


@pytest.mark.parametrize("sent", ["What is MXFP8?", "//etc is a folder", "/help"])
async def test_what_is_typed_behind_enter_before_it_is_acted_on_stays_in_the_composer(sent: str) -> None:
    async with stage() as here:
        editor = here.app.chat.editor
        await here.write(sent)
        await press_at_once(here.app, editor, ["enter", "n", "e", "x", "t"])
        await here.wait(lambda: editor.text == "next")


async def test_what_is_typed_behind_a_rewording_stays_and_the_draft_set_aside_comes_back_with_up() -> None:
    async with stage() as here:
        editor = here.app.chat.editor
        await here.ask("alpha")
        await here.wait(lambda: here.app.conversation.current is None)
        await here.write("set aside")
        await here.app.turns.do(here.app.conversation.turns[0], "edit")
        await here.wait(lambda: editor.text == "alpha")
        await press_at_once(here.app, editor, ["enter", "n", "e", "x", "t"])
        await here.wait(lambda: editor.text == "next")
        await here.wait(lambda: not here.app.turns.busy)
        assert editor.text == "next"
        await here.pilot.press("up")
        assert editor.text == "set aside"
