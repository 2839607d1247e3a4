"""What the ranks of the 27B say to each other for a token, counted from the graph; and what README makes of it.

A change that needs more messages makes every token of several machines slower: a message is a wait.
"""

import re

import pytest

from count_messages import LINKS, RANKS, VARIANTS, count, estimate, estimate_lines, rank_bytes
from qwen_core.bench.synthetic import synthetic_checkpoint
from qwen_core.bench.synthetic_shapes import SHAPES, shape_config
from qwen_core.checkpoint.recipe import find_variant
from support.repository import ROOT

LAYERS, HIDDEN, VOCABULARY = 64, 5120, 248_320


@pytest.mark.parametrize(("ranks", "sent"), [(2, 1_569_284), (4, 2_353_926)])
def test_a_token_of_the_27b(ranks: int, sent: int) -> None:
    """Two sums a layer, those of the ids and of their vectors, and the logits gathered; vectors of 2 bytes a number."""
    counted = count("27b", ranks)
    assert (counted.messages, counted.bytes) == (2 * LAYERS + 3, sent)
    vectors = (2 * LAYERS + 1) * 2 * HIDDEN + 4
    assert sent == vectors * 2 * (ranks - 1) // ranks + (ranks - 1) * 2 * VOCABULARY // ranks


@pytest.mark.parametrize("ranks", RANKS)
def test_drafts_are_more_bytes_and_no_more_messages(ranks: int) -> None:
    one, four = count("27b", ranks), count("27b", ranks, 4)
    assert (four.messages, four.bytes) == (one.messages, 4 * one.bytes)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "27b"])
def test_every_shape_has_two_messages_a_layer(shape: str) -> None:
    """A mixture too: its shared expert and its experts are one sum."""
    assert count(shape, 2).messages == 2 * shape_config(shape).num_hidden_layers + 3


def test_a_rank_of_two_reads_half() -> None:
    """But for norms and what weighs little."""
    for variant in ("nvfp4", None):
        checkpoint = synthetic_checkpoint("27b", None if variant is None else find_variant(variant))
        assert rank_bytes(checkpoint, 2) == pytest.approx(rank_bytes(checkpoint, 1) / 2, rel=1e-3)


def test_arithmetic_says_what_it_is_and_what_it_takes_for_granted() -> None:
    lines = estimate_lines([estimate("27b", variant) for variant in VARIANTS])
    assert lines[0].startswith("Arithmetic, not measured:")
    for link in LINKS:
        assert any(f"{link.name}: {link.latency_us:g} us, {link.gb_s:g} GB/s: {link.source}" in line for line in lines)


def test_the_readme_has_these_figures() -> None:
    section = " ".join((ROOT / "README.md").read_text().split("\n## Several machines\n")[1].split("\n## ")[0].split())
    counted = count("27b", 2)
    assert f"{counted.messages} messages and {counted.bytes / 1e6:.2f} MB" in section
    assert "Arithmetic, not measured" in section
    for variant in VARIANTS:
        found = estimate("27b", variant)
        rates = [f"{rate:.1f}" for rate in (*found.links, found.alone)]
        assert re.search(rf"{variant} {rates[0]}\b.* {rates[1]}\b.* {rates[2]}\b.* {rates[3]}\b", section), rates
    for link in LINKS:
        assert re.search(rf"\b{link.latency_us:g}\b", section)
