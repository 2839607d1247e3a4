"""Colour themes from themes/*.toml: found, checked, and turned into Textual themes. A bad file never stops the app.

A person's own themes stand in the folder themes beside config.toml; theme_watch.py sees them change. One theme is no
file: "ansi" has no colours of its own but the sixteen of the terminal.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

from textual.theme import Theme

from qwen_core.errors import quote
from qwen_core.settings.paths import location

DEFAULT_THEME = "midnight"
ANSI = "ansi"
MAX_BYTES = 64 * 1024

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")

# Every colour a theme must give, and what the app uses it for.
COLOURS = {
    "background": "behind everything",
    "surface": "the composer, code blocks, raised things",
    "panel": "lines and borders",
    "foreground": "text",
    "muted": "secondary text: figures, hints, reasoning",
    "primary": "the program's own colour: the person's messages, focus, headings",
    "secondary": "inline code, links",
    "accent": "what is going on right now",
    "success": "ready",
    "warning": "stopped, cut short",
    "error": "failures",
}


def theme_folder() -> Path:
    """themes/ inside the installed package, else beside the packages in a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "themes"
    return installed if installed.is_dir() else package.parent.parent / "themes"


def theme_folders() -> list[Path]:
    """Where themes are looked for: the bundled ones, then the person's own, which may replace them."""
    return [theme_folder(), location("config") / "themes"]


def parse_theme(text: str) -> Theme:
    """A theme from the text of its file. ValueError says what is wrong with it."""
    try:
        raw: dict[str, Any] = tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    unknown = sorted(set(raw) - {"name", "about", "dark", "colours"})
    if unknown:
        raise ValueError(f"unknown key {quote(unknown[0])}")
    name, dark, colours = raw.get("name"), raw.get("dark"), raw.get("colours")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError("name must be lower-case letters, digits and hyphens, at most 32")
    if not isinstance(dark, bool):
        raise ValueError("dark must be true or false")
    if not isinstance(colours, dict):
        raise ValueError("the table [colours] is missing")
    unknown = sorted(set(colours) - set(COLOURS))
    if unknown:
        raise ValueError(f"unknown colour {quote(unknown[0])}")
    for key in COLOURS:
        value = colours.get(key)
        if not isinstance(value, str) or not _COLOUR.fullmatch(value):
            raise ValueError(f"colours.{key} must be a colour like #1a2b3c")
    return make_theme(name, dark, colours)


def make_theme(name: str, dark: bool, colours: dict[str, str]) -> Theme:
    """The Textual theme of a checked table of colours; every derived colour that text is drawn in is fixed here."""
    c = colours
    variables = {
        "muted": c["muted"],
        "text": c["foreground"],
        "text-muted": c["muted"],
        "text-disabled": c["muted"],
        "text-primary": c["primary"],
        "text-secondary": c["secondary"],
        "text-accent": c["accent"],
        "text-success": c["success"],
        "text-warning": c["warning"],
        "text-error": c["error"],
        "foreground-muted": c["muted"],
        "border": c["primary"],
        "border-blurred": c["panel"],
        "scrollbar": c["panel"],
        "scrollbar-hover": c["muted"],
        "scrollbar-active": c["primary"],
        "scrollbar-background": c["background"],
        "scrollbar-background-hover": c["background"],
        "scrollbar-background-active": c["background"],
        "scrollbar-corner-color": c["background"],
        "block-cursor-background": c["primary"],
        "block-cursor-foreground": c["background"],
        "block-cursor-text-style": "bold",
        "block-cursor-blurred-background": c["primary"],
        "block-cursor-blurred-foreground": c["background"],
        "block-cursor-blurred-text-style": "bold",
        "input-cursor-background": c["primary"],
        "input-cursor-foreground": c["background"],
        # The toolkit selects with a veil through which text is hard to read.
        "input-selection-background": c["secondary"],
        "input-selection-foreground": c["background"],
        "screen-selection-background": c["secondary"],
        "screen-selection-foreground": c["background"],
        "panel-darken-1": c["surface"],
        "link-color": c["secondary"],
        "link-color-hover": c["background"],
        "link-background-hover": c["secondary"],
        "markdown-h1-color": c["primary"],
        "markdown-h2-color": c["primary"],
        "markdown-h2-text-style": "bold",
        "markdown-h3-color": c["primary"],
        "markdown-h4-color": c["foreground"],
        "markdown-h4-text-style": "bold",
        "markdown-h5-color": c["foreground"],
        "markdown-h6-color": c["muted"],
    }
    return Theme(
        name=name,
        dark=dark,
        variables=variables,
        background=c["background"],
        surface=c["surface"],
        panel=c["panel"],
        foreground=c["foreground"],
        primary=c["primary"],
        secondary=c["secondary"],
        accent=c["accent"],
        success=c["success"],
        warning=c["warning"],
        error=c["error"],
    )


