"""A session or a completion as `LoadSettings.hosts` says: of this process alone, or with rank 0's part of the model.

The ranks of a process are started once and stay until it ends, whatever models they hold in between: MLX joins one
group in the life of a process.
"""

import atexit
from pathlib import Path
from typing import Any, TypeVar

from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.fingerprint import fingerprint
from qwen_core.engine.hello import check_same, check_versions, introduction, place
from qwen_core.engine.hosts import Hosts, read_hosts
from qwen_core.engine.joining import check_first
from qwen_core.engine.ranks import Lost, Ranks, Told, end_process, never
from qwen_core.errors import EngineError, QwenError
from qwen_core.model.collectives import Collectives
from qwen_core.model.led import LedModel, load_led
from qwen_core.model.model import load_model
from qwen_core.model.shard import check_split
from qwen_core.protocol.events import LoadProgress, LoadSettings
from qwen_core.protocol.ranks import RankSummary
from qwen_core.session import completion, opening
from qwen_core.session.completion import Completion
from qwen_core.session.loading import ModelOwner, Progress, Stopped
from qwen_core.session.session import Session


def load_session(
    path: str | Path,
    system: str | None = None,
    *,
    dtype: str | None = None,
    settings: LoadSettings | None = None,
    progress: Progress | None = None,
    stop: Stopped | None = None,
    lost: Lost = end_process,
) -> Session:
    """As `qwen_core.session.opening.load_session`, on the hosts of `settings`. Where there are several, `lost` is told
    the one line that says which rank was lost, and ends this process.
    """
    part = _part_loader(settings, lost)
    load = part or load_model
    loaded = opening.load_session(
        path, system, dtype=dtype, settings=settings, progress=progress, stop=stop, load_model=load
    )
    return _told_of(part, loaded, stop)


def load_completion(
    path: str | Path,
    *,
    dtype: str | None = None,
    settings: LoadSettings | None = None,
    progress: Progress | None = None,
    stop: Stopped | None = None,
    lost: Lost = end_process,
) -> Completion:
    """As `qwen_core.session.completion.load_completion`, likewise."""
    part = _part_loader(settings, lost)
    load = part or load_model
    loaded = completion.load_completion(
        path, dtype=dtype, settings=settings, progress=progress, stop=stop, load_model=load
    )
    return _told_of(part, loaded, stop)


class PartLoader:
    """Loads rank 0's part of a model, as `load_model`, while the others load theirs. `summaries` is there then."""

    def __init__(self, hosts: Hosts, lost: Lost = end_process) -> None:
        self._hosts = hosts
        self._lost = lost
        self.summaries: tuple[RankSummary, ...] = ()

    def __call__(
        self,
        path: str | Path | Checkpoint,
        dtype: str | None = None,
        *,
        progress: Progress | None = None,
        stop: Stopped | None = None,
        kernels: bool = True,
    ) -> LedModel:
        """Raises as `load_model`, and EngineError that names the rank and its host for whatever goes wrong there."""
        checkpoint = path if isinstance(path, Checkpoint) else open_checkpoint(path)
        check_split(checkpoint.config, checkpoint.specs, len(self._hosts.ranks))
        check_first(self._hosts)
        stop = stop or never
        company = _Company.of(self._hosts, self._lost, stop)
        ranks = company.ranks
        try:
            opened = ranks.ask_all({"do": "open", "ranks": ranks.count, **place(checkpoint)}, stop)
            own = fingerprint(checkpoint)
            for rank, said in enumerate(opened, 1):
                check_same(said, own, checkpoint.path, self._hosts.called(rank))
            if not ranks.connected:
                ranks.meet(stop)
            model = load_led(
                checkpoint,
                dtype,
                company.collectives,
                company.tell,
                progress=progress,
                stop=lambda: stop() or bool(ranks.lost),
                kernels=kernels,
            )
            loaded = ranks.finish(stop, progress and _told_as(progress))
            company.connect(stop)
        except BaseException as error:
            company.failed()
            if ranks.lost and isinstance(error, QwenError):  # which stopped the load here
                raise EngineError(ranks.lost) from None
            raise
        weights = [model.tiers.total, *(said["loaded"] for said in loaded)]
        self.summaries = tuple(
            RankSummary(rank, host.name, company.memory[rank], weights[rank])
            for rank, host in enumerate(self._hosts.ranks)
        )
        return model


class _Company:
    """The ranks of this process, from their start to its end, with what they said of themselves."""

    present: "_Company | None" = None

    def __init__(self, hosts: Hosts, lost: Lost) -> None:
        self.ranks = Ranks(hosts, lost)
        self.collectives = Collectives(rank=0, ranks=self.ranks.count)
        self.memory: list[int] = []

    @classmethod
    def of(cls, hosts: Hosts, lost: Lost, stop: Stopped) -> "_Company":
        """Those that are there already, or new ones. Raises EngineError where they cannot be started, or others are."""
        if cls.present is None:
            cls.present = company = cls(hosts, lost)
            try:
                company._start(hosts, stop)
            except BaseException:
                company.failed()
                raise
        elif cls.present.ranks.hosts != hosts:
            raise EngineError("this engine has its ranks on other hosts: start it again (Ctrl+T) to change them")
        return cls.present

    def tell(self, command: dict[str, Any]) -> None:
        """What rank 0's model tells the others."""
        if command["do"] == "load":  # the one thing that they answer
            self.ranks.begin(command)
        else:
            self.ranks.tell(command)

    def connect(self, stop: Stopped) -> None:
        """Make them one group, if they are none yet."""
        if not self.ranks.connected:
            self.ranks.connect(stop)
            self.collectives.connect(self.ranks.group)

    def failed(self) -> None:
        """Nothing came of a load: ranks that are connected wait for another one, others end."""
        if self.ranks.connected:
            self.ranks.stop()
            self.ranks.tell({"do": "close"})
        else:
            self.ranks.close()
            _Company.present = None

    def _start(self, hosts: Hosts, stop: Stopped) -> None:
        atexit.register(self.ranks.close)
        said = self.ranks.start(stop)
        for rank, other in enumerate(said, 1):
            check_versions(other, hosts.called(rank))
        self.memory = [entry["memory_bytes"] for entry in (introduction(), *said)]


def _part_loader(settings: LoadSettings | None, lost: Lost) -> PartLoader | None:
    hosts = read_hosts(settings.hosts) if settings is not None else None
    return None if hosts is None else PartLoader(hosts, lost)


Owner = TypeVar("Owner", bound=ModelOwner)


def _told_of(part: PartLoader | None, owner: Owner, stop: Stopped | None) -> Owner:
    """`owner`, whose summary says now who shares its model."""
    if part is not None:
        owner.loaded.shared_by(part.summaries, stop or never)
    return owner


def _told_as(progress: Progress) -> Told:
    return lambda rank, done, total: progress(LoadProgress(f"weights of rank {rank}", done, total))
