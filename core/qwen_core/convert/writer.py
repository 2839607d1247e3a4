"""A model directory on its way: written beside its place under a temporary name, renamed when it is complete.

Whatever ends the work before that, an error, Ctrl+C or a full disk, leaves nothing behind. A process that was killed
outright leaves its temporary directory, which the next run for the same place removes: a lock on the directory tells
dead ones from those still at work.
"""

import errno
import fcntl
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from qwen_core.checkpoint.weight_files import INDEX
from qwen_core.convert.shards import Shard, index_of
from qwen_core.errors import CapacityError, CheckpointError, QwenError, quote
from qwen_core.figures import decimal_size
from qwen_core.files import json_text, require_file

# What a result takes along from its source. Weights, index and config.json are written anew.
COPIED = (
    "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja", "chat_template.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "preprocessor_config.json",
    "video_preprocessor_config.json", "processor_config.json", "LICENSE",
)  # fmt: skip
# Room for headers and the small files, on top of the tensors.
_SLACK_BYTES = 64 << 20
# Of one name in a directory, on every common file system.
_MAX_NAME_BYTES = 255
# What `mkdtemp` adds to a prefix.
_RANDOM = "xxxxxxxx"


def check_target(source: Path, target: Path) -> Path:
    """The resolved path of a result. Raises CheckpointError if it is not new or empty, cannot be replaced by a rename,
    or lies inside the source."""
    try:
        place, origin = target.resolve(), source.resolve()
        # Python 3.11 refuses a loop with RuntimeError; later versions give the link itself back.
        is_loop = place.is_symlink()
    except RuntimeError:
        place, origin, is_loop = target, source, True
    except OSError as error:
        raise CheckpointError(f"{quote(target)} cannot be used: {quote(error.strerror or error)}") from None
    if is_loop:
        raise CheckpointError(f"{quote(target)} is a symbolic link that leads back to itself: give another place")
    if place == origin or origin in place.parents:
        raise CheckpointError(f"{quote(target)} lies inside the source {quote(source)}: give another place")
    try:
        if place.is_dir():
            # The rename at the end cannot replace it.
            if os.path.ismount(place):
                raise CheckpointError(f"{quote(target)} is a mount point: name a directory inside it")
            if any(place.iterdir()):
                raise CheckpointError(f"{quote(target)} is not empty: give a new directory")
        elif place.exists():
            raise CheckpointError(f"{quote(target)} is not a directory")
        nearest = next(parent for parent in place.parents if parent.exists())
        if not nearest.is_dir():
            raise CheckpointError(f"{quote(nearest)} is a file, not a directory: give another place")
        if nearest != place.parent:
            raise CheckpointError(f"{quote(place.parent)} does not exist: make it first")
    except OSError as error:
        raise CheckpointError(f"{quote(target)} cannot be used: {quote(error.strerror or error)}") from None
    return place


def check_disk(place: Path, needed: int) -> None:
    """Raise CapacityError if the file system of `place` has less than `needed` bytes left.

    What killed runs for the same place have left is removed first: it may be what the room is missing for.
    """
    _remove_dead(place)
    free = shutil.disk_usage(place.parent).free
    needed += _SLACK_BYTES
    if free < needed:
        raise CapacityError(
            f"the result needs {decimal_size(needed)}, but {quote(place.parent)} has {decimal_size(free)} left"
        )


