"""Sizes, shares and counts as errors, reports and screens write them, and that nothing writes them otherwise."""

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core import figures
from support.repository import ROOT


def strings_of(path: Path) -> str:
    """What a file can say: a document whole; of a module its texts, without its docstrings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return text
    tree = ast.parse(text)
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in documents)
    return "\n".join(node.value for node in constants if isinstance(node.value, str))


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (1e-9, "< 0.01 %"), (1e-4, "0.01 %"), (0.0025, "0.25 %"), (0.09994, "9.99 %"), (0.09996, "10.0 %"),
     (1, "100.0 %")],
)  # fmt: skip
def test_shares_keep_two_digits_while_they_are_small(share: float, text: str) -> None:
    assert figures.percent(share) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.004, "< 1 %"), (0.43, "43 %"), (0.996, "99 %"), (1, "100 %"), (1.24, "124 %")],
)
def test_a_glance_needs_no_digits_and_never_reads_as_nothing_or_all(share: float, text: str) -> None:
    assert figures.whole_percent(share) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (4096, "4,096"), (9999, "9,999"), (10_000, "10K"), (262_144, "262K"), (1_048_576, "1.0M")],
)
def test_tokens_are_written_out_below_ten_thousand(count: int, text: str) -> None:
    assert figures.tokens_short(count) == text


def test_progress_names_its_unit_once() -> None:
    assert figures.size_of(8_804_682_957, 21_900_000_000) == "8.80 of 21.90 GB"
    assert figures.size_of(512, 999) == "512 of 999 B"


@given(st.integers(0, 10**15))
def test_a_size_is_decimal_and_what_it_reads_as(count: int) -> None:
    """Within half of its last digit; and never a thousand of a unit that has a larger one above."""
    number, unit = figures.decimal_size(count).split()
    divisor = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}[unit]
    assert abs(float(number) * divisor - count) <= 0.00501 * divisor
    assert unit == "GB" or float(number) < 1000


def test_no_size_that_the_program_says_is_binary() -> None:
    """Nothing in either package, in their documents or the README writes a binary unit."""
    texts = [path for folder in ("core/qwen_core", "tui/qwen_tui") for path in (ROOT / folder).rglob("*.py")]
    texts += [ROOT / name for name in ("README.md", "core/README.md", "tui/README.md", "core/FORMAT.md")]
    said = {path.name: re.findall(r"[^`\n]*[KMG]iB.*", strings_of(path)) for path in texts}
    assert {name: found for name, found in said.items() if found} == {}
