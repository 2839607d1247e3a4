"""YaRN against transformers: where it is read from, its frequencies (make_rope_goldens.py wrote them) and its limit."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.checkpoint.config import ignored_yarn, parse_config, replaced_rope
from qwen_core.checkpoint.rope import inverse_frequencies
from qwen_core.errors import CheckpointError
from support.published_plan import text_config
from support.rope_sections import PLAIN, SECTIONS, YARN

GOLDENS = json.loads((Path(__file__).resolve().parent / "goldens" / "rope.json").read_text())["sections"]
# The reference's are float32, of which a power of the base takes most of the digits. Measured: 1.3e-7 of each.
TOLERANCE = 1e-6


def raw(flat: bool, **text: Any) -> dict[str, Any]:
    section = {
        **text_config(True, {"head_dim": 256, "max_position_embeddings": 262144}),
        "rope_parameters": PLAIN,
        **text,
    }
    return section if flat else {"model_type": "qwen3_5", "text_config": section}


@pytest.mark.parametrize("flat", [True, False], ids=["flat", "nested"])
@pytest.mark.parametrize("name", SECTIONS)
def test_frequencies_and_attention_factor_are_those_of_transformers(name: str, flat: bool) -> None:
    config = parse_config(raw(flat, **SECTIONS[name]), "config.json")
    found = inverse_frequencies(config.rope_theta, config.rotary_dim, config.yarn)
    assert found == pytest.approx(GOLDENS[name]["inverse_frequencies"], rel=TOLERANCE, abs=0)
    factor = config.yarn.attention_factor if config.yarn else 1.0
    assert factor == pytest.approx(GOLDENS[name]["attention_factor"], rel=TOLERANCE)


@pytest.mark.parametrize(
    ("declared", "section", "limit"),
    [
        (262144, {}, 1_010_000),  # as the model card has it: only the rotation is changed
        (1_010_000, {}, 1_010_000),
        (1_048_576, {}, 1_010_000),
        (524_288, {}, 524_288),  # raised, but not all the way
        (262144, {"factor": 2.0}, 524_288),
        (1_010_000, {"factor": 2.0}, 524_288),
        (262144, {"factor": 3}, 786_432),
        (4096, {"original_max_position_embeddings": 4096}, 16_384),
        (16384, {"original_max_position_embeddings": 4096}, 16_384),
        (262144, {"factor": 1.0}, 262_144),
        (262144, {"original_max_position_embeddings": 262144.0}, 1_010_000),
        (4096, {"original_max_position_embeddings": 4096.5}, 16_386),
    ],
)
def test_the_limit_is_the_stretched_one(declared: int, section: dict[str, Any], limit: int) -> None:
    parameters = {**PLAIN, **YARN, **section}
    config = parse_config(raw(False, rope_parameters=parameters, max_position_embeddings=declared), "config.json")
    assert config.max_position_embeddings == limit


def test_outside_the_text_models_section_yarn_does_not_count() -> None:
    """Nor does transformers stretch anything there; a line says so."""
    whole = {**raw(False), "rope_scaling": dict(YARN)}
    config = parse_config(whole, "config.json")
    assert config == parse_config(raw(False), "config.json")
    assert "move it into text_config" in ignored_yarn(whole)
    assert ignored_yarn(raw(False, rope_scaling=dict(YARN))) == ignored_yarn(raw(True, rope_scaling=dict(YARN))) == ""


@pytest.mark.parametrize(
    "scheme", ["linear", "dynamic", "longrope", "llama3", "proportional", "su", "YARN", 4, ["yarn"]]
)
@pytest.mark.parametrize("key", ["rope_type", "type"])
@pytest.mark.parametrize("section", ["rope_parameters", "rope_scaling"])
@pytest.mark.parametrize("place", ["flat", "text", "top"])
def test_other_schemes_are_refused_by_name_wherever_they_stand(scheme: Any, key: str, section: str, place: str) -> None:
    """Also where something else would count."""
    given = {section: {key: scheme, "factor": 2.0, "rope_theta": 1e7}}
    whole = {**raw(False), **given} if place == "top" else raw(place == "flat", **given)
    with pytest.raises(CheckpointError) as caught:
        parse_config(whole, "config.json")
    for part in (section, key, repr(scheme), "yarn"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"factor": None}, "factor is missing"),
        ({"factor": 0.5}, "factor is 0.5, outside 1 to"),
        ({"factor": 1e300}, "outside 1 to"),
        ({"factor": "4"}, "factor must be a number"),
        ({"original_max_position_embeddings": 0}, "original_max_position_embeddings"),
        ({"original_max_position_embeddings": 0.5}, "original_max_position_embeddings is 0.5, outside 1 to"),
        ({"original_max_position_embeddings": 1e300}, "outside 1 to"),
        ({"attention_factor": 0}, "attention_factor must be a positive"),
        ({"mscale": -1}, "mscale must be a positive"),
        ({"truncate": 1}, "truncate must be true or false"),
        ({"beta_fast": -1}, "beta_fast"),
        ({"rope_theta": 1}, "rope_theta is 1, YaRN needs more"),
        ({"full_attention": {"rope_type": "linear"}}, "for each kind of layer"),
    ],
)
def test_what_does_not_fit_is_named(section: dict[str, Any], says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        parse_config(raw(False, rope_parameters={**PLAIN, **YARN, **section}), "config.json")


POSITIVE = st.floats(5e-324, 1.7e308)


@given(
    theta=POSITIVE, original=st.integers(1, 1 << 40) | st.floats(1, 1 << 40),
    factor=st.floats(1, 1024), fast=POSITIVE, slow=POSITIVE,
    truncate=st.booleans(),
)  # fmt: skip
def test_any_numbers_give_frequencies_between_those_of_both_ends(
    theta: float, original: float, factor: float, fast: float, slow: float, truncate: bool
) -> None:
    section = {"rope_theta": theta, "original_max_position_embeddings": original, "factor": factor}
    ramp = {"beta_fast": fast, "beta_slow": slow, "truncate": truncate}
    try:
        config = parse_config(raw(False, rope_parameters={**PLAIN, **YARN, **section, **ramp}), "config.json")
    except CheckpointError:
        assert theta <= 1
        return
    plain = inverse_frequencies(theta, config.rotary_dim, None)
    for high, found in zip(plain, inverse_frequencies(theta, config.rotary_dim, config.yarn), strict=True):
        assert high / factor * (1 - 1e-9) <= found <= high * (1 + 1e-9)


def test_a_base_that_is_put_out_of_force_is_told() -> None:
    """Transformers takes 10,000 then: no error there, and no sensible answer."""
    lost, kept = raw(False, rope_scaling=dict(YARN)), raw(False, rope_scaling={**YARN, "rope_theta": 10000000})
    line = replaced_rope(parse_config(lost, "config.json"), lost)
    assert "YaRN" in line and "rope_theta is 10,000 then, not 10000000" in line
    for whole in (
        kept,
        raw(False, rope_scaling=dict(YARN), rope_theta=1e7),
        raw(True, rope_parameters={**PLAIN, **YARN}),
    ):
        assert replaced_rope(parse_config(whole, "config.json"), whole) == ""
