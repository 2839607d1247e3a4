"""From the raw checkpoint to the model that ships: `python -m demo_training.publish RAW MODEL_DIR`.

The same as `qwen-tui convert RAW MODEL_DIR --variant UD-NVFP4_K_XL`: the demo is made as every other model is.
`train.py --publish MODEL_DIR` does it after training.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

VARIANT = "UD-NVFP4_K_XL"


def publish(raw: Path, target: Path) -> int:
    """Convert what train.py wrote into the new directory `target`; gives the bytes of its tensors."""
    from qwen_core.checkpoint.directory import open_checkpoint
    from qwen_core.checkpoint.recipe import find_variant
    from qwen_core.convert.convert import convert
    from qwen_core.convert.plan import make_plan
    from qwen_core.convert.rules import VariantRules

    variant = find_variant(VARIANT)
    assert variant is not None
    plan = make_plan(open_checkpoint(raw), VariantRules(variant))
    convert(plan, target)
    return plan.nbytes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo_training.publish", description=__doc__)
    parser.add_argument("raw", type=Path, help="what train.py wrote")
    parser.add_argument("model", type=Path, help="the directory to write, new or empty")
    args = parser.parse_args()
    print(f"{args.model}: {publish(args.raw, args.model):,} bytes of tensors", file=sys.stderr)


if __name__ == "__main__":
    main()
