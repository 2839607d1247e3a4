"""Markdown of a model as blocks of text: what each part looks like, not where its rows break.

Raw HTML is text, an address is only carried along (a click copies it), and nothing is markup. How rows break at a width
is block_layout.py's.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from urllib.parse import quote

from markdown_it.token import Token
from textual.content import Content, Span
from textual.style import Style

from qwen_tui.text.block_layout import NOTHING, Align, Block
from qwen_tui.text.finished_blocks import MAX_NESTING, answer_parser, is_costly
from qwen_tui.text.safe import visible

BULLETS = "•▪‣◦"
HEADINGS = ("bold $primary", "bold $primary", "bold $primary", "bold $foreground", "bold $foreground", "bold $muted")
QUOTE = Content.styled("▌ ", "$panel")
INLINE = {"em": "italic", "strong": "bold", "s": "strike"}
COPY = "copy"
"""The name in a style's meta of the sign that copies a block of code."""
COPY_SIGN = Style.from_meta({COPY: True})
ADDRESS = "address"
"""The name in a style's meta under which a link carries its address."""

MAX_ADDRESS = 2_000
"""Characters of a link that is handed to the terminal: several take no more."""

_OPENED = re.compile(r"(?:https?://|mailto:)[^/]", re.IGNORECASE)

PART_LINES = 100
"""Of a text that is shown as it was written."""

MAX_COLUMNS = 64
"""Of a table. Laid out one by one a thousand would take seconds."""

_PARSER = answer_parser()


def parse_markdown(text: str) -> list[Block]:
    """The blocks of `text`, which has been through `visible`.

    What would take too long, or is nested too deep, is one block that reads as it was written.
    """
    tokens = [] if is_costly(text) else _PARSER.parse(text)
    # Deeper than this the parser leaves out what is there.
    if any(token.level + 1 >= MAX_NESTING for token in tokens) or not tokens:
        return _as_written(text.strip("\n")) if text.strip() else []
    return _Builder(text).build(tokens)


def _as_written(text: str) -> list[Block]:
    """`text` in blocks of some lines: a search lays out again only those that hold something."""
    lines = text.split("\n")
    parts = ("\n".join(lines[start : start + PART_LINES]) for start in range(0, len(lines), PART_LINES))
    return [Block(Content(part), gap=None) for part in parts]


class _Builder:
    """Walks the flat list of tokens, keeping what stands left of the rows here: signs of lists, bars of quotes."""

    def __init__(self, source: str) -> None:
        self._lines = source.split("\n")
        self._blocks: list[Block] = []
        self._first = self._rest = NOTHING
        self._gap: Content | None = NOTHING  # before the block that comes next; what comes first of all ignores it
        self._quoted = False
        self._depth = 0

    def build(self, tokens: Sequence[Token]) -> list[Block]:
        self._walk(tokens, tight=False)
        return self._blocks

    def _walk(self, tokens: Sequence[Token], *, tight: bool) -> None:
        """The blocks of one container, an empty row between them, except before a list in a `tight` one."""
        for number, (token, inside) in enumerate(_parts(tokens)):
            is_list = token.type in ("bullet_list_open", "ordered_list_open")
            if number and not (tight and is_list):
                self._gap = self._rest
            match token.type:
                case "heading_open":
                    self._text(inside, HEADINGS[int(token.tag[1:]) - 1])
                case "fence" | "code_block":
                    language = (token.info.split(maxsplit=1) or [""])[0]
                    self._code_head(token)
                    code = token.content.removesuffix("\n").expandtabs(4)
                    self._add(Block(Content(code), "code", language=language))
                case "formula_block":
                    self._indented(Content(token.content))
                case "hr":
                    self._add(Block(Content(""), "rule"))
                case "table_open":
                    self._table(token, inside)
                case "blockquote_open":
                    self._quote(inside)
                case _ if is_list:
                    self._list(token, inside)
                case _:
                    self._text(inside)

    def _add(self, block: Block) -> None:
        self._blocks.append(replace(block, first=self._first, rest=self._rest, gap=self._gap))
        # The sign of an item stands before its first row alone.
        self._first, self._gap = self._rest, None

    def _text(self, inside: Sequence[Token], style: str = "") -> None:
        content = inline(inside[0]) if inside else Content("")
        if style or self._quoted:
            content = content.stylize_before(style or "$muted")
        self._add(Block(content))

    def _code_head(self, token: Token) -> None:
        """What it says of its code, a language and maybe a file's name, behind a sign that copies it."""
        said = " ".join(token.info.split())
        self._first += Content.styled("⧉ " if said else "⧉ copy", COPY_SIGN)
        self._add(Block(Content.styled(said, "$muted").stylize(COPY_SIGN), source=token.content))

    def _indented(self, content: Content) -> None:
        rest = self._rest
        self._first, self._rest = self._first + "  ", rest + "  "
        self._add(Block(content.stylize_before("$muted") if self._quoted else content))
        self._first = self._rest = rest

    def _quote(self, inside: Sequence[Token]) -> None:
        first, rest, quoted = self._first, self._rest, self._quoted
        self._quoted = True
        self._container(inside, first + QUOTE, rest + QUOTE, tight=False)
        self._first, self._rest, self._quoted = rest, rest, quoted

    def _list(self, token: Token, inside: Sequence[Token]) -> None:
        items = [item for _, item in _parts(inside)]
        if token.type == "ordered_list_open":
            start = int(token.attrs.get("start", 1))
            numbers = [f"{number}. " for number in range(start, start + len(items))]
            signs = [number.rjust(len(numbers[-1])) for number in numbers]
        else:
            signs = [BULLETS[min(self._depth, len(BULLETS) - 1)] + " "] * len(items)
        first, rest = self._first, self._rest
        self._depth += 1
        for sign, item in zip(signs, items, strict=True):
            self._container(item, first + Content.styled(sign, "$primary"), rest + " " * len(sign), tight=True)
            first = rest
        self._depth -= 1
        self._first, self._rest = rest, rest

    def _container(self, inside: Sequence[Token], first: Content, rest: Content, *, tight: bool) -> None:
        """What is inside, behind its signs; what is empty still shows them."""
        self._first, self._rest = first, rest
        before = len(self._blocks)
        self._walk(inside, tight=tight)
        if len(self._blocks) == before:
            self._add(Block(Content("")))

    def _table(self, opening: Token, inside: Sequence[Token]) -> None:
        """As a table; one that no screen has room for as it was written."""
        if sum(token.type == "th_open" for token in inside) > MAX_COLUMNS and opening.map is not None:
            self._add(Block(Content("\n".join(self._lines[slice(*opening.map)]))))
            return
        rows: list[tuple[Content, ...]] = []
        row: list[Content] = []
        line = ""
        aligns: list[Align] = []
        for index, token in enumerate(inside):
            if token.type in ("th_open", "td_open"):
                row.append(inline(inside[index + 1]))
                if token.type == "th_open":
                    aligns.append(_align(str(token.attrs.get("style", ""))))
            elif token.type == "tr_open" and token.map is not None:
                line = self._lines[token.map[0]]
            elif token.type == "tr_close":
                written = (part.content for part in inside[index - 3 * len(row) : index] if part.type == "inline")
                if more := _after(written, line):
                    row.append(inline(_PARSER.parseInline(more)[0]))
                rows.append(tuple(row))
                row = []
        columns = max(map(len, rows))
        rows = [row + (NOTHING,) * (columns - len(row)) for row in rows]
        self._add(Block(Content(""), "table", table=tuple(rows), aligns=tuple(aligns)))


