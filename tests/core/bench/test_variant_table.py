"""The table of the published variants: the figures of their cards, and none that are not on one."""

import pytest

from qwen_core.bench.synthetic_shapes import shape_config
from qwen_core.bench.variant_table import variant_rows
from qwen_core.checkpoint.recipe import VARIANTS
from qwen_core.device.hardware import Hardware

M3_MAX = Hardware("M3 Max", 40, 64 << 30, None, 400.0, "published")
UNKNOWN = Hardware(None, None, 64 << 30, None, None, None)


def test_the_nvfp4_27b_has_the_published_roofline() -> None:
    """19.99 GB of weights and 0.30 GB of state a token; 19.7 tok/s at 400 GB/s, of which the card reached 14.9."""
    rows = {row.variant.name: row for row in variant_rows(shape_config("27b"), M3_MAX, shape="27b")}
    row = rows["UD-NVFP4_K_XL"]
    assert row.bytes_per_token / 1e9 == pytest.approx(19.99 + 0.30, abs=0.02)
    assert row.ceiling_tok_s == pytest.approx(19.7, abs=0.05)
    assert row.card_tok_s == 14.9


def test_the_card_says_nothing_of_the_others() -> None:
    rows = variant_rows(shape_config("27b"), M3_MAX, shape="27b")
    assert [row.variant for row in rows] == list(VARIANTS)
    assert [row.variant.name for row in rows if row.card_tok_s is not None] == ["UD-NVFP4_K_XL"]
    other = variant_rows(shape_config("9b"), M3_MAX, shape="9b")
    assert all(row.card_tok_s is None for row in other)
    assert all(row.card_tok_s is None for row in variant_rows(shape_config("27b"), M3_MAX, shape=None))


def test_the_machines_ceiling_is_its_own_and_the_m3_maxs_is_always_there() -> None:
    fast, unknown = (
        variant_rows(shape_config("27b"), machine, shape="27b")[0]
        for machine in (Hardware("M3 Ultra", 80, 1 << 38, None, 819.0, "published"), UNKNOWN)
    )
    assert fast.ceiling_tok_s == pytest.approx(819e9 / fast.bytes_per_token)
    assert unknown.ceiling_tok_s is None
    assert unknown.card_ceiling_tok_s == fast.card_ceiling_tok_s == pytest.approx(400e9 / fast.bytes_per_token)


def test_context_adds_64_kib_a_token() -> None:
    """FORMAT.md, "Bytes read per decoded token"."""
    near, far = (variant_rows(shape_config("27b"), M3_MAX, shape="27b", depth=depth)[0] for depth in (0, 1000))
    assert far.bytes_per_token - near.bytes_per_token == 1000 * 65536
