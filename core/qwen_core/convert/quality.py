"""How far a model's predictions are from those of its original, on a text.

Perplexity is exp of the mean negative log-probability of each next token. The KL divergence sum p ln(p / q) is of the
whole next-token distribution, the original's p against the model's q, at every position: 0 where nothing is lost. Only
ids that the tokenizer has take part, as in sampling (FORMAT.md 11).

The two models are never in memory together: the original's log-probabilities wait in a temporary file. No kernels of
our own compute them, whatever the settings say.
"""

import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qwen_core.checkpoint.architecture import is_stack, raw_place, text_tensors, with_experts_of
from qwen_core.checkpoint.config import ModelConfig
from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.layout import role_of
from qwen_core.convert.awq import Fold
from qwen_core.convert.found_folds import find_folds, load_modules
from qwen_core.convert.matrices import unfolded
from qwen_core.device.backend import mx
from qwen_core.errors import CapacityError, CheckpointError, SettingsError, quote
from qwen_core.figures import decimal_size
from qwen_core.files import read_text
from qwen_core.model.model import Model, default_dtype, load_model
from qwen_core.model.weights import Weights, load_weights
from qwen_core.protocol.weight_tiers import WeightTiers
from qwen_core.text.tokenizer import load_tokenizer

# Tokens that are predicted from one another; each window starts with an empty state.
WINDOW = 512
MAX_TEXT_BYTES = 64 << 20
# Positions whose distributions are in memory at a time.
_ROWS = 64


@dataclass(frozen=True)
class Quality:
    """`positions` predictions of a model against the reference's. KL in nats; `top1` is the share of positions whose
    likeliest token is the reference's."""

    positions: int
    reference_perplexity: float
    perplexity: float
    kl_mean: float
    kl_p999: float
    top1: float


@dataclass(frozen=True)
class RoleQuality:
    """The same with the modules of one role alone quantised, as `formats` says."""

    role: str
    formats: tuple[str, ...]
    modules: int
    quality: Quality


@dataclass(frozen=True)
class Text:
    """Token ids to predict, and how many ids a prediction may choose from."""

    ids: tuple[int, ...]
    vocabulary: int

    def windows(self) -> Iterator[list[int]]:
        """Pieces of at least two tokens."""
        for begin in range(0, len(self.ids), WINDOW):
            piece = list(self.ids[begin : begin + WINDOW])
            if len(piece) > 1:
                yield piece

    @property
    def positions(self) -> int:
        return sum(len(window) - 1 for window in self.windows())

    def targets(self) -> np.ndarray:
        return np.array([token for window in self.windows() for token in window[1:]], dtype=np.int64)


Said = Callable[[str], None]


def read_ids(path: Path, checkpoint: Checkpoint, tokens: int) -> Text:
    """The first `tokens` tokens of a UTF-8 file in the checkpoint's tokenizer. Control tokens it spells count as those.

    Raises SettingsError for a file that cannot be read or is too short, TextError without a tokenizer.
    """
    tokenizer = load_tokenizer(checkpoint)
    try:
        text = read_text(path, MAX_TEXT_BYTES)
    except CheckpointError as error:
        raise SettingsError(f"the text cannot be read: {error}") from None
    # No token is longer than a few hundred bytes, and most are a few: this much is enough, and bounded.
    ids = tokenizer.encode(text[: tokens * 64])[:tokens]
    if len(ids) < 2:
        raise SettingsError(f"{quote(path)} has {len(ids)} tokens: at least two are needed")
    return Text(tuple(ids), min(tokenizer.size, checkpoint.config.vocab_size))


def compare(
    reference: Path, model: Path, text: Text, *, dtype: str | None = None, say: Said = lambda _: None
) -> Quality:
    """The quality of the checkpoint at `model` against the one at `reference`."""
    other = open_checkpoint(model)
    with Reference(open_checkpoint(reference), text, dtype or default_dtype(), say) as measured:
        check_same_model(measured.checkpoint.config, other.config, model)
        say(f"predicting with {model}")
        return measured.against_model(load_model(other, measured.dtype, kernels=False))


def compare_roles(
    reference: Path, model: Path, text: Text, *, dtype: str | None = None, say: Said = lambda _: None
) -> tuple[Quality, list[RoleQuality]]:
    """The same, and the quality of the reference with the weights of one role at a time taken from `model`.

    They are `model`'s own, not quantised anew: what an importance matrix had folded into them (AWQ) is found by
    comparing both models and taken out of the quantised weight, so that it computes in the reference what it does in
    `model`. Unpacked for that, it is rounded to the compute type, which is little even beside 8 bits. The most harmful
    role comes first. Raises CheckpointError where the reference is quantised itself.
    """
    other, original = open_checkpoint(model), open_checkpoint(reference)
    if original.specs:
        raise CheckpointError(f"{quote(reference)} is quantised: single roles need an unquantised reference")
    if other.specs and other.config.mixture is not None and other.config.mixture.fused:
        raise CheckpointError(f"{quote(model)} has gate and up of its experts in one: single roles need them apart")
    roles: dict[str, list[str]] = {}
    for module in other.specs:
        roles.setdefault(role_of(module), []).append(module)
    with Reference(original, text, dtype or default_dtype(), say) as measured:
        check_same_model(original.config, other.config, model)
        say(f"predicting with {model}")
        whole = measured.against_model(load_model(other, measured.dtype, kernels=False))
        found = find_folds(original, other)
        entries = []
        for role, modules in roles.items():
            say(f"predicting with {role} alone quantised")
            quality = measured.against_model(with_modules_of(original, other, modules, found, measured.dtype))
            formats = tuple(sorted({str(other.specs[module]) for module in modules}))
            entries.append(RoleQuality(role, formats, len(modules), quality))
    return whole, sorted(entries, key=lambda entry: -entry.quality.kl_mean)


