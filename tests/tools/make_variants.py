"""Write the table of the nine variants in tui/README.md: python tests/tools/make_variants.py RAW

RAW is an unquantised demo model, as `python -m demo_training.train --rounded-share 0 --out RAW` writes it (what is in
the document comes from --steps 300). Each variant is converted from it into a temporary directory and
compared with it on conversations that training never saw. Without the last phase of training, which rounds weights to
nvfp4: a model that has learnt to live with one format says nothing about the others.
"""

import itertools
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "tui" / "README.md"
CONVERSATIONS = 24
SEED = 20_260_101  # not one that training has used
_BLOCK = re.compile(r"<!-- variants -->\n.*?<!-- /variants -->", re.DOTALL)
_ROW = re.compile(r"^\| (UD-\w+) \| ([\d,]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) % \|$", re.M)
_REFERENCE = re.compile(r"on ([\d,]+) tokens.*?has a perplexity of ([\d.]+)", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """One variant. `nbytes` of all its tensors; `same` in percent."""

    name: str
    nbytes: int
    bits: float
    perplexity: float
    kl_mean: float
    kl_p999: float
    same: float

    @property
    def line(self) -> str:
        figures = (
            f"{self.bits:.2f} | {self.perplexity:.3f} | {self.kl_mean:.5f} | {self.kl_p999:.4f} | {self.same:.1f} %"
        )
        return f"| {self.name} | {self.nbytes:,} | {figures} |"


@dataclass(frozen=True)
class Table:
    """The variants, and what they were compared with: the reference's perplexity on so many tokens."""

    rows: Sequence[Row]
    tokens: int
    perplexity: float


def block(table: Table) -> str:
    """The document's section: the table and what it shows."""
    by_name = {row.name: row for row in table.rows}
    nvfp4, mxfp4 = by_name["UD-NVFP4_K_XL"], by_name["UD-MXFP4_K_XL"]
    ratio, more = mxfp4.kl_mean / nvfp4.kl_mean, nvfp4.nbytes / mxfp4.nbytes - 1
    shown = (
        f"NVFP4 and MXFP4 differ in `gate_proj` and `up_proj` alone. Their elements are the same; NVFP4 has a scale "
        f"with a fraction for every 16 weights, MXFP4 a power of two for every 32. For {more:.1%} more bytes NVFP4's "
        f"mean divergence is {f'{ratio:.1f} times smaller' if ratio > 1 else f'{1 / ratio:.1f} times larger'} "
        f"({nvfp4.kl_mean:.5f} against {mxfp4.kl_mean:.5f})."
    )
    return "\n".join(
        [
            "<!-- variants -->",
            f"Measured on {table.tokens:,} tokens of conversations that the training did not see; the unquantised "
            f"model has a perplexity of {table.perplexity:.3f} on them, questions included, which it never learnt.",
            "",
            "| variant | bytes | bits a weight | perplexity | KL mean | KL 99.9 % | same likeliest token |",
            "|---|--:|--:|--:|--:|--:|--:|",
            *(row.line for row in table.rows),
            "",
            shown,
            "<!-- /variants -->",
        ]
    )


def parse(document: str) -> Table | None:
    """The table that `document` holds; None if it has none."""
    match = _BLOCK.search(document)
    reference = _REFERENCE.search(match.group()) if match else None
    if match is None or reference is None:
        return None
    rows = [
        Row(name, int(nbytes.replace(",", "")), *map(float, figures))
        for name, nbytes, *figures in _ROW.findall(match.group())
    ]
    return Table(rows, int(reference[1].replace(",", "")), float(reference[2]))


def with_table(document: str, table: Table) -> str:
    return _BLOCK.sub(lambda _: block(table), document)


def measure(raw: Path) -> Table:
    """Convert and compare all nine."""
    from demo_training.corpus.corpus import conversations
    from qwen_core.checkpoint.directory import open_checkpoint
    from qwen_core.checkpoint.layout import make_layout
    from qwen_core.checkpoint.recipe import VARIANTS
    from qwen_core.convert.convert import convert
    from qwen_core.convert.plan import make_plan
    from qwen_core.convert.quality import Reference, Text
    from qwen_core.convert.rules import VariantRules
    from qwen_core.model.model import load_model
    from qwen_core.text.tokenizer import load_tokenizer

    checkpoint = open_checkpoint(raw)
    tokenizer = load_tokenizer(checkpoint)
    texts = [conversation.text for conversation in itertools.islice(conversations(SEED), CONVERSATIONS)]
    text = Text(tuple(token for piece in texts for token in tokenizer.encode(piece)), tokenizer.size)
    rows = []
    reference_perplexity = 0.0
    with tempfile.TemporaryDirectory() as folder, Reference(checkpoint, text, "float32", lambda _: None) as reference:
        for variant in VARIANTS:
            target = Path(folder) / variant.name
            convert(make_plan(checkpoint, VariantRules(variant)), target)
            result = open_checkpoint(target)
            found = reference.against_model(load_model(result, "float32"))
            bits = make_layout(result).text.bits_per_weight
            figures = found.perplexity, found.kl_mean, found.kl_p999, found.top1 * 100
            rows.append(Row(variant.name, result.total_bytes, bits, *figures))
            reference_perplexity = found.reference_perplexity
            print(rows[-1].line, file=sys.stderr, flush=True)
    return Table(rows, len(text.ids), reference_perplexity)


if __name__ == "__main__":
    measured = measure(Path(sys.argv[1]))
    # Read only now: measuring takes minutes, in which the document may have changed.
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8"), measured), encoding="utf-8")
