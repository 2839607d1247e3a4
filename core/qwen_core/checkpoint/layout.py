"""The layout of a checkpoint's weights: for every module how it is stored, what it costs, and why.

Pure arithmetic on an opened `Checkpoint`: no MLX, no tensor bytes. Telling a published variant by its layout, and what
another variant would cost, is variants.py's; the values inside a tensor are tensors/values.py's.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Literal, TypeVar

from qwen_core.checkpoint.architecture import TextTensor, text_tensors
from qwen_core.checkpoint.config import FULL, MixtureConfig, ModelConfig
from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.headers import DTYPE_BITS, TensorInfo
from qwen_core.checkpoint.mtp import PREFIX
from qwen_core.checkpoint.nvidia import PACKED, Writer, is_activation_scale, writer_of
from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.checkpoint.tensor_scale import TENSOR_SCALES, is_tensor_scale

Source = Literal["override", "default", "unquantised", "headers"]
LayerKind = Literal["linear", "full", "outside"]
PARTS = (".weight", ".scales", ".biases", *(f".{part}" for part in TENSOR_SCALES))
# The page of Apple silicon: what a mapped tensor's window, and so its alignment, is counted in.
PAGE = 16 << 10
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class ModuleLayout:
    """One module of the model: a weight with its scales and biases, or a lone tensor such as A_log.

    `name` is the on-disk path without ".weight", `canonical` the same without the writer's prefix. `layer` is None
    outside the layers. `role` is the module's own name ("gate_proj", "in_proj_qkv", "A_log"), with the parent where
    that alone is ambiguous ("linear_attn.norm"). `mode` is a quantisation mode or the float type of the weight
    ("bf16", "f16", "f32"); `bits` those of one element. `shape` is the unquantised one; of a layer's stack of experts,
    whose number is then `experts` (else 0), it is [experts, rows, columns]. `nbytes` counts everything
    stored, `token_bytes` what decoding one token reads of it, without drafts. `source` is what says how it is stored:
    the headers for the MTP layer, of which config.json says nothing, and where config.json says otherwise than they.
    `offset` is the weight's first byte in its shard, a path in the directory; `element_aligned` says whether each of
    its tensors begins at a multiple of its own element size. `writer` is the tool whose names and types its parts have.
    `error` is the root mean square of what quantisation changed over that of the weight, where somebody measured it
    (tensors/rounding_error.py).
    """

    name: str
    canonical: str
    layer: int | None
    kind: LayerKind
    role: str
    spec: QuantSpec | None
    mode: str
    bits: int
    group_size: int | None
    shape: tuple[int, ...]
    nbytes: int
    token_bytes: int
    source: Source
    shard: str
    offset: int
    element_aligned: bool
    tensors: tuple[str, ...]
    writer: Writer = "mlx"
    experts: int = 0
    error: float | None = None

    @property
    def is_matrix(self) -> bool:
        """Whether it is a matrix or a stack of them: what may be quantised."""
        return self.experts > 0 or len(self.shape) == 2

    @property
    def parameters(self) -> int:
        return prod(self.shape)

    @property
    def bits_per_weight(self) -> float:
        """Bits of one weight with its share of the stored scales and biases."""
        return self.nbytes * 8 / self.parameters if self.parameters else 0.0

    @property
    def alignment(self) -> int:
        """The largest power of two, at most a page of 16 KiB, that divides the weight's offset."""
        return min(self.offset & -self.offset, PAGE) if self.offset else PAGE

    @property
    def format(self) -> str:
        """Mode, bits and group for people: "nvfp4 4-bit g16", "affine 6-bit g64", "bf16"."""
        return self.mode if self.spec is None else f"{self.mode} {self.bits}-bit g{self.group_size}"

    @property
    def format_and_writer(self) -> str:
        """The same with another tool than MLX: "nvfp4 4-bit g16, modelopt"."""
        return self.format if self.writer == "mlx" else f"{self.format}, {self.writer}"

    @property
    def has_factor(self) -> bool:
        """Whether one number scales the whole weight beside the scales of its groups."""
        return any(map(is_tensor_scale, self.tensors))


