"""Markdown of every construct, nested at random, and the words in it that a reader must find on the screen.

Each word is there once and four cells wide, so that no column of a table is too narrow for it. What may vanish (marks,
addresses, the language of code) holds none of them.
"""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from random import Random

LETTERS = "0123456789abcdefghijkmnopqrstuvwxyz"
MAX_DEPTH = 6
NO_LETTERS = str.maketrans(dict.fromkeys(" \n▌▏▎┃", ""))


class Author:
    """Writes documents; `words` are those that are in them so far."""

    def __init__(self, rng: Random) -> None:
        self.words: list[str] = []
        self._rng = rng

    def word(self) -> str:
        """The next word, of letters that are not in the marks around it."""
        number = len(self.words)
        word = "w" + "".join(LETTERS[number // len(LETTERS) ** place % len(LETTERS)] for place in (2, 1, 0))
        if number % 7 == 3:
            word = "東" + word[2:]
        self.words.append(word)
        return word

    def document(self, most: int = 6) -> str:
        """Some blocks, one after the other."""
        return "\n".join(self._blocks(most, 0)) + self._rng.choice(["", "\n", "\n\n"])

    # Inside a line.

    def inline(self, most: int = 6) -> str:
        """Words with marks in and around them, on one line."""
        marked = (self._styled, self._styled, self._link, self._entity, self._html, self._escape, self._sign)
        pieces = [self._rng.choice((*(self.word,) * 3, *marked))() for _ in range(self._rng.randint(1, most))]
        return self._rng.choice([" ", " ", ""]).join(pieces) if self._rng.random() < 0.2 else " ".join(pieces)

    def _styled(self) -> str:
        mark = self._rng.choice(
            ["*", "**", "_", "__", "~~", "***", "`", "``", "~", "\\*", "*`", "[", "![", "<", "&", "|"]
        )
        end = self._rng.choice([mark[::-1], mark[::-1], ""])
        return f"{mark}{self.word()}{end}"

    def _link(self) -> str:
        label = self._rng.choice([self.word, self._styled, lambda: f"**{self.word()} `{self.word()}`**"])()
        target = self._rng.choice(
            [
                "(https://t.example/a_(b))",
                "(<a b>)",
                '(x "title")',
                "(file:///etc/passwd)",
                "[ref]",
                "[]",
                "",
                "()",
                "[no]",
            ]
        )
        if "title" in target:
            target = target.replace("title", f"{self.word()} a")
        return f"{self._rng.choice(['', '!'])}[{label}]{target}"

    def _entity(self) -> str:
        return self._rng.choice(["&amp;", "&lt;", "&#x41;", "&copy;", "&nosuch;", "&#0;", "&#x202e;"]) + self.word()

    def _html(self) -> str:
        tag = self._rng.choice(
            ["b", "div", "!-- ", "script", "?php ", "br/", "think", "a href='x'", "http://x.example/"]
        )
        return f"<{tag}>{self.word()}" + self._rng.choice(["", f"</{tag}>", " -->"])

    def _escape(self) -> str:
        return "\\" + self._rng.choice("\\`*_{}[]()#+-.!|<>&~") + self.word()

    def _sign(self) -> str:
        return (
            self._rng.choice(["#", "-", "+", ">", "1.", "|", "---", "=", ":", "\t", "[x]", "$$", "\\("]) + self.word()
        )

    # Blocks, as lines.

    def _blocks(self, most: int, depth: int) -> list[str]:
        lines: list[str] = []
        for _ in range(self._rng.randint(1, most)):
            lines += self._block(depth)
            lines += [""] * self._rng.choice([0, 1, 1, 1, 2])
        return lines

    def _block(self, depth: int) -> list[str]:
        if depth < MAX_DEPTH and self._rng.random() < 0.25:
            return self._rng.choice((self._list, self._list, self._quote))(depth)
        kinds = (self._heading, self._rule, self._fence, self._indented, self._html_block, self._reference)
        return self._rng.choice((*(self._paragraph,) * 3, *kinds, self._table, self._deep))()

    def _paragraph(self) -> list[str]:
        lines = [self.inline() for _ in range(self._rng.randint(1, 3))]
        return [line + self._rng.choice(["", "", "  ", "\\"]) for line in lines]

    def _heading(self) -> list[str]:
        if self._rng.random() < 0.3:
            return [self.inline(3), self._rng.choice(["===", "---", "="])]
        return [f"{'#' * self._rng.randint(1, 7)} {self.inline(3)}{self._rng.choice(['', ' #', ' ##'])}"]

    def _rule(self) -> list[str]:
        return [self._rng.choice(["---", "***", "_ _ _", "- - -", "----------"])]

    def _fence(self) -> list[str]:
        mark = self._rng.choice(["```", "~~~", "````"])
        info = self._rng.choice(["", "python", "c++", "no-such", "makefile", "js "])
        info += self.word() if info.endswith(" ") else ""
        code = [self._rng.choice(["", "    ", "\t", "x = "]) + self.inline(3) for _ in range(self._rng.randint(0, 4))]
        return [mark + info, *code, *([] if self._rng.random() < 0.1 else [mark])]

    def _indented(self) -> list[str]:
        return ["    " + self.inline(3) for _ in range(self._rng.randint(1, 3))]

    def _html_block(self) -> list[str]:
        return ["<div>", self.inline(2), self._rng.choice(["</div>", "", "<!-- "]) + self.inline(1)]

    def _reference(self) -> list[str]:
        return ["", f"[{self.word()}]: {self.word()}", ""]

    def _table(self) -> list[str]:
        columns = self._rng.choice([1, 2, 3, 5, 8, 20, 70])

        def row(cells: int) -> str:
            texts = [self.inline(2) if self._rng.random() < 0.9 else "" for _ in range(cells)]
            return "| " + " | ".join(texts) + self._rng.choice([" |", ""])

        rule = "|" + "|".join(self._rng.choice(["---", ":-:", "--:", ":--"]) for _ in range(columns)) + "|"
        short = [max(1, columns + self._rng.choice([0, 0, 0, -1, 1])) for _ in range(self._rng.randint(0, 4))]
        return [row(columns), rule, *(row(cells) for cells in short)]

    def _list(self, depth: int) -> list[str]:
        lines = []
        number = self._rng.choice([0, 1, 7, 99, 999999998])
        kind = self._rng.choice("-+*.)")
        for item in range(self._rng.randint(1, 4)):
            mark = f"{number + item}{kind}" if kind in ".)" else kind
            inside = self._blocks(self._rng.choice([1, 1, 2]), depth + 1)
            task = self._rng.choice(["", "", "[ ] ", "[x] "])
            lines += [
                f"{mark} {task}{inside[0]}",
                *(" " * (len(mark) + 1) + line if line else "" for line in inside[1:]),
            ]
        return lines

    def _quote(self, depth: int) -> list[str]:
        mark = self._rng.choice(["> ", ">", "> > "])
        return [mark + line for line in self._blocks(2, depth + 1)]

    def _deep(self) -> list[str]:
        mark = self._rng.choice(["> ", "- ", "1. ", "> - ", "* "])
        return [mark * self._rng.choice([3, 12, 20, 39, 60]) + self.word()]


def missing(words: Iterable[str], rows: Iterable[str]) -> list[str]:
    """Which of `words` are not on these rows of a screen, where a row or a column may end in the middle of one."""
    shown = "".join("\n".join(_parts(rows)).translate(NO_LETTERS))
    return [word for word in words if word not in shown]


def _parts(rows: Iterable[str]) -> Iterator[str]:
    """Rows, those of a table column by column."""
    table: list[list[str]] = []
    for row in rows:
        cells = row.split("│")
        if len(cells) > 2:
            table.append(cells)
        elif not set(row) & set("┐┤┘"):
            yield from map("".join, zip_longest(*table, fillvalue=""))
            table.clear()
            yield row
    yield from map("".join, zip_longest(*table, fillvalue=""))
