"""What the tensors of a checkpoint amount to: bytes read for a token, and which published variant this is.

Pure arithmetic on an opened `Checkpoint`; nothing is loaded.
"""

from collections import Counter

from qwen_core.architecture import text_tensors
from qwen_core.checkpoint import Checkpoint
from qwen_core.quantization import QuantSpec

# What the recipe gives the feed-forward's gate and down projections (FORMAT.md, "The `unsloth` recipe"): the pair
# tells every published variant from the others.
_VARIANTS: dict[tuple[QuantSpec, QuantSpec], str] = {
    (QuantSpec("affine", 2, 64), QuantSpec("affine", 3, 64)): "UD-Q2_K_XL",
    (QuantSpec("affine", 3, 64), QuantSpec("affine", 4, 64)): "UD-Q3_K_XL",
    (QuantSpec("affine", 4, 64), QuantSpec("affine", 5, 64)): "UD-Q4_K_XL",
    (QuantSpec("affine", 5, 64), QuantSpec("affine", 6, 64)): "UD-Q5_K_XL",
    (QuantSpec("affine", 6, 64), QuantSpec("affine", 8, 64)): "UD-Q6_K_XL",
    (QuantSpec("affine", 8, 64), QuantSpec("affine", 8, 64)): "UD-Q8_K_XL",
    (QuantSpec("nvfp4", 4, 16), QuantSpec("affine", 5, 64)): "UD-NVFP4_K_XL",
    (QuantSpec("mxfp4", 4, 32), QuantSpec("affine", 5, 64)): "UD-MXFP4_K_XL",
    (QuantSpec("mxfp8", 8, 32), QuantSpec("mxfp8", 8, 32)): "UD-MXFP8_K_XL",
}


def module_bytes(checkpoint: Checkpoint) -> dict[str, int]:
    """Stored bytes of every text module by canonical name: weight, scales and biases together."""
    totals: Counter[str] = Counter()
    for name, info in checkpoint.text.items():
        module = name
        for ending in (".weight", ".scales", ".biases"):
            module = module.removesuffix(ending)
        totals[module] += info.nbytes
    return dict(totals)


def token_bytes(checkpoint: Checkpoint) -> dict[str, int]:
    """Bytes of every text module that decoding one token reads.

    All of it, except of the embedding, of which a token reads one row; tied, it is the head as well, and read whole.
    """
    sizes = module_bytes(checkpoint)
    if not checkpoint.config.tie_word_embeddings:
        sizes["embed_tokens"] //= checkpoint.config.vocab_size
    return sizes


def weight_bytes_per_token(checkpoint: Checkpoint) -> int:
    """Bytes of weights, as stored, that decoding one token reads. Recurrent state and KV come on top."""
    return sum(token_bytes(checkpoint).values())


def variant_name(checkpoint: Checkpoint) -> str:
    """The published name ("UD-NVFP4_K_XL") of the variant that the tensors are; else "bf16", "f32" or "custom".

    A name is given only where every feed-forward layer agrees with it and nothing that the recipe leaves in bf16 is
    quantised; directory names prove nothing.
    """
    if not checkpoint.specs:
        embedding = checkpoint.text["embed_tokens.weight"].dtype
        return {"BF16": "bf16", "F16": "f16", "F32": "f32"}[embedding]
    layers = range(checkpoint.config.num_hidden_layers)
    pairs = {
        tuple(checkpoint.specs.get(f"layers.{i}.mlp.{name}") for name in ("gate_proj", "down_proj")) for i in layers
    }
    ups = {checkpoint.specs.get(f"layers.{i}.mlp.up_proj") for i in layers}
    if len(pairs) != 1:
        return "custom"
    (pair,) = pairs
    gate, down = pair
    if gate is None or down is None or ups != {gate} or _quantises_kept_weights(checkpoint):
        return "custom"
    return _VARIANTS.get((gate, down), "custom")


def _quantises_kept_weights(checkpoint: Checkpoint) -> bool:
    """Whether a projection that the recipe keeps in bf16 is quantised, or one that it quantises is not."""
    kept = (".o_proj", ".out_proj", ".in_proj_a", ".in_proj_b")
    for tensor in text_tensors(checkpoint.config, lm_head=not checkpoint.config.tie_word_embeddings):
        if tensor.kind == "matrix" and tensor.module.endswith(kept) == (tensor.module in checkpoint.specs):
            return True
    return False
