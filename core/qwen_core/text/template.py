"""`ChatTemplate`: a conversation as the text that a model directory's chat template makes of it.

The template is a program from someone else: it runs in a process of its own (template_process.py), which is ended
when it takes too long or too much memory. Text only; chat_encoding.py turns conversations into token ids.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.errors import TextError, printable, quote
from qwen_core.text.template_process import TEMPLATE_PROCESS, ProcessEndedError, RenderError

MAX_SOURCE = 4 << 20

# The names under which a message may carry its reasoning, as the transformers renderer knows them.
_REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")


class TemplateLimitError(TextError):
    """The template took too long or too much memory: it will do so again."""


class ChatTemplate:
    """A chat template. Renders what the transformers library's renderer would, byte for byte.

    `name` is what error messages call it; `variables` are further names that the template may use (`bos_token`).
    """

    def __init__(
        self, source: str, *, name: str = "the chat template", variables: Mapping[str, Any] | None = None
    ) -> None:
        """Compile `source`. Raises TextError if it is no template, or takes too long or too much memory to compile."""
        self.source = source
        self.name = printable(name, 200)
        self._variables = dict(variables or {})
        if len(source) > MAX_SOURCE:
            raise TextError(f"{self.name} has {len(source):,} characters, more than the {MAX_SOURCE:,} allowed")
        self._render(None)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **kwargs: Any,
    ) -> str:
        """The text of a conversation. `messages` are mappings with role and content; `kwargs` reach the template.

        Raises TextError with the template's own words if it raises, and if it takes too long or too much memory or
        makes a text out of proportion to what it was given.
        """
        return self._render(
            {
                "documents": None,
                **self._variables,
                **kwargs,
                "messages": [self._with_reasoning(message) for message in messages],
                "tools": tools,
                "add_generation_prompt": add_generation_prompt,
            }
        )

    def _render(self, values: Mapping[str, Any] | None) -> str:
        try:
            return TEMPLATE_PROCESS.render(self.source, values)
        except ProcessEndedError as error:
            raise TemplateLimitError(f"{self.name} {error}") from None
        except RenderError as error:
            raise TextError(f"{self.name} {error}") from None

    def _with_reasoning(self, message: Any) -> Mapping[str, Any]:
        """The message with its reasoning under the names that templates read it by."""
        if not isinstance(message, Mapping):
            raise TextError(f"{self.name} failed: a message must be a mapping, not {type(message).__name__}")
        reasoning = next((message[key] for key in _REASONING_KEYS if message.get(key) is not None), None)
        return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def load_template(checkpoint: Checkpoint) -> ChatTemplate:
    """The checkpoint's chat template. Raises TextError if there is none or it is damaged."""
    source = checkpoint.template_source()
    if source is None:
        raise TextError(
            f"{quote(checkpoint.path)} has no chat template: copy the chat_template.jinja of the model it was made from"
        )
    return ChatTemplate(source, name=f"the chat template of {quote(checkpoint.path)}")
