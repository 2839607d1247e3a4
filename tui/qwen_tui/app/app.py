"""The chat app: owns the engine, the store and the conversation, and passes each input to the part it is for.

Drawing is the screens' business, state the conversation's, what turns do turn_actions.py's. No MLX here: the model runs
in the engine's process.
"""

import asyncio
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import App
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.screen import Screen
from textual.widgets import TextArea

from qwen_core.checkpoint.locate import model_name
from qwen_core.protocol.events import EngineDied, Event, Load, Loaded, Notice
from qwen_tui.app.appearance import Appearance, rebindable
from qwen_tui.app.attention import Attention
from qwen_tui.app.context import AppContext
from qwen_tui.app.conversation_actions import ConversationActions
from qwen_tui.app.copying import Copying
from qwen_tui.app.drafts import Drafts
from qwen_tui.app.engine_link import EngineEvent, EngineFactory, EngineLink, make_engine
from qwen_tui.app.first_start import first_start
from qwen_tui.app.generation_commands import GenerationCommands
from qwen_tui.app.hangup import leave_on_hangup
from qwen_tui.app.help_screen import HelpScreen
from qwen_tui.app.making_room import MakingRoom
from qwen_tui.app.models_screen import models_screen
from qwen_tui.app.other_programs import LOOK_S, OtherPrograms
from qwen_tui.app.palette import CommandPalette
from qwen_tui.app.slash_commands import Handler, SlashCommands
from qwen_tui.app.terminal_driver import TerminalDriver
from qwen_tui.app.token_count import TokenCount
from qwen_tui.app.turn_actions import TurnActions
from qwen_tui.app.waiting import Waiting
from qwen_tui.chat.screen import ChatScreen
from qwen_tui.chat.turn_view import TurnView
from qwen_tui.chat.welcome import Welcome
from qwen_tui.composer.editor import Editor
from qwen_tui.composer.slash import Call, MessageText, Mistake, parse_input
from qwen_tui.conversation.recorder import Recorder
from qwen_tui.conversation_list.screen import ConversationsScreen
from qwen_tui.layers.base_screen import LayersScreen
from qwen_tui.layers.screen import InspectorScreen
from qwen_tui.settings.file import LoadedSettings
from qwen_tui.settings.screen import SettingsScreen
from qwen_tui.settings.themes import FALLBACK_THEME
from qwen_tui.settings.tree import AppSettings, SidePanel
from qwen_tui.store import Draft
from qwen_tui.store.thread import StoreThread
from qwen_tui.widgets.text_lines import TextLines

QUIT_PROMPT = "Press Ctrl+C again to quit."


