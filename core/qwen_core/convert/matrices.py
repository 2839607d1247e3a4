"""Matrices of a checkpoint one at a time, as numbers. Of a stack of experts that is one expert's: a stack that is
unpacked is many times what is stored, so none ever is as a whole but where it is the result."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from qwen_core.checkpoint.architecture import is_stack, raw_place
from qwen_core.checkpoint.directory import Checkpoint, TensorInfo
from qwen_core.checkpoint.layout import PARTS
from qwen_core.checkpoint.tensor_bytes import TensorBytes
from qwen_core.convert.awq import Fold, Vector
from qwen_core.device.backend import mx
from qwen_core.model.layers import packed_projection
from qwen_core.model.weights import DTYPES, copy_tensor, plan_tensors


def experts_of(checkpoint: Checkpoint, module: str) -> int:
    """How many matrices [rows, columns] a module has: the experts of a stack, else one."""
    mixture = checkpoint.config.mixture
    return mixture.experts if mixture is not None and is_stack(module) else 1


def matrices(checkpoint: Checkpoint, module: str) -> Iterator[mx.array]:
    """Each matrix [rows, columns] of a module by its canonical name in MLX's layout, unpacked, float32."""
    with TensorBytes() as source:
        for expert in range(experts_of(checkpoint, module)):
            parts = dict(_parts(checkpoint, module, expert))
            plans = plan_tensors(parts, (), mx.float32, raw=False)
            arrays = {plan.name: copy_tensor(source, plan) for plan in plans}
            spec = checkpoint.specs.get(module)
            if spec is None:
                yield arrays[f"{module}.weight"]
            else:
                yield packed_projection(arrays, module, spec).dequantized(mx.float32)


def unfolded(checkpoint: Checkpoint, module: str, fold: Fold, dtype: str) -> mx.array:
    """The weight of a module without what was folded into it, in the compute type."""
    result: mx.array | None = None
    count = experts_of(checkpoint, module)
    for expert, matrix in enumerate(matrices(checkpoint, module)):
        if fold.rows is not None:
            matrix = matrix / mx.array(_of_expert(fold.rows, expert))[:, None]
        if fold.columns is not None:
            matrix = matrix / mx.array(_of_expert(fold.columns, expert))
        matrix = matrix.astype(DTYPES[dtype])
        if not is_stack(module):
            mx.eval(matrix)
            return matrix
        if result is None:
            result = mx.zeros((count, *matrix.shape), matrix.dtype)
        # Evaluated at once and with no other owner, `result` is written in place.
        result[expert] = matrix
        mx.eval(result)
    assert result is not None  # a mixture has experts
    return result


def _of_expert(factors: Vector, expert: int) -> np.ndarray:
    """One expert's factors, which may be those of all."""
    return factors[expert] if factors.ndim == 2 else factors


def _parts(checkpoint: Checkpoint, module: str, expert: int) -> Iterator[tuple[str, TensorInfo]]:
    """The stored parts of one matrix, by their names in MLX's layout; of a stack the expert's run of each."""
    place = raw_place(module)
    raw = checkpoint.text.get(place.name) if place is not None else None
    if place is not None and raw is not None:
        yield f"{module}.weight", _run(raw, expert, place.number, place.runs)
        return
    for name in (module + part for part in PARTS):
        info = checkpoint.text.get(name)
        if info is not None:
            yield name, _run(info, expert, 0, 1) if is_stack(module) else info


def _run(info: TensorInfo, expert: int, number: int, runs: int) -> TensorInfo:
    """The run `number` of an expert's rows, which are cut into `runs`."""
    experts, rows, *columns = info.shape
    nbytes = info.nbytes // (experts * runs)
    begin = info.offset + (expert * runs + number) * nbytes
    return replace(info, shape=(rows // runs, *columns), offset=begin, nbytes=nbytes)
