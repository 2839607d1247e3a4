"""Every key of the app in one place: what the help screen lists and the status line hints at.

The bindings themselves stand at the widgets and screens that act on them; a test compares the two.
"""

KEYS: tuple[tuple[str, str], ...] = (
    ("Enter", "send"),
    ("Ctrl+J", "newline (Shift+Enter in some terminals)"),
    ("↑ ↓", "earlier inputs, from the first or last line"),
    ("Esc", "stop the answer, or the loading"),
    ("Ctrl+R", "open or fold reasoning and tool calls"),
    ("F4 or Ctrl+O", "show or hide the meters"),
    ("Tab", "walk to a folded block; Enter opens it"),
    ("PgUp PgDn", "scroll the conversation"),
    ("Ctrl+Home Ctrl+End", "first line, last line and follow"),
    ("Ctrl+N", "new conversation"),
    ("Ctrl+T", "start the engine again, or load again"),
    ("Ctrl+P", "command palette"),
    ("F2 or Ctrl+L", "the layers of the model, and back"),
    ("F1 or Ctrl+G", "this help"),
    ("Ctrl+C", "copy what is selected, else stop, else quit after asking"),
    ("Ctrl+Q", "quit"),
)

# In the inspector, which F2 opens.
LAYER_KEYS: tuple[tuple[str, str], ...] = (
    ("← ↓ ↑ → or h j k l", "walk the map; the details follow"),
    ("Home End", "first and last layer"),
    ("PgUp PgDn", "first and last row"),
    ("Enter", "the whole tensor with its values; ← → the same in other layers"),
    ("/", "filter: words, mode:nvfp4, source:override, 8-15; n and N walk the matches"),
    ("c", "colour by mode, by bits, by bytes a token"),
    ("s", "show or hide the small tensors"),
    ("t", "the same as a table; o sorts by the next column, O the other way round"),
    ("r", "read the headers again"),
    ("Esc or q", "back"),
)