class QwenApp(App[None]):
    """`qwen-tui MODEL_DIR`. `resume`: the kept conversation to go on with."""

    TITLE = "qwen-tui"
    CSS_PATH = "../chat/screen.tcss"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "interrupt", "Copy, stop or quit", show=False, priority=True),
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True, id="quit"),
        Binding("escape", "stop", "Stop the answer", show=False, id="stop"),
        Binding("f1,ctrl+g", "help", "Help", show=False, id="help"),
        Binding("f2,ctrl+l", "inspect", "Layers of the model", show=False, id="layers"),
        Binding("f3,ctrl+s", "conversations", "Conversations", show=False, id="sessions"),
        Binding("f5,ctrl+underscore", "settings", "Settings", show=False, id="settings"),
        Binding("ctrl+n", "new", "New conversation", show=False, id="new"),
        Binding("ctrl+t", "try_again", "Start the engine again", show=False, id="restart"),
    ]

    def __init__(
        self,
        model_path: str,
        loaded: LoadedSettings | None = None,
        dtype: str | None = None,
        *,
        resume: int | None = None,
        engine_factory: EngineFactory = make_engine,
        theme_folders: Iterable[Path] | None = None,
        store: StoreThread | None = None,
    ) -> None:
        super().__init__()
        loaded = loaded or LoadedSettings(AppSettings())
        settings = loaded.settings
        store = store or StoreThread()
        self.context = context = AppContext(
            loaded,
            Load(model_path, dtype, settings.generation.system, settings.for_load()),
            store,
            Recorder(store, lambda line: self._post(Notice(line))),
            EngineLink(engine_factory, self.receive),
        )
        context.changed = self._take_on
        self.conversation, self.chat = context.conversation, context.chat
        self.attention: Attention | None = None  # of a terminal alone
        self._resume = resume
        self._has_begun = False  # before that nothing was written, and the draft on disk is not on the screen
        self._rebindable = rebindable((QwenApp, ChatScreen, Editor, TurnView))
        self.appearance = Appearance(self, settings, self._rebindable, context.note, theme_folders)
        self.drafts = Drafts(context)
        self.conversations = ConversationActions(context, self.drafts)
        self.copying = Copying(context, self.copy_to_clipboard)
        self.tokens = TokenCount(context, self.drafts)
        self.turns = TurnActions(context, self.drafts, self.conversations, self.copying, self.tokens)
        self.room = MakingRoom(context, self.drafts, self.conversations, self.turns, self.tokens)
        self.waiting = Waiting(context, self.drafts, self.turns)
        self.room.ended = lambda good: self._ask(self.waiting.after_summary(good=good))
        actions: dict[str, Handler] = {
            "help": lambda _: self.action_help(),
            "search": self.action_conversations,
            "model": lambda _: self.action_models(),
            "inspect": lambda _: self.action_inspect(),
            "settings": lambda _: self.action_settings(),
            "theme": lambda _: self.palette.themes(self.appearance.themes()),
            "restart": lambda _: self.action_restart(),
            "quit": lambda _: self.exit(),
        }
        themes = self.appearance.themes
        parts = (self.conversations, self.turns, self.copying, self.room)
        self.commands = SlashCommands(context, *parts, actions, themes)
        self.palette = CommandPalette(self, self.chat, self.commands)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return FALLBACK_THEME.variables

    # Beginning and end.

    def get_driver_class(self) -> type[Driver]:
        """Ours, unless the environment names another one."""
        driver = super().get_driver_class()
        return TerminalDriver if driver is LinuxDriver else driver

    def get_default_screen(self) -> Screen[None]:
        return self.chat

    def on_mount(self) -> None:
        if problems := self.context.loaded.problems:
            self.context.note("These settings could not be read: " + "; ".join(problems), "error")
        self.appearance.begin()
        if not self.is_headless:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, self.exit)
            leave_on_hangup(loop, self.exit)
        if isinstance(self._driver, TerminalDriver):
            self.attention = Attention(self.context, self._driver)
            self._look()
        # The first paint comes before the engine: reading 20 GB must not be what the person waits for.
        self.call_after_refresh(lambda: self.context.link.start(self.context.load))
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self._has_begun = True
        self.chat.composer.choices = self.commands.choices
        for key in ("composer.paste_lines", "context.snapshot_budget_mb", "looks.side_panel"):
            self._take_on(key)
        if first_start():
            self.chat.query_one(Welcome).greet()
        self.run_worker(self.conversations.begin(self._resume), exit_on_error=True)
        self.set_interval(LOOK_S, OtherPrograms(self.context).look)

    def close_engine(self) -> None:
        """End the engine's process, then the store; the screen is gone by now, so this may wait."""
        self.commands.comparison.close()
        self.context.link.close()
        if self._has_begun:
            self.drafts.keep()
        self.context.recorder.flush()  # also the last half second of an answer that is left
        self.context.store.close()

    # The engine.

    def receive(self, event: Event) -> None:
        """Take an event from whichever thread the engine calls on: onto the disk first, then to the screen."""
        self.context.recorder.record(event)
        self.tokens.hear(event)
        self._post(event)

    def _post(self, event: Event) -> None:
        with suppress(RuntimeError):  # the loop is closed: the app is gone, nobody waits for events
            self.post_message(EngineEvent(event))

    @on(EngineEvent)
    def _engine_event(self, message: EngineEvent) -> None:
        event = message.event
        running = self.conversation.current
        command = self.conversation.apply(event)
        if command is not None:
            self.context.send(command)
        self.tokens.after(event)
        self.commands.after(event)
        self.room.event(event, running)
        self._ask(self.waiting.next(event, running))
        if isinstance(event, EngineDied):
            self.context.note("The conversation is kept. Press Ctrl+T or type /restart to start the engine again.")
        if isinstance(event, Loaded):
            self.chat.status.clear_flash()
            GenerationCommands(self.context).tell_effort()
        self._look()
        self.chat.request_draw()
        for screen in self.screen_stack[-1:]:  # none while the app is left
            if isinstance(screen, LayersScreen):
                screen.request_draw()

    def _ask(self, draft: Draft | None) -> None:
        """Ask what has waited, if its turn has come."""
        if draft is not None:
            self.run_worker(self.waiting.ask(draft), exit_on_error=True)

    def _look(self) -> None:
        if self.attention is not None:
            self.attention.look(watched=self.app_focus)

    def _take_on(self, key: str) -> None:
        """Have a running setting count where it is not looked up each time."""
        running = self.context.running
        match key:
            case "composer.paste_lines":
                self.chat.editor.paste_lines = running.composer.paste_lines
            case "context.snapshot_budget_mb":
                self.conversation.snapshot_budget = running.context.snapshot_budget_mb * 1_000_000
            case "looks.side_panel":
                self.chat.want_panel(running.looks.side_panel)
            case "looks.theme":
                self.appearance.use_theme(running.looks.theme)
            case _ if key.startswith("keys."):
                self.appearance.use_keys(running.keys)
            case _:
                pass

    # What the person enters.

    @on(ChatScreen.Entered)
    async def _entered(self, message: ChatScreen.Entered) -> None:
        if not message.text.strip():
            return
        with self.chat.status.giving_way():
            match parse_input(message.text):
                case Mistake(text):
                    self.context.flash(text)
                case Call(name, argument):
                    whole = self.chat.editor.pastes.expand(argument)
                    self.chat.take_draft(message.text)
                    await self.commands.call(Call(name, whole))
                case MessageText() if self.waiting.takes:
                    self.waiting.add(message.text)
                case MessageText(text):
                    await self.turns.submit(text, message.text)

    @on(Editor.Trouble)
    def _trouble(self, message: Editor.Trouble) -> None:
        self.context.flash(message.text)

    @on(Editor.DraftChanged)
    def _save_draft(self) -> None:
        self.drafts.keep()

    @on(TurnView.Asked)
    async def _turn_asked(self, message: TurnView.Asked) -> None:
        with self.chat.status.giving_way():
            await self.turns.do(message.turn, message.what)

    @on(TextLines.CodeChosen)
    async def _copy_code(self, message: TextLines.CodeChosen) -> None:
        await self.copying.put(message.code, "the block of code")

    @on(ChatScreen.BannerLeft)
    def _banner_left(self) -> None:
        if not self.waiting.take_back():
            self.drafts.leave_edit()

    # Actions: keys, palette and slash commands all end here.

    async def action_stop(self) -> None:
        conversation = self.conversation
        if conversation.current is None and self.commands.comparison.stop():
            return
        if conversation.current is None and conversation.engine != "loading" and not self.commands.reading:
            return
        conversation.stopping = conversation.current is not None
        self.chat.request_draw()
        await asyncio.to_thread(self.context.link.stop)

    async def action_interrupt(self) -> None:
        editor = self.chat.editor
        screen = self.screen
        own = isinstance(screen, LayersScreen | ConversationsScreen | SettingsScreen)
        status = screen.status if own else self.chat.status
        selected = self.screen.get_selected_text() or editor.selected_text
        if selected:
            self.copy_to_clipboard(selected)
            self.screen.clear_selection()
            status.flash("Copied.")
        elif self.conversation.current is not None and not self.conversation.stopping:
            await self.action_stop()
        elif status.flash_text == QUIT_PROMPT:
            self.exit()
        else:
            status.flash(QUIT_PROMPT)

    @on(TextArea.Changed)
    def _draft_changed(self, event: TextArea.Changed) -> None:
        if event.text_area is self.chat.editor:
            self.tokens.written()
        if self.chat.status.flash_text == QUIT_PROMPT:
            self.chat.status.clear_flash()

    async def run_action(
        self,
        action: str | tuple[str, str, tuple[object, ...]],
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """Whatever a key does but writing and scrolling takes back what was said before it."""
        name = action if isinstance(action, str) else action[1]
        if isinstance(default_namespace, Editor) or "scroll_" in name or "transcript_" in name:
            return await super().run_action(action, default_namespace, namespaces)
        with self.chat.status.giving_way():
            return await super().run_action(action, default_namespace, namespaces)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What is done to a conversation needs it in sight; no key acts that is being bound."""
        if isinstance(self.screen, SettingsScreen) and self.screen.capturing:
            return False
        return action not in ("new", "command_palette") or self.screen is self.chat

    def action_inspect(self) -> None:
        """The layers of the model, from the headers of its files: also while it loads, answers, or could not load."""
        if self.screen is self.chat:
            inspection = self.context.inspection
            watch = self.context.watch_experts
            self.push_screen(InspectorScreen(inspection, self.conversation, model_name(inspection.path), watch))

    def action_help(self) -> None:
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen())

    def action_conversations(self, query: str = "") -> None:
        """Every kept conversation: go on with one, search, rename, delete."""
        if self.screen is self.chat:
            screen = ConversationsScreen(
                self.context.store, self.conversation.kept.id, query, deleted=self.conversations.deleted
            )
            self.push_screen(screen, self.conversations.list_closed)

    async def action_models(self) -> None:
        """Open another model: the recent ones, or any directory."""
        self.push_screen(await models_screen(self.context), self.conversations.model_chosen)

    @on(ChatScreen.PanelAsked)
    def _panel_asked(self, message: ChatScreen.PanelAsked) -> None:
        lasting = self.context.loaded.lasting.looks.side_panel
        shown: SidePanel = "on" if message.shown else "off"
        self.context.change("looks.side_panel", lasting if lasting == "auto" and message.as_auto else shown)

    def action_settings(self) -> None:
        """Every setting, explained; what is changed there is saved and counts at once."""
        if self.screen is self.chat:
            words = {"looks.theme": self.appearance.themes()}
            self.push_screen(
                SettingsScreen(self.context.loaded, self._rebindable, words=words, model=self.conversation.model)
            )

    @on(SettingsScreen.Changed)
    def _setting_changed(self, message: SettingsScreen.Changed) -> None:
        present = self.context.request().effort
        self.context.take(message.loaded, message.key)
        is_other = self.context.request().effort != present
        if is_other and (words := GenerationCommands(self.context).reading(present)):
            self.context.note(f"The next message {words}: the reasoning effort is another.")

    def action_new(self) -> None:
        self.conversations.new()

    def action_try_again(self) -> None:
        """Start or load again, only where that is what is missing: a key must not throw a loaded model away."""
        if self.conversation.engine in ("engine down", "no model"):
            self.action_restart()

    def action_restart(self) -> None:
        """Start the engine again, load, and put the conversation back."""
        self.conversation.restarting()
        self.tokens.lost()
        self.context.link.start(self.context.load, again=True)
        self.chat.request_draw()

    def action_command_palette(self) -> None:
        self.palette.open()
