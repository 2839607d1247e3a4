"""What one turn cost and how fast it ran: plain figures, computed from timestamps by pure functions.

Nothing here reads a clock: whoever measures hands the moments in, so tests are exact.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class TurnStats:
    """Figures of one finished or running turn. Rates are None until they are defined; bytes are decimal bytes.

    `prompt_tokens` counts the whole context the answer began from (`cached_tokens` of them were already in the
    state); `generated_tokens` counts every token fed after it, reasoning and stop token included.
    """

    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    reasoning_tokens: int
    context_tokens: int
    ttft_s: float | None
    prefill_tok_s: float | None
    decode_tok_s: float | None
    weight_bytes_per_token: int
    bytes_per_token: int
    bandwidth_gb_s: float | None
    peak_bandwidth_gb_s: float | None
    peak_memory_bytes: int
    active_memory_bytes: int


def prefill_rate(new_tokens: int, ttft_s: float | None) -> float | None:
    """Uncached prompt tokens per second of the time to first token; None where nothing was measured."""
    return new_tokens / ttft_s if ttft_s and new_tokens > 0 else None


def decode_rate(generated: int, first_s: float | None, end_s: float | None) -> float | None:
    """(n - 1) / (end - first): the first token belongs to prefill, so one token has no decode rate."""
    if generated < 2 or first_s is None or end_s is None or end_s <= first_s:
        return None
    return (generated - 1) / (end_s - first_s)


def effective_bandwidth(bytes_per_token: int, decode_tok_s: float | None) -> float | None:
    """GB/s (decimal) that a decode rate implies if every token reads `bytes_per_token`: an estimate by design."""
    return None if decode_tok_s is None else bytes_per_token * decode_tok_s / 1e9


def bytes_per_token(weight_bytes: int, recurrent_bytes: int, kv_bytes: int) -> int:
    """Bytes that decoding one token moves: weights and KV read once, the recurrent state read and written."""
    return weight_bytes + 2 * recurrent_bytes + kv_bytes