def theme_files(folder: Path) -> list[Path]:
    """The files of a folder that are meant as themes, in order; none where it cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".toml" and not path.name.startswith("."))
    except OSError:
        return []


def read_theme(path: Path) -> Theme:
    """The theme of one file. ValueError or OSError says what is wrong with it."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES} bytes")
    return parse_theme(content.decode("utf-8"))


def problem(path: Path, error: OSError | ValueError) -> str:
    """One line about a file that is no theme. TOML and UTF-8 errors are ValueErrors."""
    reason = error.strerror if isinstance(error, OSError) else None
    return f"{quote(path.name)}: {quote(reason or str(error))}"


FALLBACK_THEME = make_theme(
    DEFAULT_THEME,
    True,
    {
        "background": "#12141c",
        "surface": "#1b1e2a",
        "panel": "#2e3347",
        "foreground": "#dfe3f0",
        "muted": "#949bb5",
        "primary": "#9d8cff",
        "secondary": "#6fc3df",
        "accent": "#ffb86b",
        "success": "#7fd99a",
        "warning": "#f2cd6b",
        "error": "#ff7f8f",
    },
)  # so that the app still opens when the folder of themes is gone

# What is only a line or a frame may be faint; text is not: bright black is the background in some palettes, so muted
# text is as plain as any. Text on a colour is black on cyan, far apart in nearly all palettes. The toolkit's lists
# leave "reverse" out, so the line that marks their cursor is what is left of it without colour.
ANSI_THEME = Theme(
    name=ANSI,
    dark=True,
    ansi=True,
    primary="ansi_magenta",
    secondary="ansi_cyan",
    accent="ansi_yellow",
    success="ansi_green",
    warning="ansi_yellow",
    error="ansi_red",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_bright_black",
    variables={
        "muted": "ansi_default",
        "surface": "ansi_default",
        "panel": "ansi_bright_black",
        "text-muted": "ansi_default",
        "text-disabled": "ansi_default",
        "foreground-muted": "ansi_default",
        "border": "ansi_magenta",
        "border-blurred": "ansi_bright_black",
        "scrollbar": "ansi_bright_black",
        "scrollbar-hover": "ansi_default",
        "scrollbar-active": "ansi_magenta",
        "scrollbar-background": "ansi_default",
        "scrollbar-background-hover": "ansi_default",
        "scrollbar-background-active": "ansi_default",
        "scrollbar-corner-color": "ansi_default",
        "ansi-background": "ansi_default",
        "ansi-foreground": "ansi_default",
        "block-cursor-background": "ansi_cyan",
        "block-cursor-foreground": "ansi_black",
        "block-cursor-text-style": "bold underline",
        "block-cursor-blurred-background": "ansi_cyan",
        "block-cursor-blurred-foreground": "ansi_black",
        "block-cursor-blurred-text-style": "bold underline",
        "input-cursor-background": "ansi_default",
        "input-cursor-foreground": "ansi_default",
        "input-cursor-text-style": "reverse",
        "input-selection-background": "ansi_cyan",
        "input-selection-foreground": "ansi_black",
        "screen-selection-background": "ansi_cyan",
        "screen-selection-foreground": "ansi_black",
        "link-color": "ansi_cyan",
        "link-color-hover": "ansi_black",
        "link-background-hover": "ansi_cyan",
        "markdown-h1-color": "ansi_magenta",
        "markdown-h2-color": "ansi_magenta",
        "markdown-h2-text-style": "bold",
        "markdown-h3-color": "ansi_magenta",
        "markdown-h4-color": "ansi_default",
        "markdown-h5-color": "ansi_default",
        "markdown-h6-color": "ansi_default",
    },
)
