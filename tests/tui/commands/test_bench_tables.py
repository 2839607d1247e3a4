"""The tables of `bench` in narrow terminals: cells are wrapped, and no figure or name is cut or broken."""

from typing import Any

import pytest

from qwen_tui.commands.bench_tables import against_parts, bench_parts, hosts_parts, variants_parts
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
    "kernels": {"used": [], "faults": []},
    "draft": None,
    "pass_costs": None,
    "draft_arithmetic": None,
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
BENCH = {**FACTS, "model": MODEL, "sizes": [SIZE], "card": {"turns": [TURN], "best": None, "draft": None}}
COST = {"seconds": {"median": 0.0625, "min": 0.06, "max": 0.07}, "ratio": {"median": 1.25, "min": 1.1, "max": 1.5}}
PAIR = {
    "kind": "mtp+lookup",
    "num_draft_tokens": 3,
    "pairs": 3,
    "without_tok_s": RATE,
    "with_tok_s": RATE,
    "ratio": COST["ratio"],
    "passes": 1234,
    "drafted": 3000,
    "accepted": 2000,
    "accepted_by_depth": [1000, 700, 300],
    "acceptance_by_depth": [0.81, 0.57, 0.24],
    "tokens_a_pass": 2.62,
    "same_tokens": 129,
    "of_tokens": 129,
}
ARITHMETIC = {"acceptance": 0.7, "num_draft_tokens": 4, "tokens_a_pass": 2.77, "tok_s": 1234.0, "ratio": 1.97}
DRAFTS = {
    **BENCH,
    "sizes": [{**SIZE, "draft": PAIR}],
    "card": {"turns": [TURN], "best": None, "draft": {**PAIR, "same_tokens": 57}},
    "draft": {"mode": "auto", "num_draft_tokens": None, "off": None},
    "pass_costs": {"context_tokens": 32, "repeat": 3, "passes": [{"rows": 1, **COST}], "draft": COST},
    "draft_arithmetic": [ARITHMETIC],
}
AGAINST = {**FACTS, "path": "/m", "peer": "mlx-lm float32", "peer_version": "2", "pairs": 3, "same_tokens": 9}
HOSTS = {
    **FACTS,
    "path": "/m",
    "hosts": ["studio.local", "mini.local"],
    "backend": "jaccl",
    "pairs": 3,
    "prefill": PHASE,
    "decode": PHASE,
    "peak_memory_bytes": {"own": 123_456_789_012, "peer": 234_567_890_123},
    "same_tokens": 8,
    "of_tokens": 9,
    "refusal": None,
}
VARIANTS = {**FACTS, "model": "27b", "depth": 0, "layers": None, "of_layers": 64, "variants": [VARIANT]}
VARIANTS |= {"workload": "tg8", "repeat": 3}


@pytest.mark.parametrize(
    ("show", "report", "words"),
    [
        (bench_parts, BENCH, (*FIGURES, "tg128", "@131,072", "1,234", "455", "123.46", "1200", "(0.120..", "0.130)")),
        (bench_parts, DRAFTS, (*FIGURES, "1.25 (1.10..1.50)", "62.5", "2.62", "81, 57, 24 %", "2.77", "1.97", "1,234")),
        (against_parts, {**AGAINST, "prefill": PHASE, "decode": PHASE, "of_tokens": 9}, (*FIGURES, "mlx-lm float32")),
        (hosts_parts, HOSTS, (*FIGURES, "studio.local", "mini.local", "jaccl", "123.46", "234.57", "one rank tok/s")),
        (variants_parts, VARIANTS, (*FIGURES, "UD-NVFP4_K_XL", "21.00", "20.00", "123", "19.9", "14.9")),
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


def words(report: dict[str, Any]) -> str:
    return " ".join(report_text(bench_parts(report, 80), 80).split())


def test_tokens_that_part_are_told_and_whether_they_may() -> None:
    on_cpu, on_gpu = words(DRAFTS), words({**DRAFTS, "device": "CUDA x"})
    assert "tg128: by mtp+lookup, up to 3 a pass" in on_cpu
    assert "the same 129 tokens, pairs of runs: 3" in on_cpu
    for text in (on_cpu, on_gpu):
        assert "the tokens part after 57 of 129" in text
    assert ("please report it" in on_cpu, "near-ties" in on_cpu) == (True, False)
    assert ("please report it" in on_gpu, "near-ties" in on_gpu) == (False, True)


def test_arithmetic_is_called_that() -> None:
    assert "Arithmetic, not measured" in words(DRAFTS)
    assert "Arithmetic" not in words(BENCH)


def test_why_nobody_drafts_is_said() -> None:
    off = {**DRAFTS, "draft": {"mode": "auto", "num_draft_tokens": None, "off": "cpu"}}
    assert "Drafts are off: on a CPU a pass costs what its rows cost" in words(off)


def test_a_drafter_that_found_nothing_says_so() -> None:
    none = {**PAIR, "drafted": 0, "num_draft_tokens": 0, "acceptance_by_depth": []}
    assert "by mtp+lookup, no drafts in 1,234 passes" in words({**DRAFTS, "sizes": [{**SIZE, "draft": none}]})


def test_where_one_alone_cannot_hold_the_model_there_is_nothing_to_compare() -> None:
    refused = {**HOSTS, "pairs": 0, "runs": 2, "refusal": "one rank could not be measured: too large"}
    refused["peak_memory_bytes"] = {"own": 5, "peer": None}
    text = " ".join(report_text(hosts_parts(refused, 80), 80).split())
    assert "repeats: 2. One rank alone does not run it: one rank could not be measured: too large" in text
    assert "2 ranks tok/s 12,226" in text
    assert "ratio" not in text


def test_of_hosts_a_name_never_acts_on_the_terminal() -> None:
    assert "\x1b" not in report_text(hosts_parts({**HOSTS, "hosts": ["a", "b\x1b[2J"]}, 80), 80)


def test_where_nothing_was_finished_that_is_all_that_is_said() -> None:
    text = report_text(hosts_parts({**HOSTS, "pairs": 0, "interrupted": True}, 80), 80)
    assert text.strip() == "Interrupted: nothing was finished."
