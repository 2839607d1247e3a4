"""A result appears whole or not at all: whatever ends the work, nothing is left and the place is as it was."""

import errno
import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.convert import writer
from qwen_core.convert.convert import convert
from qwen_core.convert.plan import ConvertProgress, make_plan
from qwen_core.convert.realign import realign
from qwen_core.errors import CapacityError, CheckpointError, QwenError
from support.checkpoints import write_checkpoint
from support.conversion import converted, headers, variant_rules, write_raw


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_raw(tmp_path / "raw", files={"tokenizer.json": "{}", "LICENSE": "free", "notes.txt": "mine"})


def left_over(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.iterdir() if path.name != "raw")


class Halt(BaseException):
    """Stands for anything that ends the work, Ctrl+C among it."""


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("at", [1, 40, 90])
def test_an_interrupted_run_leaves_the_place_as_it_was(source: Path, tmp_path: Path, exists: bool, at: int) -> None:
    target = tmp_path / "out"
    if exists:
        target.mkdir()
    calls: list[ConvertProgress] = []

    def progress(step: ConvertProgress) -> None:
        calls.append(step)
        assert any(name.startswith(".out.partial-") for name in left_over(tmp_path))
        if len(calls) == at:
            raise Halt

    with pytest.raises(Halt):
        converted(source, target, progress=progress)
    assert left_over(tmp_path) == (["out"] if exists else [])
    assert not exists or not list(target.iterdir())
    converted(source, target)
    assert open_checkpoint(target).specs


