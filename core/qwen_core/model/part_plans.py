"""What becomes of the tensors of which a rank has a part: the plans of weights.py, cut to its rows and columns."""

import math
from dataclasses import replace

from qwen_core.checkpoint.architecture import text_tensors
from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.part_bytes import Runs
from qwen_core.model.shard import Cut, Shard, cut_of
from qwen_core.model.weights import TensorPlan, plan_weights

_PARTS = ("weight", "scales", "biases")


def part_plans(checkpoint: Checkpoint, dtype: str, shard: Shard) -> list[TensorPlan]:
    """`plan_weights` for the part that `shard` says, of a checkpoint that `check_split` lets pass."""
    config = checkpoint.config
    tensors = text_tensors(config, lm_head="lm_head.weight" in checkpoint.text)
    cuts = {tensor.module: cut_of(tensor, config, shard) for tensor in tensors}
    return [cut_plan(plan, cuts.get(_module(plan.name))) for plan in plan_weights(checkpoint, dtype)]


def _module(name: str) -> str:
    """What the cut of a stored tensor is found under; of a factor, which is the whole weight's, nothing is."""
    module, _, part = name.rpartition(".")
    return module if part in _PARTS else name


def cut_plan(plan: TensorPlan, cut: Cut | None) -> TensorPlan:
    """The plan of the part that `cut` leaves; packed columns and their scales are cut in proportion."""
    if cut is None:
        return plan
    length = plan.shape[cut.axis]
    ranges = [(length * begin // cut.length, length * end // cut.length) for begin, end in cut.ranges]
    unit = math.prod(plan.shape[cut.axis + 1 :]) * plan.stored_dtype.size
    runs = Runs(
        plan.info, math.prod(plan.shape[: cut.axis]), tuple((begin * unit, end * unit) for begin, end in ranges)
    )
    size = sum(end - begin for begin, end in ranges)
    shape = (*plan.shape[: cut.axis], size, *plan.shape[cut.axis + 1 :])
    offset = plan.info.offset + (runs.spans[0][0] if runs.is_one else 0)
    info = replace(plan.info, shape=shape, offset=offset, nbytes=runs.rows * runs.width)
    return replace(plan, info=info, shape=shape, runs=runs)
