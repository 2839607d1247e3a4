"""Measures what reading and loading cost, each in a fresh process: `measure_memory.py [MODEL_DIR]`.

    open    seconds and peak resident memory of `open_checkpoint` on the full 27B, written here as sparse files, or on
            MODEL_DIR. Bounds: 0.5 s and 100 MB.
    load    peak resident memory of loading every tensor of a bf16 checkpoint of more than 1 GB and answering one token,
            over the bytes loaded, in float32 and in bfloat16. Bound: 1.15. The same of 100 small layers in bfloat16,
            whose neighbours are joined. Bound: 1.12.
    share   the same of each of two ranks that share the first of these checkpoints, over the bytes of its part, less
            what the process took before. Bound: 1.10.

A command, not a test: it needs some 8 GB of memory, 4 GB of disk and a minute. Exit code 0 when every bound holds.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.checkpoints import write_checkpoint
from support.ranks import Led, ranks

OPEN_SECONDS, OPEN_BYTES = 0.5, 100_000_000
LOAD_RATIO, SMALL_LOAD_RATIO, SHARE_RATIO = 1.15, 1.12, 1.10
OPENS = 5
# 1.7 GB in bf16, of which the largest tensor is 268 MB.
SIZES = {
    "vocab_size": 65536,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 8,
    "head_dim": 256,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
}
# 1.3 GB in bf16, of which the largest tensor is 127 MB and the others are below 2 MB.
SMALL_SIZES = {
    "vocab_size": 248320,
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 100,
    "head_dim": 128,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 6,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
}
PROMPT = list(range(1, 17))


def peak_resident_bytes() -> int:
    """The most memory that this process ever had resident.

    Linux's VmHWM begins at exec; ru_maxrss, which other systems have to do with, remembers the parent's as well.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure_open(path: str) -> dict[str, Any]:
    """In this process: open the directory once, imports not counted."""
    from qwen_core.checkpoint.directory import open_checkpoint

    start = time.perf_counter()
    checkpoint = open_checkpoint(path)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "peak": peak_resident_bytes(),
        "tensors": len(checkpoint.tensors),
        "bytes": checkpoint.total_bytes,
        "mlx": "mlx.core" in sys.modules,
    }


def measure_load(path: str, dtype: str) -> dict[str, Any]:
    """In this process: load every tensor as `dtype` and answer one token."""
    from qwen_core.model.model import load_model
    from qwen_core.session.generate import decode, prefill
    from qwen_core.session.sampling import Sampler, SamplingParameters

    model = load_model(path, dtype)
    vocabulary = model.config.vocab_size
    state, sampler = model.new_state(), Sampler(SamplingParameters(temperature=0.0), vocabulary, vocabulary)
    *_, last = prefill(model, state, PROMPT)
    assert last.logits is not None
    token = next(decode(model, state, last.logits, sampler, limit=1))
    tiers = {"mapped": model.tiers.mapped, "copied": model.tiers.copied, "streamed": model.tiers.streamed}
    return {"peak": peak_resident_bytes(), "loaded": model.tiers.total, "tiers": tiers, "token": token}


def measure_share(led: Led, path: Path, dtype: str) -> list[tuple[int, int]]:
    """In rank 0 of ranks that have loaded nothing yet: (peak, loaded) of each, where all have loaded their parts of
    `path` and answered a prompt with one token. The peak is less what a process had before."""
    import mlx.core as mx

    before = led.everywhere(_peak)
    model = led.load(path, dtype)
    state = model.new_state()
    model.last_logits(mx.array([PROMPT]), state).argmax().item()
    loaded = [model.tiers.total, *(answer["loaded"] for answer in led.loaded)]
    after = led.everywhere(_peak)
    return [(peak - first, part) for peak, first, part in zip(after, before, loaded, strict=True)]


def _peak(_: object) -> int:
    return peak_resident_bytes()


def in_fresh_process(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--here", *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def report_open(path: Path) -> bool:
    """Print the figures of opening `path`; whether they keep the bounds. The first run warms the disk cache."""
    runs = [in_fresh_process("open", str(path)) for _ in range(OPENS + 1)][1:]
    seconds = sorted(run["seconds"] for run in runs)
    peak = max(run["peak"] for run in runs)
    print(
        f"open {path.name}: {runs[0]['tensors']:,} tensors, {runs[0]['bytes']:,} bytes; "
        f"{seconds[len(seconds) // 2]:.3f} s ({seconds[0]:.3f} to {seconds[-1]:.3f}), peak {peak / 1e6:.1f} MB, "
        f"MLX {'imported' if any(run['mlx'] for run in runs) else 'not imported'}"
    )
    return seconds[-1] < OPEN_SECONDS and peak < OPEN_BYTES


def report_load(path: Path, dtype: str, bound: float = LOAD_RATIO) -> bool:
    """Print the figures of loading `path` as `dtype`; whether they keep the bound."""
    run = in_fresh_process("load", str(path), dtype)
    ratio = run["peak"] / run["loaded"]
    tiers = ", ".join(f"{tier} {count:,}" for tier, count in run["tiers"].items())
    print(f"load {path.name} as {dtype}: peak {run['peak']:,} / loaded {run['loaded']:,} = {ratio:.3f} ({tiers} bytes)")
    return ratio < bound


def report_share(path: Path, dtype: str, folder: Path) -> bool:
    """Print the figures of each rank's part of `path`; whether they keep the bound."""
    with ranks(2, folder) as started:
        found = started.do(measure_share, path, dtype)
    for rank, (peak, loaded) in enumerate(found):
        print(f"rank {rank} of 2, {path.name} as {dtype}: peak {peak:,} / loaded {loaded:,} = {peak / loaded:.3f}")
    return all(peak < SHARE_RATIO * loaded for peak, loaded in found)


def main() -> int:
    if sys.argv[1:2] == ["--here"]:
        measure = {"open": measure_open, "load": measure_load}[sys.argv[2]]
        print(json.dumps(measure(*sys.argv[3:])))
        return 0
    if len(sys.argv) > 1:
        return 0 if report_open(Path(sys.argv[1])) else 1
    with tempfile.TemporaryDirectory() as folder:
        full, large, small = (Path(folder) / name for name in ("27b", "large", "small-layers"))
        write_checkpoint(full, full=True)
        write_checkpoint(large, "bf16", text=SIZES)
        write_checkpoint(small, "bf16", text=SMALL_SIZES)
        held = [report_open(full), *(report_load(large, dtype) for dtype in ("float32", "bfloat16"))]
        held.append(report_load(small, "bfloat16", SMALL_LOAD_RATIO))
        held += [report_share(large, dtype, Path(folder)) for dtype in ("float32", "bfloat16")]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
