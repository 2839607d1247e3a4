"""`qwen-tui doctor`: what this machine is, whether this installation works, and where its files are.

Every probe stands alone: what one of them finds wrong becomes a line under problems and never hides the others. The
probe of the backend runs in a process of its own, so that a driver that crashes is a finding and not the end.
"""

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qwen_core.errors import QwenError, printable
from qwen_core.figures import decimal_size
from qwen_core.version import __version__
from qwen_tui.commands.options import hosts_option, json_option, model_argument
from qwen_tui.commands.output import NO_LIMIT, output_width, print_json
from qwen_tui.text.formatting import number

if TYPE_CHECKING:  # slow to import, and the help of the program needs none of it
    from rich.console import RenderableType

PACKAGES = ("mlx", "textual", "tokenizers", "safetensors", "jinja2", "numpy", "click", "platformdirs", "gguf")
PROBE_SECONDS = 60
# One real computation: a backend that imports may still have no device.
PROBE = """
import json, sys
from qwen_core.device.blas import describe_blas
from qwen_core.device.backend import default_dtype, describe_device, device_info, mx
from functools import partial
from qwen_core.bench.synthetic_shapes import shape_config
from qwen_core.model.kernels.proof import NONE, proven
from qwen_core.device.machine import this_machine
from qwen_core.device.memory_peak import measured_peak
peak_gb_s, gpu_cores, folder, kernels = json.loads(sys.argv[1])
machine = this_machine(peak_gb_s, gpu_cores, measured=partial(measured_peak, folder))
ones = mx.ones((64, 64))
right = bool(mx.all(ones @ ones == 64).item())
found = proven(shape_config("27b"), mx.bfloat16) if kernels else NONE
print(json.dumps({
    "device": describe_device(),
    "computes": right,
    "dtype": default_dtype(),
    "blas": describe_blas(),
    "peak_bandwidth_gb_s": machine.peak_bandwidth_gb_s,
    "peak_source": machine.peak_source,
    "kernels": sorted(found.names),
    "kernel_faults": found.faults,
    "details": {name: str(value) for name, value in device_info().items()},
}))
"""


@click.command()
@model_argument
@hosts_option
@json_option
def doctor(model_dir: str | None, hosts: str | None, as_json: bool) -> int:
    """Say what this machine is, what is installed, and what is wrong.

    With MODEL_DIR also whether that model is whole and how well its files suit this program. With --hosts also whether
    each host can be reached, has the same versions and the same model, and enough memory for its part. The exit code is
    1 if something is wrong.
    """
    report = examine(model_dir, hosts)
    if as_json:
        print_json(report)
    else:
        from qwen_tui.commands.report import print_report  # slow to import, and --json needs none of it

        width = output_width(NO_LIMIT)
        print_report(report_parts(report, width), width)
    return 1 if report["problems"] else 0


def examine(model_dir: str | None = None, hosts: str | None = None) -> dict[str, Any]:
    """Everything that doctor knows, as plain values; of a model and of hosts too if they are named."""
    problems: list[str] = []
    report = {
        "version": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": _packages(problems),
        "memory_bytes": _attempt(problems, _memory),
        "backend": _attempt(problems, lambda: _backend(problems)),
        "demo": _attempt(problems, _demo),
        "model": None if model_dir is None else _attempt(problems, lambda: _named(model_dir)),
        "hosts": None if hosts is None else _attempt(problems, lambda: _hosts(hosts, model_dir, problems)),
        "split": None if hosts is None else _split(hosts, model_dir, problems),
        "paths": _attempt(problems, _paths),
        "terminal": _terminal(),
        "problems": problems,
    }
    _settings(problems)
    return report


def report_parts(report: dict[str, Any], width: int) -> Iterator["RenderableType"]:
    """The report for people."""
    from qwen_tui.commands.report import facts, paragraph

    yield paragraph(f"qwen-tui {report['version']} · Python {report['python']} · {report['system']}")
    pairs = [("memory", decimal_size(report["memory_bytes"]))] if report["memory_bytes"] else []
    for title in ("backend", "demo", "model", "hosts", "paths", "terminal", "packages"):
        found = _host_lines(report[title], report["split"]) if title == "hosts" else report[title]
        for index, (name, value) in enumerate((found or {}).items()):
            shown = _shown(name, value)
            label = "weights" if name == "bytes" else name.replace("_gb_s", " GB/s").replace("_", " ")
            pairs.append((title if index == 0 else "", f"{label}: {shown}"))
    yield facts(pairs, width)
    yield ""
    for problem in report["problems"]:
        yield paragraph(f"problem: {problem}")
    if not report["problems"]:
        yield "nothing is wrong"


