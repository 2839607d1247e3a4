"""Write model directories for tests: the full 27B as sparse files that cost no disk, or small ones that really run.

    write_checkpoint(path)                                  nvfp4, small, random weights, converted layout
    write_checkpoint(path, "q4", tied=True, names="raw")    Hugging Face layout, head tied to the embedding
    write_checkpoint(path, full=True)                       27B shape, 5 shards of holes, vision tower included

What is written comes from published_plan.py. MLX is imported only to make random weights.
"""

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Literal

from support.published_plan import Planned, Spec, default_spec, spec_of, text_config, text_plan, vision_plan

SHARD_CAP = 5 << 30
DTYPE_BYTES = {"U8": 1, "F8_E4M3": 1, "BF16": 2, "F16": 2, "U32": 4, "F32": 4}

Names = Literal["converted", "raw", "flat"]


@dataclass
class Stored:
    """One tensor of a file: its type, shape, and bytes (None: a hole that reads as zeros)."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes | None = None

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * DTYPE_BYTES[self.dtype]


@dataclass
class Written:
    """What `write_checkpoint` wrote: on-disk names -> tensors, canonical modules -> specs, file names, config."""

    path: Path
    tensors: dict[str, Stored]
    specs: dict[str, Spec]
    files: list[str]
    config: dict[str, Any]
    overrides: list[str] = field(default_factory=list)

    @property
    def total_bytes(self) -> int:
        return sum(t.nbytes for t in self.tensors.values())


def disk_name(canonical: str, names: Names) -> str:
    """The name that a canonical tensor or module has in a file."""
    is_head = canonical.startswith("lm_head")
    if names == "converted":
        return f"language_model.{canonical}" if is_head else f"language_model.model.{canonical}"
    if is_head:
        return canonical
    return f"model.language_model.{canonical}" if names == "raw" else f"model.{canonical}"


def write_checkpoint(
    path: Path,
    variant: str = "nvfp4",
    *,
    full: bool = False,
    names: Names = "converted",
    converted: bool | None = None,
    nested: bool = True,
    tied: bool = False,
    shard_cap: int | None = SHARD_CAP,
    offset: int | None = None,
    seed: int = 0,
    float_dtype: str = "BF16",
    text: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
) -> Written:
    """Write a checkpoint directory.

    `full`: the 27B as holes with its vision tower; else small and random. `names`: the prefixes; "raw" also means
    the raw layout (norms less 1, conv1d [C, 1, K]) unless `converted` says otherwise. `nested`: text_config inside a
    multimodal config. `shard_cap`: bytes a shard, None for a single model.safetensors without an index. `offset`:
    where data begins modulo 64 (None: unpadded, so anywhere, as published). `float_dtype`: type of unquantised
    tensors. `text` overrides text_config, `config`
    the top level, and `files` are further text files.
    """
    is_converted = (names != "raw") if converted is None else converted
    sizes = text_config(not full, {**(text or {}), **({"tie_word_embeddings": True} if tied else {})})
    plan = list(text_plan(sizes))
    specs = {p.name.removesuffix(".weight"): s for p in plan if (s := spec_of(variant, p.role)) is not None}
    if full:
        stored = _holes(plan, specs, is_converted)
    else:
        stored = _random(plan, specs, is_converted, seed, float_dtype)
    if names == "raw" and variant == "bf16":
        stored = fused(stored)
    tensors = {disk_name(name, names): tensor for name, tensor in stored.items()}
    if full:
        tensors |= {name: Stored("BF16", shape) for name, shape in vision_plan(sizes["hidden_size"])}
    written = Written(path, tensors, specs, [], {})
    written.config = _config(written, variant, sizes, names, nested) | dict(config or {})
    path.mkdir(parents=True, exist_ok=True)
    _write_files(written, shard_cap, offset)
    (path / "config.json").write_text(json.dumps(written.config, indent=2))
    for name, content in (files or {}).items():
        (path / name).write_text(content)
    return written


def fused(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """The tensors with the experts of a mixture as raw files have them: gate and up of each in one, gate first."""
    found: dict[str, Stored] = {}
    for name, tensor in tensors.items():
        mlp, _, role = name.removesuffix(".weight").rpartition(".switch_mlp.")
        if not mlp:
            found[name] = tensor
        elif role == "down_proj":
            found[f"{mlp}.experts.down_proj"] = tensor
        elif role == "gate_proj":
            found[f"{mlp}.experts.gate_up_proj"] = _side_by_side(tensor, tensors[name.replace("gate_proj", "up_proj")])
    return found


def _side_by_side(gate: Stored, up: Stored) -> Stored:
    experts, rows, columns = gate.shape
    shape = (experts, 2 * rows, columns)
    if gate.data is None or up.data is None:
        return Stored(gate.dtype, shape)
    size = gate.nbytes // experts
    both = ((part.data or b"")[expert * size : (expert + 1) * size] for expert in range(experts) for part in (gate, up))
    return Stored(gate.dtype, shape, b"".join(both))


def write_safetensors(path: Path, tensors: Mapping[str, Stored], offset: int | None = None) -> None:
    """One safetensors file, tensors in the order given; `offset`: where data begins modulo 64 (None: unpadded)."""
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    position = 0
    for name, tensor in tensors.items():
        end = position + tensor.nbytes
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [position, end]}
        position = end
    blob = json.dumps(header, separators=(",", ":")).encode()
    if offset is not None:
        blob += b" " * ((offset - 8 - len(blob)) % 64)
    write_raw_safetensors(path, blob, tensors.values())


def write_raw_safetensors(path: Path, header: bytes, tensors: Iterable[Stored]) -> None:
    """A file with exactly this header, true or not, and the tensors' data after it."""
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for tensor in tensors:
            if tensor.data is None:
                file.seek(tensor.nbytes, 1)
            else:
                file.write(tensor.data)
        file.truncate(file.tell())


