"""Write tests/core/checkpoint/goldens/rope.json: what transformers' Qwen3.5 makes of support/rope_sections.py.

    python tests/tools/make_rope_goldens.py        # needs torch and transformers; not run by the tests

Each is read from a config.json, as a model's is: inverse frequencies and attention factor of its rotary embedding.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import transformers
from transformers import AutoConfig
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5TextRotaryEmbedding

from support.rope_sections import BASE, SECTIONS


def rotation(text: dict) -> dict:
    with TemporaryDirectory() as folder:
        whole = {"model_type": "qwen3_5", "text_config": {"model_type": "qwen3_5_text", **BASE, **text}}
        (Path(folder) / "config.json").write_text(json.dumps(whole))
        embedding = Qwen3_5TextRotaryEmbedding(AutoConfig.from_pretrained(folder).text_config)
    return {"inverse_frequencies": embedding.inv_freq.tolist(), "attention_factor": embedding.attention_scaling}


def main() -> None:
    file = Path(__file__).resolve().parent.parent / "core" / "checkpoint" / "goldens" / "rope.json"
    file.parent.mkdir(exist_ok=True)
    found = {name: rotation(text) for name, text in SECTIONS.items()}
    file.write_text(json.dumps({"transformers": transformers.__version__, "sections": found}) + "\n")
    print(f"{file.name}: {len(found)} sections")


if __name__ == "__main__":
    main()
