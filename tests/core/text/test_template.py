"""Chat templates against the transformers renderer, and against templates that mean harm."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.utils.chat_template_utils import render_jinja_template

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.errors import QwenError, TextError
from qwen_core.text.template import MAX_SOURCE, ChatTemplate, load_template
from support.checkpoints import write_checkpoint
from support.text import REWRITING_TEMPLATE, TEMPLATE, write_text_files

Messages = list[dict[str, Any]]
HELLO: Messages = [{"role": "user", "content": "hello"}]


def theirs(source: str, messages: Messages, **kwargs: Any) -> str | None:
    """What the transformers renderer makes of it; None where it raises."""
    try:
        rendered, _ = render_jinja_template([messages], chat_template=source, **kwargs)
    except Exception:  # the template's own errors, and jinja2's, have no common class
        return None
    return rendered[0]


compiled = cache(ChatTemplate)


def ours(source: str, messages: Messages, **kwargs: Any) -> str | None:
    try:
        return compiled(source).render(messages, **kwargs)
    except TextError:
        return None


@pytest.fixture(scope="module")
def real_source(fixtures_dir: Path) -> str:
    return (fixtures_dir / "qwen3.6" / "chat_template.jinja").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def newest_source(fixtures_dir: Path) -> str:
    return (fixtures_dir / "qwen3.8" / "chat_template.jinja").read_text(encoding="utf-8")


CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": ["é", None], "c": "two\nlines"}}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
ASKED: Messages = [
    {"role": "user", "content": " one "},
    {"role": "assistant", "content": "first\n", "reasoning_content": " I think. "},
]
CONVERSATIONS: dict[str, Messages] = {
    "a question": HELLO,
    "a system prompt": [{"role": "system", "content": " Be brief. "}, *HELLO],
    "an empty system prompt": [{"role": "system", "content": ""}, *HELLO],
    "answers with reasoning and without": [*ASKED, *HELLO, {"role": "assistant", "content": "second"}, *HELLO],
    "reasoning in the content": [*HELLO, {"role": "assistant", "content": "<think>\na\n</think>\n\nb"}, *HELLO],
    "a call and its answer": [
        *HELLO,
        {"role": "assistant", "content": "", "reasoning_content": "x", "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": "3"},
        {"role": "tool", "content": "4"},
    ],
    "a call behind words, answered": [
        *HELLO,
        {"role": "assistant", "content": "let me", "tool_calls": [CALL["function"]]},
        {"role": "tool", "content": "3"},
        {"role": "assistant", "content": "3", "reasoning_content": "y"},
        *HELLO,
    ],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image"}, {"type": "video"}]}],
    # What the template refuses.
    "no messages": [],
    "no question": [{"role": "system", "content": "a"}],
    "a late system prompt": [*HELLO, {"role": "system", "content": "a"}],
    "an unknown role": [*HELLO, {"role": "other", "content": "a"}],
    "a picture in the system prompt": [{"role": "system", "content": [{"type": "image"}]}, *HELLO],
    "an unknown part": [{"role": "user", "content": [{"type": "x"}]}],
}
REFUSED = 6


@pytest.mark.parametrize("preserve", [True, False, None], ids=["preserved", "dropped", "unsaid"])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_every_branch_of_the_newest_template_renders_as_theirs(
    name: str, preserve: bool | None, newest_source: str
) -> None:
    """By transformers' own renderer, here and now: whatever it makes of the file, with every effort and without."""
    kept = {} if preserve is None else {"preserve_thinking": preserve}
    efforts = [{"reasoning_effort": effort} for effort in ("xhigh", "medium", "low")]
    asked = [{}, *efforts, {"enable_thinking": False}, {"enable_thinking": True, "reasoning_effort": "low"}]
    rendered = []
    for more in asked:
        for rest in ({}, {"tools": [TOOL]}, {"add_generation_prompt": False}, {"add_vision_id": True}):
            options = {"add_generation_prompt": True, **kept, **more, **rest}
            rendered.append(ours(newest_source, CONVERSATIONS[name], **options))
            assert rendered[-1] == theirs(newest_source, CONVERSATIONS[name], **options), options
    is_refused = list(CONVERSATIONS).index(name) >= len(CONVERSATIONS) - REFUSED
    assert (rendered.count(None) == len(rendered)) is is_refused
    assert ours(newest_source, HELLO, reasoning_effort="high", **kept) is None


