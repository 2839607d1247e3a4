"""Figures as people read them: pure functions from numbers to short strings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from qwen_core.figures import decimal_size, whole_percent
from qwen_tui.text.safe import cells, visible

if TYPE_CHECKING:  # slow to import, and the help of the program needs none of it
    from qwen_core.protocol.events import FinishReason, ModelSummary, PeakSource
    from qwen_core.protocol.stats import DraftOff, DraftStats, TurnStats

_DRAFT_OFF: dict[DraftOff, tuple[str, str]] = {
    "cpu": ("CPU", "on a CPU a pass costs what its rows cost; /draft mtp or /draft lookup drafts all the same"),
    "setting": ("as set", "as it is set; /draft auto drafts where it pays"),
}

_ENDINGS: dict[FinishReason, str] = {
    "length": "reached the length limit",
    "context": "the context is full: /drop or /summary makes room",
    "cancelled": "stopped by you",
    "repetition": "ended because it repeated itself",
}


def exact_size(count: int) -> str:
    """Bytes exactly and readably: "19,994,594,368 bytes (19.99 GB)"."""
    return f"{count:,} bytes" if count < 1000 else f"{count:,} bytes ({decimal_size(count)})"


def model_size(model: ModelSummary) -> str:
    """The memory that its weights take: "21.90 GB"; where several ranks share it, each its part: "2 x 11.02 GB"."""
    if not (ranks := len(model.hosts)):
        return decimal_size(model.weights_in_memory)
    return f"{ranks} x {decimal_size(sum(host.weight_bytes for host in model.hosts) // ranks)}"


def counted(number: int, what: str) -> str:
    """ "1 shard", "1,732 tensors"."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def count_line(text_tokens: int, left: int, at_least: bool) -> str:
    """ "12 tokens · 9,790 left": a question that is being written, and what an answer could have behind it."""
    own = f"over {tokens(text_tokens)}" if at_least else tokens(text_tokens)
    return f"{own} · {left:,} left" if left > 0 else f"{own} · {1 - left:,} too many"


def tokens(count: int) -> str:
    return counted(count, "token")


def parameters(count: int) -> str:
    """A number of weights: "26.90 B", "3.1 M", "48,123"."""
    if count >= 10**9:
        return f"{count / 10**9:.2f} B"
    return f"{count / 10**6:.1f} M" if count >= 10**6 else f"{count:,}"


def ranges(numbers: Iterable[int]) -> str:
    """Whole numbers as people write them: "0-2, 4-6"; with a step where that says it shorter: "3-63 by 4"."""
    values = sorted(set(numbers))
    if len(values) > 2:
        step = values[1] - values[0]
        if step > 1 and values == list(range(values[0], values[-1] + 1, step)):
            return f"{values[0]}-{values[-1]} by {step}"
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def seconds(value: float) -> str:
    """A short duration: "0.41 s", "24 s", "3 min 05 s"."""
    if value < 10:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    if value < 60:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s"


def short_dtype(dtype: str) -> str:
    """ "bf16" for "bfloat16"; a type that is not ours is shown as it is."""
    return {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}.get(dtype, visible(dtype))


