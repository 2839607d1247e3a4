"""What is known of the tokens of an answer, from the turn and from the store."""

from dataclasses import dataclass, field

from qwen_core.protocol.probabilities import Probabilities
from qwen_core.protocol.timeline import Timeline
from qwen_tui.conversation.turns import Turn
from qwen_tui.lens.reading import Reading
from qwen_tui.store import Store
from qwen_tui.store.thread import StoreThread
from qwen_tui.text.safe import one_line


@dataclass(frozen=True)
class KeptAnswer:
    """What the store has of an answer: all tokens up to its end, whose they are, and how it went."""

    ids: tuple[int, ...] = ()
    fingerprint: str = ""
    model: str = ""
    probabilities: Probabilities | None = None
    timeline: Timeline = field(default_factory=Timeline)


async def kept_of(store: StoreThread, turn: Turn) -> KeptAnswer:
    """What the store has of a turn's answer. Raises StoreError."""
    answer_id = turn.answer_id

    def read(store: Store) -> KeptAnswer:
        if answer_id is None:
            return KeptAnswer()
        model, found = store.tree.message(answer_id).model, store.probabilities.of(answer_id)
        ours = found is not None and (found.model is None or model is None or found.model == model)
        return KeptAnswer(
            store.tree.ids(answer_id) or (),
            model.fingerprint if model is not None else "",
            model.name if model is not None else "",
            found.probabilities if found is not None and ours else None,
            store.timelines.of(answer_id),
        )

    return await store.use(read)


def reading_of(turn: Turn, kept: KeptAnswer) -> Reading:
    """What is known by now; the tokens that the store has count where they are just those of this answer."""
    stats = turn.stats
    prompt = stats.prompt_tokens if stats is not None else 0
    own = kept.ids[prompt:] if stats is not None and len(kept.ids) == prompt + stats.generated_tokens else ()
    ids = own or turn.ids
    found = turn.probabilities or kept.probabilities
    timeline = turn.timeline if turn.timeline.data else kept.timeline
    return Reading(
        ids,
        kept.ids[:prompt] if own else (),
        found if found is not None and 0 < len(found) <= len(ids) else None,
        moments=timeline.moments(),
        ended=turn.finish_reason,
        stop_s=stats.stop_s if stats is not None else None,
        about=one_line(turn.shown or turn.question, 200),
        running=turn.running,
    )