def test_what_ends_the_work_as_it_begins_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between making the temporary directory and the first statement that uses it."""

    def halt(*_: object) -> None:
        assert left_over(tmp_path) != []
        raise Halt

    output = writer.OutputDirectory(tmp_path / "out")
    assert left_over(tmp_path) == []
    monkeypatch.setattr("fcntl.flock", halt)
    with pytest.raises(Halt), output:
        pass
    assert left_over(tmp_path) == []


def test_ctrl_c_before_the_name_is_known_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = writer.tempfile.mkdtemp

    def interrupted(**options: Any) -> str:
        made = make(**options)
        os.kill(os.getpid(), signal.SIGINT)
        return made

    monkeypatch.setattr(writer.tempfile, "mkdtemp", interrupted)
    # MLX and tokenizers have threads, which take a signal that this one has blocked.
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt), writer.OutputDirectory(tmp_path / "out"):
            pass
    finally:
        over.set()
        thread.join()
    assert left_over(tmp_path) == []


def test_progress_counts_every_byte_of_the_source_once(source: Path, tmp_path: Path) -> None:
    steps: list[ConvertProgress] = []
    plan = converted(source, tmp_path / "out", progress=steps.append)
    done = [step.done_bytes for step in steps]
    assert done == sorted(done)
    assert done[-1] == plan.source_bytes == steps[0].total_bytes
    assert steps[0].left_s is None
    assert ConvertProgress(25, 100, 3.0, "x").left_s == 9.0
    assert {step.tensor for step in steps} == {decision.source.name for decision in plan.decisions}


def test_a_result_takes_along_the_files_that_chatting_needs(source: Path, tmp_path: Path) -> None:
    converted(source, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"tokenizer.json", "LICENSE", "config.json", "model.safetensors.index.json"} < names
    assert "notes.txt" not in names
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o777 & ~mask


def test_half_of_a_surrogate_pair_in_the_config_is_written_as_it_was_read(source: Path, tmp_path: Path) -> None:
    config = json.loads((source / "config.json").read_text())
    odd = {"half": "\ud83d", "\ude00": "x", "whole": "🙂", "plain": "ü"}
    (source / "config.json").write_text(json.dumps(config | odd))
    converted(source, tmp_path / "out")
    result = open_checkpoint(tmp_path / "out").raw_config
    assert {key: result[key] for key in odd} == odd
    assert '"ü"' in (tmp_path / "out" / "config.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("operation", ["convert", "realign"])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    operation: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.pwrite", full)
    checkpoint = open_checkpoint(source)
    with pytest.raises(CapacityError, match="the disk is full"):
        if operation == "convert":
            convert(make_plan(checkpoint, variant_rules("q4")), tmp_path / "out")
        else:
            realign(checkpoint, tmp_path / "out")
    assert left_over(tmp_path) == []


def test_a_write_that_the_system_refuses_ends_the_same_way(source: Path, tmp_path: Path) -> None:
    """A real refusal: files of at most 100 kB, in a process of its own."""
    code = (
        "import sys, resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "from qwen_tui.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "convert", str(source), str(tmp_path / "out"), "--variant", "q4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("warning:")]
    assert done.returncode == 1
    assert len(lines) == 1
    assert "File too large" in lines[0]
    assert "nothing of it is left" in lines[0]
    assert left_over(tmp_path) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000


def test_a_disk_without_room_is_seen_before_anything_is_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 999})
    monkeypatch.setattr(writer.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(writer.tempfile, "mkdtemp", lambda **_: pytest.fail("too late"))
    with pytest.raises(CapacityError, match=r"needs 6\d\.\d\d MB, but .* has 999 B left"):
        converted(source, tmp_path / "out")


@pytest.mark.parametrize("operation", ["convert", "realign"])
def test_what_a_killed_run_left_makes_room_for_the_next(
    operation: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = tmp_path / ".out.partial-dead_run"
    dead.mkdir()
    monkeypatch.setattr(
        writer.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 0 if dead.exists() else 1 << 40})
    )
    if operation == "convert":
        converted(source, tmp_path / "out")
    else:
        realign(open_checkpoint(source), tmp_path / "out")
    assert left_over(tmp_path) == ["out"]


def test_a_machine_without_memory_is_refused(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_core.convert.convert.memory_bytes", lambda: 100 << 20)
    with pytest.raises(CapacityError, match="memory"):
        converted(source, tmp_path / "out")
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_with_nothing_left(number: int, source: Path, tmp_path: Path) -> None:
    """The command line itself, which signals itself once the temporary directory is there."""
    code = (
        # A shell starts background jobs with SIGINT ignored, which children inherit.
        "import os, signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from qwen_core.convert import convert\nwhole = convert.transformed\n"
        f"def transformed(*rest, **named):\n    os.kill(os.getpid(), {number})\n    yield from whole(*rest, **named)\n"
        "convert.transformed = transformed\n"
        "from qwen_tui.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "convert", str(source), str(tmp_path / "out"), "--variant", "q4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("options", [["--variant", "q4"], ["--realign"]])
def test_a_signal_that_was_ignored_at_the_start_stays_so(
    number: int, options: list[str], source: Path, tmp_path: Path
) -> None:
    """SIGHUP under nohup, SIGINT in a shell's background job: sent with every piece that is written."""
    code = (
        "import os, sys\nfrom qwen_core.convert import writer\nput = writer.ShardFile.write\n"
        f"def write(*rest):\n    os.kill(os.getpid(), {number})\n    put(*rest)\n"
        "writer.ShardFile.write = write\n"
        "from qwen_tui.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "convert", str(source), str(tmp_path / "out"), *options]
    before = signal.signal(number, signal.SIG_IGN)  # which children inherit
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        signal.signal(number, before)
    assert done.returncode == 0, done.stderr
    assert left_over(tmp_path) == ["out"]


def test_a_second_ctrl_c_waits_for_the_end_of_the_clean_up() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), writer._undisturbed():
        signal.raise_signal(signal.SIGINT)
        done.append(True)
    assert done


