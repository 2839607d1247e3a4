"""Which value of each sampling setting counts and where it is from: decided here alone, for the sampler and for whoever
shows it.

A request counts before the model's generation_config.json, that before what the model's authors recommend (FORMAT.md,
"Tokens and template"), and that before what turns a setting off.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from qwen_core.protocol.events import GenerationSettings
from qwen_core.settings.ranges import SAMPLING
from qwen_core.settings.tree import PRESETS

REQUEST = "request"
GENERATION_CONFIG = "generation_config.json"
RECOMMENDED = "recommended"
DEFAULT = "default"
GREEDY = "off at temperature 0"
OFF: Mapping[str, Any] = MappingProxyType(
    {
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "seed": None,
    }
)
"""Each setting where nobody gives it: off, and a fresh seed for each answer."""
_PENALTIES = ("presence_penalty", "frequency_penalty", "repetition_penalty")


@dataclass(frozen=True)
class Sourced:
    """A value and where it is from, in a few words; None: no value."""

    value: Any
    source: str


def sampling_values(
    settings: GenerationSettings,
    generation_config: Mapping[str, Any],
    thinking: bool,
    origins: Mapping[str, str] | None = None,
) -> dict[str, Sourced]:
    """What counts of each of SAMPLING, unchecked; None only as the seed.

    `thinking`: whether the answer begins inside reasoning, for which other values are recommended. `origins` says where
    values of the request come from, by name; without it they are from the "request".

    A generation_config with `do_sample` false and a request without a temperature mean greedy, and greedy has no
    penalties but those asked for.
    """
    recommended = PRESETS["thinking" if thinking else "non-thinking"]
    found: dict[str, Sourced] = {}
    for name, off in OFF.items():
        candidates = (
            Sourced(getattr(settings, name), (origins or {}).get(name, REQUEST)),
            Sourced(None if name == "seed" else _of_file(name, generation_config.get(name)), GENERATION_CONFIG),
            Sourced(getattr(recommended, name), RECOMMENDED),
        )
        found[name] = next((entry for entry in candidates if entry.value is not None), Sourced(off, DEFAULT))
    if settings.temperature is None and generation_config.get("do_sample") is False:
        found["temperature"] = Sourced(0.0, GENERATION_CONFIG)
    if found["temperature"].value == 0:
        # Greedy means the most probable token: the recommended penalties belong to the recommended temperature.
        found |= {name: Sourced(OFF[name], GREEDY) for name in _PENALTIES if getattr(settings, name) is None}
    return found


def sampling_config(generation_config: Mapping[str, Any]) -> dict[str, Any]:
    """What `sampling_values` reads of a generation_config.json, in plain values."""
    given = {name: generation_config.get(name) for name in (*SAMPLING, "do_sample")}
    return {name: value for name, value in given.items() if value is not None}


def _of_file(name: str, value: Any) -> Any:
    """A value of generation_config.json: what other runtimes take for "off" is off here, and 20.0 is 20 tokens.

    vLLM and llama.cpp turn top-k off below 1, top-p off from 1 on and min-p off at 0 and below.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if name == "top_k":
        return 0 if value < 0 else int(value) if isinstance(value, float) and value.is_integer() else value
    if name == "min_p":
        return max(value, 0)
    return min(value, 1) if name == "top_p" else value
