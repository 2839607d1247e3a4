"""Which conversation and which model are open: new ones, resumed ones, drafts, another model under the same talk."""

import asyncio
from typing import TYPE_CHECKING

from qwen_core.errors import QwenError
from qwen_core.protocol.events import SaveState
from qwen_core.settings.paths import data_dir
from qwen_tui.conversation.branch import Branch, read_branch
from qwen_tui.conversation.recorder import Kept
from qwen_tui.conversation_list.screen import SessionsResult
from qwen_tui.store import Draft, Store, StoreError

if TYPE_CHECKING:
    from qwen_tui.app.app import QwenApp


def state_path(conversation_id: int | None) -> str:
    """The file of a conversation's saved state, "" where there is none."""
    if conversation_id is None:
        return ""
    try:
        path = data_dir() / "states" / f"{conversation_id}.safetensors"
    except QwenError:
        return ""
    return str(path) if path.is_file() else ""


class Opening:
    """Belongs to the app, and to its loop's thread."""

    def __init__(self, app: "QwenApp") -> None:
        self._app = app
        self.draft_saved = ""  # what was written last into the store as a draft

    # At the start.

    async def begin(self, resume: int | None) -> None:
        """After the first screen: earlier inputs, the draft that was left, and the conversation to go on with."""
        app = self._app
        try:
            recent, draft = await app.store.use(lambda store: (store.writing.recent(), store.writing.draft(None)))
            notices = await app.store.use(lambda store: store.notices)
        except QwenError as error:
            app.note(f"Conversations are not being saved: {error}", "error")
            return
        for notice in notices:
            app.note(notice)
        app.chat.editor.recall.fill(recent)
        if resume is not None:
            await self.resume(resume)
        else:
            self._offer(draft)

    # Conversations.

    async def resume(self, conversation_id: int, message_id: int | None = None) -> None:
        """Go on with a kept conversation, on the branch with `message_id` if one is named."""
        app = self._app
        if app.conversation.current is not None:
            app.flash("Still answering: Esc stops the answer first.")
            return
        self.keep_draft()
        branch = await self._read(conversation_id, message_id)
        if branch is None:
            return
        app.turns.forget_editing()
        self._show(branch)
        self._offer(branch.draft)
        await app.chat.draw()
        app.chat.transcript.follow()
        turn = next((t for t in app.conversation.turns if message_id in (t.question_id, t.answer_id)), None)
        if message_id is not None and turn is not None:
            app.chat.focus_turn(turn)

    async def reload(self) -> None:
        """Show the present conversation as it is on disk now."""
        kept = self._app.conversation.kept.id
        branch = await self._read(kept, None) if kept is not None else None
        if branch is not None:
            self._show(branch)

    async def _read(self, conversation_id: int, message_id: int | None) -> Branch | None:
        app = self._app
        first = app.conversation.next_number

        def work(store: Store) -> Branch:
            if store.conversations.get(conversation_id).deleted_at is not None:
                raise StoreError(f"Conversation {conversation_id} was deleted: u in the list (F3) brings it back.")
            if message_id is not None:
                store.tree.show(message_id)
            return read_branch(store, conversation_id, first)

        try:
            return await app.store.use(work)
        except QwenError as error:
            app.flash(str(error))
            return None

    def _show(self, branch: Branch) -> None:
        app, conversation = self._app, self._app.conversation
        conversation.state_path = state_path(branch.conversation_id)
        kept = conversation.kept if conversation.kept.id == branch.conversation_id else Kept(branch.conversation_id)
        command = conversation.load(kept, branch.turns, branch.resume, branch.fingerprint)
        if conversation.engine == "ready":
            app.send(command)
        app.chat.request_draw()

    def new(self) -> None:
        app = self._app
        if app.conversation.current is not None:
            app.flash("Still answering: Esc stops the answer first.")
            return
        self.keep_draft()
        app.turns.forget_editing()
        app.conversation.system = app.running.generation.system
        if app.conversation.kept.id is not None and app.chat.editor.text:
            app.chat.editor.set_draft("", {})
            app.flash("What you were writing stays with the other conversation.")
        command = app.conversation.clear()
        if app.conversation.engine == "ready":
            app.send(command)
        else:
            app.conversation.restore_when_loaded()
        app.chat.request_draw()

    async def session_chosen(self, result: SessionsResult | None) -> None:
        """The list of conversations was closed."""
        kept = self._app.conversation.kept.id
        if result is not None and kept is not None and kept in result.deleted:
            await self._leave_deleted(kept)
        if result is not None and result.opened is not None:
            await self.resume(result.opened.conversation_id, result.opened.message_id)

    async def _leave_deleted(self, kept: int) -> None:
        """The conversation that is open was deleted: leave it, or bring it back where it is being answered."""
        app = self._app
        if app.conversation.current is None:
            self.new()
            return
        app.deleted[:] = [one for one in app.deleted if one != kept]
        try:
            await app.store.use(lambda store: store.conversations.restore(kept))
        except QwenError as error:
            app.flash(str(error))
        else:
            app.flash("Not deleted, it is being answered: Esc stops the answer first.")

    # Drafts.

    def keep_draft(self) -> None:
        """Put what is being written on disk, as this conversation's.

        What an edit put there is none, unless nothing else is to be kept: then a crash does not lose the new wording.
        """
        app = self._app
        if app.turns.editing is not None and app.turns.set_aside:
            return
        kept, draft = app.conversation.kept.id, app.chat.editor.draft()

        def save(store: Store) -> None:
            store.writing.save_draft(kept, Draft(draft.text, draft.pastes))
            self.draft_saved = draft.text

        app.in_store(save)

    async def bring_draft(self, *, over: bool = True) -> bool:
        """Show the draft of this conversation as it is on disk, and say so; not `over` what is being written."""
        kept = self._app.conversation.kept.id
        try:
            draft = await self._app.store.use(lambda store: store.writing.draft(kept))
        except QwenError:
            draft = Draft("")
        if self._app.chat.editor.text and not over:
            return False
        self._app.chat.editor.set_draft(draft.text, draft.pastes)
        return True

    def _offer(self, draft: Draft) -> None:
        if draft.text or self._app.conversation.kept.id is not None:
            self._app.chat.editor.set_draft(draft.text, draft.pastes)

    # The state on disk.

    def save_state(self) -> None:
        """Keep the engine's state of this conversation, so that resuming it prefills nothing."""
        app = self._app
        kept, refusal = app.conversation.kept.id, app.refusal()
        if refusal or kept is None:
            app.flash(refusal or "There is nothing to save yet: ask something first.")
            return
        try:
            folder = data_dir() / "states"
            folder.mkdir(mode=0o700, exist_ok=True)
        except (QwenError, OSError) as error:
            app.flash(f"The state cannot be saved: {error}")
            return
        app.send(SaveState(str(folder / f"{kept}.safetensors")))
        app.flash("Saving the state …")

    # Models.

    async def model_chosen(self, path: str | None) -> None:
        """The list of models was closed."""
        if path is not None:
            await self.open_model(path)

    async def open_model(self, path: str) -> None:
        """Load another model in place of the present one; the conversation is rendered anew for it."""
        from qwen_core.checkpoint.directory import open_checkpoint
        from qwen_core.checkpoint.locate import resolve_model_path

        app = self._app
        if app.conversation.current is not None:
            app.flash("Still answering: Esc stops the answer first.")
            return
        try:
            resolved = await asyncio.to_thread(lambda: str(resolve_model_path(path)))
            await asyncio.to_thread(open_checkpoint, resolved)  # what cannot be read must not cost the loaded model
        except QwenError as error:
            app.flash(str(error))
            return
        app.load_model(resolved)
