"""The MTP layer of a model directory, from headers alone: where its tensors lie, and whether they fit the model.

It is found inside the checkpoint (`mtp.*`) or in a file beside it, never by what config.json says (FORMAT.md, "Files").
The model is whole without it, so nothing that is wrong with it keeps a directory from being opened.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from qwen_core.checkpoint.architecture import TextTensor, mtp_tensors, with_experts_of
from qwen_core.checkpoint.config import ModelConfig
from qwen_core.checkpoint.headers import TensorInfo, check_header_sizes, read_header
from qwen_core.checkpoint.nvidia import as_mlx_parts
from qwen_core.checkpoint.quantization import (
    FLOAT_DTYPES,
    QuantSpec,
    StoredForm,
    canonical_name,
    spec_from_headers,
)
from qwen_core.checkpoint.tensor_scale import checked_tensor_scale
from qwen_core.errors import CheckpointError, quote
from qwen_core.figures import shape_text

PREFIX = "mtp."
SIDECARS = ("mtp.safetensors", "mtp/weights.safetensors", "model-mtp*.safetensors")
"""Files beside a checkpoint in which its MTP layer is found, in the order in which they count."""
_UNUSED_BUFFERS = ("rotary_emb.inv_freq",)


@dataclass(frozen=True)
class MtpTensors:
    """The MTP layer's tensors by canonical name without `mtp.`, and the formats of its quantised modules.

    `converted` says whether norms are stored as 1 + w; None where only their values can tell, in a file of its own.
    """

    tensors: Mapping[str, TensorInfo]
    specs: Mapping[str, QuantSpec]
    converted: bool | None

    @property
    def nbytes(self) -> int:
        return sum(info.nbytes for info in self.tensors.values())

    def draft_bytes(self, config: ModelConfig) -> int:
        """Bytes of weights that one draft reads of the layer: of its experts those that a token uses."""
        sizes = {name: info.nbytes for name, info in self.tensors.items()}
        stacks = sum(size for name, size in sizes.items() if ".switch_mlp." in name or ".experts." in name)
        used = 0 if config.mixture is None else stacks * config.mixture.used // config.mixture.experts
        return self.nbytes - stacks + used

    def expected(self, config: ModelConfig) -> Iterator[TextTensor]:
        """What the architecture has there; experts as they are stored here."""
        return mtp_tensors(with_experts_of(config, self.tensors))

    @property
    def file(self) -> Path:
        """The file that holds the layer's first matrix."""
        return self.tensors["fc.weight"].file


def find_mtp(
    directory: Path, config: ModelConfig, tensors: Mapping[str, TensorInfo], converted: bool
) -> MtpTensors | None:
    """The MTP layer of an opened directory, whose own `tensors` are given; None where there is none.

    Raises CheckpointError, one line with file and tensor, for one that does not fit.
    """
    inside = _table(tensors, beside=False)
    if inside:
        return MtpTensors(inside, _check(inside, config, directory), converted)
    path = next(sidecars(directory), None)
    return None if path is None else read_mtp(path, config)


def sidecars(directory: Path) -> Iterator[Path]:
    """The files beside a checkpoint that may hold its MTP layer; the first counts."""
    for pattern in SIDECARS:
        yield from sorted(directory.glob(pattern))


def read_mtp(path: Path, config: ModelConfig) -> MtpTensors:
    """The MTP layer in one file: of its own, where `mtp.` may be missing from names, or a shard's among other tensors.

    Raises CheckpointError as `find_mtp` does, also where there is none.
    """
    check_header_sizes([path])
    stored = read_header(path)
    inside = _table(stored, beside=False)
    table = inside or _table(stored, beside=True)
    if not inside and "fc.weight" not in table:
        raise CheckpointError(f"{quote(path)} has no tensors mtp.*")
    return MtpTensors(table, _check(table, config, path), None)


def _table(tensors: Mapping[str, TensorInfo], *, beside: bool) -> dict[str, TensorInfo]:
    """The MTP layer's tensors by canonical name. In a file `beside` the model `mtp.` may be missing from them."""
    table: dict[str, TensorInfo] = {}
    for stored, info in tensors.items():
        name = canonical_name(stored)
        if name.endswith(_UNUSED_BUFFERS) or not (beside or name.startswith(PREFIX)):
            continue
        name = name.removeprefix(PREFIX)
        if name in table:
            raise CheckpointError(
                f"{quote(info.file)}: tensors {quote(table[name].name)} and {quote(stored)} are the same tensor of the "
                "MTP layer"
            )
        table[name] = info
    return as_mlx_parts(table)


def _check(table: Mapping[str, TensorInfo], config: ModelConfig, where: Path) -> dict[str, QuantSpec]:
    """The format of each quantised module. Raises CheckpointError for what is missing, too much or of a wrong shape."""
    specs: dict[str, QuantSpec] = {}
    known: set[str] = set()
    for expected in mtp_tensors(with_experts_of(config, table)):
        info = table.get(expected.name)
        if info is None:
            raise CheckpointError(f"{quote(where)}: tensor {quote(PREFIX + expected.name)} of the MTP layer is missing")
        known.add(expected.name)
        scales = table.get(f"{expected.module}.scales") if expected.is_matrix else None
        if scales is None:
            _check_plain(expected, info)
            continue
        biases = table.get(f"{expected.module}.biases")
        known.update((f"{expected.module}.scales", f"{expected.module}.biases"))
        stored = StoredForm(
            (info.dtype, info.shape), (scales.dtype, scales.shape), biases and (biases.dtype, biases.shape)
        )
        spec = specs[expected.module] = spec_from_headers(stored, expected.shape, _place(info))
        if (factor := checked_tensor_scale(table, expected.module, spec, _place(info))) is not None:
            known.add(factor)
    for name, info in table.items():
        if name not in known:
            raise CheckpointError(f"{_place(info)} is not part of an MTP layer of this model")
    return specs


def _check_plain(expected: TextTensor, info: TensorInfo) -> None:
    if info.dtype not in FLOAT_DTYPES:
        raise CheckpointError(
            f"{_place(info)} has dtype {quote(info.dtype)} and no scales, expected one of {', '.join(FLOAT_DTYPES)}"
        )
    if info.shape != expected.shape:
        raise CheckpointError(
            f"{_place(info)} has shape {shape_text(info.shape)}, but the MTP layer of this model has "
            f"{shape_text(expected.shape)}"
        )


def _place(info: TensorInfo) -> str:
    return f"{quote(info.file)}: tensor {quote(info.name)}"
