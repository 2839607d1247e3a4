"""What is said of weights from the headers alone, in words: by the inspector's screens and by `inspect`. Pure.

The values inside a tensor are value_facts.py's. Names come from files: each passes through `one_line`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.layout import Layout, ModuleLayout, total
from qwen_core.figures import decimal_size, percent, shape_text, tokens_short
from qwen_core.protocol.stats import TurnStats, effective_bandwidth
from qwen_tui.layers.map import ABOUT, MTP, LayerMap, Place
from qwen_tui.text.formatting import exact_size, number, parameters, rate
from qwen_tui.text.safe import one_line

MAX_NAME = 200
MAX_PROBLEM = 600
_SCALES = {"nvfp4": "E4M3 scales", "mxfp4": "E8M0 scales", "mxfp8": "E8M0 scales"}
_SOURCES = {
    "override": "from an override",
    "default": "from the top-level default",
    "headers": "told by its headers",
    "unquantised": "not quantised",
}
KINDS = {"linear": "linear attention", "full": "full attention", "outside": ""}


class FactText(NamedTuple):
    """A few words of a fact. `brief`: said also where there is little room."""

    text: str
    brief: bool = False
    is_bad: bool = False


class Fact(NamedTuple):
    label: str
    pieces: Sequence[FactText]


@dataclass(frozen=True)
class ModuleFacts:
    """One module in words, each a few: `format` is the whole of it and `short` the same with its source."""

    title: str
    format: str
    short: str
    source: str
    about: str
    shape: str
    stored: str
    token: str
    bits: str
    place: str
    alignment: str
    error: str
    labelled: tuple[Fact, ...]


def title_of(module: ModuleLayout) -> str:
    """ "layer 8 · mlp.gate_proj"; outside the layers the name alone."""
    return inside_of(module) if module.layer is None else f"layer {module.layer} · {inside_of(module)}"


def inside_of(module: ModuleLayout) -> str:
    """The name without its layer: "mlp.gate_proj"."""
    return one_line(module.canonical if module.layer is None else module.canonical.split(".", 2)[-1])


def facts_of(module: ModuleLayout, layout: Layout, checkpoint: Checkpoint) -> ModuleFacts:
    """All that the headers say of one module. `labelled`: all of it once more, in order, each with its label."""
    if module.spec is None:
        stored_as = module.mode
    else:
        scales = checkpoint.used_tensors.get(f"{module.canonical}.scales")
        kind = _SCALES.get(module.mode) or f"{scales.dtype.lower() if scales else 'float'} scales and biases"
        factor = " and one factor for all" if module.has_factor else ""
        stored_as = f"{module.mode} {module.bits}-bit, group {module.group_size} ({kind}{factor})"
        stored_as += "" if module.writer == "mlx" else f", {as_written(module.writer)}"
    token = f"{percent(layout.share(module.token_bytes))} of a token"
    if not module.token_bytes:
        token = f"read by drafts alone, which read {decimal_size(total(layout.mtp).nbytes)}"
    elif module.experts and layout.mixture is not None:
        used = f"{layout.mixture.used} of {module.experts} experts"
        token = f"a token reads {decimal_size(module.token_bytes)} of it, {used} ({token})"
    elif module.token_bytes != module.nbytes:
        token = f"a token reads {decimal_size(module.token_bytes)} of it, one row ({token})"
    where = _file_of(module, layout)
    source, about, shape = _SOURCES[module.source], ABOUT.get(module.role, ""), shape_text(module.shape)
    bits = f"{module.bits_per_weight:.2f} bits a weight" + (", scales included" if module.spec else "")
    error = "" if module.error is None else f"error {percent(module.error)} of its size"
    place, alignment = f"{where}, byte {module.offset:,}", alignment_of(module)
    parts = " ".join(name.removeprefix(module.name) for name in module.tensors)
    labelled = {
        "format": (stored_as, source),
        "shape": (shape, f"{module.parameters:,} weights"),
        "size": (exact_size(module.nbytes), bits),
        "cost": (token,),
        "error": (error,),
        "stored in": (place, alignment),
        "tensors": (one_line(module.name, MAX_NAME), one_line(parts), f"in {one_line(module.shard)}"),
        "does": (about,),
    }
    return ModuleFacts(
        title=title_of(module),
        format=stored_as,
        short=f"{module.format_and_writer}, {module.source}" if module.spec else module.format,
        source=source,
        about=about,
        shape=shape,
        stored=decimal_size(module.nbytes),
        token=token,
        bits=bits,
        place=place,
        alignment=alignment,
        error=error,
        labelled=tuple(
            Fact(label, [FactText(text) for text in texts if text]) for label, texts in labelled.items() if any(texts)
        ),
    )


def as_written(*writers: str) -> str:
    """That NVIDIA's files are computed with as they are."""
    return f"NVIDIA's NVFP4 as {' and '.join(writers)} wrote it, read as it is"


def _file_of(module: ModuleLayout, layout: Layout) -> str:
    if module.shard not in layout.shards:
        return one_line(module.shard)
    number = layout.shards.index(module.shard) + 1
    return f"shard {number} of {len(layout.shards)}" if len(layout.shards) > 1 else "the only shard"


