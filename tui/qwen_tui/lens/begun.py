"""How likely the tokens are that another answer begins with: those of the first one, then the alternative. Pure."""

import math
import struct

from qwen_core.protocol.probabilities import Probabilities
from qwen_tui.lens.reading import Reading
from qwen_tui.lens.token_lines import alternatives

_OWN = struct.Struct("<3fI")  # what of a row is of its token alone: logprob, drawn logprob, entropy, rank


def begun_probabilities(reading: Reading, place: int, token: int) -> Probabilities | None:
    """Of the answer's tokens before `place` and then `token`, one of its alternatives; None where not all are known."""
    found, step = reading.probabilities, reading.step(place)
    chosen = next((each for each in alternatives(reading, place) if each.token == token), None)
    if found is None or reading.first or step is None or chosen is None:
        return None
    rows = bytearray(found.data[: (place + 1) * found.row_bytes])
    drawn = step.drawn_logprob if chosen.taken and step.drawn_logprob is not None else math.nan
    _OWN.pack_into(rows, place * found.row_bytes, chosen.logprob, drawn, step.entropy, chosen.rank)
    return Probabilities(found.top, bytes(rows))
