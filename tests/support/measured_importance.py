"""Importance as llama.cpp measures it, by our own engine: what a model's projections are given, on a text."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.convert.quality import Text
from qwen_core.model.layers import Linear, TensorSource
from qwen_core.model.model import Model
from qwen_core.model.weights import load_weights


def measured_importance(path: Path, text: Text) -> dict[str, np.ndarray]:
    """The mean square of every input channel of each linear layer of an unquantised dense model, by canonical name."""
    checkpoint = open_checkpoint(path)
    with _listening() as heard:
        model = Model(checkpoint, load_weights(checkpoint, "float32"), {}, "float32", joined=False)
        count = 0
        for window in text.windows():
            state = model.new_state()
            mx.eval(model(mx.array([window]), state), *heard.values())
            count += len(window)
    return {module: np.array(total) / count for module, total in heard.items() if module != "embed_tokens"}


@contextmanager
def _listening() -> Iterator[dict[str, mx.array]]:
    """Sums of squares by the module whose weight they meet, while models are made and called."""
    heard: dict[str, mx.array] = {}
    names: dict[int, str] = {}
    projection, call = TensorSource.projection, Linear.__call__

    def named(source: TensorSource, module: str) -> object:
        found = projection(source, module)
        names[id(found)] = module
        return found

    def heeded(self: Linear, x: mx.array) -> mx.array:
        module = names[id(self)]
        heard[module] = heard.get(module, mx.array(0.0)) + mx.sum(mx.square(x), axis=tuple(range(x.ndim - 1)))
        return call(self, x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TensorSource, "projection", named)
        patch.setattr(Linear, "__call__", heeded)
        yield heard
