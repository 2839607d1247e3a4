"""The inspector: the layer map or the table of one model's weights, the details of what the cursor is on, a filter.

It works from the headers of the files alone, whatever the engine does meanwhile; the conversation goes on beneath it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Rule, Static

from qwen_core.checkpoint.layout import ModuleLayout
from qwen_core.errors import CheckpointError
from qwen_tui.conversation.conversation import Conversation
from qwen_tui.layers.arrangement import Arrangement, arrange
from qwen_tui.layers.base_screen import EXPERT_KEYS, LayersScreen
from qwen_tui.layers.detail_view import LayerDetail
from qwen_tui.layers.experts_screen import ExpertsScreen
from qwen_tui.layers.filter import MAX_LENGTH, matching
from qwen_tui.layers.headline import LayerHeadline
from qwen_tui.layers.inspection import Inspection, Opened, open_model
from qwen_tui.layers.map_view import LayerMapView
from qwen_tui.layers.status import InspectorStatus
from qwen_tui.layers.table_view import LayerTable
from qwen_tui.layers.tensor_screen import TensorScreen
from qwen_tui.layers.values_reader import ValuesReader
from qwen_tui.text.safe import one_line
from qwen_tui.widgets.header import Header
from qwen_tui.widgets.key_order import OneLine

KEYS = ("Esc chat", "⏎ tensor", "/ filter", "c colour", "t table")


class InspectorScreen(LayersScreen):
    """Opened by F2; Escape, q or F2 goes back."""

    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = ""  # the hidden filter would be what gets it
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back", show=False),
        Binding("q,f2,ctrl+l", "leave", "Back", show=False),
        Binding("slash", "filter", "Filter", show=False),
        Binding("n", "match(1)", "Next match", show=False),
        Binding("N", "match(-1)", "Match before", show=False),
        Binding("c", "colour", "Colour by", show=False),
        Binding("s", "small", "Small tensors", show=False),
        Binding("t", "table", "Table", show=False),
        Binding("e", "experts", "Experts", show=False),
        Binding("enter", "open", "The whole tensor", show=False),
        Binding("r", "reload", "Read the headers again", show=False),
        *EXPERT_KEYS,
    ]

    def __init__(
        self, inspection: Inspection, conversation: Conversation, pending: str, watch: Callable[[bool], None]
    ) -> None:
        """`watch` is told whether somebody looks at the experts of a mixture."""
        super().__init__(conversation)
        self._watch = watch
        self._watching = False
        self.inspection = inspection
        self._pending = pending
        self.reader = ValuesReader(self, inspection, self._draw_detail)

    def compose(self) -> ComposeResult:
        yield Header(self._pending)
        yield LayerHeadline()
        yield Vertical(id="stage")
        yield Rule(id="rule")
        yield LayerDetail(id="detail")
        with Horizontal(id="bar"):
            yield Static("/", markup=False)
            yield OneLine(
                self.inspection.filter,
                id="filter",
                max_length=MAX_LENGTH,
                compact=True,
                select_on_focus=False,
                placeholder="role, mode, source, words, a layer or 8-15",
            )
        yield InspectorStatus(*KEYS, "F1 keys")

    async def on_mount(self) -> None:
        self.draw()
        if self.inspection.opened is None:
            await self._open()
        else:
            await self._show(self.inspection.opened)

    def on_screen_resume(self) -> None:
        self.draw()  # the conversation went on while another screen was on top

    def on_unmount(self) -> None:
        self.reader.close()
        if self._watching:
            self._watch(False)

    # Reading the headers.

    async def _open(self) -> None:
        await self._say(f"Reading the headers of {one_line(self._pending, 60)} …")
        self.run_worker(self._read_headers(), group="headers", exclusive=True)

    async def _read_headers(self) -> None:
        try:
            opened = await asyncio.to_thread(open_model, self.inspection.path)
        except CheckpointError as error:
            await self._say(f"✕ {one_line(str(error), 600)}", "$error", "Esc goes back to the chat, r reads it again.")
            return
        self.inspection.opened = opened
        await self._show(opened)

    async def _say(self, text: str, style: str = "$muted", more: str = "") -> None:
        """A message in place of the map."""
        stage = self.query_one("#stage", Vertical)
        await stage.remove_children()
        lines = [Content.styled(text, style)] + ([Content.styled(more, "$muted")] if more else [])
        await stage.mount(Static(Content("\n\n").join(lines), id="message", markup=False))
        self.query_one(LayerHeadline).clear()

    async def _show(self, opened: Opened) -> None:
        """The map in place of the message."""
        stage = self.query_one("#stage", Vertical)
        await stage.remove_children()
        inspection = self.inspection
        view = replace(inspection.view, matches=matching(opened.layer_map.layout, inspection.filter), reading=False)
        if view.place.row not in opened.layer_map.by_label or view.place.column >= opened.layer_map.columns:
            view = replace(view, place=opened.layer_map.start)
        if opened.layer_map.layout.mixture is not None and not self._watching:
            self._watching = True
            self._watch(True)
            self.status.offer(*KEYS, "e experts", "F1 keys")
        table = LayerTable(opened.layer_map.layout)
        table.display = False
        layers = LayerMapView(opened.layer_map, view)
        await stage.mount(layers, table)
        self.query_one("#bar").set_class(bool(inspection.filter), "-open")
        layers.focus()
        self._arrange()
        self.draw()
        self._cursor_moved()

    @property
    def _map(self) -> LayerMapView | None:
        """None while there is no map to show."""
        found = self.query(LayerMapView)
        return found.first() if found and self.inspection.opened is not None else None

    @property
    def _table(self) -> LayerTable | None:
        """None unless the table is what is shown."""
        found = self.query(LayerTable)
        return found.first() if found and found.first().display else None

    @property
    def _module(self) -> ModuleLayout | None:
        """What the cursor is on."""
        view, opened = self._map, self.inspection.opened
        return opened.layer_map.module_at(view.view.place) if view is not None and opened is not None else None

    # Sizes.

    def on_resize(self) -> None:
        if self._map is not None:
            self._arrange()
            self._draw_headline()

    def _arrange(self) -> None:
        view, opened = self._map, self.inspection.opened
        if view is not None and opened is not None:
            view.arranged(self._arrangement(opened), self.size.width)

    def _arrangement(self, opened: Opened) -> Arrangement:
        rows = opened.layer_map.rows
        smalls = sum(row.spec.group == "small" for row in rows)
        taken = self.query_one(LayerHeadline).height - 1 + self.query_one("#bar").has_class("-open")
        return arrange(
            self.size.width,
            self.size.height - taken,
            opened.layer_map.columns,
            len(rows) - smalls,
            smalls,
            self.inspection.small,
        )

    # Drawing.

    def draw(self) -> None:
        super().draw()
        conversation, view = self._conversation, self._map
        self.query_one(Header).show(conversation.model, conversation.phase)
        if view is not None and view.view.reading != self._reading:
            view.look(replace(view.view, reading=self._reading))
            if self._watching:
                self._watch(True)  # an engine that was started meanwhile has not been told
        if self._watching and self._reading:
            self._draw_detail()
        self._draw_headline()

    @property
    def _reading(self) -> bool:
        """Whether a token is being decoded right now."""
        return self._conversation.phase in ("reasoning", "decoding")

    def _draw_headline(self) -> None:
        if self._map is not None and self.inspection.opened is not None:
            layer_map = self.inspection.opened.layer_map
            self.query_one(LayerHeadline).show(layer_map, self._map.view, self._conversation)

    @on(LayerDetail.Resized)
    def _draw_detail(self) -> None:
        if self._map is not None and self.inspection.opened is not None:
            opened, place, inspection = self.inspection.opened, self._map.view.place, self.inspection
            module = opened.layer_map.module_at(place)
            expert = inspection.expert_of(module) if module is not None else None
            turn = next(self._conversation.latest, None)
            self.query_one(LayerDetail).show_place(opened, place, self.reader, expert, turn.experts if turn else None)

    # The cursor.

    def _cursor_moved(self) -> None:
        if self._map is not None:
            self.inspection.view = self._map.view
            self.reader.want(self._module)
            self._draw_detail()

    @on(LayerMapView.Moved)
    def _map_moved(self) -> None:
        self._cursor_moved()

    @on(LayerTable.Moved)
    def _table_moved(self) -> None:
        module = self._table.row if self._table is not None else None
        if module is not None:
            self.go_to(module)

    def go_to(self, module: ModuleLayout) -> None:
        """The cursor onto a module, in the map as well."""
        view, opened = self._map, self.inspection.opened
        if view is None or opened is None:
            return
        if opened.layer_map.is_small(module) and not self._arrangement(opened).small:
            self.inspection.small = True
            self._arrange()
        view.go_to(opened.layer_map.places[module.canonical])
        self._cursor_moved()

    # What the keys do.

    def action_leave(self) -> None:
        self.dismiss()

    def action_back(self) -> None:
        """One step: out of the filter's field, then out of the filter, then out of the screen."""
        if self.query_one("#bar").has_class("-open"):
            self.query_one("#filter", Input).value = ""
            self._close_filter()
        else:
            self.dismiss()

    def action_colour(self) -> None:
        if self._map is not None:
            self._map.recolour()
            self.inspection.view = self._map.view

    def action_small(self) -> None:
        opened = self.inspection.opened
        if opened is not None and self._map is not None:
            self.inspection.small = not self._arrangement(opened).small
            self._arrange()
            self._cursor_moved()

    def action_table(self) -> None:
        view, opened = self._map, self.inspection.opened
        if view is None or opened is None:
            return
        table = self.query_one(LayerTable)
        table.display = not table.display
        view.display = not table.display
        self.query_one("#stage").set_class(table.display, "-table")
        self.query_one(LayerDetail).styles.height = 4 if table.display else "1fr"
        by_error = view.view.colouring == "error" and table.display and table.by_error()
        self._fill_table()
        if by_error:
            table.go(0)
        (table if table.display else view).focus()

    def _fill_table(self) -> None:
        view, opened, table = self._map, self.inspection.opened, self._table
        if view is None or opened is None or table is None:
            return
        matches = view.view.matches
        modules = opened.layer_map.layout.everything
        table.show((one for one in modules if matches is None or one.canonical in matches), self._module)

    def action_open(self) -> None:
        opened, module = self.inspection.opened, self._module
        if opened is not None and module is not None:
            self.app.push_screen(TensorScreen(self.inspection, opened, self._conversation, module), self._tensor_closed)

    def action_experts(self) -> None:
        """All layers of a mixture at once; closes onto the layer that was looked at there."""
        view, opened = self._map, self.inspection.opened
        mixture = opened.layer_map.layout.mixture if opened is not None else None
        if view is None or opened is None or mixture is None:
            return
        layer = min(view.view.place.column, len(opened.layer_map.layout.layer_kinds) - 1)
        screen = ExpertsScreen(opened.layer_map, mixture, self._conversation, layer, self._watch)
        self.app.push_screen(screen, self._tensor_closed)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Of a model without experts there is nothing to say of them."""
        return action not in ("expert", "experts") or self._watching

    def action_expert(self, step: int) -> None:
        """The values of another expert, where the cursor is on a stack of them."""
        module = self._module
        if module is not None and module.experts:
            self.inspection.pick(module, step)
            self._cursor_moved()

    def _tensor_closed(self, module: ModuleLayout | None) -> None:
        if module is not None:
            self.go_to(module)
            self._fill_table()

    async def action_reload(self) -> None:
        self.inspection.forget()
        self.reader.want(None)
        self.query_one(LayerDetail).show([])
        await self._open()

    # The filter.

    def action_filter(self) -> None:
        if self._map is not None:
            self.query_one("#bar").add_class("-open")
            self._arrange()
            self.query_one("#filter", Input).focus()

    def _close_filter(self) -> None:
        self.query_one("#bar").remove_class("-open")
        self._arrange()
        target = self._table or self._map
        if target is not None:
            target.focus()

    @on(Input.Changed, "#filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        view, opened = self._map, self.inspection.opened
        if view is None or opened is None:
            return
        self.inspection.filter = event.value
        matches = matching(opened.layer_map.layout, event.value)
        view.look(replace(view.view, matches=matches))
        here = opened.layer_map.module_at(view.view.place)
        if matches and (here is None or here.canonical not in matches):
            # In a row that is shown, if there is one: "n" on the way to "nvfp4" must not bring the norms out.
            small = self._arrangement(opened).small
            found = [module for module in opened.layer_map.layout.everything if module.canonical in matches]
            self.go_to(next((module for module in found if small or not opened.layer_map.is_small(module)), found[0]))
        self._fill_table()
        self._draw_headline()
        self._cursor_moved()

    @on(Input.Submitted, "#filter")
    def _filter_entered(self, event: Input.Submitted) -> None:
        event.stop()
        if not event.value.strip():
            self._close_filter()
            return
        target = self._table or self._map
        if target is not None:
            target.focus()

    def action_match(self, step: int) -> None:
        if self._map is not None and self._map.view.matches:
            self._to_match(step)
            self._fill_table()

    def _to_match(self, step: int) -> None:
        """To the next module that the filter leaves, in the order of the computation, round the end."""
        view, opened = self._map, self.inspection.opened
        if view is None or opened is None or not view.view.matches:
            return
        modules = opened.layer_map.layout.everything
        here = opened.layer_map.module_at(view.view.place)
        start = modules.index(here) if here is not None else -1 if step > 0 else 0
        for distance in range(1, len(modules) + 1):
            module = modules[(start + step * distance) % len(modules)]
            if module.canonical in view.view.matches:
                self.go_to(module)
                return
