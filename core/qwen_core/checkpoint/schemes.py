"""Quantisation blocks that other tools than MLX wrote: NVFP4 of NVIDIA's is read, every other scheme refused by name.

Which modules are left out (`ignore`, `exclude_modules`) is not read: the headers say what each module is.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from qwen_core.errors import CheckpointError, quote

ADVICE = (
    "use an MLX conversion of this model or one that is NVFP4 alone, or convert its unquantised original "
    "(qwen-tui convert)"
)
# Weights alone in NVFP4, or activations too, for which the files have the same weights.
_ALGORITHMS = ("NVFP4", "W4A16_NVFP4")
_FORMAT = "nvfp4-pack-quantized"


def check_nvfp4(block: Mapping[str, Any], where: str) -> None:
    """Raise CheckpointError, naming the scheme, unless the block of `quant_method` modelopt or compressed-tensors says
    that every quantised module is NVFP4. `where` names file and key."""
    method = block.get("quant_method")
    if method == "modelopt":
        other = next(_modelopt(block), None)
    elif method == "compressed-tensors":
        other = next(_compressed_tensors(block), None)
    else:
        other = _detail(block)
    if other is not None:
        said = f"{where} says quant_method {quote(repr(method))}" + (f" with {other}" if other else "")
        raise CheckpointError(f"{said}, which is not read; {ADVICE}")


def _modelopt(block: Mapping[str, Any]) -> Iterator[str]:
    """What of it is not NVFP4. hf_quant_config.json has the settings in an object of their own, config.json has not."""
    inner = block.get("quantization")
    settings = inner if isinstance(inner, dict) else block
    algorithm = settings.get("quant_algo")
    layers = settings.get("quantized_layers")
    if algorithm == "MIXED_PRECISION" and isinstance(layers, dict) and layers:
        for name, layer in layers.items():
            mixed = layer.get("quant_algo") if isinstance(layer, dict) else layer
            if mixed not in _ALGORITHMS:
                yield f"quant_algo MIXED_PRECISION, {quote(repr(mixed))} for {quote(name)}"
    elif algorithm not in _ALGORITHMS:
        yield f"quant_algo {quote(repr(algorithm))}"


def _compressed_tensors(block: Mapping[str, Any]) -> Iterator[str]:
    groups = block.get("config_groups")
    members = groups.values() if isinstance(groups, dict) else ()
    formats = [group["format"] for group in members if isinstance(group, dict) and group.get("format") is not None]
    if block.get("format") != "mixed-precision" or not formats:
        formats.append(block.get("format"))
    for form in formats:
        if form != _FORMAT:
            yield f"format {quote(repr(form))}"


def _detail(block: Mapping[str, Any]) -> str:
    """What more is worth saying of a scheme that is not NVIDIA's."""
    size = block.get("weight_block_size")
    if isinstance(size, list) and size:
        return f"blocks of {quote(' x '.join(map(str, size[:2])))}"
    return ""
