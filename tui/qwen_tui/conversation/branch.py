"""A conversation as it is read back from the store: what the screen and the engine need, in one piece of work."""

from collections.abc import Sequence
from dataclasses import dataclass

from qwen_tui.conversation.turns import Turn, stored_turns
from qwen_tui.store import Draft, Store


@dataclass(frozen=True)
class Branch:
    """The branch of a conversation that is shown.

    `ids` are the tokens that were fed for it, () where they are not known; `fingerprint` is that of their model.
    """

    conversation_id: int
    system: str | None
    turns: list[Turn]
    ids: tuple[int, ...]
    fingerprint: str
    draft: Draft


def read_branch(store: Store, conversation_id: int, first_number: int) -> Branch:
    """What is shown of a conversation; its turns are numbered from `first_number`. Raises StoreError."""
    system = store.conversations.get(conversation_id).system
    path = store.tree.path(conversation_id)
    turns = stored_turns(path, store.tree.places(path), first_number)
    return Branch(conversation_id, system, turns, *ids_before(store, turns), store.writing.draft(conversation_id))


def ids_before(store: Store, turns: Sequence[Turn]) -> tuple[tuple[int, ...], str]:
    """The tokens that were fed for `turns`, the beginning of a branch, and the fingerprint of the model they are of.

    No tokens where they are not known.
    """
    answered = [turn for turn in turns if turn.has_text]
    if not answered or answered[-1].answer_id is None:
        return (), ""
    message = store.tree.message(answered[-1].answer_id)
    return store.tree.ids(message.id) or (), message.model.fingerprint if message.model is not None else ""
