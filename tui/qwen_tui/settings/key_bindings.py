"""The [keys] of the settings against what keys can do: what counts, and what is wrong with the rest."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from textual.keys import KEY_NAME_REPLACEMENTS, Keys

from qwen_core.errors import quote
from qwen_tui.settings.key_names import refusal

_MODIFIERS = {"ctrl", "shift", "alt", "super", "meta", "hyper"}
_NAMED = {key.value.rpartition("+")[2] for key in Keys if "<" not in key.value}


def is_key(name: str) -> bool:
    """Whether a terminal can send what is called `name`: "f2", "ctrl+n", "slash", "x"."""
    *modifiers, last = name.split("+") if len(name) > 1 else [name]
    return set(modifiers) <= _MODIFIERS and (len(last) == 1 or last in _NAMED or _is_character(last))


def _is_character(name: str) -> bool:
    """Whether `name` is a character's in Unicode, as the toolkit writes it: "question_mark"."""
    if name in KEY_NAME_REPLACEMENTS.values():
        return True
    try:
        unicodedata.lookup(name.replace("_", " "))
    except KeyError:
        return False
    return True


def checked_keys(
    wanted: Mapping[str, Sequence[str]], actions: Iterable[tuple[str, str, str]]
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The keys of `wanted` that can be bound, by action, and a line for each entry that cannot, which stays out.

    `actions` as `app.appearance.rebindable` gives them: (action, what it does, its built-in keys).
    """
    builtin = {name: tuple(keys.split(",")) for name, _, keys in actions}
    present = {name: tuple(wanted.get(name, keys)) for name, keys in builtin.items()}
    problems = [f"keys.{name}: there is no such action" for name in wanted if name not in builtin]
    for name in sorted(set(wanted) & set(builtin)):
        letters = any(len(key) == 1 for key in builtin[name])
        others = {action: keys for action, keys in present.items() if action != name}
        for key in wanted[name]:
            if key in builtin[name] and not any(key in keys for keys in others.values()):
                continue
            printable = "+" not in key and (len(key) == 1 or _is_character(key))
            why = refusal(key, printable, name, others, letters) if is_key(key) else f"{quote(key)} is not a key"
            if why:
                problems.append(f"keys.{name}: {why}")
                present[name] = builtin[name]
                break
    return {name: present[name] for name in wanted if name in builtin and present[name] != builtin[name]}, problems