def _parts(tokens: Sequence[Token]) -> Iterator[tuple[Token, Sequence[Token]]]:
    """The children of a container: each with the tokens inside it; what opens nothing is inside itself."""
    index = 0
    while index < len(tokens):
        end, depth = index, tokens[index].nesting
        while depth > 0 and end + 1 < len(tokens):
            end += 1
            depth += tokens[end].nesting
        yield tokens[index], tokens[index + 1 : end] if end > index else tokens[index : index + 1]
        index = end + 1


def _after(cells: Iterable[str], line: str) -> str:
    """What is written in a line of a table after its cells: the parser drops those for which there is no column."""
    line = line.replace("\\|", "|")
    end = 0
    for cell in cells:
        end = max(end, line.find(cell, end) + len(cell))
    return line[end:].strip("| \t")


def _align(style: str) -> Align:
    for align in ("right", "center"):
        if align in style:
            return align
    return "left"


def inline(token: Token) -> Content:
    """The text of a paragraph, heading or cell with its styles and links."""
    texts: list[str] = []
    spans: list[Span] = []
    open_spans: list[tuple[int, str | Style, str]] = []
    length = 0

    def add(text: str) -> None:
        nonlocal length
        texts.append(text)
        length += len(text)

    def add_title(title: str) -> None:
        if title:
            start = length
            add(f" ({title})")
            spans.append(Span(start, length, "$muted"))

    for child in token.children or ():
        kind = child.type
        if kind == "text":
            add(re.sub(r"\s+", " ", child.content))
        elif kind == "softbreak":
            add(" ")
        elif kind == "hardbreak":
            add("\n")
        elif kind == "code_inline":
            spans.append(Span(length, length + len(child.content), "$secondary"))
            add(child.content)
        elif kind == "formula":
            add(child.content.replace("\n", "; "))
        elif kind == "image":
            start = length
            add(f"🖼  {child.content}" if child.content else "🖼")
            spans.append(Span(start, length, _link(child.attrs.get("src", ""))))
            add_title(_title(child))
        elif kind == "link_open":
            open_spans.append((length, _link(child.attrs.get("href", "")), _title(child)))
        elif child.nesting > 0:
            open_spans.append((length, INLINE.get(kind.removesuffix("_open"), ""), ""))
        elif child.nesting < 0 and open_spans:
            start, style, title = open_spans.pop()
            if style:
                spans.append(Span(start, length, style))
                if isinstance(style, Style):
                    spans.append(Span(start, length, "underline $secondary"))
            add_title(title)
        else:
            add(child.content)
    return Content("".join(texts), spans=spans)


def _title(link: Token) -> str:
    """What a pointer would show elsewhere, on one line."""
    return re.sub(r"\s+", " ", visible(str(link.attrs.get("title", "")))).strip()


def _link(address: object) -> Style:
    """A click copies the address; terminals that know links (OSC 8) open those of web pages and mail themselves."""
    text = visible(address) if isinstance(address, str) else ""
    return Style.from_meta({ADDRESS: text}) + Style(link=for_terminal(text) or None)


def for_terminal(address: str) -> str:
    """`address` as a terminal gets it, of letters that end no sequence; "" for what is no page and no mail."""
    written = quote(address, safe="!#$%&'()*+,/:;=?@[]~")
    return written if len(written) <= MAX_ADDRESS and _OPENED.match(written) else ""