def check_same_model(one: ModelConfig, other: ModelConfig, path: Path) -> None:
    """Raise CheckpointError unless both are the same architecture in the same sizes."""
    one, other = (with_experts_of(config, ()) for config in (one, other))  # however they are stored
    for field in ("num_hidden_layers", "hidden_size", "intermediate_size", "mixture", "vocab_size", "layer_types"):
        if getattr(one, field) != getattr(other, field):
            raise CheckpointError(f"{quote(path)} is another model than the reference: {field} differs")


def with_modules_of(
    original: Checkpoint, other: Checkpoint, modules: Iterable[str], found: Mapping[str, Fold], dtype: str
) -> Model:
    """The model of the unquantised `original` with quantised `modules` of `other` in place of its own.

    What `found` says was folded into those is taken out again, so that they fit the original's norms and neighbours.
    Such a weight is unpacked, in the compute type; all others stay packed as they are stored.
    """
    modules = list(modules)
    arrays = _arrays_beside(original, modules, dtype)
    specs = {module: other.specs[module] for module in modules if module not in found}
    arrays |= load_modules(other, specs, dtype)
    for module in modules:
        if module in found:
            arrays[f"{module}.weight"] = unfolded(other, module, found[module], dtype)
    return Model(original, Weights(arrays, WeightTiers(0, 0, 0)), specs, dtype, joined=False)


def _arrays_beside(original: Checkpoint, modules: Collection[str], dtype: str) -> dict[str, mx.array]:
    """The weights of the unquantised `original` without those of `modules`, which are in MLX's layout.

    Where one of these is a stack of experts, so are all that raw files name otherwise; gate and up are two then.
    """
    text, apart = dict(original.text), list[str]()
    if any(map(is_stack, modules)):
        config = with_experts_of(original.config, ())
        for tensor in text_tensors(config, lm_head=False):
            place = raw_place(tensor.module)
            if place is not None and place.name in original.text:
                text.pop(place.name, None)
                apart.append(tensor.module)
    for module in modules:
        text.pop(f"{module}.weight", None)  # a tied original has no lm_head of its own
    arrays = load_weights(replace(original, text=text), dtype).arrays
    return arrays | {f"{m}.weight": unfolded(original, m, Fold(), dtype) for m in apart if m not in modules}


class Reference:
    """The original's log-probabilities of a text, in a temporary file, and models compared with them."""

    def __init__(self, checkpoint: Checkpoint, text: Text, dtype: str, say: Said) -> None:
        self.checkpoint, self.text, self.dtype, self._say = checkpoint, text, dtype, say
        self._file = tempfile.TemporaryFile(prefix="qwen-tui-")  # noqa: SIM115

    def __enter__(self) -> "Reference":
        shape = (self.text.positions, self.text.vocabulary)
        self._say(f"predicting with {self.checkpoint.path}")
        model = load_model(self.checkpoint, self.dtype, kernels=False)
        try:
            for rows in self._log_probabilities(model):
                self._file.write(rows.data)
            self._file.flush()
        except OSError as error:
            self._file.close()
            needed = f"{decimal_size(shape[0] * shape[1] * 4)} of temporary space are needed"
            raise CapacityError(f"{needed}: {quote(error.strerror or error)}; give fewer --tokens") from None
        finally:
            model.close()
        # Mapped for reading alone: writing to a mapping on a full disk would end the process.
        self._logs = np.memmap(self._file, np.float32, "r", shape=shape)
        return self

    def __exit__(self, *_: object) -> None:
        del self._logs
        self._file.close()

    def against_model(self, model: Model) -> Quality:
        """Compare `model`, which is closed afterwards."""
        try:
            return self.against(self._log_probabilities(model))
        finally:
            model.close()

    def against(self, others: Iterator[np.ndarray]) -> Quality:
        """Compare log-probabilities that come in runs of positions."""
        targets = self.text.targets()
        divergence = np.empty(len(targets))
        ours, theirs, same = np.empty(len(targets)), np.empty(len(targets)), 0
        position = 0
        for q in others:
            span = slice(position, position + len(q))
            p, rows = self._logs[span], np.arange(len(q))
            divergence[span] = np.sum(np.exp(p) * (p - q), axis=-1, dtype=np.float64)
            ours[span], theirs[span] = q[rows, targets[span]], p[rows, targets[span]]
            same += int(np.sum(p.argmax(-1) == q.argmax(-1)))
            position += len(q)
        divergence = np.maximum(divergence, 0)  # the sum of a distribution with itself may round below it
        return Quality(
            positions=len(targets),
            reference_perplexity=float(np.exp(-theirs.mean())),
            perplexity=float(np.exp(-ours.mean())),
            kl_mean=float(divergence.mean()),
            kl_p999=float(np.quantile(divergence, 0.999)),
            top1=same / len(targets),
        )

    def _log_probabilities(self, model: Model) -> Iterator[np.ndarray]:
        """ln of the next token's distribution at every position but a window's last: runs of [rows, vocabulary]."""
        for window in self.text.windows():
            state = model.new_state()
            inputs = window[:-1]
            for begin in range(0, len(inputs), _ROWS):
                ids = mx.array([inputs[begin : begin + _ROWS]])
                logits = model(ids, state)[0, :, : self.text.vocabulary].astype(mx.float32)
                logs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
                mx.eval(logs, *state.arrays())
                yield np.ascontiguousarray(np.array(logs))
