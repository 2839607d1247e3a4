"""Write the reference section of tui/README.md from the command line's own help.

python tests/tools/make_reference.py        rewrites it; a test checks that nothing would change
"""

import re
from pathlib import Path

import click

from qwen_tui.cli import program

DOCUMENT = Path(__file__).resolve().parents[2] / "tui" / "README.md"
WIDTH = 80
_BLOCK = re.compile(r"<!-- help: (?P<command>[^\n]*?) -->\n.*?<!-- /help -->", re.DOTALL)


def help_text(command_line: str) -> str:
    """What `command_line --help` prints at 80 columns."""
    _, *words = command_line.split()
    context = click.Context(program, info_name="qwen-tui", terminal_width=WIDTH, **program.context_settings)
    for word in words:
        found = program.get_command(context, word)
        if found is None:
            raise ValueError(f"{command_line}: there is no command {word}")
        context = click.Context(found, info_name=word, parent=context, terminal_width=WIDTH)
    return context.get_help()


def with_reference(document: str) -> str:
    """`document` with each block between help comments as the program prints it now."""

    def block(match: re.Match[str]) -> str:
        command = match["command"]
        return f"<!-- help: {command} -->\n```text\n$ {command} --help\n{help_text(command)}\n```\n<!-- /help -->"

    return _BLOCK.sub(block, document)


if __name__ == "__main__":
    DOCUMENT.write_text(with_reference(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
