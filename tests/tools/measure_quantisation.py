"""Write the table of measured quantisation in README.md: python tests/tools/measure_quantisation.py RAW [RAW ...]

Each RAW is an unquantised model as `python -m demo_training.train --rounded-share 0 --out RAW` writes it. Those of the
document come from `--start qwen_core/demo/model --steps 60 --budget 1024 --seed 5` (demo), `--steps 120 --budget 1024
--seed 11` (first) and `--steps 120 --budget 768 --seed 12` (second); those that the bound of a tenth was tried on from
`--steps 120 --budget 1024` with the seeds 21 and 22 and `--steps 200 --budget 768 --seed 23`. For each, and for q3, q4
and nvfp4, what the published recipe gives is compared with the original on conversations that training and the
importance matrix never saw: without folding, with the recipe's fixed exponent, with the searched one, with ranges and
scales searched too; and what --fit gives at the variant's bytes. Importance is measured here, as llama.cpp does, on
other conversations. Prints the rows as they are done, and the bounds that do not hold; exit code 0 when all do.

`--uneven RAW ...` prints the same of models that compute what these do, but where one channel in 32 is sixteen times
larger, and the weights that read it sixteen times smaller: what folding is for. The document stays as it is.
"""

import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.recipe import find_variant
from qwen_core.convert.awq import folds, folds_of, groups
from qwen_core.convert.budget import choose
from qwen_core.convert.budget_words import bytes_budget
from qwen_core.convert.candidates import Candidates, measure_candidates
from qwen_core.convert.convert import convert
from qwen_core.convert.fitted_rules import FittedRules
from qwen_core.convert.fold_search import search_folds
from qwen_core.convert.measure import Measure
from qwen_core.convert.plan import ConversionPlan, make_plan
from qwen_core.convert.quality import Reference, Text
from qwen_core.convert.rules import Rules, VariantRules
from qwen_core.model.model import load_model
from qwen_core.text.tokenizer import Tokenizer, load_tokenizer
from support.measured_importance import measured_importance

