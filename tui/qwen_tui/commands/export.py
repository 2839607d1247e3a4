"""`qwen-tui export`: kept conversations as Markdown or JSON, on stdout or in a file; `import` brings the JSON back."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Literal

import click

from qwen_core.errors import QwenError, SettingsError, quote
from qwen_core.files import write_private
from qwen_tui.commands.output import writing
from qwen_tui.commands.text_input import input_pieces
from qwen_tui.text.formatting import counted
from qwen_tui.text.safe import one_line, visible

Format = Literal["markdown", "json", "html"]
MAX_IMPORT_BYTES = 256_000_000
SHOWN = 10
MAX_ID = (1 << 63) - 1  # of SQLite


@click.command("export")
@click.argument("conversation", metavar="[ID]", required=False, type=click.IntRange(1, MAX_ID))
@click.option("--last", is_flag=True, help="The conversation that was used last.")
@click.option("--all", "every", is_flag=True, help="All conversations.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(("markdown", "json", "html")),
    metavar="KIND",
    help="markdown, json or html; by the file's ending, else markdown.",
)
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Write here, not on stdout.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def export(
    conversation: int | None, last: bool, every: bool, kind: Format | None, output: Path | None, force: bool
) -> int:
    """Print a kept conversation as Markdown, HTML or JSON.

    qwen-tui import reads the JSON. Without a choice of conversations the latest
    ones are listed on stderr.
    """
    if (conversation is not None) + last + every > 1:
        raise click.UsageError("ID, --last and --all cannot be used together.")
    if output is not None and output.exists() and not force:
        raise click.UsageError(f"{quote(output)} exists: choose another name, or give --force.")
    text = _exported(conversation, last, every, kind or _kind_of(output))
    if output is None:
        # A terminal never gets control characters; a pipe gets the text as it is: stdout is data.
        with suppress(BrokenPipeError), writing():
            sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
            sys.stdout.flush()
    else:
        _write(output, text)
        click.echo(f"qwen-tui: wrote {quote(output)}", err=True)
    return 0


@click.command("import")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
def import_conversations(file: Path) -> int:
    """Add the conversations of a JSON file from qwen-tui export.

    - reads stdin. Nothing is replaced: conversations that exist already will be there twice.
    """
    from qwen_tui.store import open_store
    from qwen_tui.store.import_json import import_json

    store = open_store()
    try:
        for notice in store.notices:
            click.echo(f"qwen-tui: {notice}", err=True)
        added = import_json(store, input_pieces(str(file), MAX_IMPORT_BYTES))
    finally:
        store.close()
    click.echo(f"qwen-tui: added {counted(len(added), 'conversation')}", err=True)
    return 0


def _kind_of(output: Path | None) -> Format:
    from qwen_tui.store.export import kind_of

    try:
        return "markdown" if output is None else kind_of(output)
    except SettingsError as error:
        raise click.UsageError(f"{error}, or give --format.") from None


def _exported(conversation: int | None, last: bool, every: bool, kind: Format) -> str:
    from qwen_tui.settings.file import load_settings
    from qwen_tui.settings.themes import colours_of
    from qwen_tui.store import open_store, store_path
    from qwen_tui.store.export import exported

    if not store_path().exists():
        raise QwenError(f"there are no conversations yet: {quote(store_path())} does not exist")
    store = open_store()
    try:
        for notice in store.notices:
            click.echo(f"qwen-tui: {notice}", err=True)
        if every:
            chosen = [summary.id for summary in store.conversations.listed(limit=1_000_000)]
        elif last:
            latest = store.conversations.latest()
            chosen = [] if latest is None else [latest.id]
        elif conversation is not None:
            chosen = [conversation]
        else:
            for summary in store.conversations.listed(limit=SHOWN):
                click.echo(f"{summary.id:>7}  {one_line(summary.title, 60)}", err=True)
            raise click.UsageError("Which? Give an ID, --last or --all.")
        if not chosen:
            raise QwenError("there are no conversations yet")
        colours = colours_of(load_settings().settings.looks.theme) if kind == "html" else {}
        return exported(store, chosen, kind, colours)
    finally:
        store.close()


def _write(path: Path, text: str) -> None:
    """For the person's eyes only, as the conversations themselves are."""
    try:
        if path.exists() and not path.is_file():  # a pipe or a device is written into, and stays what it is
            path.write_bytes(text.encode())
        else:
            write_private(path, text.encode())
    except OSError as error:
        raise SettingsError(f"{quote(path)} cannot be written: {error.strerror or error}") from None
