"""The list above the text: when it is there, what the keys do while it is, and how it is drawn."""

import threading
from pathlib import Path

import pytest
from textual.widgets import Static

from qwen_tui.composer.completion import Candidate
from qwen_tui.composer.completion_list import MAX_ROWS
from qwen_tui.composer.folder_listing import FolderEntry, list_folder
from qwen_tui.store import Draft
from qwen_tui.text.safe import cells
from support.composer_stage import COMMANDS, ComposerStage, composer_stage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "notes.txt",
        "notes-old.txt",
        "two words.md",
        "es\x1b[31mc.txt",
        ".hidden",
        "src/app.py",
        "src/b c/d.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("hello")
    return tmp_path


async def listed(here: ComposerStage) -> None:
    await here.wait(lambda: not here.composer.is_listing, "the folder")
    await here.pilot.pause()


async def test_a_slash_lists_the_commands_and_letters_narrow_them() -> None:
    async with composer_stage() as here:
        await here.type("/")
        assert here.offered == [command.name for command in COMMANDS]
        screen = "\n".join(here.lines())
        assert "▸ /help" in screen and "keys and commands" in screen
        assert "1 of 8 · Tab takes · Esc closes" in screen
        await here.type("t")
        assert here.offered == ["theme", "think", "set", "settings", "inspect", "quit"]
        await here.type("h")
        assert here.offered == ["theme", "think"]
        await here.type("q")
        assert here.offered == []
        await here.press("backspace", "tab")
        assert here.editor.text == "/theme "
        assert here.offered == ["midnight", "moss", "paper"]
        assert here.editor.has_focus


async def test_tab_takes_what_the_arrows_selected() -> None:
    async with composer_stage() as here:
        here.editor.recall.add(Draft("earlier"))
        await here.type("/th")
        await here.press("down", "down", "down", "up")
        assert here.editor.text == "/th", "the arrows do not recall while the list is open"
        await here.press("up", "tab")
        assert here.editor.text == "/think "
        await here.press("up", "tab")
        assert here.editor.text == "/think high"
        assert here.offered == []
        await here.press("enter")
        assert here.app.sent == ["/think high"]


@pytest.mark.parametrize(
    ("typed", "keys", "text", "sent"),
    [
        ("/he", [], "/help", []),
        ("/help", [], "/help", ["/help"]),
        ("/set", [], "/set", ["/set"]),
        ("/HELP", [], "/HELP", ["/HELP"]),
        ("/th", ["down"], "/think ", []),
        ("/nonsense", [], "/nonsense", ["/nonsense"]),
        # An argument that must be one of the choices is completed; an empty one is the app's to explain.
        ("/think h", [], "/think high", []),
        ("/think ", [], "/think ", ["/think "]),
        ("/think ", ["down"], "/think low", []),
        # One that need not be is sent as it is, unless the person went through the list.
        ("/theme m", [], "/theme m", ["/theme m"]),
        ("/theme m", ["down"], "/theme moss", []),
        ("/theme moss", [], "/theme moss", ["/theme moss"]),
        ("/set top", ["up"], "/set top_p ", []),
        ("//etc", [], "//etc", ["//etc"]),
    ],
)
async def test_enter_completes_what_cannot_be_sent_and_sends_the_rest(
    typed: str, keys: list[str], text: str, sent: list[str]
) -> None:
    async with composer_stage() as here:
        await here.type(typed)
        await here.press(*keys, "enter")
        assert here.editor.text == text
        assert here.app.sent == sent


async def test_enter_on_what_is_complete_sends_even_after_walking() -> None:
    async with composer_stage() as here:
        await here.type("/help")
        await here.press("down", "enter")
        assert here.app.sent == ["/help"]


async def test_escape_closes_the_list_and_only_then_stops() -> None:
    async with composer_stage() as here:
        await here.type("/t")
        await here.press("escape")
        assert (here.offered, here.app.stops) == ([], 0)
        await here.type("h")
        assert here.offered == [], "closed for this word"
        await here.press("escape")
        assert here.app.stops == 1
        here.editor.set_text("")
        await here.type("/h")
        assert here.offered != []


async def test_what_is_put_in_or_recalled_opens_no_list() -> None:
    """The arrows would walk through it rather than through what was sent."""
    async with composer_stage() as here:
        for text in ("first", "/theme", "/help"):
            here.editor.recall.add(Draft(text))
        await here.press("up", "up", "up")
        assert here.editor.text == "first"
        await here.press("down")
        assert (here.editor.text, here.offered) == ("/theme", [])
        await here.type(" ")
        assert here.offered == ["midnight", "moss", "paper"]


async def test_the_cursor_or_the_focus_elsewhere_closes_the_list() -> None:
    async with composer_stage() as here:
        await here.type("/th")
        assert here.offered == ["theme", "think"]
        await here.press("left")
        assert here.offered == []
        await here.press("shift+right")
        assert here.offered == []
        await here.press("right")
        assert here.offered == ["theme", "think"]
        here.app.set_focus(None)
        await here.pilot.pause()
        assert here.offered == []
        here.editor.focus()
        await here.type(" ")
        assert here.offered == []
        await here.press("tab")
        assert not here.editor.has_focus, "Tab goes on where nothing is to be completed"


