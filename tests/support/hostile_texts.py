"""Texts as no model should write them, by kind, each with words that a reader must find on the screen nevertheless."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random

from pygments.lexers import get_all_lexers

from support.markdown_texts import Author

LONG = 10_000
"""Characters of a long text: some pages of a book."""


@dataclass(frozen=True)
class Text:
    kind: str
    text: str
    words: tuple[str, ...]


def hostile_text(rng: Random) -> Text:
    """One text of any kind; those that take a second each to look through come seldom."""
    kind = rng.choice([kind for kind in KINDS if kind != "large"]) if rng.random() < 0.99 else "large"
    author = Author(rng)
    text = KINDS[kind](rng, author)
    return Text(kind, text, tuple(author.words))


def _markdown(rng: Random, author: Author) -> str:
    return author.document(12)


def _apart(rng: Random, author: Author, *parts: str) -> str:
    """`parts` with a word in a paragraph of its own before each and after the last."""
    return "".join(f"{author.word()}\n\n{part}\n\n" for part in parts) + author.word()


def _repeated(rng: Random, author: Author) -> str:
    """One sign or a few, again and again."""
    unit = "".join(rng.choice(SIGNS) for _ in range(rng.choice([1, 1, 1, 2, 3])))
    many = rng.choice([20, 300, LONG // len(unit)])
    if rng.random() < 0.2:  # deeper with every line
        return _apart(rng, author, "\n".join(" " * 2 * depth + unit for depth in range(min(many, 150))))
    return _apart(rng, author, unit * many)


def _escapes(rng: Random, author: Author) -> str:
    """What a terminal acts on, at every place of a text."""
    pieces = [rng.choice((author.word, lambda: rng.choice(ESCAPES)))() for _ in range(rng.randint(1, 60))]
    return rng.choice((" ", " ", "\n")).join(pieces)


def _long_lines(rng: Random, author: Author) -> str:
    unit = rng.choice(
        ("a", "東", "🎉", "e\u0301", "\u0301", "👩\u200d👩\u200d👧", "ab ", "a,", "\u00a0", "\t", "x  ", "ﷺ", "\u3000")
    )
    return _apart(rng, author, unit * rng.choice((100, 1000, LONG)), unit * rng.randint(1, 200))


def _code(rng: Random, author: Author) -> str:
    """A language of those that there are, and a body that its lexer may not like."""
    body = rng.choice((*CODE_UNITS, *SIGNS)) * rng.choice((3, 100, 2000))
    mark = rng.choice(("```", "~~~~"))
    return _apart(rng, author, f"{mark}{rng.choice(languages())}\n{author.word()}\n{body}\n{author.word()}\n{mark}")


def _table(rng: Random, author: Author) -> str:
    columns, lines = rng.choice(((2, 200), (5, 50), (20, 20), (64, 5), (65, 5), (400, 2)))
    cell = rng.choice(("x", "", "東京 ", "`a|b`", "*a", "\\|", "<b>", "long " * 20, "\x1b[31m"))
    rows = [cell] * columns, ["---"] * columns, *[[cell] * columns] * lines
    return _apart(rng, author, "\n".join("|".join(("", *row, "")) for row in rows))


def _tags(rng: Random, author: Author) -> str:
    """The model's own marks and the toolkit's markup, which are text here."""
    pieces = [f"{rng.choice(TAGS)} {author.word()}" for _ in range(rng.randint(1, 30))]
    return rng.choice((" ", "\n", "\n\n")).join(pieces)


def _links(rng: Random, author: Author) -> str:
    pieces = [
        f"{rng.choice(('', '!'))}[{author.word()}]({rng.choice(TARGETS)}{rng.choice(TITLES)})"
        for _ in range(rng.randint(1, 30))
    ]
    return _apart(rng, author, " ".join(pieces), f"[r]: {rng.choice(TARGETS)}", f"<{rng.choice(TARGETS)}>")


def _junk(rng: Random, author: Author) -> str:
    """Anything at all, between words that nothing can swallow."""
    pieces = SIGNS + ESCAPES + TAGS
    parts = ["".join(_any(rng, pieces) for _ in range(rng.randint(1, 40))) for _ in range(rng.randint(1, 5))]
    return _apart(rng, author, *parts)


def _large(rng: Random, author: Author) -> str:
    """What an ordinary parser takes seconds for: tens of thousands of short lines, or of links."""
    unit = rng.choice(
        (
            "{}. x\n",
            "- a\n",
            "> a\n",
            "ab\n\n",
            "---\n",
            "[a](b) ",
            "[" * 9 + "\n\n",
            "|a|b|\n",
            "**a `b`\n",
            "~" * 9,
            "```a\n",
        )
    )
    body = "".join(unit.replace("{}", str(number)) for number in range(rng.choice((500, 2_000, 5_000))))
    return _apart(rng, author, body, body[: rng.randint(0, len(body))])


def _any(rng: Random, pieces: tuple[str, ...]) -> str:
    return (
        chr(rng.choice((rng.randrange(0x300), rng.randrange(0x110000)))) if rng.random() < 0.3 else rng.choice(pieces)
    )


@cache
def languages() -> tuple[str, ...]:
    """Every name by which code may ask for colours, and some that mean nothing."""
    names = sorted(alias for _, aliases, _, _ in get_all_lexers() for alias in aliases)
    return (*names, "", "no-such", "\x1b[31m")


SIGNS = (
    "- ", "* ", "+ ", "> ", "1. ", "1) ", "# ", "[", "]", "![", "](", "*", "**", "_", "`", "``", "~~", "~", "<", "<b>",
    "</b>", "<!--", "&", "&amp;", "\\", "(", "[a](", "[a]: b\n", "***", "---\n", "===\n", "a\n===\n", "| a ", "|\n",
    "|-", "\t", " ", "\n", "\n\n", "a\n", "a\n\n", "- a\n", "1. a\n", "> a\n", "# a\n", "```\n", "~~~\n", "    a\n",
    "*a ", "**a*", "[a]", "[[a]]", "a  \n", "a\\\n", "$", "$$\n", "\\(", ":", "|a|\n|-|\n", "- [ ] ", "<a@b.c>",
    "www.a.b ", "[](", "![](a)", "*a_b", "> - ", "- > ", "\r", "\r\n", "\f", "\v",
)  # fmt: skip
ESCAPES = (
    "\x1b[2J", "\x1b[31m", "\x1b[999;999H", "\x1b]0;title\x07", "\x1b]52;c;aGk=\x07", "\x1b]8;;http://x\x1b\\",
    "\x1bP1$r", "\x1b_G\x1b\\", "\x1b[6n", "\x1b[?1049l", "\x1b", "\x9b31m", "\x90q", "\x9d0;t\x9c", "\x07", "\x08",
    "\x00", "\x7f", "\r", "\x0b", "\x0c", "\x0e", "\x85", "\u202e", "\u202a", "\u2066", "\u2069", "\u200b", "\u200d",
    "\u200e", "\u2028", "\u2029", "\ufeff", "\u00ad", "\u2060", "\ufff9", "\ufffe", "\U0010ffff", "\U000e0001",
    "\U000e0041", "\u180e", "e" + "\u0301" * 30, "\u0301", "\ud800", "\udfff", "&#27;", "&#x9b;", "&#x202e;", "&#0;",
    "&zwnj;", "&shy;", "&NewLine;",
)  # fmt: skip
TAGS = (
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<function=f>", "<|im_start|>", "<|im_end|>", "<|endoftext|>",
    "<|vision_pad|>", "[bold]", "[/bold]", "[/]", "[red on blue]", "[@click=app.quit]", "[link=file:///etc/passwd]",
    "[[", "$foreground", "{{ x }}", "{% raw %}", "\\[b]", "[b", "[#ff0000]", "[!NOTE]", "[^1]", ":smile:",
)  # fmt: skip
TARGETS = (
    "file:///etc/passwd", "javascript:alert(1)", "https://x.example/a?b=c", "\x1b[2J", "a\x1b]8;;b", "&#27;]0;t",
    "%1b[2J", "data:text/html,x", "//x", "", "ssh://a@b", "app.quit", "https://\u202ex.example", "x" * 3000,
)  # fmt: skip
TITLES = ("", "", ' "t"', " 't", " (t)")
CODE_UNITS = (
    "a", "a.", "a(", "(", "{", "${", "0", "1.", "::", '"', "'", "/*", "//", "<", "<a ", "&", "@", "#", "\n", "  \n",
    "a\n", "a b ", "`", "\\", "=", "-", "%", "{{", "<%", "<?php ", "def f(x):\n", "if (a) {\n", "x = 'y'  # z\n",
    "\t", "東", "\u0301",
)  # fmt: skip
KINDS: dict[str, Callable[[Random, Author], str]] = {
    "markdown": _markdown,
    "signs again and again": _repeated,
    "escapes": _escapes,
    "long lines": _long_lines,
    "code": _code,
    "tables": _table,
    "tags": _tags,
    "links": _links,
    "junk": _junk,
    "large": _large,
}
