"""Take the MTP layer out of an original checkpoint into a file beside a model that was converted without it.

Decided in `plan_mtp`, written in `add_mtp`: by the converter's own plan, pieces and place, one file of its own. Norms
are stored as 1 + w, whatever the original does.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from qwen_core.checkpoint.architecture import TextTensor, mtp_tensors, raw_place, with_experts_of
from qwen_core.checkpoint.config import ModelConfig
from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.headers import TensorInfo
from qwen_core.checkpoint.mtp import PREFIX, SIDECARS, MtpTensors, find_mtp, read_mtp, sidecars
from qwen_core.checkpoint.quantization import canonical_name
from qwen_core.convert.convert import check_room, write_shards
from qwen_core.convert.plan import ConversionPlan, Decision, OutputTensor, Progress, packed_tensors
from qwen_core.convert.rules import Rules, Weight
from qwen_core.convert.shards import Shard, arrange
from qwen_core.convert.writer import OutputDirectory, clear_errors
from qwen_core.device.backend import mx
from qwen_core.errors import CheckpointError, quote
from qwen_core.model.mtp import are_converted
from qwen_core.model.weights import load_plans, plan_tensors

FILE = SIDECARS[0]


def plan_mtp(source: Path, model: Checkpoint, rules: Rules) -> ConversionPlan:
    """What becomes of each tensor of the MTP layer in `source`, a checkpoint's directory or the one file of it that has
    the layer, beside `model`; `rules` say the format of its matrices.

    Raises CheckpointError, naming file and tensor, for a model that has the layer, a source that has none, half of one,
    a quantised one, or one that does not fit the model.
    """
    _check_absent(source, model)
    found = _find(source, model)
    if found.specs:
        module = min(found.specs)
        raise CheckpointError(
            f"{quote(found.file)}: tensor {quote(PREFIX + module)} is quantised already ({found.specs[module]}): take "
            "the layer from the unquantised original"
        )
    raw = not _is_converted(found, model.config)
    expected = mtp_tensors(with_experts_of(model.config, ()))
    decisions = tuple(_decision(tensor, found.tensors, rules, raw) for tensor in expected)
    return ConversionPlan(model, rules, "BF16", decisions, ())


def add_mtp(plan: ConversionPlan, *, progress: Progress | None = None) -> Path:
    """Write what `plan_mtp` planned; gives the file, which appears whole or not at all.

    Raises CheckpointError (damaged weights), CapacityError (memory, a full disk) or QwenError, and then leaves nothing
    behind, as does an exception of any other kind.
    """
    place = plan.checkpoint.path / FILE
    (whole,) = arrange(plan.outputs, plan.nbytes)
    shard: Shard = replace(whole, file=FILE)
    check_room(place, [shard])
    with clear_errors(f"writing {quote(place)}"), OutputDirectory(place) as output:
        write_shards(output, [shard], plan, progress=progress)
        output.commit_file(FILE)
    return place


def _check_absent(source: Path, model: Checkpoint) -> None:
    """Raise CheckpointError where the model has an MTP layer already, good or bad, or is the source itself."""
    if source.resolve() == model.path.resolve():
        raise CheckpointError(
            f"{quote(source)} is the model itself: name the original checkpoint that has the MTP layer"
        )
    for name, info in model.tensors.items():
        if canonical_name(name).startswith(PREFIX):
            raise CheckpointError(
                f"{quote(info.file)}: tensor {quote(name)} is of an MTP layer inside the model, beside which no other "
                "is read: there is nothing to add"
            )
    for path in sidecars(model.path):
        raise CheckpointError(f"{quote(path)} exists already: move it away first")


def _find(source: Path, model: Checkpoint) -> MtpTensors:
    """The source's MTP layer, which fits the model."""
    original = open_checkpoint(source) if source.is_dir() else None
    try:
        if original is None:
            return read_mtp(source, model.config)
        _check_alike(original, model)
        found = find_mtp(source, model.config, original.tensors, original.converted)
        if found is None:
            raise CheckpointError(f"{quote(source)} has no tensors mtp.*")
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}; name the whole original checkpoint of {quote(model.path)}, or the file of it that has mtp.*"
        ) from None
    return found


def _check_alike(original: Checkpoint, model: Checkpoint) -> None:
    """Raise CheckpointError where the original is of another model, though its MTP layer may have the same shapes."""
    table = original.text["embed_tokens.weight"]
    for what, theirs, ours in (
        ("tokens", original.config.vocab_size, model.config.vocab_size),
        ("layers", original.config.num_hidden_layers, model.config.num_hidden_layers),
    ):
        if theirs != ours:
            raise CheckpointError(
                f"{quote(table.file)}: tensor {quote(table.name)} is of a model with {theirs} {what}, not {ours}"
            )


def _is_converted(found: MtpTensors, config: ModelConfig) -> bool:
    if found.converted is not None:
        return found.converted
    norms = [tensor for tensor in mtp_tensors(config) if tensor.kind == "norm"]
    infos = {tensor.name: found.tensors[tensor.name] for tensor in norms}
    return are_converted(load_plans(plan_tensors(infos, norms, mx.float32, raw=False)).arrays.values())


def _decision(tensor: TextTensor, tensors: Mapping[str, TensorInfo], rules: Rules, raw: bool) -> Decision:
    name = PREFIX + tensor.name
    place = None if tensor.name in tensors else raw_place(tensor.module)
    info = tensors[tensor.name if place is None else place.name]
    spec = rules.decide(Weight(PREFIX + tensor.module, 1)) if tensor.is_matrix else None
    outputs = (OutputTensor(name, "BF16", tensor.shape),)
    if spec is not None:
        outputs = packed_tensors(name, tensor.shape, spec, advice="choose another --mtp-mode")
    return Decision(
        source=info,
        part="mtp",
        name=name,
        module=PREFIX + tensor.module,
        shape=tensor.shape,
        spec=spec,
        add_one=raw and tensor.kind == "norm",
        channels_last=False,
        outputs=outputs,
        is_stack=tensor.kind == "experts",
        run=place.number if place else 0,
        runs=place.runs if place else 1,
    )
