"""The jinja2 environment that chat templates run in: sandboxed, and unable to make huge values.

jinja2's sandbox keeps a template from the interpreter's insides. It does not keep it from `"a" * 10**10`, or from
doubling a list forty times and printing it: memory is gone, or one call of the C library runs for hours, and no
deadline gets a say. So everything a template makes is weighed, and what could be huge is foretold from its arguments
before it is made (template_limits.py). The deadline and the error messages are template.py's.

Syntax, filters and globals are those of the transformers renderer, less a few that no prompt needs.
"""

import json
import types
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, NoReturn

from jinja2 import Template, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.environment import Environment
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.filters import make_attrgetter
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import Namespace, pass_environment
from markupsafe import Markup

from qwen_core.text.template_limits import Meter, call_size, check_field, operation_size

# Their results grow in ways their arguments do not show.
_REMOVED_FILTERS = ("urlize", "xmlattr", "pprint")
_REMOVED_GLOBALS = ("lipsum",)
_FORBIDDEN_METHODS = ("translate", "to_bytes")


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """One template's environment: `compile_template` once, then `render_plain`. Not for two threads at a time."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        self.meter = Meter()
        # Without the optimiser, less is computed at compile time.
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=[_GenerationTag, LoopControlExtension]
        )
        self.code_generator_class = _MeteredCode
        self.concat = self.join
        self.filters["tojson"] = _to_json
        self.filters["join"] = _join_filter
        for name in _REMOVED_FILTERS:
            del self.filters[name]
        for name in _REMOVED_GLOBALS:
            del self.globals[name]
        for name, function in list(self.filters.items()):
            self.filters[name] = self._metered(name, function)
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = _strftime_now
        self.globals["namespace"] = _Namespace
        self.globals["dict"] = _Dict()

    def compile_template(self, source: str) -> Template:
        """Compile; raises jinja2's own errors for bad syntax."""
        self.meter = Meter()
        return self.from_string(source)

    def render_plain(self, template: Template, values: Mapping[str, Any]) -> str:
        """Run a template on plain values (see `plain`). Raises what it raises, SecurityError if it makes too much."""
        self.meter = Meter(dict(values))
        return template.render(values)

    # From here on, what jinja2 and the code it generates call.

    def charge(self, value: Any) -> Any:
        return self.meter.charge(value)

    def join(self, texts: Iterable[Any]) -> str:
        """`"".join` of the texts as strings, stopping at the limit: a loop's texts come one by one."""
        parts: list[str] = []
        size = 0
        for text in texts:
            part = str(text)
            size += len(part)
            self.meter.allow(size)
            parts.append(part)
        return self.meter.charge("".join(parts))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        self.meter.allow(operation_size(self.meter, operator, left, right))
        return self.meter.charge(super().call_binop(context, operator, left, right))

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        receiver = getattr(function, "__self__", None)
        if isinstance(receiver, str | bytes | int):
            name = str(getattr(function, "__name__", ""))
            if name in _FORBIDDEN_METHODS:
                raise SecurityError(f"it calls {name}, which chat templates may not")
            if name == "join" and args:
                texts = list(args[0])
                self.meter.allow(self.meter.weigh(texts) + len(texts) * self.meter.weigh(receiver))
                args = (texts, *args[1:])
            self.meter.allow(call_size(self.meter, name, receiver, args, kwargs))
        return self.meter.charge(super().call(context, function, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """A method `format` or `format_map` of a string, in the sandbox and with its fields metered."""
        if not isinstance(value, types.MethodType | types.BuiltinMethodType):
            return None
        template = value.__self__
        if not isinstance(template, str) or value.__name__ not in ("format", "format_map"):
            return None
        formatter = _MeteredFormatter(self)

        def format_fields(*args: Any, **kwargs: Any) -> str:
            return formatter.vformat(str(template), args, kwargs)

        def format_map(mapping: Mapping[str, Any], /) -> str:
            return formatter.vformat(str(template), (), mapping)

        if isinstance(template, Markup):
            raise SecurityError("it formats text marked safe, which chat templates may not")
        return format_map if value.__name__ == "format_map" else format_fields

    def _metered(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The filter with its result foretold, then weighed."""
        first = 1 if hasattr(function, "jinja_pass_arg") else 0

        @wraps(function)  # carries over which filters take the context or the environment first
        def metered(*args: Any, **kwargs: Any) -> Any:
            if len(args) > first:
                self.meter.allow(call_size(self.meter, name, args[first], args[first + 1 :], kwargs))
            return self.meter.charge(function(*args, **kwargs))

        return metered


class _MeteredCode(CodeGenerator):
    """Generated code that also weighs what displays and `~` make."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.join((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        self.write("environment.charge(")
        super().visit_List(node, frame)
        self.write(")")

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self.write("environment.charge(")
        super().visit_Dict(node, frame)
        self.write(")")

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        if node.ctx != "load":  # the left side of an assignment
            super().visit_Tuple(node, frame)
            return
        self.write("environment.charge(")
        super().visit_Tuple(node, frame)
        self.write(")")


class _MeteredFormatter(SandboxedFormatter):
    def __init__(self, sandbox: TemplateSandbox) -> None:
        super().__init__(sandbox)
        self._sandbox = sandbox

    def format_field(self, value: Any, format_spec: str) -> Any:
        check_field(format_spec)
        return self._sandbox.charge(super().format_field(value, format_spec))


class _GenerationTag(Extension):
    """`{% generation %}` marks an answer for training; here its body is simply rendered."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


class _Namespace(Namespace):
    """jinja2's namespace without underscore names, and printed without its contents."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *rest = args
        values = dict(*rest, **kwargs)
        for name in values:
            _refuse_private(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_private(name)
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        return "<Namespace>"


class _Dict:
    """The global `dict`, which as the class itself would offer more than making dictionaries."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def plain(value: Any) -> Any:
    """A copy of `value` made of plain JSON types; anything else becomes a word that names its type.

    A template must not meet objects: their methods are not the sandbox's to know.
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    return f"<{type(value).__name__}>"


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """jinja2's own filter escapes HTML, which a prompt is not."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@pass_environment
def _join_filter(
    environment: Environment, value: Iterable[Any], d: Any = "", attribute: str | int | None = None
) -> str:
    """jinja2's own makes the whole text before anything can look at it."""
    texts = value if attribute is None else map(make_attrgetter(environment, attribute), value)

    def parts() -> Iterable[Any]:
        for n, text in enumerate(texts):
            if n:
                yield d
            yield text

    return environment.concat(parts())


def _raise_exception(message: object) -> NoReturn:
    raise TemplateError(str(message))


def _strftime_now(format: str) -> str:
    check_field(format)
    return datetime.now().strftime(format)


def _refuse_private(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError("it names something in a namespace with an underscore, which chat templates may not")
