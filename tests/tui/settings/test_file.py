"""Settings: the tree explains itself, every layer is checked, nothing a file or variable holds ends the program."""

import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.errors import SettingsError
from qwen_core.protocol.events import GenerationSettings
from qwen_core.protocol.probabilities import LENS_TOP
from qwen_core.settings.kinds import Choice, Number, Switch, Words
from qwen_core.settings.tree import PRESETS, GenerationSection
from qwen_tui.settings.file import changes, load_settings, save_settings, settings_path
from qwen_tui.settings.tree import (
    FIELDS,
    SECTIONS,
    AppSettings,
    Field,
    KeyNames,
    field_of,
    value_of,
    with_value,
)

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
KEY = st.from_regex(r"[a-z0-9_+]{1,12}|[!-~]", fullmatch=True)


def valid_values(entry: Field) -> st.SearchStrategy[Any]:
    """Values that a field takes."""
    match entry.kind:
        case Number(low, high, whole, above):
            values: st.SearchStrategy[Any] = (
                st.integers(int(low), int(high)) if whole else st.floats(low, high, exclude_min=above)
            )
        case Choice(words):
            values = st.sampled_from(words)
        case Switch():
            values = st.booleans()
        case Words(_, pattern):
            values = st.from_regex(pattern, fullmatch=True) if pattern else TEXT
        case _:
            raise AssertionError(entry)
    return st.none() | values if entry.optional else values


@st.composite
def settings(draw: st.DrawFn) -> AppSettings:
    tree = AppSettings()
    for entry in draw(st.lists(st.sampled_from(FIELDS), max_size=6, unique=True)):
        tree = with_value(tree, entry.key, draw(valid_values(entry)))
    for action in draw(st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True), max_size=3, unique=True)):
        tree = with_value(tree, f"keys.{action}", draw(st.lists(KEY, max_size=3)))
    return tree


TOML_VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(), TEXT, st.sampled_from(["auto", "high", "on", "f1"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([*SECTIONS, *(entry.name for entry in FIELDS)]) | TEXT
DOCUMENTS = st.dictionaries(NAMES, st.dictionaries(NAMES, TOML_VALUES, max_size=5) | TOML_VALUES, max_size=5)


def written(document: Any) -> str:
    import tomlkit

    return tomlkit.dumps(document)


def test_every_field_is_explained_and_names_what_it_takes() -> None:
    assert {entry.section for entry in FIELDS} == set(SECTIONS) - {"keys"}
    for entry in FIELDS:
        assert entry.help.endswith("."), entry.key
        assert entry.accepts
        assert field_of(entry.key) == entry
        assert value_of(AppSettings(), entry.key) == entry.default
    assert len({entry.variable for entry in FIELDS}) == len(FIELDS)


def test_defaults_are_what_their_own_fields_accept() -> None:
    for entry in FIELDS:
        assert with_value(AppSettings(), entry.key, entry.default) == AppSettings()


def test_presets_are_the_recommended_ones() -> None:
    from qwen_core.session.sampling import SamplingParameters, resolve_sampling

    thinking = SamplingParameters(temperature=1.0, top_p=0.95, top_k=20)
    not_thinking = SamplingParameters(temperature=0.7, top_p=0.80, top_k=20, presence_penalty=1.5)
    assert resolve_sampling(PRESETS["thinking"], {}, thinking=True) == thinking
    assert resolve_sampling(PRESETS["coding"], {}, thinking=True) == replace(thinking, temperature=0.6)
    assert resolve_sampling(PRESETS["non-thinking"], {}, thinking=False) == not_thinking
    assert resolve_sampling(PRESETS["auto"], {}, thinking=True) == thinking
    assert resolve_sampling(PRESETS["auto"], {}, thinking=False) == not_thinking
    # A generation_config.json, as published for thinking, must not change what a preset chose.
    published = {"temperature": 1.0, "top_p": 0.95, "top_k": 20}
    assert resolve_sampling(PRESETS["non-thinking"], published, thinking=False) == not_thinking


@given(settings())
def test_a_request_is_the_preset_under_what_is_set(tree: AppSettings) -> None:
    section = tree.generation
    request = tree.request()
    names = {"max_new_tokens": "max_tokens"}
    for entry in fields(GenerationSettings):
        if entry.name == "drop_reasoning":
            assert request.drop_reasoning == (tree.context.history == "drop-reasoning")
            continue
        if entry.name == "logprobs":
            assert request.logprobs == (LENS_TOP if section.probabilities else None)
            continue
        own = getattr(section, names.get(entry.name, entry.name))
        assert getattr(request, entry.name) == (getattr(PRESETS[section.preset], entry.name) if own is None else own)


@given(settings(), settings())
def test_what_is_saved_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, first: AppSettings, then: AppSettings
) -> None:
    path = tmp_path_factory.mktemp("settings") / "config.toml"
    for tree in (first, then):
        assert save_settings(tree, path) is None
        loaded = load_settings(path, {})
        assert (loaded.settings, loaded.saved, loaded.problems) == (tree, tree, ())
        assert set(loaded.origins) >= {entry.key for entry, value in changes(AppSettings(), tree) if value is not None}


@given(DOCUMENTS, settings())
def test_any_toml_is_read_and_can_be_saved_over(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any], wanted: AppSettings
) -> None:
    """What is valid counts, what is not is told; afterwards the file holds what was wanted, nothing of it lost."""
    path = tmp_path_factory.mktemp("settings") / "config.toml"
    text = written(document)
    path.write_text(text, encoding="utf-8")
    loaded = load_settings(path, {})
    for section, table in tomllib.loads(text).items():
        for name, value in table.items() if isinstance(table, dict) else ():
            entry = field_of(f"{section}.{name}")
            if section == "keys" or entry is None:
                continue
            try:
                assert value_of(loaded.settings, entry.key) == value_of(
                    with_value(AppSettings(), entry.key, value), entry.key
                )
            except ValueError:
                assert any(entry.key in problem and entry.accepts in problem for problem in loaded.problems)
                assert value_of(loaded.settings, entry.key) == entry.default
        if section not in SECTIONS or not isinstance(table, dict):
            assert loaded.problems
    kept = save_settings(wanted, path)
    assert load_settings(path, {}).settings == wanted
    assert kept is None or kept.read_text(encoding="utf-8") == text


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("settings") / "config.toml"
    path.write_bytes(content)
    loaded = load_settings(path, {})
    try:
        empty = tomllib.loads(content.decode("utf-8").removeprefix("\ufeff")) == {}
    except ValueError:
        empty = False
    assert bool(loaded.problems) or empty or loaded.settings != AppSettings()
    assert all("\n" not in problem and problem.isprintable() for problem in loaded.problems)


