"""The map of the context: what is known of it is brought together, and the turn that was chosen gone to."""

from qwen_core.errors import QwenError
from qwen_tui.app.context import AppContext
from qwen_tui.app.token_count import TokenCount
from qwen_tui.conversation.turns import Turn
from qwen_tui.lens.context_map import Share, shares, system_tokens
from qwen_tui.lens.context_screen import ContextScreen
from qwen_tui.store import Store


class ContextMapActions:
    """Belongs to the thread of the app's loop."""

    def __init__(self, context: AppContext, tokens: TokenCount) -> None:
        self._context = context
        self._tokens = tokens

    async def open(self, turn: Turn | None) -> None:
        """Show the map, the cursor on `turn` or on what comes last."""
        context, conversation = self._context, self._context.conversation
        turns = list(conversation.turns)
        draft = await self._tokens.draft()
        try:
            system, kept = await context.store.use(lambda store: _read(store, turns))
        except QwenError as error:
            context.flash(str(error))
            system, kept = 0, {}
        held = conversation.held.context_tokens if conversation.held is not None else 0
        found = shares(turns, system, held, draft, kept)
        limit = conversation.model.context_limit if conversation.model is not None else None
        at = next((n for n, share in enumerate(found) if turn is not None and share.turn is turn), len(found) - 1)
        context.chat.app.push_screen(ContextScreen(found, limit, at), self._closed)

    def _closed(self, chosen: Share | None) -> None:
        if chosen is None:
            return
        if chosen.turn is not None:
            self._context.chat.focus_turn(chosen.turn)
        elif chosen.name == "draft":
            self._context.chat.editor.focus()
        else:
            self._context.flash("The system prompt stands before the first turn: /system shows it.")


def _read(store: Store, turns: list[Turn]) -> tuple[int, dict[int, tuple[int, ...]]]:
    """Tokens of the system prompt, and by the number of a turn behind how many tokens snapshots were taken for it."""
    kept: dict[int, tuple[int, ...]] = {}
    for turn in turns:
        timeline = turn.timeline
        if not timeline.data and turn.answer_id is not None:
            timeline = store.timelines.of(turn.answer_id)
        kept[turn.number] = tuple(moment.tokens for moment in timeline.moments() if moment.kind == "snapshot")
    first = next((turn for turn in turns if turn.stats is not None), None)
    if first is None or first.answer_id is None or first.stats is None:
        return 0, kept
    ids = (store.tree.ids(first.answer_id) or ())[: first.stats.prompt_tokens]
    return system_tokens(ids) if ids else 0, kept
