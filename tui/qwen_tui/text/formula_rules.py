"""Where mathematics stands in an answer: `$...$`, `$$...$$`, `\\(...\\)` and `\\[...\\]`, as rules of the parser.

A formula is a token of its own, "formula" in a line or "formula_block", whose content is what it reads like. What is no
formula that `formulas.py` can read is text as it was written, and inside of it nothing is markdown. Every rule looks a
bounded distance ahead.
"""

import re
from collections.abc import Iterator, MutableMapping, Sequence
from functools import partial
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

MAX_CHARACTERS = 1_000
"""Of one formula: reading it takes some ten microseconds a character."""

MAX_ROWS = 60
"""Lines of one block."""

MAX_ALL_CHARACTERS = 20_000
"""Of all formulas of one text: some tenths of a second. Those after it are shown as they were written."""

_DELIMITERS = {"$$": "$$", "\\[": "\\]", "\\(": "\\)", "$": "$"}
_INTERRUPTS = ["paragraph", "blockquote", "list"]
_WORD = re.compile(r"\w")


def formula_rules(parser: MarkdownIt) -> None:
    """Teach `parser` formulas. They come before escapes, which would take the backslashes away."""
    parser.block.ruler.before("fence", "formula_block", _block, {"alt": _INTERRUPTS})
    parser.inline.ruler.before("escape", "formula", _inline)
    parser.add_render_rule("formula", _line_of_html)
    parser.add_render_rule("formula_block", _block_of_html)


def block_rules(parser: MarkdownIt) -> None:
    """Teach `parser` where blocks of formulas end, in a text that grows: one at its end may be open yet."""
    parser.block.ruler.before("fence", "formula_block", partial(_block, grows=True), {"alt": _INTERRUPTS})


def _line_of_html(_self: object, tokens: Sequence[Token], index: int, _options: object, _env: object) -> str:
    token = tokens[index]
    return f'<span title="{escapeHtml(token.markup)}">{escapeHtml(token.content)}</span>'


def _block_of_html(_self: object, tokens: Sequence[Token], index: int, _options: object, _env: object) -> str:
    token = tokens[index]
    lines = "<br>".join(map(escapeHtml, token.content.split("\n")))
    return f'<p class="formula" title="{escapeHtml(token.markup)}">{lines}</p>\n'


def _inline(state: StateInline, silent: bool) -> bool:
    text, start = state.src, state.pos
    opening = next((mark for mark in _DELIMITERS if text.startswith(mark, start)), "")
    if not opening:
        return False
    inside, closing = start + len(opening), _DELIMITERS[opening]
    end = text.find(closing, inside, min(inside + MAX_CHARACTERS + len(closing), state.posMax))
    if end < 0 or (opening == "$" and not _are_dollars(text, start, end)):
        return False
    if not silent:
        token = state.push("formula", "", 0)
        token.markup = text[start : end + len(closing)]
        token.content = _read(state.env, text[inside:end], token.markup)
    state.pos = end + len(closing)
    return True


def _are_dollars(text: str, start: int, end: int) -> bool:
    """Whether two signs enclose a formula and are no prices or variables: as pandoc has it, and no letter outside."""
    inside, before, after = text[start + 1 : end], text[start - 1 : start], text[end + 1 : end + 2]
    if not inside or inside[0].isspace() or inside[-1].isspace() or inside[-1] == "\\" or "`" in inside:
        return False
    return not _WORD.match(before) and not _WORD.match(after)


def _block(state: StateBlock, start: int, end: int, silent: bool, *, grows: bool = False) -> bool:
    opening = _line(state, start)[:2]
    if state.is_code_block(start) or opening not in ("$$", "\\["):
        return False
    closing = _DELIMITERS[opening]
    lines = list(_paragraph(state, start, end, closing))
    inside, found, rest = "\n".join(lines)[2:].partition(closing)
    is_open = grows and not found and len(lines) < MAX_ROWS and start + len(lines) == end
    if not is_open and (not found or rest.strip(" \t.,;:")):
        return False
    if not silent:
        state.line = start + len(lines)
        token = state.push("formula_block", "", 0)
        token.map = [start, state.line]
        token.markup = "\n".join(lines)
        token.block = True
        token.content = token.markup if grows else _read(state.env, inside, token.markup, rest.strip())
    return True


def _paragraph(state: StateBlock, start: int, end: int, closing: str) -> Iterator[str]:
    """The lines from `start` on to the one that holds `closing`, or as far as there are any without an empty one."""
    for line in range(start, min(end, start + MAX_ROWS)):
        text = _line(state, line)
        if state.sCount[line] < state.blkIndent or not text:
            return
        yield text
        if closing in text[2 if line == start else 0 :]:
            return


def _line(state: StateBlock, line: int) -> str:
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]].rstrip()


def _read(env: MutableMapping[str, Any], source: str, written: str, rest: str = "") -> str:
    """What `source` reads like, `rest` behind it; as it was `written` where there is very much to read in this text."""
    env["formulas"] = env.get("formulas", 0) + len(source)
    if len(source) > MAX_CHARACTERS or env["formulas"] > MAX_ALL_CHARACTERS:
        return written
    from qwen_tui.text.formulas import formula_text  # its library is slow to import, and few answers need it

    text = formula_text(source.strip())
    return written if text is None else text + rest
