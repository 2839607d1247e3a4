"""The report as plain values, for --json: other programs read its fields, so names and meanings stay."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from qwen_core.checkpoint.layout import Layout, ModuleLayout, Total, total
from qwen_tui.commands.inspect_report.selection import Filters
from qwen_tui.commands.inspect_report.subject import Subject
from qwen_tui.commands.output import fields_of


def report_fields(subject: Subject, modules: Sequence[ModuleLayout], filters: Filters) -> dict[str, Any]:
    """Everything. `modules` are those that `filters` left; model, totals and modes are of the whole model."""
    layout = subject.layout
    fields: dict[str, Any] = {
        "model": model_fields(subject),
        "totals": totals_fields(subject),
        "modes": [_mode_fields(layout, *place, sums) for place, sums in layout.by_format().items()],
        "modules": [module_fields(module) for module in modules],
        "mtp": _mtp_fields(layout),
        "warnings": subject.warnings,
    }
    if filters:
        fields["selection"] = _total_fields(total(modules))
    return fields


def model_fields(subject: Subject) -> dict[str, Any]:
    """What the model is."""
    config, layout, verdict = subject.checkpoint.config, subject.layout, subject.verdict
    return {
        "name": subject.name,
        "path": str(subject.checkpoint.path),
        "variant": verdict.name,
        **fields_of(verdict, "evidence", "nearest", "differing"),
        "model_type": config.model_type,
        "layers": config.num_hidden_layers,
        "layer_kinds": layout.layer_kinds,
        **fields_of(config, "hidden_size", "intermediate_size", "vocab_size", "max_position_embeddings"),
        "yarn": config.yarn and asdict(config.yarn),
        "mixture": config.mixture and fields_of(config.mixture, "experts", "used", "size", "shared_size"),
        "tied": layout.tied,
        "converted": subject.checkpoint.converted,
        "shards": layout.shards,
        "writers": layout.writers,
    }


def totals_fields(subject: Subject) -> dict[str, Any]:
    """What the model weighs."""
    layout = subject.layout
    return {
        "tensors": layout.tensors,
        "bytes": layout.nbytes,
        "text_bytes": layout.text.nbytes,
        "weight_bytes_per_token": layout.token_bytes,
        **fields_of(layout.text, "bits_per_weight", "parameters"),
        "modules": len(layout.modules),
        "quantised_modules": layout.quantised,
        "overrides": layout.overrides,
        "mappable_bytes": subject.mappable_bytes,
        "unused": [{"what": e.what, "tensors": e.tensors, "bytes": e.nbytes} for e in layout.unused],
    }


def _mode_fields(layout: Layout, mode: str, bits: int, group_size: int | None, sums: Total) -> dict[str, Any]:
    return {
        "mode": mode,
        "bits": bits,
        "group_size": group_size,
        "modules": sums.modules,
        "bytes": sums.nbytes,
        "share_of_token": layout.share(sums.token_bytes),
    }


def _mtp_fields(layout: Layout) -> dict[str, Any] | None:
    """The MTP layer, of which a plain token reads nothing; of one that is not used, why. None where there is none."""
    if not layout.mtp and not layout.mtp_problem:
        return None
    return {
        "used": not layout.mtp_problem,
        "problem": layout.mtp_problem or None,
        "file": layout.mtp[0].shard if layout.mtp else None,
        "inside": layout.mtp[0].shard in layout.shards if layout.mtp else None,
        "bytes": total(layout.mtp).nbytes,
        "modes": [_mode_fields(layout, *place, sums) for place, sums in layout.mtp_by_format().items()],
        "modules": [module_fields(module) for module in layout.mtp],
    }


def module_fields(module: ModuleLayout) -> dict[str, Any]:
    """One module."""
    return {
        **fields_of(module, "name", "layer", "role", "mode", "bits", "group_size", "shape"),
        "experts": module.experts or None,
        "bytes": module.nbytes,
        "weight_bytes_per_token": module.token_bytes,
        **fields_of(module, "source", "shard", "kind", "bits_per_weight", "offset", "alignment"),
        "mappable": module.element_aligned,
        "tensors": module.tensors,
        "writer": module.writer,
    }


def _total_fields(sums: Total) -> dict[str, Any]:
    return {"modules": sums.modules, "bytes": sums.nbytes, "weight_bytes_per_token": sums.token_bytes}