def number(value: float) -> str:
    """About three digits, whole numbers in full: "0.46", "17.3", "351", "1,204"."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def rate(tok_s: float) -> str:
    return f"{number(tok_s)} tok/s"


def ending(reason: FinishReason | None, answer: str, reasoning: str) -> str:
    """Why a turn ended, for people, and that it has no answer; empty for a normal stop of one that has.

    `answer`: what was said outside of reasoning, tool calls too.
    """
    why = _ENDINGS.get(reason, "") if reason else ""
    if reason is None or reason == "cancelled" or answer.strip():
        return why
    if reason == "context" and not reasoning.strip():
        return "not read: it does not fit into what is left of the context"
    if reasoning.strip():
        return f"{why} · still reasoning, no answer" if why else "stopped while still reasoning, no answer"
    return why or "no answer: the turn ended without any text"


def turn_line(stats: TurnStats) -> str:
    """The dim line under an answer: rate, tokens, time to first token, and how much of the prompt was prefilled."""
    return " · ".join(turn_pieces(stats))


def turn_pieces(stats: TurnStats) -> list[str]:
    """The figures of that line, the most telling first."""
    pieces: list[str] = []
    if stats.decode_tok_s is not None:
        pieces.append(rate(stats.decode_tok_s))
    if stats.draft is not None:
        pieces.append(draft_piece(stats.draft, stats.tokens_a_pass))
    count = tokens(max(0, stats.generated_tokens - stats.reasoning_tokens))
    if stats.reasoning_tokens:
        count += f" (+{stats.reasoning_tokens:,} reasoning)"
    pieces.append(count)
    if stats.draft is not None and stats.draft.drafted:
        pieces.append(f"accepted {by_depth(stats.draft.accepted_by_depth, stats.draft.passes)} of passes")
    if stats.draft_off is not None:
        pieces.append(f"no drafts ({draft_off(stats.draft_off)})")
    if stats.ttft_s is not None:
        pieces.append(f"first {seconds(stats.ttft_s)}")
    fed = stats.prompt_tokens - stats.cached_tokens
    pieces.append(f"{fed:,} of {stats.prompt_tokens:,} prefilled")
    if stats.reread_tokens:
        pieces.append(f"{stats.reread_tokens:,} read again to go on")
    return pieces


def peak(gb_s: float, source: PeakSource | None) -> str:
    """ "351 GB/s, measured": a peak and where it comes from, if that is known."""
    return f"{number(gb_s)} GB/s" + (f", {source}" if source else "")


def all_figures(stats: TurnStats, peak_source: PeakSource | None = None) -> list[str]:
    """Everything that was measured of one answer, a line for each kind of thing."""
    kept = f"{stats.cached_tokens:,} of them kept in the state"
    lines = [
        f"prompt {tokens(stats.prompt_tokens)}, {kept}; answer {tokens(stats.generated_tokens)}, "
        f"{stats.reasoning_tokens:,} of them reasoning; context {tokens(stats.context_tokens)}",
    ]
    if stats.reread_tokens:
        lines.append(f"{tokens(stats.reread_tokens)} read again so that the answer could go on")
    times = [f"first token {seconds(stats.ttft_s)}"] if stats.ttft_s is not None else []
    if stats.prefill_tok_s is not None:
        times.append(f"prefill {rate(stats.prefill_tok_s)}")
    if stats.decode_tok_s is not None:
        times.append(f"decode {rate(stats.decode_tok_s)}")
    if stats.stop_s is not None:
        times.append(f"stopped within {seconds(stats.stop_s)}")
    lines.append(" · ".join(times))
    weights = decimal_size(stats.weight_bytes_per_token)
    reads = f"a token reads {decimal_size(stats.bytes_per_token)}, {weights} of weights"
    if stats.bandwidth_gb_s is not None:
        reads += f" · {number(stats.bandwidth_gb_s)} GB/s est."
    if stats.share_of_peak is not None and stats.peak_bandwidth_gb_s is not None:
        reads += f", {whole_percent(stats.share_of_peak)} of {peak(stats.peak_bandwidth_gb_s, peak_source)}"
    if stats.ceiling_tok_s is not None:
        reads += f" · ceiling {rate(stats.ceiling_tok_s)} est."
        if stats.draft is not None:
            reads += f" at {stats.tokens_a_pass:.2f} tokens a pass, which reads {decimal_size(stats.bytes_per_pass)}"
    if stats.draft is not None:
        lines.append(draft_figures(stats.draft, stats.tokens_a_pass))
    elif stats.draft_off is not None:
        lines.append(f"drafts off: {_DRAFT_OFF[stats.draft_off][1]}")
    memory = f"memory {decimal_size(stats.active_memory_bytes)}, at most {decimal_size(stats.peak_memory_bytes)}"
    state = f"keys and values {decimal_size(stats.kv_bytes)}, recurrent state {decimal_size(stats.recurrent_bytes)}"
    lines += [reads, f"{memory}; {state}, earlier turns {decimal_size(stats.snapshot_bytes)}"]
    return [line for line in lines if line]


def draft_figures(draft: DraftStats, tokens_a_pass: float) -> str:
    """ "drafts by mtp, up to 3 a pass: 120 of 150 accepted, by depth 45, 40, 35 in 50 passes · 2.50 tokens a pass"."""
    if not draft.drafted:
        return f"drafts by {draft.kind}: {no_drafts(draft)}, in {draft.passes:,} passes"
    depths = ", ".join(map(str, draft.accepted_by_depth))
    accepted = f"{draft.accepted:,} of {draft.drafted:,} accepted, by depth {depths} in {draft.passes:,} passes"
    most = f"up to {draft.num_draft_tokens} a pass"
    return f"drafts by {draft.kind}, {most}: {accepted} · {tokens_a_pass:.2f} tokens a pass"


def draft_piece(draft: DraftStats, tokens_a_pass: float) -> str:
    """ "mtp 3: 2.50 a pass": who drafts how many, and the tokens that a pass gives."""
    if not draft.drafted:
        return f"{draft.kind}: {no_drafts(draft)}"
    return f"{draft.kind} {draft.num_draft_tokens}: {tokens_a_pass:.2f} a pass"


def no_drafts(draft: DraftStats) -> str:
    """What a drafter that is on and has drafted nothing is said to have done."""
    return "none drafted" if draft.passes else "none yet"


def by_depth(accepted: Iterable[float], passes: int = 1) -> str:
    """ "90, 80, 70 %": in how many of the passes the first, the second ... draft was accepted."""
    return ", ".join(f"{100 * count / passes:.0f}" for count in accepted) + " %"


def draft_off(why: DraftOff) -> str:
    """ "CPU", "as set": why nobody drafts, in a word."""
    return _DRAFT_OFF[why][0]


def bar(done: float, total: float, width: int) -> str:
    """A slim progress bar of `width` cells in eighths of a cell; full blocks for the done part, dots for the rest."""
    if width <= 0:
        return ""
    share = min(max(done / total, 0.0), 1.0) if total > 0 else 0.0
    eighths = round(share * width * 8)
    full, part = divmod(eighths, 8)
    text = "█" * full
    if part:
        text += " ▏▎▍▌▋▊▉"[part]
    return text + "·" * (width - len(text))


def fit(pieces: Sequence[str], width: int, separator: str = " · ") -> str:
    """As many of `pieces` from the front as fit into `width` cells; the first is cut rather than left out."""
    kept = list(pieces)
    while len(kept) > 1 and cells(separator.join(kept)) > width:
        kept.pop()
    text = separator.join(kept)
    if cells(text) <= width:
        return text
    while text and cells(text) >= width:
        text = text[:-1]
    return text + "…" if width > 0 else ""
