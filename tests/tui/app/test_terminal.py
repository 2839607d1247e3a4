"""The whole program in a real terminal: the installed command, the bundled model, keys in, screen out."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from qwen_core.demo import demo_model_path
from qwen_tui.store import store_path
from qwen_tui.text.safe import cells
from support.engines import is_gone, wait_until
from support.terminal import KEEPS_HANGUP, PROGRAM, RUN, RealTerminal, real_terminal, tmux_is_there

pytestmark = pytest.mark.skipif(not tmux_is_there(), reason="tmux is not installed (.ci/run installs it)")

# A negative frequency penalty rewards what was said already: short answers stay what they are, a long one never ends.
# So there is a middle to stop in, however fast or slow the machine is.
ENDLESS = ("--temperature", "0", "--effort", "none", "--frequency-penalty", "-2", "--max-tokens", "3000")
ENDLESS_QUESTION = "Explain NVFP4 vs MXFP4 quantization."
CARD = (
    ("What is the capital of France?", "Paris"),
    ("What about Germany?", "Berlin"),
    ("And Japan?", "Tokyo"),
    ("Which of those three cities has the largest population?", "Tokyo"),
)


def ready(screen: str) -> bool:
    """Whether the header says that a question can be sent: nothing is loading and nothing being answered."""
    return bool(re.search(r"(● ready|■ stopped)$", screen.splitlines()[0]))


def conversation(screen: str) -> str:
    """The screen without the meters at its right, and without the blanks that end its lines."""
    return "".join(re.sub(r"\s*(│.*)?$", "\n", line) for line in screen.splitlines())


def below(screen: str, question: str) -> str:
    """What stands under the last time that `question` was asked."""
    _, asked, after = conversation(screen).rpartition(f"▌ {question}\n")
    return after if asked else ""


def answered(screen: str, question: str) -> bool:
    """Whether `question` has got its whole answer, figures included."""
    return ready(screen) and "↳" in below(screen, question)


def send(terminal: RealTerminal, question: str) -> None:
    terminal.write(question)
    terminal.wait(lambda screen: f"› {question}" in screen, f"{question!r} in the composer")
    terminal.press("Enter")


def ask(terminal: RealTerminal, question: str) -> str:
    """Type `question`, send it, and wait for all of the answer, which is returned."""
    send(terminal, question)
    return below(terminal.wait(lambda screen: answered(screen, question), f"the answer to {question!r}"), question)


def test_a_conversation_with_a_stop_in_it_from_start_to_exit() -> None:
    with real_terminal(*ENDLESS) as terminal:
        terminal.wait(ready, "the model")
        for question, city in CARD:
            assert city in ask(terminal, question)

        send(terminal, ENDLESS_QUESTION)
        terminal.wait(lambda screen: "E2M1" in below(screen, ENDLESS_QUESTION), "the middle of the answer")
        assert "● decoding" in terminal.screen()
        terminal.press("Escape")
        screen = terminal.wait(lambda screen: answered(screen, ENDLESS_QUESTION), "the stop")
        assert "stopped by you" in screen
        assert "■ stopped" in screen

        assert "Rome" in ask(terminal, "What is the capital of Italy?")
        terminal.press("C-q")
        assert terminal.exit_code() == 0


def test_chinese_and_emoji_survive_the_composer_the_model_and_the_screen() -> None:
    with real_terminal("--temperature", "0", "--effort", "none") as terminal:
        terminal.wait(ready, "the model")
        question = "日本的首都是哪里？🎉"
        terminal.write(question)
        terminal.wait(lambda screen: f"› {question}\n" in screen, "the question in the composer")
        # Every wide character is two cells: the cursor, which input methods follow, stands behind the last one.
        terminal.wait(lambda _: terminal.cursor()[0] == cells(f" › {question}"), "the cursor behind the text")
        terminal.press("BSpace")
        terminal.wait(lambda screen: f"› {question[:-1]}\n" in screen, "the emoji taken back in one piece")
        terminal.write("🎉")
        terminal.wait(lambda screen: f"› {question}\n" in screen, "the emoji again")
        terminal.press("Enter")
        screen = terminal.wait(lambda screen: answered(screen, question), "the answer")
        assert "日本的首都是东京。" in below(screen, question)

        # This greeting is answered with an emoji and with Chinese.
        assert "Hello! 😀 你好！" in ask(terminal, "Hi 😀")
        terminal.press("C-q")
        assert terminal.exit_code() == 0


@pytest.mark.parametrize("size", [(60, 20), (40, 15)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_a_small_terminal_is_enough(size: tuple[int, int]) -> None:
    question, city = CARD[0]
    with real_terminal("--temperature", "0", "--effort", "none", size=size) as terminal:
        terminal.wait(ready, "the model")
        assert city in ask(terminal, question)
        send(terminal, "/quit")
        assert terminal.exit_code() == 0


@pytest.mark.parametrize("run", [RUN, KEEPS_HANGUP], ids=["told", "untold"])
def test_a_closed_terminal_leaves_no_process_behind(run: str) -> None:
    with real_terminal(*ENDLESS, run=run) as terminal:
        terminal.wait(ready, "the model")
        send(terminal, ENDLESS_QUESTION)
        terminal.wait(lambda screen: "E2M1" in below(screen, ENDLESS_QUESTION), "the middle of the answer")
        processes = terminal.processes()
        assert len(processes) >= 2, "the app and its engine"
        # Held while the terminal goes, the app finds it gone in the middle of drawing.
        os.kill(processes[0], signal.SIGSTOP)
        terminal.end()
        os.kill(processes[0], signal.SIGCONT)
        wait_until(lambda: all(map(is_gone, processes)), "the end of app and engine")
        if run == KEEPS_HANGUP:
            assert terminal.exit_code() == 0, "it did not leave, it was ended"


def test_a_hangup_gives_back_a_terminal_that_is_there() -> None:
    with real_terminal() as terminal:
        terminal.wait(ready, "the model")
        assert terminal.modes() == "110"
        os.kill(terminal.processes()[0], signal.SIGHUP)
        assert terminal.exit_code() == 0
        terminal.wait(lambda _: terminal.modes() == "001", "the terminal as it was")


def test_a_pasted_log_is_all_in_the_draft_and_sends_nothing() -> None:
    with real_terminal() as terminal:
        terminal.wait(ready, "the model")
        terminal.write("\x1b[200~a \x1b[32mgreen\x1b[0m line\rand \x1b[31mred\x1b[0m\x07\x1b[201~ typed")
        screen = terminal.wait(lambda screen: "typed" in screen, "what is behind the paste")
        assert "› a [32mgreen[0m line\n   and [31mred[0m typed\n" in conversation(screen)
        assert "▌ You" not in screen


def test_a_killed_program_loses_half_a_second_and_goes_on() -> None:
    with real_terminal(*ENDLESS) as terminal:
        terminal.wait(ready, "the model")
        assert "Paris" in ask(terminal, CARD[0][0])
        send(terminal, ENDLESS_QUESTION)
        terminal.wait(lambda screen: "E2M1" in below(screen, ENDLESS_QUESTION), "the middle of the answer")
        # What is on disk is what was said until half a second ago; so wait until that is beyond its beginning.
        wait_until(lambda: "E2M1" in said_on_disk(), "the beginning of the answer on disk")
        terminal.write("a draft")
        wait_until(lambda: "a draft" in drafts_on_disk(), "the draft on disk")
        processes = terminal.processes()
        os.kill(processes[0], signal.SIGKILL)
        wait_until(lambda: all(map(is_gone, processes)), "the end of app and engine")
        on_disk = said_on_disk()

    with real_terminal("--continue", "--temperature", "0", "--effort", "none") as terminal:
        screen = terminal.wait(lambda screen: ready(screen) and "interrupted" in screen, "the conversation")
        assert "› a draft" in screen
        terminal.press("C-Home")
        screen = terminal.wait(lambda screen: CARD[0][0] in screen, "its beginning")
        assert "Paris" in screen
        assert on_disk.split(".")[0].replace("**", "") in " ".join(conversation(screen).split())
        terminal.press("C-End", "C-u")
        assert "Rome" in ask(terminal, "What is the capital of Italy?")
        terminal.press("C-q")
        assert terminal.exit_code() == 0


def said_on_disk() -> str:
    """What of the last answer has reached the disk."""
    connection = sqlite3.connect(f"file:{store_path()}?mode=ro", uri=True)
    try:
        parts = connection.execute("SELECT content FROM parts ORDER BY id").fetchall()
        return "".join(content for (content,) in parts)
    finally:
        connection.close()


def drafts_on_disk() -> list[str]:
    connection = sqlite3.connect(f"file:{store_path()}?mode=ro", uri=True)
    try:
        return [text for (text,) in connection.execute("SELECT text FROM drafts")]
    finally:
        connection.close()


def test_a_broken_model_is_one_line_and_the_app_stays_usable(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(demo_model_path(), broken)
    (shard,) = broken.glob("model-*.safetensors")
    with shard.open("r+b") as file:
        file.truncate(shard.stat().st_size - 1)
    run = subprocess.run([PROGRAM, "run", broken, "-p", "x"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (1, "", 1)
    line = run.stderr.removeprefix("qwen-tui: ").strip()

    def said(screen: str) -> bool:
        # Wide lines are wrapped inside a frame of the note's own.
        return "".join(line.split()) in re.sub(r"[\s▌✕]", "", conversation(screen))

    with real_terminal(str(broken), "--temperature", "0", "--effort", "none") as terminal:
        terminal.wait(lambda screen: "✕ no model" in screen and said(screen), line)
        terminal.write("What is the capital of France?")
        terminal.press("F1")
        terminal.wait(lambda screen: "Esc closes" in screen, "the help")
        terminal.press("Escape")
        terminal.wait(lambda screen: "› What is the capital of France?" in screen, "the composer again")
        shutil.copy(demo_model_path() / shard.name, shard)
        terminal.press("C-t")
        terminal.wait(ready, "the mended model")
        terminal.press("Enter")
        terminal.wait(lambda screen: answered(screen, "What is the capital of France?"), "the answer")
        terminal.press("C-c", "C-c")
        assert terminal.exit_code() == 0
