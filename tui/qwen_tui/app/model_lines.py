"""What the list of models says of a directory before anything is loaded: size, variant, and whether it fits. Pure."""

from dataclasses import dataclass

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.layout import make_layout
from qwen_core.checkpoint.variants import identify
from qwen_core.errors import QwenError
from qwen_core.figures import decimal_size

WORKING_BYTES = 1 << 30
"""Beside the weights: KV and recurrent state of a short conversation, and the arrays of a prefill."""
USABLE = 0.75
"""Share of the memory that Metal recommends as a working set, where it has not said so itself."""


@dataclass(frozen=True)
class ModelLine:
    """One model directory: with `problem` it cannot be opened."""

    path: str
    name: str
    variant: str = ""
    weight_bytes: int = 0
    problem: str = ""


def read_model(path: str, name: str) -> ModelLine:
    """What the headers in `path` say now. Blocks; never raises."""
    try:
        layout = make_layout(open_checkpoint(path))
    except QwenError as error:
        return ModelLine(path, name, problem=str(error))
    return ModelLine(path, name, identify(layout).name, layout.text.nbytes)


def fit(weight_bytes: int, recommended: int | None, memory: int) -> str:
    """Whether weights of this size fit into this machine's memory, in a few words; "" where that is not known."""
    limit = recommended or int(memory * USABLE)
    if not limit or not weight_bytes:
        return ""
    needed = weight_bytes + WORKING_BYTES
    if needed <= limit:
        return "fits"
    if memory and needed > memory:
        return f"does not fit: {decimal_size(memory)} of memory"
    return f"tight: more than the {decimal_size(limit)} that may be used at once"
