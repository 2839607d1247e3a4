"""What a person does with turns: ask, answer again, edit, go on, take out, walk the alternatives, copy.

Each begins on disk (recorder.py), then on the screen (conversation.py), then in the engine, in this order.
"""

from collections.abc import Awaitable, Callable
from typing import Literal

from qwen_core.errors import QwenError
from qwen_core.figures import decimal_size
from qwen_core.protocol.begun_answer import BegunAnswer
from qwen_core.protocol.events import Command, Continue, GenerationSettings, Send
from qwen_tui.app.context import AppContext
from qwen_tui.app.conversation_actions import ConversationActions
from qwen_tui.app.copying import Copying
from qwen_tui.app.drafts import Drafts
from qwen_tui.app.token_count import TokenCount
from qwen_tui.chat.turn_view import What
from qwen_tui.composer.pastes import Pastes
from qwen_tui.conversation.branch import ids_before
from qwen_tui.conversation.recorder import Beginning
from qwen_tui.conversation.turns import Turn
from qwen_tui.store import DeletedTurn
from qwen_tui.store.copies import original_of
from qwen_tui.text.safe import one_line, typed


class TurnActions:
    """`busy` while something is on its way that leads to a question for the engine."""

    def __init__(
        self,
        context: AppContext,
        drafts: Drafts,
        conversations: ConversationActions,
        copying: Copying,
        tokens: TokenCount,
    ) -> None:
        self._context = context
        self.tokens = tokens
        self._drafts = drafts
        self._conversations = conversations
        self._copying = copying
        self.busy = False
        self.look: Callable[[Turn | None], Awaitable[None]] | None = None  # opens the lens on a turn
        self.map: Callable[[Turn | None], Awaitable[None]] | None = None  # opens the map of the context
        self._sent_as_text = ""  # the last message that was held back because it names a file that is not there
        self._ways_back: list[tuple[int, Callable[[], Awaitable[None]]]] = []

    # Asking.

    async def submit(self, text: str, written: str | None, pastes: Pastes | None = None) -> bool:
        """A message from the composer: a new question, or the new wording of the one that is being edited.

        `written` is how it stands in the composer; None for one that is there no more, with its own `pastes`. Whether
        it is asked now.
        """
        refusal = self._context.conversation.refusal or ("One moment: your text is kept." if self.busy else "")
        if self._context.refuse(refusal):
            return False
        self.busy = True
        try:
            content, shown = await self._compose(text, pastes or self._context.chat.editor.pastes)
            if not content or self._context.refuse(await self.tokens.refusal(content)):
                return False
            if self._context.refuse(self._context.conversation.refusal):
                return False  # the engine ended while it was asked
            edited = None if written is None else self._drafts.sent(written)
            if edited is not None and edited in self._context.conversation.items:
                await self._again(edited, content, shown, edits=edited.question_id)
            else:
                self._begin(self._context.conversation.ask(content, shown))
            return True
        finally:
            self.busy = False

    async def _compose(self, text: str, pastes: Pastes) -> tuple[str, str]:
        """What the model gets and what the person wrote, if that is less; ("", "") where files are in the way."""
        context = self._context
        attached = await context.attached(text, pastes)
        if attached.problems:
            context.flash(f"Not sent: {attached.problems[0]}")
            return "", ""
        if attached.unknown and self._sent_as_text != text:
            self._sent_as_text = text
            name = one_line(attached.unknown[0], 40)
            context.flash(f"No file {name} here: Enter sends it as text.")
            return "", ""
        if attached.files:
            names = ", ".join(f"{one_line(file.name, 40)} {decimal_size(file.size)}" for file in attached.files)
            context.flash(f"Attached {names}.")
        return attached.text, pastes.expand(typed(text)) if attached.files else ""

    def ask(self, turn: Turn, settings: GenerationSettings, *before: Command) -> None:
        """Have a turn that is on the screen stored, then answered with settings of its own."""
        self._begin(turn, *before, settings=settings)

    def _begin(
        self,
        turn: Turn,
        *before: Command,
        question_id: int | None = None,
        edits: int | None = None,
        settings: GenerationSettings | None = None,
        begun: BegunAnswer | None = None,
    ) -> None:
        context, conversation = self._context, self._context.conversation
        settings = settings or context.request()
        turn.sampling = context.counting
        in_store = context.recorder.begin(
            Beginning(
                turn.number, conversation.kept, turn.question, turn.shown, settings, conversation.system, question_id,
                edits, self._last_before(turn), turn.aside,
            )
        )  # fmt: skip

        def stored() -> None:
            ids = in_store.result()
            if ids is not None:
                turn.question_id, turn.answer_id, turn.place = ids.question_id, ids.answer_id, ids.place

        context.send(*before, Send(turn.number, turn.question, settings, begun), first=stored)

    def _last_before(self, turn: Turn) -> int | Literal["end"] | None:
        """The message that a question follows here, whatever another program has added on disk."""
        latest = self._context.conversation.latest
        next(there for there in latest if there is turn)
        before = next(latest, None)
        return None if before is None else before.answer_id or before.question_id or "end"

    async def _again(
        self,
        turn: Turn,
        text: str,
        shown: str,
        *,
        question_id: int | None = None,
        edits: int | None = None,
        settings: GenerationSettings | None = None,
        begun: BegunAnswer | None = None,
    ) -> None:
        """Ask at the place of `turn`; what follows it stays on the branch that it was on."""
        context, conversation = self._context, self._context.conversation
        ids, fingerprint, known, kept = (), "", 0, conversation.kept.id
        earlier = conversation.turns[: conversation.turns.index(turn)]
        try:
            if kept is not None:
                ids, fingerprint, known = await context.store.use(lambda store: ids_before(store, kept, earlier))
        except QwenError as error:
            context.flash(str(error))
        if turn not in conversation.items:
            return
        before = conversation.cut(turn, ids, fingerprint, known)
        self._drafts.leave_lost_edit()
        again = conversation.ask(text, shown)
        self._begin(again, before, question_id=question_id, edits=edits, settings=settings, begun=begun)

    # Of one turn; without one, the last is meant.

    def _chosen(self, turn: Turn | None) -> Turn | None:
        """The turn that an action is about, or None where it cannot be done now, which is said."""
        turn = turn or next(self._context.conversation.latest, None)
        if turn is None:
            self._context.flash("There is no turn yet: ask something first.")
        elif not self._context.still_answering(or_about_to=self.busy):
            return turn
        return None

    async def do(self, turn: Turn | None, what: What) -> None:
        """What a key on a turn, or a command, asks for."""
        await self._context.tell_trouble(self._do(turn, what))

    async def _do(self, turn: Turn | None, what: What) -> None:
        match what:
            case "edit":
                self.edit(turn)
            case "retry":
                await self.retry(turn)
            case "continue":
                self.go_on(turn)
            case "delete":
                await self.delete(turn)
            case "undo":
                await self.undo()
            case "previous":
                await self.walk(turn, -1)
            case "next":
                await self.walk(turn, 1)
            case "lens" if self.look is not None:
                await self.look(turn)
            case "context" if self.map is not None:
                await self.map(turn)
            case _:
                await self._copying.copy(turn, "")

    def edit(self, turn: Turn | None) -> None:
        """Put a question into the composer; sending it asks it anew, in its place."""
        turn = self._chosen(turn)
        if turn is not None:
            self._drafts.edit(turn)
            self._context.chat.editor.focus()

    async def retry(
        self, turn: Turn | None, begun: BegunAnswer | None = None, settings: GenerationSettings | None = None
    ) -> None:
        """Another answer to the same question: an alternative to the one that is there. `begun`: it begins so."""
        turn = self._chosen(turn)
        if turn is None or self._context.refuse(self._context.conversation.refusal):
            return
        self.busy = True
        try:
            question = turn.question_id
            await self._again(turn, turn.question, turn.shown, question_id=question, settings=settings, begun=begun)
        finally:
            self.busy = False

    def go_on(self, turn: Turn | None) -> None:
        """Go on with an answer that was stopped or reached its limit."""
        context = self._context
        turn = self._chosen(turn)
        if turn is None:
            return
        refusal = context.conversation.refusal
        if turn is not next(context.conversation.latest):
            refusal = "Only the last answer can go on: r answers an earlier question again."
        elif turn.state == "interrupted":
            refusal = "A crash cut this answer off and its state is gone: r or /retry answers the question again."
        elif not turn.continuable:
            refusal = "There is nothing to continue: the answer was not cut off by a stop or a limit."
        if context.refuse(refusal):
            return
        again = context.conversation.go_on(turn)
        again.sampling = context.counting
        self._drafts.leave_lost_edit()
        reopened = None
        if turn.answer_id is not None:
            reopened = context.recorder.reopen(again.number, turn.answer_id, turn.stats).result
        context.send(Continue(again.number, context.request()), first=reopened)

    async def delete(self, turn: Turn | None) -> None:
        """Take a turn out; what follows goes on without it."""
        context, conversation = self._context, self._context.conversation
        turn = self._chosen(turn)
        if turn is None:
            return
        question, kept = turn.question_id, conversation.kept.id
        if question is None or kept is None:
            context.restore(conversation.forget(turn))
            context.flash("The turn is deleted.")
        else:
            deleted = await context.store.use(lambda store: store.tree.delete_turn(question))
            self.can_undo(kept, lambda: self._bring_back(deleted))
            await self._conversations.reload()
            context.flash("The turn is deleted; u on a turn, or /undo, brings it back.")
        self._drafts.leave_lost_edit()

    def can_undo(self, kept: int, way_back: Callable[[], Awaitable[None]]) -> None:
        """Something was done to the conversation `kept` that `way_back` undoes."""
        self._ways_back.append((kept, way_back))

    async def undo(self) -> None:
        """Take back what was done last to this conversation: a turn deleted, turns left out, a summary."""
        context = self._context
        kept = context.conversation.kept.id
        mine = [entry for entry in self._ways_back if entry[0] == kept]
        if context.still_answering():
            return
        if mine:
            await mine[-1][1]()
            self._ways_back.remove(mine[-1])
        elif not await self._whole_again():
            context.flash("There is nothing to bring back.")

    async def _whole_again(self) -> bool:
        """Show the turns that an earlier run of the program left out; whether there were any."""
        context = self._context
        question = next((turn.question_id for turn in context.conversation.turns), None)
        if question is None:
            return False
        original = await context.store.use(lambda store: original_of(store, question))
        if original is None:
            return False
        await context.store.use(lambda store: store.tree.show(original))
        await self._conversations.reload()
        self._drafts.leave_lost_edit()
        context.flash("All turns are back.")
        return True

    async def _bring_back(self, deleted: DeletedTurn) -> None:
        await self._context.store.use(lambda store: store.tree.undo_delete(deleted))
        await self._conversations.reload()
        self._context.flash("The turn is back.")

    async def walk(self, turn: Turn | None, step: int) -> None:
        """Show the alternative to the left or right of a turn, with the branch that goes on from it."""
        context = self._context
        turn = self._chosen(turn)
        if turn is None:
            return
        question, shown = turn.question_id, turn.answer_id
        place = context.conversation.turns.index(turn)
        if question is None or turn.place[1] < 2:
            context.flash("This turn has no alternatives: e edits its question, r answers it again.")
            return
        await context.store.use(lambda store: store.tree.show_beside(question, shown or question, step))
        await self._conversations.reload()
        turns = context.conversation.turns
        if place < len(turns):
            context.chat.focus_turn(turns[place])
