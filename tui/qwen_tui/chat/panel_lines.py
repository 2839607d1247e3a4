"""The lines of the meters panel: a snapshot in, styled text out. Everything estimated says so.

Pure, and asserted as text: glyphs and words carry the meaning, colour only repeats it.
"""

from collections.abc import Sequence
from functools import lru_cache

from textual.content import Content

from qwen_core.protocol.stats import TurnStats
from qwen_tui.chat.meters import MeterSnapshot
from qwen_tui.text import formatting
from qwen_tui.text.safe import cells, one_line
from qwen_tui.text.sparkline import sparkline

Piece = tuple[str, str]
EIGHTHS = " ▏▎▍▌▋▊▉"
CEILING_MARK = "│"


def panel_lines(snapshot: MeterSnapshot, width: int) -> list[Content]:
    """All lines below the large digits, none wider than `width` cells."""
    groups = [
        _speed(snapshot, width),
        _turn(snapshot, width),
        _memory(snapshot),
        _token(snapshot, width),
    ]
    lines: list[Content] = []
    for group in groups:
        if group and lines:
            lines.append(Content(""))
        lines += [_fitted(tuple(pieces), width) for pieces in group]
    return lines


def digits(snapshot: MeterSnapshot) -> str:
    """What the large digits say: the live rate while a turn runs, else the last turn's."""
    stats = snapshot.stats
    if stats is None:
        return "-"
    rate = (stats.live_tok_s if snapshot.running else None) or stats.decode_tok_s
    return "-" if rate is None else f"{rate:.1f}" if rate < 1000 else f"{rate:.0f}"


def bandwidth_bar(share: float, width: int) -> str:
    """`share` (0 to 1) of `width` cells in eighths, with the ceiling marked at its right end: more never shows."""
    room = max(0, width - 1)
    eighths = round(min(max(share, 0.0), 1.0) * room * 8)
    full, part = divmod(eighths, 8)
    bar = "█" * full + (EIGHTHS[part] if part else "")
    return bar + "·" * (room - len(bar)) + CEILING_MARK


def rate_graph(rates: Sequence[float], width: int) -> str:
    """The rates of a turn as bars between half of the fastest and the fastest: from zero every turn looks flat."""
    floor = max(rates) / 2
    return sparkline([max(1, round((rate - floor) * 1000)) for rate in rates], width)


def _speed(snapshot: MeterSnapshot, width: int) -> list[list[Piece]]:
    stats = snapshot.stats
    lines: list[list[Piece]] = []
    if snapshot.rates:
        lines.append([(rate_graph(snapshot.rates, width), "$accent")])
    if stats is None or stats.bandwidth_gb_s is None:
        return lines
    figure = f"{number(stats.bandwidth_gb_s)} GB/s est."
    peak, share, ceiling = stats.peak_bandwidth_gb_s, stats.share_of_peak, stats.ceiling_tok_s
    if peak is None or share is None or ceiling is None:
        return [*lines, [(figure, "$foreground"), (" · peak unknown", "$muted")]]
    lines.append([(figure, "$foreground"), (f" of {number(peak)}", "$muted")])
    label = f" {share:.0%}"
    lines.append([(bandwidth_bar(share, width - cells(label)), "$primary"), (label, "$foreground")])
    limit = f"{number(ceiling)} tok/s"
    note = " est. here" if cells(f"ceiling {limit} est. here") <= width else " est."
    lines.append([("ceiling ", "$muted"), (limit, "$foreground"), (note, "$muted")])
    source = snapshot.model.peak_source if snapshot.model else None
    lines.append([("peak    ", "$muted"), (f"{number(peak)} GB/s {source or ''}".rstrip(), "$muted")])
    return lines


def _turn(snapshot: MeterSnapshot, width: int) -> list[list[Piece]]:
    stats, lines = snapshot.stats, []
    if snapshot.running and snapshot.to_prefill and (stats is None or stats.ttft_s is None):
        done, total = snapshot.prefilled, snapshot.to_prefill
        lines.append([("prefill ", "$muted"), (f"{done:,} / {total:,}", "$foreground")])
        lines.append([(formatting.bar(done, total, width), "$accent")])
        if snapshot.prefill_left_s is not None:
            left = formatting.seconds(snapshot.prefill_left_s)
            lines.append([("left    ", "$muted"), (left, "$foreground"), (" est.", "$muted")])
        lines.append([("prompt  ", "$muted"), (f"{total:,} new · {snapshot.cached:,} kept", "$foreground")])
    elif stats is not None:
        lines += _answer(stats)
    context = f"{formatting.tokens_short(snapshot.context_tokens)}"
    if snapshot.model is not None:
        limit = snapshot.model.context_limit
        context += f" / {formatting.tokens_short(limit)} · {snapshot.context_tokens / limit:.0%}"
        lines.append([("context ", "$muted"), (context, "$foreground")])
    return lines


