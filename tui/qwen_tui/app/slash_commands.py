"""Slash commands and the command palette: which method of the app each of `slash.COMMANDS` is."""

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import SystemCommand

from qwen_core.errors import QwenError
from qwen_tui.app.generation_commands import SETTABLE, SHORT, GenerationCommands
from qwen_tui.chat.meters import of_model
from qwen_tui.composer.slash import COMMANDS, Call
from qwen_tui.text import formatting
from qwen_tui.text.safe import one_line

if TYPE_CHECKING:
    from qwen_tui.app.app import QwenApp

Method = Callable[[str], Awaitable[None] | None]


class AppCommands:
    """Belongs to the app. `call` does what a line in the composer says."""

    def __init__(self, app: "QwenApp") -> None:
        self._app = app
        generation = GenerationCommands(app)
        self._methods: dict[str, Method] = {
            "help": lambda _: app.action_help(),
            "new": lambda _: app.action_new(),
            "resume": self._resume,
            "search": lambda text: app.action_sessions(text),
            "find": lambda text: app.chat.find(text),
            "edit": lambda _: app.turns.do(None, "edit"),
            "retry": lambda _: app.turns.do(None, "retry"),
            "continue": lambda _: app.turns.do(None, "continue"),
            "delete": lambda _: app.turns.do(None, "delete"),
            "undo": lambda _: app.turns.do(None, "undo"),
            "copy": lambda what: app.copying.copy(None, what),
            "export": self._export,
            "system": generation.system,
            "set": generation.set,
            "preset": generation.preset,
            "think": generation.think,
            "guard": generation.guard,
            "model": self._model,
            "inspect": lambda _: app.action_inspect(),
            "stats": lambda _: self._stats(),
            "settings": lambda _: app.action_settings(),
            "theme": self._theme,
            "editor": lambda _: app.chat.editor.action_edit_externally(),
            "save-state": lambda _: app.opening.save_state(),
            "restart": lambda _: app.action_restart(),
            "quit": lambda _: app.exit(),
        }

    async def call(self, call: Call) -> None:
        done = self._methods[call.name](call.argument)
        if done is not None:
            await done

    def palette(self) -> Iterable[SystemCommand]:
        """What the command palette offers: every command, those with choices once for each."""
        for command in COMMANDS:
            if not command.title:
                continue
            for choice in command.choices or ("",):
                title = f"{command.title}: {choice}" if choice else command.title
                usage = f"/{command.name} {choice}".rstrip()
                run = self._methods[command.name]
                yield SystemCommand(title, f"{command.help} ({usage})", lambda run=run, choice=choice: run(choice))

    def choices(self, name: str) -> list[str]:
        """What may stand behind a command, where slash.COMMANDS cannot know it."""
        match name:
            case "theme":
                return sorted(self._app.available_themes)
            case "set":
                return [*SETTABLE, *SHORT]
            case "copy":
                return ["answer", "code", "all"]
            case _:
                return []

    async def _resume(self, argument: str) -> None:
        if not argument:
            self._app.action_sessions("")
        elif argument.isascii() and argument.isdigit() and len(argument) < 16:
            await self._app.opening.resume(int(argument))
        else:
            self._app.flash("/resume takes the number of a conversation, or nothing for the list.")

    async def _model(self, path: str) -> None:
        await (self._app.opening.open_model(path) if path else self._app.action_models())

    def _theme(self, name: str) -> None:
        app = self._app
        if not name:
            app.search_themes()
        elif name in app.available_themes:
            app.change("looks.theme", name)
        else:
            app.flash(f"There is no such theme. There are: {', '.join(sorted(app.available_themes))}.")

    def _stats(self) -> None:
        conversation = self._app.conversation
        stats = next((turn.stats for turn in reversed(conversation.turns) if turn.stats is not None), None)
        if stats is None:
            self._app.flash("There are no figures yet: ask something first.")
            return
        # The peak is today's, as in the panel, unless the figures are another model's.
        todays = of_model(stats, conversation.model)
        source = conversation.model.peak_source if conversation.model and todays else None
        self._app.note("\n".join(formatting.all_figures(todays or stats, source)))

    async def _export(self, argument: str) -> None:
        from qwen_tui.store.export_file import export_conversation

        app = self._app
        kept = app.conversation.kept.id
        if kept is None:
            app.flash("There is nothing to export yet: ask something first.")
            return
        try:
            written = await app.store.use(lambda store: export_conversation(store, kept, argument, Path.cwd()))
        except QwenError as error:
            app.flash(str(error))
        else:
            app.flash(f"Written: {one_line(str(written), 200)}")
