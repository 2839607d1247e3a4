"""What is told of several ranks: the memory they take, and what a token waits."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.protocol.ranks import RankSummary, free_memory, memory_in_use, waiting_s, without_room
from qwen_core.protocol.stats import DraftStats
from support.fake_engine import MODEL, SHARED, shared_stats

SIZES = st.integers(0, 10**12)
RANKS = st.lists(
    st.builds(RankSummary, rank=st.just(0), host=st.sampled_from("ab"), memory_bytes=SIZES, weight_bytes=SIZES),
    min_size=1,
    max_size=8,
)


@given(own=st.floats(0.001, 1), share=st.floats(0, 1))
def test_what_is_left_of_a_token_is_waiting(own: float, share: float) -> None:
    """However many bytes beside the weights it moves: they cost what those cost."""
    figures = shared_stats()
    alone = own * figures.weight_bytes_per_token / figures.bytes_per_token
    waited = own * share
    taken = replace(figures, decode_tok_s=1 / (own + waited))
    assert waiting_s(taken, alone) == pytest.approx(waited, abs=1e-9)


def test_with_drafts_a_pass_waits_once_for_all_its_tokens() -> None:
    draft = DraftStats("mtp", 3, passes=100, drafted=300, accepted=150, accepted_by_depth=(80, 50, 20))
    figures = replace(shared_stats(), draft=draft, draft_bytes=0, bytes_per_token=10, weight_bytes_per_token=10)
    pass_s = 0.050
    taken = replace(figures, decode_tok_s=figures.tokens_a_pass / pass_s)
    assert waiting_s(taken, 0.030) == pytest.approx((pass_s - 0.030) / 2.5)


def test_waiting_is_never_less_than_none_and_not_guessed() -> None:
    figures = shared_stats()
    assert waiting_s(figures, 1e9) == 0
    assert waiting_s(figures, None) is None
    assert waiting_s(replace(figures, decode_tok_s=None), 0.01) is None


@given(RANKS, SIZES)
def test_the_others_have_beside_their_weights_what_this_one_has(hosts: list[RankSummary], beside: int) -> None:
    used = memory_in_use(hosts, hosts[0].weight_bytes + beside)
    assert [nbytes - host.weight_bytes for nbytes, host in zip(used, hosts, strict=True)] == [beside] * len(hosts)


@given(RANKS, SIZES)
def test_the_machine_with_the_least_left_says_what_is_free(hosts: list[RankSummary], own: int) -> None:
    """Ranks on one machine share its memory."""
    hosts = [replace(host, memory_bytes=10**12 if host.host == "a" else 3 * 10**12) for host in hosts]
    left = {"a": 10**12, "b": 3 * 10**12}
    for host, nbytes in zip(hosts, memory_in_use(hosts, own), strict=True):
        left[host.host] -= nbytes
    shared = replace(SHARED, hosts=tuple(hosts))
    assert free_memory(shared, own) == min(max(0, left[host.host]) for host in hosts)
    short = without_room(shared, own)
    assert short == next((host for host in hosts if left[host.host] < 0), None)


def test_nothing_is_free_where_no_memory_is_known() -> None:
    assert free_memory(replace(SHARED, hosts=(RankSummary(0, "a", 0, 5),)), 10) is None
    assert free_memory(replace(MODEL, recommended_bytes=None, memory_bytes=0), 10) is None


def test_one_rank_has_what_its_machine_allows() -> None:
    assert free_memory(MODEL, 10 << 30) == 38 << 30
    assert free_memory(replace(MODEL, recommended_bytes=None), 10 << 30) == 54 << 30
