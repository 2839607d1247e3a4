"""/set, /preset, /think, /guard, /system: how the next answers are generated. They change what runs, not the file."""

from typing import TYPE_CHECKING

from qwen_core.settings.kinds import refused
from qwen_core.settings.tree import FIELDS, Field, value_of
from qwen_tui.text.safe import one_line

if TYPE_CHECKING:
    from qwen_tui.app.app import QwenApp

SECTION = "generation"
SHORT = {"presence": "presence_penalty", "frequency": "frequency_penalty", "repetition": "repetition_penalty"}
_OTHERWISE = ("preset", "system", "effort", "repetition_guard")  # these have a command of their own
SETTABLE = {field.name: field for field in FIELDS if field.section == SECTION and field.name not in _OTHERWISE}
UNSET = ("default", "none", "auto")


def settable(name: str) -> Field | None:
    """The field that a person means by `name`: "max tokens", "top-p", "presence"."""
    name = name.strip().lower().replace("-", "_").replace(" ", "_")
    return SETTABLE.get(SHORT.get(name, name))


def split_assignment(text: str) -> tuple[str, str]:
    """Name and value of "top_p 0.9", "top_p=0.9" or "max tokens 100"; the value may be missing."""
    words = text.replace("=", " ").split()
    for length in range(len(words), 0, -1):
        if settable(" ".join(words[:length])) is not None:
            return " ".join(words[:length]), " ".join(words[length:])
    return (words[0] if words else ""), " ".join(words[1:])


class GenerationCommands:
    def __init__(self, app: "QwenApp") -> None:
        self._app = app

    def set(self, argument: str) -> None:
        app = self._app
        name, value = split_assignment(argument)
        if not name:
            app.note(self._listed())
            return
        field = settable(name)
        if field is None:
            names = ", ".join((*SETTABLE, *SHORT))
            app.flash(f"There is no {one_line(name, 30)!r} to set. There are: {names}.")
        elif not value:
            app.flash(f"{field.name} is {self._shown(field)}. It takes {field.accepts}, or default. {field.help}")
        elif value.lower() in UNSET and field.optional:
            app.change(field.key, None)
            app.flash(f"{field.name} is the preset's again.")
        else:
            self._change(field.key, field.name, value)

    def preset(self, name: str) -> None:
        """Values set by hand give way: a preset is what it says."""
        app = self._app
        for field in SETTABLE.values():
            if field.name in ("temperature", "top_p", "top_k", "min_p", "presence_penalty"):
                app.change(field.key, None)
        app.change(f"{SECTION}.effort", None)
        self._change(f"{SECTION}.preset", "The preset", name)

    def think(self, level: str) -> None:
        effort = self._app.request().effort
        if not level:
            self._app.flash(f"Reasoning effort is {effort or 'the default'}. /think takes none, low, medium or high.")
        else:
            self._change(f"{SECTION}.effort", "Reasoning effort", level)

    def guard(self, switch: str) -> None:
        self._app.change(f"{SECTION}.repetition_guard", switch == "on")
        effect = (
            "answers that repeat themselves without end are stopped" if switch == "on" else "no answer is cut short"
        )
        self._app.flash(f"From the next message on {effect}.")

    def system(self, text: str) -> None:
        app = self._app
        present = app.conversation.system
        if not text:
            app.note(f"System prompt: {present}" if present else "There is no system prompt. /system TEXT sets one.")
            return
        if app.conversation.current is not None:
            app.flash("Still answering: Esc stops the answer first.")
            return
        system = None if text.lower() == "none" else text
        app.conversation.system = system
        kept = app.conversation.kept
        if kept.id is not None:
            app.in_store(lambda store: store.conversations.set_system(kept.id or 0, system))
        if app.conversation.engine == "ready":
            app.send(app.conversation.restore_rendered())
        else:
            app.conversation.restore_when_loaded()
        app.flash("The system prompt is set for this conversation." if system else "There is no system prompt now.")

    def _change(self, key: str, named: str, value: str) -> None:
        app = self._app
        field = next(field for field in FIELDS if field.key == key)
        try:
            app.change(key, field.kind.read(value))
        except ValueError:
            app.flash(f"{field.name} = {refused(value, field.kind)}.")
            return
        app.flash(f"{named} is {self._shown(field)} from the next message on.")

    def _shown(self, field: Field) -> str:
        value = value_of(self._app.running, field.key)
        return "not set" if value is None else str(value)

    def _listed(self) -> str:
        request = self._app.request()
        lines = [f"preset {self._app.running.generation.preset}, reasoning effort {request.effort or 'the default'}"]
        lines += [f"{field.name} {self._shown(field)}" for field in SETTABLE.values()]
        return "Sampling: " + " · ".join(lines) + ". /set NAME VALUE changes one, /settings keeps it."
