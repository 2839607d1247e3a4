"""Draw the README's picture: the real app and the bundled demo model, in a conversation of three turns.

    python tests/tools/make_picture.py          writes tests/pictures/chat.svg

The answers are the model's own at temperature 0. Speed and time differ from run to run; nothing else does.
"""

import asyncio
import html
import os
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from qwen_core import demo_model_path
from qwen_core.protocol.events import GenerationSettings
from qwen_tui.app.app import QwenApp
from qwen_tui.app.first_start import first_start
from qwen_tui.text.safe import cells
from support.app_stage import Stage, loaded_with

PICTURE = Path(__file__).resolve().parent.parent / "pictures" / "chat.svg"
SIZE = (128, 42)
TURNS = (
    ("medium", "What is the capital of Germany?"),
    ("none", "And Japan?"),
    ("none", "Explain NVFP4 vs MXFP4 quantization."),
)


async def draw() -> str:
    """The screen after the last turn, as SVG."""
    app = QwenApp(str(demo_model_path()), loaded_with(GenerationSettings(temperature=0)))
    try:
        async with app.run_test(size=SIZE) as pilot:
            here = Stage(app, pilot, [])
            await here.wait(lambda: app.conversation.engine == "ready")
            for effort, question in TURNS:
                await here.enter(f"/think {effort}")
                await here.enter(question)
                await here.wait(lambda: app.conversation.current is None)
            app.chat.status.clear_flash()
            await here.settle()
            return place_words(app.export_screenshot(title="qwen-tui"))
    finally:
        app.close_engine()


def place_words(svg: str) -> str:
    """The picture with every text element beginning at a word: some renderers drop the spaces in front of one."""

    def place(match: re.Match[str]) -> str:
        before, x, between, length, after, text = match.groups()
        whole = html.unescape(text)
        words = whole.strip("\xa0 \n")
        if not words:
            return ""
        cell = float(length) / cells(whole)
        left = float(x) + cell * (len(whole) - len(whole.lstrip("\xa0 ")))
        width = cell * cells(words)
        content = html.escape(words, quote=False).replace(" ", "&#160;").replace("\xa0", "&#160;")
        return f"{before}{left:g}{between}{width:g}{after}{content}</text>"

    return re.sub(r'(<text[^>]* x=")([\d.]+)("[^>]* textLength=")([\d.]+)("[^>]*>)([^<]*)</text>', place, svg)


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:  # so that nothing of this is among a person's conversations
        os.environ["QWEN_TUI_HOME"] = home
        first_start()
        PICTURE.write_text(asyncio.run(draw()), encoding="utf-8")
    print(PICTURE)
