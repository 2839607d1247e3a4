"""What a person does with turns: ask, answer again, edit, go on, take out, walk the alternatives, copy.

Each begins on disk (recorder.py), then on the screen (conversation.py), then in the engine, in this order.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qwen_core.errors import QwenError
from qwen_core.protocol.events import Command, Continue, Send
from qwen_tui.composer.attachments import attach
from qwen_tui.conversation.branch import ids_before
from qwen_tui.conversation.recorder import Beginning
from qwen_tui.conversation.turns import Turn
from qwen_tui.store import DeletedTurn
from qwen_tui.text import formatting
from qwen_tui.text.safe import one_line, typed

if TYPE_CHECKING:
    from qwen_tui.app.app import QwenApp


class TurnActions:
    """Belongs to the app, and to its loop's thread."""

    def __init__(self, app: "QwenApp") -> None:
        self._app = app
        self.busy = False
        self._deleted: list[tuple[int, DeletedTurn]] = []
        self.editing: Turn | None = None
        self.set_aside = ""  # the draft that gave way to an edit, on disk meanwhile

    # Asking.

    async def submit(self, text: str, written: str) -> None:
        """A message from the composer: a new question, or the new wording of the one that is being edited.

        `written` is how it stands in the composer.
        """
        app = self._app
        refusal = app.refusal() or ("One moment: your text is kept." if self.busy else "")
        if refusal:
            app.flash(refusal)
            return
        self.busy = True
        try:
            content, shown = await self._compose(text)
            if not content:
                return
            editing, self.editing = self.editing, None
            app.remember_input(written, drop_draft=editing is None or not self.set_aside)
            app.chat.take_draft(written)
            if editing is not None:
                app.chat.composer_banner(None)
                if self.set_aside and not await app.opening.bring_draft(over=False):
                    self._to_history(self.set_aside)  # something else was typed behind Enter
            if editing is not None and editing in app.conversation.items:
                await self._again(editing, content, shown, edits=editing.question_id)
            else:
                self._ask(content, shown)
        finally:
            self.busy = False

    async def _compose(self, text: str) -> tuple[str, str]:
        """What the model gets and what the person wrote, if that is less; ("", "") where files are in the way."""
        app = self._app
        limit = app.running.composer.attach_limit_kb * 1024
        written = typed(text)
        sent = app.chat.editor.pastes.expand(written)
        if "@" not in written:
            return sent, ""
        attached = await asyncio.to_thread(attach, written, Path.cwd(), limit, sent)
        if attached.problems:
            app.flash(f"Not sent: {attached.problems[0]}")
            return "", ""
        if attached.files:
            names = ", ".join(f"{one_line(file.name, 40)} {formatting.size(file.size)}" for file in attached.files)
            app.flash(f"Attached {names}.")
        return attached.text, sent if attached.files else ""

    def _ask(self, text: str, shown: str = "", *, question_id: int | None = None) -> None:
        turn = self._app.conversation.ask(text)
        turn.shown = shown
        self._begin(turn, question_id=question_id)

    def _begin(self, turn: Turn, *before: Command, question_id: int | None = None, edits: int | None = None) -> None:
        """Have a turn that is on the screen stored, then answered."""
        app, conversation = self._app, self._app.conversation
        settings = app.request()
        begun = app.recorder.begin(
            Beginning(
                turn.number, conversation.kept, turn.question, turn.shown, settings, conversation.system, question_id,
                edits, self._last_before(turn),
            )
        )  # fmt: skip

        def stored() -> None:
            ids = begun.result()
            if ids is not None:
                turn.question_id, turn.answer_id, turn.place = ids.question_id, ids.answer_id, ids.place

        app.send(*before, Send(turn.number, turn.question, settings), first=stored)
        app.chat.request_draw()

    def _last_before(self, turn: Turn) -> int | Literal["end"] | None:
        """The message that a question follows here, whatever another program has added on disk."""
        turns = self._app.conversation.turns
        earlier = turns[: turns.index(turn)]
        if not earlier:
            return None
        return earlier[-1].answer_id or earlier[-1].question_id or "end"

    async def _again(
        self, turn: Turn, text: str, shown: str, *, question_id: int | None = None, edits: int | None = None
    ) -> None:
        """Ask at the place of `turn`; what follows it stays on the branch that it was on."""
        app, conversation = self._app, self._app.conversation
        ids, fingerprint = (), ""
        earlier = conversation.turns[: conversation.turns.index(turn)]
        try:
            ids, fingerprint = await app.store.use(lambda store: ids_before(store, earlier))
        except QwenError as error:
            app.flash(str(error))
        if turn not in conversation.items:
            return
        before = conversation.cut(turn, ids, fingerprint)
        self._leave_lost_edit()
        again = conversation.ask(text)
        again.shown = shown
        self._begin(again, before, question_id=question_id, edits=edits)

    # Of one turn; without one, the last is meant.

    def _chosen(self, turn: Turn | None) -> Turn | None:
        """The turn that an action is about, or None where it cannot be done now, which is said."""
        app = self._app
        turns = app.conversation.turns
        turn = turn or (turns[-1] if turns else None)
        if turn is None:
            app.flash("There is no turn yet.")
        elif app.conversation.current is not None or self.busy:
            app.flash("Still answering: Esc stops the answer first.")
        else:
            return turn
        return None

    async def do(self, turn: Turn | None, what: str) -> None:
        """What a key on a turn, or a command, asks for."""
        match what:
            case "edit":
                self.edit(turn)
            case "retry":
                await self.retry(turn)
            case "continue":
                await self.go_on(turn)
            case "delete":
                await self.delete(turn)
            case "undo":
                await self.undo_delete()
            case "previous":
                await self.walk(turn, -1)
            case "next":
                await self.walk(turn, 1)
            case _:
                await self._app.copying.copy(turn, "")

    def edit(self, turn: Turn | None) -> None:
        """Put a question into the composer; sending it asks it anew, in its place."""
        turn = self._chosen(turn)
        if turn is None:
            return
        app = self._app
        if self.editing is None:
            app.opening.keep_draft()
            self.set_aside = app.chat.editor.text
        self.editing = turn
        place = app.conversation.turns.index(turn) + 1
        app.chat.composer_banner(f"editing turn {place} · Enter asks it anew · Esc leaves")
        app.chat.editor.set_text(turn.shown or turn.question)
        app.chat.editor.focus()

    async def leave_editing(self) -> None:
        """Esc: the question stays as it was, and the draft comes back."""
        if self.editing is not None:
            self.editing = None
            self._app.chat.composer_banner(None)
            if self.set_aside:
                await self._app.opening.bring_draft()
            else:
                self._app.chat.editor.set_draft("", {})
                self._app.opening.keep_draft()

    def forget_editing(self) -> None:
        """Another conversation comes: the rewording is this one's draft, or, where that has one, an earlier input."""
        if self.editing is not None and self.set_aside:
            self._to_history(self._app.chat.editor.text)
        self.editing = None
        self._app.chat.composer_banner(None)

    def _leave_lost_edit(self) -> None:
        """The turn that was being reworded is gone: the rewording is the draft now, the draft before it an input."""
        if self.editing is not None and self.editing not in self._app.conversation.items:
            self.editing = None
            self._to_history(self.set_aside)
            self._app.chat.composer_banner(None)

    def _to_history(self, text: str) -> None:
        """Have `text` come back with the up key, here and at a later start."""
        if text.strip():
            self._app.remember_input(text, drop_draft=False)
            self._app.chat.editor.recall.add(text)

    async def retry(self, turn: Turn | None) -> None:
        """Another answer to the same question: an alternative to the one that is there."""
        turn = self._chosen(turn)
        refusal = self._app.refusal()
        if turn is None or refusal:
            self._app.flash(refusal)
            return
        self.busy = True
        try:
            await self._again(turn, turn.question, turn.shown, question_id=turn.question_id)
        finally:
            self.busy = False

    async def go_on(self, turn: Turn | None) -> None:
        """Go on with an answer that was stopped or reached its limit."""
        app = self._app
        turn = self._chosen(turn)
        if turn is None:
            return
        refusal = app.refusal()
        if turn is not app.conversation.turns[-1]:
            refusal = "Only the last answer can go on: r answers an earlier question again."
        elif turn.state == "interrupted":
            refusal = "A crash cut this answer off, its state is gone: r, or /retry, answers the question again."
        elif not turn.continuable:
            refusal = "There is nothing to continue: the answer was not cut off by a stop or a limit."
        if refusal:
            app.flash(refusal)
            return
        again = app.conversation.go_on(turn)
        self._leave_lost_edit()
        if turn.answer_id is not None:
            reopened = app.recorder.reopen(again.number, turn.answer_id)
            app.send(Continue(again.number, app.request()), first=reopened.result)
        else:
            app.send(Continue(again.number, app.request()))
        app.chat.request_draw()

    async def delete(self, turn: Turn | None) -> None:
        """Take a turn out; what follows goes on without it."""
        app, conversation = self._app, self._app.conversation
        turn = self._chosen(turn)
        if turn is None:
            return
        question, kept = turn.question_id, conversation.kept.id
        if question is None or kept is None:
            self.send_if_ready(conversation.forget(turn))
        else:
            try:
                deleted = await app.store.use(lambda store: store.tree.delete_turn(question))
            except QwenError as error:
                app.flash(str(error))
                return
            self._deleted.append((kept, deleted))
            await app.opening.reload()
        self._leave_lost_edit()
        app.flash("The turn is deleted; u on a turn, or /undo, brings it back." if question else "The turn is deleted.")
        app.chat.request_draw()

    async def undo_delete(self) -> None:
        app = self._app
        kept = app.conversation.kept.id
        mine = [entry for entry in self._deleted if entry[0] == kept]
        if not mine or app.conversation.current is not None:
            app.flash("There is nothing to bring back." if not mine else "Still answering: Esc stops the answer first.")
            return
        try:
            await app.store.use(lambda store: store.tree.undo_delete(mine[-1][1]))
        except QwenError as error:
            app.flash(str(error))
            return
        self._deleted.remove(mine[-1])
        await app.opening.reload()
        app.flash("The turn is back.")

    async def walk(self, turn: Turn | None, step: int) -> None:
        """Show the alternative to the left or right of a turn, with the branch that goes on from it."""
        app = self._app
        turn = self._chosen(turn)
        if turn is None:
            return
        question, shown = turn.question_id, turn.answer_id
        place = app.conversation.turns.index(turn)

        if question is None or turn.place[1] < 2:
            app.flash("This turn has no alternatives: e edits its question, r answers it again.")
            return
        try:
            await app.store.use(lambda store: store.tree.show_beside(question, shown or question, step))
        except QwenError as error:
            app.flash(str(error))
            return
        await app.opening.reload()
        turns = app.conversation.turns
        await app.chat.draw()
        if place < len(turns):
            app.chat.focus_turn(turns[place])

    def send_if_ready(self, command: Command) -> None:
        if self._app.conversation.engine == "ready":
            self._app.send(command)
