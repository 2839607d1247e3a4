"""What the distribution promises: its metadata, what the wheel holds, and that README, CI and program agree."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from make_reference import help_text, with_reference
from qwen_core.version import __version__
from qwen_tui.cli import program

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def name_of(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+(\[[a-z0-9]+\])?", requirement)
    assert match
    return match.group()


def test_dependencies_and_extras_are_the_promised_ones() -> None:
    project = PROJECT["project"]
    screen = {"textual", "rich", "markdown-it-py", "click", "platformdirs", "tomlkit"}
    files = {"tokenizers", "safetensors", "jinja2", "markupsafe", "gguf"}
    needed = {"mlx", "numpy", *screen, *files}
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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel as pip would build it, by the same backend but without its network."""
    folder = tmp_path_factory.mktemp("wheel")
    code = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if "No module named 'hatchling'" in done.stderr:
        pytest.skip("hatchling is not installed: it comes with the test extra")
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(folder / done.stdout.split()[-1])


def tracked(folder: str) -> list[str]:
    """The files of `folder` that git knows; all that are there in a copy without git."""
    try:
        done = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=False)
        found = done.stdout.splitlines() if done.returncode == 0 else []
    except FileNotFoundError:
        found = []
    if not found:
        paths = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        found = [path.relative_to(ROOT).as_posix() for path in paths]
    return [name for name in found if (ROOT / name).is_file()]


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


def test_the_licence_is_apache_2() -> None:
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_the_reference_in_the_readme_is_the_programs_own_help() -> None:
    assert with_reference(README) == README, "run: python tests/tools/make_reference.py"
    for command in ("qwen-tui", *(f"qwen-tui {name}" for name in program.commands)):
        assert help_text(command) in README, f"the README has no block for {command}"


COMMANDS = {
    "mac, chat": "python3 -m venv .venv && .venv/bin/pip install '.' && .venv/bin/qwen-tui",
    "linux, chat": "python3 -m venv .venv && .venv/bin/pip install '.[cpu]' && .venv/bin/qwen-tui",
    "mac, tests": "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/pytest",
    "linux, tests": "python3 -m venv .venv && .venv/bin/pip install '.[cpu,test]' && .venv/bin/pytest",
}


@pytest.mark.parametrize("purpose", COMMANDS)
def test_the_readme_has_each_command_once_and_on_one_line(purpose: str) -> None:
    assert README.splitlines().count(COMMANDS[purpose]) == 1


def test_ci_runs_the_readmes_own_test_command() -> None:
    """.ci/run reads the line from README.md; here its extraction is run for both systems."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    begin, end = script.index("extra=cpu,test"), script.index('step "$install"')
    for system, purpose in (("Linux", "linux, tests"), ("Darwin", "mac, tests")):
        code = (
            f'set -euo pipefail; uname() {{ echo {system}; }}; place=/p\n{script[begin:end]}\necho "$install && $test"'
        )
        done = subprocess.run(["bash", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == COMMANDS[purpose].replace(".venv", "/p/venv"), done.stderr


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


def test_what_the_readme_points_at_is_there() -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", README) if "://" not in target]
    assert {"tests/pictures/chat.svg", "tests/pictures/layers.svg"} <= set(targets)
    for target in targets:
        assert (ROOT / target).is_file(), target


def test_the_picture_shows_a_conversation_with_the_demo_model() -> None:
    from make_picture import PICTURE, TURNS

    text = PICTURE.read_text(encoding="utf-8").replace("&#160;", " ")
    for _, question in TURNS:
        assert question in text
    for words in ("Berlin", "Tokyo", "tok/s", "prefilled"):
        assert words in text
    assert "textLength" in text


def test_the_picture_of_the_layers_shows_the_full_27b_and_a_tensor_with_its_values(tmp_path: Path) -> None:
    """What stands in it is what the program says today of the shapes it is drawn from."""
    from make_layer_picture import LAYER, MODULE, PICTURE
    from qwen_tui.layers.detail import title_of
    from qwen_tui.layers.legend import entries, headline
    from support.checkpoints import write_checkpoint
    from support.layouts import map_at

    write_checkpoint(tmp_path, full=True)
    layer_map = map_at(tmp_path)
    text = PICTURE.read_text(encoding="utf-8").replace("&#160;", " ")
    for words in (
        " · ".join(headline(layer_map)),
        layer_map.verdict.evidence,
        title_of(layer_map.layout.index[MODULE]),
    ):
        assert words in text
    assert f"layer {LAYER} · " in text
    for entry in entries(layer_map, "mode"):
        assert entry.words in text
    for words in ("scales", "codes", "no dead groups", "N" * 64, "5" * 64):
        assert words in text


def test_the_readme_says_how_to_read_the_layers(tmp_path: Path) -> None:
    """Each character with its format, and the shares that it gives as examples."""
    from qwen_tui.layers.map import MODE_LETTERS
    from support.checkpoints import write_checkpoint
    from support.layouts import map_at

    section = re.sub(r"\s+", " ", README.split("## The layers")[1].split("\n## ")[0])
    for mode, letter in MODE_LETTERS.items():
        assert f"`{letter}` {mode}" in section
    write_checkpoint(tmp_path, full=True)
    layout = map_at(tmp_path).layout
    for mode, words in (
        ("nvfp4", "hold {} % of the weights and are {} % of a token"),
        ("bf16", "holds {} % and is {} %"),
    ):
        total = sum(t.parameters for (m, _, _), t in layout.by_format().items() if m == mode)
        read = sum(t.token_bytes for (m, _, _), t in layout.by_format().items() if m == mode)
        assert words.format(round(100 * total / layout.text.parameters), round(100 * layout.share(read))) in section


def test_the_python_example_of_the_readme_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Paris" in done.stdout


def test_the_messages_example_of_the_readme_is_one() -> None:
    from qwen_tui.commands.run_request import parse_messages

    (example,) = re.findall(r"such as `(\[.*?\])`", README)
    messages, system = parse_messages(example, "the README")
    assert (json.loads(example)[0]["content"], len(messages)) == (system, 1)
