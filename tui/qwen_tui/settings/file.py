"""Settings in layers: defaults, config.toml, the environment, the command line; and saving them again.

Reading never fails: whatever cannot be used becomes one line that names where it stands, its value and what is
accepted, and everything else counts. Saving touches only what changed, so that comments and whatever else a person
wrote into the file stay, and writes either the whole new file or nothing.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from qwen_core.errors import QwenError, SettingsError, quote
from qwen_core.files import read_text, write_private
from qwen_core.settings.kinds import refused, shown
from qwen_core.settings.paths import config_dir
from qwen_tui.settings.tree import FIELDS, KEYS, SECTIONS, UNSET, AppSettings, Field, field_of, value_of, with_value

FILE_NAME = "config.toml"
MAX_BYTES = 1 << 20
MAX_PROBLEMS = 50
MAX_KEYS = 200
"""What is typed for "no value" where a setting may have none."""
HEADER = "qwen-tui settings: only what differs from the defaults. The settings screen explains every field."

Layer = Literal["file", "environment", "command line"]
Origin = Layer | Literal["default", "for now"]


@dataclass(frozen=True)
class LoadedSettings:
    """`settings` is what counts now; `saved` what the file alone gives, and so what to change and save.

    `origins` says of every field that is not at its default where its value comes from; `problems` are lines for
    people, in the order in which they were found. `given`: what file, environment and command line come to, where
    something else counts for now (None: where nothing does).
    """

    settings: AppSettings
    problems: tuple[str, ...] = ()
    saved: AppSettings = field(default_factory=AppSettings)
    origins: Mapping[str, Layer] = field(default_factory=dict)
    given: AppSettings | None = None

    @property
    def lasting(self) -> AppSettings:
        """What would count without what was changed for now."""
        return self.settings if self.given is None else self.given

    def for_now(self, key: str, value: Any) -> "LoadedSettings":
        """One value changed until the program ends. ValueError says what the field takes, KeyError: no such field."""
        return replace(self, settings=with_value(self.settings, key, value), given=self.lasting)


def origin_of(loaded: LoadedSettings, key: str) -> Origin:
    """Where the value that counts comes from."""
    if value_of(loaded.settings, key) != value_of(loaded.lasting, key):
        return "for now"
    return lasting_origin(loaded, key)


def temporary(loaded: LoadedSettings) -> dict[str, Any]:
    """What was changed for now, by key."""
    return {entry.key: value for entry, value in changes(loaded.lasting, loaded.settings)}


def lasting_origin(loaded: LoadedSettings, key: str) -> Origin:
    """Where the value comes from that counts without what was changed for now."""
    origin = loaded.origins.get(key)
    if origin is not None and origin != "file":
        return origin
    entry = field_of(key)
    is_default = value_of(loaded.lasting, key) == (entry.default if entry is not None else None)
    return "default" if is_default else "file"


def settings_path() -> Path:
    """Where config.toml is. Raises SettingsError if its folder cannot be made."""
    return config_dir() / FILE_NAME


def load_settings(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> LoadedSettings:
    """All layers, the later ones first in rank. Never raises for what a file or variable holds.

    `overrides` are options of the command line by key ("generation.top_p"); None means that an option was not given.
    A text is read as typed, anything else is checked as a value.
    """
    layers = _Layers()
    try:
        path = settings_path() if path is None else path
        layers.document(_read_document(path), quote(path))
    except QwenError as error:
        layers.problems.append(f"{error}; the defaults are used")
    saved = layers.settings
    layers.environment(os.environ if environ is None else environ)
    for key, value in (overrides or {}).items():
        if value is not None:
            layers.override(key, value, f"the option for {quote(key)}", "command line")
    problems = layers.problems
    if len(problems) > MAX_PROBLEMS:
        problems[MAX_PROBLEMS:] = [f"and {len(problems) - MAX_PROBLEMS} more problems with the settings"]
    return LoadedSettings(layers.settings, tuple(problems), saved, MappingProxyType(layers.origins))


def _read_document(path: Path) -> dict[str, Any]:
    """The file as TOML; empty where there is none. SettingsError for what is no TOML file."""
    try:
        if not path.exists() and not path.is_symlink():
            return {}
        return tomllib.loads(read_text(path, MAX_BYTES).removeprefix("\ufeff"))
    except RecursionError:
        raise SettingsError(f"{quote(path)} is nested too deeply") from None
    except (OSError, ValueError) as error:  # TOML's errors, numbers of thousands of digits, names no file can have
        raise SettingsError(f"{quote(path)} is not valid TOML: {quote(error)}") from None


class _Layers:
    """Settings that layer after layer is laid over: what counts so far, what is wrong, what comes from where."""

    def __init__(self) -> None:
        self.settings = AppSettings()
        self.problems: list[str] = []
        self.origins: dict[str, Layer] = {}

    def document(self, document: Mapping[str, Any], where: str) -> None:
        """What a file holds."""
        for section, table in document.items():
            if section not in SECTIONS:
                self.problems.append(f"{where}: {quote(section)} is not a section: there are {', '.join(SECTIONS)}")
            elif not isinstance(table, dict):
                told = f"{section} = {shown(table)} is not a table: write [{section}] and its settings below"
                self.problems.append(f"{where}: {told}")
            else:
                if section == KEYS and len(table) > MAX_KEYS:
                    told = f"[keys] names {len(table):,} actions, only {MAX_KEYS} are read"
                    self.problems.append(f"{where}: {told}")
                    table = dict(list(table.items())[:MAX_KEYS])
                for name, value in table.items():
                    self._entry(section, name, value, where)

    def _entry(self, section: str, name: str, value: Any, where: str) -> None:
        entry = field_of(f"{section}.{name}")
        if entry is None:
            names = ", ".join(known.name for known in FIELDS if known.section == section)
            takes = "the name of an action, such as new or toggle_folds" if section == KEYS else names
            self.problems.append(f"{where}: {section}.{quote(name)} is not a setting: [{section}] takes {takes}")
        else:
            self._set(entry, value, where, "file")

    def environment(self, environ: Mapping[str, str]) -> None:
        """QWEN_TUI_<SECTION>_<FIELD>. An empty variable counts as not set."""
        for variable in sorted(environ):
            section = next((name for name in SECTIONS if variable.startswith(f"QWEN_TUI_{name.upper()}_")), None)
            if section is not None and environ[variable]:
                name = variable.removeprefix(f"QWEN_TUI_{section.upper()}_").lower()
                self.override(f"{section}.{name}", environ[variable], quote(variable), "environment")

    def override(self, key: str, value: Any, where: str, origin: Layer) -> None:
        """One value, a text as typed."""
        entry = field_of(key)
        if entry is None:
            self.problems.append(f"{where}: no setting is called {quote(key)}")
        else:
            self._set(entry, value, where, origin, typed=isinstance(value, str))

    def _set(self, entry: Field, value: Any, where: str, origin: Layer, *, typed: bool = False) -> None:
        try:
            if typed:
                value = None if entry.optional and value.strip().lower() == UNSET else entry.kind.read(value)
            self.settings = with_value(self.settings, entry.key, value)
        except ValueError:
            kept = value_of(self.settings, entry.key)
            instead = "it stays unset" if kept is None else f"{shown(kept)} is used"
            self.problems.append(f"{where}: {entry.key} = {refused(value, entry.kind)}; {instead}")
        else:
            self.origins[entry.key] = origin


def _settings_in(content: str) -> AppSettings:
    """What the text of a file comes to."""
    layers = _Layers()
    layers.document(tomllib.loads(content), "")
    return layers.settings


# Saving.


def save_settings(settings: AppSettings, path: Path | None = None) -> Path | None:
    """Write what differs between `settings` and the file. Raises SettingsError if it cannot be written.

    Everything else in the file stays as it is. A file that is no TOML, or one that cannot be changed without harm, is
    kept under the name that is returned, and a new one is written.
    """
    path = settings_path() if path is None else path
    # A file that lives elsewhere, as among someone's dotfiles, is written there and not replaced by a file here.
    path = path.resolve()
    try:
        content = _edited(settings, path)
        kept = None
        if content is None:
            kept = _set_aside(path)
            content = _render(settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, content.encode())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SettingsError(f"the settings cannot be saved in {quote(path)}: {reason}") from error
    return kept


def changes(old: AppSettings, new: AppSettings) -> Iterator[tuple[Field, Any]]:
    """The fields in which `new` differs, with their new values (None: not set)."""
    for entry in FIELDS:
        value = value_of(new, entry.key)
        if value != value_of(old, entry.key):
            yield entry, value
    for action in sorted({*old.keys, *new.keys}):
        entry = field_of(f"{KEYS}.{action}")
        if entry is not None and old.keys.get(action) != new.keys.get(action):
            yield entry, new.keys.get(action)


def _edited(settings: AppSettings, path: Path) -> str | None:
    """The file's text with the changes in it; None if that cannot be done."""
    if not path.exists():
        return _render(settings)
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        text = read_text(path, MAX_BYTES).removeprefix("\ufeff")
        document = tomlkit.parse(text)
        for entry, value in changes(_settings_in(text), settings):
            section = document.get(entry.section)
            if section is None:
                document[entry.section] = section = tomlkit.table()
            elif not hasattr(section, "keys"):
                return None
            if value is None:
                section.pop(entry.name, None)
            else:
                if entry.name not in section and entry.section != KEYS and hasattr(section, "add"):
                    for line in _wrapped(entry.help):
                        section.add(tomlkit.comment(line))
                section[entry.name] = list(value) if isinstance(value, tuple) else value
        content = tomlkit.dumps(document)
        # What was written must read as what was meant; a document that the editor gets wrong is written anew.
        if _settings_in(content) == settings:
            return content
    except (QwenError, TOMLKitError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return None


def _render(settings: AppSettings) -> str:
    """A new file: what differs from the defaults, each with its explanation."""
    import tomlkit

    lines = [f"# {HEADER}"]
    section = ""
    for entry, value in changes(AppSettings(), settings):
        if entry.section != section:
            section = entry.section
            lines += ["", f"[{section}]"]
        if section != KEYS:
            lines += [f"# {line}" for line in _wrapped(entry.help)]
        plain = list(value) if isinstance(value, tuple) else value
        lines.append(f"{entry.name} = {tomlkit.item(plain).as_string()}")
    return "\n".join(lines) + "\n"


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 110)


def _set_aside(path: Path) -> Path:
    """Keep the file that is there under a name that is free."""
    for number in range(1, 1000):
        kept = path.with_name(f"{path.name}.old-{number}")
        if not kept.exists():
            path.rename(kept)
            return kept
    raise OSError("there are too many old files beside it")
