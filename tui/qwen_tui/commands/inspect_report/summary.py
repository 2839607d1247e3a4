"""The head of the report: what the model is, what it weighs, what a token reads, and what lies unused."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from rich.console import RenderableType
from rich.text import Text

from qwen_core.checkpoint.config import MixtureConfig, ModelConfig
from qwen_core.checkpoint.layout import MTP_LAYER, Layout, ModuleLayout
from qwen_core.checkpoint.recipe import VARIANTS
from qwen_core.convert.alignment import alignment_of
from qwen_core.figures import decimal_size, percent
from qwen_tui.commands.inspect_report.roles import role_table
from qwen_tui.commands.inspect_report.selection import Filters
from qwen_tui.commands.inspect_report.subject import Subject
from qwen_tui.commands.report import BAD, FAINT, HEADING, facts, line, paragraph
from qwen_tui.layers.facts import as_written, choice_text, mtp_text
from qwen_tui.text.formatting import counted, exact_size, parameters

# Tokens of a pass with a few drafts and of a step of a prompt (session/generate.py, CHUNK), as examples.
_DRAFTED, _PREFILL = 4, 512


def report(subject: Subject, modules: Sequence[ModuleLayout], filters: Filters, width: int) -> Iterator[RenderableType]:
    """Summary, table by role, warnings and advice. `modules` are those that `filters` left."""
    yield title(subject)
    yield ""
    yield facts(summary_facts(subject), width)
    yield ""
    if filters:
        yield selection(subject, modules)
    yield role_table(subject.layout, modules, subject.verdict.nearest, width)
    yield legend(subject)
    for label, texts, style in (("warning", subject.warnings, BAD), ("advice", [subject.advice or ""], FAINT)):
        if any(texts):
            yield ""
            yield facts([(label, text) for text in texts], width, style)


def title(subject: Subject) -> Text:
    return line(f"{subject.name} · {subject.verdict.name}", HEADING)


def selection(subject: Subject, modules: Sequence[ModuleLayout]) -> Text:
    """What filters leave, in a sentence."""
    return paragraph(f"selected {choice_text(subject.layout, modules)}", FAINT)


def legend(subject: Subject) -> Text:
    """What B is, and what the share is of."""
    variant = next((variant for variant in VARIANTS if variant.name == subject.verdict.nearest), None)
    text = f"share: of the {decimal_size(subject.layout.token_bytes)} of weights that one token reads."
    if variant is not None:
        text += f" B: the base of {variant.name}, {variant.bits} bits. AWQ changes values and shows in no header."
    return paragraph(text, FAINT)


def summary_facts(subject: Subject) -> Iterator[tuple[str, str]]:
    """(label, text) of every line of the summary."""
    layout, checkpoint = subject.layout, subject.checkpoint
    config, text = checkpoint.config, layout.text
    yield "directory", str(checkpoint.path)
    yield "variant", f"{subject.verdict.name}: {subject.verdict.evidence}"
    yield "on disk", f"{exact_size(layout.nbytes)} in {counted(layout.tensors, 'tensor')}, {_files(subject)}"
    yield (
        "text model",
        f"{exact_size(text.nbytes)}: {parameters(text.parameters)} weights, {text.bits_per_weight:.2f} bits each",
    )
    yield "per token", f"{exact_size(layout.token_bytes)} of weights; recurrent state and KV come on top"
    if layout.mixture is not None:
        yield "experts", _experts(layout, layout.mixture)
    yield "layers", _layers(subject)
    yield "sizes", _sizes(config)
    yield "context", _context(config)
    yield "quantised", _quantised(subject)
    head = "the embedding (tied)" if layout.tied else "a tensor of its own (not tied)"
    yield "head", head
    shape = "MLX's (norms hold 1 + weight)" if checkpoint.converted else "raw Hugging Face (norms hold weight less 1)"
    yield "layout", shape
    mtp = mtp_text(layout)
    if mtp is not None:
        yield "MTP layer", mtp
    unused = [
        f"{e.what} {decimal_size(e.nbytes)} in {counted(e.tensors, 'tensor')}"
        for e in layout.unused
        if not (layout.mtp and e.what == MTP_LAYER)
    ]
    yield "unused", "; ".join(unused) or "nothing: a token reads all that is on disk"
    yield "alignment", alignment(subject)


def _context(config: ModelConfig) -> str:
    limit, yarn = f"{config.max_position_embeddings:,} tokens", config.yarn
    return limit if yarn is None else f"{limit}: {yarn.original:,.12g} stretched by YaRN, factor {yarn.factor:g}"


def _sizes(config: ModelConfig) -> str:
    return (
        f"hidden {config.hidden_size:,}, {_feed_forward(config)}, vocabulary {config.vocab_size:,}; "
        f"full attention {config.num_attention_heads} heads of {config.head_dim}, "
        f"{config.num_key_value_heads} of keys; "
        f"linear {config.linear_num_value_heads} heads of {config.linear_value_head_dim}, "
        f"{config.linear_num_key_heads} of keys"
    )


def _feed_forward(config: ModelConfig) -> str:
    if config.mixture is None:
        return f"feed-forward {config.intermediate_size:,}"
    return f"experts {config.mixture.size:,}, shared expert {config.mixture.shared_size:,}"


def _experts(layout: Layout, mixture: MixtureConfig) -> str:
    """What a token reads of them, and that a prompt reads more: its passes have many tokens."""
    some, many = (decimal_size(layout.pass_bytes(tokens)) for tokens in (_DRAFTED, _PREFILL))
    return (
        f"{mixture.used} of {mixture.experts} and a shared one in each layer; a pass of several tokens reads more: "
        f"of {_DRAFTED} up to about {some}, of {_PREFILL} (a step of a prompt) {many}"
    )


def _files(subject: Subject) -> str:
    shards = subject.layout.shards
    return f"{counted(len(shards), 'shard')}" if len(shards) != 1 else f"the file {shards[0]}"


def _layers(subject: Subject) -> str:
    kinds = subject.layout.layer_kinds
    full = [index for index, kind in enumerate(kinds) if kind == "full"]
    text = f"{len(kinds)}: {len(kinds) - len(full)} linear attention, {len(full)} full attention"
    steps = {after - before for before, after in pairwise(full)}
    if len(steps) == 1 and full[0] + 1 in steps:
        text += f" (every {_ordinal(full[0] + 1)})"
    return text


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _quantised(subject: Subject) -> str:
    layout = subject.layout
    if not layout.quantised:
        return f"none of {counted(len(layout.modules), 'module')}"
    return (
        f"{layout.quantised:,} of {counted(len(layout.modules), 'module')}: {counted(layout.overrides, 'override')} in "
        f"config.json, {layout.quantised - layout.overrides:,} by its default"
        + (f"; {as_written(*layout.writers)}" if layout.writers else "")
    )


def alignment(subject: Subject) -> str:
    """How much of the text model could be used from a map as it lies, by the figures that doctor advises by."""
    found = alignment_of(subject.checkpoint)
    small = f"; {decimal_size(found.small_bytes)} in small tensors are always copied" if found.small_bytes else ""
    if not found.unaligned_bytes:
        return f"all {decimal_size(found.mappable_bytes)} are aligned: used where they lie on a Mac{small}"
    parts = (
        f"{decimal_size(nbytes)} ({percent(nbytes / found.text_bytes)}) {what}"
        for nbytes, what in (
            (found.mappable_bytes, "can be used where they lie on a Mac"),
            (found.unaligned_bytes, "are not aligned, so they are copied on loading"),
        )
    )
    return "; ".join(parts) + small
