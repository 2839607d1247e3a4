"""The chat app: owns the engine and the conversation, and decides what each input means for them.

Drawing is the screens' business, state the conversation's. No MLX here: the model runs in the engine's process.
"""

import asyncio
import signal
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import TextArea

from qwen_core.errors import QwenError
from qwen_core.events import Command, EngineDied, Event, GenerationSettings, Load, Loaded, Send
from qwen_tui.conversation import Conversation
from qwen_tui.engine_link import EngineEvent, EngineFactory, EngineLike, make_engine
from qwen_tui.hangup import leave_on_hangup
from qwen_tui.inspection import Inspection
from qwen_tui.model_name import pending_name
from qwen_tui.screens.chat import ChatScreen
from qwen_tui.screens.help import HelpScreen
from qwen_tui.screens.inspector import InspectorScreen
from qwen_tui.screens.layers import LayersScreen
from qwen_tui.slash import EFFORTS, Call, Mistake, Text, parse_input
from qwen_tui.text import typed, visible
from qwen_tui.themes import DEFAULT_THEME, FALLBACK_THEME, load_themes, theme_folder
from qwen_tui.turns import Turn

QUIT_PROMPT = "Press Ctrl+C again to quit."


class QwenApp(App[None]):
    """`qwen-tui MODEL_DIR`."""

    TITLE = "qwen-tui"
    CSS_PATH = "screens/chat.tcss"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "interrupt", "Stop or quit", show=False, priority=True),
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True),
        Binding("escape", "stop", "Stop", show=False),
        Binding("f1,ctrl+g", "help", "Help", show=False),
        Binding("f2,ctrl+l", "inspect", "Layers", show=False),
        Binding("ctrl+n", "new", "New conversation", show=False),
        Binding("ctrl+t", "try_again", "Start again", show=False),
    ]

    def __init__(
        self,
        model_path: str,
        settings: GenerationSettings,
        system: str | None = None,
        dtype: str | None = None,
        *,
        engine_factory: EngineFactory = make_engine,
        theme_folders: Iterable[Path] | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.conversation = Conversation(system)
        self.engine: EngineLike | None = None
        self._load = Load(model_path, dtype, system)
        self._engine_factory = engine_factory
        # One thread, so that starting, loading and sending stay in order and never hold up the screen.
        self._engine_thread = ThreadPoolExecutor(1, thread_name_prefix="engine-link")
        self._theme_problems = self._register_themes(theme_folders or [theme_folder()])
        self.chat = ChatScreen(self.conversation, pending_name(model_path))
        self.inspection = Inspection(model_path)

    # Themes.

    def _register_themes(self, folders: Iterable[Path]) -> list[str]:
        themes, problems = load_themes(folders)
        builtin = list(self.available_themes)
        for theme in (FALLBACK_THEME, *themes):
            self.register_theme(theme)
        self.theme = DEFAULT_THEME
        for name in builtin:  # their colours were chosen without our contrast rules
            self.unregister_theme(name)
        return problems

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return FALLBACK_THEME.variables

    # Beginning and end.

    def get_default_screen(self) -> Screen[None]:
        return self.chat

    def on_mount(self) -> None:
        if self._theme_problems:
            self.conversation.note("Themes that could not be read: " + "; ".join(self._theme_problems), "error")
            self.chat.request_draw()
        if not self.is_headless:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, self.exit)
            leave_on_hangup(loop, self.exit)
        # The first paint comes before the engine: reading 20 GB must not be what the person waits for.
        self.call_after_refresh(self._start_engine, False)

    def close_engine(self) -> None:
        """End the engine's process; the screen is gone by now, so this may wait."""
        self._engine_thread.shutdown(wait=True, cancel_futures=True)
        if self.engine is not None:
            self.engine.close()

    # The engine.

    def receive(self, event: Event) -> None:
        """Take an event from whichever thread the engine calls on."""
        try:
            self.post_message(EngineEvent(event))
        except RuntimeError:
            return  # the loop is closed: the app is gone, nobody waits for events

    def _start_engine(self, again: bool) -> None:
        """Start (or restart) the engine and have it load, on the engine's thread."""

        def start() -> None:
            try:
                if self.engine is None:
                    self.engine = self._engine_factory(self.receive)
                if again:
                    self.engine.restart()
                else:
                    self.engine.start()
                self.engine.send(self._load)
            except (QwenError, OSError) as error:
                self.receive(EngineDied(visible(str(error)) or type(error).__name__))

        self._engine_thread.submit(start)

    def _send(self, *commands: Command) -> None:
        def send() -> None:
            # An engine that cannot take a command has ended, and its EngineDied says so better than this error.
            with suppress(QwenError):
                for command in commands:
                    if self.engine is not None:
                        self.engine.send(command)

        self._engine_thread.submit(send)

    @on(EngineEvent)
    def _engine_event(self, message: EngineEvent) -> None:
        event = message.event
        running = self.conversation.current
        command = self.conversation.apply(event)
        if command is not None:
            self._send(command)
        if isinstance(event, EngineDied):
            self._engine_died(running)
        if isinstance(event, Loaded):
            self.chat.status.clear_flash()
        self.chat.request_draw()
        if isinstance(self.screen, LayersScreen):
            self.screen.request_draw()

    def _engine_died(self, turn: Turn | None) -> None:
        self.conversation.note("The conversation is kept. Press Ctrl+T or type /restart to start the engine again.")
        if turn is not None and turn.unanswered:
            self.chat.offer_draft(turn.question)

    # What the person enters.

    @on(ChatScreen.Entered)
    def _entered(self, message: ChatScreen.Entered) -> None:
        if not message.text.strip():
            return
        match parse_input(message.text):
            case Mistake(text):
                self.chat.status.flash(text)
            case Call(name, argument):
                self._call(name, argument)
            case Text(text):
                self._ask(text)

    def _ask(self, text: str) -> None:
        refusal = self._refusal()
        if refusal:
            self.chat.status.flash(refusal)
            return
        self.chat.take_draft()
        turn = self.conversation.ask(typed(text))
        self._send(Send(turn.number, turn.question, self.settings))
        self.chat.request_draw()

    def _refusal(self) -> str:
        """Why nothing can be sent now; the draft stays in the composer."""
        conversation = self.conversation
        if conversation.engine in ("starting", "loading"):
            return "Still loading: your text is kept, press Enter again when the model is ready."
        if conversation.engine == "no model":
            return "No model is loaded: your text is kept. Ctrl+T tries again."
        if conversation.engine == "engine down":
            return "The engine is down: your text is kept. Ctrl+T starts it again."
        if conversation.current is not None:
            return "Still answering: your text is kept. Esc stops the answer first."
        return ""

    def _call(self, name: str, argument: str) -> None:
        self.chat.take_draft()
        match name:
            case "help":
                self.action_help()
            case "inspect":
                self.action_inspect()
            case "new":
                self.action_new()
            case "quit":
                self.exit()
            case "theme":
                self._choose_theme(argument)
            case "think":
                self._think(argument)
            case "retry":
                self.action_retry()
            case "restart":
                self.action_restart()
            case "copy":
                self.action_copy_answer()

    def _choose_theme(self, name: str) -> None:
        if not name:
            self.search_themes()
        elif name in self.available_themes:
            self.theme = name
        else:
            self.chat.status.flash(f"There is no such theme. There are: {', '.join(sorted(self.available_themes))}.")

    def _think(self, level: str) -> None:
        effort = next((effort for effort in EFFORTS if effort == level), None)
        if effort is None:
            self.chat.status.flash(
                f"Reasoning effort is {self.settings.effort or 'the default'}; /think takes a level."
            )
            return
        self.settings = replace(self.settings, effort=effort)
        self.chat.status.flash(f"Reasoning effort is {effort} from the next message on.")

    # Actions: keys, palette and slash commands all end here.

    async def action_stop(self) -> None:
        conversation = self.conversation
        if self.engine is None or (conversation.current is None and conversation.engine != "loading"):
            return
        conversation.stopping = conversation.current is not None
        self.chat.request_draw()
        await asyncio.to_thread(self.engine.stop)

    async def action_interrupt(self) -> None:
        editor = self.chat.editor
        status = self.screen.status if isinstance(self.screen, LayersScreen) else self.chat.status
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
    def _draft_changed(self) -> None:
        if self.chat.status.flash_text == QUIT_PROMPT:
            self.chat.status.clear_flash()

    def action_help(self) -> None:
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen())

    def action_inspect(self) -> None:
        """The layers of the model, from the headers of its files: also while it loads, answers, or could not load."""
        if self.screen is self.chat:
            self.push_screen(InspectorScreen(self.inspection, self.conversation, self.chat.pending))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """No key begins a new conversation where the old one is out of sight."""
        return action != "new" or self.screen is self.chat

    def action_new(self) -> None:
        if self.conversation.current is not None:
            self.chat.status.flash("Still answering: Esc stops the answer first.")
            return
        command = self.conversation.clear()
        if self.conversation.engine == "ready":
            self._send(command)
        self.chat.request_draw()

    def action_retry(self) -> None:
        turn = self.conversation.retriable()
        refusal = "Nothing to send again: the last question was answered." if turn is None else self._refusal()
        if turn is None or refusal:
            self.chat.status.flash(refusal)
            return
        before = self.conversation.forget(turn)
        again = self.conversation.ask(turn.question)
        self._send(before, Send(again.number, again.question, self.settings))
        self.chat.request_draw()

    def action_try_again(self) -> None:
        """Start or load again, only where that is what is missing: a key must not throw a loaded model away."""
        if self.conversation.engine in ("engine down", "no model"):
            self.action_restart()

    def action_restart(self) -> None:
        """Start the engine again, load, and put the conversation back."""
        self.conversation.restarting()
        self._start_engine(True)
        self.chat.request_draw()

    async def action_toggle_folds(self) -> None:
        await self.chat.action_toggle_folds()

    def action_copy_answer(self) -> None:
        answer = self.conversation.last_answer()
        if answer:
            self.copy_to_clipboard(visible(answer))
        self.chat.status.flash("Copied the last answer." if answer else "There is no answer to copy yet.")

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """What the command palette offers."""
        yield SystemCommand("New conversation", "Begin again, keeping the model loaded (Ctrl+N, /new)", self.action_new)
        yield SystemCommand("Stop", "Stop the answer (Esc)", self.action_stop)
        yield SystemCommand("Layers", "How each is stored, what it costs (F2, Ctrl+L, /inspect)", self.action_inspect)
        yield SystemCommand("Reasoning", "Open or fold reasoning and tool calls (Ctrl+R)", self.action_toggle_folds)
        for effort in EFFORTS:
            yield SystemCommand(
                f"Think: {effort}", f"Reasoning effort {effort} (/think {effort})", lambda e=effort: self._think(e)
            )
        yield SystemCommand("Copy last answer", "To the clipboard, as markdown (/copy)", self.action_copy_answer)
        yield SystemCommand("Retry", "Send the unanswered question again (/retry)", self.action_retry)
        yield SystemCommand("Theme", "Choose colours (/theme)", self.action_change_theme)
        yield SystemCommand("Restart the engine", "Start it again and load again (/restart)", self.action_restart)
        yield SystemCommand("Help", "Keys and commands (F1, Ctrl+G, /help)", self.action_help)
        yield SystemCommand("Quit", "Leave (Ctrl+Q, /quit)", self.exit)


def run_app(model_path: str | None, settings: GenerationSettings, system: str | None, dtype: str | None) -> int:
    """Run the chat until the person leaves; the exit code. None opens the bundled demo model."""
    if model_path is None:
        from qwen_core.demo import demo_model_path

        model_path = str(demo_model_path())
    app = QwenApp(model_path, settings, system, dtype)
    try:
        app.run()
    finally:
        app.close_engine()
    return app.return_code or 0


if __name__ == "__main__":
    sys.exit(run_app(sys.argv[1] if len(sys.argv) > 1 else None, GenerationSettings(), None, None))
