"""The settings as rows of a screen: what each shows, what can be chosen for it, and what a change comes to. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from textual.content import Content

from qwen_core.settings.kinds import Choice, Switch, Words
from qwen_core.settings.sampling_values import Sourced
from qwen_tui.settings import file
from qwen_tui.settings.counting import SECTION, short_source, unset_words
from qwen_tui.settings.file import (
    LoadedSettings,
    Origin,
    lasting_origin,
    load_settings,
    save_settings,
    temporary,
)
from qwen_tui.settings.key_names import spoken_keys
from qwen_tui.settings.tree import FIELDS, KEYS, SECTIONS, Field, field_of, value_of, with_value
from qwen_tui.text.safe import cells, one_line
from qwen_tui.widgets.cursor_list import MARK, Heading, selected

Action = tuple[str, str, str]
"""The name of an action whose keys can be changed, what it does, and its built-in keys, as "f1,ctrl+g"."""

KEYS_ABOUT = "Keys that are to differ from the built-in ones."
NAME_CELLS = 20
ORIGIN_CELLS = 13
ORIGIN_FROM = 50  # columns; below, only the detail says where a value comes from
Counts = Mapping[str, Sourced]
"""What counts of each generation setting, by its name: see counting.py."""
VALUE_CELLS = 48  # at most, so that the eye finds the origin of a value
LEAST_VALUE_CELLS = 16
MAX_SHOWN = 200
WARNS = "▲"
"""What a line begins with that says that a change counts otherwise than one would think."""

# Headings inside a section, above these settings.
_GROUPS = {
    "generation.temperature": Heading("Sampling", "How the next token is chosen."),
    "generation.effort": Heading("Reasoning", "How long it thinks before it answers."),
    "generation.draft": Heading("Drafts", "Tokens guessed ahead: the answer is the same, sooner."),
}


@dataclass(frozen=True)
class Setting:
    """One row: a field, with what is known of it only here."""

    field: Field
    help: str
    words: tuple[Any, ...] = ()
    """What Enter goes through; empty where a value is typed or a key pressed."""
    keys: tuple[str, ...] = ()
    """The built-in keys of an action."""

    @property
    def key(self) -> str:
        return self.field.key

    @property
    def is_action(self) -> bool:
        return self.field.section == KEYS

    @property
    def letters(self) -> bool:
        """Whether it is an action that acts only where nothing is written, and so may have letters as keys."""
        return any(len(key) == 1 for key in self.keys)

    @property
    def many_lines(self) -> bool:
        """Whether a line end may be part of the value."""
        return isinstance(self.field.kind, Words) and not self.field.kind.pattern

    @property
    def accepts(self) -> str:
        """What it takes, for people."""
        if self.is_action:
            return f"a key that {'' if self.letters else 'is no character and '}has nothing else to do"
        listed = self.words and not isinstance(self.field.kind, Choice | Switch)
        return f"one of {', '.join(map(shown, self.words))}" if listed else self.field.accepts


Row = Heading | Setting


def rows_of(actions: Sequence[Action] = (), words: Mapping[str, Sequence[str]] | None = None) -> list[Row]:
    """Every setting under its section. `words`: for fields that take any text, what there is to choose from."""
    rows: list[Row] = []
    for section, about in SECTIONS.items():
        if section == KEYS:
            found = [_action(*action) for action in actions]
        else:
            found = [
                Setting(entry, entry.help, _words(entry, words or {})) for entry in FIELDS if entry.section == section
            ]
        if found:
            rows.append(Heading(section, KEYS_ABOUT if section == KEYS else one_line(about, 400)))
            for setting in found:
                rows += [*([_GROUPS[setting.key]] if setting.key in _GROUPS else []), setting]
    return rows


def _action(name: str, about: str, keys: str) -> Setting:
    entry = field_of(f"{KEYS}.{name}")
    assert entry is not None
    return Setting(entry, f"Keys of: {about}", (), tuple(dict.fromkeys(key for key in keys.split(",") if key)))


def _words(entry: Field, words: Mapping[str, Sequence[str]]) -> tuple[Any, ...]:
    if isinstance(entry.kind, Switch):
        return (False, True)
    if isinstance(entry.kind, Choice):
        return (None, *entry.kind.words) if entry.optional else entry.kind.words
    return tuple(words.get(entry.key, ()))


def matching(rows: Sequence[Row], text: str) -> list[Row]:
    """The rows whose name, section or explanation holds every word of `text`, under their headings."""
    wanted = text.lower().split()
    found: list[Row] = []
    heading: Heading | None = None
    for row in rows:
        if isinstance(row, Heading):
            heading = row
        elif all(word in f"{row.key} {row.key.replace('_', ' ')} {row.help}".lower() for word in wanted):
            if heading is not None:
                found.append(heading)
                heading = None
            found.append(row)
    return found


# Values.


def shown(value: Any) -> str:
    """A value as one line for people."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return spoken_keys(str(key) for key in value)
    if isinstance(value, str):
        return one_line(value, MAX_SHOWN) or "empty"
    return typed_as(value)


