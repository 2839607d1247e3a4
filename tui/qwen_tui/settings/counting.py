"""What counts of each generation setting and where it is from: one function for /set, /settings, /stats and run --json.

Pure. Which value of a sampling setting counts is decided in the core, for the sampler as well.
"""

from collections.abc import Mapping
from contextlib import suppress

from qwen_core.errors import SettingsError
from qwen_core.protocol.events import GenerationSettings, ModelSummary
from qwen_core.settings.ranges import SAMPLING
from qwen_core.settings.sampling_values import (
    DEFAULT,
    GENERATION_CONFIG,
    GREEDY,
    RECOMMENDED,
    Sourced,
    sampling_values,
)
from qwen_core.settings.tree import PRESETS
from qwen_core.text.effort import resolve_effort
from qwen_tui.settings.file import LoadedSettings, origin_of
from qwen_tui.settings.tree import FIELDS, value_of
from qwen_tui.text.safe import one_line

SECTION = "generation"
TEMPLATE = "the model's template"
NOT_KNOWN = "not known yet"
_WORDS: Mapping[str, str] = {RECOMMENDED: "recommended by the model's authors"}
# For a column of a table.
_SHORT = {GENERATION_CONFIG: "model's file", TEMPLATE: "template", GREEDY: "greedy"}
_OF_THE_MODEL = "the model's"
_UNSET = {
    "generation.system": "none",
    "generation.max_tokens": "up to the context",
    "generation.seed": "a fresh one",
    "generation.reasoning_budget": "no limit",
    "generation.num_draft_tokens": "as many as pay",
    "hardware.peak_bandwidth_gb_s": "the chip's",
    "hardware.gpu_cores": "by memory size",
    "hardware.hosts": "this machine alone",
}


def unset_words(key: str) -> str:
    """What counts where a setting has no value, for people."""
    return _UNSET.get(key, _OF_THE_MODEL)


def counting(loaded: LoadedSettings, model: ModelSummary | None, *, thinking: bool | None = None) -> dict[str, Sourced]:
    """Every setting of the section by its name; a value of None: no limit, or none of its own.

    `model`: None while none is loaded, whose own values are not known then. `thinking`: whether an answer begins inside
    reasoning, where the template does not tell it.
    """
    request = loaded.settings.request()
    found = {name: Sourced(value_of(loaded.settings, f"{SECTION}.{name}"), _origin(loaded, name)) for name in _NAMES}
    effort = found["effort"].value
    if model is not None and request.effort is None and model.default_effort is not None:
        found["effort"] = Sourced(model.default_effort, TEMPLATE)
    elif effort is None and request.effort is not None:
        found["effort"] = Sourced(request.effort, _origin(loaded, "effort"))
    if thinking is None:
        thinking = _thinks(model, request)
    origins = {name: _origin(loaded, name) for name in SAMPLING}
    sampling = sampling_values(request, dict(model.generation_config) if model is not None else {}, thinking, origins)
    asked = {name for name in SAMPLING if getattr(request, name) is not None}
    if model is None:
        sampling = {name: entry if name in asked else Sourced(None, NOT_KNOWN) for name, entry in sampling.items()}
    return found | sampling


_NAMES = tuple(field.name for field in FIELDS if field.section == SECTION)


def _origin(loaded: LoadedSettings, name: str) -> str:
    """Where the request has its value from; the preset gives some where nothing else does."""
    generation = loaded.settings.generation
    if getattr(generation, name) is None and getattr(PRESETS[generation.preset], name, None) is not None:
        return f"preset {generation.preset}"
    return origin_of(loaded, f"{SECTION}.{name}")


def _thinks(model: ModelSummary | None, request: GenerationSettings) -> bool:
    """Whether the template begins an answer inside reasoning."""
    if model is None:
        return request.effort != "none"
    if request.effort is None or not model.levels:
        return model.thinks
    with suppress(SettingsError):
        return resolve_effort(model.levels, request.effort)[0] in model.thinking_levels
    return model.thinks


def value_words(entry: Sourced, nothing: str = "not set") -> str:
    """A value as one line for people; `nothing`: what none is called."""
    value = entry.value
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None:
        return nothing
    return one_line(f"{value:g}" if isinstance(value, float) else str(value), 40)


def source_words(entry: Sourced) -> str:
    """Where it is from, as one line for people."""
    return one_line(_WORDS.get(entry.source, entry.source), 60)


def short_source(entry: Sourced) -> str:
    """The same in a word or two, for a column of a table."""
    source = "preset" if entry.source.startswith("preset ") else _SHORT.get(entry.source, entry.source)
    return one_line(source, 20)


def sampling_words(values: Mapping[str, Sourced]) -> str:
    """What is not off, by where it is from: "temperature 0.6 (file) · top_p 0.95, top_k 20 (recommended)"."""
    groups: dict[str, list[str]] = {}
    for name in SAMPLING:
        if name in values and values[name].source != DEFAULT:
            groups.setdefault(source_words(values[name]), []).append(f"{name} {value_words(values[name])}")
    return " · ".join(f"{', '.join(entries)} ({source})" for source, entries in groups.items())
