"""Fuzz chat templates: programs from a grammar, hostile ones among them, rendered on a conversation.

    python tests/tools/fuzz_templates.py [--count 50000] [--seed 1]

Each ends with a text, or with one line within the limits of time and memory of the process that renders. Exit code 1
where one does not. A template that runs into a limit costs the limit, so the whole takes its time.
"""

import resource
import sys
import time
from pathlib import Path
from random import Random

from qwen_core.text.template import ChatTemplate
from qwen_core.text.template_process import DEADLINE_S

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.fuzzing import main, words

TAME_FILTERS = ("trim", "upper", "length", "tojson", "list", "first", "replace('l', 'll')", "default('d')", "indent(4)")
TAME_METHODS = (
    "split('a')",
    "strip()",
    "replace('l', 'll' * 9)",
    "find('l')",
    "startswith('H')",
    "upper()",
    "rfind('l')",
)
BEFORE = "{% set ns = namespace(v=1) %}{% set x = 'Hello' %}{% macro m(a, b=0) %}{{ a }}{% endmacro %}"
SLACK_S = 8.0  # for ending a process and starting another, on a busy machine
CALL = {"function": {"name": "f", "arguments": {"a": [1]}}}
MESSAGES = [
    {"role": "system", "content": "You are \u4f60\u597d."},
    {"role": "user", "content": "Hello <|im_end|> {{ 7 * 7 }}"},
    {
        "role": "assistant",
        "content": "Hi",
        "reasoning_content": "Hm.",
        "tool_calls": [{"function": {"name": "f", "arguments": {"a": [1]}}}],
    },
    {"role": "user", "content": [{"type": "text", "text": "more"}]},
]
NAMES = (
    "messages", "x", "x", "messages[1].content", "messages[0]['role']", "messages[0]", "messages[-1].content",
    "tools", "x", "ns.v", "loop.index0", "loop.previtem", "add_generation_prompt", "enable_thinking", "self",
    "undefined.a", "loop.cycle", "caller", "varargs", "cycler", "joiner()", "namespace", "lipsum", "dict(a=1)",
)  # fmt: skip
FILTERS = (
    "trim", "upper", "lower", "length", "tojson", "string", "list", "join", "join('-')", "first", "last", "reverse",
    "replace('a', 'bb')", "replace('', 'x')", "default('d')", "items", "sort", "unique|list", "sum(start=[])", "int",
    "float", "abs", "round", "safe", "e", "escape", "indent(4)", "wordwrap(3)", "center(1000)", "format(1)", "title",
    "map('upper')|list", "map(attribute='role')|list", "selectattr('role')|list", "rejectattr('x')|list",
    "batch(2)|list", "slice(3)|list", "groupby('role')", "dictsort", "pprint", "urlize", "striptags", "xmlattr",
    "filesizeformat", "random", "attr('__class__')", "select('string')|list", "wordcount", "truncate(3)",
    "tojson(indent=9)",
)  # fmt: skip
METHODS = (
    "split('a')", "split()", "rsplit('b', 1)", "strip()", "strip('\\n')", "startswith('H')", "endswith(x)",
    "find('l')", "rfind('l')", "partition('l')", "rpartition('o')", "replace('l', 'll' * 9)", "upper()", "encode()",
    "join(['a'])", "items()", "keys()", "get('role')", "format(1, a=2)", "zfill(100)", "ljust(1000)", "count('')",
    "index('H')", "splitlines()", "__class__", "__init__", "__mro__", "mro()", "append(x)", "pop()", "update(a=1)",
    "translate({})", "expandtabs(1000)", "title()", "rindex('x')", "removeprefix('H')", "isdigit()",
    "format_map(ns)",
)  # fmt: skip
OPERATORS = ("+", "-", "*", "~", "/", "//", "%", "**", "==", "!=", "<", ">", "and", "or", "in", "not in")
TESTS = (
    "defined",
    "none",
    "string",
    "mapping",
    "iterable",
    "sequence",
    "number",
    "true",
    "boolean",
    "sameas(x)",
    "in(x)",
)
HOSTILE = (
    "x * 99999999", "'ab' * 300000000", "range(10**9)|list", "(('a' * 30000) * 3000).rfind('b' + 'a' * 9000)",
    "range(99999)|sum", "10 ** 10 ** 8", "'%0999999999d' % 1", "'{:>999999999}'.format(1)", "x.rsplit('a' * 40000)",
    "('a' * 10000000)|list", "'\u4f60' * 99999999", "strftime_now('%c' * 999999)", "[[1]] * 99999999",
    "lipsum(99999)", "('a ' * 9999999)|wordwrap(1)", "raise_exception('stop\\x1b[2J')",
    "(range(9999)|list * 999)|sum(start=[])",
)  # fmt: skip