@dataclass(frozen=True)
class Total:
    """Sum over some modules."""

    modules: int
    parameters: int
    nbytes: int
    token_bytes: int

    @property
    def bits_per_weight(self) -> float:
        return self.nbytes * 8 / self.parameters if self.parameters else 0.0


@dataclass(frozen=True)
class Unused:
    """Bytes on disk that decoding a token does not read: `what` is a short phrase for people."""

    what: str
    tensors: int
    nbytes: int


@dataclass(frozen=True)
class Layout:
    """Every module of the text model in the order of the computation, and what the files hold beside them.

    `mixture` is that of a mixture of experts, of which a token reads a few; a pass of several tokens reads more.
    `tensors` and `nbytes` count all tensors of the checkpoint's own files. `mtp` has the modules of the MTP layer,
    inside or beside them; where there is one that cannot draft, it is empty and `mtp_problem` says why. `warnings` are
    the checkpoint's.
    """

    modules: tuple[ModuleLayout, ...]
    tensors: int
    nbytes: int
    shards: tuple[str, ...]
    layer_kinds: tuple[LayerKind, ...]
    tied: bool
    unused: tuple[Unused, ...]
    mtp: tuple[ModuleLayout, ...] = ()
    mtp_problem: str = ""
    warnings: tuple[str, ...] = ()
    mixture: MixtureConfig | None = None

    @cached_property
    def text(self) -> Total:
        """All modules of the text model."""
        return total(self.modules)

    @property
    def everything(self) -> tuple[ModuleLayout, ...]:
        """The modules of the text model, then those of the MTP layer."""
        return (*self.modules, *self.mtp)

    @property
    def token_bytes(self) -> int:
        """Bytes of weights, as stored, that decoding one token reads. Recurrent state and KV come on top."""
        return self.text.token_bytes

    def pass_bytes(self, tokens: float) -> int:
        """Bytes of weights that a pass of so many tokens, or of so many on average, reads: of a mixture those of the
        experts that any of them uses.

        At most that is min(E, tokens * k) of E experts. It is less where tokens share some: expected of tokens that
        choose evenly and apart are E (1 - (1 - k / E)^tokens), which is what counts here. Real tokens of one text agree
        more than those, so that it is about the most that is read.
        """
        if self.mixture is None or tokens <= 1:
            return self.token_bytes
        share = 1 - (1 - self.mixture.used / self.mixture.experts) ** tokens
        stacks = [module for module in self.modules if module.experts]
        once = sum(module.token_bytes for module in stacks)
        return self.token_bytes - once + round(share * sum(module.nbytes for module in stacks))

    @property
    def quantised(self) -> int:
        """How many modules are quantised."""
        return sum(module.spec is not None for module in self.modules)

    @property
    def writers(self) -> tuple[Writer, ...]:
        """The tools other than MLX whose parts some modules have."""
        return tuple(dict.fromkeys(module.writer for module in self.everything if module.writer != "mlx"))

    @property
    def overrides(self) -> int:
        """How many quantised modules config.json names with a spec of their own."""
        return sum(module.source == "override" and module.spec is not None for module in self.modules)

    def share(self, token_bytes: int) -> float:
        """`token_bytes` as a share (0 to 1) of what one token reads."""
        return token_bytes / self.token_bytes if self.token_bytes else 0.0

    def by_format(self) -> dict[tuple[str, int, int | None], Total]:
        """Totals by (mode, bits, group size), most read first."""
        return _totals(self.modules, lambda module: (module.mode, module.bits, module.group_size))

    def mtp_by_format(self) -> dict[tuple[str, int, int | None], Total]:
        """The same of the MTP layer's matrices, of which a token reads nothing, in order."""
        matrices = (module for module in self.mtp if module.is_matrix)
        return _totals(matrices, lambda module: (module.mode, module.bits, module.group_size))

    def by_part(self) -> dict[str, Total]:
        """Totals by the part of the model: "ffn", "gdn", "attn", "head", and the rest as "other"; most read first."""
        return _totals(self.modules, lambda module: part_of(module.canonical))

    @cached_property
    def index(self) -> Mapping[str, ModuleLayout]:
        """Every module by canonical name."""
        return {module.canonical: module for module in self.everything}

    def at(self, layer: int, role: str) -> ModuleLayout | None:
        """The module of a layer by its role; None where the layer has none."""
        return self._by_place.get((layer, role))

    @cached_property
    def _by_place(self) -> dict[tuple[int | None, str], ModuleLayout]:
        return {(module.layer, module.role): module for module in self.modules}


