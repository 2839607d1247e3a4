"""Ways in which people ask for YaRN: parts of a text_config, each over the 27B's.

tests/tools/make_rope_goldens.py writes what transformers makes of each, tests/core/checkpoint/test_rope.py compares.
"""

from typing import Any

PLAIN = {
    "rope_type": "default",
    "rope_theta": 10000000,
    "partial_rotary_factor": 0.25,
    "mrope_interleaved": True,
    "mrope_section": [11, 11, 10],
}
BASE: dict[str, Any] = {
    "hidden_size": 5120,
    "num_attention_heads": 24,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 262144,
    "rope_parameters": PLAIN,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 262144}
SECTIONS: dict[str, dict[str, Any]] = {
    "the model card's": {"rope_parameters": {**PLAIN, **YARN}},
    "factor 2": {"rope_parameters": {**PLAIN, **YARN, "factor": 2}},
    "factor 1": {"rope_parameters": {**PLAIN, **YARN, "factor": 1.0}},
    "short original": {"rope_parameters": {**PLAIN, **YARN, "original_max_position_embeddings": 512, "factor": 7.5}},
    "shorter than a turn": {"rope_parameters": {**PLAIN, **YARN, "original_max_position_embeddings": 4}},
    "no original": {"rope_parameters": {**PLAIN, "rope_type": "yarn", "factor": 4.0}},
    "original beside": {"rope_parameters": {**PLAIN, **YARN}, "original_max_position_embeddings": 32768},
    "attention factor": {"rope_parameters": {**PLAIN, **YARN, "attention_factor": 1.25}},
    "both scales": {"rope_parameters": {**PLAIN, **YARN, "mscale": 1.0, "mscale_all_dim": 0.5}},
    "one scale": {"rope_parameters": {**PLAIN, **YARN, "mscale": 2.0}},
    "one scale of nothing": {"rope_parameters": {**PLAIN, **YARN, "mscale": 2.0, "mscale_all_dim": 0}},
    "scales of nothing": {"rope_parameters": {**PLAIN, **YARN, "mscale": 0, "mscale_all_dim": 0.0}},
    "original as a float": {"rope_parameters": {**PLAIN, **YARN, "original_max_position_embeddings": 32768.0}},
    "no whole original": {"rope_parameters": {**PLAIN, **YARN, "original_max_position_embeddings": 1000.5}},
    "float original beside": {"rope_parameters": {**PLAIN, **YARN}, "original_max_position_embeddings": 32768.0},
    "ramp of nothing": {"rope_parameters": {**PLAIN, **YARN, "beta_fast": 0, "beta_slow": 0}},
    "not truncated": {"rope_parameters": {**PLAIN, **YARN, "truncate": False}},
    "other ramp": {"rope_parameters": {**PLAIN, **YARN, "beta_fast": 64, "beta_slow": 4}},
    "ramp of no width": {"rope_parameters": {**PLAIN, **YARN, "beta_fast": 8, "beta_slow": 8, "truncate": False}},
    "no base": {"rope_parameters": dict(YARN)},
    "base beside": {"rope_parameters": dict(YARN), "rope_theta": 500000.0, "partial_rotary_factor": 0.5},
    "rope_scaling": {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 262144}},
    "rope_scaling with base": {"rope_scaling": {**YARN, "rope_theta": 10000000}, "max_position_embeddings": 1010000},
    "rope_scaling, base beside": {"rope_scaling": dict(YARN), "rope_theta": 1000000.0},
    "empty rope_scaling": {"rope_parameters": {**PLAIN, **YARN}, "rope_scaling": {}},
    "type default, rope_type yarn": {"rope_parameters": {**PLAIN, **YARN, "type": "default"}},
    "rope_type default, type yarn": {"rope_parameters": {**PLAIN, **YARN, "rope_type": "default", "type": "yarn"}},
}
