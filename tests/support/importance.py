"""Importance matrices as llama.cpp writes them: GGUF files made with the gguf package, random values, its own names."""

from collections.abc import Callable, Mapping
from pathlib import Path

import gguf
import numpy as np

from qwen_core.checkpoint.architecture import text_tensors, with_experts_of
from qwen_core.checkpoint.config import ModelConfig


def llama_name(module: str, layers: int) -> str:
    """llama.cpp's name of a canonical module, as the gguf package maps Hugging Face's."""
    module = module.replace(".switch_mlp.", ".experts.")
    maps = (gguf.get_tensor_name_map(arch, layers) for arch in (gguf.MODEL_ARCH.QWEN35, gguf.MODEL_ARCH.QWEN35MOE))
    names = (names.get_name(module if module == "lm_head" else f"model.{module}") for names in maps)
    found = next((name for name in names if name is not None), None)
    assert found is not None, module
    return f"{found}.weight"


def random_importance(config: ModelConfig, seed: int) -> dict[str, np.ndarray]:
    """A mean square for every input channel of every matrix, over four orders of magnitude."""
    random = np.random.default_rng(seed)
    return {
        tensor.module: (10 ** random.uniform(-2, 2, (*tensor.shape[:-2], tensor.shape[-1]))).astype(np.float32)
        for tensor in text_tensors(with_experts_of(config, ()), lm_head=True)
        if tensor.is_matrix and tensor.module != "embed_tokens"
    }


def grouped_heads(values: np.ndarray, config: ModelConfig) -> np.ndarray:
    """What llama.cpp measured of ssm_out's channels in the order of the checkpoint: its value heads stand key head by
    key head, and there every key head's first one comes first (conversion/qwen.py, `_reorder_v_heads`)."""
    keys, size = config.linear_num_key_heads, config.linear_value_head_dim
    each = config.linear_num_value_heads // keys
    heads = values.reshape(-1, size)
    return np.concatenate([heads[rank * keys + key] for key in range(keys) for rank in range(each)])


def write_imatrix(
    path: Path,
    importance: Mapping[str, np.ndarray],
    layers: int,
    *,
    count: float = 37.0,
    rename: Callable[[str], str] = lambda name: name,
) -> Path:
    """The GGUF file; sums are the mean squares times `count`."""
    writer = gguf.GGUFWriter(path, "imatrix")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["test.txt"])
    for module, values in importance.items():
        name = rename(llama_name(module, layers))
        sums = (values * np.float32(count)).astype(np.float32)
        writer.add_tensor(f"{name}.in_sum2", sums if values.ndim == 2 else sums.reshape(1, -1))
        writer.add_tensor(f"{name}.counts", np.full((len(values) if values.ndim == 2 else 1, 1), count, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
