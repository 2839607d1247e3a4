"""What `qwen-tui bench` prints for people. Takes the reports of qwen_core.bench, and measures nothing."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from qwen_core.figures import decimal_size, whole_percent
from qwen_tui.commands.report import GAP, folding, paragraph, table
from qwen_tui.text.formatting import by_depth, number
from qwen_tui.text.safe import visible

_DRAFTS_OFF = {
    "cpu": "on a CPU a pass costs what its rows cost, so that auto drafts nothing there; mtp and lookup do",
    "setting": "0 drafts a pass were asked for",
}


def bench_parts(report: dict[str, Any], width: int) -> Iterator[RenderableType]:
    """The report of `bench`."""
    model = report["model"]
    yield paragraph(
        f"{model['name']} · {model['variant']} · {decimal_size(model['weight_bytes_per_token'])} of weights a token",
    )
    yield _facts(report)
    yield from _kernels(report)
    if report["sizes"]:
        yield _sizes(report["sizes"], width)
    if report["card"] is not None:
        yield from _card(report["card"], width)
    yield from _drafts(report, width)
    if model["extrapolated"]:
        yield paragraph(
            f"Extrapolated: {model['layers']} of {model['of_layers']} layers were run. Time of none + (time of "
            f"{model['layers']} - time of none) x {model['of_layers']}/{model['layers']}. "
            f"Memory is not extrapolated: it is what the {model['layers']} layers alone took at their peak.",
        )
    turns = report["card"]["turns"] if report["card"] is not None else []
    yield from _ending(report, finished=any(row["tok_s"] for row in report["sizes"]) or bool(turns))


def against_parts(report: dict[str, Any], width: int) -> Iterator[RenderableType]:
    """The report of `bench --against`; one line where not even one pair was finished."""
    if not report["pairs"]:
        yield from _ending(report, finished=False)
        return
    yield paragraph(f"qwen-tui against {report['peer']} {report['peer_version'] or ''}: {report['path']}")
    yield _facts(report)
    yield from _kernels(report)
    prefill, decode = report["prefill"], report["decode"]
    rows = [
        ["qwen-tui tok/s", _spread(prefill["own_tok_s"]), _spread(decode["own_tok_s"])],
        [f"{report['peer']} tok/s", _spread(prefill["peer_tok_s"]), _spread(decode["peer_tok_s"])],
        ["ratio", _spread(prefill["ratio"], 2), _spread(decode["ratio"], 2)],
    ]
    if report["device"].startswith("CPU"):
        rows.append(["ratio by CPU time", _spread(prefill["cpu_ratio"], 2), _spread(decode["cpu_ratio"], 2)])
    yield _table(["", f"prefill {prefill['tokens']}", f"decode {decode['tokens']}"], rows, width)
    types = f"the parameters of {report['peer'].split()[0]} are {report['peer_dtype']}"
    if report["peer_dtype"] == "the same":
        types = "with its own kernels and without them"
    yield paragraph(
        f"{report['pairs']} pairs in fresh processes, in turn; ratio above 1: qwen-tui is faster. qwen-tui computes in "
        f"{report['dtype']}, {types}. The first {report['same_tokens']} of {report['of_tokens']} tokens are the same.",
    )
    yield from _ending(report)


def hosts_parts(report: dict[str, Any], width: int) -> Iterator[RenderableType]:
    """The report of `bench --hosts`; one line where nothing was finished."""
    hosts, refusal = report["hosts"], report["refusal"]
    if not report["pairs"] and not report.get("runs"):
        if refusal is not None:
            yield paragraph(refusal)
        yield from _ending(report, finished=False)
        return
    several = f"{len(hosts)} ranks"
    apart = " on this machine" if len(set(hosts)) == 1 else f" ({', '.join(map(visible, hosts))})"
    yield paragraph(f"{several}{apart}, {report['backend']}, against one: {report['path']}")
    yield _facts(report)
    yield from _kernels(report)
    prefill, decode = report["prefill"], report["decode"]
    rows = [[f"{several} tok/s", _spread(prefill["own_tok_s"]), _spread(decode["own_tok_s"])]]
    if report["pairs"]:
        rows += [
            ["one rank tok/s", _spread(prefill["peer_tok_s"]), _spread(decode["peer_tok_s"])],
            ["ratio", _spread(prefill["ratio"], 2), _spread(decode["ratio"], 2)],
        ]
    yield _table(["", f"prefill {prefill['tokens']}", f"decode {decode['tokens']}"], rows, width)
    memory = report["peak_memory_bytes"]
    own = f"At most {decimal_size(memory['own'])} of memory in rank 0"
    if report["pairs"]:
        yield paragraph(
            f"{own}, {decimal_size(memory['peer'])} in one alone. {report['pairs']} pairs in fresh processes, in turn; "
            f"ratio above 1: {several} are faster. The first {report['same_tokens']} of {report['of_tokens']} tokens "
            "are the same."
        )
    else:
        yield paragraph(f"{own}, repeats: {report['runs']}. One rank alone does not run it: {refusal}")
    yield from _ending(report)


def variants_parts(report: dict[str, Any], width: int) -> Iterator[RenderableType]:
    """The table of `bench --variants`."""
    yield paragraph(f"{report['model']}: the published variants, at {report['depth']:,} tokens of context")
    yield _facts(report)
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
    yield _table(headings, rows, width)
    yield paragraph(
        "Ceiling: tok/s here if memory ran at its peak and nothing else took time; of M3 Max: the same at 400 GB/s. "
        "Card: what the model card measured there; blank where it gives nothing.",
    )
    for row in report["variants"]:
        if row["refusal"]:
            yield paragraph(f"{row['variant']}: {row['refusal']}")
    if measured:
        of_layers = ""
        if report["layers"] is not None and report["layers"] < report["of_layers"]:
            of_layers = f", extrapolated from {report['layers']} of {report['of_layers']} layers"
        yield paragraph(f"Measured: {report['workload']}, repeats: {report['repeat']}{of_layers}.")
    yield from _ending(report)


def _measured(row: dict[str, Any]) -> str:
    return "does not fit" if row["refusal"] else _spread(row["measured_tok_s"])


def _sizes(sizes: Sequence[dict[str, Any]], width: int) -> Table:
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
    return _table(["workload", "tok/s", "GB/s est.", "of peak", "ceiling", "memory"], rows, width)


def _card(card: dict[str, Any], width: int) -> Iterator[RenderableType]:
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
    yield _table(["turn", "prefilled", "tokens", "first token s", "prefill tok/s", "decode tok/s"], rows, width)
    if card["best"] is None:
        yield paragraph("No score: no turn from the second on had two tokens or more.")
        return
    line = f"Score: {_number(card['best'])} tok/s, the best of turns 2 to 4; their median {_number(card['median'])}"
    if card["bandwidth_gb_s"] is not None:
        line += f"; {_number(card['bandwidth_gb_s'])} GB/s (estimate)"
    if card["share_of_peak"] is not None:
        line += (
            f", {_share(card['share_of_peak'])} of the peak and of the ceiling, {_number(card['ceiling_tok_s'])} tok/s"
        )
    yield paragraph(line)


def _drafts(report: dict[str, Any], width: int) -> Iterator[RenderableType]:
    """Decoding with drafts beside decoding without, what passes cost, and what would follow."""
    draft, costs, arithmetic = report["draft"], report["pass_costs"], report["draft_arithmetic"]
    if draft is not None and draft["off"] is not None:
        yield paragraph(f"Drafts are off: {_DRAFTS_OFF[draft['off']]}.")
    pairs = [(row["workload"], row["draft"]) for row in report["sizes"] if row.get("draft")]
    if report["card"] is not None and report["card"]["draft"] is not None:
        pairs.append(("card", report["card"]["draft"]))
    if pairs:
        rows = [
            [name, _spread(pair["without_tok_s"]), _spread(pair["with_tok_s"]), _spread(pair["ratio"], 2)]
            for name, pair in pairs
        ]
        yield _table(["in turn", "tok/s without drafts", "with drafts", "ratio"], rows, width)
        for name, pair in pairs:
            yield paragraph(f"{name}: {_accepted(pair)}; {_same_tokens(pair, report['device'])}")
        if any(name != "card" for name, _ in pairs):
            yield paragraph(
                "A tgN goes on from random tokens, where drafts are rarely accepted: --workload card is a conversation."
            )
    if costs is not None:
        yield _costs(costs, width)
        by_layer = "; a draft: one by the MTP layer" if costs["draft"] is not None else ""
        yield paragraph(
            f"A pass feeds the last token and its drafts, one row each: behind {costs['context_tokens']} tokens, each "
            f"pass waited for, repeats: {costs['repeat']}; ratio: to a pass of one row{by_layer}."
        )
    if arithmetic is not None:
        rows = [
            [
                whole_percent(row["acceptance"]),
                str(row["num_draft_tokens"]),
                f"{row['tokens_a_pass']:.2f}",
                _number(row["tok_s"]),
                f"{row['ratio']:.2f}",
            ]
            for row in arithmetic
        ]
        yield _table(["accepted", "drafts a pass", "tokens a pass", "tok/s", "ratio"], rows, width)
        yield paragraph(
            "Arithmetic, not measured: what these costs would give if that share of the drafts were accepted at each "
            "depth. Random weights cannot say what share it is."
        )


def _accepted(pair: dict[str, Any]) -> str:
    """ "by mtp, up to 3 a pass, 2.31 tokens a pass; accepted by depth in 85, 72, 59 % of 56 passes"."""
    if not pair["drafted"]:
        return f"by {pair['kind']}, no drafts in {pair['passes']:,} passes"
    return (
        f"by {pair['kind']}, up to {pair['num_draft_tokens']} a pass, {pair['tokens_a_pass']:.2f} tokens a pass; "
        f"accepted by depth in {by_depth(pair['acceptance_by_depth'])} of {pair['passes']:,} passes"
    )


def _same_tokens(pair: dict[str, Any], device: str) -> str:
    same, whole = pair["same_tokens"], pair["of_tokens"]
    if same == whole:
        return f"without drafts and with them the same {whole:,} tokens, pairs of runs: {pair['pairs']}."
    where = f"without drafts and with them the tokens part after {same:,} of {whole:,}"
    if device.startswith("CPU"):
        return f"{where}. In float32 on a CPU that is a fault of this program: please report it."
    return f"{where}: a pass of several rows is summed in another order, so that near-ties may fall differently."


def _costs(costs: dict[str, Any], width: int) -> Table:
    named = [(f"{row['rows']} row{'s' if row['rows'] > 1 else ''}", row) for row in costs["passes"]]
    named += [("a draft", costs["draft"])] if costs["draft"] is not None else []
    rows = [[name, _spread(_milliseconds(row["seconds"])), _spread(row["ratio"], 2)] for name, row in named]
    return _table(["cost of", "ms", "ratio"], rows, width)


def _milliseconds(seconds: dict[str, float]) -> dict[str, float]:
    return {name: 1000 * value for name, value in seconds.items()}


def _facts(report: dict[str, Any]) -> RenderableType:
    peak = "peak unknown"
    if report["peak_bandwidth_gb_s"]:
        peak = f"peak {report['peak_bandwidth_gb_s']:,.1f} GB/s ({report['peak_source']})"
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    dtype = f" · {report['dtype']}" if report.get("dtype") else ""
    return paragraph(f"{report['device']}{dtype} · {peak} · {versions}")


def _kernels(report: dict[str, Any]) -> Iterator[RenderableType]:
    """Which kernels of this program's own were used, and which were not though they should; nothing without any."""
    if report["kernels"]["used"]:
        yield paragraph(f"Kernels of its own: {', '.join(report['kernels']['used'])}")
    for fault in report["kernels"]["faults"]:
        yield paragraph(f"problem: {fault}")