def total(modules: Iterable[ModuleLayout]) -> Total:
    """The sum over `modules`."""
    chosen = list(modules)
    return Total(
        len(chosen),
        sum(module.parameters for module in chosen),
        sum(module.nbytes for module in chosen),
        sum(module.token_bytes for module in chosen),
    )


def _totals(modules: Iterable[ModuleLayout], key: Callable[[ModuleLayout], Key]) -> dict[Key, Total]:
    groups: dict[Key, list[ModuleLayout]] = {}
    for module in modules:
        groups.setdefault(key(module), []).append(module)
    sums = {name: total(group) for name, group in groups.items()}
    return dict(sorted(sums.items(), key=lambda item: -item[1].token_bytes))


# Modules in these have the names of a dense model's feed-forward part.
_PARTS_OF_A_MIXTURE = ("switch_mlp", "experts", "shared_expert")


def role_of(canonical: str) -> str:
    """The role of a canonical module name."""
    parts = canonical.split(".")
    if len(parts) > 1 and (parts[-1] == "norm" or parts[-2] in _PARTS_OF_A_MIXTURE):
        return ".".join(parts[-2:])
    return parts[-1]


_PARTS_OF_A_LAYER = {"mlp": "ffn", "linear_attn": "gdn", "self_attn": "attn"}


def part_of(canonical: str) -> str:
    """The part of the model that a canonical module name belongs to. A tied embedding counts as the head."""
    names = canonical.split(".")
    if names[0] in ("lm_head", "embed_tokens"):
        return "head"
    return _PARTS_OF_A_LAYER.get(names[2], "other") if len(names) > 3 else "other"


def layer_of(canonical: str) -> int | None:
    """The layer that a canonical module name is in; None outside the layers."""
    parts = canonical.split(".", 2)
    return int(parts[1]) if parts[0] == "layers" and len(parts) > 1 and parts[1].isdigit() else None


def kind_of(config: ModelConfig, layer: int | None) -> LayerKind:
    """The kind of a layer, or "outside" for None."""
    if layer is None:
        return "outside"
    return "full" if config.layer_types[layer] == FULL else "linear"


def make_layout(checkpoint: Checkpoint) -> Layout:
    """The layout of an opened checkpoint."""
    config = checkpoint.config
    expected = text_tensors(config, lm_head=not config.tie_word_embeddings)
    modules = tuple(_text_module(checkpoint, tensor) for tensor in expected)
    return Layout(
        modules=modules,
        tensors=len(checkpoint.tensors),
        nbytes=checkpoint.total_bytes,
        shards=tuple(path.name for path in checkpoint.shards),
        layer_kinds=tuple(kind_of(config, layer) for layer in range(config.num_hidden_layers)),
        tied=config.tie_word_embeddings,
        unused=_unused(checkpoint, modules),
        mtp=tuple(_mtp_modules(checkpoint)),
        mtp_problem=checkpoint.mtp_problem,
        warnings=checkpoint.warnings,
        mixture=config.mixture,
    )


def _text_module(checkpoint: Checkpoint, tensor: TextTensor) -> ModuleLayout:
    module = tensor.module
    layer = layer_of(module)
    source = checkpoint.spec_sources.get(module, "default")
    found = _module(tensor, checkpoint.text, checkpoint.specs.get(module), source)
    return replace(
        found,
        layer=layer,
        kind=kind_of(checkpoint.config, layer),
        token_bytes=token_bytes(checkpoint.config, tensor, found.nbytes),
    )


