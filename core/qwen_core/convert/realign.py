"""Rewrite a checkpoint so that every tensor can be mapped: the same bytes in another order behind a padded header.

Works on any checkpoint that opens, quantised or not. Every tensor is hashed as it is read, and again as it stands in
the new file.
"""

import hashlib
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.tensor_bytes import TensorBytes
from qwen_core.checkpoint.weight_files import INDEX
from qwen_core.convert.mlx_layout import REPLACED, Rewritten, is_foreign, rewritten, rewritten_config
from qwen_core.convert.plan import ConvertProgress, Progress
from qwen_core.convert.shards import SHARD_CAP, Shard, arrange
from qwen_core.convert.writer import OutputDirectory, ShardFile, check_disk, check_link, check_target, clear_errors
from qwen_core.errors import CheckpointError, QwenError, quote
from qwen_core.files import require_file

_PIECE = 16 << 20


def realign(
    checkpoint: Checkpoint, target: Path, *, progress: Progress | None = None, shard_cap: int = SHARD_CAP
) -> tuple[Shard, ...]:
    """Write `checkpoint` aligned into the new directory `target`; gives its shards.

    Names, types, shapes, bytes and all other files stay what they are, but of NVIDIA's files, which become MLX's
    (mlx_layout.py). Raises as `convert` does, CheckpointError also for a file that has the name of one to be written,
    and leaves nothing behind when it fails.
    """
    place = check_target(checkpoint.path, target)
    tensors = rewritten(checkpoint)
    by_name = {tensor.output.name: tensor for tensor in tensors}
    shards = arrange([tensor.output for tensor in tensors], shard_cap)
    foreign = is_foreign(checkpoint)
    others = _others(checkpoint, shards, REPLACED if foreign else ())
    check_disk(place, sum(shard.nbytes for shard in shards) + sum(require_file(file) for file in others))
    with clear_errors(f"realigning to {quote(target)}"), OutputDirectory(place) as output:
        total, done, start = sum(tensor.source.nbytes for tensor in tensors), 0, time.monotonic()
        for shard in shards:
            digests: dict[str, bytes] = {}
            with output.shard(shard) as file:
                for tensor in sorted(
                    (by_name[output.name] for output in shard.tensors),
                    key=lambda tensor: (str(tensor.source.file), tensor.source.offset),
                ):
                    digests[tensor.output.name] = _copy(tensor, file)
                    done += tensor.source.nbytes
                    if progress is not None:
                        progress(ConvertProgress(done, total, time.monotonic() - start, tensor.source.name))
                file.check_complete()
            _verify(output.path / shard.file, shard, digests)
        output.write_index(shards)
        if foreign:
            output.write_json("config.json", rewritten_config(checkpoint))
        _copy_others(others, checkpoint.path, output.path)
        output.commit()
    return shards


def _copy(tensor: Rewritten, target: ShardFile) -> bytes:
    """Copy one tensor; gives the digest of what was read."""
    digest, info = hashlib.blake2b(tensor.data or b""), tensor.source
    if tensor.data is not None:
        target.write(tensor.output.name, 0, tensor.data)
        return digest.digest()
    with TensorBytes() as source:
        for begin in range(0, info.nbytes, _PIECE):
            piece = source.read(info, begin, min(begin + _PIECE, info.nbytes))
            digest.update(piece.data)
            target.write(tensor.output.name, begin, piece.data)
    return digest.digest()


def _verify(path: Path, shard: Shard, digests: dict[str, bytes]) -> None:
    """Read the shard back and compare: a realigned model is worth nothing if it is another one."""
    places = shard.offsets()
    with path.open("rb") as file:
        for tensor in shard.tensors:
            digest, left = hashlib.blake2b(), tensor.nbytes
            file.seek(places[tensor.name])
            while left:
                data = file.read(min(left, _PIECE))
                if not data:
                    break
                digest.update(data)
                left -= len(data)
            if digest.digest() != digests[tensor.name]:
                raise QwenError(
                    f"tensor {quote(tensor.name)} reads back differently from {quote(path)}: check the disk"
                )


def _others(checkpoint: Checkpoint, shards: Iterable[Shard], replaced: Iterable[str] = ()) -> list[Path]:
    """Every other file of the directory but the `replaced`, sidecars in folders of their own included; no hidden ones.

    Raises CheckpointError for what cannot be copied, and for a weight file beside the model's own that bears the name
    of a new shard: nobody can tell whether it is wanted.
    """
    written = {shard.file.casefold() for shard in shards} | {INDEX.casefold()}
    own = {path.name for path in checkpoint.shards} | {INDEX, *replaced}
    found: list[Path] = []
    for file in sorted(checkpoint.path.rglob("*")):
        inner = file.relative_to(checkpoint.path)
        if any(part.startswith(".") for part in inner.parts) or (len(inner.parts) == 1 and file.name in own):
            continue
        if file.is_symlink() and file.is_dir():
            raise CheckpointError(f"{quote(file)} is a link to a directory: put the directory itself there")
        if file.is_dir():
            continue
        require_file(file)
        check_link(file, checkpoint.path)
        # Some file systems hold names that differ in case for one.
        if len(inner.parts) == 1 and file.name.casefold() in written:
            raise CheckpointError(
                f"{quote(file)} is not part of the model, but has the name of a file of the result: move it elsewhere"
            )
        found.append(file)
    return found


def _copy_others(files: Iterable[Path], source: Path, target: Path) -> None:
    for file in files:
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(file, place)
        except PermissionError:
            raise CheckpointError(f"{quote(file)} cannot be read") from None
