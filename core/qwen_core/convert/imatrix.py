"""Importance matrices: what llama.cpp measured of every weight's input channels, under our names.

The file is GGUF with two tensors a weight, `NAME.in_sum2` (sums of squares, one a channel) and `NAME.counts` (how many
tokens they are of), as llama.cpp's tools/imatrix/imatrix.cpp writes them; what else it holds (`NAME.in_sum`) is not
used. The older format (.dat) is read too, by imatrix_dat.py. A layer, a kind of layer or a width that the model has
not is an error, and so is a file that matches nothing: an importance matrix of another model must not pass for one that
was used.

llama.cpp stores the value heads of linear layers in another order than Hugging Face does (conversion/qwen.py,
`_reorder_v_heads`: the heads of a key head apart instead of side by side), which permutes channels of ssm_out alone.
"""

import re
import struct
from pathlib import Path

import numpy as np

from qwen_core.checkpoint.architecture import is_stack, text_tensors, with_experts_of
from qwen_core.checkpoint.config import LINEAR, ModelConfig, text_section
from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.quantization import canonical_name
from qwen_core.convert.gguf_bounds import check_bounds
from qwen_core.convert.imatrix_dat import read_dat
from qwen_core.convert.plan import MTP_PREFIX
from qwen_core.errors import CheckpointError, quote
from qwen_core.files import require_file

# llama.cpp's names (its `qwen35` and `qwen35moe` architectures) and ours, within a layer.
LAYER_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_qkv": "linear_attn.in_proj_qkv",
    "attn_gate": "linear_attn.in_proj_z",
    "ssm_alpha": "linear_attn.in_proj_a",
    "ssm_beta": "linear_attn.in_proj_b",
    "ssm_out": "linear_attn.out_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.switch_mlp.gate_proj",
    "ffn_up_exps": "mlp.switch_mlp.up_proj",
    "ffn_down_exps": "mlp.switch_mlp.down_proj",
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
}
MODEL_NAMES = {"output": "lm_head", "token_embd": "embed_tokens"}
_LAYER = re.compile(r"blk\.(\d{1,4})\.([\w.]+)")
# What only the MTP layer has in llama.cpp ("nextn.eh_proj"); the rest of it is a full-attention layer's.
_MTP_NAMES = "nextn."
# Gate and up of the experts in one tensor, as newer files have them: both have its input.
_BOTH = "ffn_gate_up_exps"
_SUMS, _COUNTS = ".in_sum2", ".counts"
# The older format of the largest mixture has 200 MB.
_MAX_DAT_BYTES = 1 << 28


def our_name(name: str) -> str | None:
    """The canonical module of a llama.cpp tensor ("blk.3.ffn_up.weight"); None for one that we do not know."""
    name = name.removesuffix(".weight")
    match = _LAYER.fullmatch(name)
    if match is None:
        return MODEL_NAMES.get(name)
    inner = _inner(match[2])
    return None if inner is None else f"layers.{int(match[1])}.{inner}"


def _inner(name: str) -> str | None:
    """Our name within a layer; that of gate where the experts' gate and up are in one."""
    return LAYER_NAMES.get("ffn_gate_exps" if name == _BOTH else name)


def has_mtp(checkpoint: Checkpoint) -> bool:
    """Whether the model has an MTP layer, here or where its files came from: such files often lack the tensors."""
    if any(canonical_name(name).startswith(MTP_PREFIX) for name in checkpoint.tensors):
        return True
    return bool(text_section(checkpoint.raw_config, "config.json").get("mtp_num_hidden_layers"))


def read_imatrix(path: Path, config: ModelConfig, *, mtp: bool = False) -> dict[str, np.ndarray]:
    """Mean square of every input channel, float32, by canonical module name.

    Of a stack of experts, gate and up have that of all tokens, whose norm they share, and down [experts, channels]: an
    expert that no token of the measurement met has the mean of the others.
    `mtp` says that the model has an MTP layer, which the file may then have measured too (it is not read). Raises
    CheckpointError for a file that is no GGUF importance matrix, one that has nothing of this model, layers, kinds of
    layers or widths that the model has not, or channels without data.
    """
    require_file(path)
    where = f"the importance matrix {quote(path)}"
    experts = config.mixture.experts if config.mixture is not None else 1
    tensors = _tensors(path, where, experts)
    sums = {name.removesuffix(_SUMS): data for name, data in tensors.items() if name.endswith(_SUMS)}
    shapes = {tensor.module: tensor.shape for tensor in text_tensors(with_experts_of(config, ()), lm_head=True)}
    importance: dict[str, np.ndarray] = {}
    for name, total in sums.items():
        _check_layer(name, config, mtp, where)
        module = our_name(name)
        if module is None or module not in shapes:
            continue
        place, counts = f"{where}: {quote(name)}", tensors.get(name + _COUNTS)
        if is_stack(module):
            mean, each = _means_of_experts(total, counts, shapes[module][0], place)
            importance[module] = each if module.endswith("down_proj") else mean
            if _BOTH in name:
                importance[module.replace("gate_proj", "up_proj")] = mean
        else:
            mean = importance[module] = _mean(total, counts, place)
        if module.endswith(".linear_attn.out_proj") and mean.size == config.linear_value_dim:
            importance[module] = _grouped_heads(mean, config)
        if mean.shape[-1] != shapes[module][-1]:
            raise CheckpointError(
                f"{where} has {mean.shape[-1]} channels for {quote(module)}, but the weight has {shapes[module][-1]}: "
                "it is not of this model"
            )
    if not importance:
        example = next(iter(sums))
        raise CheckpointError(f"{where} matches no tensor of this model; it names, for example, {quote(example)}")
    return importance


