"""The figures of a turn, from moments that the tests choose."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.protocol.stats import (
    DraftStats,
    TurnStats,
    bytes_per_token,
    checked_bytes,
    decode_rate,
    effective_bandwidth,
    prefill_rate,
    went_on,
)
from support.fake_engine import stats

SECONDS = st.floats(0.001, 1e4)


@given(generated=st.integers(2, 10**6), first=SECONDS, step=st.floats(0.0001, 10))
def test_a_steady_decode_gives_its_own_rate(generated: int, first: float, step: float) -> None:
    """Tokens `step` seconds apart are decoded at 1 / step, however long the first one took."""
    rate = decode_rate(generated, first, first + step * (generated - 1))
    assert rate == pytest.approx(1 / step, rel=1e-6)


@pytest.mark.parametrize(
    ("generated", "first", "end"),
    [(0, None, None), (1, 2.0, 3.0), (5, None, 3.0), (5, 2.0, None), (5, 2.0, 2.0), (5, 3.0, 2.0)],
)
def test_there_is_no_decode_rate_without_two_moments_in_order(
    generated: int, first: float | None, end: float | None
) -> None:
    assert decode_rate(generated, first, end) is None


@given(new=st.integers(1, 10**6), seconds=SECONDS)
def test_prefill_counts_what_was_not_cached(new: int, seconds: float) -> None:
    rate = prefill_rate(new, seconds)
    assert rate is not None
    assert rate * seconds == pytest.approx(new)


@pytest.mark.parametrize(("new", "seconds"), [(5, None), (5, 0.0), (0, 1.0)])
def test_there_is_no_prefill_rate_where_nothing_was_measured(new: int, seconds: float | None) -> None:
    assert prefill_rate(new, seconds) is None


@given(
    weights=st.integers(0, 10**11),
    recurrent=st.integers(0, 10**9),
    kv=st.integers(0, 10**10),
    rate=st.floats(0.01, 1e4),
)
def test_bandwidth_is_what_a_token_moves_times_the_rate(weights: int, recurrent: int, kv: int, rate: float) -> None:
    """Each part counts: weights and keys once, the recurrent state in and out."""
    per_token = bytes_per_token(weights, recurrent, kv)
    assert per_token == weights + 2 * recurrent + kv
    bandwidth = effective_bandwidth(per_token, rate)
    assert bandwidth == pytest.approx(float(Fraction(per_token) * Fraction(rate) / 10**9))
    assert effective_bandwidth(per_token, None) is None


def test_a_pass_moves_its_drafts_too_and_the_ceiling_is_that_of_its_tokens() -> None:
    """100 tokens in 40 passes of 1,000 bytes, and 60 drafts of 100 bytes each."""
    draft = DraftStats("mtp", 3, passes=40, drafted=120, accepted=60, accepted_by_depth=(30, 20, 10))
    plain = replace(stats(generated=100, reasoning=0), bytes_per_token=1000, peak_bandwidth_gb_s=1e-3)
    assert (plain.bytes_per_pass, plain.tokens_a_pass, plain.ceiling_tok_s) == (1000, 1.0, 1000.0)
    drafted = replace(plain, draft=draft, draft_bytes=12_000)
    assert (drafted.bytes_per_pass, drafted.tokens_a_pass) == (1300, 2.5)
    assert drafted.ceiling_tok_s == pytest.approx(2.5 * 1e6 / 1300)
    assert drafted.as_dict().items() >= {"bytes_per_pass": 1300, "tokens_a_pass": 2.5}.items()


@given(drafts=st.lists(st.integers(0, 5), max_size=30), experts=st.integers(2, 300), used=st.integers(1, 8))
def test_passes_of_several_rows_are_counted_one_by_one(drafts: list[int], experts: int, used: int) -> None:
    """However the passes come: as much as the sum of each, and nothing where all rows read the same weights."""
    used = min(used, experts)
    by_depth = [sum(drafted > depth for drafted in drafts) for depth in range(5)]
    reads = {rows: 1000 + 7 * min(experts, rows * used) for rows in range(1, 7)}
    assert checked_bytes(by_depth, reads.__getitem__) == sum(reads[1 + drafted] - reads[1] for drafted in drafts)
    assert checked_bytes(by_depth, lambda rows: 1000) == 0


def run(tokens: int, first: float, step: float, prompt: int, cached: int, reasoning: int = 0) -> TurnStats:
    """The figures of one run without drafts whose tokens came `step` seconds apart, the first after `first`."""
    rate = decode_rate(tokens, first, first + step * (tokens - 1))
    return replace(
        stats(tokens - reasoning, reasoning, prompt, cached),
        ttft_s=first,
        prefill_tok_s=prefill_rate(prompt - cached, first),
        decode_tok_s=rate,
        decode_s=None if rate is None else step * (tokens - 1),
        reasoning_s=step * reasoning,
        bandwidth_gb_s=effective_bandwidth(stats().bytes_per_token, rate),
        prompt_tokens=prompt,
    )


@given(parts=st.lists(st.integers(1, 500), min_size=2, max_size=6), first=SECONDS, step=st.floats(0.001, 1))
def test_an_answer_that_was_cut_has_the_figures_of_one_that_was_not(
    parts: list[int], first: float, step: float
) -> None:
    """Nothing is read between its parts, so the first token of a later part takes as long as any other."""
    figures, context = run(parts[0], first, step, 100, 40), 100 + parts[0]
    for tokens in parts[1:]:
        figures = went_on(figures, run(tokens, step, step, context, context))
        context += tokens
    whole = run(sum(parts), first, step, 100, 40)
    names = ("prompt_tokens", "cached_tokens", "reread_tokens", "generated_tokens", "context_tokens", "ttft_s")
    assert [getattr(figures, name) for name in names] == [getattr(whole, name) for name in names]
    for name in ("prefill_tok_s", "decode_tok_s", "decode_s", "bandwidth_gb_s", "reasoning_s"):
        assert getattr(figures, name) == pytest.approx(getattr(whole, name), rel=1e-6), name


def test_what_is_read_again_to_go_on_is_said_apart_and_is_no_time_of_decoding() -> None:
    figures = went_on(run(11, 1.0, 0.1, 100, 40), run(11, 9.0, 0.1, 111, 0))
    assert (figures.prompt_tokens, figures.cached_tokens, figures.reread_tokens) == (100, 40, 111)
    assert (figures.decode_tok_s, figures.decode_s) == (pytest.approx(10), pytest.approx(2))


def test_drafts_of_both_parts_add_up_and_a_part_without_had_a_pass_a_token() -> None:
    drafts = DraftStats("mtp", 2, passes=4, drafted=8, accepted=5, accepted_by_depth=(3, 2))
    plain = run(11, 1.0, 0.1, 100, 40)
    drafted = replace(run(9, 0.1, 0.1, 111, 111), draft=drafts, draft_bytes=700)
    for both in (went_on(plain, drafted), went_on(drafted, plain)):
        assert both.draft == DraftStats("mtp", 2, passes=15, drafted=8, accepted=5, accepted_by_depth=(3, 2))
        assert both.draft_bytes == 700
    other = replace(drafted, draft=DraftStats("lookup", 1, 2, 2, 1, (1,)))
    assert went_on(drafted, other).draft == DraftStats("mtp, lookup", 2, 6, 10, 6, (4, 2))


def test_the_published_27b_at_its_published_rate() -> None:
    """The NVFP4 27B: 19.99 GB of weights, 0.30 GB of state in and out, 400 GB/s: a ceiling of 19.7 tok/s."""
    per_token = bytes_per_token(19_990_000_000, 150_000_000, 0)
    bandwidth = effective_bandwidth(per_token, 19.7)
    assert bandwidth == pytest.approx(400, rel=0.005)
