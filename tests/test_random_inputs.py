"""Random inputs are the same ones in every run of CI, whichever tests a process has run before."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

TESTS = Path(__file__).resolve().parent
TOLD = "derandomize={0.derandomize} database={0.database} deadline={0.deadline}"


@pytest.mark.parametrize(
    ("ci", "told"),
    [(True, "derandomize=True database=None deadline=None"), (False, "derandomize=False")],
    ids=["in CI", "elsewhere"],
)
def test_where_ci_is_set_examples_are_chosen_by_the_test_alone(ci: bool, told: str, tmp_path: Path) -> None:
    code = f"import conftest; from hypothesis import settings; print({TOLD!r}.format(settings.default))"
    environ = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "SYSTEMROOT")}
    environ |= {"PYTHONPATH": str(TESTS)} | ({"CI": "true"} if ci else {})
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.stdout.startswith(told), done.stderr


def test_what_else_was_imported_changes_no_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = drawn()
    (tmp_path / "an_imported_tool.py").write_text("SIGNS = '\\ud800', 'x', 'some words', 31_415_926_535, 2.718")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("an_imported_tool")
    assert drawn() == before


def drawn() -> list[object]:
    """The examples of one property, as CI draws them."""
    found: list[object] = []

    @limits(derandomize=True, database=None)
    @given(st.tuples(st.characters(), st.text(), st.integers(), st.floats(allow_nan=False)))
    def note(example: object) -> None:
        found.append(example)

    note()
    return found
