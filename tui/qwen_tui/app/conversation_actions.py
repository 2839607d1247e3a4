"""Which conversation and which model are open: new ones, resumed ones, another model under the same talk."""

import asyncio
from typing import get_args

from qwen_core.errors import QwenError
from qwen_core.files import private_folder
from qwen_core.protocol.events import ComputeType, SaveState
from qwen_tui.app.context import AppContext
from qwen_tui.app.drafts import Drafts
from qwen_tui.conversation.branch import Branch, read_branch
from qwen_tui.conversation.recorder import KeptConversation
from qwen_tui.conversation_list.screen import ConversationsResult
from qwen_tui.store import Draft, Store, StoreError
from qwen_tui.store.states import state_file


class ConversationActions:
    """What cannot be done is said, or raised as QwenError. `deleted`: conversations deleted here, the last one last."""

    def __init__(self, context: AppContext, drafts: Drafts) -> None:
        self._context = context
        self._drafts = drafts
        self.deleted: list[int] = []

    async def begin(self, resume: int | None) -> None:
        """After the first screen: earlier inputs, the draft that was left, and the conversation to go on with."""
        context = self._context

        def read(store: Store) -> tuple[list[str], Draft, list[str]]:
            return store.writing.recent(), store.writing.draft(None), store.notices

        try:
            recent, draft, notices = await context.store.use(read)
        except QwenError as error:
            context.note(f"Conversations are not being saved: {error}", "error")
            return
        for notice in notices:
            context.note(notice)
        context.chat.editor.recall.fill(recent)
        if resume is not None:
            await context.tell_trouble(self.resume(resume))
        elif draft.text:
            context.chat.editor.set_draft(draft)

    # Conversations.

    async def resume(self, conversation_id: int, message_id: int | None = None) -> None:
        """Go on with a kept conversation, on the branch with `message_id` if one is named."""
        context = self._context
        if context.still_answering():
            return
        self._drafts.keep()
        branch = await self._read(conversation_id, message_id)
        self._drafts.forget_edit()
        self._show(branch)
        context.chat.editor.set_draft(branch.draft)
        context.chat.transcript.follow()
        turn = next((t for t in context.conversation.turns if message_id in (t.question_id, t.answer_id)), None)
        if message_id is not None and turn is not None:
            context.chat.focus_turn(turn)

    async def reload(self) -> None:
        """Show the present conversation as it is on disk now."""
        kept = self._context.conversation.kept.id
        if kept is not None:
            self._show(await self._read(kept))

    async def _read(self, conversation_id: int, message_id: int | None = None) -> Branch:
        first = self._context.conversation.next_number

        def work(store: Store) -> Branch:
            if store.conversations.get(conversation_id).deleted_at is not None:
                raise StoreError(f"Conversation {conversation_id} was deleted: Ctrl+Z in the list (F3) brings it back.")
            if message_id is not None:
                store.tree.show(message_id)
            return read_branch(store, conversation_id, first)

        return await self._context.store.use(work)

    def _show(self, branch: Branch) -> None:
        conversation = self._context.conversation
        try:
            state = state_file(branch.conversation_id)
            conversation.state_path = str(state) if state.is_file() else ""
        except QwenError:
            conversation.state_path = ""
        kept = conversation.kept
        if kept.id != branch.conversation_id:
            kept = KeptConversation(branch.conversation_id)
        self._context.restore(conversation.load(kept, branch))

    def new(self) -> None:
        context, editor = self._context, self._context.chat.editor
        if context.still_answering():
            return
        self._drafts.keep()
        self._drafts.forget_edit()
        if context.conversation.kept.id is not None and editor.text:
            editor.set_draft(Draft())
            context.flash("What you were writing stays with the other conversation.")
        context.conversation.system = context.running.generation.system
        context.restore(context.conversation.clear())

    async def list_closed(self, result: ConversationsResult | None) -> None:
        """The list of conversations was closed."""
        kept = self._context.conversation.kept.id
        if result is not None and kept is not None and kept in result.deleted:
            await self._context.tell_trouble(self._leave_deleted(kept))
        if result is not None and result.opened is not None:
            await self._context.tell_trouble(self.resume(result.opened.conversation_id, result.opened.message_id))

    async def _leave_deleted(self, kept: int) -> None:
        """The conversation that is open was deleted: leave it, or bring it back where it is being answered."""
        if self._context.conversation.current is None:
            self.new()
            return
        self.deleted[:] = [one for one in self.deleted if one != kept]
        await self._context.store.use(lambda store: store.conversations.restore(kept))
        self._context.flash("Not deleted: it is being answered. Esc stops the answer first.")

    # The state on disk.

    def save_state(self) -> None:
        """Keep the engine's state of this conversation, so that resuming it prefills nothing."""
        context = self._context
        kept, refusal = context.conversation.kept.id, context.conversation.refusal
        if refusal or kept is None:
            context.flash(refusal or "There is nothing to save yet: ask something first.")
            return
        try:
            path = state_file(kept)
            private_folder(path.parent)
        except (QwenError, OSError) as error:
            context.flash(f"The state cannot be saved: {error}")
            return
        context.send(SaveState(str(path)))
        context.flash("Saving the state …")

    # Models.

    async def model_chosen(self, path: str | None) -> None:
        """The list of models was closed."""
        if path is not None:
            await self._context.tell_trouble(self.open_model(path))

    def compute_in(self, dtype: str) -> None:
        """Load the model again to compute in another type; without one say in which it does."""
        context = self._context
        if not dtype:
            model = context.conversation.model
            present = model.dtype if model is not None else context.load.dtype or "the one that suits the device"
            context.flash(f"The compute type is {present}. /dtype takes one of: {', '.join(get_args(ComputeType))}.")
        elif not context.still_answering():
            context.load_as(dtype)
            context.note(f"Loading to compute in {dtype} until you leave; --dtype {dtype} asks for it at the start.")

    async def open_model(self, path: str) -> None:
        """Load another model in place of the present one; the conversation is rendered anew for it."""
        from qwen_core.checkpoint.directory import open_checkpoint
        from qwen_core.checkpoint.locate import resolve_model_path

        if self._context.still_answering():
            return

        def resolve() -> str:
            resolved = str(resolve_model_path(path))
            open_checkpoint(resolved)  # what cannot be read must not cost the loaded model
            return resolved

        self._context.load_model(await asyncio.to_thread(resolve))