def test_every_recorded_rendering(fixtures_dir: Path, real_source: str) -> None:
    recorded = json.loads((fixtures_dir / "vectors" / "chat_renders.json").read_text(encoding="utf-8"))
    template = ChatTemplate(real_source)
    for case in recorded["cases"]:
        options = {"tools": case["tools"], "add_generation_prompt": case["add_generation_prompt"], **case["kwargs"]}
        assert template.render(case["messages"], **options) == case["rendered"]["qwen3.6"], case["id"]
    for case in recorded["errors"]:
        with pytest.raises(TextError) as error:
            template.render(case["messages"])
        assert case["error"] in str(error.value), case["id"]
    assert len(recorded["cases"]) == 10
    assert len(recorded["errors"]) == 3


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)
CONTENT = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["<think>\na\n</think>\n\nb", "<tool_response>x</tool_response>", "  padded\n\n", ""]),
    st.none(),
    st.lists(
        st.one_of(st.builds(lambda t: {"type": "text", "text": t}, st.text(max_size=8)), st.just({"type": "image"}))
    ),
)
CALLS = st.lists(
    st.builds(lambda n, a: {"type": "function", "function": {"name": n, "arguments": a}}, st.text(max_size=8),
              st.dictionaries(st.text(max_size=8), JSON, max_size=3)), max_size=2,
)  # fmt: skip
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "tool", "user", "assistant", "system", "other"]),
        "content": CONTENT,
    },
    optional={"reasoning_content": st.text(max_size=12), "reasoning": st.text(max_size=12), "tool_calls": CALLS},
)
OPTIONS = st.fixed_dictionaries(
    {"add_generation_prompt": st.booleans()},
    optional={
        "enable_thinking": st.booleans(),
        "preserve_thinking": st.booleans(),
        "reasoning_effort": st.sampled_from(["xhigh", "medium", "low", "high", "none", 1]),
        "add_vision_id": st.booleans(),
        "tools": st.lists(st.dictionaries(st.text(max_size=8), JSON, max_size=3), max_size=2),
    },
)


@settings(max_examples=200)
@given(messages=st.lists(MESSAGE, min_size=1, max_size=5), options=OPTIONS)
def test_random_conversations_render_as_theirs(
    real_source: str, newest_source: str, messages: Messages, options: dict[str, Any]
) -> None:
    for source in (real_source, newest_source, TEMPLATE):
        assert ours(source, messages, **options) == theirs(source, messages, **options)


SNIPPETS = [
    "{% for m in messages %}\n  {% if loop.index > 2 %}{% break %}{% endif %}\n{{ m.content }}\n{% endfor %}",
    "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ m }}{% endfor %}",
    "{% generation %}{{ messages[0].content }}{% endgeneration %}|",
    "{{ messages | tojson }} {{ messages | tojson(indent=2) }}",
    "{{ {'b': 'é<>&\\u2028', 'a': 1} | tojson(sort_keys=true) }}",
    "{{ messages | tojson(ensure_ascii=true) }} {{ [1, 2] | tojson(separators=(',', ':')) }}",
    "{% set n = namespace(v=0) %}{% for m in messages %}{% set n.v = n.v + m.content | length %}{% endfor %}{{ n.v }}",
    "{% macro show(m, last=false) %}[{{ m.role }}{{ caller() if caller }}]{% endmacro %}{{ show(messages[0]) }}",
    "{{ messages | map(attribute='role') | join(', ') }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
    "{{ messages | join('-', attribute='content') }} {{ ['a', 1, none] | join(d='+') }} {{ 'abc' | join('.') }}",
    "{{ 'x'.join(['a', 'b']) }} {{ 'a-b-c'.split('-', 1) }} {{ ' a '.strip() }} {{ 'ab'.replace('a', 'cc') }}",
    "{{ '%s and %05.2f' % ('a', 1.5) }} {{ '%s-%s' | format(1, 'b') }} {{ '{0:>5}|{x}'.format('a', x=2) }}",
    "{{ '{a}'.format_map({'a': 3}) }} {{ 7 // 2 }} {{ 2 ** 10 }} {{ -3 % 5 }} {{ 'ab' * 3 }} {{ [1] + [2] }}",
    "{{ 'one\\ntwo' | indent(2, true) }} {{ 'abc' | center(9) }} {{ 1.256 | round(2) }}",
    "{{ [1, 2, 3] | batch(2, 0) | list }} {{ [1, 2, 3] | slice(2) | list }} {{ 'a b c' | wordwrap(2) }}",
    "{{ dict(a=1, **{'b': 2}) }} {{ dict.fromkeys([1, 2]) }} {{ (1, 'b') }} {{ 'a' ~ 1 ~ none }} {{ [1, (2,)] }}",
    "{% set text %}in {{ messages[0].role }}{% endset %}{{ text | upper }}",
    "{% filter replace('i', 'j') %}ii{% endfilter %}",
    "{% for a, b in {'x': 1}.items() %}{{ a }}{{ b }}{% endfor %}{% set c, d = 1, 2 %}{{ c }}{{ d }}",
    "{{ tools is none }} {{ documents is none }} {{ nothing is defined }} {{ bos_token }}{{ add_generation_prompt }}",
    "{{ messages[0]['content'][::-1] }} {{ messages[-1:] }} {{ range(3) | list }} {{ 'a' in 'abc' }}",
    "{{ nothing.at.all }}",
    "{{ raise_exception('said ' ~ messages[0].role) }}",
    "{{ messages.append(1) }}",
    "{{ ''.__class__.__mro__ }}",
    "{{ namespace(_a=1) }}",
    "{% include 'other' %}",
    "{% if %}",
]


