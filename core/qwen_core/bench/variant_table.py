"""What each of the nine published variants would cost and could reach: arithmetic, and the one published figure."""

from dataclasses import dataclass
from typing import Any

from qwen_core.checkpoint.config import ModelConfig
from qwen_core.checkpoint.footprint import state_bytes
from qwen_core.checkpoint.recipe import VARIANTS, Variant
from qwen_core.checkpoint.variants import predict
from qwen_core.device.hardware import Hardware
from qwen_core.protocol.stats import bytes_per_token, ceiling_tok_s

# The machine that the published model cards measured on, and what the card of the NVFP4 27B says it reached.
# For the other variants no figure is published.
CARD_GB_S = 400.0
CARD_TOK_S = {"UD-NVFP4_K_XL": 14.9}
CARD_SHAPE = "27b"
# The card's machine computes in bf16, and so does the prediction of what its state and KV cost.
_STATE_BYTES_EACH = 2


@dataclass(frozen=True)
class VariantRow:
    """One line of the table. `measured_tok_s`: min, median and max here, None where nothing was measured."""

    variant: Variant
    nbytes: int
    bytes_per_token: int
    ceiling_tok_s: float | None
    card_ceiling_tok_s: float | None
    card_tok_s: float | None
    measured_tok_s: dict[str, float] | None = None
    refusal: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "variant": self.variant.name,
            "nbytes": self.nbytes,
            "bytes_per_token": self.bytes_per_token,
            "ceiling_tok_s": self.ceiling_tok_s,
            "m3_max_ceiling_tok_s": self.card_ceiling_tok_s,
            "card_m3_max_tok_s": self.card_tok_s,
            "measured_tok_s": self.measured_tok_s,
            "refusal": self.refusal or None,
        }


def variant_rows(config: ModelConfig, machine: Hardware, *, shape: str | None, depth: int = 0) -> list[VariantRow]:
    """The nine variants of a model of `config`, at a context of `depth` tokens.

    `shape` names one of SHAPES, if the config is that; the card's figures are those of the 27B alone, in a
    short conversation.
    """
    recurrent, kv = state_bytes(config, depth, _STATE_BYTES_EACH)
    rows = []
    for variant in VARIANTS:
        cost = predict(config, variant)
        per_token = bytes_per_token(cost.token_bytes, recurrent, kv)
        rows.append(
            VariantRow(
                variant=variant,
                nbytes=cost.nbytes,
                bytes_per_token=per_token,
                ceiling_tok_s=ceiling_tok_s(per_token, machine.peak_bandwidth_gb_s),
                card_ceiling_tok_s=ceiling_tok_s(per_token, CARD_GB_S),
                card_tok_s=CARD_TOK_S.get(variant.name) if shape == CARD_SHAPE and not depth else None,
            )
        )
    return rows
