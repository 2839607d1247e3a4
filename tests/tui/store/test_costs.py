"""What a write costs does not grow with its conversation: counted in steps of SQLite's machine, not in time."""

import itertools
from pathlib import Path

import pytest

from measure_store import EDITS, KINDS, Measured
from qwen_tui.store import Store, StoreError, open_store
from support import stores


@pytest.mark.parametrize("drop_reasoning", [False, True])
def test_a_write_takes_as_many_steps_after_a_thousand_turns_as_after_ten(tmp_path: Path, drop_reasoning: bool) -> None:
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    def opened() -> Store:
        # The full text is merged now and then, so that its steps are not the same each time.
        store = open_store(tmp_path / "conversations.db", full_text=False)
        store.database.read("PRAGMA synchronous = OFF")
        with store.database.write() as connection:
            connection.set_progress_handler(step, 1)
        return store

    written = Measured(opened, lambda: steps, drop_reasoning=drop_reasoning)
    turns = itertools.count(1)
    spent: list[dict[str, float]] = []
    for count in (EDITS, EDITS, 97 * EDITS, EDITS):
        written.spent = dict.fromkeys(KINDS, 0.0)
        for _ in range(count):
            written.turn(next(turns))
        spent.append(written.spent)
    written.close()
    assert written.troubles == []
    assert min(spent[1].values()) > 0
    assert spent[3] == spent[1]


def test_what_is_remembered_of_the_shown_branch_ends_with_what_others_write_and_with_what_is_taken_back(
    tmp_path: Path,
) -> None:
    with stores.opened(tmp_path) as here, stores.opened(tmp_path) as there:
        conversation = here.conversations.begin()
        first, _ = stores.turn(here, conversation, "first", "one")
        stores.turn(there, conversation, "second", "two")
        stores.turn(here, conversation, "third", "three")
        assert stores.shown(here, conversation) == ["first", "one", "second", "two", "third", "three"]
        other = there.answers.edit(first, "instead")
        stores.turn(here, conversation, "on", "four")
        assert stores.shown(here, conversation) == ["on", "four"]  # beside the wording that has no answer
        there.tree.show(other)
        with pytest.raises(StoreError, match="no conversation"), here.database.write() as connection:
            here.tree.choices.choose(connection, first)
            here.answers._question(connection, 99, None, "none", "")
        here.answers.ask(conversation, "last")
        assert stores.shown(here, conversation) == ["last"]
        assert [message.content for message in map(here.tree.message, here.tree.message(first).siblings)] == [
            "first", "instead", "on", "last",
        ]  # fmt: skip
