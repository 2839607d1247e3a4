"""The table of variants in tui/README.md: its bytes are what converting writes, its words what its figures say."""

from dataclasses import replace
from pathlib import Path

import pytest

from make_variants import DOCUMENT, Row, Table, block, measure, parse, with_table
from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.recipe import VARIANTS
from qwen_core.convert.plan import make_plan
from qwen_core.convert.rules import VariantRules
from support.raw_demo import raw_demo


def committed() -> Table:
    table = parse(DOCUMENT.read_text(encoding="utf-8"))
    assert table is not None
    return table


def test_the_table_has_all_nine_with_the_bytes_that_converting_writes(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(raw_demo(tmp_path / "raw"))
    expected = {variant.name: make_plan(checkpoint, VariantRules(variant)).nbytes for variant in VARIANTS}
    assert {row.name: row.nbytes for row in committed().rows} == expected


def test_the_block_is_what_its_own_figures_give() -> None:
    """So that nobody edits the words or a figure by hand."""
    document = DOCUMENT.read_text(encoding="utf-8")
    table = committed()
    assert with_table(document, table) == document
    assert table.tokens > 2_000


def test_the_words_follow_the_figures() -> None:
    table = committed()
    swapped = {"UD-NVFP4_K_XL": 0.3, "UD-MXFP4_K_XL": 0.1}
    rows = [replace(row, kl_mean=swapped.get(row.name, row.kl_mean)) for row in table.rows]
    text = block(Table(rows, 5, 1.0))
    assert "3.0 times larger" in text
    assert "on 5 tokens" in text


def test_the_command_measures_what_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On random weights and one conversation: the figures come back from the document as they were put in."""
    monkeypatch.setattr("make_variants.CONVERSATIONS", 1)
    table = measure(raw_demo(tmp_path / "raw", filled=True))
    assert [row.name for row in table.rows] == [variant.name for variant in VARIANTS]
    found = parse(with_table("<!-- variants -->\n<!-- /variants -->", table))
    assert found is not None
    assert [row.line for row in found.rows] == [row.line for row in table.rows]
    harm = {row.name: row.kl_mean for row in table.rows}
    assert harm["UD-Q2_K_XL"] > harm["UD-Q4_K_XL"] > harm["UD-Q8_K_XL"] > 0
    assert isinstance(found.rows[0], Row)