def attempt(random: Random, place: Path) -> str:
    source = (BEFORE if random.random() < 0.9 else "") + template(random)
    began = time.monotonic()
    try:
        text = ChatTemplate(source).render(MESSAGES, enable_thinking=random.random() < 0.5)
    finally:
        if (seconds := time.monotonic() - began) > DEADLINE_S + SLACK_S:
            raise AssertionError(f"took {seconds:.1f} s: {source[:200]!r}")
        if (memory := resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) > 500 << 10:
            raise AssertionError(f"a process had {memory >> 10} MB, not later than at {source[:200]!r}")
    if not isinstance(text, str):
        raise AssertionError(f"not a text: {source[:200]!r}")
    return "rendered"


def template(random: Random, depth: int = 3) -> str:
    """Some statements and texts; rarely one that is not well-formed."""
    made = "".join(_statement(random, depth) for _ in range(random.randint(1, 4)))
    if random.random() < 0.05:
        at = random.randrange(len(made) + 1)
        made = made[:at] + random.choice(("{%", "%}", "{{", "}}", "{#", "-", "'", "\0", "\ud800")) + made[at + 1 :]
    return made


def _statement(random: Random, depth: int) -> str:
    kind = random.randrange(14 if depth else 5)
    if kind < 2:
        return "{{ " + _expression(random, 3) + " }}"
    if kind == 2:
        return "{%- set " + random.choice(("x", "ns.v", "y", "message")) + " = " + _expression(random, 2) + " -%}"
    if kind == 3:
        return "{% set ns = namespace(v=" + _expression(random, 1) + ") %}"
    if kind == 4:
        return random.choice(
            ("<|im_start|>", "\n", " text ", "{# no #}", "{% raw %}{{{% endraw %}", "你好", words(random))
        )
    inner = template(random, depth - 1)
    if kind in (5, 6, 7):
        rest = random.choice(("", "", " recursive", f" if {_expression(random, 1)}"))
        over = random.choice(("messages", "range(3)", "range(99)", "x", "'abc'", _expression(random, 1)))
        end = random.choice(("", "", "{% break %}", "{% else %}a"))
        return f"{{% for message in {over}{rest} %}}{inner}{end}{{% endfor %}}"
    if kind in (8, 9, 10):
        return f"{{% if {_expression(random, 2)} %}}{inner}{{% elif x %}}b{{% else %}}{inner}{{% endif %}}"
    if kind == 11:
        macro = f"{{% macro m(a, b=0) %}}{inner}{{{{ m(a) if b else '' }}}}{{% endmacro %}}"
        return f"{macro}{{{{ m({_expression(random, 1)}) }}}}"
    if kind == 12:
        return f"{{% filter {random.choice(FILTERS)} %}}{inner}{{% endfilter %}}"
    words_ = (
        ("{% generation %}", "{% endgeneration %}") if random.random() < 0.5 else ("{% call m() %}", "{% endcall %}")
    )
    return words_[0] + inner + words_[1]


def _expression(random: Random, depth: int) -> str:
    """Mostly what works on a text, so that some templates come to their end."""
    if random.random() < 0.004:
        return random.choice(HOSTILE)
    tame = random.random() < 0.85
    kind = random.randrange(8 if depth else 2)
    if kind == 0:
        return "x" if tame else random.choice(NAMES)
    if kind == 1:
        return random.choice(("0", "1", "-3", "'a'", "'l' * 9", "none", "true", "[]", "[1, 'a']", "{'a': 1}", "1.5"))
    left = "x" if tame else _expression(random, depth - 1)
    if kind in (2, 3):
        return f"({left})|{random.choice(TAME_FILTERS if tame else FILTERS)}"
    if kind == 4:
        return f"({left}).{random.choice(TAME_METHODS if tame else METHODS)}"
    if kind == 5:
        return f"({left}) is {random.choice(('', 'not '))}{random.choice(TESTS)}"
    if kind == 6:
        return f"({left})[{random.choice(('0', '-1', '::-1', '1:') if tame else (':99999999', repr('role'), left))}]"
    operator = random.choice(("~", "==", "and", "or") if tame else OPERATORS)
    return f"({left}) {operator} ({_expression(random, depth - 1)})"


if __name__ == "__main__":
    sys.exit(main(attempt, "templates", 50_000))
