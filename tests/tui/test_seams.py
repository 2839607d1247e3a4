"""The two seams: the app imports no MLX, the core imports no screen; and every bound key is in the help."""

import subprocess
import sys
from pathlib import Path

import qwen_core
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


def test_the_core_names_no_screen() -> None:
    """By its sources, as some of its modules need a backend or a trainer to import."""
    sources = list(Path(qwen_core.__file__).parent.rglob("*.py"))
    assert len(sources) > 10
    for path in sources:
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]) and len(words) > 1:
                assert words[1].split(".")[0] not in ("textual", "rich", "click", "qwen_tui"), f"{path}: {line}"
