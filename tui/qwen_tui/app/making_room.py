"""Room in a context that fills up: the oldest turns left out, or a summary in place of what was said.

Both leave every turn where it is: turns are left out on another branch of the conversation, a summary begins another
conversation. So both are taken back by showing again what was shown before.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import accumulate

from qwen_core.errors import QwenError
from qwen_core.figures import whole_percent
from qwen_core.protocol.events import Command, Event, Loaded, TurnDone, TurnFailed
from qwen_tui.app.context import AppContext
from qwen_tui.app.conversation_actions import ConversationActions
from qwen_tui.app.drafts import Drafts
from qwen_tui.app.token_count import FRAME_TOKENS, TokenCount
from qwen_tui.app.turn_actions import TurnActions
from qwen_tui.conversation.branch import ids_before
from qwen_tui.conversation.turns import Turn
from qwen_tui.store.copies import copy_turns
from qwen_tui.text import formatting

REQUEST = (
    "Summarise our conversation so far, so that it can go on from your summary alone. Keep every fact, name, number, "
    "decision and open question; leave out greetings and repetitions."
)
OFFER = "/drop leaves the oldest turns out, /summary goes on with a summary in a new conversation"


def turn_ends(turns: Sequence[Turn], tokens: int) -> list[float]:
    """About where in a context of `tokens` each turn ends: by their texts, as figures may be of another context."""
    sizes = [sum(len(message.content) + len(message.reasoning) for message in turn.messages()) for turn in turns]
    return [tokens * end / max(1, sum(sizes)) for end in accumulate(sizes)]


def turns_to_drop(turns: Sequence[Turn], tokens: int, limit: int) -> int:
    """How many of the oldest turns to leave out so that the others take half of the context or less; the last stays."""
    ends = turn_ends(turns, tokens)
    return next((n for n in range(1, len(turns)) if tokens - ends[n - 1] <= limit / 2), len(turns) - 1)


def turns_to_summarise(turns: Sequence[Turn], tokens: int, most: int) -> int:
    """How many of the first turns fit into `most` tokens."""
    return sum(end <= most for end in turn_ends(turns, tokens))


class MakingRoom:
    """`drop` and `summarise` are the two ways; `event` has to see what the engine says."""

    def __init__(
        self,
        context: AppContext,
        drafts: Drafts,
        conversations: ConversationActions,
        turns: TurnActions,
        tokens: TokenCount,
    ) -> None:
        self._context = context
        self._drafts = drafts
        self._conversations = conversations
        self._turns = turns
        self._tokens = tokens
        self._summary: tuple[Turn, int, list[int], int] | None = None
        """The turn that is being answered with a summary, the conversation it is of, and of that the messages that go
        on behind it, and the tokens that it had."""

        self.ended: Callable[[bool], None] = lambda good: None
        """Told once a summary is there and the conversation goes on behind it, or that there is none."""

    # Saying that it fills up.

    def warn(self) -> None:
        """Say once for a conversation that its context fills up."""
        conversation = self._context.conversation
        if conversation.is_nearly_full and conversation.model is not None and not conversation.warned_full:
            conversation.warned_full = True
            limit, used = conversation.model.context_limit, conversation.context_tokens
            left = formatting.tokens(max(0, limit - used))
            self._context.note(f"The context is {whole_percent(used / limit)} full, {left} are left: {OFFER}.")

    # Leaving turns out.

    async def drop(self, argument: str) -> None:
        """Go on without the oldest turns: as many as are asked for, or until half of the context is free."""
        context, conversation = self._context, self._context.conversation
        turns, kept, model = conversation.turns, conversation.kept.id, conversation.model
        if context.refuse(conversation.refusal) or context.still_answering(or_about_to=self._turns.busy):
            return
        if kept is None or model is None or len(turns) < 2:
            context.flash("No older turns to leave out: /new begins anew.")
            return
        number = int(argument) if argument.isascii() and argument.isdigit() and len(argument) < 9 else 0
        if argument and not 0 < number < len(turns):
            context.flash(f"/drop takes a number of turns, 1 to {len(turns) - 1}, or nothing.")
            return
        number = number or turns_to_drop(turns, conversation.context_tokens, model.context_limit)
        last = turns[-1].answer_id or turns[-1].question_id
        stay = _messages(turns[number:])
        await context.store.use(lambda store: copy_turns(store, stay, kept, None))
        await self._conversations.reload()
        self._drafts.leave_lost_edit()
        if last is not None:
            self._turns.can_undo(kept, partial(self._show_again, last))
        read = await self._read_next()
        context.flash(f"{formatting.counted(number, 'turn')} left out{read} /undo brings them back.")

    async def _show_again(self, message_id: int) -> None:
        await self._context.store.use(lambda store: store.tree.show(message_id))
        await self._conversations.reload()
        self._context.flash(f"All turns are back{await self._read_next()}")

    # A summary.

    async def summarise(self) -> None:
        """Have the model sum the conversation up, as the beginning of a new one."""
        context, conversation = self._context, self._context.conversation
        turns, kept, model = conversation.turns, conversation.kept.id, conversation.model
        if context.refuse(conversation.refusal) or context.still_answering(or_about_to=self._turns.busy):
            return
        if kept is None or model is None or not turns:
            context.flash("There is nothing to sum up yet: ask something first.")
            return
        most = max(64, min(1024, model.context_limit // 8))
        room = model.context_limit - most - min(FRAME_TOKENS, model.context_limit // 8)
        number = turns_to_summarise(turns, conversation.context_tokens, room)
        if not number:
            context.flash("No turn leaves room for a summary: /new begins a new conversation.")
            return
        rest, tokens = _messages(turns[number:]), conversation.context_tokens
        before: list[Command] = []
        if number < len(turns):
            known = await context.store.use(lambda store: ids_before(store, kept, turns[:number]))
            before.append(conversation.cut(turns[number], *known))
        title = f"{(await context.store.use(lambda store: store.conversations.get(kept))).title}, summed up"
        system, identity = conversation.system, context.recorder.model
        begun = await context.store.use(lambda store: store.conversations.begin(system, identity, title))
        shown = f"Summary of the first {number} turns" if rest else "Summary of the conversation so far"
        turn = conversation.begin_aside(begun, REQUEST, shown)
        self._drafts.leave_lost_edit()
        self._summary = (turn, kept, rest, tokens)
        self._turns.can_undo(begun, partial(self._back_to, kept))
        effort = "none" if "none" in model.levels else None
        if effort is not None and context.effort_group(effort) != context.effort_group(context.request().effort):
            context.flash(f"The summary is written without reasoning: that reads all {tokens:,} tokens again.")
        asked = replace(context.request(), max_new_tokens=most, effort=effort, seed=None)
        self._turns.ask(turn, asked, *before)

    def event(self, event: Event, running: Turn | None) -> None:
        """The engine has said something: the context may be nearly full by now, or a summary at its end."""
        if isinstance(event, Loaded | TurnDone | TurnFailed):
            self.warn()
        if self._summary is None or running is None or running is not self._summary[0] or running.running:
            return
        turn, kept, rest, tokens = self._summary
        self._summary = None
        reasons = ("stop", "length")
        good = isinstance(event, TurnDone) and event.finish_reason in reasons and bool(turn.answer.strip())
        ended = self._go_on(turn, rest, tokens) if good else self._give_up(kept)
        self._turns.busy = True  # the engine still has what was summed up
        self._context.chat.run_worker(self._end(ended, good))

    async def _end(self, ended: Awaitable[None], good: bool) -> None:
        try:
            await self._context.tell_trouble(ended)
        finally:
            self._turns.busy = False
        self.ended(good)

    async def _go_on(self, turn: Turn, rest: list[int], tokens: int) -> None:
        """The summary is there: what follows it goes on from it alone."""
        context, kept, answer_id = self._context, self._context.conversation.kept.id, turn.answer_id
        if kept is None or answer_id is None:
            return
        await context.store.use(lambda store: copy_turns(store, rest, kept, answer_id))
        await self._conversations.reload()
        read = await self._read_next()
        context.note(
            f"A new conversation begins with this summary, in place of {formatting.tokens(tokens)}{read} "
            "/undo goes back to the whole one, which stays in the list (F3)."
        )

    async def _give_up(self, kept: int) -> None:
        """There is no summary: the conversation is as it was."""
        context, begun = self._context, self._context.conversation.kept.id
        await self._resume(kept)
        if begun is not None and begun != kept:
            await context.store.use(lambda store: store.conversations.delete(begun))
        context.flash("There is no summary; the conversation is as it was.")

    async def _resume(self, kept: int) -> None:
        """Show a conversation again; what is being written stays where it is."""
        draft = self._context.chat.editor.draft()
        await self._conversations.resume(kept)
        if draft.text:
            self._context.chat.editor.set_draft(draft)

    async def _back_to(self, kept: int) -> None:
        await self._resume(kept)
        read = await self._read_next()
        self._context.flash(f"The whole conversation is back{read} The one with the summary stays in the list (F3).")

    async def _read_next(self) -> str:
        """What the next question has read again, exactly; the context is that from now on."""
        count = None
        with suppress(QwenError):
            count = await self._tokens.count("")
        if count is None:
            return "."
        self._context.conversation.context_tokens = count.prompt_tokens
        self._context.chat.request_draw()
        read = count.prompt_tokens - count.cached_tokens
        return f": {formatting.tokens(read)} are read with the next question, {count.cached_tokens:,} are kept."


def _messages(turns: list[Turn]) -> list[int]:
    return [message for turn in turns for message in (turn.question_id, turn.answer_id) if message is not None]
