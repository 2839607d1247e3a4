"""Every sentence that the program can say, as one text to read: `python tests/tools/print_sentences.py [FOLDER...]`.

Out of the sources, without docstrings: texts of two words and more, by file, values inside them as {…}. Names, styles
and SQL are left out as far as they can be told apart.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("core/qwen_core", "tui/qwen_tui")
_NO_PROSE = re.compile(
    r"^\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|PRAGMA|DROP|WITH|import |\$|[\w-]+ \{)|[{;]\s*\n"
)
_WORDS = re.compile(r"[A-Za-z]{2,}[,;:.]? +(\{…\}|[A-Za-z/'-]{1,})")


def sentences(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inside = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
    said: dict[int, str] = {}
    for node in ast.walk(tree):
        if id(node) in documents or id(node) in inside:
            continue
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{…}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if _WORDS.search(text) and not _NO_PROSE.search(text):
            said[node.lineno] = f"{said[node.lineno]} | {text}" if node.lineno in said else text
    for number in sorted(said):
        yield number, " ".join(said[number].split())


def helps(path: Path) -> Iterator[tuple[int, str]]:
    """The docstrings that are a command's help or a section's."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        called = any(
            "command" in ast.dump(decorator) or "group" in ast.dump(decorator) for decorator in node.decorator_list
        )
        if called and (text := ast.get_docstring(node)):
            yield node.lineno, " ".join(text.split())


def main(folders: list[str]) -> None:
    for folder in folders or FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            found = sorted({*sentences(path), *helps(path)})
            if found:
                print(f"\n{path.relative_to(ROOT)}")
            for number, text in found:
                print(f"{number:5}  {text}")


if __name__ == "__main__":
    main(sys.argv[1:])
