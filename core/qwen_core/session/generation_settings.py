"""What was asked of an answer, whole: an object and keywords over it, checked where no one else checks."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, get_args

from qwen_core.errors import SettingsError
from qwen_core.protocol.events import DraftMode, Effort, GenerationSettings
from qwen_core.settings.kinds import Choice, Kind, Switch, checked
from qwen_core.settings.ranges import LOGPROBS, MAX_TOKENS, NUM_DRAFT_TOKENS, REASONING_BUDGET

# What the sampler does not look at itself.
_KINDS: Mapping[str, Kind] = {
    "effort": Choice(get_args(Effort)),
    "max_new_tokens": MAX_TOKENS,
    "reasoning_budget": REASONING_BUDGET,
    "draft": Choice(get_args(DraftMode)),
    "num_draft_tokens": NUM_DRAFT_TOKENS,
    "logprobs": LOGPROBS,
    "repetition_guard": Switch(),
    "drop_reasoning": Switch(),
}


def merge_settings(settings: GenerationSettings | None, overrides: Mapping[str, Any]) -> GenerationSettings:
    """`settings` with keyword overrides applied; SettingsError names a keyword or a value that is none."""
    given = dict(overrides)
    if "reasoning_effort" in given:
        given["effort"] = given.pop("reasoning_effort")
    known = [field.name for field in fields(GenerationSettings)]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise SettingsError(f"unknown setting {unknown[0]!r}: the settings are {', '.join(known)}")
    merged = replace(settings or GenerationSettings(), **given)
    for name, kind in _KINDS.items():
        if (value := getattr(merged, name)) is not None:
            checked(name, value, kind)
    return merged
