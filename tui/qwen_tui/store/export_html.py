"""Conversations as one HTML file for people: a theme's colours, reasoning and tool calls folded, nothing loaded.

What a model wrote is markdown without HTML, its pictures are links; a policy in the file lets nothing run or load.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape
from string import Template

from qwen_tui.store.export_markdown import dated, figures, heading
from qwen_tui.store.records import ConversationSummary, StoredMessage, plain_line
from qwen_tui.text.finished_blocks import answer_parser, is_costly
from qwen_tui.text.safe import visible

Conversation = tuple[ConversationSummary, Sequence[StoredMessage]]

_PARSER = answer_parser().disable("image")
_WORD = re.compile(r"\w+")
_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$title</title>
<style>
body { background: $background; color: $foreground; font: 16px/1.5 system-ui, sans-serif; margin: 0 auto;
  max-width: 50em; padding: 1em; overflow-wrap: anywhere; }
h1, h2, h3, h4, h5, h6, th { color: $primary; }
a { color: $secondary; }
code, pre { font-family: ui-monospace, monospace; font-size: 0.9em; }
code { color: $secondary; }
pre { background: $surface; padding: 0.8em; overflow-x: auto; }
pre code { color: inherit; }
table { border-collapse: collapse; }
th, td { border: 1px solid $panel; padding: 0.2em 0.6em; }
blockquote { border-left: 3px solid $panel; margin-left: 0; padding-left: 1em; }
.plain { white-space: pre-wrap; }
.question { border-left: 3px solid $primary; padding-left: 1em; }
.figures, summary, details { color: $muted; }
hr { border: 0; border-top: 1px solid $panel; }
</style>
</head>
<body>
$body
</body>
</html>
""")


def conversations_html(conversations: Sequence[Conversation], colours: Mapping[str, str]) -> str:
    """One page of all of them; `colours` are a theme's, by the names that its file has."""
    title = plain_line(conversations[0][0].title) if len(conversations) == 1 else "Conversations"
    body = "\n<hr>\n".join(_article(summary, messages) for summary, messages in conversations)
    return _PAGE.substitute(colours, title=escape(title), body=body)


def _article(summary: ConversationSummary, messages: Sequence[StoredMessage]) -> str:
    parts = [f"<h1>{escape(plain_line(summary.title))}</h1>", _line(dated(summary))]
    if summary.system:
        parts += ["<h2>System</h2>", _plain(summary.system)]
    for message in messages:
        parts += _question(message) if message.role == "user" else _answer(message)
    return "<article>\n" + "\n".join(parts) + "\n</article>"


def _question(message: StoredMessage) -> list[str]:
    return ["<h2>You</h2>", _plain(message.content, "plain question")]


def _answer(message: StoredMessage) -> list[str]:
    parts = [f"<h2>{escape(heading(message))}</h2>"]
    if message.reasoning:
        parts.append(_folded("Reasoning", message.reasoning))
    parts.append(_markdown(visible(message.content)))
    if message.tool_calls:
        parts.append(_folded("Tool call", message.tool_calls))
    if said := figures(message):
        parts.append(_line(said))
    return parts


def _markdown(text: str) -> str:
    """An answer as it reads; as it was written where reading it would take long, or would leave a word out."""
    page = "" if is_costly(text) else _PARSER.render(text).rstrip("\n")
    return page if set(_WORD.findall(text)) <= set(_WORD.findall(page)) else _plain(text)


def _plain(text: str, classes: str = "plain") -> str:
    return f'<div class="{classes}">{escape(visible(text).strip(chr(10)))}</div>'


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n{_plain(text)}\n</details>"


def _line(text: str) -> str:
    return f'<p class="figures">{escape(visible(text))}</p>'
