"""The documents say what is so: links lead somewhere; commands, examples and figures are the program's own."""

import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

import qwen_core
from make_reference import help_text, with_reference
from qwen_core.bench.synthetic_shapes import shape_config
from qwen_core.checkpoint.footprint import state_bytes
from qwen_core.checkpoint.recipe import VARIANTS
from qwen_core.checkpoint.variants import predict
from qwen_core.protocol.events import LoadSettings
from qwen_core.version import __version__
from qwen_tui.app.model_lines import USABLE, WORKING_BYTES
from qwen_tui.cli import program
from support.repository import ROOT, tracked

DOCUMENTS = [name for name in tracked("") if name.endswith(".md")]
# The README's two commands, for each system.
COMMANDS = {
    "mac, chat": "python3 -m venv .venv && .venv/bin/pip install '.' && .venv/bin/qwen-tui",
    "linux, chat": "python3 -m venv .venv && .venv/bin/pip install '.[cpu]' && .venv/bin/qwen-tui",
    "mac, tests": "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/pytest",
    "linux, tests": "python3 -m venv .venv && .venv/bin/pip install '.[cpu,test]' && .venv/bin/pytest",
}
# The size of the 27B's vision tower in bfloat16: it is downloaded with every variant.
VISION_BYTES = 921_460_192


@cache
def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose(name: str) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text_of(name), flags=re.DOTALL | re.MULTILINE)


def anchors(name: str) -> set[str]:
    """What `#...` can name in a document: its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(name), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", prose(name)) if "://" not in target]
    for target in targets:
        path, _, anchor = target.partition("#")
        found = (ROOT / name).parent / path if path else ROOT / name
        assert found.exists(), f"{name}: {target}"
        if anchor:
            assert anchor in anchors(found.resolve().relative_to(ROOT).as_posix()), f"{name}: {target}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_that_is_named_is_there(name: str) -> None:
    """`core/qwen_core/version.py`, `model/state.py` of a package's own document, `palette.py` of any folder."""
    files = tracked("")
    known = {"/" + file for file in files} | {f"/{parent}/" for file in files for parent in Path(file).parents}
    for path in re.findall(r"`([\w./-]+(?:\.(?:py|tcss|toml|yml|md)|/))`", prose(name)):
        if path not in ("config.toml", "mine.toml"):
            assert any(file.endswith("/" + path) for file in known), f"{name}: {path}"


def test_the_readme_is_short_and_shows_all_pictures() -> None:
    readme = text_of("README.md")
    assert len(readme.splitlines()) <= 200
    pictures = {f"tests/pictures/{name}.svg" for name in ("chat", "layers", "lens", "compare")}
    assert pictures <= set(re.findall(r"\]\(([^)]+\.svg)\)", readme))


@pytest.mark.parametrize("purpose", COMMANDS)
def test_the_readme_has_each_command_once_and_on_one_line(purpose: str) -> None:
    assert text_of("README.md").splitlines().count(COMMANDS[purpose]) == 1


