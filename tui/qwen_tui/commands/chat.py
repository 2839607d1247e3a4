"""`qwen-tui [MODEL_DIR]`: opens the app."""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from qwen_tui.commands.options import generation_options, model_argument, settings_from


class ChatContext(click.Context):
    """The chat is the program itself: its usage lines carry no command name."""

    @property
    def command_path(self) -> str:
        return self.parent.command_path if self.parent else "qwen-tui"


class ChatCommand(click.Command):
    context_class = ChatContext


def check_terminal() -> None:
    """UsageError where there is no screen to draw on."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("The chat needs a terminal; in a pipe use: qwen-tui run")


def check_backend() -> None:
    """BackendError before the app opens if MLX lacks its library, as plain `mlx` does on Linux.

    Only the engine process may import MLX, so this looks for the file, and imports the backend for its own message
    when there is none.
    """
    spec = find_spec("mlx")
    places = spec.submodule_search_locations if spec else None
    if not any(library for place in places or () for library in Path(place).glob("lib/libmlx.*")):
        import_module("qwen_core.backend")


@click.command(cls=ChatCommand, context_settings={"help_option_names": ["-h", "--help"]})
@model_argument
@generation_options
def chat(model_dir: str | None, system: str | None, dtype: str | None, **options: Any) -> int:
    """Chat with the model in MODEL_DIR, or with the bundled demo model."""
    from qwen_core.locate import resolve_model_path

    check_terminal()
    check_backend()
    path = None if model_dir is None else str(resolve_model_path(model_dir))

    from qwen_tui.app import run_app

    return run_app(path, settings_from(options), system, dtype)