async def test_paths_are_walked_folder_by_folder(folder: Path) -> None:
    async with composer_stage(folder=folder) as here:
        await here.type("see @")
        await listed(here)
        assert here.offered == ["src", "notes-old.txt", "notes.txt", "two words.md"]
        screen = "\n".join(here.lines())
        assert "▸ src/" in screen and "notes.txt" in screen and "5 B" in screen
        await here.press("tab")
        assert here.editor.text == "see @src/"
        await listed(here)
        assert here.offered == ["b c", "app.py"]
        await here.press("tab")
        assert here.editor.text == 'see @"src/b c/'
        await listed(here)
        await here.press("tab")
        assert here.editor.text == 'see @"src/b c/d.py" '
        assert here.offered == []
        await here.type("and @.")
        await listed(here)
        assert here.offered[0] == ".hidden"
        await here.press("backspace")
        await here.type("wo")
        await listed(here)
        assert here.offered == ["two words.md"]
        await here.press("enter")
        assert here.app.sent == ['see @"src/b c/d.py" and @wo'], "Enter sends unless the list was walked"
        await here.press("down", "enter")
        assert here.editor.text == 'see @"src/b c/d.py" and @"two words.md" '


async def test_a_path_below_another_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder / "src"))
    async with composer_stage(folder=folder / "src" / "b c") as here:
        await here.type("@../a")
        await listed(here)
        await here.press("tab")
        assert here.editor.text == "@../app.py "
        here.editor.set_text("")
        await here.type("@~/")
        await listed(here)
        assert here.offered == ["b c", "app.py"]
        here.editor.set_text("")
        await here.type(f"@{folder}/n")
        await listed(here)
        assert here.offered == ["notes-old.txt", "notes.txt"]
        here.editor.set_text("")
        await here.type("@nowhere/")
        await listed(here)
        assert here.offered == []


async def test_a_slow_disk_holds_up_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    def slowly(path: Path) -> tuple[FolderEntry, ...]:
        assert answer.wait(30)
        return list_folder(path)

    monkeypatch.setattr("qwen_tui.composer.folder_listing.list_folder", slowly)
    async with composer_stage(folder=folder) as here:
        await here.type("@n")
        assert here.composer.is_listing
        await here.press("tab")
        assert here.editor.has_focus, "Tab waits for the list"
        await here.type("ot")
        assert (here.editor.text, here.offered) == ("@not", [])
        answer.set()
        await listed(here)
        assert here.offered == ["notes-old.txt", "notes.txt"]
        await here.type("\n@x other ")
        assert here.offered == []


async def test_keys_mean_the_text_as_it_is_when_they_come() -> None:
    """Not as it was when the list was last drawn."""
    async with composer_stage() as here:
        await here.type("/hel")
        assert here.offered == ["help"]
        here.editor.insert_typed("p")
        assert here.editor.first("tab")
        assert here.editor.text == "/help"
        here.editor.set_text("")
        await here.type("/h")
        here.editor.insert_typed("q")
        assert not here.editor.first("up")


async def test_a_click_takes(folder: Path) -> None:
    async with composer_stage(folder=folder) as here:
        await here.type("/")
        y = next(y for y, line in enumerate(here.lines()) if "/settings" in line)
        await here.pilot.click(offset=(6, y))
        await here.pilot.pause()
        assert here.editor.text == "/settings"
        assert here.editor.has_focus


async def test_the_list_is_walked_past_its_rows() -> None:
    async with composer_stage() as here:
        await here.type("/")
        for number, command in enumerate([*COMMANDS[1:], *COMMANDS], 2):
            await here.press("down")
            lines = here.lines()
            assert sum(line.startswith(("   /", " ▸ /")) for line in lines) == MAX_ROWS
            assert any(line.startswith(f" ▸ {command.usage} ") for line in lines)
            assert any(f"{(number - 1) % len(COMMANDS) + 1} of 8" in line for line in lines)


@pytest.mark.parametrize("size", [(160, 45), (60, 20), (40, 12), (40, 5), (20, 6), (10, 3), (3, 2)])
async def test_wide_names_keep_their_cells_at_any_size(size: tuple[int, int]) -> None:
    names = ["日本語のとても長い名前のファイル.md", "e\u0301te\u0301.txt", "👩‍💻 code.py", "plain", "x" * 300]
    candidates = [Candidate(name, name, "12.30 kB", name) for name in names]
    async with composer_stage(size) as here:
        above = here.app.query_one("#above", Static)
        await here.type("/")
        for count in range(len(candidates) + 1):
            here.menu.show(candidates[:count], here.composer.region.y - 1)
            await here.pilot.pause()
            for strip in here.strips():
                assert strip.cell_length == size[0]
                assert sum(map(cells, strip.text)) >= size[0] - 1 or "👩" in strip.text
            assert here.menu.rows <= max(0, above.size.height - 2)
        await here.pilot.resize_terminal(size[0], 8)
        await here.pilot.pause()
        assert here.menu.rows == min(len(candidates), above.size.height - 2)


async def test_it_lies_over_the_transcript_and_leaves_the_first_line(folder: Path) -> None:
    """Nothing moves when it opens; what is written stays in view below it."""
    async with composer_stage(size=(40, 8), folder=folder) as here:
        above = here.app.query_one("#above", Static)
        before = above.size
        await here.type("/")
        lines = here.lines()
        assert above.size == before
        assert lines[0] == "above"
        assert "Tab takes" in lines[1]
        assert lines[2].startswith(" ▸ /help")
        assert lines[-3].startswith(" › /")
        assert here.menu.rows == 2
