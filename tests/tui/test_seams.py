"""The seam that an import contract cannot show: whatever of the app is imported, MLX is not loaded by it."""

import subprocess
import sys
from pathlib import Path

import qwen_tui

LIST_MODULES = """
import importlib, sys
for name in sys.argv[2:]:
    importlib.import_module(name)
bad = sorted({module.split(".")[0] for module in sys.modules} & set(sys.argv[1].split(",")))
print(",".join(bad))
"""


def modules(package: Path, prefix: str) -> list[str]:
    names = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if "__main__" not in parts:
            names.append(".".join([prefix, *(part for part in parts if part != "__init__")]))
    return names


def imported(forbidden: str, *names: str) -> str:
    """Which of `forbidden` a fresh interpreter has loaded after importing `names`."""
    result = subprocess.run(
        [sys.executable, "-c", LIST_MODULES, forbidden, *names], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def test_the_app_imports_no_mlx() -> None:
    names = modules(Path(qwen_tui.__file__).parent, "qwen_tui")
    assert "qwen_tui.chat.screen" in names
    assert imported("mlx", *names) == ""
    assert imported("mlx,textual", "qwen_tui.app.app") == "textual"  # the check can tell


def test_the_app_starts_without_what_colours_code() -> None:
    assert imported("pygments", "qwen_tui.app.app") == ""
    assert imported("pygments", "qwen_tui.widgets.colour_renderer") == "pygments"
