"""What the distribution promises: its metadata, what wheel and sdist hold, and what CI runs."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from qwen_core.version import __version__
from support.repository import ROOT, tracked

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def name_of(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+(\[[a-z0-9]+\])?", requirement)
    assert match
    return match.group()


def test_dependencies_and_extras_are_the_promised_ones() -> None:
    project = PROJECT["project"]
    screen = {"textual", "rich", "markdown-it-py", "pylatexenc", "click", "platformdirs", "tomlkit"}
    files = {"tokenizers", "safetensors", "jinja2", "gguf"}
    needed = {"mlx", "numpy", "threadpoolctl", *screen, *files}
    assert {name_of(entry) for entry in project["dependencies"]} == needed
    extras = {
        extra: {name_of(entry) for entry in entries} for extra, entries in project["optional-dependencies"].items()
    }
    assert extras["cpu"] == {"mlx[cpu]"}
    assert extras["cuda"] == {"mlx[cuda13]"}
    assert {"pytest", "mlx-lm"} <= extras["test"]
    assert set(extras) == {"cpu", "cuda", "test", "train"}
    # The wheels of the two backends overwrite each other, so the tests must not choose one.
    assert not any("[" in entry for entry in extras["test"])
    assert project["requires-python"] == ">=3.11"


def test_every_dependency_has_its_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    begin = lines.index("dependencies = [")
    for line in lines[begin + 1 : lines.index("]", begin)]:
        assert re.search(r'",\s+# \w', line), line


def built(kind: str, folder: Path) -> Path:
    """The "wheel" or "sdist" as pip would build it, by the same backend but without its network."""
    code = f"import sys; from hatchling.build import build_{kind}; print(build_{kind}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if "No module named 'hatchling'" in done.stderr:
        pytest.skip("hatchling is not installed: it comes with the test extra")
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(built("wheel", tmp_path_factory.mktemp("wheel")))


@pytest.mark.parametrize(
    ("folder", "inside"),
    [("core/qwen_core", "qwen_core"), ("tui/qwen_tui", "qwen_tui"), ("themes", "qwen_tui/themes")],
)
def test_the_wheel_has_every_file_as_it_is_here(folder: str, inside: str, wheel: zipfile.ZipFile) -> None:
    """Themes and the demo model among them: an installed program has no checkout to look into."""
    files = [name for name in tracked(folder) if not Path(name).name.startswith(".")]
    assert files
    for name in files:
        assert wheel.read(inside + name.removeprefix(folder)) == (ROOT / name).read_bytes(), name


def test_the_wheel_has_the_demo_model_and_the_styles(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    demo = [name for name in names if name.startswith("qwen_core/demo/model/")]
    for end in ("config.json", "tokenizer.json", "chat_template.jinja", ".safetensors"):
        assert any(name.endswith(end) for name in demo), end
    assert sum(wheel.getinfo(name).file_size for name in demo) <= 6_000_000
    assert any(name.endswith(".tcss") for name in names)
    assert len([name for name in names if re.fullmatch(r"qwen_tui/themes/[\w-]+\.toml", name)]) >= 2


def test_the_wheel_has_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"qwen_core", "qwen_tui", f"qwen_tui-{__version__}.dist-info"}
    assert not [name for name in wheel.namelist() if name.endswith((".pyc", ".so"))]
    info = f"qwen_tui-{__version__}.dist-info"
    assert "qwen-tui = qwen_tui.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert f"{info}/licenses/LICENSE" in wheel.namelist()


def test_the_sdist_has_what_a_packager_needs(tmp_path: Path) -> None:
    """Everything to build, test and document it: all of the repository but what only git reads."""
    with tarfile.open(built("sdist", tmp_path)) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert names >= set(tracked("")) - {".gitignore", ".gitattributes"}


def test_the_licence_is_apache_2() -> None:
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_ci_runs_lint_types_and_tests() -> None:
    path = ROOT / ".ci" / "run"
    script = path.read_text(encoding="utf-8")
    assert os.access(path, os.X_OK)
    for part in ("ruff", "pyright", "lint-imports", "QWEN_TUI_REQUIRE_FIXTURES", "set -euo pipefail"):
        assert part in script
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert len(re.findall(r"^ +- run: \.ci/run$", workflow, re.MULTILINE)) == 2
    for system in ("ubuntu-latest", "macos-15"):
        assert f"runs-on: {system}" in workflow


def test_a_commit_is_checked_as_ci_checks_it() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    programs = re.findall(r"^ +entry: \.venv/bin/([\w-]+)", hooks, re.MULTILINE)
    assert sorted(programs) == ["lint-imports", "pyright", "pytest", "ruff"]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for program in set(programs) - {"pytest"}:
        assert f'"$bin/{program}"' in script


def test_a_release_is_refused_whose_tag_is_not_the_version() -> None:
    path = ROOT / ".ci" / "release"
    done = subprocess.run([path, "v99.0"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"the tag is v99.0, but core/qwen_core/version.py says {__version__}" in done.stderr
    workflow = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert '- run: .ci/release "$GITHUB_REF_NAME"' in workflow