def _grouped_heads(channels: np.ndarray, config: ModelConfig) -> np.ndarray:
    """The channels of value heads with those of one key head side by side, as the checkpoint has them."""
    heads, keys = config.linear_num_value_heads, config.linear_num_key_heads
    return np.ascontiguousarray(channels.reshape(heads // keys, keys, -1).swapaxes(0, 1)).reshape(-1)


def _check_layer(name: str, config: ModelConfig, mtp: bool, where: str) -> None:
    """Raise CheckpointError for a name within a layer that the model has not, or has of the other kind."""
    match = _LAYER.fullmatch(name.removesuffix(".weight"))
    if match is None:
        return
    index, layers, inner = int(match[1]), config.num_hidden_layers, _inner(match[2]) or ""
    is_mixer = inner.startswith(("self_attn.", "linear_attn."))
    is_linear = inner.startswith("linear_attn.")
    if index < layers:
        kind = config.layer_types[index]
        if (is_mixer and is_linear != (kind == LINEAR)) or match[2].startswith(_MTP_NAMES):
            raise CheckpointError(
                f"{where} names {quote(name)}, but layer {index} of the model is of {kind.replace('_', ' ')}: it is "
                "not of this model"
            )
        return
    # llama.cpp numbers the one MTP layer, which is of full attention, behind the model's own (src/models/qwen35.cpp).
    is_of_mtp = match[2].startswith(_MTP_NAMES) or (inner != "" and not is_linear)
    if not (mtp and index == layers and is_of_mtp):
        beside = " and an MTP layer of full attention" if mtp else ""
        raise CheckpointError(
            f"{where} names {quote(name)}, but the model has {layers} layers{beside}: it is not of this model"
        )


def _mean(total: np.ndarray, counts: np.ndarray | None, where: str) -> np.ndarray:
    if counts is None or counts.size != 1:
        raise CheckpointError(f"{where} has no single count beside its sums: it is damaged, or of a mixture of experts")
    count = float(counts.reshape(-1)[0])
    if not np.isfinite(count):
        raise CheckpointError(f"{where} has a count of {count:g}: it is damaged")
    if not count > 0:
        raise CheckpointError(f"{where} was never measured (its count is {count:g}): measure on more text")
    # What overflows or is NaN here is found below, and said in one line; numpy would say it in another.
    with np.errstate(all="ignore"):
        mean = total.reshape(-1).astype(np.float32) / np.float32(count)
    if not bool((np.isfinite(mean) & (mean >= 0)).all()):
        raise CheckpointError(f"{where} holds NaN, infinity or a negative sum of squares: it is damaged")
    if not mean.any():
        raise CheckpointError(f"{where} holds nothing but zeros: measure on more text")
    return mean


def _means_of_experts(
    total: np.ndarray, counts: np.ndarray | None, experts: int, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """The mean of all tokens that any expert met [channels], and those of each expert [experts, channels]."""
    if counts is None or counts.size != experts or total.size % experts:
        raise CheckpointError(f"{where} lacks the sums and counts of {experts} experts: it is not of this model")
    sums, counts = total.reshape(experts, -1).astype(np.float64), counts.reshape(-1).astype(np.float64)
    met = ~(counts <= 0)  # a count that is no number is found to be one below
    with np.errstate(all="ignore"):  # as in `_mean`
        mean = _mean(sums[met].sum(axis=0), counts[met].sum(), where)
    each = np.tile(mean, (experts, 1))
    for expert in np.flatnonzero(met):
        each[expert] = _mean(sums[expert], counts[expert], f"{where} of expert {expert}")
    return mean, each


def _tensors(path: Path, where: str, experts: int) -> dict[str, np.ndarray]:
    """The sums and counts of a file; nothing else of it is copied, which may be a whole model by mistake."""
    with path.open("rb") as file:
        is_gguf = file.read(4) == b"GGUF"
    if not is_gguf:
        return _older_tensors(path, where, experts)
    try:
        # Before the reader, which makes objects of every word of a vocabulary.
        has_sums = check_bounds(path, _SUMS)
        with np.errstate(all="ignore"):  # the reader adds offsets as NumPy's numbers
            found = _gguf_tensors(path) if has_sums else {}
    except Exception as error:
        # The reader of a damaged file fails in whatever way its bytes lead to.
        raise CheckpointError(f"{where} is damaged: {quote(repr(error))}") from None
    if not has_sums:
        raise CheckpointError(f"{where} holds no tensors *{_SUMS}: make it with llama-imatrix")
    return found


def _gguf_tensors(path: Path) -> dict[str, np.ndarray]:
    from gguf import GGUFReader

    tensors = GGUFReader(path).tensors
    # Tensors may lie over one another in a hostile file, which would be copied once for each.
    if sum(int(tensor.n_bytes) for tensor in tensors) > path.stat().st_size:
        raise ValueError("its tensors have more bytes than the file")
    return {tensor.name: np.array(tensor.data) for tensor in tensors if tensor.name.endswith((_SUMS, _COUNTS))}


def _older_tensors(path: Path, where: str, experts: int) -> dict[str, np.ndarray]:
    if path.stat().st_size > _MAX_DAT_BYTES:
        raise CheckpointError(f"{where} is neither GGUF nor of the older format (.dat), which is never so large")
    try:
        return read_dat(path, _SUMS, _COUNTS, experts)
    except (OSError, ValueError, struct.error) as error:
        raise CheckpointError(
            f"{where} is neither GGUF nor a whole file of the older format (.dat): {quote(error)}; make it with "
            "llama-imatrix"
        ) from None
