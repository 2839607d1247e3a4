"""Which value of a sampling setting counts and where it is from: the order of the sources; the sampler's values are
these."""

from dataclasses import asdict, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qwen_core.protocol.events import GenerationSettings
from qwen_core.session.sampling import SamplingParameters, resolve_sampling
from qwen_core.settings.ranges import SAMPLING
from qwen_core.settings.sampling_values import OFF, Sourced, sampling_config, sampling_values
from qwen_core.settings.tree import PRESETS


def in_range(name: str) -> st.SearchStrategy[float]:
    kind = SAMPLING[name]
    high = min(kind.high, 1000)
    return st.integers(int(kind.low), int(high)) if kind.whole else st.floats(max(kind.low, 0.1), high)


GIVEN = st.fixed_dictionaries({}, optional={name: in_range(name) for name in SAMPLING})
CONFIG = st.fixed_dictionaries({}, optional={**{name: in_range(name) for name in SAMPLING}, "do_sample": st.booleans()})


@given(GIVEN, CONFIG, st.booleans())
def test_the_sampler_takes_the_values_that_are_shown(
    asked: dict[str, Any], config: dict[str, Any], thinking: bool
) -> None:
    settings = GenerationSettings(**asked)
    shown = {name: entry.value for name, entry in sampling_values(settings, config, thinking).items()}
    assert asdict(resolve_sampling(settings, config, thinking)) == shown
    assert sampling_values(settings, sampling_config({**config, "eos_token_id": 7}), thinking) == sampling_values(
        settings, config, thinking
    )


@given(GIVEN, CONFIG, st.booleans())
def test_each_value_is_that_of_the_first_source_that_has_one(
    asked: dict[str, Any], config: dict[str, Any], thinking: bool
) -> None:
    found = sampling_values(GenerationSettings(**asked), config, thinking, {"top_p": "command line"})
    authors = asdict(PRESETS["thinking" if thinking else "non-thinking"])
    assert found.keys() == SAMPLING.keys()
    for name, entry in found.items():
        if name in asked:
            assert entry == Sourced(asked[name], "command line" if name == "top_p" else "request")
        elif entry.source == "off at temperature 0":
            assert found["temperature"].value == 0
            assert entry.value == OFF[name]
        elif entry.source == "generation_config.json":
            greedy = name == "temperature" and config.get("do_sample") is False
            assert entry.value == (0.0 if greedy else config[name])
        else:
            assert name not in config or name == "seed"
            expected = authors[name]
            assert entry == (
                Sourced(expected, "recommended") if expected is not None else Sourced(OFF[name], "default")
            )


def test_off_is_what_a_sampler_has_unasked() -> None:
    assert asdict(SamplingParameters()) == OFF


def test_a_file_that_says_greedy_is_the_source_of_temperature_0() -> None:
    found = sampling_values(GenerationSettings(), {"do_sample": False, "temperature": 0.7}, True)
    assert found["temperature"] == Sourced(0.0, "generation_config.json")
    assert found["presence_penalty"] == Sourced(0.0, "off at temperature 0")
    asked = replace(GenerationSettings(), presence_penalty=1.0)
    assert sampling_values(asked, {"do_sample": False}, True)["presence_penalty"] == Sourced(1.0, "request")
