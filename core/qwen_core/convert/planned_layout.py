"""The layout that a plan's result will have, before anything of it exists: for maps and tables of what was chosen."""

from types import MappingProxyType

from qwen_core.checkpoint.architecture import with_experts_of
from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.headers import TensorInfo
from qwen_core.checkpoint.layout import Layout, make_layout
from qwen_core.checkpoint.quantization import canonical_name
from qwen_core.convert.plan import ConversionPlan


def planned_layout(plan: ConversionPlan) -> Layout:
    """Of the text model, as if it were one file."""
    table: dict[str, TensorInfo] = {}
    offset = 0
    for decision in plan.decisions:
        if decision.part == "text":
            for output in decision.outputs:
                name = canonical_name(output.name)
                table[name] = TensorInfo(
                    output.name, output.dtype, output.shape, decision.source.file, offset, output.nbytes
                )
                offset += output.nbytes
    checkpoint = Checkpoint(
        path=plan.checkpoint.path,
        config=with_experts_of(plan.checkpoint.config, ()),
        raw_config={},
        tensors=MappingProxyType(table),
        text=MappingProxyType(table),
        specs=MappingProxyType(plan.specs),
        spec_sources=MappingProxyType(dict.fromkeys(plan.specs, "override")),
        converted=True,
        generation_config={},
        tokenizer_path=None,
        shards=(),
        mtp=None,
    )
    return make_layout(checkpoint)
