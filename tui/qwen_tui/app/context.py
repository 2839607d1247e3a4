"""What the parts of the app share: the open conversation, its store and engine, and what each part does with them.

Knows no app and needs none: a part is tested with a context of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from qwen_core.checkpoint.locate import model_name
from qwen_core.errors import QwenError, SettingsError
from qwen_core.protocol.events import Command, Effort, GenerationSettings, Load, Restore, Watch
from qwen_core.settings.sampling_values import Sourced
from qwen_core.text.effort import EFFORTS, resolve_effort
from qwen_tui.app.engine_link import EngineLink
from qwen_tui.chat.screen import ChatScreen
from qwen_tui.composer.attachments import Attached, attach
from qwen_tui.composer.pastes import Pastes
from qwen_tui.conversation.conversation import Conversation
from qwen_tui.conversation.recorder import Recorder
from qwen_tui.layers.inspection import Inspection
from qwen_tui.settings.counting import counting
from qwen_tui.settings.file import LoadedSettings, temporary
from qwen_tui.settings.rows import all_saved, save_values, shown
from qwen_tui.settings.tree import AppSettings
from qwen_tui.store import Store
from qwen_tui.store.thread import StoreThread
from qwen_tui.text.safe import one_line, typed


class AppContext:
    """Belongs to the thread of the app's loop. `loaded`: the settings and where each is from; `load`: the model's."""

    def __init__(
        self, loaded: LoadedSettings, load: Load, store: StoreThread, recorder: Recorder, link: EngineLink
    ) -> None:
        self.loaded = loaded
        self.load = load
        self.store = store
        self.recorder = recorder
        self.link = link
        self.conversation = Conversation(loaded.settings.generation.system)
        self.chat = ChatScreen(self.conversation, model_name(load.path))
        self.inspection = Inspection(load.path)
        self.changed: Callable[[str], None] = lambda key: None
        """Told the key of a running setting after it was changed."""

    # What is said to the person.

    def flash(self, text: str) -> None:
        """A short word in the status line."""
        self.chat.status.flash(text)

    def note(self, text: str, kind: Literal["notice", "error"] = "notice") -> None:
        """A line of the program's own in the transcript."""
        self.conversation.note(text, kind)
        self.chat.request_draw()

    def refuse(self, reason: str) -> bool:
        """Say why something cannot be done; whether there is a reason."""
        if reason:
            self.flash(reason)
        return bool(reason)

    def still_answering(self, *, or_about_to: bool = False) -> bool:
        """Whether an answer has to end first, which is said."""
        answering = or_about_to or self.conversation.current is not None
        return self.refuse("Still answering: Esc stops the answer first." if answering else "")

    async def tell_trouble(self, action: Awaitable[None]) -> None:
        """Wait for `action`, and say what it could not do."""
        try:
            await action
        except QwenError as error:
            self.flash(str(error))

    # The settings that count now.

    @property
    def running(self) -> AppSettings:
        """The settings that count now."""
        return self.loaded.settings

    @property
    def counting(self) -> Mapping[str, Sourced]:
        """What counts of each generation setting, and where it is from."""
        return counting(self.loaded, self.conversation.model)

    def request(self) -> GenerationSettings:
        """What to ask of the next answer."""
        return self.running.request()

    def change(self, key: str, value: object) -> None:
        """Change a setting for as long as the program runs, and say so. ValueError says what it takes."""
        self.take(self.loaded.for_now(key, value), key)
        self.flash(f"{key.partition('.')[2]} is {shown(value)}{self.for_now}.")

    @property
    def for_now(self) -> str:
        """What is said behind a change: that the next start forgets it, and what keeps it."""
        return " for now; /save keeps it" if temporary(self.loaded) else ""

    def take(self, loaded: LoadedSettings, key: str) -> None:
        """Have `loaded` count, in which `key` has changed."""
        self.loaded = loaded
        self.load = replace(self.load, settings=self.running.for_load())
        self.changed(key)

    @property
    def efforts(self) -> tuple[Effort, ...]:
        """The levels of reasoning effort there are: of the model's template, once it is known."""
        model = self.conversation.model
        return (model.levels if model is not None else ()) or EFFORTS

    def effort_group(self, level: Effort | None) -> int | None:
        """A number that is another where a level's text before the conversation is another."""
        model = self.conversation.model
        level = level or (model.default_effort if model is not None else None)
        if model is None or level is None:
            return None
        with suppress(SettingsError):
            level, _ = resolve_effort(model.levels, level)
        return dict(model.efforts).get(level)

    async def save(self) -> None:
        """Keep what was changed for now in config.toml."""
        values = temporary(self.loaded)
        if not values:
            self.flash("Nothing to save: no setting was changed for now.")
            return
        old = await asyncio.to_thread(save_values, values)
        self.loaded = all_saved(self.loaded)
        said = ", ".join(f"{key.partition('.')[2]} {shown(value)}" for key, value in values.items())
        self.flash(f"Saved: {said}.")
        if old is not None:
            self.note(f"The old config.toml could not be changed and is kept as {one_line(str(old), 200)}.")
        if other := temporary(self.loaded):
            self.note(f"Saved, but an option or a variable of the environment overrides it: {', '.join(other)}.")

    # What is written.

    async def attached(self, written: str, pastes: Pastes) -> Attached:
        """What the model gets of a text from the composer: pastes in full, and the files that it mentions."""
        text = typed(written)
        sent = pastes.expand(text)
        if "@" not in text:
            return Attached(sent)
        limit = self.running.composer.attach_limit_kb * 1000
        return await asyncio.to_thread(attach, text, Path.cwd(), limit, sent)

    # The store and the engine.

    def in_store(self, work: Callable[[Store], object]) -> None:
        """Have something kept that nobody waits for; a store that fails says so elsewhere."""
        with suppress(RuntimeError):
            self.store.submit(work)

    def send(self, *commands: Command, first: Callable[[], object] | None = None) -> None:
        """Have the engine take `commands`, in order; `first`, which may wait, is done before them."""
        self.link.send(*commands, first=first)
        self.chat.request_draw()

    def watch_experts(self, on: bool) -> None:
        """Have the engine say which experts an answer uses, while somebody looks."""
        self.link.send(Watch(on))

    def restore(self, command: Restore) -> None:
        """Have the engine take the conversation as it is now; one that is not ready gets it once it has loaded."""
        if self.conversation.engine == "ready":
            self.send(command)
        self.chat.request_draw()

    def load_model(self, path: str) -> None:
        """Load another model; the conversation goes on with it, rendered anew."""
        self.inspection = Inspection(path)
        self._load(Load(path, self.load.dtype, self.conversation.system, self.running.for_load()))

    def load_as(self, dtype: str) -> None:
        """Load the model again, to compute in another type."""
        self._load(replace(self.load, dtype=dtype))

    def _load(self, load: Load) -> None:
        self.load = load
        is_down = self.conversation.engine == "engine down"
        self.conversation.restarting()
        self.conversation.model = None
        if is_down:
            self.link.start(load, again=True)
        else:
            self.send(load)
        self.chat.request_draw()