def typed_as(value: Any) -> str:
    """A value as a person would type it."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def value_text(row: Setting, value: Any) -> str:
    """The same as `shown`; an action without keys of its own has the built-in ones."""
    return shown(row.keys if row.is_action and value is None else value)


def effective(row: Setting, loaded: LoadedSettings, counts: Counts) -> tuple[str, str]:
    """(what counts, where that comes from; "" where it is the default)."""
    origin, value = origin_of(row, loaded), value_of(loaded.settings, row.key)
    if value is not None or row.is_action:
        return value_text(row, value), "" if origin == "default" else origin
    if (other := _from_elsewhere(row, loaded, counts)) is not None:
        return shown(other.value), short_source(other)
    return unset_words(row.key), "" if origin == "default" else origin


def value_shown(row: Setting, loaded: LoadedSettings, counts: Counts) -> str:
    """What counts, and what the file has where that is something else."""
    value, origin = effective(row, loaded, counts)
    if overridden(row, loaded) or origin == "for now":
        return f"{value}  (file: {value_text(row, value_of(loaded.saved, row.key))})"
    return value


def value_cells(rows: Sequence[Row], loaded: LoadedSettings, counts: Counts) -> int:
    """Cells of the column of values: as many as the longest of them takes, within bounds."""
    sizes = [cells(value_shown(row, loaded, counts)) for row in rows if isinstance(row, Setting)]
    return min(VALUE_CELLS, max(LEAST_VALUE_CELLS, *sizes) + 3) if sizes else LEAST_VALUE_CELLS


def origin_of(row: Setting, loaded: LoadedSettings) -> Origin:
    """Where the value that counts comes from."""
    return file.origin_of(loaded, row.key)


def overridden(row: Setting, loaded: LoadedSettings) -> bool:
    """Whether something other than the file decides, so that a change counts only without it."""
    return lasting_origin(loaded, row.key) in ("environment", "command line")


def read_value(row: Setting, text: str) -> Any:
    """What was typed. ValueError if the field does not take it."""
    if row.field.unsets(text):
        return None
    return row.field.kind.read(text if row.many_lines else text.strip())


def next_word(row: Setting, loaded: LoadedSettings, step: int) -> Any:
    """The choice after the value that a change is to; after the last comes the first."""
    value = value_of(loaded.saved if overridden(row, loaded) else loaded.settings, row.key)
    here = row.words.index(value) if value in row.words else -1 if step > 0 else 0
    return row.words[(here + step) % len(row.words)]


def keys_of(rows: Sequence[Row], loaded: LoadedSettings) -> dict[str, tuple[str, ...]]:
    """The keys that every action has now."""
    found: dict[str, tuple[str, ...]] = {}
    for row in rows:
        if isinstance(row, Setting) and row.is_action:
            own = loaded.settings.keys.get(row.field.name)
            found[row.field.name] = row.keys if own is None else own
    return found


def summary(rows: Sequence[Row], found: Sequence[Row], loaded: LoadedSettings) -> str:
    """How many settings there are, are found, and are not at their defaults."""
    settings = [row for row in rows if isinstance(row, Setting)]
    left = sum(isinstance(row, Setting) for row in found)
    own = sum(origin_of(row, loaded) != "default" for row in settings)
    count = f"{len(settings)} settings" if left == len(settings) else f"{left} of {len(settings)} settings"
    if not own:
        return f"{count} · all at their defaults"
    return f"{count} · {own} not at {'its default' if own == 1 else 'their defaults'}"


# Changes.


def changed(loaded: LoadedSettings, row: Setting, value: Any) -> LoadedSettings:
    """`loaded` with one value of the file changed. ValueError if the field does not take it."""
    saved = with_value(loaded.saved, row.key, value)
    if overridden(row, loaded):
        return replace(loaded, saved=saved)
    settings = with_value(loaded.settings, row.key, value)
    given = with_value(loaded.lasting, row.key, value)
    origins = {key: origin for key, origin in loaded.origins.items() if key != row.key}
    if value_of(settings, row.key) != row.field.default:
        origins[row.key] = "file"
    return replace(loaded, settings=settings, saved=saved, origins=MappingProxyType(origins), given=given)


def all_saved(loaded: LoadedSettings) -> LoadedSettings:
    """`loaded` with what was changed for now in the file as well; what the file does not decide stays for now."""
    rows = {key: Setting(entry, "") for key in temporary(loaded) if (entry := field_of(key)) is not None}
    for key, value in temporary(loaded).items():
        loaded = changed(loaded, rows[key], value)
    return loaded


def save_values(values: Mapping[str, Any], path: Path | None = None) -> Path | None:
    """Change values in the file as it is now, so that what others changed in it stays. See `save_settings`."""
    settings = load_settings(path, {}).saved
    for key, value in values.items():
        settings = with_value(settings, key, value)
    return save_settings(settings, path)


# Drawing.


def row_line(
    row: Row,
    loaded: LoadedSettings,
    width: int,
    *,
    cursor: bool,
    counts: Counts,
    values: int = VALUE_CELLS,
) -> Content:
    """One line of the list, at most `width` cells wide, `values` of them for the value."""
    if isinstance(row, Heading):
        return _heading(row, width)
    value, (_, origin) = value_shown(row, loaded, counts), effective(row, loaded, counts)
    style = "bold $secondary" if origin_of(row, loaded) != "default" else "$foreground" if origin else "$muted"
    if overridden(row, loaded) or origin == "for now":
        style = "$warning"
    room = width - 3 - NAME_CELLS
    parts = [Content(value).truncate(max(0, room), ellipsis=True).stylize(style)]
    if width > ORIGIN_FROM:
        column = _column(value, min(room - ORIGIN_CELLS, values)).stylize(style)
        parts = [column, Content.styled(origin, "$muted" if style == "$foreground" else style)]
    line = Content.assemble(f"{MARK if cursor else ' '}  ", _column(row.field.name, NAME_CELLS), *parts)
    return selected(line, width) if cursor else line


def _heading(row: Heading, width: int) -> Content:
    """Its name, and as many whole sentences of what it is about as there is room for."""
    name, about = f" {row.name.capitalize()}", row.about
    while about and cells(f"{name}  {about}") > width:
        about = about[: about.rfind(". ") + 1]
    return Content.assemble((name, "bold $primary"), (f"  {about}" if about else "", "$muted")).truncate(width)


def _from_elsewhere(row: Setting, loaded: LoadedSettings, counts: Counts) -> Sourced | None:
    """What counts in place of a generation setting that is not set; None where nothing does."""
    counted = counts.get(row.field.name) if row.field.section == SECTION else None
    if counted is None or counted.value is None or value_of(loaded.settings, row.key) is not None:
        return None
    return counted


def _column(text: str, width: int) -> Content:
    """`text` in exactly `width` cells, the last of them blank."""
    return Content(text).truncate(max(0, width - 1), ellipsis=True).truncate(max(0, width), pad=True)


def detail_lines(row: Setting, loaded: LoadedSettings, counts: Counts) -> list[Content]:
    """What the screen says of the row that is selected."""
    lines = [Content.styled(row.key, "bold $primary"), Content.styled(row.help, "$foreground")]
    takes = f"Takes {row.accepts}{', or nothing' if row.field.optional and not row.is_action else ''}."
    lines.append(Content.styled(takes, "$muted"))
    other = _from_elsewhere(row, loaded, counts)
    if value_of(loaded.settings, row.key) is None and not row.is_action and other is None:
        lines.append(Content.styled(f"Not set. What counts: {unset_words(row.key)}.", "$muted"))
    default = value_text(row, row.field.default)
    origin = origin_of(row, loaded)
    if other is not None:
        lines.append(Content.styled(f"Not set: {shown(other.value)} counts ({one_line(other.source, 60)}).", "$muted"))
    if origin == "file":
        lines.append(Content.styled(f"From the {origin}. The default: {default}.", "$muted"))
    elif origin == "for now":
        later = value_text(row, value_of(loaded.lasting, row.key))
        said = f"{WARNS} For now: at the next start it is {later} again, unless Ctrl+S saves it."
        lines.append(Content.styled(said, "$warning"))
    elif overridden(row, loaded):
        by = row.field.variable if origin == "environment" else "the command line"
        value = value_text(row, value_of(loaded.settings, row.key))
        saved = value_text(row, value_of(loaded.saved, row.key))
        said = (
            f"{WARNS} {by} makes it {value}. A change is saved in the file only (now: {saved}) and counts without that."
        )
        lines.append(Content.styled(said, "$warning"))
    return lines
