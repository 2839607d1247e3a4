"""Write a small model directory with any mix of quantisations, as holes: what the headers say is all there is.

    write_mixture(path, lambda module: Spec("affine", 4, 64))            every matrix alike
    write_mixture(path, {"lm_head": Spec("affine", 8, 32)}.get, ...)     the named ones, the others in bf16

For the published variants and for weights that run, see checkpoints.py.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from support.checkpoints import Stored, disk_name, write_safetensors
from support.published_plan import Spec, text_config, text_plan

MATRICES = ("embed", "head", "ffn", "down", "attn", "linear")
ONE = "model.safetensors"


def packed(module: str, shape: tuple[int, ...], spec: Spec) -> dict[str, Stored]:
    """The tensors that a quantised weight is stored as (FORMAT.md's table)."""
    *rows, columns = shape
    groups = (*rows, columns // spec.group)
    parts = {f"{module}.weight": Stored("U32", (*rows, columns * spec.bits // 32))}
    if spec.mode != "affine":
        return parts | {f"{module}.scales": Stored("U8", groups)}
    return parts | {f"{module}.scales": Stored("BF16", groups), f"{module}.biases": Stored("BF16", groups)}


def write_mixture(
    path: Path,
    choose: Callable[[str], Spec | None],
    *,
    default: Spec | None = None,
    tied: bool = False,
    text: Mapping[str, Any] | None = None,
    float_dtype: str = "BF16",
    offset: int | None = None,
    extra: Mapping[str, Stored] | None = None,
) -> dict[str, Stored]:
    """Write the directory; give its tensors by on-disk name.

    `choose` says how each matrix is quantised, by canonical module name. config.json has `default` at its top level
    and an override for every module that differs from it; without a default an override for each quantised one.
    `offset` is where data begins modulo 64; `extra` are further tensors, by on-disk name.
    """
    sizes = text_config(True, {**(text or {}), "tie_word_embeddings": tied})
    tensors: dict[str, Stored] = {}
    block: dict[str, Any] = default.config if default else {}
    for weight in text_plan(sizes):
        module = weight.name.removesuffix(".weight")
        spec = choose(module) if weight.role in MATRICES else None
        if spec is None:
            tensors[disk_name(weight.name, "converted")] = Stored(float_dtype, weight.shape)
            continue
        tensors |= packed(disk_name(module, "converted"), weight.shape, spec)
        if spec != default:
            block[disk_name(module, "converted")] = spec.config
    tensors = dict(sorted((tensors | dict(extra or {})).items()))
    kind = "qwen3_5_moe" if "num_experts" in sizes else "qwen3_5"
    config = {"model_type": kind, "text_config": sizes, "tie_word_embeddings": tied}
    if block:
        config |= {"quantization": block, "quantization_config": block}
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    write_safetensors(path / ONE, tensors, offset)
    return tensors
