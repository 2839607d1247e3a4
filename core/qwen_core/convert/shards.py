"""The order of tensors in shards, and headers that put them on aligned places.

The format forbids gaps between tensors, so alignment comes from two things alone: the header is padded with spaces
until the data begins on a page of 16 KiB, and tensors whose length is no multiple of 16 go to the end of their shard.
Everything before them then begins at a multiple of 16 (of the 27B: everything).

Weights that one matrix multiplication could serve lie side by side where their formats are equal, part by part: all
weights, then all scales, then all biases. Mapped, gate and up are then one array [2 * inner, columns] without a copy.
"""

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from qwen_core.checkpoint.headers import MAX_HEADER_BYTES
from qwen_core.checkpoint.layout import PAGE, PARTS
from qwen_core.convert.plan import OutputTensor

SHARD_CAP = 5 << 30
ALIGNMENT = 16
# Projections of the same input, in the order in which model/layers.py joins them.
FUSED: tuple[tuple[str, ...], ...] = (
    ("gate_proj", "up_proj"),
    ("q_proj", "k_proj", "v_proj"),
    ("in_proj_qkv", "in_proj_z"),
    ("in_proj_a", "in_proj_b"),
)


@dataclass(frozen=True)
class Shard:
    """One file to be written. `tensors` in file order; `header` is its first bytes, the length field included."""

    file: str
    tensors: tuple[OutputTensor, ...]
    header: bytes

    @property
    def data_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def nbytes(self) -> int:
        return len(self.header) + self.data_bytes

    def offsets(self) -> dict[str, int]:
        """Where each tensor begins, counted from the start of the file."""
        places: dict[str, int] = {}
        position = len(self.header)
        for tensor in self.tensors:
            places[tensor.name] = position
            position += tensor.nbytes
        return places


def arrange(tensors: Iterable[OutputTensor], cap: int = SHARD_CAP) -> tuple[Shard, ...]:
    """`tensors`, given in the order of the computation, as shards of at most `cap` bytes of data.

    Neighbours that belong together are never parted, and a single tensor above `cap` gets a shard of its own.
    """
    shards: list[list[OutputTensor]] = [[]]
    filled = 0
    for unit in side_by_side(list(tensors)):
        size = sum(tensor.nbytes for tensor in unit)
        if shards[-1] and filled + size > cap:
            shards.append([])
            filled = 0
        shards[-1] += unit
        filled += size
    ordered = [_odd_lengths_last(shard) for shard in shards]
    names = (f"model-{number:05}-of-{len(ordered):05}.safetensors" for number in range(1, len(ordered) + 1))
    return tuple(Shard(name, tuple(shard), header_of(shard)) for name, shard in zip(names, ordered, strict=True))


def side_by_side(tensors: Sequence[OutputTensor]) -> list[list[OutputTensor]]:
    """`tensors` as units that must stay together: a module's parts, or those of several modules of one format."""
    modules: dict[str, dict[str, OutputTensor]] = {}
    for tensor in tensors:
        module, part = _split(tensor.name)
        modules.setdefault(module, {})[part] = tensor
    units: list[list[OutputTensor]] = []
    for module in list(modules):
        if module not in modules:  # already with its neighbour
            continue
        group = _neighbours(module, modules)
        members = [modules.pop(name) for name in group]
        order = [part for part in (*PARTS, "") if any(part in member for member in members)]
        units.append([member[part] for part in order for member in members if part in member])
    return units


def _split(name: str) -> tuple[str, str]:
    for part in PARTS:
        if name.endswith(part):
            return name.removesuffix(part), part
    return name, ""


def _neighbours(module: str, modules: dict[str, dict[str, OutputTensor]]) -> list[str]:
    """The modules that lie side by side with `module`, itself among them: those next to it that have its format."""
    parent, _, role = module.rpartition(".")
    for roles in FUSED:
        if role in roles:
            names = [f"{parent}.{name}" for name in roles]
            runs = groupby(names, key=lambda name: _format(modules[name]) if name in modules else None)
            return next(group for _, run in runs if module in (group := list(run)))
    return [module]


def _format(parts: dict[str, OutputTensor]) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
    """What must be equal for rows of two modules to be rows of one: types and columns of all parts."""
    return tuple(sorted((part, tensor.dtype, tensor.shape[1:]) for part, tensor in parts.items()))


def _odd_lengths_last(shard: Sequence[OutputTensor]) -> list[OutputTensor]:
    """Multiples of 16 first; then by falling powers of two, so that each begins on a multiple of its element."""

    whole = [tensor for tensor in shard if tensor.nbytes % ALIGNMENT == 0]
    odd = [tensor for tensor in shard if tensor.nbytes % ALIGNMENT]
    return whole + sorted(odd, key=lambda tensor: -(tensor.nbytes & -tensor.nbytes))


def header_of(tensors: Iterable[OutputTensor]) -> bytes:
    """The header of a file with these tensors, padded so that what follows begins on a page."""
    entries: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    position = 0
    for tensor in tensors:
        end = position + tensor.nbytes
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % PAGE)
    if len(text) > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {len(text):,} bytes")
    return struct.pack("<Q", len(text)) + text


def index_of(shards: Iterable[Shard]) -> dict[str, Any]:
    """The contents of model.safetensors.index.json."""
    shards = list(shards)
    places = {tensor.name: shard.file for shard in shards for tensor in shard.tensors}
    return {
        "metadata": {"total_size": sum(shard.data_bytes for shard in shards)},
        "weight_map": dict(sorted(places.items())),
    }
