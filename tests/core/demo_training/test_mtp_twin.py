"""The MTP layer's training twin: at every depth it computes what the engine drafts with."""

import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.demo import demo_model_path
from qwen_core.model.model import load_model
from qwen_core.model.mtp import load_mtp

torch = pytest.importorskip("torch", reason="the `train` extra brings torch")

from demo_training.mtp_twin import MtpTwin  # noqa: E402
from demo_training.train_mtp import DEPTHS, losses, places, write_raw  # noqa: E402
from demo_training.twin import Twin, TwinConfig  # noqa: E402


def random_layer(config: TwinConfig) -> MtpTwin:
    """Of numbers that bfloat16 holds, with norms that differ from one."""
    torch.manual_seed(0)
    layer = MtpTwin(config).requires_grad_(False)
    for parameter in layer.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
        parameter.copy_(parameter.bfloat16().float())
    return layer


def test_every_depth_is_what_the_engine_computes(tmp_path: Path) -> None:
    directory = shutil.copytree(demo_model_path(), tmp_path / "model")
    layer = random_layer(TwinConfig(3072))
    write_raw(layer, directory / "mtp.safetensors")
    model = load_model(directory, "float32")
    assert model.checkpoint.mtp is not None
    engine = load_mtp(model, model.checkpoint.mtp)

    ids = np.random.RandomState(1).randint(0, 2000, 24).astype(np.uint32)
    after = mx.array(ids[None, 1:])
    hidden = np.random.RandomState(2).standard_normal((1, 23, 256)).astype(np.float32)
    drafts = layer(torch.from_numpy(np.array(model.embed(after))), torch.from_numpy(hidden), DEPTHS)
    state = model.new_state()
    for pair in range(20):
        vector = engine(after[:, pair : pair + 1], mx.array(hidden[:, pair : pair + 1]), state.mtp)
        for depth in range(DEPTHS):
            if depth:
                place = pair + depth
                vector = engine(after[:, place : place + 1], vector, state.mtp)
            twin = drafts[depth][0, pair + depth].numpy()
            np.testing.assert_allclose(np.array(vector)[0, 0], twin, rtol=0, atol=1e-4)
        state.mtp.length = pair + 1


def test_only_tokens_that_a_chain_can_draft_are_learnt() -> None:
    #        prompt             answer, its first token drawn
    learn = torch.tensor([[False] * 4 + [True] * 4 + [False] * 2])
    found = [places(learn, depth).nonzero()[:, 1].tolist() for depth in range(DEPTHS)]
    assert found == [[3, 4, 5], [4, 5], [5]]  # pair p drafts token p + 2


def test_the_trunk_gets_no_gradient_and_the_layer_all_of_it() -> None:
    torch.manual_seed(0)
    config = TwinConfig(64, hidden_size=64, intermediate_size=64)
    trunk, layer = Twin(config).requires_grad_(False), MtpTwin(config)
    learn = torch.ones(2, 12, dtype=torch.bool)
    learn[:, :4] = False
    loss, shares = losses(trunk, layer, torch.randint(0, 64, (2, 12)), learn)
    loss.backward()
    assert len(shares) == DEPTHS
    assert all(p.grad is None for p in trunk.parameters())
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in layer.parameters())
