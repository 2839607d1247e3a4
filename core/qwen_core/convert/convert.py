"""Convert a checkpoint: the plan carried out, tensor by tensor, into a new directory.

Peak memory does not grow with the model: the source is read, and worked on by MLX, in pieces of a few megabytes.
"""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from qwen_core.checkpoint.tensor_bytes import TensorBytes
from qwen_core.checkpoint.weight_files import INDEX
from qwen_core.convert.awq import Fold
from qwen_core.convert.measure import Measure
from qwen_core.convert.meter import Meter
from qwen_core.convert.plan import ConversionPlan, Decision, Progress
from qwen_core.convert.shards import SHARD_CAP, Shard, arrange
from qwen_core.convert.transform import transformed
from qwen_core.convert.writer import (
    COPIED,
    OutputDirectory,
    ShardFile,
    check_disk,
    check_link,
    check_target,
    clear_errors,
)
from qwen_core.device.backend import mx
from qwen_core.device.hardware import memory_bytes
from qwen_core.errors import CapacityError, quote
from qwen_core.figures import decimal_size
from qwen_core.tensors.rounding_error import ERRORS_FILE, errors_as_json

# What a conversion may have in memory beside the interpreter: pieces in fp4 quantisation, MLX, the headers.
WORKING_BYTES = 500_000_000


def convert(
    plan: ConversionPlan,
    target: Path,
    *,
    folds: Mapping[str, Fold] | None = None,
    measure: Measure | None = None,
    progress: Progress | None = None,
    shard_cap: int = SHARD_CAP,
) -> tuple[Shard, ...]:
    """Carry out `plan` into the new directory `target`; gives the shards that were written. What `measure` finds is
    kept there in a file of its own.

    Raises CheckpointError (a bad target, damaged weights), CapacityError (memory, a full disk) or QwenError, and then
    leaves nothing behind, as does an exception of any other kind.
    """
    source = plan.checkpoint.path
    place, shards = check_conversion(plan, target, shard_cap)
    with clear_errors(f"converting to {quote(target)}"), OutputDirectory(place) as output:
        write_shards(output, shards, plan, folds=folds, measure=measure, progress=progress)
        output.write_index(shards)
        output.copy_files(source, COPIED)
        output.write_json("config.json", plan.config())
        if measure is not None:
            output.write_json(ERRORS_FILE, errors_as_json(measure.errors))
        output.commit()
    return shards


def is_result_file(name: str) -> bool:
    """Whether a result may have a file of this name."""
    return name.endswith(".safetensors") or name in (*COPIED, "config.json", INDEX, ERRORS_FILE)


def check_conversion(plan: ConversionPlan, target: Path, shard_cap: int = SHARD_CAP) -> tuple[Path, tuple[Shard, ...]]:
    """The resolved `target` and the shards to be written there. Raises for all that is seen to be wrong beforehand."""
    source = plan.checkpoint.path
    place = check_target(source, target)
    for file in (source / "config.json", *plan.checkpoint.shards):
        check_link(file, source)
    shards = arrange(plan.outputs, shard_cap)
    check_room(place, shards)
    return place, shards


def check_room(place: Path, shards: Iterable[Shard]) -> None:
    """Raise CapacityError if the disk of `place` has no room for `shards`, or the memory none for the work."""
    check_disk(place, sum(shard.nbytes for shard in shards))
    if memory_bytes() < WORKING_BYTES:
        raise CapacityError(f"a conversion needs {decimal_size(WORKING_BYTES)} of memory, but this machine has less")


def write_shards(
    output: OutputDirectory,
    shards: Iterable[Shard],
    plan: ConversionPlan,
    *,
    folds: Mapping[str, Fold] | None = None,
    measure: Measure | None = None,
    progress: Progress | None = None,
) -> None:
    """Shard after shard, the tensors of each in the order of the source's files, which are then read once through."""
    by_output = {tensor.name: decision for decision in plan.decisions for tensor in decision.outputs}
    folds, meter = folds or {}, Meter(plan.source_bytes, progress)
    with ExitStack() as stack:
        stack.callback(mx.set_cache_limit, mx.set_cache_limit(0))  # MLX would hold on to temporaries
        source = stack.enter_context(TensorBytes())
        for shard in shards:
            needed = {by_output[tensor.name].name: by_output[tensor.name] for tensor in shard.tensors}
            decisions = sorted(needed.values(), key=lambda d: (str(d.source.file), d.source.offset))
            with output.shard(shard) as file:
                for decision in decisions:
                    _write_tensor(file, source, decision, folds.get(decision.module), measure, meter)
                file.check_complete()


def _write_tensor(
    shard: ShardFile,
    source: TensorBytes,
    decision: Decision,
    fold: Fold | None,
    measure: Measure | None,
    meter: Meter,
) -> None:
    info = decision.source
    meter.begin(info.name)
    for name, offset, data in transformed(source, decision, fold, measure=measure):
        shard.write(name, offset, data)
        if name == decision.outputs[0].name:
            meter.reached((offset + data.nbytes) / decision.outputs[0].nbytes * decision.source_bytes)
    meter.finish(decision.source_bytes)
