"""A conversation as it is read back from the store: what the screen and the engine need, in one piece of work."""

from collections.abc import Sequence
from dataclasses import dataclass

from qwen_tui.conversation.turns import Turn, stored_turns
from qwen_tui.store import Draft, Resume, Store


@dataclass(frozen=True)
class Branch:
    """The branch of a conversation that is shown. `fingerprint`: of the model that `resume.ids` are from."""

    conversation_id: int
    title: str
    turns: list[Turn]
    resume: Resume
    fingerprint: str
    draft: Draft
    model_path: str


def read_branch(store: Store, conversation_id: int, first_number: int) -> Branch:
    """What is shown of a conversation; its turns are numbered from `first_number`. Raises StoreError."""
    summary = store.conversations.get(conversation_id)
    path = store.tree.path(conversation_id)
    answers = [message for message in path if message.role == "assistant" and message.has_text]
    model = answers[-1].model if answers else None
    return Branch(
        conversation_id,
        summary.title,
        stored_turns(path, store.tree.places(path), first_number),
        store.tree.resume(conversation_id),
        model.fingerprint if model is not None else "",
        store.writing.draft(conversation_id),
        summary.model.path if summary.model is not None else "",
    )


def ids_before(store: Store, turns: Sequence[Turn]) -> tuple[tuple[int, ...], str]:
    """The tokens that were fed for `turns`, the beginning of a branch, and the fingerprint of the model they are of.

    No tokens where they are not known.
    """
    answered = [turn for turn in turns if turn.has_text]
    if not answered or answered[-1].answer_id is None:
        return (), ""
    message = store.tree.message(answered[-1].answer_id)
    return store.tree.ids(message.id) or (), message.model.fingerprint if message.model is not None else ""
