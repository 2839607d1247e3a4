"""Says where the conversation on the screen is open in another program as well: neither shows what the other adds."""

from qwen_core.errors import QwenError
from qwen_tui.app.context import AppContext

LOOK_S = 2.0
SAID = (
    "This conversation is open in another program as well. What is asked there is not shown here: each goes on from "
    "what it has, as a branch of its own (← → on a turn walks them). /new begins another one."
)


class OtherPrograms:
    """`look` is to be called every LOOK_S seconds. It says it once, and again after the other program had left."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._told: int | None = None

    async def look(self) -> None:
        kept = self._context.conversation.kept.id
        try:
            shared = await self._context.store.use(lambda store: store.marks.look(kept))
        except (QwenError, RuntimeError):  # no store, or it is closed: said elsewhere
            return
        if shared and kept != self._told:
            self._context.note(SAID)
        self._told = kept if shared else None