def mtp_text(layout: Layout) -> str | None:
    """The MTP layer in a line: its matrices' formats, bytes, file, and that it is used or why not; None without one."""
    if layout.mtp_problem:
        return f"not used: {one_line(layout.mtp_problem, MAX_PROBLEM)}"
    if not layout.mtp:
        return None
    formats = ", ".join(dict.fromkeys(module.format_and_writer for module in layout.mtp if len(module.shape) == 2))
    where = _file_of(layout.mtp[0], layout)
    return f"{formats}, {decimal_size(total(layout.mtp).nbytes)} in {where}, used for drafts"


def alignment_of(module: ModuleLayout) -> str:
    """Whether the bytes can be used where they lie: their offset must be a multiple of the element's size."""
    if not module.element_aligned:
        return "unaligned: copied once"
    count = module.alignment
    return f"aligned to {count:,} B: mapped as it lies"


def absence(layer_map: LayerMap, place: Place) -> str:
    """Why there is nothing at an empty place."""
    layout = layer_map.layout
    row = layer_map.by_label[place.row]
    layers = len(layout.layer_kinds)
    if row.spec is MTP:
        return mtp_text(layout) or ""
    if row.spec.group == "ends":
        last = "norm" if layout.tied else "norm and lm_head"
        head = "; the embedding is the head as well" if layout.tied else ""
        return f"between the ends: embed_tokens is in the first column, {last} in the last{head}"
    if place.column >= layers:
        return f"there is no layer {place.column}: the model has {layers}"
    kind = layout.layer_kinds[place.column]
    return f"layer {place.column} is a {kind}-attention layer: it has no {row.spec.role}"


def layer_facts(layer_map: LayerMap, layer: int) -> tuple[list[str], list[str]]:
    """The figures of one layer, and what its kind means."""
    layout = layer_map.layout
    modules = layer_map.layers.get(layer, ())
    whole = total(modules)
    kind = layout.layer_kinds[layer]
    if kind == "full":
        note = "keeps key and value of every token before: what it reads grows with the context"
    else:
        note = "keeps one state of fixed size, however long the context"
    same = [index for index, other in enumerate(layout.layer_kinds) if other == kind]
    share, bits = percent(layout.share(whole.token_bytes)), f"{whole.bits_per_weight:.2f} bits a weight"
    figures = [f"{len(modules)} modules", decimal_size(whole.nbytes), f"{share} of a token", bits]
    return figures, [note, f"one of {len(same)} layers of {len(layout.layer_kinds)} with {KINDS[kind]}"]


def choice_text(layout: Layout, modules: Iterable[ModuleLayout], width: int = 1000) -> str:
    """What some modules come to: "128 of 851 modules: 6.42 GB, 32.1 % of what a token reads"; with less room less."""
    chosen = total(modules)
    share = percent(layout.share(chosen.token_bytes))
    count = f"{chosen.modules:,} of {len(layout.everything):,} modules"
    least = f"{count}: {decimal_size(chosen.nbytes)}"
    forms = (f"{least}, {share} of what a token reads", f"{least}, {share} of a token")
    return next((form for form in forms if len(form) <= width), least)


def headline(layer_map: LayerMap, width: int = 1000) -> list[str]:
    """The pieces of the line above the map: in fewer words where `width` has no room for all of them."""
    layout = layer_map.layout
    count, text = len(layout.layer_kinds), layout.text
    layers = f"{count} layers" if count != 1 else "1 layer"
    size, bits = parameters(text.parameters), f"{text.bits_per_weight:.2f} bits"
    experts = [f"{layout.mixture.used} of {layout.mixture.experts} experts"] if layout.mixture else []
    rest = [*experts, f"{decimal_size(layout.token_bytes)} a token", layer_map.verdict.name]
    pieces = [layers, f"{size} text weights", f"{bits} each", *rest]
    return (
        pieces if sum(map(len, pieces)) + 3 * (len(pieces) - 1) <= width else [layers, f"{size} weights", bits, *rest]
    )


def reading_line(
    layer_map: LayerMap, tok_s: float | None, tokens: int, stats: TurnStats | None = None, width: int = 1000
) -> list[str]:
    """While a token is decoded: what a pass of the model reads, to the byte what the layout counts, and what that comes
    to. With drafts a pass of a mixture reads what is expected of its rows: see `Layout.pass_bytes`."""
    draft = stats.draft if stats is not None and stats.draft is not None and stats.draft.passes else None
    rows = 1 + draft.drafted / draft.passes if draft is not None else 1.0
    tokens_a_pass = stats.tokens_a_pass if stats is not None else 1.0
    count = layer_map.layout.pass_bytes(rows)
    exact = f" ({count:,} B)" if count == layer_map.layout.token_bytes else ""
    what, about = "token" if tokens_a_pass == 1 else "pass", "" if exact else "about "
    said = f"a {what} reads {about}{decimal_size(count)}"
    pieces = [f"{said}{exact}" if len(said) + len(exact) <= width else said]
    if tok_s is not None:
        pieces.append(rate(tok_s))
        pieces.append(f"{number(effective_bandwidth(count, tok_s / tokens_a_pass) or 0)} GB/s of weights, estimated")
    if tokens:
        pieces.append(f"{tokens_short(tokens)} tokens so far: {decimal_size(round(count * tokens / tokens_a_pass))}")
    return pieces
