"""A model directory read without loading it: `Checkpoint`, its configuration, its tensor table and their agreement.

Nothing here imports MLX or touches tensor bytes. Every directory is untrusted: an index may name only plain files of
the directory, sizes are bounded, and whatever does not fit is one CheckpointError line. Bytes become arrays in
weights.py; a name such as `owner/model` becomes a directory in locate.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from qwen_core.checkpoint.architecture import TextTensor, text_tensors, with_experts_of
from qwen_core.checkpoint.config import LINEAR, ModelConfig, ignored_yarn, parse_config, replaced_rope
from qwen_core.checkpoint.headers import TensorInfo
from qwen_core.checkpoint.mtp import PREFIX, MtpTensors, find_mtp
from qwen_core.checkpoint.nvidia import MissingPartError, as_mlx_parts
from qwen_core.checkpoint.quantization import (
    FLOAT_DTYPES,
    QuantConfig,
    QuantSpec,
    SpecSource,
    StoredForm,
    canonical_name,
    claimed_text,
    compare,
    has_block,
    parse_quantization,
    spec_from_headers,
)
from qwen_core.checkpoint.tensor_scale import checked_tensor_scale
from qwen_core.checkpoint.weight_files import IGNORED, is_ignored, read_weight_files
from qwen_core.errors import CheckpointError, quote
from qwen_core.figures import shape_text
from qwen_core.files import read_json_object, read_text

__all__ = ["Checkpoint", "TensorInfo", "open_checkpoint"]

_UNUSED_BUFFERS = ("rotary_emb.inv_freq",)

QUANT_FILE = "hf_quant_config.json"
# The full 27B's has 57 kB. Far larger ones would take seconds to parse before they could be refused.
MAX_CONFIG_BYTES = 1 << 20
MAX_TOKENIZER_BYTES = 64 << 20  # Qwen3.5's tokenizer.json has 20 MB
MAX_TEMPLATE_BYTES = 4 << 20
MAX_TOKENIZER_CONFIG_BYTES = 64 << 20


@dataclass(frozen=True)
class Checkpoint:
    """What the headers and the JSON files of a model directory say. Holds no tensor data and no open file.

    `tensors` has every tensor by its on-disk name, vision tower and MTP included; `text` the ones the text model
    uses, by canonical name. `specs` has the quantised text modules by canonical name ("layers.0.mlp.up_proj"), and
    `spec_sources` whether config gave each by an "override" or by the "default", or says otherwise than the "headers",
    which count. `converted` is False for the raw Hugging Face layout (norm weights less 1, conv1d transposed). `mtp` is
    the MTP layer, inside or beside the checkpoint; where there is one that does not fit, it is None and `mtp_problem`
    is the line that says why. `warnings` has a line for each thing that is wrong with the files and does no harm.
    """

    path: Path
    config: ModelConfig
    raw_config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    text: Mapping[str, TensorInfo]
    specs: Mapping[str, QuantSpec]
    spec_sources: Mapping[str, SpecSource]
    converted: bool
    generation_config: dict[str, Any]
    tokenizer_path: Path | None
    shards: tuple[Path, ...]
    mtp: MtpTensors | None = None
    mtp_problem: str = ""
    warnings: tuple[str, ...] = ()

    @cached_property
    def used_tensors(self) -> Mapping[str, TensorInfo]:
        """The tensors of the text model and, with `mtp.` before their names, of the MTP layer, by canonical name."""
        beside = self.mtp.tensors if self.mtp is not None else {}
        return {**self.text, **{PREFIX + name: info for name, info in beside.items()}}

    @cached_property
    def used_specs(self) -> Mapping[str, QuantSpec]:
        """The quantised modules of both."""
        beside = self.mtp.specs if self.mtp is not None else {}
        return {**self.specs, **{PREFIX + name: spec for name, spec in beside.items()}}

    @property
    def total_bytes(self) -> int:
        """Bytes of all tensors, ignored ones included."""
        return sum(info.nbytes for info in self.tensors.values())

    @property
    def text_bytes(self) -> int:
        """Bytes of the tensors that the text model uses."""
        return sum(info.nbytes for info in self.text.values())

    @property
    def head_bytes(self) -> int:
        """Bytes that one row of logits reads: of the head, which is the embedding where it is tied."""
        head = "embed_tokens." if self.config.tie_word_embeddings else "lm_head."
        return sum(info.nbytes for name, info in self.text.items() if name.startswith(head))

    def template_source(self) -> str | None:
        """The chat template: chat_template.jinja, else tokenizer_config.json's or chat_template.json's, else None."""
        file = self.path / "chat_template.jinja"
        if file.exists():
            return read_text(file, MAX_TEMPLATE_BYTES)
        for name in ("tokenizer_config.json", "chat_template.json"):
            settings = self.path / name
            if not settings.exists():
                continue
            template = read_json_object(settings, MAX_TOKENIZER_CONFIG_BYTES).get("chat_template")
            if isinstance(template, list):  # older files: several named templates
                named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
                template = named.get("default")
            if template is not None and not isinstance(template, str):
                raise CheckpointError(f"{quote(settings)}: chat_template is not text")
            if template is not None:
                return template
        return None


class _MissingTensorError(CheckpointError):
    """A tensor of the text model is nowhere. What is wrong with the index says more, if anything is."""


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Read and check a model directory. Raises CheckpointError, one line, for everything that is wrong with it."""
    directory = Path(path)
    try:
        return _open(directory)
    except OSError as error:  # a directory that may not be searched or listed, a file name that no system takes
        where = quote(error.filename or directory)
        raise CheckpointError(f"{where} cannot be read: {quote(error.strerror or error)}") from None