def _answer(stats: TurnStats) -> list[list[Piece]]:
    lines: list[list[Piece]] = []
    if stats.ttft_s is not None:
        lines.append([("first   ", "$muted"), (formatting.seconds(stats.ttft_s), "$foreground")])
    if stats.prefill_tok_s is not None:
        lines.append([("prefill ", "$muted"), (f"{number(stats.prefill_tok_s)} tok/s", "$foreground")])
    new = stats.prompt_tokens - stats.cached_tokens
    lines.append([("prompt  ", "$muted"), (f"{new:,} new · {stats.cached_tokens:,} kept", "$foreground")])
    answer = stats.generated_tokens - stats.reasoning_tokens
    reasoning = f" · reasoning {stats.reasoning_tokens:,}"
    lines.append([("answer  ", "$muted"), (f"{answer:,}", "$foreground"), (reasoning, "$muted")])
    if stats.stop_s is not None:
        lines.append([("stopped ", "$muted"), (f"in {formatting.seconds(stats.stop_s)}", "$foreground")])
    return lines


def _memory(snapshot: MeterSnapshot) -> list[list[Piece]]:
    model, stats = snapshot.model, snapshot.held
    if model is None:
        return []
    lines: list[list[Piece]] = [
        [("weights ", "$muted"), (formatting.size(model.tiers.total or model.weight_bytes), "$foreground")]
    ]
    if stats is None:
        return lines
    lines.append([("kv      ", "$muted"), (formatting.size(stats.kv_bytes), "$foreground")])
    lines.append([("state   ", "$muted"), (formatting.size(stats.recurrent_bytes), "$foreground")])
    if stats.snapshot_bytes:
        kept, budget = formatting.size(stats.snapshot_bytes), snapshot.snapshot_budget
        rest = f" of {formatting.size(budget)}" if budget else " snapshots"
        lines.append([("past    ", "$muted"), (kept, "$foreground"), (rest, "$muted")])
    limit = model.recommended_bytes or model.memory_bytes
    if limit:
        free = max(0, limit - stats.active_memory_bytes)
        lines.append([("free    ", "$muted"), (formatting.size(free), "$foreground"), (" est.", "$muted")])
    return lines


def _token(snapshot: MeterSnapshot, width: int) -> list[list[Piece]]:
    """Where the bytes of a token go: weights by part, then state and KV."""
    model, stats = snapshot.model, snapshot.stats or snapshot.held
    if model is None:
        return []
    total = stats.bytes_per_token if stats is not None else model.weight_bytes_per_token
    parts = list(model.token_parts)
    if stats is not None:
        parts.append(("state", 2 * stats.recurrent_bytes))
        parts.append(("kv", stats.kv_bytes))
    if not total:
        return []
    lines: list[list[Piece]] = [[("a token moves ", "$muted"), (formatting.decimal_size(total), "$foreground")]]
    shares = [f"{one_line(name, 12)} {nbytes / total:.0%}" for name, nbytes in parts if nbytes * 200 >= total]
    lines += [[(text, "$muted")] for text in _wrapped(shares, width)]
    return lines


def _wrapped(words: Sequence[str], width: int) -> list[str]:
    lines: list[str] = []
    for word in words:
        if lines and cells(lines[-1]) + 3 + cells(word) <= width:
            lines[-1] += f" · {word}"
        else:
            lines.append(word)
    return lines


def number(value: float) -> str:
    """About three digits, whole numbers in full: "0.46", "17.3", "351", "1,204"."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


@lru_cache(maxsize=64)
def _fitted(pieces: tuple[Piece, ...], width: int) -> Content:
    """The pieces on one line, cut at `width`. A line that still says the same is the same object."""
    return Content.assemble(*((text, style) for text, style in pieces if text)).truncate(width, ellipsis=True)
