"""The process in which chat templates run. template_process.py starts it and talks to it.

A template is a program from someone else. The kernel ends this process when one takes too long or too much memory,
jinja2's sandbox keeps it from the interpreter's insides. Syntax, filters and globals are those of the transformers
renderer.
"""

import json
import marshal
import os
import signal
import sys
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateSyntaxError, nodes
from jinja2.environment import Environment
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from qwen_core.child_process import MEMORY_EXIT, connect_to_parent, limit_memory
from qwen_core.errors import printable
from qwen_core.text.template_process import MEMORY_BYTES

# Bytes that a rendering may have, and how many more for each byte of the conversation: all of them go to the tokenizer,
# which takes up to 400 bytes a token. What a template makes thrice as long is "é", as \\u00e9.
_OUTPUT_BYTES = 1 << 20
_OUTPUT_FACTOR = 3
_MAX_REASON = 400
_COMPILED = 8  # how many templates are kept ready


def main() -> None:
    """Answer requests, one after the other, until the parent is gone or the kernel ends the process."""
    connection, deadline_s = connect_to_parent(), float(sys.argv[2])
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # should the parent ignore it, that is inherited
    limit_memory(MEMORY_BYTES)
    while True:
        try:
            request = connection.recv_bytes()
            signal.setitimer(signal.ITIMER_REAL, deadline_s)
            answer = _answer(request)
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send_bytes(answer)
        except MemoryError:
            os._exit(MEMORY_EXIT)


def _answer(request: bytes) -> bytes:
    """A plus sign and the rendering, or a minus sign and the problem."""
    verb = "failed"
    try:
        source, values = marshal.loads(request)
        verb = "is not a template"
        template = _compiled(source)
        verb = "failed"
        rendered = "" if values is None else template.render(values)
        written = rendered.encode("utf-8", "surrogatepass")
        told = len(request) - len(source.encode("utf-8", "surrogatepass"))
        if len(written) > _OUTPUT_BYTES + _OUTPUT_FACTOR * told:
            raise SecurityError("it makes a text out of all proportion to the conversation")
        return b"+" + written
    except MemoryError:
        raise
    except RecursionError:
        problem = f"{verb}: it (or the conversation) is nested too deeply"
    except TemplateSyntaxError as error:
        problem = f"{verb}: line {error.lineno}: {printable(str(error.message), _MAX_REASON)}"
    except Exception as error:  # a template can raise anything
        problem = f"{verb}: {printable(str(error), _MAX_REASON) or type(error).__name__}"
    return b"-" + problem.encode()


@lru_cache(_COMPILED)
def _compiled(source: str) -> Template:
    return _environment().from_string(source)


@lru_cache(1)
def _environment() -> Environment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, LoopControlExtension]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    environment.globals["namespace"] = _Namespace
    environment.globals["dict"] = _Dict()
    return environment


class _GenerationTag(Extension):
    """`{% generation %}` marks an answer for training; here its body is simply rendered."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


class _Namespace(Namespace):
    """jinja2's namespace without underscore names."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *rest = args
        values = dict(*rest, **kwargs)
        for name in values:
            _refuse_private(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_private(name)
        super().__setitem__(name, value)


class _Dict:
    """The global `dict`, which as the class itself would offer more than making dictionaries."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """jinja2's own filter escapes HTML, which a prompt is not."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: object) -> NoReturn:
    raise TemplateError(str(message))


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


def _refuse_private(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError("it names something in a namespace with an underscore, which chat templates may not")
