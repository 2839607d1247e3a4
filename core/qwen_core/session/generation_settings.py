"""What was asked of an answer, whole: an object and keywords over it, checked where no one else checks."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from qwen_core.errors import SettingsError
from qwen_core.protocol.events import GenerationSettings

# FORMAT.md: none and low turn thinking off, medium and high turn it on, unset leaves it to the template.
THINKING = {"none": False, "low": False, "medium": True, "high": True}


def merge_settings(settings: GenerationSettings | None, overrides: Mapping[str, Any]) -> GenerationSettings:
    """`settings` with keyword overrides applied; SettingsError names a keyword or an effort that does not exist."""
    given = dict(overrides)
    if "reasoning_effort" in given:
        given["effort"] = given.pop("reasoning_effort")
    known = [field.name for field in fields(GenerationSettings)]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise SettingsError(f"unknown setting {unknown[0]!r}: the settings are {', '.join(known)}")
    merged = replace(settings or GenerationSettings(), **given)
    if merged.effort is not None and merged.effort not in THINKING:
        raise SettingsError(f"reasoning effort {merged.effort!r} is not one of {', '.join(THINKING)}")
    if merged.max_new_tokens is not None and merged.max_new_tokens < 1:
        raise SettingsError(f"max_new_tokens must be at least 1, not {merged.max_new_tokens}")
    return merged
