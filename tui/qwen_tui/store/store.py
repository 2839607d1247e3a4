"""`Store`: the parts of the kept conversations put together over one open file."""

import time
from collections.abc import Callable
from pathlib import Path

from qwen_core.errors import quote
from qwen_core.settings.paths import data_dir
from qwen_tui.store.answers import Answers
from qwen_tui.store.conversations import Conversations
from qwen_tui.store.database import Database, open_database
from qwen_tui.store.drafts import Writing
from qwen_tui.store.errors import StoreError
from qwen_tui.store.figures import Figures
from qwen_tui.store.models import Models
from qwen_tui.store.open_marks import OpenMarks
from qwen_tui.store.probabilities import KeptProbabilities
from qwen_tui.store.process_locks import Writer, sweep
from qwen_tui.store.search import Search
from qwen_tui.store.states import FOLDER
from qwen_tui.store.timelines import KeptTimelines
from qwen_tui.store.tree import Tree

FILE_NAME = "conversations.db"
WRITERS = "writers"
OPEN = "open"


class Store:
    """An open store, of the thread that opened it.

    `conversations` is the list, `tree` what is in one and which branch is shown, `answers` turns as they happen,
    `search` finds, `writing` has drafts and earlier inputs, `models` the recent ones, `figures` how fast they were,
    `probabilities` how sure of their answers, `timelines` when the tokens of these came, `marks` which conversation is
    open here. `notices` are lines for people about what opening found; `interrupted` the answers that a program which
    has gone had left running; `database` is for the other files of this package.
    """

    def __init__(
        self, database: Database, writer: Writer, notice: str, now: Callable[[], float], *, full_text: bool
    ) -> None:
        self.database = database
        self._writer = writer
        self.path = database.path
        self.notices = [notice] if notice else []
        self.search = Search(database, full_text=full_text)
        self.tree = Tree(database, now)
        self.answers = Answers(database, self.tree, self.search.index, writer.name, now)
        self.conversations = Conversations(database, self.search.forget, self.path.parent / FOLDER, now)
        self.writing = Writing(database, now)
        self.models = Models(database, now)
        self.figures = Figures(database)
        self.probabilities = KeptProbabilities(database, now)
        self.timelines = KeptTimelines(database)
        self.marks = OpenMarks(self.path.parent / OPEN)
        folder = self.path.parent / WRITERS
        self.interrupted = self.answers.recover(folder)
        sweep(folder)
        self.search.catch_up()
        self.conversations.purge()
        self.conversations.sweep_states()

    def close(self) -> None:
        """Leave: an answer that still runs here is marked as interrupted."""
        if self._writer.name:
            try:
                self.answers.interrupt_own()
            finally:
                self.marks.close()
                self._writer.close()
                self.database.close()


def store_path() -> Path:
    """Where the conversations are. Raises SettingsError if the folder cannot be made."""
    return data_dir() / FILE_NAME


def open_store(path: Path | None = None, *, now: Callable[[], float] = time.time, full_text: bool = True) -> Store:
    """Open the store, making it if there is none. Raises QwenError, one line, where that cannot be done."""
    path = store_path() if path is None else path
    database, notice = open_database(path)
    try:
        writer = Writer(path.parent / WRITERS)
    except OSError as error:
        database.close()
        raise StoreError(f"{quote(path.parent)} cannot be written: {error.strerror or error}") from error
    try:
        return Store(database, writer, notice, now, full_text=full_text)
    except BaseException:
        writer.close()
        database.close()
        raise
