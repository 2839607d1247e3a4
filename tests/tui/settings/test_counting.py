"""What counts of a generation setting and where it is from, through every layer, as /set, /settings, /stats and `run`
show it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qwen_core.settings.sampling_values import Sourced
from qwen_tui.settings.counting import counting, sampling_words
from qwen_tui.settings.file import LoadedSettings, load_settings
from qwen_tui.settings.rows import Setting, detail_lines, row_line, rows_of
from support.fake_engine import MODEL

WITH_FILE = replace(
    MODEL,
    generation_config=(("temperature", 0.6), ("top_k", 20)),
    efforts=(("none", 0), ("low", 0), ("medium", 0)),
    default_effort="medium",
    thinking_levels=("medium",),
)


def layers(folder: Path, text: str = "", environ: dict[str, str] | None = None, **overrides: Any) -> LoadedSettings:
    (folder / "config.toml").write_text(text, encoding="utf-8")
    options = {f"generation.{name}": value for name, value in overrides.items()}
    return load_settings(folder / "config.toml", environ or {}, options)


def test_every_source_is_named(tmp_path: Path) -> None:
    loaded = layers(
        tmp_path, "[generation]\ntop_p = 0.5\nmin_p = 0.1\n", {"QWEN_TUI_GENERATION_TOP_K": "40"}, seed=7, min_p=0.2
    ).for_now("generation.frequency_penalty", 0.5)
    found = counting(loaded, WITH_FILE)
    assert found["top_p"] == Sourced(0.5, "file")
    assert found["min_p"] == Sourced(0.2, "command line")
    assert found["top_k"] == Sourced(40, "environment")
    assert found["seed"] == Sourced(7, "command line")
    assert found["frequency_penalty"] == Sourced(0.5, "for now")
    assert found["temperature"] == Sourced(0.6, "generation_config.json")
    assert found["presence_penalty"] == Sourced(0.0, "recommended")
    assert found["repetition_penalty"] == Sourced(1.0, "default")
    assert found["effort"] == Sourced("medium", "the model's template")
    assert found["preset"] == Sourced("auto", "default")
    assert sampling_words(found) == (
        "temperature 0.6 (generation_config.json) · top_p 0.5 (file) · top_k 40 (environment) · "
        "min_p 0.2, seed 7 (command line) · presence_penalty 0 (recommended by the model's authors) · "
        "frequency_penalty 0.5 (for now)"
    )


def test_a_preset_is_a_source_of_its_own(tmp_path: Path) -> None:
    found = counting(layers(tmp_path, '[generation]\npreset = "coding"\ntop_k = 5\n'), WITH_FILE)
    assert found["temperature"] == Sourced(0.6, "preset coding")
    assert found["effort"] == Sourced("high", "preset coding")
    assert found["top_k"] == Sourced(5, "file")


@pytest.mark.parametrize(("effort", "penalty"), [("none", 1.5), ("low", 1.5), ("medium", 0.0), (None, 0.0)])
def test_what_is_recommended_goes_by_whether_the_template_begins_with_reasoning(
    tmp_path: Path, effort: str | None, penalty: float
) -> None:
    """Of Qwen3.6 "low" is no reasoning."""
    found = counting(layers(tmp_path, effort=effort), WITH_FILE)
    assert found["presence_penalty"] == Sourced(penalty, "recommended")


def test_the_models_own_values_are_not_known_before_it_is_loaded(tmp_path: Path) -> None:
    found = counting(layers(tmp_path, top_k=5), None)
    assert found["top_k"] == Sourced(5, "command line")
    assert found["temperature"].value is None


def test_the_settings_screen_shows_what_counts_of_what_is_not_set(tmp_path: Path) -> None:
    loaded = layers(tmp_path, "[generation]\ntop_p = 0.5\n")
    counts = counting(loaded, WITH_FILE)
    rows = {row.field.name: row for row in rows_of() if isinstance(row, Setting)}
    shown = {name: row_line(rows[name], loaded, 80, cursor=False, counts=counts).plain.split() for name in counts}
    assert shown["temperature"] == ["temperature", "0.6", "model's", "file"]
    assert shown["top_p"] == ["top_p", "0.5", "file"]
    assert shown["max_tokens"] == ["max_tokens", "up", "to", "the", "context"]
    detail = "\n".join(line.plain for line in detail_lines(rows["temperature"], loaded, counts))
    assert "Not set: 0.6 counts (generation_config.json)." in detail
