"""What one rank's part of a checkpoint's weights costs: the layout of the whole, with the rank's share of its bytes."""

from dataclasses import replace

from qwen_core.checkpoint.architecture import text_tensors
from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.layout import Layout, make_layout
from qwen_core.model.shard import Shard, cut_of


def part_layout(checkpoint: Checkpoint, shard: Shard) -> Layout:
    """The layout of a checkpoint that `check_split` lets pass, `nbytes` and `token_bytes` of each module those that the
    rank has and reads; names, shapes and formats stay the whole's. The MTP layer is whole, and rank 0's alone.
    """
    layout = make_layout(checkpoint)
    config = checkpoint.config
    tensors = text_tensors(config, lm_head=not config.tie_word_embeddings)
    cuts = {tensor.module: cut_of(tensor, config, shard) for tensor in tensors}
    modules = []
    for module in layout.modules:
        if (cut := cuts[module.canonical]) is not None:
            had = sum(end - begin for begin, end in cut.ranges)
            nbytes, token_bytes = (count * had // cut.length for count in (module.nbytes, module.token_bytes))
            module = replace(module, nbytes=nbytes, token_bytes=token_bytes)
        modules.append(module)
    return replace(layout, modules=tuple(modules), mtp=layout.mtp if shard.rank == 0 else ())
