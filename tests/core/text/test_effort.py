"""The levels of reasoning effort that a template has, found by trying it out; and those of the official templates."""

from pathlib import Path

import pytest

from qwen_core.errors import SettingsError, TextError
from qwen_core.protocol.events import Effort
from qwen_core.text.effort import EFFORTS, EffortLevels, find_levels, resolve_effort
from qwen_core.text.template import ChatTemplate
from qwen_core.text.template_process import TEMPLATE_PROCESS, ProcessEndedError
from support.text import EFFORT_TEMPLATE, TEMPLATE

SWITCH = {"none": False, "low": False, "medium": True, "high": True}


def test_a_template_that_knows_a_switch_alone() -> None:
    levels = find_levels(ChatTemplate(TEMPLATE))
    assert levels.variables == {level: {"enable_thinking": on} for level, on in SWITCH.items()}
    assert levels.default == "medium"
    assert set(levels.groups.values()) == {0}


def test_a_template_that_knows_names() -> None:
    levels = find_levels(ChatTemplate(EFFORT_TEMPLATE))
    assert list(levels.variables) == ["none", "low", "medium", "xhigh"]
    assert levels.given("none") == {"enable_thinking": False}
    assert levels.given("low") == {"enable_thinking": True, "reasoning_effort": "low"}
    assert levels.given("high") == levels.given("xhigh")
    assert levels.given(None) == {}
    assert levels.default == "xhigh"
    assert levels.groups["none"] == levels.groups["medium"]
    assert len(set(levels.groups.values())) == 3


def test_a_template_that_passes_unknown_names_over() -> None:
    lenient = "{{ messages[0].content }}{{ 'Think hard.' if reasoning_effort == 'high' }}"
    levels = find_levels(ChatTemplate(lenient))
    assert levels.variables == {"high": {"reasoning_effort": "high"}}
    assert levels.default is None


@pytest.mark.parametrize("source", ["{{ messages[0].content }}", "{{ raise_exception('never') }}", "{{ 1 // 0 }}"])
def test_a_template_without_levels_takes_any_and_nothing_changes(source: str) -> None:
    levels = find_levels(ChatTemplate(source))
    assert levels == EffortLevels({}, None, {})
    assert levels.given("none") == {}
    assert resolve_effort((), "none")[1].endswith("none changes nothing")


def test_a_template_that_runs_into_a_limit_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []

    def ends(source: str, values: object) -> str:
        tried.append(values)
        if values is None:
            return ""
        raise ProcessEndedError("did not finish within 2 seconds")

    monkeypatch.setattr(TEMPLATE_PROCESS, "render", ends)
    with pytest.raises(TextError, match="did not finish"):
        find_levels(ChatTemplate("{{ 1 }}"))
    assert len(tried) == 2, "compiled, then rendered once"


@pytest.mark.parametrize(
    ("there", "level", "meant"),
    [
        (("none", "low", "medium", "high"), "xhigh", "high"),
        (("none", "low", "medium", "xhigh"), "high", "xhigh"),
        (("low", "high", "xhigh"), "high", "high"),
    ],
)
def test_high_and_xhigh_stand_for_each_other(there: tuple[Effort, ...], level: str, meant: str) -> None:
    effort, notice = resolve_effort(there, level)
    assert effort == meant
    assert (level in notice and meant in notice) == (level != meant)


@pytest.mark.parametrize("there", [("none", "low", "medium", "xhigh"), ()])
def test_what_is_unknown_lists_what_there_is(there: tuple[Effort, ...]) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve_effort(there, "hu\x1bge")
    assert ", ".join(there or EFFORTS) in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "names", "default", "groups"),
    [
        ("qwen3.6", ["none", "low", "medium", "high"], "medium", 1),
        ("qwen3.8", ["none", "low", "medium", "xhigh"], "xhigh", 3),
    ],
)
def test_the_official_templates(name: str, names: list[str], default: str, groups: int, fixtures_dir: Path) -> None:
    source = (fixtures_dir / name / "chat_template.jinja").read_text(encoding="utf-8")
    levels = find_levels(ChatTemplate(source))
    assert list(levels.variables) == names
    assert levels.default == default
    assert len(set(levels.groups.values())) == groups
    if name == "qwen3.6":
        assert levels.variables == {level: {"enable_thinking": on} for level, on in SWITCH.items()}
