"""A conversation as it is read back from the store: what the screen and the engine need, in one piece of work."""

from collections.abc import Sequence
from dataclasses import dataclass

from qwen_tui.conversation.turns import Turn, stored_turns
from qwen_tui.store import Draft, Store


@dataclass(frozen=True)
class Branch:
    """The branch of a conversation that is shown.

    `ids` are the tokens that were fed for its first `known` messages, () where there are none; `fingerprint` is that of
    their model.
    """

    conversation_id: int
    system: str | None
    turns: list[Turn]
    ids: tuple[int, ...]
    fingerprint: str
    draft: Draft
    known: int = 0


def read_branch(store: Store, conversation_id: int, first_number: int) -> Branch:
    """What is shown of a conversation; its turns are numbered from `first_number`. Raises StoreError."""
    system = store.conversations.get(conversation_id).system
    path = store.tree.path(conversation_id)
    turns = stored_turns(path, store.tree.places(path), first_number)
    ids, fingerprint, known = ids_before(store, conversation_id, turns)
    return Branch(conversation_id, system, turns, ids, fingerprint, store.writing.draft(conversation_id), known)


def ids_before(store: Store, conversation_id: int, turns: Sequence[Turn]) -> tuple[tuple[int, ...], str, int]:
    """The tokens that were fed for `turns`, the beginning of a branch, as far as they are known; the fingerprint of the
    model they are of; and how many messages of these turns they stand for.
    """
    told = store.tree.with_ids(conversation_id)
    end = next((n for n in range(len(turns), 0, -1) if turns[n - 1].answer_id in told and turns[n - 1].has_text), 0)
    answer_id = turns[end - 1].answer_id if end else None
    ids = store.tree.ids(answer_id) if answer_id is not None else None
    if answer_id is None or not ids:
        return (), "", 0
    model = store.tree.message(answer_id).model
    return ids, model.fingerprint if model is not None else "", sum(len(turn.messages()) for turn in turns[:end])