def _mtp_modules(checkpoint: Checkpoint) -> Iterator[ModuleLayout]:
    found = checkpoint.mtp
    if found is None:
        return
    for tensor in found.expected(checkpoint.config):
        module = _module(tensor, found.tensors, found.specs.get(tensor.module), "headers")
        name, file = PREFIX + module.canonical, found.tensors[tensor.name].file
        place = file.relative_to(checkpoint.path).as_posix()
        yield replace(module, canonical=name, role=role_of(name), shard=place)


def _module(
    tensor: TextTensor,
    tensors: Mapping[str, TensorInfo],
    spec: QuantSpec | None,
    source: Source,
) -> ModuleLayout:
    """A module in no layer, of which a token reads nothing; `source` if quantised. `tensors` by canonical name."""
    module = tensor.module
    weight = tensors[tensor.name]
    parts = [weight]
    if spec is not None:
        parts += [info for part in PARTS[1:] if (info := tensors.get(module + part)) is not None]
    return ModuleLayout(
        name=weight.name.removesuffix(".weight").removesuffix(f".{PACKED}"),
        canonical=module,
        layer=None,
        kind="outside",
        role=role_of(module),
        spec=spec,
        mode=weight.dtype.lower() if spec is None else spec.mode,
        bits=DTYPE_BITS[weight.dtype] if spec is None else spec.bits,
        group_size=None if spec is None else spec.group_size,
        shape=tensor.shape,
        nbytes=sum(part.nbytes for part in parts),
        token_bytes=0,
        source="unquantised" if spec is None else source,
        shard=weight.file.name,
        offset=weight.offset,
        element_aligned=all(part.element_aligned for part in parts),
        tensors=tuple(part.name for part in parts),
        experts=tensor.shape[0] if tensor.kind == "experts" else 0,
        writer="mlx" if spec is None else writer_of(tensors, module),
    )


def token_bytes(config: ModelConfig, tensor: TextTensor, nbytes: int) -> int:
    """Bytes of a module of `nbytes` that decoding one token reads.

    All of them, but of a stack of experts those that a token uses, and of the embedding only one row; where it is the
    head as well, it is read whole.
    """
    if tensor.kind == "experts" and config.mixture is not None:
        return nbytes * config.mixture.used // config.mixture.experts
    if tensor.module == "embed_tokens" and not config.tie_word_embeddings:
        return nbytes // config.vocab_size
    return nbytes


def _unused(checkpoint: Checkpoint, modules: Sequence[ModuleLayout]) -> tuple[Unused, ...]:
    """What is on disk and not read for one token, the largest first."""
    text = {info.name for info in checkpoint.text.values()}
    sums: dict[str, list[int]] = {}
    for name, info in checkpoint.tensors.items():
        if name not in text:
            what = "vision tower" if "vision" in name or "visual" in name else _BESIDE.get(name.split(".")[0], "other")
            if what == "other" and is_activation_scale(name):
                what = "scales of activations"
            sums.setdefault(what, []).append(info.nbytes)
    found = [Unused(what, len(sizes), sum(sizes)) for what, sizes in sums.items()]
    for module in modules:
        if module.token_bytes < module.nbytes and not module.experts:
            what = "embedding rows (a token reads one)"
            found.append(Unused(what, len(module.tensors), module.nbytes - module.token_bytes))
    stacks = [module for module in modules if module.experts]
    mixture = checkpoint.config.mixture
    if mixture is not None and mixture.used < mixture.experts:
        what = f"experts (a token uses {mixture.used} of {mixture.experts})"
        tensors = sum(len(module.tensors) for module in stacks)
        found.append(Unused(what, tensors, sum(module.nbytes - module.token_bytes for module in stacks)))
    return tuple(sorted(found, key=lambda unused: -unused.nbytes))


MTP_LAYER = "MTP layer"
_BESIDE = {"mtp": MTP_LAYER}
