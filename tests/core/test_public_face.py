"""What `from qwen_core import ...` gives, and that it is imported when it is used and no sooner."""

import json
import subprocess
import sys

import qwen_core

PUBLIC = {
    *("load_session", "load_model", "open_checkpoint", "demo_model_path"),
    *("Session", "Model", "Checkpoint", "ChatTemplate", "Tokenizer", "QwenError", "__version__"),
    *("GenerationSettings", "LoadSettings", "Message", "StreamEvent", "TurnStats"),
}
HEAVY = ("mlx", "numpy", "tokenizers", "safetensors")
PROGRAM = f"""
import json, sys
import qwen_core
before = [name for name in {HEAVY} if name in sys.modules]
kinds = [type(getattr(qwen_core, name)).__name__ for name in qwen_core.__all__]
print(json.dumps([before, kinds, [name for name in {HEAVY} if name in sys.modules]]))
"""


def test_every_public_name_resolves_and_nothing_heavy_is_imported_before_it_is_used() -> None:
    assert sorted(PUBLIC) == qwen_core.__all__
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, kinds, after = json.loads(done.stdout)
    assert before == []
    assert after == list(HEAVY)  # the check can tell
    assert set(kinds) == {"type", "function", "str"}


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    assert not hasattr(qwen_core, "nothing")
