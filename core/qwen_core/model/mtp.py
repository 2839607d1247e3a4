"""The MTP layer: one more block, which drafts the token after the next from the model's own hidden vectors.

FORMAT.md, "The model", step 10. Embedding and head are the model's; keys and values are kept in `State.mtp`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import cast

from qwen_core.checkpoint.mtp import MtpTensors
from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.device.backend import mx
from qwen_core.device.hardware import memory_bytes
from qwen_core.errors import CheckpointError, quote
from qwen_core.model.block import feed_forward
from qwen_core.model.layers import Attention, Norm, TensorSource
from qwen_core.model.model import Model
from qwen_core.model.state import MtpState
from qwen_core.model.weights import DTYPES, check_capacity, load_plans, plan_tensors

_RAW_BELOW = 0.5
"""Raw files store a norm's weight less 1, so that their elements lie about 0, those of converted files about 1."""


class MtpLayer:
    """x = fc([norm(embedding of the next token) | norm(hidden)]), a block with full attention, a norm; the head is the
    model's."""

    def __init__(self, model: Model, arrays: dict[str, mx.array], specs: Mapping[str, QuantSpec]) -> None:
        """Takes over `arrays`, by canonical name without `mtp.`, converted and in the model's compute type."""
        config = model.checkpoint.config
        source = TensorSource(arrays, specs, lambda module: True, model.kernels.names)
        epsilon = config.rms_norm_eps
        self._model = model
        self._join = source.projection("fc")
        self._embedding_norm = Norm(source.take("pre_fc_norm_embedding.weight"), epsilon)
        self._hidden_norm = Norm(source.take("pre_fc_norm_hidden.weight"), epsilon)
        self._attention_norm = Norm(source.take("layers.0.input_layernorm.weight"), epsilon)
        self._attention = Attention(source, "layers.0.self_attn.", 0, config)
        self._feed_forward_norm = Norm(source.take("layers.0.post_attention_layernorm.weight"), epsilon, source.kernels)
        self._feed_forward = feed_forward(source, "layers.0.mlp.", config)
        self._norm = Norm(source.take("norm.weight"), epsilon, source.kernels)

    def __call__(self, ids: mx.array, hidden: mx.array, state: MtpState) -> mx.array:
        """Take T pairs: `hidden` [1, T, H] of tokens, behind the final norm, and the tokens `ids` [1, T] after them.

        Returns vectors [1, T, H]: the model's head makes of each the logits of the token after that pair, and it takes
        the place of `hidden` where the next draft goes on from it.
        """
        joined = mx.concatenate([self._embedding_norm(self._model.embed(ids)), self._hidden_norm(hidden)], axis=-1)
        h = self._join(joined)
        mixed = self._attention(self._attention_norm(h), state, last=False)
        h, normed = self._feed_forward_norm.of_sum(h, mixed)
        h, normed = self._norm.of_sum(h, self._feed_forward(normed))
        state.length += ids.shape[1]
        return normed

    def catch_up(self, state: MtpState) -> None:
        """Take the pairs that wait, so that the state stands behind all tokens fed. Lazy, like all else."""
        if state.waiting:
            hidden, ids = _joined(state.waiting)
            state.waiting.clear()
            self(ids, hidden, state)

    def draft_logits(self, token: mx.array, count: int, limit: int, state: MtpState) -> list[mx.array]:
        """Logits [1, limit] of the `count` tokens after `token` [1], which was drawn and is not fed; each draft is the
        likeliest of the ids below `limit`. `state` keeps nothing of them, only the pairs that waited.
        """
        assert state.hidden is not None
        hidden, ids = _joined([*state.waiting, (state.hidden, token[None])])
        state.waiting.clear()
        true_pairs = state.length + ids.shape[1] - 1
        logits: list[mx.array] = []
        while True:
            hidden = self(ids, hidden, state)[:, -1:]
            logits.append(self._model.head(hidden)[:, -1, :limit])
            if len(logits) == count:
                break
            ids = mx.argmax(logits[-1], axis=-1)[None].astype(mx.uint32)
        # The rows of the drafts stay behind the end, where true ones will be written over them.
        state.length = true_pairs
        return logits


def _joined(pairs: Sequence[tuple[mx.array, mx.array]]) -> tuple[mx.array, mx.array]:
    """Hidden vectors [1, T, H] and ids [1, T] of all `pairs`, in order."""
    hidden, ids = [hidden for hidden, _ in pairs], [ids for _, ids in pairs]
    return mx.concatenate(hidden, axis=1), mx.concatenate(ids, axis=1)


def load_mtp(model: Model, tensors: MtpTensors) -> MtpLayer:
    """Bring the MTP layer of `model`'s checkpoint into memory.

    Raises CheckpointError, naming file and tensor, for values that are not finite, CapacityError for want of memory.
    """
    expected = list(tensors.expected(model.checkpoint.config))
    compute = DTYPES[model.dtype]
    plans = plan_tensors(tensors.tensors, expected, compute, raw=False)
    norms = {tensor.name for tensor in expected if tensor.kind == "norm"}
    # In float32 until it is known whether 1 has to be added.
    plans = [replace(plan, dtype=mx.float32) if plan.name in norms else plan for plan in plans]
    check_capacity(plans, model.dtype, memory_bytes())
    arrays = load_plans(plans).arrays
    _check_finite(arrays, tensors)
    converted = tensors.converted
    if converted is None:
        converted = are_converted(arrays[name] for name in norms)
    for name in norms:
        arrays[name] = (arrays[name] if converted else 1.0 + arrays[name]).astype(compute)
    return MtpLayer(model, arrays, tensors.specs)


def are_converted(norms: Iterable[mx.array]) -> bool:
    """Whether norms are stored as 1 + w, told by their values: a file of the MTP layer alone has no other sign."""
    return median(cast(float, mx.mean(norm).item()) for norm in norms) >= _RAW_BELOW


def _check_finite(arrays: Mapping[str, mx.array], tensors: MtpTensors) -> None:
    for name, array in arrays.items():
        values = array
        if array.dtype in (mx.uint8, mx.uint32):
            module, _, part = name.rpartition(".")
            if part != "weight":
                continue
            spec = tensors.specs[module]
            values = mx.dequantize(
                array,
                arrays[f"{module}.scales"],
                arrays.get(f"{module}.biases"),
                group_size=spec.group_size,
                bits=spec.bits,
                mode=spec.mode,
            )
        if not mx.all(mx.isfinite(values)).item():
            info = tensors.tensors[name]
            raise CheckpointError(
                f"{quote(info.file)}: tensor {quote(info.name)} of the MTP layer has values that are not finite"
            )
