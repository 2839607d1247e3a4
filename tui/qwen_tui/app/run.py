"""Runs the app in this terminal from its first paint to its end."""

from qwen_core import demo_model_path
from qwen_tui.app.app import QwenApp
from qwen_tui.settings.file import LoadedSettings


def run_app(model_path: str | None, loaded: LoadedSettings, dtype: str | None, resume: int | None = None) -> int:
    """Run the chat until the person leaves; the exit code. None opens the bundled demo model."""
    app = QwenApp(str(demo_model_path()) if model_path is None else model_path, loaded, dtype, resume=resume)
    try:
        app.run()
    finally:
        app.close_engine()
    return app.return_code or 0
