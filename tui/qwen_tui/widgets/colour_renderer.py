"""The process in which code gets its colours. colour_process.py starts it and talks to it."""

import marshal
import os
import signal
import sys
from typing import Any

from pygments.lexers import get_lexer_by_name
from textual.highlight import HighlightTheme

from qwen_core.child_process import MEMORY_EXIT, connect_to_parent, limit_memory
from qwen_tui.widgets.colour_process import MEMORY_BYTES, Colours


def main() -> None:
    """Answer requests, one after the other, until the parent is gone or the kernel ends the process."""
    connection, limit_s = connect_to_parent(), float(sys.argv[2])
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # should the parent ignore it, that is inherited
    limit_memory(MEMORY_BYTES)
    while True:
        try:
            request = connection.recv_bytes()
            # Processor time: how busy the machine is must not decide what a text looks like.
            signal.setitimer(signal.ITIMER_PROF, limit_s)
            answer = marshal.dumps(colours(*marshal.loads(request)))
            signal.setitimer(signal.ITIMER_PROF, 0)
            connection.send_bytes(answer)
        except MemoryError:
            os._exit(MEMORY_EXIT)


def colours(code: str, language: str) -> Colours:
    """The colours of `code`, whose lines end with newlines; none where there is no such language."""
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=True)
        lines: Colours = [[]]
        column = 0
        texts = []
        for kind, text in lexer.get_tokens(code):
            style = _style(kind)
            texts.append(text)
            for number, piece in enumerate(text.split("\n")):
                if number:
                    lines.append([])
                    column = 0
                if piece and style:
                    lines[-1].append((column, column + len(piece), style))
                column += len(piece)
    except MemoryError:
        raise
    except Exception:  # no such language; and a lexer can raise anything
        return []
    # A lexer may change a text, then its places are not those of the code.
    return lines if "".join(texts) in (code, code + "\n") else []


def _style(kind: Any) -> str:
    """The toolkit's style for a kind of token, or for the nearest kind above that has one."""
    while kind is not None:
        if style := HighlightTheme.STYLES.get(kind):
            return style
        kind = kind.parent
    return ""