def read_header_json(path: Path) -> dict[str, Any]:
    """The header of a file as it stands, for tests that rewrite it."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length))


def replace_header(path: Path, header: Mapping[str, Any] | bytes) -> None:
    """Put another header before the same data."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    blob = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(blob)) + blob + data[8 + length :])


def edit_config(path: Path, **changes: Any) -> None:
    """Change top-level fields of config.json; None removes one."""
    file = path / "config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def _parts(name: str, shape: tuple[int, ...], spec: Spec) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The stored tensors of a quantised weight: FORMAT.md's table of packed tensors."""
    module = name.removesuffix(".weight")
    *rows, columns = shape
    groups = (*rows, columns // spec.group)
    parts = {f"{module}.weight": ("U32", (*rows, columns * spec.bits // 32))}
    if spec.mode != "affine":
        return parts | {f"{module}.scales": ("U8", groups)}
    return parts | {f"{module}.scales": ("BF16", groups), f"{module}.biases": ("BF16", groups)}


def _holes(plan: list[Planned], specs: Mapping[str, Spec], converted: bool) -> dict[str, Stored]:
    tensors = {}
    for weight in plan:
        spec = specs.get(weight.name.removesuffix(".weight"))
        if spec is not None:
            parts = _parts(weight.name, weight.shape, spec)
            tensors |= {name: Stored(dtype, shape) for name, (dtype, shape) in parts.items()}
        else:
            tensors[weight.name] = Stored("BF16", _layout(weight, converted))
    return tensors


def _layout(weight: Planned, converted: bool) -> tuple[int, ...]:
    if weight.role == "conv" and not converted:
        return weight.shape[0], weight.shape[2], weight.shape[1]
    return weight.shape


def _random(
    plan: list[Planned], specs: Mapping[str, Spec], converted: bool, seed: int, float_dtype: str
) -> dict[str, Stored]:
    """Random weights of sensible size, quantised by MLX, which is also what will read them."""
    import mlx.core as mx
    import numpy as np

    kinds = {"BF16": mx.bfloat16, "F16": mx.float16, "F32": mx.float32}
    names = {mx.bfloat16: "BF16", mx.float16: "F16", mx.float32: "F32", mx.uint32: "U32", mx.uint8: "U8"}

    def store(array: mx.array) -> Stored:
        plain = array.view(mx.uint16) if array.dtype == mx.bfloat16 else array
        return Stored(names[array.dtype], tuple(array.shape), np.array(plain).tobytes())

    tensors: dict[str, Stored] = {}
    for index, weight in enumerate(sorted(plan, key=lambda p: p.name)):
        key = mx.random.key(seed * 100_003 + index)
        spec = specs.get(weight.name.removesuffix(".weight"))
        value = _random_value(weight, converted, key)
        if spec is None:
            tensors[weight.name] = store(value.astype(kinds[float_dtype]))
            continue
        parts = mx.quantize(value.astype(mx.bfloat16), group_size=spec.group, bits=spec.bits, mode=spec.mode)
        expected = _parts(weight.name, weight.shape, spec)
        tensors |= {name: store(part) for name, part in zip(expected, parts, strict=True)}
    return tensors


def _random_value(weight: Planned, converted: bool, key: Any) -> Any:
    import mlx.core as mx

    if weight.role == "A_log":
        return mx.log(mx.random.uniform(0.05, 16, weight.shape, key=key))
    if weight.role == "dt_bias":
        return mx.random.uniform(-4, 1, weight.shape, key=key)
    noise = mx.random.normal(weight.shape, key=key)
    if weight.role in ("norm", "gated_norm"):
        is_shifted = weight.role == "norm" and not converted
        return 0.1 * noise + (0 if is_shifted else 1)
    if weight.role == "conv":
        return (0.3 * noise).reshape(_layout(weight, converted))
    return noise * weight.shape[-1] ** -0.5


def _config(written: Written, variant: str, sizes: dict[str, Any], names: Names, nested: bool) -> dict[str, Any]:
    config: dict[str, Any] = dict(sizes)
    if nested:
        moe = "num_experts" in sizes
        config = {
            "architectures": [f"Qwen3_5{'Moe' if moe else ''}ForConditionalGeneration"],
            "model_type": "qwen3_5_moe" if moe else "qwen3_5",
            "text_config": sizes,
            "tie_word_embeddings": sizes["tie_word_embeddings"],
            "vision_config": {"depth": 27, "hidden_size": 1152, "model_type": "qwen3_5"},
        }
    if variant == "bf16":
        return config
    default = default_spec(variant)
    block: dict[str, Any] = default.config
    for module, spec in sorted(written.specs.items()):
        if spec != default:
            written.overrides.append(module)
            block[disk_name(module, names)] = spec.config
    return config | {"quantization": block, "quantization_config": block}


def _write_files(written: Written, shard_cap: int | None, offset: int | None) -> None:
    names = sorted(written.tensors)
    if shard_cap is None:
        written.files = ["model.safetensors"]
        write_safetensors(written.path / "model.safetensors", {n: written.tensors[n] for n in names}, offset)
        return
    shards: list[list[str]] = [[]]
    filled = 0
    for name in names:
        size = written.tensors[name].nbytes
        if shards[-1] and filled + size > shard_cap:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        written.files.append(file)
        write_safetensors(written.path / file, {n: written.tensors[n] for n in shard}, offset)
        weight_map |= dict.fromkeys(shard, file)
    index = {"metadata": {"total_size": written.total_bytes}, "weight_map": dict(sorted(weight_map.items()))}
    (written.path / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
