"""/set, /preset, /think, /draft, /guard, /system: how answers are generated. They change what runs, /save the file."""

from collections.abc import Awaitable
from typing import get_args

from qwen_core.errors import SettingsError
from qwen_core.protocol.events import Effort
from qwen_core.settings.kinds import refused
from qwen_core.settings.sampling_values import DEFAULT, Sourced
from qwen_core.settings.tree import Preset
from qwen_core.text.effort import resolve_effort
from qwen_tui.app.context import AppContext
from qwen_tui.settings.counting import short_source, source_words, unset_words, value_words
from qwen_tui.settings.tree import FIELDS, Field
from qwen_tui.text.safe import one_line

SECTION = "generation"
SHORT = {"presence": "presence_penalty", "frequency": "frequency_penalty", "repetition": "repetition_penalty"}
_FIELDS = {field.name: field for field in FIELDS if field.section == SECTION}
# These have a command of their own.
_OTHERWISE = ("preset", "system", "effort", "repetition_guard", "draft", "num_draft_tokens")
SETTABLE = {name: field for name, field in _FIELDS.items() if name not in _OTHERWISE}
_NAME_CELLS, _VALUE_CELLS = 19, 18
_COLUMNS_FROM = 60  # of the terminal; below, a line wraps less without them


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
    def __init__(self, context: AppContext) -> None:
        self._context = context

    def set(self, argument: str) -> None:
        context = self._context
        name, value = split_assignment(argument)
        if not name:
            context.note(self._listed())
            return
        field = settable(name)
        if field is None:
            names = ", ".join((*SETTABLE, *SHORT))
            context.flash(f"There is no {one_line(name, 30)!r} to set. There are: {names}.")
        elif not value:
            context.flash(f"{field.name} is {self._shown(field)}. It takes {field.accepts}, or default. {field.help}")
        elif field.unsets(value):
            context.change(field.key, None)
            present = self._shown(field).removesuffix(" (for now)")
            context.flash(f"{field.name} is {present} again{context.for_now}.")
        else:
            self._change(field, field.name, value)

    def preset(self, name: str) -> None:
        """Values set by hand give way: a preset is what it says."""
        if not name:
            present = self._context.running.generation.preset
            self._context.flash(f"The preset is {present}. /preset takes one of: {', '.join(get_args(Preset))}.")
            return
        present = self._context.request().effort
        for given in ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "effort"):
            self._context.change(f"{SECTION}.{given}", None)
        self._change(_FIELDS["preset"], "The preset", name)
        if words := self.reading(present):
            self._context.flash(f"The preset is {name}: {words}{self._later}.")

    def think(self, level: str) -> None:
        """The reasoning effort from the next message on, of those that the model's template has."""
        context = self._context
        present = context.request().effort
        if not level:
            there = ", ".join(context.efforts)
            context.flash(f"Reasoning effort is {self._shown(_FIELDS['effort'])}. /think takes one of: {there}.")
            return
        try:
            effort, notice = resolve_effort(context.efforts, level.lower())
        except SettingsError:
            context.flash(f"There is no effort {one_line(level, 20)}: {', '.join(context.efforts)}.")
            return
        context.change(_FIELDS["effort"].key, effort)
        if words := self.reading(present):
            context.flash(f"{effort}: {words}{self._later}.")
        else:
            context.flash(f"{notice or f'Reasoning effort is {effort}'}{context.for_now}.")

    @property
    def _later(self) -> str:
        return self._context.for_now.replace(" for now", "")

    def reading(self, before: Effort | None) -> str:
        """What the next message has to read again, as the effort is another than `before`; "" for nothing.

        An effort's text stands before the conversation. In few words: a narrow terminal shows no more.
        """
        context = self._context
        group, tokens = context.effort_group(context.request().effort), context.conversation.context_tokens
        ways_back = context.conversation.ways_back
        # The first of them is what the last question had.
        if not tokens or group is None or group == next(iter(ways_back), context.effort_group(before)):
            return ""
        kept = ways_back.get(group, 0)
        return f"goes on from {kept:,} tokens" if kept else f"reads all {tokens:,} tokens again"

    def tell_effort(self) -> None:
        """Once a model is loaded: that it calls the effort that is set otherwise, or has it not."""
        level = self._context.request().effort
        if level is None:
            return
        try:
            _, notice = resolve_effort(self._context.efforts, level)
        except SettingsError as error:
            notice = f"{error}; /think changes it"
        if notice:
            self._context.note(f"{notice}.")

    def draft(self, argument: str) -> Awaitable[None] | None:
        """Who drafts, and with a number behind it how many tokens a pass; or marks for what drafts said."""
        mode, _, count = argument.partition(" ")
        if argument == "marks":
            return self._context.chat.action_mark_drafts()
        request = self._context.request()
        if not mode:
            drafts = "as many" if request.num_draft_tokens is None else str(request.num_draft_tokens)
            pay = " as pay" if request.num_draft_tokens is None else ""
            takes = "/draft takes auto, off, mtp or lookup, and N; or marks."
            self._context.flash(f"Drafts: {request.draft}, {drafts} a pass{pay}. {takes}")
            return None
        field = _FIELDS["num_draft_tokens"]
        try:
            number = field.kind.read(count) if count.strip() else None
            self._context.change(_FIELDS["draft"].key, _FIELDS["draft"].kind.read(mode.lower()))
        except ValueError:
            self._context.flash("/draft takes auto, off, mtp or lookup, and a number of drafts from 0 to 5.")
            return None
        self._context.change(field.key, number)
        drafts = "" if number is None else f", {number} a pass"
        self._context.flash(f"Drafts are {mode.lower()}{drafts}{self._context.for_now}.")
        return None

    def guard(self, switch: str) -> None:
        if not switch:
            present = "on" if self._context.request().repetition_guard else "off"
            self._context.flash(f"The repetition guard is {present}. /guard takes one of: on, off.")
            return
        self._context.change(f"{SECTION}.repetition_guard", switch == "on")
        effect = "Answers that repeat themselves are stopped" if switch == "on" else "No answer is cut short"
        self._context.flash(f"{effect}{self._context.for_now}.")

    def system(self, text: str) -> None:
        context, conversation = self._context, self._context.conversation
        present, kept = conversation.system, conversation.kept.id
        if not text:
            said = f"System prompt: {present}" if present else "There is no system prompt. /system TEXT sets one."
            context.note(said)
            return
        if context.still_answering():
            return
        system = None if text.lower() == "none" else text
        conversation.system = system
        if kept is not None:
            context.in_store(lambda store: store.conversations.set_system(kept, system))
        context.restore(conversation.restore_rendered())
        context.flash("The system prompt is set for this conversation." if system else "There is no system prompt now.")

    def _change(self, field: Field, named: str, value: str) -> None:
        try:
            self._context.change(field.key, field.kind.read(value))
        except ValueError:
            self._context.flash(f"{field.name} = {refused(value, field.kind)}.")
        else:
            counted = value_words(self._context.counting[field.name])
            self._context.flash(f"{named} is {counted}{self._context.for_now}.")

    def _shown(self, field: Field) -> str:
        """ "0.6 (file)": what counts of a setting, and where it is from."""
        entry = self._context.counting[field.name]
        words = value_words(entry, unset_words(field.key))
        return words if entry == Sourced(None, DEFAULT) else f"{words} ({source_words(entry)})"

    def _listed(self) -> str:
        """A line for each setting: its value, and where that is from."""
        counts = self._context.counting
        lines = ["What counts for the next answer, and where it is from:"]
        chat = self._context.chat
        in_columns = not chat.is_attached or chat.size.width >= _COLUMNS_FROM
        for name in ("preset", "effort", *SETTABLE):
            words = value_words(counts[name], unset_words(_FIELDS[name].key))
            source = short_source(counts[name])
            if in_columns:
                lines.append(f"{name:<{_NAME_CELLS}}{words:<{_VALUE_CELLS}}{source}")
            else:
                lines.append(f"{name} {words} ({source})")
        return "\n".join([*lines, "/set NAME VALUE changes one, /settings explains them."])
