"""`--effort`: a word that is no level is refused before anything loads, and told the levels of the model's template."""

from collections.abc import Sequence
from contextlib import suppress

import click

from qwen_core.errors import QwenError, quote
from qwen_tui.commands.options import EFFORTS


def check_effort(level: str | None, model_dir: str | None) -> None:
    """UsageError for what is no level of any template. Which of the levels this one has, loading it says."""
    if level is None or level in EFFORTS:
        return
    levels = _levels_of(model_dir)
    there = f"{'this model has' if levels else 'models have some of'} {', '.join(levels or EFFORTS)}"
    raise click.BadParameter(f"{quote(level)} is not a reasoning effort: {there}.", param_hint="'--effort'")


def _levels_of(model_dir: str | None) -> Sequence[str]:
    """The levels of a model's template; none where it has none, or cannot be read."""
    from qwen_core.checkpoint.directory import open_checkpoint
    from qwen_core.checkpoint.locate import resolve_model_path
    from qwen_core.demo import demo_model_path
    from qwen_core.text.effort import find_levels
    from qwen_core.text.template import load_template

    with suppress(QwenError):
        path = demo_model_path() if model_dir is None else resolve_model_path(model_dir)
        return tuple(find_levels(load_template(open_checkpoint(path))).groups)
    return ()
