"""What every test may ask for: the shared fixtures folder, and a home of its own for the program's files."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as limits
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

# How long an example takes says how busy the machine is. All else stays as hypothesis has it, also its choice of the
# same examples every time where CI is set: for one text of a test, one name of it, and one release of hypothesis.
limits.register_profile("untimed", parent=limits.default, deadline=None, max_examples=50)
limits.load_profile("untimed")
# It would mix in the constants of every module that this process has imported from elsewhere than site-packages: the
# trainer of the demo, a tool that a test loads, the program itself where its install is editable. Which tests a process
# has run before is chance, and so were the examples of those after them.
providers._get_local_constants = Constants

ROOT = Path(__file__).resolve().parent.parent
# Where the trainer of the demo model is, which is not installed. At the end: what is installed comes first.
sys.path.append(str(ROOT / "core"))


def pytest_collection_finish() -> None:
    """All tests and what they import live to the end: they are not gone through at every collection of garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def fixtures_dir() -> Path:
    """The folder of real-model fixtures, which is not part of this repository.

    `QWEN_TUI_FIXTURES` names it, else it is looked for beside the checkout. Absent, the test is skipped, saying so;
    with `QWEN_TUI_REQUIRE_FIXTURES` set (as .ci/run does) that is a failure.
    """
    path = Path(os.environ.get("QWEN_TUI_FIXTURES") or ROOT.parent / "shared" / "fixtures")
    if not path.is_dir():
        reason = f"the real-model fixtures are not at {path}: set QWEN_TUI_FIXTURES to their folder"
        if os.environ.get("QWEN_TUI_REQUIRE_FIXTURES"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh QWEN_TUI_HOME, so that no test reads or writes the files of the person who runs it."""
    path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("QWEN_TUI_HOME", str(path))
    yield path
