"""Colour themes from themes/*.toml: found, checked, and turned into Textual themes. A bad file never stops the app."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from textual.theme import Theme

from qwen_core.errors import quote

DEFAULT_THEME = "midnight"
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
    package = Path(__file__).resolve().parent
    installed = package / "themes"
    return installed if installed.is_dir() else package.parent.parent / "themes"


def parse_theme(text: str) -> Theme:
    """A theme from the text of its file. ValueError says what is wrong with it."""
    raw: dict[str, Any] = tomllib.loads(text)
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
        "input-cursor-background": c["primary"],
        "input-cursor-foreground": c["background"],
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


def load_themes(folders: Iterable[Path]) -> tuple[list[Theme], list[str]]:
    """All themes of the folders' *.toml, and one line for each file that is none. A later name replaces an earlier."""
    themes: dict[str, Theme] = {}
    problems: list[str] = []
    for folder in folders:
        for path in sorted(folder.glob("*.toml")):
            try:
                with path.open("rb") as file:
                    content = file.read(MAX_BYTES + 1)
                if len(content) > MAX_BYTES:
                    raise ValueError(f"larger than {MAX_BYTES} bytes")
                theme = parse_theme(content.decode("utf-8"))
            except (OSError, ValueError) as error:  # TOML and UTF-8 errors are ValueErrors
                problems.append(f"{quote(path.name)}: {quote(error)}")
            else:
                themes[theme.name] = theme
    return list(themes.values()), problems


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
