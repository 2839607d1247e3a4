"""The tables of `bench` in narrow terminals: cells are wrapped, and no figure or name is cut or broken."""

from typing import Any

import pytest

from qwen_tui.commands.bench_tables import against_parts, bench_parts, variants_parts
from support.reports import report_text

RATE = {"median": 12225.9, "min": 12220.0, "max": 12240.0}
FIGURES = ("12,226", "(12,220..", "12,240)")
FACTS: dict[str, Any] = {
    "device": "CPU x",
    "dtype": "float32",
    "peer_dtype": "as stored",
    "command": "qwen-tui bench --workload card",
    "versions": {},
    "peak_bandwidth_gb_s": None,
    "interrupted": False,
}
SIZE = {
    "workload": "tg128",
    "depth": 131072,
    "tok_s": RATE,
    "bandwidth_gb_s": 1234.5,
    "share_of_peak": 0.5,
    "ceiling_tok_s": 455.4,
    "peak_memory_bytes": 123_456_789_012,
}
TURN = {
    "turn": 1,
    "prompt_tokens": 1234,
    "cached_tokens": 34,
    "generated_tokens": [120, 121, 122],
    "ttft_s": {"median": 0.123, "min": 0.12, "max": 0.13},
    "prefill_tok_s": RATE,
    "decode_tok_s": RATE,
}
PHASE = {"tokens": 512, "own_tok_s": RATE, "peer_tok_s": RATE, "ratio": RATE, "cpu_ratio": RATE}
VARIANT = {
    "variant": "UD-NVFP4_K_XL",
    "nbytes": 21 * 10**9,
    "bytes_per_token": 20 * 10**9,
    "ceiling_tok_s": 123.4,
    "m3_max_ceiling_tok_s": 19.9,
    "card_m3_max_tok_s": 14.9,
    "measured_tok_s": RATE,
    "refusal": None,
}
MODEL = {"name": "m", "variant": "v", "weight_bytes_per_token": 5, "extrapolated": False}
BENCH = {**FACTS, "model": MODEL, "sizes": [SIZE], "card": {"turns": [TURN], "best": None}}
AGAINST = {**FACTS, "path": "/m", "peer": "mlx-lm float32", "peer_version": "2", "pairs": 3, "same_tokens": 9}
VARIANTS = {**FACTS, "model": "27b", "depth": 0, "layers": None, "of_layers": 64, "variants": [VARIANT]}
VARIANTS |= {"workload": "tg8", "repeat": 3}


@pytest.mark.parametrize(
    ("show", "report", "words"),
    [
        (bench_parts, BENCH, (*FIGURES, "tg128", "@131,072", "1,234", "455.4", "123.46", "1200", "(0.120..", "0.130)")),
        (against_parts, {**AGAINST, "prefill": PHASE, "decode": PHASE, "of_tokens": 9}, (*FIGURES, "mlx-lm float32")),
        (variants_parts, VARIANTS, (*FIGURES, "UD-NVFP4_K_XL", "21.00", "20.00", "123.4", "19.9", "14.9")),
    ],
)
def test_at_60_columns_every_figure_and_name_is_whole(
    show: Any, report: dict[str, Any], words: tuple[str, ...]
) -> None:
    text = report_text(show(report, 60), 60)
    assert max(map(len, text.splitlines())) <= 60
    assert "\u2026" not in text
    assert [word for word in words if word not in text] == []


def test_where_not_even_the_words_fit_they_are_folded() -> None:
    text = report_text(bench_parts(BENCH, 40), 40)
    assert max(map(len, text.splitlines())) <= 40
    assert "\u2026" not in text
    assert "".join(text.split()).count("1200") == 1
