"""Which levels of reasoning effort a chat template has: tried out once, when it is loaded.

Qwen3.5 and 3.6 know `enable_thinking` alone; 3.8 reads `reasoning_effort` and raises for a value it does not know
(FORMAT.md, "Tokens and template").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args

from qwen_core.errors import SettingsError, TextError, quote
from qwen_core.protocol.events import Effort
from qwen_core.text.template import ChatTemplate, TemplateLimitError

EFFORTS: tuple[Effort, ...] = get_args(Effort)
_QUESTION = "which levels are there?"
_CHAT = ({"role": "user", "content": _QUESTION},)
_NO_LEVEL = "no such level"
# The next best thing where a template has the one and not the other.
_STANDS_FOR: Mapping[str, Effort] = {"high": "xhigh", "xhigh": "high"}


@dataclass(frozen=True)
class EffortLevels:
    """`variables`: what the template is given for each level it has, in rising order; empty where it has none.

    `default` is the level of which the template's text is that without any; None where none is. `groups` numbers the
    levels by the text before the first message: where it is another, a conversation is read anew. `thinking`: the
    levels whose answers begin inside reasoning; `thinks`: whether an answer does without a level.
    """

    variables: Mapping[Effort, Mapping[str, Any]]
    default: Effort | None
    groups: Mapping[Effort, int]
    thinking: frozenset[Effort] = frozenset()
    thinks: bool = False

    def given(self, level: str | None) -> Mapping[str, Any]:
        """What the template is given for a level. Raises SettingsError for one it has not."""
        if level is None or not self.variables:
            return {}
        return self.variables[resolve_effort(tuple(self.variables), level)[0]]


def resolve_effort(levels: Sequence[Effort], level: str) -> tuple[Effort, str]:
    """The level of these that is meant, and a line where it is called otherwise. Raises SettingsError for none of them,
    but where there are none.
    """
    for effort in levels:
        if effort == level:
            return effort, ""
    other = _STANDS_FOR.get(level)
    if other is not None and other in levels:
        return other, f"this model's template has no reasoning effort {level}: it is {other} here"
    for effort in EFFORTS if not levels else ():
        if effort == level:
            return effort, f"this model's template has no levels of reasoning effort: {level} changes nothing"
    there = ", ".join(levels or EFFORTS)
    raise SettingsError(f"this model's template has no reasoning effort {quote(level)}: there are {there}")


@lru_cache(maxsize=1)
def find_levels(template: ChatTemplate) -> EffortLevels:
    """Try the levels out. Raises TextError for a template that takes too long or too much memory over it."""
    off, on = _text(template, enable_thinking=False), _text(template, enable_thinking=True)
    unasked = _text(template)
    has_switch = off is not None and on is not None and off != on
    switched = {"enable_thinking": True} if has_switch else {}
    other = _text(template, reasoning_effort=_NO_LEVEL, **switched)
    named: dict[Effort, str | None] = {
        level: _text(template, reasoning_effort=level, **switched) for level in EFFORTS[1:]
    }
    texts: dict[Effort, str | None] = {
        level: text for level, text in named.items() if text is not None and text != other
    }
    variables: dict[Effort, Mapping[str, Any]]
    if texts:
        variables = {level: {**switched, "reasoning_effort": level} for level in texts}
    elif has_switch:
        variables = {level: {"enable_thinking": level in ("medium", "high")} for level in EFFORTS[1:4]}
        texts = {level: on if level in ("medium", "high") else off for level in variables}
    else:
        return EffortLevels({}, None, {}, thinks=_opens_reasoning(unasked))
    if has_switch:
        variables, texts = {"none": {"enable_thinking": False}, **variables}, {"none": off, **texts}
    heads: dict[Effort, str] = {level: (text or "").partition(_QUESTION)[0] for level, text in texts.items()}
    numbers = {head: number for number, head in enumerate(dict.fromkeys(heads.values()))}
    # Of levels that are the same to a template (low and none, high and medium) the plainer name is the default's.
    ranking: tuple[Effort, ...] = ("none", "medium", "xhigh", "high", "low")
    default: Effort | None = next((level for level in ranking if level in texts and texts[level] == unasked), None)
    groups: dict[Effort, int] = {level: numbers[head] for level, head in heads.items()}
    thinking: frozenset[Effort] = frozenset(level for level, text in texts.items() if _opens_reasoning(text))
    return EffortLevels(variables, default, groups, thinking, _opens_reasoning(unasked))


def _text(template: ChatTemplate, **variables: Any) -> str | None:
    """The text of a conversation of one question; None where the template raises."""
    try:
        return template.render(_CHAT, **variables)
    except TemplateLimitError:
        raise
    except TextError:
        return None


def _opens_reasoning(text: str | None) -> bool:
    """Whether an answer behind `text` begins inside a reasoning block: the last message's last think tag opens one."""
    last = (text or "").rpartition("<|im_end|>")[2]
    return last.rfind("<think>") > last.rfind("</think>")