def _shown(name: str, value: Any) -> str:
    """A value of the report as people read it."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return ", ".join(value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown_detail(str(part))}" for key, part in value.items())
    return decimal_size(value) if name == "bytes" else str(value)


def _shown_detail(text: str) -> str:
    """What the backend says of the device: its large numbers are bytes."""
    return decimal_size(int(text)) if text.isascii() and text.isdigit() and 6 < len(text) < 20 else text


def _attempt(problems: list[str], probe: Callable[[], Any]) -> Any:
    try:
        return probe()
    except (QwenError, OSError) as error:
        problems.append(printable(str(error)))
        return None


def _packages(problems: list[str]) -> dict[str, str | None]:
    from importlib import metadata  # slow to import, as subprocess below: the program's help needs neither

    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
            problems.append(f"the package {name} is not installed: install qwen-tui again with pip")
    return versions


def _memory() -> int:
    from qwen_core.device.hardware import memory_bytes

    return memory_bytes()


def _backend(problems: list[str]) -> dict[str, Any]:
    import subprocess

    from qwen_tui.settings.file import load_settings

    load = load_settings().settings.for_load()
    configured = json.dumps([load.peak_bandwidth_gb_s, load.gpu_cores, load.cache_folder, load.kernels])
    command = [sys.executable, "-c", PROBE, configured]
    try:
        # Whatever this terminal's encoding is.
        told = {**os.environ, "PYTHONIOENCODING": "utf-8"}
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", env=told, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise QwenError(f"the MLX backend did not answer within {PROBE_SECONDS} s: is the device busy?") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise QwenError(last.removeprefix("qwen_core.errors.BackendError: "))
    found = json.loads(done.stdout.splitlines()[-1])
    if not found["computes"]:
        raise QwenError("the MLX backend computes a product of ones wrongly: update mlx and the driver")
    problems += map(printable, found.pop("kernel_faults"))
    return found


def _demo() -> dict[str, Any]:
    from qwen_core import demo_model_path

    return _model(demo_model_path())


def _named(model_dir: str) -> dict[str, Any]:
    from qwen_core.checkpoint.locate import resolve_model_path

    return _model(resolve_model_path(model_dir))


def _hosts(hosts: str, model_dir: str | None, problems: list[str]) -> list[dict[str, Any]]:
    """Each rank's host, asked about the model that is named, or about the demo model."""
    from dataclasses import asdict

    from qwen_core import demo_model_path, open_checkpoint
    from qwen_core.checkpoint.locate import resolve_model_path
    from qwen_core.engine.host_checks import check_hosts
    from qwen_core.engine.hosts import read_hosts

    ranks = read_hosts(hosts)
    if ranks is None:
        return []
    checkpoint = open_checkpoint(demo_model_path() if model_dir is None else resolve_model_path(model_dir))
    checks = check_hosts(ranks, checkpoint)
    problems += [check.problem for check in checks if check.problem]
    return [asdict(check) for check in checks]


def _split(hosts: str, model_dir: str | None, problems: list[str]) -> str | None:
    """Why the hosts cannot share the model; None where they can. Of the demo model, which nobody named, it is only
    said: the hosts may be right for another."""
    from qwen_core import demo_model_path, open_checkpoint
    from qwen_core.checkpoint.locate import resolve_model_path
    from qwen_core.engine.hosts import read_hosts
    from qwen_core.model.shard import check_split

    try:
        ranks = read_hosts(hosts)
        path = demo_model_path() if model_dir is None else resolve_model_path(model_dir)
        checkpoint = open_checkpoint(path)
    except QwenError:  # told by `_hosts`
        return None
    try:
        check_split(checkpoint.config, checkpoint.specs, 1 if ranks is None else len(ranks.ranks))
    except QwenError as error:
        if model_dir is None:
            return f"the demo model cannot, name a MODEL_DIR to check it: {error}"
        problems.append(str(error))
        return str(error)
    return None


def _host_lines(checks: list[dict[str, Any]] | None, split: str | None) -> dict[str, str]:
    """What was found of each host, as one line for people; what is wrong with it is told with the problems."""
    lines = {f"rank {check['rank']} ({check['host']})": _host_line(check) for check in checks or ()}
    return lines if split is None else {**lines, "sharing": split}


def _host_line(check: dict[str, Any]) -> str:
    if not check["reachable"]:
        return "not reachable"
    words = ["reachable"]
    for name, same, other in (
        ("same_version", "same version", "another version"),
        ("same_model", "model there", "model not there"),
    ):
        if check[name] is not None:
            words.append(same if check[name] else other)
    return ", ".join([*words, f"memory {decimal_size(check['memory_bytes'])}"])


def _model(path: Path) -> dict[str, Any]:
    """A model as far as its headers and its text files tell. Advice is what would help, not what is wrong."""
    from qwen_core import open_checkpoint
    from qwen_core.checkpoint.layout import make_layout
    from qwen_core.checkpoint.variants import identify
    from qwen_core.convert.alignment import alignment_advice
    from qwen_core.text.template import load_template
    from qwen_core.text.tokenizer import load_tokenizer
    from qwen_tui.layers.facts import mtp_text

    checkpoint = open_checkpoint(path)
    load_tokenizer(checkpoint)
    load_template(checkpoint)
    layout = make_layout(checkpoint)
    found = {"path": str(checkpoint.path), "bytes": checkpoint.text_bytes, "variant": identify(layout).name}
    warnings = "; ".join(checkpoint.warnings) or None
    more = {"mtp": mtp_text(layout), "warning": warnings, "advice": alignment_advice(checkpoint)}
    return found | {name: text for name, text in more.items() if text is not None}


def _settings(problems: list[str]) -> None:
    """What `run` says of config.toml and the environment before it uses the defaults instead."""
    from qwen_tui.settings.file import load_settings

    for problem in load_settings().problems:
        if not problem.startswith(tuple(problems)):  # a folder that cannot be made: the paths have said so
            problems.append(printable(problem))


def _paths() -> dict[str, str]:
    from qwen_core.settings.paths import config_dir, data_dir, engine_log_path, state_dir

    return {
        "config": str(config_dir()),
        "data": str(data_dir()),
        "state": str(state_dir()),
        "engine_log": str(engine_log_path()),
        "program_log": str(state_dir() / "qwen-tui.log"),
    }


def _terminal() -> dict[str, Any]:
    size = shutil.get_terminal_size()
    return {
        "interactive": sys.stdin.isatty() and sys.stdout.isatty(),
        "columns": size.columns,
        "rows": size.lines,
        "type": os.environ.get("TERM"),
        "colour": os.environ.get("COLORTERM"),
        "no_color": "NO_COLOR" in os.environ,
        "encoding": sys.stdout.encoding,
    }
