"""Slash commands: what each of `slash.COMMANDS` does."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from qwen_core.protocol.events import Event
from qwen_tui.app.comparing import Comparison
from qwen_tui.app.context import AppContext
from qwen_tui.app.context_map_actions import ContextMapActions
from qwen_tui.app.conversation_actions import ConversationActions
from qwen_tui.app.copying import Copying
from qwen_tui.app.generation_commands import SETTABLE, SHORT, GenerationCommands
from qwen_tui.app.lens_actions import LensActions
from qwen_tui.app.making_room import MakingRoom
from qwen_tui.app.text_scoring import TextScoring
from qwen_tui.app.turn_actions import TurnActions
from qwen_tui.chat.meters import of_model
from qwen_tui.composer.slash import Call
from qwen_tui.conversation_list.history_screen import HistoryScreen
from qwen_tui.settings.counting import sampling_words
from qwen_tui.settings.themes import colours_of
from qwen_tui.text import formatting
from qwen_tui.text.safe import one_line

Handler = Callable[[str], Awaitable[None] | None]
"""Does what a command asks for, given what stands behind its name ("" for nothing)."""


class SlashCommands:
    """`call` does what a line in the composer says."""

    def __init__(
        self,
        context: AppContext,
        conversations: ConversationActions,
        turns: TurnActions,
        copying: Copying,
        room: MakingRoom,
        actions: Mapping[str, Handler],
        themes: Callable[[], Sequence[str]],
    ) -> None:
        """`actions`: what only the app can do, by the command it is for: the list of conversations is "search".

        Those for "model" and "theme" let a person choose. `themes` gives the names there are.
        """
        self._context = context
        self._conversations = conversations
        self._actions = actions
        self._themes = themes
        generation = GenerationCommands(context)
        self.scoring = TextScoring(context)
        self.lens = LensActions(context, turns)
        self.comparison = Comparison(context, turns.tokens, actions["restart"])
        turns.look, turns.map = self.lens.open, ContextMapActions(context, turns.tokens).open
        self._commands: dict[str, Handler] = {
            **actions,
            "new": lambda _: conversations.new(),
            "resume": self._resume,
            "find": context.chat.find,
            "edit": lambda _: turns.do(None, "edit"),
            "retry": lambda _: turns.do(None, "retry"),
            "continue": lambda _: turns.do(None, "continue"),
            "delete": lambda _: turns.do(None, "delete"),
            "undo": lambda _: turns.do(None, "undo"),
            "drop": room.drop,
            "summary": lambda _: room.summarise(),
            "copy": lambda what: copying.copy(None, what),
            "export": self._export,
            "system": generation.system,
            "set": generation.set,
            "preset": generation.preset,
            "think": generation.think,
            "draft": generation.draft,
            "guard": generation.guard,
            "model": lambda path: conversations.open_model(path) if path else actions["model"](""),
            "dtype": conversations.compute_in,
            "stats": lambda _: self._stats(),
            "history": lambda _: self._history(),
            "perplexity": self.scoring.perplexity,
            "compare": self.comparison.compare,
            "lens": lambda _: turns.do(None, "lens"),
            "context": lambda _: turns.do(None, "context"),
            "restart": self._restart,
            "theme": self._theme,
            "editor": lambda _: context.chat.editor.action_edit_externally(),
            "save": lambda _: context.save(),
            "save-state": lambda _: conversations.save_state(),
        }

    @property
    def reading(self) -> bool:
        """Whether the engine reads a text or an answer beside the conversation."""
        return self.scoring.running or self.lens.running

    def after(self, event: Event) -> None:
        """Hand an event of the engine to those that asked for it."""
        self.scoring.after(event)
        self.lens.after(event)

    async def call(self, call: Call) -> None:
        done = self._commands[call.name](call.argument)
        if done is not None:
            await self._context.tell_trouble(done)

    def present(self, name: str) -> str:
        """Which of a command's choices counts now; "" where that is no question."""
        generation, request = self._context.running.generation, self._context.request()
        match name:
            case "preset":
                return generation.preset
            case "think":
                return request.effort or ""
            case "draft":
                return request.draft
            case "guard":
                return "on" if request.repetition_guard else "off"
            case _:
                return ""

    def choices(self, name: str) -> Sequence[str]:
        """What may stand behind a command, where slash.COMMANDS cannot know it."""
        match name:
            case "theme":
                return self._themes()
            case "set":
                return [*SETTABLE, *SHORT]
            case "think":
                return self._context.efforts
            case "copy":
                return ["answer", "code", "all"]
            case _:
                return []

    def _resume(self, argument: str) -> Awaitable[None] | None:
        if not argument:
            return self._actions["search"]("")
        if argument.isascii() and argument.isdigit() and len(argument) < 16:
            return self._conversations.resume(int(argument))
        self._context.flash("/resume takes the number of a conversation, or nothing for the list.")
        return None

    def _theme(self, name: str) -> Awaitable[None] | None:
        if not name:
            return self._actions["theme"]("")
        if name in self._themes():
            self._context.change("looks.theme", name)
        else:
            self._context.flash(f"There is no such theme. Choose from: {', '.join(self._themes())}.")
        return None

    def _restart(self, _: str) -> None:
        """A comparison that has the memory of the open model ends first, which loads that again."""
        if not (self.comparison.alone and self.comparison.stop()):
            self._actions["restart"]("")

    def _stats(self) -> None:
        conversation = self._context.conversation
        turn = next((turn for turn in conversation.latest if turn.stats is not None), None)
        if turn is None or (stats := turn.stats) is None:
            self._context.flash("There are no figures yet: ask something first.")
            return
        # The peak is today's, as in the panel, unless the figures are another model's.
        todays = of_model(stats, conversation.model)
        source = conversation.model.peak_source if conversation.model and todays else None
        lines = formatting.all_figures(todays or stats, source)
        if turn.sampling:
            lines.append(f"sampling: {sampling_words(turn.sampling)}")
        self._context.note("\n".join(lines))

    def _history(self) -> None:
        self._context.chat.app.push_screen(HistoryScreen(self._context.store))

    async def _export(self, argument: str) -> None:
        from qwen_tui.store.export_file import export_conversation

        kept = self._context.conversation.kept.id
        if kept is None:
            self._context.flash("There is nothing to export yet: ask something first.")
            return
        store = self._context.store
        colours = colours_of(self._context.running.looks.theme)
        written = await store.use(lambda store: export_conversation(store, kept, argument, Path.cwd(), colours))
        self._context.flash(f"Written: {one_line(str(written), 200)}")
