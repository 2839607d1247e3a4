"""The model that is inspected: its directory opened from the headers, and what about it deserves a warning."""

import re
from dataclasses import dataclass
from pathlib import Path

from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.layout import Layout, ModuleLayout, make_layout
from qwen_core.checkpoint.locate import model_name
from qwen_core.checkpoint.quantization import parse_quantization
from qwen_core.checkpoint.recipe import VARIANTS
from qwen_core.checkpoint.variants import Verdict, identify
from qwen_core.checkpoint.weight_files import IGNORED
from qwen_core.convert.alignment import alignment_advice
from qwen_core.errors import quote
from qwen_tui.text.formatting import counted
from qwen_tui.text.safe import one_line

MAX_NAME = 200


@dataclass(frozen=True)
class Subject:
    """A model directory, opened. `name` is for people, printable and short. `advice`: what would serve it better."""

    name: str
    checkpoint: Checkpoint
    layout: Layout
    verdict: Verdict
    warnings: tuple[str, ...]
    advice: str | None = None

    @property
    def mappable_bytes(self) -> int:
        """Bytes of text modules that lie where a map can be used as it is: at multiples of their element size."""
        return sum(module.nbytes for module in self.layout.modules if module.element_aligned)

    def file_of(self, module: ModuleLayout) -> str:
        """Which of the weight files, from 1; a file beside them by its name."""
        shards = self.layout.shards
        return str(shards.index(module.shard) + 1) if module.shard in shards else one_line(module.shard)


def open_subject(path: Path) -> Subject:
    """Read the headers of a model directory. Raises CheckpointError."""
    checkpoint = open_checkpoint(path)
    layout = make_layout(checkpoint)
    verdict = identify(layout)
    name = model_name(path)
    warnings = tuple(_warnings(name, checkpoint, layout, verdict))
    return Subject(one_line(name), checkpoint, layout, verdict, warnings, alignment_advice(checkpoint))


def _warnings(name: str, checkpoint: Checkpoint, layout: Layout, verdict: Verdict) -> list[str]:
    found = [_wrong_name(name, verdict), _overrides_of_nothing(checkpoint, layout), _unfit_names(checkpoint)]
    return [*checkpoint.warnings, *(warning for warning in found if warning)]


def _wrong_name(name: str, verdict: Verdict) -> str:
    """A name that promises another published variant than the tensors are."""
    for variant in VARIANTS:
        if variant.name != verdict.name and re.search(rf"(?<![A-Z0-9]){variant.name}(?![A-Z0-9])", name.upper()):
            return f"the name says {variant.name}, but by its tensors this is {verdict.name}"
    return ""


def _overrides_of_nothing(checkpoint: Checkpoint, layout: Layout) -> str:
    quantization = parse_quantization(checkpoint.raw_config, "config.json", IGNORED)
    absent = [module for module in quantization.overrides if module not in layout.index]
    if not absent:
        return ""
    return f"config.json has {counted(len(absent), 'override')} for modules that are not there: {quote(absent[0])}" + (
        " and others" if len(absent) > 1 else ""
    )


def _unfit_names(checkpoint: Checkpoint) -> str:
    unfit = [name for name in checkpoint.tensors if len(name) > MAX_NAME or not name.isprintable()]
    if not unfit:
        return ""
    return f"{counted(len(unfit), 'tensor name')} with control characters or over {MAX_NAME} long: {quote(unfit[0])}"
