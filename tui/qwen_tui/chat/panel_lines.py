"""The lines of the meters panel: a snapshot in, styled text out. Everything estimated says so.

Pure, and asserted as text: glyphs and words carry the meaning, colour only repeats it.
"""

from collections.abc import Sequence
from functools import lru_cache

from textual.content import Content

from qwen_core.figures import decimal_size, tokens_short, whole_percent
from qwen_core.protocol.events import ModelSummary
from qwen_core.protocol.ranks import free_memory, memory_in_use, waiting_s
from qwen_core.protocol.stats import TurnStats
from qwen_tui.chat.meters import MeterSnapshot
from qwen_tui.layers.map_text import flowed
from qwen_tui.text import formatting
from qwen_tui.text.safe import one_line
from qwen_tui.text.sparkline import sparkline

Lines = list[Content]
MUTED, TEXT = "$muted", "$foreground"
CEILING_MARK = "│"


LABEL = 16  # cells
RANKS_SHOWN = 4
"""So many have a line each: with more the other figures would not fit."""
# Whole words for the parts of a model; what has none here is called as the layout calls it.
_PARTS = {"ffn": "feed-forward", "gdn": "gated delta net", "attn": "attention", "head": "output head"}

MEANINGS: tuple[tuple[str, str], ...] = (
    ("large digits", "tokens a second: of this moment while an answer comes, else of the last answer"),
    ("bars", "the same over the last answer, from half of its fastest moment up"),
    ("GB/s", "estimated: the bytes that a token reads times tokens a second, of the memory's peak"),
    ("ceiling", "estimated: tokens a second if reading memory at its peak were all there is to do"),
    ("waiting", "of several ranks: estimated time of a token in which this one waits for the others"),
    ("peak", "of the memory's bandwidth: published for the chip, measured here, or configured"),
    ("first token", "from the question to the first token of the answer"),
    ("prefill", "tokens of the prompt read a second; while it is read, how many of them"),
    ("reads a step", "of a mixture of experts: bytes that one step of reading a prompt may need"),
    ("prompt", "tokens that were read for this answer, and those whose state was kept"),
    ("answer", "tokens of the answer, and of the reasoning before it"),
    ("drafts", "who guesses tokens ahead, and how many for a pass of the model"),
    ("accepted", "how often the first, second, ... of them was right"),
    ("stopped", "how long it took from the stop to the end of the answer"),
    ("context", "tokens of the conversation, of those the model takes"),
    ("weights", "memory that the model's weights take"),
    ("rank 0, 1, ...", "memory in use by each rank that shares the model, and its host; estimated but for rank 0"),
    ("keys and values", "memory of the attention layers: grows with the conversation"),
    ("recurrent state", "memory of the gated delta layers: always the same"),
    ("earlier turns", "states of earlier turns, so that going back needs no reading again"),
    ("free memory", "estimated: what is left for longer conversations"),
    ("bytes a token", "what is read from memory for one token, and which parts of the model take it"),
)
"""Each line of the panel in words, for the help."""


def panel_lines(snapshot: MeterSnapshot, width: int, height: int = 99) -> Lines:
    """The lines below the large digits, none wider than `width` cells: of the last groups only what fits whole."""
    lines: Lines = []
    for group in (_speed(snapshot, width), _turn(snapshot, width), _memory(snapshot, width), _token(snapshot, width)):
        gap = [Content("")] if group and lines else []
        if len(lines) + len(gap) + len(group) <= height:
            lines += [*gap, *group]
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
    return formatting.bar(share, 1, width - 1) + CEILING_MARK


def rate_graph(rates: Sequence[float], width: int) -> str:
    """The rates of a turn as bars between half of the fastest and the fastest: from zero every turn looks flat."""
    floor = max(rates) / 2
    return sparkline([max(1, round((rate - floor) * 1000)) for rate in rates], width)


@lru_cache(maxsize=64)
def _line(width: int, *parts: tuple[str, str]) -> Content:
    """Texts with their styles on one line, cut at `width`. A line that still says the same is the same object."""
    return Content.assemble(*((text, style) for text, style in parts if text)).truncate(width, ellipsis=True)


