"""Settings in layers: defaults, config.toml, the environment, the command line; and saving them again.

Reading never fails: whatever cannot be used becomes one line that names where it stands, its value and what is
accepted, and everything else counts. Saving touches only what changed, so that comments and whatever else a person
wrote into the file stay, and writes either the whole new file or nothing.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from qwen_core.errors import QwenError, SettingsError, quote
from qwen_core.files import read_text, write_private
from qwen_core.settings.kinds import MAX_KEYS, UNSET, action_name, refused
from qwen_core.settings.paths import config_dir
from qwen_core.settings.tree import FIELDS, KEYS, SECTIONS, Field, Settings, field_of, value_of, with_value

FILE_NAME = "config.toml"
MAX_BYTES = 1 << 20
MAX_PROBLEMS = 50
HEADER = "qwen-tui settings: only what differs from the defaults. The settings screen explains every field."

Origin = Literal["file", "environment", "command line"]


@dataclass(frozen=True)
class LoadedSettings:
    """`settings` is what counts now; `saved` what the file alone gives, and so what to change and save.

    `origins` says of every field that is not at its default where its value comes from; `problems` are lines for
    people, in the order in which they were found.
    """

    settings: Settings
    problems: tuple[str, ...] = ()
    saved: Settings = field(default_factory=Settings)
    origins: Mapping[str, Origin] = field(default_factory=dict)


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
    problems: list[str] = []
    origins: dict[str, Origin] = {}
    saved = Settings()
    try:
        path = settings_path() if path is None else path
        document = _read_document(path)
    except QwenError as error:
        problems.append(f"{error}; the defaults are used")
    else:
        saved = _apply_document(document, quote(path), problems, origins)
    settings = _apply_environment(saved, os.environ if environ is None else environ, problems, origins)
    for key, value in (overrides or {}).items():
        if value is not None:
            settings = _override(
                settings, key, value, f"the option for {quote(key)}", problems, origins, "command line"
            )
    if len(problems) > MAX_PROBLEMS:
        problems[MAX_PROBLEMS:] = [f"and {len(problems) - MAX_PROBLEMS} more problems with the settings"]
    return LoadedSettings(settings, tuple(problems), saved, MappingProxyType(origins))


def _read_document(path: Path) -> dict[str, Any]:
    """The file as TOML; empty where there is none. SettingsError for what is no TOML file."""
    try:
        if not path.exists() and not path.is_symlink():
            return {}
        return tomllib.loads(read_text(path, MAX_BYTES).removeprefix("\ufeff"))
    except QwenError as error:
        raise SettingsError(str(error)) from None
    except RecursionError:
        raise SettingsError(f"{quote(path)} is nested too deeply") from None
    except (OSError, ValueError) as error:  # TOML's errors, numbers of thousands of digits, names no file can have
        raise SettingsError(f"{quote(path)} is not valid TOML: {quote(error)}") from None


def _apply_document(
    document: Mapping[str, Any], where: str, problems: list[str], origins: dict[str, Origin]
) -> Settings:
    settings = Settings()
    for section, table in document.items():
        if section not in SECTIONS:
            problems.append(f"{where}: {quote(section)} is no section: they are {', '.join(SECTIONS)}")
        elif not isinstance(table, dict):
            problems.append(
                f"{where}: {section} = {_shown(table)} is no table: write [{section}] and its settings below"
            )
        else:
            if section == KEYS and len(table) > MAX_KEYS:
                problems.append(f"{where}: [keys] names {len(table):,} actions, only {MAX_KEYS} are read")
                table = dict(list(table.items())[:MAX_KEYS])
            for name, value in table.items():
                settings = _apply_entry(settings, section, name, value, where, problems, origins)
    return settings


def _apply_entry(
    settings: Settings,
    section: str,
    name: str,
    value: Any,
    where: str,
    problems: list[str],
    origins: dict[str, Origin],
) -> Settings:
    try:
        entry = field_of(f"{section}.{action_name(name) if section == KEYS else name}")
    except ValueError as error:
        problems.append(f"{where}: {section}.{quote(name)} is not {error}")
        return settings
    if entry is None:
        names = ", ".join(known.name for known in FIELDS if known.section == section)
        problems.append(f"{where}: {section}.{quote(name)} is no setting: [{section}] takes {names}")
        return settings
    try:
        settings = with_value(settings, entry.key, value)
    except ValueError:
        problems.append(_refusal(where, entry, value, settings))
        return settings
    origins[entry.key] = "file"
    return settings


def _apply_environment(
    settings: Settings, environ: Mapping[str, str], problems: list[str], origins: dict[str, Origin]
) -> Settings:
    """QWEN_TUI_<SECTION>_<FIELD>. An empty variable counts as not set."""
    for variable in sorted(environ):
        section = next((name for name in SECTIONS if variable.startswith(f"QWEN_TUI_{name.upper()}_")), None)
        if section is None or not environ[variable]:
            continue
        name = variable.removeprefix(f"QWEN_TUI_{section.upper()}_").lower()
        key = f"{section}.{name}"
        settings = _override(settings, key, environ[variable], quote(variable), problems, origins, "environment")
    return settings


def _override(
    settings: Settings,
    key: str,
    value: Any,
    where: str,
    problems: list[str],
    origins: dict[str, Origin],
    origin: Origin,
) -> Settings:
    entry = field_of(key)
    try:
        if entry is None or (entry.section == KEYS and not action_name(entry.name)):
            raise KeyError(key)
    except (KeyError, ValueError):
        problems.append(f"{where}: there is no setting {quote(key)}")
        return settings
    try:
        if isinstance(value, str):
            value = None if entry.optional and value.strip().lower() == UNSET else entry.kind.read(value)
        settings = with_value(settings, key, value)
    except ValueError:
        problems.append(_refusal(where, entry, value, settings))
        return settings
    origins[key] = origin
    return settings


def _refusal(where: str, entry: Field, value: Any, settings: Settings) -> str:
    kept = value_of(settings, entry.key)
    instead = "it stays unset" if kept is None else f"{_shown(kept)} is used"
    return f"{where}: {entry.key} = {refused(value, entry.kind)}; {instead}"


def _shown(value: Any) -> str:
    try:
        return quote(repr(value))
    except (ValueError, RecursionError):  # a number of thousands of digits has no decimal text
        return f"a value of type {type(value).__name__}"


# Saving.


def save_settings(settings: Settings, path: Path | None = None) -> Path | None:
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


def changes(old: Settings, new: Settings) -> Iterator[tuple[Field, Any]]:
    """The fields in which `new` differs, with their new values (None: not set)."""
    for entry in FIELDS:
        value = value_of(new, entry.key)
        if value != value_of(old, entry.key):
            yield entry, value
    for action in sorted({*old.keys, *new.keys}):
        entry = field_of(f"{KEYS}.{action}")
        if entry is not None and old.keys.get(action) != new.keys.get(action):
            yield entry, new.keys.get(action)


def _edited(settings: Settings, path: Path) -> str | None:
    """The file's text with the changes in it; None if that cannot be done."""
    if not path.exists():
        return _render(settings)
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    problems: list[str] = []
    try:
        text = read_text(path, MAX_BYTES).removeprefix("\ufeff")
        current = _apply_document(tomllib.loads(text), "", problems, {})
        document = tomlkit.parse(text)
        for entry, value in changes(current, settings):
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
        if _apply_document(tomllib.loads(content), "", [], {}) == settings:
            return content
    except (QwenError, TOMLKitError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return None


def _render(settings: Settings) -> str:
    """A new file: what differs from the defaults, each with its explanation."""
    import tomlkit

    lines = [f"# {HEADER}"]
    section = ""
    for entry, value in changes(Settings(), settings):
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
