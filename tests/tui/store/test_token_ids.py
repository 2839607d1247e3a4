"""Token ids on disk: compact, exact, and damage is noticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_tui.store.token_ids import MAX_ID, checksum, common_prefix, pack, unpack
from support.stores import TOKENS


@given(TOKENS)
def test_what_is_packed_is_unpacked(ids: list[int]) -> None:
    assert unpack(pack(ids)) == tuple(ids)


@given(st.binary(max_size=60) | TOKENS.map(pack), st.integers(0, 59), st.integers(0, 255))
def test_damage_gives_an_error_or_the_same_ids(data: bytes, place: int, byte: int) -> None:
    damaged = data[:place] + bytes([byte]) + data[place + 1 :]
    try:
        ids = unpack(damaged)
    except ValueError:
        return
    assert all(0 <= token <= MAX_ID for token in ids)
    # zlib's own checksum covers the ids: nothing but what was packed comes out.
    assert unpack(pack(ids)) == ids
    if damaged != data and data[:1] == b"\1" and place > 2:
        assert ids == unpack(data)


def test_real_ids_take_less_than_three_bytes() -> None:
    ids = [(number * 7919) % 248_077 for number in range(10_000)]
    assert len(pack(ids)) < 3 * len(ids)


@pytest.mark.parametrize("ids", [[-1], [1 << 32]])
def test_what_is_no_id_is_refused(ids: list[int]) -> None:
    with pytest.raises(OverflowError):
        pack(ids)


@given(TOKENS, TOKENS, TOKENS)
def test_prefixes_and_checksums(common: list[int], left: list[int], right: list[int]) -> None:
    length = common_prefix(common + left, common + right)
    assert (common + left)[:length] == (common + right)[:length]
    assert length >= len(common)
    ends = min(len(common + left), len(common + right)) == length
    assert ends or (common + left)[length] != (common + right)[length]
    assert checksum(common + left) == checksum(left, checksum(common))