def _open(directory: Path) -> Checkpoint:
    try:
        is_directory, exists = directory.is_dir(), directory.exists()
    except (OSError, ValueError):  # a name too long, or with a NUL, cannot be a directory
        is_directory = exists = False
    if not is_directory:
        problem = "is not a directory" if exists else "does not exist"
        raise CheckpointError(f"model directory {quote(directory)} {problem}")
    config_file = directory / "config.json"
    if not config_file.exists():
        raise CheckpointError(f"{quote(directory)} has no config.json; a model directory holds config.json and weights")
    raw = read_json_object(config_file, MAX_CONFIG_BYTES)
    config = parse_config(raw, str(config_file))
    quantization = _quantization(raw, config_file)
    files = read_weight_files(directory)
    warnings = [line for line in (files.problem, ignored_yarn(raw), replaced_rope(config, raw)) if line]
    try:
        text = as_mlx_parts(_text_table(files.tensors))
        config = with_experts_of(_resolve_tying(config, text, directory), text)
        converted = _is_converted(config, text, directory)
        specs, sources, disagreement = _check_text(config, text, quantization, converted, directory)
    except (_MissingTensorError, MissingPartError) as error:
        raise CheckpointError(files.problem or str(error)) from None
    if disagreement:
        warnings.append(disagreement)
    mtp, mtp_problem = None, ""
    try:
        mtp = find_mtp(directory, config, files.tensors, converted)
    except (CheckpointError, OSError) as error:
        mtp_problem = str(error)
    generation_file = directory / "generation_config.json"
    tokenizer = directory / "tokenizer.json"
    return Checkpoint(
        path=directory,
        config=config,
        raw_config=raw,
        tensors=MappingProxyType(files.tensors),
        text=MappingProxyType(text),
        specs=MappingProxyType(specs),
        spec_sources=MappingProxyType(sources),
        converted=converted,
        generation_config=read_json_object(generation_file, MAX_CONFIG_BYTES) if generation_file.exists() else {},
        tokenizer_path=tokenizer if tokenizer.is_file() else None,
        shards=files.shards,
        mtp=mtp,
        mtp_problem=mtp_problem,
        warnings=tuple(warnings),
    )


def _quantization(raw: Mapping[str, Any], config_file: Path) -> QuantConfig:
    """What config.json says of quantisation, or else the file that modelopt writes beside it."""
    beside = config_file.parent / QUANT_FILE
    if has_block(raw, str(config_file)) or not beside.exists():
        return parse_quantization(raw, str(config_file), IGNORED)
    block = {"quant_method": "modelopt", **read_json_object(beside, MAX_CONFIG_BYTES)}
    return parse_quantization({"quantization_config": block}, str(beside), IGNORED)


