"""One screen in every theme, as one picture."""

from collections.abc import Iterator

from qwen_tui.settings.theme_watch import ThemeWatch
from qwen_tui.settings.themes import ANSI, theme_folder

THEMES = [*(theme.name for theme in ThemeWatch([theme_folder()]).current.themes), ANSI]


def drawn(texts: dict[str, str]) -> Iterator[str]:
    """The text once, as it is alike in all; then what is said of styles in each."""
    first = next(iter(texts.values())).partition("-" * 20)[0]
    yield first
    for name, text in texts.items():
        screen, _, styles = text.partition("-" * 20)
        assert screen == first, f"{name} has another text"
        yield f"==== {name}{styles}"
