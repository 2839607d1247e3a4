"""One value, five ways to give it: command line, config.toml, environment, /set and API take it or refuse it alike."""

import math
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qwen_core.errors import SettingsError
from qwen_core.protocol.events import GenerationSettings
from qwen_core.session.generation_settings import merge_settings
from qwen_core.session.sampling import resolve_sampling
from qwen_core.settings.kinds import Number, refused
from qwen_core.settings.ranges import MAX_TOKENS, SAMPLING
from qwen_tui.app.generation_commands import settable
from qwen_tui.commands.options import generation_options
from qwen_tui.settings.file import load_settings
from qwen_tui.settings.tree import value_of

KINDS = {**SAMPLING, "max_tokens": MAX_TOKENS}


def near(kind: Number) -> st.SearchStrategy[Any]:
    """Numbers on and about the bounds of a range, and what is no number."""
    ends = [end + step for end in (kind.low, kind.high) for step in (-1, -1e-9, 0, 1e-9, 1)]
    whole = st.integers(-5, 5) | st.sampled_from([int(end) for end in ends])
    return whole | st.floats() | st.sampled_from(ends)


@click.command()
@generation_options
def options(**given: Any) -> None:
    """A command that takes nothing else."""


def by_command_line(name: str, value: Any) -> Any:
    try:
        return options.make_context("options", [f"--{name.replace('_', '-')}={value!r}"]).params[name]
    except click.BadParameter as error:
        raise SettingsError(error.message) from None


def by_file(name: str, value: Any, path: Path) -> Any:
    path.write_text(f"[generation]\n{name} = {value!r}\n")
    loaded = load_settings(path, {})
    if loaded.problems:
        raise SettingsError(loaded.problems[0])
    return value_of(loaded.settings, f"generation.{name}")


def by_environment(name: str, value: Any, path: Path) -> Any:
    loaded = load_settings(path, {f"QWEN_TUI_GENERATION_{name}".upper(): repr(value)})
    if loaded.problems:
        raise SettingsError(loaded.problems[0])
    return value_of(loaded.settings, f"generation.{name}")


def by_set(name: str, value: Any) -> Any:
    field = settable(name)
    assert field is not None
    try:
        return field.kind.read(repr(value))
    except ValueError:
        raise SettingsError(refused(repr(value), field.kind)) from None


def by_keyword(name: str, value: Any) -> Any:
    if name == "max_tokens":
        return merge_settings(None, {"max_new_tokens": value}).max_new_tokens
    return getattr(resolve_sampling(GenerationSettings(**{name: value}), {}, thinking=True), name)


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_a_value_is_taken_by_all_or_refused_by_all_in_the_same_words(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kind = KINDS[name]
    value = data.draw(near(kind))
    path = tmp_path_factory.mktemp("ranges") / "config.toml"
    outcomes = []
    for give in (
        lambda: by_keyword(name, value),
        lambda: by_command_line(name, value),
        lambda: by_set(name, value),
        lambda: by_environment(name, value, path),
        lambda: by_file(name, value, path),
    ):
        try:
            outcomes.append(give())
        except SettingsError as error:
            assert f"is not {kind.accepts}" in str(error)
            outcomes.append(None)
    assert outcomes == [outcomes[0]] * 5
    assert len({type(outcome) for outcome in outcomes}) == 1
    right_type = isinstance(value, int) or not kind.whole
    inside = right_type and kind.low <= value <= kind.high and not (kind.above and value == kind.low)
    assert (outcomes[0] is not None) == inside


@given(low=st.floats(-10, 10), width=st.floats(0, 10), value=st.floats(), above=st.booleans())
@example(0.0, 1.0, 0.0, True)
@example(0.0, math.inf, math.inf, False)
def test_a_number_is_taken_exactly_when_it_is_in_range(low: float, width: float, value: float, above: bool) -> None:
    high = low + width
    inside = math.isfinite(value) and (low < value if above else low <= value) and value <= high
    for give in (Number(low, high, above=above).check, lambda value: Number(low, high, above=above).read(repr(value))):
        try:
            assert give(value) == value
        except ValueError:
            assert not inside
        else:
            assert inside
