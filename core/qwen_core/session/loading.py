"""From a directory to a model with everything a conversation or a completion needs to know about it.

Opens, checks and loads in the order that fails first and cheapest. What is then done with the model is session.py's
and completion.py's business.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self, get_args

from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.fingerprint import fingerprint
from qwen_core.checkpoint.layout import Layout, make_layout
from qwen_core.checkpoint.locate import model_name
from qwen_core.checkpoint.variants import identify
from qwen_core.device.backend import describe_device
from qwen_core.device.hardware import Hardware
from qwen_core.device.machine import fused_rows, this_machine
from qwen_core.device.memory_peak import kept_peak, measured_peak
from qwen_core.errors import quote
from qwen_core.model.model import Model, load_model
from qwen_core.model.part import PartModel
from qwen_core.model.part_layout import part_layout
from qwen_core.model.shard import Shard
from qwen_core.protocol.events import DraftMode, LoadProgress, LoadSettings, ModelSummary
from qwen_core.protocol.ranks import RankSummary
from qwen_core.session.alone import alone_token_s
from qwen_core.session.drafters import Drafters
from qwen_core.session.generate import CHUNK
from qwen_core.settings.kinds import Choice, Number, checked
from qwen_core.settings.ranges import GPU_CORES, PEAK_BANDWIDTH_GB_S, SNAPSHOT_BUDGET_MB
from qwen_core.settings.sampling_values import sampling_config

Progress = Callable[[LoadProgress], None]
Stopped = Callable[[], bool]


class LoadModel(Protocol):
    """What brings a model's weights into memory: `qwen_core.model.model.load_model`, or a part of them."""

    def __call__(
        self,
        path: Checkpoint,
        dtype: str | None = None,
        *,
        progress: Progress | None = None,
        stop: Stopped | None = None,
        kernels: bool = True,
    ) -> Model: ...


@dataclass
class LoadedModel:
    """A model in memory and the plain facts about it. `stop_ids` are generation_config's, else config's; `pass_bytes`
    is the layout's: what a pass of so many tokens reads of weights."""

    model: Model
    generation_config: Mapping[str, Any]
    stop_ids: frozenset[int]
    summary: ModelSummary
    drafters: Drafters
    settings: LoadSettings
    pass_bytes: Callable[[int], int]

    def measure_machine(self, stop: Stopped = lambda: False) -> bool:
        """Measure the peak of the memory's bandwidth, which takes up to some seconds, where it is not known: whether
        `summary` has it now and had not. `stop` is asked between copies."""
        if self.summary.peak_bandwidth_gb_s is not None:
            return False
        machine = _machine(self.settings, partial(measured_peak, self.settings.cache_folder, stop))
        peak, source = machine.peak_bandwidth_gb_s, machine.peak_source
        self.summary = replace(self.summary, peak_bandwidth_gb_s=peak, peak_source=source)
        return peak is not None

    def shared_by(self, hosts: Sequence[RankSummary], stop: Stopped = lambda: False) -> None:
        """Have `summary` say which ranks share the model, and what a token takes this one alone, which is measured."""
        assert isinstance(self.model, PartModel)
        alone_s = alone_token_s(self.model, self.summary.weight_bytes_per_token, stop=stop)
        self.summary = replace(self.summary, hosts=tuple(hosts), alone_token_s=alone_s)

    def close(self) -> None:
        """Release the weights and the mapped files."""
        self.drafters.close()
        self.model.close()