@contextmanager
def clear_errors(what: str) -> Iterator[None]:
    """Turn an OSError of writing into one line that says what it stopped."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CapacityError(f"the disk is full: {what} was not finished, and nothing of it is left") from None
        raise QwenError(f"{what} failed: {quote(error.strerror or error)}; nothing of it is left") from None


class OutputDirectory:
    """The directory that becomes `place` on `commit`, and vanishes without it.

    It exists within `with` alone: `path` is its temporary place there, and `place` before it and after `commit`.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.path = place
        self._lock: int | None = None

    def __enter__(self) -> "OutputDirectory":
        _remove_dead(self.place)
        try:
            # Ctrl+C waits until the name of the new directory is known: one that nobody knows could not be removed.
            with _undisturbed():
                self.path = Path(tempfile.mkdtemp(prefix=_prefix(self.place), dir=self.place.parent))
                self._lock = os.open(self.path, os.O_RDONLY)
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()

    def _discard(self) -> None:
        """Remove the directory unless it has become the result, and give up its lock."""
        try:
            if self.path != self.place:
                with _undisturbed():
                    shutil.rmtree(self.path, ignore_errors=True)
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def commit(self) -> None:
        """Give the directory its name. Until this nobody sees a part of it there."""
        mask = os.umask(0)
        os.umask(mask)
        self.path.chmod(0o777 & ~mask)
        assert self._lock is not None
        os.fsync(self._lock)
        # An empty directory gives way to a rename; one that has been filled meanwhile does not.
        self.path.rename(self.place)
        self.path = self.place

    def commit_file(self, name: str) -> None:
        """Give one file the name `place`, in a directory that is there; all else goes as what is unfinished does."""
        if os.path.lexists(self.place):
            raise CheckpointError(f"{quote(self.place)} exists already: move it away first")
        (self.path / name).rename(self.place)

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        text = json_text(value, indent=2, sort_keys=True) + "\n"
        # Half of a surrogate pair, which JSON can hold and UTF-8 cannot, becomes the escape that it was read from.
        (self.path / name).write_text(text, encoding="utf-8", errors="backslashreplace")

    def write_index(self, shards: Iterable[Shard]) -> None:
        self.write_json(INDEX, index_of(shards))

    def copy_files(self, source: Path, names: Iterable[str]) -> None:
        """Copy those of the files that the source has. Raises CheckpointError for a link that leads out of it: what it
        leads to may be for its owner alone, and the result is for everyone."""
        for name in names:
            file = source / name
            if file.exists():
                require_file(file)
                check_link(file, source)
                shutil.copyfile(file, self.path / name)

    @contextmanager
    def shard(self, shard: Shard) -> Iterator["ShardFile"]:
        """Open a shard for writing. It has its whole length at once, as a hole, and is on the disk when this ends."""
        descriptor = os.open(self.path / shard.file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            file = ShardFile(descriptor, shard)
            yield file
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_link(file: Path, source: Path) -> None:
    """A link may lead to a file of the directory or, in a Hugging Face cache, to one of the repository's blobs."""
    root, place = source.resolve(), file.resolve()
    blobs = root.parent.parent / "blobs"
    if not place.is_relative_to(root) and not (root.parent.name == "snapshots" and place.parent == blobs):
        raise CheckpointError(
            f"{quote(file)} is a link to {quote(place)}, outside of the model directory: put the file itself there"
        )


class ShardFile:
    """One shard whose header is written and whose tensors may be written in any order, in pieces."""

    def __init__(self, descriptor: int, shard: Shard) -> None:
        self._descriptor = descriptor
        self._places = shard.offsets()
        self._sizes = {tensor.name: tensor.nbytes for tensor in shard.tensors}
        self.written = dict.fromkeys(self._sizes, 0)
        os.ftruncate(descriptor, shard.nbytes)
        self._put(shard.header, 0)

    def write(self, name: str, offset: int, data: "bytes | memoryview") -> None:
        """Put `data` at `offset` bytes into the tensor `name`."""
        view = memoryview(data).cast("B")
        if offset + view.nbytes > self._sizes[name]:
            raise ValueError(f"{name}: {view.nbytes} bytes at {offset} are more than its {self._sizes[name]}")
        self._put(view, self._places[name] + offset)
        self.written[name] += view.nbytes

    def check_complete(self) -> None:
        """Every tensor must have got all its bytes: a hole would read as zeros."""
        for name, size in self._sizes.items():
            if self.written[name] != size:
                raise ValueError(f"{name}: {self.written[name]} bytes were written of {size}")

    def _put(self, data: "bytes | memoryview", position: int) -> None:
        view = memoryview(data)
        while view.nbytes:
            count = os.pwrite(self._descriptor, view, position)
            view, position = view[count:], position + count


def _prefix(place: Path) -> str:
    """What the name of a temporary directory begins with: the result's name, cut where the whole would be too long.

    Places whose long names begin alike then share it, which is no harm: what is locked is left alone.
    """
    name = os.fsencode(place.name)
    most = _MAX_NAME_BYTES - len(f"..partial-{_RANDOM}")
    # A character cut in two is dropped: not every file system takes its half.
    kept = place.name if len(name) <= most else name[:most].decode(errors="ignore")
    return f".{kept}.partial-"


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl+C, from someone in a hurry, waits until this is over.

    Not by a signal mask: that is one thread's, and any other takes the signal, for Python to handle it here all the
    same. Python handles signals on the main thread alone, so that others are never disturbed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before: dict[int, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            handler = signal.getsignal(number)
            if handler is not None:  # one that Python did not install could not be put back
                before[number] = handler
                signal.signal(number, lambda caught, frame: waiting.append(caught))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in waiting[:1]:
            signal.raise_signal(number)


def _remove_dead(place: Path) -> None:
    """Remove what killed runs for the same place have left: names as `mkdtemp` makes them, nobody else's."""
    for left in place.parent.glob(f"{_escape(_prefix(place))}{'[a-z0-9_]' * len(_RANDOM)}"):
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)


def _escape(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)
