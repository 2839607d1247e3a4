"""Where a growing markdown answer may be cut: which top-level blocks can no longer change.

Pure text; the answer widget draws finished blocks as markdown and the open one as plain text.
"""

import re

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from qwen_tui.text.formula_rules import block_rules, formula_rules
from qwen_tui.text.safe import visible

MAX_NESTING = 40
"""Of lists and quotes, each of which counts once or twice. The parser calls itself some ten deep for each."""

MAX_BRACKETS = 1_000
"""Of one paragraph: each may begin a link, and five thousand that do not take most of a second."""

MAX_LINES, MAX_CHARACTERS, MAX_MARKS = 2_000, 60_000, 6_000
"""Of a text that is read as markdown, its code aside: what takes at most some half a second. Answers have a tenth."""

_MARKS = re.compile(r"[\[*_<>]|(?:[-+]|\d[.)]) ")
"""What may begin a link, emphasis, a list or a quote: each of them costs the more, the more of them stand together."""

MAX_CELLS = 10_000
"""Of the tables of a text, were each line one row of the widest: the parser makes the cells that a row leaves out."""

_FENCE = re.compile(r"(`{3,}|~{3,})[^`]*")

# Blocks only: what is inside a paragraph does not matter for where it ends, and costs most of a parse.
_BLOCKS = MarkdownIt("gfm-like", {"html": False}).disable(
    ["inline", "linkify", "text_join", "reference"], ignoreInvalid=True
)
block_rules(_BLOCKS)


def is_costly(text: str) -> bool:
    """Whether reading `text` as markdown would keep the screen waiting."""
    lines = _prose(text)
    prose = "\n".join(lines)
    return (
        len(lines) > MAX_LINES
        or len(prose) > MAX_CHARACTERS
        or len(_MARKS.findall(prose)) > MAX_MARKS
        or sum("|" in line for line in lines) * max((line.count("|") for line in lines), default=0) > MAX_CELLS
    )


def _prose(text: str) -> list[str]:
    """The lines of `text` but those of blocks of code that certainly are such: in no list or quote, with their end."""
    prose: list[str] = []
    fence, start = "", 0  # of the block that is open, and which line of `prose` it begins with
    for line in text.split("\n"):
        prose.append(line)
        if not fence and (match := _FENCE.fullmatch(line)):
            fence, start = match[1], len(prose) - 1
        elif fence and line.startswith(fence) and not line.rstrip(" ").strip(fence[0]):
            del prose[start:]
            fence = ""
    return prose


def finished_length(text: str) -> int:
    """How many characters of `text` are top-level blocks that more text cannot change: the start of the last block.

    The last block counts as open even when a blank line follows it: a list, a quote or indented code may go on. A
    line without its end is not looked at: "2" may become "2. two" of the list above.
    """
    text = text[: text.rfind("\n") + 1]
    if is_costly(text):
        return 0
    starts = [token.map[0] for token in _BLOCKS.parse(text) if token.level == 0 and token.map is not None]
    if len(starts) < 2:
        return 0
    lines = text.split("\n")  # markdown-it counts lines by "\n" once CRLF is normalised, which `visible` has done
    return sum(len(line) + 1 for line in lines[: starts[-1]])


def _printable_tokens(state: StateCore) -> None:
    """Entities such as &#x202e; become characters while parsing: make those visible as well."""
    for token in state.tokens:
        for part in (token, *(token.children or ())):
            part.content = visible(part.content)
            part.info = visible(part.info)
            for name, value in part.attrs.items():
                if isinstance(value, str):
                    part.attrs[name] = visible(value)


def _inline(state: StateCore) -> None:
    """The library's rule, but for what would take it too long: that is text."""
    for token in state.tokens:
        if token.type == "inline" and token.content.count("[") > MAX_BRACKETS:
            token.children = [Token("text", "", 0, content=token.content)]
        elif token.type == "inline":
            token.children = []
            state.md.inline.parse(token.content, state.md, state.env, token.children)


def answer_parser() -> MarkdownIt:
    """The parser for model text: raw HTML is shown as text, bare addresses are not made links.

    "[Note]: this" is a paragraph: as the definition of a link, which it is in Markdown, nobody would see it.
    """
    parser = MarkdownIt("gfm-like", {"html": False, "linkify": False, "maxNesting": MAX_NESTING}).disable("reference")
    formula_rules(parser)
    parser.core.ruler.at("inline", _inline)
    parser.core.ruler.push("printable", _printable_tokens)
    return parser
