"""What a benchmark is asked for, and what its report says of the machine. No MLX until that is asked for."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Any

from qwen_core.bench.workloads import Workload
from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.locate import resolve_model_path
from qwen_core.checkpoint.recipe import Variant
from qwen_core.demo import demo_model_path
from qwen_core.device.hardware import Hardware
from qwen_core.protocol.events import DraftMode, LoadSettings
from qwen_core.version import __version__

Stop = Callable[[], bool]
Progress = Callable[[str, int, int], None]
"""Takes what is at work, how much of it is done, and of how much."""


@dataclass(frozen=True)
class BenchRequest:
    """The model in `model_dir` (None: the demo), or one of random weights in `shape` and `variant` (None: bf16).

    `depth`: tokens of context before a prefill or decode. `repeat`: how often each workload is measured, `cooldown`
    seconds apart. `layers`: so many of a shape's are built. `float32`: a peer computes in that. `seed`: of the weights.
    `draft`, `num_draft_tokens`: who drafts in every second decode, and how many a pass (None: as many as pay). A
    shape's costs of passes are measured for them instead.
    """

    model_dir: str | None
    workloads: tuple[Workload, ...]
    depth: int
    repeat: int
    cooldown: float
    shape: str | None
    variant: Variant | None
    layers: int | None
    float32: bool
    load: LoadSettings
    dtype: str | None
    seed: int
    draft: DraftMode
    num_draft_tokens: int | None

    def checkpoint(self) -> Checkpoint:
        """The model directory. Raises CheckpointError."""
        return open_checkpoint(demo_model_path() if self.model_dir is None else resolve_model_path(self.model_dir))

    def machine(self) -> Hardware:
        """The machine, with what the person says of it."""
        from qwen_core.device.machine import this_machine
        from qwen_core.device.memory_peak import measured_peak

        measured = partial(measured_peak, self.load.cache_folder)
        return this_machine(self.load.peak_bandwidth_gb_s, self.load.gpu_cores, measured=measured)


def versions() -> dict[str, str]:
    """The versions of everything that decides about speed."""
    return {"qwen-tui": __version__, "mlx": metadata.version("mlx"), "python": platform.python_version()}


def machine_facts(machine: Hardware) -> dict[str, Any]:
    """What every report says of the machine and of the program."""
    from qwen_core.device.backend import describe_device

    return {
        "device": describe_device(),
        "versions": versions(),
        "peak_bandwidth_gb_s": machine.peak_bandwidth_gb_s,
        "peak_source": machine.peak_source,
    }
