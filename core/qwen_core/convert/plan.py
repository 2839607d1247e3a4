"""What a conversion will write, decided from headers alone: every tensor with its name, type, shape and bytes.

Nothing here imports MLX or reads tensor bytes, so the plan of a 27B model takes no longer than opening it. Names and
layout are those of FORMAT.md: `language_model.` before the text model, `vision_tower.` before the vision tower, norms
as 1 + w, convolutions [channels, kernel, 1].
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from qwen_core.checkpoint.architecture import TextTensor, is_stack, raw_place, text_tensors, with_experts_of
from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.headers import DTYPE_BITS, TensorInfo
from qwen_core.checkpoint.nvidia import is_activation_scale
from qwen_core.checkpoint.quantization import BLOCKS, FLOAT_DTYPES, QuantSpec, canonical_name, stored_parts
from qwen_core.convert.rules import Rules, Weight
from qwen_core.errors import CheckpointError, SettingsError, quote
from qwen_core.figures import decimal_size
from qwen_core.protocol.stats import remaining_s

FloatDtype = Literal["BF16", "F16", "F32"]
Part = Literal["text", "mtp", "vision"]
VISION_PREFIXES = ("vision_tower.", "visual.")
MTP_PREFIX = "mtp."
# Ends of tensors that are no weights but computed from config.json. Older files carry them; mlx-lm refuses them.
_BUFFERS = ("rotary_emb.inv_freq", "rotary_pos_emb.inv_freq")
_TYING = "tie_word_embeddings"


@dataclass(frozen=True)
class OutputTensor:
    """A tensor of the result. `dtype` as safetensors spells it."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * DTYPE_BITS[self.dtype] // 8


@dataclass(frozen=True)
class Decision:
    """What becomes of one tensor of the source.

    `name` is the result's, with ".weight" where there is one; `module` is canonical for text tensors. `shape` is the
    unquantised one, [experts, rows, columns] of a stack (`is_stack`), of whose rows in the source each expert has
    `runs` times as many: raw files have its gate and its up one after the other, and this is the run of number `run`.
    `spec` None keeps floats. `add_one`: a raw norm, stored less 1. `channels_last`: a raw patch
    embedding [out, in, time, height, width], whose channels move to the end.
    """

    source: TensorInfo
    part: Part
    name: str
    module: str
    shape: tuple[int, ...]
    spec: QuantSpec | None
    add_one: bool
    channels_last: bool
    outputs: tuple[OutputTensor, ...]
    is_stack: bool = False
    run: int = 0
    runs: int = 1

    @property
    def is_matrix(self) -> bool:
        """Whether it is rows of columns, of which some can be converted at a time."""
        return self.is_stack or len(self.shape) == 2

    @property
    def source_bytes(self) -> int:
        """Bytes of the source that it is made of."""
        return self.source.nbytes // self.runs

    def row_runs(self) -> Iterator[tuple[int, int]]:
        """Where the rows of a matrix lie in the source, in order: (the first row, how many), an expert's at a time."""
        rows = self.shape[-2]
        for expert in range(self.shape[0] if self.is_stack else 1):
            yield (expert * self.runs + self.run) * rows, rows

    @property
    def output_module(self) -> str:
        """The module as the result's config names it."""
        return self.name.removesuffix(".weight")

    @property
    def nbytes(self) -> int:
        return sum(output.nbytes for output in self.outputs)


@dataclass(frozen=True)
class ConversionPlan:
    """Every decision in the order of the computation, and what the result's config.json will say."""

    checkpoint: Checkpoint
    rules: Rules
    float_dtype: FloatDtype
    decisions: tuple[Decision, ...]
    warnings: tuple[str, ...]

    @property
    def outputs(self) -> tuple[OutputTensor, ...]:
        return tuple(output for decision in self.decisions for output in decision.outputs)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors of the result."""
        return sum(decision.nbytes for decision in self.decisions)

    @property
    def source_bytes(self) -> int:
        """Bytes of the tensors that will be read."""
        return sum(decision.source_bytes for decision in self.decisions)

    @property
    def specs(self) -> dict[str, QuantSpec]:
        """The quantised modules by canonical name."""
        return {decision.module: decision.spec for decision in self.decisions if decision.spec is not None}

    def config(self) -> dict[str, Any]:
        """The result's config.json: the source's with two equal blocks that say what was quantised how.

        Of a head tied to the embedding it says what the tensors do: mlx-lm goes by config.json alone, and only by its
        text section.
        """
        config = {key: value for key, value in self.checkpoint.raw_config.items() if key not in BLOCKS}
        tied = self.checkpoint.config.tie_word_embeddings
        if isinstance(config.get("text_config"), dict):
            config["text_config"] = _with_tying(config["text_config"], tied)
        config = _with_tying(config, tied)
        default = self.rules.default(self.specs.values())
        if default is None:
            return config
        block: dict[str, Any] = entry(default)
        for decision in sorted(self.decisions, key=lambda decision: decision.output_module):
            if decision.spec is not None and decision.spec != default:
                block[decision.output_module] = entry(decision.spec)
        return config | dict.fromkeys(BLOCKS, block)


@dataclass(frozen=True)
class ConvertProgress:
    """Bytes of the source that are done, of all that will be; seconds since it began; the tensor at work."""

    done_bytes: int
    total_bytes: int
    elapsed_s: float
    tensor: str

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest will take at the pace so far; None before there is a pace, and at the end."""
        return remaining_s(self.done_bytes, self.total_bytes, self.elapsed_s)


