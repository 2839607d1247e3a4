"""The tables that `qwen-tui bench` prints for people: plain text in a pipe, wrapped where 80 columns are not there.

Takes the reports of qwen_core.bench.report, against and bench_variants, and measures nothing.
"""

import sys
from collections.abc import Sequence
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table

from qwen_core.errors import printable
from qwen_core.figures import decimal_size

PIPE_WIDTH = 80
_GAP = 2


def console_for(out: TextIO | None = None) -> Console:
    """A terminal's console, or one of 80 columns without colour for a pipe."""
    stream = out or sys.stdout
    if stream.isatty():
        return Console(file=stream, highlight=False)
    return Console(file=stream, width=PIPE_WIDTH, color_system=None, highlight=False, force_terminal=False)


def print_bench(console: Console, report: dict[str, Any]) -> None:
    """The report of `bench`."""
    model = report["model"]
    _line(
        console,
        f"{model['name']} · {model['variant']} · {decimal_size(model['weight_bytes_per_token'])} of weights a token",
    )
    _facts(console, report)
    if report["sizes"]:
        _print_sizes(console, report["sizes"])
    if report["card"] is not None:
        _print_card(console, report["card"])
    if model["extrapolated"]:
        _line(
            console,
            f"Extrapolated: {model['layers']} of {model['of_layers']} layers were run. Time of none + (time of "
            f"{model['layers']} - time of none) x {model['of_layers']}/{model['layers']}. "
            f"Memory is not extrapolated: it is what the {model['layers']} layers alone took at their peak.",
        )
    turns = report["card"]["turns"] if report["card"] is not None else []
    _ending(console, report, finished=any(row["tok_s"] for row in report["sizes"]) or bool(turns))


def print_against(console: Console, report: dict[str, Any]) -> None:
    """The report of `bench --against`; one line where not even one pair was finished."""
    if not report["pairs"]:
        _ending(console, report, finished=False)
        return
    _line(console, f"qwen-tui against {report['peer']} {report['peer_version'] or ''}: {report['path']}")
    _facts(console, report)
    prefill, decode = report["prefill"], report["decode"]
    rows = [
        ["qwen-tui tok/s", _spread(prefill["own_tok_s"]), _spread(decode["own_tok_s"])],
        [f"{report['peer']} tok/s", _spread(prefill["peer_tok_s"]), _spread(decode["peer_tok_s"])],
        ["ratio", _spread(prefill["ratio"], 2), _spread(decode["ratio"], 2)],
    ]
    if report["device"].startswith("CPU"):
        rows.append(["ratio by CPU time", _spread(prefill["cpu_ratio"], 2), _spread(decode["cpu_ratio"], 2)])
    _print_table(console, ["", f"prefill {prefill['tokens']}", f"decode {decode['tokens']}"], rows)
    _line(
        console,
        f"{report['pairs']} pairs in fresh processes, in turn; ratio above 1: qwen-tui is faster. qwen-tui computes in "
        f"{report['dtype']}, the parameters of {report['peer'].split()[0]} are {report['peer_dtype']}. The first "
        f"{report['same_tokens']} of {report['of_tokens']} tokens are the same.",
    )
    _ending(console, report)


def print_variants(console: Console, report: dict[str, Any]) -> None:
    """The table of `bench --variants`."""
    _line(console, f"{report['model']}: the published variants, at {report['depth']:,} tokens of context")
    _facts(console, report)
    measured = any(row["measured_tok_s"] or row["refusal"] for row in report["variants"])
    headings = ["variant", "size", "a token", "ceiling", "of M3 Max", "card", *(["measured here"] if measured else [])]
    rows = []
    for row in report["variants"]:
        cells = [
            row["variant"],
            decimal_size(row["nbytes"]),
            decimal_size(row["bytes_per_token"]),
            _number(row["ceiling_tok_s"]),
            _number(row["m3_max_ceiling_tok_s"]),
            _number(row["card_m3_max_tok_s"]),
        ]
        rows.append([*cells, *([_measured(row)] if measured else [])])
    _print_table(console, headings, rows)
    _line(
        console,
        "Ceiling: tok/s here if memory ran at its peak and nothing else took time; of M3 Max: the same at 400 GB/s. "
        "Card: what the model card measured there; blank where it gives nothing.",
    )
    for row in report["variants"]:
        if row["refusal"]:
            _line(console, f"{row['variant']}: {row['refusal']}")
    if measured:
        of_layers = ""
        if report["layers"] is not None and report["layers"] < report["of_layers"]:
            of_layers = f", extrapolated from {report['layers']} of {report['of_layers']} layers"
        _line(console, f"Measured: {report['workload']}, repeats: {report['repeat']}{of_layers}.")
    _ending(console, report)