class ModelOwner:
    """Holds a loaded model and closes it at the end of a `with`; it may be used on the thread that loaded it only."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self.model = loaded.model

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.loaded.close()

    def measure_machine(self, stop: Stopped = lambda: False) -> bool:
        """As `LoadedModel.measure_machine`."""
        return self.loaded.measure_machine(stop)

    def summary(self) -> ModelSummary:
        """What is known of the model, as plain values."""
        return self.loaded.summary


def load(
    checkpoint: Checkpoint | str | Path,
    *,
    dtype: str | None = None,
    settings: LoadSettings | None = None,
    progress: Progress | None = None,
    stop: Stopped | None = None,
    load_model: LoadModel = load_model,
) -> LoadedModel:
    """Load every weight of `checkpoint`. Raises QwenError with one line that says what is wrong with it."""
    settings = _checked(settings or LoadSettings())
    start = time.perf_counter()
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(checkpoint)
    model = load_model(checkpoint, dtype, progress=progress, stop=stop, kernels=settings.kernels)
    config = checkpoint.config
    load_s = time.perf_counter() - start
    machine = _machine(settings, partial(kept_peak, settings.cache_folder))
    layout = _layout(checkpoint, model)
    summary = ModelSummary(
        name=model_name(checkpoint.path),
        path=str(checkpoint.path),
        variant=identify(layout).name,
        weight_bytes=checkpoint.text_bytes,
        weight_bytes_per_token=layout.token_bytes,
        device=describe_device(),
        dtype=model.dtype,
        context_limit=config.max_position_embeddings,
        load_s=load_s,
        tiers=model.tiers,
        peak_bandwidth_gb_s=machine.peak_bandwidth_gb_s,
        peak_source=machine.peak_source,
        memory_bytes=machine.memory_bytes,
        recommended_bytes=machine.recommended_bytes,
        fingerprint=fingerprint(checkpoint),
        prefill_step_bytes=layout.pass_bytes(fused_rows(config.head_dim, model.dtype) or CHUNK),
        generation_config=_plain(sampling_config(checkpoint.generation_config)),
        token_parts=tuple((part, total.token_bytes) for part, total in layout.by_part().items()),
        kernel_faults=model.kernels.faults,
    )
    drafters = Drafters(model, settings.cache_folder, summary.fingerprint)
    drafters.prepare(settings.draft)
    ends = stop_ids(checkpoint)
    return LoadedModel(model, checkpoint.generation_config, ends, summary, drafters, settings, layout.pass_bytes)


def _layout(checkpoint: Checkpoint, model: Model) -> Layout:
    """Of what is in this process: the checkpoint, or a rank's part of it."""
    if isinstance(model, PartModel):
        return part_layout(checkpoint, Shard(model.collectives.rank, model.collectives.ranks))
    return make_layout(checkpoint)


def _machine(settings: LoadSettings, measured: Callable[[], float | None]) -> Hardware:
    return this_machine(settings.peak_bandwidth_gb_s, settings.gpu_cores, measured=measured)


def _checked(settings: LoadSettings) -> LoadSettings:
    """`settings`, every value in its range. Raises SettingsError, naming the one that is not."""
    most = int(SNAPSHOT_BUDGET_MB.high) * 1_000_000
    checked("snapshot_budget_bytes", settings.snapshot_budget_bytes, Number(0, most, whole=True))
    checked("draft", settings.draft, Choice(get_args(DraftMode)))
    for name, kind in (("peak_bandwidth_gb_s", PEAK_BANDWIDTH_GB_S), ("gpu_cores", GPU_CORES)):
        if (value := getattr(settings, name)) is not None:
            checked(name, value, kind)
    return settings


def _plain(values: Mapping[str, Any]) -> tuple[tuple[str, float | str], ...]:
    """Numbers as they are, whatever else a file holds as the few words that show it."""
    return tuple(
        (name, value if isinstance(value, int | float) else quote(repr(value))) for name, value in values.items()
    )


def stop_ids(checkpoint: Checkpoint) -> frozenset[int]:
    """The ids that end an answer: generation_config's eos ids, else config's (FORMAT.md 11)."""
    listed = checkpoint.generation_config.get("eos_token_id")
    ids = listed if isinstance(listed, list) else [listed]
    found = frozenset(token for token in ids if isinstance(token, int) and not isinstance(token, bool))
    return found or frozenset(checkpoint.config.eos_token_ids)