Progress = Callable[[ConvertProgress], None]


def _with_tying(section: Mapping[str, Any], tied: bool) -> dict[str, Any]:
    """A section of config.json that says `tied`; unchanged where it does already, also by saying nothing of it."""
    if section.get(_TYING, False) == tied:
        return dict(section)
    return {**section, _TYING: tied}


def entry(spec: QuantSpec) -> dict[str, Any]:
    """A spec as config.json has it."""
    return {"group_size": spec.group_size, "bits": spec.bits, "mode": spec.mode}


def packed_tensors(
    name: str,
    shape: tuple[int, ...],
    spec: QuantSpec,
    origin: str | None = None,
    advice: str = "keep it unquantised with a rule of its own (--recipe)",
) -> tuple[OutputTensor, ...]:
    """The tensors that a weight [..., columns] called `name` becomes (FORMAT.md, "packed tensor of W [N, K]").

    Where the columns cannot be divided into the format's groups, raises SettingsError naming `origin`, the rule that a
    person wrote for this weight, and CheckpointError with `advice` where there is none.
    """
    module = name.removesuffix(".weight")
    columns = shape[-1]
    if columns % spec.group_size:
        problem = (
            f"tensor {quote(name)} has {columns} columns, which groups of {spec.group_size} do not divide: "
            f"{spec.mode} cannot hold it"
        )
        if origin is not None:
            raise SettingsError(f"{origin}: {problem}; keep it unquantised with a rule before this one")
        raise CheckpointError(f"{problem}; {advice}")
    parts = stored_parts(shape, spec)
    return tuple(OutputTensor(f"{module}.{part}", dtype, stored) for part, (dtype, stored) in parts.items())


def make_plan(
    checkpoint: Checkpoint,
    rules: Rules,
    *,
    keep_mtp: bool = False,
    keep_vision: bool = True,
    float_dtype: FloatDtype = "BF16",
) -> ConversionPlan:
    """Decide about every tensor of an unquantised checkpoint.

    Raises CheckpointError for a source that is quantised already, a width that no group divides, two tensors that
    would have one name, and `keep_mtp` where there is no MTP layer; SettingsError for a person's own rules that do not
    fit the model.
    """
    packed = len(checkpoint.specs) + sum(_is_packed(checkpoint, info) for info in _beside(checkpoint))
    if packed:
        raise CheckpointError(
            f"{quote(checkpoint.path)} is quantised already ({packed} module{'s' * (packed > 1)}): convert its "
            "unquantised original, or rewrite it aligned with --realign"
        )
    layers = checkpoint.config.num_hidden_layers
    # Without a name of theirs: the result has the experts of a mixture as MLX does, gate and up apart.
    config = with_experts_of(checkpoint.config, ())
    expected = list(text_tensors(config, lm_head=not config.tie_word_embeddings))
    rules.check(Weight(tensor.module, layers) for tensor in expected if tensor.is_matrix)
    decisions = [_text_decision(checkpoint, tensor, rules, float_dtype) for tensor in expected]
    beside = [_beside_decision(checkpoint, info, float_dtype) for info in _beside(checkpoint)]
    if keep_mtp and not any(decision.part == "mtp" for decision in beside):
        advice = f": {_BESIDE_ADVICE}" if checkpoint.mtp else ""
        raise CheckpointError(f"{quote(checkpoint.path)} has no tensors mtp.*, which --mtp keep wants{advice}")
    dropped = {"mtp": not keep_mtp, "vision": not keep_vision}
    decisions += [decision for decision in beside if not dropped.get(decision.part, False)]
    _check_names(decisions)
    return ConversionPlan(
        checkpoint, rules, float_dtype, tuple(decisions), tuple(_warnings(checkpoint, beside, dropped))
    )


def replanned(plan: ConversionPlan, rules: Rules) -> ConversionPlan:
    """The same tensors by other rules. Raises what `make_plan` does."""
    parts = {decision.part for decision in plan.decisions}
    return make_plan(
        plan.checkpoint,
        rules,
        keep_mtp="mtp" in parts,
        keep_vision="vision" in parts,
        float_dtype=plan.float_dtype,
    )


def _check_names(decisions: Iterable[Decision]) -> None:
    """Raise CheckpointError where two tensors of the source would have one name in the result."""
    sources: dict[str, TensorInfo] = {}
    for decision in decisions:
        for output in decision.outputs:
            other = sources.setdefault(output.name, decision.source)
            if other is not decision.source:
                raise CheckpointError(
                    f"tensors {quote(other.name)} and {quote(decision.source.name)} in {quote(decision.source.file)} "
                    f"are both {quote(output.name)} in the result: remove one of them"
                )