@given(st.sampled_from(FIELDS), st.data())
def test_the_environment_beats_the_file_and_an_option_the_environment(
    tmp_path_factory: pytest.TempPathFactory, entry: Field, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("settings") / "config.toml"

    def is_said(value: Any) -> bool:
        """Whether a variable can say `value`: an empty one counts as not set, and "unset" takes a value back."""
        return value is not None and str(value).strip().lower() not in ("", "unset")

    said = valid_values(entry).filter(is_said)
    tree = with_value(AppSettings(), entry.key, data.draw(said))
    save_settings(tree, path)
    value, option = data.draw(said), data.draw(said)
    environ = {entry.variable: str(value)}
    loaded = load_settings(path, environ)
    assert (value_of(loaded.settings, entry.key), loaded.origins[entry.key]) == (value, "environment")
    loaded = load_settings(path, environ, {entry.key: option})
    assert (value_of(loaded.settings, entry.key), loaded.origins[entry.key]) == (option, "command line")
    assert loaded.saved == tree
    loaded = load_settings(path, {entry.variable: ""})
    assert (loaded.settings, loaded.problems) == (tree, ())


def test_unset_takes_a_value_back(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[generation]\ntemperature = 0.5\npreset = 'coding'\n")
    loaded = load_settings(path, {"QWEN_TUI_GENERATION_TEMPERATURE": "unset", "QWEN_TUI_GENERATION_PRESET": "unset"})
    assert loaded.settings.generation.temperature is None
    assert loaded.settings.generation.preset == "coding"
    assert len(loaded.problems) == 1


def test_problems_come_together_and_name_file_key_value_and_what_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        "colour = 3\nhardware = 'M9'\n"
        "[generation]\ntemperature = 'hot'\ntop_k = 20.5\nmin_p = 0.1\nwarmth = 1\n"
        "[keys]\nstop = 7\n'not an action' = 'x'\nnew = 'ctrl+o'\nhelp = ['f1', 'ctrl+g']\n"
    )
    loaded = load_settings(
        path, {"QWEN_TUI_LOOKS_THEME": "No Theme", "QWEN_TUI_LOOKS_FONT": "big", "QWEN_TUI_HOME": "/x"}
    )
    assert loaded.settings == replace(
        AppSettings(),
        generation=GenerationSection(min_p=0.1),
        keys={"new": ("ctrl+o",), "help": ("f1", "ctrl+g")},
    )
    expected = [
        ("config.toml", "colour", "is not a section"),
        ("config.toml", "hardware", "'M9'", "[hardware]"),
        ("config.toml", "generation.temperature", "'hot'", "a number from 0 to 100"),
        ("config.toml", "generation.top_k", "20.5", "a whole number"),
        ("config.toml", "generation.warmth", "temperature, top_p"),
        ("config.toml", "keys.stop", "7", "ctrl+n"),
        ("config.toml", "keys.not an action", "the name of an action"),
        ("QWEN_TUI_LOOKS_FONT", "looks.font"),
        ("QWEN_TUI_LOOKS_THEME", "looks.theme", "'No Theme'", "'midnight' is used"),
    ]
    assert len(loaded.problems) == len(expected)
    for problem, parts in zip(loaded.problems, expected, strict=True):
        assert all(part in problem for part in parts), problem


def test_a_flood_of_problems_is_summed_up(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("\n".join(f"x{number} = 1" for number in range(1000)))
    problems = load_settings(path, {}).problems
    assert len(problems) == 51
    assert problems[-1] == "and 950 more problems with the settings"


def test_what_is_no_file_or_too_deep_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "deep").write_text("x = " + "[" * 5000)
    (tmp_path / "digits").write_text("[generation]\nseed = " + "9" * 5000)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "deep", "digits", "link"):
        loaded = load_settings(tmp_path / name, {})
        assert loaded.settings == AppSettings()
        (problem,) = loaded.problems
        assert name in problem
    assert load_settings(tmp_path / "absent", {}).problems == ()
    (home / "file").write_text("")
    monkeypatch.setenv("QWEN_TUI_HOME", str(home / "file"))
    assert "cannot be created" in load_settings(None, {}).problems[0]
    with pytest.raises(SettingsError, match="cannot be created"):
        save_settings(AppSettings())


