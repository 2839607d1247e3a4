"""`qwen-tui [MODEL_DIR]`: opens the app."""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from qwen_core.errors import QwenError, quote
from qwen_tui.commands.effort import check_effort
from qwen_tui.commands.options import WholeNumber, generation_options, hosts_option, model_argument, overrides_from


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
        import_module("qwen_core.device.backend")


def chosen_conversation(conversation_id: int | None) -> tuple[int, str | None]:
    """The number of the conversation (None: the one used last), and its model's directory if that still exists.

    Raises QwenError, one line, where there is none.
    """
    from qwen_tui.store import StoreError, open_store, store_path

    if not store_path().exists():
        raise QwenError(f"there are no conversations yet: {quote(store_path())} does not exist")
    store = open_store()
    try:
        summary = store.conversations.latest() if conversation_id is None else store.conversations.get(conversation_id)
    finally:
        store.close()
    if summary is None:
        raise QwenError("there are no conversations yet; qwen-tui begins one")
    if summary.deleted_at is not None:
        raise StoreError(f"conversation {summary.id} was deleted")
    path = summary.model.path if summary.model is not None else ""
    return summary.id, path if path and Path(path).is_dir() else None


@click.command(cls=ChatCommand, context_settings={"help_option_names": ["-h", "--help"]})
@model_argument
@click.option("--continue", "latest", is_flag=True, help="Go on with the conversation that was used last.")
@click.option("--resume", type=WholeNumber(1), metavar="ID", help="Go on with this conversation; F3 shows the numbers.")
@hosts_option
@generation_options
def chat(model_dir: str | None, latest: bool, resume: int | None, dtype: str | None, **options: Any) -> int:
    """Chat with the model in MODEL_DIR, or with the bundled demo model."""
    from qwen_core.checkpoint.locate import resolve_model_path
    from qwen_tui.settings.file import load_settings

    if latest and resume is not None:
        raise click.UsageError("--continue and --resume cannot be used together.")
    check_effort(options["effort"], model_dir)
    check_terminal()
    check_backend()
    path = None if model_dir is None else str(resolve_model_path(model_dir))
    if latest or resume is not None:
        resume, own = chosen_conversation(resume)
        path = path or own
    loaded = load_settings(overrides=overrides_from(options))

    from qwen_tui.app.run import run_app

    return run_app(path, loaded, dtype, resume)