def _figure(width: int, label: str, value: str, note: str = "") -> Content:
    return _line(width, (f"{label:<{LABEL}}", MUTED), (value, TEXT), (note, MUTED))


def _speed(snapshot: MeterSnapshot, width: int) -> Lines:
    stats = snapshot.stats
    lines: Lines = []
    if snapshot.rates:
        lines.append(_line(width, (rate_graph(snapshot.rates, width), "$accent")))
    if stats is None or stats.bandwidth_gb_s is None:
        return lines
    figure = f"{formatting.number(stats.bandwidth_gb_s)} GB/s estimated"
    peak, share, ceiling = stats.peak_bandwidth_gb_s, stats.share_of_peak, stats.ceiling_tok_s
    if peak is None or share is None or ceiling is None:
        lines.append(_line(width, (figure, TEXT), (" · peak unknown", MUTED)))
        return lines + _waiting(stats, snapshot.model, width)
    lines.append(_line(width, (figure, TEXT), (f" of {formatting.number(peak)}", MUTED)))
    label = f" {whole_percent(share)}"
    lines.append(_line(width, (bandwidth_bar(share, width - len(label)), "$primary"), (label, TEXT)))
    lines.append(_figure(width, "ceiling", f"{formatting.number(ceiling)} tok/s", " est."))
    if stats.draft is not None:
        lines.append(_figure(width, "", "", f"at {stats.tokens_a_pass:.2f} a pass"))
    lines += _waiting(stats, snapshot.model, width)
    source = snapshot.model.peak_source if snapshot.model else None
    lines.append(_figure(width, "peak", "", f"{formatting.number(peak)} GB/s {source or ''}".rstrip()))
    return lines


def _waiting(stats: TurnStats, model: ModelSummary | None, width: int) -> Lines:
    waiting = waiting_s(stats, model.alone_token_s) if model is not None else None
    if waiting is None:
        return []
    return [_figure(width, "waiting", f"{formatting.number(1000 * waiting)} ms a token", " est.")]


def _turn(snapshot: MeterSnapshot, width: int) -> Lines:
    stats, model = snapshot.stats, snapshot.model
    lines: Lines = []
    if snapshot.running and snapshot.to_prefill and (stats is None or stats.ttft_s is None):
        done, total = snapshot.prefilled, snapshot.to_prefill
        lines.append(_figure(width, "prefill", f"{done:,} / {total:,}"))
        lines.append(_line(width, (formatting.bar(done, total, width), "$accent")))
        if snapshot.prefill_left_s is not None:
            lines.append(_figure(width, "time left", formatting.seconds(snapshot.prefill_left_s), " est."))
        lines.append(_figure(width, "prompt", f"{total:,} new · {snapshot.cached:,} kept"))
        if model is not None and model.prefill_step_bytes > model.weight_bytes_per_token:
            lines.append(_figure(width, "reads a step", f"up to {decimal_size(model.prefill_step_bytes)}"))
    elif stats is not None:
        lines += _answer(stats, width)
    if model is not None:
        used, limit = snapshot.context_tokens, model.context_limit
        text = f"{tokens_short(used)} / {tokens_short(limit)} · {whole_percent(used / limit)}"
        lines.append(_figure(width, "context", text))
    return lines


def _answer(stats: TurnStats, width: int) -> Lines:
    lines: Lines = []
    if stats.ttft_s is not None:
        lines.append(_figure(width, "first token", formatting.seconds(stats.ttft_s)))
    if stats.prefill_tok_s is not None:
        lines.append(_figure(width, "prefill", f"{formatting.number(stats.prefill_tok_s)} tok/s"))
    new, answer = stats.prompt_tokens - stats.cached_tokens, stats.generated_tokens - stats.reasoning_tokens
    lines.append(_figure(width, "prompt", f"{new:,} new · {stats.cached_tokens:,} kept"))
    lines.append(_figure(width, "answer", f"{answer:,}", f" · reasoning {stats.reasoning_tokens:,}"))
    lines += _drafts(stats, width)
    if stats.stop_s is not None:
        lines.append(_figure(width, "stopped", f"in {formatting.seconds(stats.stop_s)}"))
    return lines