@pytest.mark.parametrize("source", SNIPPETS)
def test_what_templates_use_renders_as_theirs(source: str) -> None:
    messages: Messages = [
        {"role": "user", "content": "hé <b>"},
        {"role": "assistant", "content": "two", "reasoning": "why"},
        {"role": "user", "content": ""},
    ]
    assert ours(source, messages) == theirs(source, messages, add_generation_prompt=True)


FRAGMENTS = st.sampled_from((
    "{{ ", " }}", "{% ", " %}", "messages", "messages[0]", ".content", " | ", "tojson", "list", "join", "indent(3)",
    " ~ ", " + ", " * ", " ** ", " % ", "'a%sb'", "99", "-1", "[1, 'b']", "{'k': 2}", "(", ")", ", ", "x", "text\n",
    "namespace(a=1)", "set x = ", "for x in ", "endfor", "if ", "endif", "else", ".format", ".center", "(9)", "range",
    "None", "batch(2)",
))  # fmt: skip


@settings(max_examples=200)
@given(st.lists(FRAGMENTS, max_size=12).map("".join))
def test_random_templates_render_as_theirs_or_are_one_line(source: str) -> None:
    try:
        rendered = ChatTemplate(source).render(HELLO)
    except TextError as error:
        assert str(error).startswith("the chat template ")
        assert theirs(source, HELLO, add_generation_prompt=True) is None
    else:
        # Addresses, in the text of methods and generators, differ between two runs of anything.
        assert rendered == theirs(source, HELLO, add_generation_prompt=True) or " at 0x" in rendered


def repeated(body: str, start: str = "1", end: str = "") -> str:
    """A template that makes n.v of `start`, runs `body` sixty times, and ends with `end`."""
    return f"{{% set n = namespace(v={start}) %}}{{% for i in range(60) %}}{body}{{% endfor %}}{end}"


# Each would take gigabytes, or hours; test_template_process.py has more that take hours.
HOSTILE = {
    "repeat": "{{ 'a' * 10**10 }}",
    "doubling": repeated("{% set n.v = n.v + n.v %}", "'ab'"),
    "doubling a block": repeated("{% set n.v %}{{ n.v }}{{ n.v }}{% endset %}", "'ab'"),
    "nested list": repeated("{% set n.v = [n.v, n.v] %}", end="{{ n.v }}"),
    "nested dict": repeated("{% set n.v = {'a': n.v, 'b': n.v} %}", end="{{ n.v | tojson }}"),
    "compared": repeated("{% set n.v = [n.v, n.v] %}{% set n.w = [n.w, n.w] %}", "1, w=1", "{{ n.v == n.w }}"),
    "center filter": "{{ 'a' | center(10000000000) }}",
    "expandtabs": "{{ '\\t'.expandtabs(10**9) }}",
    "replace": "{% set b = 'a' * 10**6 %}{{ b.replace('a', b) }}",
    "join": "{% set b = 'a' * 10**6 %}{{ b.join(range(100000) | map('string') | list) }}",
    "indent": "{{ ('a\\n' * 10**5) | indent(10**5) }}",
    "batch": "{{ [1] | batch(10**10, 'x') | list }}",
    "percent": "{{ '%10000000000d' % 1 }}",
    "format filter": "{{ '%10000000000d' | format(1) }}",
    "str.format": "{{ '{:10000000000}'.format(1) }}",
    "to_bytes": "{{ (1).to_bytes(10**10, 'big') }}",
    "translate": "{{ ('a' * 10**6).translate({97: 'a' * 10**6}) }}",
    "tojson indent": "{{ [1] | tojson(indent=10**10) }}",
    "output": "{% set b = 'a' * 10**6 %}{% for i in range(100000) %}{{ b }}{% endfor %}",
    "kept": "{% set n = namespace(v=[]) %}{% for i in range(100000) %}{% set n.v = n.v + ['a' * 10**7] %}{% endfor %}",
    "lorem": "{{ lipsum(10**9) }}",
    "recursion": "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}",
    "wide characters": "{{ ('一' * 16000000) | list | length }}",
    "date": "{{ strftime_now('%9999c' * 2000000) | length }}",
    "depth": "{% set n = namespace(v=1) %}{% for i in range(99999) %}{% set n.v = [n.v] %}{% endfor %}{{ n.v }}",
    "brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
}

