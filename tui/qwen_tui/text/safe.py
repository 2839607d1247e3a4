"""Untrusted text made fit for a screen: control characters are shown, not sent.

Everything a model, a file or a paste brings passes through here before a widget sees it. Markup is not a matter of this
file: widgets hand text over as `Content`, which has none.
"""

import re

# What a terminal could act on or what would hide or reorder text: C0 but newline and tab, DEL, C1, line and paragraph
# separators, lone surrogates, and format characters. Of these U+200C and U+200D join scripts and emoji, and the tag
# characters U+E0020..7F spell flags: they stay.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0001]"
)


def _shown(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if character in "\u2028\u2029":
        return "\n"
    if 0xD800 <= code <= 0xDFFF:
        return "\ufffd"
    if character in "\u00ad\u200b\u200e\u200f\ufeff\u2060":
        return ""  # zero-width and without meaning here: soft hyphen, spaces of no width, direction marks, BOM
    return f"\u27e8U+{code:04X}\u27e9"


def visible(text: str) -> str:
    """`text` with every control character replaced by a visible one. Newlines and tabs stay, CRLF becomes a newline."""
    return _UNSAFE.sub(_shown, text.replace("\r\n", "\n"))


def typed(text: str) -> str:
    """Pasted or recalled text as the composer takes it: line ends as newlines, control characters dropped."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in text if c in "\n\t" or not _UNSAFE.match(c))


def one_line(text: str, limit: int = 80) -> str:
    """The beginning of `text` as one visible line of at most `limit` characters."""
    line = " ".join(visible(text[: limit * 4]).split())
    return line if len(line) <= limit else line[: limit - 1] + "\u2026"


def cells(text: str) -> int:
    """Terminal cells of a short line of ours, as the toolkit counts them."""
    from rich.cells import cell_len  # slow to import, and the help of the program needs none of it

    return cell_len(text)
