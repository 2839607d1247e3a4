"""What is said of the place under the cursor, from headers alone: one module, one layer, or why there is nothing. Pure.

The values inside a tensor are values_text.py's. Names come from files: each passes through `one_line`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.layout import Layout, ModuleLayout, total
from qwen_core.figures import decimal_size, shape_text
from qwen_tui.layers.map import ABOUT, LayerMap, Place
from qwen_tui.layers.map_text import BLANK, MUTED, STRONG, TEXT, Run, clipped, text_of
from qwen_tui.text.formatting import percent, tokens_short
from qwen_tui.text.safe import cells, one_line

_SCALES = {"nvfp4": "E4M3 scales", "mxfp4": "E8M0 scales", "mxfp8": "E8M0 scales"}
_SOURCES = {"override": "from an override", "default": "from the top-level default", "unquantised": "not quantised"}
KINDS = {"linear": "linear attention", "full": "full attention", "outside": ""}
Lines = list[list[Run]]


@dataclass(frozen=True)
class Facts:
    """One module in words: `title`, `format` (short and whole), then facts by label, each a few words."""

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
    name: str
    file: str


def title_of(module: ModuleLayout) -> str:
    """ "layer 8 · mlp.gate_proj"; outside the layers the name alone."""
    if module.layer is None:
        return one_line(module.canonical)
    inside = module.canonical.split(".", 2)[-1]
    return f"layer {module.layer} · {one_line(inside)}"


def facts_of(module: ModuleLayout, layout: Layout, checkpoint: Checkpoint) -> Facts:
    """All that the headers say of one module."""
    if module.spec is None:
        stored_as = f"{module.mode}"
    else:
        scales = checkpoint.text.get(f"{module.canonical}.scales")
        kind = _SCALES.get(module.mode) or f"{scales.dtype.lower() if scales else 'float'} scales and biases"
        stored_as = f"{module.mode} {module.bits}-bit, group {module.group_size} ({kind})"
    token = f"{percent(layout.share(module.token_bytes))} of a token"
    if module.token_bytes != module.nbytes:
        token = f"a token reads {decimal_size(module.token_bytes)} of it, one row ({token})"
    number = layout.shards.index(module.shard) + 1 if module.shard in layout.shards else 0
    where = f"shard {number} of {len(layout.shards)}" if len(layout.shards) > 1 else "the only shard"
    return Facts(
        title=title_of(module),
        format=stored_as,
        short=f"{module.format}, {module.source}" if module.spec else module.format,
        source=_SOURCES[module.source],
        about=ABOUT.get(module.role, ""),
        shape=shape_text(module.shape),
        stored=decimal_size(module.nbytes),
        token=token,
        bits=f"{module.bits_per_weight:.2f} bits a weight" + (", scales included" if module.spec else ""),
        place=f"{where}, byte {module.offset:,}",
        alignment=alignment_of(module),
        name=one_line(module.name, 200),
        file=one_line(module.shard),
    )


def alignment_of(module: ModuleLayout) -> str:
    """Whether the bytes can be used where they lie: their offset must be a multiple of the element's size."""
    if not module.element_aligned:
        return "unaligned: copied once"
    return f"aligned to {decimal_alignment(module.alignment)}: mapped as it lies"


def decimal_alignment(count: int) -> str:
    return f"{count >> 10} KiB" if count >= 1 << 10 else f"{count} B"


def absence(layer_map: LayerMap, place: Place) -> str:
    """Why there is nothing at an empty place."""
    layout = layer_map.layout
    row = layer_map.by_label[place.row]
    layers = len(layout.layer_kinds)
    if row.spec.group == "ends":
        last = "norm" if layout.tied else "norm and lm_head"
        head = "; the embedding is the head as well" if layout.tied else ""
        return f"between the ends: embed_tokens is in the first column, {last} in the last{head}"
    if place.column >= layers:
        return f"there is no layer {place.column}: the model has {layers}"
    kind = layout.layer_kinds[place.column]
    return f"layer {place.column} is a {kind}-attention layer: it has no {row.spec.role}"


