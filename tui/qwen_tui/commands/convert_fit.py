"""`qwen-tui convert --fit, --bits-per-weight`: formats chosen for a budget, and what the choice looks like."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qwen_core.errors import SettingsError, printable, quote
from qwen_core.figures import decimal_size
from qwen_core.settings.kinds import Number
from qwen_tui.commands.options import NumberType
from qwen_tui.commands.progress import progress_bar

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qwen_core.convert.awq import Vector
    from qwen_core.convert.budget import Budget, Choice, Point
    from qwen_core.convert.candidates import Candidates
    from qwen_core.convert.plan import ConversionPlan

Function = TypeVar("Function", bound=Callable[..., Any])
_PATH = click.Path(path_type=str)
_CHART_WIDTH, _CHART_HEIGHT = 60, 10
_CHART_LABEL = 10
_MAP_LABEL = 11


@dataclass(frozen=True)
class Fitting:
    """What the options ask for."""

    fit: str | None = None
    bits: float | None = None
    chip: str | None = None
    errors: str | None = None
    recipe: str | None = None

    def __post_init__(self) -> None:
        if self.fit is not None and self.bits is not None:
            raise click.UsageError("--fit and --bits-per-weight cannot be used together.")
        others = {"--chip": self.chip, "--errors": self.errors, "--write-recipe": self.recipe}
        given = [name for name, value in others.items() if value is not None]
        if given and not self:
            raise click.UsageError(f"{given[0]} belongs to --fit and --bits-per-weight.")
        if self.chip is not None and (self.fit is None or not self.fit.lower().rstrip().endswith("tok/s")):
            raise click.UsageError("--chip belongs to --fit of tok/s.")

    def __bool__(self) -> bool:
        return self.fit is not None or self.bits is not None

    @property
    def words(self) -> str:
        return f"fitted to {self.fit}" if self.fit is not None else f"fitted to {self.bits:g} bits a weight"


@dataclass(frozen=True)
class Fitted:
    """A choice, and what it was chosen from. `keep` writes the file of errors where it is new."""

    plan: "ConversionPlan"
    choice: "Choice"
    budget: "Budget"
    candidates: "Mapping[str, Candidates]"
    keep: Callable[[], None]


def fitting_options(function: Function) -> Function:
    """The options of a budget."""
    options = [
        click.option(
            "--fit", metavar="BUDGET",
            help="Choose each weight's format by the error it leaves, for 21GB or 15tok/s, in place of a variant.",
        ),
        click.option(
            "--bits-per-weight", type=NumberType(Number(1, 32)), metavar="X", help="The same for so many bits."
        ),
        click.option(
            "--chip", metavar="NAME", help="Of --fit in tok/s: 'M3 Ultra', 'M4 Max 40'; this machine by default."
        ),
        click.option(
            "--errors", metavar="FILE", type=_PATH,
            help="Keep what every format costs here; beside DST by default. Another budget then takes seconds.",
        ),
        click.option("--write-recipe", metavar="FILE.toml", type=_PATH, help="Write the choice as a --recipe."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def fitted(
    plan: "ConversionPlan", wish: Fitting, importance: "Mapping[str, Vector]", target: Path | None, *, search: bool
) -> Fitted:
    """The choice for `plan`, which is of all floats. Raises SettingsError for a budget that cannot be met."""
    from qwen_core.convert.budget import check_budget, choose
    from qwen_core.convert.candidates import kept_candidates, key_of, measure_candidates
    from qwen_core.convert.fitted_rules import FittedRules
    from qwen_core.convert.plan import replanned
    from qwen_tui.commands.convert import ended_cleanly, show_step

    budget = _budget(plan, wish)
    check_budget(plan, budget)
    key = key_of(plan.checkpoint, importance, search=search)
    place = _place(plan, wish, target, key)
    _check_places(place, wish.recipe, target)
    found = kept_candidates(place, key, plan)
    keep = _nothing
    if found is None:
        with ended_cleanly(), progress_bar() as show:
            found = measure_candidates(plan, importance, search=search, progress=lambda step: show_step(step, show))
        keep = partial(_keep, place, key, found)
    choice = choose(plan, found, budget)
    return Fitted(replanned(plan, FittedRules(wish.words, choice.specs)), choice, budget, found, keep)


def _nothing() -> None:
    pass


def _keep(place: Path, key: "Mapping[str, Any]", found: "Mapping[str, Candidates]") -> None:
    from qwen_core.convert.candidates import keep_candidates

    keep_candidates(place, key, found)
    click.echo(printable(f"{place}: what each format costs each weight, for the next budget"), err=True)


def _place(plan: "ConversionPlan", wish: Fitting, target: Path | None, key: "Mapping[str, Any]") -> Path:
    if wish.errors is not None:
        return Path(wish.errors)
    from qwen_core.convert.candidates import file_name
    from qwen_core.settings.paths import state_dir

    name = file_name(plan.checkpoint.path.resolve().name, key)
    return (state_dir() if target is None else target.resolve().parent) / name


def _budget(plan: "ConversionPlan", wish: Fitting) -> "Budget":
    from qwen_core.convert.budget_words import bits_budget, bytes_budget, parse_fit, speed_budget

    if wish.bits is not None:
        return bits_budget(plan, wish.bits)
    assert wish.fit is not None
    amount, is_rate = parse_fit(wish.fit)
    return speed_budget(plan, amount, _peak(wish.chip)) if is_rate else bytes_budget(amount)


def _peak(chip: str | None) -> float:
    from qwen_core.device.hardware import named_peak_gb_s

    if chip is not None:
        return named_peak_gb_s(chip)
    from qwen_core.device.machine import this_machine
    from qwen_core.device.memory_peak import measured_peak
    from qwen_core.settings.paths import state_dir
    from qwen_tui.settings.file import load_settings

    load = load_settings().settings.for_load()
    machine = this_machine(load.peak_bandwidth_gb_s, load.gpu_cores, measured=lambda: measured_peak(str(state_dir())))
    if machine.peak_bandwidth_gb_s is None:
        raise SettingsError(
            "the peak bandwidth of this machine is not known and could not be measured now: name a chip with --chip, "
            "or let qwen-tui doctor measure it while the machine is idle"
        )
    return machine.peak_bandwidth_gb_s


def _check_places(errors: Path, recipe: str | None, target: Path | None) -> None:
    """Raise SettingsError where a file could not be written after hours of work."""
    result = None if target is None else _writable(target, target)
    place = _writable(errors, target)
    _check_free(errors, place, result)
    if recipe is None:
        return
    other = _writable(Path(recipe), target)
    _check_free(Path(recipe), other, result)
    if other == place or os.path.lexists(recipe):
        raise SettingsError(f"{quote(recipe)} exists: name a new file for --write-recipe")


def _check_free(path: Path, place: Path, result: Path | None) -> None:
    """Raise SettingsError where the result itself will be, or a file of it."""
    from qwen_core.convert.convert import is_result_file

    if place == result or (place.parent == result and is_result_file(place.name)):
        raise SettingsError(f"{quote(path)} is a place that the result takes itself: name another")


def _writable(path: Path, target: Path | None) -> Path:
    """The resolved place of a file, whose folder is there, or will be as the result."""
    try:
        # Python 3.11 refuses a loop with RuntimeError, and a name that is too long only when it is looked for.
        place = path.resolve()
        place.exists()
        folder = place.parent
        if not folder.is_dir() and (target is None or folder != target.resolve()):
            raise SettingsError(f"{quote(path)} cannot be written: {quote(folder)} does not exist: make it first")
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            raise SettingsError(f"{quote(path)} cannot be written: you may not make files in {quote(folder)}")
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"{quote(path)} cannot be written: {quote(reason)}") from None
    return place


def write_recipe(wish: Fitting, choice: "Choice") -> None:
    """The file of rules that the choice amounts to, where one is wanted."""
    if wish.recipe is None:
        return
    from qwen_core.convert.fitted_rules import recipe_text
    from qwen_core.files import write_private

    try:
        write_private(Path(wish.recipe), recipe_text(wish.words, choice.specs).encode(), new=True)
    except OSError as error:
        raise SettingsError(f"{quote(wish.recipe)} cannot be written: {quote(error.strerror or error)}") from None


# What the choice looks like.


def fit_lines(
    plan: "ConversionPlan", floats: "ConversionPlan", found: Fitted, width: int
) -> "Iterator[RenderableType]":
    """The map of the choice, error against bytes, and the nine published variants at their sizes."""
    from qwen_tui.commands.report import line, paragraph

    yield ""
    yield from (line(text) for text in map_lines(plan, width))
    yield ""
    rows = variant_points(floats, found)
    yield from (line(text) for text in chart_lines(found.choice, [point for _, point in rows], width))
    yield ""
    yield from _comparison(rows, floats, found, width)
    yield ""
    point = found.choice.point
    yield paragraph(
        f"{found.budget.words}: {decimal_size(point.nbytes)}, an error of {point.error:.4g} of the weights' own "
        "squares, by their importance where that is known"
    )


def map_lines(plan: "ConversionPlan", width: int) -> Iterator[str]:
    """A row a role, a column a layer, a character a format: as the layer map has them."""
    from qwen_core.checkpoint.variants import identify
    from qwen_core.convert.planned_layout import planned_layout
    from qwen_tui.layers.map import make_map

    layout = planned_layout(plan)
    layer_map = make_map(layout, identify(layout))
    room = max(8, width - _MAP_LABEL)
    for first in range(0, layer_map.columns, room):
        for row in layer_map.rows:
            if row.spec.group != "small":
                cells = row.cells[first : first + room]
                yield f"{row.spec.label:<{_MAP_LABEL}}" + "".join(cell.glyph if cell else " " for cell in cells)
    yield f"{'':<{_MAP_LABEL}}N nvfp4  M mxfp4  X mxfp8  2 to 8 affine  B bf16"


def chart_lines(choice: "Choice", variants: "Sequence[Point]", width: int) -> Iterator[str]:
    """The total error, its logarithm upwards, against the bytes that the budget counts: the sweep `·`, the published
    variants `×`, the choice `●`. No line is wider than `width`, which is at least 60."""
    points = [point for point in choice.sweep if point.error > 1e-12]
    shown = [*points, *variants, choice.point]
    if len(points) < 2:
        return
    heights = [math.log10(max(point.error, 1e-12)) for point in shown]
    low, high = min(heights), max(heights)
    left, right = min(point.amount for point in shown), max(point.amount for point in shown)
    columns = min(_CHART_WIDTH, width - _CHART_LABEL)
    cells = [[" "] * columns for _ in range(_CHART_HEIGHT)]
    marks = ["·"] * len(points) + ["×"] * len(variants) + ["●"]
    for point, height, mark in zip(shown, heights, marks, strict=True):
        column = round((point.amount - left) / max(right - left, 1) * (columns - 1))
        row = round((high - height) / max(high - low, 1e-9) * (_CHART_HEIGHT - 1))
        cells[row][column] = mark
    for number, row in enumerate(cells):
        edge = {0: f"{10**high:.2g}", _CHART_HEIGHT - 1: f"{10**low:.2g}"}.get(number, "")
        yield f"{edge:>8} │{''.join(row).rstrip()}"
    yield f"{'error':>8} └{'─' * columns}"
    first, last = decimal_size(left), decimal_size(right)
    yield f"{'':>{_CHART_LABEL}}{first}{last:>{columns - len(first)}}"
    yield f"{'':>8}· every budget  × published variants  ● this choice"


def variant_points(floats: "ConversionPlan", found: Fitted) -> "list[tuple[str, Point]]":
    """What each published variant comes to by the same measure; one whose groups do not divide a weight is left out."""
    from qwen_core.checkpoint.layout import role_of
    from qwen_core.checkpoint.recipe import VARIANTS, recipe_spec
    from qwen_core.convert.budget import point_of

    rows = []
    for variant in VARIANTS:
        specs = {module: recipe_spec(variant, role_of(module)) for module in found.candidates}
        if all(spec is None or str(spec) in found.candidates[module].errors for module, spec in specs.items()):
            rows.append((variant.name, point_of(floats, found.candidates, specs, found.budget.cost)))
    return rows


def _comparison(
    rows: "Sequence[tuple[str, Point]]", floats: "ConversionPlan", found: Fitted, width: int
) -> "Iterator[RenderableType]":
    from qwen_core.convert.budget import choose
    from qwen_tui.commands.report import figures, table, words

    lines = []
    for name, point in rows:
        best = choose(floats, found.candidates, replace(found.budget, limit=point.amount)).point
        share = f"{best.error / point.error:.2f}" if point.error else ""
        lines.append((name, found.budget.unit(point.amount), f"{point.error:.4g}", f"{best.error:.4g}", share))
    columns = words("variant"), figures("size"), figures("its error"), figures("fitted to that"), figures("ratio")
    yield table(columns, lines, width)