def _measured(row: dict[str, Any]) -> str:
    return "does not fit" if row["refusal"] else _spread(row["measured_tok_s"])


def _print_sizes(console: Console, sizes: Sequence[dict[str, Any]]) -> None:
    rows = [
        [
            row["workload"] + (f" @{row['depth']:,}" if row["depth"] else ""),
            _spread(row["tok_s"]),
            _number(row.get("bandwidth_gb_s")),
            _share(row.get("share_of_peak")),
            _number(row.get("ceiling_tok_s")),
            decimal_size(row["peak_memory_bytes"]),
        ]
        for row in sizes
    ]
    _print_table(console, ["workload", "tok/s", "GB/s est.", "of peak", "ceiling", "memory"], rows)


def _print_card(console: Console, card: dict[str, Any]) -> None:
    rows = [
        [
            str(turn["turn"]),
            f"{turn['prompt_tokens'] - turn['cached_tokens']} of {turn['prompt_tokens']}",
            ", ".join(map(str, turn["generated_tokens"])),
            _spread(turn["ttft_s"], 3),
            _number((turn["prefill_tok_s"] or {}).get("median")),
            _spread(turn["decode_tok_s"]),
        ]
        for turn in card["turns"]
    ]
    _print_table(console, ["turn", "prefilled", "tokens", "first token s", "prefill tok/s", "decode tok/s"], rows)
    if card["best"] is None:
        _line(console, "No score: no turn from the second on had two tokens or more.")
        return
    line = f"Score: {_number(card['best'])} tok/s, the best of turns 2 to 4; their median {_number(card['median'])}"
    if card["bandwidth_gb_s"] is not None:
        line += f"; {_number(card['bandwidth_gb_s'])} GB/s (estimate)"
    if card["share_of_peak"] is not None:
        line += (
            f", {_share(card['share_of_peak'])} of the peak and of the ceiling, {_number(card['ceiling_tok_s'])} tok/s"
        )
    _line(console, line)


def _facts(console: Console, report: dict[str, Any]) -> None:
    peak = "peak unknown"
    if report["peak_bandwidth_gb_s"]:
        peak = f"peak {report['peak_bandwidth_gb_s']:,.1f} GB/s ({report['peak_source']})"
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    dtype = f" · {report['dtype']}" if report.get("dtype") else ""
    _line(console, f"{report['device']}{dtype} · {peak} · {versions}")


def _ending(console: Console, report: dict[str, Any], *, finished: bool = True) -> None:
    if report["interrupted"]:
        kept = "these are the repeats that were finished" if finished else "nothing was finished"
        _line(console, f"Interrupted: {kept}.")
    if finished:
        _line(console, f"Command: {report['command']}")


def _print_table(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table whose cells are wrapped, never cut, where the console is too narrow for it."""
    columns = list(zip(headings, *rows, strict=True))
    plain = box.SIMPLE_HEAD if sys.stdout.isatty() else None
    table = Table(box=plain, pad_edge=False, show_edge=False)
    gap = _GAP if plain is None else _GAP + 1
    widths: list[int] | list[None] = [None] * len(columns)
    if sum(max(map(len, column)) for column in columns) + gap * (len(columns) - 1) > console.width:
        # A range may break after its dots, so that both of its figures stay whole.
        columns = [tuple(cell.replace("..", ".. ") for cell in column) for column in columns]
        table = Table(box=None, pad_edge=False, padding=(0, 0, 0, _GAP))
        widths = _widths(columns, console.width - _GAP * (len(columns) - 1))
    for index, (heading, *_) in enumerate(columns):
        table.add_column(heading, justify="left" if index == 0 else "right", overflow="fold", width=widths[index])
    for row in list(zip(*columns, strict=True))[1:]:
        table.add_row(*row)
    console.print(table)


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """As much of `room` as each column can use, the first ones first, once the longest word of every one has its own.

    They are more than `room` where not even the words fit: then the console folds these.
    """
    widths = [max((len(word) for cell in column for word in cell.split()), default=1) for column in columns]
    for index, column in enumerate(columns):
        spare = max(0, room - sum(widths))
        widths[index] += min(spare, max(map(len, column)) - widths[index])
    return widths


def _line(console: Console, text: str) -> None:
    console.print(printable(text), markup=False)


def _number(value: float | None) -> str:
    """Three digits that count; empty for what is not known."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _spread(figures: dict[str, float] | None, digits: int | None = None) -> str:
    """ "12.3 (11.9..12.8)": the median and the range."""
    if figures is None:
        return ""
    show = _number if digits is None else lambda value: f"{value:.{digits}f}"
    return f"{show(figures['median'])} ({show(figures['min'])}..{show(figures['max'])})"