def test_ci_runs_the_readmes_own_test_command() -> None:
    """.ci/run reads the line from README.md; here its extraction is run for both systems."""
    script = text_of(".ci/run")
    begin, end = script.index("extra=cpu,test"), script.index('step "$install"')
    for system, purpose in (("Linux", "linux, tests"), ("Darwin", "mac, tests")):
        code = (
            f'set -euo pipefail; uname() {{ echo {system}; }}; place=/p\n{script[begin:end]}\necho "$install && $test"'
        )
        done = subprocess.run(["bash", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == COMMANDS[purpose].replace(".venv", "/p/venv"), done.stderr


def test_the_readme_says_what_memory_each_variant_needs() -> None:
    """From the shapes of the 27B's tensors and what the program takes beside them."""
    context, config = 32_768, shape_config("27b")
    recurrent, kv = state_bytes(config, context, 2)
    beside = recurrent + kv + WORKING_BYTES + LoadSettings().snapshot_budget_bytes
    assert f"with {context:,} tokens of context" in text_of("README.md")
    for variant in VARIANTS:
        weights = predict(config, variant).nbytes
        mac, limit = next((gb, room) for gb in (16, 24, 32, 48) if (room := (gb << 30) * USABLE) >= weights + beside)
        just = ", just" if limit - weights - beside < 1e9 else ""
        figures = [f"{nbytes / 1e9:.1f}" for nbytes in (weights + VISION_BYTES, weights, weights + beside)]
        assert f"| {variant.name} | {' | '.join(figures)} | {mac} GB{just} |" in text_of("README.md")


def test_the_reference_is_the_programs_own_help() -> None:
    document = text_of("tui/README.md")
    assert with_reference(document) == document, "run: python tests/tools/make_reference.py"
    for command in ("qwen-tui", *(f"qwen-tui {name}" for name in program.commands)):
        assert help_text(command) in document, f"there is no block for {command}"


@pytest.mark.parametrize(("name", "contract", "first"), [("core", "core", "lowest"), ("tui", "app", "highest")])
def test_the_rooms_are_those_of_the_contracts_in_their_order(name: str, contract: str, first: str) -> None:
    project = tomllib.loads(text_of("pyproject.toml"))
    layers = next(c["layers"] for c in project["tool"]["importlinter"]["contracts"] if c["name"].endswith(contract))
    floors = {room: number for number, layer in enumerate(layers) for room in layer.split(" | ")}
    section = text_of(f"{name}/README.md").split("\n## The rooms\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    told = [[room for room in re.findall(r"`(\w+)[./]", row) if room in floors] for row in rows]
    assert {room for rooms in told for room in rooms} == set(floors) - {"__main__"}
    for upper, lower in pairwise(told if first == "highest" else told[::-1]):
        assert max(floors[room] for room in upper) <= min(floors[room] for room in lower), (upper, lower)


def test_every_public_name_of_the_engine_is_explained() -> None:
    section = text_of("core/README.md").split("\n## As a library\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)", section, re.MULTILINE)) == set(qwen_core.__all__) - {"__version__"}


def test_the_python_examples_run() -> None:
    examples = re.findall(r"```python\n(.*?)```", text_of("core/README.md"), re.DOTALL)
    said = []
    for code in examples:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), code
        said.append(done.stdout)
    assert all(words in said[0] for words in ("Paris", "Tokyo", " were in the state already"))
    assert len(json.loads(said[1])) == 8


def test_the_messages_example_is_one() -> None:
    from qwen_tui.commands.run_request import parse_messages

    (example,) = re.findall(r"such as `(\[.*?\])`", text_of("tui/README.md"))
    messages, system = parse_messages(example, "the document")
    assert (json.loads(example)[0]["content"], len(messages)) == (system, 1)


def test_the_changelog_has_this_version_and_what_comes_next() -> None:
    sections = re.findall(r"^## \[(.*?)\](?: - \d{4}-\d\d-\d\d)?$", text_of("CHANGELOG.md"), re.MULTILINE)
    assert sections[0] == "Unreleased"
    assert __version__ in sections[1:]


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
    from qwen_tui.layers.facts import headline, title_of
    from qwen_tui.layers.legend import entries
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


def test_the_pictures_of_the_lens_and_of_two_models_show_where_they_part() -> None:
    from make_lens_pictures import PICTURE, QUESTION

    lens, compared = (
        PICTURE.with_name(f"{name}.svg").read_text(encoding="utf-8").replace("&#160;", " ")
        for name in ("lens", "compare")
    )
    assert f"· by probability · {QUESTION}" in lens
    assert "entropy" in lens
    for words in ("A answers · demo model", "B answers · demo in three bits", "B would say", "KL mean"):
        assert words in compared


def test_the_readme_says_how_to_read_the_layers(tmp_path: Path) -> None:
    """Each character with its format, and the shares that it gives as examples."""
    from qwen_tui.layers.map import MODE_LETTERS
    from support.checkpoints import write_checkpoint
    from support.layouts import map_at

    section = re.sub(r"\s+", " ", text_of("README.md").split("## The layers")[1].split("\n## ")[0])
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
