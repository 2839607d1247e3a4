"""What a token takes one rank alone, with nobody to wait for: measured once, so that waiting can be told from it."""

import statistics
import time
from collections.abc import Callable

from qwen_core.device.backend import mx
from qwen_core.model.part import PartModel
from qwen_core.protocol.stats import bytes_per_token
from qwen_core.session.generate import decode
from qwen_core.session.sampling import Sampler, SamplingParameters

TOKENS = 8
BUDGET_S = 0.9


def alone_token_s(
    model: PartModel,
    weight_bytes: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
    stop: Callable[[], bool] = lambda: False,
) -> float | None:
    """Seconds that this rank takes for `weight_bytes`, those of a token, when all it needs is there: the median of some
    tokens of nonsense, decoded as ever; None where `stop` ended it before there was one.

    In a silenced `Collectives` the other ranks are told nothing and do nothing, so nobody can wait for anybody.
    """
    with model.collectives.silenced():
        state = model.new_state()
        sampler = Sampler(SamplingParameters(temperature=0.0), model.config.vocab_size, model.config.vocab_size)
        logits = model.last_logits(mx.zeros((1, 1), mx.uint32), state)
        mx.eval(logits, state.arrays())
        seconds: list[float] = []
        began = last = clock()
        for number, _ in enumerate(decode(model, state, logits, sampler, limit=TOKENS + 1)):
            now = clock()
            if number:  # the first was there already
                seconds.append(now - last)
            last = now
            if stop() or (seconds and now - began >= BUDGET_S):
                break
    if not seconds:
        return None
    moved = bytes_per_token(weight_bytes, state.recurrent_nbytes, state.kv_nbytes)
    return statistics.median(seconds) * weight_bytes / moved