# Run apart, so that nothing but the rendering process counts as a child.
_HARNESS = """
import json, resource, sys
from qwen_core.errors import TextError
from qwen_core.text import template
from qwen_core.text.template_process import TemplateProcess
template.TEMPLATE_PROCESS = TemplateProcess(0.5)
answers = {}
for name, source in json.load(sys.stdin).items():
    try:
        rendered = template.ChatTemplate(source).render([{"role": "user", "content": "hello"}])
        answers[name] = f"rendered {len(rendered)} characters"
    except TextError as error:
        answers[name] = str(error)
template.TEMPLATE_PROCESS.close()
json.dump({"answers": answers, "peak": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}, sys.stdout)
"""


def test_templates_that_would_fill_the_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _HARNESS], input=json.dumps(HOSTILE), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    reasons = ("did not finish within 0.5", "MB of memory", "proportion", "too deeply", "range", "limit")
    unexpected = {n: a for n, a in report["answers"].items() if not any(reason in a for reason in reasons)}
    assert unexpected == {}
    assert report["answers"].keys() == HOSTILE.keys()
    assert report["peak"] * (1 if sys.platform == "darwin" else 1024) < 400_000_000


@pytest.mark.parametrize(
    "source",
    [
        "{#" + "x" * 1_000_000 + "#}{{ '1' * 3000000 }}",  # the template's own length buys nothing
        "{{ '\U00013000' * 1000000 }}",
        "{{ '1' * 1200000 }}",
    ],
)
def test_what_a_template_makes_is_bounded_by_the_conversation(source: str) -> None:
    """All of it goes to the tokenizer, which takes hundreds of bytes for a token."""
    with pytest.raises(TextError, match="out of all proportion"):
        ChatTemplate(source).render([{"role": "user", "content": "hi"}])
    escaped = ChatTemplate("{{ messages | tojson }}").render([{"role": "user", "content": "\x01" * 300_000}])
    assert len(escaped) > 6 * 300_000


def test_a_long_conversation_is_no_harm(real_source: str) -> None:
    messages: Messages = []
    for turn in range(1000):
        messages += [
            {"role": "user", "content": f"{turn} " + "word " * 400},
            {"role": "assistant", "content": "é" * 500},
        ]
    messages += [{"role": "user", "content": "x" * 20_000_000}]
    rendered = ChatTemplate(real_source).render(messages)
    assert rendered == theirs(real_source, messages, add_generation_prompt=True)
    assert len(rendered) > 22_000_000


def test_input_is_not_changed_and_objects_do_not_reach_the_template() -> None:
    class Secret:
        token = "secret"

    messages: Messages = [{"role": "user", "content": "x", "reasoning": "r", "extra": Secret()}]
    before = dict(messages[0])
    rendered = ChatTemplate("{{ messages[0].extra }} {{ messages[0].extra.token is defined }}").render(messages)
    assert rendered == "<Secret> False"
    assert messages[0] == before


def test_errors_are_one_printable_line_with_the_templates_words() -> None:
    for source, words in (
        ("{{ raise_exception('line one\\nline \\x1b[31mtwo') }}", "line one"),
        ("{{ raise_exception('x' * 5000) }}", "xxx"),
        ("line\n{% endfor %}", "line 2"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages[0].content.nothing.more }}", "nothing"),
    ):
        with pytest.raises(TextError) as error:
            ChatTemplate(source, name="the chat template of m").render(HELLO)
        message = str(error.value)
        assert message.isprintable()
        assert len(message) < 700
        assert message.startswith("the chat template of m ")
        assert words in message


def test_a_source_too_large() -> None:
    with pytest.raises(TextError, match="characters"):
        ChatTemplate(" " * (MAX_SOURCE + 1))


def test_a_template_renders_again_after_an_error() -> None:
    template = ChatTemplate("{{ raise_exception('no') if messages[0].content == 'bad' }}{{ messages[0].content }}")
    with pytest.raises(TextError):
        template.render([{"role": "user", "content": "bad"}])
    assert template.render(HELLO) == "hello"


def test_load_template(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "q4")
    write_text_files(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    expected = theirs(TEMPLATE, HELLO, add_generation_prompt=True)
    assert load_template(checkpoint).render(HELLO) == expected
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(TextError, match="no chat template"):
        load_template(checkpoint)
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": REWRITING_TEMPLATE}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert load_template(checkpoint).render(HELLO) == theirs(REWRITING_TEMPLATE, HELLO, add_generation_prompt=True)
    (tmp_path / "chat_template.jinja").write_text("{% for %}")
    with pytest.raises(QwenError, match=r"chat template of .* is not a template: line 1"):
        load_template(checkpoint)
