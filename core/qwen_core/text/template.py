"""`ChatTemplate`: a conversation as the text that a model directory's chat template makes of it.

The template is a program from someone else: it runs in the sandbox of template_sandbox.py, which bounds what it may
reach and make, and under a deadline. Text only; chat_encoding.py turns conversations into token ids.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateSyntaxError

from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.errors import TextError, printable, quote
from qwen_core.text.deadline import DeadlineError, run_within
from qwen_core.text.template_sandbox import TemplateSandbox, plain

DEADLINE_S = 2.0
MAX_SOURCE = 4 << 20
_MAX_REASON = 400

# The names under which a message may carry its reasoning, as the transformers renderer knows them.
_REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")


class ChatTemplate:
    """A compiled chat template. Renders what the transformers library's renderer would, byte for byte.

    `name` is what error messages call it; `variables` are further names that the template may use (`bos_token`).
    Rendering is one at a time: a second thread waits for the first.
    """

    def __init__(
        self, source: str, *, name: str = "the chat template", variables: Mapping[str, Any] | None = None
    ) -> None:
        """Compile `source`. Raises TextError if it is no template, or takes longer than the deadline to compile."""
        self.source = source
        self.name = printable(name, 200)
        self._variables = dict(variables or {})
        self._lock = threading.Lock()
        if len(source) > MAX_SOURCE:
            raise TextError(f"{self.name} has {len(source):,} characters, more than the {MAX_SOURCE:,} allowed")
        self._sandbox = TemplateSandbox()
        self._template = self._guarded(lambda: self._sandbox.compile_template(source), "is not a template")

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **kwargs: Any,
    ) -> str:
        """The text of a conversation. `messages` are mappings with role and content; `kwargs` reach the template.

        Raises TextError with the template's own words if it raises, and if it runs longer than DEADLINE_S or makes
        values out of proportion to what it was given.
        """

        def run() -> str:
            values = {**self._variables, **{key: plain(value) for key, value in kwargs.items()}}
            values["messages"] = [_with_reasoning(message) for message in plain(messages)]
            values["tools"] = plain(tools)
            values.setdefault("documents", None)
            values["add_generation_prompt"] = add_generation_prompt
            return self._sandbox.render_plain(self._template, values)

        return self._guarded(run, "failed")

    def _guarded(self, run: Any, verb: str) -> Any:
        """`run()` under lock and deadline, every way of failing made one line."""
        with self._lock:
            try:
                return run_within(DEADLINE_S, run)
            except DeadlineError:
                problem = f"did not finish within {DEADLINE_S:g} seconds"
            except RecursionError:
                problem = f"{verb}: it (or the conversation) is nested too deeply"
            except MemoryError:
                problem = f"{verb}: it ran out of memory"
            except TemplateSyntaxError as error:
                problem = f"{verb}: line {error.lineno}: {printable(str(error.message), _MAX_REASON)}"
            except Exception as error:  # a template can raise anything
                problem = f"{verb}: {printable(str(error), _MAX_REASON) or type(error).__name__}"
        raise TextError(f"{self.name} {problem}")


def load_template(checkpoint: Checkpoint) -> ChatTemplate:
    """The checkpoint's chat template. Raises TextError if there is none or it is damaged."""
    source = checkpoint.template_source()
    if source is None:
        raise TextError(
            f"{quote(checkpoint.path)} has no chat template: copy the chat_template.jinja of the model it was made from"
        )
    return ChatTemplate(source, name=f"the chat template of {quote(checkpoint.path)}")


def _with_reasoning(message: Any) -> dict[str, Any]:
    """The message with its reasoning under the names that templates read it by."""
    if not isinstance(message, dict):
        raise TypeError(f"a message must be a mapping, not {type(message).__name__}")
    reasoning = next((message[key] for key in _REASONING_KEYS if message.get(key) is not None), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}
