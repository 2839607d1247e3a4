"""The bundled demo model: a few megabytes of the real architecture. core/demo_training, not installed, makes it."""

from __future__ import annotations

from pathlib import Path


def demo_model_path() -> Path:
    """The directory of the bundled model, as it ships in the wheel."""
    return Path(__file__).resolve().parent / "model"