def test_saving_keeps_comments_order_and_what_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    before = "# mine\n[looks]\ntheme = 'paper' # I like it\n\n[generation]\ntemperature = 0.5\nlater = 1\n"
    path.write_text(before)
    loaded = load_settings(path, {"QWEN_TUI_LOOKS_THEME": "midnight"})
    save_settings(with_value(loaded.saved, "generation.temperature", 0.7), path)
    assert path.read_text() == before.replace("0.5", "0.7")
    save_settings(load_settings(path, {}).saved, path)
    assert path.read_text() == before.replace("0.5", "0.7")


def test_a_new_value_comes_with_its_explanation(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    for key, value in (("generation.seed", 7), ("generation.top_k", 5), ("looks.theme", "paper")):
        save_settings(with_value(load_settings(path, {}).saved, key, value), path)
        entry = field_of(key)
        assert entry is not None
        assert entry.help in path.read_text()


def test_saving_is_private_whole_and_follows_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, link = tmp_path / "dotfiles" / "config.toml", tmp_path / "config.toml"
    target.parent.mkdir()
    link.symlink_to(target)
    save_settings(with_value(AppSettings(), "generation.seed", 1), link)
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o600
    before = target.read_text()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SettingsError, match="No space left"):
        save_settings(with_value(AppSettings(), "generation.seed", 2), link)
    assert target.read_text() == before
    assert list(target.parent.iterdir()) == [target]


def test_a_file_that_is_no_toml_is_kept_when_saving(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("this is my file")
    kept = save_settings(with_value(AppSettings(), "generation.seed", 1), path)
    assert kept is not None
    assert kept.read_text() == "this is my file"
    assert load_settings(path, {}).settings.generation.seed == 1


def test_the_file_is_in_the_config_folder(home: Path) -> None:
    assert settings_path() == home / "config" / "config.toml"
    save_settings(with_value(AppSettings(), "looks.theme", "paper"))
    assert load_settings().settings.looks.theme == "paper"


@pytest.mark.parametrize("key", ["generation.nothing", "nothing", "keys", "keys."])
def test_what_does_not_exist_is_no_field(key: str) -> None:
    assert field_of(key) is None
    with pytest.raises(KeyError):
        with_value(AppSettings(), key, 1)


def test_key_names_are_bounded() -> None:
    with pytest.raises(ValueError, match=r"ctrl\+n"):
        KeyNames().check(["a"] * 9)
    assert KeyNames().read("f1, Ctrl+G") == ("f1", "ctrl+g")


@pytest.mark.parametrize("value", [True, False, float("nan"), float("inf"), 10**400, -(10**400), "1", [1], None])
def test_what_is_no_number_is_none(value: Any) -> None:
    for kind in (Number(0, 5, whole=True), Number(0, 5), Number(0, 5, above=True)):
        with pytest.raises(ValueError, match="number"):
            kind.check(value)


def test_an_edit_that_would_read_as_something_else_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[generation]\nseed = 1\n")
    monkeypatch.setattr("tomlkit.dumps", lambda _: "[generation]\nseed = 3\n")
    kept = save_settings(with_value(AppSettings(), "generation.seed", 2), path)
    assert kept is not None
    assert kept.read_text() == "[generation]\nseed = 1\n"
    assert load_settings(path, {}).settings.generation.seed == 2
