"""The command line: which command a line means, and how any of them ends.

Importing this loads neither MLX nor Textual nor numpy: a command imports what it needs when it runs. The commands
themselves are in commands/.
"""

import io
import os
import sys
import traceback
from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem

from qwen_core.errors import QwenError, printable
from qwen_core.version import __version__
from qwen_tui.commands.bench import bench
from qwen_tui.commands.chat import chat
from qwen_tui.commands.compare import compare
from qwen_tui.commands.convert import convert
from qwen_tui.commands.doctor import doctor
from qwen_tui.commands.export import export, import_conversations
from qwen_tui.commands.inspect import inspect
from qwen_tui.commands.interrupt import FAULT, INTERRUPTED, OK
from qwen_tui.commands.run import run
from qwen_tui.commands.score import score

# The chat has no name: any first word that is not a command is its model directory. No argument can hold a NUL.
CHAT = "\0"


class Program(click.Group):
    """A group whose default command, with the rest of the line for it, is the chat."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {name for option in self.get_params(ctx) for name in option.opts}
        completing_first_word = ctx.resilient_parsing and not args
        if not completing_first_word and (not args or args[0] not in {*self.commands, *own}):
            args = [CHAT, *args]
        return super().parse_args(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return chat if cmd_name == CHAT else super().get_command(ctx, cmd_name)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # Directories first: bash's script of click drops what came before them.
        options = chat.shell_complete(ctx, incomplete) if incomplete.startswith("-") else []
        return [CompletionItem(incomplete, type="dir"), *options, *super().shell_complete(ctx, incomplete)]

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "[MODEL_DIR] [OPTIONS]")
        formatter.write_usage(ctx.command_path, "COMMAND [ARGS]...", prefix="       ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options of the chat are shown as the program's own: that is what they are to a person."""
        params = [*chat.params, *self.get_params(ctx)]
        records = [param.get_help_record(ctx) for param in params if isinstance(param, click.Option)]
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record])
        self.format_commands(ctx, formatter)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="qwen-tui", message="%(prog)s %(version)s")
def program() -> None:
    """Chat with a Qwen3.5, 3.6 or 3.8 model in the terminal, and see what it does.

    MODEL_DIR is a checkpoint directory, or owner/name of one in the Hugging Face cache. Without it the chat opens the
    small demo model that comes with the program. Any first word that is not a command is a MODEL_DIR; write ./run for
    a directory that is called like a command.
    """


for command in (run, inspect, convert, score, compare, doctor, bench, export, import_conversations):
    program.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0, 1 at fault, 2 usage, 130 interrupted."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this, as by `2>&-`
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Where it is not UTF-8, what it cannot say becomes question marks, as stderr does it by itself.
        sys.stdout.reconfigure(errors="replace")
    try:
        code = program.main(arguments, prog_name="qwen-tui", standalone_mode=False)
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        return _wrong_use(error)
    except QwenError as error:
        return _fault(str(error))
    except Exception as error:
        from qwen_core.engine.ranks import leave_to_watch

        leave_to_watch(error)
        return _crash(error)
    return code if isinstance(code, int) else OK


def _wrong_use(error: click.ClickException) -> int:
    """What click shows of its own errors, with the words of the command line made printable."""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help'.\n", err=True)
    click.echo(f"Error: {printable(error.format_message())}", err=True)
    return error.exit_code


def _fault(message: str) -> int:
    click.echo(f"qwen-tui: {message}", err=True)
    return FAULT


def _named_options(words: Sequence[str]) -> str:
    """The command and the names of the options of a command line: no prompt, no path, nothing that a person wrote."""
    command = words[0] if words and words[0] in program.commands else ""
    known = {name for each in program.commands.values() for param in each.params for name in param.opts}
    begun = [word.split("=")[0] if word.startswith("--") else word[:2] for word in words]
    options = [name for name in begun if name in known]
    return printable(" ".join([command, *options]).strip(), 500)


def _crash(error: Exception) -> int:
    """A fault of this program: one line on the terminal, the traceback in a file that the line names."""
    if os.environ.get("QWEN_TUI_DEBUG"):
        traceback.print_exc()
        return FAULT
    line = printable(f"{type(error).__name__}: {error}", 300)
    try:
        from qwen_core.settings.paths import state_dir

        path = state_dir() / "qwen-tui.log"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace") as log:
            os.fchmod(descriptor, 0o600)  # an earlier version let everyone read it
            log.write(f"qwen-tui {__version__} {_named_options(sys.argv[1:])}\n")
            traceback.print_exception(error, file=log)
    except (OSError, QwenError):
        return _fault(f"internal error: {line} (QWEN_TUI_DEBUG=1 shows where)")
    return _fault(f"internal error: {line} (details in {printable(str(path))})")
