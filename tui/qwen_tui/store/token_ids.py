"""Token ids as compact bytes, and back. Pure.

Format 1: the byte 1, then zlib over four planes: all lowest bytes of the 32-bit ids, all second ones, and so on. The
upper planes are nearly empty, and zlib finds that out by itself.
"""

import sys
import zlib
from array import array
from collections.abc import Sequence

FORMAT = 1
MAX_IDS = 1 << 24
MAX_ID = (1 << 32) - 1


def pack(ids: Sequence[int]) -> bytes:
    """`ids` (each below 2^32, at most MAX_IDS of them) as bytes. OverflowError or ValueError for others."""
    if len(ids) > MAX_IDS:
        raise ValueError(f"{len(ids):,} token ids are more than {MAX_IDS:,}")
    raw = _little_endian(ids)
    return bytes([FORMAT]) + zlib.compress(b"".join(raw[plane::4] for plane in range(4)), 6)


def unpack(data: bytes) -> tuple[int, ...]:
    """The ids in `data`. ValueError if it is not what `pack` makes."""
    if data[:1] != bytes([FORMAT]):
        raise ValueError("these are not token ids in a known format")
    inflater = zlib.decompressobj()
    try:
        planes = inflater.decompress(data[1:], MAX_IDS * 4 + 1)
    except zlib.error as error:
        raise ValueError(f"damaged token ids: {error}") from None
    if not inflater.eof or inflater.unused_data or len(planes) % 4 or len(planes) > MAX_IDS * 4:
        raise ValueError("damaged token ids")
    count = len(planes) // 4
    raw = bytearray(len(planes))
    for plane in range(4):
        raw[plane::4] = planes[plane * count : (plane + 1) * count]
    values = array("I", bytes(raw))
    if sys.byteorder == "big":
        values.byteswap()
    return tuple(values)


def checksum(ids: Sequence[int], begun: int = 0) -> int:
    """A checksum of `ids`; with `begun`, the checksum of other ids, that of those followed by these."""
    return zlib.crc32(_little_endian(ids), begun)


def _little_endian(ids: Sequence[int]) -> bytes:
    values = array("I", ids)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many ids both begin with."""
    limit = min(len(left), len(right))
    if array("I", left[:limit]) == array("I", right[:limit]):
        return limit
    return next(place for place in range(limit) if left[place] != right[place])
