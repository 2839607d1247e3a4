"""What a token writes, as text: for data as it is, for people with everything in it to be seen."""

from qwen_core.protocol.scoring import Spelling
from qwen_tui.text.safe import visible

SPACE, NEWLINE, TAB = "␣", "↵", "⇥"
_LIMIT = 24


def token_text(spelling: Spelling) -> str:
    r"""What it writes; bytes that are no whole character as `\xe4`."""
    return spelling.written.decode("utf-8", "backslashreplace")


def shown_token(spelling: Spelling, limit: int = _LIMIT) -> str:
    """The same on one line of at most `limit` characters: spaces, line ends and parts of characters as signs, an id
    without a token by its number.
    """
    if not spelling.written:
        return f"⟨{spelling.id}⟩"
    try:
        shown = "".join(map(_sign, visible(spelling.written.decode("utf-8")))) or f"⟨{spelling.id}⟩"
    except UnicodeDecodeError:
        shown = f"⟨{spelling.written[:limit].hex(' ').upper()}⟩"
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def _sign(character: str) -> str:
    return {" ": SPACE, "\n": NEWLINE, "\t": TAB}.get(character, character)