DOCUMENT = Path(__file__).resolve().parents[2] / "README.md"
VARIANTS = ("q3", "q4", "nvfp4")
CALIBRATION_SEED, HELD_OUT_SEED = 20_260_202, 20_260_101  # not ones that training has used
CALIBRATION_TOKENS, HELD_OUT_TOKENS = 4000, 4000
FIT_BOUND = 0.85
_ROW = re.compile(r"^\| (\w+) \| (\w+) \| ([\d,]+)" + r" \| ([\d.]+)" * 5 + r" \|$", re.MULTILINE)
_BLOCK = re.compile(r"<!-- quantisation -->\n.*?<!-- /quantisation -->", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """Mean KL divergences of one variant of one model, in nats. `clipped`: gains, ranges and scales searched too."""

    model: str
    variant: str
    nbytes: int
    plain: float
    fixed: float
    searched: float
    clipped: float
    fitted: float

    @property
    def line(self) -> str:
        figures = (self.plain, self.fixed, self.searched, self.clipped, self.fitted)
        return f"| {self.model} | {self.variant} | {self.nbytes:,} | {' | '.join(f'{kl:.5f}' for kl in figures)} |"

    def missed(self) -> Iterator[str]:
        """The bounds that do not hold."""
        where = f"{self.model}, {self.variant}"
        if self.searched > min(self.plain, self.fixed):
            over = self.searched / min(self.plain, self.fixed)
            yield f"{where}: searched folding is {over:.3f} of the better of none and fixed"
        if self.fitted > FIT_BOUND * self.plain:
            yield f"{where}: --fit is {self.fitted / self.plain:.2f} of the variant"


def text_of(tokenizer: Tokenizer, seed: int, tokens: int) -> Text:
    from demo_training.corpus.corpus import conversations

    ids: list[int] = []
    for conversation in conversations(seed):
        ids += tokenizer.encode(conversation.text)
        if len(ids) >= tokens:
            break
    return Text(tuple(ids[:tokens]), tokenizer.size)


class Bench:
    """One model: its original's predictions, and what conversions of it come to."""

    def __init__(self, checkpoint: Checkpoint, reference: Reference, importance: dict[str, np.ndarray]) -> None:
        self._checkpoint, self._reference, self._importance = checkpoint, reference, importance
        self._floats = make_plan(checkpoint, Rules())
        self._candidates: dict[str, Candidates] = measure_candidates(self._floats, importance)

    def row(self, model: str, name: str) -> Row:
        variant = find_variant(name)
        assert variant is not None
        plan, importance = make_plan(self._checkpoint, VariantRules(variant)), self._importance
        searched, _ = search_folds(plan, importance)
        gained, _ = search_folds(plan, importance, gains=True)
        fixed = folds(self._checkpoint.config, importance, set(plan.specs))
        return Row(
            model=model,
            variant=name,
            nbytes=plan.nbytes,
            plain=self._divergence(plan),
            fixed=self._divergence(plan, folds=fixed),
            searched=self._divergence(plan, folds=searched),
            clipped=self._divergence(plan, folds=gained, measure=Measure(importance, search=True)),
            fitted=self._fitted(plan.nbytes),
        )

    def _fitted(self, nbytes: int) -> float:
        choice = choose(self._floats, self._candidates, bytes_budget(nbytes))
        plan = make_plan(self._checkpoint, FittedRules("fitted", choice.specs))
        assert plan.nbytes <= nbytes
        return self._divergence(plan, folds=search_folds(plan, self._importance)[0])

    def _divergence(self, plan: ConversionPlan, **options: object) -> float:
        with tempfile.TemporaryDirectory() as folder:
            convert(plan, Path(folder) / "model", **options)  # pyright: ignore
            return self._reference.against_model(load_model(Path(folder) / "model", "float32")).kl_mean


def make_uneven(raw: Path, target: Path) -> Path:
    checkpoint, random = open_checkpoint(raw), np.random.default_rng(0)
    config, scales = checkpoint.config, {}
    for group in groups(config):
        channels = config.intermediate_size if group.producer.endswith("_proj") else config.hidden_size
        scales[group] = np.ones(channels, np.float32)
        scales[group][random.choice(channels, channels // 32, replace=False)] = 1 / 16
    convert(make_plan(checkpoint, Rules(), float_dtype="F32"), target, folds=folds_of(scales))
    return target


def rows_of(raw: Path) -> Iterator[Row]:
    checkpoint = open_checkpoint(raw)
    tokenizer = load_tokenizer(checkpoint)
    importance = measured_importance(raw, text_of(tokenizer, CALIBRATION_SEED, CALIBRATION_TOKENS))
    held_out = text_of(tokenizer, HELD_OUT_SEED, HELD_OUT_TOKENS)
    with Reference(checkpoint, held_out, "float32", lambda _: None) as reference:
        bench = Bench(checkpoint, reference, importance)
        for name in VARIANTS:
            yield bench.row(raw.name, name)


def block(rows: list[Row]) -> str:
    missed = [words for row in rows for words in row.missed()]
    share = max(row.fitted / row.plain for row in rows)
    return "\n".join(
        [
            "<!-- quantisation -->",
            "| model | variant | bytes | recipe | AWQ, fixed | AWQ, searched | and `--search` | `--fit` its bytes |",
            "|---|---|--:|--:|--:|--:|--:|--:|",
            *(row.line for row in rows),
            "",
            f"`--fit` leaves at most {share:.0%} of the divergence that the recipe does at the same bytes.",
            *(["Where a search did not help: " + "; ".join(missed) + "."] if missed else []),
            "<!-- /quantisation -->",
        ]
    )


def parse(document: str) -> list[Row]:
    """The rows of the table that `document` holds."""
    return [
        Row(model, variant, int(nbytes.replace(",", "")), *map(float, figures))
        for model, variant, nbytes, *figures in _ROW.findall(document)
    ]


def with_table(document: str, rows: list[Row]) -> str:
    return _BLOCK.sub(lambda _: block(rows), document)


def print_uneven(raw: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for row in rows_of(make_uneven(raw, Path(folder) / f"{raw.name}_uneven")):
            print(row.line, flush=True)


def main() -> int:
    if sys.argv[1:2] == ["--uneven"]:
        for raw in map(Path, sys.argv[2:]):
            print_uneven(raw)
        return 0
    rows: list[Row] = []
    for raw in map(Path, sys.argv[1:]):
        for row in rows_of(raw):
            rows.append(row)
            print(row.line, file=sys.stderr, flush=True)
    missed = [words for row in rows for words in row.missed()]
    for words in missed:
        print(f"does not hold: {words}", file=sys.stderr)
    # Read only now: measuring takes minutes, in which the document may have changed.
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8"), rows), encoding="utf-8")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
