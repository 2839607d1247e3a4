"""Every key of the app in one place: what the help screen lists and the status line hints at.

The bindings themselves stand at the widgets and screens that act on them; a test compares the two.
"""

KEYS: tuple[tuple[str, str], ...] = (
    ("Enter", "send"),
    ("Ctrl+J", "newline (Shift+Enter in some terminals)"),
    ("↑ ↓", "earlier inputs, from the first or last line"),
    ("Esc", "stop the answer, or the loading"),
    ("Ctrl+R", "open or fold reasoning and tool calls"),
    ("Tab", "walk to a folded block; Enter opens it"),
    ("PgUp PgDn", "scroll the conversation"),
    ("Ctrl+Home Ctrl+End", "first line, last line and follow"),
    ("Ctrl+N", "new conversation"),
    ("Ctrl+T", "start the engine again, or load again"),
    ("Ctrl+P", "command palette"),
    ("F1 or Ctrl+G", "this help"),
    ("Ctrl+C", "copy what is selected, else stop, else quit after asking"),
    ("Ctrl+Q", "quit"),
)
