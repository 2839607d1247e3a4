"""Colour themes from themes/*.toml: found, checked, and turned into Textual themes. A bad file never stops the app.

A person's own themes stand in the folder themes beside config.toml; theme_watch.py sees them change. One theme is no
file: "ansi" has no colours of its own but the sixteen of the terminal.
"""

import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from textual.theme import Theme

from qwen_core.errors import SettingsError, quote
from qwen_core.files import read_text
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


# The variables of the toolkit that text is drawn in, by the colour of a theme that each of them is. The toolkit selects
# with a veil through which text is hard to read: not here.
_DERIVED: Mapping[str, str] = {
    "muted": "muted text-muted text-disabled foreground-muted scrollbar-hover markdown-h6-color",
    "foreground": "text markdown-h4-color markdown-h5-color",
    "primary": (
        "text-primary border scrollbar-active block-cursor-background block-cursor-blurred-background "
        "input-cursor-background markdown-h1-color markdown-h2-color markdown-h3-color"
    ),
    "secondary": (
        "text-secondary input-selection-background screen-selection-background link-color link-background-hover"
    ),
    "accent": "text-accent",
    "success": "text-success",
    "warning": "text-warning",
    "error": "text-error",
    "panel": "border-blurred scrollbar",
    "background": (
        "scrollbar-background scrollbar-background-hover scrollbar-background-active scrollbar-corner-color "
        "block-cursor-foreground block-cursor-blurred-foreground input-cursor-foreground "
        "input-selection-foreground screen-selection-foreground link-color-hover"
    ),
    "surface": "panel-darken-1",
}
_STYLES = {
    "block-cursor-text-style": "bold",
    "block-cursor-blurred-text-style": "bold",
    "markdown-h2-text-style": "bold",
    "markdown-h4-text-style": "bold",
}


def make_theme(name: str, dark: bool, colours: dict[str, str]) -> Theme:
    """The Textual theme of a checked table of colours; every derived colour that text is drawn in is fixed here."""
    own: dict[str, Any] = {key: colour for key, colour in colours.items() if key != "muted"}
    return Theme(name=name, dark=dark, variables={**_spread(_DERIVED, colours), **_STYLES}, **own)


def _spread(derived: Mapping[str, str], colours: Mapping[str, str]) -> dict[str, str]:
    return {variable: colours[colour] for colour, variables in derived.items() for variable in variables.split()}


def theme_files(folder: Path) -> list[Path]:
    """The files of a folder that are meant as themes, in order; none where it cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".toml" and not path.name.startswith("."))
    except OSError:
        return []


def read_theme(path: Path) -> Theme:
    """The theme of one file. QwenError, one line that names the file, says what is wrong with it."""
    text = read_text(path, MAX_BYTES)
    try:
        return parse_theme(text)
    except ValueError as error:  # TOML's errors among them
        raise SettingsError(f"{quote(path.name)}: {quote(error)}") from None


def colours_of(name: str) -> dict[str, str]:
    """The colours of a theme by the names in COLOURS; of the bundled default where its file has none, or is bad."""
    found = FALLBACK_THEME
    for path in (path for folder in theme_folders() for path in theme_files(folder)):
        with suppress(SettingsError):
            theme = read_theme(path)
            found = theme if theme.name == name else found
    return {colour: str(getattr(found, colour, None) or found.variables[colour]) for colour in COLOURS}


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
_ANSI_DERIVED: Mapping[str, str] = {
    "ansi_default": (
        "muted surface text-muted text-disabled foreground-muted scrollbar-hover scrollbar-background "
        "scrollbar-background-hover scrollbar-background-active scrollbar-corner-color ansi-background "
        "ansi-foreground input-cursor-background input-cursor-foreground markdown-h4-color markdown-h5-color "
        "markdown-h6-color"
    ),
    "ansi_bright_black": "panel border-blurred scrollbar",
    "ansi_magenta": "border scrollbar-active markdown-h1-color markdown-h2-color markdown-h3-color",
    "ansi_cyan": (
        "block-cursor-background block-cursor-blurred-background input-selection-background "
        "screen-selection-background link-color link-background-hover"
    ),
    "ansi_black": (
        "block-cursor-foreground block-cursor-blurred-foreground input-selection-foreground "
        "screen-selection-foreground link-color-hover"
    ),
}
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
        **_spread(_ANSI_DERIVED, {colour: colour for colour in _ANSI_DERIVED}),
        "block-cursor-text-style": "bold underline",
        "block-cursor-blurred-text-style": "bold underline",
        "input-cursor-text-style": "reverse",
        "markdown-h2-text-style": "bold",
    },
)
