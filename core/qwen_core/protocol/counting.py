"""What sending a text would take, asked and answered before anything is read. Plain values, like all here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qwen_core.protocol.events import GenerationSettings


@dataclass(frozen=True)
class PromptCount:
    """Tokens of the prompt if a text were sent now. `prompt_tokens`: of all of it, `cached_tokens` of them need no
    prefill; `text_tokens`: of the text alone. `at_least`: counting ended where it was clear that the text cannot fit.
    """

    prompt_tokens: int
    cached_tokens: int
    text_tokens: int
    at_least: bool = False


@dataclass(frozen=True)
class Count:
    """Say what it would take to send `text` after the conversation as it is. Waits behind other work; of several that
    wait the last alone counts. `number` is the app's own, repeated in the `Counted` that answers.
    """

    number: int
    text: str
    settings: GenerationSettings


@dataclass(frozen=True)
class Counted:
    """The answer to a `Count`; `count` is None where it cannot be told, or other work came meanwhile."""

    number: int
    count: PromptCount | None
