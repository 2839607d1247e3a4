"""What a person may ask a model to fit: bytes on disk, tokens a second, or bits a weight, as budgets for budget.py."""

import re
from math import prod

from qwen_core.checkpoint.architecture import text_tensors, with_experts_of
from qwen_core.checkpoint.footprint import state_bytes
from qwen_core.checkpoint.layout import token_bytes
from qwen_core.convert.budget import Budget
from qwen_core.convert.plan import ConversionPlan, Decision
from qwen_core.errors import SettingsError, quote
from qwen_core.figures import decimal_size
from qwen_core.protocol.stats import bytes_per_token

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_FIT = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([kmgt]?b|tok/s|)", re.IGNORECASE | re.ASCII)
# Of the recurrent state, as bench's table of variants has it.
_STATE_BYTES_EACH = 2


def parse_fit(text: str) -> tuple[float, bool]:
    """(bytes, False) of "21GB", (tokens a second, True) of "15tok/s". Raises SettingsError for anything else."""
    match = _FIT.fullmatch(text.strip())
    amount = float(match[1]) if match else 0.0
    if match is None or not amount:
        raise SettingsError(f"--fit {quote(repr(text))} is no budget: write it as 21GB, 900MB or 15tok/s")
    if match[2].lower() == "tok/s":
        return amount, True
    return amount * _UNITS[match[2].lower()], False


def bytes_budget(limit: float) -> Budget:
    """All tensors of the result, in bytes."""
    return Budget(limit, lambda _, nbytes: nbytes, f"a budget of {decimal_size(round(limit))}", _size)


def bits_budget(plan: ConversionPlan, bits: float) -> Budget:
    """Mean bits of a weight of the text model, scales included: what `inspect` calls bits a weight."""
    count = sum(prod(decision.shape) for decision in plan.decisions if decision.part == "text")
    return Budget(
        bits * count / 8,
        lambda decision, nbytes: nbytes if decision.part == "text" else 0,
        f"a budget of {bits:g} bits a weight",
        lambda amount: f"{amount * 8 / count:.2f} bits a weight",
    )


def speed_budget(plan: ConversionPlan, tok_s: float, peak_gb_s: float) -> Budget:
    """What one token may read at `tok_s`, if memory alone is the limit, at the start of a conversation."""
    config = with_experts_of(plan.checkpoint.config, ())
    tensors = {tensor.module: tensor for tensor in text_tensors(config, lm_head=not config.tie_word_embeddings)}
    state = bytes_per_token(0, *state_bytes(config, 0, _STATE_BYTES_EACH))
    peak = peak_gb_s * 1e9

    def cost(decision: Decision, nbytes: int) -> int:
        tensor = tensors.get(decision.module) if decision.part == "text" else None
        return 0 if tensor is None else token_bytes(config, tensor, nbytes)

    return Budget(
        peak / tok_s - state,
        cost,
        f"a budget of {tok_s:g} tok/s at {peak_gb_s:g} GB/s",
        lambda amount: f"{decimal_size(round(amount))} a token, {peak / (amount + state):.1f} tok/s",
    )


def _size(amount: float) -> str:
    return decimal_size(round(amount))
