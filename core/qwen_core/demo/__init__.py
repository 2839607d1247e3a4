"""The bundled demo model: a few megabytes of the real architecture, and everything that makes it.

`python -m qwen_core.demo.train` writes the conversations, trains and publishes; `python -m qwen_core.demo.evaluate`
asks the result what training never asked. Importing this package costs nothing: no MLX, no torch.
"""

from __future__ import annotations

from pathlib import Path


def demo_model_path() -> Path:
    """The directory of the bundled model, as it ships in the wheel."""
    return Path(__file__).resolve().parent / "model"
