"""What a terminal would get of an app under test, and whether anything in it is not the toolkit's own."""

import re
import unicodedata

from textual.app import App
from textual.drivers.headless_driver import HeadlessDriver

# Links of pages and mail; colours and styles, the cursor's place (at the end of a row after a newline), the marks
# around what is shown at once.
LINK = r"\x1b\]8;(?:id=[-\d]+)?;(?:(?:(?i:https?://)|(?i:mailto:))[!-~]+)?\x1b\\"
OURS = re.compile(LINK + r"|\x1b\[[\d;]*m|\n?\x1b\[\d+;\d+H|\x1b\[\?2026[hl]")
NOT_SHOWN = ("Cc", "Cs", "Zl", "Zp")
REORDERING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def raw_parts(text: str) -> set[str]:
    """What of `text`, which has no newlines, a terminal would not show but act on, or read in another order."""
    return {c for c in set(text) if unicodedata.category(c) in NOT_SHOWN or c in REORDERING}


class CapturingDriver(HeadlessDriver):
    """Takes the place of the driver of an app that runs without a terminal, and keeps what one would get."""

    def __init__(self, app: App[None]) -> None:
        super().__init__(app, size=(app.size.width, app.size.height))
        self._written: list[str] = []
        app._driver = self

    @property
    def is_headless(self) -> bool:
        return False  # else nothing is written

    def write(self, data: str) -> None:
        self._written.append(data)

    def taken(self) -> str:
        """What was written since this was last asked, as a terminal would decode it."""
        written = "".join(self._written)
        self._written.clear()
        return written.encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass")

    def raw(self) -> set[str]:
        """As `raw_parts`, of what was written since this was last asked."""
        return raw_parts(OURS.sub("", self.taken()))