def _text_decision(checkpoint: Checkpoint, tensor: TextTensor, rules: Rules, float_dtype: FloatDtype) -> Decision:
    place = None if tensor.name in checkpoint.text else raw_place(tensor.module)
    info = checkpoint.text[tensor.name if place is None else place.name]
    name = f"language_model.{tensor.name}" if tensor.name.startswith("lm_head.") else _TEXT_PREFIX + tensor.name
    weight = Weight(tensor.module, checkpoint.config.num_hidden_layers)
    spec = rules.decide(weight) if tensor.is_matrix else None
    outputs = (OutputTensor(name, float_dtype, tensor.shape),)
    if spec is not None:
        outputs = packed_tensors(name, tensor.shape, spec, rules.origin(weight))
    return Decision(
        source=info,
        part="text",
        name=name,
        module=tensor.module,
        shape=tensor.shape,
        spec=spec,
        add_one=tensor.kind == "norm" and not checkpoint.converted,
        channels_last=False,
        outputs=outputs,
        is_stack=tensor.kind == "experts",
        run=place.number if place else 0,
        runs=place.runs if place else 1,
    )


_TEXT_PREFIX = "language_model.model."


def _beside(checkpoint: Checkpoint) -> Iterator[TensorInfo]:
    """The weights of MTP and the vision tower, MTP first, in the order of their names."""
    text = {info.name for info in checkpoint.text.values()}
    infos = [
        info
        for info in checkpoint.tensors.values()
        if info.name not in text and not _is_buffer(info) and not is_activation_scale(info.name)
    ]
    yield from sorted(infos, key=lambda info: (not canonical_name(info.name).startswith(MTP_PREFIX), info.name))


def _is_packed(checkpoint: Checkpoint, info: TensorInfo) -> bool:
    """Whether a tensor beside the text model is a quantised weight."""
    module, _, part = info.name.rpartition(".")
    scales = {"weight": ("scales", "weight_scale"), "weight_packed": ("weight_scale",)}.get(part, ())
    return info.dtype in ("U32", "U8") and any(f"{module}.{end}" in checkpoint.tensors for end in scales)


def _is_buffer(info: TensorInfo) -> bool:
    return info.name.endswith(_BUFFERS)


def _beside_decision(checkpoint: Checkpoint, info: TensorInfo, float_dtype: FloatDtype) -> Decision:
    """MTP and the vision tower stay floats; what is no float stays what it is."""
    canonical, raw, shape = canonical_name(info.name), not checkpoint.converted, info.shape
    part: Part = "mtp" if canonical.startswith(MTP_PREFIX) else "vision"
    # A checkpoint with anything else beside the text model would not have opened.
    assert part == "mtp" or canonical.startswith(VISION_PREFIXES), info.name
    name = canonical if part == "mtp" else f"vision_tower.{canonical.split('.', 1)[1]}"
    channels_last = part == "vision" and raw and len(shape) == 5 and canonical.endswith("patch_embed.proj.weight")
    if channels_last:
        shape = (shape[0], *shape[2:], shape[1])
    dtype = float_dtype if info.dtype in FLOAT_DTYPES else info.dtype
    return Decision(
        source=info,
        part=part,
        name=name,
        module=name.removesuffix(".weight"),
        shape=shape,
        spec=None,
        # Every vector of the MTP layer is an RMSNorm weight, stored as the text model stores its own.
        add_one=part == "mtp" and raw and len(shape) == 1,
        channels_last=channels_last,
        outputs=(OutputTensor(name, dtype, shape),),
        is_stack=part == "mtp" and len(shape) == 3 and is_stack(canonical.removesuffix(".weight")),
    )


_BESIDE_ADVICE = "its file lies beside the checkpoint; qwen-tui convert --add-mtp SRC DST then adds it to the result"


def _warnings(checkpoint: Checkpoint, beside: list[Decision], dropped: Mapping[str, bool]) -> Iterator[str]:
    if checkpoint.tokenizer_path is None:
        yield f"{quote(checkpoint.path)} has no tokenizer.json: the result cannot chat until it is copied into it"
    if checkpoint.template_source() is None:
        yield f"{quote(checkpoint.path)} has no chat template: the result cannot chat until it is copied into it"
    if dropped["mtp"] and (left := [decision for decision in beside if decision.part == "mtp"]):
        size = decimal_size(sum(decision.nbytes for decision in left))
        brings = "with --mtp keep the result can draft with it, several tokens a pass"
        yield (
            f"the MTP layer is left out, as in the published files ({len(left)} tensors, {size}): "
            f"{checkpoint.mtp_problem or brings}"
        )
    elif checkpoint.mtp_problem:
        yield f"the MTP layer cannot draft: {checkpoint.mtp_problem}"
    elif dropped["mtp"] and checkpoint.mtp is not None:
        yield f"the MTP layer in {quote(checkpoint.mtp.file)} is left out: {_BESIDE_ADVICE}"
    if count := sum(_is_buffer(info) for info in checkpoint.tensors.values()):
        yield f"rotary buffers (inv_freq, {count}) are left out: they are computed, not weights"
