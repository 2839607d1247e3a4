"""MTP layers as holes: what the headers say is all there is. For layers that run, see reference.py."""

from pathlib import Path

from qwen_core.checkpoint.architecture import mtp_tensors
from qwen_core.checkpoint.directory import open_checkpoint
from support.checkpoints import Stored, write_safetensors
from support.mixtures import packed
from support.published_plan import Spec


def write_layer(path: Path, spec: Spec | None = None, *, file: str = "mtp.safetensors", without: str = "") -> int:
    """Put the MTP layer of the model in `path` beside it, its matrices in one format; gives the bytes of its tensors.

    `without`: a tensor that is left out.
    """
    tensors: dict[str, Stored] = {}
    for tensor in mtp_tensors(open_checkpoint(path).config):
        name = f"mtp.{tensor.name}"
        if spec is None or tensor.kind != "matrix":
            tensors[name] = Stored("BF16", tensor.shape)
        else:
            tensors |= packed(name.removesuffix(".weight"), tensor.shape, spec)
    tensors.pop(without, None)
    (path / file).parent.mkdir(exist_ok=True)
    write_safetensors(path / file, tensors)
    return sum(tensor.nbytes for tensor in tensors.values())
