"""Measures what converting costs: `measure_conversion.py [--small] [VARIANT ...]` (q4 by default).

A variant with `+search` searches folding, gains, ranges and scales with a made-up importance; `fit` measures every
format first and chooses for 5 bits a weight. `--small` writes a model of 0.2 GB, whose bound is the same 500 MB.

    peak    the most memory resident while a raw bf16 checkpoint of more than 4 GB, written here, is converted, in a
            fresh process. Bound: four times the largest tensor, and 500 MB.
    speed   bytes of the source a second.

A command, not a test: it needs 8 GB of disk and minutes (on a CPU, MLX quantises to fp4 at some 15 MB/s, to anything
else at several hundred). Exit code 0 when every bound holds.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from measure_memory import peak_resident_bytes
from support.checkpoints import Stored, write_safetensors
from support.published_plan import text_config, text_plan

BOUND_BYTES = 500_000_000
# 4.4 GB in bf16, of which the largest tensor, embedding and head, has 268 MB.
SIZES = {
    "vocab_size": 65536,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 36,
    "head_dim": 256,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
}


SMALL = SIZES | {"vocab_size": 32768, "hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 4}


def write_source(path: Path, sizes: dict[str, int]) -> int:
    """A raw checkpoint of real bytes, a tensor at a time; gives the bytes of its largest tensor."""
    path.mkdir()
    config = text_config(True, sizes)
    (path / "config.json").write_text(json.dumps({"model_type": "qwen3_5", "text_config": config}))
    random = np.random.default_rng(0)
    noise = (random.standard_normal(1 << 20).astype(np.float32) * 0.02).view(np.uint32) >> 16
    pool = noise.astype(np.uint16).tobytes()
    largest, shard, filled, weight_map = 0, {}, 0, {}
    for weight in text_plan(config):
        shape = (weight.shape[0], weight.shape[2], weight.shape[1]) if weight.role == "conv" else weight.shape
        name = weight.name if weight.name.startswith("lm_head") else f"model.language_model.{weight.name}"
        tensor = Stored("BF16", shape)
        repeats = -(-tensor.nbytes // len(pool))
        tensor.data = (pool * repeats)[: tensor.nbytes]
        largest = max(largest, tensor.nbytes)
        shard[name] = tensor
        filled += tensor.nbytes
        if filled > 1 << 30:
            _close(path, shard, weight_map)
            shard, filled = {}, 0
    _close(path, shard, weight_map)
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return largest


def _close(path: Path, shard: dict[str, Stored], weight_map: dict[str, str]) -> None:
    file = f"part-{len(set(weight_map.values())):02}.safetensors"
    write_safetensors(path / file, shard)
    weight_map |= dict.fromkeys(shard, file)


def measure(source: str, target: str, variant: str) -> dict[str, Any]:
    """In this process: convert, imports not timed."""
    from qwen_core.checkpoint.directory import open_checkpoint
    from qwen_core.checkpoint.recipe import find_variant
    from qwen_core.convert.budget import choose
    from qwen_core.convert.budget_words import bits_budget
    from qwen_core.convert.candidates import measure_candidates
    from qwen_core.convert.convert import convert
    from qwen_core.convert.fitted_rules import FittedRules
    from qwen_core.convert.fold_search import search_folds
    from qwen_core.convert.measure import Measure
    from qwen_core.convert.plan import make_plan
    from qwen_core.convert.rules import Rules, VariantRules
    from support.importance import random_importance

    before = peak_resident_bytes()
    start = time.perf_counter()
    checkpoint = open_checkpoint(source)
    name, _, search = variant.partition("+")
    found = find_variant(name)
    if found is None:
        assert name == "fit", variant
        floats = make_plan(checkpoint, Rules())
        choice = choose(floats, measure_candidates(floats, {}), bits_budget(floats, 5))
        plan = make_plan(checkpoint, FittedRules("fitted", choice.specs))
    else:
        plan = make_plan(checkpoint, VariantRules(found))
    importance = random_importance(checkpoint.config, 0) if search else {}
    folds = search_folds(plan, importance, gains=True)[0] if search else None
    convert(plan, Path(target), folds=folds, measure=Measure(importance, search=bool(search)))
    seconds = time.perf_counter() - start
    return {
        "peak": peak_resident_bytes(), "before": before, "seconds": seconds, "read": plan.source_bytes,
        "written": plan.nbytes,
    }  # fmt: skip


def main() -> int:
    if sys.argv[1:2] == ["--here"]:
        print(json.dumps(measure(*sys.argv[2:])))
        return 0
    held = []
    with tempfile.TemporaryDirectory() as folder:
        small, *variants = sys.argv[1:] if sys.argv[1:2] == ["--small"] else ["", *sys.argv[1:]]
        largest = write_source(Path(folder) / "raw", SMALL if small else SIZES)
        for variant in variants or ["q4"]:
            command = [sys.executable, __file__, "--here", f"{folder}/raw", f"{folder}/{variant}", variant]
            run = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            bound = 4 * largest + BOUND_BYTES
            print(
                f"{variant}: {run['read'] / 1e9:.2f} GB to {run['written'] / 1e9:.2f} GB in {run['seconds']:.0f} s "
                f"({run['read'] / run['seconds'] / 1e6:.0f} MB/s), peak {run['peak'] / 1e6:.0f} MB "
                f"({run['before'] / 1e6:.0f} MB before), bound {bound / 1e6:.0f} MB (largest {largest / 1e6:.0f})",
                flush=True,
            )
            held.append(run["peak"] <= bound)
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
