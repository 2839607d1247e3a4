"""`inspect --errors`: what quantisation cost each weight, the worst first; of each role, and of each layer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.layout import ModuleLayout
from qwen_core.errors import QwenError, SettingsError, quote
from qwen_core.figures import percent
from qwen_core.files import json_text, write_private
from qwen_core.settings.paths import state_dir
from qwen_core.tensors.rounding_error import RoundingError, errors_as_json, errors_of, kept_file
from qwen_tui.commands.inspect_report.formats import format_text, mode_style
from qwen_tui.commands.inspect_report.subject import Subject
from qwen_tui.commands.progress import progress_bar
from qwen_tui.commands.report import FAINT, figures, paragraph, table, words
from qwen_tui.text.formatting import bar, counted

_BAR = 16
Errors = Mapping[str, RoundingError]


def find_errors(subject: Subject, reference: Path | None) -> dict[str, RoundingError]:
    """The errors that are known, or with a reference measured now, and kept for the next time and for the layer map.

    Raises SettingsError where there are none, CheckpointError for a reference that is not the model's original.
    """
    if not subject.checkpoint.specs:
        raise SettingsError(f"{quote(subject.checkpoint.path)} is not quantised: it has no errors")
    if reference is None:
        found = errors_of(subject.checkpoint)
        if not found:
            raise SettingsError(
                f"{quote(subject.checkpoint.path)} does not say what its quantisation cost: name its unquantised "
                "original with --reference"
            )
        return found
    from qwen_core.convert.reference_errors import errors_against
    from qwen_tui.commands.convert import show_step

    original = open_checkpoint(reference)
    with progress_bar() as show:
        found = errors_against(original, subject.checkpoint, lambda step: show_step(step, show))
    try:
        state_dir()
        write_private(kept_file(subject.checkpoint), json_text(errors_as_json(found)).encode())
    except OSError as error:
        raise QwenError(f"the errors cannot be kept: {quote(error.strerror or error)}") from None
    return found


def error_lines(modules: Sequence[ModuleLayout], errors: Errors, width: int) -> Iterator[RenderableType]:
    """A line for each weight, the largest error first, then for each role; and what the figures are."""
    rows = sorted((m for m in modules if m.canonical in errors), key=lambda m: -errors[m.canonical].relative)
    largest = max((errors[module.canonical].relative for module in rows), default=0.0)
    columns = figures("layer"), words("role"), words("format"), figures("error"), words(""), figures("MB")
    yield table(columns, [_row(module, errors[module.canonical], largest) for module in rows], width, gap=1)
    yield ""
    yield table((words("role"), figures("weights"), figures("error")), _roles(rows, errors), width)
    yield ""
    weighted = sum(errors[module.canonical].weighted for module in rows)
    if weighted == len(rows):
        about = "Channels count by their importance."
    elif not weighted:
        about = "All channels count alike: no importance matrix was used."
    else:
        about = f"Of {counted(weighted, 'weight')} channels count by their importance, of the others alike."
    yield paragraph(f"error: root mean square of what a weight lost, as a share of its own. {about}", FAINT)


def _row(module: ModuleLayout, found: RoundingError, largest: float) -> list[str | Text]:
    drawn = bar(found.relative, largest, _BAR) if largest else ""
    return [
        "–" if module.layer is None else str(module.layer),
        module.role,
        Text(format_text(module), mode_style(module)),
        percent(found.relative),
        drawn,
        f"{module.nbytes / 1e6:,.1f}",
    ]


def _roles(modules: Iterable[ModuleLayout], errors: Errors) -> list[tuple[str, str, str]]:
    sums: dict[str, list[RoundingError]] = {}
    for module in modules:
        sums.setdefault(module.role, []).append(errors[module.canonical])
    means = {
        role: sqrt(sum(one.error for one in found) / (sum(one.size for one in found) or 1))
        for role, found in sums.items()
    }
    ordered = sorted(means, key=lambda role: -means[role])
    return [(role, str(len(sums[role])), percent(means[role])) for role in ordered]


def error_fields(modules: Iterable[ModuleLayout], errors: Errors) -> dict[str, Any]:
    """The same as JSON."""
    rows = [module for module in modules if module.canonical in errors]
    rows.sort(key=lambda module: -errors[module.canonical].relative)
    return {
        "errors": [
            {
                "name": module.name,
                "layer": module.layer,
                "role": module.role,
                "mode": module.mode,
                "bits": module.bits,
                "relative_error": errors[module.canonical].relative,
                "weighted": errors[module.canonical].weighted,
            }
            for module in rows
        ]
    }
