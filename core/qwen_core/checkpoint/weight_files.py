"""Which files of a model directory hold its weights, and every tensor in them by its on-disk name.

An index is followed where it is right. One that was carried over from another model names files that are not there, or
tensors that no file has: then the files that are there count, and directory.py sees whether they hold a whole model.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from qwen_core.checkpoint.headers import MAX_TENSORS, TensorInfo, check_header_sizes, read_header
from qwen_core.checkpoint.mtp import sidecars
from qwen_core.checkpoint.quantization import canonical_name
from qwen_core.errors import CheckpointError, quote
from qwen_core.files import read_json_object

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
# Canonical beginnings of tensors that are carried along but not part of the text model.
IGNORED = ("vision_tower.", "visual.", "mtp.")
MAX_INDEX_BYTES = 8 << 20  # the full 27B's has 165 kB
MAX_SHARDS = 4096
_SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")


@dataclass(frozen=True)
class WeightFiles:
    """The weight files in order and all their tensors by name.

    `problem` is what is wrong with the index, or empty: a warning if the files hold every tensor of the model all the
    same, else the reason why they do not.
    """

    shards: tuple[Path, ...]
    tensors: dict[str, TensorInfo]
    problem: str = ""


def is_ignored(name: str) -> bool:
    """Whether a tensor of this on-disk name is no part of the text model."""
    return name.startswith(IGNORED) or canonical_name(name).startswith(IGNORED)


def read_weight_files(directory: Path) -> WeightFiles:
    """The weight files of `directory`. Raises CheckpointError, one line, where they cannot be read."""
    index_file = directory / INDEX
    if not index_file.exists():
        shards = _shards_without_index(directory)
        return WeightFiles(shards, _read_headers(shards))
    weight_map = _read_index(index_file)
    named = tuple(directory / name for name in sorted(set(weight_map.values())))
    missing = next((file for file in named if not file.exists()), None)
    there = _unnamed(directory, named)
    if missing is None and (named or not there):
        tensors = _read_headers(named)
        lacking = _first_lacking(weight_map, tensors)
        if lacking is None or not there:
            return WeightFiles(named, tensors, _lacks(directory, lacking, weight_map) if lacking else "")
    problem = _stale(directory, missing, there) if there or missing is None else _incomplete(missing, weight_map)
    shards = (*(file for file in named if file.exists()), *there)
    try:
        return WeightFiles(shards, _read_headers(shards), problem)
    except CheckpointError as error:
        raise CheckpointError(f"{problem}; {error}") from None


def _read_index(index_file: Path) -> dict[str, str]:
    weight_map = read_json_object(index_file, MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CheckpointError(f"{quote(index_file)}: weight_map must be an object of tensor names and file names")
    first_tensor = {name: tensor for tensor, name in reversed(weight_map.items())}
    if len(first_tensor) > MAX_SHARDS:
        raise CheckpointError(f"{quote(index_file)} names {len(first_tensor):,} files, more than {MAX_SHARDS:,}")
    for name, tensor in first_tensor.items():
        _check_plain_name(name, tensor, index_file)
    return weight_map


def _check_plain_name(name: str, tensor: str, index_file: Path) -> None:
    """Refuse an index entry that could leave the directory.

    Only plain file names pass: no separator of any system, no `.` or `..`. The file itself may be a symbolic link,
    because the Hugging Face cache is made of links to ../../blobs; a link is made by whoever owns this disk, never
    by a downloaded index, so following it gives a hostile index nothing.
    """
    if name in ("", ".", "..") or any(c in name for c in "/\\:\0"):
        raise CheckpointError(
            f"{quote(index_file)} places tensor {quote(tensor)} in {quote(repr(name))}, which is not a plain file name "
            "inside the model directory"
        )


def _first_lacking(weight_map: Mapping[str, str], tensors: Mapping[str, TensorInfo]) -> str | None:
    """The first tensor that the index places where it is not. What the text model does not use may be absent."""
    for tensor, name in weight_map.items():
        info = tensors.get(tensor)
        if not (is_ignored(tensor) if info is None else info.file.name == name):
            return tensor
    return None


def _lacks(directory: Path, tensor: str, weight_map: Mapping[str, str]) -> str:
    return f"{quote(directory / weight_map[tensor])} lacks tensor {quote(tensor)}, which {INDEX} places in it"


def _stale(directory: Path, missing: Path | None, there: tuple[Path, ...]) -> str:
    names = f"names {quote(missing.name)}, which is not there" if missing else "places tensors where they are not"
    return (
        f"{quote(directory / INDEX)} is stale: it {names}, and does not name {quote(there[0].name)}, which is; "
        "delete it, or put the index of these files there"
    )


def _incomplete(missing: Path, weight_map: Mapping[str, str]) -> str:
    tensor = next(tensor for tensor, name in weight_map.items() if name == missing.name)
    return f"{quote(missing)} is missing; {INDEX} places tensor {quote(tensor)} in it; download the model again"


def _unnamed(directory: Path, named: Collection[Path]) -> tuple[Path, ...]:
    """The files there that an index does not name: what other programs load where they read no index, so without files
    of an MTP layer beside the model. Where there are none of these, and none of the `named` either, by any name.
    """
    beside = {*named, *sidecars(directory)}
    found = [file for file in sorted(directory.glob("model*.safetensors"))[:MAX_SHARDS] if file not in beside]
    if not found and named and not any(file.exists() for file in named):
        found = [file for file in sorted(directory.glob("*.safetensors"))[:MAX_SHARDS] if file not in beside]
    return tuple(found)


def _shards_without_index(directory: Path) -> tuple[Path, ...]:
    """model.safetensors, or a complete set of numbered shards."""
    if (directory / SINGLE).exists():
        return (directory / SINGLE,)
    found = {entry.name: match for entry in directory.iterdir() if (match := _SHARD.fullmatch(entry.name))}
    if not found:
        raise CheckpointError(f"{quote(directory)} has no weights: neither {INDEX} nor {SINGLE}")
    counts = {int(match.group(2)) for match in found.values()}
    count = max(counts)
    if len(counts) > 1 or count > MAX_SHARDS:
        raise CheckpointError(f"{quote(directory)} mixes shards of several models and has no {INDEX}")
    names = [f"model-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]
    for name in names:
        if name not in found:
            raise CheckpointError(f"{quote(directory / name)} is missing; download the model again")
    return tuple(directory / name for name in names)


def _read_headers(shards: Iterable[Path]) -> dict[str, TensorInfo]:
    shards = tuple(shards)
    check_header_sizes(shards)
    tensors: dict[str, TensorInfo] = {}
    for shard in shards:
        for name, info in read_header(shard).items():
            if name in tensors:
                raise CheckpointError(
                    f"tensor {quote(name)} is stored twice, in {quote(tensors[name].file)} and {quote(info.file)}"
                )
            tensors[name] = info
        if len(tensors) > MAX_TENSORS:
            raise CheckpointError(f"{quote(shard)}: with it there are more than {MAX_TENSORS:,} tensors")
    return dict(sorted(tensors.items()))