def _ending(report: dict[str, Any], *, finished: bool = True) -> Iterator[RenderableType]:
    if report["interrupted"]:
        kept = "these are the repeats that were finished" if finished else "nothing was finished"
        yield paragraph(f"Interrupted: {kept}.")
    if finished:
        yield paragraph(f"Command: {report['command']}")


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Table:
    """A table whose cells are wrapped, never cut, where `width` is too little for it."""
    if sum(max(map(len, column)) + GAP for column in zip(headings, *rows, strict=True)) - GAP > width:
        # A range may break after its dots, so that both of its figures stay whole.
        rows = [[cell.replace("..", ".. ") for cell in row] for row in rows]
    columns = [folding(heading, right=index > 0) for index, heading in enumerate(headings)]
    return table(columns, rows, width)


def _number(value: float | None) -> str:
    """Three digits that count; empty for what is not known."""
    return "" if value is None else number(value)


def _share(value: float | None) -> str:
    return "" if value is None else whole_percent(value)


def _spread(figures: dict[str, float] | None, digits: int | None = None) -> str:
    """ "12.3 (11.9..12.8)": the median and the range."""
    if figures is None:
        return ""
    show = _number if digits is None else lambda value: f"{value:.{digits}f}"
    return f"{show(figures['median'])} ({show(figures['min'])}..{show(figures['max'])})"