def _drafts(stats: TurnStats, width: int) -> Lines:
    """Who drafts, how many a pass, how often each was accepted and what a pass gives; or why nobody drafts."""
    draft = stats.draft
    if draft is None:
        off = stats.draft_off
        return [] if off is None else [_figure(width, "drafts", "off", f" · {formatting.draft_off(off)}")]
    if not draft.drafted:
        return [_figure(width, "drafts", draft.kind, f" · {formatting.no_drafts(draft)}")]
    lines = [
        _figure(width, "drafts", f"{draft.kind}, {draft.num_draft_tokens} a pass"),
        _figure(width, "accepted", formatting.by_depth(draft.accepted_by_depth, draft.passes)),
    ]
    if stats.ceiling_tok_s is None:  # which says it already
        lines.append(_figure(width, "tokens a pass", f"{stats.tokens_a_pass:.2f}"))
    return lines


def _memory(snapshot: MeterSnapshot, width: int) -> Lines:
    model, stats = snapshot.model, snapshot.held
    if model is None:
        return []
    # While a prompt is read, what reading it will have taken counts as taken.
    used = max(snapshot.foreseen, 0 if stats is None else stats.active_memory_bytes)
    share = " a rank" if model.hosts else ""
    lines = [_figure(width, "weights", decimal_size(model.weights_in_memory), share)]
    if stats is not None:
        lines.append(_figure(width, "keys and values", decimal_size(stats.kv_bytes), share))
        lines.append(_figure(width, "recurrent state", decimal_size(stats.recurrent_bytes), share))
        if stats.snapshot_bytes:
            budget = snapshot.snapshot_budget
            rest = f" of {decimal_size(budget)}" if budget else ""
            lines.append(_figure(width, "earlier turns", decimal_size(stats.snapshot_bytes), rest or share))
    lines += _ranks(model, used, width)
    free = free_memory(model, used)
    if free is not None and used:
        lines.append(_figure(width, "free memory", decimal_size(free), " est."))
    return lines


def _ranks(model: ModelSummary, used: int, width: int) -> Lines:
    """What each rank has in memory, and on which host: of this one as measured, of the others an estimate."""
    lines: Lines = []
    apart = len({host.host for host in model.hosts}) > 1
    for host, nbytes in zip(model.hosts[:RANKS_SHOWN], memory_in_use(model.hosts, used), strict=False):
        label = f"rank {host.rank} {_short(host.host) if apart else ''}"
        note = " est." if host.rank and used else ""
        lines.append(_figure(width, one_line(label, LABEL - 1), decimal_size(nbytes), note))
    if (more := len(model.hosts) - RANKS_SHOWN) > 0:
        lines.append(_figure(width, "", "", f"and {more} more"))
    return lines


def _short(host: str) -> str:
    """ "studio" of "studio.local"; an address as it is."""
    return host if host.replace(".", "").isdigit() else host.partition(".")[0]


def _token(snapshot: MeterSnapshot, width: int) -> Lines:
    """Where the bytes of a token go: weights by part, then state and KV."""
    model, stats = snapshot.model, snapshot.stats or snapshot.held
    if model is None:
        return []
    total = stats.bytes_per_token if stats is not None else model.weight_bytes_per_token
    parts = list(model.token_parts)
    if stats is not None:
        parts += [("recurrent state", 2 * stats.recurrent_bytes), ("keys and values", stats.kv_bytes)]
    if not total:
        return []
    shares = [
        f"{one_line(_PARTS.get(name, name), 16)} {whole_percent(nbytes / total)}"
        for name, nbytes in parts
        if nbytes * 200 >= total
    ]
    return [
        _figure(width, "bytes a token", decimal_size(total), " a rank" if model.hosts else ""),
        *flowed((Content.styled(share, MUTED) for share in shares), width),
    ]
