"""A `Session` from a model directory: its text files are read and checked, then its weights."""

from pathlib import Path

from qwen_core.checkpoint.config import replaced_rope
from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.errors import CheckpointError, quote
from qwen_core.model.model import load_model
from qwen_core.protocol.events import LoadSettings
from qwen_core.session.loading import LoadModel, Progress, Stopped, load
from qwen_core.session.session import Session
from qwen_core.text.effort import find_levels
from qwen_core.text.template import load_template
from qwen_core.text.template_process import TEMPLATE_PROCESS
from qwen_core.text.tokenizer import check_tokenizer_fits, load_tokenizer


def load_session(
    path: str | Path,
    system: str | None = None,
    *,
    dtype: str | None = None,
    settings: LoadSettings | None = None,
    progress: Progress | None = None,
    stop: Stopped | None = None,
    load_model: LoadModel = load_model,
) -> Session:
    """Load a model directory with its tokenizer and chat template, and begin a conversation.

    Text files are checked before the first weight is read; a stretched context that lost its base on the way is
    refused: `load_model` computes it as transformers does, but nobody can talk with that. Without `settings` the
    built-in ones count: no file of the person's is read here. Raises QwenError with one line that says what is wrong.
    """
    checkpoint = open_checkpoint(path)
    if problem := replaced_rope(checkpoint.config, checkpoint.raw_config):
        raise CheckpointError(f"{quote(checkpoint.path / 'config.json')}: {problem}")
    TEMPLATE_PROCESS.start()
    tokenizer = load_tokenizer(checkpoint)
    check_tokenizer_fits(tokenizer, checkpoint.config)
    template = load_template(checkpoint)
    find_levels(template)
    settings = settings or LoadSettings()
    loaded = load(checkpoint, dtype=dtype, settings=settings, progress=progress, stop=stop, load_model=load_model)
    return Session(loaded, tokenizer, template, system=system, snapshot_budget_bytes=settings.snapshot_budget_bytes)