def flowed(pieces: Iterable[Run], width: int, separator: str = " · ") -> Lines:
    """Pieces one after the other, on as many lines of `width` cells as they need; never torn, but cut if too long."""
    lines: Lines = [[]]
    filled = 0
    for text, paint in pieces:
        if not text:
            continue
        gap = separator if lines[-1] else ""
        if lines[-1] and filled + cells(gap) + cells(text) > width:
            lines.append([])
            gap, filled = "", 0
        lines[-1] += [Run(gap, MUTED), Run(text, paint)]
        filled += cells(gap) + cells(text)
    return [clipped(line, width) for line in lines if line]


def header_lines(layer_map: LayerMap, checkpoint: Checkpoint, place: Place, width: int) -> Lines:
    """The first lines of the detail pane, the most telling first."""
    row = layer_map.by_label[place.row]
    module = layer_map.module_at(place)
    if module is not None:
        return _module_lines(facts_of(module, layer_map.layout, checkpoint), width)
    if row.spec.group == "mixer" and place.column < len(layer_map.layout.layer_kinds):
        return list(_layer_lines(layer_map, place.column, width))
    return flowed([Run(part, MUTED) for part in absence(layer_map, place).split("; ")], width, "; ")


def _module_lines(facts: Facts, width: int) -> Lines:
    head = [Run(facts.title, STRONG), Run("   ", BLANK), Run(f"{facts.format}, {facts.source}", TEXT)]
    lines = [head]
    if cells(text_of(head)) > width:
        # Few words on a narrow screen, the figures before the shape.
        narrow = (facts.short, facts.stored, facts.token, facts.shape, facts.bits)
        lines = [clipped([Run(facts.title, STRONG)], width), *flowed([Run(text, TEXT) for text in narrow], width)]
        return lines + flowed([Run(text, MUTED) for text in (facts.alignment, facts.place, facts.about)], width)
    lines += flowed([Run(text, TEXT) for text in (facts.shape, facts.stored, facts.token, facts.bits)], width)
    lines += flowed([Run(text, MUTED) for text in (facts.place, facts.alignment, facts.about)], width)
    return lines


def _layer_lines(layer_map: LayerMap, layer: int, width: int) -> Iterator[list[Run]]:
    layout = layer_map.layout
    modules = layer_map.layers.get(layer, ())
    whole = total(modules)
    kind = layout.layer_kinds[layer]
    yield clipped([Run(f"layer {layer}", STRONG), Run("   ", BLANK), Run(KINDS[kind], TEXT)], width)
    share = percent(layout.share(whole.token_bytes))
    bits = f"{whole.bits_per_weight:.2f} bits a weight"
    pieces = (f"{len(modules)} modules", decimal_size(whole.nbytes), f"{share} of a token", bits)
    yield from flowed([Run(text, TEXT) for text in pieces], width)
    if kind == "full":
        note = "keeps key and value of every token before: what it reads grows with the context"
    else:
        note = "keeps one state of fixed size, however long the context"
    yield from flowed([Run(note, MUTED)], width)
    same = [index for index, other in enumerate(layout.layer_kinds) if other == kind]
    yield from flowed([Run(f"one of {len(same)} layers of {len(layout.layer_kinds)} with {KINDS[kind]}", MUTED)], width)


def reading_line(layer_map: LayerMap, tok_s: float | None, tokens: int) -> list[str]:
    """While a token is decoded: what it reads, to the byte what the layout counts, and what that comes to."""
    count = layer_map.layout.token_bytes
    pieces = [f"a token reads {decimal_size(count)} ({count:,} B)"]
    if tok_s is not None:
        pieces.append(f"{tok_s:.1f} tok/s")
        pieces.append(f"{count * tok_s / 1e9:,.1f} GB/s of weights, estimated")
    if tokens:
        pieces.append(f"{tokens_short(tokens)} tokens so far: {decimal_size(count * tokens)}")
    return pieces