def test_the_next_run_removes_what_a_killed_one_left_and_nothing_else(source: Path, tmp_path: Path) -> None:
    dead, alive, other = (
        tmp_path / name for name in (".out.partial-dead_run", ".out.partial-live_run", ".out2.partial-x")
    )
    mine = tmp_path / ".out.partial-mine"  # a person's: no run names a directory so
    for path in (dead, alive, other, mine):
        path.mkdir()
        (path / "model-00001-of-00001.safetensors").write_bytes(b"half")
    descriptor = os.open(alive, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        converted(source, tmp_path / "out")
    finally:
        os.close(descriptor)
    assert left_over(tmp_path) == [".out.partial-live_run", ".out.partial-mine", ".out2.partial-x", "out"]


def test_a_place_that_is_filled_meanwhile_is_not_touched(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"

    def progress(step: ConvertProgress) -> None:
        target.mkdir(exist_ok=True)
        (target / "precious").write_text("mine")

    with pytest.raises(QwenError, match="nothing of it is left"):
        converted(source, target, progress=progress)
    assert (target / "precious").read_text() == "mine"
    assert left_over(tmp_path) == ["out"]


def test_a_link_is_followed_within_the_model_and_its_cache_alone(source: Path, tmp_path: Path) -> None:
    """The result is for everyone; what a link leads to may not be."""
    snapshot = tmp_path / "models--owner--name" / "snapshots" / "0123abc"
    snapshot.parent.mkdir(parents=True)
    shutil.copytree(source, snapshot)
    blobs, secret = tmp_path / "models--owner--name" / "blobs", tmp_path / "secret"
    blobs.mkdir()
    for place in (blobs / "abcd", secret, snapshot / "real.json"):
        place.write_text(f'{{"of": "{place.name}"}}')
    for target, name in ((blobs / "abcd", "out1"), (Path("real.json"), "out2"), (secret, "")):
        link = snapshot / "generation_config.json"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        if name:
            converted(snapshot, tmp_path / name)
            assert (tmp_path / name / link.name).read_text() == link.read_text()
            continue
        with pytest.raises(CheckpointError, match=r"config\.json is a link to .*secret, outside of the model"):
            converted(snapshot, tmp_path / "out3")
    assert not (tmp_path / "out3").exists()


def test_places_that_cannot_be_written_are_refused(source: Path, tmp_path: Path) -> None:
    before = headers(source)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(source)
    for target, reason in (
        (source, "lies inside the source"),
        (source / "inner", "lies inside the source"),
        (source / "a" / ".." / "inner", "lies inside the source"),
        (tmp_path / "link" / "inner", "lies inside the source"),
        (tmp_path / "full", "is not empty"),
        (tmp_path / "file", "is not a directory"),
        (tmp_path / "no" / "such", "/no does not exist: make it first"),
        (tmp_path / "file" / "inner", "/file is a file, not a directory"),
        (tmp_path / "file" / "far" / "inner", "/file is a file, not a directory"),
        (tmp_path, "is not empty"),
    ):
        with pytest.raises(CheckpointError, match=reason):
            converted(source, target)
        with pytest.raises(CheckpointError, match=reason):
            realign(open_checkpoint(source), target)
    assert headers(source) == before
    assert left_over(tmp_path) == ["file", "full", "link"]


def test_an_empty_directory_behind_a_link_becomes_the_result(source: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    converted(source, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "config.json").exists()


def test_a_source_cut_short_after_it_was_opened_is_an_error(source: Path, tmp_path: Path) -> None:
    plan = make_plan(open_checkpoint(source), variant_rules("q4"))
    (file,) = source.glob("*.safetensors")
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(CheckpointError, match="became shorter"):
        convert(plan, tmp_path / "out")
    assert left_over(tmp_path) == []


def test_a_source_cut_short_while_it_is_converted_is_an_error(source: Path, tmp_path: Path) -> None:
    """Not a signal that ends the process without a word, as a mapped page behind the end of its file is."""
    plan = make_plan(open_checkpoint(source), variant_rules("q4"))
    (file,) = source.glob("*.safetensors")
    most = max(decision.source.nbytes for decision in plan.decisions)
    told: list[str] = []

    def progress(now: ConvertProgress) -> None:
        told.append(now.tensor)
        if now.done_bytes > most:
            os.truncate(file, 4096)

    with pytest.raises(CheckpointError, match=r"tensor .* cannot be read: the file became shorter"):
        convert(plan, tmp_path / "out", progress=progress)
    assert len(told) > 2
    assert left_over(tmp_path) == []


def test_a_shard_with_a_hole_is_never_finished(tmp_path: Path) -> None:
    from qwen_core.convert.plan import OutputTensor
    from qwen_core.convert.shards import arrange

    (shard,) = arrange([OutputTensor("a", "U8", (16,)), OutputTensor("b", "U8", (16,))])
    with writer.OutputDirectory(tmp_path / "out") as output, output.shard(shard) as file:
        file.write("a", 0, bytes(16))
        file.write("b", 0, bytes(8))
        with pytest.raises(ValueError, match="b: 8 bytes were written of 16"):
            file.check_complete()
        with pytest.raises(ValueError, match="more than its 16"):
            file.write("b", 8, bytes(9))
    assert not (tmp_path / "out").exists()


def test_several_sources_in_one_directory_of_results(tmp_path: Path) -> None:
    """Shards by a small cap: every file within it, and the index names each tensor's own."""
    write_checkpoint(tmp_path / "raw", "bf16", names="raw", shard_cap=200_000)
    plan = converted(tmp_path / "raw", tmp_path / "out", "q4", shard_cap=120_000)
    reopened = open_checkpoint(tmp_path / "out")
    assert len(reopened.shards) > 3
    assert set(reopened.tensors) == {tensor.name for tensor in plan.outputs}