def _text_table(tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """Canonical name -> tensor, without the vision tower, MTP and buffers that are computed anyway."""
    text: dict[str, TensorInfo] = {}
    for name, info in tensors.items():
        canonical = canonical_name(name)
        if is_ignored(name) or canonical.endswith(_UNUSED_BUFFERS):
            continue
        if canonical in text:
            raise CheckpointError(
                f"tensors {quote(text[canonical].name)} and {quote(name)} in {quote(info.file)} are the same tensor "
                "under two prefixes"
            )
        text[canonical] = info
    return text


def _resolve_tying(config: ModelConfig, text: Mapping[str, TensorInfo], directory: Path) -> ModelConfig:
    """Whether the head is the embedding is decided by the tensors present; config must only not contradict."""
    has_head = "lm_head.weight" in text
    if not has_head and not config.tie_word_embeddings:
        raise _MissingTensorError(
            f"{quote(directory)}: tensor lm_head.weight is missing, and config.json does not say "
            "tie_word_embeddings: true"
        )
    return replace(config, tie_word_embeddings=not has_head)


def _is_converted(config: ModelConfig, text: Mapping[str, TensorInfo], directory: Path) -> bool:
    """Tell MLX's layout from the raw one by conv1d, the only reliable sign: a last dimension of 1 is converted."""
    verdict: bool | None = None
    for index, kind in enumerate(config.layer_types):
        info = text.get(f"layers.{index}.linear_attn.conv1d.weight") if kind == LINEAR else None
        if info is None:
            continue
        converted = bool(info.shape) and info.shape[-1] == 1
        if verdict is not None and converted != verdict:
            raise CheckpointError(
                f"{quote(info.file)}: tensor {quote(info.name)} of shape {shape_text(info.shape)} is laid out "
                "differently from the conv1d weights before it (raw and converted layers are mixed)"
            )
        verdict = converted
    if verdict is None:
        raise _MissingTensorError(
            f"{quote(directory)} has no linear_attn.conv1d.weight, so it cannot be told whether its layout is raw or "
            "converted"
        )
    return verdict


def _check_text(
    config: ModelConfig,
    text: Mapping[str, TensorInfo],
    quantization: QuantConfig,
    converted: bool,
    directory: Path,
) -> tuple[dict[str, QuantSpec], dict[str, SpecSource], str]:
    """Check every text tensor against the architecture.

    Gives the spec and its source of each quantised module, and a line on where config.json says otherwise, or "".
    """
    specs: dict[str, QuantSpec] = {}
    sources: dict[str, SpecSource] = {}
    disagreements: list[str] = []
    known: set[str] = set()
    for expected in text_tensors(config, lm_head=not config.tie_word_embeddings):
        info = text.get(expected.name)
        if info is None:
            raise _MissingTensorError(
                f"{quote(directory)}: tensor {quote(expected.name)} is missing; config.json says {_summary(config)}"
            )
        known.add(expected.name)
        where = f"{quote(info.file)}: tensor {quote(info.name)}"
        scales_name, biases_name = f"{expected.module}.scales", f"{expected.module}.biases"
        spec = None
        if expected.is_matrix and (scales := text.get(scales_name)) is not None:
            biases = text.get(biases_name)
            known.update((scales_name, biases_name))
            stored = StoredForm(
                (info.dtype, info.shape), (scales.dtype, scales.shape), biases and (biases.dtype, biases.shape)
            )
            try:
                spec = spec_from_headers(stored, expected.shape, where)
            except CheckpointError as error:
                claimed = claimed_text(expected.module, quantization)
                raise CheckpointError(f"{error}; {quantization.where} says {claimed}") from None
            specs[expected.module] = spec
            if (factor := checked_tensor_scale(text, expected.module, spec, where)) is not None:
                known.add(factor)
        else:
            _check_plain(expected, info, converted, where)
        source, said = compare(expected.module, spec, quantization)
        if source is not None:
            sources[expected.module] = source
        if said:
            disagreements.append(
                f"{quote(expected.module)} is stored {f'as {spec}' if spec else 'unquantised'}, but config.json {said}"
            )
    for name, info in text.items():
        if name not in known:
            raise CheckpointError(
                f"{quote(info.file)}: tensor {quote(info.name)} is not part of the architecture that config.json "
                f"describes ({_summary(config)})"
            )
    if not disagreements:
        return specs, sources, ""
    count = len(disagreements)
    others = f" (and {count - 1:,} more)" if count > 1 else ""
    return specs, sources, f"{disagreements[0]}{others}; the headers of the files count"


# The types of packed weights, and what the tensor of their scales is called.
_PACKED_IN = {"U32": "scales", "U8": "weight_scale"}


def _check_plain(expected: TextTensor, info: TensorInfo, converted: bool, where: str) -> None:
    """An unquantised tensor: a float type, and the shape that config gives."""
    shape = expected.shape
    if expected.kind == "conv" and not converted:
        shape = (shape[0], shape[2], shape[1])
    if info.dtype in _PACKED_IN and expected.is_matrix:
        scales = f"{quote(expected.module)}.{_PACKED_IN[info.dtype]}"
        raise CheckpointError(f"{where} is packed ({info.dtype}) but {scales} is missing")
    if info.dtype not in FLOAT_DTYPES:
        raise CheckpointError(f"{where} has dtype {quote(info.dtype)}, expected one of {', '.join(FLOAT_DTYPES)}")
    if info.shape != shape:
        raise CheckpointError(f"{where} has shape {shape_text(info.shape)}, but config.json gives {shape_text(shape)}")


def _summary(config: ModelConfig) -> str:
    return f"{config.num_hidden_layers} layers, hidden size {config.hidden_size}"
