"""What each stored tensor becomes in a checkpoint that is written anew without changing a value.

MLX's own stay what they are. NVIDIA's NVFP4 parts take MLX's names and types, whose bytes they are. Their factor
becomes `global_scale` where that says exactly the same float32, as it does where modelopt made it from a largest
weight. Another, which MLX could hold only rounded, keeps its own name, under which this program reads it as well. To
fold it into the E4M3 scales, which have 4 bits of precision, would change every value.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from qwen_core.checkpoint.architecture import text_tensors
from qwen_core.checkpoint.directory import QUANT_FILE, Checkpoint
from qwen_core.checkpoint.headers import TensorInfo
from qwen_core.checkpoint.layout import PARTS
from qwen_core.checkpoint.nvidia import is_activation_scale, writer_of
from qwen_core.checkpoint.quantization import BLOCKS, FLOAT_MODES, QuantSpec
from qwen_core.checkpoint.tensor_bytes import TensorBytes
from qwen_core.checkpoint.tensor_scale import MLX, as_global_scale, factor_of, is_tensor_scale
from qwen_core.convert.plan import OutputTensor, entry


@dataclass(frozen=True)
class Rewritten:
    """One tensor of the result: the bytes of `source`, or `data` where they are others."""

    source: TensorInfo
    output: OutputTensor
    data: bytes | None = None


def is_foreign(checkpoint: Checkpoint) -> bool:
    """Whether some of its modules have the parts of another tool than MLX."""
    tensors = checkpoint.used_tensors
    return any(writer_of(tensors, module) != "mlx" for module in checkpoint.used_specs)


def rewritten(checkpoint: Checkpoint) -> list[Rewritten]:
    """Every tensor: the text model's in the order of the computation, then the others by name.

    Of a foreign checkpoint scales of activations are left out: nothing of MLX reads them.
    """
    own = checkpoint.tensors
    canonical = {
        info.name: name
        for name, info in checkpoint.used_tensors.items()
        if info.name in own and own[info.name].file == info.file
    }
    foreign = is_foreign(checkpoint)
    with TensorBytes() as source:
        return [
            _rewritten(checkpoint, canonical.get(name), own[name], source)
            for name in _in_order(checkpoint)
            if not (foreign and is_activation_scale(name))
        ]


def _in_order(checkpoint: Checkpoint) -> Iterator[str]:
    text, names = checkpoint.text, set[str]()
    for tensor in text_tensors(checkpoint.config, lm_head=not checkpoint.config.tie_word_embeddings):
        for name in (tensor.name, *(tensor.module + part for part in PARTS[1:])):
            if name in text:
                names.add(text[name].name)
                yield text[name].name
    yield from (name for name in checkpoint.tensors if name not in names)


def _rewritten(checkpoint: Checkpoint, canonical: str | None, stored: TensorInfo, source: TensorBytes) -> Rewritten:
    if canonical is None:
        return Rewritten(stored, OutputTensor(stored.name, stored.dtype, stored.shape))
    info = checkpoint.used_tensors[canonical]
    module, part = stored.name.rpartition(".")[::2]
    part, data = canonical.rpartition(".")[2] if module else part, None
    if is_tensor_scale(canonical) and part != MLX:
        number = float(source.read(stored, 0, 4).view(np.dtype("<f4"))[0])
        same = as_global_scale(factor_of(canonical, number))
        if same is not None:
            part, data = MLX, np.array(same, np.dtype("<f4")).tobytes()
    name = f"{module}.{part}" if module else part
    return Rewritten(stored, OutputTensor(name, info.dtype, info.shape), data)


def rewritten_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """A foreign checkpoint's config.json with MLX's two equal blocks in place of the other tool's."""
    config = {key: value for key, value in checkpoint.raw_config.items() if key not in BLOCKS}
    text = config.get("text_config")
    if isinstance(text, dict):
        config["text_config"] = {key: value for key, value in text.items() if key not in BLOCKS}
    default = QuantSpec("nvfp4", *FLOAT_MODES["nvfp4"])
    block = entry(default)
    for module, spec in checkpoint.specs.items():
        if spec != default:
            block[checkpoint.text[f"{module}.weight"].name.removesuffix(".weight")] = entry(spec)
    return config | dict.fromkeys(BLOCKS, block)


REPLACED = ("config.json", QUANT_FILE)
"""Files of a foreign checkpoint that are not copied: the second says what is no longer so."""
